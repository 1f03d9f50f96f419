"""From an accepted deploy to a commit on the remote: ours, the git CLI by hand, a fresh clone, and a naive loop.

Over HTTP, on a repository of 500 apps and 2,000 commits. Each contender has a remote of its own, and they take turns,
so that a busy machine slows them all. Run alone: `python -m benchmarks.push`.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import Row
from bot.integrations.infra_repo import GitInfraRepo
from bot.sandbox.git_http import GitServer
from bot.sandbox.infra_example import create_monorepo
from bot.sandbox.server import Server
from commands.ports import Commit, CommitAuthor, CommitRequest, Edit, Tree

_TOKEN = "benchmark-token"
_BOT = CommitAuthor("Locktender", "locktender@example.com")
_DEVELOPER = CommitAuthor("Developer", "developer@company.example")


@dataclass(frozen=True)
class Sizes:
    """How much to do. The full sizes take about a minute."""

    apps: int = 500
    commits: int = 2000
    rounds: int = 15
    clones: int = 5
    writers: int = 8
    deploys: int = 10
    naive_deploys: int = 3  # each; ten would take minutes, and are no kinder to it
    naive_tries: int = 60  # after which a naive writer gives up


@dataclass(frozen=True)
class Work:
    """Where everything happens."""

    folder: Path
    server: GitServer
    origin: str
    sizes: Sizes

    def remote(self, name: str) -> str:
        """A remote that only this contender pushes to; its address holds no credentials."""
        place = self.server.create(name)
        shutil.rmtree(place)
        shutil.copytree(self.server.path("original"), place)
        self.server.create(name)
        return f"{self.origin}/{name}.git"


def rows(sizes: Sizes | None = None) -> list[Row]:
    """Every measurement of this module."""
    with _work(sizes or Sizes()) as work:
        return [*latency(work), *contention(work)]


def latency(work: Work) -> list[Row]:
    """One deploy at a time."""
    ours = GitInfraRepo(work.remote("ours"), "main", work.folder / "home", committer=_BOT, token=_TOKEN)
    ours.refresh()
    mirror = work.folder / "hand.git"
    address = work.remote("hand")
    _git("clone", "--quiet", "--bare", address, str(mirror), cwd=work.folder)
    fresh = work.remote("fresh")
    times: dict[str, list[float]] = {"ours": [], "hand": [], "clone": []}
    # One turn each that is not counted: the first deploy of a process reads the log and fills the cache.
    for number in range(-1, work.sizes.rounds):
        path = f"apps/app-{(number * 11) % work.sizes.apps:04d}/overlays/staging/kustomization.yaml"
        turns: list[tuple[str, Callable[[], object]]] = [
            ("ours", lambda n=number, p=path: _deploy(ours, f"n{n}", p)),  # type: ignore[misc]  # defaults bind now
            ("hand", lambda n=number, p=path: _by_hand(mirror, address, p, n)),  # type: ignore[misc]
        ]
        if number < work.sizes.clones:
            turns.append(("clone", lambda n=number, p=path: _fresh_clone(work.folder, fresh, p, n)))  # type: ignore[misc]
        for name, turn in turns:
            started = time.perf_counter()
            turn()
            if number >= 0:
                times[name].append((time.perf_counter() - started) * 1000)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    what = f"accepted → commit on the remote, {work.sizes.apps} apps"
    return [
        Row(what, medians["ours"], "ms", 1.5, "git CLI by hand", medians["hand"]),
        Row(what, medians["ours"], "ms", 0.3, "fresh shallow clone", medians["clone"]),
    ]


def contention(work: Work) -> list[Row]:
    """Many writers at once into one branch."""
    sizes = work.sizes
    ours = GitInfraRepo(work.remote("many"), "main", work.folder / "home", committer=_BOT, token=_TOKEN)
    ours.refresh()
    commits: list[Commit] = []
    seconds: list[float] = []

    def write(name: int) -> None:
        for number in range(sizes.deploys):
            path = f"apps/app-{name:04d}/overlays/dev/kustomization.yaml"
            started = time.perf_counter()
            commits.append(_deploy(ours, f"w{name}-{number}", path))
            seconds.append(time.perf_counter() - started)

    _together(write, sizes.writers)
    tries, worst = _naive(work)
    missing = sizes.writers * sizes.deploys - len({commit.sha for commit in commits})
    p99 = sorted(seconds)[max(0, round(len(seconds) * 0.99) - 1)] * 1000
    what = f"{sizes.writers} writers of {sizes.deploys} deploys"
    return [
        Row(f"{what}: not landed, or twice", missing, "", 0),
        Row(f"{what}: most tries of one", max(commit.tries for commit in commits), "tries", 2),
        Row(f"{what}: p99", p99, "ms", 1000),
        Row(
            f"{what}: p99 against naive worst", p99, "ms", 1.0, f"pull --rebase && push, ≤ {tries} tries", worst * 1000
        ),
    ]


def _naive(work: Work) -> tuple[int, float]:
    """Eight clones that pull, rebase and push until it works. The most tries of one deploy, and its worst seconds."""
    address = work.remote("naive")
    tries: list[int] = []
    seconds: list[float] = []
    for name in range(work.sizes.writers):
        clone = ["clone", "--quiet", "--depth=50", address, f"naive-{name}"]
        _git(*clone, cwd=work.folder)

    def write(name: int) -> None:
        place = work.folder / f"naive-{name}"
        for number in range(work.sizes.naive_deploys):
            started = time.perf_counter()
            file = place / f"apps/app-{name:04d}/overlays/dev/kustomization.yaml"
            file.write_text(_bumped(file.read_text(), f"{name}.{number}"))
            _git("commit", "--quiet", "--all", "-m", f"naive {name} {number}", cwd=place)
            tries.append(_pull_and_push(place, work.sizes.naive_tries))
            seconds.append(time.perf_counter() - started)

    _together(write, work.sizes.writers)
    return max(tries), max(seconds)


def _pull_and_push(place: Path, most: int) -> int:
    for attempt in range(1, most + 1):
        if _try("pull", "--quiet", "--rebase", cwd=place) and _try("push", "--quiet", cwd=place):
            return attempt
    return most


def _deploy(repo: GitInfraRepo, name: str, path: str) -> Commit:
    asked = CommitRequest(name, f"Deploy {name}", _DEVELOPER, (("Deployment-Id", name), ("Requested-by", "Alice")))
    return repo.ensure_commit(asked, _bump(path, name))


def _bump(path: str, tag: str) -> Edit:
    def edit(tree: Tree) -> Mapping[str, bytes]:
        return {path: _bumped((tree.read(path) or b"").decode(), tag).encode()}

    return edit


def _bumped(text: str, tag: str) -> str:
    kept = [line for line in text.splitlines() if "newTag:" not in line]
    return "\n".join([*kept, f'    newTag: "{tag}"']) + "\n"


def _by_hand(mirror: Path, address: str, path: str, number: int) -> None:
    """What a careful script would do in a bare mirror, each line one git command."""
    index = mirror / f"index-{number}"
    _git("fetch", "--quiet", address, "+refs/heads/main:refs/heads/main", cwd=mirror)
    head = _git("rev-parse", "refs/heads/main", cwd=mirror)
    text = _bumped(_git("cat-file", "blob", f"{head}:{path}", cwd=mirror), f"h{number}")
    blob = _git("hash-object", "-w", "--stdin", cwd=mirror, stdin=text)
    _git("read-tree", head, cwd=mirror, index=index)
    _git("update-index", "--cacheinfo", f"100644,{blob},{path}", cwd=mirror, index=index)
    tree = _git("write-tree", cwd=mirror, index=index)
    commit = _git("commit-tree", tree, "-p", head, "-m", f"hand {number}", cwd=mirror)
    _git("push", "--quiet", address, f"{commit}:refs/heads/main", cwd=mirror)
    index.unlink()


def _fresh_clone(folder: Path, address: str, path: str, number: int) -> None:
    place = folder / f"clone-{number}"
    _git("clone", "--quiet", "--depth=1", "--single-branch", address, str(place), cwd=folder)
    file = place / path
    file.write_text(_bumped(file.read_text(), f"c{number}"))
    _git("commit", "--quiet", "--all", "-m", f"clone {number}", cwd=place)
    _git("push", "--quiet", "origin", "HEAD:main", cwd=place)
    shutil.rmtree(place)


def _together(write: Callable[[int], None], writers: int) -> None:
    threads = [threading.Thread(target=write, args=(name,)) for name in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _git(*words: str, cwd: Path, stdin: str = "", index: Path | None = None) -> str:
    extra = {"GIT_INDEX_FILE": str(index)} if index else {}
    done = subprocess.run(
        ["git", *words], cwd=cwd, env={**_ENVIRONMENT, **extra}, input=stdin, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _try(*words: str, cwd: Path) -> bool:
    return subprocess.run(["git", *words], cwd=cwd, env=_ENVIRONMENT, check=False, capture_output=True).returncode == 0


@contextmanager
def _work(sizes: Sizes) -> Iterator[Work]:
    with tempfile.TemporaryDirectory(prefix="locktender-push-") as folder:
        server = GitServer(Path(folder) / "served", _TOKEN)
        server.create("original")
        create_monorepo(server.path("original"), sizes.apps, sizes.commits)
        with Server(server) as served:
            yield Work(Path(folder), server, served.url, sizes)


_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "http.extraHeader",
    "GIT_CONFIG_VALUE_0": f"Authorization: Bearer {_TOKEN}",
    "GIT_CONFIG_KEY_1": "gc.auto",
    "GIT_CONFIG_VALUE_1": "0",
    "GIT_AUTHOR_NAME": "Naive",
    "GIT_AUTHOR_EMAIL": "naive@example.com",
    "GIT_COMMITTER_NAME": "Naive",
    "GIT_COMMITTER_EMAIL": "naive@example.com",
}


if __name__ == "__main__":
    for row in rows():
        print(row)
