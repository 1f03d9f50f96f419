"""How often, how fast and how well: DORA's four keys, and what people waited for. Pure: rows in, numbers out.

A deployment counts once git had it. It failed when it ended so, or when a rollback took it back afterwards; what failed
is restored by the next one that succeeds in the same place.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from storage.models import Kind
from storage.phases import Phase

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Ran:
    """What the numbers need to know of one deployment. `approved_at` is None where nothing was approved."""

    app: str
    environment: str
    kind: Kind
    phase: Phase
    requested_at: datetime
    not_before: datetime | None
    approved_at: datetime | None
    started_at: datetime | None
    committed_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Numbers:
    """Of one place, or of several together. Medians; None where nothing was there to measure.

    `weeks` are deployments in each week, the last one last; `blocked` is the time from when a deployment could have
    started, for all that people had to say, until it did: locks, freezes, and others in front of it.
    """

    deployments: int
    rollbacks: int
    failures: int
    weeks: tuple[int, ...]
    lead: timedelta | None
    commit_to_live: timedelta | None
    restore: timedelta | None
    approval: timedelta | None
    blocked: timedelta | None

    @property
    def failure_percent(self) -> int:
        """Of the deployments; 0 when there were none."""
        return round(100 * self.failures / self.deployments) if self.deployments else 0


def measure(ran: Iterable[Ran], since: datetime, until: datetime) -> Numbers:
    """The numbers of what ended in this time."""
    places: dict[tuple[str, str], list[Ran]] = defaultdict(list)
    for one in ran:
        if one.committed_at is not None and one.finished_at is not None and since <= one.finished_at < until:
            places[one.app, one.environment].append(one)
    failed: list[datetime] = []
    restored: list[timedelta] = []
    for inside in places.values():
        inside.sort(key=_ended)
        mine = _failures(inside)
        failed += mine
        good = [_ended(one) for one in inside if one.phase is Phase.SUCCEEDED]
        restored += [after - at for at in mine if (after := next((one for one in good if one > at), None))]
    everything = [one for inside in places.values() for one in inside]
    forward = [one for one in everything if one.kind is not Kind.ROLLBACK]
    live = [one for one in forward if one.phase is Phase.SUCCEEDED]
    return Numbers(
        deployments=len(forward),
        rollbacks=len(everything) - len(forward),
        failures=len(failed),
        weeks=_weeks(forward, since, until),
        lead=_median([_ended(one) - max(one.requested_at, one.not_before or one.requested_at) for one in live]),
        commit_to_live=_median([_ended(one) - one.committed_at for one in live if one.committed_at]),
        restore=_median(restored),
        approval=_median([one.approved_at - one.requested_at for one in forward if one.approved_at]),
        blocked=_median([_waited(one) for one in everything if one.started_at]),
    )


def by_environment(ran: Sequence[Ran], since: datetime, until: datetime) -> Mapping[str, Numbers]:
    """The same for each environment."""
    names = dict.fromkeys(one.environment for one in ran)
    return {name: measure([one for one in ran if one.environment == name], since, until) for name in names}


def by_place(ran: Sequence[Ran], since: datetime, until: datetime) -> Mapping[tuple[str, str], Numbers]:
    """The same for each app in each environment."""
    grouped: dict[tuple[str, str], list[Ran]] = defaultdict(list)
    for one in ran:
        grouped[one.app, one.environment].append(one)
    return {place: measure(inside, since, until) for place, inside in grouped.items()}


def _failures(inside: Sequence[Ran]) -> list[datetime]:
    """When deployments of one place turned out to have failed, each once; in the order in which they ended."""
    found: list[datetime] = []
    good: Ran | None = None  # the last that nothing has been said against
    for one in inside:
        if one.kind is Kind.ROLLBACK:
            if good is not None and one.phase is Phase.SUCCEEDED:
                found.append(one.requested_at)
                good = None
        elif one.phase is Phase.FAILED:
            found.append(_ended(one))
            good = None
        elif one.phase is Phase.SUCCEEDED:
            good = one
    return found


def _weeks(forward: Sequence[Ran], since: datetime, until: datetime) -> tuple[int, ...]:
    """Deployments in each week before `until`, the first perhaps a part of one."""
    count = min(53, max(1, -(-(until - since) // WEEK)))
    weeks = [0] * count
    for one in forward:
        weeks[-1 - min(count - 1, int((until - _ended(one)) / WEEK))] += 1
    return tuple(weeks)


def _waited(one: Ran) -> timedelta:
    ready = max(at for at in (one.requested_at, one.approved_at, one.not_before) if at is not None)
    return max(timedelta(0), (one.started_at or ready) - ready)


def _ended(one: Ran) -> datetime:
    return one.finished_at or one.requested_at


def _median(lengths: Sequence[timedelta]) -> timedelta | None:
    return timedelta(seconds=statistics.median(one.total_seconds() for one in lengths)) if lengths else None
