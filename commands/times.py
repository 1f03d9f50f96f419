"""Times and durations as people type and read them. Pure: the clock is an argument.

A time without a zone is in the zone that the caller names, UTC unless it says otherwise, and `spoken_until` always
shows the zone: nobody has to guess which ten o'clock was meant.
"""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from commands.reasons import ReasonCode, Refused
from commands.requests import listed, typed

SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(days=30)
"""Nobody plans a deployment, a lock or a freeze further ahead: what was meant for longer belongs in the catalogue."""

_LONGEST_TEXT = 64
_DURATION = re.compile(r"(?=[0-9])(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?", re.IGNORECASE)
_ALMOST_DURATION = re.compile(r"([0-9]+)(?:\.([0-9]))? ?(w|d|h|m)[a-z]*", re.IGNORECASE)
_AT = re.compile(
    r"(?:(?P<day>today|tomorrow|[0-9]{4}-[0-9]{2}-[0-9]{2})(?: |T))?"
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?"
    r"(?: ?(?P<offset>[+-][0-9]{2}:?[0-9]{2}))?"
    r"(?: ?(?P<zone>[a-z][a-z0-9_+-]*(?:/[a-z0-9_+-]+){0,2}))?",
    re.IGNORECASE,
)
_CLOCK_ALIKE = re.compile(r"(?P<hour>[0-9]{1,2})(?:[.h:](?P<minute>[0-9]{2})?)? ?(?P<half>am|pm|uhr)?", re.IGNORECASE)
_DATE_ALONE = re.compile(r"today|tomorrow|[0-9]{4}-[0-9]{2}-[0-9]{2}", re.IGNORECASE)
_FORMS = "`22:00`, `tomorrow 09:00`, `2026-01-31 22:00`, `22:00 Europe/Berlin` or `+2h`"
_UNIVERSAL = {"utc", "gmt", "z"}
_WIDEST_OFFSET = timedelta(hours=14)


def parse_duration(text: str) -> timedelta:
    """How long: `90m`, `2h`, `1d` or `1h30m`, from a minute to 30 days. Raises Refused(BAD_TIME) otherwise."""
    match = _DURATION.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        raise Refused(
            ReasonCode.BAD_TIME,
            f"{typed(text)} is not a duration.",
            f"{_meant_duration(text)}A duration is a number with `m`, `h` or `d`, for example `90m`, `2h` or `1h30m`.",
        )
    days, hours, minutes = (int(part or 0) for part in match.groups())
    total = (days * 24 + hours) * 60 + minutes  # whole minutes: however long the digits are, this cannot overflow
    if not 1 <= total <= LONGEST // SHORTEST:
        size = "less than a minute" if total < 1 else "more than 30 days"
        raise Refused(
            ReasonCode.BAD_TIME, f"{typed(text)} is {size}.", "A duration is from `1m` to `30d`; for example `2h`."
        )
    return timedelta(minutes=total)


def is_duration(word: str) -> bool:
    """True when a word has the form of a duration, whatever its length."""
    return len(word) <= _LONGEST_TEXT and _DURATION.fullmatch(word) is not None


def parse_at(text: str, now: datetime, zone: tzinfo = UTC) -> datetime:
    """When: `22:00`, `tomorrow 09:00`, `2026-01-31 22:00`, `2026-01-31T22:00+01:00`, `22:00 Europe/Berlin` or `+2h`.

    The answer is aware, in the zone that was typed or else in `zone`, later than `now` and at most 30 days after it.
    Raises Refused(BAD_TIME), with what would be right, for everything else: past times too, and times that a change
    of clocks leaves out or has twice. `now` must be aware.
    """
    words = " ".join(text.split())
    if words.startswith("+") and is_duration(words[1:]):
        # Added in UTC: a wall clock would gain or lose an hour where clocks change.
        return (now.astimezone(UTC) + parse_duration(words[1:])).astimezone(zone)
    match = _AT.fullmatch(words) if len(words) <= _LONGEST_TEXT else None
    if match is None:
        raise Refused(
            ReasonCode.BAD_TIME, f"{typed(text)} is not a time.", f"{_meant_time(words)}Write a time as {_FORMS}."
        )
    place = _place(match["offset"], match["zone"], zone)
    today = now.astimezone(place).date()
    clock = _clock(match, words)
    day = _day(match["day"], today, words)
    if day > today + LONGEST + timedelta(days=1):  # also keeps the year 9999 away from arithmetic
        raise _too_far(words, now, place)
    if day < today:
        raise _past(match, words, now.astimezone(place))
    wanted = _real(datetime.combine(day, clock, place), words)
    if wanted <= now.astimezone(UTC):
        raise _past(match, words, now.astimezone(place))
    if wanted - now.astimezone(UTC) > LONGEST:
        raise _too_far(words, now, place)
    return wanted.astimezone(place)


