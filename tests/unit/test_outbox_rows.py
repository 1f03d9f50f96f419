"""Taking what is due, on both databases: each row by one replica, and only as it was seen. The sending: tests/slack."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from bot.slack.outbox_look import CardJob
from bot.slack.outbox_rows import OutboxRows
from storage import gate
from storage.database import Database
from storage.models import Card, Change, Deployment, Kind, Message, Target
from storage.newcomers import NewDeployment
from storage.phases import Phase, Stage
from storage.unit_of_work import Note, Store


def committed(store: Store) -> str:
    """A deployment whose card names a commit, so that the link is asked for while the card is worked out."""
    new = NewDeployment(app="web", environment="staging", version="1.4.2", team_id="T1", requested_by="U1")
    with store.write() as uow:
        uow.add(new, "C1")
        row = uow.deployment(new.id)
        assert row is not None
        row.to(Phase.RUNNING)
        row.stage, row.base_sha, row.commit_sha = Stage.RECONCILE, "a" * 40, "b" * 40
    return new.id


def note(store: Store, key: str, target: Target = Target.CHANNEL, *, deployment_id: str = "") -> None:
    with store.write() as uow:
        uow.send(Note(key, target, {"text": key}, channel="C1", deployment_id=deployment_id))


def plain(store: Store) -> OutboxRows:
    return OutboxRows(store, lambda _: "")


def _sent(store: Store, job: CardJob) -> None:
    rows = plain(store)
    rows.record([rows.card_sent(job, "1.1", "hash")])


def test_what_is_taken_is_not_due_again(store: Store) -> None:
    name = committed(store)
    note(store, "one")
    cards, notes = plain(store).lease()
    assert [(job.deployment_id, job.attempts) for job in cards] == [(name, 0)]
    assert [job.body for job in notes] == [{"text": "one"}]
    assert plain(store).lease() == ([], [])
    plain(store).reclaim()
    cards, notes = plain(store).lease()
    assert ([job.attempts for job in cards], [job.attempts for job in notes]) == ([1], [1])


def test_a_card_that_another_replica_posted_meanwhile_is_not_posted_twice(store: Store) -> None:
    committed(store)
    note(store, "one")
    asked: list[str] = []

    def another_is_faster(sha: str) -> str:
        if not asked:
            asked.append(sha)
            cards, notes = plain(store).lease()
            _sent(store, cards[0])
            plain(store).note_failed(notes[0], "timeout", 0)
            with store.write() as uow:  # and both are due again at once
                for row in (*uow.session.scalars(select(Card)), *uow.session.scalars(select(Message))):
                    row.not_before = uow.now - timedelta(seconds=1)
                card = uow.session.scalars(select(Card)).one()
                card.behind = True
        return ""

    assert OutboxRows(store, another_is_faster).lease() == ([], [])
    cards, notes = plain(store).lease()
    assert [job.ts for job in cards] == ["1.1"]
    assert [job.attempts for job in notes] == [1]


def test_cards_and_replies_that_lead_nowhere_leave_the_queue(store: Store) -> None:
    name = committed(store)
    note(store, "reply", Target.THREAD, deployment_id="gone")
    with store.write() as uow:
        uow.session.delete(uow.session.get(Deployment, name))
    assert plain(store).lease() == ([], [])
    with store.read() as uow:
        assert [card.behind for card in uow.session.scalars(select(Card))] == [False]
        assert [one.waiting for one in uow.session.scalars(select(Message))] == [False]


def test_a_reply_waits_for_its_card(store: Store) -> None:
    name = committed(store)
    note(store, "reply", Target.THREAD, deployment_id=name)
    cards, notes = plain(store).lease()
    assert notes == []
    _sent(store, cards[0])
    with store.write() as uow:
        uow.session.scalars(select(Message)).one().not_before = uow.now
    _, notes = plain(store).lease()
    assert [(job.channel, job.thread_ts) for job in notes] == [("C1", "1.1")]


def test_messages_that_were_held_are_tried_as_if_for_the_first_time(store: Store) -> None:
    for key in ("one", "two"):
        note(store, key)
    _, notes = plain(store).lease()
    plain(store).notes_held([(job, -1.0) for job in notes])
    _, again = plain(store).lease()
    assert [(job.id, job.attempts) for job in again] == [(job.id, 0) for job in notes]


@pytest.mark.parametrize("of", ["the deployment", "its change"])
def test_what_changes_while_a_card_is_recorded_is_shown_however_close_it_is(
    store: Store, database_url: str, of: str
) -> None:
    name = committed(store)
    with store.write() as uow:
        change = Change(
            id=name, kind=Kind.DEPLOY, app="web", environment="staging", team_id="T1", requested_by="U1", card_id=name
        )
        gate.add_change(uow, change)
        row = uow.deployment(name)
        assert row is not None
        row.change_id = name
    (job,), _ = plain(store).lease()
    replica = Store(Database(database_url))
    with ThreadPoolExecutor(1) as thread:
        with replica.write() as uow:  # it has changed, and nobody can see that yet
            deployment, change_now = uow.deployment(name), gate.change_of(uow, name)
            assert deployment is not None
            assert change_now is not None
            if of == "the deployment":
                uow.changed(deployment)
            else:
                gate.change_shown(uow, change_now)
            recorded = thread.submit(_sent, store, job)
            with pytest.raises(TimeoutError):
                recorded.result(timeout=0.2)
        recorded.result(timeout=30)
    replica.database.close()
    with store.read() as uow:
        card = uow.session.scalars(select(Card)).one()
        assert (card.ts, card.behind) == ("1.1", True)
        assert gate.revision(uow, name) == job.revision + 1


def test_what_became_of_a_card_leaves_the_rest_of_it_as_it_was(store: Store) -> None:
    committed(store)
    rows = plain(store)
    (job,), _ = rows.lease()
    rows.record([rows.card_failed(job, "timeout", 5)])
    with store.read() as uow:
        card = uow.session.scalars(select(Card)).one()
        assert (card.error, card.attempts, card.behind, card.ts) == ("timeout", 1, True, "")
        assert card.not_before == pytest.approx(uow.now + timedelta(seconds=5), abs=timedelta(seconds=3))
    rows.record([rows.card_held(job, 7)])
    with store.read() as uow:
        card = uow.session.scalars(select(Card)).one()
        assert (card.error, card.attempts, card.behind) == ("ratelimited", 0, True)
    _sent(store, job)
    with store.read() as uow:
        card = uow.session.scalars(select(Card)).one()
        assert (card.error, card.attempts, card.behind, card.shown) == ("", 0, False, "hash")
