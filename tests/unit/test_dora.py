"""The numbers of a report from rows by hand. That the rows come out of a database so is in test_audit_report."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from commands.dora import Ran, by_environment, by_place, measure
from storage.models import Kind
from storage.phases import Phase

SINCE, UNTIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=UTC)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def ran(at: int, *, phase: Phase = Phase.SUCCEEDED, kind: Kind = Kind.DEPLOY, app: str = "web") -> Ran:
    """Asked for `at` minutes after noon, approved after 4, started after 6, in git after 7, ended after 10."""
    asked = NOON + at * MINUTE
    return Ran(
        app, "production", kind, phase, asked, None, asked + 4 * MINUTE, asked + 6 * MINUTE, asked + 7 * MINUTE,
        asked + 10 * MINUTE,
    )  # fmt: skip


def test_times_are_medians_from_one_event_to_the_other() -> None:
    slow = replace(ran(50), finished_at=NOON + 150 * MINUTE)
    numbers = measure([ran(0), ran(20), slow], SINCE, UNTIL)
    assert numbers.lead == 10 * MINUTE
    assert numbers.commit_to_live == 3 * MINUTE
    assert numbers.approval == 4 * MINUTE
    assert numbers.blocked == 2 * MINUTE
    assert (numbers.deployments, numbers.rollbacks, numbers.failures) == (3, 0, 0)
    assert numbers.restore is None


def test_what_was_planned_for_later_waits_for_nobody() -> None:
    later = replace(ran(0), not_before=NOON + 6 * MINUTE)
    numbers = measure([later], SINCE, UNTIL)
    assert numbers.lead == 4 * MINUTE
    assert numbers.blocked == timedelta(0)


def test_what_never_reached_git_is_no_deployment() -> None:
    refused = replace(ran(0, phase=Phase.FAILED), committed_at=None)
    rejected = replace(ran(0, phase=Phase.REJECTED), committed_at=None)
    running = replace(ran(0, phase=Phase.RUNNING), finished_at=None)
    assert measure([refused, rejected, running], SINCE, UNTIL).deployments == 0


def test_a_failure_is_restored_by_the_next_that_succeeds_in_the_same_place() -> None:
    numbers = measure([ran(0), ran(20, phase=Phase.FAILED), ran(30, app="shop"), ran(50)], SINCE, UNTIL)
    assert (numbers.failures, numbers.failure_percent) == (1, 25)
    assert numbers.restore == 30 * MINUTE  # from minute 30, when it had failed, to minute 60


def test_a_rollback_makes_a_failure_of_what_it_takes_back() -> None:
    numbers = measure([ran(0), ran(20), ran(60, kind=Kind.ROLLBACK)], SINCE, UNTIL)
    assert (numbers.deployments, numbers.rollbacks, numbers.failures) == (2, 1, 1)
    assert numbers.restore == 10 * MINUTE  # from when it was asked for


def test_a_rollback_after_a_failure_counts_that_failure_once() -> None:
    numbers = measure([ran(0), ran(20, phase=Phase.FAILED), ran(60, kind=Kind.ROLLBACK)], SINCE, UNTIL)
    assert numbers.failures == 1
    assert numbers.restore == 40 * MINUTE


def test_a_second_rollback_blames_nobody_twice() -> None:
    numbers = measure([ran(0), ran(20, kind=Kind.ROLLBACK), ran(40, kind=Kind.ROLLBACK)], SINCE, UNTIL)
    assert numbers.failures == 1


def test_weeks_are_counted_back_from_the_end() -> None:
    late = replace(ran(0), finished_at=UNTIL - MINUTE)
    assert measure([ran(0), ran(20), late], SINCE, UNTIL).weeks == (2, 0, 0, 1)
    assert measure([], SINCE, SINCE + MINUTE).weeks == (0,)


def test_what_ended_outside_of_the_time_is_left_out() -> None:
    early, late = replace(ran(0), finished_at=SINCE - MINUTE), replace(ran(0), finished_at=UNTIL)
    assert measure([early, late], SINCE, UNTIL).deployments == 0


def test_each_place_has_its_own_numbers() -> None:
    rows = [ran(0), ran(20), ran(0, app="shop", phase=Phase.FAILED)]
    assert {place: one.deployments for place, one in by_place(rows, SINCE, UNTIL).items()} == {
        ("web", "production"): 2,
        ("shop", "production"): 1,
    }
    assert by_environment(rows, SINCE, UNTIL)["production"].failures == 1