def spoken(length: timedelta) -> str:
    """`45 seconds`, `2 hours`, `1 hour 30 minutes`, `3 days 4 hours`: the two largest units; a negative one is none."""
    seconds = max(0, int(length.total_seconds()))
    parts: list[str] = []
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
        if parts and (not count or len(parts) == 2):
            # The next unit only says something beside the one just above it: "1 day 5 minutes" is noise.
            break
    return " ".join(parts) or "0 seconds"


def spoken_until(when: datetime, now: datetime) -> str:
    """`22:00 UTC (in 2 hours)`, `tomorrow 09:00 UTC (in 11 hours)`, `2026-01-31 22:00 Europe/Berlin (in 8 days)`.

    In the zone that `when` carries, which is always named. Both must be aware.
    """
    place = when.tzinfo
    day, today = when.date(), now.astimezone(place).date()
    names = {today: "", today + timedelta(days=1): "tomorrow "}
    ahead = when.astimezone(UTC) - now.astimezone(UTC)  # two times of one zone would be subtracted as wall clocks
    distance = f"in {spoken(ahead)}" if ahead >= timedelta() else f"{spoken(-ahead)} ago"
    return f"{names.get(day, f'{day.isoformat()} ')}{when:%H:%M} {_named(place)} ({distance})"


# ---------------------------------------------------------------- parts of a time


def _place(offset: str | None, name: str | None, default: tzinfo) -> tzinfo:
    if offset and name:
        raise Refused(
            ReasonCode.BAD_TIME,
            f"{typed(offset)} and {typed(name)} are two time zones.",
            f"Write one of them, for example `22:00 {name if name.lower() in _UNIVERSAL else 'Europe/Berlin'}`.",
        )
    if offset:
        hours, minutes = int(offset[1:3]), int(offset[-2:])
        length = timedelta(hours=hours, minutes=minutes)
        if length > _WIDEST_OFFSET or minutes > 59:
            raise Refused(
                ReasonCode.BAD_TIME,
                f"No place on earth is {typed(offset)} from UTC.",
                "Write an offset as in `22:00+01:00`, or a zone as in `22:00 Europe/Berlin`.",
            )
        return timezone(-length if offset.startswith("-") else length)
    if not name:
        return default
    if name.lower() in _UNIVERSAL:
        return UTC
    known = _zones().get(name.lower())
    if known is None:
        near = listed(_zones_like(name))
        raise Refused(
            ReasonCode.BAD_TIME,
            f"{typed(name)} is not a time zone that can be looked up.",
            f"Did you mean {near}? " * bool(near)
            + "Write `UTC`, or area and city as in `22:00 Europe/Berlin`; other words belong before `--at`.",
        )
    return ZoneInfo(known)


@cache
def _zones() -> dict[str, str]:
    """Areas and cities by their small letters. `CET`, `EST` and the like are left out: they mean several things."""
    return {name.lower(): name for name in available_timezones() if "/" in name}


def _zones_like(name: str) -> tuple[str, ...]:
    """Zones whose last part is what was typed: `berlin` is `Europe/Berlin`."""
    wanted = name.lower().rpartition("/")[2]
    return tuple(sorted(full for low, full in _zones().items() if low.rpartition("/")[2] == wanted)[:3])


def _clock(match: re.Match[str], words: str) -> time:
    try:
        return time(int(match["hour"]), int(match["minute"]), int(match["second"] or 0))
    except ValueError:
        raise Refused(
            ReasonCode.BAD_TIME,
            f"{typed(words)} is not a time: a day ends at `23:59`.",
            f"Write a time as {_FORMS}; midnight is `00:00` of the next day.",
        ) from None


