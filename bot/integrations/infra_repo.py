"""The infra-repo adapter: the git repository that says what should run, read and written through a bare mirror.

Start here, then `git/branch.py` (how a commit gets onto the branch), `git/mirror.py` (the local copy and its repair),
`git/tree.py` (reading) and `git/commands.py` (how git is run).
"""

from pathlib import Path

from bot.integrations.git import history, names
from bot.integrations.git.branch import PATIENCE, Branch
from bot.integrations.git.message import commit_message
from bot.integrations.git.mirror import Mirror
from bot.integrations.git.objects import Cache, Reader, Store
from bot.integrations.git.tree import GitTree
from commands.ports import Commit, CommitAuthor, CommitRequest, Edit, Tree


class GitInfraRepo:
    """Implements `ports.InfraRepo` for one branch of one repository (https, ssh or file).

    `home` is a folder for the mirror, which this class alone writes; it may be lost or damaged at any time and is
    then fetched anew. `token` is sent over HTTP only, to the repository's own host. `timeout` is in seconds, for one
    git process. Thread-safe: writers are served in the order they came. Refused (NOT_CONFIGURED) when the address or
    the branch is none that git can be given.
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
        cache = Cache()
        self._mirror = Mirror(remote, names.branch_name(branch), home, timeout=timeout)
        self._store = Store(lambda: self._mirror.commands, cache, self._mirror.repair)
        self._branch = Branch(self._mirror, cache, committer)

    @property
    def address(self) -> str:
        """Where the repository is, without credentials."""
        return self._mirror.remote.address

    def refresh(self) -> str:
        """Fetch the branch and return its head. Refused or Retry when it cannot be fetched."""
        return self._branch.refresh()

    def head(self) -> str | None:
        """The head as last fetched or pushed, without the network; None before the first fetch of this mirror."""
        return self._branch.head()

    def tree(self, commit: str) -> Tree:
        """The files of a commit that was fetched before; reading raises Refused (UNKNOWN_VERSION) if it was not."""
        return GitTree(self._store, names.object_id(commit))

    def find_commit(self, deployment_id: str) -> Commit | None:
        """The oldest commit on the fetched branch whose Deployment-Id trailer is this one. No network."""
        names.deployment_id(deployment_id)
        head = self.head()
        if head is None:
            return None
        found = self._store.read(lambda _: self._branch.history.find(self._mirror.commands, head, deployment_id))
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
        with self._mirror.held(PATIENCE):
            self._mirror.tidy()

    def ensure_commit(self, request: CommitRequest, edit: Edit) -> Commit:
        """Put the edit on the remote branch exactly once: found by its trailer, or committed and pushed.

        `edit` is called on the head we know, and again on every fresher one; what it raises passes through once it was
        raised on a freshly fetched head. It may be called in the thread of another caller (with our context variables),
        never twice at a time. Refused: ALREADY_LIVE when the edit changes nothing, OVERLAY_UNSAFE, BRANCH_PROTECTED,
        PUSH_REFUSED, REPO_CREDENTIALS, REPO_MISSING, BRANCH_MISSING. Retry: REPO_UNREACHABLE (the server may have done
        it: the next call finds it), PUSH_RACE after 60 seconds. Unknown (INTERNAL) when the mirror cannot be written.
        After a crash at any instant the same call finds the commit or makes it.
        """
        commit_message(request)  # a request that cannot be written is a fault of the program: say so before anything
        return self._branch.ensure(request, edit)
