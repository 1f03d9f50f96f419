"""Reviewed changes and their approvals: the queries of the production gate."""

import secrets
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import bindparam, func, or_, select

from storage.models import Approval, Card, Change, ChangeState, Deployment
from storage.phases import Phase
from storage.prepared import Prepared
from storage.unit_of_work import UnitOfWork

_CHANGES, _DEPLOYMENTS = cast("Any", Change).__table__, cast("Any", Deployment).__table__
_ON_CARD = or_(_DEPLOYMENTS.c.id == bindparam("card"), _DEPLOYMENTS.c.card_id == bindparam("card"))
_THEIR_CHANGE = select(_DEPLOYMENTS.c.change_id).where(_ON_CARD, _DEPLOYMENTS.c.change_id != "")
_REVISIONS = Prepared(
    select(
        select(func.sum(_DEPLOYMENTS.c.revision)).where(_ON_CARD).scalar_subquery(),
        select(func.sum(_CHANGES.c.revision)).where(_CHANGES.c.id.in_(_THEIR_CHANGE)).scalar_subquery(),
    )
)
_DUE = Prepared(
    select(_CHANGES.c.id)
    .where(_CHANGES.c.visit_at <= bindparam("now", type_=_CHANGES.c.visit_at.type))
    .order_by(_CHANGES.c.visit_at)
    .limit(bindparam("most"))
)
LIVE = (ChangeState.PREPARING, ChangeState.OPEN, ChangeState.APPROVED)
"""The states of changes that may still be merged."""


def new_token() -> str:
    """What a button carries: 128 random bits, which say nothing and cannot be guessed."""
    return secrets.token_hex(16)


def add_change(uow: UnitOfWork, change: Change, channel: str = "") -> Change:
    """Store a new change; with a channel, a card of its own that shows the whole set."""
    change.requested_at = uow.now
    change.visit_at = uow.now
    uow.session.add(change)
    if channel:
        uow.session.add(Card(deployment_id=change.card_id, channel=channel, not_before=uow.now))
    uow.session.flush()
    return change


def change_of(uow: UnitOfWork, change_id: str) -> Change | None:
    """One change by its whole id."""
    return uow.session.get(Change, change_id) if change_id else None


def held(uow: UnitOfWork, change_id: str) -> Change | None:
    """The same, and nobody else can change it until this transaction ends."""
    found = change_of(uow, change_id)
    if found is not None:
        uow.hold(found)
    return found


def change_by_token(uow: UnitOfWork, token: str) -> Change | None:
    """The change whose shown content this button is of; None for a button of anything else."""
    table = cast("Any", Change)
    return uow.session.scalars(select(Change).where(table.token == token)).first() if token else None


def members(uow: UnitOfWork, change_id: str) -> list[Deployment]:
    """The deployments of a change, in the order in which they were asked for."""
    table = cast("Any", Deployment)
    query = select(Deployment).where(table.change_id == change_id).order_by(table.app, table.id)
    return list(uow.session.scalars(query)) if change_id else []


def of_card(uow: UnitOfWork, card_id: str) -> list[Deployment]:
    """The deployments of a set, by the id of their card."""
    table = cast("Any", Deployment)
    query = select(Deployment).where(table.card_id == card_id).order_by(table.app, table.id)
    return list(uow.session.scalars(query))


def approvals(uow: UnitOfWork, change: Change) -> list[Approval]:
    """What was said about the content that is shown now, oldest first."""
    table = cast("Any", Approval)
    query = (
        select(Approval)
        .where(table.change_id == change.id, table.content == change.content)
        .order_by(table.at, table.id)
    )
    return list(uow.session.scalars(query))


def said_before(uow: UnitOfWork, change: Change, login: str, at: datetime) -> bool:
    """True when what this login said at this time was counted for an earlier content of the change."""
    table = cast("Any", Approval)
    query = select(table.id).where(
        table.change_id == change.id, table.content != change.content, table.login == login, table.at == at
    )
    return uow.session.execute(query).first() is not None


