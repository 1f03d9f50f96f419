"""Looks at every reviewed change until it is merged or ended: when it is due, when somebody clicks, when git moves.

A visit is leased in the database, looks at git and at the code host, and records what it found in one transaction. It
keeps nothing in memory, so a crash at any instant costs a look: another visit, here or on another replica, does it
again, and every writing call looks first whether it was made.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import structlog

from storage import gate
from storage.unit_of_work import Store

LEASE = timedelta(seconds=120)
"""How long a visit owns its change: longer than git, the renderer and the code host may take together."""
LOOK_EVERY = 0.5
AT_MOST_EVERY = 0.1
"""Seconds from one look to the next: every request that is recorded asks for one, and most are of no change."""
AT_ONCE = 4
log = structlog.get_logger("gate")


class Gatekeeper:
    """One thread that finds what is due, and a few that look. `start()` after the database was migrated."""

    def __init__(self, store: Store, visit: Callable[[str, datetime], None]) -> None:
        self._store = store
        self._visit = visit
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._guard = threading.Lock()
        self._visiting: set[str] = set()

    def start(self) -> None:
        """Begin to look."""
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="gate")
        self._thread = threading.Thread(target=self._run, name="gatekeeper", daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """Something may be due now."""
        self._wake.set()

    def stop(self) -> None:
        """Begin no new visit; let running ones end."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def reclaim(self) -> None:
        """At the start of the only process: what was leased was leased by a dead one."""
        with self._store.write() as uow:
            for change in gate.leased(uow):
                gate.visit_soon(uow, change)

    def hurry(self, branch: str = "") -> None:
        """Look at the change of this branch now, or at all of them: git or the code host has news."""
        with self._store.write() as uow:
            for change in gate.live_changes(uow):
                if branch in {"", change.branch}:
                    gate.visit_soon(uow, change)
        self.poke()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            try:
                self._round()
                self._stopping.wait(AT_MOST_EVERY)
            except Exception:  # the edge of the thread: without it nothing would ever be approved again, in silence
                log.exception("gate.round_failed")
                self._stopping.wait(1.0)

    def _round(self) -> None:
        with self._guard:
            room = AT_ONCE - len(self._visiting)
        if room <= 0 or self._stopping.is_set():
            return
        with self._store.read() as uow:
            due = gate.due(uow, room)
        for change_id in due:
            with self._guard:
                if change_id in self._visiting:
                    continue  # somebody asked for another look: it comes after this one
            with self._store.write() as uow:
                until = gate.lease(uow, change_id, LEASE)
            if until is not None and self._pool is not None:
                with self._guard:
                    self._visiting.add(change_id)
                self._pool.submit(self._look, change_id, until)

    def _look(self, change_id: str, until: datetime) -> None:
        try:
            self._visit(change_id, until)
        except Exception:  # the edge of a visit: it comes again when its lease is over
            log.exception("gate.visit_failed", change=change_id)
        finally:
            with self._guard:
                self._visiting.discard(change_id)
            self._wake.set()
