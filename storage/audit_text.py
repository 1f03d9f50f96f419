"""An audit row as text: what is kept of what was said, and what its leaf hash covers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from json.encoder import encode_basestring as _quoted

from storage.canonical import canonical, storable
from storage.record_models import AuditRow
from storage.secrets import may_hold_secret, without_secrets


@dataclass(frozen=True)
class AuditRecord:
    """An audit row as it was appended; `details` is canonical JSON."""

    seq: int
    at: datetime
    action: str
    team_id: str
    actor: str
    app: str
    environment: str
    deployment_id: str
    reason_code: str
    details: str


@dataclass(frozen=True)
class Recorded(AuditRecord):
    """A whole row of the record as a search gives it, without an ORM behind it."""

    leaf: str
    sig: str


COLUMNS = tuple(one.name for one in fields(Recorded))
"""Of a whole row, in the order in which `Recorded` takes them."""


def kept(text: str) -> str:
    """As the record may hold it: what a person typed where a name belongs may be a token that was pasted."""
    return str(without_secrets(storable(text)))


def kept_details(details: Mapping[str, object]) -> str:
    """The same for everything that a row says, as canonical JSON."""
    text = canonical(storable(details))
    # One look at the whole text is enough for nearly all rows.
    return canonical(without_secrets(storable(details))) if may_hold_secret(text) else text


def fresh_text(record: AuditRecord) -> str:
    """What `audit_text` gives, for a record that was just made: its details are canonical as they are."""
    at = record.at.astimezone(UTC).isoformat(timespec="microseconds")
    return (
        f'{{"action":{_quoted(record.action)},"actor":{_quoted(record.actor)},"app":{_quoted(record.app)},'
        f'"at":"{at}","deployment_id":{_quoted(record.deployment_id)},"details":{record.details},'
        f'"environment":{_quoted(record.environment)},"reason_code":{_quoted(record.reason_code)},'
        f'"seq":{record.seq},"team_id":{_quoted(record.team_id)}}}'
    )


def audit_text(row: AuditRow | AuditRecord) -> str:
    """The canonical text of an audit row: what its leaf hash covers."""
    return canonical(
        {
            "seq": row.seq,
            "at": row.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "action": row.action,
            "team_id": row.team_id,
            "actor": row.actor,
            "app": row.app,
            "environment": row.environment,
            "deployment_id": row.deployment_id,
            "reason_code": row.reason_code,
            "details": json.loads(row.details),
        }
    )