def due(uow: UnitOfWork, limit: int) -> list[str]:
    """Ids of changes that are to be looked at now, longest due first."""
    return [str(one) for (one,) in uow.run(_DUE, {"now": uow.now, "most": limit})]


def lease(uow: UnitOfWork, change_id: str, span: timedelta) -> datetime | None:
    """Take a change that is due for `span`, and say until when; None when another replica has it."""
    change = held(uow, change_id)
    if change is None or change.visit_at is None or change.visit_at > uow.now:
        return None
    change.visit_at = uow.now + span
    return change.visit_at


def visited(change: Change, leased_until: datetime, again: datetime | None) -> None:
    """A visit is over: the next one is then, unless somebody asked for one meanwhile."""
    if change.visit_at == leased_until:
        change.visit_at = again


def leased(uow: UnitOfWork) -> list[Change]:
    """Changes that are to be looked at some time."""
    table = cast("Any", Change)
    return list(uow.session.scalars(select(Change).where(table.visit_at.is_not(None))))


def visit_soon(uow: UnitOfWork, change: Change, at: datetime | None = None) -> None:
    """Have it looked at, now or then."""
    change.visit_at = at or uow.now


def live_changes(uow: UnitOfWork, environment: str = "") -> list[Change]:
    """Changes that may still be merged, oldest first."""
    table = cast("Any", Change)
    query = select(Change).where(table.state.in_(LIVE)).order_by(table.requested_at, table.id)
    return list(uow.session.scalars(query.where(table.environment == environment) if environment else query))


def change_shown(uow: UnitOfWork, change: Change) -> None:
    """Count a change that people can see, and have the card posted again."""
    change.revision += 1
    uow.show_again(change.card_id)


def debts(uow: UnitOfWork) -> list[Change]:
    """Changes made by break-glass that nobody else has looked at yet, oldest first."""
    table = cast("Any", Change)
    query = (
        select(Change)
        .where(table.review_due.is_not(None), table.reviewed_at.is_(None))
        .order_by(table.review_due, table.id)
    )
    return list(uow.session.scalars(query))


def last_at_commit(uow: UnitOfWork, app: str, environment: str, prefix: str) -> Deployment | None:
    """The newest deployment of this target whose commit begins so; None when there is none, or of several commits."""
    table = cast("Any", Deployment)
    query = (
        select(Deployment)
        .where(table.app == app, table.environment == environment)
        .where(table.commit_sha >= prefix, table.commit_sha < f"{prefix}g")  # ids are hexadecimal
        .order_by(table.requested_at.desc(), table.id)
    )
    found = uow.session.scalars(query).all()
    return found[0] if found and len({one.commit_sha for one in found}) == 1 else None


def last_healthy(uow: UnitOfWork, app: str, environment: str, *, limit: int = 50) -> list[Deployment]:
    """Deployments of this target that ended well, newest first."""
    table = cast("Any", Deployment)
    query = (
        select(Deployment)
        .where(
            table.app == app,
            table.environment == environment,
            table.phase == Phase.SUCCEEDED,
            table.commit_sha != "",
        )
        .order_by(table.finished_at.desc(), table.id.desc())
        .limit(limit)
    )
    return list(uow.session.scalars(query))


def last_written(uow: UnitOfWork, app: str, environment: str) -> Deployment | None:
    """The last deployment of this target to end, of those that reached git: the others have changed nothing."""
    table = cast("Any", Deployment)
    query = (
        select(Deployment)
        .where(
            table.app == app,
            table.environment == environment,
            table.finished_at.is_not(None),
            table.commit_sha != "",
        )
        .order_by(table.finished_at.desc(), table.id.desc())
        .limit(1)
    )
    return uow.session.scalars(query).first()


def revision(uow: UnitOfWork, card_id: str) -> int:
    """What a card has to show, as a number that grows: of its deployments and of their change together."""
    return sum(int(part or 0) for part in uow.run(_REVISIONS, {"card": card_id})[0])
