"""Moves the branch forward: optimistic commits, pushed by compare-and-swap, several of them in one push.

A commit is made on the head we know and pushed as a compare-and-swap, so the usual deploy costs one push and no
fetch. That the swap went through proves that the head, and with it the search for an earlier commit of the same
deployment, was up to date. If it did not, the branch is fetched, searched again, and the edit done again on the fresh
head.

Whoever holds the mirror's lock also carries the commits of those who wait for it: one commit per deployment, one push
for all. So eight writers wait for one or two pushes, not for seven. A faulty edit, or a push that the server declines,
is heard only by the thread that asked for it: nobody's fault reaches another.
"""

import contextvars
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.integrations.git.answers import PushVerdict
from bot.integrations.git.commands import MirrorBrokenError
from bot.integrations.git.history import Found, History
from bot.integrations.git.mirror import Mirror
from bot.integrations.git.objects import Cache, Store
from bot.integrations.git.tree import GitTree
from bot.integrations.git.write import changed_files, write_commit, write_tree
from commands.ports import Commit, CommitAuthor, CommitRequest, Edit
from commands.reasons import Fault, ReasonCode, Refused, Retry

PATIENCE = 60.0
"""Seconds for one commit, waiting for its turn included."""

_MAX_TRIES = 20  # pushes; with outside pushers in a tight loop the mean is below 3
_MAX_PASSENGERS = 15  # commits of others in one push: their edits run while we hold the lock


@dataclass(eq=False)
class _Job:
    """A commit that somebody waits for. Its edit runs in the context (log fields, traces) of whoever asked."""

    request: CommitRequest
    edit: Edit
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    tries: int = 0
    done: Commit | None = None


@dataclass(frozen=True)
class _Link:
    """A commit of the chain that is to be pushed."""

    job: _Job
    sha: str
    parent: str


class Branch:
    """The remote branch, as far as we know it. Thread-safe."""

    def __init__(self, mirror: Mirror, cache: Cache, committer: CommitAuthor) -> None:
        self.history = History()
        self._mirror = mirror
        # Reads of a writer, who holds the lock, do not repair the mirror themselves: `ensure` does.
        self._store = Store(lambda: mirror.commands, cache)
        self._committer = committer
        self._guard = threading.Lock()
        self._jobs: list[_Job] = []
        self._head: str | None = None
        self._settled = False  # the head was the remote's when we last heard of it, and no push is in doubt

    def head(self) -> str | None:
        """The head as last fetched or pushed; None before the first fetch of this mirror."""
        head = self._head
        if head is None:
            try:
                head = self._mirror.head()
            except MirrorBrokenError:
                return None  # the next fetch builds it anew
        return head

    def refresh(self) -> str:
        """Fetch and return the head."""
        with self._mirror.held(PATIENCE):
            return self.fetch()

    def fetch(self) -> str:
        """As `refresh`, for whoever holds the mirror already."""
        self._settled = False
        try:
            head: str | None = self._mirror.fetch()
        except MirrorBrokenError:
            self._mirror.rebuild()
            head = self._mirror.head()
        if head is None:
            raise MirrorBrokenError("the branch was fetched and is not there")
        self._head = head
        self._settled = True
        return head

    def ensure(self, request: CommitRequest, edit: Edit) -> Commit:
        """See `GitInfraRepo.ensure_commit`."""
        deadline = time.monotonic() + PATIENCE
        job = _Job(request, edit)
        with self._guard:
            self._jobs.append(job)
        try:
            with self._mirror.held(PATIENCE):
                return job.done or self._lead(job, deadline)
        finally:
            with self._guard:
                self._jobs.remove(job)

    def _lead(self, own: _Job, deadline: float) -> Commit:
        def write() -> Commit:
            try:
                return self._write(own, deadline)
            except MirrorBrokenError:
                self._settled = False
                raise

        return self._mirror.mended(write)

    def _write(self, own: _Job, deadline: float) -> Commit:
        fresh = not self._settled or self._head is None
        head = self.fetch() if fresh or self._head is None else self._head
        passengers = _MAX_PASSENGERS
        while own.tries < _MAX_TRIES and time.monotonic() < deadline:
            found = self._find(head, own)
            if found is not None and fresh:
                return Commit(found.sha, found.parent, 0)
            link = None
            if found is None:
                try:
                    link = self._commit(own, head)
                except Fault:
                    # Said about a head that may be out of date: only on a fresh one is it an answer.
                    if fresh:
                        raise
            if link is not None:
                chain = [link, *self._passengers(link, head, passengers)]
                try:
                    if self._push(chain, head) is PushVerdict.DONE:
                        return Commit(link.sha, link.parent, own.tries)
                except Refused:
                    if len(chain) == 1:
                        raise
                    passengers = 0  # perhaps the server minds a commit that is not ours
                time.sleep(random.uniform(0, min(0.02 * 2 ** (own.tries - 1), 1.0)))  # noqa: S311 - jitter, no secret
            head, fresh = self.fetch(), True
        raise Retry(
            ReasonCode.PUSH_RACE,
            f"The branch kept moving: {own.tries} pushes in {PATIENCE:g} seconds came too late.",
            "Wait: it is tried again.",
        )

    def _commit(self, job: _Job, parent: str) -> _Link:
        changes: Mapping[str, bytes | None] = job.context.run(job.edit, GitTree(self._store, parent))
        with self._store.reader() as reader:
            changed = changed_files(reader, parent, changes)
        if not changed:
            raise Refused(
                ReasonCode.ALREADY_LIVE,
                f"Git already says so: commit {parent[:12]} needs no change.",
                "Nothing has to be done; to apply it again, run the pipeline for that commit.",
            )
        commands, cache = self._mirror.commands, self._store.cache
        root = write_tree(commands, cache, parent, changed)
        commit = write_commit(commands, cache, job.request, self._committer, parent, root)
        return _Link(job, commit, parent)

    def _passengers(self, first: _Link, head: str, limit: int) -> list[_Link]:
        """Commits of those who wait, on top of ours. Who cannot be carried will hear why in a turn of their own."""
        with self._guard:
            waiting = [job for job in self._jobs if job.done is None and job is not first.job]
        taken = {first.job.request.deployment_id}
        links: list[_Link] = []
        tip = first.sha
        for job in waiting[:limit]:
            if job.request.deployment_id in taken or self._find(head, job) is not None:
                continue
            try:
                link = self._commit(job, tip)
            except MirrorBrokenError:
                raise
            except Exception:  # noqa: BLE001, S112 - its own thread calls the edit again and hears of it, whatever it is
                continue
            taken.add(job.request.deployment_id)
            links.append(link)
            tip = link.sha
        return links

    def _push(self, chain: list[_Link], head: str) -> PushVerdict:
        self._settled = False  # until the server has answered, nobody knows
        for link in chain:
            link.job.tries += 1
        verdict = self._mirror.push(self._mirror.branch, chain[-1].sha, head)
        if verdict is PushVerdict.DONE:
            for link in chain:
                self.history.append(link.job.request.deployment_id, Found(link.sha, link.parent))
                link.job.done = Commit(link.sha, link.parent, link.job.tries)
            self._head = chain[-1].sha
            self._settled = True
        return verdict

    def _find(self, head: str, job: _Job) -> Found | None:
        return self.history.find(self._mirror.commands, head, job.request.deployment_id)
