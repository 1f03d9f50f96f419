"""A stand-in for Jenkins: its REST API as the real one speaks it, over a queue and executors that run Python jobs.

Held to Jenkins' source: 201, 303, 302, 409, 400 and 500 on `buildWithParameters`, crumbs that are bound to a session
and needed with a password but not with an API token, `/queue/item/N/` that is 404, items forgotten after five
minutes. Not here: views, agents, permissions below "may build", `depth`, XML.
"""

import base64
import binascii
import hashlib
import html
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from bot.sandbox.jenkins_engine import Engine, Pace
from bot.sandbox.jenkins_json import (
    BadTreeError,
    Json,
    build_json,
    item_json,
    job_json,
    job_path,
    parse_tree,
    select,
    shallow,
    stages_json,
)
from bot.sandbox.jenkins_model import BuildRecord, Job, Parameter, QueueItem
from bot.sandbox.server import Faults

VERSION = "2.516.3"


_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Login:
    """The one user. With the API token no crumb is needed, with the password it is."""

    user: str = "locktender"
    token: str = "sandbox-jenkins-token"
    password: str = "sandbox-jenkins-password"


class JenkinsServer:
    """The application and what moves behind it. Enter it to start the executors; serve `app` (spoilt by `faults`).

    `prefix` is the path Jenkins lives under (`/jenkins`), `root_url` the address it believes to have (as set by its
    administrator; default: as asked). `anonymous_read` lets a browser look without logging in.
    """

    def __init__(
        self,
        *jobs: Job,
        login: Login = Login(),
        pace: Pace = Pace(),  # noqa: B008 - it is frozen
        prefix: str = "",
        root_url: str = "",
        anonymous_read: bool = False,
    ) -> None:
        self.login = login
        self.engine = Engine(pace)
        self.faults = Faults()
        self._prefix, self._root_url, self._anonymous_read = prefix.rstrip("/"), root_url, anonymous_read
        self._salt = secrets.token_hex(16)
        self._session = secrets.token_hex(4)
        for job in jobs:
            self.add(job)
        routes = [Route("/{path:path}", self._answer, methods=["GET", "HEAD", "POST"])]
        self.app: ASGIApp = self.faults.wrap(Starlette(routes=routes))

    def __enter__(self) -> Self:
        self.engine.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.engine.stop()

    # ------------------------------------------------------------ control, for tests and the demo

    def add(self, job: Job) -> Job:
        """Create a job, or put another in the place of one with this name."""
        self.engine.jobs[job.name] = job
        return job

    def remove(self, job: str) -> None:
        """Delete a job with its builds."""
        self.engine.remove(job)

    def builds(self, job: str) -> list[BuildRecord]:
        """The builds of a job, newest first."""
        return self.engine.builds(job)

    def queued(self) -> list[QueueItem]:
        """What waits."""
        return self.engine.waiting()

    def wait_for(self, job: str, count: int = 1, *, timeout: float = 5.0) -> list[BuildRecord]:
        """The builds of a job, newest first, once this many have ended; raises TimeoutError (seconds)."""
        with self.engine.changed:
            ended = self.engine.changed.wait_for(
                lambda: sum(not build.building for build in self.builds(job)) >= count, timeout
            )
        if not ended:
            raise TimeoutError(f"{count} builds of {job} had not ended in {timeout} s")
        return self.builds(job)

    def trigger(self, job: str, **parameters: str) -> QueueItem:
        """Build it by hand, as a person in Jenkins."""
        return self.engine.schedule(self.engine.jobs[job], parameters, "someone")[0]

    def quiet_down(self) -> None:
        """Start nothing any more, as before a restart; what is asked for waits in the queue."""
        with self.engine.changed:
            self.engine.quieting = True

    def cancel_quiet_down(self) -> None:
        """Start builds again."""
        with self.engine.changed:
            self.engine.quieting = False
            self.engine.changed.notify_all()

    def restart(self) -> None:
        """Lose sessions and crumbs, as a restart does. Queue and builds are kept, pipelines go on."""
        self._salt = secrets.token_hex(16)
        self._session = secrets.token_hex(4)

    # ------------------------------------------------------------ HTTP

    async def _answer(self, request: Request) -> Response:
        raw: bytes = request.scope.get("raw_path", request.url.path.encode())
        path = raw.decode("ascii").partition("?")[0]
        if not path.startswith(self._prefix + "/"):
            return PlainTextResponse("Not Found", 404)  # Outside of Jenkins' context path something else answers.
        segments = [unquote(part) for part in path[len(self._prefix) :].split("/") if part]
        body = (await request.body()).decode() if request.method == "POST" else ""
        response = self._refusal(request, segments) or self._route(request, segments, body)
        response.headers["X-Jenkins"] = VERSION
        response.headers["X-Jenkins-Session"] = self._session
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _refusal(self, request: Request, segments: list[str]) -> Response | None:
        """Why this request may not pass (who asks, and is the crumb right), or None."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if not given:
            if self._anonymous_read and request.method in {"GET", "HEAD"}:
                return None
            page = (
                "<html><head><meta http-equiv='refresh' content='1;url=/login'/></head>Authentication required</html>"
            )
            return HTMLResponse(page, 403)
        try:
            user, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user, secret = "", ""
        if (
            scheme.lower() != "basic"
            or user != self.login.user
            or secret not in {self.login.token, self.login.password}
        ):
            return HTMLResponse(
                "<html>Invalid password/token for user</html>", 401, {"WWW-Authenticate": 'Basic realm="Jenkins"'}
            )
        crumb = request.headers.get("Jenkins-Crumb", "")
        needs_crumb = request.method == "POST" and secret != self.login.token and segments[:1] != ["crumbIssuer"]
        if needs_crumb and crumb != self._crumb(request.cookies.get("JSESSIONID", "")):
            return HTMLResponse("<html>No valid crumb was included in the request</html>", 403)
        return None

    def _crumb(self, session: str) -> str:
        return hashlib.sha256(f"{self.login.user}:{session}:{self._salt}".encode()).hexdigest()

    def _route(self, request: Request, segments: list[str], body: str) -> Response:
        match segments, request.method:
            case [], "GET":
                return HTMLResponse("<!doctype html><title>Jenkins</title><h1>Jenkins</h1>")
            case ["api", "json"], _:
                return self._json(request, self._root_json(request))
            case ["crumbIssuer", "api", "json"], _:
                return self._give_crumb(request)
            case ["queue", "api", "json"], _:
                items = [item_json(self.engine, item, self._root(request)) for item in self.engine.waiting()]
                return self._json(request, {"_class": "hudson.model.Queue", "items": items})
            case ["queue", "item", number, "api", "json"], _ if _NUMBER.fullmatch(number):
                item = self.engine.item(int(number))
                return self._json(request, item_json(self.engine, item, self._root(request))) if item else _missing()
            case ["queue", "cancelItem"], "POST":
                number = request.query_params.get("id", "")
                known = _NUMBER.fullmatch(number) and self.engine.cancel(int(number))
                return Response(status_code=204) if known else _missing()
            case ["quietDown"], "POST":
                self.quiet_down()
                return self._redirect(request, "")
            case ["cancelQuietDown"], "POST":
                self.cancel_quiet_down()
                return self._redirect(request, "")
            case ["job", *_], _:
                return self._route_job(request, segments, body)
        return _missing()

    def _route_job(self, request: Request, segments: list[str], body: str) -> Response:
        parts: list[str] = []
        while len(segments) >= 2 and segments[0] == "job":
            parts.append(segments[1])
            segments = segments[2:]
        job = self.engine.jobs.get("/".join(parts))
        if job is None:
            return _missing()
        match segments, request.method:
            case [], "GET":
                return self._page(job)
            case ["api", "json"], _:
                return self._json(request, job_json(self.engine, job, self._root(request)))
            case ["buildWithParameters"], "POST":
                return self._build_with_parameters(request, job, dict(request.query_params) | dict(parse_qsl(body)))
            case ["buildWithParameters"], _:
                return PlainTextResponse("This URL requires POST", 405, {"Allow": "POST"})
            case [number, *rest], _ if _NUMBER.fullmatch(number):
                build = self.engine.build(job.name, int(number))
                return self._route_build(request, build, rest) if build else _missing()
        return _missing()

    def _route_build(self, request: Request, build: BuildRecord, segments: list[str]) -> Response:
        match segments, request.method:
            case [], "GET":
                return self._page(build.job, build)
            case ["api", "json"], _:
                return self._json(request, build_json(build, self._root(request)))
            case ["consoleText"], _:
                return PlainTextResponse(bytes(build.console))
            case ["logText", "progressiveText"], _:
                return _progressive(build, request.query_params.get("start", "0"))
            case ["wfapi", "describe"], _ if build.job.pipeline:
                return self._json(request, stages_json(build))
            case ["stop"], "POST":
                build.stop.set()
                return self._redirect(request, f"{job_path(build.job.name)}{build.number}/")
        return _missing()

    def _build_with_parameters(self, request: Request, job: Job, given: Mapping[str, str]) -> Response:
        if job.disabled:
            return HTMLResponse(f"<html>{html.escape(job.name)} is not buildable</html>", 409)
        if job.parameters is None:
            return HTMLResponse("<html>This build is not parameterized!</html>", 400)
        values: dict[str, str] = {}
        for parameter in job.parameters:  # What is not declared is dropped without a word.
            value = given.get(parameter.name, _default(parameter))
            if parameter.choices and value not in parameter.choices:
                return HTMLResponse(
                    "<html>java.lang.IllegalArgumentException: Illegal choice for parameter "
                    f"{html.escape(parameter.name)}: {html.escape(value)}</html>",
                    500,
                )
            values[parameter.name] = value
        if job.refuses_queue:
            return self._redirect(request, job_path(job.name))
        item, created = self.engine.schedule(job, values, self.login.user)
        location = f"{self._here(request)}queue/item/{item.id}/"
        return Response(status_code=201 if created else 303, headers={"Location": location})

    def _give_crumb(self, request: Request) -> Response:
        session = request.cookies.get("JSESSIONID") or secrets.token_hex(16)
        told: Json = {
            "_class": "hudson.security.csrf.DefaultCrumbIssuer",
            "crumb": self._crumb(session),
            "crumbRequestField": "Jenkins-Crumb",
        }
        response = self._json(request, told)
        response.set_cookie("JSESSIONID", session, path=self._prefix or "/", httponly=True)
        return response

    # ------------------------------------------------------------ answers

    def _root_json(self, request: Request) -> Json:
        root = self._root(request)
        jobs = [{"name": job.name, "url": root + job_path(job.name)} for job in self.engine.jobs.values()]
        return {
            "_class": "hudson.model.Hudson",
            "mode": "NORMAL",
            "nodeDescription": "the Jenkins controller's built-in node",
            "numExecutors": 0,
            "quietingDown": self.engine.quieting,
            "jobs": jobs,
            "url": root,
            "useCrumbs": True,
            "useSecurity": True,
        }

    def _json(self, request: Request, told: Json) -> Response:
        tree = request.query_params.get("tree")
        try:
            value = shallow(told) if tree is None else select(told, parse_tree(tree))
        except BadTreeError:
            return HTMLResponse("<html>Malformed tree expression</html>", 400)
        return Response(json.dumps(value), media_type="application/json;charset=utf-8")

    def _here(self, request: Request) -> str:
        """The address as asked for: what Jenkins puts into `Location`."""
        return f"{request.url.scheme}://{request.url.netloc}{self._prefix}/"

    def _root(self, request: Request) -> str:
        """The address Jenkins believes to have: what it puts into `url` fields."""
        return self._root_url or self._here(request)

    def _redirect(self, request: Request, path: str) -> Response:
        return Response(status_code=302, headers={"Location": self._here(request) + path})

    def _page(self, job: Job, build: BuildRecord | None = None) -> Response:
        """A plain page for a person who follows a link from a message."""
        builds = [build] if build else self.builds(job.name)
        base = f"{self._prefix}/{job_path(job.name)}"
        rows = "".join(
            f"<li><a href='{html.escape(base)}{b.number}/'>#{b.number}</a> {b.result or 'running'} "
            f"{html.escape(', '.join(f'{s.name}: {s.status}' for s in b.stages))}</li>"
            for b in builds
        )
        console = f"<pre>{html.escape(build.console.decode(errors='replace'))}</pre>" if build else ""
        title = html.escape(job.name)
        return HTMLResponse(f"<!doctype html><title>{title}</title><h1>{title}</h1><ul>{rows}</ul>{console}")


def _default(parameter: Parameter) -> str:
    return parameter.choices[0] if parameter.choices else parameter.default


def _missing() -> Response:
    return HTMLResponse("<html>Not Found</html>", 404)


def _progressive(build: BuildRecord, start: str) -> Response:
    """The log from a byte on; from the beginning when that lies beyond the end, as Jenkins does."""
    building = build.building  # asked first: what is written until the end is then in the log
    log = bytes(build.console)
    at = int(start) if _NUMBER.fullmatch(start) else 0
    headers = {"X-Text-Size": str(len(log))} | ({"X-More-Data": "true"} if building else {})
    return PlainTextResponse(log[at if at <= len(log) else 0 :], headers=headers)
