"""The program as far as the gate goes, on an outside that is in memory: people, git, a code host, a clock.

The use cases, the factbook, the visits, the merges, the steps of a delivery and the storage are the real ones. What
happens by itself in production (threads, schedules, webhooks) happens here when a test says so, one thing at a time.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
from bot.gate.outside import Outside
from bot.gate.proposals import Proposals
from bot.gate.visits import Visits
from bot.snapshot import Snapshots
from bot.steps.base import Point, World
from bot.writing import Writing
from commands.blocked import may_start, refresh_blocked
from commands.catalogue import App, Catalogue
from commands.debts import nag
from commands.locks import expire
from commands.ports import CommitAuthor, HealthLook, Person, Registry
from commands.reasons import ReasonCode
from commands.requests import Answer, Asker, Request
from storage import claims, gate
from storage.database import Database, sqlite_url
from storage.models import Deployment
from storage.phases import Phase
from storage.unit_of_work import Store
from tests.unit.gate_fate import Fate, FatedStore, KilledError, fated
from tests.unit.gate_git import MAIN, Mirror, Remote
from tests.unit.gate_host import MergeSeen, PullRequests
from tests.unit.gate_infra import ANN, ANN_AGAIN, CHANNEL, PEOPLE, RHEA, ROB, Kustomize, Rules, first_files

START = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
TEAM = "T1"
# ---------------------------------------------------------------- the outside


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        """Since the start, for those who measure."""
        return (self.now - START).total_seconds()

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


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
            town.clock.seconds,
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
        with suppress(_EnoughError):
            self.delivery.run(self, deployment_id, attempt)

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
    claim: Callable[..., list[Deployment]] = claims.claim
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
        self.host = PullRequests(self.remote, self.clock, self._merged)
        self.host.teams = {"example/managers": frozenset({"ann", "rob", "rhea"})}
        self.host.logins = {mail: logins[0] for _, logins, (mail,) in PEOPLE.values()}
        self.everybody = Everybody()
        self.health = Health()
        self.rules = Rules()
        self.steps: dict[tuple[str, int], Steps] = {}
        self.on_merge: Callable[[MergeSeen], None] = lambda _: None
        self.on_reached: Callable[[Point, str], None] = lambda _, __: None
        self.crashes = 0
        self._keys = itertools.count()
        self.program = Program(self)

    def _merged(self, seen: MergeSeen) -> None:
        self.on_merge(seen)

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
        finally:
            self.clock.forward(0.001)  # no two requests come at one instant: their ids are random, their order is not

    def running(self) -> list[tuple[str, int]]:
        """Deployments that are running, with their attempts."""
        with self.store.read() as uow:
            running = [row for row in uow.open_deployments() if row.phase == Phase.RUNNING]
        return [(row.id, row.attempt) for row in sorted(running, key=lambda row: (row.app, row.environment))]

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
