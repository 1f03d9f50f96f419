"""`/deploy why`: what a deployment waits for, or what would stop one now; who can lift that, and how."""

import re
from dataclasses import dataclass
from datetime import datetime

from commands import policy, requests, scopes
from commands.blocks import BlockKind, blocks
from commands.catalogue import App, Catalogue, Environment
from commands.catalogue import Kind as Name
from commands.desk import answer_once
from commands.facts import Facts
from commands.lock_words import cut
from commands.queue import MOST_ROWS, Place, line, places
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Row, listed, mention, typed
from commands.scopes import Scope
from commands.times import spoken
from commands.why_review import ReviewTold, review_told
from storage import gate, locks
from storage.models import Deployment, Kind
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork

_ID = re.compile(r"[0-9a-z]{3,32}")
_USAGE = "`/deploy why ID`, or `/deploy why my-application production`"
_MOST_AHEAD = 5
_PASSED_BY_BREAK_GLASS = frozenset({BlockKind.LOCK, BlockKind.FREEZE, BlockKind.WINDOW, BlockKind.HOLD})


@dataclass(frozen=True)
class _Wanted:
    """A deployment that nobody has asked for yet."""

    app: str
    environment: str
    kind: Kind = Kind.DEPLOY
    break_glass: bool = False
    not_before: datetime | None = None


def why(store: Store, facts: Facts, asker: Asker, request: requests.Why) -> Answer:
    """What stands between a request and its start, each with who can lift it. Recorded only when it is refused."""

    def decide(uow: UnitOfWork) -> Answer:
        found = _deployment(uow, facts, request.words)
        if found is not None:
            return _of_one(uow, facts, found)
        known = policy.catalogue(facts)
        scope = _target(known, request.words)
        app = known.apps[scope.app]
        return _of_targets(uow, facts, app, scopes.environments(known, scope))

    return answer_once(store, facts, asker, "why", {"words": " ".join(request.words)[:200]}, decide)


# ---------------------------------------------------------------- one deployment


def _of_one(uow: UnitOfWork, facts: Facts, one: Deployment) -> Answer:
    name = f"`{one.app}` `{one.version}` to `{one.environment}` (`{one.id}`)"
    phase = Phase(one.phase)
    if phase.ended:
        step = one.next_step
        if one.superseded_by:
            step = f"{step} `/deploy why {one.superseded_by}` tells of the newer request.".strip()
        what = f"{name} has ended: {phase}. {one.what}".strip()
        return Answer(ReasonCode.ANSWERED, cut(what), cut(step), quote=one.detail, deployment_id=one.id)
    if phase is Phase.RUNNING:
        trouble = f" {one.note}" if one.note else ""
        what = cut(f"{name} is running: {one.stage}.{trouble}")
        return Answer(ReasonCode.ANSWERED, what, "It waits for nobody; its card follows it.", deployment_id=one.id)
    review = review_told(uow, facts, one)
    rows = _waits_for(uow, facts, one, review)
    if not rows and phase is Phase.QUEUED:
        return Answer(
            ReasonCode.ANSWERED, f"{name} starts within seconds.", "Nothing is in its way.", deployment_id=one.id
        )
    step = f"It goes on by itself once that is out of the way; `/deploy cancel {one.id}` takes it back."
    return Answer(
        ReasonCode.ANSWERED,
        f"{name} {review.short if review else 'waits'}.",
        step,
        rows=rows[:MOST_ROWS],
        deployment_id=one.id,
    )


def _waits_for(uow: UnitOfWork, facts: Facts, one: Deployment, review: ReviewTold | None) -> tuple[Row, ...]:
    """Its review, what blocks it and what is ahead of it; of the others of its change set too, which starts whole."""
    in_force = locks.in_force(uow, uow.now)
    rows = list(review.rows) if review else []
    mine = blocks(one, in_force, facts.in_force, uow.now)
    rows += [Row(block.what, block.next_step) for block in mine]
    if one.phase == Phase.AWAITING_APPROVAL or any(block.kind in _PASSED_BY_BREAK_GLASS for block in mine):
        rows += _break_glass(facts, one)
    together = [other for other in gate.members(uow, one.change_id) if other.id != one.id and other.phase == one.phase]
    for other in together:
        rows += [
            Row(f"It starts together with `{other.app}` in `{other.environment}`. {block.what}", block.next_step)
            for block in blocks(other, in_force, facts.in_force, uow.now)
        ]
    unit = {one.id, *(other.id for other in together)}
    for member in (one, *together):
        rows += _ahead(uow, facts, member, unit)
    return tuple(dict.fromkeys(rows))


def _break_glass(facts: Facts, one: Deployment) -> list[Row]:
    """Who may go past what waits, where the catalogue lets anybody; nothing to say of one that does so already."""
    known = facts.in_force.catalogue
    environment = known.environment(one.environment) if known else None
    rule = environment.break_glass if environment else None
    if rule is None or one.break_glass:
        return []
    return [
        Row(
            f"In an emergency a member of {listed(rule.groups)} can ask again with `--break-glass --reason TEXT`.",
            f"Everybody is told at once, and a second person has to review it within {spoken(rule.review_within)}.",
        )
    ]


