"""Signed links and cookies of the pages, and the file with their key. Whom they let in: tests/slack/test_pages."""

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.web.pages.seal import LINK_FOR, SESSION_FOR, Pass, Purpose, Seal, ensure_key
from commands.audit_open import open_pages
from commands.reasons import ReasonCode
from commands.requests import Asker, Open
from storage.keys import KeyFileError
from storage.unit_of_work import Store
from tests.desk_rig import BOB, MINIMAL, asker, check_refusal, check_words, facts, last_audit, requested
from tests.rows import audit_rows

NOW = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
SEAL = Seal(b"k" * 32, lambda: NOW)


def read(token: str, purpose: Purpose = Purpose.LINK, seal: Seal = SEAL) -> Pass | None:
    return seal.read(purpose, token)


def test_a_link_is_read_back_with_its_person_its_page_and_its_end() -> None:
    found = read(SEAL.link("T1", "U0ALICE", "abc123"))
    assert found is not None
    assert (found.team_id, found.user_id, found.page) == ("T1", "U0ALICE", "/deployments/abc123")
    assert found.until == NOW + LINK_FOR
    assert not found.expired(NOW + LINK_FOR - timedelta(seconds=1))
    assert found.expired(NOW + LINK_FOR)


def test_two_links_of_one_second_are_two() -> None:
    assert SEAL.link("T1", "U0ALICE") != SEAL.link("T1", "U0ALICE")


def test_a_link_is_no_cookie_and_a_cookie_is_no_link() -> None:
    link = SEAL.link("T1", "U0ALICE")
    found = read(link)
    assert found is not None
    session, cookie = SEAL.session(found)
    assert session.until == NOW + SESSION_FOR
    assert read(link, Purpose.SESSION) is None
    assert read(cookie) is None
    assert read(cookie, Purpose.SESSION) == session


def test_what_another_key_signed_is_nothing() -> None:
    assert read(SEAL.link("T1", "U0ALICE"), seal=Seal(b"x" * 32, lambda: NOW)) is None


@given(at=st.integers(0, 10_000), letter=st.characters(codec="utf-8"))
def test_no_letter_can_be_changed(at: int, letter: str) -> None:
    token = SEAL.link("T1", "U0ALICE")
    at %= len(token)
    changed = token[:at] + letter + token[at + 1 :]
    assert (read(changed) is None) == (changed != token)


@given(st.text(max_size=1200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("page", ["//evil.example", "https://evil.example", "/\\evil.example", "/deployments/../x", ""])
def test_a_pass_leads_nowhere_but_to_pages(page: str) -> None:
    found = read(SEAL.link("T1", "U0ALICE"))
    assert found is not None
    assert read(SEAL.write(Purpose.LINK, replace(found, page=page))) is None


# ---------------------------------------------------------------- the key


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "pages.key"
    key = ensure_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_key(path) == key
    assert [one.name for one in tmp_path.iterdir()] == ["pages.key"]


def test_a_key_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pages.key"
    ensure_key(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        ensure_key(path)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff\xfe", b"g" * 64])
def test_a_damaged_key_is_told_and_not_used(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pages.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        ensure_key(path)


def test_a_key_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read or made"):
        ensure_key(tmp_path / "nowhere" / "pages.key")


# ---------------------------------------------------------------- /audit open


def to(asked: Asker, deployment_id: str) -> str:
    return f"https://bot.example/open?t={asked.user_id}.{deployment_id}"


def test_a_link_is_answered_and_handing_it_out_is_recorded_without_it(store: Store) -> None:
    answer = open_pages(store, facts(), asker(), Open(), to)
    check_words(answer)
    assert [row.url for row in answer.rows] == ["https://bot.example/open?t=U0ALICE."]
    row = last_audit(store)
    assert (row.action, row.actor) == ("pages:link", "U0ALICE")
    with store.read() as uow:
        remembered = uow.answered(asker(key="x").delivery_key)
    assert remembered is None
    assert "open?t=" not in "".join(one.details for one in audit_rows(store))


def test_a_repeated_delivery_gets_a_link_too_and_one_row(store: Store) -> None:
    for _ in range(2):
        answer = open_pages(store, facts(), asker(key="trigger:again"), Open(), to)
        assert answer.rows
    assert len(audit_rows(store)) == 1
    with store.read() as uow:
        assert "open?t=" not in (uow.answered("trigger:again") or "")


def test_a_link_leads_to_what_is_named(store: Store) -> None:
    mine = requested(store, facts())
    answer = open_pages(store, facts(), asker(BOB), Open((mine[:6],)), to)
    assert answer.rows[0].url == f"https://bot.example/open?t={BOB}.{mine}"


def test_what_there_is_not_cannot_be_opened(store: Store) -> None:
    check_refusal(store, open_pages(store, facts(), asker(), Open(("zzzzzz",)), to), ReasonCode.UNKNOWN_DEPLOYMENT)


def test_without_an_address_it_says_which_setting_is_missing(store: Store) -> None:
    answer = open_pages(store, facts(), asker(), Open(), None)
    check_refusal(store, answer, ReasonCode.NOT_CONFIGURED)
    assert "LOCKTENDER_PUBLIC_URL" in answer.what


def test_who_may_not_read_the_record_gets_no_link(store: Store) -> None:
    rules = MINIMAL + "audit: {readers: [platform-team]}\n"
    check_refusal(store, open_pages(store, facts(rules), asker(), Open(), to), ReasonCode.NOT_PERMITTED)
