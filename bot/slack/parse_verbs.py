"""The verbs of `/deploy`: what is no deployment, from `status` to `review`. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.slack.command_line import Typed, command_line
from bot.slack.parse_options import Form, Option, take_apart
from bot.slack.parse_text import example, usage
from commands.reasons import ReasonCode, Refused
from commands.requests import (
    Approve,
    Cancel,
    Freeze,
    Lock,
    Mistake,
    Queue,
    Reject,
    Request,
    Review,
    Status,
    Unfreeze,
    Unlock,
    Why,
    typed,
)
from commands.times import is_duration, parse_duration

Words = tuple[str, ...]
_ANY = 1000  # more words than a line can hold: who reads them says what is wrong with them
_SAYS = (Option.REASON,)


@dataclass(frozen=True)
class _Verb:
    """How many words a verb takes, and the request that they make with the reason."""

    form: Form
    least: int
    most: int
    make: Callable[[Words, str], Typed]
    missing: str = ""
    why: str = ""
    """Why a reason is asked for; empty when it may be left out."""
    lasts: bool = False
    """Whether a duration may follow."""


def _form(verb: str, noun: str, right: str, options: tuple[Option, ...] = ()) -> Form:
    return Form(f"/deploy {verb}", noun, right, options)


_ID = "the id from its card"
_WHAT = "an app, an environment, both, or `all`"
_VERBS: Mapping[str, _Verb] = {
    "status": _Verb(
        _form("status", "A look at what runs", "`/deploy status [APP] [ENVIRONMENT]`"),
        0,
        _ANY,
        lambda words, _: Status(words),
    ),
    "queue": _Verb(
        _form("queue", "A look at what waits", "`/deploy queue [APP] [ENVIRONMENT]`"),
        0,
        2,
        lambda words, _: Queue(words),
    ),
    "why": _Verb(
        _form("why", "The question", "`/deploy why ID`, or `/deploy why APP [ENVIRONMENT]`"),
        1,
        2,
        lambda words, _: Why(words),
        f"Say what is held up: {_ID}, or an app.",
    ),
    "cancel": _Verb(
        _form("cancel", "Taking back", "`/deploy cancel ID`, or `/deploy cancel APP ENVIRONMENT`"),
        1,
        2,
        lambda words, _: Cancel(words),
        "Say what to cancel.",
    ),
    "lock": _Verb(
        _form("lock", "A lock", "`/deploy lock APP|ENVIRONMENT|APP ENVIRONMENT|all [2h] --reason TEXT`", _SAYS),
        1,
        3,
        Lock,
        f"Say what to lock: {_WHAT}.",
        "A lock stops other people's work, so it says why.",
        lasts=True,
    ),
    "unlock": _Verb(
        _form("unlock", "Unlocking", "`/deploy unlock APP|ENVIRONMENT|APP ENVIRONMENT|all [--reason TEXT]`", _SAYS),
        1,
        2,
        Unlock,
        f"Say what to unlock: {_WHAT}.",
    ),
    "freeze": _Verb(
        _form("freeze", "A freeze", "`/deploy freeze ENVIRONMENT|all 2h --reason TEXT`", _SAYS),
        2,
        2,
        Freeze,
        "Say what to freeze and for how long: an environment or `all`, then for example `2h`.",
        "A freeze stops other people's work, so it says why.",
        lasts=True,
    ),
    "unfreeze": _Verb(
        _form("unfreeze", "Ending a freeze", "`/deploy unfreeze ENVIRONMENT|all [--reason TEXT]`", _SAYS),
        1,
        1,
        Unfreeze,
        "Say what to unfreeze: an environment, or `all`.",
    ),
    "approve": _Verb(
        _form("approve", "An approval", "`/deploy approve ID [--reason TEXT]`", _SAYS),
        1,
        1,
        lambda words, said: Approve(words[0], said),
        f"Say what to approve: {_ID}.",
    ),
    "reject": _Verb(
        _form("reject", "A rejection", "`/deploy reject ID --reason TEXT`", _SAYS),
        1,
        1,
        lambda words, said: Reject(words[0], said),
        f"Say what to reject: {_ID}.",
        "A rejection tells whoever asked what to change, so it needs a reason.",
    ),
    "review": _Verb(
        _form("review", "A review", "`/deploy review ID [--reason TEXT]`", _SAYS),
        1,
        1,
        lambda words, said: Review(words[0], said),
        f"Say what was reviewed: {_ID}.",
    ),
}


def is_verb(word: str) -> bool:
    """True for the first words of `/deploy` that are read here."""
    return word.lower() in _VERBS


def parse_verb(words: list[str], line: str) -> Request:
    """`status web`, `lock production 2h --reason TEXT` and so on; the first word is a verb."""
    verb = _VERBS[words[0].lower()]
    taken = take_apart(words[1:], verb.form, line)
    if isinstance(taken, Mistake):
        return taken
    found = _without_for(taken.words) if verb.lasts else taken.words
    if len(found) > verb.most:
        tell = " Put what you want to tell after `--reason`." if verb.form.options else ""
        return usage(f"{typed(found[verb.most])} is one word too many.", f"{verb.form.reminder}{tell}", line)
    if len(found) < verb.least:
        return usage(verb.missing, verb.form.reminder, line)
    wrong = _wrong_length(verb, found, line) if verb.lasts else None
    if wrong is not None:
        return wrong
    request = verb.make(found, taken.reason)
    if verb.why and not taken.reason:
        return reason_required(request, verb.why, line)
    return request


def reason_required(request: Typed, why: str, line: str) -> Mistake:
    """The answer to a good request that does not say why: the same line with the place for the reason."""
    offer = example(f"{command_line(request)} --reason TEXT")
    return Mistake(ReasonCode.REASON_REQUIRED, why, f"Type {offer}, with your own words for TEXT.", line)


def _without_for(words: Words) -> Words:
    """`production for 2h` is `production 2h`."""
    filler = len(words) > 2 and words[-2].lower() == "for" and is_duration(words[-1])
    return (*words[:-2], words[-1]) if filler else words


def _wrong_length(verb: _Verb, words: Words, line: str) -> Mistake | None:
    """A Mistake where the last word must be a duration and is none, or is one that is too long or too short."""
    must = len(words) == verb.most
    if not must and not (len(words) > 1 and is_duration(words[-1])):
        return None
    if must and is_duration(words[0]) and not is_duration(words[-1]):
        turned = example(command_line(verb.make((*words[1:], words[0]), "TEXT")))
        return usage("The duration comes last.", f"Did you mean {turned}?", line)
    try:
        parse_duration(words[-1])
    except Refused as fault:
        return Mistake(fault.reason, fault.what, f"{fault.next_step} {verb.form.reminder}", line)
    return None
