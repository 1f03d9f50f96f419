"""The edge of the GitHub stand-in: addresses, tokens, rate limits, pages, ETags and errors, the same for every call."""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, unquote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from bot.sandbox.github_json_git import GitRender
from bot.sandbox.github_json_people import Places
from bot.sandbox.github_model import Account, GitHubError, Grant, Json, Role, invalid, not_found
from bot.sandbox.github_state import State

DOCS = "https://docs.github.com/rest"
_SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. If you reach out to "
    "GitHub Support for help, please include the request ID {id}."
)
_NO_AGENT = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header."
_WRITES = {"POST", "PUT", "PATCH", "DELETE"}


@dataclass(frozen=True)
class Page:
    """A list that is handed out in pages; `key` names it where the list is inside an object with its total."""

    items: Sequence[Json]
    key: str = ""


@dataclass(frozen=True)
class Answer:
    """What a call answers when it goes well. No body is an answer without content."""

    body: Json | Page | list[Json] | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One call, as its handler sees it: `words` from the path, the caller, and a renderer with the caller's links."""

    words: Mapping[str, str]
    query: Mapping[str, str]
    body: Json
    viewer: Account
    token: str
    render: GitRender

    def text(self, name: str, resource: str) -> str | None:
        """A text of the body; None when it is not given, 422 when it is something else."""
        value = self.body.get(name)
        if value is not None and not isinstance(value, str):
            raise invalid(resource, "invalid", name)
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts of the body; empty when it is not given."""
        value = self.body.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise GitHubError(422, "Invalid request.")
        return value


Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Route:
    """One call: `{name}` in the path is one segment, `{name*}` is several.

    `needs` is what an App must have been granted (`contents:write`); people need the role that goes with the verb.
    """

    method: str
    path: str
    handler: Handler
    needs: str = "metadata:read"

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The words of the path, decoded, or None when this is another call."""
        if method != self.method and not (method == "HEAD" and self.method == "GET"):
            return None
        pattern = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", self.path)
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
        found = re.fullmatch(pattern, path)
        return {name: unquote(word) for name, word in found.groupdict().items()} if found else None


@dataclass
class Limits:
    """The primary rate limit, and how often the secondary one strikes next."""

    limit: int = 5000
    used: int = 0
    reset: datetime | None = None
    strikes: int = 0
    retry_after: int = 60  # seconds
    status: int = 403

    def exhaust(self, until: datetime) -> None:
        """Use up what is left until this moment."""
        self.used, self.reset = self.limit, until

    def strike(self, times: int = 1, *, retry_after: int = 60, status: int = 403) -> None:
        """Answer the next calls with the secondary limit: 403 or 429, seconds to wait in Retry-After."""
        self.strikes, self.retry_after, self.status = times, retry_after, status

    def count(self, now: datetime, request_id: str) -> None:
        """Count one call, or refuse it."""
        if self.reset is None or now >= self.reset:
            self.used, self.reset = 0, now + timedelta(hours=1)
        if self.strikes:
            self.strikes -= 1
            text = _SECONDARY.format(id=request_id)
            raise GitHubError(self.status, text, page="overview/rate-limits", header=str(self.retry_after))
        if self.used >= self.limit:
            text = (
                "API rate limit exceeded for user ID 1001. If you reach out to GitHub Support for help, please include "
                f"the request ID {request_id}."
            )
            raise GitHubError(self.status, text, page="overview/rate-limits")
        self.used += 1

    def told(self) -> Json:
        """As `/rate_limit` has it."""
        reset = int(self.reset.timestamp()) if self.reset else 0
        return {"limit": self.limit, "used": self.used, "remaining": self.limit - self.used, "reset": reset}

    def headers(self) -> dict[str, str]:
        """As every answer has it."""
        names = {"limit": "Limit", "remaining": "Remaining", "reset": "Reset", "used": "Used"}
        told = {f"X-RateLimit-{names[key]}": str(value) for key, value in self.told().items()}
        return {**told, "X-RateLimit-Resource": "core"}


