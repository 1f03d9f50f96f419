"""The program as far as the gate goes, on an outside that is in memory: people, git, a code host, a clock.

The use cases, the factbook, the visits, the merges, the steps of a delivery and the storage are the real ones. What
happens by itself in production (threads, schedules, webhooks) happens here when a test says so, one thing at a time.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import event

from bot.delivery import Delivery
from bot.desk import Desk
from bot.factbook import Factbook
from bot.gate.effects import Effects
from bot.gate.gatekeeper import LEASE, Gatekeeper
from bot.gate.merges import Merges
from bot.gate.proposals import Proposals
from bot.gate.visits import Outside, Visits
from bot.integrations.kustomize.edit import read_image
from bot.integrations.kustomize.reach import ReachIndex
from bot.snapshot import Snapshots
from bot.steps.base import Point, World
from bot.writing import Writing
from commands.blocked import may_start, refresh_blocked
from commands.catalogue import App, Catalogue
from commands.debts import nag
from commands.locks import expire
from commands.ports import CommitAuthor, HealthLook, Person, Registry, Rendered, Tree
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Request
from storage import claims, gate
from storage.database import Database, sqlite_url
from storage.phases import Phase
from storage.unit_of_work import Store
from tests.unit.gate_fate import Fate, FatedStore, KilledError, fated
from tests.unit.gate_git import MAIN, Mirror, Remote
from tests.unit.gate_host import PullRequests

START = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
TEAM, CHANNEL = "T1", "C0DEPLOYMENTS"
APPS = ("web", "api")
ENVIRONMENTS = ("staging", "preprod", "production")
REVIEWED = ("preprod", "production")
VERSIONS = ("1.0", "1.1", "1.2")

ANN, ANN_AGAIN, ROB, RHEA, PAT, STRANGER = "U0ANN", "U0ANN2", "U0ROB", "U0RHEA", "U0PAT", "U0OUT"
PEOPLE: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "ann": ((ANN, ANN_AGAIN), ("ann",), ("ann@example.com",)),
    "rob": ((ROB,), ("rob",), ("rob@example.com",)),
    "rhea": ((RHEA,), ("rhea",), ("rhea@example.com",)),
    "pat": ((PAT,), ("pat",), ("pat@example.com",)),
}
"""Who is who: Slack ids, logins, addresses. The stranger is in no list."""
USERS = (ANN, ANN_AGAIN, ROB, RHEA, PAT, STRANGER)
LOGINS = ("ann", "rob", "rhea", "pat", "mallory")


@dataclass(frozen=True)
class Rules:
    """The parts of `locktender.yaml` that tests change. `platform` are Slack ids; the managers are a Slack group."""

    required: int = 1
    platform: tuple[str, ...] = (PAT,)
    expires: str = "4h"
    frozen: bool = False
    deployers: str = "everyone"
    sound: bool = True

    @property
    def text(self) -> str:
        """The file."""
        people = "".join(
            f"  {name}: {{slack: [{', '.join(slack)}], github: [{', '.join(logins)}], emails: [{', '.join(mails)}]}}\n"
            for name, (slack, logins, mails) in PEOPLE.items()
        )
        approval = f"from: [managers, platform], required: {self.required}, expires_after: {self.expires}"
        glass = "break_glass: {from: [platform], review_within: 24h}"
        rest = "reconciler: none, rollout: none, verify: {url: 'https://health.example/{app}', timeout: 1m}"
        freeze = (
            "freezes:\n  - {name: audit, environments: [preprod], timezone: UTC, from: '2026-03-01T00:00', "
            "until: '2026-06-30T00:00'}\n"
            if self.frozen
            else ""
        )
        return (
            "promotion: [staging, production]\n"
            "environments:\n"
            f"  staging: {{{rest}}}\n"
            f"  preprod: {{change: pull-request, {rest}, {glass},\n"
            f"    approval: {{{approval}, accept: both, rollback_required: 1}}}}\n"
            f"  production: {{change: pull-request, {rest}, {glass}, on_failure: rollback,\n"
            f"    deployers: [{self.deployers}],\n"
            f"    approval: {{{approval}, accept: slack, rollback_required: 1}}}}\n"
            "apps:\n"
            + "".join(f"  {app}: {{image: registry.example/{app}}}\n" for app in APPS)
            + "groups:\n  managers: {slack: S0MANAGERS, github: example/managers}\n"
            + f"  platform: {{members: [{', '.join(self.platform)}]}}\n"
            + f"people:\n{people}channels: {{deployments: {CHANNEL}}}\n{freeze}"
            + ("" if self.sound else "nonsense: here\n")
        )


def overlay_path(app: str, environment: str) -> str:
    return f"apps/{app}/overlays/{environment}/kustomization.yaml"


def base_path(app: str) -> str:
    return f"apps/{app}/base/deployment.yaml"


def first_files() -> dict[str, bytes]:
    """The infra-repo at the start."""
    files = {"locktender.yaml": Rules().text, "README.md": "The infra-repo\n"}
    files["platform/kustomization.yaml"] = "resources: [quota.yaml]\n"
    files["platform/quota.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: quota}\ndata: {n: '1'}\n"
    for app in APPS:
        files[f"apps/{app}/base/kustomization.yaml"] = "resources: [deployment.yaml, ../../../platform]\n"
        files[base_path(app)] = (
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {app}}}\nspec:\n  replicas: 1\n"
            f"  template: {{spec: {{containers: [{{name: {app}, image: registry.example/{app}}}]}}}}\n"
        )
        for environment in ENVIRONMENTS:
            files[overlay_path(app, environment)] = (
                f"resources: [../../base]\n# {environment}\n# settings: 0\n# of {app}\nimages:\n"
                f'- name: registry.example/{app}\n  newTag: "0.9"\n'
            )
    return {path: text.encode() for path, text in files.items()}


# ---------------------------------------------------------------- the outside


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Kustomize:
    """Builds these overlays: everything that the base names, with the image of the overlay."""

    def render(self, tree: Tree, overlay: str) -> Rendered:
        app = overlay.split("/")[1]
        kustomization = tree.read(f"{overlay}/kustomization.yaml") or b""
        image = read_image(kustomization, f"registry.example/{app}", path=overlay)
        base, quota = tree.read(base_path(app)), tree.read("platform/quota.yaml")
        if base is None or quota is None or image is None:
            raise Refused(ReasonCode.RENDER_FAILED, f"`{overlay}` cannot be built.", "Mend its base.")
        settings = [line for line in kustomization.decode().splitlines() if line.startswith("# settings")]
        text = "".join(f"{line}\n" for line in base.decode().splitlines() if not line.startswith("#"))
        text = text.replace(f"image: registry.example/{app}", f"image: '{image}'")
        note = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: s}}\ndata: {{s: '{settings}'}}\n".replace("'[", "[")
        return Rendered(f"{text}---\n{quota.decode()}---\n{note}".replace("]'", "]"), cached=False)

    def key(self, tree: Tree, overlay: str) -> str:
        return ReachIndex().reach(tree, overlay).key

    def render_many(self, tree: Tree, overlays: Sequence[str]) -> dict[str, Rendered | Refused]:
        built: dict[str, Rendered | Refused] = {}
        for overlay in overlays:
            try:
                built[overlay] = self.render(tree, overlay)
            except Refused as fault:
                built[overlay] = fault
        return built


class Everybody:
    """Profiles and groups; a group that is None cannot be read."""

    def __init__(self) -> None:
        self.managers: frozenset[str] | None = frozenset({ANN, ANN_AGAIN, ROB, RHEA})

    def person(self, team_id: str, user_id: str) -> Person:
        name = next((name for name, known in PEOPLE.items() if user_id in known[0]), user_id.lower())
        return Person(team_id, user_id, name, f"{name}@example.com")

    def members(self, group_id: str) -> frozenset[str] | None:
        return self.managers if group_id == "S0MANAGERS" else None


class Health:
    """Everything is well, but for the apps that are sick."""

    def __init__(self) -> None:
        self.sick: set[str] = set()

    def look(self, url: str, wanted: int | None, timeout: float) -> HealthLook:
        del wanted, timeout
        ill = url.rsplit("/", 1)[-1] in self.sick
        return HealthLook(not ill, 503 if ill else 200, "It answered 503." if ill else "")


# ---------------------------------------------------------------- the program


class _EnoughError(Exception):
    """The delivery has done its one step."""


@dataclass
class Steps:
    """What an engine remembers of one attempt: which steps are done. It survives the process, as DBOS's record does."""

    done: set[str] = field(default_factory=set)


