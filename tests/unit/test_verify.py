"""A verifier finds every kind of tampering by somebody who owns the database and not the key, and names the first row.

Each forgery is done with raw SQL, triggers off, on SQLite and Postgres; where it says so, with all hashes and the tree
made to fit. Exports are in test_verify_export, git in test_audit_git, the command in test_cli_audit.
"""

import dataclasses
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import audit_rows
from storage import ledger, ledger_keys
from storage.database import sqlite_url
from storage.merkle import Frontier
from storage.signing import PrivateKey, SignedHead, Stamp, TreeHead
from storage.unit_of_work import AuditEntry, Store
from storage.verdict import Anchor, Kind, State, Trust
from storage.verify import MANY, verify
from storage.verify_rows import BLOCK, Book
from tests.unit import ledger_rig
from tests.unit.ledger_rig import ORIGIN, Record, forged_edge

ROWS = 20


@pytest.fixture
def record(database_url: str, tmp_path: Path) -> Iterator[Record]:
    yield from ledger_rig.record(database_url, tmp_path, ROWS)


def first(record: Record, *anchors: Anchor, trust: Trust | None = None) -> tuple[Kind, int, int]:
    """The first finding's kind and row, and the rows that are proven all the same."""
    verdict = record.verify(*anchors, trust=trust)
    assert verdict.state is State.TAMPERED
    assert verdict.summary == verdict.findings[0].what
    assert all(one.next_step for one in verdict.findings)
    return verdict.findings[0].kind, verdict.findings[0].row, verdict.proven


def test_a_record_that_nobody_touched_is_proven(record: Record) -> None:
    verdict = record.verify(record.anchor())
    assert verdict.findings == ()
    assert (verdict.state, verdict.rows, verdict.proven) == (State.PROVEN, ROWS, ROWS)
    assert (verdict.anchored, verdict.anchors) == (ROWS, 1)
    assert verdict.summary == "All 20 rows are as they were written, and none is missing."


def test_looking_changes_nothing(record: Record) -> None:
    before = [row.model_dump() for row in record.rows()]
    record.verify()
    assert [row.model_dump() for row in record.rows()] == before


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'U0MALLORY'",
        "app = 'api'",
        "environment = 'production'",
        "reason_code = 'forged'",
        "team_id = 'T2'",
        "action = 'deployment:approve'",
        "deployment_id = 'd999'",
        "at = '2020-01-01 00:00:00.000000+00:00'",
        "details = '{}'",
        "details = ' ' || details",
        'details = \'{"version":"9",\' || substr(details, 2)',
        "leaf = '00'",
    ],
)
def test_an_edited_row_is_named(record: Record, change: str) -> None:
    record.sql(f"UPDATE audit SET {change} WHERE seq = 7")  # noqa: S608 - a test's own words
    assert first(record) == (Kind.EDITED, 7, 6)


def test_a_deleted_row_is_named(record: Record) -> None:
    record.sql("DELETE FROM audit WHERE seq = 7")
    assert first(record) == (Kind.MISSING, 7, 6)


def test_the_first_of_several_is_named(record: Record) -> None:
    record.sql("DELETE FROM audit WHERE seq = 15", "UPDATE audit SET actor = 'U0MALLORY' WHERE seq IN (9, 12)")
    assert first(record) == (Kind.EDITED, 9, 8)


def test_an_edited_row_whose_hashes_and_tree_were_made_to_fit_is_named(record: Record) -> None:
    record.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 7")
    record.reforge()
    assert first(record) == (Kind.REFORGED, 7, 6)


@pytest.mark.parametrize("row", [1, 2, ROWS])
def test_it_is_named_wherever_it_is(record: Record, row: int) -> None:
    record.sql(f"UPDATE audit SET actor = 'U0MALLORY' WHERE seq = {row}")  # noqa: S608 - a test's own words
    record.reforge()
    assert first(record) == (Kind.REFORGED, row, row - 1)


def test_a_deleted_row_whose_gap_was_closed_is_named(record: Record) -> None:
    record.sql("DELETE FROM audit WHERE seq = 7")
    record.renumber(8, -1)
    record.reforge()
    assert first(record) == (Kind.REFORGED, 7, 6)


def test_an_inserted_row_is_named(record: Record) -> None:
    record.renumber(7, 1)
    record.insert(7, like=3)
    record.reforge()
    assert first(record) == (Kind.UNSIGNED, 7, 6)


def test_an_inserted_row_with_a_signature_of_another_row_is_named(record: Record) -> None:
    sig = record.rows()[2].sig
    record.renumber(7, 1)
    record.insert(7, like=3, sig=sig)
    record.reforge()
    assert first(record) == (Kind.REFORGED, 7, 6)


