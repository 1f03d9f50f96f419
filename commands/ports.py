"""What commands and deliveries need from outside, as Protocols; the adapters live in `bot/integrations`.

Every writing call is named `ensure_…`, takes the deployment id, looks first whether its effect is already there, and
may be called twice. Calls raise `Refused`, `Unknown` or `Retry` (see `reasons`) and nothing else on purpose.
All calls block: they run in worker threads, never on the event loop.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from commands.reasons import ReasonCode

# ---------------------------------------------------------------- infra-repo


@dataclass(frozen=True)
class TreeEntry:
    """One entry of a git tree: `mode` is git's octal text (`100644`, `120000` a symlink, `040000` a tree, `160000`)."""

    mode: str
    kind: str  # blob | tree | commit
    object_id: str
    path: str  # from the root of the repository, `/`-separated


class Tree(Protocol):
    """The files of one commit, read from git objects: no work tree, links never followed."""

    @property
    def commit(self) -> str:
        """The full object id of the commit."""
        ...

    def entry(self, path: str) -> TreeEntry | None:
        """The entry at exactly this path, or None. `""` is the root tree."""
        ...

    def entries(self, path: str) -> list[TreeEntry]:
        """What is directly inside this folder, sorted by path; empty when there is no such folder."""
        ...

    def read(self, path: str) -> bytes | None:
        """A regular file's bytes, or None when there is none. Refused (OVERLAY_UNSAFE) on a symlink or over 1 MiB."""
        ...

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        """Regular files' bytes in one go; paths that are missing are left out. Refused as in `read`."""
        ...

    def export(self, folders: list[str], target: Path) -> None:
        """Write the regular files below these folders to `target`. Refused (OVERLAY_UNSAFE) on symlinks, submodules."""
        ...

    def held(self) -> AbstractContextManager["Tree"]:
        """The same files, for many questions in a row from one thread: what answers them is closed with the block."""
        ...


@dataclass(frozen=True)
class CommitAuthor:
    """Who a commit is by: the person who asked. `email` may be a placeholder, never empty."""

    name: str
    email: str


@dataclass(frozen=True)
class CommitRequest:
    """One commit to make on the branch. `trailers` must hold ("Deployment-Id", deployment_id)."""

    deployment_id: str
    subject: str
    author: CommitAuthor
    trailers: tuple[tuple[str, str], ...]
    body: str = ""


@dataclass(frozen=True)
class Commit:
    """A commit that is on the remote branch. `tries` counts pushes (0: it was already there)."""

    sha: str
    parent: str
    tries: int


Edit = Callable[[Tree], Mapping[str, bytes | None]]
"""From the tree at the head to the files that change (path -> whole new content; None takes the file away). Called
again on a fresh head."""


class InfraRepo(Protocol):
    """The git repository that says what should run."""

    def refresh(self) -> str:
        """Fetch the branch and return its head (40 hex digits)."""
        ...

    def head(self) -> str | None:
        """The head as last fetched, without the network; None before the first fetch."""
        ...

    def tree(self, commit: str) -> Tree:
        """The files of a commit that was fetched before."""
        ...

    def ensure_commit(self, request: CommitRequest, edit: Edit) -> Commit:
        """Put the edit on the remote branch exactly once: found by its trailer, or committed and pushed."""
        ...

    def find_commit(self, deployment_id: str) -> Commit | None:
        """The commit on the fetched branch whose Deployment-Id trailer is this one."""
        ...

    def ensure_branch(self, request: CommitRequest, branch: str, parent: str, edit: Edit) -> str:
        """Make the remote branch exactly one commit on top of `parent`: the edit; returns the commit's id.

        Found when the branch already holds the same change on the same parent; replaced, with the old head pinned,
        when it holds another commit of this deployment id. Refused (BRANCH_TAKEN) when somebody else's commits are on
        it: they are not ours to throw away.
        """
        ...

    def fetch_branch(self, branch: str) -> str | None:
        """Fetch another branch (`deploy/<id>`), so that `tree` and `changes` know its head; None: no such branch."""
        ...

    def ensure_no_branch(self, branch: str) -> None:
        """Delete the remote branch; no fault when it is gone already."""
        ...

    def changes(self, before: str, after: str) -> Mapping[str, tuple[str, str]]:
        """Files that differ between two fetched commits: path -> (object id before, after), empty where there is none.

        The mode is part of the id's text (`100644 <id>`), so that a file that becomes a link differs.
        """
        ...

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor of two fetched commits; None when they have none."""
        ...

    def log(self, head: str, since: str | None, paths: tuple[str, ...], limit: int) -> "tuple[LoggedCommit, ...]":
        """First-parent commits from `head` down to (without) `since` that touch these paths, newest first."""
        ...

    def resolve(self, prefix: str) -> str | None:
        """The full id of the commit on the fetched branch that this prefix (7 to 40 hex digits) names; None: no one."""
        ...


@dataclass(frozen=True)
class LoggedCommit:
    """A commit as the log tells it. `when` is the committer's time; `parents` are full ids, the first one first."""

    sha: str
    parents: tuple[str, ...]
    author: CommitAuthor
    committer: CommitAuthor
    when: datetime
    subject: str
    trailers: tuple[tuple[str, str], ...]


# ---------------------------------------------------------------- kustomize


@dataclass(frozen=True)
class ImageRef:
    """What an overlay says about an image: where it comes from and which one. Empty tag and digest: nothing said."""

    name: str  # newName when given, else name
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True)
class ImageEdit:
    """Set image `name` (as the base's manifests call it) to a tag, a digest (`sha256:…`) or both, and a new name."""

    name: str
    tag: str = ""
    digest: str = ""
    new_name: str = ""


