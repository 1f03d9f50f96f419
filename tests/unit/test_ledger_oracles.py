"""Other people's verifiers agree with ours: pymerkle on trees and proofs, sigstore on proofs and checkpoints.

Both are for tests alone (pymerkle is GPL); each is left out, with a reason, where it is not installed.
"""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from storage.merkle import consistency_proof, frontier_of, inclusion_proof, leaf_of, verify_consistency
from storage.signing import PrivateKey, SignedHead, Stamp, TreeHead

SIZE = 39
ENTRIES = [b"row %d" % number for number in range(SIZE)]
LEAVES = [leaf_of(entry) for entry in ENTRIES]


@pytest.fixture(scope="module")
def pymerkle() -> Any:
    return pytest.importorskip("pymerkle", reason="pymerkle, an oracle for tests alone, is not installed")


@pytest.fixture(scope="module")
def sigstore() -> Any:
    why = "sigstore, an oracle for tests alone, is not installed"
    names = ("sigstore._internal.merkle", "sigstore._internal.rekor.checkpoint")
    return tuple(pytest.importorskip(name, reason=why) for name in names)


def subtree(level: int, index: int) -> bytes:
    return frontier_of(LEAVES[index << level : index + 1 << level]).root()


def test_pymerkle_has_the_same_roots_and_proofs(pymerkle: Any) -> None:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for size, entry in enumerate(ENTRIES, start=1):
        tree.append_entry(entry)
        assert tree.get_root() == frontier_of(LEAVES[:size]).root()
    root = frontier_of(LEAVES).root()
    for number in range(1, SIZE + 1):
        proof = tree.prove_inclusion(number, SIZE)
        pymerkle.verify_inclusion(LEAVES[number - 1], root, proof)
        assert set(proof.path) - {LEAVES[number - 1]} == set(inclusion_proof(number - 1, SIZE, subtree))
        growth = tree.prove_consistency(number, SIZE)
        # Its proofs of growth are longer than the RFC's: that both lead to the same two roots is what can be compared.
        before = frontier_of(LEAVES[:number]).root()
        pymerkle.verify_consistency(before, root, growth)
        assert verify_consistency(number, SIZE, before, root, consistency_proof(number, SIZE, subtree))


def test_sigstore_takes_our_proofs_of_inclusion(sigstore: Any) -> None:
    merkle, _ = sigstore
    for size in range(1, SIZE + 1):
        root = frontier_of(LEAVES[:size]).root()
        for index in range(size):
            steps = list(inclusion_proof(index, size, subtree))
            inner, border = merkle._decomp_inclusion_proof(index, size)
            assert len(steps) == inner + border
            seed = merkle._chain_inner(merkle._hash_leaf(ENTRIES[index]), steps[:inner], index)
            assert merkle._chain_border_right(seed, steps[inner:]) == root


def test_sigstore_takes_our_checkpoints(sigstore: Any) -> None:
    _, checkpoint = sigstore
    key = PrivateKey.generate("locktender/git.example/infra")
    head = TreeHead(key.public.name, SIZE, frontier_of(LEAVES).root())
    note = SignedHead(head, (Stamp(key.public.id, key.sign(head.text)),)).note
    found = checkpoint.SignedCheckpoint.from_text(note)
    assert (found.checkpoint.origin, found.checkpoint.log_size) == (head.origin, SIZE)
    assert found.checkpoint.log_hash == head.root.hex()
    checked: list[bytes] = []
    found.signed_note.verify(Keyring(key, checked.append), bytes.fromhex(key.public.id) + bytes(28))
    assert checked == [head.text.encode()]


class Keyring:
    """Stands in for sigstore's ring of Rekor keys, which has no place for another log's."""

    def __init__(self, key: PrivateKey, told: Callable[[bytes], None]) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(key.public.raw)
        self._told = told

    def verify(self, *, key_id: bytes, signature: bytes, data: bytes) -> None:
        del key_id
        self._key.verify(signature, data)
        self._told(data)
