"""What the words of a command mean. Names are not looked up here: that is policy's work (tests/unit/test_deploy.py)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.parse import LONGEST_TEXT, parse_audit, parse_deploy, parse_mention
from commands.reasons import ReasonCode
from commands.requests import Cancel, Deploy, Help, History, Mistake, Status


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("web 1.4.2", Deploy("web", "1.4.2", "staging")),
        ("web 1.4.2 dev", Deploy("web", "1.4.2", "dev")),
        ("  web\t1.4.2\n dev ", Deploy("web", "1.4.2", "dev")),
        ("web 1.10 dev --dry-run", Deploy("web", "1.10", "dev", dry_run=True)),
        ("web 1.4.2 --reason fixes the cart", Deploy("web", "1.4.2", "staging", "fixes the cart")),
        ("web 1.4.2 --reason “fixes the cart” ", Deploy("web", "1.4.2", "staging", "fixes the cart")),
        ("web 1.4.2 —reason fixes --dry-run", Deploy("web", "1.4.2", "staging", "fixes", dry_run=True)),
        ("web 1.4.2 --reason=hot fix :rocket:", Deploy("web", "1.4.2", "staging", "hot fix :rocket:")),
        ("web 1.4.2 --reason a &lt; b &amp;&amp; c", Deploy("web", "1.4.2", "staging", "a < b && c")),
        ("web 1.4.2 --reason so --much for dashes", Deploy("web", "1.4.2", "staging", "so --much for dashes")),
        ("status", Status()),
        ("status web staging", Status(("web", "staging"))),
        ("cancel k3x9m2p0aa", Cancel(("k3x9m2p0aa",))),
        ("cancel web staging", Cancel(("web", "staging"))),
        ("", Help()),
        ("HELP", Help()),
    ],
)
def test_the_words_mean(text: str, request_: object) -> None:
    assert parse_deploy(text) == request_


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ("web", "`web` alone is not enough.", "A deployment is"),
        ("statsu", "`statsu` alone", "Did you mean `/deploy status`?"),
        ("web 1 dev now", "`now` is one word too many.", "--reason"),
        ("--upload-pack=/bin/sh 1.4.2", "is no option of `/deploy`", "A deployment is"),
        ("web 1.4.2 --dryrun", "is no option", "Did you mean `--dry-run`?"),
        ("web 1.4.2 --reason", "`--reason` has no text.", "Write the reason"),
        ("cancel", "Say what to cancel.", "/deploy cancel ID"),
        ("x" * (LONGEST_TEXT + 1), "characters long", "Shorten"),
        ("web 1.4.2 --reason " + "x" * 600, "The reason is 600 characters long", "Shorten"),
    ],
)
def test_a_mistake_says_what_would_be_right(text: str, what: str, next_step: str) -> None:
    mistake = parse_deploy(text)
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.BAD_USAGE
    assert what in mistake.what
    assert next_step in mistake.next_step


@pytest.mark.parametrize("text", ["web 1.4.2 --reason \u202egnp.exe", "we\u200bb 1.4.2", "web 1.4.2\x07"])
def test_text_that_reads_as_something_else_is_refused(text: str) -> None:
    mistake = parse_deploy(text)
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.UNSAFE_TEXT


def test_a_mention_takes_the_same_words() -> None:
    assert parse_mention("<@U0BOT> deploy web 1.4.2 dev", me="U1") == Deploy("web", "1.4.2", "dev")
    assert parse_mention("<@U0BOT> audit app:web", me="U1") == History(app="web")
    assert parse_mention("<@U0BOT>", me="U1") == Help()
    assert isinstance(parse_mention("<@U0BOT> dance", me="U1"), Mistake)


def test_history_takes_filters_and_people() -> None:
    assert parse_audit("history app:web env:staging by:<@U0DEV|dev>", me="U1") == History("web", "staging", "U0DEV")
    assert parse_audit("by:me", me="U1") == History(actor="U1")
    assert parse_audit("", me="U1") == History()
    unknown = parse_audit("history aap:web", me="U1")
    assert isinstance(unknown, Mistake)
    assert "Did you mean `app:`?" in unknown.next_step
    assert isinstance(parse_audit("by:somebody", me="U1"), Mistake)


@given(st.text(max_size=4000))
def test_no_text_makes_parsing_raise(text: str) -> None:
    parse_deploy(text)
    parse_audit(text, me="U1")
    parse_mention(text, me="U1")