@dataclass(frozen=True)
class Rendered:
    """What `kustomize build` prints for one overlay at one commit."""

    text: str
    cached: bool


class Renderer(Protocol):
    """Real kustomize, fenced: no network, no remote bases, memory and time capped."""

    def render(self, tree: Tree, overlay: str) -> Rendered:
        """Build the overlay. Refused: OVERLAY_*, REMOTE_BASE, RENDER_FAILED, RENDER_LIMIT."""
        ...


# ---------------------------------------------------------------- registry


class Registry(Protocol):
    """Which tags of an image exist, and which digest a tag is."""

    def digest(self, image: str, tag: str) -> str | None:
        """`sha256:…` of the tag's manifest (or index); None when the registry says there is no such tag."""
        ...

    def tags(self, image: str) -> list[str]:
        """Every tag of the image, in the registry's order."""
        ...


# ---------------------------------------------------------------- Jenkins


class BuildState(StrEnum):
    """Where a build is. The last five are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    UNSTABLE = "unstable"
    FAILURE = "failure"
    ABORTED = "aborted"
    LOST = "lost"  # Jenkins no longer knows it: neither in the queue nor among the builds


@dataclass(frozen=True)
class BuildRequest:
    """One build of a job. `parameters` come from a validated grammar and hold DEPLOYMENT_ID; they travel in a URL."""

    deployment_id: str
    job: str  # full name, folders with `/`: `platform/infra-deploy`
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class BuildRef:
    """Where to find a build again: its queue item (forgotten 5 minutes after it started), then its number."""

    job: str
    queue_id: int | None = None
    number: int | None = None


@dataclass(frozen=True)
class Build:
    """A build as Jenkins tells it now. `stage` is the one that runs or failed; `why` is the queue's reason."""

    ref: BuildRef
    state: BuildState
    url: str = ""
    stage: str = ""
    why: str = ""
    log_tail: str = ""  # last lines of the console, on failure only
    seconds: float = 0.0


class Pipeline(Protocol):
    """The CI server that applies what git says."""

    def ensure_build(self, request: BuildRequest) -> BuildRef:
        """The queue and recent builds are searched for DEPLOYMENT_ID first; triggered only when it is not there."""
        ...

    def build(self, deployment_id: str, ref: BuildRef) -> Build:
        """Where it is now. `ref` in the answer may know more (the number): store it, then pass it back."""
        ...


# ---------------------------------------------------------------- Kubernetes


@dataclass(frozen=True)
class WorkloadRef:
    """A workload in a cluster. `context` is a kubeconfig context; empty is the current one."""

    kind: str  # deployment | statefulset | daemonset
    name: str
    namespace: str
    context: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class RolloutRequest:
    """Watch this workload until it runs these images. `images` maps container name to the rendered image reference."""

    deployment_id: str
    workload: WorkloadRef
    images: Mapping[str, str]


class RolloutState(StrEnum):
    """What the cluster says of the rollout. The last three are ends."""

    NOT_APPLIED = "not_applied"  # the workload's spec does not have our image (yet)
    PROGRESSING = "progressing"
    DONE = "done"
    FAILED = "failed"
    REPLACED = "replaced"  # our image had been applied, and somebody put another in its place


@dataclass(frozen=True)
class Rollout:
    """A rollout as seen in one look. Counts are pods. `revision` and `generation` tell two looks apart."""

    state: RolloutState
    desired: int = 0
    updated: int = 0
    available: int = 0
    total: int = 0
    generation: int = 0
    revision: str = ""
    restarts: int = 0  # container restarts of the pods that run our image, init containers left out
    seen: bool = False  # our image has been in the spec at some look: pass it on to the next look
    reason: ReasonCode | None = None  # FAILED and REPLACED: the cause
    what: str = ""  # the cause, as a sentence
    next_step: str = ""
    log_tail: str = ""  # last log lines and events of the pod that failed
    warning: str = ""  # PROGRESSING, but a pod is in trouble: the cause in a few words


class Cluster(Protocol):
    """Read-only eyes on Kubernetes: get, list and watch."""

    def rollout(self, request: RolloutRequest, last: Rollout | None, wait: float) -> Rollout:
        """The next look that differs from `last`, or the same after `wait` seconds. Retry when unreachable."""
        ...


# ---------------------------------------------------------------- people


@dataclass(frozen=True)
class Person:
    """A Slack user, by signed ids. `name` and `email` are what the profile says; both may be empty."""

    team_id: str
    user_id: str
    name: str = ""
    email: str = ""


class People(Protocol):
    """Profiles and groups, from caches that are refreshed in the background."""

    def person(self, team_id: str, user_id: str) -> Person:
        """The profile; with empty name and e-mail when it cannot be read. Blocks on the network at most once."""
        ...

    def members(self, group_id: str) -> frozenset[str] | None:
        """Slack user ids in a user group, from the cache; None when they could not be read recently (fail closed)."""
        ...


@dataclass(frozen=True)
class ImageSnapshot:
    """What every overlay says at one head, kept in memory for answers that may not wait for git."""

    commit: str
    images: Mapping[tuple[str, str], ImageRef] = field(default_factory=dict)  # (app, environment)


# ---------------------------------------------------------------- health


@dataclass(frozen=True)
class HealthLook:
    """What a health URL answered. `status` is None when there was no answer; `what` says so in a sentence."""

    ok: bool
    status: int | None
    what: str


class Health(Protocol):
    """Looks at health URLs that the catalogue names."""

    def look(self, url: str, wanted: int | None, timeout: float) -> HealthLook:
        """One GET; `wanted` is the status that is right (None: any 2xx), `timeout` in seconds. Never raises."""
        ...
