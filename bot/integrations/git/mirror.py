"""A bare mirror that looks after itself: made whole or not at all, repaired or made anew when damaged.

It follows one branch, and knows the branches of deployments that are under review: `refs/remotes/origin/…` of them all
keeps `git gc` from their objects.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from bot.integrations.git.access import Access
from bot.integrations.git.answers import (
    LOCKED,
    PushVerdict,
    fetch_failure,
    push_verdict,
    quoted,
    unreachable,
)
from bot.integrations.git.commands import TEMPORARY, Finished, GitCommands, MirrorBrokenError
from bot.integrations.git.locks import MirrorLock
from commands.reasons import Fault, ReasonCode, Refused, Unknown

T = TypeVar("T")

_DEPLOY_BRANCHES = "+refs/heads/deploy/*:refs/remotes/origin/deploy/*"


class Mirror:
    """The local copy of the branch, in a folder below `home` that is named after the repository's address.

    Whatever changes it is called while `held`. Reading needs no lock: objects never change.
    """

    def __init__(self, access: Access, branch: str, home: Path, *, timeout: float) -> None:
        name = hashlib.sha256(access.address.encode()).hexdigest()[:16]
        self.access = access
        self.branch = branch
        self._path = home.absolute() / f"{name}.git"
        self._home = home.absolute() / "home"
        self._timeout = timeout
        self._lock = MirrorLock(home.absolute() / f"{name}.lock")
        self._swept = False
        self._commands = self._at(self._path)
        self._repairing = threading.Lock()

    @property
    def commands(self) -> GitCommands:
        """Git on the mirror as it is now."""
        return self._commands

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Keep everybody else from writing. Retry (PUSH_RACE) when it takes longer than so many seconds."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._lock.held(seconds))
                if not self._swept:
                    self._sweep()
            except OSError as error:
                raise self._unusable(str(error)) from error
            if not (self._path / "objects").is_dir():
                self.rebuild()
            yield

    def head(self) -> str | None:
        """The branch's commit as of the last fetch or push, read from the disk; None without one."""
        if not (self._path / "objects").is_dir():
            return None
        return self._known(self.branch)

    def fetch(self) -> str:
        """Bring the branch up to date and return its commit. Refused, Retry; MirrorBrokenError if the fault is here."""
        return self._update(self.branch)

    def fetch_branch(self, branch: str) -> str | None:
        """Bring another branch up to date and return its commit; None (and forgotten) when the remote has none."""
        try:
            return self._update(branch)
        except Refused as refusal:
            if refusal.reason is not ReasonCode.BRANCH_MISSING:
                raise
        self.forget([branch])
        return None

    def heads(self) -> Mapping[str, str]:
        """Every branch of the remote, and its commit, without fetching any of them."""
        finished = self._commands.call("ls-remote", "--heads", "--end-of-options", "origin")
        if finished.status != 0:
            raise fetch_failure(finished, self.access.address, self.branch)
        lines = (line.split("\t", 1) for line in finished.stdout.decode("utf-8", "replace").splitlines())
        return {ref.removeprefix("refs/heads/"): commit for commit, ref in lines}

    def forget(self, branches: Iterable[str]) -> None:
        """Drop what is known of these branches, so that their objects can go."""
        known = self._branches().intersection(branches)
        lines = "".join(f"delete refs/remotes/origin/{branch}\n" for branch in known)
        if lines:
            self._commands.run("update-ref", "--stdin", stdin=lines.encode(), keep=(self._lock.descriptor,)).local()

    def push(self, branch: str, commit: str, expected: str) -> PushVerdict:
        """Compare and swap: the branch becomes `commit` if it is `expected` now. Never forces anything else.

        Without a commit it is deleted, without an expected one it must not be there yet. Retry (REPO_UNREACHABLE)
        leaves open whether the server did it.
        """
        there = f"refs/heads/{branch}"
        finished = self._commands.call(
            "push",
            "--porcelain",
            "--no-verify",
            # The lease is what makes it a comparison: without it a branch that was moved *back* would be moved forth.
            f"--force-with-lease={there}:{expected}",
            "--end-of-options",
            "origin",
            f"{commit}:{there}",
            keep=(self._lock.descriptor,),
        )
        if finished.status != 0:
            self._swept = False
        return push_verdict(finished, self.access.address, branch)

    def mended(self, operation: Callable[[], T]) -> T:
        """The operation's answer. If the mirror breaks under it, it is made anew and the operation done again.

        Unknown (INTERNAL) when that does not help.
        """
        try:
            return operation()
        except MirrorBrokenError:
            self.rebuild()
        try:
            return operation()
        except MirrorBrokenError as error:
            raise Unknown(
                ReasonCode.INTERNAL,
                "The local copy of the infra-repo was made anew and still cannot be used.",
                "Look whether the disk is full or damaged.",
                detail=quoted(self.access.redact(str(error))),
            ) from error

    def rebuild(self) -> None:
        """Throw the mirror away and fetch it anew. Refused, Retry; Unknown (INTERNAL) when that does not help."""
        try:
            self._build()
        except (MirrorBrokenError, OSError) as error:
            raise self._unusable(str(error)) from error

    def repair(self, used: GitCommands) -> None:
        """Called by readers who found the mirror broken: builds it anew, unless somebody just did."""
        with self._repairing, self.held(self._timeout * 2):
            if used is self._commands:
                self.rebuild()

    def tidy(self) -> None:
        """Forget branches that the remote no longer has, and pack loose objects when there are many."""
        there = self.heads().keys()
        self.forget(self._branches() - there - {self.branch})
        words = ("-c", "gc.auto=2000", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
        self._commands.run(*words, keep=(self._lock.descriptor,)).local()

    def _update(self, branch: str) -> str:
        finished = self._fetch(self._commands, _refspec(branch))
        if finished.status != 0:
            self._swept = False
            if LOCKED.search(finished.stderr):
                self._sweep()
                finished = self._fetch(self._commands, _refspec(branch))
        if finished.status != 0:
            raise fetch_failure(finished, self.access.address, branch)
        commit = self._known(branch)
        if commit is None:
            raise MirrorBrokenError("the branch was fetched and is not there")
        return commit

    def _branches(self) -> set[str]:
        listed = self._commands.run("for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/origin/")
        return set(listed.local().decode().splitlines())

    def _known(self, branch: str) -> str | None:
        ref = f"refs/remotes/origin/{branch}"
        listed = self._commands.run("for-each-ref", "--format=%(refname) %(objectname)", "--end-of-options", ref)
        lines = (line.split(" ") for line in listed.local().decode().splitlines())
        return next((commit for name, commit in lines if name == ref), None)  # it lists what is below the name, too

    def _fetch(self, commands: GitCommands, *refspecs: str) -> Finished:
        return commands.call(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--update-shallow",
            "--end-of-options",
            "origin",
            *refspecs,
            keep=(self._lock.descriptor,),
        )

    def _build(self) -> None:
        """Make it beside its place and move it there: a half-made mirror is never in the place of a whole one."""
        fresh = self._path.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}.new")
        self._home.mkdir(parents=True, exist_ok=True)
        commands = self._at(fresh)
        try:
            commands.run("init", "--quiet", "--bare", "--template=", "--", str(fresh)).local()
            # Whoever reads a commit that is under review may not know that the mirror was made anew: it has them all.
            finished = self._fetch(commands, _refspec(self.branch), _DEPLOY_BRANCHES)
            if finished.status != 0:
                failure = fetch_failure(finished, self.access.address, self.branch)
                # Nothing can be broken in a mirror that was empty a moment ago.
                raise failure if isinstance(failure, Fault) else unreachable(finished, self.access.address)
            if self._path.exists():
                self._path.rename(fresh.with_suffix(".old"))
            fresh.rename(self._path)
        finally:
            _remove(fresh)
            _remove(fresh.with_suffix(".old"))
        # A new object: whoever holds the old one knows that the mirror has changed since.
        self._commands = self._at(self._path)

    def _sweep(self) -> None:
        """Remove what a killed process left: we hold the lock, so nobody is using it."""
        for place in self._path.parent.glob(f"{self._path.stem}.*.*"):
            if place.suffix in {".new", ".old"}:
                _remove(place)
        for folder, folders, names in os.walk(self._path):
            if folder == str(self._path):
                for name in folders:
                    if name.startswith(TEMPORARY):
                        _remove(self._path / name)
                folders[:] = [name for name in folders if name in {"refs", "objects"}]
            elif Path(folder).name == "objects":
                folders[:] = ["info", "pack"]
            for name in names:
                if name.endswith(".lock") or name == "gc.pid":
                    (Path(folder) / name).unlink(missing_ok=True)
        self._swept = True

    def _unusable(self, detail: str) -> Unknown:
        return Unknown(
            ReasonCode.INTERNAL,
            f"The local copy of the infra-repo, {self._path}, cannot be made or used.",
            "Look whether the disk is full or the folder may not be written.",
            detail=quoted(self.access.redact(detail)),
        )

    def _at(self, path: Path) -> GitCommands:
        return GitCommands(path, self._home, self.access, timeout=self._timeout)


def _refspec(branch: str) -> str:
    return f"+refs/heads/{branch}:refs/remotes/origin/{branch}"


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
