"""Commands, mentions and clicks through the real listeners, over HTTP and over Socket Mode: one delivery, one answer.

Left out: signatures and bodies (test_http_mode), what a deployment does afterwards (tests/e2e).
"""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED
from bot.sandbox.slack_model import AUDITOR, DEPLOYMENTS, DEVELOPER, OUTSIDER, RELEASE_MANAGER, SHARED, Message
from bot.slack.listeners import _team_of, clicker
from storage import courtesy
from storage.courtesy import Courtesy
from storage.phases import Phase
from tests.slack.bot_rig import Rig, rig

DEPLOY = "web 1.4.2 --reason the cart total"


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(rates=UNLIMITED) as server:
        yield server


@pytest.fixture(params=["http", "socket"])
async def bot(
    request: pytest.FixtureRequest, slack: SlackServer, tmp_path: Path, sqlite_template: Path
) -> AsyncIterator[Rig]:
    file = Path(shutil.copy(sqlite_template, tmp_path / "rig.db"))
    async with rig(slack, file, over=request.param) as made:
        yield made


def card(bot: Rig) -> Message:
    return next(one for one in reversed(bot.slack.workspace.messages()) if one.bot_id and not one.thread_ts)


async def test_a_deploy_is_acked_recorded_and_shown_on_one_card(bot: Rig) -> None:
    people = bot.slack.workspace
    calls = len(people.calls())
    result = await bot.do(people.command, DEVELOPER, "/deploy", DEPLOY)
    assert result.text.startswith("Deploying `web` `1.4.2` to `staging`.")
    assert len(people.calls()) == calls, "nothing is asked of Slack before the ack"
    assert people.messages() == ()
    await bot.settle()
    assert "the cart total" in card(bot).text
    assert [one.requested_by for one in bot.deployments()] == [DEVELOPER.id]
    assert [one.action for one in bot.record()] == ["deployment:request"]


async def test_the_same_delivery_three_times_at_once_is_one_deployment_and_one_answer(bot: Rig) -> None:
    result = await bot.do(bot.slack.workspace.command, DEVELOPER, "/deploy", DEPLOY, copies=3)
    assert len({str(one.body) for one in result.deliveries}) == 1
    assert len(bot.deployments()) == 1
    await bot.settle()
    assert len(bot.slack.workspace.messages()) == 1


def _until_answering(known: Courtesy) -> None:
    while known._nobody.is_set():  # nothing else tells that a command has come and waits
        time.sleep(0.01)


async def test_what_nobody_waits_for_begins_when_the_command_is_answered(
    bot: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courtesy, "PATIENCE", 60.0)
    database = bot.store.database
    with database.courtesy.answering():  # so that this one is not put off itself
        holder = contextlib.ExitStack()
        holder.enter_context(database.write())
    asked = asyncio.create_task(bot.do(bot.slack.workspace.command, DEVELOPER, "/deploy", DEPLOY))
    await asyncio.wait_for(asyncio.to_thread(_until_answering, database.courtesy), 30)
    looked = asyncio.create_task(asyncio.to_thread(bot.deployments))
    await asyncio.sleep(0.1)
    assert not looked.done()
    holder.close()
    assert len(await asyncio.wait_for(looked, 30)) == 1, "it came after the command, so it has seen what that did"
    assert (await asked).text.startswith("Deploying")


async def test_asking_twice_says_that_it_was_asked_already(bot: Rig) -> None:
    people = bot.slack.workspace
    await bot.do(people.command, DEVELOPER, "/deploy", DEPLOY)
    again = await bot.do(people.command, RELEASE_MANAGER, "/deploy", DEPLOY)
    assert again.text.startswith(
        "🚫 `web` `1.4.2` is already waiting to be deployed to `staging`: <@U0DEVELOPER> asked"
    )
    assert len(bot.deployments()) == 1


WORDS = [
    ("/deploy", "wep 1.4.2", "Did you mean `web`"),
    ("/deploy", "web 1.4.2 stagin", "Did you mean `staging`"),
    ("/deploy", "web", "alone is not enough"),
    ("/deploy", "--upload-pack=x 1.4.2", "is no option of `/deploy`"),
    ("/deploy", "web 1.4.2 ../..", "🚫"),
    ("/deploy", "web \u202e2.4.1", "U+202E"),
    ("/deploy", "x" * 4000, "1000 is the most"),
    ("/deploy", "web <!channel>", "&lt;!channel&gt;"),
    ("/deploy", "help", "/deploy APP VERSION"),
    ("/deploy", "", "/deploy APP VERSION"),
    ("/deploy", "status", "What runs where"),
    ("/deploy", "cancel nothing99", "There is no deployment with that id."),
    ("/audit", "help", "/audit history"),
    ("/audit", "history colour:red", "is no filter"),
]


async def test_every_command_is_answered_to_the_asker_alone(bot: Rig) -> None:
    people = bot.slack.workspace
    for command, words, said in WORDS:
        result = await bot.do(people.command, DEVELOPER, command, words)
        assert result.acked, words
        assert said in result.text, words
        assert people.ephemerals(DEVELOPER)[-1].text == result.text
    assert people.messages() == ()
    assert bot.deployments() == []


