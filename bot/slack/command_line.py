"""A request as the line that a person would type: for offers of what would be right. Pure; reads back to itself."""

from bot.slack.parse_options import Option, take_reason
from commands.requests import (
    Approve,
    Cancel,
    Deploy,
    Freeze,
    Help,
    Lock,
    Promote,
    Queue,
    Reject,
    Review,
    Rollback,
    Status,
    Unfreeze,
    Unlock,
    Why,
)

Typed = (
    Deploy
    | Promote
    | Rollback
    | Approve
    | Reject
    | Review
    | Lock
    | Unlock
    | Freeze
    | Unfreeze
    | Why
    | Queue
    | Status
    | Cancel
    | Help
)
"""What can be typed after `/deploy`, `/promote` and `/rollback`."""

VERBS = (
    "status",
    "queue",
    "why",
    "lock",
    "unlock",
    "freeze",
    "unfreeze",
    "cancel",
    "approve",
    "reject",
    "review",
    "help",
    "promote",
    "rollback",
    "deploy",
)
"""First words of `/deploy` that are no app. An app of such a name is deployed by `/deploy deploy NAME …`."""


def command_line(request: Typed) -> str:
    """`/rollback web production to 1.4.1 --reason the cart is empty`, before Slack escapes it."""
    match request:
        case Deploy():
            return _deploy(request)
        case Promote():
            return _promote(request)
        case Rollback(app=app, environment=environment, to=to):
            words = ["/rollback", app, environment, *(("to", to) if to else ())]
            switches = ((Option.EXACT, request.exact), (Option.BREAK_GLASS, request.break_glass))
            return _line(words, switches, reason=request.reason)
        case Lock() | Unlock() | Freeze() | Unfreeze():
            return _line(["/deploy", type(request).__name__.lower(), *request.words], (), reason=request.reason)
        case Approve(token=token, comment=said) | Review(token=token, comment=said) | Reject(token=token, reason=said):
            return _line(["/deploy", type(request).__name__.lower(), token], (), reason=said)
        case Why() | Queue() | Status() | Cancel():
            return _line(["/deploy", type(request).__name__.lower(), *request.words], ())
        case Help(command=command):
            return f"/{command} help"


def _quoted(reason: str) -> str:
    """A reason at the end of a line, in quotes where it would not read back to itself without."""
    for form in (reason, f'"{reason}"', f"'{reason}'"):
        words = form.split(" ")
        taken = take_reason(words)
        if taken.text == reason and taken.used == len(words) and not taken.suspect:
            return form
    return reason


def _deploy(request: Deploy) -> str:
    words = ["/deploy", request.app, request.version, request.environment]
    if request.app.lower() in VERBS:
        words.insert(1, "deploy")
    switches = ((Option.DRY_RUN, request.dry_run), (Option.BREAK_GLASS, request.break_glass))
    return _line(words, switches, at=request.at, reason=request.reason)


def _promote(request: Promote) -> str:
    words = ["/promote", ",".join(request.apps)]
    plain = request.source and not {request.source.lower(), request.target.lower()} & {"from", "to"}
    if plain:
        words += [name for name in (request.source, request.target) if name]
    else:
        words += ["from", request.source] if request.source else []
        words += ["to", request.target] if request.target else []
    switches = ((Option.FORCE, request.force), (Option.BREAK_GLASS, request.break_glass))
    return _line(words, switches, at=request.at, reason=request.reason)


def _line(words: list[str], switches: tuple[tuple[Option, bool], ...], *, at: str = "", reason: str = "") -> str:
    """The reason comes last: there it needs no quotes, because nothing follows that it could swallow."""
    words = [*words, *(option.value for option, on in switches if on)]
    words += [f"{Option.AT} {at}"] if at else []
    words += [f"{Option.REASON} {_quoted(reason)}"] if reason else []
    return " ".join(words)
