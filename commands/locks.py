"""`/deploy lock`, `unlock`, `freeze` and `unfreeze`: recorded, announced, and in force from the next start on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from commands import lockers, policy, requests, scopes
from commands.catalogue import Catalogue
from commands.deploy import ago
from commands.desk import answer_once
from commands.facts import Facts
from commands.lock_record import Act, record
from commands.lock_words import GOES_ON, because, until
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Row, listed, mention
from commands.scopes import Scope, scope_of
from storage import locks
from storage.models import Deployment, Kind, Lock, LockKind
from storage.phases import Phase
from storage.unit_of_work import BOT, Store, UnitOfWork

_MOST_ROWS = 5
_Request = requests.Lock | requests.Unlock | requests.Freeze | requests.Unfreeze


@dataclass(frozen=True)
class _Sort:
    """How a lock and an ad hoc freeze differ in words."""

    kind: LockKind
    past: str  # "Alice … `production`"
    state: str  # "`production` is …"
    undo: str
    taken: ReasonCode
    stops: str
    usage: str


_LOCK = _Sort(
    LockKind.LOCK,
    "locked",
    "locked",
    "unlock",
    ReasonCode.LOCKED,
    "No deployment, promotion or rollback starts there meanwhile, except by break-glass.",
    "`/deploy lock production 2h --reason TEXT`, with an app, an environment, both or `all`",
)
_FREEZE = _Sort(
    LockKind.FREEZE,
    "froze",
    "frozen",
    "unfreeze",
    ReasonCode.FROZEN,
    "No deployment or promotion starts there meanwhile, except by break-glass; rollbacks pass.",
    "`/deploy freeze production 2h --reason TEXT`, with an environment or `all`",
)


def lock(store: Store, facts: Facts, asker: Asker, request: requests.Lock) -> Answer:
    """Stop everything that would start within a scope. One's own lock gets a new time or reason instead."""

    def decide(uow: UnitOfWork) -> Answer:
        return _set(uow, facts, asker, request, _LOCK)

    return answer_once(store, facts, asker, "lock", _details(request), decide)


def freeze(store: Store, facts: Facts, asker: Asker, request: requests.Freeze) -> Answer:
    """Stop deployments and promotions to an environment, or to all, for a while; rollbacks pass."""

    def decide(uow: UnitOfWork) -> Answer:
        return _set(uow, facts, asker, request, _FREEZE)

    return answer_once(store, facts, asker, "freeze", _details(request), decide)


def unlock(store: Store, facts: Facts, asker: Asker, request: requests.Unlock) -> Answer:
    """Lift the lock of exactly this scope, and the hold of a rollback. Whose it was is told in the channel."""

    def decide(uow: UnitOfWork) -> Answer:
        return _lift(uow, facts, asker, request, (LockKind.LOCK, LockKind.HOLD))

    return answer_once(store, facts, asker, "lock", _details(request), decide)


def unfreeze(store: Store, facts: Facts, asker: Asker, request: requests.Unfreeze) -> Answer:
    """End an ad hoc freeze. One of the catalogue is refused, with what would end that."""

    def decide(uow: UnitOfWork) -> Answer:
        return _lift(uow, facts, asker, request, (LockKind.FREEZE,))

    return answer_once(store, facts, asker, "freeze", _details(request), decide)


def expire(store: Store, facts: Facts) -> int:
    """Note, in the record and once in the channel, that the time of locks and freezes is over; how many there were.

    They stopped nothing from that very second on: this is for people. Cheap when there is none; two replicas that do
    it at once tell once; a crash leaves it for the next call.
    """
    with store.read() as uow:
        if not locks.run_out(uow, uow.now):
            return 0
    with store.write() as uow:
        uow.in_turn()
        over = locks.run_out(uow, uow.now)
        for one in over:
            locks.lift(uow, one, BOT)
            text = (
                f"The {one.kind} on {scope_of(one).name} that {mention(one.owner)} set is over{because(one.reason)}. "
                f"{GOES_ON}"
            )
            record(uow, facts.in_force.catalogue, one, Act("expire"), text)
        return len(over)


