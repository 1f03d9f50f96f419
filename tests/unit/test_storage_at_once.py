"""Several threads on one database: audit numbers, claims, deliveries, locks. The same on SQLite and on Postgres.

Two `Database` objects stand for two replicas where that matters; on SQLite there is one process at a time.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from storage import claims
from storage.database import Database
from storage.models import Deployment
from storage.phases import Phase, Stage
from storage.unit_of_work import AuditEntry, Store
from tests.postgres import PostgresServer
from tests.rows import audit_rows

WRITERS = 8


@pytest.fixture
def replica(database_url: str) -> Iterator[Store]:
    """A second process's view of the database."""
    made = Store(Database(database_url))
    yield made
    made.database.close()


def asked(store: Store, app: str = "web") -> str:
    with store.write() as uow:
        row = Deployment(
            app=app, environment="staging", version="1", team_id="T1", requested_by="U1", requested_at=uow.now
        )
        uow.add(row, "")
    return row.id


def at_once(*work: Callable[[], object]) -> list[object]:
    """Run them in threads that start together; what one raises is raised."""
    gate = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> object:
        gate.wait(timeout=30)
        return one()

    with ThreadPoolExecutor(len(work)) as threads:
        return [done.result(timeout=60) for done in [threads.submit(run, one) for one in work]]


class GaveUpError(RuntimeError):
    """What a writer raises after it has written."""


def test_audit_rows_of_many_writers_are_numbered_without_gaps(store: Store, replica: Store) -> None:
    def write(number: int) -> None:
        mine = (store, replica)[number % 2]
        for turn in range(10):
            with suppress(GaveUpError), mine.write() as uow:
                uow.audit(AuditEntry("test:write", actor=f"U{number}", details={"turn": turn}))
                if turn % 3 == 2:
                    raise GaveUpError
                uow.audit(AuditEntry("test:more", actor=f"U{number}", details={"turn": turn}))

    at_once(*(partial(write, number) for number in range(WRITERS)))
    assert [row.seq for row in audit_rows(store)] == list(range(1, WRITERS * 7 * 2 + 1))


def test_two_replicas_never_claim_the_same_deployment_or_the_same_target(store: Store, replica: Store) -> None:
    for number in range(24):
        asked(store, app=f"app-{number % 6}")

    def claim(mine: Store) -> list[tuple[str, str]]:
        with mine.write() as uow:
            return [(row.id, row.app) for row in claims.claim(uow, "x", 4)]

    taken: list[tuple[str, str]] = []
    for _ in range(4):
        results = at_once(lambda: claim(store), lambda: claim(replica))
        taken += [one for result in results for one in result]  # type: ignore[attr-defined]  # lists, as claim gives
    assert len(taken) == 6
    assert len({app for _, app in taken}) == 6
    with store.read() as uow:
        assert uow.counts() == {"running": 6, "queued": 18}


def test_what_another_replica_is_claiming_is_not_overtaken(store: Store, replica: Store) -> None:
    if store.database.is_sqlite:
        pytest.skip("one writer at a time on SQLite: nobody can look while another claims")
    first, _ = asked(store), asked(store)
    with store.write() as uow:
        assert [row.id for row in claims.claim(uow, "one", 5)] == [first]
        with replica.write() as other:
            assert claims.claim(other, "two", 5) == []
    with replica.write() as uow:
        assert claims.claim(uow, "two", 5) == []


def test_a_held_deployment_cannot_change_until_the_holder_is_done(store: Store, replica: Store) -> None:
    deployment_id = asked(store)
    with store.write() as uow:
        claims.claim(uow, "one", 1)
    held, order = threading.Event(), list[str]()

    def hold() -> None:
        with store.write() as uow:
            row = uow.running(deployment_id, 1)
            held.set()
            threading.Event().wait(0.2)
            row.stage = Stage.WRITE
            order.append("written")

    def look() -> None:
        assert held.wait(30)
        with replica.write() as uow:
            row = uow.deployment(deployment_id)
            assert row is not None
            uow.hold(row)
            order.append(f"seen {row.stage}")

    at_once(hold, look)
    assert order == ["written", "seen write"]


def test_requests_are_decided_one_after_the_other(store: Store, replica: Store) -> None:
    def decide(mine: Store) -> None:
        with mine.write() as uow:
            uow.in_turn()
            if not uow.open_for("web", "staging"):
                row = Deployment(
                    app="web", environment="staging", version="1", team_id="T1", requested_by="U1", requested_at=uow.now
                )
                uow.add(row, "")

    at_once(*[lambda: decide(store), lambda: decide(replica)] * 4)
    with store.read() as uow:
        assert uow.counts() == {"queued": 1}


def test_a_reader_does_not_wait_for_a_writer_nor_a_writer_for_a_reader(store: Store, replica: Store) -> None:
    deployment_id = asked(store)
    with store.read() as reading:
        row = reading.deployment(deployment_id)
        assert row is not None
        with replica.write() as writing:
            mine = writing.deployment(deployment_id)
            assert mine is not None
            mine.to(Phase.CANCELLED)
            writing.session.flush()
            with store.read() as another:
                seen = another.deployment(deployment_id)
                assert seen is not None
                assert seen.phase == Phase.QUEUED
        assert reading.counts() == {"queued": 1}


def test_a_replica_that_dies_inside_a_transaction_holds_nobody_up_for_long(postgres_server: PostgresServer) -> None:
    url = postgres_server.create()
    database = Database(url)
    with database.read() as opened:
        connection = opened.connection
        said = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
        driver: Any = connection.connection.driver_connection
        address = driver.info.get_parameters()
    database.close()
    postgres_server.drop(url)
    assert said == "30s"
    assert (address["connect_timeout"], address["tcp_user_timeout"]) == ("5", "15000")
