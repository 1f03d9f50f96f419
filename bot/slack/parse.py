"""From the words of a command to a typed request. Pure: names are looked up later, nothing is touched here."""

import re
from dataclasses import dataclass

from commands.grammar import nearest, unsafe_characters
from commands.reasons import ReasonCode
from commands.requests import Cancel, Deploy, Help, History, Mistake, Request, Status, typed

DEFAULT_ENVIRONMENT = "staging"
LONGEST_TEXT = 1000
LONGEST_REASON = 500
USAGE = "`/deploy APP VERSION [ENVIRONMENT] [--reason TEXT] [--dry-run]`"

_FLAGS = ("--reason", "--dry-run")
_VERBS = ("status", "cancel", "help")
_FILTERS = {"app": "app", "env": "environment", "environment": "environment", "by": "actor", "id": "deployment_id"}
_USER = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>")
_USER_ID = re.compile(r"[UW][A-Z0-9]{2,}")
_QUOTES = "\"'“”„‘’«»"  # noqa: RUF001 - phones and word processors turn plain quotes into these


@dataclass(frozen=True)
class _Flags:
    words: tuple[str, ...]
    reason: str
    dry_run: bool


def parse_deploy(text: str) -> Request:
    """`/deploy …`, or the same words after a mention."""
    clean = _clean(text)
    if isinstance(clean, Mistake):
        return clean
    words = clean.split(" ") if clean else []
    if not words or words[0].lower() == "help":
        return Help()
    if words[0].lower() == "status":
        return Status(tuple(words[1:]))
    if words[0].lower() == "cancel":
        if not 2 <= len(words) <= 3:
            return _usage("Say what to cancel.", "`/deploy cancel ID`, or `/deploy cancel APP ENVIRONMENT`.", clean)
        return Cancel(tuple(words[1:]))
    return _deployment(words, clean)


def _deployment(words: list[str], clean: str) -> Deploy | Mistake:
    flags = _flags(words, clean)
    if isinstance(flags, Mistake):
        return flags
    match flags.words:
        case (app, version):
            return Deploy(app, version, DEFAULT_ENVIRONMENT, flags.reason, flags.dry_run)
        case (app, version, environment):
            return Deploy(app, version, environment, flags.reason, flags.dry_run)
        case (word,):
            near = nearest(word, _VERBS, limit=1)
            hint = f"Did you mean `/deploy {near[0]}`? " if near else ""
            return _usage(f"{typed(word)} alone is not enough.", f"{hint}A deployment is {USAGE}.", clean)
        case ():
            return _usage("An app and a version are missing.", f"A deployment is {USAGE}.", clean)
        case _:
            return _usage(
                f"{typed(flags.words[3])} is one word too many.",
                f"A deployment is {USAGE}; put what you want to tell after `--reason`.",
                clean,
            )


def parse_audit(text: str, *, me: str) -> Request:
    """`/audit history [app:… env:… by:… id:…]`; `by:me` is whoever asks."""
    clean = _clean(text)
    if isinstance(clean, Mistake):
        return clean
    words = clean.split(" ") if clean else []
    if words and words[0].lower() == "help":
        return Help("audit")
    if words and words[0].lower() == "history":
        words = words[1:]
    found: dict[str, str] = {}
    for word in words:
        key, colon, value = word.partition(":")
        if not colon or key.lower() not in _FILTERS or not value:
            near = nearest(key.lower(), _FILTERS, limit=1)
            hint = f"Did you mean `{near[0]}:`? " if near and colon else ""
            return _usage(
                f"{typed(word)} is no filter.",
                f"{hint}The filters are `app:`, `env:`, `by:` (a mention, an id or `me`) and `id:`; "
                "for example `/audit history app:web env:staging`.",
                clean,
            )
        found[_FILTERS[key.lower()]] = value
    if "actor" in found:
        who = _person(found["actor"], me)
        if who is None:
            return _usage(
                f"{typed('by:' + found['actor'])} names nobody.", "Use `by:me`, a mention, or a Slack user id.", clean
            )
        found["actor"] = who
    return History(
        app=found.get("app", ""),
        environment=found.get("environment", ""),
        actor=found.get("actor", ""),
        deployment_id=found.get("deployment_id", ""),
    )


