"""`/audit export` and `/audit verify`: what takes longer than an answer may is ordered, and done a while later."""

import json
from dataclasses import asdict

from commands import audit_filter, audit_policy
from commands.desk import answer_once
from commands.facts import Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Asker, Export, History, Verify, typed
from storage import exports, record_models
from storage.unit_of_work import AuditEntry, Store, UnitOfWork

VERIFY = "verify"
"""An order that is no file."""


def export(store: Store, facts: Facts, asker: Asker, request: Export) -> Answer:
    """Take the order. The file holds what the record has when it is made, a moment later; this order, too."""

    def decide(uow: UnitOfWork) -> Answer:
        audit_policy.may_export(facts, asker)
        audit_filter.wished(request.filters, uow.now, limit=1)  # a time that is none is refused now, not later
        record(uow, asker, request)
        exports.ask(uow, order(uow, asker, request.form, json.dumps(asdict(request.filters))))
        said = audit_filter.spoken(request.filters)
        return Answer(
            ReasonCode.ACCEPTED,
            f"The record{f' where {typed(said)}' if said else ''} is being written to a {request.form.upper()} file.",
            "It comes to you in a direct message from me, to nobody else.",
        )

    details = {"form": str(request.form), "filters": audit_filter.spoken(request.filters)[:300]}
    return answer_once(store, facts, asker, "audit:export", details, decide)


def verify(store: Store, facts: Facts, asker: Asker, request: Verify) -> Answer:
    """Take the order; the verdict is told to whoever asked, and is in the record."""
    del request

    def decide(uow: UnitOfWork) -> Answer:
        audit_policy.may_read(facts, asker)
        uow.audit(
            AuditEntry(
                "audit:verify", actor=asker.user_id, team_id=asker.team_id, details={"source": str(asker.source)}
            )
        )
        exports.ask(uow, order(uow, asker, VERIFY, "{}"))
        return Answer(
            ReasonCode.ACCEPTED,
            "The whole record is being verified, against its key and the checkpoints in git.",
            "The verdict comes to you in a direct message. `locktender audit verify` does the same without the bot.",
        )

    return answer_once(store, facts, asker, "audit:verify", {}, decide)


def order(uow: UnitOfWork, asker: Asker, form: str, wanted: str) -> record_models.Export:
    """What is to be done for whoever asks; `wanted` is JSON."""
    return record_models.Export(
        form=form,
        wanted=wanted,
        team_id=asker.team_id,
        user_id=asker.user_id,
        requested_at=uow.now,
        not_before=uow.now,
    )


def record(uow: UnitOfWork, asker: Asker, request: Export) -> None:
    """That somebody takes a part of the record out."""
    uow.audit(
        AuditEntry(
            action="audit:export",
            actor=asker.user_id,
            team_id=asker.team_id,
            details={
                "form": str(request.form),
                "filters": audit_filter.said(request.filters),
                "source": str(asker.source),
            },
        )
    )


def filters_of(stored: str) -> History:
    """The filters of an order, as they were stored."""
    return History(**json.loads(stored))
