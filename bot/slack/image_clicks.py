"""The buttons on the card of an image that is ready: each is a `/deploy`, by whoever clicks it."""

import re

from slack_bolt.async_app import AsyncAck, AsyncApp

from bot.slack.image_card import DEPLOY, REQUEST
from bot.slack.listeners import Body, Listeners, action_of, clicker, timed
from commands.images import chosen
from commands.reasons import ReasonCode
from commands.requests import Mistake, Request

_OURS = re.compile(f"^(?:{DEPLOY}|{REQUEST})$")


class ImageClicks:
    """What they do is done by the same desk as a typed command, with the rights of the person who clicks."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners

    def register(self, app: AsyncApp) -> None:
        """Before the listeners that take everything else: Bolt takes the first that matches."""
        app.action(_OURS)(timed("click", self.on_click))

    async def on_click(self, ack: AsyncAck, body: Body) -> None:
        """Deploy the card's image, or ask for it where changes are reviewed."""
        value = str(action_of(body).get("value") or "")[:200]
        found = await self._listeners.look(lambda uow: chosen(uow, value))
        request: Request = found or Mistake(
            ReasonCode.STALE_BUTTON,
            "That button is of an image that is not in the record.",
            "Deploy it by name: `/deploy APP VERSION ENVIRONMENT`.",
        )
        await self._listeners.clicked(ack, body, clicker(body, double_click=True), request, replace=False)
