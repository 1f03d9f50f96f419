"""`locktender doctor --backup FILE`: a restore drill. A copy is restored, and judged."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from bot import record
from bot.doctor_finding import Finding, bad, good, warning
from bot.integrations.git import checkpoints
from bot.settings import RecordPlaces
from commands.reasons import Fault
from storage import database, verify
from storage.keys import KeyFileError
from storage.verdict import Anchor, State, Trust, Verdict
from storage.verdict import Finding as Wrong
from storage.verify_rows import Book

_OTHERS = 0o077
_ANOTHER = "Take an older backup, and run this on it. Keep this one: it may show what happened."


def look(places: RecordPlaces, file: Path) -> Iterator[Finding]:
    """Every finding about one backup. The file itself is read and never written."""
    if not file.is_file():
        yield bad(f"There is no file at {file}.", "Name a backup that `locktender backup` or Litestream wrote.")
        return
    if file.stat().st_mode & _OTHERS:
        yield warning(f"Others on this machine may read or write {file.name}.", f"chmod 600 {file}")
    with tempfile.TemporaryDirectory(prefix="locktender-drill-") as folder:
        copy = Path(folder) / "locktender.db"
        shutil.copyfile(file, copy)
        for beside in ("-wal", "-shm"):  # a copy of a running database's files has them
            if (wal := file.with_name(file.name + beside)).is_file():
                shutil.copyfile(wal, f"{copy}{beside}")
        try:
            yield _whole(copy)
            yield _migrated(copy)
            yield _summary(copy)
        except (sqlite3.Error, SQLAlchemyError, CommandError) as error:
            said = str(error).splitlines()[0][:200]
            yield bad(f"The backup cannot be restored: {said}.", _ANOTHER)
            return
        yield from _proven(places, copy)


def _whole(copy: Path) -> Finding:
    with closing(sqlite3.connect(copy)) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise sqlite3.DatabaseError(f"it is damaged ({'; '.join(found)})")
    return good("the file is whole: SQLite's integrity check finds nothing")


def _migrated(copy: Path) -> Finding:
    engine = database.create(database.sqlite_url(copy))
    try:
        if database.is_current(engine):
            return good("its schema is this version's")
        database.upgrade(engine)
    finally:
        engine.dispose()
    return good("its schema is older, and migrates to this version's")


def _summary(copy: Path) -> Finding:
    with closing(sqlite3.connect(copy)) as connection:
        rows, last = connection.execute("SELECT count(*), max(at) FROM audit").fetchone()
        (running,) = connection.execute("SELECT count(*) FROM deployments WHERE phase = 'running'").fetchone()
    going = f"; {running} deployments were running, and go on from what git has" if running else ""
    return good(f"{rows:,} rows of the audit log, the last of {str(last)[:19]} UTC{going}")


def _proven(places: RecordPlaces, copy: Path) -> Iterator[Finding]:
    """The rows against their signatures, and against the checkpoints in git that are not younger than they are."""
    try:
        trust = record.trust(places, ())
        anchors, wrong = _anchors(places, trust)
    except KeyFileError as error:
        yield bad(str(error), "Bring the key file back from your secret store.")
        return
    except Fault as fault:
        yield bad(fault.what, fault.next_step)
        return
    with closing(sqlite3.connect(copy)) as connection:
        rows = int(connection.execute("SELECT coalesce(max(seq), 0) FROM audit").fetchone()[0])
    younger = [one.signed.head.size for one in anchors if one.signed.head.size > rows]
    verdict = verify.verify(Book.at(copy), trust, [one for one in anchors if one.signed.head.size <= rows])
    yield _judged(verdict)
    for one in wrong:
        yield bad(one.what, one.next_step)
    if younger:
        yield warning(
            f"git knows of {max(younger):,} rows: the last {max(younger) - rows:,} are not in this backup.",
            "A younger backup has them. After restoring this one, commits of that time are told of as changes by hand.",
        )
    if verdict.state is not State.TAMPERED and not anchors:
        yield warning(
            "No checkpoint in git was there to compare with: rows that were cut off at the end would not show.",
            "Set LOCKTENDER_HOME to the bot's folder, whose mirror of the infra-repo has them.",
        )


def _judged(verdict: Verdict) -> Finding:
    if verdict.state is State.TAMPERED:
        return bad(verdict.summary, verdict.findings[0].next_step)
    if verdict.state is State.UNKNOWN:
        return warning(verdict.summary, "Set LOCKTENDER_AUDIT_KEY_FILE to the key that signs the record, or a copy.")
    return good(f"{verdict.summary} {verdict.anchors} checkpoints in git agree.")


def _anchors(places: RecordPlaces, trust: Trust) -> tuple[tuple[Anchor, ...], tuple[Wrong, ...]]:
    repository = record.repository(places, None)
    if repository is None:
        return (), ()
    with checkpoints.opened(repository) as commands:
        return record.anchors_of(checkpoints.read(commands, places.branch), trust)
