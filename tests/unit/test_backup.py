"""Checks `locktender backup` and the restore drill: whole, alone readable, never over another, proven against git.

Leaves out the verifier itself (`test_verify.py`), Litestream and Postgres, which have tools of their own.
"""

import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from typer.testing import CliRunner, Result

from bot import doctor_backup
from bot.backup import BackupError, back_up
from bot.cli import app
from bot.doctor_finding import Finding, Verdict
from bot.settings import RecordPlaces
from storage import database
from storage.database import _config, sqlite_url
from storage.verify_rows import Book
from tests.contract.git_rig import git
from tests.unit import ledger_rig
from tests.unit.ledger_rig import Record

ROWS = 9


@pytest.fixture
def record(sqlite_template: Path, tmp_path: Path) -> Iterator[Record]:
    path = tmp_path / "locktender.db"
    path.write_bytes(sqlite_template.read_bytes())
    yield from ledger_rig.record(sqlite_url(path), tmp_path, ROWS)


@pytest.fixture
def places(tmp_path: Path) -> RecordPlaces:
    return RecordPlaces.load({"LOCKTENDER_HOME": str(tmp_path)})


@pytest.fixture
def made(record: Record, tmp_path: Path) -> Path:
    """A backup of the record."""
    return back_up(Book(record.url), tmp_path / "backup.db").file


def words(findings: list[Finding], verdict: Verdict) -> str:
    return "\n".join(f"{one.what} → {one.next_step}" for one in findings if one.verdict is verdict)


def drill(places: RecordPlaces, file: Path) -> list[Finding]:
    return list(doctor_backup.look(places, file))


def rows_in(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM audit").fetchone()[0])


# ---------------------------------------------------------------- backup


def test_a_backup_is_one_file_that_its_owner_alone_can_read(record: Record, tmp_path: Path) -> None:
    made = back_up(Book(record.url), tmp_path / "backup.db")
    assert made.rows == rows_in(made.file) == ROWS
    assert made.size == made.file.stat().st_size
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.glob("backup*")) == ["backup.db"]


def test_the_record_is_written_while_it_is_copied_and_the_copy_is_of_one_moment(record: Record, tmp_path: Path) -> None:
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            record.write()
            written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(10)
        files = [back_up(Book(record.url), tmp_path / f"{number}.db").file for number in range(5)]
    finally:
        stop.set()
        writer.join()
    for file in files:
        with closing(sqlite3.connect(file)) as connection:
            (size,) = connection.execute("SELECT size FROM ledger_state").fetchone()
        assert size == rows_in(file)  # rows and tree are of one transaction


def test_a_backup_never_takes_the_place_of_another(record: Record, made: Path) -> None:
    before = made.read_bytes()
    with pytest.raises(BackupError, match="exists already"):
        back_up(Book(record.url), made)
    assert made.read_bytes() == before


def test_a_file_that_comes_meanwhile_is_kept(record: Record, tmp_path: Path) -> None:
    target = tmp_path / "late.db"

    def arrives(_: Path) -> None:
        target.write_text("mine")

    with pytest.raises(BackupError, match="by somebody else"):
        back_up(Book(record.url), target, after_copy=arrives)
    assert target.read_text() == "mine"


def test_what_a_crash_left_is_replaced(record: Record, tmp_path: Path) -> None:
    class CrashError(Exception):
        pass

    def crash(_: Path) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        back_up(Book(record.url), tmp_path / "backup.db", after_copy=crash)
    assert not (tmp_path / "backup.db").exists()
    assert back_up(Book(record.url), tmp_path / "backup.db").rows == ROWS


def test_a_damaged_database_makes_no_backup(record: Record, tmp_path: Path) -> None:
    record.close()
    damage(tmp_path / "locktender.db")
    with pytest.raises(BackupError, match=r"damaged|malformed"):
        back_up(Book(record.url), tmp_path / "backup.db")
    assert not (tmp_path / "backup.db").exists()


def test_postgres_is_sent_to_its_own_tools(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"docs/backup\.md"):
        back_up(Book("postgresql+psycopg://u:secret@h/db"), tmp_path / "backup.db")


def damage(file: Path) -> None:
    """Overwrite pages in the middle of the file."""
    content = bytearray(file.read_bytes())
    content[8192 : 8192 + 16384] = b"\xaa" * 16384
    file.write_bytes(content)


# ---------------------------------------------------------------- the drill


def test_a_good_backup_is_proven(places: RecordPlaces, made: Path) -> None:
    before = made.read_bytes()
    found = drill(places, made)
    assert words(found, Verdict.BAD) == ""
    good = words(found, Verdict.GOOD)
    for word in ("integrity check finds nothing", "this version's", f"{ROWS} rows", "none is missing"):
        assert word in good
    assert made.read_bytes() == before


