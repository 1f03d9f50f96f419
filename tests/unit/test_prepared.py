"""The statements of every ack give what SQLAlchemy would have given, on both databases; how fast: benchmarks/ack.py."""

import shutil
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError, StatementError

from storage.database import Database, sqlite_url
from storage.models import Card, Deployment, Kind, Seen
from storage.newcomers import NewDeployment, defaults
from storage.phases import Phase
from storage.prepared import Prepared
from storage.unit_of_work import Store, Waiting

HALF_PAST = datetime(2026, 1, 2, 3, 30, tzinfo=timezone(timedelta(hours=2)))


def newcomer(**said: object) -> NewDeployment:
    known = {"app": "web", "environment": "staging", "version": "1.4.2", "team_id": "T1", "requested_by": "U1"}
    return NewDeployment(**(known | said))  # type: ignore[arg-type]  # the fields are named by the test


def test_a_new_row_is_what_the_model_would_have_been(store: Store) -> None:
    new = newcomer(reason="ünïcode", not_before=HALF_PAST, break_glass=True, priority=3)
    with store.write() as uow:
        uow.add(new, "C1")
        now = uow.now
    with store.read() as uow:
        row, card = uow.deployment(new.id), uow.session.get(Card, new.id)
        assert row is not None
        assert card is not None
        told = {key: value for key, value in vars(new).items() if value is not None}
        expected = Deployment(**told, requested_at=now)
        for name in Deployment.model_fields:
            assert getattr(row, name) == getattr(expected, name), name
        assert row.not_before == HALF_PAST
        assert (card.channel, card.ts, card.behind, card.not_before) == ("C1", "", True, now)


def test_what_waits_is_read_with_its_time_and_phase(store: Store) -> None:
    new = newcomer(not_before=HALF_PAST, blocked="a freeze", kind=Kind.ROLLBACK)
    with store.write() as uow:
        uow.add(new, "")
        [waiting] = uow.waiting_for("web", "staging")
        assert waiting == Waiting(
            new.id, Kind.ROLLBACK, "1.4.2", Phase.QUEUED, "U1", uow.now, HALF_PAST.astimezone(UTC), "a freeze"
        )
        assert waiting.requested_at.tzinfo is UTC
        assert uow.waiting_for("web", "dev") == []


def test_a_key_that_was_there_is_an_integrity_error_and_undoes_everything(store: Store) -> None:
    with store.write() as uow:
        uow.first_time("trigger:1", "{}")
    with pytest.raises(IntegrityError) as raised, store.write() as uow:  # noqa: PT012 - the first must be undone with it
        uow.first_time("trigger:2", "secret words")
        uow.first_time("trigger:1", "secret words")
    assert "secret words" not in str(raised.value)
    with store.read() as uow:
        assert uow.answered("trigger:2") is None
        assert uow.answered("trigger:1") == "{}"


def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(StatementError, match="without a zone"), store.write() as uow:
        uow.add(newcomer(not_before=datetime(2026, 1, 1)), "")  # noqa: DTZ001 - that is what is refused


def test_what_a_request_does_not_say_begins_as_the_model_says() -> None:
    begins = defaults(Deployment)
    for one in fields(NewDeployment):
        assert one.name in Deployment.model_fields
        if one.default is not MISSING:
            assert begins[one.name] == one.default, one.name


def test_a_value_that_nobody_gave_is_a_defect_and_no_empty_column(tmp_path: Path, sqlite_template: Path) -> None:
    path = shutil.copy(sqlite_template, tmp_path / "locktender.db")
    database = Database(sqlite_url(Path(path)))
    with pytest.raises(KeyError, match="answer"), Store(database).write() as uow:
        uow.run(Prepared(Seen.__table__.insert()), {"key": "trigger:1", "at": uow.now})  # type: ignore[attr-defined]  # sqlmodel does not declare it
    database.close()
