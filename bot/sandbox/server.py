"""Runs stand-ins on loopback, in a thread of their own, and makes them misbehave on request."""

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Misbehaviour(StrEnum):
    """What a stand-in can be told to do to the next matching request."""

    REFUSE = "refuse"  # answer `status` without doing it
    FAIL_AFTER = "fail_after"  # do it, then answer `status` all the same
    HANG_AFTER = "hang_after"  # do it, then send nothing for `seconds` and drop the connection
    DROP_BEFORE = "drop_before"  # drop the connection without doing it
    DROP_AFTER = "drop_after"  # do it, then drop the connection
    DELAY = "delay"  # wait `seconds`, then do it
    RATE_LIMIT = "rate_limit"  # 429 with Retry-After


@dataclass
class Fault:
    """One misbehaviour, for the next `times` requests whose method and path match."""

    method: str
    path: str  # regular expression, searched in the path
    kind: Misbehaviour
    times: int = 1
    status: int = 500
    seconds: float = 30.0
    hits: int = 0

    def matches(self, scope: Scope) -> bool:
        """True when this request should be spoilt."""
        return (
            self.hits < self.times
            and self.method in {"*", scope.get("method", "GET")}
            and re.search(self.path, str(scope["path"])) is not None
        )


@dataclass
class Faults:
    """The misbehaviours a stand-in was told.

    `before` and `after` are called around every HTTP request, with its method and path: tests count calls there, or
    kill the program at that very instant.
    """

    planned: list[Fault] = field(default_factory=list)
    before: Callable[[str, str], None] | None = None
    after: Callable[[str, str], None] | None = None

    def add(self, fault: Fault) -> Fault:
        """Plan one and return it, so that a test can look at its `hits`."""
        self.planned.append(fault)
        return fault

    def clear(self) -> None:
        """Behave again."""
        self.planned.clear()

    def take(self, scope: Scope) -> Fault | None:
        """The misbehaviour for this request, counted, or None."""
        for fault in self.planned:
            if fault.matches(scope):
                fault.hits += 1
                return fault
        return None

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The same application, spoilt as planned."""

        async def spoilt(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            method, path = str(scope["method"]), str(scope["path"])
            if self.before is not None:
                self.before(method, path)
            fault = self.take(scope)
            try:
                await _serve(app, fault, scope, receive, send)
            finally:
                if self.after is not None:
                    self.after(method, path)

        return spoilt


async def _serve(app: ASGIApp, fault: Fault | None, scope: Scope, receive: Receive, send: Send) -> None:
    match fault.kind if fault else None:
        case None:
            await app(scope, receive, send)
        case Misbehaviour.REFUSE if fault:
            await _answer(send, fault.status, [])
        case Misbehaviour.RATE_LIMIT if fault:
            await _answer(send, 429, [(b"retry-after", str(int(fault.seconds)).encode())])
        case Misbehaviour.DROP_BEFORE:
            await _drop(send)
        case Misbehaviour.DELAY if fault:
            await asyncio.sleep(fault.seconds)
            await app(scope, receive, send)
        case Misbehaviour.FAIL_AFTER if fault:
            await app(scope, receive, _swallow)
            await _answer(send, fault.status, [])
        case Misbehaviour.HANG_AFTER if fault:
            await app(scope, receive, _swallow)
            await asyncio.sleep(fault.seconds)
            await _drop(send)
        case Misbehaviour.DROP_AFTER:
            await app(scope, receive, _swallow)
            await _drop(send)
        case _:  # pragma: no cover - the enum is closed
            raise AssertionError(fault)


async def _swallow(message: Message) -> None:
    del message


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    body = b"the stand-in was told to misbehave"
    head = [*headers, (b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def _drop(send: Send) -> None:
    """Cut the TCP connection: uvicorn's send is a method of the object that owns the transport."""
    send.__self__.transport.abort()  # type: ignore[attr-defined]
    await asyncio.sleep(0.01)  # until uvicorn has seen the loss, so that it does not answer for us


class _Prompt(uvicorn.Server):
    """uvicorn that stops when it is told to: its own loop looks ten times a second, and then waits for nobody."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Have it end; callable from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
                self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        """Let uvicorn tick once a second, for the date in its headers, until it is told to stop."""
        self._loop = asyncio.get_running_loop()
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 10
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, and wait only where a request is under way."""
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown()


class Server:
    """An ASGI application on 127.0.0.1, on a port of the system's choice unless one is given, in its own thread.

    Use it as a context manager. `url` has no trailing slash. Stopping closes open connections.
    """

    def __init__(self, app: ASGIApp, *, port: int = 0) -> None:
        # With the protocol named, asyncio sets TCP_NODELAY: without it every keep-alive answer waits 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1, ws="websockets-sansio"
        )
        self._server = _Prompt(config)
        self._thread = threading.Thread(target=self._run, name=f"stand-in-{self.port}", daemon=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start serving; returns when the port answers."""
        self._thread.start()
        waited = threading.Event()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError(f"the stand-in on port {self.port} did not start")
            waited.wait(0.005)

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.stop()
        self._thread.join(timeout=5)
        self._socket.close()
