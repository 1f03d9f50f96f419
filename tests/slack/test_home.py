"""The Home tab between the stand-in of Slack and a store: what it shows, and to whom.

Left out: the pages that its button opens (test_pages), Slack's limits on views (the stand-in refuses what breaks them).
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from slack_sdk.web.async_client import AsyncWebClient

from bot.desk import Desk
from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED
from bot.sandbox.slack_model import DEVELOPER, OUTSIDER, RELEASE_MANAGER, Json, User
from bot.slack.home import OPEN, HomeTab, blocks
from bot.slack.listeners import BotIdentity, Listeners, build_app
from bot.slack.socket import SocketConnection
from bot.slack.socket_bolt import bolt_dispatch
from commands.facts import Facts
from commands.home import Home
from commands.ports import ImageRef, ImageSnapshot
from commands.requests import Asker, Deploy
from storage.database import Database, sqlite_url
from storage.unit_of_work import Store
from tests.slack import bot_rig
from tests.unit.review_rig import opened


class Tabs:
    """The bot with its Home tab, on a socket."""

    def __init__(self, slack: SlackServer, store: Store) -> None:
        self.slack, self.store = slack, store
        self.facts = self._known()

    def _known(self) -> Facts:
        known = bot_rig.facts(self.slack.workspace.state.world.team_id)
        images = {("web", "staging"): ImageRef("r", "1.4.1"), ("web", "production"): ImageRef("r", "1.4.0")}
        return replace(known, snapshot=ImageSnapshot("c" * 40, images))

    def link(self, asker: Asker, deployment_id: str = "") -> str:
        return f"https://bot.example/open?t={asker.user_id}{deployment_id}"

    def open(self, user: User) -> str:
        """What the tab says to whoever opens it now."""
        before = self.slack.workspace.home(user)
        self.slack.workspace.open_home(user)
        self.slack.workspace.wait(lambda: self.slack.workspace.home(user) not in (None, before), 5)
        return "\n".join(self.texts(user))

    def texts(self, user: User) -> list[str]:
        return [str(one["text"]["text"]) for one in self.blocks(user) if "text" in one]

    def blocks(self, user: User) -> list[Json]:
        view = self.slack.workspace.home(user)
        assert view is not None
        found: list[Json] = view.wire["blocks"]
        return found

    def ask(self, user: User, version: str, environment: str) -> str:
        team = self.slack.workspace.state.world.team_id
        asker = Asker(team, user.id, f"trigger:{version}:{environment}", "C0DEPLOYMENTS")
        answer = Desk(self.store, lambda: self.facts).answer(asker, Deploy("web", version, environment, "why"))
        assert not answer.refused, answer
        return answer.deployment_id


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(rates=UNLIMITED) as server:
        yield server


@pytest.fixture
async def tabs(slack: SlackServer, tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Tabs]:
    database = Database(sqlite_url(Path(shutil.copy(sqlite_template, tmp_path / "home.db"))))
    made = Tabs(slack, Store(database))
    app = slack.app
    client = AsyncWebClient(app.bot_token, base_url=slack.api_url)
    listeners = Listeners(Desk(made.store, lambda: made.facts), made.store, lambda: None)
    identity = BotIdentity(slack.workspace.state.world.team_id, app.bot_user_id, app.bot_id, app.bot_token)
    home = HomeTab(made.store, lambda: made.facts, client, made.link)
    bolt = build_app(listeners, identity, client, home.register)
    socket = SocketConnection(app.app_token, slack.api_url, bolt_dispatch(bolt))
    socket.start()
    assert await socket.connected(5)
    yield made
    await home.stop()
    await socket.stop()
    listeners.close()
    database.close()


async def test_it_shows_what_runs_where_and_a_button_with_a_link_of_ones_own(tabs: Tabs) -> None:
    said = await asyncio.to_thread(tabs.open, DEVELOPER)
    assert "*web*  dev – · staging `1.4.1` · production `1.4.0`" in said  # noqa: RUF001 - as it is shown
    button = next(one for one in tabs.blocks(DEVELOPER) if one["type"] == "actions")["elements"][0]
    assert (button["action_id"], button["url"]) == (OPEN, f"https://bot.example/open?t={DEVELOPER.id}")


async def test_ones_own_deployments_are_shown_and_those_of_others_are_not(tabs: Tabs) -> None:
    mine = await asyncio.to_thread(tabs.ask, DEVELOPER, "1.4.2", "staging")
    other = await asyncio.to_thread(tabs.ask, RELEASE_MANAGER, "1.4.3", "dev")
    said = await asyncio.to_thread(tabs.open, DEVELOPER)
    assert f"⏳ `web` `1.4.2` to `staging`: queued, just now (`{mine}`)" in said
    assert other not in said


async def test_what_waits_is_shown_to_who_may_approve_it_and_has_not(tabs: Tabs) -> None:
    change = await asyncio.to_thread(tabs.ask, DEVELOPER, "1.4.2", "production")
    await asyncio.to_thread(opened, tabs.store, change)
    asked = "`web` `1.4.2` to `production`, asked for by"
    assert asked in await asyncio.to_thread(tabs.open, RELEASE_MANAGER)
    assert asked not in await asyncio.to_thread(tabs.open, DEVELOPER)


async def test_a_button_is_for_readers_alone(tabs: Tabs) -> None:
    known = tabs.facts.in_force.catalogue
    assert known is not None
    rules = replace(known.audit, readers=("managers",))
    tabs.facts = replace(tabs.facts, in_force=replace(tabs.facts.in_force, catalogue=replace(known, audit=rules)))
    await asyncio.to_thread(tabs.open, DEVELOPER)
    assert not [one for one in tabs.blocks(DEVELOPER) if one["type"] == "actions"]
    await asyncio.to_thread(tabs.open, RELEASE_MANAGER)
    assert [one for one in tabs.blocks(RELEASE_MANAGER) if one["type"] == "actions"]


async def test_a_stranger_from_another_workspace_is_told_nothing(tabs: Tabs) -> None:
    said = await asyncio.to_thread(tabs.open, OUTSIDER)
    assert "its own workspace only" in said
    assert "1.4.1" not in said


async def test_the_button_is_acked_without_a_word(tabs: Tabs) -> None:
    await asyncio.to_thread(tabs.open, DEVELOPER)
    view = tabs.slack.workspace.home(DEVELOPER)
    assert view is not None
    result = await asyncio.to_thread(tabs.slack.workspace.click_view, DEVELOPER, view, OPEN)
    assert result.acked
    assert tabs.slack.workspace.ephemerals(DEVELOPER) == ()


def test_a_hostile_name_pings_and_links_nobody() -> None:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    found = Home(at, reader=True, places=(("web", (("staging", "<!channel>`1"),)),))
    assert "`&lt;!channel&gt;'1`" in json.dumps(blocks(found, ""))
