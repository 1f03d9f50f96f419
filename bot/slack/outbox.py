"""Sends what the database says is to be sent: cards, then messages; at least once, and found again if it was sent.

A row is leased before Slack is called and recorded after. A crash in between leaves an attempt without a record: the
next one looks in the channel for a message with this deployment's metadata before it posts.
"""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.slack.answers import thread_message
from bot.slack.blocks import SlackMessage
from bot.slack.outbox_look import CardJob, NoteJob, Quiet
from bot.slack.outbox_rows import LEASE, RATE_LIMITED, SENT, OutboxRows, Outcome
from storage.models import Target

LOOK_EVERY = 1.0
ROUND_GAP = 0.1
"""Seconds between two rounds: what is written meanwhile shares the next, and nobody sees a tenth of a second. Twice as
long after each round that was asked for and found nothing, up to LOOK_EVERY: while Slack takes no posts for a channel,
every command asks for one."""
TOGETHER = 0.02
"""Seconds that the record of a card waits for those that are answered just after it."""
SLOW_FOR = 60.0
"""Seconds for which a channel gets one post at a time, POST_GAP apart, after Slack has limited posts to it."""
POST_GAP = 1.0
"""Seconds between two such posts: Slack takes about one a second and channel."""
TIMEOUT = 10
"""Seconds for one call to a response_url."""
Call = Callable[..., Awaitable[AsyncSlackResponse]]
METADATA = "locktender_deployment"
_CANNOT_LOOK = {"missing_scope", "not_in_channel", "thread_not_found"}
NOTE_METADATA = "locktender_note"
LOOK_BACK = 60.0
"""Seconds before its request from which a card is looked for: our clock and Slack's may differ."""
PAGES = 5
"""Pages of 200 messages that are looked through for a card that may have been posted."""
_BLOCKS_REFUSED = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"}
_NO_ANSWER = (aiohttp.ClientError, OSError, TimeoutError, ValueError, AttributeError)
"""The network's errors, and what Slack's client raises over a proxy's page where it expects an object."""
log = structlog.get_logger("outbox")


class UndeliverableError(Exception):
    """A response_url that takes nothing any more: used up, expired, or it refuses this message."""


