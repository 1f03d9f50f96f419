"""Who goes first, among the threads of one process: what a person waits for, then everything else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
        if not (self._nobody.is_set() or _answers.get()):
            self._nobody.wait(PATIENCE)
