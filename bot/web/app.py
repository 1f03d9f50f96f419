"""The HTTP side: Slack's endpoint, health, readiness and metrics."""

import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qs, unquote_plus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.slack.signing import Verdict, verify
from bot.web import scrape

LARGEST_BODY = 256 * 1024
"""Bytes; Slack's own payloads stay far below."""
SLACK_PATH = "/slack/events"
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
    *,
    metrics_token: str = "",
    pages: Sequence[Route] = (),
) -> ASGIApp:
    """The application. Without a signing secret (Socket Mode) Slack's endpoint answers 404, as do GitHub's without.

    `api` is the JSON API (bot.web.api), served below `/api`; `pages` are what people look at.
    Who may have `/metrics`: bot.web.scrape.
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

    app.router.routes.append(Route("/metrics", scrape.endpoint(metrics_token), methods=["GET"]))
    app.router.routes.extend(pages)
    _add(app, webhooks, api)
    return _SlackFirst(_slack(bolt, signing_secret), app) if bolt is not None and signing_secret else app


class _SlackFirst:
    """Slack's endpoint before everything else: every ack would wait for the other routes and their middleware."""

    def __init__(self, slack: Endpoint, others: ASGIApp) -> None:
        self._slack = slack
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != SLACK_PATH:
            await self._others(scope, receive, send)
            return
        answer: Response = PlainTextResponse("only POST", status_code=405, headers={"Allow": "POST"})
        if scope["method"] == "POST":
            try:
                answer = await self._slack(Request(scope, receive))
            except ClientDisconnect:
                return
        await answer(scope, receive, send)


def _slack(bolt: AsyncApp, signing_secret: str) -> Endpoint:
    """The endpoint of commands, clicks and events: 401 for whatever Slack did not sign just now, and no log of it."""

    async def slack(request: Request) -> Response:
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

    return slack


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
