"""A Bolt app behind the Socket Mode connection: acks, forms, mentions and retries, through the stand-in and back.

Left out: how the connection survives networks (test_socket_mode.py), and the bot's own listeners.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_bolt.context.respond.async_respond import AsyncRespond
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED
from bot.sandbox.slack_model import AUDITOR, DEPLOYMENTS, DEVELOPER, GENERAL, Json, Timing
from bot.slack.socket import SocketConnection
from bot.slack.socket_bolt import bolt_dispatch

FORM: Json = {
    "type": "modal",
    "callback_id": "deploy",
    "title": {"type": "plain_text", "text": "Deploy"},
    "submit": {"type": "plain_text", "text": "Deploy"},
    "blocks": [
        {
            "type": "input",
            "block_id": "version",
            "label": {"type": "plain_text", "text": "Version"},
            "element": {"type": "plain_text_input", "action_id": "version"},
        }
    ],
}
CARD: list[Json] = [
    {
        "type": "actions",
        "block_id": "decide",
        "elements": [
            {
                "type": "button",
                "action_id": "approve",
                "text": {"type": "plain_text", "text": "Approve"},
                "value": "d-17",
                "style": "primary",
            }
        ],
    }
]


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(timing=Timing(ack=0.6, event_retries=(0.0, 0.1, 0.2)), rates=UNLIMITED) as server:
        yield server


@pytest.fixture
async def app(slack: SlackServer) -> AsyncIterator[AsyncApp]:
    client = AsyncWebClient(slack.app.bot_token, base_url=slack.api_url)
    bolt = AsyncApp(client=client, signing_secret=slack.app.signing_secret)
    connection = SocketConnection(slack.app.app_token, slack.api_url, bolt_dispatch(bolt))
    connection.start()
    assert await connection.connected(5)
    yield bolt
    await connection.stop()


async def test_an_ack_with_text_is_shown_to_the_person_alone(slack: SlackServer, app: AsyncApp) -> None:
    @app.command("/deploy")
    async def deploy(ack: AsyncAck, command: Json) -> None:
        await ack(f"on it: {command['text']}")

    result = await asyncio.to_thread(slack.workspace.command, DEVELOPER, "/deploy", "web 1.4.2")
    assert result.text == "on it: web 1.4.2"
    assert [one.text for one in slack.workspace.ephemerals(DEVELOPER)] == ["on it: web 1.4.2"]
    assert slack.workspace.messages() == ()


async def test_an_ack_with_blocks_in_the_channel_is_a_message_of_the_bot(slack: SlackServer, app: AsyncApp) -> None:
    @app.command("/deploy")
    async def deploy(ack: AsyncAck) -> None:
        await ack("deploying", blocks=CARD, response_type="in_channel")

    await asyncio.to_thread(slack.workspace.command, DEVELOPER, "/deploy", "web 1.4.2")
    (message,) = slack.workspace.messages()
    assert (message.text, message.bot_id, message.buttons[0].value) == ("deploying", slack.app.bot_id, "d-17")


async def test_a_command_nobody_listens_to_is_not_acked(slack: SlackServer, app: AsyncApp) -> None:
    del app
    result = await asyncio.to_thread(slack.workspace.command, DEVELOPER, "/unheard")
    assert not result.acked


async def test_a_click_reaches_its_listener_and_replaces_the_card(slack: SlackServer, app: AsyncApp) -> None:
    @app.action("approve")
    async def approve(ack: AsyncAck, respond: AsyncRespond, action: Json, body: Json) -> None:
        await ack()
        await respond(f"{body['user']['id']} approved {action['value']}", replace_original=True)

    posted = await app.client.chat_postMessage(channel=DEPLOYMENTS.id, text="approve?", blocks=CARD)
    card = slack.workspace.message(DEPLOYMENTS, posted["ts"])
    assert card is not None
    await asyncio.to_thread(slack.workspace.click, AUDITOR, card, "Approve")
    await asyncio.to_thread(slack.workspace.wait, lambda: len(slack.workspace.versions(card)) == 2)
    after = slack.workspace.versions(card)[-1]
    assert (after.text, after.buttons) == ("U0AUDITOR approved d-17", ())


async def test_a_form_is_opened_refused_and_accepted(slack: SlackServer, app: AsyncApp) -> None:
    @app.command("/deploy")
    async def deploy(ack: AsyncAck, client: AsyncWebClient, command: Json) -> None:
        await client.views_open(trigger_id=command["trigger_id"], view=FORM)
        await ack()

    @app.view("deploy")
    async def submitted(ack: AsyncAck, view: Json) -> None:
        version = view["state"]["values"]["version"]["version"]["value"]
        if version == "latest":
            await ack(response_action="errors", errors={"version": "name a version"})
        else:
            await ack()

    await asyncio.to_thread(slack.workspace.command, DEVELOPER, "/deploy")
    (form,) = slack.workspace.views(DEVELOPER)
    submit = slack.workspace.submit_view
    empty = await asyncio.to_thread(submit, DEVELOPER, form, {})
    assert empty.errors == (("version", "Please complete this required field."),)
    refused = await asyncio.to_thread(submit, DEVELOPER, form, {"version": "latest"})
    assert refused.errors == (("version", "name a version"),)
    assert slack.workspace.views(DEVELOPER) == (form,)
    await asyncio.to_thread(submit, DEVELOPER, form, {"version": "1.4.2"})
    assert slack.workspace.views(DEVELOPER) == ()


async def test_a_mention_is_an_event_only_where_the_bot_is(slack: SlackServer, app: AsyncApp) -> None:
    heard: list[Json] = []

    @app.event("app_mention")
    async def mention(event: Json) -> None:
        heard.append(event)

    root = slack.workspace.say(DEVELOPER, DEPLOYMENTS, "shall we?")
    message, event_id = await asyncio.to_thread(
        slack.workspace.mention, DEVELOPER, DEPLOYMENTS, "deploy web 1.4.2", thread_ts=root.ts
    )
    assert event_id
    elsewhere = await asyncio.to_thread(slack.workspace.mention, DEVELOPER, GENERAL, "deploy web 1.4.2")
    assert elsewhere.event_id == ""
    await asyncio.to_thread(slack.workspace.wait, lambda: heard)
    assert [(one["ts"], one["thread_ts"], one["text"]) for one in heard] == [
        (message.ts, root.ts, f"<@{slack.app.bot_user_id}> deploy web 1.4.2")
    ]


async def test_a_retried_event_carries_its_number(slack: SlackServer, app: AsyncApp) -> None:
    numbers: list[str | None] = []

    @app.middleware
    async def slow_at_first(req: object, next_: object) -> None:
        headers = getattr(req, "headers", {})
        numbers.append((headers.get("x-slack-retry-num") or [None])[0])
        if len(numbers) > 1:
            assert callable(next_)
            await next_()

    @app.event("app_home_opened")
    async def opened() -> None:
        return None

    event_id = await asyncio.to_thread(slack.workspace.open_home, DEVELOPER)
    await asyncio.to_thread(slack.workspace.wait, lambda: len(slack.workspace.tries(event_id)) == 2)
    assert numbers == ["0", "1"]
