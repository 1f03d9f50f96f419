"""Who may write to the mirror: one thread at a time, in the order they came, and one process at a time."""

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commands.reasons import ReasonCode, Retry


class Queue:
    """A lock that serves in order: `threading.Lock` lets a thread that comes back overtake those who wait."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Event] = deque()

    def acquire(self, seconds: float) -> bool:
        """Wait for our turn; False when it has not come in time."""
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            turn = threading.Event()
            self._waiting.append(turn)
        if turn.wait(seconds):
            return True
        with self._guard:
            if turn.is_set():  # it came while we gave up
                return True
            self._waiting.remove(turn)
            return False

    def release(self) -> None:
        """Hand over to whoever waits longest."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False


class MirrorLock:
    """The right to write to one mirror.

    Between processes it is `flock` on a file beside the mirror. The git processes that write inherit the descriptor:
    if we are killed, the lock is free when the last of them has ended. Only then are lock files in the mirror stale.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue = Queue()
        self._descriptor = -1

    @property
    def descriptor(self) -> int:
        """What a git process has to keep open while it writes."""
        return self._descriptor

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Hold it for the block. Retry (PUSH_RACE) when it was not free within so many seconds."""
        deadline = time.monotonic() + seconds
        if not self._queue.acquire(seconds):
            raise _busy(seconds)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._lock(deadline, seconds)
                yield
            finally:
                os.close(self._descriptor)
                self._descriptor = -1
        finally:
            self._queue.release()

    def _lock(self, deadline: float, seconds: float) -> None:
        pause = threading.Event()
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _busy(seconds) from None
                pause.wait(0.01)
            else:
                return


def _busy(seconds: float) -> Retry:
    return Retry(
        ReasonCode.PUSH_RACE,
        f"Other deployments were writing to the infra-repo for {seconds:g} seconds.",
        "Wait: it is tried again.",
    )
