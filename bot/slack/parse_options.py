"""Options of a command line, `--reason TEXT` and the like, taken out from between its words. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.slack.parse_text import usage
from commands.grammar import nearest
from commands.reasons import ReasonCode
from commands.requests import Mistake, typed

LONGEST_REASON = 500
LONGEST_TIME = 64


class Option(StrEnum):
    """Every option of every command: where one begins, the text of the one before it ends."""

    REASON = "--reason"
    AT = "--at"
    DRY_RUN = "--dry-run"
    EXACT = "--exact"
    FORCE = "--force"
    BREAK_GLASS = "--break-glass"


OWNERS: Mapping[Option, str] = {
    Option.REASON: "commands that change something",
    Option.AT: "`/deploy APP VERSION` and `/promote`",
    Option.DRY_RUN: "`/deploy APP VERSION`",
    Option.EXACT: "`/rollback`",
    Option.FORCE: "`/promote`",
    Option.BREAK_GLASS: "`/deploy APP VERSION`, `/promote` and `/rollback`",
}
"""Where each option belongs, for whoever typed it elsewhere."""

_BY_NAME = {option.value: option for option in Option}
_TEXTS = frozenset({Option.REASON, Option.AT})
_DOUBLE, _SINGLE = '"“”„«»', "'‘’‚‹›"  # noqa: RUF001 - phones and word processors turn plain quotes into these
_DASHES = "—–‒―−"  # noqa: RUF001 - and two hyphens into one of these


@dataclass(frozen=True)
class Form:
    """One command as it may be typed: its name, what it is called in a sentence, the right words, and its options."""

    name: str
    noun: str
    right: str
    options: tuple[Option, ...] = ()

    @property
    def reminder(self) -> str:
        """The sentence that says what is right."""
        return f"{self.noun} is {self.right}."


@dataclass(frozen=True)
class Line:
    """A command line taken apart: its plain words, and its options."""

    words: tuple[str, ...]
    reason: str
    at: str
    switches: frozenset[Option]


def take_apart(words: Sequence[str], form: Form, line: str) -> Line | Mistake:
    """The words without their options; a Mistake for an option that does not belong, comes twice or lacks its text.

    `--reason` and `--at` take what follows, up to the next option (a reason in quotes: up to the closing quote); other
    words that begin with dashes are part of that text. `line` is what was typed, for the record.
    """
    plain: list[str] = []
    texts: dict[Option, str] = {}
    switches: set[Option] = set()
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        option = option_of(word)
        if option is None:
            if _begins_with_dash(word):
                return _no_option(word, form, line)
            plain.append(word)
            continue
        if option not in form.options:
            return _elsewhere(option, form, line, within=bool(texts))
        if option in switches or option in texts:
            once = "Give one reason." if option is Option.REASON else "Write it once."
            return usage(f"`{option}` is there twice.", once, line)
        if option in _TEXTS:
            inline = word.partition("=")[2]
            take = take_reason if option is Option.REASON else take_time
            taken = take([inline, *words[index:]] if inline else words[index:])
            index += taken.used - bool(inline)
            wrong = _wrong_text(option, taken, line)
            if wrong is not None:
                return wrong
            texts[option] = taken.text
        elif "=" in word:
            return usage(
                f"`{option}` takes no value, but {typed(word)} gives one.",
                f"Write `{option}` alone, or leave it out.",
                line,
            )
        else:
            switches.add(option)
    return Line(tuple(plain), texts.get(Option.REASON, ""), texts.get(Option.AT, ""), frozenset(switches))


def option_of(word: str) -> Option | None:
    """The option that a word is, with or without `=value`; capitals and a phone's dashes do not matter."""
    if not _begins_with_dash(word):
        return None
    name = _plain_dashes(word).partition("=")[0].lower()
    return _BY_NAME.get(name)


@dataclass(frozen=True)
class Taken:
    """The text of an option: how many words it used, and which word in it looks like a mistyped option."""

    text: str
    used: int
    suspect: str = ""


