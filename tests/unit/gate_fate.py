"""What may go wrong at any call of a port or any transaction: the process dies, an answer is lost, the world moves."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeVar, cast

from commands.reasons import ReasonCode, Retry
from storage.unit_of_work import Store, UnitOfWork

T = TypeVar("T")


class KilledError(BaseException):
    """The process is gone: nothing of it may catch this, so it is no Exception."""


class Blow(StrEnum):
    """What strikes a call."""

    KILL_BEFORE = "kill before"
    KILL_AFTER = "kill after"  # it has acted, and nobody will know
    DOWN = "down"  # nothing was done, and the caller is told so
    LOST = "lost"  # it has acted, and the caller is told that nobody knows
    INTRUDE = "intrude"  # somebody else acts just before the call


class Fate:
    """Counts calls down to the blow. One blow at a time; none while nothing is armed."""

    def __init__(self) -> None:
        self._left = 0
        self._name = ""
        self._blow: Blow | None = None
        self._intrusion: Callable[[], object] = lambda: None

    def arm(self, calls: int, blow: Blow, intrusion: Callable[[], object] = lambda: None) -> None:
        """Strike the call after `calls` more of them."""
        self._left, self._blow, self._intrusion, self._name = calls, blow, intrusion, ""

    def arm_at(self, name: str, blow: Blow, intrusion: Callable[[], object] = lambda: None) -> None:
        """Strike the next call of this name: `host.ensure_merged`."""
        self._left, self._blow, self._intrusion, self._name = 0, blow, intrusion, name

    def disarm(self) -> None:
        self._blow = None

    def due(self, name: str) -> Blow | None:
        """What strikes this call, if anything; asked once for each."""
        if self._blow is None or self._name not in {"", name}:
            return None
        if self._left > 0:
            self._left -= 1
            return None
        blow, self._blow = self._blow, None
        if blow is Blow.INTRUDE:
            self._intrusion()
        return blow


def fated(port: T, fate: Fate, name: str, unreachable: ReasonCode) -> T:
    """The port, with every call in the hands of fate."""
    return cast("T", _Fated(port, fate, name, unreachable))


class _Fated:
    def __init__(self, port: Any, fate: Fate, name: str, unreachable: ReasonCode) -> None:
        self._port, self._fate, self._name, self._unreachable = port, fate, name, unreachable

    def __getattr__(self, attribute: str) -> Any:
        method = getattr(self._port, attribute)

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            blow = self._fate.due(f"{self._name}.{attribute}")
            gone = Retry(self._unreachable, f"{self._name} does not answer.", "It is tried again.", after=1.0)
            if blow is Blow.KILL_BEFORE:
                raise KilledError
            if blow is Blow.DOWN:
                raise gone
            answer = method(*args, **kwargs)
            if blow is Blow.KILL_AFTER:
                raise KilledError
            if blow is Blow.LOST:
                raise gone
            return answer

        return call


class FatedStore(Store):
    """A store whose process may die before a transaction or right after its commit."""

    def __init__(self, store: Store, fate: Fate) -> None:
        super().__init__(store.database, store.clock)
        self._fate = fate

    @contextmanager
    def write(self) -> Iterator[UnitOfWork]:
        blow = self._fate.due("store.write")
        if blow is Blow.KILL_BEFORE:
            raise KilledError
        with super().write() as uow:
            yield uow
        if blow is Blow.KILL_AFTER:
            raise KilledError