class Program:
    """One process. Make another one on the same parts after a crash."""

    def __init__(self, town: "Town") -> None:
        self.town = town
        fate, self.store = town.fate, FatedStore(town.store, town.fate)
        infra = fated(town.mirror, fate, "git", ReasonCode.REPO_UNREACHABLE)
        host = fated(town.host, fate, "host", ReasonCode.HOST_UNREACHABLE)
        self.factbook = Factbook(
            town.store,
            town.mirror,
            town.everybody,
            Snapshots(),
            lambda: (town.clock() - START).total_seconds(),
            host=town.host,
        )
        self.factbook.team_id = TEAM
        self.factbook.restore()
        self.factbook.refresh()
        kustomize = Kustomize()
        effects = Effects(kustomize)
        writing = Writing(infra, kustomize, town.everybody, _no_registry, self.factbook.head)
        outside = Outside(
            infra=infra,
            host=host,
            facts=self.factbook.facts,
            proposals=town.parts.proposals(infra, writing, host, effects),
            poll=timedelta(seconds=30),
            shared=lambda _: False,
            changed=lambda: None,
            ready=lambda: None,
            read_rules=self.factbook.read_rules,
        )
        self.gatekeeper = Gatekeeper(self.store, lambda _, __: None)
        self.visits = town.parts.visits(self.store, outside)
        world = World(
            writing=writing,
            pipeline=None,
            cluster=None,
            facts=self.factbook.facts,
            pushed=self._pushed,
            changed=lambda: None,
            merges=town.parts.merges(self.store, outside),
            health=town.health,
        )
        self.delivery = town.parts.delivery(self.store, world, town.reached)
        self.desk = Desk(self.store, self.factbook.facts)
        self._budget = 0
        self._attempt: tuple[str, int] = ("", 0)

    def _pushed(self, commit: str) -> None:
        self.factbook.pushed(commit)
        self.gatekeeper.hurry()

    def look_around(self) -> None:
        """What the schedule does."""
        before = self.town.mirror.head()
        self.factbook.refresh()
        expire(self.store, self.factbook.facts())
        refresh_blocked(self.store, self.factbook.facts())
        nag(self.store, self.factbook.facts())
        if self.town.mirror.head() != before:
            self.gatekeeper.hurry()

    def visit(self) -> int:
        """What the gatekeeper does in one round; how many changes it looked at."""
        with self.store.read() as uow:
            due = gate.due(uow, 4)
        for change_id in due:
            with self.store.write() as uow:
                until = gate.lease(uow, change_id, LEASE)
            if until is not None:
                self.visits(change_id, until)
        return len(due)

    def claim(self) -> int:
        """What the engine's dispatcher does in one round; how many deployments it took."""
        with self.store.write() as uow:
            clear = may_start(uow, self.factbook.facts())
            taken = [row.id for row in self.town.parts.claim(uow, "test", 4, clear)]
        return len(taken)

    def deliver(self, deployment_id: str, attempt: int, steps: int = 1) -> None:
        """Let a delivery do so many steps."""
        self._budget = steps
        try:
            self.delivery.run(self, deployment_id, attempt)
        except _EnoughError:
            pass

    def step(self, name: str, step: Callable[[str, int], float], deployment_id: str, attempt: int) -> float:
        record = self.town.steps.setdefault((deployment_id, attempt), Steps())
        if name in record.done:
            return 0.0
        if self._budget == 0:
            raise _EnoughError
        self._budget -= 1
        answer = step(deployment_id, attempt)
        if answer == 0.0:
            record.done.add(name)
        return answer

    def pause(self, seconds: float) -> None:
        del seconds
        raise _EnoughError


