"""Socket Mode's server side: tickets, up to ten connections, envelopes that go to exactly one, and bad networks."""

import asyncio
import json
import random
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, cast
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from bot.sandbox.slack_model import Delivery, Json, Trouble
from bot.sandbox.slack_state import State

MOST_CONNECTIONS = 10


class Disconnect(StrEnum):
    """Why Slack tells a connection that it will end."""

    WARNING = "warning"
    REFRESH = "refresh_requested"
    TOO_MANY = "too_many_websockets"
    DISABLED = "link_disabled"


@dataclass(frozen=True)
class Ack:
    """An acknowledgement as it came in. `late`: Slack had given up; `unknown`: nobody waited for it (any more)."""

    envelope_id: str
    connection: int
    seconds: float
    body: Json | None
    late: bool = False
    unknown: bool = False


class _Protocol(Protocol):
    """What the stand-in touches of uvicorn's websocket protocol: ASGI can neither go silent nor cut a wire."""

    transport: asyncio.Transport

    def stop_keepalive(self) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...


class _Deaf(asyncio.Protocol):
    """Takes a connection over, and neither hears nor answers anything on it but its end."""

    def __init__(self, before: _Protocol, gone: asyncio.Event) -> None:
        self._before = before
        self._gone = gone

    def connection_lost(self, exc: Exception | None) -> None:
        """Let uvicorn forget the connection too."""
        self._gone.set()
        self._before.connection_lost(exc)


@dataclass(eq=False)
class Connection:
    """One websocket. Its methods run on the server's loop, except `schedule`."""

    number: int
    loop: asyncio.AbstractEventLoop
    send: Send
    protocol: _Protocol
    silent: bool = False
    ending: bool = False  # told to go: gets no more envelopes
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def text(self, wire: Json) -> None:
        """Send one message, unless the connection is silent or dead."""
        if not self.silent and not self.protocol.transport.is_closing():
            await self.send({"type": "websocket.send", "text": json.dumps(wire)})

    async def close(self) -> None:
        """Close politely."""
        if not self.protocol.transport.is_closing():
            await self.send({"type": "websocket.close", "code": 1000})

    def mute(self) -> None:
        """Stay up, but neither read, ping, pong nor deliver: as after a firewall forgot the connection."""
        self.silent = True
        self.protocol.stop_keepalive()
        self.protocol.transport.set_protocol(_Deaf(self.protocol, self.gone))
        self.protocol.transport.resume_reading()  # to see its end, should uvicorn have paused

    def cut(self) -> None:
        """Reset the TCP connection."""
        self.gone.set()
        self.protocol.transport.abort()


@dataclass
class _Waiting:
    since: float
    answer: Future[Json | None]
    given_up: bool = False