def test_without_git_it_says_what_it_could_not_see(places: RecordPlaces, made: Path) -> None:
    assert "No checkpoint in git" in words(drill(places, made), Verdict.WARNING)


def test_a_damaged_backup_is_bad(places: RecordPlaces, made: Path) -> None:
    damage(made)
    assert "cannot be restored" in words(drill(places, made), Verdict.BAD)


def test_what_is_no_database_is_bad(places: RecordPlaces, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello" * 1000)
    assert "cannot be restored" in words(drill(places, tmp_path / "notes.txt"), Verdict.BAD)
    assert "no file at" in words(drill(places, tmp_path / "nowhere"), Verdict.BAD)


def test_a_row_that_was_edited_is_named(places: RecordPlaces, record: Record, tmp_path: Path) -> None:
    record.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 4")
    record.reforge()
    found = drill(places, back_up(Book(record.url), tmp_path / "backup.db").file)
    assert words(found, Verdict.BAD).startswith("Row 4 ")


def test_a_schema_of_before_is_migrated_and_one_of_afterwards_is_not_known(
    places: RecordPlaces, tmp_path: Path
) -> None:
    file = tmp_path / "old.db"
    engine = database.create(sqlite_url(file))
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0001")
    engine.dispose()
    found = drill(replace(places, home=tmp_path / "none", audit_key=tmp_path / "none" / "audit.key"), file)
    assert "migrates to this version's" in words(found, Verdict.GOOD)
    assert words(found, Verdict.BAD) == ""
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "cannot be restored" in words(drill(places, file), Verdict.BAD)


def test_a_file_that_others_may_read_is_warned_of(places: RecordPlaces, made: Path) -> None:
    made.chmod(0o644)
    assert "chmod 600" in words(drill(places, made), Verdict.WARNING)


def committed(record: Record, home: Path) -> None:
    """A mirror of the infra-repo whose newest commit has the latest checkpoint as its trailer."""
    mirror = home / "git" / "mirror.git"
    if not mirror.exists():
        mirror.mkdir(parents=True)
        git("init", "--quiet", "--bare", "--initial-branch=main", cwd=mirror)
    tree = git("hash-object", "-t", "tree", "-w", "--stdin", cwd=mirror)
    trailer = record.anchor().signed.trailer
    sha = git("commit-tree", tree, "-m", f"Deploy\n\nAudit-Checkpoint: {trailer}", cwd=mirror)
    git("update-ref", "refs/heads/main", sha, cwd=mirror)


def test_checkpoints_in_git_agree(places: RecordPlaces, record: Record, tmp_path: Path) -> None:
    committed(record, tmp_path)
    found = drill(places, back_up(Book(record.url), tmp_path / "backup.db").file)
    assert "1 checkpoints in git agree" in words(found, Verdict.GOOD)
    assert "No checkpoint" not in words(found, Verdict.WARNING)


def test_a_backup_that_is_older_than_git_is_no_tampered_one(places: RecordPlaces, made: Path, record: Record) -> None:
    record.write(3)
    committed(record, places.home)
    found = drill(places, made)
    assert words(found, Verdict.BAD) == ""
    assert f"git knows of {ROWS + 3} rows: the last 3 are not in this backup" in words(found, Verdict.WARNING)


# ---------------------------------------------------------------- the commands

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*words: str) -> Result:
        known = {"LOCKTENDER_HOME": str(tmp_path), "DATABASE_URL": "", "LOCKTENDER_AUDIT_KEY_FILE": ""}
        return CliRunner().invoke(app, [*words], env=known)

    return call


@pytest.mark.usefixtures("record")
def test_the_command_says_what_is_not_in_the_backup_and_how_to_try_it(run: Run, tmp_path: Path) -> None:
    found = run("backup", str(tmp_path / "b.db"))
    assert found.exit_code == 0, found.output
    assert f"{ROWS} rows" in found.stdout
    assert "audit.key with your secrets" in found.stdout
    assert run("doctor", "--backup", str(tmp_path / "b.db")).exit_code == 0
    again = run("backup", str(tmp_path / "b.db"))
    assert again.exit_code == 1
    assert "exists already" in again.output


def test_where_there_is_no_record_that_is_said(run: Run, tmp_path: Path) -> None:
    assert run("backup", str(tmp_path / "b.db")).exit_code == 2
    assert run("doctor", "--backup", str(tmp_path / "b.db")).exit_code == 1
