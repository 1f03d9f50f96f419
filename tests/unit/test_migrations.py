"""Migrations on both databases: what they build is what the models say, once, wholly, and not twice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, bindparam, inspect, text
from sqlmodel import SQLModel

from storage import database, ledger, ledger_keys, models, proofs, record_models
from storage.audit_text import audit_text
from storage.canonical import canonical, leaf_hash
from storage.database import Database
from storage.keys import KeyFile
from storage.unit_of_work import Store
from storage.verdict import State, Trust
from storage.verify import verify
from storage.verify_rows import Book
from tests.postgres import PostgresServer

NOON = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    if request.param == "sqlite":
        yield database.sqlite_url(tmp_path / "empty.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture
def engine(empty: str) -> Iterator[Engine]:
    made = database.create(empty)
    yield made
    made.dispose()


def test_an_empty_database_becomes_what_the_models_say(engine: Engine) -> None:
    assert models.Deployment.metadata is record_models.AuditRow.metadata is SQLModel.metadata
    database.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": True, "include_name": _is_a_model},
        )
        assert compare_metadata(context, SQLModel.metadata) == []


def _is_a_model(name: str | None, kind: str, _: object) -> bool:
    """SQLite's full text is a virtual table, with tables of its own below it: no model has those."""
    return kind != "table" or not str(name).startswith("audit_words")


def test_the_index_that_keeps_targets_apart_is_partial_and_unique(engine: Engine) -> None:
    database.upgrade(engine)
    catalogue = "sqlite_master WHERE name" if engine.dialect.name == "sqlite" else "pg_indexes WHERE indexname"
    column = "sql" if engine.dialect.name == "sqlite" else "indexdef"
    with engine.connect() as connection:
        made = connection.execute(text(f"SELECT {column} FROM {catalogue} = 'one_running_deployment'")).scalar_one()  # noqa: S608 - our own words
    assert "UNIQUE" in made
    assert "running" in made
    assert "preview" in made


def test_a_second_upgrade_does_nothing(engine: Engine) -> None:
    database.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO seen (key, at, answer) VALUES ('k', '2026-01-01 00:00:00.000000', 'a')"))
    database.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT answer FROM seen")).scalar_one() == "a"


def test_a_database_says_whether_it_is_current(engine: Engine) -> None:
    assert not database.is_current(engine)
    database.upgrade(engine)
    assert database.is_current(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from the future'"))
    assert not database.is_current(engine)


def test_two_processes_may_upgrade_at_once(empty: str) -> None:
    engines = [database.create(empty) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(database.upgrade, engines))
    assert database.is_current(engines[0])
    for engine in engines:
        engine.dispose()


def test_an_upgrade_that_fails_leaves_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE seen (mine INTEGER)"))  # the last table of the first migration
    with pytest.raises(Exception, match="already exists"):
        database.upgrade(engine)
    assert inspect(engine).get_table_names() == ["seen"]


def test_the_newest_migration_is_the_one_that_a_process_compares_with(engine: Engine) -> None:
    database.upgrade(engine)
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == database.HEAD
    assert database.is_current(engine)


def test_a_process_of_its_own_migrates_too(empty: str) -> None:
    database.upgrade_apart(empty)
    made = database.create(empty)
    assert database.is_current(made)
    made.dispose()


def test_a_record_of_the_first_release_goes_forward_and_its_history_can_be_proved(
    empty: str, engine: Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        config = database._config(connection)
        command.upgrade(config, "0001")
        for seq in range(1, 8):
            row: dict[str, Any] = {
                "seq": seq,
                "at": NOON,
                "action": "deployment:request",
                "details": canonical({"n": seq, "w": "\u2028"}),
            }
            row |= dict.fromkeys(("team_id", "actor", "app", "environment", "deployment_id", "reason_code"), "x")
            leaf = leaf_hash(audit_text(record_models.AuditRow(**row)))
            columns = ", ".join([*row, "leaf"])
            marks = ", ".join(f":{name}" for name in [*row, "leaf"])
            statement = text(f"INSERT INTO audit ({columns}) VALUES ({marks})").bindparams(  # noqa: S608 - our own words
                bindparam("at", type_=models.UtcDateTime)
            )
            connection.execute(statement, row | {"leaf": leaf})
    database.upgrade(engine)
    store = Store(Database(empty), signer=ledger.Signer(KeyFile(tmp_path / "audit.key", "locktender/test")))
    assert store.signer is not None
    with store.read() as uow:
        assert ledger.head(uow.run).frontier.size == 7
        assert all(proofs.inclusion(uow.run, "locktender/test", seq).holds for seq in range(1, 8))
    ledger_keys.introduce(store)
    verdict = verify(Book(empty), Trust((store.signer.keys.key.public,)))
    store.database.close()
    assert (verdict.state, verdict.rows, verdict.proven) == (State.PROVEN, 8, 8)
