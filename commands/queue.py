"""`/deploy queue`: what runs and what waits, in the order in which it will start."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from commands import policy, requests, scopes
from commands.blocks import Block, blocks
from commands.deploy import ago
from commands.desk import answer_once
from commands.facts import Facts
from commands.lock_words import cut
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Row, mention
from commands.scopes import Scope
from commands.why_review import review_told
from storage import locks
from storage.models import Deployment, Kind, Lock
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork

MOST_ROWS = 30
_USAGE = "`/deploy queue`, with an app, an environment or both after it"
_RANKS = {Phase.RUNNING: 0, Phase.QUEUED: 1, Phase.AWAITING_APPROVAL: 2}


@dataclass(frozen=True)
class Place:
    """A deployment in its target's queue: `position` is 0 for what runs, then counts what waits from 1."""

    deployment: Deployment
    position: int
    in_the_way: tuple[Block, ...]


def queue(store: Store, facts: Facts, asker: Asker, request: requests.Queue) -> Answer:
    """Everything that has not ended within what was named, or in all. Recorded only when it is refused."""

    def decide(uow: UnitOfWork) -> Answer:
        scope = _scope(facts, request.words)
        inside = [one for one in uow.open_deployments() if scope.covers(one.app, one.environment)]
        found = places(inside, locks.in_force(uow, uow.now), facts, uow)
        running = sum(1 for one in found if one.position == 0)
        where = "" if scope == Scope() else f" of {scope.name}" if scope.app else f" in {scope.name}"
        if not found:
            return Answer(
                ReasonCode.ANSWERED,
                f"Nothing{where} runs or waits.",
                "`/deploy why APP` tells whether something would stop a deployment now.",
            )
        left = len(found) - MOST_ROWS
        return Answer(
            ReasonCode.ANSWERED,
            f"{running} running and {len(found) - running} waiting{where}; what waits is in the order of its start.",
            f"{left} more: name an app or an environment." if left > 0 else "`/deploy why ID` tells more of one.",
            rows=tuple(line(uow, facts, one) for one in found[:MOST_ROWS]),
        )

    return answer_once(store, facts, asker, "queue", {"words": " ".join(request.words)[:200]}, decide)


def places(
    deployments: Iterable[Deployment], in_force: Sequence[Lock], facts: Facts, uow: UnitOfWork
) -> tuple[Place, ...]:
    """Open deployments by target, and within one as they will start: what is urgent first, then what was asked first.

    What waits for approval comes last: it cannot start before it has it. Previews take no place.
    """
    targets: dict[tuple[str, str], list[Deployment]] = {}
    for one in deployments:
        if one.kind != Kind.PREVIEW:
            targets.setdefault((one.app, one.environment), []).append(one)
    found: list[Place] = []
    for target in sorted(targets):
        position = 0
        for one in sorted(targets[target], key=_order):
            position += one.phase != Phase.RUNNING
            runs = one.phase == Phase.RUNNING
            in_the_way = () if runs else blocks(one, in_force, facts.in_force, uow.now)
            found.append(Place(one, 0 if runs else position, in_the_way))
    return tuple(found)


def line(uow: UnitOfWork, facts: Facts, place: Place) -> Row:
    """One deployment of the queue."""
    one = place.deployment
    what = f"`{one.version}` by {mention(one.requested_by)} {ago(uow.now, one.requested_at)} (`{one.id}`)"
    if place.position == 0:
        return Row(
            f"`{one.app}` in `{one.environment}`, running: {what}", f"{one.stage}{f': {one.note}' * bool(one.note)}"
        )
    kind = "" if one.kind == Kind.DEPLOY else f"{one.kind} to "
    review = review_told(uow, facts, one) if one.phase == Phase.AWAITING_APPROVAL else None
    told = [f"It {review.short}."] if review else []
    told += [block.what for block in place.in_the_way]
    told += ["By break-glass."] if one.break_glass else []
    return Row(f"`{one.app}` in `{one.environment}`, waiting, {place.position}.: {kind}{what}", cut(" ".join(told)))


def _order(one: Deployment) -> tuple[object, ...]:
    return (_RANKS[Phase(one.phase)], -one.priority, one.requested_at, one.id)


def _scope(facts: Facts, words: tuple[str, ...]) -> Scope:
    if not words:
        return Scope()
    named = scopes.parse(policy.catalogue(facts), words, _USAGE)
    if named.span is not None:
        raise Refused(ReasonCode.BAD_USAGE, "A queue has no duration.", f"Say it like {_USAGE}.")
    return named.scope
