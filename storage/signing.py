"""Who vouches for the record: Ed25519 keys, tree heads as text, and signed notes.

The formats are C2SP's, so that other people's tools read them: https://c2sp.org/signed-note and
https://c2sp.org/tlog-checkpoint. A key's name is the log's origin; `vkey` and `PRIVATE+KEY+…` are as in Go's
golang.org/x/mod/sumdb/note.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_SECRET = "PRIVATE+KEY+"  # noqa: S105 - the head of the format, no secret
_ID = re.compile(r"[0-9a-f]{8}")
_NAME = re.compile(r"[^\s+]{1,500}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+=*)")
_MOST_SIGNATURES = 100


class NotSignedTextError(ValueError):
    """A text is not in the format it should be in. The message is a sentence for people."""


@dataclass(frozen=True)
class TreeHead:
    """The tree over the first `size` rows of one log."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The body of a checkpoint: what is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "TreeHead":
        """Read a checkpoint's body; lines after the third are extensions, which we have none of. NotSignedTextError."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0] or not _SIZE.fullmatch(lines[1]):
            raise NotSignedTextError("This is not a checkpoint: it has no origin, size and root on three lines.")
        return cls(lines[0], int(lines[1]), unbase64(lines[2], 32))


@dataclass(frozen=True)
class PublicKey:
    """What signatures are checked with. `name` is the origin of the log that the key signs."""

    name: str
    raw: bytes

    @property
    def id(self) -> str:
        """Eight hex digits, made from name and key."""
        return sha256(f"{self.name}\n".encode() + _ED25519 + self.raw).hexdigest()[:8]

    @property
    def vkey(self) -> str:
        """The key as one word of text."""
        return f"{self.name}+{self.id}+{base64.b64encode(_ED25519 + self.raw).decode()}"

    @classmethod
    def parse(cls, vkey: str) -> "PublicKey":
        """Read a `vkey`. NotSignedTextError."""
        name, _, rest = vkey.strip().partition("+")
        key_id, _, coded = rest.partition("+")
        if not _NAME.fullmatch(name) or not _ID.fullmatch(key_id):
            raise NotSignedTextError("This is not a public key: it should read NAME+ID+KEY.")
        data = unbase64(coded, 33)
        key = cls(name, data[1:])
        if data[:1] != _ED25519 or key.id != key_id:
            raise NotSignedTextError("This public key is damaged: its id does not belong to it.")
        return key

    def signed(self, text: str, signature: bytes) -> bool:
        """True when this key made the signature over exactly this text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


class PrivateKey:
    """What signs. Its text is a secret and is in no representation of it."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        if not _NAME.fullmatch(name):
            raise NotSignedTextError("The name of a key must not be empty or hold spaces or `+`.")
        self._key = key
        self.public = PublicKey(name, key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> "PrivateKey":
        """A new key."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> "PrivateKey":
        """Read `secret`. NotSignedTextError, without any of the text."""
        name, _, rest = text.strip().removeprefix(_SECRET).partition("+")
        key_id, _, coded = rest.partition("+")
        if not text.startswith(_SECRET) or not _NAME.fullmatch(name):
            raise NotSignedTextError("This is not a private key.")
        data = unbase64(coded, 33)
        key = cls(name, Ed25519PrivateKey.from_private_bytes(data[1:]))
        if data[:1] != _ED25519 or key.public.id != key_id:
            raise NotSignedTextError("This private key is damaged: its id does not belong to it.")
        return key

    @property
    def secret(self) -> str:
        """The key as one word of text."""
        coded = base64.b64encode(_ED25519 + self._key.private_bytes_raw()).decode()
        return f"{_SECRET}{self.public.name}+{self.public.id}+{coded}"

    def sign(self, text: str) -> bytes:
        """The signature over exactly this text; 64 bytes, the same each time."""
        return self._key.sign(text.encode())


@dataclass(frozen=True)
class Stamp:
    """A signature and the id of the key that made it, as a row keeps it."""

    key_id: str
    signature: bytes

    @property
    def text(self) -> str:
        """`id:base64`."""
        return f"{self.key_id}:{base64.b64encode(self.signature).decode()}"

    @classmethod
    def parse(cls, text: str) -> "Stamp | None":
        """Read `text`; None when it is no stamp."""
        key_id, _, coded = text.partition(":")
        try:
            return cls(key_id, unbase64(coded, 64)) if _ID.fullmatch(key_id) else None
        except NotSignedTextError:
            return None


@dataclass(frozen=True)
class SignedHead:
    """A checkpoint: a tree head and who signed it."""

    head: TreeHead
    stamps: tuple[Stamp, ...]

    @property
    def note(self) -> str:
        """The signed note (the names of all keys are the origin)."""
        lines = (
            f"— {self.head.origin} {base64.b64encode(bytes.fromhex(one.key_id) + one.signature).decode()}\n"
            for one in self.stamps
        )
        return f"{self.head.text}\n{''.join(lines)}"

    @property
    def trailer(self) -> str:
        """The same for a commit's trailer, which has one line and belongs to one origin: size, root, key id, stamp."""
        one = self.stamps[0]
        root, signature = (base64.b64encode(data).decode() for data in (self.head.root, one.signature))
        return f"{self.head.size} {root} {one.key_id} {signature}"

    @classmethod
    def parse_note(cls, note: str) -> "SignedHead":
        """Read a signed note; signatures of other names (witnesses) are left out. NotSignedTextError."""
        text, gap, tail = note.rpartition("\n\n")
        lines = tail.split("\n")
        if not gap or lines.pop() != "" or not 0 < len(lines) <= _MOST_SIGNATURES:
            raise NotSignedTextError("This is not a signed note: it has no signatures after an empty line.")
        head = TreeHead.parse(f"{text}\n")
        stamps = []
        for line in lines:
            found = _SIGNATURE_LINE.fullmatch(line)
            if found is None:
                raise NotSignedTextError("This is not a signed note: one of its signatures cannot be read.")
            data = unbase64(found[2])
            if found[1] == head.origin and len(data) == 68:
                stamps.append(Stamp(data[:4].hex(), data[4:]))
        if not stamps:
            raise NotSignedTextError("No signature of this note is by a key with the name of the log.")
        return cls(head, tuple(stamps))

    @classmethod
    def parse_trailer(cls, value: str, origin: str) -> "SignedHead":
        """Read a trailer's value. NotSignedTextError."""
        words = value.split(" ")
        if len(words) != 4 or not _SIZE.fullmatch(words[0]) or not _ID.fullmatch(words[2]):
            raise NotSignedTextError("This is not a checkpoint's trailer: it should read SIZE ROOT KEY SIGNATURE.")
        head = TreeHead(origin, int(words[0]), unbase64(words[1], 32))
        return cls(head, (Stamp(words[2], unbase64(words[3], 64)),))

    def signed_by(self, key: PublicKey) -> bool:
        """True when one of the stamps is this key's, and right."""
        if key.name != self.head.origin:
            return False
        return any(key.id == one.key_id and key.signed(self.head.text, one.signature) for one in self.stamps)


def unbase64(text: str, length: int | None = None) -> bytes:
    """The bytes, so many of them. NotSignedTextError, also for a text that a decoder would only forgive."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotSignedTextError("A part that should be base64 is not.") from error
    if (length is not None and len(data) != length) or base64.b64encode(data).decode() != text:
        raise NotSignedTextError("A part that should be base64 has the wrong length.")
    return data
