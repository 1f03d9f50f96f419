"""What the verbs of `/deploy` mean: looking, locking, freezing and deciding.

Left out: which words are apps, environments or ids (the use cases look them up).
"""

import pytest

from bot.slack.parse import parse_deploy
from commands.reasons import ReasonCode
from commands.requests import Approve, Freeze, Lock, Mistake, Queue, Reject, Review, Unfreeze, Unlock, Why


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("queue", Queue()),
        ("QUEUE web staging", Queue(("web", "staging"))),
        ("why k3x9m2p0aa", Why(("k3x9m2p0aa",))),
        ("why web production", Why(("web", "production"))),
        ("lock web --reason sale", Lock(("web",), "sale")),
        ("lock web staging --reason sale", Lock(("web", "staging"), "sale")),
        ("lock web 2h --reason sale", Lock(("web", "2h"), "sale")),
        ("lock web for 2h --reason sale", Lock(("web", "2h"), "sale")),
        ("lock web staging for 1h30m —reason “sale”", Lock(("web", "staging", "1h30m"), "sale")),
        ("lock for 2h --reason an app of this name", Lock(("for", "2h"), "an app of this name")),
        ("lock all --reason sale", Lock(("all",), "sale")),
        ("unlock web", Unlock(("web",))),
        ("unlock web staging --reason sold", Unlock(("web", "staging"), "sold")),
        ("freeze production 2h --reason audit", Freeze(("production", "2h"), "audit")),
        ("freeze all for 30d --reason audit", Freeze(("all", "30d"), "audit")),
        ("unfreeze production", Unfreeze(("production",))),
        ("unfreeze all --reason over", Unfreeze(("all",), "over")),
        ("approve k3x9m2p0aa", Approve("k3x9m2p0aa")),
        ("approve k3x9m2p0aa --reason looks good", Approve("k3x9m2p0aa", "looks good")),
        ("reject k3x9m2p0aa --reason wrong tag", Reject("k3x9m2p0aa", "wrong tag")),
        ("review k3x9m2p0aa", Review("k3x9m2p0aa")),
        ("review k3x9m2p0aa --reason seen", Review("k3x9m2p0aa", "seen")),
    ],
)
def test_a_verb_means(text: str, request_: object) -> None:
    assert parse_deploy(text) == request_


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ("why", "Say what is held up", "`/deploy why ID`"),
        ("queue a b c", "`c` is one word too many.", "`/deploy queue [APP] [ENVIRONMENT]`."),
        ("status --reason x", "not for `/deploy status`", "`/deploy status [APP] [ENVIRONMENT]`"),
        ("status --x", "`--x` is no option of `/deploy status`", "A look at what runs is"),
        ("lock", "Say what to lock: an app, an environment, both, or `all`.", "A lock is `/deploy lock"),
        ("lock a b 2h c --reason x", "`c` is one word too many.", "after `--reason`"),
        ("lock web --dry-run", "`--dry-run` is for `/deploy APP VERSION`, not for `/deploy lock`.", "A lock is"),
        ("unlock", "Say what to unlock", "Unlocking is"),
        ("freeze production", "for how long", "A freeze is `/deploy freeze ENVIRONMENT|all 2h --reason TEXT`."),
        ("freeze 2h production", "The duration comes last.", "`/deploy freeze production 2h --reason TEXT`"),
        ("unfreeze", "Say what to unfreeze", "Ending a freeze is"),
        ("approve", "Say what to approve: the id from its card.", "An approval is"),
        ("approve k3x9m2p0aa fine", "`fine` is one word too many.", "after `--reason`"),
        ("reject", "Say what to reject", "A rejection is"),
        ("review", "Say what was reviewed", "A review is"),
        ("cancel a b c", "`c` is one word too many.", "`/deploy cancel ID`"),
    ],
)
def test_a_verb_that_means_nothing_is_told_what_would(text: str, what: str, next_step: str) -> None:
    mistake = parse_deploy(text)
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.BAD_USAGE
    assert what in mistake.what
    assert next_step in mistake.next_step


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("freeze production soon --reason x", "`soon` is not a duration"),
        ("freeze production 31d --reason x", "more than 30 days"),
        ("lock web 0m --reason x", "less than a minute"),
        ("lock web staging 2hours --reason x", "`2hours` is not a duration"),
    ],
)
def test_a_length_that_cannot_be_is_refused_at_once(text: str, what: str) -> None:
    mistake = parse_deploy(text)
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.BAD_TIME
    assert what in mistake.what
    assert "2h" in mistake.next_step


@pytest.mark.parametrize(
    ("text", "offer"),
    [
        ("lock web for 2h", "`/deploy lock web 2h --reason TEXT`"),
        ("freeze production 2h", "`/deploy freeze production 2h --reason TEXT`"),
        ("reject k3x9m2p0aa", "`/deploy reject k3x9m2p0aa --reason TEXT`"),
    ],
)
def test_what_stops_others_is_asked_for_a_reason(text: str, offer: str) -> None:
    mistake = parse_deploy(text)
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.REASON_REQUIRED
    assert offer in mistake.next_step
