"""Times and filters as they are typed after `/audit`. What they find is in test_history_search."""

from datetime import UTC, datetime, timedelta

import pytest

from commands.audit_filter import said, span, spoken, wished
from commands.reasons import ReasonCode, Refused
from commands.requests import History

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


def day(number: int, hour: int = 0) -> datetime:
    return datetime(2026, 3, number, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("", "", (None, None)),
        ("7d", "", (NOW - timedelta(days=7), None)),
        ("36H", "90m", (NOW - timedelta(hours=36), NOW - timedelta(minutes=90))),
        ("2w", "", (NOW - timedelta(days=14), None)),
        ("today", "today", (day(10), day(11))),
        ("yesterday", "yesterday", (day(9), day(10))),
        ("2026-03-01", "2026-03-05", (day(1), day(6))),
        ("2026-03-01T18:00", "2026-03-05t06:00z", (day(1, 18), day(5, 6))),
        ("2026-03-01T18:00+02:00", "", (day(1, 16), None)),
    ],
)
def test_a_time_is_a_length_ago_a_day_or_a_moment(
    since: str, until: str, expected: tuple[datetime | None, datetime | None]
) -> None:
    assert span(since, until, NOW) == expected


@pytest.mark.parametrize(
    ("since", "until"),
    [
        *((text, "") for text in ("soon", "7", "d", "999999d", "2026-13-01", "2026-03-01T25:00", "7d`")),
        ("0001-01-01T00:00+14:00", ""),
        ("", "9999-12-31"),
        ("", "9999-12-31T23:59-12:00"),
    ],
)
def test_what_is_no_time_is_refused_with_what_would_be_one(since: str, until: str) -> None:
    with pytest.raises(Refused) as refused:
        span(since, until, NOW)
    assert refused.value.reason is ReasonCode.BAD_TIME
    assert "`7d`" in refused.value.next_step


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(Refused, match="not before"):
        span("1d", "2d", NOW)


def test_filters_are_said_as_they_were_typed() -> None:
    request = History(app="web", actor="U1", since="7d", words="slow cart")
    assert spoken(request) == "app:web by:U1 since:7d slow cart"
    assert said(request) == {"app": "web", "by": "U1", "since": "7d", "words": "slow cart"}
    assert wished(request, NOW, 10).words == ("slow", "cart")
