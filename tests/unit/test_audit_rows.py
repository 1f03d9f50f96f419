"""Audit rows: the bytes that are hashed, the hash, and that nobody can change what was written.

Numbering under many writers is in test_storage_at_once; what is recorded, in the tests of each use case.
"""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from storage.audit_text import AuditRecord, audit_text, fresh_text, kept, kept_details
from storage.canonical import canonical, leaf_hash, storable
from storage.database import Database
from storage.record_models import AuditRow
from storage.unit_of_work import AuditEntry, Store
from tests.rows import audit_rows
from tests.secrets import SECRETS

AT = datetime(2026, 3, 1, 12, 30, 0, 5, tzinfo=UTC)
ENTRY = AuditEntry(
    "deployment:request",
    actor="U0ALICE",
    team_id="T1",
    app="web",
    environment="staging",
    deployment_id="0123456789",
    reason_code="accepted",
    details={
        "version": "1.4.2",
        "dry_run": False,
        "reason": 'na\u00efve "\u2028\n" \U0001f680',
        "files": ["b", "a"],
        "n": 3,
    },
)
GOLDEN = (
    '{"action":"deployment:request","actor":"U0ALICE","app":"web","at":"2026-03-01T12:30:00.000005+00:00",'
    '"deployment_id":"0123456789","details":{"dry_run":false,"files":["b","a"],"n":3,'
    '"reason":"na\u00efve \\"\u2028\\n\\" \U0001f680","version":"1.4.2"},"environment":"staging",'
    '"reason_code":"accepted","seq":1,"team_id":"T1"}'
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def write(store: Store, entry: AuditEntry = ENTRY) -> AuditRecord:
    with store.write() as uow:
        return uow.audit(entry)


def test_a_row_is_hashed_over_exactly_these_bytes(database_url: str) -> None:
    store = Store(Database(database_url), lambda: AT)
    write(store)
    with store.read() as uow:
        row = uow.session.get(AuditRow, 1)
        assert row is not None
        assert audit_text(row) == GOLDEN
        assert row.leaf == hashlib.sha256(b"\x00" + GOLDEN.encode()).hexdigest()
    store.database.close()


def test_every_leaf_can_be_computed_again_from_what_is_stored(store: Store) -> None:
    for details in ({}, {"words": "half\ud800 nul\0 \u202e"}, {"nested": {"list": ["\0", {"b": 1, "a": None}]}}):
        write(store, AuditEntry("test:write", actor="U\ud800", app="a\0b", details=details))
    rows = audit_rows(store)
    assert len(rows) == 3
    assert all(row.leaf == leaf_hash(audit_text(row)) for row in rows)
    assert (rows[0].app, rows[0].actor) == ("a\ufffdb", "U\ufffd")


@pytest.mark.parametrize("column", ["action", "actor", "app", "environment", "details", "reason_code", "team_id"])
def test_a_different_row_has_a_different_leaf(store: Store, column: str) -> None:
    row = write(store)
    other: dict[str, Any] = {column: '{"version":"1.4.3"}'}
    changed = replace(row, **other)
    assert leaf_hash(audit_text(changed)) != leaf_hash(audit_text(row))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 2",
        "UPDATE audit SET leaf = ''",
        "DELETE FROM audit WHERE seq = 3",
        "DELETE FROM audit",
        "REPLACE INTO audit SELECT * FROM audit",
        "TRUNCATE audit",
    ],
)
def test_the_database_refuses_to_change_what_was_recorded(store: Store, statement: str) -> None:
    for _ in range(3):
        write(store)
    before = [row.model_dump() for row in audit_rows(store)]
    with pytest.raises(DBAPIError), store.write() as uow:
        uow.session.execute(text(statement))
    assert [row.model_dump() for row in audit_rows(store)] == before


def test_what_is_rolled_back_takes_its_number_with_it(store: Store) -> None:
    write(store)
    with store.write() as uow:
        assert uow.audit(ENTRY).seq == 2
        uow.session.rollback()
    assert write(store).seq == 2


def test_a_row_with_a_float_is_refused_and_nothing_is_written(store: Store) -> None:
    with pytest.raises(TypeError, match="float"):
        write(store, AuditEntry("test:write", details={"seconds": [{"deep": 1.5}]}))
    assert audit_rows(store) == []


@given(JSON.filter(lambda value: isinstance(value, dict)), st.text(), st.text())
def test_what_is_hashed_when_a_row_is_written_is_what_is_hashed_when_it_is_verified(
    details: dict[str, object], actor: str, environment: str
) -> None:
    written = AuditRecord(
        seq=7,
        at=datetime(2026, 3, 1, 13, 0, 0, 123, tzinfo=timezone(timedelta(hours=1))),
        action="deployment:request",
        team_id="T1",
        actor=kept(actor),
        app="web",
        environment=kept(environment),
        deployment_id="abc",
        reason_code="",
        details=kept_details(details),
    )
    assert fresh_text(written) == audit_text(written)


@given(JSON)
def test_the_same_value_has_one_text_whatever_order_it_was_built_in(value: object) -> None:
    def reordered(item: object) -> object:
        if isinstance(item, dict):
            return {key: reordered(item[key]) for key in reversed(item)}
        return [reordered(one) for one in item] if isinstance(item, list) else item

    clean = storable(value)
    assert canonical(clean) == canonical(reordered(clean))
    assert "\0" not in canonical(clean)
    canonical(clean).encode()


@pytest.mark.parametrize("value", [1.0, float("nan"), {"a": [1, (2.5,)]}])
def test_floats_have_no_canonical_text(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        canonical(value)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_credential_that_somebody_pasted_is_not_recorded_wherever_it_stands(store: Store, secret: str) -> None:
    """The record can never be edited, so it must not get there."""
    details = {"reason": f"try {secret} then", "moved": [secret, {"deep": secret}], secret: 1, "version": "1.4.2"}
    write(store, AuditEntry("deployment:refuse", secret, secret, secret, secret, "0123456789", "bad_usage", details))
    (row,) = audit_rows(store)
    kept = " ".join(str(one) for one in row.model_dump().values())
    for part in secret.splitlines():
        assert part not in kept
    said = json.loads(row.details)
    assert (said["reason"], said["version"]) == ("try [redacted] then", "1.4.2")
    assert row.leaf == leaf_hash(audit_text(row)), "what is proven is what is kept"


def test_an_address_is_kept_without_who_was_named_in_it(store: Store) -> None:
    address = "https://user:p%40ss@git.example/infra.git"
    write(store, replace(ENTRY, details={"url": address, "plain": "https://git.example/a@b"}))
    said = json.loads(audit_rows(store)[0].details)
    assert said == {"url": "https://[redacted]@git.example/infra.git", "plain": "https://git.example/a@b"}


@pytest.mark.parametrize(
    "text", ["fix basic authentication", "bearer of bad news, in full", "result_of_the_night: lt_short", "@night"]
)
def test_honest_words_are_recorded_as_they_are(store: Store, text: str) -> None:
    write(store, replace(ENTRY, details={"reason": text}))
    assert json.loads(audit_rows(store)[0].details) == {"reason": text}
