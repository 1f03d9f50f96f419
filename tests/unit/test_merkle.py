"""The Merkle tree against the definition in RFC 6962 written down naively, and Certificate Transparency's test vectors.

Where trees are stored is in test_ledger; other people's verifiers, in test_ledger_oracles.
"""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.merkle import (
    EMPTY,
    Frontier,
    consistency_proof,
    frontier_of,
    inclusion_proof,
    leaf_of,
    parent_of,
    verify_consistency,
    verify_inclusion,
)

# The inputs and roots that Certificate Transparency's own tests use.
CT_INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZES = st.integers(1, 70)


def leaves(size: int) -> list[bytes]:
    return [leaf_of(b"%d" % number) for number in range(size)]


def naive_root(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    return hashlib.sha256(b"\x01" + naive_root(hashes[:half]) + naive_root(hashes[half:])).digest()


def naive_path(index: int, hashes: list[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1, word for word."""
    if len(hashes) == 1:
        return []
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    if index < half:
        return [*naive_path(index, hashes[:half]), naive_root(hashes[half:])]
    return [*naive_path(index - half, hashes[half:]), naive_root(hashes[:half])]


def naive_subproof(old: int, hashes: list[bytes], *, whole: bool) -> list[bytes]:
    """RFC 6962, 2.1.2, word for word."""
    if old == len(hashes):
        return [] if whole else [naive_root(hashes)]
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    if old <= half:
        return [*naive_subproof(old, hashes[:half], whole=whole), naive_root(hashes[half:])]
    return [*naive_subproof(old - half, hashes[half:], whole=False), naive_root(hashes[:half])]


def subtree_of(hashes: list[bytes]) -> Callable[[int, int], bytes]:
    return lambda level, index: naive_root(hashes[index << level : (index + 1) << level])


def test_the_roots_are_those_of_certificate_transparency() -> None:
    hashes = [leaf_of(bytes.fromhex(one)) for one in CT_INPUTS]
    found = [frontier_of(hashes[:size]).root().hex() for size in range(1, 9)]
    assert found == CT_ROOTS


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY == naive_root([])


@given(st.integers(0, 200))
def test_a_tree_that_grew_leaf_by_leaf_is_the_tree_of_the_definition(size: int) -> None:
    assert frontier_of(leaves(size)).root() == naive_root(leaves(size))


def test_every_complete_subtree_is_told_exactly_once() -> None:
    hashes, frontier, told = leaves(77), Frontier(), {}
    for leaf in hashes:
        frontier, nodes = frontier.append(leaf)
        for node in nodes:
            assert (node.level, node.index) not in told
            told[node.level, node.index] = node.hash
    expected = {(level, index) for level in range(1, 7) for index in range(77 >> level)}
    assert told.keys() == expected
    assert all(told[key] == subtree_of(hashes)(*key) for key in expected)


@given(st.integers(0, 12), st.integers(0, 63))
def test_trees_can_be_joined_where_the_first_ends_evenly(blocks: int, more: int) -> None:
    hashes = leaves(blocks * 64 + more)
    joined = frontier_of(hashes[: blocks * 64]).join(frontier_of(hashes[blocks * 64 :]))
    assert joined == frontier_of(hashes)


def test_a_frontier_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="3 leaves"):
        Frontier(3, (EMPTY,))
    with pytest.raises(ValueError, match="cannot follow"):
        Frontier(1, (EMPTY,)).extend(EMPTY, 1)


@given(SIZES, st.data())
def test_a_leaf_is_proved_to_be_in_as_the_definition_says(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    hashes = leaves(size)
    proof = inclusion_proof(index, size, subtree_of(hashes))
    assert list(proof) == naive_path(index, hashes)
    assert verify_inclusion(hashes[index], index, size, proof, naive_root(hashes))


@given(SIZES, st.data())
def test_a_leaf_is_not_proved_to_be_anywhere_else(size: int, data: st.DataObject) -> None:
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(-1, size + 2))
    hashes = leaves(size)
    proof, root = inclusion_proof(index, size, subtree_of(hashes)), naive_root(hashes)
    if other != index:
        assert not verify_inclusion(hashes[index], other, size, proof, root)
    assert not verify_inclusion(EMPTY, index, size, proof, root)
    assert not verify_inclusion(hashes[index], index, size, proof, EMPTY)
    assert not verify_inclusion(hashes[index], index, size, (*proof, EMPTY), root)
    if proof:
        assert not verify_inclusion(hashes[index], index, size, proof[:-1], root)
        assert not verify_inclusion(hashes[index], index, size, (EMPTY, *proof[1:]), root)


@given(SIZES, st.data())
def test_growth_is_proved_as_the_definition_says(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    hashes = leaves(size)
    proof = consistency_proof(old, size, subtree_of(hashes))
    assert list(proof) == naive_subproof(old, hashes, whole=True)
    assert verify_consistency(old, size, naive_root(hashes[:old]), naive_root(hashes), proof)


@given(SIZES, st.data())
def test_a_tree_that_was_changed_is_not_proved_to_have_grown(size: int, data: st.DataObject) -> None:
    old, changed = data.draw(st.integers(1, size)), data.draw(st.integers(0, size - 1))
    hashes = leaves(size)
    proof = consistency_proof(old, size, subtree_of(hashes))
    forged = [*hashes[:changed], EMPTY, *hashes[changed + 1 :]]
    before, after = naive_root(hashes[:old]), naive_root(hashes)
    assert not verify_consistency(old, size, before, naive_root(forged), proof)
    assert not verify_consistency(old, size, EMPTY, after, proof)
    assert not verify_consistency(old, size, before, after, (*proof, EMPTY))
    if changed < old:  # even a proof made by the forger does not join what was seen before to what is there now
        assert not verify_consistency(
            old, size, before, naive_root(forged), consistency_proof(old, size, subtree_of(forged))
        )


def test_every_tree_begins_with_the_empty_one_and_with_itself() -> None:
    hashes = leaves(5)
    root = naive_root(hashes)
    assert consistency_proof(0, 5, subtree_of(hashes)) == ()
    assert verify_consistency(0, 5, EMPTY, root, ())
    assert verify_consistency(5, 5, root, root, ())
    assert not verify_consistency(5, 5, root, EMPTY, ())
    assert not verify_consistency(6, 5, root, root, ())


@pytest.mark.parametrize(("index", "size"), [(5, 5), (-1, 3), (0, 0)])
def test_what_is_not_in_a_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(index, size, parent_for_nobody)
    with pytest.raises(ValueError, match="does not begin"):
        consistency_proof(size + 1, size, parent_for_nobody)


def parent_for_nobody(level: int, index: int) -> bytes:
    raise AssertionError((level, index))


def test_halves_are_not_interchangeable() -> None:
    one, other = leaves(2)
    assert parent_of(one, other) != parent_of(other, one)
    assert leaf_of(one + other) != parent_of(one, other)