def parse_mention(text: str, *, me: str) -> Request:
    """`@locktender deploy …` or `@locktender audit …`: the same words as the slash commands."""
    words = re.sub(r"^\s*(<@[UW][A-Z0-9]+(\|[^>]*)?>\s*)+", "", text)
    verb, _, rest = words.strip().partition(" ")
    match verb.lower().lstrip("/"):
        case "deploy":
            return parse_deploy(rest)
        case "audit":
            return parse_audit(rest, me=me)
        case "" | "help":
            return Help()
        case "status" | "cancel":
            return parse_deploy(words)
        case other:
            return _usage(
                f"{typed(other)} is no command.",
                "Start with `deploy` or `audit`, for example `deploy my-application 1.4.2 staging`.",
                words[:LONGEST_TEXT],
            )


def _clean(text: str) -> str | Mistake:
    """One line, entities undone, spaces single; a Mistake for what cannot be shown as it was meant."""
    line = re.sub(r"[ \t\r\n\u00a0]+", " ", text).strip()
    line = line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    if len(line) > LONGEST_TEXT:
        return _usage(
            f"The command is {len(line)} characters long; {LONGEST_TEXT} is the most.",
            "Shorten the reason, or put the long story in a ticket and name it here.",
            line[:100],
        )
    unsafe = unsafe_characters(line)
    if unsafe is not None:
        return Mistake(
            ReasonCode.UNSAFE_TEXT,
            f"The command holds {unsafe}, which can make text read as something else than it is.",
            "Type the command by hand instead of pasting it.",
        )
    return line


def _flags(words: list[str], line: str) -> _Flags | Mistake:
    plain: list[str] = []
    reason: list[str] | None = None
    dry_run = False
    for word in words:
        flag = _flag(word)
        if flag == "--dry-run":
            dry_run = True
        elif flag == "--reason" or flag.startswith("--reason="):
            if reason is not None:
                return _usage("`--reason` is there twice.", "Give one reason.", line)
            reason = [flag.removeprefix("--reason").removeprefix("=")]
        elif reason is not None:
            reason.append(word)
        elif flag.startswith("-"):
            near = nearest(flag.split("=")[0], _FLAGS, limit=1)
            hint = f"Did you mean `{near[0]}`? " if near else ""
            return _usage(f"{typed(word)} is no option of `/deploy`.", f"{hint}A deployment is {USAGE}.", line)
        else:
            plain.append(word)
    said = " ".join(reason or ()).strip().strip(_QUOTES).strip()
    if reason is not None and not said:
        return _usage("`--reason` has no text.", "Write the reason after it, to the end of the line.", line)
    if len(said) > LONGEST_REASON:
        return _usage(
            f"The reason is {len(said)} characters long; {LONGEST_REASON} is the most.", "Shorten it.", line[:100]
        )
    return _Flags(tuple(plain), said, dry_run)


def _flag(word: str) -> str:
    """Phones turn `--` into a dash: undo that for words that start with one."""
    return re.sub(r"^[—–]", "--", word).lower() if word[:1] in "—–-" else word  # noqa: RUF001 - dashes are the point


def _person(text: str, me: str) -> str | None:
    if text.lower() in {"me", "@me"}:
        return me
    found = _USER.fullmatch(text)
    if found:
        return found.group(1)
    return text if _USER_ID.fullmatch(text) or text == "locktender" else None


def _usage(what: str, next_step: str, words: str) -> Mistake:
    return Mistake(ReasonCode.BAD_USAGE, what, next_step, words)
