"""Signed passes: the links that the bot hands out in Slack, and the cookies of who is signed in. Pure but for the key.

A pass is JSON and its HMAC-SHA256, both in base64url. What it is for is signed with it, so that a link is no cookie.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from storage.keys import KeyFileError

LINK_FOR = timedelta(minutes=5)
SESSION_FOR = timedelta(hours=8)
_KEY_BYTES = 32
_LONGEST = 1000
_PAGE = re.compile(r"/(?:deployments/[0-9a-z]{3,32})?")
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}")


class Purpose(StrEnum):
    """What a pass lets somebody do."""

    LINK = "link"
    SESSION = "session"


@dataclass(frozen=True)
class Pass:
    """Who it is for and until when (seconds since 1970). `nonce` is its own; `page` is where a link leads."""

    team_id: str
    user_id: str
    nonce: str
    expires: int
    page: str = "/"

    def expired(self, now: datetime) -> bool:
        """True from the very second on."""
        return now.timestamp() >= self.expires

    @property
    def until(self) -> datetime:
        """The same as a time."""
        return datetime.fromtimestamp(self.expires, UTC)


class Seal:
    """Signs passes and knows its own. `clock` gives the time that they begin to count from."""

    def __init__(self, key: bytes, clock: Callable[[], datetime]) -> None:
        self._key = key
        self._clock = clock

    def link(self, team_id: str, user_id: str, deployment_id: str = "") -> str:
        """A pass that signs somebody in, once."""
        page = f"/deployments/{deployment_id}" if deployment_id else "/"
        return self.write(Purpose.LINK, self._pass(team_id, user_id, LINK_FOR, page))

    def session(self, link: Pass) -> tuple[Pass, str]:
        """A pass of whoever was signed in by this link."""
        made = self._pass(link.team_id, link.user_id, SESSION_FOR, "/")
        return made, self.write(Purpose.SESSION, made)

    def write(self, purpose: Purpose, one: Pass) -> str:
        """The signed text."""
        body = _encode(json.dumps(asdict(one), separators=(",", ":")).encode())
        return f"{body}.{_encode(self._stamp(purpose, body))}"

    def read(self, purpose: Purpose, text: str) -> Pass | None:
        """The pass, expired or not; None for what was not signed here for this purpose. Takes any text."""
        if len(text) > _LONGEST or not _SHAPE.fullmatch(text):
            return None
        body, _, stamp = text.partition(".")
        if not hmac.compare_digest(_encode(self._stamp(purpose, body)), stamp):
            return None
        try:
            found = Pass(**json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
        except (ValueError, TypeError, binascii.Error):
            return None  # of another version, which signed other fields
        return found if _PAGE.fullmatch(found.page) else None

    def _pass(self, team_id: str, user_id: str, span: timedelta, page: str) -> Pass:
        expires = int((self._clock() + span).timestamp())
        return Pass(team_id, user_id, secrets.token_urlsafe(16), expires, page)

    def _stamp(self, purpose: Purpose, body: str) -> bytes:
        return hmac.new(self._key, f"{purpose}.{body}".encode(), hashlib.sha256).digest()


def ensure_key(path: Path) -> bytes:
    """The key of this file; made, durably and for its owner alone, when there is none. KeyFileError.

    Two processes may do so at once: both get the key of the first. After a crash there is a whole key, or none.
    """
    try:
        if not path.exists():
            _make(path)
        mode, text = path.stat().st_mode, path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KeyFileError(
            f"The key that signs links to the pages, {path}, cannot be read or made ({why}): "
            "let that folder be written."
        ) from error
    if mode & 0o007:
        raise KeyFileError(f"Everybody on this machine may read {path}, which signs links: `chmod 600 {path}`.")
    if not re.fullmatch(f"[0-9a-f]{{{2 * _KEY_BYTES}}}", text):
        raise KeyFileError(f"The key that signs links to the pages, {path}, is damaged: remove it, a new one is made.")
    return bytes.fromhex(text)


def _make(path: Path) -> None:
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(_KEY_BYTES)}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(made, path)  # fails when somebody else was first: theirs is the key
    except FileExistsError:
        return
    finally:
        made.unlink()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
