"""How the process is run. What it saves: benchmarks/ack.py."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from bot import runtime


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector is the whole process's: it is left as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_it_runs_to_the_end_on_a_loop_that_is_closed_then() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())

    runtime.serve(main())
    assert loops[0].is_closed()
    assert type(loops[0]).__module__.startswith("uvloop")
    assert gc.get_threshold()[0] == runtime.YOUNG


def test_what_it_raises_is_raised() -> None:
    async def main() -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError):
        runtime.serve(main())


def test_what_is_there_once_settled_is_not_looked_through_again() -> None:
    before = gc.get_freeze_count()
    runtime.settle()
    assert gc.get_freeze_count() > before + 10_000
