"""How outside text gets into Slack: one escape function, and the lengths Slack takes."""

import re

from commands.requests import outside

_MENTION = re.compile("\ue000([A-Za-z0-9_-]+)\ue001")
_USER = re.compile(r"[UW][A-Z0-9]{2,}")
_GROUP = re.compile(r"S[A-Z0-9]{2,}")
_TERMINAL = re.compile("\u001b\\[[0-9;?]*[ -/]*[@-~]")
"""Colours and cursor moves, as build logs hold them."""
_INVISIBLE = re.compile(
    # Controls but tab and line feed, everything that turns the direction of text or cannot be seen, halves of
    # surrogate pairs, private use (our own marks), tags and the private planes.
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ue000-\uf8ff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)
SECTION = 3000
FALLBACK = 3900  # of 4,000: room for what Slack counts differently


def escape(text: str) -> str:
    """Our own text for mrkdwn: `& < >` become entities, so nothing in it can ping or link; people become mentions.

    What cannot be seen and what opens a code block is dropped here too: a sentence of ours may quote a tool's word.
    """
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _INVISIBLE.sub("", _MENTION.sub(_mentioned, safe)).replace("```", "'''")


def _mentioned(found: re.Match[str]) -> str:
    """Slack shows a mention of what is no user id as an error: a command-line user stays a name."""
    who = found.group(1)
    if _GROUP.fullmatch(who):
        return f"<!subteam^{who}>"
    return f"<@{who}>" if _USER.fullmatch(who) else who


def foreign(text: str) -> str:
    """Text from outside, for use inside ours: no mentions, no invisible characters, no code fence of its own."""
    return _INVISIBLE.sub("", _TERMINAL.sub("", outside(text))).replace("`", "'")


def plain(text: str) -> str:
    """Text for a `plain_text` field: mentions become ids, nothing is markup."""
    return _INVISIBLE.sub("", _MENTION.sub(r"@\1", text))


def link(url: str, label: str) -> str:
    """A link in mrkdwn; the bare label when the address is none that a person should follow."""
    shown = escape(foreign(label)).replace("|", "¦")
    if not url.startswith(("http://", "https://")) or len(url) > 1000:
        return shown
    address = "".join(letter if letter.isascii() and letter.isprintable() else "" for letter in url)
    for letter, code in ((" ", "%20"), ("|", "%7C"), ("`", "%60"), ("<", "%3C"), (">", "%3E"), ("&", "&amp;")):
        address = address.replace(letter, code)
    return f"<{address}|{shown}>"


def cut(text: str, most: int) -> str:
    """At most `most` characters, with an ellipsis where something was cut off. No entity or mention is cut in two."""
    if len(text) <= most:
        return text
    return re.sub(r"(&[a-z]{0,3}|<[^<>]*)$", "", text[: most - 1]) + "…"


def middle(text: str, most: int) -> str:
    """At most `most` characters: the beginning and the end, for names that differ at either."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 3
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def quoted(text: str, most: int = SECTION) -> str:
    """Log lines or a tool's words as a code block, the end of them when they are long."""
    safe = escape(foreign(text)).strip("\n")
    room = most - len("```\n\n```")
    if len(safe) > room:
        safe = "…" + re.sub(r"^[a-z]{0,3};", "", safe[-(room - 1) :])
    return f"```\n{safe}\n```"
