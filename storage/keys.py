"""The file with the key that signs the record, outside of the database: rows can only be forged with both.

Lines of the file: `key PRIVATE+KEY+…` (what signs), `before PRIVATE+KEY+…` (what signed before it, until the change is
in the record), `since N` (the first row that the key has signed). The folder must be writable for a rotation alone.
"""

import os
import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from storage.signing import NotSignedTextError, PrivateKey

_MODE = 0o600


class KeyFileError(Exception):
    """The key file cannot be used. The message says why, and what to do."""


@dataclass(frozen=True)
class Keys:
    """What a key file holds. `since` is 0 while that is not known."""

    key: PrivateKey
    before: PrivateKey | None = None
    since: int = 0


def origin_of(address: str) -> str:
    """The name of the log of the bot on this infra-repo; `address` is without credentials.

    Without scheme and user, so that it stays the same when https becomes ssh.
    """
    parts = urlsplit(address)
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme and "://" in address else address
    place = place.rpartition("@")[2] if "://" not in address and not address.startswith("/") else place
    return "locktender/" + re.sub(r"[\s+]+", "-", place.replace(":", "/").strip("/").removesuffix(".git"))


def ensure(path: Path, origin: str) -> Keys:
    """The keys of this file; made, durably, when there is none. Two processes may do so at once. KeyFileError."""
    try:
        if not path.exists():
            made = _temporary(path, Keys(PrivateKey.generate(origin)))
            try:
                os.link(made, path)  # fails when somebody else was first: theirs is the key
            except FileExistsError:
                pass
            finally:
                made.unlink()
            _sync_folder(path)
    except OSError as error:
        raise KeyFileError(
            f"The key that signs the record cannot be made at {path} ({error.strerror}). "
            "Let that folder be written, or name a file with LOCKTENDER_AUDIT_KEY_FILE."
        ) from error
    return load(path)


def load(path: Path) -> Keys:
    """The keys of this file. KeyFileError when there are none, or when others may read it."""
    try:
        mode = path.stat().st_mode
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KeyFileError(f"The key that signs the record, {path}, cannot be read ({why}).") from error
    if mode & 0o007:
        raise KeyFileError(f"Everybody on this machine may read {path}, which signs the record: `chmod 600 {path}`.")
    said = dict(line.split(" ", 1) for line in lines if " " in line)
    try:
        before = PrivateKey.parse(said["before"]) if "before" in said else None
        return Keys(PrivateKey.parse(said["key"]), before, int(said.get("since", "0")))
    except (KeyError, NotSignedTextError, ValueError) as error:
        raise KeyFileError(
            f"The key that signs the record, {path}, is damaged. Bring it back from a backup; or move it away: a new "
            "one is made, and the record says so."
        ) from error


def store(path: Path, keys: Keys) -> None:
    """Replace the file's content, durably and wholly or not at all. KeyFileError."""
    try:
        made = _temporary(path, keys)
        made.replace(path)
        _sync_folder(path)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written ({error.strerror}).") from error


class KeyFile:
    """The keys of one file, read again when it changes. Give one to the `Store`, whose units of work sign with it.

    Not for two threads at once: whoever signs holds the right to append audit rows.
    """

    def __init__(self, path: Path, origin: str) -> None:
        self.path = path
        self._keys = ensure(path, origin)
        self._seen = _stamp(path)

    @property
    def keys(self) -> Keys:
        """What signs now."""
        return self._keys

    def changed(self) -> Keys | None:
        """What the file holds when it is not what it was at the last look; None when it is, or cannot be read."""
        now = _stamp(self.path)
        if now in {self._seen, None}:
            return None
        self._seen = now
        try:
            return load(self.path)
        except KeyFileError:
            return None  # the key of before goes on: a row without a signature would prove less

    def use(self, keys: Keys) -> None:
        """Sign with these from now on."""
        self._keys = keys

    def remember(self, keys: Keys) -> None:
        """Put these into the file, and sign with them. KeyFileError."""
        store(self.path, keys)
        self._seen = _stamp(self.path)
        self.use(keys)

    def remember_since(self, seq: int) -> None:
        """Note which row was the first that the key has signed; a file that cannot be written stays as it is."""
        self.use(replace(self._keys, since=seq))
        try:
            self.remember(self._keys)
        except KeyFileError:  # a mounted secret: then git alone tells from where on rows must be signed
            return


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _temporary(path: Path, keys: Keys) -> Path:
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    lines = [f"key {keys.key.secret}"]
    if keys.before is not None:
        lines.append(f"before {keys.before.secret}")
    if keys.since:
        lines.append(f"since {keys.since}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return made


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
