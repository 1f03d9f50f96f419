"""What the words of `/promote` and `/rollback` mean, and what is said to those that mean nothing.

Left out: whether the path, the apps and the versions exist (policy's work), and what an option takes
(test_parse_options).
"""

import pytest

from bot.slack.parse import MOST_APPS, parse_promote, parse_rollback
from commands.reasons import ReasonCode
from commands.requests import Help, Mistake, Promote, Rollback


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("web", Promote(("web",))),
        ("web staging", Promote(("web",), "staging")),
        ("web from staging", Promote(("web",), "staging")),
        ("web to production", Promote(("web",), "", "production")),
        ("web staging production", Promote(("web",), "staging", "production")),
        ("web staging to production", Promote(("web",), "staging", "production")),
        ("web from staging to production", Promote(("web",), "staging", "production")),
        ("web to production from staging", Promote(("web",), "staging", "production")),
        ("web production from staging", Promote(("web",), "staging", "production")),
        ("web,api staging production", Promote(("web", "api"), "staging", "production")),
        ("web, api ,cart , pay staging production", Promote(("web", "api", "cart", "pay"), "staging", "production")),
        (",web,,api,web staging production", Promote(("web", "api"), "staging", "production")),
        ("web,web staging", Promote(("web",), "staging")),
        ("ALL staging production", Promote(("all",), "staging", "production")),
        (
            "web staging production --reason one, two",
            Promote(("web",), "staging", "production", "one, two"),
        ),
        (
            "web --at tomorrow 09:00 --force --reason soak was cut short",
            Promote(("web",), reason="soak was cut short", at="tomorrow 09:00", force=True),
        ),
        ("web —break-glass —reason down", Promote(("web",), reason="down", break_glass=True)),
        ("", Help("promote")),
        ("Help", Help("promote")),
    ],
)
def test_a_promotion_means(text: str, request_: object) -> None:
    assert parse_promote(text) == request_


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        (",", "An app is missing.", "A promotion is"),
        ("--force", "An app is missing.", "A promotion is"),
        ("web,api", "from one named place to another", "Type `/promote web,api FROM TO`."),
        ("web, api staging", "from one named place to another", "Type `/promote web,api staging TO`."),
        ("all to production", "from one named place to another", "Type `/promote all FROM production`."),
        ("web, staging production", "from one named place", "Type `/promote web,staging production TO`."),
        ("all,web staging production", "stands alone", "A promotion is"),
        ("web staging production now", "`now` is one word too many", "commas between apps"),
        ("web dev,staging production", "`dev,staging` is a list", "A promotion is"),
        ("web staging to", "`to` is followed by nothing", "Name an environment"),
        ("web to dev to production", "`to` is there twice", "A promotion is"),
        ("web from a to b c", "`c` is one word too many", "after `--reason`"),
        ("web --exact", "`--exact` is for `/rollback`, not for `/promote`", "A promotion is"),
        ("web --dry-run", "`--dry-run` is for `/deploy APP VERSION`", "A promotion is"),
        ("web --at 22:00 --break-glass --reason x", "what cannot wait", "Leave out"),
        (",".join(f"app-{number}" for number in range(51)) + " a b", "51 apps are too many", "in several steps"),
    ],
)
def test_a_promotion_that_means_nothing_is_told_what_would(text: str, what: str, next_step: str) -> None:
    mistake = parse_promote(text)
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.BAD_USAGE
    assert what in mistake.what
    assert next_step in mistake.next_step


def test_fifty_apps_are_one_change_however_often_each_is_named() -> None:
    names = [f"app-{number}" for number in range(MOST_APPS)]
    request = parse_promote(f"{','.join([*names, *names[:3]])} a b")
    assert isinstance(request, Promote)
    assert request.apps == tuple(names)


@pytest.mark.parametrize("option", ["--force", "--break-glass"])
def test_a_promotion_around_a_check_says_why(option: str) -> None:
    mistake = parse_promote(f"web, api to production from staging {option}")
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.REASON_REQUIRED
    assert f"Type `/promote web,api staging production {option} --reason TEXT`" in mistake.next_step


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("web production --reason slow", Rollback("web", "production", reason="slow")),
        ("web production to 1.4.1 --reason slow", Rollback("web", "production", "1.4.1", "slow")),
        ("web production 1.4.1 --reason slow", Rollback("web", "production", "1.4.1", "slow")),
        ("web production TO 4f0c2d1ab3f9 --reason slow", Rollback("web", "production", "4f0c2d1ab3f9", "slow")),
        ("web production to to --reason slow", Rollback("web", "production", "to", "slow")),
        (
            "web production —exact —break-glass —reason “the cart’s empty”",  # noqa: RUF001 - as phones write it
            Rollback("web", "production", reason="the cart’s empty", exact=True, break_glass=True),  # noqa: RUF001 - as phones write it
        ),
        ("--reason it is slow --exact web production", Rollback("web", "production", reason="it is slow", exact=True)),
        ("", Help("rollback")),
        ("help", Help("rollback")),
    ],
)
def test_a_rollback_means(text: str, request_: object) -> None:
    assert parse_rollback(text) == request_


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ("--exact", "An app and an environment are missing.", "A rollback is"),
        ("web", "Say in which environment.", "Type `/rollback web ENVIRONMENT --reason TEXT`."),
        ("web to 1.4.1", "Say in which environment.", "Type `/rollback web ENVIRONMENT to 1.4.1 --reason TEXT`."),
        ("web production to", "`to` is followed by nothing.", "`/rollback web production --reason TEXT`"),
        ("web production 1.4.1 now", "`now` is one word too many.", "after `--reason`"),
        ("web production to 1.4.1 now", "`now` is one word too many.", "after `--reason`"),
        ("web production --dry-run", "is for `/deploy APP VERSION`, not for `/rollback`", "A rollback is"),
        ("web production --exakt", "is no option of `/rollback`", "Did you mean `--exact`?"),
        ("we`b", "Say in which environment.", "Type `/rollback we\ufffdb ENVIRONMENT --reason TEXT`."),
    ],
)
def test_a_rollback_that_means_nothing_is_told_what_would(text: str, what: str, next_step: str) -> None:
    mistake = parse_rollback(text)
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.BAD_USAGE
    assert what in mistake.what
    assert next_step in mistake.next_step


@pytest.mark.parametrize(
    ("text", "offer"),
    [
        ("web production", "`/rollback web production --reason TEXT`"),
        ("web production 1.4.1 —exact", "`/rollback web production to 1.4.1 --exact --reason TEXT`"),
        (f"{'w' * 300} production", f"`/rollback {'w' * 210}…`"),
    ],
)
def test_a_rollback_without_a_reason_is_asked_for_one_in_its_own_words(text: str, offer: str) -> None:
    mistake = parse_rollback(text)
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.REASON_REQUIRED
    assert mistake.next_step == f"Type {offer}, with your own words for TEXT."
    assert mistake.words == text
