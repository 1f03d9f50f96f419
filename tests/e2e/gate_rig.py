"""What the gate's end-to-end tests share: a company with many reviewed environments, and what its people do.

Every test takes an environment (and mostly an app) of its own, so that one program serves a whole file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from bot.sandbox.github_model import Pull
from bot.sandbox.infra_example import Layout, create_files, example_files
from bot.sandbox.slack_model import AUDITOR, DEVELOPER, ON_CALL, RELEASE_MANAGER, CommandResult, Message, User
from bot.sandbox.world import FAST, Sandbox
from commands.catalogue import Catalogue
from commands.catalogue_reader import read
from storage import gate, locks
from storage.models import Approval, Change, ChangeState, Deployment, Lock
from storage.phases import Phase
from tests.e2e.rig import Rig, about, free_port
from tests.forked import forked_program

VERSIONS = ("1.4.0", "1.4.1", "1.4.2", "1.4.3", "1.4.4")
STAGING = "staging"
IN_GIT = "reconciler: none"
"""For environments where only what git says matters: no build, no cluster."""
REVIEWED = "change: pull-request, approval: {from: [release-managers]}"
LOGINS = {DEVELOPER.id: "dev-hub", RELEASE_MANAGER.id: "release-hub", ON_CALL.id: "oncall-hub", AUDITOR.id: "audit-hub"}
"""Slack user id -> login on GitHub, as `people:` says."""
_REST = timedelta(minutes=4)
"""More than the lease of a visit under way."""
_TEMPLATE = "my-application"
_THERE = {"dev", STAGING, "production"}
"""The namespaces that every sandbox's cluster has."""


@dataclass(frozen=True)
class Company:
    """What the infra-repo's `locktender.yaml` says. Each is name -> settings as flow YAML, without the braces.

    `apps` are name -> the environments it runs in, along which it is promoted. `more` are further lines of the file,
    `files` further files.
    """

    environments: Mapping[str, str]
    apps: Mapping[str, Sequence[str]]
    more: str = ""
    files: Mapping[str, str] | None = None

    def catalogue(self) -> str:
        """The file."""
        places = "".join(f"  {name}: {{{settings}}}\n" for name, settings in self._places().items())
        apps = "".join(
            f"  {app}: {{image: registry.company.com/{app}, environments: [{', '.join(names)}]}}\n"
            for app, names in self.apps.items()
        )
        people = "".join(
            f"  {login}: {{slack: {user}, github: {login}, emails: [{login}@company.example]}}\n"
            for user, login in LOGINS.items()
        )
        return (
            f"promotion: [{', '.join(self._places())}]\n"
            f"environments:\n{places}apps:\n{apps}"
            "groups:\n"
            "  release-managers: {slack: S0RELEASE}\n"
            f"  approvers: {{members: [{RELEASE_MANAGER.id}, {ON_CALL.id}, {AUDITOR.id}]}}\n"
            f"  on-call: {{members: [{ON_CALL.id}]}}\n"
            f"people:\n{people}"
            "channels: {deployments: C0DEPLOYMENTS}\n"
            f"{self.more}"
        )

    def tree(self) -> Mapping[str, str]:
        """Every file of the infra-repo."""
        files = {"locktender.yaml": self.catalogue(), "README.md": "# Infra-repo\n"}
        template = f"apps/{_TEMPLATE}/"
        for path, text in example_files(Layout.PER_APP).items():
            if not path.startswith(template):
                continue
            for app, environments in self.apps.items():
                mine = text.replace(_TEMPLATE, app)
                if "/base/" in path:
                    files[path.replace(_TEMPLATE, app)] = mine
                elif "/dev/" in path:
                    for name in environments:
                        place = path.replace(_TEMPLATE, app).replace("/dev/", f"/{name}/")
                        files[place] = mine.replace("namespace: dev", f"namespace: {name}")
        return files | dict(self.files or {})

    def _places(self) -> Mapping[str, str]:
        return {STAGING: IN_GIT} | dict(self.environments)

    def running(self) -> Iterator[str]:
        """The environments that something is applied to."""
        return (name for name, settings in self.environments.items() if IN_GIT not in settings)


