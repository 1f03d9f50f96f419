"""`/audit history`: the record, a page at a time, newest first."""

from collections.abc import Mapping
from dataclasses import replace

from commands import audit_filter, audit_policy
from commands.audit_rows import listed_row
from commands.desk import answer_once
from commands.facts import Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Asker, History, typed
from storage.history import search
from storage.unit_of_work import AuditEntry, Store, UnitOfWork

PAGE = 10


def history(store: Store, facts: Facts, asker: Asker, request: History) -> Answer:
    """A page of the audit log. Reading it is recorded too."""

    def decide(uow: UnitOfWork) -> Answer:
        audit_policy.may_read(facts, asker)
        found = search(uow, audit_filter.wished(request, uow.now, PAGE))
        page = found.rows[:PAGE]
        filters = audit_filter.said(request)
        record(uow, asker, filters, len(page))
        left_out = (
            f" Rows {found.unread[0]} to {found.unread[1]} are still being indexed and were left out."
            if found.unread
            else ""
        )
        if not page:
            said = typed(audit_filter.spoken(request))
            return Answer(
                ReasonCode.ANSWERED,
                (f"Nothing in the record matches {said}." if filters else "The record is empty.") + left_out,
                "Loosen a filter: each can be left out, and words are found as a whole, `checkout` not by `check`.",
            )
        older = replace(request, before=page[-1].seq) if len(found.rows) > PAGE else None
        return Answer(
            ReasonCode.ANSWERED,
            f"The record, rows {page[0].seq} to {page[-1].seq}, newest first.{left_out}",
            rows=tuple(listed_row(row, uow.now) for row in page),
            older=older,
        )

    return answer_once(store, facts, asker, "audit", {"before": request.before}, decide)


def record(uow: UnitOfWork, asker: Asker, filters: Mapping[str, str], rows: int) -> None:
    """That somebody read so many rows of the record."""
    uow.audit(
        AuditEntry(
            action="audit:read",
            actor=asker.user_id,
            team_id=asker.team_id,
            details={"filters": filters, "rows": rows, "source": str(asker.source)},
        )
    )
