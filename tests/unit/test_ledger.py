"""The ledger: each row makes the tree longer and is signed, in its own transaction; keys come, go and get lost.

The tree itself is in test_merkle, formats in test_signed_note; what a verifier finds, in test_verify.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import keys, ledger, ledger_keys
from storage.database import Database
from storage.keys import KeyFile, KeyFileError, Keys
from storage.merkle import frontier_of
from storage.record_models import AuditRow
from storage.signing import PrivateKey, SignedHead, Stamp, TreeHead
from storage.unit_of_work import AuditEntry, Store
from tests.rows import audit_rows

ORIGIN = "locktender/git.example/infra"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "audit.key"


@pytest.fixture
def open_store(database_url: str, key_file: Path) -> Iterator[Callable[[], Store]]:
    """Opens the store as another process would."""
    opened = []

    def make() -> Store:
        store = Store(Database(database_url), signer=ledger.Signer(KeyFile(key_file, ORIGIN)))
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.database.close()


@pytest.fixture
def signed(open_store: Callable[[], Store]) -> Store:
    """A store whose key has been introduced: row 1."""
    store = open_store()
    ledger_keys.introduce(store)
    return store


def write(store: Store, count: int = 1) -> None:
    for _ in range(count):
        with store.write() as uow:
            uow.audit(AuditEntry("test:write", details={"after": uow.now.isoformat()}))


def run_sql(store: Store, *statements: str) -> None:
    with store.write() as uow:
        for statement in statements:
            uow.session.execute(text(statement))


def without_triggers(store: Store, *statements: str) -> None:
    """As somebody does who owns the database."""
    if store.database.is_sqlite:
        names = ("audit_no_update", "audit_no_delete", "audit_no_replace")
        run_sql(store, *(f"DROP TRIGGER IF EXISTS {name}" for name in names), *statements)
    else:
        run_sql(store, "SET LOCAL session_replication_role = replica", *statements)


def stored_nodes(store: Store) -> dict[tuple[int, int], str]:
    with store.read() as uow:
        rows = uow.session.execute(text("SELECT level, idx, hash FROM ledger_nodes")).all()
    return {(level, index): found for level, index, found in rows}


def head_at(rows: list[AuditRow], size: int) -> TreeHead:
    return TreeHead(ORIGIN, size, frontier_of(bytes.fromhex(row.leaf) for row in rows[:size]).root())


def is_signed(store: Store, seq: int, key: PrivateKey | None = None) -> bool:
    assert store.signer is not None
    rows = audit_rows(store)
    stamp = Stamp.parse(rows[seq - 1].sig)
    public = (key or store.signer.keys.key).public
    return stamp is not None and stamp.key_id == public.id and public.signed(head_at(rows, seq).text, stamp.signature)


def test_every_row_is_signed_with_the_tree_that_it_ends(signed: Store) -> None:
    write(signed, 8)
    assert [row.action for row in audit_rows(signed)] == ["audit:key", *["test:write"] * 8]
    assert all(is_signed(signed, seq) for seq in range(1, 10))


def test_the_stored_tree_is_the_one_over_the_leaves(signed: Store) -> None:
    write(signed, 12)
    rows = audit_rows(signed)
    leaves = [bytes.fromhex(row.leaf) for row in rows]
    with signed.read() as uow:
        assert ledger.head(uow.run).frontier == frontier_of(leaves)
    for (level, index), found in stored_nodes(signed).items():
        assert found == frontier_of(leaves[index << level : index + 1 << level]).root().hex()
    assert len(stored_nodes(signed)) == 6 + 3 + 1


def test_what_is_rolled_back_leaves_nothing_in_the_tree(signed: Store) -> None:
    write(signed, 2)
    with signed.write() as uow:
        uow.audit(AuditEntry("test:lost"))
        uow.audit(AuditEntry("test:lost"))
        uow.session.rollback()
    assert len(stored_nodes(signed)) == 1
    write(signed, 2)
    assert all(is_signed(signed, seq) for seq in range(1, 6))


def test_without_a_key_rows_are_in_the_tree_and_not_signed(store: Store) -> None:
    write(store, 3)
    assert [row.sig for row in audit_rows(store)] == ["", "", ""]
    with store.read() as uow:
        assert ledger.head(uow.run).frontier.size == 3


def test_writers_at_once_make_one_tree(open_store: Callable[[], Store]) -> None:
    stores = [open_store(), open_store()]
    ledger_keys.introduce(stores[0])
    barrier = threading.Barrier(4)

    def some(store: Store) -> None:
        barrier.wait()
        write(store, 5)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(some, stores * 2))
    rows = audit_rows(stores[0])
    assert [row.seq for row in rows] == list(range(1, 22))
    assert all(is_signed(stores[0], seq) for seq in range(1, 22))


def test_rows_of_an_earlier_release_are_taken_in_and_vouched_for(store: Store, open_store: Callable[[], Store]) -> None:
    write(store, 5)
    run_sql(store, "DELETE FROM ledger_nodes", "DELETE FROM ledger_state")  # as that release leaves it
    signed = open_store()
    ledger_keys.introduce(signed)
    assert [bool(row.sig) for row in audit_rows(signed)] == [False] * 5 + [True]
    assert is_signed(signed, 6)
    assert len(stored_nodes(signed)) == 3 + 1


def test_a_changed_edge_of_the_tree_is_not_vouched_for_by_a_new_process(
    signed: Store, open_store: Callable[[], Store]
) -> None:
    write(signed, 3)
    forged = json.dumps(["00" * 32])
    run_sql(signed, f"UPDATE ledger_state SET frontier = '{forged}'")  # noqa: S608 - a test's own words
    write(open_store(), 2)
    assert [bool(row.sig) for row in audit_rows(signed)] == [True] * 4 + [False, True]


def test_a_changed_edge_of_the_tree_is_not_vouched_for_by_the_process_that_signed_it(signed: Store) -> None:
    write(signed, 3)
    run_sql(signed, f"UPDATE ledger_state SET frontier = '{json.dumps(['00' * 32])}'")  # noqa: S608 - a test's own words
    write(signed)
    assert [bool(row.sig) for row in audit_rows(signed)] == [True] * 4 + [False]


def test_signatures_that_were_taken_away_are_not_made_up_for(signed: Store, open_store: Callable[[], Store]) -> None:
    write(signed, 2)
    without_triggers(signed, "UPDATE audit SET sig = ''")
    again = open_store()
    ledger_keys.introduce(again)
    write(again)
    assert [row.sig for row in audit_rows(signed)] == [""] * 4


def test_a_key_that_has_signed_rows_is_not_introduced_to_another_record(
    signed: Store, open_store: Callable[[], Store]
) -> None:
    write(signed, 2)
    without_triggers(signed, "DELETE FROM audit", "DELETE FROM ledger_nodes", "DELETE FROM ledger_state")
    again = open_store()
    ledger_keys.introduce(again)
    write(again)
    assert [(row.action, row.sig) for row in audit_rows(signed)] == [("test:write", "")]


def test_numbers_of_rows_that_were_cut_off_are_not_given_again(signed: Store) -> None:
    write(signed, 4)
    without_triggers(signed, "DELETE FROM audit WHERE seq > 3")
    write(signed)
    assert [row.seq for row in audit_rows(signed)] == [1, 2, 3, 6]


def test_the_key_is_introduced_once(open_store: Callable[[], Store], key_file: Path) -> None:
    for _ in range(2):
        store = open_store()
        ledger_keys.introduce(store)
        write(store)
    assert [row.action for row in audit_rows(store)] == ["audit:key", "test:write", "test:write"]
    assert keys.load(key_file).since == 1


def test_the_row_that_introduces_a_key_says_which_and_after_what(signed: Store) -> None:
    with signed.read() as uow:
        ((seq, change),) = ledger.key_changes(uow.run)
    assert signed.signer is not None
    assert (seq, change.key, change.previous) == (1, signed.signer.keys.key.public, None)
    assert change.head == TreeHead(ORIGIN, 0, frontier_of([]).root())
    assert change.is_signed


def test_a_rotation_is_signed_by_both_keys_and_the_rows_after_it_by_the_new_one(signed: Store) -> None:
    assert signed.signer is not None
    write(signed)
    old = signed.signer.keys.key
    new = ledger_keys.rotate(signed)
    write(signed)
    assert new == signed.signer.keys.key.public != old.public
    assert is_signed(signed, 3, old)
    assert is_signed(signed, 4)
    with signed.read() as uow:
        _, (seq, change) = ledger.key_changes(uow.run)
    assert (seq, change.key, change.previous) == (3, new, old.public)
    assert change.head == head_at(audit_rows(signed), 2)
    assert change.is_signed
    assert keys.load(signed.signer.file.path).key.public == new
    assert signed.signer.keys.before is None


def test_another_process_follows_a_rotation(signed: Store, open_store: Callable[[], Store]) -> None:
    other = open_store()
    write(other)
    ledger_keys.rotate(signed)
    write(other)
    assert is_signed(signed, 4)


def test_a_rotation_that_was_killed_before_it_was_recorded_is_made_up_for_at_the_next_start(
    signed: Store, open_store: Callable[[], Store], key_file: Path
) -> None:
    assert signed.signer is not None
    running, old = open_store(), signed.signer.keys
    keys.store(key_file, Keys(PrivateKey.generate(ORIGIN), old.key, old.since))
    write(running)
    assert is_signed(running, 2, old.key), "nobody has recorded the new key, so the old one goes on"
    started = open_store()
    ledger_keys.introduce(started)
    write(started)
    assert [row.action for row in audit_rows(started)] == ["audit:key", "test:write", "audit:key", "test:write"]
    assert is_signed(started, 3, old.key)
    assert is_signed(started, 4)


def test_a_lost_key_is_replaced_and_the_record_says_that_nobody_vouches_for_the_new_one(
    signed: Store, open_store: Callable[[], Store], key_file: Path
) -> None:
    write(signed)
    key_file.unlink()
    again = open_store()
    ledger_keys.introduce(again)
    with again.read() as uow:
        changes = ledger.key_changes(uow.run)
    assert [(seq, change.previous) for seq, change in changes] == [(1, None), (3, None)]
    assert is_signed(again, 3)


def test_a_checkpoint_that_leaves_is_noted_once(signed: Store) -> None:
    assert signed.signer is not None
    write(signed, 2)
    found, again = ledger_keys.leave(signed), ledger_keys.leave(signed)
    assert found is not None
    assert found == again
    assert found.head == head_at(audit_rows(signed), 3)
    assert found.signed_by(signed.signer.keys.key.public)
    ((name, value),) = ledger_keys.trailer(signed)
    assert name == "Audit-Checkpoint"
    assert SignedHead.parse_trailer(value, ORIGIN) == found
    with signed.read() as uow:
        rows = uow.session.execute(text("SELECT size, note FROM checkpoints")).all()
    assert [tuple(row) for row in rows] == [(3, found.note)]


def test_without_a_key_nothing_leaves(store: Store) -> None:
    write(store)
    assert ledger_keys.trailer(store) == ()


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://github.com/company/infra.git", "locktender/github.com/company/infra"),
        ("ssh://git@github.com/company/infra.git", "locktender/github.com/company/infra"),
        ("git@github.com:company/infra.git", "locktender/github.com/company/infra"),
        ("file:///srv/git/infra+more.git", "locktender/srv/git/infra-more"),
        ("/srv/git/infra", "locktender/srv/git/infra"),
    ],
)
def test_the_log_is_named_after_the_infra_repo(address: str, origin: str) -> None:
    assert keys.origin_of(address) == origin
    PrivateKey.generate(origin)


def test_the_key_file_is_for_its_owner_alone_and_stays_what_it_is(key_file: Path) -> None:
    made = keys.ensure(key_file, ORIGIN)
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert keys.ensure(key_file, "locktender/elsewhere").key.secret == made.key.secret
    assert [path.name for path in key_file.parent.iterdir()] == ["audit.key"]


def test_two_processes_that_make_the_key_at_once_have_the_same(key_file: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: keys.ensure(key_file, ORIGIN).key.secret, range(8)))
    assert len(set(made)) == 1


def test_a_key_file_that_cannot_be_used_says_why_and_shows_nothing(key_file: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        keys.load(key_file)
    keys.ensure(key_file, ORIGIN)
    os.chmod(key_file, 0o644)  # noqa: PTH101 - the fault under test
    with pytest.raises(KeyFileError, match="chmod 600"):
        keys.load(key_file)
    os.chmod(key_file, 0o600)  # noqa: PTH101
    secret = keys.load(key_file).key.secret
    key_file.write_text(f"key {secret[:-8]}AAAAAAA=\n")
    with pytest.raises(KeyFileError, match="damaged") as fault:
        keys.load(key_file)
    assert secret[-40:-8] not in str(fault.value)
    with pytest.raises(KeyFileError, match="cannot be made"):
        keys.ensure(key_file / "below", ORIGIN)
