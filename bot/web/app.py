"""The HTTP side: Slack's endpoint, health, readiness and metrics."""

import json
import re
import time
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, unquote_plus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from bot.slack.signing import Verdict, verify

LARGEST_BODY = 256 * 1024
"""Bytes; Slack's own payloads stay far below."""
_SAYS_SOMETHING = re.compile("=[^&]")
log = structlog.get_logger("web")

Troubles = Callable[[], list[str]]
"""What is not ready, a sentence each; empty when commands work."""
Endpoint = Callable[[Request], Awaitable[Response]]


def create(
    bolt: AsyncApp | None,
    signing_secret: str,
    troubles: Troubles,
    webhooks: Endpoint | None = None,
    api: ASGIApp | None = None,
) -> FastAPI:
    """The application. Without a signing secret (Socket Mode) Slack's endpoint answers 404, as do GitHub's without.

    `api` is the JSON API (bot.web.api), served below `/api`.
    """
    app = FastAPI(title="Locktender", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        """The process runs and its event loop turns."""
        return PlainTextResponse("ok")

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Commands work; else 503 with what is wrong."""
        found = await run_in_threadpool(troubles)
        return JSONResponse({"ready": not found, "troubles": found}, status_code=503 if found else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(await run_in_threadpool(generate_latest), media_type=CONTENT_TYPE_LATEST)

    if bolt is not None and signing_secret:

        async def slack(request: Request) -> Response:
            """Commands, clicks and events. 401 for whatever Slack did not sign just now; its body is not logged."""
            body = await _body(request)
            if body is None:
                return PlainTextResponse("too large", status_code=413)
            headers = request.headers
            verdict = verify(
                signing_secret,
                headers.get("x-slack-request-timestamp"),
                body,
                headers.get("x-slack-signature"),
                time.time(),
            )
            if verdict is not Verdict.GENUINE:
                log.warning("web.slack_refused", verdict=str(verdict))
                return PlainTextResponse("not signed by Slack", status_code=401)
            text = body.decode("utf-8", "replace")
            if not _is_payload(text, headers.get("content-type", "")):
                log.warning("web.slack_unreadable", length=len(body))
                return PlainTextResponse("not a payload of Slack's", status_code=400)
            asked = AsyncBoltRequest(body=text, headers=dict(headers))
            answered = await bolt.async_dispatch(asked)
            return Response(
                content=answered.body,
                status_code=answered.status,
                headers={k: v[0] for k, v in answered.headers.items()},
            )

        # A plain route: every ack would wait for FastAPI's reading of parameters, and there are none.
        app.router.routes.append(Route("/slack/events", slack, methods=["POST"]))
    _add(app, webhooks, api)
    return app


def _add(app: FastAPI, webhooks: Endpoint | None, api: ASGIApp | None) -> None:
    if webhooks is not None:
        app.router.routes.append(Route("/github/webhooks", webhooks, methods=["POST"]))
    if api is not None:
        below = Mount("/api", api)
        # A line break in an address is for the API to refuse, in its own words: a dot does not match one.
        below.path_regex = re.compile(below.path_regex.pattern, re.DOTALL)
        app.router.routes.append(below)


async def _body(request: Request) -> bytes | None:
    """The whole body, or None when it is larger than anything Slack sends.

    Read from the server itself: every ack would wait for the making and closing of `request.stream()`.
    """
    read: bytes = b""
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        read += message.get("body", b"")
        if len(read) > LARGEST_BODY:
            return None
        if not message.get("more_body", False):
            return read


def _is_payload(text: str, content_type: str) -> bool:
    """Whether Bolt can read it as Slack's: it raises on much else, which would be a 500 and a stack trace."""
    if not text.lstrip().startswith("{") and "json" not in content_type:
        if not any(unquote_plus(pair.partition("=")[0]) == "payload" for pair in text.split("&")):
            return _SAYS_SOMETHING.search(text) is not None  # a command, whose values Bolt takes apart
        forms = parse_qs(text)
        if "payload" not in forms:
            return bool(forms)
        text = forms["payload"][0]
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(payload, dict) and payload.get("actions", True) not in ([], None)
