"""`/deploy queue`: the order of the start, what each row says of what holds it up, and how much is shown."""

from datetime import timedelta

import pytest

from commands import requests
from commands.facts import CatalogueInForce, Facts
from commands.queue import MOST_ROWS, queue
from commands.reasons import ReasonCode
from commands.requests import Answer
from storage import gate
from storage.models import Change, ChangeState, Kind
from storage.phases import Phase, Stage
from storage.unit_of_work import Store
from tests.desk_rig import ALICE, APP, BOB, asker, check_refusal, check_words
from tests.rows import audit_rows
from tests.unit.lock_rig import HOUR, NOW, Clock, accepted, known, locked, put

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def clock(store: Store) -> Clock:
    """The store's clock, to be set by hand."""
    made = Clock(NOW + 5 * MINUTE)
    store.clock = made
    return made


def ask(store: Store, *words: str, facts: Facts | None = None) -> Answer:
    answer = queue(store, facts or known(), asker(), requests.Queue(words))
    check_words(answer)
    return answer


def order(answer: Answer) -> list[str]:
    return [row.text.rpartition("(`")[2].removesuffix("`)") for row in answer.rows]


def test_an_empty_queue_says_so_and_is_not_recorded(store: Store) -> None:
    put(store, "ended00001", phase=Phase.FAILED)
    put(store, "preview001", kind=Kind.PREVIEW)
    answer = ask(store)
    assert answer.reason is ReasonCode.ANSWERED
    assert answer.what == "Nothing runs or waits."
    assert audit_rows(store) == []


def test_what_runs_comes_first_then_the_urgent_then_the_oldest_then_what_is_not_approved(store: Store) -> None:
    put(store, "early00001", phase=Phase.AWAITING_APPROVAL, requested_at=NOW - HOUR)
    put(store, "third00001", requested_at=NOW + 2 * MINUTE)
    put(store, "second0001", requested_at=NOW + MINUTE)
    put(store, "urgent0001", requested_at=NOW + 3 * MINUTE, priority=100, kind=Kind.ROLLBACK)
    put(store, "running001", requested_at=NOW + 4 * MINUTE, phase=Phase.RUNNING, stage=Stage.ROLLOUT)
    answer = ask(store)
    assert order(answer) == ["running001", "urgent0001", "second0001", "third00001", "early00001"]
    assert "1 running and 4 waiting" in answer.what
    assert "running: " in answer.rows[0].text
    assert answer.rows[0].detail == "rollout"
    assert ["waiting, 1.: rollback to" in row.text for row in answer.rows] == [False, True, False, False, False]


def test_rows_are_grouped_by_target(store: Store) -> None:
    for number, (app, environment) in enumerate([("web", "staging"), (APP, "dev"), ("web", "staging"), (APP, "dev")]):
        put(store, f"row000000{number}", app=app, environment=environment, requested_at=NOW + number * MINUTE)
    answer = ask(store)
    assert order(answer) == ["row0000001", "row0000003", "row0000000", "row0000002"]
    assert [row.text.partition(".:")[0][-1] for row in answer.rows] == ["1", "2", "1", "2"]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ((), ["app0000001", "app0000002", "web0000001"]),
        ((APP,), ["app0000001", "app0000002"]),
        (("website",), ["web0000001"]),
        (("staging",), ["app0000002", "web0000001"]),
        (("staging", APP), ["app0000002"]),
        ((APP, "staging"), ["app0000002"]),
        (("production",), []),
    ],
)
def test_an_app_and_an_environment_narrow_it(store: Store, words: tuple[str, ...], ids: list[str]) -> None:
    put(store, "app0000001", environment="dev")
    put(store, "app0000002", environment="staging")
    put(store, "web0000001", app="web", environment="staging")
    assert order(ask(store, *words)) == ids


def test_each_row_says_who_asked_when_and_what_holds_it_up(store: Store, clock: Clock) -> None:
    put(store, "waiting001", requested_by=BOB, not_before=clock.now + HOUR, break_glass=False)
    accepted(locked(store, "production"))
    (row,) = ask(store).rows
    assert BOB in row.text
    assert "5 minutes ago" in row.text
    assert "`production` is locked by" in row.detail
    assert "2026-11-20 13:05 UTC" in row.detail


def test_break_glass_is_told(store: Store) -> None:
    put(store, "urgent0001", break_glass=True)
    accepted(locked(store, "production"))
    assert ask(store).rows[0].detail == "By break-glass."


def test_what_waits_for_approval_says_how_many_it_has_and_of_whom(store: Store) -> None:
    put(store, "review0001", phase=Phase.AWAITING_APPROVAL, change_id="review0001")
    with store.write() as uow:
        gate.add_change(
            uow,
            Change(
                id="review0001",
                state=ChangeState.OPEN,
                environment="production",
                team_id="T1",
                requested_by=ALICE,
                requested_at=NOW,
                required=2,
                expires_at=NOW + 4 * HOUR,
            ),
        )
    (row,) = ask(store).rows
    assert row.detail == (
        "It waits for approval: 0 of 2 from `release-managers` or `platform-team`, until 2026-11-20 16:00 UTC."
    )


def test_thirty_rows_are_shown_and_the_rest_is_counted(store: Store) -> None:
    for number in range(MOST_ROWS + 3):
        put(store, f"row{number:07}", requested_at=NOW + number * timedelta(seconds=1))
    answer = ask(store)
    assert len(answer.rows) == MOST_ROWS
    assert "3 more" in answer.next_step
    assert f"{MOST_ROWS + 3} waiting" in answer.what


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("prod",), ReasonCode.UNKNOWN_APP),
        ((APP, "prod"), ReasonCode.UNKNOWN_ENVIRONMENT),
        ((APP, "staging", "dev"), ReasonCode.BAD_USAGE),
        ((APP, "2h"), ReasonCode.BAD_USAGE),
    ],
)
def test_words_that_name_nothing_are_refused(store: Store, words: tuple[str, ...], reason: ReasonCode) -> None:
    check_refusal(store, ask(store, *words), reason)


def test_the_whole_queue_can_be_read_without_a_catalogue(store: Store) -> None:
    put(store, "waiting001")
    (row,) = ask(store, facts=Facts(CatalogueInForce(), team_id="T1")).rows
    assert "has not been read yet" in row.detail