def take_reason(words: Sequence[str]) -> Taken:
    """The reason that these words begin with: all of a quotation, or everything up to the next option.

    A quotation ends at the first closing quote after which nothing or an option follows, so that quotes and options
    inside it are text.
    """
    family = next((quotes for quotes in (_DOUBLE, _SINGLE) if words and words[0][:1] in quotes), "")
    for index, word in enumerate(words if family else ()):
        closes = word[-1] in family and (index > 0 or len(word) > 1)
        if closes and (index + 1 == len(words) or option_of(words[index + 1])):
            return Taken(" ".join(words[: index + 1])[1:-1].strip(), index + 1)
    end = _next_option(words)
    return Taken(" ".join(words[:end]), end, next((word for word in words[:end] if _mistyped(word)), ""))


def take_time(words: Sequence[str]) -> Taken:
    """The time that these words begin with: everything up to the next option, in quotes or not."""
    end = _next_option(words)
    text = " ".join(words[:end]).strip(_DOUBLE + _SINGLE + " ")
    return Taken(text, end, next((word for word in text.split(" ") if option_of(word) or _mistyped(word)), ""))


def _next_option(words: Sequence[str]) -> int:
    return next((index for index, word in enumerate(words) if option_of(word)), len(words))


def _elsewhere(option: Option, form: Form, line: str, *, within: bool) -> Mistake:
    quote = f" If `{option}` belongs to the text before it, put that text in quotes." if within else ""
    return usage(f"`{option}` is for {OWNERS[option]}, not for `{form.name}`.", f"{form.reminder}{quote}", line)


def _wrong_text(option: Option, taken: Taken, line: str) -> Mistake | None:
    if taken.suspect:
        meant = _mistyped(taken.suspect)
        if meant is None:
            return usage(f"{typed(taken.suspect)} stands inside a time.", "End the quotation before it.", line)
        return usage(
            f"{typed(taken.suspect)} is no option, and it is very near to one.",
            f"Did you mean `{meant}`? If it belongs to the text, put the text in quotes.",
            line,
        )
    if not taken.text.strip(_DOUBLE + _SINGLE + " "):
        if option is Option.AT:
            return usage(
                "`--at` has no time.",
                "Write the time after it, for example `--at 22:00` or `--at tomorrow 09:00`.",
                line,
            )
        return usage("`--reason` has no text.", "Write the reason after it, to the end of the line.", line)
    if option is Option.AT and len(taken.text) > LONGEST_TIME:
        return Mistake(
            ReasonCode.BAD_TIME,
            f"{typed(taken.text)} is too long for a time.",
            "Put `--at 22:00` at the end of the line, or `--reason` after it.",
            line[:100],
        )
    if option is Option.REASON and len(taken.text) > LONGEST_REASON:
        return usage(
            f"The reason is {len(taken.text)} characters long; {LONGEST_REASON} is the most.", "Shorten it.", line[:100]
        )
    return None


def _no_option(word: str, form: Form, line: str) -> Mistake:
    name = _plain_dashes(word).partition("=")[0].lower()
    near = nearest(name, form.options, limit=1)
    hint = f"Did you mean `{near[0]}`? " if near else ""
    return usage(f"{typed(word)} is no option of `{form.name}`.", f"{hint}{form.reminder}", line)


def _mistyped(word: str) -> Option | None:
    """`--dryrun` is `--dry-run` written wrong wherever it stands: taken for text, it would deploy after all."""
    if not _begins_with_dash(word) or option_of(word):
        return None
    letters = _letters(word.partition("=")[0])
    return next((option for option in Option if _letters(option) == letters), None)


def _letters(word: str) -> str:
    return re.sub(rf"[-_{_DASHES}]", "", word).lower()


def _begins_with_dash(word: str) -> bool:
    return word[:1] == "-" or word[:1] in tuple(_DASHES)


def _plain_dashes(word: str) -> str:
    """A phone makes one dash of two hyphens: undo that where a word begins with one."""
    return re.sub(rf"^[-{_DASHES}]*[{_DASHES}][-{_DASHES}]*", "--", word)
