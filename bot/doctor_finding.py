"""What `locktender doctor` finds, one thing at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from commands.reasons import Fault


class Verdict(StrEnum):
    """What was found of one thing."""

    GOOD = "✓"
    WARNING = "!"
    BAD = "✗"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    what: str
    next_step: str = ""


def good(what: str) -> Finding:
    """It is as it should be."""
    return Finding(Verdict.GOOD, what)


def warning(what: str, next_step: str) -> Finding:
    """It works, and is not as it should be."""
    return Finding(Verdict.WARNING, what, next_step)


def bad(what: str, next_step: str) -> Finding:
    """It does not work, or what it is for does not hold."""
    return Finding(Verdict.BAD, what, next_step)


def guarded(look: Callable[[], str]) -> Finding:
    """A look that returns what is good, or raises what is not."""
    try:
        return good(look())
    except Fault as fault:
        return bad(fault.what, fault.next_step)
