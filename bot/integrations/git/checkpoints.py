"""Checkpoints of the record in git: in trailers of commits, and in a chain of commits on a ref of their own.

The ref is outside of `refs/heads/`, so that no branch list shows it and nothing builds it. Each of its commits has one
file, `checkpoint`, a signed note; the commit before is its parent, so taking one back shows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.integrations.git.access import Access
from bot.integrations.git.answers import PushVerdict, fetch_failure, push_verdict
from bot.integrations.git.branch import PATIENCE
from bot.integrations.git.commands import GitCommands
from bot.integrations.git.message import identities
from bot.integrations.git.mirror import Mirror
from bot.integrations.git.names import branch_name
from commands.ports import CommitAuthor
from commands.reasons import ReasonCode, Refused, Retry

REF = "refs/locktender/checkpoints"
TRAILER = "Audit-Checkpoint"
_FILE = "checkpoint"
_TRIES = 3
_LARGEST = 64_000  # bytes; a note has some hundred


@dataclass(frozen=True)
class Kept:
    """Something that git keeps: the commit, and the trailer's value or the file's text."""

    commit: str
    text: str


@dataclass(frozen=True)
class Checkpoints:
    """All that a repository keeps of the record."""

    trailers: tuple[Kept, ...]
    notes: tuple[Kept, ...]


class CheckpointRef:
    """The remote's chain of checkpoints."""

    def __init__(self, mirror: Mirror, committer: CommitAuthor) -> None:
        self._mirror = mirror
        self._committer = committer

    def append(self, text: str) -> str:
        """See `GitInfraRepo.append_checkpoint`."""
        with self._mirror.held(PATIENCE):
            return self._mirror.mended(lambda: self._append(text))

    def _append(self, text: str) -> str:
        for _ in range(_TRIES):
            commands = self._mirror.commands
            there = self._fetch(commands)
            if there and _file(commands, there) == text:
                return there
            commit = self._commit(commands, text, there)
            finished = commands.call(
                "push",
                "--porcelain",
                "--no-verify",
                f"--force-with-lease={REF}:{there}",
                "--end-of-options",
                "origin",
                f"{commit}:{REF}",
            )
            if push_verdict(finished, self._mirror.access.address, REF) is PushVerdict.DONE:
                commands.run("update-ref", REF, commit).local()
                return commit
        raise Retry(
            ReasonCode.PUSH_RACE,
            f"Somebody else kept changing `{REF}`: {_TRIES} pushes came too late.",
            "Wait: it is tried again.",
        )

    def _fetch(self, commands: GitCommands) -> str:
        """The remote's head of the chain, fetched; empty when there is none yet."""
        finished = commands.call("ls-remote", "--end-of-options", "origin", REF)
        address = self._mirror.access.address
        if finished.status != 0:
            raise fetch_failure(finished, address, REF)
        there = finished.stdout.decode("utf-8", "replace").partition("\t")[0]
        if there and commands.run("cat-file", "-e", f"{there}^{{commit}}").status != 0:
            words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--end-of-options", "origin")
            finished = commands.call(*words, f"+{REF}:{REF}")
            if finished.status != 0:
                raise fetch_failure(finished, address, REF)
        return there

    def _commit(self, commands: GitCommands, text: str, parent: str) -> str:
        blob = commands.run("hash-object", "-w", "--stdin", stdin=text.encode()).local().decode().strip()
        line = f"100644 blob {blob}\t{_FILE}\0"
        tree = commands.run("mktree", "-z", stdin=line.encode()).local().decode().strip()
        before = ("-p", parent) if parent else ()
        message = b"Checkpoint of the deployment record\n"
        environment = identities(self._committer, self._committer)
        made = commands.run("commit-tree", *before, "-F", "-", tree, stdin=message, environment=environment)
        return made.local().decode().strip()


def read(commands: GitCommands, branch: str) -> Checkpoints:
    """What this repository keeps, newest first, without the network. MirrorBrokenError when it cannot be read.

    Trailers are read along the first parents of the branch, the remote's and the local one: what others write on
    branches of their own says nothing.
    """
    name = branch_name(branch)
    heads = [head for ref in (f"refs/remotes/origin/{name}", f"refs/heads/{name}") if (head := _head(commands, ref))]
    chain = _head(commands, REF)
    return Checkpoints(
        tuple(_trailers(commands, heads)) if heads else (),
        tuple(_notes(commands, chain)) if chain else (),
    )


@contextmanager
def opened(repository: Path) -> Iterator[GitCommands]:
    """Git on a repository on this disk, for reading. Refused (REPO_MISSING) when there is none at that place."""
    git_dir = next((one for one in (repository / ".git", repository) if (one / "objects").is_dir()), None)
    if git_dir is None:
        raise Refused(
            ReasonCode.REPO_MISSING,
            f"There is no git repository at {repository}.",
            "Name a clone of the infra-repo, or its bare mirror.",
        )
    with TemporaryDirectory(prefix="locktender-git-") as home:
        path = git_dir.absolute()
        yield GitCommands(path, Path(home), Access(str(path), "", ""), timeout=120.0)


def _head(commands: GitCommands, ref: str) -> str:
    listed = commands.run("for-each-ref", "--format=%(refname) %(objectname)", "--end-of-options", ref).local()
    lines = (line.split(" ") for line in listed.decode("utf-8", "replace").splitlines())
    return next((commit for name, commit in lines if name == ref), "")


def _trailers(commands: GitCommands, heads: list[str]) -> Iterator[Kept]:
    only = f"%(trailers:key={TRAILER},valueonly=true,unfold=true,separator=%x1e)"
    # A repository's own settings must not run a program of theirs: signatures of commits are checked by one.
    words = ("log", "-z", "--first-parent", "--no-show-signature", f"--grep=^{TRAILER}:", f"--format=%H%x00{only}")
    output = commands.run(*words, "--end-of-options", *heads, "--").local()
    fields = output.decode("utf-8", "replace").split("\0")
    for at in range(0, len(fields) - 1, 2):
        for value in fields[at + 1].split("\x1e"):
            if value.strip():
                yield Kept(fields[at], value.strip())


def _notes(commands: GitCommands, head: str) -> Iterator[Kept]:
    listed = commands.run("rev-list", "--first-parent", "--end-of-options", head, "--").local()
    with commands.talk("cat-file", "--batch") as talk:
        for commit in listed.decode().split():
            talk.say(f"{commit}:{_FILE}\n".encode())
            words = talk.line().split(b" ")
            if len(words) == 3 and words[1] == b"blob":
                text = talk.take(int(words[2]) + 1)[:-1]
                yield Kept(commit, text[:_LARGEST].decode("utf-8", "replace"))
            else:
                yield Kept(commit, "")


def _file(commands: GitCommands, commit: str) -> str:
    shown = commands.run("cat-file", "blob", f"{commit}:{_FILE}")
    return shown.stdout.decode("utf-8", "replace") if shown.status == 0 else ""
