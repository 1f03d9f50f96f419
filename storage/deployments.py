"""Deployments, a page at a time, newest first."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import and_, or_, select

from storage.models import Deployment, Kind
from storage.phases import Phase
from storage.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class DeploymentFilter:
    """Which deployments. Empty fields do not filter; `before` is the id of the last one of the page before."""

    app: str = ""
    environment: str = ""
    phase: Phase | None = None
    since: datetime | None = None
    before: str = ""
    limit: int = 50


def page(uow: UnitOfWork, wanted: DeploymentFilter) -> list[Deployment]:
    """Those that match (previews left out); one more than `limit` when there are older ones."""
    table = cast("Any", Deployment)
    query = (
        select(Deployment)
        .where(table.kind != Kind.PREVIEW)
        .order_by(table.requested_at.desc(), table.id.desc())
        .limit(wanted.limit + 1)
    )
    for column, value in ((table.app, wanted.app), (table.environment, wanted.environment)):
        if value:
            query = query.where(column == value)
    if wanted.phase is not None:
        query = query.where(table.phase == wanted.phase)
    if wanted.since is not None:
        query = query.where(table.requested_at >= wanted.since)
    last = uow.deployment(wanted.before) if wanted.before else None
    if last is not None:
        older = and_(table.requested_at == last.requested_at, table.id < last.id)
        query = query.where(or_(table.requested_at < last.requested_at, older))
    return list(uow.session.scalars(query))
