"""What pipelines told us, read back from the record: deployments that went around us, and images that are ready."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Select, literal_column, select, text

from storage.record_models import TOLD, AuditRow
from storage.unit_of_work import UnitOfWork

DEPLOYMENT, IMAGE = "record:deployment", "record:image"
_LARGEST = 2**31 - 1  # of an INTEGER on Postgres


@dataclass(frozen=True)
class ToldFilter:
    """Which of them. Empty fields do not filter; `before` is a seq, `since` when we were told."""

    app: str = ""
    environment: str = ""
    since: datetime | None = None
    before: int = 0
    limit: int = 50


def listed(uow: UnitOfWork, action: str, wanted: ToldFilter) -> list[AuditRow]:
    """Rows of `DEPLOYMENT` or `IMAGE` that match, newest first; one more than `limit` when there are older ones."""
    table = cast("Any", AuditRow)
    query = _of(action).order_by(table.seq.desc()).limit(wanted.limit + 1)
    for column, value in ((table.app, wanted.app), (table.environment, wanted.environment)):
        if value:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(table.at >= wanted.since)
    if wanted.before:
        query = query.where(table.seq < min(wanted.before, _LARGEST))
    return list(uow.session.scalars(query))


def of_id(uow: UnitOfWork, action: str, name: str) -> AuditRow | None:
    """The one of this id, which it has where other rows have their deployment's."""
    table = cast("Any", AuditRow)
    query = select(AuditRow).where(table.deployment_id == name, table.action == action).limit(1)
    return uow.session.scalars(query).first() if name else None


def of_seq(uow: UnitOfWork, action: str, seq: int) -> AuditRow | None:
    """The one with this number; None when that row is of something else."""
    row = uow.session.get(AuditRow, seq) if 0 < seq <= _LARGEST else None
    return row if row is not None and row.action == action else None


def _of(action: str) -> Select[Any]:
    # The index is partial: SQLite takes it only for a query that says its condition word for word, with constants.
    return select(AuditRow).where(text(TOLD), literal_column("action") == literal_column(f"'{action}'"))
