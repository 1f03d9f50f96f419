"""One Socket Mode connection: its own HTTP session, one websocket, and pings whose answers prove that it lives.

slack_sdk's aiohttp client is not used. It keeps one session for ever, closes the old connection before it opens the
new one, retries inside its own tasks where nobody can bound or stop it, and `is_connected()` is true of a connection
that died quietly (slackapi/python-slack-sdk#1110, #1922). Made right from the outside, it would be larger than this.
"""

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import WSMsgType


@dataclass(frozen=True)
class Envelope:
    """One request of Slack's as it came over a socket. `retry_attempt` is None on commands and clicks."""

    kind: str  # slash_commands | interactive | events_api
    envelope_id: str
    payload: Mapping[str, object]
    accepts_payload: bool = False
    retry_attempt: int | None = None
    retry_reason: str | None = None


class Ending(StrEnum):
    """Why a connection must be replaced."""

    CLOSED = "Slack or the network closed the connection"
    SILENT = "the connection stopped answering pings"
    REFRESH = "Slack asked for a new connection"
    TOO_MANY = "the app has too many connections open; stop other copies of it that use the same app token"
    DISABLED = "Socket Mode is switched off for this app; switch it on in the app's settings at api.slack.com"


_DISCONNECTS = {"too_many_websockets": Ending.TOO_MANY, "link_disabled": Ending.DISABLED}

_FATAL = {
    "invalid_auth": "Slack does not know the app-level token; set SLACK_APP_TOKEN to a current xapp- token",
    "not_authed": "no app-level token was given; set SLACK_APP_TOKEN to an xapp- token",
    "not_allowed_token_type": "the token is not an app-level token; set SLACK_APP_TOKEN to one that starts with xapp-",
    "token_revoked": "the app-level token was revoked; create a new one and set SLACK_APP_TOKEN",
    "token_expired": "the app-level token has expired; create a new one and set SLACK_APP_TOKEN",
    "account_inactive": "the app or its workspace is deactivated; install the app again",
    "missing_scope": "the app-level token lacks the scope connections:write; create one that has it",
    "no_permission": "the app-level token may not open connections; create one with the scope connections:write",
    "forbidden_token": "the app-level token may not open connections; switch Socket Mode on in the app's settings",
}


