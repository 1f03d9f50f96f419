"""The unit of work on both databases: deliveries, deployments, the queue, attempts, cards, the outbox, catalogues.

What several threads do at once is in test_storage_at_once, the audit log in test_audit_rows, SQLite's own settings in
test_storage_sqlite.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from storage import claims
from storage.database import Database
from storage.models import Card, CatalogueVersion, Deployment, Kind, Message, Seen, Target, new_id
from storage.phases import Phase, Stage
from storage.unit_of_work import MESSAGES_FOR, SEEN_FOR, Note, StaleAttemptError, Store, UnitOfWork
from tests.rows import messages

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that is set by hand; every look at it moves it on by a second."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    made = Store(Database(database_url), clock)
    yield made
    made.database.close()


def asked(
    store: Store,
    app: str = "web",
    environment: str = "staging",
    version: str = "1.0",
    *,
    kind: Kind = Kind.DEPLOY,
    channel: str = "",
) -> str:
    """A queued deployment's id."""
    with store.write() as uow:
        row = Deployment(
            kind=kind, app=app, environment=environment, version=version, team_id="T1", requested_by="U1",
            requested_at=uow.now,
        )  # fmt: skip
        uow.add(row, channel)
    return row.id


def claimed(store: Store, limit: int = 10, executor: str = "one") -> list[str]:
    with store.write() as uow:
        return [row.id for row in claims.claim(uow, executor, limit)]


def ended(store: Store, deployment_id: str, phase: Phase = Phase.SUCCEEDED) -> None:
    with store.write() as uow:
        row = uow.deployment(deployment_id)
        assert row is not None
        row.to(phase)
        row.finished_at = uow.now


def load(uow: UnitOfWork, deployment_id: str) -> Deployment:
    row = uow.deployment(deployment_id)
    assert row is not None
    return row


# ---------------------------------------------------------------- transactions and times


def test_what_raises_leaves_nothing(store: Store) -> None:
    row = Deployment(app="web", environment="dev", version="1", team_id="T", requested_by="U", requested_at=NOON)
    boom = RuntimeError("boom")

    def write_and_fail() -> None:
        with store.write() as uow:
            uow.add(row, "C1")
            uow.first_time("key", "{}")
            uow.send(Note("note", Target.CHANNEL, {"text": "hello"}))
            raise boom

    with pytest.raises(RuntimeError, match="boom"):
        write_and_fail()
    with store.read() as uow:
        assert uow.deployment(row.id) is None
        assert uow.session.get(Card, row.id) is None
        assert uow.answered("key") is None
        assert uow.session.execute(text("SELECT count(*) FROM messages")).scalar() == 0


def test_a_read_cannot_change_anything(store: Store) -> None:
    with store.read() as uow, pytest.raises(DBAPIError):
        uow.session.execute(text("DELETE FROM deployments"))
    asked(store)  # the connection is back in the pool and writes again


def test_a_read_is_one_snapshot(store: Store) -> None:
    with store.read() as uow:
        before = uow.counts()
        asked(store)
        assert uow.counts() == before
    with store.read() as uow:
        assert uow.counts() == {"queued": 1}


def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    naive = datetime(2026, 1, 1, 12, 0)  # noqa: DTZ001 - the naive time is what is tested
    with store.write() as uow:
        uow.session.add(Seen(key="x", at=naive))
        with pytest.raises(StatementError, match="without a zone"):
            uow.session.flush()
        uow.session.rollback()


