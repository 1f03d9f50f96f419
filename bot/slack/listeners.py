"""What arrives from Slack: commands, mentions and clicks. Each is one short transaction, then the ack."""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import aiohttp
import structlog
from prometheus_client import Histogram
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncBoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient
from sqlalchemy.exc import SQLAlchemyError

from bot.desk import Desk
from bot.slack.answers import OLDER, answer_message
from bot.slack.audit_pages import older_page
from bot.slack.blocks import SlackMessage
from bot.slack.cards import CANCEL
from bot.slack.help import help_message
from bot.slack.parse import parse_audit, parse_deploy, parse_mention, parse_promote, parse_rollback
from commands.own_card import is_placed
from commands.reasons import ReasonCode
from commands.requests import Answer, Asker, Cancel, Help, Request, Source
from storage.models import Target
from storage.scribe import Scribe
from storage.unit_of_work import Note, Store, UnitOfWork

ACK_SECONDS = Histogram(
    "locktender_ack_seconds",
    "From a delivery's arrival to its ack",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3),
)
COMMANDS = ("/deploy", "/promote", "/rollback", "/audit")
DOUBLE_CLICK = 10
"""Seconds: clicks of one person on one button in the same ten are one."""
PLACED_GAP, PLACED_LOOKS = 0.05, 30
"""Seconds between two looks, and how many a click waits for the place of its card; Slack wants its answer in three."""
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

    def __init__(self, desk: Desk, store: Store, recorded: Callable[[], None]) -> None:
        self._desk = desk
        self._store = store
        self._recorded = recorded
        self._telling: set[asyncio.Task[None]] = set()
        # A thread of its own: deliveries and the outbox can never take the one that acks need.
        self._scribe = Scribe(store.database)

    def close(self) -> None:
        """Let running transactions end."""
        self._scribe.close()

    def answering(self) -> contextlib.AbstractContextManager[None]:
        """What is done in here somebody waits for: whatever else the process does is put off."""
        return self._store.database.courtesy.answering()

    async def on_deploy(self, ack: AsyncAck, body: Body) -> None:
        """`/deploy …`."""
        await self._command(ack, body, parse_deploy(str(body.get("text") or "")))

    async def on_promote(self, ack: AsyncAck, body: Body) -> None:
        """`/promote …`."""
        await self._command(ack, body, parse_promote(str(body.get("text") or "")))

    async def on_rollback(self, ack: AsyncAck, body: Body) -> None:
        """`/rollback …`."""
        await self._command(ack, body, parse_rollback(str(body.get("text") or "")))

    async def on_audit(self, ack: AsyncAck, body: Body) -> None:
        """`/audit …`."""
        await self._command(ack, body, parse_audit(str(body.get("text") or ""), me=str(body.get("user_id") or "")))

    async def on_mention(self, ack: AsyncAck, body: Body) -> None:
        """`@locktender deploy …`; answered in the thread, to the asker alone. Bolt acks when this returns."""
        del ack
        event = body.get("event") or {}
        if event.get("bot_id") or not event.get("user"):
            return
        asker = Asker(
            team_id=_team_of(event, body),
            user_id=str(event["user"]),
            delivery_key=delivery_key("event", body.get("event_id")),
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
        self._recorded()

    async def on_cancel(self, ack: AsyncAck, body: Body) -> None:
        """The Cancel button of a card. A second click within seconds is the same request."""
        asker, value = clicker(body, double_click=True), str(action_of(body).get("value") or "")
        await self.placed(value)
        await self.clicked(ack, body, asker, Cancel((value,)), replace=False)

    async def on_older(self, ack: AsyncAck, body: Body) -> None:
        """The Older button below a page of the record."""
        request = older_page(str(action_of(body).get("value") or ""))
        await self.clicked(ack, body, clicker(body, double_click=False), request, replace=True)

    async def on_other_command(self, ack: AsyncAck, body: Body) -> None:
        """A command that the app's settings name and this version does not know."""
        name = str(body.get("command") or "")[:60]
        await self._only_say(ack, f"`{name}` is no command of mine.", "`/deploy help` shows what is.")

    async def on_other_action(self, ack: AsyncAck, body: Body) -> None:
        """A button of another version's card."""
        answer = Answer(
            ReasonCode.BAD_USAGE,
            "This button is of another version of Locktender and does nothing now.",
            "`/deploy help` shows how to say what you want.",
        )
        await self.tell_clicker(ack, body, clicker(body, double_click=False), answer_message(answer), replace=False)

    async def on_other_event(self, ack: AsyncAck, body: Body) -> None:
        """An event that the app subscribes to and nobody here needs: taken, so that Slack does not send it again."""
        del ack
        log.info("slack.event_unused", type=str((body.get("event") or {}).get("type"))[:60])

    # ------------------------------------------------------------ parts

    async def _only_say(self, ack: AsyncAck, what: str, next_step: str) -> None:
        message = answer_message(Answer(ReasonCode.BAD_USAGE, what, next_step))
        await ack(text=message.text, blocks=list(message.blocks), response_type="ephemeral")

    async def _command(self, ack: AsyncAck, body: Body, request: Request) -> None:
        asker = Asker(
            team_id=str(body.get("team_id") or ""),
            user_id=str(body.get("user_id") or ""),
            delivery_key=delivery_key("trigger", body.get("trigger_id")),
            channel_id=str(body.get("channel_id") or ""),
            source=Source.SLASH,
            response_url=str(body.get("response_url") or ""),
        )
        message = await self._answer(asker, request)
        await ack(text=message.text, blocks=list(message.blocks), response_type="ephemeral")

    async def clicked(self, ack: AsyncAck, body: Body, asker: Asker, request: Request, *, replace: bool) -> None:
        """Do what a button asks for, and answer whoever clicked."""
        await self.tell_clicker(ack, body, asker, await self._answer(asker, request), replace=replace)

    async def placed(self, value: str) -> None:
        """A click may come before Slack's answer to our post is on record: it gets a moment, well within its ack."""
        with contextlib.suppress(SQLAlchemyError, OSError):  # whoever decides meets it too, and says so
            for _ in range(PLACED_LOOKS):
                if await self.look(lambda uow: is_placed(uow, value)):
                    return
                await asyncio.sleep(PLACED_GAP)

    async def tell_clicker(
        self, ack: AsyncAck | None, body: Body, asker: Asker, message: SlackMessage, *, replace: bool
    ) -> None:
        """Answer a click at its response_url, through the outbox, and ack it unless that was done."""
        note = Note(
            key=f"answer:{asker.delivery_key}:{body.get('trigger_id')}",
            target=Target.RESPONSE,
            url=asker.response_url,
            body={"text": "", "fallback": message.text, "blocks": list(message.blocks), "replace": replace},
        )
        try:
            await self._in_thread(lambda: self._send(note))
        except (SQLAlchemyError, OSError):
            log.exception("slack.answer_not_recorded", user=asker.user_id)
            self._say_directly(asker.response_url, message)
        if ack is not None:
            await ack()
        self._recorded()

    def _say_directly(self, url: str, message: SlackMessage) -> None:
        """Without a database there is no outbox: the person who clicked is told at once, if the network lets us."""
        task = asyncio.create_task(_post(url, message), name="say directly")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _answer(self, asker: Asker, request: Request) -> SlackMessage:
        if isinstance(request, Help):
            return help_message(request.command)
        return answer_message(await self.decide(asker, request))

    async def decide(self, asker: Asker, request: Request) -> Answer:
        """What the desk says; a sentence with an id to look for when it cannot."""
        try:
            answer: Answer = await self._in_thread(lambda: self._desk.answer(asker, request))
        except Exception:  # the edge: a defect of ours is rolled back too, and nobody is left without a word
            error_id = uuid4().hex[:8]
            log.exception("slack.not_recorded", error_id=error_id, user=asker.user_id)
            answer = Answer(
                ReasonCode.INTERNAL,
                "The request could not be recorded, so nothing was done.",
                f"Try again in a minute; if it stays so, give the platform team the error id `{error_id}`.",
            )
        self._recorded()
        return answer

    async def send(self, note: Note) -> None:
        """Put a message in the outbox, before the ack."""
        await self._in_thread(lambda: self._send(note))
        self._recorded()

    async def look(self, read: Callable[[UnitOfWork], T]) -> T:
        """One look at the database."""

        def in_snapshot() -> T:
            with self._store.read() as uow:
                return read(uow)

        return await asyncio.to_thread(in_snapshot)

    def _send(self, note: Note) -> None:
        with self._store.write() as uow:
            uow.send(note)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._scribe.submit(work))


