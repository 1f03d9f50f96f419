"""Locks, ad hoc freezes and holds: the queries over what holds requests up.

A lock ends at `expires_at` by itself, on the second, whether or not anybody has noted that yet: every question here
takes the time it is asked for.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import bindparam, or_, select

from storage.models import Deployment, Kind, Lock, LockKind
from storage.phases import Phase
from storage.prepared import Prepared
from storage.unit_of_work import UnitOfWork

WAITING = (Phase.AWAITING_APPROVAL, Phase.QUEUED)
"""The phases of deployments that something can hold up."""

_LOCKS = cast("Any", Lock).__table__
_ANY_IN_FORCE = Prepared(
    select(_LOCKS.c.id)
    .where(_LOCKS.c.lifted_at.is_(None), or_(_LOCKS.c.expires_at.is_(None), _LOCKS.c.expires_at > bindparam("at")))
    .limit(1)
)


@dataclass(frozen=True)
class Held:
    """A waiting deployment, as much of it as is needed to tell what holds it up; `blocked` is what its card says."""

    id: str
    app: str
    environment: str
    kind: Kind
    break_glass: bool
    not_before: datetime | None
    blocked: str


def add(uow: UnitOfWork, lock: Lock) -> Lock:
    """Store a new lock, set now."""
    lock.at = uow.now
    uow.session.add(lock)
    uow.session.flush()
    return lock


def in_force(uow: UnitOfWork, at: datetime) -> list[Lock]:
    """Every lock, freeze and hold that was not lifted and has not run out at this time, oldest first."""
    uow.flush()
    if not uow.run(_ANY_IN_FORCE, {"at": at}):
        return []  # as at most requests, which then need not wait for the ORM
    table = cast("Any", Lock)
    query = (
        select(Lock)
        .where(table.lifted_at.is_(None), or_(table.expires_at.is_(None), table.expires_at > at))
        .order_by(table.at, table.id)
    )
    return list(uow.session.scalars(query))


def of_scope(uow: UnitOfWork, kind: LockKind, app: str, environment: str) -> Lock | None:
    """The one of this kind and exactly this scope that is in force now; an empty name stands for all of them."""
    return next(
        (one for one in in_force(uow, uow.now) if (one.kind, one.app, one.environment) == (kind, app, environment)),
        None,
    )


def of_deployment(uow: UnitOfWork, deployment_id: str) -> Lock | None:
    """The hold that this rollback set, in force or not; None when it set none."""
    table = cast("Any", Lock)
    return uow.session.scalars(select(Lock).where(table.deployment_id == deployment_id)).first()


def lift(uow: UnitOfWork, lock: Lock, by: str) -> None:
    """End it now. `by` is a Slack user id, or the bot for one that ran out."""
    lock.lifted_at = uow.now
    lock.lifted_by = by
    uow.session.add(lock)


def run_out(uow: UnitOfWork, at: datetime) -> list[Lock]:
    """Those whose time is over and of which nobody has noted that, in the order in which they ran out."""
    table = cast("Any", Lock)
    query = (
        select(Lock)
        .where(table.lifted_at.is_(None), table.expires_at <= at)
        .order_by(table.expires_at, table.at, table.id)
    )
    return list(uow.session.scalars(query))


def waiting(uow: UnitOfWork, *, said_or_timed: bool = False) -> list[Held]:
    """Every deployment that waits (previews left out), without the ORM: this is asked about once a second.

    With `said_or_timed` only those whose card names something in the way, or that have a time to wait for.
    """
    table = cast("Any", Deployment)
    query = (
        select(table.id, table.app, table.environment, table.kind, table.break_glass, table.not_before, table.blocked)
        .where(table.phase.in_(WAITING), table.kind != Kind.PREVIEW)
        .order_by(table.requested_at, table.id)
    )
    if said_or_timed:
        query = query.where(or_(table.blocked != "", table.not_before.is_not(None)))
    return [
        Held(row.id, row.app, row.environment, Kind(row.kind), row.break_glass, row.not_before, row.blocked)
        for row in uow.session.execute(query)
    ]
