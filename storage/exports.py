"""Files of the record that people asked for, until they were handed over: asked for once, made at least once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import select

from storage.record_models import Export
from storage.unit_of_work import Store, UnitOfWork

LEASE = timedelta(minutes=15)
"""A file of a million rows takes less than two minutes to make, and some to upload."""
MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class ExportJob:
    """A file to make and hand over. `wanted` is the request's own JSON; its times count from `requested_at`."""

    id: str
    form: str
    wanted: str
    requested_at: datetime
    team_id: str
    user_id: str
    attempts: int


def ask(uow: UnitOfWork, export: Export) -> None:
    """Have a file made."""
    export.requested_at = export.not_before = uow.now
    uow.session.add(export)
    uow.session.flush()


def lease(store: Store) -> ExportJob | None:
    """The next file to make, for one replica; None when nothing waits. A crash gives it back when the lease ends."""
    table = cast("Any", Export)
    waits = table.waiting, table.not_before <= store.clock()
    with store.read() as uow:  # nearly always nothing does: acks need not wait for finding that out
        if uow.session.execute(select(table.id).where(*waits).limit(1)).first() is None:
            return None
    with store.write() as uow:
        due = select(Export).where(*waits).order_by(table.not_before).limit(1)
        found = uow.locked(due)
        if not found:
            return None
        row: Export = found[0]
        job = ExportJob(row.id, row.form, row.wanted, row.requested_at, row.team_id, row.user_id, row.attempts)
        row.attempts += 1
        row.not_before = uow.now + LEASE
        return job


def handed_over(store: Store, export_id: str) -> None:
    """It is where it was to go."""
    _end(store, export_id, "")


def failed(store: Store, export_id: str, error: str, again: timedelta | None) -> None:
    """Try it again after a while; None: never."""
    if again is None:
        _end(store, export_id, error)
        return
    with store.write() as uow:
        row = uow.session.get(Export, export_id)
        if row is not None:
            row.error, row.not_before = error, uow.now + again


def _end(store: Store, export_id: str, error: str) -> None:
    with store.write() as uow:
        row = uow.session.get(Export, export_id)
        if row is not None:
            row.waiting, row.done_at, row.error = False, uow.now, error
