"""Times and durations as people type them, and as they read them.

Left out: where times are used (`--at`, locks and freezes have tests of their own).
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.reasons import ReasonCode, Refused
from commands.times import LONGEST, SHORTEST, is_duration, parse_at, parse_duration, spoken, spoken_until

NOW = datetime(2026, 1, 30, 12, 30, 15, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
T = TypeVar("T")


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]  # year to minute: a shorthand of this file


def outcome(read: Callable[[], T]) -> T | Refused:
    try:
        return read()
    except Refused as refused:
        return refused


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("1m", timedelta(minutes=1)),
        ("90m", timedelta(minutes=90)),
        ("2h", timedelta(hours=2)),
        ("2H", timedelta(hours=2)),
        ("1h30m", timedelta(minutes=90)),
        ("1d", timedelta(days=1)),
        ("1d2h3m", timedelta(days=1, hours=2, minutes=3)),
        ("30d", timedelta(days=30)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, length: timedelta) -> None:
    assert is_duration(text)
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ("", "is not a duration", "`90m`, `2h` or `1h30m`"),
        ("2", "`2` is not a duration", "`2h` are hours, `2m` minutes"),
        ("2hours", "is not a duration", "Did you mean `2h`?"),
        ("1.5h", "is not a duration", "Did you mean `1h30m`?"),
        ("2w", "is not a duration", "Did you mean `14d`?"),
        ("30m1h", "is not a duration", "`1h30m`"),
        ("-2h", "is not a duration", "for example"),
        ("٢h", "is not a duration", "for example"),
        ("0m", "less than a minute", "from `1m` to `30d`"),
        ("31d", "more than 30 days", "from `1m` to `30d`"),
        ("30d1m", "more than 30 days", "from `1m` to `30d`"),
        ("9" * 60 + "h", "more than 30 days", "from `1m` to `30d`"),
        ("9" * 5000 + "h", "is not a duration", "for example"),
    ],
)
def test_what_is_no_duration_is_told_what_would_be(text: str, what: str, next_step: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_duration(text)
    assert refused.value.reason is ReasonCode.BAD_TIME
    assert what in refused.value.what
    assert next_step in refused.value.next_step


@pytest.mark.parametrize("word", ["", "h", "2", "2x", "web", "2h ", "m1"])
def test_a_word_that_is_no_duration_is_not_taken_for_one(word: str) -> None:
    assert not is_duration(word)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("22:00", at(2026, 1, 30, 22, 0)),
        ("today 22:00", at(2026, 1, 30, 22, 0)),
        ("22:00 UTC", at(2026, 1, 30, 22, 0)),
        ("22:00 z", at(2026, 1, 30, 22, 0)),
        ("12:30:16", at(2026, 1, 30, 12, 30).replace(second=16)),
        ("tomorrow 9:05", at(2026, 1, 31, 9, 5)),
        ("  Tomorrow   09:05 ", at(2026, 1, 31, 9, 5)),
        ("2026-01-31 22:00", at(2026, 1, 31, 22, 0)),
        ("2026-01-31T22:00Z", at(2026, 1, 31, 22, 0)),
        ("2026-01-31T22:00+01:00", at(2026, 1, 31, 21, 0)),
        ("2026-01-31T22:00:30+0100", at(2026, 1, 31, 21, 0).replace(second=30)),
        ("22:00 -05:30", at(2026, 1, 31, 3, 30)),
        ("22:00 Europe/Berlin", at(2026, 1, 30, 21, 0)),
        ("tomorrow 09:00 america/argentina/buenos_aires", at(2026, 1, 31, 12, 0)),
        ("+2h", NOW + timedelta(hours=2)),
        ("+1h30m", NOW + timedelta(minutes=90)),
        ("+30d", NOW + timedelta(days=30)),
        ("2026-03-01 12:30", at(2026, 3, 1, 12, 30)),
    ],
)
def test_a_time_means(text: str, when: datetime) -> None:
    assert parse_at(text, NOW) == when


def test_a_time_without_a_zone_is_in_the_zone_of_the_caller_and_says_so() -> None:
    found = parse_at("22:00", NOW, BERLIN)
    assert found == at(2026, 1, 30, 21, 0)
    assert found.tzinfo is BERLIN
    assert spoken_until(found, NOW) == "22:00 Europe/Berlin (in 8 hours 29 minutes)"
    assert parse_at("22:00", NOW).tzinfo is UTC
    assert parse_at("22:00", NOW.astimezone(BERLIN)).tzinfo is UTC


def test_today_is_today_where_the_time_is_meant() -> None:
    late = at(2026, 1, 30, 23, 30)  # already the 31st in Berlin
    assert parse_at("08:00", late, BERLIN) == at(2026, 1, 31, 7, 0)
    assert parse_at("tomorrow 08:00", late, BERLIN) == at(2026, 2, 1, 7, 0)
    assert parse_at("19:00 America/New_York", late) == at(2026, 1, 31, 0, 0)


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ("12:30", "is past: it is 2026-01-30 12:30 UTC now", "Did you mean `tomorrow 12:30`?"),
        ("13:00 Europe/Berlin", "it is 2026-01-30 13:30 Europe/Berlin now", "`tomorrow 13:00 Europe/Berlin`"),
        ("2026-01-29 22:00", "is past", "Name a time from now on"),
        ("0001-01-01T00:00+14:00", "is past", "Name a time from now on"),
        ("2026-03-01 12:31", "more than 30 days ahead", "The latest is `2026-03-01 12:30 UTC`"),
        ("9999-12-31T23:59-14:00", "more than 30 days ahead", "The latest is `2026-02-28 22:30 UTC-14:00`"),
        ("+31d", "more than 30 days", "`30d`"),
        ("+0m", "less than a minute", "`1m`"),
        ("24:00", "a day ends at `23:59`", "midnight is `00:00`"),
        ("22:60", "a day ends at `23:59`", "`22:00`"),
        ("2026-02-30 22:00", "a day that there is not", "year, month and day"),
        ("2026-01-31", "is not a time", "`2026-01-31 22:00`"),
        ("tomorrow", "is not a time", "`tomorrow 22:00`"),
        ("2h", "is not a time", "Did you mean `+2h`"),
        ("10pm", "is not a time", "Did you mean `22:00`?"),
        ("12 am", "is not a time", "Did you mean `00:00`?"),
        ("22.30", "is not a time", "Did you mean `22:30`?"),
        ("22h", "is not a time", "Did you mean `+22h`"),
        ("22", "is not a time", "Did you mean `22:00`?"),
        ("99", "is not a time", "Write a time as"),
        ("soon", "`soon` is not a time.", "Write a time as"),
        ("", "is not a time", "Write a time as"),
        ("22:00 Berlin", "`Berlin` is not a time zone", "Did you mean `Europe/Berlin`?"),
        ("22:00 CET", "`CET` is not a time zone", "area and city"),
        ("22:00 staging", "`staging` is not a time zone", "belong before `--at`"),
        ("22:00 ../../etc/passwd", "is not a time", "Write a time as"),
        ("22:00 Europe/../Etc", "is not a time", "Write a time as"),
        ("22:00+01:00 Europe/Berlin", "are two time zones", "Write one of them"),
        ("22:00+15:00", "No place on earth", "`22:00+01:00`"),
        ("22:00+01:75", "No place on earth", "`22:00+01:00`"),
        ("٢٢:00", "is not a time", "Write a time as"),
        ("22:00 " + "x" * 5000, "is not a time", "Write a time as"),
    ],
)
def test_a_time_that_cannot_be_meant_is_told_what_could(text: str, what: str, next_step: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_at(text, NOW)
    assert refused.value.reason is ReasonCode.BAD_TIME
    assert what in refused.value.what
    assert next_step in refused.value.next_step


def test_a_time_that_the_clocks_skip_is_refused_with_the_one_after() -> None:
    with pytest.raises(Refused, match="does not exist") as refused:
        parse_at("2026-03-29 02:30 Europe/Berlin", at(2026, 3, 28, 12, 0))
    assert "`2026-03-29 03:30 Europe/Berlin`" in refused.value.next_step
    assert parse_at("2026-03-29 03:00 Europe/Berlin", at(2026, 3, 28, 12, 0)) == at(2026, 3, 29, 1, 0)


def test_a_time_that_the_clocks_show_twice_is_refused_with_both() -> None:
    before = at(2026, 10, 24, 12, 0)
    with pytest.raises(Refused, match="comes twice") as refused:
        parse_at("2026-10-25 02:30 Europe/Berlin", before)
    assert "`2026-10-25T02:30+02:00` or `2026-10-25T02:30+01:00`" in refused.value.next_step
    assert parse_at("2026-10-25T02:30+01:00", before) == at(2026, 10, 25, 1, 30)


def test_a_day_with_25_hours_is_counted_by_the_clock_that_never_changes() -> None:
    saturday = datetime(2026, 10, 24, 22, 0, tzinfo=BERLIN)
    sunday = parse_at("2026-10-25 22:00", saturday, BERLIN)
    assert spoken_until(sunday, saturday) == "tomorrow 22:00 Europe/Berlin (in 1 day 1 hour)"
    assert parse_at("+1d", saturday, BERLIN) == saturday.astimezone(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(), "0 seconds"),
        (timedelta(seconds=-5), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=45.9), "45 seconds"),
        (timedelta(seconds=90), "1 minute 30 seconds"),
        (timedelta(hours=2), "2 hours"),
        (timedelta(hours=1, minutes=30, seconds=9), "1 hour 30 minutes"),
        (timedelta(hours=1, seconds=9), "1 hour"),
        (timedelta(days=3, hours=4, minutes=5), "3 days 4 hours"),
        (timedelta(days=1, minutes=5), "1 day"),
    ],
)
def test_a_length_is_said_in_its_two_largest_units(length: timedelta, words: str) -> None:
    assert spoken(length) == words


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (at(2026, 1, 30, 22, 30), "22:30 UTC (in 9 hours 59 minutes)"),
        (at(2026, 1, 31, 9, 0), "tomorrow 09:00 UTC (in 20 hours 29 minutes)"),
        (at(2026, 2, 7, 22, 0), "2026-02-07 22:00 UTC (in 8 days 9 hours)"),
        (at(2026, 1, 30, 12, 0), "12:00 UTC (30 minutes 15 seconds ago)"),
        (
            datetime(2026, 1, 30, 22, 0, tzinfo=timezone(timedelta(hours=1))),
            "22:00 UTC+01:00 (in 8 hours 29 minutes)",
        ),
    ],
)
def test_an_end_is_said_with_its_zone_and_how_far_it_is(when: datetime, words: str) -> None:
    assert spoken_until(when, NOW) == words


def test_a_relative_time_does_not_stop_at_a_change_of_clocks() -> None:
    before = at(2026, 3, 29, 0, 30)  # 01:30 in Berlin, half an hour before the clocks jump to 03:00
    assert parse_at("+1h", before, BERLIN) == before + timedelta(hours=1)


@pytest.mark.parametrize("zone", [UTC, BERLIN])
@given(text=st.text(max_size=200) | st.from_regex(r"[0-9T:+ -]{1,30}( [A-Za-z/]{1,20})?", fullmatch=True))
def test_any_text_is_a_good_time_or_refused(zone: tzinfo, text: str) -> None:
    found = outcome(lambda: parse_at(text, NOW, zone))
    assert (found.reason is ReasonCode.BAD_TIME) if isinstance(found, Refused) else NOW < found <= NOW + LONGEST


@given(st.text(max_size=80) | st.from_regex(r"[0-9]{1,30}[dhm]([0-9]{1,4}[hm])?", fullmatch=True))
def test_any_text_is_a_good_duration_or_refused(text: str) -> None:
    found = outcome(lambda: parse_duration(text))
    assert (found.reason is ReasonCode.BAD_TIME) if isinstance(found, Refused) else SHORTEST <= found <= LONGEST


@given(st.integers(min_value=60, max_value=30 * 86_400))
def test_every_time_that_is_offered_can_be_typed(seconds: int) -> None:
    when = (NOW + timedelta(seconds=seconds)).replace(second=0)
    if when > NOW:
        assert parse_at(f"{when.astimezone(BERLIN):%Y-%m-%d %H:%M} Europe/Berlin", NOW) == when
