"""The outbox against the stand-in of Slack: every message arrives once, in order and in its newest state, or waits.

The clock is the test's own, so that waits cost nothing. Left out: what cards say (test_cards), and the program killed
in the middle (tests/crash).
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy import select
from structlog.testing import capture_logs

from bot.metrics import StoreCollector
from bot.sandbox.server import Fault, Misbehaviour
from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED
from bot.sandbox.slack_model import DEPLOYMENTS, DEVELOPER, GENERAL, Message
from bot.slack import outbox as outbox_module
from bot.slack.outbox import POST_GAP, SLOW_FOR, Outbox
from bot.slack.outbox_look import BATCH, POSTS
from bot.slack.outbox_rows import KEEP_FOR, OutboxRows, Outcome, depth
from storage import models
from storage.database import Database, sqlite_url
from storage.models import Card, Deployment, Target
from storage.phases import Phase, Stage
from storage.unit_of_work import Note, Store

CHANNEL = DEPLOYMENTS.id
POST, UPDATE = "/api/chat.postMessage", "/api/chat.update"


class Clock:
    """Real time, and as much more as the test says."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def seconds(self) -> float:
        return self().timestamp()

    def forward(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


class Desk:
    """The store, the outbox and Slack, with the few moves that a test makes."""

    def __init__(self, store: Store, slack: SlackServer, clock: Clock) -> None:
        self.store, self.slack, self.clock = store, slack, clock
        self.client = AsyncWebClient(slack.app.bot_token, base_url=slack.api_url, timeout=2)
        self.outbox = self.fresh()

    def fresh(self) -> Outbox:
        """The outbox of a process that was just started."""
        return Outbox(OutboxRows(self.store, lambda _: ""), self.client, self.clock.seconds)

    def request(self, channel: str = CHANNEL, **more: Any) -> str:
        deployment = Deployment(
            app=more.pop("app", "web"),
            environment="staging",
            version=more.pop("version", "1.4.2"),
            team_id="T0LOCKTENDER",
            requested_by=DEVELOPER.id,
            requested_at=self.clock(),
            **more,
        )
        with self.store.write() as uow:
            uow.add(deployment, channel)
        return deployment.id

    def change(self, deployment_id: str, **values: Any) -> None:
        with self.store.write() as uow:
            row = uow.deployment(deployment_id)
            assert row is not None
            for name, value in values.items():
                setattr(row, name, value)
            uow.changed(row)

    def reply(self, deployment_id: str, text: str, **body: Any) -> None:
        with self.store.write() as uow:
            uow.send(
                Note(f"{deployment_id}:{text}", Target.THREAD, {"text": text, **body}, deployment_id=deployment_id)
            )

    def respond(self, url: str, text: str) -> None:
        with self.store.write() as uow:
            uow.send(Note(f"answer:{text}", Target.RESPONSE, {"text": text}, url=url))

    async def settle(self, outbox: Outbox | None = None) -> None:
        """Send whatever is due now."""
        for _ in range(60):
            if not await (outbox or self.outbox).once():
                return
        raise AssertionError("the outbox does not come to rest")

    async def wait(self, seconds: float) -> None:
        self.clock.forward(seconds)
        await self.settle()

    def depth(self) -> int:
        with self.store.read() as uow:
            return depth(uow)

    def card(self, deployment_id: str) -> Card:
        with self.store.read() as uow:
            found = uow.session.get(Card, deployment_id)
        assert found is not None
        return found

    def note(self, key: str) -> models.Message:
        with self.store.read() as uow:
            found = uow.session.scalars(select(models.Message)).all()
        return next(one for one in found if one.key == key)

    def cards(self, channel: str = CHANNEL) -> list[Message]:
        return [one for one in self.slack.workspace.messages(channel) if not one.thread_ts and one.bot_id]

    def replies(self, deployment_id: str) -> list[str]:
        ts = self.card(deployment_id).ts
        return [one.text for one in self.slack.workspace.thread(CHANNEL, ts) if one.ts != ts]

    def spoil(self, path: str, kind: Misbehaviour, **more: Any) -> Fault:
        return self.slack.faults.add(Fault("POST", path, kind, **more))

    def answer_url(self) -> str:
        return self.slack.workspace.state.response_url(DEVELOPER.id, CHANNEL, None)


@pytest.fixture(scope="module")
def server() -> Iterator[SlackServer]:
    with SlackServer(rates=UNLIMITED) as slack:
        yield slack


@pytest.fixture
def slack(server: SlackServer) -> Iterator[SlackServer]:
    app, channels = server.app, server.workspace.channels()
    server.faults.clear()
    server.workspace.state.calls.clear()
    yield server
    server.reinstall(app)
    for channel in channels:
        server.workspace.put_channel(channel)


@pytest.fixture
async def desk(slack: SlackServer, tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Desk]:
    database = Database(sqlite_url(Path(shutil.copy(sqlite_template, tmp_path / "outbox.db"))))
    clock = Clock()
    for message in slack.workspace.messages(CHANNEL):
        slack.workspace.state.delete(message)
    yield Desk(Store(database, clock), slack, clock)
    database.close()


# ---------------------------------------------------------------- once, and the newest


async def test_cards_that_are_answered_together_are_recorded_in_one_transaction(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [desk.request(app=f"web-{number}") for number in range(4)]
    recorded: list[int] = []
    record = OutboxRows.record

    def counted(rows: OutboxRows, outcomes: Sequence[Outcome]) -> None:
        recorded.append(len(outcomes))
        record(rows, outcomes)

    monkeypatch.setattr(OutboxRows, "record", counted)
    monkeypatch.setattr(outbox_module, "TOGETHER", 1.0)
    await desk.settle()
    assert recorded == [4]
    assert all(desk.card(name).ts for name in names)


async def test_a_card_that_slack_does_not_answer_holds_up_no_other(desk: Desk) -> None:
    slow = desk.request(app="slow")
    desk.spoil("/api/chat.postMessage", Misbehaviour.DELAY, seconds=1.5)
    other = desk.request(app="web")
    round_ = asyncio.create_task(desk.outbox.once())
    while not (desk.card(slow).ts or desk.card(other).ts):
        assert not round_.done(), "nothing was recorded before the slow one had ended"
        await asyncio.sleep(0.02)
    await round_


async def test_a_card_is_posted_once_and_then_updated_in_place(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    desk.change(name, phase=Phase.RUNNING, stage=Stage.CHECK)
    await desk.wait(2)
    assert len(desk.cards()) == 1
    assert "on its way" in desk.cards()[0].text
    assert desk.depth() == 0


async def test_fifty_changes_in_a_second_are_a_few_updates(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    for number in range(50):
        desk.change(name, note=f"change {number}")
        await desk.settle()
    await desk.wait(2)
    assert "change 49" in desk.cards()[0].text
    assert len(desk.slack.workspace.calls("chat.update")) <= 5


async def test_a_change_that_shows_nothing_new_is_no_call(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    desk.change(name, heartbeat_at=desk.clock())
    await desk.wait(2)
    assert desk.slack.workspace.calls("chat.update") == ()
    assert desk.depth() == 0


async def test_a_card_that_changed_while_it_was_posted_is_posted_again(desk: Desk) -> None:
    name = desk.request()
    desk.spoil(POST, Misbehaviour.DELAY, seconds=0.4)
    posting = asyncio.create_task(desk.outbox.once())
    await asyncio.sleep(0.15)
    desk.change(name, phase=Phase.RUNNING, stage=Stage.CHECK, note="meanwhile")
    await posting
    assert "meanwhile" not in desk.cards()[0].text
    await desk.wait(2)
    assert "meanwhile" in desk.cards()[0].text
    assert len(desk.cards()) == 1


async def test_a_card_that_somebody_deleted_is_posted_again(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    desk.slack.workspace.state.delete(desk.cards()[0])
    desk.change(name, phase=Phase.RUNNING, stage=Stage.CHECK)
    await desk.wait(2)
    assert len(desk.cards()) == 1
    assert desk.card(name).ts == desk.cards()[0].ts


async def test_a_new_process_goes_on_where_the_last_one_stopped(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    desk.change(name, note="after the restart")
    desk.reply(name, "a reply")
    desk.clock.forward(2)
    later = desk.fresh()
    later.reclaim()
    await desk.settle(later)
    assert "after the restart" in desk.cards()[0].text
    assert desk.replies(name) == ["a reply"]


async def test_a_card_that_waits_is_told_anew_when_one_ahead_of_it_ends(desk: Desk) -> None:
    first = desk.request(phase=Phase.RUNNING, version="1.4.1")
    desk.clock.forward(1)
    second = desk.request(version="1.4.2")
    desk.clock.forward(1)
    third = desk.request(version="1.4.3")
    await desk.settle()
    waiting = next(one for one in desk.cards() if one.ts == desk.card(third).ts)
    assert f"1.4.1 (`{first}`) and 1 more" in waiting.text
    desk.change(first, phase=Phase.SUCCEEDED, stage=Stage.DONE, finished_at=desk.clock())
    await desk.wait(2)
    await desk.wait(2)
    waiting = next(one for one in desk.cards() if one.ts == desk.card(third).ts)
    assert f"1.4.2 (`{second}`) to end first" in waiting.text


# ---------------------------------------------------------------- Slack in trouble


@pytest.mark.parametrize("kind", [Misbehaviour.FAIL_AFTER, Misbehaviour.DROP_AFTER])
async def test_a_card_that_was_posted_without_an_answer_is_found_not_doubled(desk: Desk, kind: Misbehaviour) -> None:
    name = desk.request()
    desk.spoil(POST, kind)
    await desk.settle()
    assert desk.card(name).ts == ""
    desk.change(name, note="meanwhile")
    await desk.wait(3)
    assert len(desk.cards()) == 1
    assert "meanwhile" in desk.cards()[0].text


async def test_a_lost_card_is_found_behind_many_other_messages(desk: Desk) -> None:
    desk.request()
    desk.spoil(POST, Misbehaviour.FAIL_AFTER)
    await desk.settle()
    for number in range(250):
        desk.slack.workspace.say(DEVELOPER, CHANNEL, f"chatter {number}")
    await desk.wait(3)
    assert len(desk.cards()) == 1
    assert len(desk.slack.workspace.calls("conversations.history")) == 2


@pytest.mark.parametrize("kind", [Misbehaviour.FAIL_AFTER, Misbehaviour.DROP_AFTER])
async def test_a_reply_that_was_posted_without_an_answer_is_found_not_doubled(desk: Desk, kind: Misbehaviour) -> None:
    name = desk.request()
    await desk.settle()
    desk.reply(name, "the commit")
    desk.spoil(POST, kind)
    await desk.settle()
    await desk.wait(3)
    assert desk.replies(name) == ["the commit"]
    assert desk.depth() == 0


@pytest.mark.parametrize("kind", [Misbehaviour.DROP_BEFORE, Misbehaviour.REFUSE])
async def test_an_outage_of_an_hour_loses_nothing(desk: Desk, kind: Misbehaviour) -> None:
    name = desk.request()
    await desk.settle()
    desk.change(name, note="meanwhile")
    desk.reply(name, "one")
    desk.reply(name, "two")
    desk.spoil("/api/", kind, times=10**6, status=503)
    for _ in range(60):
        await desk.wait(60)
    assert desk.replies(name) == []
    desk.slack.faults.clear()
    await desk.wait(60)
    await desk.wait(2)
    assert "meanwhile" in desk.cards()[0].text
    assert desk.replies(name) == ["one", "two"]


async def test_weeks_of_failing_do_not_break_the_arithmetic(desk: Desk) -> None:
    name = desk.request()
    with desk.store.write() as uow:
        card = uow.session.get(Card, name)
        assert card is not None
        card.attempts = 5000
    desk.spoil(POST, Misbehaviour.REFUSE, status=503)
    await desk.settle()
    assert desk.card(name).error == "http_503"
    await desk.wait(61)
    assert len(desk.cards()) == 1


async def test_slacks_retry_after_is_respected_by_every_card_of_the_channel(desk: Desk) -> None:
    names = [desk.request(app=f"web-{number}") for number in range(8)]
    fault = desk.spoil(POST, Misbehaviour.RATE_LIMIT, times=10**6, seconds=30)
    await desk.settle()
    first = fault.hits
    late = desk.request(app="late")
    await desk.wait(20)
    assert fault.hits == first, "nobody calls before Slack's time is over"
    desk.slack.faults.clear()
    await desk.wait(31)
    for posted in range(1, len(names) + 2):
        assert len(desk.cards()) == posted, "one at a time, where Slack has just limited us"
        await desk.wait(POST_GAP)
    assert desk.card(late).error == ""
    assert desk.slack.workspace.calls("conversations.history") == (), "a refused call needs no search"


async def test_a_channel_that_was_limited_once_is_fast_again_after_a_minute(desk: Desk) -> None:
    desk.request(app="first")
    desk.spoil(POST, Misbehaviour.RATE_LIMIT, times=1, seconds=1)
    await desk.settle()
    await desk.wait(SLOW_FOR + 1)
    assert len(desk.cards()) == 1
    for number in range(POSTS):
        desk.request(app=f"web-{number}")
    await desk.settle()
    assert len(desk.cards()) == 1 + POSTS


async def test_a_limited_channel_does_not_slow_down_another(desk: Desk) -> None:
    desk.request(app="first")
    desk.spoil(POST, Misbehaviour.RATE_LIMIT, times=1, seconds=1)
    await desk.settle()
    await desk.wait(2)
    for number in range(POSTS + 1):
        desk.request(app=f"web-{number}")
        desk.request(GENERAL.id, app=f"shop-{number}")
    await desk.settle()
    assert len(desk.cards(GENERAL.id)) == POSTS + 1
    assert len(desk.cards()) == 1


async def test_in_a_limited_channel_replies_do_not_wait_for_all_the_cards(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    for number in range(12):
        desk.request(app=f"web-{number}")
    desk.reply(name, "Live.")
    desk.spoil(POST, Misbehaviour.RATE_LIMIT, times=POSTS + 1, seconds=1)
    for _ in range(4):
        await desk.wait(POST_GAP)
    assert desk.replies(name) == ["Live."]
    assert 1 < len(desk.cards()) < 13


async def test_a_rate_limit_on_updates_does_not_hold_back_new_cards(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    desk.change(name, note="changed")
    desk.spoil(UPDATE, Misbehaviour.RATE_LIMIT, seconds=30)
    await desk.wait(2)
    desk.request(app="other")
    await desk.settle()
    assert len(desk.cards()) == 2


async def test_an_answer_that_is_a_proxys_page_is_a_failure_and_no_crash(desk: Desk) -> None:
    name = desk.request()
    desk.spoil(POST, Misbehaviour.REFUSE, status=200)
    await desk.settle()
    assert desk.card(name).error == "AttributeError"
    await desk.wait(3)
    assert len(desk.cards()) == 1


@pytest.mark.parametrize("trouble", ["channel_not_found", "not_in_channel", "missing_scope", "is_archived"])
async def test_what_a_person_must_mend_is_tried_once_a_minute_and_seen_in_log_and_metrics(
    desk: Desk, trouble: str
) -> None:
    app = desk.slack.app
    where = CHANNEL
    if trouble == "channel_not_found":
        where = "C0NOWHERE"
    elif trouble == "missing_scope":
        desk.slack.reinstall(replace(app, bot_scopes=app.bot_scopes - {"chat:write"}))
    elif trouble == "is_archived":
        desk.slack.workspace.put_channel(replace(DEPLOYMENTS, archived=True))
    else:
        desk.slack.reinstall(replace(app, bot_scopes=app.bot_scopes - {"chat:write.public"}))
        desk.slack.workspace.put_channel(replace(DEPLOYMENTS, members=DEPLOYMENTS.members - {app.bot_user_id}))
    name = desk.request(where)
    desk.reply(name, "waits for the card")
    with capture_logs() as logs:
        await desk.settle()
    assert [one["error"] for one in logs if one["event"] == "outbox.card_failed"] == [trouble]
    registry = CollectorRegistry()
    registry.register(StoreCollector(desk.store, lambda: 0))
    assert f'locktender_outbox_failing{{error="{trouble}"}} 1.0' in generate_latest(registry).decode()
    tried = len(desk.slack.workspace.calls("chat.postMessage"))
    await desk.wait(50)
    assert len(desk.slack.workspace.calls("chat.postMessage")) == tried
    desk.slack.reinstall(app)
    desk.slack.workspace.put_channel(DEPLOYMENTS)
    if where != CHANNEL:
        with desk.store.write() as uow:
            card = uow.session.get(Card, name)
            assert card is not None
            card.channel = CHANNEL
    await desk.wait(61)
    await desk.wait(61)
    assert len(desk.cards()) == 1
    assert desk.replies(name) == ["waits for the card"]
    assert 'error="' not in generate_latest(registry).decode()


async def test_a_card_that_cannot_be_shown_in_blocks_is_shown_as_text(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    desk.reply(name, "", fallback="the whole truth", blocks=[{"type": "no such block"}])
    with capture_logs() as logs:
        await desk.settle()
    assert desk.replies(name) == ["the whole truth"]
    assert "outbox.blocks_refused" in [one["event"] for one in logs]


async def test_a_card_that_this_version_cannot_read_does_not_hold_up_the_others(desk: Desk) -> None:
    poison = desk.request(app="poison")
    desk.change(poison, phase="a phase of a later version", rollout="{")
    desk.request()
    with capture_logs() as logs:
        await desk.settle()
    assert ["web 1.4.2" in one.text for one in desk.cards()] == [True]
    assert "outbox.card_unreadable" in [one["event"] for one in logs]


# ---------------------------------------------------------------- replies in order


async def test_replies_stay_in_order_when_the_first_fails(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    for text in ("one", "two", "three"):
        desk.reply(name, text)
    desk.spoil(POST, Misbehaviour.REFUSE, times=2, status=500)
    await desk.settle()
    assert desk.replies(name) == []
    for _ in range(6):
        await desk.wait(2)
    assert desk.replies(name) == ["one", "two", "three"]


async def test_a_thread_that_is_stuck_does_not_hold_up_another(desk: Desk) -> None:
    stuck = desk.request("C0NOWHERE")
    for number in range(BATCH * 2):
        desk.reply(stuck, f"reply {number}")
    name = desk.request()
    desk.reply(name, "mine")
    for _ in range(3):
        await desk.wait(2)
    assert desk.replies(name) == ["mine"]


async def test_a_reply_that_nobody_can_send_is_given_up_and_the_next_one_goes(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    desk.reply(name, "", fallback="x" * 4001, blocks=[])
    desk.reply(name, "after it")
    for _ in range(3):
        await desk.wait(2)
    assert desk.replies(name) == ["after it"]
    assert desk.depth() == 0


async def test_a_reply_is_given_up_after_a_day(desk: Desk) -> None:
    name = desk.request()
    await desk.settle()
    desk.reply(name, "old news")
    desk.slack.workspace.put_channel(replace(DEPLOYMENTS, archived=True))
    await desk.settle()
    assert desk.depth() == 1
    await desk.wait(KEEP_FOR.total_seconds() + 60)
    assert desk.depth() == 0


# ---------------------------------------------------------------- answers to one person


async def test_an_answer_goes_to_its_response_url_and_the_address_is_forgotten(desk: Desk) -> None:
    url = desk.answer_url()
    desk.respond(url, "the difference")
    await desk.settle()
    assert desk.slack.workspace.ephemerals(DEVELOPER)[-1].text == "the difference"
    assert desk.note("answer:the difference").url == ""


@pytest.mark.parametrize("uses", [5, -1])
async def test_a_response_url_that_is_used_up_or_unknown_is_given_up_and_wiped(desk: Desk, uses: int) -> None:
    url = desk.answer_url() if uses > 0 else f"{desk.slack.url}/actions/expired"
    for number in range(max(uses, 0)):
        desk.respond(url, f"use {number}")
    await desk.settle()
    desk.respond(url, "too late")
    with capture_logs() as logs:
        await desk.settle()
    left = desk.note("answer:too late")
    assert (left.waiting, left.url, left.error, left.sent_at) == (False, "", "response_url_404", None)
    given_up = [one for one in logs if one["event"] == "outbox.given_up"]
    assert len(given_up) == 1
    assert url not in json.dumps(given_up)


async def test_a_response_url_in_trouble_is_tried_again(desk: Desk) -> None:
    desk.respond(desk.answer_url(), "at last")
    desk.spoil("/actions/", Misbehaviour.REFUSE, times=2, status=503)
    for _ in range(3):
        await desk.wait(2)
    assert desk.slack.workspace.ephemerals(DEVELOPER)[-1].text == "at last"


async def test_a_whisper_to_somebody_who_left_the_channel_is_given_up(desk: Desk) -> None:
    with desk.store.write() as uow:
        uow.send(Note("whisper", Target.EPHEMERAL, {"text": "psst"}, channel=CHANNEL, user_id="U0GONE"))
    await desk.settle()
    assert desk.note("whisper").error == "user_not_in_channel"
    assert desk.depth() == 0


async def test_the_task_sends_when_it_is_poked_and_drains_when_it_stops(desk: Desk) -> None:
    outbox = desk.fresh()
    outbox.start()
    desk.request()
    outbox.poke()
    for _ in range(100):
        if desk.cards():
            break
        await asyncio.sleep(0.05)
    desk.request(app="other")
    await outbox.stop()
    assert len(desk.cards()) == 2


async def test_what_slack_is_too_slow_for_is_left_to_whoever_leases_it_next(desk: Desk) -> None:
    for text in ("one", "two"):
        with desk.store.write() as uow:
            uow.send(Note(text, Target.CHANNEL, {"text": text}, channel=CHANNEL))
    people = desk.slack.workspace

    def slow() -> float:
        return desk.clock.seconds() + 25 * len(people.messages())

    await Outbox(OutboxRows(desk.store, lambda _: ""), desk.client, slow).once()
    assert [one.text for one in people.messages()] == ["one"]
    await desk.wait(31)
    assert [one.text for one in people.messages()] == ["one", "two"]
