"""`/audit history`: the record, a page at a time, newest first."""

import json
from dataclasses import replace

from commands.deploy import ago
from commands.desk import answer_once
from commands.facts import Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Asker, History, Row, mention, typed
from storage.history import AuditFilter, audit_history
from storage.models import AuditRow
from storage.unit_of_work import BOT, AuditEntry, Store, UnitOfWork

PAGE = 10


def history(store: Store, facts: Facts, asker: Asker, request: History) -> Answer:
    """A page of the audit log. Reading it is recorded too."""

    def decide(uow: UnitOfWork) -> Answer:
        wanted = AuditFilter(
            app=request.app,
            environment=request.environment,
            actor=request.actor,
            deployment_id=request.deployment_id,
            before=request.before,
            limit=PAGE,
        )
        found = audit_history(uow, wanted)
        page = found[:PAGE]
        filters = {
            "app": request.app,
            "env": request.environment,
            "by": request.actor,
            "id": request.deployment_id,
        }
        uow.audit(
            AuditEntry(
                action="audit:read",
                actor=asker.user_id,
                team_id=asker.team_id,
                details={"filters": {key: value[:128] for key, value in filters.items() if value}, "rows": len(page)},
            )
        )
        if not page:
            said = typed(" ".join(f"{key}:{value}" for key, value in filters.items() if value))
            return Answer(
                ReasonCode.ANSWERED,
                f"Nothing in the record matches {said}." if any(filters.values()) else "The record is empty.",
                "Loosen a filter: `app:`, `env:`, `by:` and `id:` can be left out one by one.",
            )
        older = replace(request, before=page[-1].seq) if len(found) > PAGE else None
        return Answer(
            ReasonCode.ANSWERED,
            f"The record, rows {page[0].seq} to {page[-1].seq}, newest first.",
            rows=tuple(_row(uow, row) for row in page),
            older=older,
        )

    return answer_once(store, facts, asker, "audit", {"before": request.before}, decide)


def _row(uow: UnitOfWork, row: AuditRow) -> Row:
    details = json.loads(row.details)
    who = "Locktender" if row.actor == BOT else mention(row.actor)
    target = " in ".join(typed(part) for part in (row.app, row.environment) if part)
    version = f" {typed(str(details['version']))}" if details.get("version") else ""
    phase = f" {details['phase']}" if details.get("phase") else ""
    commit = f", commit `{str(details['commit'])[:7]}`" if details.get("commit") else ""
    code = f" ({row.reason_code})" if row.reason_code else ""
    deployment = f", `{row.deployment_id}`" if row.deployment_id else ""
    when = f"{row.at:%Y-%m-%d %H:%M:%S} UTC, {ago(uow.now, row.at)}"
    return Row(
        f"#{row.seq} {row.action}{phase}{code} · {target}{version} · {who}".replace(" ·  ·", " ·"),
        f"{when}{deployment}{commit}",
    )