class Edge:
    """Serves routes over one state. `app_caller` says who calls with an App's own signed token."""

    def __init__(
        self,
        state: State,
        routes: Sequence[Route],
        limits: Limits,
        app_caller: Callable[[str], Account | None],
        before_call: Callable[[Places], None],
    ) -> None:
        self.state, self._routes, self._app_caller, self._before_call = state, routes, app_caller, before_call
        self.limits = limits
        self.calls: list[tuple[str, str, int]] = []  # method, path, status: what tests count

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        body = await request.body()
        return await run_in_threadpool(self._answer, request, body)

    def _answer(self, request: Request, body: bytes) -> Response:
        request_id = ":".join(secrets.token_hex(2).upper() for _ in range(4))
        raw: bytes = request.scope.get("raw_path", request.url.path.encode())
        path = raw.decode("ascii", "replace").partition("?")[0]
        site = f"{request.url.scheme}://{request.url.netloc}"
        prefix = "/api/v3" if path.startswith("/api/v3/") or path == "/api/v3" else ""
        places = Places(site + prefix, site)
        with self.state.lock:
            try:
                response = self._call(request, path.removeprefix(prefix), body, places, request_id)
            except GitHubError as error:
                response = _refusal(error)
            self.calls.append((request.method, path, response.status_code))
            response.headers.update(self.limits.headers())
        response.headers["X-GitHub-Request-Id"] = request_id
        response.headers["X-GitHub-Media-Type"] = "github.v3; format=json"
        response.headers["X-GitHub-Api-Version-Selected"] = "2022-11-28"
        return response

    def _call(self, request: Request, path: str, body: bytes, places: Places, request_id: str) -> Response:
        if not request.headers.get("user-agent"):
            raise GitHubError(
                403,
                "Request forbidden by administrative rules. Please make sure your request has a \
User-Agent header.",
            )
        viewer, grant, token = self._caller(request.headers.get("authorization", ""))
        if path != "/rate_limit":
            self.limits.count(self.state.clock(), request_id)
        route, words = self._find(request.method, path)
        self._check(route, words, viewer, grant)
        self._before_call(places)
        query = dict(parse_qsl(request.url.query, keep_blank_values=True))
        given = _parsed(body) if request.method in _WRITES else {}
        somebody = viewer or self.state.account("")
        answer = route.handler(Call(words, query, given, somebody, token, GitRender(self.state, places)))
        response = self._response(request, answer, places.api + path, query)
        if grant is not None and grant.permissions is None and grant.scopes:
            response.headers["X-OAuth-Scopes"] = ", ".join(grant.scopes)
        return response

    # ------------------------------------------------------------ who calls, and may they

    def _caller(self, authorization: str) -> tuple[Account | None, Grant | None, str]:
        if not authorization:
            return None, None, ""
        kind, _, token = authorization.partition(" ")
        token = token.strip()
        if kind.lower() not in {"bearer", "token"}:
            raise GitHubError(401, "Bad credentials")
        if token.count(".") == 2:
            return self._app_caller(token), None, token
        grant = self.state.grants.get(token)
        if grant is None or (grant.expires and grant.expires <= self.state.clock()):
            raise GitHubError(401, "Bad credentials")
        return self.state.account(grant.login), grant, token

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        for route in self._routes:
            words = route.match(method, path)
            if words is not None:
                return route, words
        raise not_found()

    def _check(self, route: Route, words: Mapping[str, str], viewer: Account | None, grant: Grant | None) -> None:
        """404 for what the caller may not know of, 403 for what it knows and may not do."""
        scope, _, level = route.needs.partition(":")
        if scope == "anyone":
            return
        if viewer is None:
            # Private repositories are not there for strangers; everything else asks them to log in.
            raise not_found() if "owner" in words else GitHubError(401, "Requires authentication")
        if scope == "app":
            if grant is not None:
                raise GitHubError(401, "A JSON web token could not be decoded")
            return
        if grant is None:
            raise GitHubError(403, "Resource not accessible by integration")
        here = f"{words.get('owner', '')}/{words.get('repo', '')}".lower() == self.state.repository.lower()
        if "owner" in words and (not here or viewer.role < Role.READ):
            raise not_found()
        if grant.permissions is not None:
            if grant.permissions.get(scope, "read" if scope == "metadata" else "") not in {level, "write"}:
                raise GitHubError(403, "Resource not accessible by integration")
        else:
            _check_person(scope, level, viewer)

    # ------------------------------------------------------------ answers

    def _response(self, request: Request, answer: Answer, url: str, query: dict[str, str]) -> Response:
        headers = dict(answer.headers)
        body: object = answer.body
        if isinstance(answer.body, Page):
            body, link = _page(answer.body, url, query)
            headers |= {"Link": link} if link else {}
        if body is None:
            return Response(status_code=answer.status, headers=headers)
        text = json.dumps(body).encode()
        if request.method in {"GET", "HEAD"}:
            etag = f'W/"{hashlib.sha256(text).hexdigest()}"'
            headers |= {"ETag": etag, "Cache-Control": "private, max-age=60, s-maxage=60"}
            if request.headers.get("if-none-match", "").removeprefix("W/") == etag.removeprefix("W/"):
                self.limits.used -= 1  # an unchanged answer is free
                return Response(status_code=304, headers=headers)
        return Response(text, answer.status, headers, "application/json; charset=utf-8")


def _check_person(scope: str, level: str, viewer: Account) -> None:
    """Readers may comment and review; everything else that writes needs write access, rules need an administrator."""
    if scope == "administration" and viewer.role < Role.ADMIN:
        raise not_found()
    if level == "write" and viewer.role < Role.WRITE and scope not in {"issues", "pull_requests"}:
        raise GitHubError(403, "Resource not accessible by personal access token")


def _page(page: Page, url: str, query: dict[str, str]) -> tuple[object, str]:
    """One page of a list, and the Link header that leads to the others."""
    size = min(max(_number(query.get("per_page", "30"), 30), 1), 100)
    number = max(_number(query.get("page", "1"), 1), 1)
    last = max((len(page.items) + size - 1) // size, 1)
    items = list(page.items[(number - 1) * size : number * size])
    links = {"prev": number - 1, "next": number + 1, "last": last, "first": 1}
    if number >= last:
        del links["next"], links["last"]
    if number <= 1:
        del links["prev"], links["first"]
    link = ", ".join(f'<{url}?{urlencode({**query, "page": to})}>; rel="{name}"' for name, to in links.items())
    return ({"total_count": len(page.items), page.key: items} if page.key else items), link


def _number(text: str, default: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else default


def _parsed(body: bytes) -> Json:
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except ValueError:
        raise GitHubError(400, "Problems parsing JSON") from None
    if not isinstance(value, dict):
        raise GitHubError(400, "Body should be a JSON object")
    return value


def _refusal(error: GitHubError) -> Response:
    page = f"{DOCS}/{error.page}" if error.page else DOCS
    body: Json = {"message": error.message, "documentation_url": page, "status": str(error.status)}
    if error.errors:
        body["errors"] = list(error.errors)
    headers = {"Retry-After": error.retry_after} if error.retry_after else {}
    return Response(json.dumps(body), error.status, headers, "application/json; charset=utf-8")
