"""What a delivery needs, in memory: a git branch, a renderer, a Jenkins and a cluster that do as they are told.

They hold to the Protocols in `commands/ports.py`; that the real adapters do too is for the contract tests.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import select

from bot.delivery import Delivery
from bot.integrations.kustomize.edit import read_image
from bot.steps.base import Point, World
from bot.writing import Writing
from commands.catalogue import App, Catalogue
from commands.catalogue_reader import read
from commands.facts import CatalogueInForce, Facts
from commands.ports import (
    Build,
    BuildRef,
    BuildRequest,
    BuildState,
    Cluster,
    Commit,
    CommitRequest,
    Edit,
    InfraRepo,
    Person,
    Pipeline,
    Registry,
    Rendered,
    Rollout,
    RolloutRequest,
    RolloutState,
    Tree,
    TreeEntry,
)
from commands.reasons import Fault, ReasonCode, Refused
from storage import claims, database
from storage.database import Database, sqlite_url
from storage.models import Deployment, Kind, Message
from storage.phases import Phase
from storage.record_models import AuditRow
from storage.unit_of_work import Store

IMAGE = "registry.example/web"
CATALOGUE = """
promotion: [staging]
environments:
  staging: {timeout: {build: 1m, rollout: 3m}}
apps:
  web: {image: registry.example/web}
