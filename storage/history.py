"""Searching the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import select

from storage.models import AuditRow
from storage.unit_of_work import UnitOfWork

_LARGEST = 2**31 - 1  # of an INTEGER on Postgres


@dataclass(frozen=True)
class AuditFilter:
    """Which audit rows to list. Empty fields do not filter. `before` is a seq, for the next page."""

    app: str = ""
    environment: str = ""
    actor: str = ""
    deployment_id: str = ""
    before: int = 0
    limit: int = 10


def audit_history(uow: UnitOfWork, wanted: AuditFilter) -> Sequence[AuditRow]:
    """Rows that match, newest first; one more than `limit` when there are older ones."""
    table = cast("Any", AuditRow)
    query = select(AuditRow).order_by(table.seq.desc()).limit(wanted.limit + 1)
    for column, value in (
        (table.app, wanted.app),
        (table.environment, wanted.environment),
        (table.actor, wanted.actor),
        (table.deployment_id, wanted.deployment_id),
    ):
        if value:
            query = query.where(column == value)
    if 0 < wanted.before <= _LARGEST:  # it comes back from a button: a forged one is the first page
        query = query.where(table.seq < wanted.before)
    return uow.session.scalars(query).all()