@dataclass
class Hub:
    """All Socket Mode connections of the app. Public methods may be called from any thread but the server's."""

    state: State
    socket_url: str = ""
    acks: list[Ack] = field(default_factory=list)
    greets: bool = True  # False: connections open and hear nothing, not even hello, which happens in the wild
    connected_ever: int = 0
    tickets_opened: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _tickets: dict[str, float] = field(default_factory=dict)
    _connections: list[Connection] = field(default_factory=list)
    _waiting: dict[str, _Waiting] = field(default_factory=dict)

    def ticket(self) -> str:
        """A URL for one connection, good for half a minute."""
        name = secrets.token_urlsafe(24)
        with self._lock:
            self.tickets_opened += 1
            self._tickets[name] = time.monotonic() + self.state.timing.ticket
        return f"{self.socket_url}/link/?ticket={name}&app_id={self.state.world.app.app_id}"

    @property
    def connections(self) -> int:
        """How many are up, as Slack sees it."""
        with self._lock:
            return len(self._connections)

    # ------------------------------------------------------------ the websocket endpoint

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One websocket from handshake to end."""
        await receive()
        if not self._admitted(scope):
            await send({"type": "websocket.close", "code": 1008})  # before accepting: answers 403
            return
        await send({"type": "websocket.accept"})
        connection = self._joined(send)
        if connection is None:
            await send({"type": "websocket.send", "text": json.dumps(_goodbye(Disconnect.TOO_MANY))})
            await send({"type": "websocket.close", "code": 1000})
            return
        try:
            if self.greets:
                await connection.text(self._hello())
            else:
                connection.ending = True
            await self._listen(connection, receive)
        finally:
            with self._lock:
                self._connections = [one for one in self._connections if one is not connection]

    def _admitted(self, scope: Scope) -> bool:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        with self._lock:
            expires = self._tickets.pop(query.get("ticket", [""])[0], 0.0)
        return scope["path"] == "/link/" and expires > time.monotonic()

    def _joined(self, send: Send) -> Connection | None:
        protocol = cast("_Protocol", send.__self__)  # type: ignore[attr-defined]  # a method of uvicorn's protocol
        with self._lock:
            if len(self._connections) >= MOST_CONNECTIONS:
                return None
            self.connected_ever += 1
            connection = Connection(self.connected_ever, asyncio.get_running_loop(), send, protocol)
            self._connections.append(connection)
            return connection

    def _hello(self) -> Json:
        return {
            "type": "hello",
            "num_connections": self.connections,
            "debug_info": {"host": "applink-stand-in", "build_number": 1, "approximate_connection_time": 18060},
            "connection_info": {"app_id": self.state.world.app.app_id},
        }

    async def _listen(self, connection: Connection, receive: Receive) -> None:
        gone = asyncio.ensure_future(connection.gone.wait())
        try:
            while not connection.gone.is_set():
                incoming = asyncio.ensure_future(receive())
                await asyncio.wait({incoming, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not incoming.done():
                    incoming.cancel()
                    return
                message = incoming.result()
                if message["type"] == "websocket.disconnect":
                    return
                if connection.silent:
                    await gone  # what was on its way when the connection went silent is lost
                    return
                self._received(connection, message.get("text") or "")
        finally:
            gone.cancel()

    def _received(self, connection: Connection, text: str) -> None:
        wire = json.loads(text)
        name, body, now = str(wire.get("envelope_id", "")), wire.get("payload"), time.monotonic()
        with self._lock:
            waiting = self._waiting.get(name)
            again = waiting is None or waiting.answer.done()
            late = waiting is not None and waiting.given_up
            since = waiting.since if waiting else now
            self.acks.append(Ack(name, connection.number, now - since, body, late, unknown=again and not late))
            if waiting is not None and not again:
                waiting.answer.set_result(body)

    # ------------------------------------------------------------ deliveries

    def deliver(self, kind: str, payload: Json, *, attempt: int = 0, reason: str = "") -> Delivery:
        """Send one envelope to one connection and wait for its ack."""
        envelope: Json = {
            "envelope_id": str(uuid.uuid4()),
            "payload": payload,
            "type": kind,
            "accepts_response_payload": kind != "events_api",
        }
        if kind == "events_api":
            envelope |= {"retry_attempt": attempt, "retry_reason": reason}
        started = time.monotonic()
        waiting = _Waiting(started, Future())
        with self._lock:
            ready = [one for one in self._connections if not one.ending]
            self._waiting[envelope["envelope_id"]] = waiting
        if not ready:
            return Delivery(Trouble.UNREACHABLE, 0.0, attempt=attempt)
        target = random.choice(ready)  # noqa: S311 - which replica gets it is luck, not a secret
        asyncio.run_coroutine_threadsafe(target.text(envelope), target.loop)
        try:
            body = waiting.answer.result(self.state.timing.ack)
        except NoAnswer:
            with self._lock:
                waiting.given_up = True
            return Delivery(Trouble.TIMEOUT, time.monotonic() - started, attempt=attempt)
        return Delivery(Trouble.NONE, time.monotonic() - started, 200, body, attempt)

    # ------------------------------------------------------------ endings, polite and not

    def _everyone(self) -> list[Connection]:
        with self._lock:
            return list(self._connections)

    def cut(self) -> None:
        """Reset every connection."""
        for connection in self._everyone():
            _there(connection, connection.cut)

    def cut_silent(self) -> None:
        """Reset the connections that went silent."""
        for connection in self._everyone():
            if connection.silent:
                _there(connection, connection.cut)

    def mute(self) -> None:
        """Leave every connection up and silent."""
        for connection in self._everyone():
            _there(connection, connection.mute)

    def close(self) -> None:
        """Close every connection politely, without a word before."""
        for connection in self._everyone():
            asyncio.run_coroutine_threadsafe(connection.close(), connection.loop).result(5)

    def goodbye(self, reason: Disconnect) -> None:
        """Send a `disconnect` to every connection that has none yet; they get no more envelopes."""
        for connection in self._everyone():
            if not connection.ending:
                connection.ending = True
                asyncio.run_coroutine_threadsafe(connection.text(_goodbye(reason)), connection.loop).result(5)

    def refresh(self, lead: float) -> None:
        """Slack's routine: a warning, `lead` seconds, refresh_requested, and the old connections are closed."""
        old = self._everyone()
        self.goodbye(Disconnect.WARNING)
        threading.Event().wait(lead)
        for connection in old:
            asyncio.run_coroutine_threadsafe(_retire(connection), connection.loop).result(5)


def _there(connection: Connection, action: Callable[[], None]) -> None:
    """Run it on the server's loop and wait until it is done."""

    async def run() -> None:
        action()

    asyncio.run_coroutine_threadsafe(run(), connection.loop).result(5)


async def _retire(connection: Connection) -> None:
    await connection.text(_goodbye(Disconnect.REFRESH))
    await connection.close()


def _goodbye(reason: Disconnect) -> Json:
    return {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-stand-in"}}
