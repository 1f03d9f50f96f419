"""What the stand-in sends to a request URL, and what people see of the answers: commands, clicks, events and answers.

The other end is a bare recorder, so that bodies and headers are seen as they travel. Left out: Socket Mode.
"""

import json
import threading
import time
from collections.abc import Iterator
from urllib.parse import parse_qs

import httpx
import pytest
from slack_sdk.signature import SignatureVerifier
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.sandbox.server import Server
from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_delivery import OverHttp
from bot.sandbox.slack_limits import UNLIMITED
from bot.sandbox.slack_model import (
    AUDITOR,
    DEPLOYMENTS,
    DEVELOPER,
    OUTSIDER,
    RELEASE_MANAGER,
    SHARED,
    Json,
    Message,
    Timing,
    Trouble,
)
from bot.slack.signing import Verdict, verify

CARD: list[Json] = [
    {
        "type": "actions",
        "block_id": "decide",
        "elements": [
            {
                "type": "button",
                "action_id": "approve",
                "text": {"type": "plain_text", "text": "Approve"},
                "value": "d1",
            },
            {
                "type": "static_select",
                "action_id": "where",
                "options": [
                    {"text": {"type": "plain_text", "text": "Staging"}, "value": "staging"},
                    {"text": {"type": "plain_text", "text": "Dev"}, "value": "dev"},
                ],
            },
        ],
    }
]


