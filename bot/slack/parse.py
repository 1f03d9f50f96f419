"""From the words of a command to a typed request. Pure: names are looked up later, nothing is touched here.

What is wrong with a line is a `Mistake`: what it is, and the nearest right command.
"""

import re

from bot.slack.command_line import VERBS
from bot.slack.parse_audit import parse_audit
from bot.slack.parse_options import Form, Line, Option, take_apart
from bot.slack.parse_text import LONGEST_TEXT, SPACES, clean, example, unlinked, usage
from bot.slack.parse_verbs import is_verb, parse_verb, reason_required
from commands.grammar import nearest
from commands.requests import Deploy, Help, Mistake, Promote, Request, Rollback, typed

__all__ = [
    "DEFAULT_ENVIRONMENT",
    "LONGEST_TEXT",
    "parse_audit",
    "parse_deploy",
    "parse_mention",
    "parse_promote",
    "parse_rollback",
]

DEFAULT_ENVIRONMENT = "staging"
MOST_APPS = 50
ALL = "all"

DEPLOY = Form(
    "/deploy",
    "A deployment",
    "`/deploy APP VERSION [ENVIRONMENT] [--reason TEXT] [--at TIME] [--dry-run] [--break-glass]`",
    (Option.REASON, Option.AT, Option.DRY_RUN, Option.BREAK_GLASS),
)
PROMOTE = Form(
    "/promote",
    "A promotion",
    "`/promote APP [FROM] [TO]` or `/promote APP,APP|all FROM TO`, "
    "with `[--reason TEXT] [--at TIME] [--force] [--break-glass]`",
    (Option.REASON, Option.AT, Option.FORCE, Option.BREAK_GLASS),
)
ROLLBACK = Form(
    "/rollback",
    "A rollback",
    "`/rollback APP ENVIRONMENT [to VERSION|COMMIT|DEPLOYMENT] --reason TEXT [--exact] [--break-glass]`",
    (Option.REASON, Option.EXACT, Option.BREAK_GLASS),
)
_COMMANDS = ("deploy", "promote", "rollback", "audit")
_GLASS = "`--break-glass` goes past the people who would have been asked, so it tells them why."
_OPPOSITES = (
    (Option.BREAK_GLASS, Option.AT, "`--break-glass` is for what cannot wait, and `--at` waits."),
    (Option.DRY_RUN, Option.AT, "`--dry-run` is shown at once, and `--at` waits."),
    (Option.DRY_RUN, Option.BREAK_GLASS, "`--dry-run` changes nothing, so there is no glass to break."),
)


def parse_deploy(text: str) -> Request:
    """`/deploy …`, or the same words after a mention."""
    line = clean(text)
    if isinstance(line, Mistake):
        return line
    words = line.split(" ") if line else []
    first = words[0].lower() if words else "help"
    if first == "help":
        asked = words[1].lower().lstrip("/") if len(words) > 1 else "deploy"
        return Help(asked if asked in _COMMANDS else "deploy")
    if is_verb(first):
        return parse_verb(words, line)
    if first in {"promote", "rollback"}:
        own = example(f"/{' '.join([first, *words[1:]])}")
        return usage(f"`/{first}` is a command of its own.", f"Type {own}, without `/deploy`.", line)
    if first == "deploy" and len(words) > 1:
        words = words[1:]  # typed twice, or to deploy an app that is called like a verb
    return _deployment(words, line)