async def test_a_refusal_is_recorded(bot: Rig) -> None:
    await bot.do(bot.slack.workspace.command, DEVELOPER, "/deploy", "wep 1.4.2")
    row = bot.record()[-1]
    assert (row.action, row.reason_code, row.actor) == ("deployment:refuse", "unknown_app", DEVELOPER.id)


async def test_another_workspace_is_refused_and_recorded(bot: Rig) -> None:
    people = bot.slack.workspace
    result = await bot.do(people.command, OUTSIDER, "/deploy", DEPLOY, channel=SHARED)
    assert result.text.startswith("🚫")
    assert bot.deployments() == []
    assert bot.record()[-1].reason_code == "wrong_workspace"
    await bot.do(people.mention, OUTSIDER, SHARED, f"deploy {DEPLOY}")
    assert bot.deployments() == []


async def test_a_command_that_this_version_does_not_know_is_answered(bot: Rig) -> None:
    result = await bot.do(bot.slack.workspace.command, DEVELOPER, "/moor", "web")
    assert "`/moor` is no command of mine" in result.text


async def test_a_button_that_this_version_does_not_know_is_answered(bot: Rig) -> None:
    people = bot.slack.workspace
    await bot.do(people.command, DEVELOPER, "/deploy", DEPLOY)
    await bot.settle()
    old = card(bot)
    for block in old.blocks:
        for one in block.get("elements", ()):
            if "action_id" in one:
                one["action_id"] = "approval:approve"
    assert (await bot.do(people.click, DEVELOPER, old, "approval:approve")).acked
    await bot.settle()
    assert "of another version" in people.ephemerals(DEVELOPER)[-1].text
    assert bot.deployments()[0].phase == Phase.QUEUED


async def test_a_mention_in_a_thread_is_answered_there_to_the_asker_alone(bot: Rig) -> None:
    people = bot.slack.workspace
    root = people.say(DEVELOPER, DEPLOYMENTS, "shall we?")
    await bot.do(people.mention, DEVELOPER, DEPLOYMENTS, f"deploy {DEPLOY}", thread_ts=root.ts)
    await bot.settle()
    told = people.ephemerals(DEVELOPER)[-1]
    assert told.text.startswith("Deploying `web` `1.4.2`")
    assert told.thread_ts == root.ts
    assert [one.source for one in bot.deployments()] == ["mention"]


async def test_an_event_that_comes_again_is_one_deployment_and_one_answer(bot: Rig) -> None:
    people = bot.slack.workspace
    await bot.do(people.mention, DEVELOPER, DEPLOYMENTS, f"deploy {DEPLOY}", copies=3)
    await bot.settle()
    assert len(bot.deployments()) == 1
    assert len([one for one in people.ephemerals(DEVELOPER) if one.text.startswith("Deploying")]) == 1


async def test_an_event_that_nobody_needs_is_taken_and_does_not_come_again(bot: Rig) -> None:
    event_id = await bot.do(bot.slack.workspace.open_home, DEVELOPER)
    assert [one.status for one in bot.slack.workspace.tries(event_id)] == [200]


async def test_cancel_on_the_card_cancels_once_and_the_button_goes(bot: Rig) -> None:
    people = bot.slack.workspace
    await bot.do(people.command, DEVELOPER, "/deploy", DEPLOY)
    await bot.settle()
    shown = card(bot)
    await bot.do(people.click, DEVELOPER, shown, "Cancel", copies=2)
    await bot.do(people.click, DEVELOPER, shown, "Cancel")
    await bot.settle()
    assert [one.phase for one in bot.deployments()] == [Phase.CANCELLED]
    assert [one.action for one in bot.record()].count("deployment:cancel") == 1
    assert any(one.text.startswith("Cancelled `web`") for one in people.ephemerals(DEVELOPER))
    with bot.store.write() as uow:
        uow.session.connection().exec_driver_sql("UPDATE cards SET not_before = '2020-01-01 00:00:00.000000'")
    await bot.settle()
    assert "cancelled" in card(bot).text
    assert card(bot).buttons == ()


async def test_a_click_that_came_too_late_is_told_why(bot: Rig) -> None:
    people = bot.slack.workspace
    await bot.do(people.command, DEVELOPER, "/deploy", DEPLOY)
    await bot.settle()
    shown = card(bot)
    await bot.do(people.command, DEVELOPER, "/deploy", f"cancel {bot.deployments()[0].id}")
    await bot.do(people.click, RELEASE_MANAGER, shown, "Cancel")
    await bot.settle()
    assert "has ended already: cancelled" in people.ephemerals(RELEASE_MANAGER)[-1].text


