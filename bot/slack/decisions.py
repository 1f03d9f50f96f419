"""The buttons and forms of the gate: approve, reject, review, roll back. A form is opened after its click is acked."""

import json
from typing import Any

import aiohttp
import structlog
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.slack.answers import answer_message
from bot.slack.cards import ROLLBACK
from bot.slack.listeners import Body, Listeners, action_of, clicker, delivery_key, timed
from bot.slack.review import APPROVE, APPROVE_WITH, REJECT, REVIEWED
from bot.slack.text import cut
from commands.reasons import ReasonCode
from commands.requests import Answer, Approve, Asker, Mistake, Reject, Request, Review, Rollback, Source
from storage.models import Target
from storage.unit_of_work import Note, Store

_FIELD, _TEXT = "why", "text"
_LONGEST = 500
_MISSING = frozenset({ReasonCode.REASON_REQUIRED, ReasonCode.COMMENT_REQUIRED})
_BESIDE_THE_FIELD = _MISSING | {ReasonCode.UNSAFE_TEXT, ReasonCode.BAD_USAGE}
log = structlog.get_logger("slack")


class Decisions:
    """The listeners of decisions. What they do is done by the same desk as everything else."""

    def __init__(self, listeners: Listeners, store: Store, client: AsyncWebClient) -> None:
        self._listeners = listeners
        self._store = store
        self._client = client

    def register(self, app: AsyncApp) -> None:
        """Before the listeners that take everything else: Bolt takes the first that matches."""
        app.action(APPROVE)(timed("click", self.on_approve))
        app.action(REVIEWED)(timed("click", self.on_reviewed))
        for action in (APPROVE_WITH, REJECT, ROLLBACK):
            app.action(action)(timed("click", self.on_form))
            app.view(action)(timed("form", self.on_submit))

    async def on_approve(self, ack: AsyncAck, body: Body) -> None:
        """Approve, which Slack has asked to confirm."""
        value = str(action_of(body).get("value") or "")
        await self._listeners.placed(value)
        await self._listeners.clicked(ack, body, clicker(body, double_click=True), Approve(value), replace=False)

    async def on_reviewed(self, ack: AsyncAck, body: Body) -> None:
        """Reviewed, on the card of a break-glass change."""
        value = str(action_of(body).get("value") or "")
        await self._listeners.placed(value)
        await self._listeners.clicked(ack, body, clicker(body, double_click=True), Review(value), replace=False)

    async def on_form(self, ack: AsyncAck, body: Body) -> None:
        """A button that needs words: its form is opened within the three seconds that the trigger lives."""
        await ack()
        action = action_of(body)
        asker = clicker(body, double_click=False)
        view = self._form(str(action.get("action_id")), str(action.get("value") or ""), asker)
        try:
            await self._client.views_open(trigger_id=str(body.get("trigger_id") or ""), view=view)
        except (SlackApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("slack.form_not_opened", error=type(error).__name__)
            answer = Answer(
                ReasonCode.BAD_USAGE,
                "The form could not be opened in time.",
                "Click again; a command does the same: `/deploy help` and `/rollback help` show how.",
            )
            await self._listeners.tell_clicker(None, body, asker, answer_message(answer), replace=False)

    async def on_submit(self, ack: AsyncAck, body: Body) -> None:
        """A form that was sent: what is wrong is said beside the field, and nothing is lost of what was typed."""
        view = body.get("view") or {}
        words = str(
            (((view.get("state") or {}).get("values") or {}).get(_FIELD) or {}).get(_TEXT, {}).get("value") or ""
        )
        kept = _kept(str(view.get("private_metadata") or ""))
        user = body.get("user") or {}
        asker = Asker(
            team_id=str(user.get("team_id") or (body.get("team") or {}).get("id") or ""),
            user_id=str(user.get("id") or ""),
            delivery_key=delivery_key("form", f"{view.get('id')}:{view.get('hash')}:{words}"),
            channel_id=kept.get("channel", ""),
            source=Source.BUTTON,
            message_ts=kept.get("message", ""),
        )
        one_line = " ".join(words.split())  # the field takes several, the record and the commit one
        request = await self._request(str(view.get("callback_id") or ""), kept.get("value", ""), one_line)
        answer = await self._listeners.decide(asker, request)
        if answer.reason in _BESIDE_THE_FIELD:
            await ack(response_action="errors", errors={_FIELD: cut(_beside(answer), 150)})
            return
        message = answer_message(answer)
        note = Note(
            key=f"answer:{asker.delivery_key}",
            target=Target.EPHEMERAL,
            channel=asker.channel_id,
            user_id=asker.user_id,
            body={"text": "", "fallback": message.text, "blocks": list(message.blocks)},
        )
        await self._listeners.send(note)
        await ack()

    async def _request(self, action: str, value: str, words: str) -> Request:
        if action == APPROVE_WITH:
            return Approve(value, words)
        if action == REJECT:
            return Reject(value, words)
        failed = await self._listeners.look(lambda uow: uow.deployment(value))
        if failed is None:
            return Mistake(
                ReasonCode.UNKNOWN_DEPLOYMENT,
                "The deployment of that button is not on record.",
                "Say what to roll back: `/rollback APP ENVIRONMENT --reason TEXT`.",
                words=value,
            )
        return Rollback(failed.app, failed.environment, reason=words, failed=failed.id)

    @staticmethod
    def _form(action: str, value: str, asker: Asker) -> dict[str, Any]:
        title, label, submit = {
            APPROVE_WITH: ("Approve", "What did you look at?", "Approve"),
            REJECT: ("Reject", "Why not? Whoever asked reads this on the card.", "Reject"),
            ROLLBACK: ("Roll back", "Why? It is recorded, and the approvers read it.", "Roll back"),
        }[action]
        return {
            "type": "modal",
            "callback_id": action,
            "private_metadata": json.dumps(
                {"value": value[:200], "channel": asker.channel_id[:32], "message": asker.message_ts[:32]}
            ),
            "title": {"type": "plain_text", "text": title},
            "submit": {"type": "plain_text", "text": submit},
            "close": {"type": "plain_text", "text": "Not now"},
            "blocks": [
                {
                    "type": "input",
                    "block_id": _FIELD,
                    "label": {"type": "plain_text", "text": label},
                    "element": {
                        "type": "plain_text_input",
                        "action_id": _TEXT,
                        "multiline": True,
                        "max_length": _LONGEST,
                    },
                }
            ],
        }


def _beside(answer: Answer) -> str:
    """What is wrong with the words of a form. How a command says them is of no use there."""
    return answer.what if answer.reason in _MISSING else f"{answer.what} {answer.next_step}"


def _kept(text: str) -> dict[str, str]:
    """What the form was opened for: ours, but it comes back over the network."""
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    names = ("value", "channel", "message")
    return {name: str(stored.get(name, ""))[:200] for name in names} if isinstance(stored, dict) else {}
