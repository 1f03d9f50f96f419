"""What the crash tests share: a sandbox, a program that is killed and started again, and what must be so at the end.

The program runs in processes forked from one that has imported it (`tests/forked.py`).
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, cast

from sqlalchemy import select

from bot.sandbox.jenkins_model import BuildRecord
from bot.sandbox.slack_model import DEVELOPER, CommandResult, Message
from bot.sandbox.world import FAST, Sandbox
from bot.slack.outbox import METADATA
from bot.slack.outbox_rows import depth
from storage.database import Database, sqlite_url
from storage.models import Deployment
from storage.phases import Phase, Stage
from storage.record_models import AuditRow
from storage.unit_of_work import Store
from tests.crash.serve_and_die import Death
from tests.forked import fork

CHANNEL = "C0DEPLOYMENTS"
PATIENCE = 60.0
"""Seconds for anything that must come; long, because the machine may be busy."""


@dataclass(frozen=True)
class Program:
    """One process of the program."""

    process: ForkServerProcess
    log: Path
    started: float  # time.monotonic()

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait for something while the program runs; a program that dies meanwhile is an error with its log."""
        _until(condition, seconds, self.log, self.alive)

    def alive(self) -> bool:
        """True until the process has ended."""
        return self.process.is_alive()

    def died(self, seconds: float = PATIENCE) -> int:
        """Wait for the process to end by itself; its exit code, or minus the signal that killed it."""
        self.process.join(seconds)
        code = self.process.exitcode
        if code is None:
            self.kill()
            raise TimeoutError(f"the program did not end in {seconds} s; the log ends:\n{_tail(self.log)}")
        return code

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.join(10)

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.died(40)


