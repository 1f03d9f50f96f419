"""Runs the production program and ends it with SIGKILL at a named instant. For tests: production has no such hook.

    python tests/crash/serve_and_die.py pushed 1     dies the first time that the point is reached

`serve` is also what `lab.py` runs in processes forked from one that has the imports behind it.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import kubernetes.client  # noqa: F401 - the program imports it where it is first used; forked processes have it

from bot.app import run
from bot.cli import main
from bot.cli import serve as serve_command
from bot.settings import forget_secrets, load
from bot.steps.base import Point


@dataclass(frozen=True)
class Death:
    """When to die: the nth time, counted from 1, that the point is reached."""

    point: Point
    nth: int = 1


class Reaper:
    """A `Reached` that ends the process as `kill -9` does: no handler, no finally, no flush."""

    def __init__(self, death: Death) -> None:
        self._death = death
        self._left = death.nth
        self._guard = threading.Lock()

    def __call__(self, point: Point, deployment_id: str) -> None:
        """Count, and die when it is time."""
        del deployment_id
        with self._guard:
            if point is not self._death.point:
                return
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
                threading.Event().wait()  # nothing after this instant may run in this thread


def serve(environment: Mapping[str, str], log: Path, death: Death | None = None) -> None:
    """Be the program: with this environment and no other, writing to this log."""
    _become(environment, log, log)
    if death is None:
        serve_command()
        return
    settings = load()
    forget_secrets()
    asyncio.run(run(settings, reached=Reaper(death)))


def command(words: Sequence[str], environment: Mapping[str, str], out: Path, err: Path) -> None:
    """Be the command line, from its reading of the words on; ends the process with its exit code."""
    _become(environment, out, err)
    sys.argv = ["locktender", *words]
    main()


def _become(environment: Mapping[str, str], out: Path, err: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, out), (2, err)):
        output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(output, number)
        os.close(output)


if __name__ == "__main__":
    serve(dict(os.environ), Path("/dev/stderr"), Death(Point(sys.argv[1]), int(sys.argv[2])))