def _ahead(uow: UnitOfWork, facts: Facts, one: Deployment, unit: set[str]) -> list[Row]:
    """What has to end first in its target. What may not start itself holds nobody up."""
    queue = places(uow.open_for(one.app, one.environment), locks.in_force(uow, uow.now), facts, uow)
    before: list[Place] = []
    for place in queue:
        if place.deployment.id == one.id:
            break
        starts = place.deployment.phase != Phase.AWAITING_APPROVAL and not place.in_the_way
        if starts and place.deployment.id not in unit:
            before.append(place)
    rows = [_before(place.deployment) for place in before[:_MOST_AHEAD]]
    left = len(before) - _MOST_AHEAD
    return [*rows, Row(f"{left} more are ahead of it.")] if left > 0 else rows


def _before(other: Deployment) -> Row:
    doing = f"running ({other.stage})" if other.phase == Phase.RUNNING else "waiting"
    urgent = ", a rollback," if other.kind == Kind.ROLLBACK else ""
    return Row(
        f"Ahead of it: `{other.app}` `{other.version}` to `{other.environment}`{urgent} by "
        f"{mention(other.requested_by)}, {doing} (`{other.id}`).",
        "One deployment runs in one place at a time.",
    )


# ---------------------------------------------------------------- targets


def _of_targets(uow: UnitOfWork, facts: Facts, app: App, environments: tuple[Environment, ...]) -> Answer:
    in_force = locks.in_force(uow, uow.now)
    rows: list[Row] = []
    waiting: list[Deployment] = []
    for environment in environments:
        queue = places(uow.open_for(app.name, environment.name), in_force, facts, uow)
        waiting += [place.deployment for place in queue]
        rows += [line(uow, facts, place) for place in queue]
        if not any(place.position for place in queue):
            rows += _would_stop(uow, facts, app, environment)
    if len(environments) == 1 and len(waiting) == 1:
        return _of_one(uow, facts, waiting[0])
    what = f"What {f'`{app.name}`' if len(environments) > 1 else Scope(app.name, environments[0].name).name} waits for"
    step = "`/deploy why ID` tells more of one." if waiting else ""
    return Answer(
        ReasonCode.ANSWERED, f"{what}, or what would stop a deployment now.", step, rows=tuple(rows[:MOST_ROWS])
    )


def _would_stop(uow: UnitOfWork, facts: Facts, app: App, environment: Environment) -> list[Row]:
    target = Scope(app.name, environment.name).name
    found = blocks(_Wanted(app.name, environment.name), locks.in_force(uow, uow.now), facts.in_force, uow.now)
    approval = environment.approval
    needs = (
        f"It needs {approval.required} approval{'s' if approval.required > 1 else ''} from {listed(approval.groups)}."
        if approval
        else ""
    )
    if not found:
        return [Row(f"{target}: nothing stops a deployment now.", needs)]
    return [Row(f"{target}: {block.what}", block.next_step) for block in found]


# ---------------------------------------------------------------- names


def _deployment(uow: UnitOfWork, facts: Facts, words: tuple[str, ...]) -> Deployment | None:
    """The deployment whose id, or the start of it, was given; None when the words name something else."""
    known = facts.in_force.catalogue
    if len(words) != 1 or (known is not None and known.app(words[0]) is not None):
        return None
    found = uow.matching(words[0]) if _ID.fullmatch(words[0]) else []
    if len(found) > 1:
        raise Refused(
            ReasonCode.UNKNOWN_DEPLOYMENT,
            f"More than one deployment's id starts with `{words[0]}`.",
            f"Did you mean {listed([one.id for one in found])}?",
        )
    return found[0] if found else None


def _target(known: Catalogue, words: tuple[str, ...]) -> Scope:
    if len(words) == 1 and known.app(words[0]) is None:
        word = words[0]
        if known.environment(word) is not None:
            raise Refused(
                ReasonCode.BAD_USAGE,
                f"{typed(word)} is an environment; an app or an id is missing.",
                f"`/deploy queue {word}` lists what waits there. Otherwise say {_USAGE}.",
            )
        near = known.nearest(Name.APP, word)
        raise Refused(
            ReasonCode.UNKNOWN_DEPLOYMENT,
            f"{typed(word)} is neither the id of a deployment nor an app.",
            f"Did you mean {listed(near)}?" if near else f"Say {_USAGE}.",
        )
    named = scopes.parse(known, words, _USAGE)
    if named.span is not None or not named.scope.app:
        raise Refused(ReasonCode.BAD_USAGE, "That names neither a deployment nor an app.", f"Say {_USAGE}.")
    return named.scope