class Lab:
    """One sandbox, and the program's processes one after another."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.log = sandbox.home / "locktender.log"
        self._programs: list[Program] = []
        self._database: Database | None = None

    def start(self, death: Death | None = None) -> Program:
        """Start the program and wait until Slack is connected to it, unless it dies before."""
        hub = self.sandbox.slack.hub
        _until(lambda: not hub.connections, 10, self.log)  # the last one's connection is not the new one's
        process = fork(self.sandbox.environment(), self.log, death)
        program = Program(process, self.log, time.monotonic())
        self._programs.append(program)
        _until(lambda: hub.connections or not program.alive(), PATIENCE, self.log)
        return program

    def close(self) -> None:
        """End what still runs."""
        for program in self._programs:
            program.kill()
            program.process.close()
        if self._database is not None:
            self._database.close()

    # ------------------------------------------------------------ people

    def deploy(self, version: str = "1.4.2", *, copies: int = 1) -> CommandResult:
        """Type `/deploy my-application <version>`."""
        return self.sandbox.slack.workspace.command(
            DEVELOPER, "/deploy", f"my-application {version}", channel=CHANNEL, copies=copies
        )

    def cards(self) -> list[Message]:
        """The deployment cards in the channel, oldest first."""
        messages = self.sandbox.slack.workspace.messages(CHANNEL)
        return [one for one in messages if (one.metadata or {}).get("event_type") == METADATA]

    def replies(self, card: Message) -> list[str]:
        """What stands below a card, oldest first."""
        return [one.text for one in self.sandbox.slack.workspace.thread(CHANNEL, card.ts)[1:]]

    # ------------------------------------------------------------ outside

    def commits(self) -> list[str]:
        """The Deployment-Id of every commit on the branch that has one, newest first."""
        trailers = self.sandbox.log("%(trailers:key=Deployment-Id,valueonly,separator=%x2C)")
        return [name.strip() for name in trailers if name.strip()]

    def builds(self) -> list[BuildRecord]:
        """The builds of the job, newest first."""
        return self.sandbox.jenkins.builds("infra-deploy")

    # ------------------------------------------------------------ the record

    @property
    def store(self) -> Store:
        """The program's database, seen from outside."""
        if self._database is None:
            self._database = Database(sqlite_url(self.sandbox.home / "var" / "locktender.db"))
        return Store(self._database)

    def deployments(self) -> list[Deployment]:
        """Every deployment, oldest first."""
        with self.store.read() as uow:
            table = cast("Any", Deployment)
            return list(uow.session.scalars(select(Deployment).order_by(table.requested_at, table.id)))

    def audit(self, *actions: str) -> list[AuditRow]:
        """The audit rows of these actions (all of them when none is named), in order."""
        with self.store.read() as uow:
            rows = uow.session.scalars(select(AuditRow).order_by(cast("Any", AuditRow).seq))
            return [row for row in rows if not actions or row.action in actions]

    def at_rest(self) -> bool:
        """True when every deployment has ended and everything was told."""
        with self.store.read() as uow:
            return not uow.open_deployments() and depth(uow) == 0 and bool(sum(uow.counts().values()))

    def stage(self) -> Stage | None:
        """The stage of the only deployment; None before there is one."""
        rows = self.deployments()
        return Stage(rows[0].stage) if rows else None

    # ------------------------------------------------------------ the verdict

    def assert_like_an_uninterrupted_run(self, version: str = "1.4.2") -> None:
        """One deployment, one commit, one build, one card that says live, each thing recorded and told once."""
        (row,) = self.deployments()
        assert row.version == version
        assert self.sandbox.log("%H")[0] == row.commit_sha
        self.assert_all_ended_live()

    def assert_all_ended_live(self) -> None:
        """The same of every deployment there was, and nothing beside them."""
        rows = self.deployments()
        assert sorted(self.commits()) == sorted(row.id for row in rows)
        builds = {build.parameters["DEPLOYMENT_ID"]: build for build in self.builds()}
        assert len(builds) == len(self.builds()) == len(rows)
        cards = {(card.metadata or {})["event_payload"]["deployment_id"]: card for card in self.cards()}
        assert len(cards) == len(self.cards()) == len(rows)
        for row in rows:
            self._assert_ended_live(row, builds[row.id], cards[row.id])
        audit = self.audit()
        assert [entry.seq for entry in audit] == list(range(1, len(audit) + 1))
        assert self.at_rest()

    def _assert_ended_live(self, row: Deployment, build: BuildRecord, card: Message) -> None:
        said = (row.phase, row.reason_code, row.stage)
        assert said == (Phase.SUCCEEDED, "live", Stage.DONE), (said, row.what, row.detail)
        assert row.previous
        assert build.parameters["GIT_COMMIT"] == row.commit_sha
        assert (row.job, row.build_number) == ("infra-deploy", build.number)
        assert card.text.startswith("✅"), card.text
        assert f"{row.previous} → {row.version}" in card.text
        assert "live" in card.text
        replies = self.replies(card)
        assert len(replies) == 2, replies
        assert replies[0].startswith(f"Committed `{row.commit_sha[:12]}` by Developer: 1 object changed")
        assert replies[1] == f"Build `infra-deploy` #{row.build_number} ended: success."
        told = Counter(entry.action for entry in self.audit() if entry.deployment_id == row.id)
        assert told == Counter(UNINTERRUPTED), told
        (finish,) = (one for one in self.audit("deployment:finish") if one.deployment_id == row.id)
        assert (finish.reason_code, json.loads(finish.details)["commit"]) == ("live", row.commit_sha)


UNINTERRUPTED = (
    "deployment:request",
    "deployment:write",
    "deployment:commit",
    "deployment:build",
    "deployment:built",
    "deployment:rollout",
    "deployment:finish",
)
"""What the record says of one deployment, each exactly once: intents too, because they are recorded with the state
that keeps a second attempt from recording them again."""


@contextmanager
def lab(home: Path) -> Iterator[Lab]:
    """A lab on a fresh sandbox, closed at the end."""
    with Sandbox(home, speed=FAST) as sandbox:
        built = Lab(sandbox)
        try:
            yield built
        finally:
            built.close()


def _until(
    condition: Callable[[], object], seconds: float, log: Path, alive: Callable[[], bool] = lambda: True
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if not alive():
            raise RuntimeError(f"the program ended; its log ends:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain; the log ends:\n{_tail(log)}")
        time.sleep(0.03)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:] if log.exists() else "(no log)"