async def test_older_turns_the_page_in_place_until_there_is_no_more(bot: Rig) -> None:
    people = bot.slack.workspace
    for number in range(24):
        await bot.do(people.command, DEVELOPER, "/deploy", f"web 1.{number}.0 dev")
    await bot.do(people.command, AUDITOR, "/audit", "history env:dev")
    page = people.ephemerals(AUDITOR)[-1]
    pages = [page.text]
    while page.buttons:
        await bot.do(people.click, AUDITOR, page, "Older")
        await bot.settle()
        page = people.ephemerals(AUDITOR)[-1]
        pages.append(page.text)
    assert len(people.ephemerals(AUDITOR)) == 1, "the page is replaced, not repeated"
    assert len(pages) == 3
    shown = "\n".join(pages)
    assert all(f"`1.{number}.0`" in shown for number in range(24))


async def test_a_database_that_cannot_be_written_is_said_and_nothing_is_done(bot: Rig) -> None:
    people = bot.slack.workspace
    await bot.do(people.command, DEVELOPER, "/deploy", DEPLOY)
    await bot.settle()
    shown = card(bot)
    bot.sql("ALTER TABLE seen RENAME TO seen_away")
    bot.sql("ALTER TABLE messages RENAME TO messages_away")
    with capture_logs() as logs:
        result = await bot.do(people.command, DEVELOPER, "/deploy", "my-application 2.0.0")
        assert "could not be recorded, so nothing was done" in result.text
        told = len(people.ephemerals(DEVELOPER))
        assert (await bot.do(people.click, DEVELOPER, shown, "Cancel")).acked
        await bot.do(people.wait, lambda: len(people.ephemerals(DEVELOPER)) > told)
    failed = [one["error_id"] for one in logs if one["event"] == "slack.not_recorded"]
    assert f"error id `{failed[0]}`" in result.text, "the answer leads to the log line"
    assert "could not be recorded, so nothing was done" in people.ephemerals(DEVELOPER)[-1].text
    bot.sql("ALTER TABLE seen_away RENAME TO seen")
    bot.sql("ALTER TABLE messages_away RENAME TO messages")
    assert [one.phase for one in bot.deployments()] == [Phase.QUEUED]
    await bot.do(people.command, DEVELOPER, "/deploy", "my-application 2.0.0")
    assert len(bot.deployments()) == 2


async def test_acks_are_measured_for_commands_clicks_and_events(bot: Rig) -> None:
    def count(kind: str) -> float:
        return REGISTRY.get_sample_value("locktender_ack_seconds_count", {"kind": kind}) or 0.0

    people = bot.slack.workspace
    before = {kind: count(kind) for kind in ("command", "click", "event")}
    await bot.do(people.command, DEVELOPER, "/deploy", DEPLOY)
    await bot.settle()
    await bot.do(people.click, DEVELOPER, card(bot), "Cancel")
    await bot.do(people.mention, DEVELOPER, DEPLOYMENTS, "help")
    assert {kind: count(kind) - before[kind] for kind in before} == {"command": 1.0, "click": 1.0, "event": 1.0}


def test_clicks_in_the_same_seconds_are_one_request_and_a_later_one_is_its_own() -> None:
    def key(at: str, trigger: str, value: str = "84an2qhsvg") -> str:
        body = {
            "user": {"id": "U0DEVELOPER", "team_id": "T0LOCKTENDER"},
            "container": {"channel_id": "C0DEPLOYMENTS", "message_ts": "1.1"},
            "actions": [{"action_id": "deployment:cancel", "action_ts": at, "value": value}],
            "trigger_id": trigger,
        }
        return clicker(body, double_click=True).delivery_key

    assert key("1795434730.1", "t1") == key("1795434733.9", "t2")
    assert key("1795434730.1", "t1") != key("1795434790.1", "t3"), "what was refused a minute ago may be right now"
    assert key("", "t4") != key("", "t5")
    shown, moved = (key("1795434730.1", "t6", token) for token in ("0" * 32, "1" * 32))
    assert shown != moved, "what is approved on a card that changed meanwhile is something else"


@pytest.mark.parametrize(
    ("event", "body", "team"),
    [
        ({"user_team": "T1", "team": "T2"}, {"team_id": "T3"}, "T1"),
        ({"team": "T2"}, {"team_id": "T3", "is_ext_shared_channel": True}, "T2"),
        ({}, {"team_id": "T3", "is_ext_shared_channel": False}, "T3"),
        ({}, {"team_id": "T3", "is_ext_shared_channel": True}, ""),
    ],
)
def test_a_mention_that_does_not_say_whose_it_is_is_a_strangers_where_there_are_any(
    event: dict[str, str], body: dict[str, object], team: str
) -> None:
    assert _team_of(event, body) == team


async def test_a_defect_of_ours_is_answered_with_an_id_that_finds_it(bot: Rig) -> None:
    people = bot.slack.workspace
    await bot.do(people.command, DEVELOPER, "/deploy", DEPLOY)
    bot.sql("UPDATE deployments SET phase = 'of a newer version'")
    with capture_logs() as logs:
        result = await bot.do(people.command, DEVELOPER, "/deploy", f"cancel {bot.deployments()[0].id}")
    assert result.acked, result.trouble
    (logged,) = [one for one in logs if one["event"] == "slack.not_recorded"]
    assert "nothing was done" in result.text
    assert logged["error_id"] in result.text
