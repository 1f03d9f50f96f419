"""Who goes first among the threads of one process. Left out: what it gains (benchmarks/ack.py)."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from storage import courtesy
from storage.unit_of_work import Store, UnitOfWork

AGES = 60.0
"""Seconds: who waits for that long in here has not been let through."""


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """Somebody whom nobody waits for."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def opened(transaction: Callable[[], AbstractContextManager[object]]) -> bool:
    with transaction():
        return True


@pytest.mark.parametrize("kind", ["read", "write"])
def test_what_nobody_waits_for_begins_when_everybody_is_answered(
    store: Store, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(courtesy, "PATIENCE", AGES)
    first, second = store.database.courtesy.answering(), store.database.courtesy.answering()
    with first:
        with second:
            later = thread.submit(opened, getattr(store, kind))
            with pytest.raises(TimeoutError):
                later.result(timeout=0.1)
        with pytest.raises(TimeoutError):
            later.result(timeout=0.1)
    assert later.result(timeout=30)
    assert thread.submit(opened, getattr(store, kind)).result(timeout=30)


def test_nobody_is_put_off_for_ever(store: Store, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courtesy, "PATIENCE", 0.01)
    with store.database.courtesy.answering():
        assert thread.submit(opened, store.read).result(timeout=30)
        assert thread.submit(opened, store.write).result(timeout=30)


async def test_an_answer_never_gives_way_to_itself_or_another(
    store: Store, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courtesy, "PATIENCE", AGES)

    def together() -> bool:
        with store.database.together():
            return opened(store.write) and opened(store.read)

    with store.database.courtesy.answering():
        assert await asyncio.wait_for(asyncio.to_thread(opened, store.read), 30)
        assert await asyncio.wait_for(asyncio.to_thread(opened, store.write), 30)
        assert thread.submit(together).result(timeout=30)


def test_what_is_asked_inside_a_transaction_that_writes_gives_no_way(
    store: Store, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courtesy, "PATIENCE", AGES)
    writing, asked = threading.Event(), threading.Event()

    def work() -> bool:
        with store.write():  # an answer may be waiting for this to end
            writing.set()
            assert asked.wait(30)
            return opened(store.read)

    later = thread.submit(work)
    assert writing.wait(30)
    with store.database.courtesy.answering():
        asked.set()
        assert later.result(timeout=30)


def test_an_answer_that_fails_is_over(
    store: Store, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courtesy, "PATIENCE", AGES)
    with pytest.raises(ZeroDivisionError), store.database.courtesy.answering():
        raise ZeroDivisionError
    assert thread.submit(opened, store.read).result(timeout=30)


def test_a_long_computation_goes_on_in_the_gaps_and_is_put_off_once_at_most(
    store: Store, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = store.database.courtesy
    monkeypatch.setattr(courtesy, "PATIENCE", AGES)
    done = list[int]()

    def compute() -> None:
        for number in known.one_by_one(range(50)):
            done.append(number)

    assert list(known.one_by_one(range(3))) == [0, 1, 2]
    with known.answering():
        later = thread.submit(compute)
        with pytest.raises(TimeoutError):
            later.result(timeout=0.1)
        assert done == []
    later.result(timeout=30)
    assert done == list(range(50))
    monkeypatch.setattr(courtesy, "PATIENCE", 0.1)
    with known.answering():  # 50 pieces, each of which is put off: that would be 5 s
        began = time.monotonic()
        thread.submit(compute).result(timeout=30)
        assert 0.1 <= time.monotonic() - began < 4


def test_a_long_look_gives_way_between_its_parts_and_what_writes_never_does(
    store: Store, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courtesy, "PATIENCE", AGES)
    inside = threading.Barrier(2)

    def work(transaction: Callable[[], AbstractContextManager[UnitOfWork]]) -> bool:
        with transaction() as uow:
            inside.wait(30)  # begun
            inside.wait(30)  # and somebody is being answered
            uow.give_way()
        return True

    for transaction, goes_on in ((store.read, False), (store.write, True)):
        later = thread.submit(work, transaction)
        inside.wait(30)
        with store.database.courtesy.answering():
            inside.wait(30)
            if goes_on:
                assert later.result(timeout=30)
            else:
                with pytest.raises(TimeoutError):
                    later.result(timeout=0.1)
        assert later.result(timeout=30)
