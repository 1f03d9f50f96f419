"""Any text at all: parsing never raises, no request holds what cannot be seen, and a request reads back to itself.

Left out: what the words mean (test_parse and its neighbours).
"""

from collections.abc import Callable
from dataclasses import astuple
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.slack.command_line import Typed, command_line
from bot.slack.parse import LONGEST_TEXT, parse_audit, parse_deploy, parse_mention, parse_promote, parse_rollback
from bot.slack.parse_options import Option
from commands.grammar import unsafe_characters
from commands.requests import Approve, Deploy, Freeze, Help, Lock, Mistake, Promote, Queue, Request, Rollback

PARSERS: dict[str, Callable[[str], Request]] = {
    "/deploy": parse_deploy,
    "/promote": parse_promote,
    "/rollback": parse_rollback,
    "/audit": lambda text: parse_audit(text, me="U1"),
    "mention": lambda text: parse_mention(text, me="U1"),
}
WORDS = [
    *("web", "api,cart", ",", "staging", "production", "1.4.2", "to", "from", "for", "all", "2h", "k3x9m2p0aa"),
    *("status", "queue", "why", "lock", "unlock", "freeze", "unfreeze", "cancel", "approve", "reject", "review"),
    *("help", "deploy", "promote", "rollback", "22:00", "tomorrow", "“fix", "cart”", '"', "'it's", "login'", "—", "--"),
    *("--so", "&amp;lt;", "&lt;b&gt;", "`", "=", "--dryrun", "--reason=x", "--at=“22:00", "—reason", "–exact", '"x"'),  # noqa: RUF001 - as phones write it
    *("<@U0BOT>", "<https://a.example|a>", "app:web", "by:me", "\u3000", "\n", "😀", "é", "`x`"),
    *Option,
]
LINES = st.lists(st.sampled_from(WORDS) | st.sampled_from(list(Option)), max_size=14).map(" ".join)
ANY = st.text(max_size=4000) | st.text("-—\"'” =,ab&;lt<>`\u200b\ue000\x00", max_size=200)


def safe(value: object) -> bool:
    """No text in a request, however deep, holds what the parser promises to refuse."""
    if isinstance(value, tuple | list):
        return all(safe(part) for part in value)
    return not isinstance(value, str) or (unsafe_characters(value) is None and "\ue000" not in value)


def read_back(request: Typed) -> Request:
    """What Slack would deliver of the canonical line, read again."""
    command, _, rest = command_line(request).partition(" ")
    return PARSERS[command](rest.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS.keys())
@given(text=ANY | LINES)
def test_no_text_makes_parsing_raise_or_leaves_something_unseen(parse: Callable[[str], Request], text: str) -> None:
    request = parse(text)
    assert safe(astuple(request))
    if isinstance(request, Mistake):
        assert request.what
        assert request.next_step


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS.keys())
@given(text=LINES)
def test_a_request_reads_back_to_itself(parse: Callable[[str], Request], text: str) -> None:
    request = parse(text)
    if isinstance(request, get_args(Typed)) and len(command_line(request)) < LONGEST_TEXT:
        assert read_back(request) == request


@pytest.mark.parametrize(
    ("parse", "heads"),
    [
        (
            parse_deploy,
            ("web 1", "web 1 dev --dry-run", "lock web", "freeze p 2h", "approve k3x9m2p0aa", "deploy queue 1"),
        ),
        (parse_promote, ("web", "web, api a b", "web to p", "all a b --force", "web from to")),
        (parse_rollback, ("web p", "web p to 1 --exact", "web p 1")),
    ],
    ids=["/deploy", "/promote", "/rollback"],
)
@settings(max_examples=200, deadline=None)  # a busy machine is not a fault of the parser
@given(data=st.data())
def test_a_text_reads_back_to_itself_however_it_was_quoted(
    parse: Callable[[str], Request], heads: tuple[str, ...], data: st.DataObject
) -> None:
    option = data.draw(st.sampled_from(["--reason ", "--at 22:00 --reason ", "--reason x --at ", ""]))
    said = " ".join(data.draw(st.lists(st.sampled_from([*WORDS, *Option]), max_size=8)))
    quotes = data.draw(st.sampled_from(["{}", '"{}"', "'{}'", "“{}”", "„{}“", "«{}»"]))
    request = parse(f"{data.draw(st.sampled_from(heads))} {option}{quotes.format(said)}")
    if isinstance(request, get_args(Typed)):
        assert read_back(request) == request


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (Deploy("web", "1.4.2", "dev", "fixes", dry_run=True), "/deploy web 1.4.2 dev --dry-run --reason fixes"),
        (Deploy("queue", "1", "dev", at="22:00"), "/deploy deploy queue 1 dev --at 22:00"),
        (Deploy("a", "1", "b", "use --at"), '/deploy a 1 b --reason "use --at"'),
        (Promote(("a", "b"), "x", "y", force=True), "/promote a,b x y --force"),
        (Promote(("a",), "", "y"), "/promote a to y"),
        (Promote(("a",), "x"), "/promote a x"),
        (Rollback("a", "x", "1", "slow", exact=True), "/rollback a x to 1 --exact --reason slow"),
        (Lock(("all",), "sale"), "/deploy lock all --reason sale"),
        (Freeze(("x", "2h"), "sale"), "/deploy freeze x 2h --reason sale"),
        (Approve("k3x9m2p0aa", "good"), "/deploy approve k3x9m2p0aa --reason good"),
        (Queue(), "/deploy queue"),
        (Help("rollback"), "/rollback help"),
    ],
)
def test_a_request_is_written_as_a_person_would(request_: Typed, line: str) -> None:
    assert command_line(request_) == line
