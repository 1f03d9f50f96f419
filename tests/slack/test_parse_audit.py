"""What the words of `/audit` mean, and what the Older button carries. Names and times are looked up later.

That nothing typed makes the parser fail is in test_parse_fuzz; every command that help names is tried in test_help.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.answers import answer_message
from bot.slack.audit_pages import older_page, older_value
from bot.slack.parse import parse_audit
from commands.reasons import ReasonCode
from commands.requests import (
    Answer,
    Evidence,
    Export,
    ExportForm,
    Help,
    History,
    Mistake,
    Report,
    Request,
    Row,
    Show,
    Verify,
)
from tests.slack.message_rules import broken_rules


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("", History()),
        ("history", History()),
        ("help", Help("audit")),
        ("app:web", History(app="web")),
        ("HISTORY APP:web Env:staging", History(app="web", environment="staging")),
        ("history by:me checkout slow", History(actor="U1", words="checkout slow")),
        ("history by:<@U0DEV|dev>", History(actor="U0DEV")),
        ("history by:github:Alice", History(actor="github:alice")),
        ("history by:api:ci", History(actor="api:ci")),
        ("history by:cli:root", History(actor="cli:root")),
        ("history by:git:dev@example.com", History(actor="git:dev@example.com")),
        ("history since:7d until:2026-01-31", History(since="7d", until="2026-01-31")),
        ("history since:2026-01-31T18:00+02:00", History(since="2026-01-31T18:00+02:00")),
        (
            "history status:failed commit:ABC1234 version:1.4.2 action:change:approve id:0123456789",
            History(
                status="failed", commit="ABC1234", version="1.4.2", action="change:approve", deployment_id="0123456789"
            ),
        ),
        ("history my-application 1.4.2", History(words="my-application 1.4.2")),
        ("checkout", History(words="checkout")),
        ("show 0123456789", Show(("0123456789",))),
        ("show id:0123456789", Show(("0123456789",))),
        ("evidence 0123456789", Evidence("0123456789")),
        ("evidence id:0123456789", Evidence("0123456789")),
        ("evidence ABCDEF1234", Evidence("abcdef1234")),
        ("evidence #12", Evidence("#12")),
        ("evidence row:12", Evidence("row:12")),
        ("export csv", Export(ExportForm.CSV)),
        (
            "export JSONL app:web since:30d slow",
            Export(ExportForm.JSONL, History(app="web", since="30d", words="slow")),
        ),
        ("report", Report()),
        ("report since:30d app:web env:production", Report("web", "production", "30d")),
        ("verify", Verify()),
    ],
)
def test_words_become_a_request(text: str, request_: Request) -> None:
    assert parse_audit(text, me="U1") == request_


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("history colour:red", "is no filter"),
        ("history aap:web", "Did you mean `app:`"),
        ("history app:", "says nothing after the colon"),
        ("history app:web app:shop", "there twice"),
        ("history by:somebody", "names nobody"),
        ("history commit:xyz", "not the beginning of a commit"),
        ("history commit:ab", "not the beginning of a commit"),
        ("history !!!", "nothing to look for"),
        (f"history {'word ' * 70}", "more than 300 characters"),
        ("histroy app:web", "`/audit history app:web`"),
        ("show", "Say which"),
        ("show a b", "one word too many"),
        ("evidence", "Say of which"),
        ("evidence a b", "names no change"),
        ("evidence ../../x", "names no change"),
        ("export", "what kind of file"),
        ("export pdf", "no kind of file"),
        ("export csv colour:red", "is no filter"),
        ("report by:me", "A report is of"),
        ("report checkout", "A report is of"),
        ("verify everything", "one word too many"),
    ],
)
def test_what_is_no_request_is_answered_with_what_would_be(text: str, said: str) -> None:
    mistake = parse_audit(text, me="U1")
    assert isinstance(mistake, Mistake)
    assert mistake.reason is ReasonCode.BAD_USAGE
    assert said in f"{mistake.what} {mistake.next_step}"
    assert mistake.next_step


TEXT = st.text(max_size=30)
PAGES = st.builds(
    History, app=TEXT, environment=TEXT, actor=TEXT, deployment_id=TEXT, before=st.integers(1, 2**31), since=TEXT,
    until=TEXT, status=TEXT, commit=TEXT, version=TEXT, action=TEXT, words=st.text(max_size=300),
)  # fmt: skip


@given(PAGES)
def test_a_page_comes_back_from_its_button_as_it_went(page: History) -> None:
    value = older_value(page)
    assert len(value) <= 2000
    assert older_page(value) == page or value == f'{{"before": {page.before}}}'


def test_the_longest_filters_fit_a_button() -> None:
    page = History(
        "\\" * 99,
        '"' * 99,
        '"' * 200,
        '"' * 99,
        7,
        since='"' * 99,
        until='"' * 99,
        status='"' * 99,
        commit="a" * 99,
        version='"' * 200,
        action='"' * 99,
        words='"' * 300,
    )
    assert len(older_value(page)) <= 2000
    assert older_page(older_value(page)).before == 7


@given(st.text(max_size=200) | st.sampled_from(["[]", "1", "null", '{"before": "x"}', '{"before": 1e999}', "{}"]))
def test_a_forged_button_is_the_first_page_or_a_harmless_one(value: str) -> None:
    assert isinstance(older_page(value), History)


def test_a_row_that_leads_on_is_a_link_that_says_so() -> None:
    rows = (Row("Pull request #7: open", "", "https://github.example/pull/7"), Row("no", "", "javascript:alert(1)"))
    message = answer_message(Answer(ReasonCode.ANSWERED, "The story.", rows=rows))
    assert broken_rules(message) == []
    text = message.blocks[1]["text"]["text"]
    assert "<https://github.example/pull/7|open>" in text
    assert "javascript" not in text
