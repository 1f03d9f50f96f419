"""A bare mirror of one branch that looks after itself: made whole or not at all, repaired or made anew when damaged."""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bot.integrations.git.answers import LOCKED, PushVerdict, fetch_failure, push_verdict, quoted, unreachable
from bot.integrations.git.commands import TEMPORARY, Finished, GitCommands, MirrorBrokenError
from bot.integrations.git.locks import MirrorLock
from bot.integrations.git.names import Remote
from commands.reasons import Fault, ReasonCode, Unknown


class Mirror:
    """The local copy of the branch, in a folder below `home` that is named after the repository's address.

    Whatever changes it is called while `held`. Reading needs no lock: objects never change.
    """

    def __init__(self, remote: Remote, branch: str, home: Path, *, timeout: float) -> None:
        name = hashlib.sha256(remote.address.encode()).hexdigest()[:16]
        self.remote = remote
        self.branch = branch
        self._path = home.absolute() / f"{name}.git"
        self._home = home.absolute() / "home"
        self._timeout = timeout
        self._lock = MirrorLock(home.absolute() / f"{name}.lock")
        self._here = f"refs/remotes/origin/{branch}"
        self._there = f"refs/heads/{branch}"
        self._swept = False
        self._generation = 0
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
        listed = self._commands.run("for-each-ref", "--format=%(objectname)", "--end-of-options", self._here)
        return listed.local().decode().strip() or None

    def fetch(self) -> str:
        """Bring the branch up to date and return its commit. Refused, Retry; MirrorBrokenError if the fault is here."""
        finished = self._fetch(self._commands)
        if finished.status != 0:
            self._swept = False
            if LOCKED.search(finished.stderr):
                self._sweep()
                finished = self._fetch(self._commands)
        if finished.status != 0:
            raise fetch_failure(finished, self.remote.address, self.branch)
        head = self.head()
        if head is None:
            raise MirrorBrokenError("the branch was fetched and is not there")
        return head

    def push(self, commit: str, parent: str) -> PushVerdict:
        """Compare and swap: the branch becomes `commit` if it is `parent` now. Never forces anything else.

        Retry (REPO_UNREACHABLE) leaves open whether the server did it.
        """
        finished = self._commands.run(
            "push",
            "--porcelain",
            "--no-verify",
            # The lease is what makes it a comparison: without it a branch that was moved *back* would be moved forth.
            f"--force-with-lease={self._there}:{parent}",
            "--end-of-options",
            "origin",
            f"{commit}:{self._there}",
            keep=(self._lock.descriptor,),
        )
        if finished.status != 0:
            self._swept = False
        return push_verdict(finished, self.remote.address, self.branch)

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
        """Pack loose objects when there are many (`git gc --auto`)."""
        words = ("-c", "gc.auto=2000", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
        self._commands.run(*words, keep=(self._lock.descriptor,)).local()

    def _fetch(self, commands: GitCommands) -> Finished:
        return commands.run(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--update-shallow",
            "--end-of-options",
            "origin",
            f"+{self._there}:{self._here}",
            keep=(self._lock.descriptor,),
        )

    def _build(self) -> None:
        """Make it beside its place and move it there: a half-made mirror is never in the place of a whole one."""
        fresh = self._path.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}.new")
        self._home.mkdir(parents=True, exist_ok=True)
        commands = self._at(fresh)
        try:
            commands.run("init", "--quiet", "--bare", "--template=", "--", str(fresh)).local()
            finished = self._fetch(commands)
            if finished.status != 0:
                failure = fetch_failure(finished, self.remote.address, self.branch)
                # Nothing can be broken in a mirror that was empty a moment ago.
                raise failure if isinstance(failure, Fault) else unreachable(finished, self.remote.address)
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
            detail=quoted(self.remote.redact(detail)),
        )

    def _at(self, path: Path) -> GitCommands:
        return GitCommands(path, self._home, self.remote, timeout=self._timeout)


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
