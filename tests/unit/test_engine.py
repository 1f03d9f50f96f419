"""The engine on a real SQLite file with real DBOS: claims, takeovers by heartbeat, releases at shutdown, pauses
and the lock. The deliveries are stand-ins that say what they were asked; whole crashes are in tests/crash.

Two engines cannot run in one process (DBOS is one per process), so replicas on Postgres are left to that suite's kind
of test; here a takeover is seen through what another replica would have left in the database.
"""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from bot.delivery import Delivery, Runner
from bot.engine import STALE_AFTER, AlreadyRunningError, Engine, workflow_id
from bot.steps.base import DONE, ENDED
from commands.endings import Ending, end
from commands.reasons import ReasonCode
from storage import claims
from storage.database import Database, sqlite_url
from storage.models import Deployment
from storage.phases import Phase
from storage.unit_of_work import Store
from tests.unit.delivery_rig import empty_database

WAIT = 15.0


class Scripted(Delivery):
    """A delivery whose steps are a function; it notes which attempts it was asked to run."""

    def __init__(self, store: Store, body: Callable[[Runner, str, int], None] | None = None) -> None:
        self._store = store
        self._body = body or self.finish
        self.runs: list[tuple[str, int]] = []

    def run(self, runner: Runner, deployment_id: str, attempt: int) -> None:
        self.runs.append((deployment_id, attempt))
        self._body(runner, deployment_id, attempt)

    def finish(self, runner: Runner, deployment_id: str, attempt: int) -> None:
        runner.step("finish", self._end, deployment_id, attempt)

    def _end(self, deployment_id: str, attempt: int) -> float:
        with self._store.write() as uow:
            end(uow, uow.running(deployment_id, attempt), Ending(Phase.SUCCEEDED, ReasonCode.LIVE, ""))
        return DONE


