"""What the words of `/deploy`, `/audit` and a mention mean. Names are not looked up here: that is policy's work.

Left out: `/promote` and `/rollback` (test_parse_changes), the verbs of `/deploy` (test_parse_verbs), what an option
takes (test_parse_options), and any text at all (test_parse_fuzz).
"""

import pytest

from bot.slack.parse import LONGEST_TEXT, parse_audit, parse_deploy, parse_mention
from commands.reasons import ReasonCode
from commands.requests import Approve, Cancel, Deploy, Help, History, Lock, Mistake, Promote, Rollback, Status


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("web 1.4.2", Deploy("web", "1.4.2", "staging")),
        ("web 1.4.2 dev", Deploy("web", "1.4.2", "dev")),
        ("web 1.4.2 to dev", Deploy("web", "1.4.2", "dev")),
        ("web 1.4.2 to", Deploy("web", "1.4.2", "to")),
        ("  web\t1.4.2\n dev ", Deploy("web", "1.4.2", "dev")),
        ("web\u3000 1.4.2\u2009dev", Deploy("web", "1.4.2", "dev")),
        ("web 1.10 dev --dry-run", Deploy("web", "1.10", "dev", dry_run=True)),
        ("web --dry-run 1.10 dev", Deploy("web", "1.10", "dev", dry_run=True)),
        ("web 1.4.2 --reason fixes the cart", Deploy("web", "1.4.2", "staging", "fixes the cart")),
        ("web 1.4.2 --reason “fixes the cart” ", Deploy("web", "1.4.2", "staging", "fixes the cart")),
        ("web 1.4.2 —reason fixes --dry-run", Deploy("web", "1.4.2", "staging", "fixes", dry_run=True)),
        ("web 1.4.2 --reason=hot fix :rocket:", Deploy("web", "1.4.2", "staging", "hot fix :rocket:")),
        ("web 1.4.2 --reason a &lt; b &amp;&amp; c", Deploy("web", "1.4.2", "staging", "a < b && c")),
        ("web 1.4.2 --reason so --much for dashes", Deploy("web", "1.4.2", "staging", "so --much for dashes")),
        ("web 1.4.2 dev --at 22:00", Deploy("web", "1.4.2", "dev", at="22:00")),
        ("web 1.4.2 --reason fixes login --at 22:00", Deploy("web", "1.4.2", "staging", "fixes login", at="22:00")),
        (
            "web 1.4.2 production --break-glass --reason the cart is down",
            Deploy("web", "1.4.2", "production", "the cart is down", break_glass=True),
        ),
        ("deploy web 1.4.2 dev", Deploy("web", "1.4.2", "dev")),
        ("deploy queue 1.4.2 dev", Deploy("queue", "1.4.2", "dev")),
        ("deploy deploy 1.4.2 dev", Deploy("deploy", "1.4.2", "dev")),
        ("status", Status()),
        ("status web staging", Status(("web", "staging"))),
        ("cancel k3x9m2p0aa", Cancel(("k3x9m2p0aa",))),
        ("cancel web staging", Cancel(("web", "staging"))),
        ("", Help()),
        ("HELP", Help()),
        ("help rollback", Help("rollback")),
        ("help /promote", Help("promote")),
        ("help me", Help()),
    ],
)
def test_the_words_mean(text: str, request_: object) -> None:
    assert parse_deploy(text) == request_


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ("web", "`web` alone is not enough.", "A deployment is"),
        ("deploy", "`deploy` alone is not enough.", "A deployment is"),
        ("statsu", "`statsu` alone", "Did you mean `/deploy status`?"),
        ("unlok", "`unlok` alone", "Did you mean `/deploy unlock`?"),
        ("--dry-run", "An app and a version are missing.", "A deployment is"),
        ("web 1 dev now", "`now` is one word too many.", "--reason"),
        ("web 1 to dev now", "`dev` is one word too many.", "--reason"),
        ("--upload-pack=/bin/sh 1.4.2", "is no option of `/deploy`", "A deployment is"),
        ("web -1.4.2", "`-1.4.2` is no option of `/deploy`", "A deployment is"),
        ("web 1.4.2 --dryrun", "is no option", "Did you mean `--dry-run`?"),
        ("web 1.4.2 --reason", "`--reason` has no text.", "Write the reason"),
        ("web 1.4.2 --exact", "`--exact` is for `/rollback`", "A deployment is"),
        ("web 1.4.2 --at 22:00 --break-glass --reason x", "what cannot wait", "Leave out `--break-glass` or `--at`"),
        ("web 1.4.2 --at 22:00 --dry-run", "shown at once", "Leave out `--dry-run` or `--at`"),
        ("web 1.4.2 --break-glass --dry-run", "changes nothing", "Leave out `--dry-run` or `--break-glass`"),
        ("rollback web production", "a command of its own", "Type `/rollback web production`"),
        ("promote web", "a command of its own", "Type `/promote web`"),
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