def test_times_come_back_in_utc_to_the_microsecond(store: Store) -> None:
    there = datetime(2026, 1, 1, 1, 2, 3, 456_789, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with store.write() as uow:
        uow.session.add(Seen(key="x", at=there))
    with store.read() as uow:
        row = uow.session.get(Seen, "x")
        assert row is not None
        assert row.at == there
        assert row.at.utcoffset() == timedelta(0)


def test_the_database_answers_a_ping(store: Store) -> None:
    store.database.ping()


# ---------------------------------------------------------------- deliveries


def test_a_delivery_is_remembered_with_its_answer(store: Store) -> None:
    with store.write() as uow:
        assert uow.answered("trigger:1") is None
        uow.first_time("trigger:1", '{"what": "done"}')
    with store.read() as uow:
        assert uow.answered("trigger:1") == '{"what": "done"}'


def test_a_second_delivery_under_the_same_key_fails_the_transaction(store: Store) -> None:
    with store.write() as uow:
        uow.first_time("trigger:1", "first")
    with pytest.raises(IntegrityError), store.write() as uow:
        uow.first_time("trigger:1", "second")
    with store.read() as uow:
        assert uow.answered("trigger:1") == "first"


def test_messages_are_forgotten_a_month_after_they_were_sent_and_never_before(store: Store, clock: Clock) -> None:
    with store.write() as uow:
        for key in ("sent", "waiting"):
            uow.send(Note(key, Target.CHANNEL, {"text": key}))
        next(row for row in uow.session.scalars(select(Message)) if row.key == "sent").waiting = False
    clock.now += MESSAGES_FOR - timedelta(seconds=10)
    with store.write() as uow:
        uow.send(Note("young", Target.CHANNEL, {"text": "young"}))
        uow.forget_messages()
    assert [row.key for row in messages(store)] == ["sent", "waiting", "young"]
    clock.now += timedelta(minutes=1)
    with store.write() as uow:
        uow.forget_messages()
    assert [row.key for row in messages(store)] == ["waiting", "young"]


def test_a_databases_errors_hold_no_values_of_rows(store: Store) -> None:
    with store.write() as uow:
        uow.first_time("trigger:1", "a-response-url")
    with pytest.raises(IntegrityError) as failed, store.write() as uow:
        uow.first_time("trigger:1", "a-response-url")
    assert "a-response-url" not in str(failed.value)


def test_deliveries_are_forgotten_when_nobody_can_send_them_again(store: Store, clock: Clock) -> None:
    with store.write() as uow:
        uow.first_time("old", "")
    clock.now += SEEN_FOR - timedelta(seconds=10)
    with store.write() as uow:
        uow.first_time("young", "")
        uow.forget_deliveries()
        assert uow.answered("old") == ""
    clock.now += timedelta(minutes=1)
    with store.write() as uow:
        uow.forget_deliveries()
    with store.read() as uow:
        assert uow.answered("old") is None
        assert uow.answered("young") == ""


# ---------------------------------------------------------------- the queue


def test_deployments_are_claimed_oldest_first_and_one_per_target(store: Store) -> None:
    first = asked(store, version="1")
    second = asked(store, version="2")
    other = asked(store, environment="dev")
    assert claimed(store) == [first, other]
    assert claimed(store) == []
    ended(store, first)
    assert claimed(store) == [second]


def test_no_more_are_claimed_than_there_is_room_for(store: Store) -> None:
    ids = [asked(store, app=f"app-{number}") for number in range(5)]
    assert claimed(store, limit=2) == ids[:2]
    assert claimed(store, limit=2) == ids[2:4]
    assert claimed(store, limit=2) == ids[4:]


def test_a_long_queue_for_one_target_keeps_no_other_waiting(store: Store) -> None:
    running = asked(store)
    assert claimed(store) == [running]
    for number in range(100):
        asked(store, version=str(number))
    other = asked(store, app="other")
    assert claimed(store, limit=1) == [other]


def test_previews_run_beside_everything(store: Store) -> None:
    real = asked(store)
    previews = [asked(store, kind=Kind.PREVIEW) for _ in range(2)]
    assert claimed(store) == [real, *previews]
    assert claimed(store) == []


def test_a_running_preview_does_not_occupy_its_target(store: Store) -> None:
    preview = asked(store, kind=Kind.PREVIEW)
    assert claimed(store) == [preview]
    real = asked(store)
    assert claimed(store) == [real]


def test_what_is_claimed_says_so(store: Store, clock: Clock) -> None:
    deployment_id = asked(store, channel="C1")
    with store.write() as uow:
        card = uow.session.get(Card, deployment_id)
        assert card is not None
        card.behind = False
    claimed(store, executor="replica-1")
    with store.read() as uow:
        row = load(uow, deployment_id)
        assert (row.phase, row.stage, row.attempt, row.executor) == (Phase.RUNNING, Stage.CHECK, 1, "replica-1")
        assert row.started_at == row.heartbeat_at == clock.now - timedelta(seconds=1)
        assert row.revision == 1
        card = uow.session.get(Card, deployment_id)
        assert card is not None
        assert card.behind


def test_deployments_that_wait_for_approval_or_have_ended_are_not_claimed(store: Store) -> None:
    waiting, cancelled = asked(store), asked(store, app="other")
    with store.write() as uow:
        load(uow, waiting).phase = Phase.AWAITING_APPROVAL
    ended(store, cancelled, Phase.CANCELLED)
    assert claimed(store) == []


@pytest.mark.parametrize(("kinds", "allowed"), [(("deploy", "deploy"), False), (("deploy", "preview"), True)])
def test_the_database_itself_refuses_a_second_running_deployment(
    store: Store, kinds: tuple[str, str], *, allowed: bool
) -> None:
    ids = [asked(store, kind=Kind(kind)) for kind in kinds]
    with store.write() as uow:
        uow.session.execute(text("UPDATE deployments SET phase = 'running' WHERE id = :id"), {"id": ids[0]})
    change = text("UPDATE deployments SET phase = 'running' WHERE id = :id")
    if allowed:
        with store.write() as uow:
            uow.session.execute(change, {"id": ids[1]})
    else:
        with pytest.raises(IntegrityError), store.write() as uow:
            uow.session.execute(change, {"id": ids[1]})


# ---------------------------------------------------------------- attempts


def test_an_older_attempt_finds_that_it_is_stale(store: Store) -> None:
    deployment_id = asked(store)
    claimed(store)
    with store.write() as uow:
        claims.begin_attempt(uow, uow.running(deployment_id, 1), "another")
    with store.write() as uow:
        with pytest.raises(StaleAttemptError):
            uow.running(deployment_id, 1)
        row = uow.running(deployment_id, 2)
        assert (row.executor, row.heartbeat_at) == ("another", load(uow, deployment_id).heartbeat_at)


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.CANCELLED, Phase.ERRORED])
def test_a_deployment_that_ended_belongs_to_no_attempt(store: Store, phase: Phase) -> None:
    deployment_id = asked(store)
    claimed(store)
    ended(store, deployment_id, phase)
    with store.read() as uow, pytest.raises(StaleAttemptError):
        uow.running(deployment_id, 1)


