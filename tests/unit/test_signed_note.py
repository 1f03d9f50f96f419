"""Keys, signed notes and checkpoints, in C2SP's formats: the Go implementation's test vectors, and hostile texts.

Who signs what when is in test_ledger.
"""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.signing import NotSignedTextError, PrivateKey, PublicKey, SignedHead, Stamp, TreeHead

# From the documentation of golang.org/x/mod/sumdb/note: a key pair, and the note that it signs.
GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
# The log of Go's module mirror: its key, and a note it has signed.
SUMDB_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

ORIGIN = "locktender/git.example/infra"
HEAD = TreeHead(ORIGIN, 7, bytes(range(32)))


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return PrivateKey.generate(ORIGIN)


def signed(key: PrivateKey, head: TreeHead = HEAD) -> SignedHead:
    return SignedHead(head, (Stamp(key.public.id, key.sign(head.text)),))


def test_keys_and_signatures_are_those_of_the_go_implementation() -> None:
    key = PrivateKey.parse(GO_SECRET)
    assert key.public.vkey == GO_VKEY
    assert key.secret == GO_SECRET
    assert base64.b64encode(bytes.fromhex(key.public.id) + key.sign(GO_TEXT)).decode() == GO_SIGNATURE
    assert PublicKey.parse(GO_VKEY).signed(GO_TEXT, key.sign(GO_TEXT))


def test_a_public_key_of_a_real_log_is_read() -> None:
    assert PublicKey.parse(SUMDB_VKEY).vkey == SUMDB_VKEY


def test_a_checkpoint_is_written_as_the_specification_says(key: PrivateKey) -> None:
    root = base64.b64encode(bytes(range(32))).decode()
    body = f"{ORIGIN}\n7\n{root}\n"
    assert HEAD.text == body
    line = base64.b64encode(bytes.fromhex(key.public.id) + key.sign(body)).decode()
    assert signed(key).note == f"{body}\n\u2014 {ORIGIN} {line}\n"
    assert key.public.id == hashlib.sha256(f"{ORIGIN}\n".encode() + b"\x01" + key.public.raw).hexdigest()[:8]


def test_what_is_written_is_read_back(key: PrivateKey) -> None:
    found = signed(key)
    assert SignedHead.parse_note(found.note) == found
    assert SignedHead.parse_trailer(found.trailer, ORIGIN) == found
    assert Stamp.parse(found.stamps[0].text) == found.stamps[0]
    assert found.signed_by(key.public)
    assert len(found.trailer) < 200


def test_a_note_with_signatures_of_others_is_still_ours(key: PrivateKey) -> None:
    witness = PrivateKey.generate("witness.example")
    text = base64.b64encode(bytes.fromhex(witness.public.id) + witness.sign(HEAD.text)).decode()
    note = f"{signed(key).note}\u2014 witness.example {text}\n"
    assert SignedHead.parse_note(note).signed_by(key.public)


def test_nothing_else_passes_for_the_signature(key: PrivateKey) -> None:
    found, other = signed(key), PrivateKey.generate(ORIGIN)
    assert not found.signed_by(other.public)
    assert not found.signed_by(PublicKey("locktender/elsewhere", key.public.raw))
    assert not signed(key, TreeHead("locktender/elsewhere", 7, HEAD.root)).signed_by(key.public)
    for head in (TreeHead(ORIGIN, 8, HEAD.root), TreeHead(ORIGIN, 7, b"\0" * 32)):
        assert not SignedHead(head, found.stamps).signed_by(key.public)
    claimed = Stamp(key.public.id, other.sign(HEAD.text))
    assert not SignedHead(HEAD, (claimed,)).signed_by(key.public)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        HEAD.text,
        f"{HEAD.text}\n",
        f"{HEAD.text}\nno signature\n",
        f"{HEAD.text}\n\u2014 {ORIGIN} AAAA\n",
        f"{HEAD.text}\n- {ORIGIN} {'A' * 92}\n",
        f"{HEAD.text}more\n\n\u2014 {ORIGIN} {'A' * 91}=\n",
        "\n7\nAAAA\n\n\u2014 x AAAA\n",
    ],
)
def test_a_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NotSignedTextError, match=r"\.$"):
        SignedHead.parse_note(text)


@pytest.mark.parametrize("size", ["-1", "+7", "07", "7.0", "", "1e3", "9" * 20, "\u0667"])
def test_a_size_is_written_in_one_way_alone(key: PrivateKey, size: str) -> None:
    with pytest.raises(NotSignedTextError):
        SignedHead.parse_note(signed(key).note.replace("\n7\n", f"\n{size}\n"))
    with pytest.raises(NotSignedTextError):
        SignedHead.parse_trailer(f"{size}{signed(key).trailer[1:]}", ORIGIN)


@pytest.mark.parametrize("vkey", ["", "a+b", "a+00000000+AAAA", f"{GO_VKEY}x", GO_VKEY.replace("c74f20a3", "c74f20a4")])
def test_a_damaged_public_key_is_refused(vkey: str) -> None:
    with pytest.raises(NotSignedTextError):
        PublicKey.parse(vkey)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\nb"])
def test_a_name_that_would_not_be_read_back_is_refused(name: str) -> None:
    with pytest.raises(NotSignedTextError):
        PrivateKey.generate(name)


def test_a_damaged_private_key_is_refused_and_not_repeated() -> None:
    for text in (GO_SECRET[:-4], GO_SECRET.replace("c74f20a3", "c74f20a4"), "key", GO_VKEY):
        with pytest.raises(NotSignedTextError) as fault:
            PrivateKey.parse(text)
        assert "AYEKFALV" not in str(fault.value)


def test_a_private_key_does_not_show_itself(key: PrivateKey) -> None:
    assert key.secret.rpartition("+")[2] not in repr(key) + str(key) + repr(vars(key))


@given(st.text(max_size=300))
def test_no_text_makes_a_reader_fail_in_another_way(text: str) -> None:
    for read in (SignedHead.parse_note, lambda one: SignedHead.parse_trailer(one, ORIGIN), PublicKey.parse):
        try:
            read(text)
        except NotSignedTextError:
            continue
    assert Stamp.parse(text) is None
