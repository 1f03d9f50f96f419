"""What `--reason` and `--at` take of a line, what phones do to options, and options that are wrong.

Left out: which command takes which option, beyond one example each (test_parse, test_parse_changes).
"""

import pytest

from bot.slack.parse import parse_deploy, parse_promote
from commands.reasons import ReasonCode
from commands.requests import Deploy, Mistake, Promote


def reason_of(text: str) -> str:
    request = parse_deploy(f"web 1.4.2 dev {text}")
    assert isinstance(request, Deploy), request
    return request.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("--reason fixes login --at 22:00", "fixes login"),
        ("--at 22:00 --reason fixes login", "fixes login"),
        ("--reason --dashes first", "--dashes first"),
        ("--reason takes -v and – a dash — out", "takes -v and – a dash — out"),  # noqa: RUF001 - as phones write it
        ('--reason "fixes login" --at 22:00', "fixes login"),
        ('--reason "use --dry-run first" --at 22:00', "use --dry-run first"),
        ("--reason 'use --dry-run first'", "use --dry-run first"),
        ("--reason „use —dry-run first“", "use —dry-run first"),
        ("--reason «use --dry-run»", "use --dry-run"),
        ('--reason fix the "cart"', 'fix the "cart"'),
        ('--reason "cart" is what we fix', '"cart" is what we fix'),
        ('--reason "cart and "till" too"', 'cart and "till" too'),
        ("--reason ‘it’s slow’", "it’s slow"),  # noqa: RUF001 - as phones write it
        ("--reason it's slow", "it's slow"),
        ('--reason "not closed --at 22:00', '"not closed'),
        ('--reason=" spaced "', "spaced"),
        ("--REASON Loud", "Loud"),
        ("--reason one\ntwo", "one two"),
        ("--reason ---- x ----", "---- x ----"),
    ],
)
def test_a_reason_is_the_rest_up_to_the_next_option_or_a_quotation(text: str, reason: str) -> None:
    assert reason_of(text) == reason


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("--at 22:00", "22:00"),
        ("--at=22:00", "22:00"),
        ("—at tomorrow 09:00 Europe/Berlin", "tomorrow 09:00 Europe/Berlin"),
        ("--at “2026-01-31 22:00” --reason x", "2026-01-31 22:00"),
        ("--at “22:00 --reason the “cart”", "22:00"),
        ("--at +2h", "+2h"),
        ("--at soon, I hope", "soon, I hope"),
    ],
)
def test_a_time_stays_as_it_was_typed(text: str, at: str) -> None:
    request = parse_deploy(f"web 1.4.2 dev {text}")
    assert isinstance(request, Deploy)
    assert request.at == at


@pytest.mark.parametrize("dashes", ["--", "—", "–", "―", "−−", "—-", "-–"])  # noqa: RUF001 - what phones make of `--`
def test_any_dash_of_a_phone_begins_an_option(dashes: str) -> None:
    request = parse_promote(f"web {dashes}force {dashes}reason slow")
    assert request == Promote(("web",), reason="slow", force=True)


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ("--dry-run --dry-run", "`--dry-run` is there twice.", "Write it once."),
        ("--reason a --reason b", "`--reason` is there twice.", "Give one reason."),
        ("--at 22:00 --at 23:00", "`--at` is there twice.", "Write it once."),
        ("--dry-run=yes", "`--dry-run` takes no value", "Write `--dry-run` alone"),
        ("--reason --dry-run", "`--reason` has no text.", "Write the reason"),
        ("--reason=--dry-run", "`--reason` has no text.", "Write the reason"),
        ('--reason ""', "`--reason` has no text.", "Write the reason"),
        ("--reason “ ”", "`--reason` has no text.", "Write the reason"),
        ("--at", "`--at` has no time.", "--at tomorrow 09:00"),
        ("-dry-run", "`-dry-run` is no option", "Did you mean `--dry-run`?"),
        ("--reson x", "`--reson` is no option", "Did you mean `--reason`?"),
        ("--reason fixes --dryrun", "`--dryrun` is no option", "Did you mean `--dry-run`?"),
        ("--reason fixes --Break_Glass", "is no option", "put the text in quotes"),
        ("--reason fixes --exact", "`--exact` is for `/rollback`", "put that text in quotes"),
        ("--at “22:00 --dry-run”", "`--dry-run` stands inside a time.", "End the quotation"),
        ("--at 22:00 --dryrun", "`--dryrun` is no option", "Did you mean `--dry-run`?"),
        ("--exact", "`--exact` is for `/rollback`", "A deployment is"),
    ],
)
def test_an_option_that_is_wrong_is_told_what_is_right(text: str, what: str, next_step: str) -> None:
    mistake = parse_deploy(f"web 1.4.2 dev {text}")
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.BAD_USAGE
    assert what in mistake.what
    assert next_step in mistake.next_step


def test_a_story_is_no_time() -> None:
    mistake = parse_deploy(f"web 1.4.2 dev --at {'when the moon is full ' * 4}")
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.BAD_TIME
    assert "`--at 22:00`" in mistake.next_step


def test_an_option_in_quotes_does_nothing() -> None:
    request = parse_deploy('web 1.4.2 production --reason "told to --break-glass --at 22:00"')
    assert request == Deploy("web", "1.4.2", "production", "told to --break-glass --at 22:00")
