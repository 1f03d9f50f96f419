"""What the tests of the infra-repo share: a remote of their own, an outsider who pushes, and the git CLI as oracle."""

import itertools
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bot.integrations.infra_repo import GitInfraRepo
from bot.sandbox.git_http import GitServer
from bot.sandbox.server import Faults, Server
from commands.ports import CommitAuthor, CommitRequest, Edit, Tree

TOKEN = "ghs_canary0123456789"
DEV = "environments/dev/kustomization.yaml"
STAGING = "environments/staging/kustomization.yaml"
BOT = CommitAuthor("Locktender", "locktender@example.com")
ALICE = CommitAuthor("Alice Example", "alice@example.com")


def git(*words: str, cwd: Path, stdin: str = "") -> str:
    """The git CLI, as an outsider would use it."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Outsider",
        "GIT_AUTHOR_EMAIL": "outsider@example.com",
        "GIT_COMMITTER_NAME": "Outsider",
        "GIT_COMMITTER_EMAIL": "outsider@example.com",
    }
    done = subprocess.run(
        ["git", *words], cwd=cwd, env=environment, check=True, capture_output=True, text=True, input=stdin
    )
    return done.stdout.rstrip("\n")


@dataclass
class Rig:
    """A remote repository `acme/infra`, served over HTTP and reachable as a file."""

    root: Path
    server: GitServer = field(init=False)
    faults: Faults = field(default_factory=Faults)
    http: Server | None = None

    def __post_init__(self) -> None:
        self.server = GitServer(self.root / "served", TOKEN)
        self.bare = self.server.create("acme/infra")
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.http is not None:
            self.http.stop()

    @property
    def url(self) -> str:
        """The address over HTTP; serving starts when it is first asked for."""
        if self.http is None:
            self.http = Server(self.faults.wrap(self.server))
            self.http.start()
        return f"{self.http.url}/acme/infra.git"

    @property
    def file_url(self) -> str:
        """The address as a file: quicker, for what is the same over HTTP."""
        return f"file://{self.bare}"

    def repo(self, url: str = "", *, home: str = "home", token: str = TOKEN, branch: str = "main") -> GitInfraRepo:
        """The adapter under test; another `home` is another replica."""
        return GitInfraRepo(url or self.url, branch, self.root / home, committer=BOT, token=token, timeout=20)

    def outside(self, files: Mapping[str, str], message: str = "by hand", *, mode: str = "100644") -> str:
        """Commit and push straight on the remote, as somebody else would; returns the commit."""
        index = self.root / f"index-{next(self._numbers)}"
        parent = git("for-each-ref", "--format=%(objectname)", "refs/heads/main", cwd=self.bare)
        base = {"GIT_INDEX_FILE": str(index)}
        lines = []
        for path, text in files.items():
            blob = text if mode == "160000" else git("hash-object", "-w", "--stdin", cwd=self.bare, stdin=text)
            lines.append(f"{mode} {blob}\t{path}")
        prefix = ["env", *(f"{key}={value}" for key, value in base.items()), "git"]
        if parent:
            subprocess.run([*prefix, "read-tree", parent], cwd=self.bare, check=True)
        update = [*prefix, "update-index", "--add", "--index-info"]
        subprocess.run(update, cwd=self.bare, check=True, input="\n".join(lines) + "\n", text=True)
        tree = subprocess.run([*prefix, "write-tree"], cwd=self.bare, check=True, capture_output=True, text=True)
        parents = ("-p", parent) if parent else ()
        commit = git("commit-tree", tree.stdout.strip(), *parents, "-F", "-", cwd=self.bare, stdin=message)
        git("update-ref", "refs/heads/main", commit, *([parent] if parent else []), cwd=self.bare)
        return commit

    def log(self, form: str, *words: str) -> list[str]:
        """What `git log` says of the remote branch, newest first."""
        return git("log", f"--format={form}", *words, "main", cwd=self.bare).splitlines()

    def show(self, path: str) -> str:
        """A file at the remote's head."""
        return git("show", f"main:{path}", cwd=self.bare)

    def commits_of(self, deployment_id: str) -> list[str]:
        """Every commit on the remote branch that says it is this deployment."""
        return self.log("%H", f"--grep=^Deployment-Id: {deployment_id}$")


def request(deployment_id: str, **words: str) -> CommitRequest:
    """A commit to ask for; `words` become trailers."""
    trailers = (("Deployment-Id", deployment_id), *((key.replace("_", "-"), text) for key, text in words.items()))
    return CommitRequest(deployment_id, f"Deploy {deployment_id}", ALICE, trailers)


def bump(tag: str, path: str = DEV) -> Edit:
    """An edit that replaces the tag's line and keeps everything else that is in the file at that head."""

    def edit(tree: Tree) -> Mapping[str, bytes]:
        lines = (tree.read(path) or b"").decode().splitlines()
        kept = [line for line in lines if not line.startswith("newTag:")]
        return {path: "".join(f"{line}\n" for line in [*kept, f'newTag: "{tag}"']).encode()}

    return edit


def append(line: str, path: str = DEV) -> Edit:
    """An edit that adds a line: whoever's line is missing in the end was lost."""

    def edit(tree: Tree) -> Mapping[str, bytes]:
        return {path: (tree.read(path) or b"") + f"{line}\n".encode()}

    return edit


def edit_to(files: Mapping[str, bytes]) -> Edit:
    """An edit that says the same whatever is there."""
    return lambda _: files
