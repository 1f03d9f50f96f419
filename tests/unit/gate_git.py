"""An infra-repo in memory that holds to `ports.InfraRepo`, with what other people do to the same remote.

Not kinder than git: what was not fetched is not known, a merge of two changes of one line conflicts, a branch with
other people's commits is theirs. Ids are of content, so the same change twice is the same commit.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from bot.integrations.git.message import commit_message
from commands.ports import Commit, CommitAuthor, CommitRequest, Edit, LoggedCommit, Tree, TreeEntry
from commands.reasons import ReasonCode, Refused

MAIN = "main"
BOT_AUTHOR = CommitAuthor("Locktender", "locktender@localhost")
_WHEN = datetime(2026, 1, 1, tzinfo=UTC)
Files = Mapping[str, bytes]


def blob_id(content: bytes) -> str:
    """The id that git gives these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Stored:
    """A commit. `made_by_bot` is for the watch alone: nothing that the program sees tells it."""

    sha: str
    parents: tuple[str, ...]
    files: Files
    author: CommitAuthor
    committer: CommitAuthor
    subject: str
    trailers: tuple[tuple[str, str], ...]
    made_by_bot: bool


@dataclass(frozen=True)
class Snapshot:
    """Implements `ports.Tree` on regular files."""

    commit: str
    files: Files

    @cached_property
    def _ids(self) -> Mapping[str, str]:
        ids = {path: blob_id(content) for path, content in self.files.items()}
        below: dict[str, list[str]] = {"": []}
        for path in sorted(self.files):
            parts = path.split("/")
            for depth in range(len(parts)):
                below.setdefault("/".join(parts[:depth]), []).append(path)
        for folder, paths in below.items():
            told = "\n".join(f"{path} {ids[path]}" for path in paths)
            ids[folder] = hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()
        return ids

    def entry(self, path: str) -> TreeEntry | None:
        if path in self.files:
            return TreeEntry("100644", "blob", self._ids[path], path)
        return TreeEntry("040000", "tree", self._ids[path], path) if path in self._ids else None

    def entries(self, path: str) -> list[TreeEntry]:
        inside = f"{path}/" if path else ""
        names = {inside + name[len(inside) :].split("/")[0] for name in self.files if name.startswith(inside)}
        return [found for name in sorted(names) if (found := self.entry(name)) is not None]

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        return {path: self.files[path] for path in paths if path in self.files}

    def export(self, folders: list[str], target: Path) -> None:
        raise NotImplementedError  # nothing here is built by a real kustomize

    def held(self) -> AbstractContextManager["Snapshot"]:
        return nullcontext(self)