def _no_registry(known: Catalogue, app: App) -> Registry | None:
    del known, app
    return None


@dataclass(frozen=True)
class Parts:
    """Of what the program is made: a mutant has another part."""

    visits: Callable[[Store, Outside], Visits] = Visits
    merges: Callable[[Store, Outside], Merges] = Merges
    proposals: Callable[..., Proposals] = Proposals
    claim: Callable[..., list[claims.Deployment]] = claims.claim
    delivery: Callable[[Store, World, Callable[[Point, str], None]], Delivery] = lambda store, world, reached: Delivery(
        store, world, reached=reached
    )


class Town:
    """The outside, the database, and the program that runs now."""

    def __init__(self, database: Database, parts: Parts | None = None) -> None:
        self.parts = parts or Parts()
        self.clock = Clock()
        self.store = Store(database, self.clock)
        self.fate = Fate()
        self.remote = Remote()
        root = self.remote.commit((), first_files(), CommitAuthor("Pat", "pat@example.com"), "Start")
        self.remote.branches[MAIN] = root
        self.mirror = Mirror(self.remote)
        self.host = PullRequests(self.remote, self.clock, lambda seen: self.on_merge(seen))
        self.host.teams = {"example/managers": frozenset({"ann", "rob", "rhea"})}
        self.host.logins = {mail: logins[0] for _, logins, (mail,) in PEOPLE.values()}
        self.everybody = Everybody()
        self.health = Health()
        self.rules = Rules()
        self.steps: dict[tuple[str, int], Steps] = {}
        self.on_merge: Callable[..., None] = lambda _: None
        self.on_reached: Callable[[Point, str], None] = lambda _, __: None
        self.crashes = 0
        self._keys = itertools.count()
        self.program = Program(self)

    def reached(self, point: Point, deployment_id: str) -> None:
        self.on_reached(point, deployment_id)

    def rules_in_force(self) -> Catalogue:
        """The catalogue that the program goes by now."""
        found = self.program.factbook.in_force().catalogue
        assert found is not None
        return found

    # ------------------------------------------------------------ the program's life

    def act(self, what: Callable[[], object]) -> bool:
        """Have the program do something; False when it died of it, and another one runs."""
        try:
            what()
        except KilledError:
            self.restart()
            return False
        return True

    def restart(self) -> None:
        """The process is gone; another one starts on what is stored, with what the engine and the disk remember."""
        self.fate.disarm()
        self.crashes += 1
        self.program = Program(self)
        self.program.gatekeeper.reclaim()

    def ask(self, user: str, request: Request) -> Answer:
        """A person asks; when the program dies of it, Slack delivers it again."""
        asker = Asker(TEAM, user, f"delivery:{next(self._keys)}", CHANNEL)
        try:
            return self.program.desk.answer(asker, request)
        except KilledError:
            self.restart()
            return self.program.desk.answer(asker, request)

    def running(self) -> list[tuple[str, int]]:
        """Deployments that are running, with their attempts."""
        with self.store.read() as uow:
            return [(row.id, row.attempt) for row in uow.open_deployments() if row.phase == Phase.RUNNING]

    def take_over(self, deployment_id: str) -> None:
        """The engine gives a running deployment a new attempt, as after a silence."""
        with self.store.write() as uow:
            row = uow.deployment(deployment_id)
            if row is not None and row.phase == Phase.RUNNING:
                claims.begin_attempt(uow, row, "other")

    # ------------------------------------------------------------ people and git

    def push(self, changes: Mapping[str, bytes | None], by: str = "pat", branch: str = MAIN) -> None:
        if branch in self.remote.branches:
            author = CommitAuthor(by, f"{by}@example.com")
            self.remote.push(branch, changes, author, "By hand")

    def edit(self, path: str, old: str, new: str, by: str = "pat", branch: str = MAIN) -> None:
        """Somebody changes a line of a file on a branch."""
        head = self.remote.branches.get(branch)
        if head is not None:
            text = self.remote.commits[head].files[path].decode()
            self.push({path: text.replace(old, new).encode()}, by, branch)

    def rule(self, **news: object) -> None:
        """Somebody changes `locktender.yaml`."""
        self.rules = replace(self.rules, **news)  # type: ignore[arg-type]  # the tests name fields of Rules
        self.push({"locktender.yaml": self.rules.text.encode()})


@contextmanager
def town(template: Path, folder: Path, parts: Parts | None = None) -> Iterator[Town]:
    """A town on a copy of an empty database that does not wait for the disk."""
    path = folder / "town.db"
    shutil.copy(template, path)
    database = Database(sqlite_url(path))

    @event.listens_for(database.engine, "connect")
    def _fast(connection: object, record: object) -> None:
        del record
        connection.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]  # the DBAPI connection has no type

    try:
        yield Town(database, parts)
    finally:
        database.close()