class _App(AsyncApp):
    """A Bolt app that is not disturbed while it answers, however the request came."""

    def __init__(self, answering: Callable[[], contextlib.AbstractContextManager[None]], **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._answering = answering

    async def async_dispatch(self, req: AsyncBoltRequest) -> BoltResponse:
        """As Bolt's."""
        with self._answering():
            return await super().async_dispatch(req)


def build_app(
    listeners: Listeners,
    identity: BotIdentity,
    client: AsyncWebClient,
    more: Callable[[AsyncApp], None] = lambda _: None,
) -> AsyncApp:
    """The Bolt app. Signatures are checked before it (bot.slack.signing); it makes no call to authorise a request."""

    async def authorize(**_: object) -> AuthorizeResult:
        return AuthorizeResult(
            enterprise_id=None,
            team_id=identity.team_id,
            bot_token=identity.token,
            bot_id=identity.bot_id,
            bot_user_id=identity.user_id,
        )

    app = _App(
        listeners.answering,
        client=client,
        authorize=authorize,
        process_before_response=True,  # an event is acked when it is recorded, not when it arrived
        request_verification_enabled=False,
        ignoring_self_events_enabled=False,  # on_mention looks at bot_id itself
        raise_error_for_unhandled_request=False,
    )
    app.command("/deploy")(timed("command", listeners.on_deploy))
    app.command("/promote")(timed("command", listeners.on_promote))
    app.command("/rollback")(timed("command", listeners.on_rollback))
    app.command("/audit")(timed("command", listeners.on_audit))
    app.event("app_mention")(timed("event", listeners.on_mention))
    app.action(CANCEL)(timed("click", listeners.on_cancel))
    app.action(OLDER)(timed("click", listeners.on_older))
    more(app)
    anything = re.compile("")  # the last of each kind: Bolt takes the first listener that matches
    app.command(anything)(timed("command", listeners.on_other_command))
    app.action(anything)(timed("click", listeners.on_other_action))
    app.event(anything)(timed("event", listeners.on_other_event))
    return app


def timed(
    kind: str, listener: Callable[[AsyncAck, Body], Awaitable[None]]
) -> Callable[[AsyncAck, Body], Awaitable[None]]:
    """The listener, its time measured from the arrival."""
    observe = ACK_SECONDS.labels(kind).observe

    async def timed(ack: AsyncAck, body: Body) -> None:
        began = time.perf_counter()
        try:
            await listener(ack, body)
        finally:
            observe(time.perf_counter() - began)

    return timed


async def _post(url: str, message: SlackMessage) -> None:
    try:
        await AsyncWebhookClient(url, timeout=5).send(
            text=message.text, blocks=list(message.blocks), response_type="ephemeral", replace_original=False
        )
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        log.warning("slack.not_told", error=type(error).__name__)


def delivery_key(kind: str, value: object) -> str:
    """What makes a delivery the same one again. Slack always gives it; without one every delivery is its own."""
    return f"{kind}:{value or uuid4().hex}"


def _team_of(event: Body, body: Body) -> str:
    """The workspace of whoever wrote. Where strangers may write, an event that does not say is from a stranger."""
    own = "" if body.get("is_ext_shared_channel") else body.get("team_id")
    return str(event.get("user_team") or event.get("team") or own or "")


def action_of(body: Body) -> Body:
    """The button that was clicked."""
    actions = body.get("actions") or [{}]
    first: Body = actions[0]
    return first


def clicker(body: Body, *, double_click: bool) -> Asker:
    """Who clicked, by signed ids. With `double_click`, clicks within seconds on one button are one request.

    A button of other content in the same place is another. And not for longer: what was refused a minute ago may be
    right now, and the state itself keeps an effect from doubling.
    """
    user = body.get("user") or {}
    container = body.get("container") or {}
    channel = str((body.get("channel") or {}).get("id") or container.get("channel_id") or "")
    action = action_of(body)
    when = str(action.get("action_ts") or "").partition(".")[0]
    key = (
        f"click:{channel}:{container.get('message_ts')}:{action.get('action_id')}:{str(action.get('value'))[:64]}"
        f":{user.get('id')}:{int(when) // DOUBLE_CLICK}"
        if double_click and when.isdigit()
        else delivery_key("trigger", body.get("trigger_id"))
    )
    return Asker(
        team_id=str(user.get("team_id") or (body.get("team") or {}).get("id") or ""),
        user_id=str(user.get("id") or ""),
        delivery_key=key,
        channel_id=channel,
        source=Source.BUTTON,
        response_url=str(body.get("response_url") or ""),
        message_ts=str(container.get("message_ts") or ""),
    )
