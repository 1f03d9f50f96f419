"""Which waiting deployments start now, and who runs them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, cast

from sqlalchemy import or_, select

from storage.models import Deployment, Kind
from storage.phases import Phase, Stage
from storage.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Queued:
    """A deployment that waits, as much of it as the choice needs: the queue may be long."""

    id: str
    kind: Kind
    app: str
    environment: str
    change_id: str
    break_glass: bool
    not_before: datetime | None


MayStart = Callable[[Queued], bool]
"""Whether a waiting deployment may start now, as far as locks, freezes, holds and its own time go."""

Target = tuple[str, str]


def anything(waiting: Queued) -> bool:
    """Where nothing is ever locked."""
    del waiting
    return True


def claim(uow: UnitOfWork, executor: str, limit: int, may_start: MayStart = anything) -> list[Deployment]:
    """Take up to `limit` queued deployments whose target is free, and mark them running.

    Of each target the most urgent one comes first, then the oldest; what may not start holds nobody up. A change set
    starts whole or not at all: its deployments share one merge. Two replicas may try at once: only the first of a
    target is ever chosen, so what the other one has locked is skipped, not overtaken, and the unique index on running
    deployments stands behind that.
    """
    chosen = _choose(uow, limit, may_start)
    table = cast("Any", Deployment)
    query = (
        select(Deployment)
        .where(table.id.in_(chosen), table.phase == Phase.QUEUED)
        .order_by(table.priority.desc(), table.requested_at, table.id)
    )
    taken = _whole_sets(uow.locked(query), chosen)
    for row in taken:
        row.to(Phase.RUNNING)
        row.stage = Stage.CHECK
        row.blocked = ""
        row.started_at = uow.now
        begin_attempt(uow, row, executor)
        uow.changed(row)
    uow.session.flush()
    return taken


def _choose(uow: UnitOfWork, limit: int, may_start: MayStart) -> list[str]:
    """Ids of queued previews, and of what is first in each of its targets: a long queue blocks no other."""
    table = cast("Any", Deployment)
    rows = uow.session.execute(
        select(*(getattr(table, one.name) for one in fields(Queued)))
        .where(table.phase == Phase.QUEUED)
        .order_by(table.priority.desc(), table.requested_at, table.id)
    )
    queued = [Queued(*row) for row in rows]
    if not queued:
        return []
    # Read after the queue: a deployment that left it in between is found here.
    columns = (table.kind, table.app, table.environment)
    running = uow.session.execute(select(*columns).where(table.phase == Phase.RUNNING)).all()
    taken: set[Target] = {(app, environment) for kind, app, environment in running if kind != Kind.PREVIEW}
    chosen: list[str] = []
    for unit in _units(queued):
        if len(chosen) >= limit:
            break
        if unit[0].kind == Kind.PREVIEW:
            chosen.append(unit[0].id)
            continue
        if not all(may_start(row) for row in unit):
            continue
        targets = {(row.app, row.environment) for row in unit}
        if not targets & taken:
            chosen += [row.id for row in unit]
        taken |= targets  # those behind it in any of its targets wait for it
    return chosen


def _units(queued: list[Queued]) -> Iterable[list[Queued]]:
    """What starts together: the deployments of one change set, or one alone; in the order of the first of each."""
    units: dict[str, list[Queued]] = {}
    for row in queued:
        units.setdefault(row.change_id or row.id, []).append(row)
    return units.values()


def _whole_sets(rows: Iterable[Deployment], chosen: list[str]) -> list[Deployment]:
    """Where another replica has locked some of the rows, leave sets for the next look: one may not be whole."""
    taken = list(rows)
    if len(taken) == len(chosen):
        return taken
    return [row for row in taken if row.change_id in {"", row.id}]


def stale(uow: UnitOfWork, before: datetime) -> list[Deployment]:
    """Running deployments that nobody has sent a heartbeat for since then, or that were released."""
    table = cast("Any", Deployment)
    silent = or_(table.heartbeat_at.is_(None), table.heartbeat_at < before)
    return list(uow.session.scalars(select(Deployment).where(table.phase == Phase.RUNNING, silent)))


def begin_attempt(uow: UnitOfWork, deployment: Deployment, executor: str) -> None:
    """Give a running deployment to this executor under a new attempt number; older attempts become stale."""
    deployment.attempt += 1
    deployment.executor = executor
    deployment.heartbeat_at = uow.now
