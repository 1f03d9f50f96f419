"""Proofs from the stored tree hold for every row and every two sizes, by the functions that know nothing of storage."""

from collections.abc import Iterator

import pytest

from storage import proofs
from storage.merkle import verify_consistency, verify_inclusion
from tests.unit import ledger_rig
from tests.unit.ledger_rig import ORIGIN, Record

ROWS = 11


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def record(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """One record for all of these: none of them changes it."""
    folder = tmp_path_factory.mktemp("proofs")
    if request.param == "sqlite":
        path = folder / "locktender.db"
        path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        yield from ledger_rig.record(f"sqlite:///{path}", folder, ROWS)
        return
    url: str = request.getfixturevalue("postgres_url")
    request.getfixturevalue("postgres_server").empty(url)
    yield from ledger_rig.record(url, folder, ROWS)


def test_every_row_is_proved_to_be_in_every_tree_after_it(record: Record) -> None:
    leaves = [bytes.fromhex(row.leaf) for row in record.rows()]
    with record.store.read() as uow:
        for size in range(1, ROWS + 1):
            root = proofs.head_at(uow.run, ORIGIN, size).root
            for seq in range(1, size + 1):
                found = proofs.inclusion(uow.run, ORIGIN, seq, size)
                assert found.holds
                assert verify_inclusion(leaves[seq - 1], seq - 1, size, found.steps, root)


def test_every_tree_is_proved_to_begin_with_every_earlier_one(record: Record) -> None:
    with record.store.read() as uow:
        for new in range(ROWS + 1):
            for old in range(new + 1):
                found = proofs.growth(uow.run, ORIGIN, old, new)
                assert found.holds
                assert verify_consistency(old, new, found.old.root, found.new.root, found.steps)


def test_every_row_has_the_checkpoint_that_it_ends(record: Record) -> None:
    with record.store.read() as uow:
        for size in range(1, ROWS + 1):
            found = proofs.checkpoint_at(uow.run, ORIGIN, size)
            assert found is not None
            assert found.head.size == size
            assert found.signed_by(record.key)


def test_what_is_not_there_has_no_proof(record: Record) -> None:
    with record.store.read() as uow:
        for seq, size in ((0, 0), (ROWS + 1, 0), (3, 2), (1, ROWS + 1)):
            with pytest.raises(proofs.NoProofError, match="rows"):
                proofs.inclusion(uow.run, ORIGIN, seq, size)
        with pytest.raises(proofs.NoProofError):
            proofs.growth(uow.run, ORIGIN, ROWS + 1)
