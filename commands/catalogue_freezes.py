"""Reads the freeze windows of `locktender.yaml`."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from commands import grammar
from commands.catalogue_faults import did_you_mean, quoted
from commands.catalogue_values import Section, Value
from commands.freezes import Allowed, FreezeWindow, Once, Weekday, Weekly, first_shown, last_shown

_SETTINGS = ("name", "environments", "apps", "timezone", "every", "from", "until", "allow", "reason")
_EXAMPLE = "- {name: year-end, environments: [production], timezone: Europe/Berlin, from: …, until: …}"
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_MOMENT = re.compile(r"(2[0-9]{3}-[0-9]{2}-[0-9]{2})[Tt ]([01][0-9]|2[0-3]):([0-5][0-9])(:00)?")
_OFFSET = re.compile(r".+\d:\d{2}([Zz]|\s*[+-]\d{2}(:?\d{2})?)")
_NOT_PLACES = frozenset({"localtime", "Factory", "posixrules"})  # whatever the machine at hand is set to, or nothing
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Places:
    """What a freeze may name."""

    environments: Collection[str]
    apps: Collection[str]


def read_freezes(value: Value | None, places: Places) -> tuple[FreezeWindow, ...]:
    """Every window that could be read. Nothing and `[]` are no windows: the last one may have been taken out."""
    if value is None or value.is_empty or value.is_empty_list:
        return ()
    found: list[FreezeWindow] = []
    lines: dict[str, int] = {}
    for item in value.items(_EXAMPLE):
        section = item.section(_SETTINGS)
        named = section.need("name", "write one to know it by, as in `name: year-end`")
        name = named.name("a freeze") if named else None
        if named and name in lines:
            named.fault(f"{quoted(name)} is there twice: first in line {lines[name]}", "name each freeze differently")
        if named and name:
            lines[name] = named.line
        window = _window(name or "", section, places)
        found += [window] if window else []
    return tuple(found)


def _window(name: str, section: Section, places: Places) -> FreezeWindow | None:
    where = section.need("environments", "write `environments: [production]`, or `all`")
    environments = _environments(where, places.environments) if where else ()
    place = section.need("timezone", "write whose clock is meant, as in `timezone: Europe/Berlin`")
    zone = _zone(place) if place else None
    weekly = section.get("every") is not None
    example = "16:00" if weekly else "2026-12-20T18:00"
    begins = section.need("from", f"write when it begins, as in `from: {example}`")
    ends = section.need("until", f"write when it ends, as in `until: {'mon 08:00' if weekly else '2027-01-04T08:00'}`")
    schedule: Once | Weekly | None = None
    if begins and ends:
        schedule = _weekly(section, begins, ends) if weekly else _once(begins, ends, zone)
    apps = section.read("apps", lambda setting: _names(setting, places.apps, "app", "[web]")) or ()
    allow = section.read("allow", _allow)
    reason = section.read("reason", _reason) or ""
    if zone is None or schedule is None:
        return None
    usual = (Allowed.ROLLBACK,)
    return FreezeWindow(name, environments, schedule, zone, apps, usual if allow is None else allow, reason)


def _environments(value: Value, known: Collection[str]) -> tuple[str, ...]:
    return tuple(known) if value.is_word("all") else _names(value, known, "environment", "[production]")


def _names(value: Value, known: Collection[str], what: str, example: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for item in value.items(example):
        name = item.text(example.strip("[]"))
        if name is None:
            continue
        if name in names:
            item.fault(f"{quoted(name)} is there twice", "write it once")
        elif name not in known:
            guesses = grammar.nearest(name, known, 1)
            item.fault(f"there is no {what} {quoted(name)}", did_you_mean(guesses, f"write it below `{what}s`"))
        names[name] = None
    return tuple(names)


def _zone(value: Value) -> ZoneInfo | None:
    text = value.text("Europe/Berlin")
    if text is None:
        return None
    if text in _zone_names():
        return ZoneInfo(text)
    guesses = grammar.nearest(text, sorted(_zone_names()), 1)
    otherwise = "write a name of the IANA time zone database, as in `Europe/Berlin`"
    value.fault(f"{quoted(text)} is not a time zone", did_you_mean(guesses, otherwise))
    return None


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones()) - _NOT_PLACES


def _once(begins: Value, ends: Value, zone: ZoneInfo | None) -> Once | None:
    first, last = _moment(begins), _moment(ends)
    if first is None or last is None:
        return None
    if zone is not None and last_shown(last, zone) <= first_shown(first, zone):
        ends.fault("this is not after `from`, so the freeze would never hold", "write a later time")
    return Once(first, last)


def _moment(value: Value) -> datetime | None:
    text = value.written("2026-12-20T18:00")
    if text is None:
        return None
    match = _MOMENT.fullmatch(text)
    if match is None:
        what, instead = _wrong_moment(text)
        value.fault(f"{quoted(text)} {what}", instead)
        return None
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}:{match[3]}")
    except ValueError:
        value.fault(f"{quoted(text)} is not in the calendar", "write a day that there is")
        return None


def _wrong_moment(text: str) -> tuple[str, str]:
    if _OFFSET.fullmatch(text):
        return "has an offset", "write the local time alone: `timezone` says whose clock is meant"
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return "has no time of day", f"write `{text}T00:00` for the beginning of that day"
    instead = "write it as in `2026-12-20T18:00`, or `every: [fri]` for a window that comes back"
    return "is not a day and a time", instead


def _weekly(section: Section, begins: Value, ends: Value) -> Weekly | None:
    days = section.read("every", _days) or ()
    first = _clock(begins)
    ends_on, last = _clock_and_day(ends)
    if not days or first is None or last is None:
        return None
    weekly = Weekly(days, first, last, ends_on)
    if weekly.never_ends:
        ends.fault(
            "these windows leave no minute of the week free", "write an earlier `until`, or lock the environment"
        )
    return weekly


def _days(value: Value) -> tuple[Weekday, ...]:
    days: dict[Weekday, None] = {}
    for item in value.items("[fri]"):
        day = item.choice(Weekday)
        if day in days:
            item.fault(f"{quoted(str(day))} is there twice", "write it once")
        if day is not None:
            days[day] = None
    return tuple(days)


def _clock_and_day(value: Value) -> tuple[Weekday | None, time | None]:
    text = value.written("mon 08:00")
    if text is None:
        return None, None
    day, _, clock = text.rpartition(" ")
    match = _CLOCK.fullmatch(clock)
    if match and day in ("", *Weekday):
        return (Weekday(day) if day else None), time(int(match[1]), int(match[2]))
    value.fault(
        f"{quoted(text)} is not a time of the week", _better_clock(clock, "write it as in `mon 08:00` or `08:00`")
    )
    return None, None


def _clock(value: Value) -> time | None:
    text = value.written("16:00")
    if text is None:
        return None
    match = _CLOCK.fullmatch(text)
    if match:
        return time(int(match[1]), int(match[2]))
    value.fault(
        f"{quoted(text)} is not a time of day", _better_clock(text, "write it as in `16:00`; days are in `every`")
    )
    return None


def _better_clock(text: str, otherwise: str) -> str:
    if text == "24:00":
        return "write `00:00`: a window that ends at midnight ends when the next day begins"
    if _CLOCK.fullmatch(f"0{text}"):
        return f"write `0{text}`"
    return otherwise


def _allow(value: Value) -> tuple[Allowed, ...]:
    if value.is_empty_list:
        return ()
    return tuple(dict.fromkeys(word for item in value.items("[rollback]") if (word := item.choice(Allowed))))


def _reason(value: Value) -> str | None:
    text = value.text("Christmas trade")
    if text is not None and len(text) > _LONGEST_REASON:
        value.fault(f"has {len(text)} characters", f"write at most {_LONGEST_REASON}")
    return text