def parse_promote(text: str) -> Request:
    """`/promote APP [FROM] [TO]`, `/promote APP,APP FROM TO` or `/promote all FROM TO`."""
    line = clean(text)
    if isinstance(line, Mistake):
        return line
    if not line or line.split(" ")[0].lower() == "help":
        return Help("promote")
    taken = _take_apart(line.split(" "), PROMOTE, line)
    if isinstance(taken, Mistake):
        return taken
    # `web, api` and `web ,api` are `web,api`: only now, because a comma in the reason is the writer's.
    first, *places = re.sub(" ?, ?", ",", " ".join(taken.words)).split(" ")
    apps = _apps(first, line)
    if isinstance(apps, Mistake):
        return apps
    route = _route(places, line)
    if isinstance(route, Mistake):
        return route
    source, target = route
    if (len(apps) > 1 or apps == (ALL,)) and not (source and target):
        offer = example(f"/promote {','.join(apps)} {source or 'FROM'} {target or 'TO'}")
        return usage("Several apps are promoted from one named place to another.", f"Type {offer}.", line)
    request = Promote(
        apps,
        source,
        target,
        taken.reason,
        taken.at,
        force=Option.FORCE in taken.switches,
        break_glass=Option.BREAK_GLASS in taken.switches,
    )
    if request.break_glass and not request.reason:
        return reason_required(request, _GLASS, line)
    if request.force and not request.reason:
        why = "`--force` promotes what is not known to be healthy, so whoever approves it must read why."
        return reason_required(request, why, line)
    return request


def parse_rollback(text: str) -> Request:
    """`/rollback APP ENVIRONMENT [to VERSION|COMMIT|DEPLOYMENT] --reason TEXT`."""
    line = clean(text)
    if isinstance(line, Mistake):
        return line
    if not line or line.split(" ")[0].lower() == "help":
        return Help("rollback")
    taken = _take_apart(line.split(" "), ROLLBACK, line)
    if isinstance(taken, Mistake):
        return taken
    words = taken.words
    if len(words) > 1 and words[1].lower() == "to":
        offer = example(" ".join(["/rollback", words[0], "ENVIRONMENT", *words[1:], "--reason TEXT"]))
        return usage("Say in which environment.", f"Type {offer}.", line)
    restored = words[3:] if len(words) > 2 and words[2].lower() == "to" else words[2:]
    match words:
        case ():
            return usage("An app and an environment are missing.", ROLLBACK.reminder, line)
        case (app,):
            return usage(
                "Say in which environment.", f"Type {example(f'/rollback {app} ENVIRONMENT --reason TEXT')}.", line
            )
        case (app, environment, to) if to.lower() == "to":
            offer = example(f"/rollback {app} {environment} --reason TEXT")
            return usage(
                "`to` is followed by nothing.",
                f"Name a version, a commit or a deployment after it; {offer} restores the last healthy version.",
                line,
            )
        case (app, environment, *_) if len(restored) < 2:
            request = Rollback(
                app,
                environment,
                "".join(restored),
                taken.reason,
                exact=Option.EXACT in taken.switches,
                break_glass=Option.BREAK_GLASS in taken.switches,
            )
        case _:
            tell = "Put what you want to tell after `--reason`."
            return usage(f"{typed(restored[1])} is one word too many.", f"{ROLLBACK.reminder} {tell}", line)
    if not request.reason:
        return reason_required(request, "A rollback stays in the record with its reason, and yours has none.", line)
    return request


def parse_mention(text: str, *, me: str) -> Request:
    """`@locktender deploy …`, `promote …`, `rollback …`, `audit …`: the same words as the slash commands.

    The verbs of `/deploy` need no `deploy` before them: `@locktender approve ID`.
    """
    words = unlinked(re.sub(r"^\s*(<@[UW][A-Z0-9]+(\|[^>]*)?>\s*)+", "", text).strip())
    verb, rest = [*SPACES.split(words, maxsplit=1), ""][:2]
    match verb.lower().lstrip("/"):
        case "deploy":
            return parse_deploy(rest)
        case "promote":
            return parse_promote(rest)
        case "rollback":
            return parse_rollback(rest)
        case "audit":
            return parse_audit(rest, me=me)
        case other if other in {"", "help"} or is_verb(other):
            return parse_deploy(f"{other} {rest}")
        case other:
            near = nearest(other, (*_COMMANDS, *VERBS), limit=1)
            hint = f"Did you mean `{near[0]}`? " if near else ""
            return usage(
                f"{typed(other)} is no command.",
                f"{hint}Start with `deploy`, `promote`, `rollback` or `audit`, for example "
                "`deploy my-application 1.4.2 staging`.",
                words[:LONGEST_TEXT],
            )