def test_a_queued_or_unknown_deployment_belongs_to_no_attempt(store: Store) -> None:
    deployment_id = asked(store)
    with store.write() as uow:
        for unknown in (deployment_id, new_id()):
            with pytest.raises(StaleAttemptError):
                uow.running(unknown, 0)


# ---------------------------------------------------------------- looking deployments up


def test_open_deployments_of_a_target_are_listed_oldest_first_without_previews(store: Store) -> None:
    first, second = asked(store), asked(store, version="2")
    asked(store, kind=Kind.PREVIEW)
    asked(store, environment="dev")
    ended(store, asked(store), Phase.CANCELLED)
    claimed(store, limit=1)
    with store.read() as uow:
        assert [row.id for row in uow.open_for("web", "staging")] == [first, second]
        assert len(uow.open_deployments()) == 4
        assert uow.counts() == {"running": 1, "queued": 3, "cancelled": 1}


def test_the_last_that_ended_is_found_by_phase(store: Store) -> None:
    good, bad = asked(store), asked(store)
    asked(store)
    for deployment_id, phase in ((good, Phase.SUCCEEDED), (bad, Phase.FAILED)):
        assert claimed(store, limit=1) == [deployment_id]
        ended(store, deployment_id, phase)
    preview = asked(store, kind=Kind.PREVIEW)
    claimed(store)
    ended(store, preview)
    with store.read() as uow:
        last = uow.last_ended("web", "staging")
        last_good = uow.last_ended("web", "staging", phase=Phase.SUCCEEDED)
        assert last is not None
        assert last.id == bad
        assert last_good is not None
        assert last_good.id == good
        assert uow.last_ended("web", "production") is None


