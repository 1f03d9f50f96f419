"""The words of `/audit`. Pure: names and people are looked up later."""

import re

from bot.slack.parse_text import clean, usage
from commands.grammar import nearest
from commands.requests import Help, History, Mistake, Request, typed

_FILTERS = {"app": "app", "env": "environment", "environment": "environment", "by": "actor", "id": "deployment_id"}
_USER = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>")
_USER_ID = re.compile(r"[UW][A-Z0-9]{2,}")


def parse_audit(text: str, *, me: str) -> Request:
    """`/audit history [app:… env:… by:… id:…]`; `by:me` is whoever asks."""
    line = clean(text)
    if isinstance(line, Mistake):
        return line
    words = line.split(" ") if line else []
    if words and words[0].lower() == "help":
        return Help("audit")
    if words and words[0].lower() == "history":
        words = words[1:]
    found: dict[str, str] = {}
    for word in words:
        key, colon, value = word.partition(":")
        if not colon or key.lower() not in _FILTERS or not value:
            near = nearest(key.lower(), _FILTERS, limit=1)
            hint = f"Did you mean `{near[0]}:`? " if near and colon else ""
            return usage(
                f"{typed(word)} is no filter.",
                f"{hint}The filters are `app:`, `env:`, `by:` (a mention, an id or `me`) and `id:`; "
                "for example `/audit history app:web env:staging`.",
                line,
            )
        found[_FILTERS[key.lower()]] = value
    if "actor" in found:
        who = _person(found["actor"], me)
        if who is None:
            return usage(
                f"{typed('by:' + found['actor'])} names nobody.", "Use `by:me`, a mention, or a Slack user id.", line
            )
        found["actor"] = who
    return History(
        app=found.get("app", ""),
        environment=found.get("environment", ""),
        actor=found.get("actor", ""),
        deployment_id=found.get("deployment_id", ""),
    )


def _person(text: str, me: str) -> str | None:
    if text.lower() in {"me", "@me"}:
        return me
    found = _USER.fullmatch(text)
    if found:
        return found.group(1)
    return text if _USER_ID.fullmatch(text) or text == "locktender" else None
