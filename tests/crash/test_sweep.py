"""`kill -9` between any two writing system calls of a delivery: to files, to sockets, to the process table.

Needs strace (`apt-get install strace`) and the right to trace; says so and is skipped otherwise. strace follows every
thread of the program, holds each writing call for a moment at its entry, and reports it; the program is killed when the
nth one was reported. The calls are sampled evenly until LOCKTENDER_SWEEP_SECONDS (default 180) have passed, in an order
that is even at any time, so a longer run adds instants between the earlier ones.
"""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from functools import partial
from itertools import count, cycle
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.crash.lab import PATIENCE, Lab, Program, lab

BUDGET = float(os.environ.get("LOCKTENDER_SWEEP_SECONDS", "180"))
CALLS = (
    "fsync,fdatasync,pwrite64,write,writev,sendto,sendmsg,ftruncate,rename,renameat,renameat2,unlink,unlinkat,link,"
    "mkdir,execve,clone,clone3,vfork,connect"
)
HELD_FOR = 400  # microseconds that a call waits at its entry: time for the report of the one before to arrive
GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, are spread evenly however many there are
VERSIONS = ("1.4.2", "1.4.1", "1.4.3", "1.10.0")
_NAME = re.compile(r"(?:\[pid +\d+\] |\d+ +)?(?:<\.\.\. )?(\w+)")

pytestmark = pytest.mark.crash_sweep


class Trace:
    """Counts the writing calls of a program that runs, and kills it at the nth; 0 only counts."""

    def __init__(self, program: Program, nth: int = 0) -> None:
        self._program = program
        self._nth = nth
        self.count = 0
        self.last = ""

    def __enter__(self) -> Self:
        for _ in range(5):  # strace gives up when a thread ends while it attaches
            self._attach()
            if self._attached():
                self.count = 0
                return self
            self.__exit__(None, None, None)
        pytest.skip(f"strace may not trace here: {self.last}")

    def _attach(self) -> None:
        words = ["strace", "-f", "-qq", "--detach-on=execve", "-e", "signal=none", "-e", f"trace={CALLS}"]
        words += ["-e", f"inject={CALLS}:delay_enter={HELD_FOR}", "-s", "0", "-p", str(self._program.process.pid)]
        self._strace = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _attached(self) -> bool:
        deadline = time.monotonic() + 10
        while self._strace.poll() is None and time.monotonic() < deadline:
            if _traced(self._program.process.pid):
                return True
            time.sleep(0.01)
        return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._strace.poll() is None:
            self._strace.send_signal(signal.SIGINT)
        try:
            self._strace.wait(timeout=3)
        except subprocess.TimeoutExpired:  # it waits for a child that the dead program left between vfork and execve
            self._strace.kill()
            self._strace.wait(timeout=10)
        self._reader.join(timeout=10)
        if self._strace.stderr is not None:
            self._strace.stderr.close()

    def _read(self) -> None:
        assert self._strace.stderr is not None
        for line in self._strace.stderr:
            self.count += 1
            if self.count <= self._nth or not self._nth:
                self.last = line.strip()
            if self.count == self._nth:
                self._program.process.kill()

    @property
    def name(self) -> str:
        """The system call that was the last one."""
        found = _NAME.match(self.last)
        return found[1] if found else self.last


def _traced(pid: int | None) -> bool:
    try:
        states = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:
        return False
    return all("TracerPid:\t0\n" not in state for state in states)


@pytest.mark.timeout(BUDGET + 300)
def test_killed_between_any_two_system_calls_a_delivery_ends_like_an_uninterrupted_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("the sweep needs strace: apt-get install strace")
    killed: Counter[str] = Counter()
    survived = unheard = 0
    resumed: list[float] = []
    versions = cycle(VERSIONS)
    with lab(tmp_path) as built:
        program = built.start()
        with Trace(program) as trace:
            assert built.deploy(next(versions)).acked
            program.until(built.at_rest)
        calls = trace.count
        ends = time.monotonic() + BUDGET
        for index in count(1):
            if time.monotonic() > ends:
                break
            nth = 1 + int(calls * ((index * GOLDEN) % 1))
            version = next(versions)
            known = len(built.deployments())
            with Trace(program, nth) as trace:
                built.deploy(version)
                _until_dead_or_at_rest(built, program)
            if program.alive():
                survived += 1  # this run made fewer calls than the first one
                continue
            killed[trace.name] += 1
            starts = len(built.audit("bot:start"))
            began = time.monotonic()
            program = built.start()
            program.until(partial(_started, built, starts))
            resumed.append(time.monotonic() - began)
            if len(built.deployments()) == known:
                unheard += 1  # killed before the ack: the person was told so by Slack, and asks again
                built.deploy(version)
            try:
                program.until(built.at_rest)
                built.assert_all_ended_live()
            except (AssertionError, TimeoutError) as error:
                error.add_note(f"after a kill at call {nth} of {calls}: {trace.last}")
                raise
    with capsys.disabled():
        print(  # noqa: T201 - the result of the sweep, for whoever waited minutes for it
            f"\n{calls} writing calls in a delivery; killed at {sum(killed.values())} of them "
            f"({', '.join(f'{name} {times}' for name, times in killed.most_common())}), "
            f"{unheard} before the request was recorded; {survived} runs ended first; "
            f"back at work after at most {max(resumed, default=0):.1f} s"
        )
    assert sum(killed.values()) >= min(5, BUDGET / 30)


def _started(built: Lab, starts: int) -> bool:
    return len(built.audit("bot:start")) > starts


def _until_dead_or_at_rest(built: Lab, program: Program) -> None:
    deadline = time.monotonic() + PATIENCE
    while program.alive() and not built.at_rest():
        if time.monotonic() > deadline:
            raise TimeoutError("the delivery neither ended nor died")
        time.sleep(0.02)
