"""What every test may ask for: a database of its own with the schema in it, on SQLite and on Postgres."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage import database
from storage.database import Database
from storage.unit_of_work import Store
from tests.postgres import NoPostgresError, PostgresServer, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server per pytest process; skips, and says why, where there can be none."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres())
        except NoPostgresError as reason:
            pytest.skip(f"no Postgres here: {reason}")
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with the schema; whoever uses it empties it first."""
    url = postgres_server.create()
    _upgrade(url)
    yield url
    postgres_server.drop(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _upgrade(database.sqlite_url(path))
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database with the schema: each test runs on both kinds."""
    if request.param == "sqlite":
        path = tmp_path / "locktender.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield database.sqlite_url(path)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url: str = request.getfixturevalue("postgres_url")
    server.empty(url)
    yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store with the clock of production."""
    made = Store(Database(database_url))
    yield made
    made.database.close()


def _upgrade(url: str) -> None:
    engine = database.create(url)
    database.upgrade(engine)
    engine.dispose()
