"""What arrives from Slack: commands, mentions and clicks. Each is one short transaction, then the ack."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import structlog
from prometheus_client import Histogram
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.exc import SQLAlchemyError

from bot.desk import Desk
from bot.slack.cards import CANCEL, OLDER, SlackMessage, answer_message, help_message
from bot.slack.parse import parse_audit, parse_deploy, parse_mention
from commands.reasons import ReasonCode
from commands.requests import Answer, Asker, Cancel, Help, History, Request, Source
from storage.models import Target
from storage.unit_of_work import Note, Store

ACK_SECONDS = Histogram(
    "locktender_ack_seconds",
    "From a delivery's arrival to its ack",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3),
)
COMMANDS = ("/deploy", "/audit")
log = structlog.get_logger("slack")

Body = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class BotIdentity:
    """Who we are, as auth.test said at start."""

    team_id: str
    user_id: str
    bot_id: str
    token: str


class Listeners:
    """The Bolt app's listeners. The network is never touched before an ack."""

    def __init__(self, desk: Desk, store: Store, sent: Callable[[], None]) -> None:
        self._desk = desk
        self._store = store
        self._sent = sent
        # Threads of their own: deliveries and the outbox can never take the ones an ack needs.
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="ack")

    def close(self) -> None:
        """Let running transactions end."""
        self._threads.shutdown(wait=True)

    async def on_deploy(self, ack: AsyncAck, body: Body) -> None:
        """`/deploy …`."""
        await self._command(ack, body, parse_deploy(str(body.get("text") or "")))

    async def on_audit(self, ack: AsyncAck, body: Body) -> None:
        """`/audit …`."""
        await self._command(ack, body, parse_audit(str(body.get("text") or ""), me=str(body.get("user_id") or "")))

    async def on_mention(self, body: Body) -> None:
        """`@locktender deploy …`; answered in the thread, to the asker alone."""
        event = body.get("event") or {}
        if event.get("bot_id") or not event.get("user"):
            return
        asker = Asker(
            team_id=str(event.get("user_team") or event.get("team") or body.get("team_id") or ""),
            user_id=str(event["user"]),
            delivery_key=f"event:{body.get('event_id')}",
            channel_id=str(event.get("channel") or ""),
            source=Source.MENTION,
            thread_ts=str(event.get("thread_ts") or event.get("ts") or ""),
        )
        request = parse_mention(str(event.get("text") or ""), me=asker.user_id)
        message = await self._answer(asker, request)
        note = Note(
            key=f"answer:{asker.delivery_key}",
            target=Target.EPHEMERAL,
            channel=asker.channel_id,
            user_id=asker.user_id,
            thread_ts=str(event.get("thread_ts") or ""),
            body={"text": "", "fallback": message.text, "blocks": list(message.blocks)},
        )
        await self._in_thread(lambda: self._send(note))
        self._sent()

    async def on_cancel(self, ack: AsyncAck, body: Body) -> None:
        """The Cancel button of a card."""
        asker = _clicker(body, per_message=True)
        await self._clicked(ack, body, asker, Cancel((str(_action(body).get("value") or ""),)), replace=False)

    async def on_older(self, ack: AsyncAck, body: Body) -> None:
        """The Older button below a page of the record."""
        request = _page(str(_action(body).get("value") or ""))
        await self._clicked(ack, body, _clicker(body, per_message=False), request, replace=True)

    # ------------------------------------------------------------ parts

    async def _command(self, ack: AsyncAck, body: Body, request: Request) -> None:
        asker = Asker(
            team_id=str(body.get("team_id") or ""),
            user_id=str(body.get("user_id") or ""),
            delivery_key=f"trigger:{body.get('trigger_id')}",
            channel_id=str(body.get("channel_id") or ""),
            source=Source.SLASH,
            response_url=str(body.get("response_url") or ""),
        )
        message = await self._answer(asker, request)
        await ack(text=message.text, blocks=list(message.blocks), response_type="ephemeral")

    async def _clicked(self, ack: AsyncAck, body: Body, asker: Asker, request: Request, *, replace: bool) -> None:
        message = await self._answer(asker, request)
        note = Note(
            key=f"answer:{asker.delivery_key}:{body.get('trigger_id')}",
            target=Target.RESPONSE,
            url=str(body.get("response_url") or ""),
            body={"text": "", "fallback": message.text, "blocks": list(message.blocks), "replace": replace},
        )
        await self._in_thread(lambda: self._send(note))
        await ack()
        self._sent()

    async def _answer(self, asker: Asker, request: Request) -> SlackMessage:
        if isinstance(request, Help):
            return help_message(request.command)
        try:
            answer: Answer = await self._in_thread(lambda: self._desk.answer(asker, request))
        except (SQLAlchemyError, OSError):
            error_id = uuid4().hex[:8]
            log.exception("slack.not_recorded", error_id=error_id, user=asker.user_id)
            answer = Answer(
                ReasonCode.INTERNAL,
                "The request could not be recorded, so nothing was done.",
                f"Try again in a minute; if it stays so, give the platform team the error id `{error_id}`.",
            )
        self._sent()
        return answer_message(answer)

    def _send(self, note: Note) -> None:
        with self._store.write() as uow:
            uow.send(note)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def build_app(listeners: Listeners, identity: BotIdentity, client: AsyncWebClient) -> AsyncApp:
    """The Bolt app. Signatures are checked before it (bot.slack.signing); it makes no call to authorise a request."""

    async def authorize(**_: object) -> AuthorizeResult:
        return AuthorizeResult(
            enterprise_id=None,
            team_id=identity.team_id,
            bot_token=identity.token,
            bot_id=identity.bot_id,
            bot_user_id=identity.user_id,
        )

    app = AsyncApp(
        client=client,
        authorize=authorize,
        process_before_response=True,  # an event is acked when it is recorded, not when it arrived
        request_verification_enabled=False,
        ignoring_self_events_enabled=False,  # on_mention looks at bot_id itself
        raise_error_for_unhandled_request=False,
    )
    app.command("/deploy")(_timed("command", listeners.on_deploy))
    app.command("/audit")(_timed("command", listeners.on_audit))
    app.event("app_mention")(listeners.on_mention)
    app.action(CANCEL)(_timed("click", listeners.on_cancel))
    app.action(OLDER)(_timed("click", listeners.on_older))
    return app


