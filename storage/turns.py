"""Who writes next, among the threads of one process."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """One writer at a time. The urgent go first; the others in the order they came.

    A turn is handed over: with a plain lock, a thread that runs takes it again before the one that waits has woken.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._urgent: deque[threading.Lock] = deque()
        self._others: deque[threading.Lock] = deque()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Be next when the writer of now is done."""
        with self._turn(self._urgent):
            yield

    @contextmanager
    def ordinary(self) -> Iterator[None]:
        """Be next when nobody urgent waits, and nobody who came before."""
        with self._turn(self._others):
            yield

    @contextmanager
    def _turn(self, line: deque[threading.Lock]) -> Iterator[None]:
        called = threading.Lock()
        with self._guard:
            waits = self._taken
            self._taken = True
            if waits:
                called.acquire()
                line.append(called)
        if waits:
            called.acquire()  # by whoever had the turn
        try:
            yield
        finally:
            with self._guard:
                waiting = self._urgent or self._others
                if waiting:
                    waiting.popleft().release()
                else:
                    self._taken = False
