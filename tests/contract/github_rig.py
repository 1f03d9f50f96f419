"""What the tests of the GitHub adapter share: servers that answer everything in their own way, and clients on them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.integrations.github import AppKey, GitHubHost, Token
from tests.contract.jenkins_rig import closed_port, refusal, retry, switch

REPOSITORY = "company/infra"
TOKEN = "ghp_canary0123456789abcdefghijklmnop"
HEAD = "a" * 40
MERGED = "b" * 40

__all__ = ["HEAD", "MERGED", "REPOSITORY", "TOKEN", "Clock", "Odd", "closed_port", "odd_github", "refusal", "retry"]


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
