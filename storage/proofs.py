"""Proofs from the stored tree: with a checkpoint, anybody can check them who knows RFC 6962 (`merkle`, for one)."""

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import bindparam, select

from storage import ledger
from storage.ledger import Run
from storage.merkle import Frontier, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion
from storage.prepared import Prepared
from storage.record_models import AuditRow, LedgerNode
from storage.signing import SignedHead, Stamp, TreeHead

_AUDIT, _NODES = (cast("Any", model).__table__ for model in (AuditRow, LedgerNode))
_LEAF = Prepared(select(_AUDIT.c.leaf).where(_AUDIT.c.seq == bindparam("seq")))
_SIG = Prepared(select(_AUDIT.c.sig).where(_AUDIT.c.seq == bindparam("seq")))
_NODE = Prepared(select(_NODES.c.hash).where(_NODES.c.level == bindparam("level"), _NODES.c.idx == bindparam("idx")))


class NoProofError(Exception):
    """There is no such proof. The message is a sentence for people."""


@dataclass(frozen=True)
class Inclusion:
    """That a row is in the record. `steps` are the hashes of RFC 6962's audit path."""

    seq: int
    leaf: bytes
    head: TreeHead
    steps: tuple[bytes, ...]

    @property
    def holds(self) -> bool:
        """True when the proof shows it."""
        return verify_inclusion(self.leaf, self.seq - 1, self.head.size, self.steps, self.head.root)


@dataclass(frozen=True)
class Growth:
    """That the record only grew between two checkpoints."""

    old: TreeHead
    new: TreeHead
    steps: tuple[bytes, ...]

    @property
    def holds(self) -> bool:
        """True when the proof shows it."""
        return verify_consistency(self.old.size, self.new.size, self.old.root, self.new.root, self.steps)


def head_at(run: Run, origin: str, size: int) -> TreeHead:
    """The tree over the first so many rows. NoProofError when there are not so many, or the stored tree has a hole."""
    there = ledger.head(run).frontier.size
    if not 0 <= size <= there:
        raise NoProofError(f"The record has {there:,} rows, not {size:,}.")
    levels = (level for level in reversed(range(size.bit_length())) if size >> level & 1)
    hashes = tuple(subtree(run, level, (size >> level) - 1) for level in levels)
    return TreeHead(origin, size, Frontier(size, hashes).root())


def checkpoint_at(run: Run, origin: str, size: int) -> SignedHead | None:
    """The checkpoint whose last row is this one; None when that row is not signed. NoProofError as in `head_at`."""
    found = run(_SIG, {"seq": size})
    stamp = Stamp.parse(str(found[0][0])) if found else None
    return None if stamp is None else SignedHead(head_at(run, origin, size), (stamp,))


def inclusion(run: Run, origin: str, seq: int, size: int = 0) -> Inclusion:
    """Prove that a row is in the tree over the first `size` rows; over all, by default. NoProofError."""
    whole = size or ledger.head(run).frontier.size
    if not 0 < seq <= whole:
        raise NoProofError(f"There is no row {seq} in the tree over {whole:,} rows.")
    head = head_at(run, origin, whole)
    steps = inclusion_proof(seq - 1, whole, lambda level, index: subtree(run, level, index))
    return Inclusion(seq, subtree(run, 0, seq - 1), head, steps)


def growth(run: Run, origin: str, old: int, new: int = 0) -> Growth:
    """Prove that the tree over `new` rows (all, by default) begins with the one over `old` rows. NoProofError."""
    whole = new or ledger.head(run).frontier.size
    if not 0 <= old <= whole:
        raise NoProofError(f"A record of {whole:,} rows does not begin with one of {old:,}.")
    heads = head_at(run, origin, old), head_at(run, origin, whole)
    return Growth(*heads, consistency_proof(old, whole, lambda level, index: subtree(run, level, index)))


def subtree(run: Run, level: int, index: int) -> bytes:
    """The hash of a complete subtree, of 2**level leaves. NoProofError where it is not stored."""
    found = run(_NODE, {"level": level, "idx": index}) if level else run(_LEAF, {"seq": index + 1})
    if not found:
        raise NoProofError("The stored tree has a hole: run `locktender audit verify`.")
    return bytes.fromhex(str(found[0][0]))
