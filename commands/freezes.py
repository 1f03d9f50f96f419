"""When the catalogue's freeze windows hold. Pure and exact: the first second is inside a window, the last is outside.

Windows are written in local time. Twice a year that is not one instant: a time that the clock shows twice begins a
window when it is shown first and ends one when it is shown last, so a freeze is never shorter than it reads; a time
that the clock skips is the instant of the skip.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


class Weekday(StrEnum):
    """The days of the week, Monday first, as the file writes them."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"

    @property
    def number(self) -> int:
        """0 for Monday, as `date.weekday` counts."""
        return _WEEK.index(self)


_WEEK = tuple(Weekday)
_DAY = timedelta(days=1)
_MINUTES_A_DAY = 24 * 60
_LONGEST_WINDOW = 7  # days
# Far enough back for the longest window with a day's change of the clock, and ahead for windows that touch.
_DAYS_BACK, _DAYS_AHEAD = _LONGEST_WINDOW + 2, 60


class Allowed(StrEnum):
    """What a freeze lets through."""

    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Once:
    """One window between two local times, which carry no zone of their own."""

    begins: datetime
    ends: datetime


@dataclass(frozen=True)
class Weekly:
    """A window that comes back every week, in local time.

    It begins on each of `days` and ends on the next `ends_on`; without that, the next time the clock shows `ends`.
    """

    days: tuple[Weekday, ...]
    begins: time
    ends: time
    ends_on: Weekday | None = None

    def length(self, day: Weekday) -> int:
        """How many days after this one the window ends: 0 on the same day, 7 on the same weekday a week later."""
        same_day = self.ends > self.begins
        if self.ends_on is None:
            return 0 if same_day else 1
        ahead = (self.ends_on.number - day.number) % 7
        return ahead if ahead or same_day else 7

    @property
    def never_ends(self) -> bool:
        """True when the windows cover the whole week without a minute between them."""
        covered: set[int] = set()
        for day in self.days:
            first = day.number * _MINUTES_A_DAY + _minute(self.begins)
            last = (day.number + self.length(day)) * _MINUTES_A_DAY + _minute(self.ends)
            covered.update(minute % (7 * _MINUTES_A_DAY) for minute in range(first, last))
        return len(covered) == 7 * _MINUTES_A_DAY


@dataclass(frozen=True)
class FreezeWindow:
    """A freeze of the catalogue. Empty `apps` are all of them; `reason` is the file's own words and may be empty."""

    name: str
    environments: tuple[str, ...]
    schedule: Once | Weekly
    zone: ZoneInfo
    apps: tuple[str, ...] = ()
    allow: tuple[Allowed, ...] = (Allowed.ROLLBACK,)
    reason: str = ""

    def covers(self, app: str, environment: str) -> bool:
        """True when this app in this environment is meant."""
        return environment in self.environments and (not self.apps or app in self.apps)

    def until(self, at: datetime) -> datetime | None:
        """When the freeze that holds at this instant ends (UTC); None when none holds. Windows that touch are one."""
        if at.tzinfo is None:
            raise ValueError("a freeze is looked up at an instant: give the time its zone")
        match self.schedule:
            case Once(begins, ends):
                last = last_shown(ends, self.zone)
                return last if first_shown(begins, self.zone) <= at < last else None
            case Weekly() as weekly:
                return _weekly_until(weekly, self.zone, at)


@dataclass(frozen=True)
class FreezeInForce:
    """A freeze window that holds now, until (without) an instant in UTC."""

    name: str
    until: datetime
    allows_rollback: bool
    reason: str


def in_force(windows: Iterable[FreezeWindow], app: str, environment: str, at: datetime) -> tuple[FreezeInForce, ...]:
    """The freezes that hold for this app in this environment at this instant, in the file's order."""
    return tuple(
        FreezeInForce(window.name, until, Allowed.ROLLBACK in window.allow, window.reason)
        for window in windows
        if window.covers(app, environment) and (until := window.until(at)) is not None
    )


def first_shown(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which the clock of this zone first shows this time, or skips it."""
    return _shown(local.replace(fold=0), zone)


def last_shown(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which the clock of this zone last shows this time, or skips it."""
    return _shown(local.replace(fold=1), zone)


def _shown(local: datetime, zone: ZoneInfo) -> datetime:
    found = local.replace(tzinfo=zone).astimezone(UTC)
    return found if _clock(found, zone) == local else _skip(local, zone)


def _skip(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which the clock jumps over this time.

    The two folds of a skipped time lie on both sides of the jump (PEP 495), so the jump is searched between them.
    """
    before = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    seconds = range(int((after - before).total_seconds()) + 1)
    jump = bisect_left(seconds, local, key=lambda second: _clock(before + timedelta(seconds=second), zone))
    return before + timedelta(seconds=jump)


def _clock(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def _weekly_until(weekly: Weekly, zone: ZoneInfo, at: datetime) -> datetime | None:
    today = at.astimezone(zone).date()
    until: datetime | None = None
    for days in range(-_DAYS_BACK, _DAYS_AHEAD):
        begins_on = today + days * _DAY
        weekday = _WEEK[begins_on.weekday()]
        if weekday not in weekly.days:
            continue
        reached = until or at
        if first_shown(_at(begins_on, weekly.begins), zone) > reached:
            break
        ends = last_shown(_at(begins_on + weekly.length(weekday) * _DAY, weekly.ends), zone)
        if ends > reached:
            until = ends
    return until


def _at(day: date, clock: time) -> datetime:
    return datetime.combine(day, clock)


def _minute(clock: time) -> int:
    return clock.hour * 60 + clock.minute
