"""The words about locks that cards, answers and announcements share. Times are absolute: a text stays true as it is."""

from datetime import UTC, datetime

from commands.requests import outside

_LONGEST_QUOTE = 200
GOES_ON = "What waited goes on by itself, unless something else stops it."


def clock(at: datetime) -> str:
    """`2026-11-23 16:00 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def until(at: datetime | None) -> str:
    """`until 2026-11-23 16:00 UTC`, or what ends it when no time does."""
    return f"until {clock(at)}" if at is not None else "until it is lifted"


def because(reason: str) -> str:
    """A person's reason as the end of a sentence, on one line and harmless to read; empty when there is none."""
    safe = " ".join(outside(reason).split()).replace("`", "'")
    if not safe:
        return ""
    return f": `{cut(safe, _LONGEST_QUOTE)}`"


def sentence(text: str) -> str:
    """With a capital at its start; what starts with a quotation stays as it is."""
    return text[:1].upper() + text[1:]


def cut(text: str, most: int = 900) -> str:
    """At most so many characters, with an ellipsis where something was cut off."""
    return f"{text[: most - 1]}…" if len(text) > most else text