def test_breaking_the_glass_says_why() -> None:
    mistake = parse_deploy("web 1.4.2 production —break-glass")
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.REASON_REQUIRED
    assert "`/deploy web 1.4.2 production --break-glass --reason TEXT`" in mistake.next_step


@pytest.mark.parametrize(
    "text",
    ["web 1.4.2 --reason \u202egnp.exe", "we\u200bb 1.4.2", "web 1.4.2\x07", "web 1 --reason \ue000U1EVIL\ue001"],
)
def test_text_that_reads_as_something_else_is_refused(text: str) -> None:
    for request in (parse_deploy(text), parse_mention(f"<@U0BOT> deploy {text}", me="U1")):
        assert isinstance(request, Mistake)
        assert request.reason is ReasonCode.UNSAFE_TEXT


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("<@U0BOT> deploy web 1.4.2 dev", Deploy("web", "1.4.2", "dev")),
        ("<@U0BOT|locktender>  /deploy\nweb 1.4.2", Deploy("web", "1.4.2", "staging")),
        ("<@U0BOT> promote web staging production", Promote(("web",), "staging", "production")),
        ("<@U0BOT> rollback web production --reason slow", Rollback("web", "production", reason="slow")),
        ("<@U0BOT> audit app:web", History(app="web")),
        ("<@U0BOT> approve k3x9m2p0aa", Approve("k3x9m2p0aa")),
        ("<@U0BOT> Lock production 2h --reason sale", Lock(("production", "2h"), "sale")),
        ("<@U0BOT> /status", Status()),
        ("<@U0BOT> deploy status web", Status(("web",))),
        ("<@U0BOT>", Help()),
        ("<@U0BOT> help promote", Help("promote")),
        ("<@U0BOT> promote", Help("promote")),
        ("<@U0BOT> deploy <http://my.app|my.app> 1.4.2", Deploy("my.app", "1.4.2", "staging")),
        (
            "<@U0BOT> deploy web 1.4.2 --reason see <https://ci.example/7?a=1&amp;b=2> &amp;amp;",
            Deploy("web", "1.4.2", "staging", "see https://ci.example/7?a=1&b=2 &amp;"),
        ),
    ],
)
def test_a_mention_takes_the_same_words(text: str, request_: object) -> None:
    assert parse_mention(text, me="U1") == request_


def test_a_mention_of_no_command_names_the_nearest() -> None:
    mistake = parse_mention("<@U0BOT> delpoy web 1.4.2", me="U1")
    assert isinstance(mistake, Mistake)
    assert mistake.what == "`delpoy` is no command."
    assert mistake.next_step.startswith("Did you mean `deploy`?")
    assert isinstance(parse_mention("<@U0BOT> dance", me="U1"), Mistake)


def test_history_takes_filters_and_people() -> None:
    assert parse_audit("history app:web env:staging by:<@U0DEV|dev>", me="U1") == History("web", "staging", "U0DEV")
    assert parse_audit("by:me", me="U1") == History(actor="U1")
    assert parse_audit("", me="U1") == History()
    unknown = parse_audit("history aap:web", me="U1")
    assert isinstance(unknown, Mistake)
    assert "Did you mean `app:`?" in unknown.next_step
    assert isinstance(parse_audit("by:somebody", me="U1"), Mistake)
