"""What is SQLite's own: the pragmas on every connection, where a transaction takes its lock, a kill in mid-commit.

That a power cut loses nothing cannot be tried here; `synchronous=FULL` is asked for and looked at.
"""

import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from storage import database, exports, gate
from storage.database import BUSY_TIMEOUT_MS, Database
from storage.unit_of_work import Store
from tests.rows import audit_rows

PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": BUSY_TIMEOUT_MS}


@pytest.fixture
def path(tmp_path: Path, sqlite_template: Path) -> Path:
    place = tmp_path / "locktender.db"
    place.write_bytes(sqlite_template.read_bytes())
    return place


def test_every_connection_of_the_pool_is_durable(path: Path) -> None:
    store = Database(database.sqlite_url(path))
    with ExitStack() as stack:
        connections = [stack.enter_context(store.engine.execution_options(read_only=True).connect()) for _ in range(12)]
        found = [
            {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in PRAGMAS}
            for connection in connections
        ]
    store.close()
    assert found == [PRAGMAS] * 12


def test_a_transaction_that_will_write_takes_the_lock_at_its_start(path: Path) -> None:
    store = Database(database.sqlite_url(path))
    outsider = sqlite3.connect(path, timeout=0)
    with store.write() as opened:
        opened.connection.execute(text("SELECT 1"))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            outsider.execute("BEGIN IMMEDIATE")
    outsider.execute("BEGIN IMMEDIATE")
    outsider.rollback()
    outsider.close()
    store.close()


def test_a_lock_that_is_never_given_back_is_told_as_a_database_that_cannot_be_used(path: Path) -> None:
    store = Database(database.sqlite_url(path))
    with store.read() as opened:
        opened.connection.exec_driver_sql("PRAGMA busy_timeout=1")
    outsider = sqlite3.connect(path, isolation_level=None)
    outsider.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"), store.write() as opened:
        opened.connection.execute(text("SELECT 1"))
    outsider.execute("ROLLBACK")
    with store.write() as opened:
        opened.connection.execute(text("SELECT 1"))
    outsider.close()
    store.close()


def test_a_connection_that_read_writes_again_and_one_that_wrote_reads_only(path: Path) -> None:
    engine = database.create(database.sqlite_url(path), pool=1)
    reader = engine.execution_options(read_only=True)
    insert = text("INSERT INTO seen (key, at, answer) VALUES (:key, '2026-01-01 00:00:00.000000', '')")
    for key in ("a", "b"):
        with engine.begin() as connection:
            connection.execute(insert, {"key": key})
        with reader.begin() as connection:
            assert connection.execute(text("SELECT count(*) FROM seen")).scalar()
            with pytest.raises(OperationalError, match="readonly"):
                connection.execute(insert, {"key": "c"})
    engine.dispose()


def test_many_threads_write_without_ever_finding_the_database_locked(path: Path) -> None:
    stores = [Store(Database(database.sqlite_url(path))) for _ in range(2)]  # two queues: the file's lock decides
    gate = Barrier(8)

    def write(number: int) -> None:
        gate.wait(timeout=30)
        for turn in range(10):
            with stores[number % 2].write() as uow:
                uow.answered(f"{number}:{turn}")
                uow.first_time(f"{number}:{turn}", "")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    with stores[0].read() as uow:
        assert uow.session.execute(text("SELECT count(*) FROM seen")).scalar() == 80
    for store in stores:
        store.database.close()


_WRITER = """
import os, sys
from storage.database import Database
from storage.unit_of_work import AuditEntry, Store

store = Store(Database(sys.argv[1]))
while True:
    with store.write() as uow:
        row = uow.audit(AuditEntry("test:write", details={"filler": "x" * 20_000}))
        uow.first_time(str(row.seq), "")
    print(row.seq, flush=True)
"""