def _day(word: str | None, today: date, words: str) -> date:
    low = (word or "today").lower()
    if low in {"today", "tomorrow"}:
        return today + timedelta(days=low == "tomorrow")
    try:
        return date.fromisoformat(low)
    except ValueError:
        raise Refused(
            ReasonCode.BAD_TIME,
            f"{typed(words)} names a day that there is not.",
            f"Write a day as year, month and day, for example `{today.isoformat()}`.",
        ) from None


def _real(wall: datetime, words: str) -> datetime:
    """A wall-clock time in UTC; Refused when the clocks skip it or show it twice that day."""
    first, second = wall.replace(fold=0).astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
    if first == second:
        return first
    name = _named(wall.tzinfo)
    if first > second:
        # In a gap the earlier offset lies after the later one: read with it, the time lands past the change.
        after = first.astimezone(wall.tzinfo)
        raise Refused(
            ReasonCode.BAD_TIME,
            f"{typed(words)} does not exist: clocks of `{name}` are put forward over it on {wall.date().isoformat()}.",
            f"Did you mean `{after:%Y-%m-%d %H:%M} {name}`?",
        )
    choices = [f"{wall.replace(fold=fold).isoformat(timespec='minutes')}" for fold in (0, 1)]
    raise Refused(
        ReasonCode.BAD_TIME,
        f"{typed(words)} comes twice: clocks of `{name}` are put back over it on {wall.date().isoformat()}.",
        f"Say which by its offset: {listed(choices)}.",
    )


def _past(match: re.Match[str], words: str, local: datetime) -> Refused:
    zone = match["offset"] or match["zone"] or ""
    later = f"tomorrow {match['hour']}:{match['minute']} {zone}".strip()
    offer = f"Did you mean `{later}`? " if match["day"] is None or match["day"].lower() == "today" else ""
    return Refused(
        ReasonCode.BAD_TIME,
        f"{typed(words)} is past: it is {local:%Y-%m-%d %H:%M} {_named(local.tzinfo)} now.",
        f"{offer}Name a time from now on, or leave `--at` out to start at once.",
    )


def _too_far(words: str, now: datetime, place: tzinfo) -> Refused:
    last = (now.astimezone(UTC) + LONGEST).astimezone(place)
    return Refused(
        ReasonCode.BAD_TIME,
        f"{typed(words)} is more than 30 days ahead.",
        f"The latest is `{last:%Y-%m-%d %H:%M} {_named(place)}`; ask again when the day is nearer.",
    )


def _named(place: tzinfo | None) -> str:
    """`UTC`, `UTC+01:00` or `Europe/Berlin`."""
    return str(place)


# ---------------------------------------------------------------- what was probably meant


def _meant_duration(text: str) -> str:
    if text.isascii() and text.isdigit() and len(text) < 6:
        return f"It has no unit: `{text}h` are hours, `{text}m` minutes. "
    match = _ALMOST_DURATION.fullmatch(text) if len(text) <= 24 else None
    if match is None:
        return ""
    unit = match[3].lower()
    per_unit = {"w": 7 * 1440, "d": 1440, "h": 60, "m": 1}[unit]
    minutes = int(match[1]) * per_unit + int(match[2] or 0) * per_unit // 10
    return f"Did you mean `{_shortest(minutes)}`? " if minutes else ""


def _shortest(minutes: int) -> str:
    days, rest = divmod(minutes, 1440)
    hours, left = divmod(rest, 60)
    return "".join(f"{count}{unit}" for count, unit in ((days, "d"), (hours, "h"), (left, "m")) if count)


def _meant_time(words: str) -> str:
    if _DATE_ALONE.fullmatch(words):
        return f"It has no hour: `{words} 22:00`, for example. "
    if is_duration(words):
        return f"Did you mean `+{words}`, counted from now? "
    match = _CLOCK_ALIKE.fullmatch(words) if len(words) <= 24 else None
    if match is None:
        return ""
    half = (match["half"] or "").lower()
    hour = int(match["hour"]) % 12 + 12 * (half == "pm") if half in {"am", "pm"} else int(match["hour"])
    return f"Did you mean `{hour:02d}:{match['minute'] or '00'}`? " if hour < 24 else ""
