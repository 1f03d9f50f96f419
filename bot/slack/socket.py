"""The bot's Socket Mode connection: opened, watched and replaced, so that commands work whenever the network does.

A `Link` is one connection. This module holds one current link, replaces the *whole* of it (session, address, websocket)
whenever it ends, goes silent or is asked to go, and sends every ack over whichever link is current by then.
https://docs.slack.dev/apis/events-api/using-socket-mode
"""

import asyncio
import contextlib
import json
import random
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from bot.slack.socket_link import Ending, Envelope, Intervals, Link, OpenError

__all__ = ["Ack", "Dispatch", "Envelope", "Intervals", "SocketConnection", "SocketState"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ack:
    """The answer to an envelope; `payload` is what Slack shows at once, where the envelope accepts one."""

    payload: Mapping[str, object] | None = None


Dispatch = Callable[[Envelope], Awaitable[Ack | None]]
"""Handles one envelope; None means no ack, so that Slack sends an event again. It must recognise duplicates itself."""


@dataclass(frozen=True)
class SocketState:
    """For /readyz and the metrics. `last_heard_seconds` is since the last answered ping, None before the first link."""

    connected: bool
    last_heard_seconds: float | None
    reconnects: int
    reason: str  # of the last loss or failure, a plain sentence; empty when there was none
    fatal: bool  # Slack refuses the token: only a person can help


class SocketConnection:
    """Keeps one Socket Mode connection. All methods belong to the event loop that called `start`.

    `api_url` is Slack's Web API (`https://slack.com/api/`). Envelopes are handled concurrently, each exactly once per
    delivery. A crash loses acks in flight: Slack then repeats events, and people repeat commands.
    """

    def __init__(self, app_token: str, api_url: str, dispatch: Dispatch, *, intervals: Intervals | None = None) -> None:
        self._app_token = app_token
        self._api_url = api_url
        self._dispatch = dispatch
        self._intervals = intervals or Intervals()
        self._link: Link | None = None
        self._open: set[Link] = set()  # the current one, and those that are being retired
        self._linked = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._in_flight: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._links = 0
        self._reason = ""
        self._fatal = False

    def state(self) -> SocketState:
        """How the connection is, now."""
        link = self._link
        return SocketState(
            connected=link is not None and link.alive and not self._stopping,
            last_heard_seconds=None if link is None else time.monotonic() - link.heard_at,
            reconnects=max(0, self._links - 1),
            reason=self._reason,
            fatal=self._fatal,
        )

    def start(self) -> None:
        """Begin to connect, and return at once; see `state` and `connected`."""
        self._supervisor = asyncio.create_task(self._supervise(), name="slack-socket")

    async def connected(self, seconds: float) -> bool:
        """Wait until a connection is up, at most this long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.state().connected:
                    self._linked.clear()
                    await self._linked.wait()
        return self.state().connected

    async def stop(self, drain: float = 3.0) -> None:
        """Take no more envelopes, let those in flight be acked for up to `drain` seconds, then close everything."""
        self._stopping = True
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=drain)
        leftovers = [*self._in_flight, *self._retiring, *([self._supervisor] if self._supervisor else [])]
        for task in leftovers:
            task.cancel()
        await asyncio.gather(*leftovers, return_exceptions=True)
        # A task that is cancelled may not have closed its link, or not wholly: closing twice does no harm.
        await asyncio.gather(*(link.close() for link in self._open))
        self._open.clear()
        self._link = None
        self._linked.clear()

    # ------------------------------------------------------------ keeping a connection

    async def _supervise(self) -> None:
        failures = 0
        while True:
            link = await self._opened()
            if isinstance(link, OpenError):
                failures += 1
                self._note(link.reason, fatal=link.fatal)
                await asyncio.sleep(self._pause(failures, link))
                continue
            self._adopt(link)
            ending = await link.verdict
            self._note(ending.value, fatal=ending is Ending.DISABLED)
            if ending is not Ending.REFRESH:
                self._link = None
                self._linked.clear()
                closing = self._retire(link, linger=0)
                if ending is Ending.TOO_MANY:
                    await closing  # only when it is gone is there room for another
            lived = time.monotonic() - link.opened_at
            failures = 0 if lived >= self._intervals.steady else failures + 1
            if failures > 1:
                # The first is replaced at once; one after the other must not become a loop as fast as the CPU.
                await asyncio.sleep(self._pause(failures - 1, None))

    async def _opened(self) -> Link | OpenError:
        try:
            return await Link.open(self._app_token, self._api_url, self._intervals, self._received)
        except OpenError as failed:
            return failed
        except Exception as error:  # noqa: BLE001 - the edge: whatever a library raises, the bot must connect again
            _log.error("slack_socket_open_failed", traceback=_traceback(error))
            return OpenError(f"Slack could not be connected to ({type(error).__name__}); the log has the details")

    def _pause(self, failures: int, failed: OpenError | None) -> float:
        if failed is not None and failed.fatal:
            return self._intervals.fatal_retry
        grown = self._intervals.backoff_first * 2.0 ** min(failures - 1, 10)
        capped = min(grown, self._intervals.backoff_most)
        jittered = capped * random.uniform(0.5, 1)  # noqa: S311 - spreads replicas out; nothing depends on secrecy
        return max(jittered, failed.after if failed is not None else 0.0)

    def _adopt(self, link: Link) -> None:
        """Make it the current one; the one before is read a little longer, for what Slack has already sent to it."""
        old, self._link = self._link, link
        self._open.add(link)
        self._links += 1
        self._fatal = False
        self._linked.set()
        _log.info("slack_socket_connected", connections=self._links)
        if old is not None:
            self._retire(old, linger=self._intervals.linger)

    def _retire(self, link: Link, *, linger: float) -> asyncio.Task[None]:
        async def retire() -> None:
            await asyncio.sleep(linger)
            await link.close()
            self._open.discard(link)

        task = asyncio.create_task(retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return task

    def _note(self, reason: str, *, fatal: bool) -> None:
        if reason != self._reason or fatal != self._fatal:  # a long outage is one line, not one in three seconds
            _log.warning("slack_socket_lost", reason=reason, fatal=fatal)
        self._reason = reason
        self._fatal = fatal

    # ------------------------------------------------------------ answering

    def _received(self, envelope: Envelope) -> None:
        if self._stopping:
            return  # unanswered, Slack gives an event to another replica and tells a person that it timed out
        task = asyncio.create_task(self._answer(envelope))
        self._in_flight.add(task)
        task.add_done_callback(self._answered)

    async def _answer(self, envelope: Envelope) -> None:
        ack = await self._dispatch(envelope)
        if ack is None:
            return
        wire: dict[str, object] = {"envelope_id": envelope.envelope_id}
        if ack.payload is not None and envelope.accepts_payload:
            wire["payload"] = ack.payload
        text = json.dumps(wire)
        try:
            async with asyncio.timeout(self._intervals.ack_patience):
                await self._send(text)
        except TimeoutError:
            _log.warning("slack_ack_lost", envelope=envelope.envelope_id, kind=envelope.kind)

    async def _send(self, text: str) -> None:
        """Over the current link, or the next one that can: the one that brought the envelope may be gone."""
        while True:
            link = self._link
            if link is not None and await link.send(text):
                return
            if self._link is link:
                self._linked.clear()
            await self._linked.wait()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("slack_dispatch_failed", traceback=_traceback(error))


def _traceback(error: BaseException) -> str:
    """As plain text: a renderer that prints local variables would print the token, and stops the loop meanwhile."""
    return "".join(traceback.format_exception(error))
