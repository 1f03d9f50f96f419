"""What the Jenkins tests share: a served stand-in with a client on it, and servers that are not quite Jenkins."""

import atexit
import functools
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.integrations.jenkins import JenkinsPipeline
from bot.sandbox.jenkins import JenkinsServer
from bot.sandbox.jenkins_engine import Pace
from bot.sandbox.jenkins_model import Job
from bot.sandbox.server import Server
from commands.ports import Build, BuildRef, BuildRequest
from commands.reasons import Refused, Retry

JOB = "infra-deploy"
AT_ONCE = Pace(quiet_period=0)
NEVER = Pace(quiet_period=3600)  # what is triggered stays in the queue


def request_for(deployment_id: str = "d-1", job: str = JOB, **parameters: str) -> BuildRequest:
    """A request as the engine makes it."""
    usual = {"ENVIRONMENT": "staging", "GIT_COMMIT": "c" * 40, "DEPLOYMENT_ID": deployment_id, "DRY_RUN": "false"}
    return BuildRequest(deployment_id, job, usual | parameters)


class Switch:
    """One server for all tests, because starting and stopping one takes a quarter of a second."""

    def __init__(self) -> None:
        self.app: ASGIApp = PlainTextResponse("nothing is connected", 503)

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)

        self._server = Server(serve)
        self._server.start()
        self.url = self._server.url
        atexit.register(self._server.stop)


switch = functools.cache(Switch)


def closed_port() -> str:
    """An address at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


@dataclass
class Rig:
    """A Jenkins with one job, served, and clients that are closed at the end."""

    job: Job = field(default_factory=lambda: Job(JOB))
    pace: Pace = AT_ONCE
    prefix: str = ""
    root_url: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.jenkins = JenkinsServer(self.job, pace=self.pace, prefix=self.prefix, root_url=self.root_url)
        self.jenkins.faults.before = lambda method, path: self.calls.append((method, path))
        self.jenkins.__enter__()
        self.switch = switch()
        self.switch.app = self.jenkins.app
        self.clients: list[JenkinsPipeline] = []
        self.pipeline = self.client()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for client in self.clients:
            client.close()
        self.jenkins.__exit__(kind, error, at)

    @property
    def url(self) -> str:
        return self.switch.url + self.prefix

    def client(self, *, token: str = "", timeout: float = 5.0, settle: float = 0.0) -> JenkinsPipeline:
        login = self.jenkins.login
        made = JenkinsPipeline(self.url, login.user, token or login.token, timeout=timeout, settle=settle)
        self.clients.append(made)
        return made

    def triggers(self) -> int:
        """How often a build was asked for."""
        return sum(method == "POST" and path.endswith("/buildWithParameters") for method, path in self.calls)

    def ended(self, request: BuildRequest) -> Build:
        """The build of this request, once it has ended."""
        ref = self.pipeline.ensure_build(request)
        self.jenkins.wait_for(request.job)
        return self.pipeline.build(request.deployment_id, ref)


@contextmanager
def odd_server(answer: Callable[[Request], Response]) -> Iterator[str]:
    """The address of a server that answers everything in its own way."""

    async def endpoint(request: Request) -> Response:
        return answer(request)

    switch().app = Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "HEAD", "POST"])])
    yield switch().url


def refusal(call: Callable[[], object]) -> Refused:
    """The Refused that the call raises."""
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


def retry(call: Callable[[], object]) -> Retry:
    """The Retry that the call raises."""
    with pytest.raises(Retry) as caught:
        call()
    return caught.value


LOST_REF = BuildRef(JOB, queue_id=999)