def test_a_kill_in_mid_commit_loses_nothing_that_was_committed_and_leaves_no_half(path: Path) -> None:
    url = database.sqlite_url(path)
    for commits in (5, 23, 61):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, url], stdout=subprocess.PIPE, text=True)
        with writer:
            assert writer.stdout is not None
            try:
                told = [writer.stdout.readline() for _ in range(commits)]
            finally:
                writer.send_signal(signal.SIGKILL)
            told += writer.stdout.readlines()
        last = int([line for line in told if line.endswith("\n")][-1])
        store = Store(Database(url))
        rows = audit_rows(store)
        with store.read() as uow:
            seen = uow.session.execute(text("SELECT count(*) FROM seen")).scalar()
            assert uow.session.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        store.database.close()
        # One transaction may have been committed whose number the dead process could not print any more.
        assert len(rows) in {last, last + 1}
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        assert seen == len(rows)


def test_a_writer_that_waits_too_long_says_so(path: Path) -> None:
    outsider = sqlite3.connect(path)
    outsider.execute("BEGIN IMMEDIATE")
    engine = database.create(database.sqlite_url(path))
    with engine.execution_options(read_only=True).connect() as connection:
        connection.execute(text("PRAGMA busy_timeout = 50"))
    with pytest.raises(OperationalError, match="locked"):
        engine.connect().execute(text("SELECT 1"))
    outsider.close()
    engine.dispose()


def test_urls_are_given_the_driver_that_is_installed() -> None:
    assert database.normalise("postgres://me:secret@db/x") == "postgresql+psycopg://me:secret@db/x"
    assert database.normalise("postgresql://db/x?sslmode=require") == "postgresql+psycopg://db/x?sslmode=require"
    assert database.normalise("sqlite:////var/x.db") == "sqlite:////var/x.db"


def test_what_waits_for_a_target_is_found_without_reading_all_that_ever_ran_there(path: Path) -> None:
    store = Store(Database(database.sqlite_url(path)))
    asked: list[str] = []
    with store.read() as uow:
        driver = uow.session.connection().connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(asked.append)
        uow.waiting_for("web", "staging")
        uow.open_for("web", "staging")
        driver.set_trace_callback(None)
        questions = [one for one in asked if one.startswith("SELECT")]
        plans = [str(driver.execute(f"EXPLAIN QUERY PLAN {one}").fetchall()) for one in questions]
    store.database.close()
    assert len(plans) == 2
    assert all("open_deployments" in plan for plan in plans), plans


def test_the_log_is_folded_beside_writers_and_not_by_them(path: Path) -> None:
    store = Store(Database(database.sqlite_url(path)))
    log = path.with_name(f"{path.name}-wal")

    def write(times: int) -> None:
        for _ in range(times):
            with store.write() as uow:
                uow.first_time(uuid4().hex, "a" * 3000)

    write(600)  # each commit changes several pages: SQLite alone would begin the log anew at a thousand of them
    grown = log.stat().st_size
    assert grown > 1_500 * 4096
    store.database.fold_log()
    write(100)
    assert log.stat().st_size == grown, "what was folded was not written over"
    with store.read() as reader:
        reader.answered("none")  # a reader in the middle of a snapshot holds up nobody
        write(1)
        store.database.fold_log()
        write(1)
    store.database.close()


def test_changes_that_are_due_are_found_without_reading_all_that_ever_were(path: Path) -> None:
    store = Store(Database(database.sqlite_url(path)))
    asked: list[str] = []
    with store.read() as uow:
        driver = uow.session.connection().connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(asked.append)
        gate.due(uow, 4)
        driver.set_trace_callback(None)
        plan = str(driver.execute(f"EXPLAIN QUERY PLAN {asked[-1]}").fetchall())
    store.database.close()
    assert "changes_due" in plan


def test_looking_for_files_that_were_asked_for_takes_no_lock_when_there_is_none(path: Path) -> None:
    store = Store(Database(database.sqlite_url(path)))
    with store.write():
        assert exports.lease(store) is None  # as a writer it would wait for this one, for ever
    store.database.close()
