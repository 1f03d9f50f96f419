"""How an accepted request becomes deployments: at once where commits are taken, through a review where they are not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from commands import policy
from commands.blocks import blocks, told
from commands.catalogue import Catalogue
from commands.closing import supersede
from commands.desk import about
from commands.facts import Facts
from commands.policy import Target
from commands.requests import Asker, mention
from storage import gate, locks, models
from storage.models import Card, Change, Kind, new_id
from storage.newcomers import NewDeployment
from storage.phases import Phase
from storage.unit_of_work import AuditEntry, Note, UnitOfWork, Waiting

ROLLBACK_PRIORITY = 10
BREAK_GLASS_PRIORITY = 20


@dataclass(frozen=True)
class Planned:
    """One app of a request. `restore_commit` and `restores` are of rollbacks, `promoted_from` of promotions.

    `ahead` is what waits for the same target, for a caller who has asked for it in this transaction.
    """

    target: Target
    version: str
    digest: str = ""
    promoted_from: str = ""
    restores: str = ""
    restore_commit: str = ""
    ahead: Sequence[Waiting] | None = None


@dataclass(frozen=True)
class Wish:
    """What all apps of a request have in common."""

    kind: Kind
    reason: str = ""
    not_before: datetime | None = None
    break_glass: bool = False
    exact: bool = False
    details: dict[str, object] = field(default_factory=dict)

    @property
    def priority(self) -> int:
        """What starts first."""
        if self.break_glass:
            return BREAK_GLASS_PRIORITY
        return ROLLBACK_PRIORITY if self.kind is Kind.ROLLBACK else 0


@dataclass(frozen=True)
class Opened:
    """What became of a request. `change_id` is empty where nothing is reviewed; `card_id` names the card.

    `superseded` are the ids of deployments that gave way to it.
    """

    deployments: tuple[NewDeployment, ...]
    change_id: str
    card_id: str
    superseded: frozenset[str] = frozenset()


def open_request(
    uow: UnitOfWork, facts: Facts, known: Catalogue, asker: Asker, planned: Sequence[Planned], wish: Wish
) -> Opened:
    """Store the deployments, with a change where the environment is reviewed, and one card for all of them.

    All are for one environment, which the asker may deploy to. What waits for the same targets without being able to
    start is superseded.
    """
    environment = planned[0].target.environment
    if wish.break_glass:
        policy.may_break_glass(facts, asker, environment)
    ids = [new_id() for _ in planned]
    card_id = ids[0] if len(planned) == 1 else new_id()
    change_id = card_id if environment.production_like else ""
    gone = {older for one, mine in zip(planned, ids, strict=True) for older in _superseded(uow, one, mine, asker, wish)}
    single = len(planned) == 1
    in_force = locks.in_force(uow, uow.now)
    rows: list[NewDeployment] = []
    for one, mine in zip(planned, ids, strict=True):
        row = _deployment(one, mine, asker, wish, "" if single else card_id, change_id)
        held_up = blocks(row, in_force, facts.in_force, uow.now)
        row = replace(row, blocked=told(held_up))
        rows.append(row)
        uow.add(row, known.channel(one.target.app) if single else "")
        rules = {"rules": known.policy_version(environment.name), "rules_commit": facts.in_force.commit}
        uow.audit(about(row, f"{_subject(wish.kind)}:request", asker, _details(row, wish) | rules))
    if not single:
        uow.session.add(Card(deployment_id=card_id, channel=known.channels.deployments, not_before=uow.now))
    if change_id:
        _add_change(uow, known, asker, change_id, card_id, rows, wish)
    return Opened(tuple(rows), change_id, card_id, frozenset(gone))


def _deployment(one: Planned, mine: str, asker: Asker, wish: Wish, card_id: str, change_id: str) -> NewDeployment:
    return NewDeployment(
        id=mine,
        kind=wish.kind,
        app=one.target.app.name,
        environment=one.target.environment.name,
        version=one.version,
        digest=one.digest,
        reason=wish.reason,
        team_id=asker.team_id,
        requested_by=asker.user_id,
        requested_in=asker.channel_id,
        requested_thread=asker.thread_ts,
        source=asker.source,
        phase=Phase.AWAITING_APPROVAL if change_id else Phase.QUEUED,
        card_id=card_id,
        change_id=change_id,
        priority=wish.priority,
        not_before=wish.not_before,
        break_glass=wish.break_glass,
        exact=wish.exact,
        promoted_from=one.promoted_from,
        restores=one.restores,
        restore_commit=one.restore_commit,
    )


def _details(row: NewDeployment, wish: Wish) -> dict[str, object]:
    told: dict[str, object] = {"version": row.version, "reason": row.reason, "dry_run": False}
    more = {
        "digest": row.digest,
        "promoted_from": row.promoted_from,
        "restores": row.restores,
        "restore_commit": row.restore_commit,
        "change": row.change_id,
        "at": row.not_before.isoformat() if row.not_before else "",
        "break_glass": row.break_glass,
        "exact": row.exact,
    }
    return told | {key: value for key, value in more.items() if value} | wish.details


def _subject(kind: Kind) -> str:
    return {Kind.PROMOTE: "promotion", Kind.ROLLBACK: "rollback"}.get(kind, "deployment")


def _add_change(
    uow: UnitOfWork,
    known: Catalogue,
    asker: Asker,
    change_id: str,
    card_id: str,
    rows: Sequence[NewDeployment],
    wish: Wish,
) -> None:
    environment = known.environments[rows[0].environment]
    approval = environment.approval
    change = Change(
        id=change_id,
        kind=wish.kind,
        app=rows[0].app if len(rows) == 1 else "",
        environment=environment.name,
        team_id=asker.team_id,
        requested_by=asker.user_id,
        requested_at=uow.now,
        reason=wish.reason,
        card_id=card_id,
        required=policy.required_approvals(environment, wish.kind, break_glass=wish.break_glass),
        branch=f"deploy/{change_id}",
        break_glass=wish.break_glass,
        expires_at=uow.now + approval.expires_after if approval else None,
    )
    gate.add_change(uow, change)
    if wish.break_glass:
        apps = ", ".join(f"`{row.app}` `{row.version}`" for row in rows)
        text = f"🔨 {mention(asker.user_id)} breaks the glass in `{environment.name}` for {apps}: {wish.reason}"
        note = Note(
            f"glass:{change_id}:asked", models.Target.CHANNEL, {"text": text}, channel=known.channels.deployments
        )
        uow.send(note)
    uow.audit(
        AuditEntry(
            action="change:open",
            actor=asker.user_id,
            team_id=asker.team_id,
            app=change.app,
            environment=environment.name,
            deployment_id=change_id,
            details={
                "apps": [row.app for row in rows],
                "deployments": [row.id for row in rows],
                "required": change.required,
                "break_glass": wish.break_glass,
            },
        )
    )


def _superseded(uow: UnitOfWork, one: Planned, newer_id: str, asker: Asker, wish: Wish) -> Iterator[str]:
    """What cannot start yet and is for the same target gives way. A scheduled one keeps its time."""
    if wish.not_before is not None:
        return
    waiting = uow.waiting_for(one.target.app.name, one.target.environment.name) if one.ahead is None else one.ahead
    for older in waiting:
        waits = older.phase is Phase.AWAITING_APPROVAL or (older.phase is Phase.QUEUED and older.blocked)
        if waits and older.not_before is None and not (older.kind is Kind.ROLLBACK and wish.kind is not Kind.ROLLBACK):
            row = uow.deployment(older.id)
            if row is not None:
                supersede(uow, row, newer_id, one.version, asker.user_id)
                yield older.id
