"""`/audit report [since:30d] [until:…] [app:…] [env:…]`: DORA's four keys and what people waited for, by place."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import func, select

from commands import audit_filter, audit_policy, dora
from commands.audit_export import order
from commands.desk import answer_once
from commands.dora import Numbers, Ran
from commands.facts import Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Asker, Report, Row, typed
from commands.times import spoken
from storage import exports
from storage.models import Change, Deployment, Kind
from storage.phases import Phase
from storage.record_models import AuditIndex
from storage.unit_of_work import AuditEntry, Store, UnitOfWork

USUAL = timedelta(days=30)
MOST_PLACES = 24
CHART = "chart"
"""An order for a picture."""
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Reported:
    """The numbers of a time: together, by environment, and by app and environment, the busiest first."""

    since: datetime
    until: datetime
    total: Numbers
    environments: tuple[tuple[str, Numbers], ...]
    places: tuple[tuple[tuple[str, str], Numbers], ...]


def report(store: Store, facts: Facts, asker: Asker, request: Report) -> Answer:
    """The numbers as an answer. Asking is recorded."""
    return _answer(store, facts, asker, request, lambda _: "")


def report_with_chart(store: Store, facts: Facts, asker: Asker, request: Report) -> Answer:
    """As `report`, with an order for a picture of it."""

    def ordered(uow: UnitOfWork) -> str:
        exports.ask(uow, order(uow, asker, CHART, json.dumps(asdict(request))))
        return "A picture of it comes to you in a direct message."

    return _answer(store, facts, asker, request, ordered)


def _answer(store: Store, facts: Facts, asker: Asker, request: Report, ordered: Callable[[UnitOfWork], str]) -> Answer:
    def decide(uow: UnitOfWork) -> Answer:
        audit_policy.may_read(facts, asker)
        found = reported(uow, request)
        record(uow, asker, request)
        where = " in ".join(typed(name) for name in (request.app, request.environment) if name)
        of = f"{where}, " if where else ""
        span = f"{of}{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC"
        if not found.total.deployments and not found.total.rollbacks:
            return Answer(
                ReasonCode.ANSWERED,
                f"Nothing was deployed ({span}).",
                "Name an earlier `since:`, or leave a filter out.",
            )
        rows = [_row("Everything", found.total)] if len(found.environments) > 1 else []
        rows += [_row(f"All of {typed(name)}", numbers) for name, numbers in found.environments]
        rows += [_row(f"{typed(app)} in {typed(name)}", one) for (app, name), one in found.places[:MOST_PLACES]]
        left = len(found.places) - MOST_PLACES
        more = f"{left} more places: name an app or an environment." if left > 0 else ""
        return Answer(
            ReasonCode.ANSWERED,
            f"How often, how fast, how well ({span}). Times are medians; bars are weeks.",
            f"{more} {ordered(uow)}".strip(),
            rows=tuple(rows),
        )

    return answer_once(store, facts, asker, "audit:report", {"app": request.app, "env": request.environment}, decide)


def record(uow: UnitOfWork, asker: Asker, request: Report) -> None:
    """That somebody asked for the numbers."""
    details = {"app": request.app[:63], "env": request.environment[:63], "since": request.since[:40]}
    uow.audit(AuditEntry("audit:report", actor=asker.user_id, team_id=asker.team_id, details=details))


def reported(uow: UnitOfWork, request: Report) -> Reported:
    """The numbers, for whoever shows them. Raises Refused(BAD_TIME)."""
    since, until = audit_filter.span(request.since, request.until, uow.now)
    until = min(until or uow.now, uow.now)
    since = since or until - USUAL
    ran = _ran(uow, request, since, until)
    environments = dora.by_environment(ran, since, until)
    places = dora.by_place(ran, since, until)
    return Reported(
        since,
        until,
        dora.measure(ran, since, until),
        tuple(sorted(environments.items(), key=_busiest)),
        tuple(sorted(places.items(), key=_busiest)),
    )


def _busiest(item: tuple[object, Numbers]) -> tuple[int, str]:
    return -item[1].deployments, str(item[0])


def _ran(uow: UnitOfWork, request: Report, since: datetime, until: datetime) -> list[Ran]:
    table, index = cast("Any", Deployment), cast("Any", AuditIndex)
    approved = (
        select(index.deployment_id, func.min(index.at).label("at"))
        .where(index.action == "change:approved", index.at < until)
        .group_by(index.deployment_id)
        .subquery()
    )
    change = cast("Any", Change)
    query = (
        select(
            table.app, table.environment, table.kind, table.phase, table.requested_at, table.not_before,
            approved.c.at, table.started_at, table.committed_at, table.finished_at,
        )
        .outerjoin(change, change.id == table.change_id)
        .outerjoin(approved, (approved.c.deployment_id == change.id) & change.break_glass.is_(False))
        .where(table.finished_at >= since, table.finished_at < until, table.kind != Kind.PREVIEW)
    )  # fmt: skip
    if request.app:
        query = query.where(table.app == request.app)
    if request.environment:
        query = query.where(table.environment == request.environment)
    return [
        Ran(app, name, Kind(kind), Phase(phase), *times)
        for app, name, kind, phase, *times in uow.session.execute(query)
    ]


def _row(name: str, numbers: Numbers) -> Row:
    count = f"{numbers.deployments} deployment{'' if numbers.deployments == 1 else 's'}"
    backs = f", {numbers.rollbacks} rolled back" if numbers.rollbacks else ""
    weekly = numbers.deployments / max(1, len(numbers.weeks))
    failed = f"{numbers.failure_percent}% failed ({numbers.failures} of {numbers.deployments})"
    often = f"{name} {bars(numbers.weeks)} {count}{backs}, {weekly:.1f} a week"
    return Row(
        f"{often} · live after {_told(numbers.lead)} · {failed}",
        f"from git to live {_told(numbers.commit_to_live)} · restored after {_told(numbers.restore)} · "
        f"approved after {_told(numbers.approval)} · waited for its turn {_told(numbers.blocked)}",
    )


def bars(counts: Sequence[int]) -> str:
    """One bar for each count, the highest as high as there is."""
    most = max(counts, default=0)
    if not most:
        return _BARS[0] * len(counts)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in counts)


def _told(length: timedelta | None) -> str:
    return "–" if length is None else spoken(length)  # noqa: RUF001 - a dash where there is nothing