class App:
    """Answers with what it is told to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[httpx.Headers] = []
        self.answers: list[Response] = []
        self.slow = 0.0
        self._lock = threading.Lock()
        self.asgi = Starlette(routes=[Route("/slack/events", self._heard, methods=["POST"])])

    async def _heard(self, request: Request) -> Response:
        body = await request.body()
        with self._lock:
            self.bodies.append(body)
            self.headers.append(httpx.Headers(request.headers.raw))
            answer = self.answers.pop(0) if self.answers else Response()
        if self.slow:
            await run_in_threadpool(time.sleep, self.slow)
        if request.headers["content-type"] == "application/json" and b"url_verification" in body:
            return JSONResponse({"challenge": json.loads(body)["challenge"]})
        return answer

    def form(self, at: int = -1) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.bodies[at].decode(), True).items()}

    def payload(self, at: int = -1) -> Json:
        loaded: Json = json.loads(self.form(at)["payload"])
        return loaded


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def slack(app: App) -> Iterator[SlackServer]:
    timing = Timing(ack=0.3, event_retries=(0.0, 0.05, 0.1))
    with SlackServer(timing=timing, rates=UNLIMITED) as server, Server(app.asgi) as there:
        server.use_http(f"{there.url}/slack/events")
        yield server


def card(slack: SlackServer) -> Message:
    answer = httpx.post(
        f"{slack.api_url}chat.postMessage",
        headers={"Authorization": f"Bearer {slack.app.bot_token}"},
        json={"channel": DEPLOYMENTS.id, "text": "approve?", "blocks": CARD},
    )
    found = slack.workspace.message(DEPLOYMENTS, answer.json()["ts"])
    assert found is not None
    return found


def test_a_command_is_a_signed_form(slack: SlackServer, app: App) -> None:
    assert slack.workspace.command(DEVELOPER, "/deploy", "web 1.4.2 & <b>").acked
    sent = app.form()
    assert (sent["command"], sent["text"]) == ("/deploy", "web 1.4.2 & <b>")
    assert (sent["user_id"], sent["team_id"], sent["channel_id"]) == (DEVELOPER.id, "T0LOCKTENDER", DEPLOYMENTS.id)
    assert app.headers[0]["content-type"] == "application/x-www-form-urlencoded"
    stamp, signature = app.headers[0]["x-slack-request-timestamp"], app.headers[0]["x-slack-signature"]
    assert SignatureVerifier(slack.app.signing_secret).is_valid(app.bodies[0], stamp, signature)
    assert verify(slack.app.signing_secret, stamp, app.bodies[0], signature, time.time()) is Verdict.GENUINE


def test_a_stranger_comes_with_their_own_team(slack: SlackServer, app: App) -> None:
    slack.workspace.command(OUTSIDER, "/deploy", "web 1.4.2", channel=SHARED)
    assert app.form()["team_id"] == "T0PARTNER"


def test_the_url_is_verified_by_its_challenge(slack: SlackServer, app: App) -> None:
    http = slack.workspace.transport
    assert isinstance(http, OverHttp)
    assert http.verify_url()
    app.slow = 0.5
    assert not http.verify_url()


def test_a_slow_ack_tells_the_person_and_is_not_sent_again(slack: SlackServer, app: App) -> None:
    app.slow = 0.4
    result = slack.workspace.command(DEVELOPER, "/deploy", "web 1.4.2")
    assert (result.trouble, result.status) == (Trouble.TIMEOUT, None)
    assert result.seconds >= 0.3
    time.sleep(0.3)
    assert len(app.bodies) == 1
    assert [one.text for one in slack.workspace.ephemerals(DEVELOPER)] == [
        '/deploy failed with the error "operation_timeout"'
    ]


def test_an_error_status_tells_the_person(slack: SlackServer, app: App) -> None:
    app.answers = [Response(status_code=500)]
    result = slack.workspace.command(DEVELOPER, "/deploy")
    assert (result.trouble, result.status) == (Trouble.UNREACHABLE, 500)
    assert "dispatch_failed" in slack.workspace.ephemerals(DEVELOPER)[0].text


def test_a_cut_network_reaches_nobody(slack: SlackServer, app: App) -> None:
    slack.cut()
    assert slack.workspace.command(DEVELOPER, "/deploy").trouble is Trouble.UNREACHABLE
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{slack.api_url}api.test")
    assert app.bodies == []
    slack.mend()
    assert slack.workspace.command(DEVELOPER, "/deploy").acked


def test_copies_are_the_same_payload_at_once(slack: SlackServer, app: App) -> None:
    result = slack.workspace.command(DEVELOPER, "/deploy", "web 1.4.2", copies=3)
    assert [one.status for one in result.deliveries] == [200, 200, 200]
    assert len(app.bodies) == 3
    assert len(set(app.bodies)) == 1


def test_a_click_carries_the_button_the_message_and_a_trigger(slack: SlackServer, app: App) -> None:
    message = card(slack)
    result = slack.workspace.click(RELEASE_MANAGER, message, "approve")
    sent = app.payload()
    (action,) = sent["actions"]
    assert (sent["type"], action["action_id"], action["value"]) == ("block_actions", "approve", "d1")
    assert (sent["user"]["id"], sent["trigger_id"]) == (RELEASE_MANAGER.id, result.trigger_id)
    assert sent["container"]["message_ts"] == sent["message"]["ts"] == message.ts
    assert sent["message"]["blocks"][0]["block_id"] == "decide"
    slack.workspace.click(RELEASE_MANAGER, message, "where", value="dev")
    assert app.payload()["actions"][0]["selected_option"]["value"] == "dev"


def test_a_button_that_is_not_there_cannot_be_pressed(slack: SlackServer, app: App) -> None:
    with pytest.raises(LookupError, match="approve"):
        slack.workspace.click(RELEASE_MANAGER, card(slack), "reject")
    assert app.bodies == []


def test_an_event_that_fails_comes_three_times_more(slack: SlackServer, app: App) -> None:
    app.answers = [Response(status_code=500)] * 4
    mention = slack.workspace.mention(DEVELOPER, DEPLOYMENTS, "status")
    slack.workspace.wait(lambda: len(slack.workspace.tries(mention.event_id)) == 4)
    assert [headers.get("x-slack-retry-num") for headers in app.headers] == [None, "1", "2", "3"]
    assert {headers.get("x-slack-retry-reason") for headers in app.headers} == {None, "http_error"}
    assert {json.loads(body)["event_id"] for body in app.bodies} == {mention.event_id}
    time.sleep(0.2)
    assert len(app.bodies) == 4


def test_an_event_that_is_answered_comes_no_more(slack: SlackServer, app: App) -> None:
    app.answers = [Response(status_code=500)]
    mention = slack.workspace.mention(DEVELOPER, DEPLOYMENTS, "status")
    slack.workspace.wait(lambda: len(slack.workspace.tries(mention.event_id)) == 2)
    time.sleep(0.15)
    assert len(app.bodies) == 2


def test_an_app_can_ask_for_no_retry(slack: SlackServer, app: App) -> None:
    app.answers = [Response(status_code=500, headers={"x-slack-no-retry": "1"})]
    slack.workspace.mention(DEVELOPER, DEPLOYMENTS, "status")
    time.sleep(0.2)
    assert len(app.bodies) == 1


def test_a_response_url_answers_five_times(slack: SlackServer) -> None:
    url = slack.workspace.command(DEVELOPER, "/deploy").response_url
    with httpx.Client() as client:  # one connection: the address lives for half a second here
        said = [client.post(url, json={"text": f"step {n}"}) for n in range(6)]
    assert [one.status_code for one in said] == [200] * 5 + [404]
    assert said[5].json()["error"] == "used_url"
    assert [one.text for one in slack.workspace.ephemerals(DEVELOPER)] == [f"step {n}" for n in range(5)]


def test_a_response_url_expires(app: App) -> None:
    with SlackServer(timing=Timing(response_url=0.05), rates=UNLIMITED) as slack, Server(app.asgi) as there:
        slack.use_http(f"{there.url}/slack/events")
        url = slack.workspace.command(DEVELOPER, "/deploy").response_url
        time.sleep(0.1)
        assert httpx.post(url, json={"text": "late"}).json()["error"] == "expired_url"


def test_a_response_url_can_speak_in_the_channel(slack: SlackServer) -> None:
    url = slack.workspace.command(DEVELOPER, "/deploy").response_url
    httpx.post(url, json={"text": "deploying", "response_type": "in_channel"})
    assert [one.text for one in slack.workspace.messages(DEPLOYMENTS)] == ["deploying"]


def test_an_ephemeral_is_replaced_as_an_ephemeral_and_then_deleted(slack: SlackServer, app: App) -> None:
    app.answers = [JSONResponse({"text": "sure?", "blocks": CARD})]
    slack.workspace.command(AUDITOR, "/deploy")
    (whisper,) = slack.workspace.ephemerals(AUDITOR)
    url = slack.workspace.click(AUDITOR, whisper, "approve").response_url
    httpx.post(url, json={"text": "done", "replace_original": True, "response_type": "in_channel"})
    assert [(one.text, one.buttons) for one in slack.workspace.ephemerals(AUDITOR)] == [("done", ())]
    assert slack.workspace.messages(DEPLOYMENTS) == ()
    httpx.post(url, json={"delete_original": True})
    assert slack.workspace.ephemerals(AUDITOR) == ()
