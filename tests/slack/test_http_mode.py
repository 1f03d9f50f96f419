"""Slack's endpoint over HTTP: who is let in, what is refused and how, and that a refusal tells and logs nothing.

Left out: what commands answer (test_listeners), the arithmetic of signatures (test_signing).
"""

import hashlib
import hmac
import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from structlog.testing import capture_logs

from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED
from bot.web.app import LARGEST_BODY
from tests.slack.bot_rig import Rig, rig

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
CANARY = "canary-in-the-body"


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackServer]:
    with SlackServer(rates=UNLIMITED) as server:
        yield server


@pytest.fixture
async def bot(slack: SlackServer, tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Rig]:
    file = Path(shutil.copy(sqlite_template, tmp_path / "rig.db"))
    async with rig(slack, file, over="http") as made:
        yield made


def command(words: str = f"web 1.4.2 --reason {CANARY}") -> bytes:
    form = {
        "command": "/deploy",
        "text": words,
        "team_id": "T0LOCKTENDER",
        "user_id": "U0DEVELOPER",
        "channel_id": "C0DEPLOYMENTS",
        "trigger_id": "1.2.abc",
        "response_url": "https://hooks.slack.com/commands/x",
    }
    return urlencode(form).encode()


def signed(secret: str, body: bytes, at: float | str) -> dict[str, str]:
    """Signed as Slack does; `at` may be a text, to sign a timestamp that is none."""
    stamp = at if isinstance(at, str) else str(int(at))
    digest = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={digest}"}


async def post(bot: Rig, body: bytes, headers: dict[str, str] | list[tuple[bytes, bytes]]) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{bot.url}/slack/events", content=body, headers=headers)


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(key.encode(), value.encode("utf-8")) for key, value in headers.items()]


async def test_a_signed_command_is_answered(bot: Rig) -> None:
    body = command()
    answer = await post(bot, body, FORM | signed(bot.slack.app.signing_secret, body, time.time()))
    assert answer.status_code == 200
    assert answer.json()["response_type"] == "ephemeral"
    assert len(bot.deployments()) == 1


async def test_an_identical_replay_inside_the_window_gets_the_same_answer_and_does_nothing(bot: Rig) -> None:
    body = command()
    headers = FORM | signed(bot.slack.app.signing_secret, body, time.time())
    answers = [await post(bot, body, headers) for _ in range(3)]
    assert len({one.text for one in answers}) == 1
    assert len(bot.deployments()) == 1


def _bad(secret: str, body: bytes, now: float) -> dict[str, dict[str, str]]:
    """Headers that must not be let in, by what is wrong with them."""
    good = signed(secret, body, now)
    stamp, signature = good["x-slack-request-timestamp"], good["x-slack-signature"]
    return {
        "unsigned": {},
        "no signature": {"x-slack-request-timestamp": stamp},
        "no timestamp": {"x-slack-signature": signature},
        "wrong secret": signed("another secret", body, now),
        "another body": signed(secret, body + b"&x=1", now),
        "old": signed(secret, body, now - 302),
        "ahead": signed(secret, body, now + 63),
        "words for a timestamp": signed(secret, body, "yesterday"),
        "a negative timestamp": signed(secret, body, f"-{stamp}"),
        "a decimal timestamp": signed(secret, body, f"{stamp}.5"),
        "an endless timestamp": signed(secret, body, "9" * 4000),
        "no number but a digit": good | {"x-slack-request-timestamp": "²" * 10},
        "a signature of another version": good | {"x-slack-signature": signature.replace("v0", "v1")},
        "a signature not in ascii": good | {"x-slack-signature": "v0=é✓" + signature[5:]},
        "an empty signature": good | {"x-slack-signature": ""},
        "an upper-case signature": good | {"x-slack-signature": signature.upper()},
        "a long signature": good | {"x-slack-signature": signature + "0" * 5000},
    }