# ---------------------------------------------------------------- set


def _set(uow: UnitOfWork, facts: Facts, asker: Asker, request: requests.Lock | requests.Freeze, sort: _Sort) -> Answer:
    known = policy.catalogue(facts)
    named = scopes.parse(known, request.words, sort.usage)
    scope = named.scope
    if sort.kind is LockKind.FREEZE and scope.app:
        raise Refused(
            ReasonCode.BAD_USAGE,
            "A freeze covers a whole environment, or all of them.",
            f"For an app there is `/deploy lock {scope.words} --reason TEXT`.",
        )
    lockers.may_lock(facts, asker, scopes.environments(known, scope))
    mine = locks.of_scope(uow, sort.kind, scope.app, scope.environment)
    if mine is not None and mine.owner != asker.user_id:
        raise Refused(
            sort.taken,
            f"{mention(mine.owner)} has {sort.state} {scope.name} {until(mine.expires_at)}{because(mine.reason)}.",
            f"It holds for you too. `/deploy {sort.undo} {scope.words}` ends it, should you know better.",
        )
    expires_at = uow.now + named.span if named.span else (mine.expires_at if mine else None)
    reason = request.reason or (mine.reason if mine else "")
    _complete(request.words, sort, expires_at, reason)
    if mine is None:
        stored = locks.add(uow, _new(uow, asker, sort.kind, scope, reason, expires_at))
        act, what = Act("set", asker), f"{sort.past} {scope.name} {until(expires_at)}"
    else:
        act = Act("extend", asker, before=f"{until(mine.expires_at)}{because(mine.reason)}")
        mine.reason, mine.expires_at = reason, expires_at
        stored, what = mine, f"changed the {sort.kind} on {scope.name}: it is {sort.state} {until(expires_at)}"
    undo = f"`/deploy {sort.undo} {scope.words}` ends it."
    record(uow, known, stored, act, f"{mention(asker.user_id)} {what}{because(reason)}. {sort.stops} {undo}")
    return Answer(
        ReasonCode.ACCEPTED, f"You {what}. {sort.stops}", f"{undo} The channel was told.", rows=_inside(uow, scope)
    )


def _complete(words: Sequence[str], sort: _Sort, expires_at: datetime | None, reason: str) -> None:
    """A freeze ends by itself, and whoever is stopped is told why: without either there is nothing to set."""
    if sort.kind is LockKind.FREEZE and expires_at is None:
        raise Refused(ReasonCode.BAD_USAGE, "How long it is to be frozen is missing.", f"Say it like {sort.usage}.")
    if not reason:
        raise Refused(
            ReasonCode.REASON_REQUIRED,
            f"A {sort.kind} needs a reason: whoever it stops will ask for it.",
            f"Run `/deploy {sort.kind} {' '.join(words)[:100]} --reason` again, with the reason after it.",
        )
    policy.check_reason(reason)


def _new(uow: UnitOfWork, asker: Asker, kind: LockKind, scope: Scope, reason: str, expires_at: datetime | None) -> Lock:
    return Lock(
        kind=kind,
        app=scope.app,
        environment=scope.environment,
        reason=reason,
        team_id=asker.team_id,
        owner=asker.user_id,
        at=uow.now,
        expires_at=expires_at,
    )


def _inside(uow: UnitOfWork, scope: Scope) -> tuple[Row, ...]:
    """What has begun is not stopped by a lock: whoever sets one must know of it."""
    inside = [
        one for one in uow.open_deployments() if one.kind != Kind.PREVIEW and scope.covers(one.app, one.environment)
    ]
    running = [one for one in inside if one.phase == Phase.RUNNING]
    rows = [Row(f"Goes on, because it has begun: {_named(one)}, {one.stage}") for one in running[:_MOST_ROWS]]
    rows += [Row(f"{len(running) - _MOST_ROWS} more have begun.")] if len(running) > _MOST_ROWS else []
    held = len(inside) - len(running)
    return (*rows, *([Row(f"Waiting there now: {held}. `/deploy queue` lists them.")] if held else []))