def _deployment(words: list[str], line: str) -> Deploy | Mistake:
    taken = _take_apart(words, DEPLOY, line)
    if isinstance(taken, Mistake):
        return taken
    found = taken.words
    if len(found) == 4 and found[2].lower() == "to":
        found = (*found[:2], found[3])
    match found:
        case (app, version, *place) if len(place) < 2:
            request = Deploy(
                app,
                version,
                "".join(place) or DEFAULT_ENVIRONMENT,
                taken.reason,
                dry_run=Option.DRY_RUN in taken.switches,
                at=taken.at,
                break_glass=Option.BREAK_GLASS in taken.switches,
            )
        case (word,):
            near = nearest(word, (verb for verb in VERBS if verb != "deploy"), limit=1)
            hint = f"Did you mean `/deploy {near[0]}`? " if near else ""
            return usage(f"{typed(word)} alone is not enough.", f"{hint}{DEPLOY.reminder}", line)
        case ():
            return usage("An app and a version are missing.", DEPLOY.reminder, line)
        case _:
            return usage(
                f"{typed(found[3])} is one word too many.",
                f"A deployment is {DEPLOY.right}; put what you want to tell after `--reason`.",
                line,
            )
    if request.break_glass and not request.reason:
        return reason_required(request, _GLASS, line)
    return request


def _take_apart(words: list[str], form: Form, line: str) -> Line | Mistake:
    """`take_apart`, and no two options that contradict each other."""
    taken = take_apart(words, form, line)
    if isinstance(taken, Mistake):
        return taken
    used = taken.switches | ({Option.AT} if taken.at else set())
    for one, other, why in _OPPOSITES:
        if one in used and other in used:
            return usage(why, f"Leave out `{one}` or `{other}`.", line)
    return taken


def _apps(text: str, line: str) -> tuple[str, ...] | Mistake:
    apps = tuple(dict.fromkeys(app for app in text.split(",") if app))
    if not apps:
        return usage("An app is missing.", PROMOTE.reminder, line)
    if any(app.lower() == ALL for app in apps):
        if len(apps) > 1:
            return usage("`all` is every app already, and stands alone.", PROMOTE.reminder, line)
        return (ALL,)
    if len(apps) > MOST_APPS:
        return usage(
            f"{len(apps)} apps are too many for one change; {MOST_APPS} is the most.",
            "Promote them in several steps, or `all` of them.",
            line,
        )
    return apps


def _route(words: list[str], line: str) -> tuple[str, str] | Mistake:
    """From where to where: `staging production`, `staging to production`, `to production`; empty for what is unsaid."""
    named: dict[str, str] = {}
    plain: list[str] = []
    rest = iter(words)
    for word in rest:
        key = word.lower()
        if key not in {"from", "to"}:
            plain.append(word)
            continue
        place = next(rest, "")
        if not place:
            return usage(f"`{key}` is followed by nothing.", f"Name an environment after it. {PROMOTE.reminder}", line)
        if key in named:
            return usage(f"`{key}` is there twice.", PROMOTE.reminder, line)
        named[key] = place
    open_ends = [key for key in ("from", "to") if key not in named]
    if len(plain) > len(open_ends):
        return usage(
            f"{typed(plain[len(open_ends)])} is one word too many.",
            f"{PROMOTE.reminder} Put what you want to tell after `--reason`, and commas between apps.",
            line,
        )
    listed = next((word for word in words if "," in word), "")
    if listed:
        return usage(
            f"{typed(listed)} is a list, and a promotion has one source and one target.", PROMOTE.reminder, line
        )
    named |= dict(zip(open_ends, plain, strict=False))
    return named.get("from", ""), named.get("to", "")