def test_deployments_are_found_by_the_start_of_their_id(store: Store) -> None:
    deployment_id = asked(store)
    asked(store)
    with store.read() as uow:
        assert [row.id for row in uow.matching(deployment_id[:6])] == [deployment_id]
        assert uow.matching("zzz" + "0" * 7) == []
        assert len(uow.matching("")) == 2


def test_ids_can_be_read_aloud_and_do_not_repeat() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(one) == 10 and not set(one) & set("ilou") and one == one.lower() for one in ids)


# ---------------------------------------------------------------- cards and the outbox


def test_a_change_is_counted_and_puts_the_card_behind(store: Store) -> None:
    with_card, without = asked(store, channel="C1"), asked(store, app="other")
    with store.write() as uow:
        card = uow.session.get(Card, with_card)
        assert card is not None
        card.behind = False
        for deployment_id in (with_card, without):
            uow.changed(load(uow, deployment_id))
    with store.read() as uow:
        card = uow.session.get(Card, with_card)
        assert card is not None
        assert (card.channel, card.behind) == ("C1", True)
        assert uow.session.get(Card, without) is None
        assert [load(uow, one).revision for one in (with_card, without)] == [1, 1]


def test_a_message_is_kept_once_per_key(store: Store) -> None:
    for said in ("first", "second"):
        with store.write() as uow:
            uow.send(Note("thread:1:end", Target.THREAD, {"text": said}, deployment_id="d1"))
    with store.write() as uow:
        uow.send(Note("a", Target.CHANNEL, {"text": "hello"}, channel="C1"))
        uow.send(Note("a", Target.CHANNEL, {"text": "again"}, channel="C1"))
    with store.read() as uow:
        rows = uow.session.execute(text("SELECT key, target, body, waiting FROM messages ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [
        ("thread:1:end", "thread", '{"text": "first"}', True),
        ("a", "channel", '{"text": "hello"}', True),
    ]


def test_whatever_a_tool_printed_can_be_sent(store: Store) -> None:
    printed = "caf\u00e9 \U0001f680 nul\0 half\ud800 line\u2028"
    with store.write() as uow:
        uow.send(Note("a", Target.CHANNEL, {"text": printed}))
    with store.read() as uow:
        row = uow.session.get(Message, 1)
        assert row is not None
        assert row.waiting
        assert "\\ud800" in row.body


# ---------------------------------------------------------------- catalogues


def version(commit: str, source: str, faults: str = "") -> CatalogueVersion:
    return CatalogueVersion(commit=commit, source=source, valid=not faults, faults=faults, seen_at=NOON)


def test_a_catalogue_is_new_when_it_says_something_else_than_the_last_one(store: Store) -> None:
    said = [
        (version("c1", "good"), True),
        (version("c2", "good"), False),  # a commit that touched other files
        (version("c3", "bad", "line 1"), True),
        (version("c4", "bad", "line 1"), False),
        (version("c5", "good"), True),
        (version("c3", "bad", "line 1"), True),  # the branch was reset to an older commit
    ]
    for one, new in said:
        with store.write() as uow:
            assert uow.remember_catalogue(one) is new
    with store.read() as uow:
        good, last = uow.last_good_catalogue(), uow.last_catalogue()
        assert good is not None
        assert (good.commit, good.source) == ("c5", "good")
        assert last is not None
        assert (last.commit, last.valid) == ("c3", False)


def test_bytes_that_no_database_holds_are_remembered_as_near_as_can_be(store: Store) -> None:
    for _ in range(2):
        with store.write() as uow:
            uow.remember_catalogue(version("c1", "a\0b\ud800", "line 1: a\0b"))
    with store.read() as uow:
        last = uow.last_catalogue()
        assert last is not None
        assert (last.source, last.faults) == ("a\ufffdb\ufffd", "line 1: a\ufffdb")
