"""Which waiting deployments start now: urgency, sets, and what may not start yet. On both databases.

One at a time of each target, and two replicas at once, are test_storage and test_storage_at_once.
"""

from collections.abc import Callable
from typing import Any

import pytest

from storage import claims
from storage.claims import Queued
from storage.models import Deployment, Kind
from storage.phases import Phase
from storage.unit_of_work import Store
from tests.rows import deployments
from tests.unit.review_rig import happened

QUEUED = Phase.QUEUED


def waits(store: Store, app: str = "web", environment: str = "production", **more: Any) -> str:
    return happened(store, app, environment, "1.4.2", QUEUED, **more)


def claim(store: Store, may_start: Callable[[Queued], bool] = claims.anything, *, limit: int = 10) -> list[str]:
    with store.write() as uow:
        return [row.id for row in claims.claim(uow, "one", limit, may_start)]


def all_but(*apps: str) -> Callable[[Queued], bool]:
    return lambda row: row.app not in apps


def ended(store: Store, deployment_id: str) -> None:
    with store.write() as uow:
        row = uow.deployment(deployment_id)
        assert row is not None
        row.to(Phase.SUCCEEDED)


# ---------------------------------------------------------------- urgency


def test_of_one_target_the_most_urgent_starts_then_the_oldest(store: Store) -> None:
    usual, later = waits(store), waits(store)
    rollback = waits(store, priority=10, kind=Kind.ROLLBACK)
    glass = waits(store, priority=20, break_glass=True)
    for expected in (glass, rollback, usual, later):
        assert claim(store) == [expected]
        ended(store, expected)


def test_what_is_urgent_in_one_place_holds_nothing_up_in_another(store: Store) -> None:
    elsewhere = waits(store, environment="staging")
    urgent = waits(store, priority=10)
    assert claim(store) == [urgent, elsewhere]


def test_what_runs_is_not_put_aside_for_what_is_urgent(store: Store) -> None:
    running = waits(store)
    assert claim(store) == [running]
    waits(store, priority=20)
    assert claim(store) == []


# ---------------------------------------------------------------- what may not start


def test_what_may_not_start_holds_up_nobody_not_even_behind_it(store: Store) -> None:
    first = waits(store)
    rollback = waits(store, kind=Kind.ROLLBACK)
    other = waits(store, "checkout-api")
    assert claim(store, lambda row: row.id != first) == [rollback, other]
    assert {row.id: row.phase for row in deployments(store)}[first] == QUEUED


def test_nothing_is_claimed_of_what_is_asked_for_but_may_not_start(store: Store) -> None:
    waits(store)
    assert claim(store, all_but("web")) == []


def test_whether_it_may_start_is_asked_with_all_that_decides_it(store: Store) -> None:
    one = waits(store, kind=Kind.ROLLBACK, break_glass=True, change_id="change0001")
    asked: list[Queued] = []

    def ask(row: Queued) -> bool:
        asked.append(row)
        return True

    claim(store, ask)
    (row,) = asked
    assert (row.id, row.kind, row.app, row.environment) == (one, Kind.ROLLBACK, "web", "production")
    assert (row.change_id, row.break_glass, row.not_before) == ("change0001", True, None)


def test_a_long_row_of_what_may_not_start_hides_nothing_behind_it(store: Store) -> None:
    for number in range(60):
        waits(store, f"app-{number}")
    last = waits(store)
    assert claim(store, lambda row: row.app == "web", limit=2) == [last]


def test_what_is_claimed_is_blocked_by_nothing_any_more(store: Store) -> None:
    one = waits(store, blocked="`production` is frozen.")
    claim(store)
    row: Deployment = next(row for row in deployments(store) if row.id == one)
    assert (row.phase, row.blocked, row.attempt, row.executor) == (Phase.RUNNING, "", 1, "one")


# ---------------------------------------------------------------- sets


def a_set(store: Store, *apps: str, **more: Any) -> list[str]:
    return [waits(store, app, change_id="change0001", card_id="change0001", **more) for app in apps]


def test_a_change_set_starts_whole(store: Store) -> None:
    both = a_set(store, "web", "checkout-api")
    assert sorted(claim(store)) == sorted(both)


@pytest.mark.parametrize("limit", [1, 2])
def test_even_where_there_is_room_for_one_only(store: Store, limit: int) -> None:
    three = a_set(store, "web", "checkout-api", "docs")
    assert sorted(claim(store, limit=limit)) == sorted(three)


def test_a_set_of_which_one_may_not_start_waits_whole_and_holds_up_nobody(store: Store) -> None:
    a_set(store, "web", "checkout-api")
    behind = waits(store, "web")
    assert claim(store, all_but("checkout-api")) == [behind]


def test_a_set_of_which_one_target_is_busy_waits_whole_and_keeps_its_place(store: Store) -> None:
    busy = waits(store, "web")
    assert claim(store) == [busy]
    both = a_set(store, "web", "checkout-api")
    waits(store, "checkout-api")
    assert claim(store) == [], "what came later does not overtake it"
    ended(store, busy)
    assert sorted(claim(store)) == sorted(both)


def test_a_set_that_nobody_reviews_is_as_many_deployments(store: Store) -> None:
    busy = waits(store, "web", "staging")
    assert claim(store) == [busy]
    waits(store, "web", "staging", card_id="card000001")
    other = waits(store, "checkout-api", "staging", card_id="card000001")
    assert claim(store) == [other]


def test_a_rollback_of_one_app_comes_before_a_set_that_waits_for_it(store: Store) -> None:
    both = a_set(store, "web", "checkout-api")
    rollback = waits(store, "web", priority=10, kind=Kind.ROLLBACK)
    assert claim(store) == [rollback]
    ended(store, rollback)
    assert sorted(claim(store)) == sorted(both)
