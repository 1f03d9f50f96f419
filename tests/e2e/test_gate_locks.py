"""What keeps a request waiting, through the whole program: locks, freezes, the catalogue's windows, a time that was
asked for, the queue; that everybody can see why; and that it goes on by itself.

Left to others: the rules themselves (`test_blocks`, `test_locks`, `test_times`), and holds (`test_gate_rollback`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from bot.sandbox.slack_model import DEVELOPER, ON_CALL, RELEASE_MANAGER
from commands.reasons import ReasonCode
from storage.models import Kind
from storage.phases import Phase
from tests.e2e.gate_rig import IN_GIT, REVIEWED, Company, GateRig, gate_rig

APP = "web"
_NOW = datetime.now(UTC)
_WINDOW = (
    "freezes:\n"
    "  - name: year-end\n"
    "    environments: [frozen]\n"
    "    timezone: UTC\n"
    f"    from: {_NOW - timedelta(days=1):%Y-%m-%dT%H:%M}\n"
    f"    until: {_NOW + timedelta(days=2):%Y-%m-%dT%H:%M}\n"
    "    reason: Christmas trade\n"
)
COMPANY = Company(
    environments={
        "locked": IN_GIT,
        "icy": IN_GIT,
        "frozen": IN_GIT,
        "timed": IN_GIT,
        "order": "",
        "closed": f"{IN_GIT}, {REVIEWED}",
        "timed-eu": f"{IN_GIT}, {REVIEWED}",
    },
    apps={
        APP: ["locked", "icy", "frozen", "timed", "order", "closed", "timed-eu"],
        "api": ["locked", "closed"],
    },
    more=_WINDOW,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateRig]:
    with gate_rig(tmp_path_factory.mktemp("locks"), COMPANY) as made:
        yield made


def test_a_lock_is_told_to_everyone_and_what_waits_goes_on_once_it_is_lifted(world: GateRig) -> None:
    told = world.type(f"lock {APP} locked 2h --reason the database is migrated", user=ON_CALL).text
    assert told.startswith("You locked")
    world.until(lambda: any(f"<@{ON_CALL.id}> locked `{APP}` in `locked`" in text for text in world.notices()))
    world.turned_down(f"lock {APP} locked --reason mine", f"<@{ON_CALL.id}> has locked", "`/deploy unlock web locked`")
    assert "is locked by" in world.type(f"{APP} 1.4.2 locked").text
    row = world.rows_of("locked")[-1]
    world.said(row, "waiting", f"is locked by <@{ON_CALL.id}>", "the database is migrated", "unlock web locked")
    other = world.put("api", "1.4.2", "locked")  # another app of the same place is free
    assert other.phase == Phase.SUCCEEDED
    world.not_committed(row)
    assert world.type(f"unlock {APP} locked", user=DEVELOPER).text.startswith("You ended the lock")
    assert world.live(row).version == "1.4.2"
    assert "is locked" not in world.card(row).text
    world.until(lambda: any(f"<@{DEVELOPER.id}> ended the lock" in text for text in world.notices()))
    kept = [(one.action, one.actor) for one in world.audit() if one.action.startswith("lock:") and one.app == APP]
    assert kept == [("lock:set", ON_CALL.id), ("lock:lift", DEVELOPER.id)]
    world.turned_down(f"unlock {APP} locked", "Nobody has locked")


def test_why_says_what_is_in_the_way_and_who_can_lift_it(world: GateRig) -> None:
    world.type("lock locked --reason maintenance", user=ON_CALL)
    try:
        assert "`locked` is locked by" in world.type(f"why {APP} locked").text
        world.type(f"{APP} 1.4.3 locked")
        row = world.rows_of("locked")[-1]
        text = world.type(f"why {row.id}").text
        who = f"is locked by <@{ON_CALL.id}>"
        for words in (row.id, who, "maintenance", "/deploy unlock locked", "/deploy cancel"):
            assert words in text, text
        queue = world.type("queue locked").text
        assert "0 running and 1 waiting in `locked`" in queue
        assert row.id in queue
        assert "`locked` is locked" in queue
    finally:
        world.type("unlock locked", user=ON_CALL)
    world.live(row)
    assert "Nothing in `locked` runs or waits." in world.type("queue locked").text
    text = world.type(f"why {row.id}").text
    assert "has ended: succeeded" in text, text


def test_a_freeze_stops_deployments_and_lets_rollbacks_pass(world: GateRig) -> None:
    good = world.put(APP, "1.4.1", "icy")
    world.put(APP, "1.4.2", "icy")
    world.turned_down("freeze icy --reason x", "for how long")
    assert world.type("freeze icy 2h --reason the flash sale", user=RELEASE_MANAGER).text.startswith("You froze")
    world.type(f"{APP} 1.4.3 icy")
    row = world.rows_of("icy")[-1]
    world.said(row, "waiting", f"`icy` is frozen by <@{RELEASE_MANAGER.id}>", "the flash sale", "/deploy unfreeze icy")
    back = world.live(world.roll_back(f"{APP} icy", "it is slow"))
    assert (back.version, back.restores) == (good.version, good.id)
    assert world.over(row, Phase.SUPERSEDED, ReasonCode.SUPERSEDED_BY_NEWER).superseded_by == back.id
    world.type(f"{APP} 1.4.4 icy")
    row = world.rows_of("icy")[-1]
    world.said(row, "is frozen by", "is held")  # both are in its way now
    world.type("unfreeze icy", user=RELEASE_MANAGER)
    world.until(lambda: "is frozen by" not in world.card(row).text)
    world.said(row, "waiting", "is held")
    world.type(f"unlock {APP} icy")
    assert world.live(row).version == "1.4.4"


def test_a_window_of_the_catalogue_holds_until_the_file_says_otherwise(world: GateRig) -> None:
    world.type(f"{APP} 1.4.2 frozen")
    (row,) = world.rows_of("frozen")
    world.said(row, "waiting", "The freeze `year-end` of `locktender.yaml`", "Christmas trade", "Rollbacks pass.")
    world.turned_down("unfreeze frozen", "`year-end` ends by itself")
    world.not_committed(row)
    text = world.sandbox.read("locktender.yaml")
    before, _, after = text.partition(_WINDOW)
    world.sandbox.commit("locktender.yaml", before + after, "No freeze this year")
    assert world.live(row).version == "1.4.2"


def test_what_is_asked_for_a_time_starts_then(world: GateRig) -> None:
    at = datetime.now(UTC) + timedelta(seconds=12)
    text = world.type(f"{APP} 1.4.2 timed --at {at:%Y-%m-%dT%H:%M:%S} --reason after lunch").text
    assert text.startswith("Scheduled"), text
    (row,) = world.rows_of("timed")
    world.said(row, "waiting", "It was asked for", "everything is checked again")
    assert "asked for" in world.type(f"why {row.id}").text
    newer = world.live(world.ask(f"{APP} 1.4.1 timed"))  # does not take the place of what has its time
    assert newer.started_at is not None
    done = world.live(row)
    assert done.version == "1.4.2"
    assert done.started_at is not None
    assert done.started_at >= at.replace(microsecond=0)
    world.turned_down(f"{APP} 1.4.3 timed --at 2020-01-01 10:00", "is past")
    world.turned_down(f"{APP} 1.4.3 timed --at lunchtime", "is not a time")


def test_what_is_approved_for_a_time_is_merged_then_and_not_before(world: GateRig) -> None:
    at = datetime.now(UTC) + timedelta(seconds=25)
    row = world.ask(f"{APP} 1.4.2 timed-eu --at {at:%Y-%m-%dT%H:%M:%S}")
    world.approve(row)
    world.until(lambda: world.row(row).phase == Phase.QUEUED or world.row(row).started_at)
    done = world.live(row)
    merged = world.change(row).merged_at
    assert merged is not None
    assert merged >= at.replace(microsecond=0)
    assert done.version == "1.4.2"


def test_a_lock_holds_an_approved_change_and_nothing_of_it_is_lost(world: GateRig) -> None:
    world.type("lock closed --reason an incident", user=RELEASE_MANAGER)
    row = world.ask(f"{APP} 1.4.2 closed")
    card = world.shown(row)  # it can be looked at and approved meanwhile
    assert "`closed` is locked" in card.text
    world.approve(row)
    world.said(row, "waiting", "`closed` is locked by")
    text = world.type(f"why {row.id}").text
    assert "is locked" in text
    assert not world.pull(row).merge_sha
    world.type("unlock closed", user=RELEASE_MANAGER)
    assert world.live(row).version == "1.4.2"
    assert len(world.approvals(row)) == 1


def test_a_rollback_starts_before_what_was_asked_earlier(world: GateRig) -> None:
    world.put(APP, "1.4.1", "order")
    world.put(APP, "1.4.2", "order")
    world.sandbox.jenkins.quiet_down()
    try:
        running = world.ask(f"{APP} 1.4.3 order")
        world.until(lambda: world.row(running).build_state == "queued")
        waiting = world.ask(f"{APP} 1.4.4 order", user=ON_CALL)
        back = world.roll_back(f"{APP} order to 1.4.1", "orders are lost")
        queue = world.type("queue order").text
        assert queue.index(running.id) < queue.index(back.id) < queue.index(waiting.id), queue
        why = world.type(f"why {waiting.id}").text
        assert f"a rollback, by <@{DEVELOPER.id}>" in why, why
    finally:
        world.sandbox.jenkins.cancel_quiet_down()
    world.live(running)
    done = world.live(back)
    assert (done.kind, done.version) == (Kind.ROLLBACK, "1.4.1")
    world.said(waiting, "waiting", "is held")  # what was rolled back stays
    world.not_committed(waiting)
    world.type(f"unlock {APP} order")
    assert world.live(waiting).version == "1.4.4"
