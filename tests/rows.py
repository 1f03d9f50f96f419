"""Looking into a store, past the units of work."""

from typing import Any, cast

from sqlalchemy import select

from storage.models import Deployment, Message
from storage.record_models import AuditRow
from storage.unit_of_work import Store


def audit_rows(store: Store) -> list[AuditRow]:
    """The whole record, oldest first."""
    with store.read() as uow:
        return list(uow.session.scalars(select(AuditRow).order_by(cast("Any", AuditRow).seq)))


def deployments(store: Store) -> list[Deployment]:
    """Every deployment, oldest first."""
    with store.read() as uow:
        return list(uow.session.scalars(select(Deployment).order_by(cast("Any", Deployment).requested_at)))


def messages(store: Store) -> list[Message]:
    """The outbox, sent or not, in the order it was written."""
    with store.read() as uow:
        return list(uow.session.scalars(select(Message).order_by(cast("Any", Message).id)))
