"""The real listeners, desk, store and outbox between the stand-in of Slack and a SQLite file, over HTTP or a socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy import select, text

from bot.desk import Desk
from bot.sandbox.server import Server
from bot.sandbox.slack import SlackServer
from bot.slack.decisions import Decisions
from bot.slack.listeners import BotIdentity, Listeners, build_app
from bot.slack.outbox import Outbox
from bot.slack.outbox_rows import OutboxRows, depth
from bot.slack.socket import SocketConnection
from bot.slack.socket_bolt import bolt_dispatch
from bot.web import app as web
from commands.catalogue import Catalogue
from commands.catalogue_reader import read
from commands.facts import CatalogueInForce, Facts
from storage.database import Database, sqlite_url
from storage.models import Deployment
from storage.record_models import AuditRow
from storage.unit_of_work import Store

CATALOGUE = """\
promotion: [dev, staging, production]
environments: {dev: {}, staging: {}, production: {change: pull-request, approval: {from: [managers], required: 1}}}
apps: {web: {image: registry.example/web}, my-application: {image: registry.example/my-application}}
groups: {managers: {members: [U0RELEASE]}}
channels: {deployments: C0DEPLOYMENTS}
"""
T = TypeVar("T")


def facts(team_id: str) -> Facts:
    found = read(CATALOGUE.encode())
    assert isinstance(found, Catalogue), found
    in_force = CatalogueInForce(found, commit="c" * 40, newest="c" * 40)
    return Facts(in_force, snapshot_age=timedelta(), team_id=team_id, reviews=True)


@dataclass
class Rig:
    """What a test holds: Slack, the store, and what the bot would be told."""

    slack: SlackServer
    store: Store
    outbox: Outbox
    url: str = ""  # where the bot listens, in HTTP mode
    troubles: list[str] = field(default_factory=list)

    async def do(self, work: Callable[..., T], *words: Any, **more: Any) -> T:
        """Somebody acts, in a thread of their own."""
        return await asyncio.to_thread(work, *words, **more)

    async def settle(self) -> None:
        """Send whatever waits."""
        while await self.outbox.once():
            pass

    def outbox_waits(self) -> int:
        """How many cards and messages wait to be sent."""
        with self.store.read() as uow:
            return depth(uow)

    def deployments(self) -> list[Deployment]:
        with self.store.read() as uow:
            return list(uow.session.scalars(select(Deployment)))

    def record(self) -> list[AuditRow]:
        with self.store.read() as uow:
            return list(uow.session.scalars(select(AuditRow)))

    def sql(self, statement: str) -> None:
        with self.store.write() as uow:
            uow.session.connection().execute(text(statement))


@asynccontextmanager
async def rig(slack: SlackServer, file: Path, *, over: str) -> AsyncIterator[Rig]:
    """The bot, started on a SQLite file that has the schema; `over` is `http` or `socket`."""
    database = Database(sqlite_url(file))
    store = Store(database)
    app = slack.app
    client = AsyncWebClient(app.bot_token, base_url=slack.api_url)
    desk = Desk(store, lambda: facts(slack.workspace.state.world.team_id))
    listeners = Listeners(desk, store, lambda: None)
    identity = BotIdentity(slack.workspace.state.world.team_id, app.bot_user_id, app.bot_id, app.bot_token)
    bolt = build_app(listeners, identity, client, Decisions(listeners, store, client).register)
    outbox = Outbox(
        OutboxRows(store, lambda sha: f"https://github.com/company/infra/commit/{sha}"),
        AsyncWebClient(app.bot_token, base_url=slack.api_url),
    )
    made = Rig(slack, store, outbox)
    try:
        if over == "socket":
            connection = SocketConnection(app.app_token, slack.api_url, bolt_dispatch(bolt))
            connection.start()
            assert await connection.connected(5)
            yield made
            await connection.stop()
        else:
            with Server(web.create(bolt, app.signing_secret, lambda: made.troubles)) as server:
                made.url = server.url
                slack.use_http(f"{server.url}/slack/events")
                yield made
    finally:
        listeners.close()
        database.close()
