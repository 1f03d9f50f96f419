"""The words of `/audit`. Pure: names, people and times are looked up later."""

import re
from collections.abc import Callable, Sequence

from bot.slack.parse_text import clean, example, usage
from commands.grammar import nearest
from commands.requests import (
    Evidence,
    Export,
    ExportForm,
    Help,
    History,
    Mistake,
    Open,
    Report,
    Request,
    Show,
    Verify,
    typed,
)

FILTERS = {
    "app": "app",
    "env": "environment",
    "environment": "environment",
    "by": "actor",
    "id": "deployment_id",
    "since": "since",
    "until": "until",
    "status": "status",
    "commit": "commit",
    "version": "version",
    "action": "action",
}
LONGEST_WORDS = 300
"""Characters of plain words, together: they travel in a button."""
_USER = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>")
_USER_ID = re.compile(r"[UW][A-Z0-9]{2,}")
_ELSEWHERE = re.compile(r"(github|git|api|cli|slack):\S{1,100}")
_COMMIT = re.compile(r"[0-9a-fA-F]{4,64}")
_SUBJECT = re.compile(r"[0-9A-Za-z]{3,64}|(?:#|row:)[0-9]{1,9}")
_REPORTED = ("app", "environment", "since", "until")
_EXAMPLE = "for example `/audit history app:web env:staging since:7d`"


def parse_audit(text: str, *, me: str) -> Request:
    """`/audit [history|show|evidence|open|export|report|verify|help] …`; `by:me` is whoever asks."""
    line = clean(text)
    if isinstance(line, Mistake):
        return line
    words = line.split(" ") if line else []
    verb = words[0].lower() if words else "history"
    verbs: dict[str, Callable[[Sequence[str]], Request]] = {
        "history": lambda rest: _history(rest, me, line),
        "show": lambda rest: _show(rest, line),
        "evidence": lambda rest: _evidence(rest, line),
        "open": lambda rest: _open(rest, line),
        "export": lambda rest: _export(rest, me, line),
        "report": lambda rest: _report(rest, me, line),
        "verify": lambda rest: _verify(rest, line),
        "help": lambda _: Help("audit"),
    }
    if verb in verbs:
        return verbs[verb](words[1:])
    near = nearest(verb, verbs, limit=1) if ":" not in verb else ()
    if near:
        offer = example(" ".join(["/audit", near[0], *words[1:]]))
        return usage(
            f"{typed(words[0])} is nothing that `/audit` does.",
            f"Did you mean {offer}? To look for the word itself: {example(f'/audit history {line}')}.",
            line,
        )
    return _history(words, me, line)


def _history(words: Sequence[str], me: str, line: str) -> History | Mistake:
    found: dict[str, str] = {}
    plain: list[str] = []
    for word in words:
        key, colon, value = word.partition(":")
        name = FILTERS.get(key.lower())
        if not colon:
            if not any(one.isalnum() for one in word):
                return usage(
                    f"{typed(word)} holds nothing to look for.", "Leave it out, or add letters or digits.", line
                )
            plain.append(word)
        elif name is None or not value:
            return _no_filter(word, key, line, empty=name is not None)
        elif name in found:
            return usage(f"`{key.lower()}:` is there twice.", "Each filter can be given once.", line)
        else:
            found[name] = value
    if "actor" in found:
        who = _person(found["actor"], me)
        if who is None:
            return usage(
                f"{typed('by:' + found['actor'])} names nobody.",
                "Use `by:me`, a mention, a Slack user id, `by:locktender` or `by:github:LOGIN`.",
                line,
            )
        found["actor"] = who
    if "commit" in found and not _COMMIT.fullmatch(found["commit"]):
        what = f"{typed(found['commit'])} is not the beginning of a commit."
        return usage(what, "Give 4 to 64 of its hex digits, as in `commit:abc1234`.", line)
    if len(" ".join(plain)) > LONGEST_WORDS:
        what = f"The words to look for have more than {LONGEST_WORDS} characters together."
        return usage(what, "Two or three rare words find as much.", line)
    return History(**found, words=" ".join(plain))  # type: ignore[arg-type]  # every value is text; `before` is no filter


