"""What was typed after `/audit history`, `export` or `report`, as a filter of the record. Pure."""

import re
from datetime import UTC, datetime, timedelta

from commands.reasons import ReasonCode, Refused
from commands.requests import History, typed
from storage.history import AuditFilter

_AGO = re.compile(r"([0-9]{1,5})(m|h|d|w)", re.IGNORECASE)
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_DAYS = {"today": 0, "yesterday": 1}
_FORMS = "`7d`, `36h`, `today`, `yesterday`, `2026-01-31` or `2026-01-31T18:00`"


def wished(request: History, now: datetime, limit: int) -> AuditFilter:
    """The filter. Raises Refused(BAD_TIME) for times that are none."""
    since, until = span(request.since, request.until, now)
    return AuditFilter(
        app=request.app,
        environment=request.environment,
        actor=request.actor,
        deployment_id=request.deployment_id,
        before=request.before,
        limit=limit,
        since=since,
        until=until,
        status=request.status.lower(),
        commit=request.commit.lower(),
        version=request.version,
        action=request.action.lower(),
        words=tuple(request.words.split()),
    )


def span(since: str, until: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """From when, and until when: a day that is named last belongs to it wholly."""
    begins = _moment(since, now, timedelta(0)) if since else None
    ends = _moment(until, now, timedelta(days=1)) if until else None
    if begins is not None and ends is not None and begins >= ends:
        raise Refused(
            ReasonCode.BAD_TIME,
            f"{typed('since:' + since)} is not before {typed('until:' + until)}, so nothing can be in between.",
            "Turn them round, or leave one out.",
        )
    return begins, ends


def said(request: History) -> dict[str, str]:
    """The filters that were given, by the words that give them."""
    named = {
        "app": request.app,
        "env": request.environment,
        "by": request.actor,
        "id": request.deployment_id,
        "since": request.since,
        "until": request.until,
        "status": request.status,
        "commit": request.commit,
        "version": request.version,
        "action": request.action,
        "words": request.words,
    }
    return {key: value[:300] for key, value in named.items() if value}


def spoken(request: History) -> str:
    """The filters as they would be typed."""
    named = said(request)
    words = named.pop("words", "")
    return " ".join([*(f"{key}:{value}" for key, value in named.items()), *([words] if words else [])])


def _moment(text: str, now: datetime, day_is: timedelta) -> datetime:
    """A length ago, a day in UTC (`day_is` later), or a time; without a zone, of UTC."""
    length = _AGO.fullmatch(text)
    try:
        if length:
            return now - int(length[1]) * _UNITS[length[2].lower()]
        if text.lower() in _DAYS:
            midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            return midnight - timedelta(days=_DAYS[text.lower()]) + day_is
        found = datetime.fromisoformat(text.upper())
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return (found + day_is if len(text) <= len("2026-01-31") else found).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(
            ReasonCode.BAD_TIME, f"{typed(text)} is no time that can be looked for.", f"Write {_FORMS}; times are UTC."
        ) from None