@dataclass
class Remote:
    """The repository on the server: what everybody pushes to. `commits` are never lost, as on a real one for weeks."""

    commits: dict[str, Stored] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(
        self,
        parents: tuple[str, ...],
        files: Files,
        author: CommitAuthor,
        subject: str,
        trailers: tuple[tuple[str, str], ...] = (),
        *,
        made_by_bot: bool = False,
    ) -> str:
        told = repr((parents, sorted(files.items()), author, subject, trailers))
        sha = hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()
        committer = BOT_AUTHOR if made_by_bot else author
        self.commits[sha] = Stored(sha, parents, files, author, committer, subject, trailers, made_by_bot)
        return sha

    def push(self, branch: str, changes: Mapping[str, bytes | None], author: CommitAuthor, subject: str) -> str:
        """A commit by a person on a branch."""
        head = self.branches[branch]
        sha = self.commit((head,), changed(self.commits[head].files, changes), author, subject)
        self.branches[branch] = sha
        return sha

    def ancestors(self, sha: str) -> set[str]:
        found: set[str] = set()
        waiting = [sha]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.commits[one].parents
        return found

    def first_parents(self, sha: str) -> Iterator[Stored]:
        while sha:
            found = self.commits[sha]
            yield found
            sha = found.parents[0] if found.parents else ""

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor; histories here have one best."""
        common = self.ancestors(one) & self.ancestors(other)
        best = [sha for sha in common if not any(sha != b and sha in self.ancestors(b) for b in common)]
        return min(best, default=None)

    def differences(self, before: str, after: str) -> dict[str, tuple[str, str]]:
        old, new = self.commits[before].files, self.commits[after].files
        return {
            path: (_mode_id(old.get(path)), _mode_id(new.get(path)))
            for path in sorted(old.keys() | new.keys())
            if old.get(path) != new.get(path)
        }

    def merged(self, head: str, onto: str) -> Files | None:
        """What a merge of two commits would hold; None when they conflict."""
        start = self.merge_base(head, onto)
        old = self.commits[start].files if start else {}
        ours, theirs = self.commits[onto].files, self.commits[head].files
        files: dict[str, bytes] = {}
        for path in ours.keys() | theirs.keys():
            try:
                content = _merged_file(old.get(path), ours.get(path), theirs.get(path))
            except _ConflictError:
                return None
            if content is not None:
                files[path] = content
        return files


class _ConflictError(Exception):
    pass


def _merged_file(old: bytes | None, ours: bytes | None, theirs: bytes | None) -> bytes | None:
    if theirs in {ours, old}:
        return ours
    if ours == old:
        return theirs
    if old is None or ours is None or theirs is None:
        raise _ConflictError
    lines = [content.split(b"\n") for content in (old, ours, theirs)]
    if len({len(one) for one in lines}) > 1:
        raise _ConflictError
    mixed = []
    sides: list[str] = []
    for was, mine, other in zip(*lines, strict=True):
        side = "" if was == mine == other else "both" if mine == other else "theirs" if mine == was else "ours"
        if side == "ours" and other != was:
            raise _ConflictError
        sides.append(side)
        mixed.append(other if side == "theirs" else mine)
    if any({one, two} == {"ours", "theirs"} for one, two in pairwise(sides)):
        raise _ConflictError  # git does not merge changes of neighbouring lines
    return b"\n".join(mixed)


def changed(files: Files, changes: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """Files with changes; None takes one away."""
    return {path: content for path, content in {**files, **changes}.items() if content is not None}


def _mode_id(content: bytes | None) -> str:
    return "" if content is None else f"100644 {blob_id(content)}"


class Mirror:
    """Implements `ports.InfraRepo`: the bot's own mirror of a remote. A restart keeps it, as the disk does."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._known: set[str] = set()
        self._head: str | None = None
        self._trees: dict[str, Snapshot] = {}

    def refresh(self) -> str:
        self._head = self._fetch(MAIN)
        assert self._head is not None
        return self._head

    def head(self) -> str | None:
        return self._head

    def tree(self, commit: str) -> Tree:
        self._check(commit)
        if commit not in self._trees:
            self._trees[commit] = Snapshot(commit, self._remote.commits[commit].files)
        return self._trees[commit]

    def ensure_commit(self, request: CommitRequest, edit: Edit) -> Commit:
        commit_message(request)  # what the real one refuses to write is refused here
        head = self.refresh()
        found = self.find_commit(request.deployment_id)
        if found is not None:
            return found
        changes = edit(self.tree(head))
        files = changed(self._remote.commits[head].files, changes)
        if files == self._remote.commits[head].files:
            raise Refused(ReasonCode.ALREADY_LIVE, "The branch says that already.", "Nothing is to be done.")
        sha = self._remote.commit((head,), files, request.author, request.subject, request.trailers, made_by_bot=True)
        self._remote.branches[MAIN] = sha
        self.refresh()
        return Commit(sha, head, 1)

    def find_commit(self, deployment_id: str) -> Commit | None:
        assert self._head is not None
        for one in self._remote.first_parents(self._head):
            if ("Deployment-Id", deployment_id) in one.trailers:
                return Commit(one.sha, one.parents[0], 0)
        return None

    def ensure_branch(self, request: CommitRequest, branch: str, parent: str, edit: Edit) -> str:
        commit_message(request)
        changes = edit(self.tree(parent))
        files = changed(self._remote.commits[parent].files, changes)
        if files == self._remote.commits[parent].files:
            raise Refused(ReasonCode.NO_CHANGE, "The branch says that already.", "Nothing has to be done.")
        there = self._fetch(branch)
        if there is not None:
            last = self._remote.commits[there]
            if last.files == files and last.parents == (parent,) and self._ours(last, request):
                return there
            known = self._remote.ancestors(parent) | self._remote.ancestors(self.refresh())
            added = self._remote.ancestors(there) - known
            if not all(self._ours(self._remote.commits[one], request) for one in added):
                raise Refused(ReasonCode.BRANCH_TAKEN, "Somebody else's commits are on it.", "Ask them; ask again.")
        sha = self._remote.commit((parent,), files, request.author, request.subject, request.trailers, made_by_bot=True)
        self._remote.branches[branch] = sha
        self._fetch(branch)
        return sha

    def fetch_branch(self, branch: str) -> str | None:
        return self._fetch(branch)

    def ensure_no_branch(self, branch: str) -> None:
        self._remote.branches.pop(branch, None)

    def changes(self, before: str, after: str) -> Mapping[str, tuple[str, str]]:
        self._check(before)
        self._check(after)
        return self._remote.differences(before, after)

    def merge_base(self, one: str, other: str) -> str | None:
        self._check(one)
        self._check(other)
        return self._remote.merge_base(one, other)

    def log(self, head: str, since: str | None, paths: tuple[str, ...], limit: int) -> tuple[LoggedCommit, ...]:
        self._check(head)
        found: list[LoggedCommit] = []
        for one in self._remote.first_parents(head):
            if one.sha == since or len(found) == limit:
                break
            touched = self._remote.differences(one.parents[0], one.sha) if one.parents else one.files
            if not paths or any(name == path or name.startswith(f"{path}/") for name in touched for path in paths):
                found.append(
                    LoggedCommit(one.sha, one.parents, one.author, one.committer, _WHEN, one.subject, one.trailers)
                )
        return tuple(found)

    def resolve(self, prefix: str) -> str | None:
        assert self._head is not None
        found = [sha for sha in self._remote.ancestors(self._head) if sha.startswith(prefix)]
        return found[0] if len(found) == 1 else None

    def knows(self, commit: str) -> bool:
        """Whether it was fetched."""
        return commit in self._known

    def _fetch(self, branch: str) -> str | None:
        head = self._remote.branches.get(branch)
        if head is not None:
            self._known |= self._remote.ancestors(head)
        return head

    def _check(self, commit: str) -> None:
        if commit not in self._known:
            raise Refused(ReasonCode.BRANCH_MISSING, f"Commit {commit[:12]} was not fetched.", "Fetch it.")

    @staticmethod
    def _ours(one: Stored, request: CommitRequest) -> bool:
        """As the real one tells it: by what git shows, the committer and the trailer."""
        return one.committer == BOT_AUTHOR and ("Deployment-Id", request.deployment_id) in one.trailers
