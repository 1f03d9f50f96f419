"""A copy of the record while the bot runs: one consistent file, on the disk before anybody is told that it is there.

Only the record is copied. `engine.db` is not: it says where deliveries were, and of another moment than the record's it
would have them go on from there. Without it every delivery that was running is begun anew, and finds what it had done.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from storage.verify_rows import Book


class BackupError(Exception):
    """There is no backup. The message is a sentence or two for people."""


@dataclass(frozen=True)
class Backup:
    """What was written. `rows` are those of the audit log."""

    file: Path
    size: int  # bytes
    rows: int


def back_up(book: Book, target: Path, *, after_copy: Callable[[Path], None] = lambda _file: None) -> Backup:
    """Copy the record to a file that must not exist yet; its mode is 0600. Writers go on meanwhile.

    `after_copy` is called when the copy is there and has not got its name yet. After a crash there is the whole file,
    or at most one ending in `.part`, which the next call replaces. Raises BackupError.
    """
    place = make_url(book.url).database if book.is_sqlite else None
    if place is None:
        raise BackupError("The record is in Postgres, which has tools of its own: docs/backup.md has the commands.")
    if target.exists():
        raise BackupError(f"{target} exists already, and backups are never written over. Name another file.")
    part = target.with_name(f"{target.name}.part")
    try:
        with suppress(FileNotFoundError):
            part.unlink()  # of a backup that was cut short
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        rows = _copy(Path(place), part)
        after_copy(part)
        _to_disk(part)
        os.link(part, target)  # unlike a rename, this does not replace what came there meanwhile
        part.unlink()
        _to_disk(target.absolute().parent)
    except FileExistsError:
        raise BackupError(f"{target} or its .part is being written by somebody else. Name another file.") from None
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"The backup could not be written to {target}: {error}.") from error
    return Backup(target, target.stat().st_size, rows)


def _copy(source: Path, part: Path) -> int:
    """Everything that was committed when it began: in one step, because SQLite begins anew when it pauses."""
    address = f"{source.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=30)) as one, closing(sqlite3.connect(part)) as other:
        one.execute("PRAGMA query_only=1")
        one.backup(other)
        other.execute("PRAGMA journal_mode=DELETE")  # one file: what is left beside it would be forgotten
        found = other.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise BackupError(f"The copy is damaged, so the database is, too ({found}). See docs/backup.md.")
        return int(other.execute("SELECT count(*) FROM audit").fetchone()[0])


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
