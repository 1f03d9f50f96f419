"""Words, people and times as safe HTML. Nothing reaches a page but through here or through Jinja's own escaping."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape

from bot.slack.text import plain
from commands.deploy import ago
from commands.times import spoken
from storage.unit_of_work import BOT

NameOf = Callable[[str], str]
"""From a Slack user id to the person's name; the id itself when the name is not known."""
_PARTS = re.compile("\ue000([A-Za-z0-9_-]+)\ue001|`([^`]*)`")
_SLACK_ID = re.compile(r"[UW][A-Z0-9]{2,}")
_UNITS = {"day": "d", "hour": "h", "minute": "min", "second": "s"}


def told(text: str, name_of: NameOf) -> Markup:
    """A sentence of ours: what is in backticks as code, mentions as names, the rest escaped."""
    parts: list[Markup] = []
    end = 0
    for found in _PARTS.finditer(text):
        parts.append(shown(text[end : found.start()]))
        parts.append(person(found[1], name_of) if found[1] else Markup("<code>{}</code>").format(shown(found[2])))
        end = found.end()
    return Markup("").join([*parts, shown(text[end:])])


def shown(text: object) -> Markup:
    """Text from anywhere, escaped, without what cannot be seen or turns text round."""
    return escape(plain(str(text)))


def person(actor: str, name_of: NameOf) -> Markup:
    """Whoever did it: a name with the id behind it, or what another system calls them."""
    if actor in {"", BOT}:
        return Markup('<span class="who">Locktender</span>')
    known = name_of(actor) if _SLACK_ID.fullmatch(actor) else actor
    if known == actor:
        return Markup('<span class="who">{}</span>').format(shown(actor))
    return Markup('<span class="who" title="{}">{}</span>').format(shown(actor), shown(known))


def clock(at: datetime) -> Markup:
    """`2026-11-23 16:00:05`, in UTC."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} <span>{}</span></time>').format(
        f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d}", f"{utc:%H:%M:%S}"
    )


def since(at: datetime, now: datetime) -> Markup:
    """`3 hours ago`, with the time itself behind it."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d %H:%M:%S} UTC", ago(now, at)
    )


def length(span: timedelta | None) -> str:
    """`3 h 4 min`; a dash where there is nothing."""
    if span is None:
        return "–"  # noqa: RUF001 - a dash where there is nothing
    return re.sub(r" (day|hour|minute|second)s?", lambda found: f"\u00a0{_UNITS[found[1]]}", spoken(span))


def address(url: str) -> str:
    """An address that a person may follow; empty for anything but http and https."""
    return url if url.startswith(("https://", "http://")) and len(url) <= 2000 else ""