def _show(words: Sequence[str], line: str) -> Show | Mistake:
    if len(words) == 1:
        return Show((words[0].removeprefix("id:"),))
    what = "Say which deployment or change." if not words else f"{typed(words[1])} is one word too many."
    return usage(what, "Give the id from its card, as in `/audit show ID`.", line)


def _open(words: Sequence[str], line: str) -> Open | Mistake:
    if len(words) < 2:
        return Open(tuple(word.removeprefix("id:") for word in words))
    what = f"{typed(words[1])} is one word too many."
    return usage(what, "Type `/audit open`, or `/audit open ID` with the id from a card.", line)


def _evidence(words: Sequence[str], line: str) -> Evidence | Mistake:
    name = words[0].removeprefix("id:") if len(words) == 1 else ""
    if _SUBJECT.fullmatch(name):
        return Evidence(name.lower())
    what = f"{typed(words[-1])} names no change." if words else "Say of which deployment or change."
    return usage(
        what,
        "Give the id from its card, as in `/audit evidence ID`; a commit, or `#` and the number of a row in "
        "`/audit history`, will do.",
        line,
    )


def _export(words: Sequence[str], me: str, line: str) -> Export | Mistake:
    form = words[0].lower() if words else ""
    if form not in tuple(ExportForm):
        what = f"{typed(words[0])} is no kind of file that I write." if words else "Say what kind of file."
        return usage(
            what,
            "Type `/audit export csv` for a spreadsheet or `/audit export jsonl` for `locktender audit verify`; "
            "filters follow, as in `/audit export csv app:web since:30d`.",
            line,
        )
    filters = _history(words[1:], me, line)
    return filters if isinstance(filters, Mistake) else Export(ExportForm(form), filters)


def _report(words: Sequence[str], me: str, line: str) -> Report | Mistake:
    filters = _history(words, me, line)
    if isinstance(filters, Mistake):
        return filters
    given = {name: value for name in FILTERS.values() if (value := getattr(filters, name))}
    if filters.words or set(given) - set(_REPORTED):
        return usage(
            "A report is of an app, an environment and a time.",
            "Only `app:`, `env:`, `since:` and `until:` go with it, as in `/audit report since:30d env:production`.",
            line,
        )
    return Report(filters.app, filters.environment, filters.since, filters.until)


def _verify(words: Sequence[str], line: str) -> Verify | Mistake:
    if not words:
        return Verify()
    return usage(
        f"{typed(words[0])} is one word too many.", "Type `/audit verify`: it looks at the whole record.", line
    )


def _no_filter(word: str, key: str, line: str, *, empty: bool) -> Mistake:
    if empty:
        return usage(f"{typed(word)} says nothing after the colon.", f"Write it without a space: {_EXAMPLE}.", line)
    near = nearest(key.lower(), FILTERS, limit=1)
    hint = f"Did you mean `{near[0]}:`? " if near else ""
    return usage(
        f"{typed(word)} is no filter.",
        f"{hint}The filters are `app:`, `env:`, `by:` (a mention, an id or `me`), `id:`, `since:`, `until:`, "
        f"`status:`, `commit:`, `version:` and `action:`; {_EXAMPLE}. Plain words go without a colon.",
        line,
    )


def _person(text: str, me: str) -> str | None:
    if text.lower() in {"me", "@me"}:
        return me
    found = _USER.fullmatch(text)
    if found:
        return found.group(1)
    elsewhere = _ELSEWHERE.fullmatch(text)
    if elsewhere:
        return text.lower() if elsewhere[1] == "github" else text
    return text if _USER_ID.fullmatch(text) or text == "locktender" else None
