"""What the record says of a reviewed change: every row of it names its app, or all apps of a set."""

from collections.abc import Mapping

from storage import gate
from storage.models import Change
from storage.unit_of_work import BOT, AuditEntry, UnitOfWork


def change_entry(
    uow: UnitOfWork,
    change: Change,
    action: str,
    details: Mapping[str, object],
    *,
    actor: str = BOT,
    team_id: str = "",
    reason_code: str = "",
) -> AuditEntry:
    """An audit entry of what happened to a change. A search for an app finds it by `apps` where it has no one app."""
    apps = {} if change.app else {"apps": [row.app for row in gate.members(uow, change.id)]}
    return AuditEntry(
        action,
        actor=actor,
        team_id=team_id,
        app=change.app,
        environment=change.environment,
        deployment_id=change.id,
        reason_code=reason_code,
        details={**apps, **details},
    )
