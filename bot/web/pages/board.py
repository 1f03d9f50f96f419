"""The first page: what runs where, what is on its way, what waits for whom, and what is held. Read, then shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import bindparam, select

from commands.catalogue import Catalogue
from commands.deploy import SNAPSHOT_TRUSTED_FOR
from commands.facts import Facts
from commands.queue import Place, places
from commands.scopes import scope_of
from commands.shown import Shown
from storage import gate, locks
from storage.models import Change, ChangeState, Deployment, Kind, Lock
from storage.phases import Phase
from storage.prepared import Prepared
from storage.unit_of_work import UnitOfWork

_DEPLOYMENTS = cast("Any", Deployment).__table__.c
_LATEST = (
    select(_DEPLOYMENTS.id, _DEPLOYMENTS.version, _DEPLOYMENTS.phase, _DEPLOYMENTS.finished_at)
    .where(
        _DEPLOYMENTS.app == bindparam("app"),
        _DEPLOYMENTS.environment == bindparam("environment"),
        _DEPLOYMENTS.finished_at.is_not(None),
        _DEPLOYMENTS.kind != Kind.PREVIEW,
    )
    .order_by(_DEPLOYMENTS.requested_at.desc())
    .limit(1)
)
# Asked for every place: the index by target answers each at once, where one query for all would read every deployment.
_ENDED = Prepared(_LATEST)
_WRITTEN = Prepared(_LATEST.where(_DEPLOYMENTS.commit_sha != ""))


@dataclass(frozen=True)
class Ended:
    """The last deployment of a place that reached git."""

    id: str
    version: str
    phase: str
    at: datetime


@dataclass(frozen=True)
class Cell:
    """One app in one environment. `version` is what git says, empty when it says none; `there` is False for no such.

    `last` is the deployment that put it there; None when git got it from elsewhere.
    """

    environment: str
    there: bool = False
    version: str = ""
    digest: str = ""
    last: Ended | None = None
    failed: Ended | None = None
    moving: tuple[Deployment, ...] = ()
    held: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """A change that waits for approval. `have` counts those who said yes to what is shown now."""

    change: Change
    shown: Shown
    apps: tuple[tuple[str, str], ...]
    have: int
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Hold:
    """A lock, freeze or hold in force, by whom it is, or the window of the catalogue that it is."""

    kind: str
    scope: str
    reason: str
    owner: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Board:
    """Everything on the page. `commit` is the head that git was read at; `stale` when that was too long ago."""

    environments: tuple[str, ...]
    reviewed: frozenset[str]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    waiting: tuple[Waiting, ...]
    queue: tuple[Place, ...]
    holds: tuple[Hold, ...]
    problem: str
    faults: tuple[str, ...]
    commit: str
    read_at: datetime | None
    stale: bool


def board(uow: UnitOfWork, facts: Facts) -> Board:
    """The page as things are now."""
    known = facts.in_force.catalogue
    open_now = uow.open_deployments()
    in_force = locks.in_force(uow, uow.now)
    environments = _in_order(known) if known else ()
    age = facts.snapshot_age
    return Board(
        environments=environments,
        reviewed=frozenset(name for name in environments if known and known.production_like(name)),
        rows=_rows(uow, facts, known, open_now, in_force) if known else (),
        waiting=waiting_changes(uow, facts),
        queue=tuple(
            one
            for one in places(open_now, in_force, facts, uow)
            if Phase(one.deployment.phase) is not Phase.AWAITING_APPROVAL  # they are among those that wait for approval
        ),
        holds=(*(_hold(one) for one in in_force), *(_windows(known, uow.now) if known else ())),
        problem="" if known else facts.in_force.problem,
        faults=facts.in_force.faults,
        commit=facts.snapshot.commit if facts.snapshot else "",
        read_at=uow.now - age if facts.snapshot and age < timedelta(days=3650) else None,
        stale=age > SNAPSHOT_TRUSTED_FOR,
    )


def waiting_changes(uow: UnitOfWork, facts: Facts) -> tuple[Waiting, ...]:
    """Changes that wait for approval, oldest first."""
    known = facts.in_force.catalogue
    found = []
    for change in gate.live_changes(uow):
        if ChangeState(change.state) is not ChangeState.OPEN:
            continue
        members = gate.members(uow, change.id)
        yes = {one.person for one in gate.approvals(uow, change) if one.verdict == "approved"}
        environment = known.environment(change.environment) if known else None
        rule = environment.approval if environment else None
        apps = tuple((one.app, one.version) for one in members)
        groups = rule.groups if rule else ()
        found.append(Waiting(change, Shown.from_json(change.shown), apps, len(yes), groups))
    return tuple(found)


def _in_order(known: Catalogue) -> tuple[str, ...]:
    """The promotion path first, then the others as the file has them."""
    return tuple(dict.fromkeys([*known.promotion, *known.environments]))


def _rows(
    uow: UnitOfWork, facts: Facts, known: Catalogue, open_now: Sequence[Deployment], in_force: Sequence[Lock]
) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    moving: dict[tuple[str, str], list[Deployment]] = {}
    for one in open_now:
        if one.kind != Kind.PREVIEW:
            moving.setdefault((one.app, one.environment), []).append(one)
    rows = []
    for app in known.apps.values():
        cells = []
        for name in _in_order(known):
            if name not in app.environments:
                cells.append(Cell(name))
                continue
            place = app.name, name
            said = facts.snapshot.images.get(place) if facts.snapshot else None
            last, newest = _last(uow, _WRITTEN, place), _last(uow, _ENDED, place)
            same = last is not None and said is not None and last.version in {said.tag, said.digest}
            held = [str(one.kind) for one in in_force if scope_of(one).covers(*place)]
            held += ["freeze"] * bool(known.freezes(*place, uow.now))
            cells.append(
                Cell(
                    name,
                    there=True,
                    version=(said.tag or said.digest[:19]) if said else "",
                    digest=said.digest if said else "",
                    last=last if same else None,
                    failed=newest if newest is not None and newest.phase in {"failed", "errored"} else None,
                    moving=tuple(moving.get(place, ())),
                    held=tuple(dict.fromkeys(held)),
                )
            )
        rows.append((app.name, tuple(cells)))
    return tuple(rows)


def _last(uow: UnitOfWork, query: Prepared, place: tuple[str, str]) -> Ended | None:
    """What the query finds first of this place."""
    found = uow.run(query, {"app": place[0], "environment": place[1]})
    if not found:
        return None
    name, version, phase, at = found[0]
    return Ended(name, version, str(phase), at)


def _hold(one: Lock) -> Hold:
    return Hold(str(one.kind), scope_of(one).name, one.reason, one.owner, one.at, one.expires_at)


def _windows(known: Catalogue, now: datetime) -> list[Hold]:
    """The catalogue's freezes that hold somewhere now, each once."""
    found = []
    for window in known.freeze_windows:
        until = window.until(now)
        if until is not None:
            where = ", ".join(f"`{name}`" for name in window.environments)
            apps = f" ({', '.join(f'`{app}`' for app in window.apps)})" if window.apps else ""
            found.append(Hold(f"freeze {window.name}", where + apps, window.reason, until=until))
    return found