def _timed(
    kind: str, listener: Callable[[AsyncAck, Body], Awaitable[None]]
) -> Callable[[AsyncAck, Body], Awaitable[None]]:
    observe = ACK_SECONDS.labels(kind).observe

    async def timed(ack: AsyncAck, body: Body) -> None:
        began = time.perf_counter()
        try:
            await listener(ack, body)
        finally:
            observe(time.perf_counter() - began)

    return timed


def _action(body: Body) -> Body:
    actions = body.get("actions") or [{}]
    first: Body = actions[0]
    return first


def _clicker(body: Body, *, per_message: bool) -> Asker:
    """Who clicked, by signed ids. `per_message`: a second click on the same message is the same request."""
    user = body.get("user") or {}
    container = body.get("container") or {}
    channel = str((body.get("channel") or {}).get("id") or container.get("channel_id") or "")
    key = (
        f"click:{channel}:{container.get('message_ts')}:{_action(body).get('action_id')}:{user.get('id')}"
        if per_message
        else f"trigger:{body.get('trigger_id')}"
    )
    return Asker(
        team_id=str(user.get("team_id") or (body.get("team") or {}).get("id") or ""),
        user_id=str(user.get("id") or ""),
        delivery_key=key,
        channel_id=channel,
        source=Source.BUTTON,
        response_url=str(body.get("response_url") or ""),
    )


def _page(value: str) -> History:
    """The next page, from a button's value: ours, but it comes back over the network, so it is read with care."""
    try:
        stored = json.loads(value)
        return History(
            app=str(stored["app"])[:63],
            environment=str(stored["environment"])[:63],
            actor=str(stored["actor"])[:32],
            deployment_id=str(stored["deployment_id"])[:32],
            before=int(stored["before"]),
        )
    except (ValueError, KeyError, TypeError):
        return History()