async def test_what_slack_did_not_sign_just_now_is_401_and_its_body_is_not_logged(bot: Rig) -> None:
    body = command()
    for name, headers in _bad(bot.slack.app.signing_secret, body, time.time()).items():
        with capture_logs() as logs:
            answer = await post(bot, body, raw(FORM | headers))
        assert answer.status_code == 401, name
        assert answer.text == "not signed by Slack", "nobody is told what was wrong"
        assert [one["event"] for one in logs] == ["web.slack_refused"], name
        assert CANARY not in json.dumps(logs), name
    assert bot.deployments() == []


async def test_a_clock_a_little_ahead_is_tolerated(bot: Rig) -> None:
    body = command()
    answer = await post(bot, body, FORM | signed(bot.slack.app.signing_secret, body, time.time() + 55))
    assert answer.status_code == 200


@pytest.mark.parametrize("headers", [{}, {"content-length": "5000000"}])
async def test_a_body_over_the_limit_is_413_before_it_is_read_whole(bot: Rig, headers: dict[str, str]) -> None:
    body = b"x" * (LARGEST_BODY + 1)
    if headers:
        body = b"x" * 5_000_000
    answer = await post(bot, body, FORM | signed(bot.slack.app.signing_secret, body, time.time()) | headers)
    assert answer.status_code == 413


async def test_the_longest_body_that_slack_sends_passes(bot: Rig) -> None:
    body = command("web 1.4.2 --reason " + "x" * 200_000)
    answer = await post(bot, body, FORM | signed(bot.slack.app.signing_secret, body, time.time()))
    assert answer.status_code == 200
    assert "1000 is the most" in answer.json()["text"]


NONSENSE = [
    (b"", FORM),
    (b"{", JSON),
    (b"[]", JSON),
    (b"null", JSON),
    (b"payload=%7B", FORM),
    (b"payload=[]", FORM),
    (b"\xff\xfe\x00", FORM),
    (b'{"type":"event_callback"}', JSON),
    (b'{"type":"event_callback","event":{"type":"app_mention"}}', JSON),
    (urlencode({"payload": '{"type":"block_actions","actions":[]}'}).encode(), FORM),
    (urlencode({"payload": '{"type":"block_actions"}'}).encode(), FORM),
    (urlencode({"command": "/deploy"}).encode(), FORM),
    (urlencode({"command": "/audit", "text": "by:me"}).encode(), FORM),
    (b'{"deep":' * 20_000 + b"1" + b"}" * 20_000, JSON),
]


async def test_a_signed_body_that_makes_no_sense_is_no_error_of_ours(bot: Rig) -> None:
    for body, kind in NONSENSE:
        answer = await post(bot, body, kind | signed(bot.slack.app.signing_secret, body, time.time()))
        assert answer.status_code < 500, body[:80]
    assert bot.deployments() == []


async def test_slack_may_verify_the_address(bot: Rig) -> None:
    transport = bot.slack.use_http(f"{bot.url}/slack/events")
    assert await bot.do(transport.verify_url)


async def test_a_verification_that_slack_did_not_sign_is_not_echoed(bot: Rig) -> None:
    body = json.dumps({"type": "url_verification", "challenge": CANARY}).encode()
    answer = await post(bot, body, JSON)
    assert answer.status_code == 401
    assert CANARY not in answer.text


async def test_slacks_look_at_the_certificate_is_taken_and_does_nothing(bot: Rig) -> None:
    body = urlencode({"ssl_check": "1", "token": "x"}).encode()
    answer = await post(bot, body, FORM | signed(bot.slack.app.signing_secret, body, time.time()))
    assert answer.status_code == 200
    assert bot.record() == []


async def test_only_posts_are_taken(bot: Rig) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for method in ("GET", "PUT", "DELETE"):
            assert (await client.request(method, f"{bot.url}/slack/events")).status_code == 405
        assert (await client.get(f"{bot.url}/openapi.json")).status_code == 404
