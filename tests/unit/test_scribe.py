"""Transactions that are committed together: each answer is as if it had been alone, and a fault is its owner's.

How fast that is: benchmarks/ack.py.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database, upgrade
from storage.scribe import Scribe
from storage.unit_of_work import AuditEntry, Store


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[tuple[Store, Scribe]]:
    database = Database(f"sqlite:///{tmp_path}/locktender.db")
    upgrade(database.engine)
    scribe = Scribe(database)
    yield Store(database), scribe
    scribe.close()
    database.close()


def seen(store: Store, key: str) -> str | None:
    with store.read() as uow:
        return uow.answered(key)


def remember(store: Store, key: str) -> str:
    with store.write() as uow:
        uow.first_time(key, "{}")
        uow.audit(AuditEntry("test:write", details={"key": key}))
    return key


def test_the_future_is_done_when_it_is_committed(shelf: tuple[Store, Scribe]) -> None:
    store, scribe = shelf
    assert scribe.submit(lambda: remember(store, "one")).result(5) == "one"
    assert seen(store, "one") == "{}"


def test_many_at_once_are_each_done_once_and_numbered_without_gaps(shelf: tuple[Store, Scribe]) -> None:
    store, scribe = shelf
    hold = threading.Event()
    first = scribe.submit(lambda: hold.wait(5))
    futures = [scribe.submit(lambda key=f"k{number}": remember(store, key)) for number in range(100)]  # type: ignore[misc]
    hold.set()
    assert first.result(5)
    assert [future.result(5) for future in futures] == [f"k{number}" for number in range(100)]
    with store.write() as uow:
        assert uow.audit(AuditEntry("test:last")).seq == 101


def test_one_that_raises_spoils_only_itself(shelf: tuple[Store, Scribe]) -> None:
    store, scribe = shelf
    hold = threading.Event()
    scribe.submit(lambda: hold.wait(5))

    def fail() -> str:
        remember(store, "never")
        raise LookupError("mine")

    before = scribe.submit(lambda: remember(store, "before"))
    broken = scribe.submit(fail)
    after = scribe.submit(lambda: remember(store, "after"))
    hold.set()
    assert (before.result(5), after.result(5)) == ("before", "after")
    with pytest.raises(LookupError, match="mine"):
        broken.result(5)
    assert [seen(store, key) for key in ("before", "never", "after")] == ["{}", None, "{}"]


def test_one_that_nobody_waits_for_any_more_is_left_out(shelf: tuple[Store, Scribe]) -> None:
    store, scribe = shelf
    hold = threading.Event()
    scribe.submit(lambda: hold.wait(5))
    gone = scribe.submit(lambda: remember(store, "gone"))
    assert gone.cancel()
    hold.set()
    assert scribe.submit(lambda: remember(store, "here")).result(5) == "here"
    assert seen(store, "gone") is None


def test_closing_does_what_was_submitted(shelf: tuple[Store, Scribe]) -> None:
    store, scribe = shelf
    futures = [scribe.submit(lambda key=f"k{number}": remember(store, key)) for number in range(10)]  # type: ignore[misc]
    scribe.close()
    assert all(future.done() for future in futures)
    assert seen(store, "k9") == "{}"


def test_what_is_written_beside_a_group_is_not_part_of_it(shelf: tuple[Store, Scribe]) -> None:
    store, scribe = shelf

    def fail() -> None:
        writer = threading.Thread(target=remember, args=(store, "beside"))
        writer.start()
        raise LookupError

    with pytest.raises(LookupError):
        scribe.submit(fail).result(5)
    assert scribe.submit(lambda: remember(store, "next")).result(5) == "next"
    for _ in range(100):
        if seen(store, "beside") is not None:
            break
        threading.Event().wait(0.02)
    assert seen(store, "beside") == "{}"


def test_an_answer_waits_for_one_other_writer_at_most(shelf: tuple[Store, Scribe]) -> None:
    store, scribe = shelf
    order: list[str] = []
    began, hold = threading.Event(), threading.Event()

    def first() -> None:
        with store.write():
            began.set()
            hold.wait(5)

    def another(name: str) -> None:
        with store.write():
            order.append(name)

    writers = [threading.Thread(target=first)]
    writers[0].start()
    assert began.wait(5)
    for number in range(8):
        writers.append(threading.Thread(target=another, args=(f"w{number}",)))
        writers[-1].start()
    answer = scribe.submit(lambda: order.append("answer"))
    while not answer.running():
        time.sleep(0.001)
    time.sleep(0.05)  # from there it is a few instructions to the lock
    hold.set()
    answer.result(5)
    for writer in writers:
        writer.join(5)
    assert order.index("answer") <= 1
    assert len(order) == 9