class Bench:
    """A store in a folder, and engines on it one after another."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = sqlite_url(home / "locktender.db")
        self.store = Store(Database(self.url))
        self._engines: list[Engine] = []

    def start(self, delivery: Delivery, *, capacity: int = 5) -> Engine:
        engine = Engine(self.store, self.home, self.url, executor="replica", capacity=capacity)
        self._engines.append(engine)
        engine.start(delivery)
        return engine

    def stop(self, engine: Engine, drain: float = 5.0) -> None:
        self._engines.remove(engine)
        engine.stop(drain)

    def close(self) -> None:
        for engine in self._engines:
            engine.stop(1.0)
        self.store.database.close()

    def ask(self, app: str = "web") -> str:
        with self.store.write() as uow:
            row = Deployment(
                app=app, environment="staging", version="1", team_id="T0", requested_by="U0", requested_at=uow.now
            )
            uow.add(row, "")
            return row.id

    def row(self, deployment_id: str) -> Deployment:
        with self.store.read() as uow:
            row = uow.deployment(deployment_id)
            assert row is not None
            return row

    def ended(self, *names: str) -> bool:
        return all(Phase(self.row(name).phase).ended for name in names)

    def left_running(self, executor: str, *, silent_for: timedelta) -> str:
        """A deployment that another process claimed, and whose last heartbeat is that old."""
        name = self.ask()
        with self.store.write() as uow:
            (row,) = claims.claim(uow, executor, 1)
            row.heartbeat_at = uow.now - silent_for
        return name


def until(condition: Callable[[], object], seconds: float = WAIT) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


@pytest.fixture(scope="module", name="schema")
def _schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_database(tmp_path_factory.mktemp("schema"))


@pytest.fixture(name="bench")
def _bench(schema: Path, tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "locktender.db").write_bytes(schema.read_bytes())
    bench = Bench(tmp_path)
    try:
        yield bench
    finally:
        bench.close()


def test_what_is_queued_is_claimed_and_delivered_once(bench: Bench) -> None:
    before = bench.ask("before")
    delivery = Scripted(bench.store)
    engine = bench.start(delivery)
    after = bench.ask("after")
    engine.poke()
    until(lambda: bench.ended(before, after))
    assert sorted(delivery.runs) == sorted([(before, 1), (after, 1)])


def test_a_second_one_for_the_same_place_waits_for_the_first(bench: Bench) -> None:
    first, second = bench.ask(), bench.ask()
    go = threading.Event()
    delivery = Scripted(bench.store)
    finish = delivery.finish

    def held(runner: Runner, deployment_id: str, attempt: int) -> None:
        go.wait(WAIT)
        finish(runner, deployment_id, attempt)

    delivery._body = held
    bench.start(delivery)
    until(lambda: delivery.runs)
    time.sleep(0.2)
    assert delivery.runs == [(first, 1)]
    assert bench.row(second).phase == Phase.QUEUED
    go.set()
    until(lambda: bench.ended(first, second))


def test_no_more_run_at_once_than_the_process_has_room_for(bench: Bench) -> None:
    names = [bench.ask(f"app-{index}") for index in range(5)]
    go = threading.Event()
    delivery = Scripted(bench.store)
    finish = delivery.finish

    def held(runner: Runner, deployment_id: str, attempt: int) -> None:
        go.wait(WAIT)
        finish(runner, deployment_id, attempt)

    delivery._body = held
    engine = bench.start(delivery, capacity=2)
    until(lambda: len(delivery.runs) == 2)
    engine.poke()
    time.sleep(0.2)
    assert len(delivery.runs) == engine.running == 2
    go.set()
    until(lambda: bench.ended(*names))


def test_a_silent_process_loses_its_deployment_to_a_new_attempt(bench: Bench) -> None:
    name = bench.left_running("gone", silent_for=STALE_AFTER + timedelta(seconds=1))
    delivery = Scripted(bench.store)
    bench.start(delivery)
    until(lambda: bench.ended(name))
    assert delivery.runs == [(name, 2)]
    assert bench.row(name).executor == "sqlite"


def test_the_attempt_that_was_taken_over_can_record_nothing_more(bench: Bench) -> None:
    name = bench.left_running("gone", silent_for=STALE_AFTER + timedelta(seconds=1))
    delivery = Scripted(bench.store)
    bench.start(delivery)
    until(lambda: bench.ended(name))
    revision = bench.row(name).revision
    with pytest.raises(RuntimeError), bench.store.write() as uow:
        uow.running(name, 1)
    assert bench.row(name).revision == revision


def test_a_step_that_cannot_reach_the_database_is_tried_again_by_a_new_attempt(bench: Bench) -> None:
    name = bench.ask()

    def away(deployment_id: str, attempt: int) -> float:
        del deployment_id, attempt
        raise OperationalError("COMMIT", {}, Exception("disk I/O error"))

    delivery = Scripted(bench.store)
    finish = delivery.finish

    def first_away(runner: Runner, deployment_id: str, attempt: int) -> None:
        if attempt == 1:
            runner.step("away", away, deployment_id, attempt)
        finish(runner, deployment_id, attempt)

    delivery._body = first_away
    engine = bench.start(delivery)
    until(lambda: delivery.runs and engine.running == 0)
    assert bench.row(name).phase == Phase.RUNNING  # not lost: its heartbeat only has to go stale
    with bench.store.write() as uow:
        row = uow.deployment(name)
        assert row is not None
        row.heartbeat_at = uow.now - STALE_AFTER - timedelta(seconds=1)
    engine.poke()
    until(lambda: bench.ended(name))
    assert delivery.runs == [(name, 1), (name, 2)]


def test_stopping_releases_what_runs_and_the_next_engine_takes_it_up(bench: Bench) -> None:
    name = bench.ask()
    delivery = Scripted(bench.store)

    def for_ever(runner: Runner, deployment_id: str, attempt: int) -> None:
        while runner.step("wait", lambda *_: 0.1, deployment_id, attempt) >= 0:
            runner.pause(0.05)

    delivery._body = for_ever
    engine = bench.start(delivery)
    until(lambda: delivery.runs)
    bench.stop(engine)
    left = bench.row(name)
    assert (left.phase, left.heartbeat_at) == (Phase.RUNNING, None)
    again = Scripted(bench.store)
    bench.start(again)
    until(lambda: bench.ended(name))
    assert again.runs == [(name, 2)]


def test_a_long_pause_does_not_hold_up_the_end_of_the_process(bench: Bench) -> None:
    bench.ask()
    delivery = Scripted(bench.store)

    def asleep(runner: Runner, deployment_id: str, attempt: int) -> None:
        runner.pause(3600.0)
        runner.step("after", lambda *_: ENDED, deployment_id, attempt)

    delivery._body = asleep
    engine = bench.start(delivery)
    until(lambda: delivery.runs)
    began = time.monotonic()
    bench.stop(engine, 8.0)
    assert time.monotonic() - began < 6
    assert engine.running == 0


def test_a_dispatcher_that_meets_a_surprise_goes_on(bench: Bench) -> None:
    delivery = Scripted(bench.store)
    engine = bench.start(delivery)
    broken = bench.store.clock

    def surprise() -> None:
        bench.store.clock = broken
        raise ValueError("a defect")

    bench.store.clock = surprise  # type: ignore[assignment]  # it never answers
    engine.poke()
    until(lambda: bench.store.clock is broken)
    name = bench.ask()
    until(lambda: bench.ended(name))


def test_a_second_engine_on_the_folder_is_refused_before_it_touches_anything(bench: Bench) -> None:
    bench.start(Scripted(bench.store))
    second = Engine(bench.store, bench.home, bench.url, executor="other", capacity=1)
    with pytest.raises(AlreadyRunningError, match="DATABASE_URL"):
        second.lock()


def test_the_lock_ends_with_the_engine(bench: Bench) -> None:
    bench.stop(bench.start(Scripted(bench.store)))
    second = Engine(bench.store, bench.home, bench.url, executor="other", capacity=1)
    second.lock()
    assert second._lock_file is not None
    second._lock_file.close()


def test_a_workflow_is_known_by_deployment_and_attempt() -> None:
    assert workflow_id("abc", 2) == "abc.2"
