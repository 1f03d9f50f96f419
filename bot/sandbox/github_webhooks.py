"""Webhook deliveries as GitHub sends them: signed, once, no retry, ten seconds to answer; or spoilt on request."""

import hashlib
import hmac
import json
import queue
import secrets
import threading
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from bot.sandbox.github_model import Json

_TIMEOUT = 10.0  # seconds


@dataclass
class Delivery:
    """One delivery. `status` is the last answer's; 0: none came, or it has not been sent yet."""

    id: str
    event: str
    body: bytes
    status: int = 0
    tries: int = 0

    @property
    def payload(self) -> Json:
        """What was sent, parsed."""
        parsed: Json = json.loads(self.body)
        return parsed

    @property
    def action(self) -> str:
        """The event's action; a push has none."""
        return str(self.payload.get("action", ""))


@dataclass(frozen=True)
class Hook:
    """Where deliveries go, and the secret they are signed with."""

    url: str
    secret: str
    id: int = 1


def signature(secret: str, body: bytes) -> str:
    """The value of X-Hub-Signature-256; written here again on purpose, not shared with the bot's check."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Webhooks:
    """Sends deliveries one after the other from a thread of its own. `deliveries` has them all, oldest first.

    With no hook set, nothing is made. `hold` keeps them back until `release`, in order or the other way round.
    """

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.hook: Hook | None = None
        self._held: list[Delivery] | None = None
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._client: httpx.Client | None = None
        self._waiting = 0
        self._idle = threading.Condition(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self, url: str, secret: str) -> None:
        """Send to this address from now on."""
        self.hook = Hook(url, secret)
        if self._thread is None:
            self._client = httpx.Client(trust_env=False, timeout=_TIMEOUT)
            self._thread = threading.Thread(target=self._run, name="github-webhooks", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Send no more; what waits is given up once the one under way has ended."""
        self.hook = None
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout=_TIMEOUT + 1)
            self._thread = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def send(self, event: str, payload: Json) -> None:
        """Make a delivery and send it, or keep it back."""
        if self.hook is None:
            return
        delivery = Delivery(str(uuid.uuid4()), event, json.dumps(payload).encode())
        with self._lock:
            self.deliveries.append(delivery)
            if self._held is not None:
                self._held.append(delivery)
                return
        self._put(delivery)

    def hold(self) -> None:
        """Keep deliveries back from now on."""
        with self._lock:
            self._held = self._held or []

    def release(self) -> None:
        """Send what was kept back, in order."""
        self._let_go(self._take_held())

    def release_reversed(self) -> None:
        """Send what was kept back, newest first: GitHub promises no order."""
        self._let_go(self._take_held()[::-1])

    def drop_held(self) -> None:
        """Lose what was kept back: GitHub does not try again by itself."""
        self._take_held()

    def redeliver(self, delivery: Delivery) -> None:
        """Send it once more, under the same delivery id, as its page on GitHub does."""
        self._put(delivery)

    def forge(self, event: str, payload: Json) -> int:
        """Send a payload that GitHub never sent, signed with another secret; returns the answer's status."""
        body = json.dumps(payload).encode()
        return self._post(Delivery(str(uuid.uuid4()), event, body), secrets.token_hex())

    def wait(self, timeout: float = 5.0) -> None:
        """Until everything that was put on its way has been answered or given up; TimeoutError (seconds)."""
        with self._idle:
            if not self._idle.wait_for(lambda: self._waiting == 0, timeout):
                raise TimeoutError(f"{self._waiting} deliveries were still under way after {timeout} s")

    def _take_held(self) -> list[Delivery]:
        with self._lock:
            held, self._held = self._held or [], None
        return held

    def _let_go(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self._put(delivery)

    def _put(self, delivery: Delivery) -> None:
        with self._lock:
            self._waiting += 1
        self._queue.put(delivery)

    def _run(self) -> None:
        while (delivery := self._queue.get()) is not None:
            hook = self.hook
            if hook is not None:
                self._post(delivery, hook.secret)
            with self._idle:
                self._waiting -= 1
                self._idle.notify_all()

    def _post(self, delivery: Delivery, secret: str) -> int:
        hook, client = self.hook, self._client
        if hook is None or client is None:
            return 0
        headers = {
            "content-type": "application/json",
            "user-agent": "GitHub-Hookshot/sandbox",
            "x-github-event": delivery.event,
            "x-github-delivery": delivery.id,
            "x-github-hook-id": str(hook.id),
            "x-github-hook-installation-target-type": "repository",
            "x-hub-signature-256": signature(secret, delivery.body),
        }
        delivery.tries += 1
        try:
            delivery.status = client.post(hook.url, content=delivery.body, headers=headers).status_code
        except httpx.TransportError:
            delivery.status = 0
        return delivery.status
