"""The card of an image that is ready, and its buttons through the real listeners and the stand-in of Slack.

How the card comes to be posted once is in test_api.
"""

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from slack_sdk.web.async_client import AsyncWebClient

from bot.desk import Desk
from bot.sandbox.server import Server
from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED
from bot.sandbox.slack_model import DEVELOPER, Message
from bot.slack.image_card import DEPLOY, REQUEST, body, image_card
from bot.slack.image_clicks import ImageClicks
from bot.slack.listeners import BotIdentity, Listeners, build_app
from bot.slack.outbox import Outbox
from bot.slack.outbox_rows import OutboxRows
from bot.web import app as web
from commands.facts import Facts
from commands.images import ImageCard, ImageReady, Offer, image_ready
from commands.tokens import Bearer, Scope
from storage.database import Database, sqlite_url
from storage.phases import Phase
from storage.unit_of_work import Store
from tests.rows import audit_rows, deployments
from tests.slack import bot_rig
from tests.slack.bot_rig import Rig
from tests.slack.message_rules import broken_rules

READY = ImageReady("registry.example/web", "1.4.2", f"sha256:{'0f' * 32}", "abcdef0", "main", "https://ci.example/1")
OFFERS = (Offer("staging", reviewed=False), Offer("production", reviewed=True))
CARD = ImageCard("0123456789abcdef", "web", READY, "api:ci", OFFERS)


def test_a_card_says_what_is_ready_and_where_it_came_from() -> None:
    message = image_card(CARD)
    assert broken_rules(message) == []
    for word in ("web", "1.4.2", "abcdef0", "main", "api:ci", "/deploy web 1.4.2 staging"):
        assert word in message.text


HOSTILE = ("<!channel>", "`` ```x``` ``", "a\u202eb", "\ue000U0ALICE\ue001", "&lt;@U1>", "x" * 2000)


@pytest.mark.parametrize("word", HOSTILE)
def test_a_card_of_hostile_words_says_nothing_but_them(word: str) -> None:
    ready = replace(READY, image=word, tag=word, digest=word, commit=word, branch=word, build_url=f"https://{word}")
    card = ImageCard("0123456789abcdef", word[:63], ready, "api:ci", OFFERS)
    assert broken_rules(image_card(card)) == []


def test_a_card_without_a_place_has_no_buttons() -> None:
    assert [block["type"] for block in image_card(replace(CARD, offers=())).blocks] == ["section", "context"]


# ---------------------------------------------------------------- clicks


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(rates=UNLIMITED) as server:
        yield server


@pytest.fixture
async def bot(slack: SlackServer, tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Rig]:
    database = Database(sqlite_url(Path(shutil.copy(sqlite_template, tmp_path / "rig.db"))))
    store, team = Store(database), slack.workspace.state.world.team_id
    client = AsyncWebClient(slack.app.bot_token, base_url=slack.api_url)
    listeners = Listeners(Desk(store, lambda: knows(team)), store, lambda: None)
    identity = BotIdentity(team, slack.app.bot_user_id, slack.app.bot_id, slack.app.bot_token)
    bolt = build_app(listeners, identity, client, ImageClicks(listeners).register)
    outbox = Outbox(OutboxRows(store, lambda _: ""), client)
    with Server(web.create(bolt, slack.app.signing_secret, list)) as server:
        slack.use_http(f"{server.url}/slack/events")
        yield Rig(slack, store, outbox, server.url)
    listeners.close()
    database.close()


def knows(team: str) -> Facts:
    return replace(bot_rig.facts(team), reviews=True, snapshot_age=bot_rig.facts(team).snapshot_age.resolution)


async def posted(bot: Rig) -> Message:
    """An image is ready, and its card is in the channel."""
    team = bot.slack.workspace.state.world.team_id
    bearer = Bearer("1", "ci", (Scope.parse("images"),))
    await bot.do(image_ready, bot.store, knows(team), bearer, READY, body)
    await bot.settle()
    return bot.slack.workspace.messages()[-1]


async def test_the_first_button_deploys_as_whoever_clicks_it(bot: Rig) -> None:
    card = await posted(bot)
    assert [button.text for button in card.buttons] == ["Deploy to staging", "Request production"]
    assert (await bot.do(bot.slack.workspace.click, DEVELOPER, card, DEPLOY)).acked
    (row,) = deployments(bot.store)
    assert (row.app, row.version, row.environment) == ("web", "1.4.2", "staging")
    assert (row.requested_by, row.source) == (DEVELOPER.id, "button")
    await bot.settle()
    assert "Deploying `web` `1.4.2` to `staging`" in bot.slack.workspace.ephemerals(DEVELOPER)[-1].text


async def test_the_second_button_asks_for_production_through_the_gate(bot: Rig) -> None:
    card = await posted(bot)
    await bot.do(bot.slack.workspace.click, DEVELOPER, card, REQUEST, copies=2)
    (row,) = deployments(bot.store)
    assert (row.environment, row.phase) == ("production", Phase.AWAITING_APPROVAL)


async def test_a_second_click_is_told_that_it_is_on_its_way(bot: Rig) -> None:
    card = await posted(bot)
    for _ in range(2):
        await bot.do(bot.slack.workspace.click, DEVELOPER, card, DEPLOY)
    assert len(deployments(bot.store)) == 1


@pytest.mark.parametrize("value", ["nothing:staging", "", "0123456789abcdef:production", "x" * 1500])
async def test_a_forged_button_does_nothing_and_is_recorded(bot: Rig, value: str) -> None:
    card = await posted(bot)
    for block in card.blocks:
        for one in block.get("elements", ()):
            if one.get("action_id") == DEPLOY:
                one["value"] = value
    assert (await bot.do(bot.slack.workspace.click, DEVELOPER, card, DEPLOY)).acked
    assert deployments(bot.store) == []
    assert audit_rows(bot.store)[-1].reason_code == "stale_button"


async def test_a_button_for_another_place_is_what_typing_it_would_be(bot: Rig) -> None:
    card = await posted(bot)
    for block in card.blocks:
        for one in block.get("elements", ()):
            if one.get("action_id") == DEPLOY:
                one["value"] = str(one["value"]).replace("staging", "../../etc")
    await bot.do(bot.slack.workspace.click, DEVELOPER, card, DEPLOY)
    assert deployments(bot.store) == []
    assert audit_rows(bot.store)[-1].reason_code == "unknown_environment"
