"""The stand-in of Slack: Web API, Socket Mode, signed HTTP requests, and people who use it all.

    with SlackServer() as slack:
        connection = SocketConnection(slack.app.app_token, slack.api_url, dispatch)
        …
        slack.workspace.command(DEVELOPER, "/deploy", "web 1.4.2")

It is no kinder than Slack: limits, scopes, rates, three seconds, and bad networks on request.
"""

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.sandbox.server import Faults, Server
from bot.sandbox.slack_api import WebApi
from bot.sandbox.slack_delivery import OverHttp, OverSockets
from bot.sandbox.slack_hub import Disconnect, Hub
from bot.sandbox.slack_limits import Limiter, Rates
from bot.sandbox.slack_model import SlackApp, Timing, World
from bot.sandbox.slack_state import State
from bot.sandbox.slack_workspace import Workspace


class Cut(StrEnum):
    """How a network is lost."""

    RESET = "reset"  # connections break, new ones are refused: a process or a host is gone
    BLACKHOLE = "blackhole"  # nothing breaks and nothing answers: a cable, a firewall, a laptop's lid


@dataclass
class _Network:
    lost: Cut | None = None

    def wrap(self, app: ASGIApp, hub: Hub) -> ASGIApp:
        async def reachable(scope: Scope, receive: Receive, send: Send) -> None:
            if self.lost is not None:
                while self.lost is Cut.BLACKHOLE:  # noqa: ASYNC110 - set from other threads, where an Event is not safe
                    await asyncio.sleep(0.02)
                send.__self__.transport.abort()  # type: ignore[attr-defined]  # uvicorn's protocol owns the transport
                await asyncio.sleep(0.01)  # until uvicorn has seen the loss, so that it does not answer for us
                return
            await (hub.serve if scope["type"] == "websocket" else app)(scope, receive, send)

        return reachable


class SlackServer:
    """Slack on loopback. Use it as a context manager.

    `workspace` is what people do and see; `hub` the Socket Mode side; `faults` what HTTP answers are spoilt with.
    Payloads go over Socket Mode until `use_http` names a request URL.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        timing: Timing | None = None,
        rates: Rates | None = None,
        port: int = 0,
    ) -> None:
        self.faults = Faults()
        self._state = State(world or World(), timing or Timing())
        self.hub = Hub(self._state)
        self._network = _Network()
        web = WebApi(self._state, Limiter(rates or Rates()), self.hub.ticket)
        self._server = Server(self._network.wrap(self.faults.wrap(Starlette(routes=web.routes())), self.hub), port=port)
        self.url = self._server.url
        self.api_url = f"{self.url}/api/"
        self._state.hook_base = f"{self.url}/actions"
        self.hub.socket_url = self.url.replace("http://", "ws://")
        self._http: OverHttp | None = None
        self.workspace = Workspace(self._state, OverSockets(self.hub))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def app(self) -> SlackApp:
        """The installed app: ids, tokens, signing secret."""
        return self._state.world.app

    def reinstall(self, app: SlackApp) -> None:
        """Change the app: revoke a scope, roll a token, deactivate it."""
        self._state.world = replace(self._state.world, app=app)
        if self._http is not None:
            self._http.app = app

    def start(self) -> None:
        """Start serving; returns when the port answers."""
        self._server.start()

    def stop(self) -> None:
        """Stop serving: connections break, retries to come are given up."""
        self._network.lost = Cut.RESET
        self.hub.cut()
        self.workspace.stop()
        if self._http is not None:
            self._http.close()
        self._server.stop()

    # ------------------------------------------------------------ the way to the app

    def use_http(self, request_url: str) -> OverHttp:
        """Deliver to this request URL from now on, signed."""
        if self._http is not None:
            self._http.close()
        self._http = OverHttp(request_url, self.app, self._state.timing)
        self.workspace.transport = self._http
        return self._http

    # ------------------------------------------------------------ bad networks

    def cut(self, how: Cut = Cut.RESET) -> None:
        """Lose the network between app and Slack, both ways, until `mend`."""
        self._network.lost = how
        if self._http is not None:
            self._http.down = True
        if how is Cut.RESET:
            self.hub.cut()
        else:
            self.hub.mute()

    def mend(self) -> None:
        """The network is back. Connections that went silent are reset: Slack missed the answers to its own pings."""
        self._network.lost = None
        self.hub.cut_silent()
        if self._http is not None:
            self._http.down = False

    def go_silent(self) -> None:
        """Every connection stays up and dead; new ones work."""
        self.hub.mute()

    def close_connections(self) -> None:
        """Close every websocket without a word before."""
        self.hub.close()

    def refresh(self, *, lead: float | None = None) -> None:
        """Slack's routine replacement of connections; returns when the old ones are closed."""
        self.hub.refresh(self._state.timing.refresh_lead if lead is None else lead)

    def disable_socket_mode(self) -> None:
        """Somebody switched Socket Mode off in the app's settings."""
        self.hub.goodbye(Disconnect.DISABLED)
        self.hub.close()
