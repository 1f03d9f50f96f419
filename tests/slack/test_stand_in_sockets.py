"""The stand-in's Socket Mode, held to Slack's own client: slack_sdk connects to it, is asked and answers.

Left out: the bot's connection (test_socket_mode.py).
"""

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED
from bot.sandbox.slack_model import DEPLOYMENTS, DEVELOPER, Timing


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(timing=Timing(ack=0.6, ticket=0.2), rates=UNLIMITED) as server:
        yield server


async def address(slack: SlackServer) -> str:
    client = AsyncWebClient(base_url=slack.api_url)
    return str((await client.apps_connections_open(app_token=slack.app.app_token))["url"])


@pytest.fixture
def patient() -> Iterator[SlackServer]:
    """Waits as long as Slack does for whoever answers."""
    with SlackServer(rates=UNLIMITED) as server:
        yield server


async def test_slacks_own_client_is_asked_and_answers(patient: SlackServer) -> None:
    slack = patient
    seen: list[SocketModeRequest] = []

    async def listen(client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        seen.append(request)
        payload = {"text": "did it"} if request.accepts_response_payload else None
        await client.send_socket_mode_response(SocketModeResponse(request.envelope_id, payload))

    client = SocketModeClient(slack.app.app_token, web_client=AsyncWebClient(base_url=slack.api_url))
    client.socket_mode_request_listeners.append(listen)
    await client.connect()  # type: ignore[no-untyped-call]  # slack_sdk annotates it in part
    result = await asyncio.to_thread(slack.workspace.command, DEVELOPER, "/deploy", "web 1.4.2")
    assert result.text == "did it"
    mention = await asyncio.to_thread(slack.workspace.mention, DEVELOPER, DEPLOYMENTS, "status")
    assert slack.workspace.tries(mention.event_id)[0].status == 200
    assert [(one.type, one.retry_attempt) for one in seen] == [("slash_commands", None), ("events_api", 0)]
    await client.close()  # type: ignore[no-untyped-call]  # as above
    await asyncio.gather(client.message_processor, return_exceptions=True)


async def test_a_connection_opens_with_hello(slack: SlackServer) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(await address(slack)) as websocket:
        hello = await websocket.receive_json()
    assert (hello["type"], hello["num_connections"]) == ("hello", 1)
    assert hello["connection_info"]["app_id"] == slack.app.app_id


async def test_a_ticket_is_good_once_and_not_for_long(slack: SlackServer) -> None:
    url = await address(slack)
    assert parse_qs(urlsplit(url).query)["ticket"]
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url) as websocket:
            await websocket.receive_json()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(url)
        late = await address(slack)
        await asyncio.sleep(0.25)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(late)


async def test_a_refresh_warns_then_asks_then_closes(slack: SlackServer) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(await address(slack)) as websocket:
        await websocket.receive_json()
        refreshing = asyncio.create_task(asyncio.to_thread(slack.refresh, lead=0.05))
        told = [(await websocket.receive_json())["reason"] for _ in range(2)]
        assert told == ["warning", "refresh_requested"]
        assert (await websocket.receive()).type is aiohttp.WSMsgType.CLOSE
        await refreshing


async def test_acks_that_nobody_waits_for_are_noticed(slack: SlackServer) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(await address(slack)) as websocket:
        await websocket.receive_json()
        asked = asyncio.create_task(asyncio.to_thread(slack.workspace.command, DEVELOPER, "/deploy"))
        envelope = await websocket.receive_json()
        for _ in range(2):
            await websocket.send_str(json.dumps({"envelope_id": envelope["envelope_id"]}))
        await websocket.send_str(json.dumps({"envelope_id": "invented"}))
        assert (await asked).acked
        await asyncio.to_thread(slack.workspace.wait, lambda: len(slack.hub.acks) == 3)
    assert [ack.unknown for ack in slack.hub.acks] == [False, True, True]
