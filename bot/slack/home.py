"""The Home tab: what waits for whoever opens it, their latest deployments, what runs where, and a link to the pages."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import structlog
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.exc import SQLAlchemyError

from bot.slack.blocks import Block, chunked, context, section
from bot.slack.listeners import Body, timed
from bot.slack.text import cut, escape, foreign, link
from commands.audit_open import LinkTo
from commands.deploy import ago
from commands.facts import Facts
from commands.home import ForYou, Home, home
from commands.reasons import Refused
from commands.requests import Asker, mention
from storage.unit_of_work import Store

OPEN = "home:open"
_MOST_SECTIONS = 30
_SIGNS = {"succeeded": "✅", "failed": "❌", "errored": "⚠️", "running": "🚀"}
log = structlog.get_logger("home")


class HomeTab:
    """Its listeners. A tab is made in the background: the event is acked before the database or Slack is asked."""

    def __init__(
        self, store: Store, facts: Callable[[], Facts], client: AsyncWebClient, to: LinkTo | None = None
    ) -> None:
        self._store = store
        self._facts = facts
        self._client = client
        self._link = to
        self._making: dict[str, asyncio.Task[None]] = {}

    def register(self, app: AsyncApp) -> None:
        """Before the listeners that take everything else."""
        app.event("app_home_opened")(timed("event", self.on_opened))
        app.action(OPEN)(timed("click", self.on_open))

    async def on_opened(self, ack: AsyncAck, body: Body) -> None:
        """Somebody looks at the tab. Bolt acks when this returns; a tab that is being made is not begun again."""
        del ack
        event = body.get("event") or {}
        user, team = str(event.get("user") or ""), str(body.get("team_id") or "")
        if event.get("tab") != "home" or not user or user in self._making:
            return
        task = asyncio.create_task(self._publish(team, user), name="home tab")
        self._making[user] = task
        task.add_done_callback(lambda _: self._making.pop(user, None))

    async def on_open(self, ack: AsyncAck, body: Body) -> None:
        """Slack tells of the button, whose link the browser has opened by itself."""
        del body
        await ack()

    async def stop(self) -> None:
        """Begin nothing new from here on; what is under way is dropped, for the tab is made anew when it is opened."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish(self, team: str, user: str) -> None:
        try:
            # The event does not say which workspace its user is of; in shared channels they may be of another one.
            profile = (await self._client.users_info(user=user)).get("user") or {}
            asker = Asker(str(profile.get("team_id") or ""), user, "")
            view = await asyncio.to_thread(self._view, asker)
            await self._client.views_publish(user_id=user, view=view)
        except (SlackApiError, aiohttp.ClientError, SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("home.not_published", user=user, team=team, error=type(error).__name__)

    def _view(self, asker: Asker) -> dict[str, Any]:
        facts = self._facts()
        try:
            with self._store.read() as uow:
                found = home(uow, facts, asker)
        except Refused as fault:
            return {"type": "home", "blocks": [section(escape(f"{fault.what} {fault.next_step}"))]}
        url = self._link(asker, "") if self._link is not None and found.reader else ""
        return {"type": "home", "blocks": blocks(found, url)}


def blocks(found: Home, url: str) -> list[Block]:
    """The tab. `url` opens the pages; empty where there are none, or none for this person."""
    made: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": "Locktender"}},
    ]
    if url:
        made.append({"type": "actions", "elements": [_open(url)]})
        made.append(context("The button works once, for five minutes; open this tab again for a new one."))
    made.append({"type": "divider"})
    made.append(section("*Waiting for your approval*"))
    made += _listed([_waits(one) for one in found.waiting], "Nothing.")
    made.append(section("*Your latest deployments*"))
    made += _listed([_mine(found, number) for number in range(len(found.mine))], "None in the last 30 days.")
    made.append(section("*What runs where*"))
    made += _listed([_place(one) for one in found.places], escape(found.problem) or "Nothing is configured yet.")
    made.append(context(f"As of {found.at:%Y-%m-%d %H:%M} UTC. `/deploy help` shows what can be typed."))
    return made


def _open(url: str) -> Block:
    return {
        "type": "button",
        "text": {"type": "plain_text", "text": "Open in the browser"},
        "action_id": OPEN,
        "url": url,
        "style": "primary",
    }


def _listed(lines: list[str], otherwise: str) -> list[Block]:
    return [section(one) for one in chunked(lines, most=_MOST_SECTIONS)] if lines else [context(otherwise)]


def _waits(one: ForYou) -> str:
    change = one.change
    apps = ", ".join(f"`{escape(app)}` `{escape(foreign(version))}`" for app, version in one.apps[:5])
    more = f" and {len(one.apps) - 5} more" if len(one.apps) > 5 else ""
    number = f" · {link(change.pr_url, f'pull request #{change.pr_number}')}" if change.pr_number else ""
    asked = escape(f"{mention(change.requested_by)}, {one.have} of {change.required}")
    return cut(f"• {apps}{more} to `{escape(change.environment)}`, asked for by {asked}{number}", 700)


def _mine(found: Home, number: int) -> str:
    one = found.mine[number]
    sign = _SIGNS.get(str(one.phase), "⏳")
    phase = str(one.phase).replace("_", " ")
    what = f"`{escape(one.app)}` `{escape(foreign(one.version))}` to `{escape(one.environment)}`"
    return f"{sign} {what}: {phase}, {ago(found.at, one.requested_at)} (`{one.id}`)"


def _place(one: tuple[str, tuple[tuple[str, str], ...]]) -> str:
    app, versions = one
    said = [f"{escape(name)} {f'`{escape(foreign(version))}`' if version else '–'}" for name, version in versions]  # noqa: RUF001 - a dash where there is nothing
    return cut(f"*{escape(app)}*  {' · '.join(said)}", 700)
