"""How payloads reach the app: HTTP requests signed as Slack signs them, or Socket Mode envelopes."""

import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlencode

import httpx

from bot.sandbox.slack_hub import Hub
from bot.sandbox.slack_model import Delivery, Json, SlackApp, Timing, Trouble


class Kind(StrEnum):
    """The three kinds of payload, by their name in Socket Mode."""

    COMMAND = "slash_commands"
    INTERACTIVE = "interactive"
    EVENT = "events_api"


class Transport(Protocol):
    """One way to the app."""

    def deliver(self, kind: Kind, payload: Json, *, attempt: int = 0, reason: str = "") -> Delivery:
        """Hand over one payload and wait for the ack, at most as long as Slack does. Blocks."""
        ...


@dataclass
class OverSockets:
    """Socket Mode: payloads are unsigned and go to one of the connections."""

    hub: Hub

    def deliver(self, kind: Kind, payload: Json, *, attempt: int = 0, reason: str = "") -> Delivery:
        """See Transport."""
        return self.hub.deliver(kind, payload, attempt=attempt, reason=reason)


def signed_headers(app: SlackApp, body: bytes, at: float) -> dict[str, str]:
    """The two headers Slack signs a request with; written here again on purpose, not shared with the bot's check."""
    stamp = str(int(at))
    digest = hmac.new(app.signing_secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={digest}"}


@dataclass
class OverHttp:
    """HTTP mode: commands, clicks and events all go to one request URL."""

    request_url: str
    app: SlackApp
    timing: Timing
    clock_skew: float = 0.0  # seconds added to the timestamp that is signed
    down: bool = False  # the network between Slack and the app is cut
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False))

    def deliver(self, kind: Kind, payload: Json, *, attempt: int = 0, reason: str = "") -> Delivery:
        """See Transport."""
        if kind is Kind.EVENT:
            body, sort = json.dumps(payload).encode(), "application/json"
        else:
            form = payload if kind is Kind.COMMAND else {"payload": json.dumps(payload)}
            body, sort = urlencode(form).encode(), "application/x-www-form-urlencoded"
        headers = {"content-type": sort, "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)"}
        if attempt:
            headers |= {"x-slack-retry-num": str(attempt), "x-slack-retry-reason": reason}
        return self._post(body, headers, attempt)

    def verify_url(self) -> bool:
        """Slack's check when the URL is set: the app must echo a random challenge."""
        challenge = secrets.token_urlsafe(30)
        payload = {"token": self.app.verification_token, "challenge": challenge, "type": "url_verification"}
        answer = self.deliver(Kind.EVENT, payload)
        said = answer.body.get("challenge") if isinstance(answer.body, dict) else answer.body
        return answer.trouble is Trouble.NONE and said == challenge

    def _post(self, body: bytes, headers: dict[str, str], attempt: int) -> Delivery:
        started = time.monotonic()
        signed = headers | signed_headers(self.app, body, time.time() + self.clock_skew)
        if self.down:
            return Delivery(Trouble.UNREACHABLE, 0.0, attempt=attempt)
        try:
            answer = self._client.post(self.request_url, content=body, headers=signed, timeout=self.timing.ack)
        except httpx.TimeoutException:
            return Delivery(Trouble.TIMEOUT, time.monotonic() - started, attempt=attempt)
        except httpx.TransportError:
            return Delivery(Trouble.UNREACHABLE, time.monotonic() - started, attempt=attempt)
        seconds = time.monotonic() - started
        trouble = Trouble.NONE if answer.is_success else Trouble.UNREACHABLE
        no_retry = answer.headers.get("x-slack-no-retry") == "1"
        return Delivery(trouble, seconds, answer.status_code, _body(answer), attempt, no_retry)

    def close(self) -> None:
        """Free the connections."""
        self._client.close()


def _body(answer: httpx.Response) -> Json | str | None:
    if not answer.content:
        return None
    if answer.headers.get("content-type", "").startswith("application/json"):
        parsed = answer.json()
        return parsed if isinstance(parsed, dict) else None
    return answer.text
