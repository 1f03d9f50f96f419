"""Deployments that went around the bot: what a CD pipeline tells at its end becomes a row of the record."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from commands.catalogue import Catalogue
from commands.catalogue import Kind as Named
from commands.facts import Facts
from commands.reasons import ReasonCode, Refused
from commands.requests import listed, typed
from commands.tokens import Bearer, Right, need
from storage import told
from storage.canonical import canonical
from storage.phases import Phase
from storage.record_models import AuditRow
from storage.unit_of_work import AuditEntry, Store

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # as ids of deployments, but longer: 16 characters, never 10
_SAID = {
    Phase.SUCCEEDED: (
        "success",
        "successful",
        "succeeded",
        "ok",
        "passed",
        "done",
        "complete",
        "completed",
        "deployed",
    ),
    Phase.FAILED: ("failure", "failed", "fail", "unstable", "rolled_back"),
    Phase.ERRORED: ("error", "errored", "unknown", "timeout"),
    Phase.CANCELLED: ("cancelled", "canceled", "aborted"),
}
PHASES: Mapping[str, Phase] = {word: phase for phase, words in _SAID.items() for word in words}
"""What pipelines call the ends that we know."""
_AHEAD = timedelta(days=1)


@dataclass(frozen=True)
class DeploymentRecord:
    """What a pipeline says it did, checked for form alone: it is recorded as it was told, not as it was."""

    timestamp: datetime
    environment: str
    commit: str
    deployer: str
    status: str
    branch: str = ""
    build_url: str = ""
    approval_note: str = ""
    app: str = ""
    version: str = ""


@dataclass(frozen=True)
class Kept:
    """A row of the record, and what should be looked at about what it says."""

    row: AuditRow
    notes: tuple[str, ...] = ()


def record_deployment(store: Store, facts: Facts, bearer: Bearer, record: DeploymentRecord, key: str = "") -> Kept:
    """Record it once: the same content, or the same `key`, from the same token finds the row that is there.

    Refused without the scope, and for a key that another record has.
    """
    need(bearer, Right.RECORDS)
    app, notes = _names(facts.in_force.catalogue, record)
    content = hashlib.sha256(canonical(_plain(record)).encode()).hexdigest()
    name = identity("record", bearer.id, f"key:{key}" if key else content)
    with store.write() as uow:
        uow.in_turn()
        if record.timestamp - uow.now > _AHEAD:
            notes = (*notes, "The timestamp is more than a day in the future; it was recorded as it was sent.")
        before = told.of_id(uow, told.DEPLOYMENT, name)
        if before is not None:
            if f'"content":"{content}"' not in before.details:
                raise Refused(
                    ReasonCode.ALREADY_REQUESTED,
                    f"This Idempotency-Key was used for another record, row {before.seq}.",
                    "Use a key of its own for each deployment, the build's number for one.",
                )
            return Kept(before, notes)
        details = {key: value for key, value in _plain(record).items() if value}
        phase = PHASES.get(record.status.lower())
        uow.audit(
            AuditEntry(
                action=told.DEPLOYMENT,
                actor=bearer.actor,
                team_id=facts.team_id,
                app=app,
                environment=record.environment,
                deployment_id=name,
                details=details | {"content": content, "token": bearer.id} | ({"phase": phase.value} if phase else {}),
            )
        )
        row = told.of_id(uow, told.DEPLOYMENT, name)
        if row is None:
            raise LookupError("a row that was just written cannot be read")
        return Kept(row, notes)


def record_refused(store: Store, facts: Facts, bearer: Bearer, action: str, fault: Refused) -> None:
    """A request of a token that came to nothing, in the record like every other refusal."""
    with store.write() as uow:
        uow.audit(
            AuditEntry(
                action=f"{action}:refuse",
                actor=bearer.actor,
                team_id=facts.team_id,
                reason_code=fault.reason,
                details={"what": fault.what, "detail": fault.detail[:500], "source": "api"},
            )
        )


def identity(*parts: str) -> str:
    """An id that is the same for the same parts: 16 characters, 80 bits of their hash."""
    number = int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:10], "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(75, -1, -5))


def _plain(record: DeploymentRecord) -> dict[str, str]:
    when = record.timestamp.astimezone(UTC).isoformat()
    return asdict(record) | {"timestamp": when}


def _names(known: Catalogue | None, record: DeploymentRecord) -> tuple[str, tuple[str, ...]]:
    """The app by its own name, and what the catalogue does not know: pipelines deploy more than we do."""
    app = known.app(record.app) if known is not None and record.app else None
    notes = []
    if known is not None:
        if record.app and app is None:
            notes.append(_unknown(known, Named.APP, record.app))
        if known.environment(record.environment) is None:
            notes.append(_unknown(known, Named.ENVIRONMENT, record.environment))
    return app.name if app is not None else record.app, tuple(notes)


def _unknown(known: Catalogue, kind: Named, word: str) -> str:
    near = known.nearest(kind, word)
    guess = f" Did you mean {listed(near)}?" if near else ""
    return f"{typed(word)} is no {kind} of `locktender.yaml`; it was recorded as it was sent.{guess}"
