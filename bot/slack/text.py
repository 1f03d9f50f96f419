"""How outside text gets into Slack: one escape function, and the lengths Slack takes."""

import re

from commands.requests import outside

_MENTION = re.compile("\ue000([A-Za-z0-9_-]+)\ue001")
_INVISIBLE = re.compile("[\u0000-\u0008\u000b-\u001f\u007f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
SECTION = 3000
FALLBACK = 3900  # of 4,000: room for what Slack counts differently


def escape(text: str) -> str:
    """Our own text for mrkdwn: `& < >` become entities, so nothing in it can ping or link; people become mentions."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub(r"<@\1>", safe)


def foreign(text: str) -> str:
    """Text from outside, for use inside ours: no mentions, no invisible characters, no code fence of its own."""
    return _INVISIBLE.sub("", outside(text)).replace("`", "'")


def plain(text: str) -> str:
    """Text for a `plain_text` field: mentions become ids, nothing is markup."""
    return _MENTION.sub(r"@\1", text)


def cut(text: str, most: int) -> str:
    """At most `most` characters, with an ellipsis where something was cut off. Entities are not cut in two."""
    if len(text) <= most:
        return text
    return re.sub(r"&[a-z]{0,3}$", "", text[: most - 1]) + "…"


def quoted(text: str, most: int = SECTION) -> str:
    """Log lines or a tool's words as a code block, the end of them when they are long."""
    safe = escape(foreign(text)).strip("\n")
    room = most - len("```\n\n```")
    if len(safe) > room:
        safe = "…" + re.sub(r"^[a-z]{0,3};", "", safe[-(room - 1) :])
    return f"```\n{safe}\n```"
