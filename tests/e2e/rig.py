"""What the end-to-end tests share: the sandbox with many environments, the program on it, and what a person sees.

Every test takes an environment of its own, so that one program serves a whole file and no test sees another's traces.
"""

import contextlib
import random
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
from sqlalchemy import select

from bot.sandbox.infra_example import create_files, example_files
from bot.sandbox.jenkins_model import BuildRecord
from bot.sandbox.server import Fault, Faults, Misbehaviour
from bot.sandbox.slack_model import DEVELOPER, CommandResult, Message, User
from bot.sandbox.world import FAST, IMAGE, Running, Sandbox
from bot.slack.outbox import METADATA
from bot.slack.outbox_rows import depth
from commands.reasons import ReasonCode
from storage.database import Database, sqlite_url
from storage.models import Deployment
from storage.phases import Phase
from storage.record_models import AuditRow
from storage.unit_of_work import Store
from tests.forked import forked_program

APP = "my-application"
CHANNEL = "C0DEPLOYMENTS"
PATIENCE = 180.0
"""Seconds for anything that must come; long, because the machine may be busy."""
ALWAYS = 1_000_000


class Rig:
    """A sandbox, the program on it, and its database seen from outside."""

    def __init__(self, sandbox: Sandbox, program: Running, url: str = "") -> None:
        self.sandbox = sandbox
        self.program = program
        self.url = url
        self.slack = sandbox.slack.workspace
        self._database = Database(sqlite_url(sandbox.home / "var" / "locktender.db"))
        self.store = Store(self._database)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    # ------------------------------------------------------------ people

    def type(self, text: str, *, user: User = DEVELOPER, command: str = "/deploy") -> CommandResult:
        """Type a command; it must be acked in time."""
        result = self.slack.command(user, command, text, channel=CHANNEL)
        assert result.acked, result.trouble
        return result

    def deploy(self, version: str, environment: str, more: str = "", *, user: User = DEVELOPER) -> Deployment:
        """Ask for a deployment that must be accepted; its row as it stands then."""
        result = self.type(f"{APP} {version} {environment} {more}".strip(), user=user)
        assert "🚫" not in result.text, result.text
        return self.deployments(environment)[-1]

    def refuse(self, text: str, reason: ReasonCode, *words: str, command: str = "/deploy") -> str:
        """Type what must be refused at once: with a sentence and a next step, and a row; nothing else changes."""
        before = (len(self.deployments()), self.head())
        result = self.type(text, command=command)
        self.told(result.text, *words)
        assert result.text.startswith("🚫"), result.text
        assert self.audit()[-1].reason_code == reason, self.audit()[-1]
        assert self.audit()[-1].actor == DEVELOPER.id
        assert (len(self.deployments()), self.head()) == before
        return str(result.text)

    def refuse_without_git(self, text: str, reason: ReasonCode) -> str:
        """The same where the infra-repo has no branch to look at."""
        result = self.type(text)
        assert result.text.startswith("🚫"), result.text
        assert self.audit()[-1].reason_code == reason, self.audit()[-1]
        assert not self.deployments()
        return str(result.text)

    def told(self, text: str, *words: str) -> None:
        """What a person reads holds these words, is two sentences at least, and tells nothing of our inside."""
        for word in words:
            assert word in text, f"{word!r} is not in {text!r}"
        assert len(re.findall(r"[.?!](?:\s|$|`)", text)) >= 2, f"no next step in {text!r}"
        for inside in ("Traceback", "Exception", "None", "sandbox-git-token", "sandbox-jenkins-token"):
            assert inside not in text, text

    # ------------------------------------------------------------ waiting

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait for something while the program runs."""
        self.program.wait_until(condition, seconds)

    def ended(self, deployment: Deployment) -> Deployment:
        """Wait until it has ended and everything was told; its row."""
        self.until(lambda: Phase(self.row(deployment).phase).ended and self.quiet())
        return self.row(deployment)

    def live(self, deployment: Deployment) -> Deployment:
        """Wait until it has ended well, as its card says too."""
        row = self.ended(deployment)
        said = (row.phase, row.reason_code)
        assert said in {(Phase.SUCCEEDED, ReasonCode.LIVE), (Phase.SUCCEEDED, ReasonCode.COMMITTED)}, (said, row.what)
        assert self.card(row).text.startswith("✅"), self.card(row).text
        return row

    def failed(self, deployment: Deployment, reason: ReasonCode, *words: str, phase: Phase = Phase.FAILED) -> Message:
        """Wait until it ended badly for this reason: card, thread, record and queue say so. Answers the card."""
        row = self.ended(deployment)
        assert (row.phase, row.reason_code) == (phase, reason), (row.phase, row.reason_code, row.what, row.detail)
        card = self.card(row)
        assert card.text.startswith("❌" if phase is Phase.FAILED else "⚠️"), card.text
        self.told(card.text, *words)
        told = [one for one in self.replies(card) if one.startswith(f"<@{row.requested_by}>")]
        assert len(told) == 1, self.replies(card)
        (finish,) = self.audit("deployment:finish", row)
        assert finish.reason_code == reason
        assert not [one for one in self.deployments(row.environment) if not Phase(one.phase).ended]
        assert not [button for button in card.buttons if button.text == "Cancel"]
        return card

    def not_committed(self, deployment: Deployment) -> None:
        """Git and Jenkins never heard of it."""
        assert not self.commits(deployment)
        assert not self.builds(deployment)
        assert not self.row(deployment).commit_sha

    def noted(self, deployment: Deployment, *words: str) -> None:
        """Wait until the card says so while the deployment goes on."""
        self.until(
            lambda: (
                any(all(word in text for word in words) for text in self.versions(deployment))
                or Phase(self.row(deployment).phase).ended
            )
        )
        seen = [text for text in self.versions(deployment) if all(word in text for word in words)]
        assert seen, self.versions(deployment)

    def quiet(self) -> bool:
        """True when everything that is to be said was said."""
        with self.store.read() as uow:
            return depth(uow) == 0

    # ------------------------------------------------------------ what is seen

    def cards(self) -> list[Message]:
        """The deployment cards in the channel, oldest first."""
        return [one for one in self.slack.messages(CHANNEL) if (one.metadata or {}).get("event_type") == METADATA]

    def card(self, deployment: Deployment) -> Message:
        """The one card of a deployment."""
        (card,) = [one for one in self.cards() if about(one) == deployment.id]
        return card

    def versions(self, deployment: Deployment) -> list[str]:
        """What the card has said so far."""
        cards = [one for one in self.cards() if about(one) == deployment.id]
        return [one.text for one in self.slack.versions(cards[0])] if cards else []

    def replies(self, card: Message) -> list[str]:
        """What stands below a card, oldest first."""
        return [one.text for one in self.slack.thread(CHANNEL, card.ts)[1:]]

    def notices(self) -> list[str]:
        """What was said to the channel that is neither a card nor a reply, oldest first."""
        messages = self.slack.messages(CHANNEL)
        return [one.text for one in messages if not one.thread_ts and about(one) == "" and one.bot_id]

    # ------------------------------------------------------------ outside

    def head(self) -> str:
        """The branch's head."""
        return self.sandbox.log("%H")[0]

    def commits(self, deployment: Deployment) -> list[str]:
        """The commits on the branch that carry this deployment's id."""
        lines = self.sandbox.log("%H %(trailers:key=Deployment-Id,valueonly)")
        return [line.split()[0] for line in lines if deployment.id in line]

    def builds(self, deployment: Deployment) -> list[BuildRecord]:
        """The builds, of whichever job, that were asked for with this deployment's id."""
        jobs = self.sandbox.jenkins.engine.jobs
        builds = [build for job in jobs for build in self.sandbox.jenkins.builds(job)]
        return [build for build in builds if build.parameters.get("DEPLOYMENT_ID") == deployment.id]

    def fill(self, files: Mapping[str, str]) -> None:
        """The first commit."""
        create_files(self.sandbox.repository, files)

    def healthy(self) -> tuple[int, int]:
        """What /healthz and /readyz answer."""
        live, ready = (httpx.get(f"{self.url}/{name}") for name in ("healthz", "readyz"))
        return live.status_code, ready.status_code

    def running_image(self, environment: str) -> str:
        """The image that the cluster was told to run."""
        workload = self.sandbox.kubernetes.store.get("deployments", environment, APP)
        return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])

    def overlay(self, environment: str) -> str:
        """The environment's kustomization.yaml."""
        return self.sandbox.read(f"environments/{environment}/kustomization.yaml")

    def write_overlay(self, environment: str, text: str) -> None:
        """Somebody commits another kustomization.yaml."""
        self.sandbox.commit(f"environments/{environment}/kustomization.yaml", text, f"Change {environment}")

    # ------------------------------------------------------------ the record

    def deployments(self, environment: str = "") -> list[Deployment]:
        """Every deployment (to an environment), oldest first."""
        table = cast("Any", Deployment)
        with self.store.read() as uow:
            rows = list(uow.session.scalars(select(Deployment).order_by(table.requested_at, table.id)))
        return [row for row in rows if environment in {"", row.environment}]

    def row(self, deployment: Deployment) -> Deployment:
        """The deployment as it stands."""
        with self.store.read() as uow:
            row = uow.deployment(deployment.id)
        assert row is not None
        return row

    def audit(self, action: str = "", deployment: Deployment | None = None) -> list[AuditRow]:
        """The record (of an action, of a deployment), in order."""
        with self.store.read() as uow:
            rows = list(uow.session.scalars(select(AuditRow).order_by(cast("Any", AuditRow).seq)))
        wanted = [row for row in rows if action in {"", row.action}]
        return [row for row in wanted if deployment is None or row.deployment_id == deployment.id]


