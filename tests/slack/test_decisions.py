"""The buttons and forms of the gate, through the real listeners: each click and each form is answered, and done once.

Who may decide what is test_approve; which buttons a card has, test_review_cards.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from structlog.testing import capture_logs

from bot.sandbox.server import Fault, Misbehaviour
from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED
from bot.sandbox.slack_model import AUDITOR, DEVELOPER, OUTSIDER, RELEASE_MANAGER, Message, User, View
from bot.sandbox.slack_payloads import Filled
from bot.slack.decisions import _kept
from commands.shown import Shown
from storage import gate
from storage.models import Card, ChangeState, Deployment
from storage.phases import Phase, Stage
from tests.slack.bot_rig import Rig, rig
from tests.unit.review_rig import change_of, merged, opened

TEXT = "text"


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(rates=UNLIMITED) as server:
        yield server


@pytest.fixture
async def bot(slack: SlackServer, tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Rig]:
    file = Path(shutil.copy(sqlite_template, tmp_path / "rig.db"))
    async with rig(slack, file, over="http") as made:
        yield made


async def waiting(bot: Rig, **shown: Any) -> Message:
    """The card of a change that waits for its approval."""
    await bot.do(bot.slack.workspace.command, DEVELOPER, "/deploy", "web 1.4.2 production --reason the cart")
    opened(bot.store, bot.deployments()[0].id)
    with bot.store.write() as uow:
        change = gate.change_of(uow, bot.deployments()[0].id)
        assert change is not None
        change.shown = replace(Shown(groups=("managers",)), **shown).as_json()
    return await card(bot)


async def owing(bot: Rig) -> Message:
    """The card of a change that broke the glass, was merged, and is not reviewed yet."""
    await waiting(bot)
    with bot.store.write() as uow:
        change = gate.held(uow, the(bot).id)
        assert change is not None
        change.break_glass = True
        gate.change_shown(uow, change)
    merged(bot.store, the(bot).id, due=timedelta(hours=24))
    bot.sql("UPDATE cards SET not_before = '2020-01-01 00:00:00.000000'")
    return await card(bot)


async def card(bot: Rig) -> Message:
    await bot.settle()
    return next(one for one in reversed(bot.slack.workspace.messages()) if one.bot_id and not one.thread_ts)


async def form(bot: Rig, shown: Message, button: str, by: User = RELEASE_MANAGER) -> View:
    """Click, and the form that opens."""
    result = await bot.do(bot.slack.workspace.click, by, shown, button)
    assert result.acked, result.trouble
    await bot.do(bot.slack.workspace.wait, lambda: bot.slack.workspace.views(by))
    return bot.slack.workspace.views(by)[-1]


async def submit(bot: Rig, view: View, words: Filled, by: User = RELEASE_MANAGER, copies: int = 1) -> Any:
    return await bot.do(bot.slack.workspace.submit_view, by, view, {TEXT: words}, copies=copies)


async def told(bot: Rig, user: User = RELEASE_MANAGER) -> str:
    await bot.settle()
    return bot.slack.workspace.ephemerals(user)[-1].text


def the(bot: Rig) -> Deployment:
    return bot.deployments()[0]


def approvals(bot: Rig) -> list[str]:
    with bot.store.read() as uow:
        change = gate.change_of(uow, the(bot).id)
        assert change is not None
        return [one.slack_user for one in gate.approvals(uow, change)]


def actions(bot: Rig) -> list[str]:
    return [one.action for one in bot.record()]


# ---------------------------------------------------------------- approve


async def test_approve_is_one_click_and_is_answered_to_whoever_clicked(bot: Rig) -> None:
    shown = await waiting(bot)
    result = await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, shown, "Approve", copies=3)
    assert result.acked
    await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, shown, "Approve")
    await bot.settle()
    answers = [one.text for one in bot.slack.workspace.ephemerals(RELEASE_MANAGER)]
    assert "Your approval is recorded" in answers[0]
    # A click of the next ten seconds is one of its own, and is told so.
    assert "recorded" in answers[-1] or "approved it already" in answers[-1]
    assert approvals(bot) == [RELEASE_MANAGER.id]
    assert actions(bot).count("change:approve") == 1


@pytest.mark.parametrize(
    ("who", "said"),
    [
        (DEVELOPER, "asked for this change"),
        (AUDITOR, "may not approve this"),
        (replace(OUTSIDER, team_id="T0STRANGERS"), "another one"),
    ],
)
async def test_who_may_not_is_told_why_and_nothing_is_approved(bot: Rig, who: User, said: str) -> None:
    shown = await waiting(bot)
    await bot.do(bot.slack.workspace.click, who, shown, "Approve")
    assert said in await told(bot, who)
    assert approvals(bot) == []
    assert actions(bot)[-1] == "change:approve:refuse"


async def test_a_button_that_somebody_changed_is_stale(bot: Rig) -> None:
    shown = await waiting(bot)
    for block in shown.blocks:
        for one in block.get("elements", ()):
            if one.get("action_id") == "change:approve":
                one["value"] = "f" * 32
    await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, shown, "Approve")
    assert "something else than what waits now" in await told(bot)
    assert approvals(bot) == []


async def test_an_older_card_approves_nothing_of_what_is_shown_now(bot: Rig) -> None:
    shown = await waiting(bot)
    opened(bot.store, the(bot).id, content="2")
    await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, shown, "Approve")
    assert "Look at the card as it is now." in await told(bot)
    assert approvals(bot) == []


async def test_where_a_comment_is_needed_a_form_asks_for_it(bot: Rig) -> None:
    view = await form(bot, await waiting(bot, comment_required=True), "Approve")
    assert view.title == "Approve"
    assert approvals(bot) == []
    await submit(bot, view, "read the whole diff")
    assert "Your approval is recorded" in await told(bot)
    assert approvals(bot) == [RELEASE_MANAGER.id]
    details = json.loads(next(row.details for row in bot.record() if row.action == "change:approve"))
    assert details["comment"] == "read the whole diff"


# ---------------------------------------------------------------- reject


async def test_reject_opens_a_form_and_its_reason_ends_the_change(bot: Rig) -> None:
    shown = await waiting(bot)
    view = await form(bot, shown, "Reject")
    assert the(bot).phase == Phase.AWAITING_APPROVAL, "a click alone rejects nothing"
    result = await submit(bot, view, "the release notes\nare missing")
    assert (result.acked, result.errors) == (True, ())
    assert bot.slack.workspace.views(RELEASE_MANAGER) == ()
    assert (
        await told(bot) == "Rejected; the pull request is being closed.\n<@U0DEVELOPER> sees your reason on the card."
    )
    assert the(bot).phase == Phase.REJECTED
    assert "the release notes are missing" in the(bot).what
    bot.sql("UPDATE cards SET not_before = '2020-01-01 00:00:00.000000'")
    after = await card(bot)
    assert "the release notes are missing" in after.text
    assert after.buttons == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [(" \n ", "A rejection needs a reason, and none was given."), ("no \u202eoot", "by hand")],
)
async def test_what_is_wrong_with_the_words_is_said_beside_the_field(bot: Rig, words: str, said: str) -> None:
    view = await form(bot, await waiting(bot), "Reject")
    result = await submit(bot, view, words)
    ((field, text),) = result.errors
    assert field == "why"
    assert said in text
    assert "--reason" not in text, "that is how a command says it"
    assert bot.slack.workspace.views(RELEASE_MANAGER) == (view,), "and nothing that was typed is lost"
    assert the(bot).phase == Phase.AWAITING_APPROVAL
    await submit(bot, view, "not today")
    assert the(bot).phase == Phase.REJECTED


async def test_a_form_that_is_delivered_three_times_at_once_is_one_rejection_and_one_answer(bot: Rig) -> None:
    view = await form(bot, await waiting(bot), "Reject")
    await submit(bot, view, "not today", copies=3)
    await bot.settle()
    assert actions(bot).count("change:reject") == 1
    (answer,) = bot.slack.workspace.ephemerals(RELEASE_MANAGER)
    assert answer.text.startswith("Rejected")
    assert "change:reject:refuse" not in actions(bot)


async def test_a_form_that_was_open_too_long_rejects_nothing_else(bot: Rig) -> None:
    view = await form(bot, await waiting(bot), "Reject")
    opened(bot.store, the(bot).id, content="2")
    await submit(bot, view, "not today")
    assert "something else than what waits now" in await told(bot)
    assert the(bot).phase == Phase.AWAITING_APPROVAL


async def test_a_form_of_somebody_who_may_not_is_refused(bot: Rig) -> None:
    view = await form(bot, await waiting(bot), "Reject", AUDITOR)
    await submit(bot, view, "not today", AUDITOR)
    assert "may not approve this" in await told(bot, AUDITOR)
    assert the(bot).phase == Phase.AWAITING_APPROVAL


# ---------------------------------------------------------------- review and roll back


async def test_reviewed_closes_the_debt_of_a_broken_glass(bot: Rig) -> None:
    shown = await owing(bot)
    await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, shown, "Reviewed", copies=2)
    assert "the debt is closed" in await told(bot)
    assert change_of(bot.store, the(bot).id).reviewed_by == RELEASE_MANAGER.id
    assert actions(bot).count("change:review") == 1


async def failed(bot: Rig) -> Message:
    """The card of a deployment that failed after its commit, with a healthy one before it."""
    for version, phase in (("1.4.1", Phase.SUCCEEDED), ("1.4.2", Phase.FAILED)):
        await bot.do(bot.slack.workspace.command, DEVELOPER, "/deploy", f"web {version} staging")
        with bot.store.write() as uow:
            (row,) = uow.open_for("web", "staging")
            row.to(Phase.RUNNING)
            row.to(phase)
            row.commit_sha, row.finished_at, row.stage = version * 8, uow.now, Stage.DONE
            row.reason_code = "live" if phase is Phase.SUCCEEDED else "crash_loop"
            uow.changed(row)
    bot.sql("UPDATE cards SET not_before = '2020-01-01 00:00:00.000000'")
    await bot.settle()
    return next(one for one in bot.slack.workspace.messages() if "failed" in one.text)


async def test_roll_back_on_a_failed_card_asks_why_and_goes_the_way_of_every_rollback(bot: Rig) -> None:
    view = await form(bot, await failed(bot), "Roll back")
    assert view.title == "Roll back"
    await submit(bot, view, "it crashes")
    assert "Rolling back to `web` `1.4.1`" in await told(bot)
    (row,) = [one for one in bot.deployments() if one.kind == "rollback"]
    assert (row.version, row.reason, row.requested_by, row.source) == (
        "1.4.1",
        "it crashes",
        RELEASE_MANAGER.id,
        "button",
    )


async def test_a_form_for_a_deployment_that_is_not_on_record_says_so(bot: Rig) -> None:
    shown = await failed(bot)
    for block in shown.blocks:
        for one in block.get("elements", ()):
            if one.get("action_id") == "deployment:rollback":
                one["value"] = "nothing000"
    await submit(bot, await form(bot, shown, "Roll back"), "it crashes")
    assert "is not on record" in await told(bot)
    assert not [one for one in bot.deployments() if one.kind == "rollback"]


# ---------------------------------------------------------------- on another message than the card


async def copied(bot: Rig, shown: Message, channel: str = "C0DEPLOYMENTS") -> Message:
    """The same blocks in another message of the bot: what whoever got hold of its token would post."""
    client = AsyncWebClient(bot.slack.app.bot_token, base_url=bot.slack.api_url)
    sent = await client.chat_postMessage(channel=channel, text="Lunch?", blocks=list(shown.blocks))
    return next(one for one in bot.slack.workspace.messages(channel) if one.ts == sent["ts"])


def place(bot: Rig, ts: str) -> None:
    """What is on record of where the card is."""
    with bot.store.write() as uow:
        card = uow.session.get(Card, the(bot).id)
        assert card is not None
        card.ts, card.behind = ts, False


async def test_approve_in_a_copy_of_the_card_counts_for_nothing(bot: Rig) -> None:
    shown = await waiting(bot)
    copy = await copied(bot, shown)
    await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, copy, "Approve")
    assert "is not the card of" in await told(bot)
    assert (approvals(bot), actions(bot)[-1]) == ([], "change:approve:refuse")
    await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, shown, "Approve")
    assert approvals(bot) == [RELEASE_MANAGER.id], "on the card itself the same button counts"


async def test_a_form_that_a_copy_opened_counts_for_nothing(bot: Rig) -> None:
    shown = await waiting(bot)
    await submit(bot, await form(bot, await copied(bot, shown), "Reject"), "not today")
    assert "is not the card of" in await told(bot)
    assert (the(bot).phase, actions(bot)[-1]) == (Phase.AWAITING_APPROVAL, "change:reject:refuse")


async def test_cancel_in_a_copy_of_the_card_cancels_nothing(bot: Rig) -> None:
    copy = await copied(bot, await waiting(bot))
    await bot.do(bot.slack.workspace.click, DEVELOPER, copy, "Cancel")
    assert "is not the card of" in await told(bot, DEVELOPER)
    assert the(bot).phase == Phase.AWAITING_APPROVAL


async def test_reviewed_in_a_copy_of_the_card_closes_no_debt(bot: Rig) -> None:
    copy = await copied(bot, await owing(bot))
    await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, copy, "Reviewed")
    assert "is not the card of" in await told(bot)
    assert change_of(bot.store, the(bot).id).reviewed_by == ""


async def test_roll_back_in_a_copy_of_the_card_rolls_nothing_back(bot: Rig) -> None:
    copy = await copied(bot, await failed(bot))
    await submit(bot, await form(bot, copy, "Roll back"), "it crashes")
    assert "is not the card of" in await told(bot)
    assert not [one for one in bot.deployments() if one.kind == "rollback"]


async def test_a_card_that_a_crash_posted_twice_counts_where_it_is_kept_up_to_date(bot: Rig) -> None:
    first = await waiting(bot)
    second = await copied(bot, first)
    place(bot, second.ts)  # the first was posted, and its place lost with the process
    await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, first, "Approve")
    assert approvals(bot) == []
    await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, second, "Approve")
    assert approvals(bot) == [RELEASE_MANAGER.id]


async def test_a_click_that_comes_before_the_place_of_its_card_is_on_record_waits_for_it(bot: Rig) -> None:
    shown = await waiting(bot)
    place(bot, "")
    click = asyncio.create_task(bot.do(bot.slack.workspace.click, RELEASE_MANAGER, shown, "Approve"))
    await asyncio.sleep(0.2)
    place(bot, shown.ts)
    assert (await click).acked
    assert approvals(bot) == [RELEASE_MANAGER.id]


async def test_while_the_place_of_the_card_stays_unknown_the_click_counts_for_nothing(bot: Rig) -> None:
    shown = await waiting(bot)
    place(bot, "")
    assert (await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, shown, "Approve")).acked
    assert "Click again in a few seconds." in await told(bot)
    assert approvals(bot) == []


# ---------------------------------------------------------------- forms in trouble


async def test_a_form_is_opened_within_the_life_of_its_trigger(bot: Rig) -> None:
    await form(bot, await waiting(bot), "Reject")
    assert [call.error for call in bot.slack.workspace.calls("views.open")] == [""]


@pytest.mark.parametrize("kind", [Misbehaviour.DROP_BEFORE, Misbehaviour.REFUSE])
async def test_when_slack_opens_no_form_whoever_clicked_is_told_what_to_do(bot: Rig, kind: Misbehaviour) -> None:
    shown = await waiting(bot)
    bot.slack.faults.add(Fault("POST", "/views.open", kind, times=10))
    with capture_logs() as logs:
        result = await bot.do(bot.slack.workspace.click, RELEASE_MANAGER, shown, "Reject")
        assert result.acked
        await bot.do(bot.slack.workspace.wait, bot.outbox_waits)
        assert "The form could not be opened in time." in await told(bot)
    assert "slack.form_not_opened" in {one["event"] for one in logs}
    assert the(bot).phase == Phase.AWAITING_APPROVAL


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"x"', "{", "[" * 3000, '{"value": {"a": 1}}', "\ud800"])
def test_whatever_comes_back_as_what_a_form_was_for_is_words_or_nothing(text: str) -> None:
    kept = _kept(text)
    assert all(len(value) <= 200 for value in kept.values())


async def test_a_form_that_was_tampered_with_decides_nothing(bot: Rig) -> None:
    view = await form(bot, await waiting(bot), "Reject")
    for metadata in ("", "[" * 2000, '{"value": "' + "f" * 32 + '", "channel": "C0DEPLOYMENTS"}'):
        forged = replace(
            view, private_metadata=metadata, wire=view.wire | {"private_metadata": metadata, "hash": metadata[:50]}
        )
        result = await submit(bot, forged, "not today")
        assert result.acked, result.trouble
    assert the(bot).phase == Phase.AWAITING_APPROVAL
    assert change_of(bot.store, the(bot).id).state == ChangeState.OPEN
