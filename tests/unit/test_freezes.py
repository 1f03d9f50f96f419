"""Checks when freeze windows hold: the exact second, weekends, midnights, and the nights when the clock is changed.

The clock is checked against a scan that walks minute by minute and knows nothing of folds. Leaves out how windows are
read from `locktender.yaml`: `test_catalogue_gate.py`.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.freezes import (
    Allowed,
    FreezeInForce,
    FreezeWindow,
    Once,
    Weekday,
    Weekly,
    first_shown,
    in_force,
    last_shown,
)

BERLIN = ZoneInfo("Europe/Berlin")
WEEKEND = Weekly((Weekday.FRI,), time(16), time(8), Weekday.MON)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def window(schedule: Once | Weekly, zone: ZoneInfo = BERLIN, **more: tuple[str, ...]) -> FreezeWindow:
    return FreezeWindow("no-deploys", ("production",), schedule, zone, apps=more.get("apps", ()))


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-11-20T15:59:59.999999", None),
        ("2026-11-20T16:00", "2026-11-23T08:00"),
        ("2026-11-22T00:00", "2026-11-23T08:00"),
        ("2026-11-23T07:59:59.999999", "2026-11-23T08:00"),
        ("2026-11-23T08:00", None),
    ],
)
def test_a_weekend_begins_at_its_first_second_and_is_over_at_its_last(at: str, until: str | None) -> None:
    assert window(WEEKEND).until(berlin(at)) == (berlin(until) if until else None)


def test_a_single_window_begins_at_its_first_second_and_is_over_at_its_last() -> None:
    year_end = window(Once(datetime(2026, 12, 20, 18), datetime(2027, 1, 4, 8)))  # noqa: DTZ001 - local by design
    ends = berlin("2027-01-04T08:00")
    assert year_end.until(berlin("2026-12-20T17:59:59.999999")) is None
    assert year_end.until(berlin("2026-12-20T18:00")) == ends
    assert year_end.until(ends - timedelta(microseconds=1)) == ends
    assert year_end.until(ends) is None


def test_an_end_before_the_beginning_is_on_the_next_day() -> None:
    night = window(Weekly((Weekday.TUE,), time(22), time(6)))
    assert night.until(berlin("2026-11-24T23:00")) == berlin("2026-11-25T06:00")
    assert night.until(berlin("2026-11-25T05:59")) == berlin("2026-11-25T06:00")
    assert night.until(berlin("2026-11-25T23:00")) is None


def test_an_end_at_the_beginning_is_a_day_later_and_on_the_same_weekday_a_week_later() -> None:
    assert Weekly((Weekday.FRI,), time(16), time(16)).length(Weekday.FRI) == 1
    assert Weekly((Weekday.FRI,), time(16), time(16), Weekday.FRI).length(Weekday.FRI) == 7
    assert Weekly((Weekday.FRI,), time(16), time(17), Weekday.FRI).length(Weekday.FRI) == 0


def test_windows_that_touch_or_overlap_are_told_as_one() -> None:
    touching = window(Weekly((Weekday.FRI, Weekday.SAT, Weekday.SUN), time(0), time(0)))
    assert touching.until(berlin("2026-11-20T12:00")) == berlin("2026-11-23T00:00")
    overlapping = window(Weekly((Weekday.FRI, Weekday.SAT), time(16), time(20), Weekday.SUN))
    assert overlapping.until(berlin("2026-11-20T17:00")) == berlin("2026-11-22T20:00")


def test_only_windows_without_a_free_minute_in_the_week_never_end() -> None:
    assert Weekly(tuple(Weekday), time(8), time(8)).never_ends
    assert Weekly((Weekday.MON,), time(8), time(8), Weekday.MON).never_ends
    assert not Weekly(tuple(Weekday), time(8), time(7, 59)).never_ends
    assert not WEEKEND.never_ends


def test_a_freeze_keeps_its_local_hours_when_the_clock_is_changed() -> None:
    weekend = window(WEEKEND)
    assert weekend.until(datetime(2026, 3, 28, tzinfo=UTC)) == datetime(2026, 3, 30, 6, tzinfo=UTC)
    assert weekend.until(datetime(2026, 10, 24, tzinfo=UTC)) == datetime(2026, 10, 26, 7, tzinfo=UTC)


def test_a_time_that_is_shown_twice_begins_with_the_first_and_ends_with_the_last() -> None:
    twice = datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001 - local by design
    assert first_shown(twice, BERLIN) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert last_shown(twice, BERLIN) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_a_time_that_is_skipped_is_the_instant_of_the_skip() -> None:
    skipped = datetime(2026, 3, 29, 2, 30)  # noqa: DTZ001 - local by design
    jump = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert first_shown(skipped, BERLIN) == last_shown(skipped, BERLIN) == jump


def test_a_day_that_a_country_skipped_has_no_window() -> None:
    apia = ZoneInfo("Pacific/Apia")  # crossed the date line: there was no 30 December 2011
    gone = window(Once(datetime(2011, 12, 30, 9), datetime(2011, 12, 30, 17)), apia)  # noqa: DTZ001 - local by design
    assert all(gone.until(datetime(2011, 12, 30, hour, tzinfo=UTC)) is None for hour in range(24))


def test_a_freeze_is_for_its_environments_and_apps_alone() -> None:
    at = berlin("2026-11-21T12:00")
    for_all, for_web = window(WEEKEND), window(WEEKEND, apps=("web",))
    assert [len(in_force((for_all, for_web), app, "production", at)) for app in ("web", "api")] == [2, 1]
    assert in_force((for_all, for_web), "web", "staging", at) == ()


def test_what_is_in_force_says_its_name_its_end_its_reason_and_whether_rollbacks_pass() -> None:
    strict = FreezeWindow("audit", ("production",), WEEKEND, BERLIN, allow=(), reason="the auditors are in")
    at, until = berlin("2026-11-21T12:00"), berlin("2026-11-23T08:00").astimezone(UTC)
    assert in_force((strict, window(WEEKEND)), "web", "production", at) == (
        FreezeInForce("audit", until, allows_rollback=False, reason="the auditors are in"),
        FreezeInForce("no-deploys", until, allows_rollback=True, reason=""),
    )
    assert Allowed.ROLLBACK not in strict.allow


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        window(WEEKEND).until(datetime(2026, 11, 21))  # noqa: DTZ001 - that it is naive is what is checked


CHANGES = [  # (zone, the day its clock is changed): ordinary ones, half an hour, two hours, at midnight, a whole day
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Antarctica/Troll", date(2026, 3, 29)),
    ("Antarctica/Troll", date(2026, 10, 25)),
    ("America/Sao_Paulo", date(2018, 2, 18)),
    ("America/Sao_Paulo", date(2018, 11, 4)),
    ("Pacific/Apia", date(2011, 12, 30)),
    ("Africa/Casablanca", date(2026, 2, 15)),
    ("Asia/Kathmandu", date(2026, 6, 1)),
    ("UTC", date(2026, 6, 1)),
]


@lru_cache(maxsize=len(CHANGES))
def clocks(zone: str, day: date) -> tuple[datetime, list[datetime]]:
    """What a clock on the wall shows, each minute from 12 days before the day until 12 days after it."""
    first = datetime.combine(day, time(), tzinfo=UTC) - 12 * DAY
    where = ZoneInfo(zone)
    return first, [(first + n * MINUTE).astimezone(where).replace(tzinfo=None) for n in range(24 * 24 * 60)]


def scanned(shown: list[datetime], spans: list[tuple[datetime, datetime]]) -> set[int]:
    """The frozen minutes, by walking: in at the first sight of the beginning or of what comes after it, out likewise.

    The end counts from the last sight of it, where there is one.
    """
    frozen: set[int] = set()
    for begins, ends in spans:
        into = next((n for n, clock in enumerate(shown) if clock >= begins), len(shown))
        sights = [n for n, clock in enumerate(shown) if clock == ends]
        out = sights[-1] if sights else next((n for n, clock in enumerate(shown) if clock > ends), len(shown))
        frozen.update(range(into, out))
    return frozen


def agrees(freeze: FreezeWindow, first: datetime, frozen: set[int], minutes: set[int]) -> None:
    for minute in minutes:
        until = freeze.until(first + minute * MINUTE)
        assert (until is not None) == (minute in frozen), minute
        if until is not None:
            last = minute
            while last in frozen:
                last += 1
            assert until == first + last * MINUTE


def interesting(frozen: set[int], sampled: list[int]) -> set[int]:
    """Minutes of the middle days: on both sides of each edge, and some others."""
    middle = range(9 * 24 * 60, 14 * 24 * 60)
    edges = {n for n in frozen for n in (n - 1, n, n + 1) if (n - 1 in frozen) != (n in frozen)}
    return {n for n in (*edges, *(n + step for n in edges for step in (-1, 1)), *sampled) if n in middle}


times = st.one_of(
    st.times().map(lambda clock: clock.replace(second=0, microsecond=0)),
    st.builds(time, st.integers(0, 3), st.sampled_from([0, 1, 15, 30, 59])),
)
minutes = st.lists(st.integers(9 * 24 * 60, 14 * 24 * 60 - 1), min_size=5, max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CHANGES),
    st.sets(st.sampled_from(Weekday), min_size=1, max_size=3),
    times,
    times,
    st.none() | st.sampled_from(Weekday),
    minutes,
)
def test_weekly_windows_hold_when_a_walk_along_the_clock_says_so(
    change: tuple[str, date], days: set[Weekday], begins: time, ends: time, ends_on: Weekday | None, sampled: list[int]
) -> None:
    weekly = Weekly(tuple(days), begins, ends, ends_on)
    if weekly.never_ends:
        return
    first, shown = clocks(*change)
    spans = []
    for number in range(27):
        day = shown[0].date() + (number - 1) * DAY
        if list(Weekday)[day.weekday()] not in days:
            continue
        end = datetime.combine(day, ends)
        while end <= datetime.combine(day, begins) or (ends_on and list(Weekday)[end.weekday()] is not ends_on):
            end += DAY
        spans.append((datetime.combine(day, begins), end))
    frozen = scanned(shown, spans)
    agrees(window(weekly, ZoneInfo(change[0])), first, frozen, interesting(frozen, sampled))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(CHANGES), times, times, st.integers(-2, 1), st.integers(0, 3), minutes)
def test_single_windows_hold_when_a_walk_along_the_clock_says_so(
    change: tuple[str, date], begins: time, ends: time, after: int, days: int, sampled: list[int]
) -> None:
    first, shown = clocks(*change)
    once = Once(
        datetime.combine(change[1] + after * DAY, begins), datetime.combine(change[1] + (after + days) * DAY, ends)
    )
    frozen = scanned(shown, [(once.begins, once.ends)])
    agrees(window(once, ZoneInfo(change[0])), first, frozen, interesting(frozen, sampled))
