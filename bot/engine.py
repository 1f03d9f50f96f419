"""Runs deliveries on DBOS: claims queued deployments, makes steps durable, and takes up what a dead process left.

DBOS gives durable steps and pauses; it promises at least once. That each deployment is one workflow under the id
`<deployment>.<attempt>`, that an older attempt finds itself stale, and that every step looks before it acts is what
makes it exactly once outside. So correctness never rests on the engine alone.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO, cast

import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from sqlalchemy import Engine as SqlEngine
from sqlalchemy import create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from bot.delivery import Delivery
from storage import claims
from storage.database import Database, normalise
from storage.heartbeats import beat
from storage.models import Deployment
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork

APPLICATION_VERSION = "1"
"""Constant: DBOS would hash the workflow's source, and an upgrade would leave running workflows pending for ever."""
HEARTBEAT_SECONDS = 5.0
STALE_AFTER = timedelta(seconds=30)
"""A running deployment without a heartbeat for this long gets a new attempt, on whichever replica sees it first."""
RELEASED = -2.0
"""A step's answer while the process shuts down: the workflow ends, the deployment stays running for the next one."""
LOOK_EVERY = 1.0
FORGET_AFTER = timedelta(days=7)
_ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")

log = structlog.get_logger("engine")


class AlreadyRunningError(RuntimeError):
    """Another process uses the same SQLite file."""