class Outbox:
    """One task per process; replicas share the rows by leases. All methods belong to one event loop but `poke`."""

    def __init__(self, rows: OutboxRows, client: AsyncWebClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._rows = rows
        self._client = client
        # Slack's client posts again by itself when a connection breaks, perhaps after the message was posted: twice.
        self._client.retry_handlers.clear()
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._quiet: dict[str, float] = {}  # method and channel -> until when Slack does not want to be called
        self._limited: dict[str, float] = {}  # the same -> when it said so last
        self._notes_first = False

    def reclaim(self) -> None:
        """At the start of the only process: send what a dead one had taken."""
        self._rows.reclaim()

    def start(self) -> None:
        """Begin to send."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="outbox")

    def poke(self) -> None:
        """There may be something to send. Callable from any thread, and at every ack."""
        loop = self._loop
        if loop is not None and not loop.is_closed() and not self._wake.is_set():
            loop.call_soon_threadsafe(self._wake.set)

    async def stop(self, drain: float = 5.0) -> None:
        """Send what is due, for up to `drain` seconds; the rest waits in the database."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            try:
                await asyncio.wait_for(self._task, timeout=drain)
            except TimeoutError:
                log.info("outbox.left_for_later")

    async def _run(self) -> None:
        gap = ROUND_GAP
        while True:
            last = self._stopping  # asked before the look: what was written just before the stop is still sent
            try:
                busy = await self.once()
            except Exception:  # the edge of the task: a database hiccup or a defect must not end all messages
                log.exception("outbox.round_failed")
                busy = False
                await asyncio.sleep(LOOK_EVERY)
            if last and not busy:
                return
            if not self._stopping:
                await asyncio.sleep(min(gap, self._until_next()))
            gap = ROUND_GAP if busy or not self._wake.is_set() else min(gap * 2, LOOK_EVERY)
            if not busy and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), timeout=self._until_next())
                self._wake.clear()

    def _until_next(self) -> float:
        """Seconds until a look is worth it without being asked for: sooner when Slack may be called again by then."""
        held = [wait for method in self._quiet if (wait := self._quiet_for(method)) > 0]
        return min([LOOK_EVERY, *held])

    async def once(self) -> bool:
        """One round: lease what is due and send it. True when there was something."""
        until = self._clock() + LEASE.total_seconds() - TIMEOUT
        cards, notes = await asyncio.to_thread(self._rows.lease, self._quiet_now())
        await self._cards(cards)
        held: list[tuple[NoteJob, float]] = []
        for note in notes:  # one after another: replies in a thread keep their order
            if self._clock() > until:
                break  # Slack is slow: another replica may lease the rest before we are done with it, and send it too
            if (wait := self._quiet_for(_method(note))) > 0:
                held.append((note, wait))
            else:
                await self._note(note)
        if held:
            await asyncio.to_thread(self._rows.notes_held, held)
        return bool(cards or notes)

    # ------------------------------------------------------------ cards

    async def _cards(self, jobs: Sequence[CardJob]) -> None:
        """Send them beside each other, and record together what ends at about the same time.

        Nothing waits long for that: a click on a card counts when its place is on record.
        """
        waiting = {asyncio.create_task(self._card(job)) for job in jobs}
        while waiting:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            ended, waiting = await asyncio.wait(waiting, timeout=TOGETHER)
            await asyncio.to_thread(self._rows.record, [task.result() for task in ended])

    async def _card(self, job: CardJob) -> Outcome:
        shown = _hash(job.message)
        if job.ts and shown == job.shown:
            return self._rows.card_sent(job, job.ts, shown)
        method = "update" if job.ts else f"post:{job.channel}"
        if (wait := self._quiet_for(method)) > 0:
            return self._rows.card_held(job, wait)
        try:
            ts = await self._post_card(job)
        except SlackApiError as error:
            wait = self._hold(method, error, job.attempts)
            return self._rows.card_failed(job, _code(error), wait)
        except _NO_ANSWER as error:
            return self._rows.card_failed(job, type(error).__name__, _backoff(job.attempts))
        SENT.labels("sent").inc()
        self._pace(method)
        return self._rows.card_sent(job, ts, shown)

    def _quiet_now(self) -> Quiet:
        held = {method for method in self._quiet if self._quiet_for(method) > 0}
        channels = frozenset(method.removeprefix("post:") for method in held if method.startswith("post:"))
        slow = frozenset(method.removeprefix("post:") for method in self._limited if self._is_slow(method))
        self._notes_first = not self._notes_first
        return Quiet("update" in held, channels, slow, self._notes_first)

    def _is_slow(self, method: str) -> bool:
        return self._clock() < self._limited.get(method, -SLOW_FOR) + SLOW_FOR

    def _pace(self, method: str) -> None:
        """Something was posted: where Slack has limited us lately, the next one waits for its turn."""
        if method.startswith("post:") and self._is_slow(method):
            self._quiet[method] = self._clock() + POST_GAP

    def _quiet_for(self, method: str) -> float:
        return self._quiet.get(method, 0.0) - self._clock()

    def _hold(self, method: str, error: SlackApiError, attempts: int) -> float:
        """Seconds until the next try. A rate limit is for all calls of its kind: the others are held back too."""
        wait = _retry_after(error, attempts)
        if _code(error) == RATE_LIMITED:
            self._limited[method] = self._clock()
            self._quiet[method] = self._limited[method] + wait
        return wait

    async def _post_card(self, job: CardJob) -> str:
        common: dict[str, Any] = {
            "channel": job.channel,
            "text": job.message.text,
            "blocks": list(job.message.blocks),
            "metadata": {"event_type": METADATA, "event_payload": {"deployment_id": job.deployment_id}},
        }
        ts = job.ts
        if not ts and job.attempts:
            ts = await self._find_card(job)
        if ts:
            try:
                await self._shown(self._client.chat_update, ts=ts, **common)
            except SlackApiError as error:
                if _code(error) != "message_not_found":
                    raise
            else:
                return ts
        answer = await self._shown(self._client.chat_postMessage, unfurl_links=False, unfurl_media=False, **common)
        return str(answer["ts"])

    @staticmethod
    async def _shown(call: Call, **message: Any) -> AsyncSlackResponse:  # noqa: ANN401 - the arguments of Slack's own methods
        """Call; without blocks when Slack refuses those: a plain card tells the truth too."""
        try:
            return await call(**message)
        except SlackApiError as error:
            if _code(error) not in _BLOCKS_REFUSED:
                raise
            log.warning("outbox.blocks_refused", channel=message.get("channel"), error=_code(error))
            return await call(**(message | {"blocks": []}))

    async def _find_card(self, job: CardJob) -> str:
        """A card that an earlier attempt posted without living to record it; empty when there is none."""
        cursor = ""
        for _ in range(PAGES):
            try:
                answer = await self._client.conversations_history(
                    channel=job.channel,
                    oldest=f"{job.requested_at.timestamp() - LOOK_BACK:.6f}",
                    limit=200,
                    include_all_metadata=True,
                    cursor=cursor or None,
                )
            except SlackApiError as error:
                if _code(error) not in _CANNOT_LOOK:
                    raise
                # Two cards are better than none; `doctor` tells to grant channels:history and to invite the bot.
                log.warning("outbox.cannot_look_for_cards", error=_code(error))
                return ""
            for message in answer.get("messages") or ():
                payload = (message.get("metadata") or {}).get("event_payload") or {}
                if payload.get("deployment_id") == job.deployment_id:
                    return str(message["ts"])
            cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                break
        return ""

    # ------------------------------------------------------------ messages

    async def _note(self, job: NoteJob) -> None:
        try:
            ts = await self._send(job, thread_message(job.body))
        except UndeliverableError as error:
            await asyncio.to_thread(self._rows.note_undeliverable, job, str(error))
        except SlackApiError as error:
            wait = self._hold(_method(job), error, job.attempts)
            await asyncio.to_thread(self._rows.note_failed, job, _code(error), wait)
        except _NO_ANSWER as error:
            await asyncio.to_thread(self._rows.note_failed, job, type(error).__name__, _backoff(job.attempts))
        else:
            SENT.labels("sent").inc()
            self._pace(_method(job))
            await asyncio.to_thread(self._rows.note_sent, job, ts)

    async def _respond(self, job: NoteJob, text: str, blocks: list[dict[str, Any]]) -> None:
        webhook = AsyncWebhookClient(job.url, timeout=TIMEOUT)
        replace = bool(job.body.get("replace"))
        sent = await webhook.send(text=text, blocks=blocks, response_type="ephemeral", replace_original=replace)
        if sent.status_code >= 500 or sent.status_code == 429:
            raise aiohttp.ClientError(f"response_url answered {sent.status_code}")
        if sent.status_code != 200:
            raise UndeliverableError(f"response_url_{sent.status_code}")

    async def _send(self, job: NoteJob, message: SlackMessage) -> str:
        blocks = list(job.body.get("blocks") or message.blocks)
        text = str(job.body.get("fallback") or message.text)
        if job.target is Target.RESPONSE:
            await self._respond(job, text, blocks)
            return ""
        if job.target is Target.EPHEMERAL:
            await self._shown(
                self._client.chat_postEphemeral,
                channel=job.channel,
                user=job.user_id,
                text=text,
                blocks=blocks,
                thread_ts=job.thread_ts or None,
            )
            return ""
        key = f"{job.deployment_id}:{job.id}"
        if job.attempts and job.target is Target.THREAD and (ts := await self._find_reply(job, key)):
            return ts
        answer = await self._shown(
            self._client.chat_postMessage,
            channel=job.channel,
            text=text,
            blocks=blocks,
            thread_ts=job.thread_ts or None,
            unfurl_links=False,
            unfurl_media=False,
            metadata={"event_type": NOTE_METADATA, "event_payload": {"key": key}},
        )
        return str(answer["ts"])

    async def _find_reply(self, job: NoteJob, key: str) -> str:
        try:
            answer = await self._client.conversations_replies(
                channel=job.channel, ts=job.thread_ts, limit=200, include_all_metadata=True
            )
        except SlackApiError as error:
            if _code(error) not in _CANNOT_LOOK:
                raise
            return ""
        for message in answer.get("messages") or ():
            payload = (message.get("metadata") or {}).get("event_payload") or {}
            if payload.get("key") == key:
                return str(message["ts"])
        return ""


def _method(job: NoteJob) -> str:
    """What Slack limits together."""
    return f"post:{job.channel}" if job.target in {Target.THREAD, Target.CHANNEL} else str(job.target)


def _hash(message: SlackMessage) -> str:
    return hashlib.sha256(json.dumps([message.text, message.blocks]).encode()).hexdigest()


def _code(error: SlackApiError) -> str:
    """Slack's word for what is wrong, or the HTTP status of an answer that was not Slack's (a proxy's page, say)."""
    response = cast("Any", error.response)
    status = getattr(response, "status_code", 0) or getattr(response, "status", 0)
    if status == 429:
        return RATE_LIMITED
    data = getattr(response, "data", response)
    said = data.get("error") if isinstance(data, dict) else None
    return str(said or f"http_{status}")


def _retry_after(error: SlackApiError, attempts: int) -> float:
    headers = getattr(error.response, "headers", None) or {}
    said = headers.get("Retry-After") or headers.get("retry-after")
    if said is not None and str(said).isdigit():
        return float(said)
    return _backoff(attempts)


def _backoff(attempts: int) -> float:
    return min(0.5 * 2.0 ** min(attempts, 10), 30.0)
