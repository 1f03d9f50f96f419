"""Who goes first, among the threads of one process: what a person waits for, then everything else."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 0.03
"""Seconds for which work that nobody waits for is put off. It is a courtesy: under a load without a gap it goes on."""

_answers: ContextVar[bool] = ContextVar("answers", default=False)


class Courtesy:
    """Lets whoever answers a person do so undisturbed.

    Threads share one interpreter, and an answer goes through it a dozen times: beside a thread that computes it would
    wait for it each time. So that thread begins in the gap between two answers.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._answering = 0
        self._nobody = threading.Event()
        self._nobody.set()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Somebody waits for what is done in here, and in the threads that it is handed to with its context."""
        token = _answers.set(True)
        with self._guard:
            self._answering += 1
            self._nobody.clear()
        try:
            yield
        finally:
            _answers.reset(token)
            with self._guard:
                self._answering -= 1
                if not self._answering:
                    self._nobody.set()

    def give_way(self) -> None:
        """Wait for a gap between two answers, for PATIENCE at the most; not at all in what belongs to an answer.

        Call it where a piece of work begins, holding no lock.
        """
        self._wait(PATIENCE)

    def one_by_one(self, pieces: Iterable[T]) -> Iterator[T]:
        """Go through a long computation in the gaps between answers; all of it waits for PATIENCE at the most."""
        left = PATIENCE
        for piece in pieces:
            left -= self._wait(left)
            yield piece

    def _wait(self, patience: float) -> float:
        """Returns the seconds that it took."""
        if patience <= 0 or self._nobody.is_set() or _answers.get():
            return 0
        began = time.monotonic()
        self._nobody.wait(patience)
        return time.monotonic() - began
