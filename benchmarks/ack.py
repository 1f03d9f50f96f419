"""How soon a slash command is acked, durably, while deployments run; and what the process weighs.

Signed requests over HTTP at a fixed rate, sent whether or not the last was answered, and timed from the instant at
which each was due. The baseline is a bare Bolt AsyncApp that says hello, served the same way, in the same run.
Run alone: `python -m benchmarks ack`.
"""

import asyncio
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import psutil
from sqlalchemy import text

from benchmarks.table import Row
from bot.sandbox.infra_example import create_monorepo
from bot.sandbox.slack_model import DEVELOPER
from bot.sandbox.world import Running, Sandbox, Speed
from storage.database import create

APPS = 500
ENVIRONMENTS = ("dev", "staging")
RUNNING = 20
SECONDS = 15
IDLE_SECONDS = 5
RATES = (50, 200)
SECRET = "stand-in-signing-secret"


@dataclass(frozen=True)
class Load:
    """What became of the requests of one run: seconds from due to answered, and how many went wrong."""

    seconds: tuple[float, ...]
    failed: int

    def p(self, share: float) -> float:
        """A percentile, in ms."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def rows() -> list[Row]:
    """Both rates against the baseline at the same rate, then memory."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="locktender-bench-") as folder, _world(Path(folder)) as (sandbox, program):
        url = sandbox.request_url
        time.sleep(3)
        idle = _megabytes(program)
        _start_deployments(sandbox)
        busy = _busy(program)
        sent = RUNNING
        most = 0.0
        for number, rate in enumerate(RATES):
            with _hello() as hello:
                base = asyncio.run(_fire(hello, rate, number))
            before, began = _cpu(program), time.perf_counter()
            ours = asyncio.run(_fire(url, rate, number))
            spent = _cpu(program) - before - busy * (time.perf_counter() - began)
            sent += len(ours.seconds)
            most = max(most, _megabytes(program))
            name = f"ack at {rate}/s while {RUNNING} deploys run"
            found.append(Row(f"{name}, p99", ours.p(0.99), "ms", 3, "bare AsyncApp hello", base.p(0.99)))
            found.append(Row(f"{name}, p99 alone", ours.p(0.99), "ms", 50))
            found.append(Row(f"{name}, p50", ours.p(0.5), "ms", 50))
            found.append(Row(f"{name}, processor", spent / len(ours.seconds) * 1000, "ms", 3))
            found.append(Row(f"{name}, failed or late", float(ours.failed), "", 0))
        stored, distinct = _stored(sandbox)
        found.append(Row("commands lost", float(sent - stored), "", 0))
        found.append(Row("commands doubled", float(stored - distinct), "", 0))
        found.append(Row("memory, idle", idle, "MB", 150))
        found.append(Row("memory, under load", most, "MB", 300))
    return found


class _HttpSandbox(Sandbox):
    """A sandbox whose program is reached over HTTP, on a port that is known beforehand."""

    def __init__(self, home: Path) -> None:
        speed = Speed(stage=120, pod=0.5, poll=10, executors=RUNNING + 4)
        super().__init__(home, speed=speed, create=lambda bare: create_monorepo(bare, APPS, 200), applied=())
        self.port = _free_port()
        self.request_url = f"http://127.0.0.1:{self.port}/slack/events"

    def connect_registry(self) -> None:
        """Not asked here: 500 apps with thousands of versions are not what is measured."""

    def environment(self) -> dict[str, str]:
        changed = super().environment() | {"SLACK_SIGNING_SECRET": SECRET, "LOCKTENDER_PORT": str(self.port)}
        del changed["SLACK_APP_TOKEN"]
        return changed


@contextmanager
def _world(folder: Path) -> Iterator[tuple[_HttpSandbox, Running]]:
    with _HttpSandbox(folder) as sandbox:
        process = subprocess.Popen(
            [sys.executable, "-m", "bot.cli", "serve"],
            env=sandbox.environment(),
            stdout=subprocess.DEVNULL,
            stderr=(folder / "locktender.log").open("wb"),
        )
        program = Running(process, folder / "locktender.log")
        try:
            program.wait_until(lambda: _listens(sandbox.port), 60)
            yield sandbox, program
        finally:
            program.stop()


