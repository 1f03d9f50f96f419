"""What the tests of the GitHub adapter share: the stand-in, servers that are not quite GitHub, and clients on them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.integrations.github.host import GitHubHost
from bot.integrations.github.login import AppKey, Token
from bot.sandbox.git_http import GitServer
from bot.sandbox.github import BOT, GitHub, Role
from tests.contract.git_rig import git
from tests.contract.jenkins_rig import closed_port, refusal, retry, switch

REPOSITORY = "company/infra"
TOKEN = "ghp_canary0123456789abcdefghijklmnop"
HEAD = "a" * 40
MERGED = "b" * 40

__all__ = ["closed_port", "refusal", "retry"]  # what the test files use of another rig


@dataclass
class Clock:
    """Epoch seconds that pass when told to."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Odd:
    """A server that is not quite GitHub, the client on it, and what it was asked: method, path with query."""

    host: GitHubHost
    url: str
    clock: Clock
    calls: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def writes(self) -> list[str]:
        """The paths of what was to change something."""
        return [path for method, path in self.calls if method != "GET"]


@contextmanager
def odd_github(
    answer: Callable[[Request], Response],
    *,
    login: Token | AppKey | None = None,
    timeout: float = 5.0,
    prefix: str = "",
) -> Iterator[Odd]:
    """A served oddity and a client on it. `answer` is asked for every request."""
    clock = Clock()
    url = switch().url + prefix
    host = GitHubHost(REPOSITORY, api_url=url, login=login or Token(TOKEN), timeout=timeout, clock=clock)
    odd = Odd(host, url, clock)

    async def endpoint(request: Request) -> Response:
        odd.bodies.append(await request.body())
        odd.calls.append((request.method, request.url.path + (f"?{request.url.query}" if request.url.query else "")))
        odd.tokens.append(request.headers.get("authorization", ""))
        return answer(request)

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    switch().app = Starlette(routes=[Route("/{path:path}", endpoint, methods=methods)])
    try:
        yield odd
    finally:
        host.close()


def said(status: int, message: str, headers: Mapping[str, str] | None = None, **more: object) -> JSONResponse:
    """An error as GitHub words it."""
    return JSONResponse(
        {"message": message, "documentation_url": "https://docs.github.com/rest", **more}, status, headers
    )


def pull(number: int = 7, **fields: object) -> dict[str, Any]:
    """A pull request as GitHub tells it, with these fields in place of the usual ones."""
    end = {"sha": HEAD, "ref": "deploy/d-1", "repo": {"full_name": REPOSITORY}}
    return {
        "number": number,
        "html_url": f"https://github.com/{REPOSITORY}/pull/{number}",
        "state": "open",
        "title": "Deploy",
        "body": "",
        "head": end,
        "base": {**end, "ref": "main"},
        "draft": False,
        "merged": False,
        "mergeable": True,
        "mergeable_state": "clean",
        "merge_commit_sha": "c" * 40,
        "user": {"login": "locktender[bot]"},
        **fields,
    }


@dataclass
class GitHubRig:
    """A stand-in with a repository that has a base to change, served, and clients that are closed at the end."""

    root: Path
    bot: str = BOT
    clock: Clock = field(default_factory=Clock)

    def __enter__(self) -> Self:
        git = GitServer(self.root / "served", TOKEN)
        self.bare = git.create(REPOSITORY)
        _first_commit(self.bare)
        self.github = GitHub(git, REPOSITORY, TOKEN)
        for login in ("alice", "bob", "mallory"):
            self.github.user(login)
        self.github.user("reader", role=Role.READ)
        self._hosts: list[GitHubHost] = []
        switch().app = self.github.app
        self.url = switch().url
        self.host = self.client(Token(TOKEN))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for host in self._hosts:
            host.close()
        self.github.__exit__(kind, error, at)

    def client(self, login: Token | AppKey, repository: str = REPOSITORY) -> GitHubHost:
        """Another client."""
        self._hosts.append(GitHubHost(repository, api_url=self.url, login=login, timeout=5.0, clock=self.clock))
        return self._hosts[-1]

    def count(self, method: str, part: str = "") -> int:
        """How often something was asked for and answered well."""
        return sum(m == method and part in path and status < 400 for m, path, status in self.github.calls)

    def message(self, sha: str) -> str:
        """A commit's message."""
        return git("show", "--no-patch", "--format=%B", sha, cwd=self.bare).strip()

    def parents(self, sha: str) -> list[str]:
        """A commit's parents."""
        return git("show", "--no-patch", "--format=%P", sha, cwd=self.bare).split()

    def tag(self, name: str, sha: str) -> None:
        """Set a tag, or move it."""
        git("tag", "--force", "--annotate", "--message=x", name, sha, cwd=self.bare)


def _first_commit(bare: Path) -> None:
    files = {"environments/production/kustomization.yaml": "tag: 1.4.1\n", "README.md": "infra\n"}
    lines = ["commit refs/heads/main", "committer Setup <setup@company.example> 1700000000 +0000", "data 5", "First"]
    for path, text in files.items():
        lines += [f"M 100644 inline {path}", f"data {len(text)}", text]
    git("fast-import", "--quiet", cwd=bare, stdin="\n".join(lines) + "\n")
