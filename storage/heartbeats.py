"""Saying that deliveries are alive, all of a process in one statement: every ack waits while rows are written."""

from collections.abc import Sequence

from sqlalchemy import update

from storage.models import Deployment
from storage.phases import Phase
from storage.unit_of_work import UnitOfWork


def beat(uow: UnitOfWork, deployment_ids: Sequence[str], executor: str) -> None:
    """Renew the heartbeats of those that this executor runs; what ended or went to another meanwhile is left alone."""
    rows = Deployment.__table__  # type: ignore[attr-defined]  # sqlmodel does not declare it
    uow.session.connection().execute(
        update(rows)
        .where(rows.c.id.in_(deployment_ids), rows.c.phase == Phase.RUNNING, rows.c.executor == executor)
        .values(heartbeat_at=uow.now)
    )