class GateRig(Rig):
    """A rig whose people promote, approve, reject and roll back."""

    # ------------------------------------------------------------ asking

    def ask(self, text: str, *, user: User = DEVELOPER, command: str = "/deploy") -> Deployment:
        """Type what must be accepted; the row of the (first) deployment that it made."""
        before = {row.id for row in self.deployments()}
        result = self.type(text, user=user, command=command)
        assert "🚫" not in result.text, result.text
        made = [row for row in self.deployments() if row.id not in before]
        assert made, result.text
        return made[0]

    def put(self, app: str, version: str, environment: str = STAGING) -> Deployment:
        """A version that is live in an environment where nothing is reviewed."""
        return self.live(self.ask(f"{app} {version} {environment}"))

    def promote(self, text: str, more: str = "", *, user: User = DEVELOPER) -> Deployment:
        """`/promote`, which must be accepted."""
        return self.ask(f"{text} {more}".strip(), user=user, command="/promote")

    def roll_back(self, text: str, reason: str = "it is broken", *, user: User = DEVELOPER) -> Deployment:
        """`/rollback`, which must be accepted."""
        return self.ask(f"{text} --reason {reason}", user=user, command="/rollback")

    def turned_down(self, text: str, *words: str, user: User = DEVELOPER, command: str = "/deploy") -> str:
        """Type what must be refused, in these words; nothing else changes."""
        before = (len(self.deployments()), self.head(), len(self.sandbox.github.pulls()))
        result = self.type(text, user=user, command=command)
        assert result.text.startswith("🚫"), result.text
        self.told(result.text, *words)
        assert (len(self.deployments()), self.head(), len(self.sandbox.github.pulls())) == before
        return result.text

    # ------------------------------------------------------------ the gate

    def change(self, row: Deployment) -> Change:
        """The change of a deployment as it stands."""
        with self.store.read() as uow:
            found = gate.change_of(uow, row.change_id)
        assert found is not None
        return found

    def approvals(self, row: Deployment) -> list[Approval]:
        """What counts for the content that is shown."""
        with self.store.read() as uow:
            change = gate.change_of(uow, row.change_id)
            assert change is not None
            return gate.approvals(uow, change)

    def members(self, row: Deployment) -> list[Deployment]:
        """All deployments of the change, by app."""
        with self.store.read() as uow:
            return gate.members(uow, row.change_id)

    def pull(self, row: Deployment) -> Pull:
        """The pull request of a deployment that has one."""
        number = self.change(row).pr_number
        assert number is not None
        return self.sandbox.github.pull(number)

    def status(self, row: Deployment) -> tuple[str, str]:
        """The state and the words of `locktender/approval` on the head that is shown."""
        found = self.sandbox.github.status(self.change(row).head_sha, "locktender/approval")
        assert found is not None
        return found.state, found.description or ""

    def shown(self, row: Deployment) -> Message:
        """Wait until it can be decided on; its card."""
        return self.buttons(row, "Approve")

    def buttons(self, row: Deployment, label: str) -> Message:
        """Wait until the card as posted last has this button, of what is shown now; the card."""

        def there() -> bool:
            ended = Phase(self.row(row).phase).ended
            assert not ended or label not in {"Approve", "Reject"}, self.row(row).what
            return self.quiet() and label in self.labels(row)

        self.until(there)
        return self.card(row)

    def labels(self, row: Deployment) -> list[str]:
        """What can be pressed on the card now."""
        return [one.text for one in self.card(row).buttons] if self.has_card(row) else []

    def click(self, user: User, row: Deployment, label: str) -> str:
        """Press a button on the card as it is; what the person was told."""
        return self.heard(user, lambda: self.slack.click(user, self.card(row), label))

    def approve(self, row: Deployment, *, user: User = RELEASE_MANAGER) -> str:
        """Wait for the card and press Approve; what the person was told."""
        self.shown(row)
        return self.click(user, row, "Approve")

    def form(self, user: User, row: Deployment, label: str, words: str) -> CommandResult:
        """Press a button that opens a form, fill it in and send it."""
        open_before = len(self.slack.views(user))
        self.slack.click(user, self.card(row), label)
        self.until(lambda: len(self.slack.views(user)) > open_before)
        return self.slack.submit_view(user, self.slack.views(user)[-1], {"text": words})

    def heard(self, user: User, act: Callable[[], CommandResult]) -> str:
        """Do something that is answered to this person alone; the answer."""
        told = len(self.slack.ephemerals(user))
        result = act()
        assert result.acked, result.trouble
        self.until(lambda: len(self.slack.ephemerals(user)) > told)
        return self.slack.ephemerals(user)[-1].text

    def rests(self, row: Deployment) -> bool:
        """True when nobody looks at the change now or within a few minutes."""
        at = self.change(row).visit_at
        return at is None or at > self.store.clock() + _REST

    def holds(self, row: Deployment) -> list[Lock]:
        """The locks, freezes and holds that are in force in its environment."""
        with self.store.read() as uow:
            return [one for one in locks.in_force(uow, uow.now) if one.environment == row.environment]

    def over(self, row: Deployment, phase: Phase, reason: str) -> Deployment:
        """Wait until it ended so, and nothing of it is left open; its row."""
        found = self.ended(row)
        assert (found.phase, found.reason_code) == (phase, reason), (found.phase, found.reason_code, found.what)
        return found

    def gone(self, row: Deployment) -> None:
        """Wait until the pull request is closed without a merge, its branch deleted and the buttons gone."""
        change = self.change(row)
        if change.pr_number is not None:
            self.until(lambda: not self.pull(row).open)
            assert not self.pull(row).merge_sha
            assert self.status(row)[0] == "failure"
        self.until(lambda: self.sandbox.github.branch(change.branch) is None)
        self.until(self.quiet)
        assert not self.labels(row)
        assert self.change(row).state in {ChangeState.CLOSED, ChangeState.FAILED}

    # ------------------------------------------------------------ what is seen

    def card(self, deployment: Deployment) -> Message:
        """The one card of a deployment, or of the set that it belongs to."""
        (card,) = self._cards_of(deployment)
        return card

    def has_card(self, deployment: Deployment) -> bool:
        """True once it was posted."""
        return bool(self._cards_of(deployment))

    def versions(self, deployment: Deployment) -> list[str]:
        """What the card has said so far."""
        return [one.text for card in self._cards_of(deployment) for one in self.slack.versions(card)]

    def _cards_of(self, deployment: Deployment) -> list[Message]:
        wanted = deployment.card_id or deployment.id
        return [one for one in self.cards() if about(one) == wanted]

    def said(self, row: Deployment, *words: str) -> str:
        """Wait until the card as posted last holds these words; its text."""
        self.until(lambda: self.has_card(row) and all(word in self.card(row).text for word in words))
        return self.card(row).text

    def thread(self, row: Deployment, *words: str) -> str:
        """Wait for the one reply below the card that holds these words; its text."""

        def found() -> list[str]:
            return [text for text in self.replies(self.card(row)) if all(word in text for word in words)]

        self.until(found)
        (text,) = found()
        return text

    def actions(self, row: Deployment) -> list[str]:
        """The audit actions of its change, in order."""
        return [one.action for one in self.audit() if one.deployment_id == (row.change_id or row.id)]

    def image(self, app: str, environment: str) -> str:
        """What git says: the images part of the overlay."""
        return self.kustomization(app, environment).partition("images:")[2]

    def kustomization(self, app: str, environment: str) -> str:
        """The overlay's file."""
        return self.sandbox.read(f"apps/{app}/overlays/{environment}/kustomization.yaml")

    def runs(self, app: str, environment: str) -> str:
        """The image that the cluster was told to run."""
        workload = self.sandbox.kubernetes.store.get("deployments", environment, app)
        return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])

    def merges(self, row: Deployment) -> list[str]:
        """The merge commits on the branch that carry this change's id."""
        lines = self.sandbox.log("%H %(trailers:key=Change-Id,valueonly)")
        return [line.split()[0] for line in lines if row.change_id in line]

    def merged_with(self, row: Deployment) -> str:
        """The trailers of its one merge commit."""
        (merge,) = self.merges(row)
        found = [text.partition("\x01") for text in self.sandbox.log("%H%x01%(trailers:unfold)")]
        return next(trailers for commit, _, trailers in found if commit == merge)

    def rows_of(self, environment: str) -> list[Deployment]:
        """Its deployments, in the order in which they were asked for."""
        table = Deployment
        with self.store.read() as uow:
            query = select(table).where(table.environment == environment)  # type: ignore[arg-type]  # SQLModel's typing
            return sorted(uow.session.scalars(query), key=lambda one: one.requested_at)


@contextmanager
def gate_rig(home: Path, company: Company, *, more: Mapping[str, str] | None = None) -> Iterator[GateRig]:
    """The company with the program at work; `more` goes into the program's environment."""

    files = company.tree()
    found = read(files["locktender.yaml"].encode())
    assert isinstance(found, Catalogue), found

    def create(bare: Path) -> None:
        create_files(bare, files)

    port = free_port()
    with Sandbox(home, speed=FAST, create=create, applied=()) as sandbox:
        for user, login in LOGINS.items():
            sandbox.github.user(login, name=user)
        for app in company.apps:
            for version in (*VERSIONS, "1.4.3-crash"):
                sandbox.registry.push(app, version)
        for name in company.running():
            if name not in _THERE:
                sandbox.kubernetes.add_namespace(name)
            sandbox.apply("main", name, manager="setup")
        environment = {"LOCKTENDER_PORT": str(port)} | dict(more or {})
        with forked_program(sandbox, environment) as program:
            made = GateRig(sandbox, program, f"http://127.0.0.1:{port}")
            try:
                yield made
            finally:
                made.close()