class Engine:
    """One per process. `start()` after the database was migrated, `stop()` before it is closed."""

    def __init__(
        self,
        store: Store,
        home: Path,
        url: str,
        *,
        executor: str,
        capacity: int,
        may_start: Callable[[UnitOfWork], claims.MayStart] = lambda _: claims.anything,
    ) -> None:
        self._store = store
        self._may_start = may_start
        self._database: Database = store.database
        self._home = home
        self._url = url
        # On SQLite there is one process by flock: a constant id lets DBOS recover what that process left behind.
        self.executor = "sqlite" if self._database.is_sqlite else executor
        self._capacity = capacity
        self._delivery: Delivery | None = None
        self._workflow: Callable[[str, int], None] | None = None
        self._running: set[str] = set()
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock_file: TextIO | None = None
        self._sql: SqlEngine | None = None

    # ------------------------------------------------------------ life

    def start(self, delivery: Delivery) -> None:
        """Launch DBOS, take up what was running, and begin to claim. Raises AlreadyRunningError on SQLite."""
        self._delivery = delivery
        self.lock()
        self._sql = _engine_for(self._url, self._home)
        config: DBOSConfig = {
            "name": "locktender",
            "system_database_engine": self._sql,
            "system_database_url": self._sql.url.render_as_string(hide_password=False),
            "application_version": APPLICATION_VERSION,
            "executor_id": self.executor,
            "serializer": DBOSPortableJSONSerializer(),  # the default pickles: whoever writes the file runs code
            "enable_otlp": False,
            "log_level": "WARNING",
            "max_executor_threads": self._capacity + 16,
            "use_listen_notify": False,
        }
        DBOS(config=config)

        def deliver(deployment_id: str, attempt: int) -> None:
            self._deliver(deployment_id, attempt)

        self._workflow = DBOS.workflow(name="deliver", max_recovery_attempts=1000)(deliver)
        DBOS.launch()
        self._find_orphans()
        self._wake.set()  # what waits need not wait longer
        for name, body in (("dispatcher", self._dispatch), ("heartbeat", self._beat)):
            thread = threading.Thread(target=body, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def lock(self) -> None:
        """On SQLite exactly one process may run deliveries: two would run each other's steps.

        Call it before the database and the git mirror are touched; `start` does so if nobody did. Raises
        AlreadyRunningError. The lock ends with `stop` or with the process.
        """
        if not self._database.is_sqlite or self._lock_file is not None:
            return
        self._home.mkdir(parents=True, exist_ok=True)
        handle = (self._home / "locktender.lock").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.close()
            raise AlreadyRunningError(
                f"another Locktender uses {self._home}; stop it, or set DATABASE_URL to Postgres to run several"
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        self._lock_file = handle

    def poke(self) -> None:
        """Something may be ready to run: look now instead of within a second. Called at every ack."""
        if self.running < self._capacity:  # when it is full, the next end of a delivery has it look
            self._wake.set()

    def stop(self, drain: float = 10.0) -> None:
        """Stop claiming; give running steps `drain` seconds to reach their record. The rest is taken up at start."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(timeout=5)
        DBOS.destroy(workflow_completion_timeout_sec=max(1, int(drain)) if self.running else 0)
        if self.running:
            # The step may still act. The lock goes with the process, so that no other one acts beside it.
            log.warning("engine.step_does_not_end", running=self.running)
            return
        if self._sql is not None:
            self._sql.dispose()
        if self._lock_file is not None:
            self._lock_file.close()

    def forget(self) -> None:
        """Drop DBOS's record of workflows that ended more than a week ago; ours is the audit log."""
        before = (datetime.now(UTC) - FORGET_AFTER).isoformat()
        while old := DBOS.list_workflows(end_time=before, status=list(_ENDED), limit=500, load_input=False):
            DBOS.delete_workflows([one.workflow_id for one in old])

    @property
    def running(self) -> int:
        """How many deployments this process runs now."""
        with self._guard:
            return len(self._running)

    # ------------------------------------------------------------ the workflow

    def _deliver(self, deployment_id: str, attempt: int) -> None:
        key = workflow_id(deployment_id, attempt)
        with self._guard:
            self._running.add(deployment_id)
        try:
            cast("Delivery", self._delivery).run(self, deployment_id, attempt)
            log.debug("engine.workflow_ended", workflow=key)
        finally:
            with self._guard:
                self._running.discard(deployment_id)
            self._wake.set()

    def step(self, name: str, step: Callable[[str, int], float], deployment_id: str, attempt: int) -> float:
        """Run one step under DBOS's record; answers RELEASED when the process is shutting down."""
        if self._stopping.is_set():
            self._release(deployment_id, attempt)
            return RELEASED

        def once() -> float:
            return step(deployment_id, attempt)

        return DBOS.run_step({"name": name}, once)

    def pause(self, seconds: float) -> None:
        """A pause whose end is recorded, so that a restart does not begin it again; short ones are not worth it.

        Shutting down ends it: DBOS's own sleep cannot be woken, and would hold the process for as long as a server's
        Retry-After says.
        """
        if seconds >= HEARTBEAT_SECONDS:
            until = DBOS.run_step({"name": "pause"}, lambda: time.time() + seconds)
            seconds = min(seconds, max(0.0, until - time.time()))
        self._stopping.wait(seconds)

    def _release(self, deployment_id: str, attempt: int) -> None:
        with self._store.write() as uow:
            row = uow.deployment(deployment_id)
            if row is not None and row.phase == Phase.RUNNING and row.attempt == attempt:
                row.heartbeat_at = None
        log.info("engine.released", deployment=deployment_id)

    # ------------------------------------------------------------ threads

    def _dispatch(self) -> None:
        looked = float("-inf")
        while not self._stopping.is_set():
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                if time.monotonic() - looked >= LOOK_EVERY:  # not at every poke: nothing goes stale that fast
                    self._take_over()
                    looked = time.monotonic()
                self._claim()
            except Exception:  # the edge of the thread: without it nothing would be delivered any more, in silence
                log.exception("engine.round_failed")
                self._stopping.wait(LOOK_EVERY)

    def _claim(self) -> None:
        room = self._capacity - self.running
        if room <= 0:
            return
        with self._store.write() as uow:
            taken = [(row.id, row.attempt) for row in claims.claim(uow, self.executor, room, self._may_start(uow))]
        for deployment_id, attempt in taken:
            self._begin(deployment_id, attempt)

    def _take_over(self) -> None:
        """Give deployments whose process is gone to this one, under a new attempt."""
        with self._store.read() as uow:
            stale = [row.id for row in claims.stale(uow, uow.now - STALE_AFTER)]
        for deployment_id in stale:
            with self._store.write() as uow:
                row = uow.deployment(deployment_id)
                if row is None:
                    continue
                uow.hold(row)  # another replica may be taking it over at this very moment
                if not self._is_stale(row, uow.now - STALE_AFTER):
                    continue
                claims.begin_attempt(uow, row, self.executor)
                attempt = row.attempt
            log.info("engine.taken_over", deployment=deployment_id, attempt=attempt)
            self._begin(deployment_id, attempt)

    def _is_stale(self, row: Deployment, limit: Any) -> bool:  # noqa: ANN401 - a datetime, as the row holds it
        if row.phase != Phase.RUNNING:
            return False
        with self._guard:
            if row.id in self._running:
                return False
        return row.heartbeat_at is None or row.heartbeat_at < limit

    def _find_orphans(self) -> None:
        """Sort out what a dead process left running; on SQLite nobody else can have it.

        DBOS takes up the workflows it knows: their heartbeats begin anew, or a process that was away for long would
        give them a second attempt beside the first. A deployment without one (the crash came between claiming and
        starting, or the process was shut down) is released for a new attempt.
        """
        if not self._database.is_sqlite:
            return
        with self._store.read() as uow:
            running = [(row.id, row.attempt) for row in uow.open_deployments() if row.phase == Phase.RUNNING]
        for deployment_id, attempt in running:
            status = DBOS.get_workflow_status(workflow_id(deployment_id, attempt))
            if status is None or status.status not in {"PENDING", "ENQUEUED"}:
                self._release(deployment_id, attempt)
            else:
                self._touch([deployment_id])

    def _begin(self, deployment_id: str, attempt: int) -> None:
        with self._guard:
            self._running.add(deployment_id)
        try:
            with SetWorkflowID(workflow_id(deployment_id, attempt)):
                DBOS.start_workflow(cast("Callable[[str, int], None]", self._workflow), deployment_id, attempt)
        except BaseException:
            with self._guard:
                self._running.discard(deployment_id)  # its heartbeat goes stale, and it is taken over
            raise

    def _beat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            with self._guard:
                mine = list(self._running)
            if not mine:
                continue
            try:
                self._touch(mine)
            except SQLAlchemyError:
                log.exception("engine.heartbeat_failed")

    def _touch(self, deployment_ids: list[str]) -> None:
        with self._store.write() as uow:
            beat(uow, deployment_ids, self.executor)


def workflow_id(deployment_id: str, attempt: int) -> str:
    """The id under which DBOS knows one attempt."""
    return f"{deployment_id}.{attempt}"


def _engine_for(url: str, home: Path) -> SqlEngine:
    """DBOS's own engine: on SQLite a file beside ours, so that steps and acks do not wait for each other's writes."""
    if not url.startswith("sqlite"):
        return create_engine(normalise(url), pool_size=10, max_overflow=20, pool_pre_ping=True, hide_parameters=True)
    engine = create_engine(
        f"sqlite:///{home.resolve()}/engine.db",
        pool_size=20,
        max_overflow=20,
        hide_parameters=True,
        connect_args={"check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, record: Any) -> None:  # noqa: ANN401 - the DBAPI connection has no type
        del record
        connection.isolation_level = "IMMEDIATE"  # DBOS says BEGIN itself where it must
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine
