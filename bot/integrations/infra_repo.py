"""The infra-repo adapter: the git repository that says what should run, read and written through a bare mirror.

Writing is optimistic: the commit is made on the head we know and pushed as a compare-and-swap, so the usual deploy
costs one push and no fetch. That the swap went through proves that the head, and with it the search for an earlier
commit of the same deployment, was up to date. If it did not go through, the branch is fetched, searched again, and
the edit is done again on the fresh head.
"""

import random
import threading
import time
from pathlib import Path

from bot.integrations.git import history, names
from bot.integrations.git.answers import PushVerdict
from bot.integrations.git.commands import MirrorBrokenError
from bot.integrations.git.message import commit_message
from bot.integrations.git.mirror import Mirror
from bot.integrations.git.objects import Cache, Reader, Store
from bot.integrations.git.tree import GitTree
from bot.integrations.git.write import changed_files, write_commit
from commands.ports import Commit, CommitAuthor, CommitRequest, Edit, Tree
from commands.reasons import Fault, ReasonCode, Refused, Retry, Unknown

_PATIENCE = 60.0  # seconds for one `ensure_commit`, waiting for its turn included
_MAX_TRIES = 20  # pushes; with outside pushers in a tight loop the mean is below 3


class GitInfraRepo:
    """Implements `ports.InfraRepo` for one branch of one repository (https, ssh or file).

    `home` is a folder for the mirror, which this class alone writes; it may be lost or damaged at any time and is
    then fetched anew. `token` is sent over HTTP only, to the repository's own host. `timeout` is in seconds, for one
    git process. Thread-safe: writers are served one by one, in the order they came. Refused (NOT_CONFIGURED) when the
    address or the branch is none that git can be given.
    """

    def __init__(
        self,
        url: str,
        branch: str,
        home: Path,
        *,
        committer: CommitAuthor,
        token: str = "",
        user: str = "x-access-token",
        timeout: float = 30.0,
    ) -> None:
        remote = names.remote(url, token=token, user=user)
        self._mirror = Mirror(remote, names.branch_name(branch), home, timeout=timeout)
        cache = Cache()
        self._store = Store(lambda: self._mirror.commands, cache, self._mirror.repair)
        self._held_store = Store(lambda: self._mirror.commands, cache)  # for `ensure_commit`, which holds the lock
        self._history = history.History()
        self._committer = committer
        self._known = threading.Lock()
        self._head: str | None = None
        self._settled = False  # the head was the remote's when we last heard of it, and no push is in doubt

    @property
    def address(self) -> str:
        """Where the repository is, without credentials."""
        return self._mirror.remote.address

    def refresh(self) -> str:
        """Fetch the branch and return its head. Refused or Retry when it cannot be fetched."""
        with self._mirror.held(_PATIENCE):
            return self._fetch()

    def head(self) -> str | None:
        """The head as last fetched or pushed, without the network; None before the first fetch of this mirror."""
        with self._known:
            if self._head is None:
                try:
                    self._head = self._mirror.head()
                except MirrorBrokenError:
                    return None  # the next fetch builds it anew
            return self._head

    def tree(self, commit: str) -> Tree:
        """The files of a commit that was fetched before; reading raises Refused (UNKNOWN_VERSION) if it was not."""
        return GitTree(self._store, names.object_id(commit))

    def find_commit(self, deployment_id: str) -> Commit | None:
        """The oldest commit on the fetched branch whose Deployment-Id trailer is this one. No network."""
        names.deployment_id(deployment_id)
        head = self.head()
        if head is None:
            return None
        found = self._store.read(lambda _: self._history.find(self._mirror.commands, head, deployment_id))
        return None if found is None else Commit(found.sha, found.parent, 0)

    def commits_since(
        self, since: str | None, paths: tuple[str, ...] = (), *, limit: int = 1000
    ) -> list[history.LoggedCommit]:
        """First-parent commits after `since` (all, when None) that touch these paths, newest first. No network."""
        if since is not None:
            names.object_id(since)
        for path in paths:
            names.tree_path(path)
        head = self.head()
        if head is None:
            return []

        def read(reader: Reader) -> list[history.LoggedCommit]:
            if since is not None:
                reader.root(since)  # Refused when it is not there
            return history.log(self._mirror.commands, head, since, paths, limit)

        return self._store.read(read)

    def tidy(self) -> None:
        """Pack the mirror when it has many loose objects. Blocks writers for seconds at most; call it daily."""
        with self._mirror.held(_PATIENCE):
            self._mirror.tidy()

    def ensure_commit(self, request: CommitRequest, edit: Edit) -> Commit:
        """Put the edit on the remote branch exactly once: found by its trailer, or committed and pushed.

        `edit` is called on the head we know, and again on every fresher one; what it raises passes through once it was
        raised on a freshly fetched head. Refused: ALREADY_LIVE when the edit changes nothing, OVERLAY_UNSAFE,
        BRANCH_PROTECTED, PUSH_REFUSED, REPO_CREDENTIALS, REPO_MISSING, BRANCH_MISSING. Retry: REPO_UNREACHABLE (the
        server may have done it: the next call finds it), PUSH_RACE after 60 seconds. After a crash at any instant the
        same call finds the commit or makes it.
        """
        commit_message(request)  # a request that cannot be written is a fault of the program: say so before anything
        deadline = time.monotonic() + _PATIENCE
        with self._mirror.held(_PATIENCE):
            try:
                return self._write(request, edit, deadline)
            except MirrorBrokenError:
                self._settled = False
                self._mirror.rebuild()
            try:
                return self._write(request, edit, deadline)
            except MirrorBrokenError as error:
                raise Unknown(
                    ReasonCode.INTERNAL,
                    "The local copy of the infra-repo was made anew and still cannot be used.",
                    "Look whether the disk is full or damaged.",
                    detail=self._mirror.remote.redact(str(error))[-1500:],
                ) from error

    def _write(self, request: CommitRequest, edit: Edit, deadline: float) -> Commit:
        fresh = not self._settled or self._head is None
        head = self._fetch() if fresh or self._head is None else self._head
        tries = 0
        while tries < _MAX_TRIES and time.monotonic() < deadline:
            found = self._history.find(self._mirror.commands, head, request.deployment_id)
            if found is not None and fresh:
                return Commit(found.sha, found.parent, 0)
            try:
                commit = None if found else self._commit(request, edit, head)
            except Fault:
                # Said about a head that may be out of date: only on a fresh one is it an answer.
                if fresh:
                    raise
                commit = None
            if commit is not None:
                tries += 1
                if self._push(request, commit, head) is PushVerdict.DONE:
                    return Commit(commit, head, tries)
                time.sleep(random.uniform(0, min(0.02 * 2 ** (tries - 1), 1.0)))  # noqa: S311 - jitter, not a secret
            head, fresh = self._fetch(), True
        raise Retry(
            ReasonCode.PUSH_RACE,
            f"The branch kept moving: {tries} pushes in {_PATIENCE:g} seconds came too late.",
            "Wait: it is tried again.",
        )

    def _commit(self, request: CommitRequest, edit: Edit, head: str) -> str:
        changes = edit(GitTree(self._held_store, head))
        with self._held_store.reader() as reader:
            changed = changed_files(reader, head, changes)
        if not changed:
            raise Refused(
                ReasonCode.ALREADY_LIVE,
                f"Git already says so: commit {head[:12]} needs no change.",
                "Nothing has to be done; to apply it again, run the pipeline for that commit.",
            )
        return write_commit(self._mirror.commands, self._held_store.cache, request, self._committer, head, changed)

    def _push(self, request: CommitRequest, commit: str, parent: str) -> PushVerdict:
        self._settled = False  # until the server has answered, nobody knows
        verdict = self._mirror.push(commit, parent)
        if verdict is PushVerdict.DONE:
            self._history.append(request.deployment_id, history.Found(commit, parent))
            self._head = commit
            self._settled = True
        return verdict

    def _fetch(self) -> str:
        self._settled = False
        try:
            self._head = self._mirror.fetch()
        except MirrorBrokenError:
            self._mirror.rebuild()
            self._head = self._mirror.head()
        if self._head is None:
            raise MirrorBrokenError("the branch was fetched and is not there")
        self._settled = True
        return self._head
