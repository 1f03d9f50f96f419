"""The state machine of a deployment, as the one table that the code runs and the README draws."""

from collections.abc import Mapping
from enum import StrEnum


class Phase(StrEnum):
    """Where a deployment is. The first three are open, the others are ends."""

    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the world said no
    ERRORED = "errored"  # we could not tell
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"

    @property
    def ended(self) -> bool:
        """True when nothing can follow."""
        return not TRANSITIONS[self]


OPEN = (Phase.AWAITING_APPROVAL, Phase.QUEUED, Phase.RUNNING)
"""The phases of deployments that have not ended."""

TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    Phase.AWAITING_APPROVAL: frozenset(
        {
            Phase.QUEUED,
            Phase.REJECTED,
            Phase.EXPIRED,
            Phase.CANCELLED,
            Phase.SUPERSEDED,
            Phase.FAILED,
            Phase.ERRORED,
        }
    ),
    # Back to AWAITING_APPROVAL: what was approved has moved, and is shown again.
    Phase.QUEUED: frozenset(
        {
            Phase.RUNNING,
            Phase.AWAITING_APPROVAL,
            Phase.CANCELLED,
            Phase.SUPERSEDED,
            Phase.EXPIRED,
            Phase.REJECTED,
            Phase.FAILED,
            Phase.ERRORED,
        }
    ),
    # Back to QUEUED or AWAITING_APPROVAL: it stood down before it wrote anything, for a lock or because content moved.
    Phase.RUNNING: frozenset(
        {
            Phase.SUCCEEDED,
            Phase.FAILED,
            Phase.ERRORED,
            Phase.CANCELLED,
            Phase.QUEUED,
            Phase.AWAITING_APPROVAL,
        }
    ),
    Phase.SUCCEEDED: frozenset(),
    Phase.FAILED: frozenset(),
    Phase.ERRORED: frozenset(),
    Phase.REJECTED: frozenset(),
    Phase.EXPIRED: frozenset(),
    Phase.CANCELLED: frozenset(),
    Phase.SUPERSEDED: frozenset(),
}


def mermaid() -> str:
    """The state machine as a Mermaid state diagram, from the table: what the README shows between its code fences."""
    lines = ["stateDiagram-v2"]
    starts = [phase for phase in Phase if not phase.ended and phase is not Phase.RUNNING]
    lines += [f"    [*] --> {phase}" for phase in starts]
    lines += [f"    {before} --> {after}" for before in Phase for after in Phase if after in TRANSITIONS[before]]
    lines += [f"    {phase} --> [*]" for phase in Phase if phase.ended]
    return "\n".join(lines) + "\n"


class Stage(StrEnum):
    """What a running deployment is doing, in order."""

    WAITING = "waiting"
    CHECK = "check"  # the registry and the overlay are looked at; nothing outside has been touched
    WRITE = "write"
    RECONCILE = "reconcile"
    ROLLOUT = "rollout"
    VERIFY = "verify"
    DONE = "done"


STAGE_ORDER: tuple[Stage, ...] = tuple(Stage)


class IllegalTransitionError(RuntimeError):
    """A phase change that the table does not have: a defect of the caller, or a race that it lost."""


def check(before: Phase, after: Phase) -> None:
    """Raise IllegalTransitionError unless the table allows this change."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransitionError(f"a deployment that is {before} cannot become {after}")
