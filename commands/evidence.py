"""`/audit evidence ID`: everything that the record holds of one change, in a file that proves itself."""

import json
from dataclasses import dataclass

from commands import audit_policy
from commands.audit_export import order
from commands.desk import answer_once
from commands.evidence_file import FORMAT, Head, Proven, Taken
from commands.evidence_find import Subject, find
from commands.facts import Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Asker, Evidence, Source
from storage import exports, proofs
from storage.audit_index import BATCH, catch_up
from storage.audit_text import COLUMNS, AuditRecord, Recorded
from storage.merkle import inclusion_proof
from storage.record_models import AuditRow
from storage.signing import PublicKey
from storage.unit_of_work import AuditEntry, Store, UnitOfWork

EVIDENCE = "evidence"
"""An order for it."""


@dataclass(frozen=True)
class Wanted:
    """An order as it is stored: of what, and how it was asked for."""

    name: str
    source: Source

    def as_json(self) -> str:
        """For the order's row."""
        return json.dumps({"name": self.name, "source": self.source})

    @classmethod
    def from_json(cls, text: str) -> "Wanted":
        """What `as_json` wrote."""
        stored = json.loads(text)
        return cls(str(stored["name"]), Source(stored["source"]))


def evidence(store: Store, facts: Facts, asker: Asker, request: Evidence) -> Answer:
    """Take the order. The files are made a moment later, of what the record has then; this order is in it, too."""

    def decide(uow: UnitOfWork) -> Answer:
        audit_policy.may_export(facts, asker)
        subject = find(uow, request.name)
        uow.audit(
            AuditEntry(
                action="audit:export",
                actor=asker.user_id,
                team_id=asker.team_id,
                deployment_id=_id(subject),
                details={"form": EVIDENCE, "of": subject.name, "source": str(asker.source)},
            )
        )
        exports.ask(uow, order(uow, asker, EVIDENCE, Wanted(subject.name, asker.source).as_json()))
        return Answer(
            ReasonCode.ACCEPTED,
            f"The evidence of `{subject.name}` is being put together: {len(subject.rows)} rows, with their proofs.",
            "A page to read and a file to verify come to you in a direct message from me, to nobody else.",
            deployment_id=_id(subject),
        )

    return answer_once(store, facts, asker, "audit:evidence", {"of": request.name[:64]}, decide)


def take(store: Store, name: str, actor: str, team_id: str, source: Source) -> Taken:
    """Take the evidence now; that somebody did is its last row, which names all others. Refused, NoProofError.

    Done again after a crash, it is taken again: the record then says so twice.
    """
    while catch_up(store) == BATCH:  # what others reported is found by commit, in the index
        pass
    with store.write() as uow:
        uow.hold_audit()
        subject = find(uow, name)
        last = uow.audit(
            AuditEntry(
                action="audit:evidence",
                actor=actor,
                team_id=team_id,
                deployment_id=_id(subject),
                details={
                    "format": FORMAT,
                    "of": subject.name,
                    "rows": [row.seq for row in subject.rows],
                    "attached": subject.attached.names,
                    "source": str(source),
                },
            )
        )
    origin = store.signer.origin if store.signer is not None else ""
    with store.read() as uow:
        rows = (*subject.rows, _again(uow, last))
        signed = proofs.checkpoint_at(uow.run, origin, last.seq) if origin else None
        head = Head(
            origin,
            last.seq,
            proofs.head_at(uow.run, origin, last.seq).root.hex(),
            tuple(key.vkey for key in _keys(store)),
            signed.note if signed is not None else "",
        )
        proven = tuple(Proven(row, _steps(uow, row.seq, last.seq)) for row in rows)
    return Taken(subject.name, head, proven, subject.attached)


def _keys(store: Store) -> list[PublicKey]:
    return [store.signer.keys.key.public] if store.signer is not None else []


def _steps(uow: UnitOfWork, seq: int, size: int) -> tuple[str, ...]:
    steps = inclusion_proof(seq - 1, size, lambda level, index: proofs.subtree(uow.run, level, index))
    return tuple(step.hex() for step in steps)


def _again(uow: UnitOfWork, last: AuditRecord) -> Recorded:
    """The row as it was stored, with its hash and signature."""
    row = uow.session.get(AuditRow, last.seq)
    if row is None:
        raise LookupError("a row that was just written cannot be read")
    return Recorded(*(getattr(row, one) for one in COLUMNS))


def _id(subject: Subject) -> str:
    """For the column that rows are found by; a commit or a row's number is none."""
    return subject.name if subject.name.isalnum() and len(subject.name) <= 32 else ""
