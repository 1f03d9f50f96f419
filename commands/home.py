"""What one person needs to know now: what waits for them, what became of what they asked for, what runs where."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import select

from commands import policy
from commands.approvals import Voice, may_approve
from commands.approve import reviewed
from commands.audit_policy import is_reader
from commands.facts import Facts
from commands.people import by_slack
from commands.reasons import Refused
from commands.requests import Asker
from storage import gate
from storage.models import Change, ChangeState, Deployment, Kind
from storage.unit_of_work import UnitOfWork

MINE = 5
_LATELY = timedelta(days=30)


@dataclass(frozen=True)
class ForYou:
    """A change that this person may approve, and has said nothing of yet. `have` counts those who said yes."""

    change: Change
    apps: tuple[tuple[str, str], ...]
    have: int


@dataclass(frozen=True)
class Home:
    """`places` are the apps with their environments and versions; a version is empty where git says none."""

    at: datetime
    reader: bool
    waiting: tuple[ForYou, ...] = ()
    mine: tuple[Deployment, ...] = ()
    places: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    problem: str = ""


def home(uow: UnitOfWork, facts: Facts, asker: Asker) -> Home:
    """The same for everybody in the workspace but for what is theirs. Raises Refused for people of another one."""
    policy.workspace(facts, asker)
    known = facts.in_force.catalogue
    if known is None:
        return Home(uow.now, is_reader(facts, asker), mine=_mine(uow, asker), problem=facts.in_force.problem)
    images = facts.snapshot.images if facts.snapshot else {}
    order = tuple(dict.fromkeys([*known.promotion, *known.environments]))
    places = []
    for app in known.apps.values():
        said = [(name, images.get((app.name, name))) for name in order if name in app.environments]
        places.append((app.name, tuple((name, (one.tag or one.digest[:19]) if one else "") for name, one in said)))
    return Home(uow.now, is_reader(facts, asker), _waiting(uow, facts, asker), _mine(uow, asker), tuple(places))


def _waiting(uow: UnitOfWork, facts: Facts, asker: Asker) -> tuple[ForYou, ...]:
    known = policy.catalogue(facts)
    me = by_slack(known, asker.user_id).key
    found = []
    for change in gate.live_changes(uow):
        if ChangeState(change.state) is not ChangeState.OPEN:
            continue
        try:
            may_approve(known, facts, reviewed(known, change), Voice(slack_user=asker.user_id))
        except Refused:
            continue
        said = gate.approvals(uow, change)
        if all(one.person != me for one in said):
            apps = tuple((one.app, one.version) for one in gate.members(uow, change.id))
            found.append(ForYou(change, apps, sum(one.verdict == "approved" for one in said)))
    return tuple(found)


def _mine(uow: UnitOfWork, asker: Asker) -> tuple[Deployment, ...]:
    table = cast("Any", Deployment)
    query = (
        select(Deployment)
        .where(
            table.requested_by == asker.user_id,
            table.requested_at > uow.now - _LATELY,
            table.kind != Kind.PREVIEW,
        )
        .order_by(table.requested_at.desc(), table.id.desc())
        .limit(MINE)
    )
    return tuple(uow.session.scalars(query))
