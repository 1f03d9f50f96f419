"""Engines, pragmas and migrations for SQLite and Postgres."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from storage.courtesy import Courtesy
from storage.transaction import Transaction
from storage.turns import Turns

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0005"
"""The newest migration: a test holds it to the scripts, so that a process that needs none does not load them."""
BUSY_TIMEOUT_MS = 10_000
LONGEST_LOG = 16_000
"""Pages of 4 KB in SQLite's write-ahead log at which whoever commits moves them into the file, and waits for that."""
IDLE_TIMEOUT_MS = 30_000
"""A replica whose machine dies inside a transaction holds its locks, the right to decide among them, until Postgres
notices: by TCP alone that takes two hours. Ours last milliseconds."""
_POSTGRES = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds, the others seconds: a server that is gone is an error, not a wait
}
# Postgres advisory locks; a transaction takes them in this order, rows in between, so none can deadlock.
_MIGRATION_LOCK = 0x10C7_7E4B
_TURN_LOCK = 0x10C7_7E4C
_AUDIT_LOCK = 0x10C7_7E4D


def sqlite_url(path: Path) -> str:
    """The SQLAlchemy URL of a SQLite file."""
    return f"sqlite:///{path}"


def normalise(url: str) -> str:
    """`postgres://…` and `postgresql://…` as the psycopg driver that is installed; others unchanged."""
    parsed = make_url(url)
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def create(url: str, *, pool: int = 10) -> Engine:
    """An engine with the settings that durability needs; its errors, which get logged, hold no values of rows.

    SQLite: WAL, synchronous FULL (a committed row survives a power cut), foreign keys, BEGIN IMMEDIATE (a transaction
    that will write takes the write lock at its start, so it can never fail half-way with "database is locked"). Its log
    is folded into the file beside the writers (`Database.fold_log`); a writer does it itself at LONGEST_LOG only.
    """
    url = normalise(url)
    if not url.startswith("sqlite"):
        return _postgres(url, pool)
    engine = create_engine(
        url, pool_size=pool, max_overflow=pool, connect_args={"check_same_thread": False}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, record: Any) -> None:  # noqa: ANN401 - the DBAPI connection has no type
        del record
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            f"wal_autocheckpoint={LONGEST_LOG}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = bool(connection.get_execution_options().get("read_only"))
        begin = "BEGIN" if reading else "BEGIN IMMEDIATE"
        fairy = connection.connection
        driver = cast("sqlite3.Connection", fairy.driver_connection)
        try:  # straight to the driver: Core needs several times as long for each as SQLite does
            if (
                fairy.info.get("query_only") is not reading
            ):  # the pool gave what may have been a reader's, or a writer's
                driver.execute(f"PRAGMA query_only={int(reading)}")
                fairy.info["query_only"] = reading
            driver.execute(begin)
        except sqlite3.Error as error:
            raise DBAPIError.instance(
                begin, None, error, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
            ) from error

    return engine


def _postgres(url: str, pool: int) -> Engine:
    engine = create_engine(
        url, pool_size=pool, max_overflow=pool, pool_pre_ping=True, hide_parameters=True, connect_args=_POSTGRES
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, record: Any) -> None:  # noqa: ANN401 - the DBAPI connection has no type
        del record
        connection.autocommit = True
        connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}")
        connection.autocommit = False

    return engine


class Database:
    """The store: short read and write transactions. One instance per process, shared by all threads."""

    def __init__(self, url: str) -> None:
        self.engine = create(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._reader = self.engine.execution_options(
            read_only=True,
            **({} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}),
        )
        # Writers of one process queue here: SQLite's busy handler sleeps up to 100 ms, which would be the ack's tail.
        self._turns = Turns()
        self.courtesy = Courtesy()
        self._shared = threading.local()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A snapshot; the database refuses to change anything in it."""
        self._give_way()
        with self._reader.connect() as connection:
            opened = Transaction(connection, writing=False)
            try:
                with connection.begin():
                    yield opened
            finally:
                opened.close()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction: committed at the end, undone when anything raises; inside `together`, a part of that."""
        shared: Transaction | None = getattr(self._shared, "transaction", None)
        if shared is not None:
            yield shared
            shared.flush()
        else:
            self._give_way()
            with self._turns.ordinary() if self.is_sqlite else nullcontext(), self._alone() as opened:
                yield opened

    @contextmanager
    def _alone(self) -> Iterator[Transaction]:
        with self.engine.connect() as connection:
            opened = Transaction(connection, writing=True)
            self._shared.writes = True
            try:
                with connection.begin():
                    yield opened
                    opened.flush()
            finally:
                self._shared.writes = False
                opened.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread writes until the end is one transaction. Whatever raises undoes all of it.

        It is next when the writer of now is done: for what people wait for.
        """
        with self._turns.urgent() if self.is_sqlite else nullcontext(), self._alone() as opened:
            self._shared.transaction = opened
            try:
                yield
            finally:
                self._shared.transaction = None

    def _give_way(self) -> None:
        """Before a transaction begins, unless it is inside one that writes: answers may be waiting for that to end."""
        if not getattr(self._shared, "writes", False):
            self.courtesy.give_way()

    def lock_turn(self, connection: Connection) -> None:
        """Hold the right to decide on a request until the transaction ends: nobody decides on what another is changing.

        SQLite's write lock is that already, as it is `lock_audit`.
        """
        self._lock(connection, _TURN_LOCK)

    def lock_audit(self, connection: Connection) -> None:
        """Hold the right to append audit rows until the transaction ends: their numbers are consecutive."""
        self._lock(connection, _AUDIT_LOCK)

    def _lock(self, connection: Connection, key: int) -> None:
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    def ping(self) -> None:
        """Raise when the database does not answer."""
        with self._reader.connect() as connection:
            connection.execute(text("SELECT 1"))

    def fold_log(self) -> None:
        """Move what is in SQLite's write-ahead log into the file, while others read and write. Postgres does it itself.

        A commit would do it every thousand pages, two syncs more, and the ack of that moment would wait for it.
        """
        if not self.is_sqlite:
            return
        connection = self.engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def upgrade(engine: Engine) -> None:
    """Bring the schema to this version's, wholly or not at all; does nothing when it is there.

    Two processes may call it at once: the second waits, and finds it done.
    """
    from alembic import command

    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        command.upgrade(_config(connection), "head")


def upgrade_apart(url: str) -> None:
    """The same in a process of its own: what migrations need stays out of one that runs for months.

    RuntimeError with the migration's last words when it fails; the schema is then as it was.
    """
    # The address may hold a password, and arguments can be read by everybody on the machine.
    words = (sys.executable, "-m", "storage.migrate")
    done = subprocess.run(words, input=url, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the database could not be migrated: {done.stderr.strip()[-500:]}")


def is_current(engine: Engine) -> bool:
    """True when the schema is this version's."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
