"""`POST /github/webhooks`: the code host says that something happened. It only ever makes us look sooner."""

from collections.abc import Awaitable, Callable

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from bot.integrations.github.webhooks import Happened, parse, verify

LARGEST = 5 * 1024 * 1024
"""Bytes. GitHub sends at most 25 MB, for pushes of thousands of commits; polling sees those."""
log = structlog.get_logger("web")


Endpoint = Callable[[Request], Awaitable[Response]]


def endpoint(secret: str, repository: str, happened: Callable[[Happened], None]) -> Endpoint:
    """The route's handler. `happened` runs in a worker thread, for deliveries about this repository alone."""

    async def receive(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return PlainTextResponse("too large", status_code=413)
        if not verify(secret, body, request.headers.get("x-hub-signature-256")):
            log.warning("web.webhook_refused", kind=request.headers.get("x-github-event", "")[:60])
            return PlainTextResponse("not signed with GITHUB_WEBHOOK_SECRET", status_code=401)
        event, delivery = request.headers.get("x-github-event", ""), request.headers.get("x-github-delivery", "")
        found = parse(event, delivery, body)
        if found is not None and found.repository.lower() == repository.lower():
            await run_in_threadpool(happened, found)
        return PlainTextResponse("ok")

    return receive


async def _body(request: Request) -> bytes | None:
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > LARGEST:
            return None
    return bytes(read)