channels: {deployments: C0DEPLOYMENTS}
"""
OVERLAY = "environments/staging/kustomization.yaml"
FILES = {OVERLAY: b'resources: [../../base]\nimages:\n- name: registry.example/web\n  newTag: "1.0"\n'}
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Files:
    """A tree of regular files."""

    commit: str
    files: Mapping[str, bytes]

    def entry(self, path: str) -> TreeEntry | None:
        if path in self.files:
            return TreeEntry("100644", "blob", "b" * 40, path)
        if any(name.startswith(f"{path}/") for name in self.files):
            return TreeEntry("040000", "tree", "c" * 40, path)
        return None

    def entries(self, path: str) -> list[TreeEntry]:
        names = {name.removeprefix(f"{path}/").split("/")[0] for name in self.files if name.startswith(f"{path}/")}
        found = [self.entry(f"{path}/{name}") for name in sorted(names)]
        return [entry for entry in found if entry is not None]

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        return {path: self.files[path] for path in paths if path in self.files}

    def export(self, folders: list[str], target: Path) -> None:
        raise NotImplementedError

    def held(self) -> AbstractContextManager["Files"]:
        return nullcontext(self)


class Branch:
    """An infra-repo: commits in a list, one per deployment id. `faults` are raised first, one per write."""

    def __init__(self) -> None:
        self.trees = [Files(f"{0:040x}", FILES)]
        self.by_deployment: dict[str, Commit] = {}
        self.faults: list[Fault] = []

    def refresh(self) -> str:
        return self.trees[-1].commit

    def head(self) -> str | None:
        return self.trees[-1].commit

    def tree(self, commit: str) -> Tree:
        return next(one for one in self.trees if one.commit == commit)

    def ensure_commit(self, request: CommitRequest, edit: Edit) -> Commit:
        if self.faults:
            raise self.faults.pop(0)
        if request.deployment_id not in self.by_deployment:
            parent = self.trees[-1]
            edited = {path: content for path, content in edit(parent).items() if content is not None}
            files = {**parent.files, **edited}
            if files == parent.files:
                raise Refused(ReasonCode.ALREADY_LIVE, "The branch says that already.", "Nothing is to be done.")
            made = self.add(files)
            self.by_deployment[request.deployment_id] = Commit(made, parent.commit, 1)
        return self.by_deployment[request.deployment_id]

    def add(self, files: Mapping[str, bytes]) -> str:
        self.trees.append(Files(f"{len(self.trees):040x}", files))
        return self.trees[-1].commit

    def find_commit(self, deployment_id: str) -> Commit | None:
        return self.by_deployment.get(deployment_id)


class Kustomize:
    """Renders one workload whose image is what the overlay says."""

    faults: list[Fault]

    def __init__(self) -> None:
        self.faults = []

    def render(self, tree: Tree, overlay: str) -> Rendered:
        if self.faults:
            raise self.faults.pop(0)
        image = read_image(tree.read(f"{overlay}/kustomization.yaml") or b"", IMAGE, path=overlay)
        text = (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: staging}\n"
            f"spec: {{template: {{spec: {{containers: [{{name: web, image: '{image}'}}]}}}}}}\n"
        )
        return Rendered(text, cached=False)


class Names:
    """Everybody is Ada."""

    def person(self, team_id: str, user_id: str) -> Person:
        return Person(team_id, user_id, "Ada", "ada@example.com")

    def members(self, group_id: str) -> frozenset[str] | None:
        del group_id
        return None


@dataclass
class Builds:
    """A Jenkins: answers with `says`, one after another, the last one for ever. Faults come out as they are."""

    says: list[Build | Fault]
    faults: list[Fault] = field(default_factory=list)
    asked: list[BuildRequest] = field(default_factory=list)

    def ensure_build(self, request: BuildRequest) -> BuildRef:
        if self.faults:
            raise self.faults.pop(0)
        if all(one.deployment_id != request.deployment_id for one in self.asked):
            self.asked.append(request)
        return BuildRef(request.job, queue_id=7)

    def build(self, deployment_id: str, ref: BuildRef) -> Build:
        del deployment_id, ref
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, Fault):
            raise said
        return said


@dataclass
class Pods:
    """A cluster: answers with `says`, one after another, the last one for ever."""

    says: list[Rollout | Fault]
    requests: list[RolloutRequest] = field(default_factory=list)
    waited: Callable[[float], None] = lambda _: None
    """Told how long a look waited in vain for something new."""

    def rollout(self, request: RolloutRequest, last: Rollout | None, wait: float) -> Rollout:
        self.requests.append(request)
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, Fault):
            raise said
        if said == last:
            self.waited(wait)
        return said


def build(state: BuildState, **more: Any) -> Build:
    """Build 12 in this state."""
    number = more.pop("number", 12)
    return Build(BuildRef("infra-deploy", 7, number), state, **more)


LIVE = Rollout(RolloutState.DONE, desired=2, updated=2, available=2, total=2, seen=True)
MOVING = Rollout(RolloutState.PROGRESSING, desired=2, updated=1, available=1, total=3, seen=True)


@dataclass
class Rig:
    """One store, one world, one delivery, and a runner in this thread whose pauses move the clock."""

    store: Store
    clock: Clock
    branch: Branch = field(default_factory=Branch)
    kustomize: Kustomize = field(default_factory=Kustomize)
    builds: Builds = field(default_factory=lambda: Builds([build(BuildState.SUCCESS)]))
    pods: Pods = field(default_factory=lambda: Pods([LIVE]))
    no_pipeline: bool = False
    no_cluster: bool = False
    in_force: CatalogueInForce = field(default_factory=lambda: in_force(CATALOGUE))
    at: dict[Point, Callable[[], object]] = field(default_factory=dict)
    paused: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the card's note said at each pause."""

    def delivery(self) -> Delivery:
        infra = cast("InfraRepo", self.branch)  # as much of one as deliveries without reviews need
        writing = Writing(infra, self.kustomize, Names(), _no_registry, self.branch.refresh)
        self.pods.waited = self.clock.forward
        pipeline: Pipeline | None = None if self.no_pipeline else self.builds
        cluster: Cluster | None = None if self.no_cluster else self.pods
        world = World(writing, pipeline, cluster, self.facts, lambda _: None, lambda: None)
        return Delivery(self.store, world, reached=self._reached)

    def facts(self) -> Facts:
        return Facts(in_force=self.in_force)

    def _reached(self, point: Point, deployment_id: str) -> None:
        del deployment_id
        if point in self.at:
            self.at.pop(point)()

    def ask(self, version: str = "1.1", *, kind: Kind = Kind.DEPLOY) -> str:
        """A queued deployment's id."""
        with self.store.write() as uow:
            row = Deployment(
                kind=kind,
                app="web",
                environment="staging",
                version=version,
                team_id="T0",
                requested_by="U0",
                requested_in="C0",
                requested_at=uow.now,
            )
            uow.add(row, "" if kind is Kind.PREVIEW else "C0DEPLOYMENTS")
            return row.id

    def claim(self, deployment_id: str) -> int:
        """Claim it (again); the attempt."""
        with self.store.write() as uow:
            row = uow.deployment(deployment_id)
            assert row is not None
            if row.phase == Phase.QUEUED:
                assert [one.id for one in claims.claim(uow, "test", 1)] == [deployment_id]
            else:
                claims.begin_attempt(uow, row, "test")
            return row.attempt

    def run(self, deployment_id: str, attempt: int | None = None) -> Deployment:
        """Deliver to the end, or to where it is given up."""
        self.delivery().run(self, deployment_id, attempt or self.claim(deployment_id))
        return self.row(deployment_id)

    def step(self, name: str, step: Callable[[str, int], float], deployment_id: str, attempt: int) -> float:
        del name
        return step(deployment_id, attempt)

    def pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        with self.store.read() as uow:
            self.notes.extend(row.note for row in uow.open_deployments())
        self.clock.forward(seconds)
        if len(self.paused) > 5000:
            raise AssertionError("it never gives up")

    def row(self, deployment_id: str) -> Deployment:
        with self.store.read() as uow:
            row = uow.deployment(deployment_id)
            assert row is not None
            return row

    def actions(self) -> list[str]:
        with self.store.read() as uow:
            return list(uow.session.scalars(select(cast("Any", AuditRow).action).order_by(cast("Any", AuditRow).seq)))

    def messages(self) -> list[Message]:
        with self.store.read() as uow:
            return list(uow.session.scalars(select(Message).order_by(cast("Any", Message).id)))


def _no_registry(known: Catalogue, app: App) -> Registry | None:
    del known, app
    return None


def in_force(source: str) -> CatalogueInForce:
    """A catalogue in force, from its text."""
    catalogue = read(source.encode())
    assert isinstance(catalogue, Catalogue), catalogue
    return CatalogueInForce(catalogue)


@contextmanager
def rig(schema: Path, folder: Path) -> Iterator[Rig]:
    """A rig on a copy of an empty database."""
    path = folder / "locktender.db"
    shutil.copy(schema, path)
    opened = Database(sqlite_url(path))
    clock = Clock()
    try:
        yield Rig(Store(opened, clock), clock)
    finally:
        opened.close()


def empty_database(folder: Path) -> Path:
    """A SQLite file with the schema and nothing in it."""
    path = folder / "schema.db"
    engine = database.create(sqlite_url(path))
    database.upgrade(engine)
    engine.dispose()  # the last connection's end takes the write-ahead log into the file
    return path
