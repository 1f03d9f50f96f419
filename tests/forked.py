"""Locktender in processes forked from one that has imported it: a start costs tenths of a second of the
processor instead of seconds, most of which are imports.

The program itself is the same, from the reading of its environment and words on. That `python -m bot.cli serve` starts
too is for `tests/e2e/test_start.py` to show.
"""

import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from bot.sandbox.world import Running, Sandbox
from storage import database
from tests.crash.serve_and_die import Death, command, serve

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.crash.serve_and_die"])


def fork(environment: Mapping[str, str], log: Path, death: Death | None = None) -> ForkServerProcess:
    """Start the program; it ends with this process at the latest."""
    process = _context.Process(target=serve, args=(dict(environment), log, death), daemon=True)
    process.start()
    return process


def run(environment: Mapping[str, str], *words: str, seconds: float = 60.0) -> "subprocess.CompletedProcess[str]":
    """Run the command line until it ends by itself."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _context.Process(target=command, args=(words, dict(environment), out, err), daemon=True)
        process.start()
        process.join(seconds)
        code = process.exitcode
        if code is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, seconds)
        process.close()
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


class _Process:
    """A forked process with the methods of `subprocess.Popen` that `Running` uses."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("locktender serve", timeout or 0.0)
        return code


@cache
def _schema() -> bytes:
    """A SQLite file with the schema in it: a first start would make it in a process of its own, for a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "locktender.db")
        engine = database.create(database.sqlite_url(path))
        database.upgrade(engine)
        engine.dispose()  # the last connection brings the log that lies beside the file into it
        return path.read_bytes()


@contextmanager
def forked_program(sandbox: Sandbox, more: Mapping[str, str] | None = None) -> Iterator[Running]:
    """The sandbox's program, with the schema in its database already; stopped at the end."""
    folder = sandbox.home / "var"
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (folder / "locktender.db").exists():
        (folder / "locktender.db").write_bytes(_schema())

    def launch(environment: Mapping[str, str], log: Path) -> _Process:
        return _Process(fork(environment, log))

    running = sandbox.start_program(more=more, launch=launch)
    try:
        yield running
    finally:
        running.stop()
