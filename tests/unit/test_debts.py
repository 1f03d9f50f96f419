"""The debts of break-glass: whom they are told to, when, and that they stop when somebody has looked."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from commands.approve import review
from commands.debts import nag
from commands.facts import CatalogueInForce, Facts
from commands.requests import Review
from storage.models import Message, Target
from storage.unit_of_work import Store
from tests.desk_rig import asker
from tests.rows import audit_rows, messages
from tests.unit.review_rig import MANAGER, ONCALL, Clock, asked, known, merged, opened

DAY = timedelta(days=1)


@pytest.fixture
def clock(store: Store) -> Iterator[Clock]:
    """The store's clock, set by hand."""
    usual, store.clock = store.clock, Clock()
    assert isinstance(store.clock, Clock)
    yield store.clock
    store.clock = usual


def owed(store: Store) -> str:
    one = asked(store, user=ONCALL, break_glass=True)
    opened(store, one)
    merged(store, one, due=DAY)
    return one


def told(store: Store) -> list[Message]:
    """The reminders; that the glass was broken is told at once, elsewhere."""
    return [one for one in messages(store) if one.target == Target.CHANNEL and "The review of" in one.body]


def test_without_a_debt_nothing_is_said(store: Store, clock: Clock) -> None:
    asked(store)
    clock.now += 3 * DAY
    assert nag(store, known()) == 0
    assert told(store) == []


def test_on_the_day_itself_the_merge_has_told_of_it_already(store: Store, clock: Clock) -> None:
    owed(store)
    clock.now += DAY - timedelta(minutes=1)
    assert nag(store, known()) == 0


def test_when_it_is_overdue_everybody_reads_who_what_and_how_to_close_it(store: Store, clock: Clock) -> None:
    one = owed(store)
    clock.now += DAY
    assert nag(store, known()) == 1
    (note,) = told(store)
    assert note.channel == "C0DEPLOYMENTS"
    text = json.loads(note.body)["text"]
    for said in (one, "is overdue", ONCALL, "/pull/7", f"/deploy review {one}", "2026-11-21 12:00 UTC", "production"):
        assert said in text
    row = audit_rows(store)[-1]
    assert (row.action, row.deployment_id) == ("change:debt", one)
    assert json.loads(row.details)["overdue"] is True


def test_it_is_told_once_a_day_until_somebody_has_looked(store: Store, clock: Clock) -> None:
    one = owed(store)
    clock.now += DAY
    for days in (1, 2, 3):
        assert nag(store, known()) == 1
        assert nag(store, known()) == 0, "once a day"
        assert len(told(store)) == days
        clock.now += DAY
    answer = review(store, known(), asker(MANAGER), Review(one, "fine"))
    assert not answer.refused, answer
    assert nag(store, known()) == 0


def test_two_debts_are_two_reminders(store: Store, clock: Clock) -> None:
    owed(store)
    second = asked(store, "1.6.0", user=ONCALL, break_glass=True)
    opened(store, second)
    merged(store, second, due=DAY)
    clock.now += 2 * DAY
    assert nag(store, known()) == 2


def test_without_a_catalogue_there_is_nowhere_to_say_it_and_it_is_said_later(store: Store, clock: Clock) -> None:
    owed(store)
    clock.now += 2 * DAY
    assert nag(store, Facts(CatalogueInForce())) == 0
    assert nag(store, known()) == 1