def _named(one: Deployment) -> str:
    return f"`{one.app}` `{one.version}` to `{one.environment}` by {mention(one.requested_by)} (`{one.id}`)"


# ---------------------------------------------------------------- lift


def _lift(
    uow: UnitOfWork,
    facts: Facts,
    asker: Asker,
    request: requests.Unlock | requests.Unfreeze,
    kinds: tuple[LockKind, ...],
) -> Answer:
    known = policy.catalogue(facts)
    verb = "unfreeze" if LockKind.FREEZE in kinds else "unlock"
    named = scopes.parse(known, request.words, f"`/deploy {verb} production`")
    scope = named.scope
    if named.span is not None:
        raise Refused(
            ReasonCode.BAD_USAGE, f"`/deploy {verb}` ends it at once and takes no duration.", "Leave the duration out."
        )
    found = [one for kind in kinds if (one := locks.of_scope(uow, kind, scope.app, scope.environment)) is not None]
    if not found:
        raise _nothing_there(uow, known, scope, verb)
    if any(one.owner != asker.user_id for one in found):  # one's own needs no leave
        lockers.may_lock(facts, asker, scopes.environments(known, scope))
    policy.check_reason(request.reason)
    for one in found:
        locks.lift(uow, one, asker.user_id)
        mine = one.owner == asker.user_id
        whose = f"their own {one.kind} on {scope_of(one).name}" if mine else _whose(uow, one)
        text = f"{mention(asker.user_id)} ended {whose}{because(request.reason)}. {GOES_ON}"
        record(uow, known, one, Act("lift", asker, why=request.reason), text)
    ended = " and ".join(_whose(uow, one) for one in found)
    others = [Row(f"Still in force: {_summary(one)}") for one in _meeting(uow, scope)]
    return Answer(ReasonCode.ACCEPTED, f"You ended {ended}.", f"{GOES_ON} The channel was told.", tuple(others))


def _whose(uow: UnitOfWork, one: Lock) -> str:
    return f"the {one.kind} on {scope_of(one).name} that {mention(one.owner)} set {ago(uow.now, one.at)}"


def _meeting(uow: UnitOfWork, scope: Scope) -> list[Lock]:
    """What else is in force within this scope, or around it."""
    return [one for one in locks.in_force(uow, uow.now) if scope_of(one).meets(scope)][:_MOST_ROWS]


def _summary(one: Lock) -> str:
    undo = "unfreeze" if one.kind == LockKind.FREEZE else "unlock"
    scope = scope_of(one)
    return (
        f"the {one.kind} on {scope.name} by {mention(one.owner)} {until(one.expires_at)}{because(one.reason)}; "
        f"`/deploy {undo} {scope.words}` ends it"
    )


def _nothing_there(uow: UnitOfWork, known: Catalogue, scope: Scope, verb: str) -> Refused:
    state = "frozen" if verb == "unfreeze" else "locked"
    around = _meeting(uow, scope)
    names = () if scope.app else tuple(one.name for one in scopes.environments(known, scope))
    windows = dict.fromkeys(
        window.name
        for environment in names
        for app in known.apps.values()
        for window in known.freezes(app.name, environment, uow.now)
    )
    if around:
        step = f"In force is {_summary(around[0])}."
    elif windows and verb == "unfreeze":
        step = f"The catalogue's {listed(tuple(windows), joiner='and')} ends by itself, or by a change of that file."
    else:
        step = "There is nothing to end; `/deploy why APP` tells what holds an app up."
    return Refused(ReasonCode.NOT_LOCKED, f"Nobody has {state} {scope.name} as such.", step)


def _details(request: _Request) -> dict[str, object]:
    return {"words": " ".join(request.words)[:200], "reason": request.reason[: policy.LONGEST_REASON]}