def test_rows_that_changed_places_are_named(record: Record) -> None:
    record.sql(
        "UPDATE audit SET seq = 1000 WHERE seq = 7",
        "UPDATE audit SET seq = 7 WHERE seq = 12",
        "UPDATE audit SET seq = 12 WHERE seq = 1000",
    )
    assert first(record) == (Kind.EDITED, 7, 6)
    record.reforge()
    assert first(record) == (Kind.REFORGED, 7, 6)


def test_rows_that_were_cut_off_are_found_by_the_tree(record: Record) -> None:
    record.sql("DELETE FROM audit WHERE seq > 15")
    assert first(record) == (Kind.CUT_OFF, 16, 15)


def test_rows_that_were_cut_off_with_their_tree_are_found_by_git(record: Record) -> None:
    anchor = record.anchor()
    record.sql("DELETE FROM audit WHERE seq > 15")
    record.sql("DELETE FROM ledger_nodes", "DELETE FROM ledger_state")
    record.reforge()
    assert record.verify().state is State.PROVEN, "nothing in the database can tell"
    kind, row, proven = first(record, anchor)
    assert (kind, row, proven) == (Kind.CUT_OFF, 16, 15)
    assert "commit 0123abcd" in record.verify(anchor).summary


def test_a_row_put_at_the_end_is_named(record: Record) -> None:
    record.insert(ROWS + 1, like=3)
    assert first(record) == (Kind.UNSIGNED, ROWS + 1, ROWS)
    record.write(2)
    assert first(record) == (Kind.UNSIGNED, ROWS + 1, ROWS), "rows after it do not vouch for it"


@pytest.mark.parametrize("restart", ["the same process", "another process"])
def test_the_bot_does_not_vouch_for_what_was_forged_before_it_wrote_on(record: Record, restart: str) -> None:
    record.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 7")
    record.reforge()
    if restart == "another process":
        record.close()
        record.store = record.open()
        ledger_keys.introduce(record.store)
    record.write(3)
    assert first(record) == (Kind.REFORGED, 7, 6)


def test_a_forger_who_takes_all_signatures_away_is_found(record: Record) -> None:
    record.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 7", "UPDATE audit SET sig = ''")
    record.reforge()
    since = Trust((record.key,), since=1)
    assert first(record, trust=since) == (Kind.UNSIGNED, 1, 0)
    record.close()
    record.store = record.open()
    ledger_keys.introduce(record.store)
    record.write(3)
    assert first(record, trust=since) == (Kind.UNSIGNED, 1, 0)
    kind, row, _ = first(record)
    assert kind is Kind.REPLACED
    assert row < ROWS + 2


def test_a_signature_that_was_taken_away_is_named(record: Record) -> None:
    record.sql("UPDATE audit SET sig = '' WHERE seq = 7")
    assert first(record) == (Kind.UNSIGNED, 7, 6)


def test_damaged_signatures_do_not_mislead_the_search(record: Record) -> None:
    damaged = f"{record.key.id}:{'A' * 86}=="
    assert Stamp.parse(damaged)
    record.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 13")
    record.sql(f"UPDATE audit SET sig = '{damaged}' WHERE seq IN (5, 10)")  # noqa: S608 - a test's own words
    record.reforge()
    assert first(record) == (Kind.REFORGED, 13, 12)


def test_a_re_forged_tree_over_rows_that_are_right_is_found(record: Record) -> None:
    record.sql(f"UPDATE ledger_nodes SET hash = '{'00' * 32}' WHERE level = 2 AND idx = 1")  # noqa: S608 - a test's own words
    verdict = record.verify()
    assert [one.kind for one in verdict.findings] == [Kind.TREE]
    assert "rows 5 to 8" in verdict.summary
    assert verdict.proven == ROWS


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE ledger_state SET frontier = '{forged_edge()}'",  # noqa: S608 - a test's own words
        "DELETE FROM ledger_nodes WHERE level = 3",
        "UPDATE ledger_state SET size = 3",
    ],
)
def test_a_damaged_tree_is_found_and_the_rows_stay_proven(record: Record, statement: str) -> None:
    record.sql(statement)
    verdict = record.verify()
    assert verdict.proven == ROWS
    assert verdict.findings or verdict.notes


def test_a_record_of_somebody_else_is_not_ours(record: Record) -> None:
    other = PrivateKey.generate("locktender/elsewhere").public
    verdict = record.verify(trust=Trust((other,)))
    assert verdict.state is State.TAMPERED
    assert (verdict.findings[0].kind, verdict.findings[0].row) == (Kind.OTHER_KEY, 1)
    assert ORIGIN in verdict.summary
    assert "locktender/elsewhere" in verdict.summary


