"""How the interpreter runs a long-lived process: its event loop, its threads, and when it looks for garbage."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import Callable, Coroutine
from typing import Any

YOUNG = 3_000
"""Objects between two looks for young garbage; by default 700, which is several looks for every ack."""
SWITCH_SECONDS = 0.0005
"""How long a busy thread may keep the interpreter from another, by default 5 ms. SQLite gives it up at every statement:
ten statements long, with the write lock held, an ack would wait to have it back."""
SETTLED_AFTER = 20.0
"""Seconds from the start after which what is loaded late, by the first deliveries, is there as well."""


def serve(main: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, as asyncio.run does, on the fastest loop this platform has."""
    gc.set_threshold(YOUNG, 20, 20)
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.get_loop().call_later(SETTLED_AFTER, settle)
        runner.run(main)


def settle() -> None:
    """Never look through again what is there now.

    A full look goes through every loaded module, and every thread waits for it: 100 to 250 ms, in the middle of an ack.
    For the same reason there is none here: what is garbage at this instant stays, some megabytes at most.
    """
    gc.collect(1)
    gc.freeze()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):  # uvloop has no build for every platform
        import uvloop

        return uvloop.new_event_loop
    return None
