"""What a visit writes to the deployments of its change."""

from storage import gate
from storage.models import Change
from storage.phases import Phase, Stage
from storage.unit_of_work import UnitOfWork


def queue(uow: UnitOfWork, change: Change) -> None:
    """They wait for their turn."""
    for row in gate.members(uow, change.id):
        if row.phase == Phase.AWAITING_APPROVAL:
            row.to(Phase.QUEUED)
            uow.changed(row)


def back(uow: UnitOfWork, change: Change) -> None:
    """They wait for approval again."""
    for row in gate.members(uow, change.id):
        if row.phase == Phase.QUEUED:
            row.to(Phase.AWAITING_APPROVAL)
            row.stage = Stage.WAITING
            uow.changed(row)