def test_all_of_it_forged_and_signed_with_a_key_of_the_forgers_is_found(record: Record, tmp_path: Path) -> None:
    ours = record.key
    record.sql("DELETE FROM audit", "DELETE FROM ledger_nodes", "DELETE FROM ledger_state")
    record.close()
    forged = Record(record.url, tmp_path / "forged.key")
    forged.write(ROWS)
    assert first(forged, trust=Trust((ours,))) == (Kind.OTHER_KEY, 1, 0)
    record.store = forged.store


def test_an_older_copy_that_was_written_on_is_found_by_git(record: Record) -> None:
    early, late = record.anchor("commit early"), None
    record.write(5)
    late = record.anchor("commit late")
    record.sql(f"DELETE FROM audit WHERE seq > {ROWS + 2}", "DELETE FROM ledger_nodes", "DELETE FROM ledger_state")  # noqa: S608 - a test's own words
    record.reforge()
    record.close()
    record.store = record.open()
    record.write(10)
    assert record.verify(early).state is State.PROVEN, "every row is signed with the key"
    verdict = record.verify(early, late)
    assert (verdict.state, verdict.findings[0].kind, verdict.findings[0].row) == (
        State.TAMPERED, Kind.REPLACED, ROWS + 1
    )  # fmt: skip
    assert "commit late" in verdict.summary
    assert "rows 21 to 25" in verdict.summary


def test_a_checkpoint_that_is_not_signed_with_the_key_is_forged(record: Record) -> None:
    anchor = record.anchor()
    other = PrivateKey.generate(ORIGIN)
    forged = SignedHead(anchor.signed.head, (Stamp(other.public.id, other.sign(anchor.signed.head.text)),))
    damaged = SignedHead(dataclasses.replace(anchor.signed.head, root=b"\0" * 32), anchor.signed.stamps)
    for signed in (forged, damaged):
        verdict = record.verify(anchor, Anchor("commit 666", signed))
        assert [(one.kind, one.row) for one in verdict.findings] == [(Kind.CHECKPOINT, 0)]
        assert "commit 666" in verdict.summary
        assert verdict.proven == ROWS
        assert verdict.anchors == 1


def test_a_noted_checkpoint_that_was_changed_is_found(record: Record) -> None:
    ledger_keys.leave(record.store)
    assert record.verify().state is State.PROVEN
    record.sql("UPDATE checkpoints SET note = 'forged'")
    assert first(record)[0] is Kind.CHECKPOINT


def test_rows_of_the_first_release_are_vouched_for_by_the_first_row_that_is_signed(
    store: Store, tmp_path: Path
) -> None:
    for _ in range(5):
        with store.write() as uow:
            uow.audit(AuditEntry("deployment:request"))
    url = store.database.engine.url.render_as_string(hide_password=False)
    assert verify(Book(url), Trust()).state is State.UNKNOWN
    made = Record(url, tmp_path / "audit.key")
    made.write(3)
    assert made.verify().state is State.PROVEN
    made.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 3")
    assert first(made) == (Kind.EDITED, 3, 0)
    made.reforge()
    kind, row, proven = first(made)
    assert (kind, row, proven) == (Kind.REFORGED, 1, 0)
    assert "rows 1 to 6" in made.verify().summary
    made.close()


def test_a_rotated_key_vouches_for_the_old_one_and_the_other_way_round(record: Record) -> None:
    old, anchor = record.key, record.anchor()
    ledger_keys.rotate(record.store)
    record.write(3)
    for key in (old, record.key):
        verdict = record.verify(anchor, record.anchor(), trust=Trust((key,)))
        assert (verdict.state, verdict.findings, verdict.anchors) == (State.PROVEN, (), 2)


def test_a_stolen_old_key_signs_nothing_after_it_was_replaced(record: Record) -> None:
    assert record.store.signer is not None
    stolen = record.store.signer.keys.key
    ledger_keys.rotate(record.store)
    with record.store.write() as uow:
        end = ledger.tail(uow.run)
    record.write()
    grown = end.frontier.append(bytes.fromhex(record.rows()[-1].leaf))[0]
    head = TreeHead(ORIGIN, grown.size, grown.root())
    forged = Stamp(stolen.public.id, stolen.sign(head.text)).text
    record.sql(f"UPDATE audit SET sig = '{forged}' WHERE seq = {grown.size}")  # noqa: S608 - a test's own words
    assert first(record) == (Kind.OTHER_KEY, ROWS + 2, ROWS + 1)


