"""What keeps a waiting request from starting now, and who can lift that. Pure: facts in, blocks out.

Asked again each time something is about to start, never remembered from the time of the request: a freeze that began
since then counts, a lock that was lifted does not. What has a time ends on that very second.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from commands import lockers, scopes
from commands.catalogue import Catalogue
from commands.facts import CatalogueInForce
from commands.lock_words import because, clock, sentence, until
from commands.reasons import ReasonCode
from commands.requests import mention
from commands.scopes import Scope, scope_of
from storage.models import Kind, Lock, LockKind

_MOST_TOLD = 3


class Waits(Protocol):
    """A request that waits: a `Deployment`, or as much of one as this is decided from."""

    @property
    def app(self) -> str: ...  # noqa: D102 - as in Deployment
    @property
    def environment(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> Kind: ...  # noqa: D102
    @property
    def break_glass(self) -> bool: ...  # noqa: D102
    @property
    def not_before(self) -> datetime | None: ...  # noqa: D102


class BlockKind(StrEnum):
    """What sort of thing is in the way."""

    RULES = "rules"  # what the rules are cannot be told
    LOCK = "lock"
    FREEZE = "freeze"  # set by a person
    WINDOW = "window"  # of the catalogue
    HOLD = "hold"
    SCHEDULED = "scheduled"  # --at


@dataclass(frozen=True)
class Block:
    """One thing in the way: what it is and why, in a sentence, and who can lift it and how.

    `reason` is None for a request whose time has not come: nothing is wrong with that. `until` is when it ends by
    itself, None when it does not. `lock_id` is of the stored lock, freeze or hold, empty for the others.
    """

    kind: BlockKind
    reason: ReasonCode | None
    what: str
    next_step: str
    until: datetime | None = None
    lock_id: str = ""


def blocks(request: Waits, locks: Iterable[Lock], in_force: CatalogueInForce, now: datetime) -> tuple[Block, ...]:
    """Everything that keeps this request from starting at `now`; empty when it may start.

    `locks` may hold any that are not lifted: those of other targets and those that ran out are passed over. A lock
    stops every kind of request, a freeze or a hold lets rollbacks pass, break-glass passes all three; nothing passes
    the time that was asked for with `--at`, and nothing starts in production while the rules are in doubt. A preview
    changes nothing and is never stopped.
    """
    if request.kind == Kind.PREVIEW:
        return ()
    known = in_force.catalogue
    if known is None:
        return (Block(BlockKind.RULES, in_force.reason, in_force.problem, in_force.next_step),)
    found: list[Block] = []
    if in_force.faults and known.production_like(request.environment):
        found.append(_rules_in_doubt(request))
    if not request.break_glass:
        mine = [lock for lock in locks if _reaches(lock, request, now)]
        found += [_locked(known, lock) for lock in mine if lock.kind == LockKind.LOCK]
        if request.kind != Kind.ROLLBACK:
            found += [_frozen(known, lock) for lock in mine if lock.kind == LockKind.FREEZE]
        found += _windows(known, request, now)
        if request.kind != Kind.ROLLBACK:
            found += [_held(known, lock) for lock in mine if lock.kind == LockKind.HOLD]
    if request.not_before is not None and request.not_before > now:
        found.append(_scheduled(request.not_before))
    return tuple(found)


def told(found: Sequence[Block]) -> str:
    """What is in the way, for a card: the same text for as long as it is the same, so no time that passes is in it."""
    parts = [f"{block.what} {block.next_step}" for block in found[:_MOST_TOLD]]
    left = len(found) - _MOST_TOLD
    return " ".join([*parts, f"{left} more: see `/deploy why`."] if left > 0 else parts)


def _reaches(lock: Lock, request: Waits, now: datetime) -> bool:
    alive = lock.lifted_at is None and (lock.expires_at is None or lock.expires_at > now)
    return alive and scope_of(lock).covers(request.app, request.environment)


def _locked(known: Catalogue, lock: Lock) -> Block:
    scope = scope_of(lock)
    what = f"{sentence(scope.name)} is locked by {mention(lock.owner)} {until(lock.expires_at)}{because(lock.reason)}."
    step = f"{_lifters(known, scope)} can lift that with `/deploy unlock {scope.words}`."
    return Block(BlockKind.LOCK, ReasonCode.LOCKED, what, step, lock.expires_at, lock.id)


def _frozen(known: Catalogue, lock: Lock) -> Block:
    scope = scope_of(lock)
    what = f"{sentence(scope.name)} is frozen by {mention(lock.owner)} {until(lock.expires_at)}{because(lock.reason)}."
    step = f"Rollbacks pass. {_lifters(known, scope)} can end that with `/deploy unfreeze {scope.words}`."
    return Block(BlockKind.FREEZE, ReasonCode.FROZEN, what, step, lock.expires_at, lock.id)


def _held(known: Catalogue, lock: Lock) -> Block:
    scope = scope_of(lock)
    rollback = f" (`{lock.deployment_id}`)" if lock.deployment_id else ""
    what = f"{mention(lock.owner)} rolled back {scope.name}{rollback}, which is held since{because(lock.reason)}."
    step = f"Rollbacks pass. {_lifters(known, scope)} can lift the hold with `/deploy unlock {scope.words}`."
    return Block(BlockKind.HOLD, ReasonCode.ON_HOLD, what, step, lock.expires_at, lock.id)


def _windows(known: Catalogue, request: Waits, now: datetime) -> list[Block]:
    return [
        Block(
            BlockKind.WINDOW,
            ReasonCode.FROZEN,
            f"The freeze `{window.name}` of `locktender.yaml` covers {Scope(request.app, request.environment).name} "
            f"{until(window.until)}{because(window.reason)}.",
            f"{'Rollbacks pass. ' if window.allows_rollback else ''}It ends by itself; only a change of that file ends "
            "it earlier.",
            window.until,
        )
        for window in known.freezes(request.app, request.environment, now)
        if request.kind != Kind.ROLLBACK or not window.allows_rollback
    ]


def _scheduled(at: datetime) -> Block:
    what = f"It was asked for {clock(at)}."
    return Block(BlockKind.SCHEDULED, None, what, "It goes on by itself then; everything is checked again.", at)


def _rules_in_doubt(request: Waits) -> Block:
    return Block(
        BlockKind.RULES,
        ReasonCode.CATALOGUE_INVALID,
        f"The newest `locktender.yaml` has faults, so the rules for `{request.environment}` are in doubt and it is "
        "closed.",
        "Mend the file: what waits goes on by itself then.",
    )


def _lifters(known: Catalogue, scope: Scope) -> str:
    return lockers.who(known, scopes.environments(known, scope))