def about(message: Message) -> str:
    """The id of the deployment, or of the change set, whose card a message is; empty for every other message."""
    payload: Mapping[str, str] = (message.metadata or {}).get("event_payload", {})
    return payload.get("deployment_id", "")


@contextmanager
def rig(
    home: Path, places: Mapping[str, str], *, versions: Sequence[str] = (), more: Mapping[str, str] | None = None
) -> Iterator[Rig]:
    """A rig with these environments (name -> settings as YAML) besides the usual three.

    `versions` are pushed to the registry besides the usual ones; `more` goes into the program's environment.
    """

    def create(bare: Path) -> None:
        create_files(bare, _files(places))

    with Sandbox(home, speed=FAST, create=create, applied=()) as sandbox:
        for version in versions:
            sandbox.registry.push(APP, version)
        for name, settings in places.items():
            sandbox.kubernetes.add_namespace(name)
            if "none" not in settings:
                sandbox.apply("main", name, manager="setup")
        with forked_program(sandbox, more) as program:
            made = Rig(sandbox, program)
            try:
                yield made
            finally:
                made.close()


class _EmptySandbox(Sandbox):
    """A company that has not written a line yet."""

    def connect_registry(self) -> None:
        """There is no locktender.yaml to name it in."""


@contextmanager
def bare_rig(home: Path) -> Iterator[Rig]:
    """A rig whose infra-repo has no commit and whose cluster runs nothing."""

    def nothing(bare: Path) -> None:
        del bare

    port = free_port()
    with (
        _EmptySandbox(home, speed=FAST, create=nothing, applied=()) as sandbox,
        forked_program(sandbox, {"LOCKTENDER_PORT": str(port)}) as program,
    ):
        made = Rig(sandbox, program, f"http://127.0.0.1:{port}")
        try:
            yield made
        finally:
            made.close()


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to connections: nobody takes it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - any free port will do; nothing depends on secrecy
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _files(places: Mapping[str, str]) -> Mapping[str, str]:
    files = dict(example_files())
    lines = "".join(f"  {name}: {settings}\n" for name, settings in places.items())
    files["locktender.yaml"] = files["locktender.yaml"].replace("  dev: {}\n", f"  dev: {{}}\n{lines}")
    for path, text in example_files().items():
        if path.startswith("environments/dev/"):
            for name in places:
                copy = text.replace("namespace: dev", f"namespace: {name}").replace("replicas: 1", "replicas: 2")
                files[path.replace("/dev/", f"/{name}/")] = copy.replace("maxReplicas: 3", "maxReplicas: 4")
    return files


@dataclass(frozen=True)
class Outage:
    """A stand-in that misbehaves while this is entered."""

    faults: Faults
    path: str = ""
    method: str = "*"
    kind: Misbehaviour = Misbehaviour.REFUSE
    status: int = 503
    seconds: float = 30.0

    def __enter__(self) -> Fault:
        return self.faults.add(
            Fault(self.method, self.path, self.kind, times=ALWAYS, status=self.status, seconds=self.seconds)
        )

    def __exit__(self, *_: object) -> None:
        self.faults.clear()


__all__ = ["APP", "CHANNEL", "IMAGE", "Outage", "Rig", "about", "bare_rig", "free_port", "rig"]
