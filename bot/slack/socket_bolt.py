"""Hands Socket Mode envelopes to a Bolt app, as Bolt's own adapter does."""

import json
from collections.abc import Sequence

from slack_bolt.app.async_app import AsyncApp
from slack_bolt.request.async_request import AsyncBoltRequest

from bot.slack.socket import Ack, Dispatch, Envelope


def bolt_dispatch(app: AsyncApp) -> Dispatch:
    """A dispatch that runs the app's listeners; nothing is acked unless Bolt answers 200."""

    async def dispatch(envelope: Envelope) -> Ack | None:
        headers: dict[str, str | Sequence[str]] = {}
        if envelope.retry_attempt is not None:
            headers["x-slack-retry-num"] = str(envelope.retry_attempt)
        if envelope.retry_reason is not None:
            headers["x-slack-retry-reason"] = envelope.retry_reason
        request = AsyncBoltRequest(mode="socket_mode", body=dict(envelope.payload), headers=headers)
        response = await app.async_dispatch(request)
        if response.status != 200:
            return None
        if not response.body:
            return Ack()
        kind = response.headers.get("content-type", [""])[0]
        return Ack(json.loads(response.body) if kind.startswith("application/json") else {"text": response.body})

    return dispatch
