"""New rows without building a model of each: a deployment has sixty columns, and a request says a dozen of them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import SQLModel

from storage.models import Kind, new_id
from storage.phases import Phase


@dataclass(frozen=True, kw_only=True)
class NewDeployment:
    """What a request says of a deployment; every other column begins as storage.models.Deployment says."""

    app: str
    environment: str
    version: str
    team_id: str
    requested_by: str
    kind: Kind = Kind.DEPLOY
    digest: str = ""
    reason: str = ""
    requested_in: str = ""
    requested_thread: str = ""
    answer_url: str = ""
    source: str = "slash"
    phase: Phase = Phase.QUEUED
    card_id: str = ""
    change_id: str = ""
    priority: int = 0
    not_before: datetime | None = None
    break_glass: bool = False
    exact: bool = False
    promoted_from: str = ""
    restores: str = ""
    restore_commit: str = ""
    blocked: str = ""
    id: str = field(default_factory=new_id)


def defaults(model: type[SQLModel]) -> dict[str, Any]:
    """What the columns of a new row hold when nobody says otherwise; those that must be said are left out."""
    return {
        name: one.default
        for name, one in model.model_fields.items()
        if not one.is_required() and not one.default_factory
    }
