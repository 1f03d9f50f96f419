"""The infra-repo adapter: the git repository that says what should run, read and written through a bare mirror.

Start here, then `git/branch.py` (how a commit gets onto the branch), `git/deploy_branches.py` (branches that are
reviewed), `git/mirror.py` (the local copy and its repair), `git/tree.py` (reading) and `git/commands.py` (how git is
run).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from bot.integrations.git import compare, history, names
from bot.integrations.git.access import Access, Token
from bot.integrations.git.branch import PATIENCE, Branch
from bot.integrations.git.checkpoints import CheckpointRef, Checkpoints, read
from bot.integrations.git.deploy_branches import DeployBranches
from bot.integrations.git.message import commit_message
from bot.integrations.git.mirror import Mirror
from bot.integrations.git.objects import Cache, Reader, Store
from bot.integrations.git.tree import GitTree
from commands.ports import Commit, CommitAuthor, CommitRequest, Edit, LoggedCommit, Tree

_PREFIX = re.compile(r"[0-9a-f]{7,40}")


class GitInfraRepo:
    """Implements `ports.InfraRepo` for one branch of one repository (https, ssh or file).

    `home` is a folder for the mirror, which this class alone writes; it may be lost or damaged at any time and is
    then fetched anew. `token` is sent over HTTP only, to the repository's own host; one that expires is given as what
    returns the token of the moment, and is called for every network operation. `timeout` is in seconds, for one git
    process. Thread-safe: writers are served in the order they came. Refused (NOT_CONFIGURED) when the address or the
    branch is none that git can be given.
    """

    def __init__(
        self,
        url: str,
        branch: str,
        home: Path,
        *,
        committer: CommitAuthor,
        token: Token = "",
        user: str = "x-access-token",
        timeout: float = 30.0,
    ) -> None:
        cache = Cache()
        self._mirror = Mirror(Access(url, token, user), names.branch_name(branch), home, timeout=timeout)
        self._store = Store(lambda: self._mirror.commands, cache, self._mirror.repair)
        self._branch = Branch(self._mirror, cache, committer)
        self._deploy_branches = DeployBranches(self._mirror, self._store, cache, self._branch, committer)
        self._checkpoints = CheckpointRef(self._mirror, committer)

    @property
    def address(self) -> str:
        """Where the repository is, without credentials."""
        return self._mirror.access.address

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
    ) -> tuple[LoggedCommit, ...]:
        """The log of the branch as last fetched, after `since` (all of it, when None). No network."""
        head = self.head()
        return () if head is None else self.log(head, since, paths, limit)

    def log(self, head: str, since: str | None, paths: tuple[str, ...], limit: int) -> tuple[LoggedCommit, ...]:
        """First-parent commits from `head` down to (without) `since` that touch these paths, newest first.

        Without paths, or with `""`, all of them. No network; Refused (UNKNOWN_VERSION) when either was not fetched.
        """
        for path in paths:
            names.tree_path(path)
        ends = [names.object_id(commit) for commit in (head, since) if commit is not None]

        def read(reader: Reader) -> tuple[LoggedCommit, ...]:
            for commit in ends:
                reader.root(commit)  # Refused when it is not there
            # git takes no empty path; the root is everything.
            return history.log(self._mirror.commands, head, since, () if "" in paths else paths, limit)

        return self._store.read(read)

    def changes(self, before: str, after: str) -> Mapping[str, tuple[str, str]]:
        """Files that differ between two fetched commits: path -> (`mode id` before, after), empty for nothing.

        No network; Refused (UNKNOWN_VERSION) when either was not fetched.
        """
        ends = [names.object_id(commit) for commit in (before, after)]

        def read(reader: Reader) -> Mapping[str, tuple[str, str]]:
            for commit in ends:
                reader.root(commit)
            return compare.changes(self._mirror.commands, before, after)

        return self._store.read(read)

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor of two fetched commits; None when they have none. No network."""
        ends = [names.object_id(commit) for commit in (one, other)]
        return self._store.read(lambda _: compare.merge_base(self._mirror.commands, *ends)) or None

    def resolve(self, prefix: str) -> str | None:
        """The commit on the fetched branch that 7 to 40 hex digits name; None for any other text, no one or several."""
        digits = prefix.lower()
        head = self.head()
        if head is None or not _PREFIX.fullmatch(digits):
            return None
        return self._store.read(lambda _: history.resolve(self._mirror.commands, digits, head))

    def tidy(self) -> None:
        """Forget branches that are gone, and pack the mirror when it has many loose objects.

        Blocks writers for seconds at most; call it daily. Refused or Retry when the remote cannot be asked.
        """
        with self._mirror.held(PATIENCE):
            self._mirror.mended(self._mirror.tidy)

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

    def ensure_branch(self, request: CommitRequest, branch: str, parent: str, edit: Edit) -> str:
        """Make the remote branch `deploy/…` exactly one commit on top of `parent`: the edit; returns the commit's id.

        Called again (after a crash at any instant, or when an answer was lost) it finds the commit. Another commit of
        this deployment is replaced, with its head pinned. Refused: BRANCH_TAKEN when there are commits of others,
        NO_CHANGE when the edit changes nothing, NOT_PERMITTED for a branch that is not ours to make, UNKNOWN_VERSION
        for a parent that is nowhere; else as `ensure_commit`, PUSH_RACE when somebody keeps moving the branch.
        """
        commit_message(request)
        return self._deploy_branches.ensure(request, branch, names.object_id(parent), edit)

    def fetch_branch(self, branch: str) -> str | None:
        """Fetch another branch, so that `tree`, `log` and `changes` know its head; None: no such branch.

        Refused or Retry when it cannot be fetched. What was fetched is kept until the branch is gone or has moved.
        """
        return self._deploy_branches.fetch(names.branch_name(branch))

    def ensure_no_branch(self, branch: str) -> None:
        """Delete the remote branch `deploy/…`, as we last saw it; no fault when it is gone already.

        Refused: NOT_PERMITTED for a branch that is not ours, PUSH_REFUSED, BRANCH_PROTECTED. May be called twice.
        """
        self._deploy_branches.remove(branch)

    def append_checkpoint(self, text: str) -> str:
        """Add a checkpoint of the record to `refs/locktender/checkpoints`; the commit's id.

        Called again with the same text it finds the commit. Refused (PUSH_REFUSED, BRANCH_PROTECTED) where the host
        takes no such ref; else as `ensure_commit`.
        """
        return self._checkpoints.append(text)

    def checkpoints(self) -> Checkpoints:
        """What the mirror has of the record's checkpoints: in trailers of the branch, and on that ref. No network."""
        return self._mirror.mended(lambda: read(self._mirror.commands, self._mirror.branch))
