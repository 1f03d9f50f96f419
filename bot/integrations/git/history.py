"""Which commit of the branch carries which Deployment-Id, the log of the branch, and commits by their first digits."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.integrations.git.commands import GitCommands, MirrorBrokenError
from bot.integrations.git.message import DEPLOYMENT_TRAILER
from commands.ports import CommitAuthor, LoggedCommit

_TRAILERS = "%(trailers:key=" + DEPLOYMENT_TRAILER + ",valueonly=true,unfold=true,separator=%x1e)"

_FIELDS = ("%H", "%P", "%an", "%ae", "%cn", "%ce", "%ct", "%s", "%(trailers:only=true,unfold=true)")
_FORMAT = f"--format={'%x00'.join(_FIELDS)}"


@dataclass(frozen=True)
class Found:
    """A commit that carries a deployment id."""

    sha: str
    parent: str  # empty for a first commit


class History:
    """An index of the commits that can be reached from one head, moved along as the head moves.

    It is a pure function of the head: a commit that was removed from the branch by force is no longer found.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._head = ""
        self._found: dict[str, list[Found]] = {}

    def find(self, commands: GitCommands, head: str, deployment_id: str) -> Found | None:
        """The oldest commit below `head` whose trailer is this id. MirrorBrokenError when the log cannot be read."""
        with self._lock:
            self._move(commands, head)
            found = self._found.get(deployment_id)
            return found[-1] if found else None

    def append(self, deployment_id: str, commit: Found) -> None:
        """A commit of ours has become the head: no need to ask git for it."""
        with self._lock:
            if self._head == commit.parent:
                self._head = commit.sha
                self._found.setdefault(deployment_id, []).insert(0, commit)

    def _move(self, commands: GitCommands, head: str) -> None:
        if head == self._head:
            return
        if self._head and commands.run("cat-file", "-e", self._head).status != 0:
            # The mirror was made anew, and the branch no longer leads to the old head.
            self._head = ""
            self._found.clear()
        # The symmetric difference: `<` is what the old head has and the new one has not (the branch was rewritten).
        commits = f"{self._head}...{head}" if self._head else head
        answer = commands.run(
            "log",
            "-z",
            "--left-right",
            f"--grep=^{DEPLOYMENT_TRAILER}: ",
            f"--format=%m%x00%H%x00%P%x00{_TRAILERS}",
            "--end-of-options",
            commits,
            "--",
        )
        gone: list[tuple[str, Found]] = []
        come: list[tuple[str, Found]] = []
        for side, sha, parents, values in _records(answer.local(), 4):
            ids = [value.strip() for value in values.split("\x1e") if value.strip()]
            found = Found(sha, parents.partition(" ")[0])
            (gone if side == "<" else come).extend((one, found) for one in ids)
        for one, found in gone:
            self._found[one] = [other for other in self._found.get(one, []) if other.sha != found.sha]
        for one, found in reversed(come):
            self._found.setdefault(one, []).insert(0, found)
        self._head = head


def log(
    commands: GitCommands, head: str, since: str | None, paths: tuple[str, ...], limit: int
) -> tuple[LoggedCommit, ...]:
    """First-parent commits from `head` down to (without) `since` that touch these paths, newest first."""
    commits = f"{since}..{head}" if since else head
    words = ("log", "-z", "--first-parent", f"--max-count={limit:d}", _FORMAT, "--end-of-options", commits, "--")
    return tuple(_logged(commands.run(*words, *paths).local()))


def beyond(commands: GitCommands, head: str, known: tuple[str, ...], limit: int) -> tuple[LoggedCommit, ...]:
    """All commits that `head` leads to and none of the known ones does, those brought in by merges too."""
    without = (f"^{commit}" for commit in known)
    words = ("log", "-z", f"--max-count={limit:d}", _FORMAT, "--end-of-options", head, *without, "--")
    return tuple(_logged(commands.run(*words).local()))


def resolve(commands: GitCommands, prefix: str, head: str) -> str | None:
    """The one commit whose id begins like this and that `head` leads to; None: no one, or several."""
    objects = commands.run("rev-parse", f"--disambiguate={prefix}").local()
    kinds = commands.run("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=objects).local()
    commits = [line.split(" ")[0] for line in kinds.decode().splitlines() if line.endswith(" commit")]
    found = [commit for commit in commits if _leads_to(commands, head, commit)]
    return found[0] if len(found) == 1 else None


def _leads_to(commands: GitCommands, head: str, commit: str) -> bool:
    answer = commands.run("merge-base", "--is-ancestor", "--end-of-options", commit, head)
    if answer.status not in {0, 1}:
        raise MirrorBrokenError(answer.stderr)
    return answer.status == 0


def _logged(output: bytes) -> Iterator[LoggedCommit]:
    for record in _records(output, 9):
        sha, parents, author, author_email, committer, committer_email, when, subject, trailers = record
        pairs = (line.partition(":") for line in trailers.splitlines() if ":" in line)
        yield LoggedCommit(
            sha=sha,
            parents=tuple(parents.split()),
            author=CommitAuthor(author, author_email),
            committer=CommitAuthor(committer, committer_email),
            when=datetime.fromtimestamp(int(when), UTC),
            subject=subject,
            trailers=tuple((key.strip(), value.strip()) for key, _, value in pairs),
        )


def _records(output: bytes, width: int) -> Iterator[list[str]]:
    """Fields end with NUL, the one character that no commit can hold; so do records."""
    fields = output.decode("utf-8", "replace").split("\0")
    for at in range(0, len(fields) - 1, width):
        yield fields[at : at + width]
