"""The Merkle tree of RFC 6962: hashes, appending, proofs that a leaf is in, proofs that a tree only grew. Pure.

A subtree that is complete is named by its level (it has 2**level leaves) and its index among those of its level. Leaves
are at level 0. Appending needs the frontier alone: the hashes of the complete subtrees at the right edge.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

EMPTY = sha256(b"").digest()
"""The root of a tree without leaves."""

Subtree = Callable[[int, int], bytes]
"""From level and index to the hash of a complete subtree."""


def leaf_of(data: bytes) -> bytes:
    """The hash of a leaf's content."""
    return sha256(b"\x00" + data).digest()


def parent_of(left: bytes, right: bytes) -> bytes:
    """The hash of a subtree from those of its halves."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Node:
    """A complete subtree."""

    level: int
    index: int
    hash: bytes


@dataclass(frozen=True)
class Frontier:
    """A tree, as much of it as appending needs: one hash for each bit of `size` that is set, the largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError(f"a tree of {self.size} leaves does not have {len(self.hashes)} hashes at its edge")

    def append(self, leaf: bytes) -> tuple["Frontier", tuple[Node, ...]]:
        """The tree with one more leaf, and the subtrees (of more than one leaf) that it completes, small ones first."""
        return self.extend(leaf, 0)

    def extend(self, subtree: bytes, level: int) -> tuple["Frontier", tuple[Node, ...]]:
        """The tree with one more complete subtree. ValueError when the tree has smaller ones at its edge."""
        if self.size % (1 << level):
            raise ValueError(f"a subtree of level {level} cannot follow {self.size} leaves")
        hashes, made = list(self.hashes), []
        index = self.size >> level
        while index & 1:
            subtree = parent_of(hashes.pop(), subtree)
            level, index = level + 1, index >> 1
            made.append(Node(level, index, subtree))
        added = (index + 1 << level) - self.size
        return Frontier(self.size + added, (*hashes, subtree)), tuple(made)

    def join(self, other: "Frontier") -> "Frontier":
        """The tree with the leaves of another one after its own: for a tree whose size is a multiple of the other's."""
        joined, hashes = self, iter(other.hashes)
        for level in reversed(range(other.size.bit_length())):
            if other.size >> level & 1:
                joined, _ = joined.extend(next(hashes), level)
        return joined

    def root(self) -> bytes:
        """The hash of the whole tree."""
        if not self.hashes:
            return EMPTY
        *rest, root = self.hashes
        for left in reversed(rest):
            root = parent_of(left, root)
        return root


def frontier_of(leaves: Iterable[bytes]) -> Frontier:
    """The tree over these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier, _ = frontier.append(leaf)
    return frontier


def inclusion_proof(index: int, size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """What shows that leaf `index` is in the tree of `size` leaves (RFC 6962, 2.1.1). ValueError when it is not."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    proof, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_hash(middle, end, subtree))
            end = middle
        else:
            proof.append(_hash(start, middle, subtree))
            start = middle
    return tuple(reversed(proof))


def consistency_proof(old: int, new: int, subtree: Subtree) -> tuple[bytes, ...]:
    """What shows that the tree of `new` leaves begins with that of `old` (RFC 6962, 2.1.2). ValueError when it can't.

    Every tree begins with the empty one, and with itself: those proofs are empty.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not begin with one of {old}")
    if old in {0, new}:
        return ()
    proof: list[bytes] = []
    start, end, whole = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_hash(middle, end, subtree))
            end = middle
        else:
            proof.append(_hash(start, middle, subtree))
            start, whole = middle, False
    if not whole:
        proof.append(_hash(start, end, subtree))
    return tuple(reversed(proof))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """True when the proof shows that this leaf hash is at `index` in the tree with this root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = parent_of(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = parent_of(found, step)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """True when the proof shows that the new tree begins with the old one (RFC 9162, 2.1.4.2)."""
    if old in {0, new}:
        return 0 <= old <= new and not proof and old_root == (EMPTY if old == 0 else new_root)
    # When the old tree is a complete subtree of the new one, the proof leaves it out.
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    return 0 < old < new and bool(path) and _roots(old - 1, new - 1, path) == (old_root, new_root)


def _roots(at: int, last: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The roots of the old and the new tree that a proof leads to; None when it is too long or too short."""
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for step in path[1:]:
        if last == 0:
            return None
        if at & 1 or at == last:
            first, second = parent_of(step, first), parent_of(step, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = parent_of(second, step)
        at, last = at >> 1, last >> 1
    return (first, second) if last == 0 else None


def _split(size: int) -> int:
    """The largest power of two that is smaller than `size`: how many leaves the left half has."""
    return 1 << (size - 1).bit_length() - 1


def _hash(start: int, end: int, subtree: Subtree) -> bytes:
    """The hash of the leaves from `start` to (without) `end`, as they are split in a tree."""
    size = end - start
    if size & (size - 1) == 0:
        return subtree(size.bit_length() - 1, start // size)
    middle = start + _split(size)
    return parent_of(_hash(start, middle, subtree), _hash(middle, end, subtree))