def test_rows_before_a_rotation_cannot_be_forged_with_the_old_key(record: Record) -> None:
    assert record.store.signer is not None
    stolen = record.store.signer.keys.key
    ledger_keys.rotate(record.store)
    record.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 7")
    record.reforge()
    tree = Frontier()
    statements = []
    for row in record.rows():
        tree, _ = tree.append(bytes.fromhex(row.leaf))
        text = TreeHead(ORIGIN, tree.size, tree.root()).text
        sig = Stamp(stolen.public.id, stolen.sign(text)).text
        statements.append(f"UPDATE audit SET sig = '{sig}' WHERE seq = {row.seq}")  # noqa: S608 - a test's own words
    record.sql(*statements)
    verdict = record.verify()
    assert verdict.state is State.TAMPERED
    assert verdict.findings[0].kind is Kind.REPLACED
    assert 1 <= verdict.findings[0].row <= 7


def test_without_a_key_nothing_is_proven(record: Record) -> None:
    verdict = record.verify(trust=Trust())
    assert (verdict.state, verdict.proven) == (State.UNKNOWN, 0)
    assert "public key" in verdict.summary
    record.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 7")
    verdict = record.verify(trust=Trust())
    assert (verdict.state, verdict.findings[0].row) == (State.TAMPERED, 7)


def test_an_empty_record_is_not_called_proven(database_url: str) -> None:
    verdict = verify(Book(database_url), Trust())
    assert (verdict.state, verdict.summary) == (State.UNKNOWN, "The record is empty.")


def test_a_lost_key_does_not_unprove_what_the_new_one_has_signed(record: Record) -> None:
    anchor = record.anchor()
    record.key_file.unlink()
    record.close()
    record.store = record.open()
    ledger_keys.introduce(record.store)
    record.write(2)
    verdict = record.verify(anchor)
    assert (verdict.state, verdict.findings, verdict.anchors) == (State.PROVEN, (), 1)


def test_it_stops_when_its_time_is_over(record: Record) -> None:
    verdict = verify(Book(record.url), Trust((record.key,)), seconds=0)
    assert verdict.state is State.UNKNOWN
    assert "locktender audit verify" in verdict.summary


def test_a_record_that_is_written_meanwhile_is_judged_as_it_was(record: Record) -> None:
    told: list[tuple[int, int]] = []

    def write_on(done: int, whole: int) -> None:
        told.append((done, whole))
        record.write()

    verdict = verify(Book(record.url), Trust((record.key,)), progress=write_on)
    assert (verdict.state, verdict.rows) == (State.PROVEN, ROWS)
    assert told == [(0, ROWS), (ROWS, ROWS)]


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'U0ALICE' || char(0) || 'more'",
        "actor = CAST('U0ALICE' AS BLOB)",
        "actor = CAST(x'ff' AS TEXT)",
        "actor = 7",
        'deployment_id = \'d5","details":{"version":"1\', details = \'"\'',
        "leaf = NULL",
    ],
)
def test_what_sqlite_alone_can_store_is_an_edit_too(sqlite_template: Path, tmp_path: Path, change: str) -> None:
    path = tmp_path / "locktender.db"
    path.write_bytes(sqlite_template.read_bytes())
    for record in ledger_rig.record(sqlite_url(path), tmp_path, ROWS):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TRIGGER audit_no_update")
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'audit'")
            connection.commit()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"UPDATE audit SET {change} WHERE seq = 7")  # noqa: S608 - a test's own words
            connection.commit()
        assert first(record) == (Kind.EDITED, 7, 6)


@pytest.mark.slow
def test_many_rows_are_judged_by_several_processes_and_the_first_bad_one_is_named(tmp_path: Path) -> None:
    rows = MANY + BLOCK + 7
    store = audit_rows.filled(tmp_path, rows)
    assert store.signer is not None
    book, trust = Book.at(tmp_path / "locktender.db"), Trust((store.signer.keys.key.public,))
    store.database.close()
    told: list[int] = []
    verdict = verify(book, trust, processes=2, progress=lambda done, _: told.append(done))
    assert (verdict.state, verdict.proven, told[-1]) == (State.PROVEN, rows, rows)
    bad = MANY - 3
    for change, kind in (("actor = 'U0MALLORY'", Kind.EDITED), (f"leaf = '{'0' * 64}'", Kind.EDITED)):
        with closing(sqlite3.connect(tmp_path / "locktender.db")) as connection:
            connection.execute("DROP TRIGGER IF EXISTS audit_no_update")
            connection.execute(f"UPDATE audit SET {change} WHERE seq = {bad}")  # noqa: S608 - a test's own words
            connection.commit()
        found = verify(book, trust, processes=2)
        assert (found.findings[0].kind, found.findings[0].row, found.proven) == (kind, bad, bad - 1)