class OpenError(Exception):
    """No connection could be opened. `reason` is a plain sentence without secrets; `after` what Slack asked to wait."""

    def __init__(self, reason: str, *, fatal: bool = False, after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fatal = fatal
        self.after = after


@dataclass(frozen=True)
class Intervals:
    """Seconds. After the network is back, commands work again within `worst_recovery`."""

    ping: float = 2.0  # between pings on an open connection
    silence: float = 7.0  # without an answered ping for this long, a connection is dead
    opening: float = 5.0  # for the whole way from apps.connections.open to Slack's hello
    backoff_first: float = 0.25
    backoff_most: float = 3.0  # the cap, jitter included
    steady: float = 10.0  # a connection that lived this long makes the next failure the first again
    fatal_retry: float = 60.0  # between tries when Slack refuses the token: people must act first
    linger: float = 3.0  # a replaced connection is still read for this long: Slack's ack deadline
    close: float = 1.0  # for the closing handshake, which a dead connection never answers
    ack_patience: float = 10.0  # how long an ack waits for a connection; Slack itself gives up after 3

    @property
    def worst_recovery(self) -> float:
        """An attempt that hangs or a silence that must be noticed, a pause, and then a good attempt at its slowest."""
        return max(self.opening + self.backoff_most, self.silence + self.ping) + self.opening


@dataclass(eq=False)
class Link:
    """An open connection that said hello. `verdict` is done when it must be replaced; it may still be read then."""

    session: aiohttp.ClientSession
    websocket: aiohttp.ClientWebSocketResponse
    intervals: Intervals
    on_envelope: Callable[[Envelope], None]
    verdict: asyncio.Future[Ending] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    opened_at: float = field(default_factory=time.monotonic)
    heard_at: float = field(default_factory=time.monotonic)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def open(
        cls, app_token: str, api_url: str, intervals: Intervals, on_envelope: Callable[[Envelope], None]
    ) -> Self:
        """Connect from scratch and wait for hello. OpenError; nothing is left open then."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                session = await stack.enter_async_context(aiohttp.ClientSession())
                async with asyncio.timeout(intervals.opening):
                    url = await _socket_url(session, app_token, api_url)
                    handshake = aiohttp.ClientWSTimeout(ws_close=intervals.close)
                    websocket = await session.ws_connect(
                        url, autoping=False, proxy=_proxy(url), max_msg_size=0, timeout=handshake
                    )
                    stack.push_async_callback(_shut, websocket, intervals.close)
                    await _hello(websocket)
                stack.pop_all()
        except TimeoutError:
            raise OpenError("Slack did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            # Only its type: the text of a handshake error holds the ticket in the websocket's address.
            raise OpenError(f"Slack cannot be reached ({type(error).__name__})") from None
        link = cls(session, websocket, intervals, on_envelope)
        link._tasks = [asyncio.create_task(link._read()), asyncio.create_task(link._ping())]
        return link

    @property
    def alive(self) -> bool:
        """Open, and a ping was answered recently. Asked to go (REFRESH), it still is."""
        quiet = time.monotonic() - self.heard_at
        return not self.websocket.closed and not self.session.closed and quiet < self.intervals.silence

    async def send(self, text: str) -> bool:
        """Send one message; False when the connection is gone. True does not mean that it arrived."""
        if not self.alive:
            return False
        try:
            await self.websocket.send_str(text)
        except (aiohttp.ClientError, OSError):
            self._end(Ending.CLOSED)
            return False
        return True

    async def close(self) -> None:
        """Stop reading, close, and free everything, within about `intervals.close` seconds. May be called twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _shut(self.websocket, self.intervals.close)
        await self.session.close()
        self._end(Ending.CLOSED)

    def _end(self, why: Ending) -> None:
        if not self.verdict.done():
            self.verdict.set_result(why)

    async def _read(self) -> None:
        try:
            while True:
                message = await self.websocket.receive()
                match message.type:
                    case WSMsgType.TEXT:
                        self._text(message.data)
                    case WSMsgType.PING:
                        await self.websocket.pong(message.data)
                    case WSMsgType.PONG:
                        self.heard_at = time.monotonic()
                    case WSMsgType.CLOSE | WSMsgType.CLOSING | WSMsgType.CLOSED | WSMsgType.ERROR:
                        return
                    case _:
                        pass
        except (aiohttp.ClientError, OSError):
            return
        finally:
            self._end(Ending.CLOSED)

    async def _ping(self) -> None:
        try:
            while (left := self.heard_at + self.intervals.silence - time.monotonic()) > 0:
                async with asyncio.timeout(left):  # with a full send buffer, nobody takes our bytes any more
                    await self.websocket.ping()
                await asyncio.sleep(self.intervals.ping)
            self._end(Ending.SILENT)
        except TimeoutError:
            self._end(Ending.SILENT)
        except (aiohttp.ClientError, OSError):
            return
        finally:
            self._end(Ending.CLOSED)

    def _text(self, data: str) -> None:
        wire = _parsed(data)
        if wire.get("type") == "disconnect":
            self._end(_DISCONNECTS.get(str(wire.get("reason")), Ending.REFRESH))
            return
        name, payload = wire.get("envelope_id"), wire.get("payload")
        if isinstance(name, str) and isinstance(payload, dict):
            attempt = wire.get("retry_attempt")
            reason = wire.get("retry_reason")
            self.on_envelope(
                Envelope(
                    kind=str(wire.get("type")),
                    envelope_id=name,
                    payload=payload,
                    accepts_payload=wire.get("accepts_response_payload") is True,
                    retry_attempt=attempt if isinstance(attempt, int) else None,
                    retry_reason=reason if isinstance(reason, str) else None,
                )
            )


async def _socket_url(session: aiohttp.ClientSession, app_token: str, api_url: str) -> str:
    """Ask apps.connections.open for a single-use address. OpenError says what Slack refused."""
    url = f"{api_url.rstrip('/')}/apps.connections.open"
    headers = {"Authorization": f"Bearer {app_token}"}
    async with session.post(url, headers=headers, proxy=_proxy(url), allow_redirects=False) as answer:
        if answer.status == 429:
            asked = answer.headers.get("Retry-After", "")
            after = float(asked) if asked.isdigit() else 30.0
            raise OpenError("Slack asked to connect less often", after=after)
        wire = _parsed(await answer.text(errors="replace")) if answer.status == 200 else {}
    if wire.get("ok") is True and isinstance(wire.get("url"), str):
        return str(wire["url"])
    error = wire.get("error")
    if error in _FATAL:
        raise OpenError(_FATAL[str(error)], fatal=True)
    raise OpenError(f"Slack refused a connection ({error or f'HTTP {answer.status}'})")


async def _hello(websocket: aiohttp.ClientWebSocketResponse) -> None:
    """Wait for hello: without it Slack delivers nothing, however open the connection looks."""
    while True:
        message = await websocket.receive()
        if message.type is WSMsgType.PING:
            await websocket.pong(message.data)
        elif message.type is WSMsgType.TEXT:
            wire = _parsed(message.data)
            if wire.get("type") == "hello":
                return
            if wire.get("type") == "disconnect":
                ending = _DISCONNECTS.get(str(wire.get("reason")), Ending.REFRESH)
                raise OpenError(ending.value, fatal=ending is Ending.DISABLED)
        elif message.type is not WSMsgType.PONG:
            raise OpenError("Slack closed the connection before it said hello")


async def _shut(websocket: aiohttp.ClientWebSocketResponse, patience: float) -> None:
    """Close politely if the other side still answers; a session alone does not free a websocket's connection."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(patience):
            await websocket.close()


def _parsed(text: str) -> dict[str, object]:
    """A JSON object, or an empty one for anything else: a proxy's error page must not end the program."""
    try:
        wire = json.loads(text)
    except ValueError:
        return {}
    return wire if isinstance(wire, dict) else {}


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this address: websockets go where https goes, NO_PROXY is honoured."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get({"wss": "https", "ws": "http"}.get(parts.scheme, parts.scheme))
