"""What blocks a request: every kind of block against every kind of request, at the second before and at the end.

Pure: nothing is stored here. How locks get into the store is `test_locks`; how the catalogue's windows are worked out
is `test_freezes`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from commands.blocks import Block, BlockKind, blocks, told
from commands.facts import CatalogueInForce
from commands.grammar import unsafe_characters
from commands.reasons import ReasonCode
from commands.scopes import Scope
from storage.models import Kind, Lock, LockKind
from tests.desk_rig import ALICE, APP, broken
from tests.unit.lock_rig import GUARDED, HOUR, NOW, OPEN_TO_ALL, WINDOW, known

SECOND = timedelta(seconds=1)
EVERYTHING = Scope()
CHANGES = (Kind.DEPLOY, Kind.PROMOTE, Kind.ROLLBACK)


@dataclass(frozen=True)
class Ask:
    app: str = APP
    environment: str = "production"
    kind: Kind = Kind.DEPLOY
    break_glass: bool = False
    not_before: datetime | None = None


def a_lock(kind: LockKind = LockKind.LOCK, scope: Scope = EVERYTHING, *, until: datetime | None = None) -> Lock:
    return Lock(
        id="lock000001",
        kind=kind,
        app=scope.app,
        environment=scope.environment,
        reason="database migration",
        owner=ALICE,
        at=NOW - HOUR,
        expires_at=until,
        deployment_id="roll000001" if kind is LockKind.HOLD else "",
    )


def look(ask: Ask, *locks: Lock, text: str = OPEN_TO_ALL, now: datetime = NOW) -> tuple[Block, ...]:
    return blocks(ask, locks, known(text).in_force, now)


def test_nothing_blocks_where_nothing_is_set() -> None:
    assert all(look(Ask(kind=kind)) == () for kind in Kind)


@pytest.mark.parametrize(
    ("kind", "stopped"),
    [
        (LockKind.LOCK, {Kind.DEPLOY, Kind.PROMOTE, Kind.ROLLBACK}),
        (LockKind.FREEZE, {Kind.DEPLOY, Kind.PROMOTE}),
        (LockKind.HOLD, {Kind.DEPLOY, Kind.PROMOTE}),
    ],
)
def test_each_kind_stops_what_it_is_for(kind: LockKind, stopped: set[Kind]) -> None:
    there = a_lock(kind, Scope(APP, "production"))
    assert {one for one in Kind if look(Ask(kind=one), there)} == stopped


@pytest.mark.parametrize(
    ("kind", "reason", "words"),
    [
        (LockKind.LOCK, ReasonCode.LOCKED, "/deploy unlock"),
        (LockKind.FREEZE, ReasonCode.FROZEN, "/deploy unfreeze"),
        (LockKind.HOLD, ReasonCode.ON_HOLD, "/deploy unlock"),
    ],
)
def test_a_block_says_whose_it_is_why_and_how_it_is_lifted(kind: LockKind, reason: ReasonCode, words: str) -> None:
    (block,) = look(Ask(), a_lock(kind, Scope(APP, "production"), until=NOW + HOUR))
    assert (block.kind, block.reason) == (BlockKind(kind), reason)
    assert (block.lock_id, block.until) == ("lock000001", NOW + HOUR)
    assert ALICE in block.what
    assert "`database migration`" in block.what
    assert f"{words} {APP} production`" in block.next_step
    assert block.next_step.startswith("Rollbacks pass.") is (kind is not LockKind.LOCK)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (Scope(), True),
        (Scope(environment="production"), True),
        (Scope(app=APP), True),
        (Scope(APP, "production"), True),
        (Scope(environment="staging"), False),
        (Scope(app="web"), False),
        (Scope(APP, "staging"), False),
        (Scope("web", "production"), False),
    ],
)
@pytest.mark.parametrize("kind", list(LockKind))
def test_a_lock_stops_what_is_within_its_scope_alone(scope: Scope, kind: LockKind, covered: bool) -> None:  # noqa: FBT001 - an expectation
    assert bool(look(Ask(), a_lock(kind, scope))) is covered


@pytest.mark.parametrize("kind", list(LockKind))
def test_it_ends_at_its_very_second(kind: LockKind) -> None:
    there = a_lock(kind, until=NOW)
    assert look(Ask(), there, now=NOW - timedelta(microseconds=1))
    assert look(Ask(), there, now=NOW) == ()


@pytest.mark.parametrize("kind", list(LockKind))
def test_what_was_lifted_blocks_nothing(kind: LockKind) -> None:
    there = a_lock(kind)
    there.lifted_at = NOW - SECOND
    assert look(Ask(), there) == ()


@pytest.mark.parametrize("kind", CHANGES)
def test_break_glass_passes_locks_freezes_windows_and_holds(kind: Kind) -> None:
    every = [a_lock(one) for one in LockKind]
    friday = NOW.replace(hour=17)
    assert look(Ask(kind=kind), *every, text=WINDOW, now=friday)
    assert look(Ask(kind=kind, break_glass=True), *every, text=WINDOW, now=friday) == ()


@pytest.mark.parametrize("break_glass", [False, True])
@pytest.mark.parametrize("kind", CHANGES)
def test_the_time_that_was_asked_for_is_kept_by_everything(kind: Kind, break_glass: bool) -> None:  # noqa: FBT001 - a case
    ask = Ask(kind=kind, break_glass=break_glass, not_before=NOW)
    (block,) = look(ask, now=NOW - SECOND)
    assert (block.kind, block.reason, block.until) == (BlockKind.SCHEDULED, None, NOW)
    assert "2026-11-20 12:00 UTC" in block.what
    assert look(ask, now=NOW) == ()


@pytest.mark.parametrize(
    ("allow", "stopped"),
    [("", {Kind.DEPLOY, Kind.PROMOTE}), (", allow: []", {Kind.DEPLOY, Kind.PROMOTE, Kind.ROLLBACK})],
)
def test_a_window_of_the_catalogue_stops_deployments_and_rollbacks_when_it_says_so(
    allow: str, stopped: set[Kind]
) -> None:
    text = WINDOW.replace('"mon 08:00"}', f'"mon 08:00"{allow}}}')
    found = {kind: look(Ask(kind=kind), text=text, now=NOW.replace(hour=16)) for kind in Kind}
    assert {kind for kind, there in found.items() if there} == stopped
    (block,) = found[Kind.DEPLOY]
    assert (block.kind, block.reason) == (BlockKind.WINDOW, ReasonCode.FROZEN)
    assert block.until == datetime(2026, 11, 23, 8, tzinfo=UTC)
    assert "`weekend`" in block.what
    assert ("Rollbacks pass" in block.next_step) is (Kind.ROLLBACK not in stopped)


def test_a_window_is_looked_up_at_the_time_of_acting() -> None:
    begins, ends = NOW.replace(hour=16), datetime(2026, 11, 23, 8, tzinfo=UTC)
    asked = [bool(look(Ask(), text=WINDOW, now=at)) for at in (begins - SECOND, begins, ends - SECOND, ends)]
    assert asked == [False, True, True, False]
    assert look(Ask(environment="staging"), text=WINDOW, now=begins) == ()


def test_everything_that_is_in_the_way_is_told() -> None:
    every = [a_lock(one, until=None) for one in LockKind]
    found = look(Ask(not_before=NOW.replace(hour=23)), *every, text=WINDOW, now=NOW.replace(hour=17))
    assert [block.kind for block in found] == [
        BlockKind.LOCK,
        BlockKind.FREEZE,
        BlockKind.WINDOW,
        BlockKind.HOLD,
        BlockKind.SCHEDULED,
    ]
    assert "2 more" in told(found)


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("break_glass", [False, True])
def test_production_is_closed_to_all_while_the_newest_rules_have_faults(kind: Kind, break_glass: bool) -> None:  # noqa: FBT001 - a case
    doubtful = broken(known()).in_force
    (block,) = blocks(Ask(kind=kind, break_glass=break_glass), (), doubtful, NOW)
    assert (block.kind, block.reason) == (BlockKind.RULES, ReasonCode.CATALOGUE_INVALID)
    assert blocks(Ask(environment="staging"), (), doubtful, NOW) == ()


def test_nothing_starts_without_a_catalogue_but_a_preview() -> None:
    (block,) = blocks(Ask(environment="dev"), (), CatalogueInForce(), NOW)
    assert (block.kind, block.reason) == (BlockKind.RULES, ReasonCode.CATALOGUE_MISSING)
    assert blocks(Ask(kind=Kind.PREVIEW), (), CatalogueInForce(), NOW) == ()


@pytest.mark.parametrize(
    ("text", "scope", "who"),
    [
        (OPEN_TO_ALL, Scope(environment="production"), "Anyone can lift"),
        (GUARDED, Scope(environment="production"), "A member of `release-managers` or `platform-team` can lift"),
        (GUARDED, Scope(app=APP), "A member of `release-managers` or `platform-team` can lift"),
        (GUARDED.replace("staging: {}", "staging: {deployers: [platform-team]}"), Scope(), "Whoever may lock all of"),
    ],
)
def test_it_says_who_can_lift_it(text: str, scope: Scope, who: str) -> None:
    (block,) = look(Ask(), a_lock(scope=scope), text=text)
    assert block.next_step.startswith(who)


def test_a_cards_text_stays_as_it_is_while_time_passes() -> None:
    there = [a_lock(one, until=NOW + HOUR) for one in LockKind]
    texts = {told(look(Ask(), *there, now=NOW + minutes * SECOND)) for minutes in range(0, 3600, 600)}
    assert len(texts) == 1
    assert told(()) == ""


@pytest.mark.parametrize("reason", ["`*_~", "<!channel> & <@U1>", "\ue000U0BOB\ue001", "x" * 500])
def test_a_reason_is_quoted_so_that_it_does_nothing(reason: str) -> None:
    there = a_lock()
    there.reason = reason
    (block,) = look(Ask(), there)
    quoted = block.what.rpartition(": `")[2]
    assert quoted.endswith("`.")
    assert "`" not in quoted[:-2]
    assert unsafe_characters(quoted) is None
    assert len(quoted) < 250
    assert "\ue000" not in quoted


def test_an_environment_that_the_catalogue_lost_is_still_locked() -> None:
    (block,) = look(Ask(environment="old"), a_lock(scope=Scope(environment="old")))
    assert block.reason is ReasonCode.LOCKED
    assert block.next_step.startswith("Nobody can lift that")