@contextmanager
def _hello() -> Iterator[str]:
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.hello", str(port), SECRET], env=dict(os.environ))
    try:
        Running(process, Path(os.devnull)).wait_until(lambda: _listens(port), 30)
        yield f"http://127.0.0.1:{port}/slack/events"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _start_deployments(sandbox: _HttpSandbox) -> None:
    """Twenty deployments, each held in its build for longer than the benchmark takes."""

    async def begin() -> None:
        async with aiohttp.ClientSession() as session:
            for number in range(RUNNING):
                body = _command(f"app-{APPS - 1 - number:04d} 7.0.0 staging", f"running-{number}")
                await _post(session, sandbox.request_url, body)

    asyncio.run(begin())
    deadline = time.monotonic() + 90
    while len([build for build in sandbox.jenkins.builds("infra-deploy") if build.building]) < RUNNING:
        if time.monotonic() > deadline:
            raise TimeoutError("the deployments did not start")
        time.sleep(0.1)


async def _fire(url: str, rate: int, series: int) -> Load:
    """Send at the rate for SECONDS, warm connections first."""
    latencies: list[float] = []
    failed = 0

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:

        async def one(number: int, due: float) -> None:
            nonlocal failed
            app, environment = number % (APPS - RUNNING), ENVIRONMENTS[number // (APPS - RUNNING) % 2]
            body = _command(f"app-{app:04d} 8.{series}.{number} {environment}", f"{series}-{number}")
            status = await _post(session, url, body)
            latencies.append(time.perf_counter() - due)
            failed += status != 200 or latencies[-1] > 3

        tasks = []
        began = time.perf_counter() + 0.2
        for number in range(rate * SECONDS):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(one(number, due)))
        await asyncio.gather(*tasks)
    return Load(tuple(latencies), failed)


async def _post(session: aiohttp.ClientSession, url: str, body: bytes) -> int:
    stamp = str(int(time.time()))
    signature = hmac.new(SECRET.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={signature}",
    }
    async with session.post(url, data=body, headers=headers) as answer:
        shown = await answer.text()
        if answer.status == 200 and shown != "hello" and json.loads(shown)["text"].startswith("🚫"):
            return 500  # refused: then it was not the work that is measured
        return answer.status


def _command(words: str, trigger: str) -> bytes:
    fields = {
        "command": "/deploy",
        "text": words,
        "trigger_id": trigger,
        "user_id": DEVELOPER.id,
        "team_id": DEVELOPER.team_id,
        "channel_id": "C0DEPLOYMENTS",
        "api_app_id": "A0LOCKTENDER",
        "response_url": "http://127.0.0.1:9/none",
    }
    return urlencode(fields).encode()


def _stored(sandbox: Sandbox) -> tuple[int, int]:
    engine = create(f"sqlite:///{sandbox.home}/var/locktender.db")
    with engine.connect() as connection:
        every = connection.execute(text("SELECT count(*) FROM deployments")).scalar_one()
        distinct = connection.execute(text("SELECT count(DISTINCT app || environment || version) FROM deployments"))
        answer = int(every), int(distinct.scalar_one())
    engine.dispose()
    return answer


def _cpu(program: Running) -> float:
    """Seconds of processor time since it was started."""
    spent = psutil.Process(program.process.pid).cpu_times()
    return float(spent.user + spent.system)


def _busy(program: Running) -> float:
    """Seconds of processor time that a second of the deployments alone takes."""
    before = _cpu(program)
    time.sleep(IDLE_SECONDS)
    return (_cpu(program) - before) / IDLE_SECONDS


def _megabytes(program: Running) -> float:
    return float(psutil.Process(program.process.pid).memory_info().rss) / 1024**2


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
