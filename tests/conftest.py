"""What every test may ask for: a database of its own with the schema in it, on SQLite and on Postgres."""

import gc
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage import database
from storage.database import Database
from storage.unit_of_work import Store
from tests.postgres import NoPostgresError, PostgresServer, postgres

MINUTES = frozenset(
    {
        "contract/test_api_schemathesis.py",
        "contract/test_doctor_github.py",
        "contract/test_external_changes.py",
        "contract/test_infra_repo_branches.py",
        "contract/test_infra_repo_hostile.py",
        "contract/test_kustomize_blast.py",
        "crash/test_gate_points.py",
        "crash/test_outside.py",
        "crash/test_points.py",
        "crash/test_stopping.py",
        "e2e/test_catalogue.py",
        "e2e/test_cluster_trouble.py",
        "e2e/test_gate_afterwards.py",
        "e2e/test_gate_attacks.py",
        "e2e/test_gate_attacks_2.py",
        "e2e/test_gate_decisions.py",
        "e2e/test_gate_locks.py",
        "e2e/test_gate_rollback.py",
        "e2e/test_gate_webhooks.py",
        "e2e/test_infra_repo_trouble.py",
        "e2e/test_jenkins_trouble.py",
        "e2e/test_words.py",
        "unit/test_backup.py",
        "unit/test_gate_mutants.py",
    }
)
"""Files that `make test-slow` runs: together they take minutes, and others keep watch over the same code."""
BOTH_DATABASES = (
    "unit/test_storage",
    "unit/test_migrations",
    "unit/test_ledger",
    "unit/test_verify",
    "unit/test_scribe",
)
"""Files whose every test runs on Postgres in the default suite too; of the others, Postgres is for `make test-slow`."""
FIRST = ("e2e/", "crash/")
"""What begins before all others, so that none of it begins when they are done: it waits more than it works."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files alone of which nothing is going to run: each process would read them."""
    if "not slow" in config.option.markexpr and _name(collection_path) in MINUTES:
        return True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests are slow, before they are chosen by that, and begin with those that take longest."""
    items.sort(key=lambda item: not _name(item.path).startswith(FIRST))
    for item in items:
        name = _name(item.path)
        chosen = getattr(item, "callspec", None)
        on_postgres = chosen is not None and "postgres" in chosen.params.values()
        if name in MINUTES or (on_postgres and not name.startswith(BOTH_DATABASES)):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What was collected stays to the end: no look for garbage has to go through it."""
    gc.freeze()


def _name(path: Path) -> str:
    return "/".join(path.parts[-2:])


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
