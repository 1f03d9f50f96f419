"""Short transactions from many callers, one after the other in a thread of its own, committed together.

A commit costs a sync to disk, and a thread that waits for the write lock costs the GIL at every statement. Under load
several requests wait at the same time: they share both (a group commit, as databases do it).
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from sqlalchemy.exc import OperationalError

from storage.database import Database

T = TypeVar("T")
LARGEST_GROUP = 32
"""More would make the first of a group wait for the last without saving anything."""


@dataclass
class _Turn:
    work: Callable[[], object]
    future: Future[Any] = field(default_factory=Future)


class Scribe:
    """Runs units of work that open their transaction on this database. One thread; start it by the first `submit`.

    What a unit of work raises is its own: the others of its group are done again without it. So a unit of work may run
    twice, and must touch nothing but the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns: queue.SimpleQueue[_Turn | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run it soon. The future is done when the transaction is committed, never before."""
        turn = _Turn(work)
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="scribe", daemon=True)
                self._thread.start()
            self._turns.put(turn)
        return cast("Future[T]", turn.future)

    def close(self) -> None:
        """Do what was submitted, then end."""
        with self._guard:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._turns.put(None)
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (first := self._turns.get()) is not None:
            group, last = [first], False
            while len(group) < LARGEST_GROUP and not self._turns.empty():
                turn = self._turns.get()
                if turn is None:
                    last = True
                    break
                group.append(turn)
            # Who has stopped waiting (the connection is gone) is left out; from here on nobody can be cancelled.
            self._do([turn for turn in group if turn.future.set_running_or_notify_cancel()])
            if last:
                return

    def _do(self, group: list[_Turn]) -> None:
        """One transaction for all; when one of them raises, one for each."""
        try:
            with self._database.together():
                results = [turn.work() for turn in group]
        except Exception as error:  # noqa: BLE001 - whose it is, and what to do about it, is decided turn by turn
            if len(group) == 1 or isinstance(error, OperationalError):  # the database's fault is everybody's
                for turn in group:
                    turn.future.set_exception(error)
                return
            for turn in group:
                self._do([turn])
            return
        for turn, result in zip(group, results, strict=True):
            turn.future.set_result(result)
