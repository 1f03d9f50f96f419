"""What is said below a card when something goes wrong: to whoever asked, where they can see it, and once.

Left out: what the card itself says (`tests/slack/test_cards.py`).
"""

import json

import pytest

from commands.closing import close
from commands.endings import Ending, end
from commands.reasons import ReasonCode
from storage import gate
from storage.models import Card
from storage.phases import Phase
from storage.unit_of_work import Store
from tests.desk_rig import ALICE, deployment, facts, moved, requested
from tests.rows import messages
from tests.unit.review_rig import a_set, of

CRASH = Ending(Phase.FAILED, ReasonCode.CRASH_LOOP, "A container keeps crashing.", "Roll back.", "panic: no database")
GONE = Ending(Phase.FAILED, ReasonCode.MERGED_BY_HAND, "Somebody merged it by hand.", "Look at it.")


def told(store: Store) -> list[tuple[str, str, str]]:
    """The card, the text and the quote of every word about an end; every such card is there."""
    found = [one for one in messages(store) if one.key.endswith(":end")]
    with store.read() as uow:
        assert all(uow.session.get(Card, one.deployment_id) for one in found), "a thread that nobody can see"
    bodies = [json.loads(one.body) for one in found]
    return [(one.deployment_id, body["text"], body["quote"]) for one, body in zip(found, bodies, strict=True)]


def test_who_asked_for_a_deployment_is_told_below_its_card(store: Store) -> None:
    one = requested(store, facts())
    moved(store, one, Phase.RUNNING)
    with store.write() as uow:
        row = uow.deployment(one)
        assert row is not None
        end(uow, row, CRASH)
    assert [(card, quote) for card, _, quote in told(store)] == [(one, "panic: no database")]
    assert told(store)[0][1].endswith("A container keeps crashing. Roll back.")
    assert ALICE in told(store)[0][1]


def test_of_a_set_each_app_that_fails_is_named_below_the_card_of_the_set(store: Store) -> None:
    change_id = a_set(store)
    for row in of(store, change_id):
        with store.write() as uow:
            mine = uow.deployment(row.id)
            assert mine is not None
            mine.to(Phase.QUEUED)
            mine.to(Phase.RUNNING)
            mine.commit_sha = "c" * 40
            end(uow, mine, CRASH)
    assert [card for card, _, _ in told(store)] == [change_id, change_id]
    assert ["`checkout-api`: A container" in text for _, text, _ in told(store)] == [True, False]
    assert ["`web`: A container" in text for _, text, _ in told(store)] == [False, True]


@pytest.mark.parametrize("ending", [GONE, CRASH])
def test_what_ends_a_whole_set_before_its_merge_is_said_once(store: Store, ending: Ending) -> None:
    change_id = a_set(store)
    with store.write() as uow:
        change = gate.held(uow, change_id)
        assert change is not None
        close(uow, change, ending)
    ((card, text, _),) = told(store)
    assert card == change_id
    assert ending.what in text
    assert "`web`" not in text
    assert {deployment(store, row.id).phase for row in of(store, change_id)} == {Phase.FAILED}
