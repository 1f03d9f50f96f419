"""`/audit export csv|jsonl [filters]`: the record as a file, made a while later and given to whoever asked alone."""

import json
from dataclasses import asdict
from typing import Any, cast

from sqlalchemy import func, select

from commands import audit_filter, audit_policy
from commands.desk import answer_once
from commands.facts import Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Asker, Export, History, typed
from storage import exports, models
from storage.models import AuditRow
from storage.unit_of_work import AuditEntry, Store, UnitOfWork


def export(store: Store, facts: Facts, asker: Asker, request: Export) -> Answer:
    """Take the order. What the file holds ends with the row that records the order, however late it is made."""

    def decide(uow: UnitOfWork) -> Answer:
        audit_policy.may_export(facts, asker)
        audit_filter.wished(request.filters, uow.now, limit=1)  # a time that is none is refused now, not later
        record(uow, asker, request)
        uow.session.flush()
        last = uow.session.scalar(select(func.max(cast("Any", AuditRow).seq))) or 0
        exports.ask(
            uow,
            models.Export(
                form=request.form,
                wanted=json.dumps(asdict(request.filters)),
                upto=last,
                team_id=asker.team_id,
                user_id=asker.user_id,
                requested_at=uow.now,
                not_before=uow.now,
            ),
        )
        said = audit_filter.spoken(request.filters)
        return Answer(
            ReasonCode.ACCEPTED,
            f"The record{f' where {typed(said)}' if said else ''} is being written to a {request.form.upper()} file.",
            "It comes to you in a direct message from me, to nobody else.",
        )

    details = {"form": str(request.form), "filters": audit_filter.spoken(request.filters)[:300]}
    return answer_once(store, facts, asker, "audit:export", details, decide)


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
