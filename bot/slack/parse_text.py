"""What Slack and phones do to a typed line, undone; and how a line that is no request is answered. Pure."""

import re

from commands.grammar import unsafe_characters
from commands.reasons import ReasonCode
from commands.requests import Mistake, outside

LONGEST_TEXT = 1000
_LONGEST_EXAMPLE = 220
SPACES = re.compile("[ \\t\\r\\n\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_LINK = re.compile(r"<(?:https?://|mailto:)[^<>|]*\|([^<>]*)>|<(https?://[^<>|]*)>")


def clean(text: str) -> str | Mistake:
    """One line, entities undone, spaces single; a Mistake for what cannot be shown as it was meant."""
    line = SPACES.sub(" ", text).strip()
    line = line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    if len(line) > LONGEST_TEXT:
        return usage(
            f"The command is {len(line)} characters long; {LONGEST_TEXT} is the most.",
            "Shorten the reason, or put the long story in a ticket and name it here.",
            line[:100],
        )
    unsafe = unsafe_characters(line) or _private(line)
    if unsafe is not None:
        return Mistake(
            ReasonCode.UNSAFE_TEXT,
            f"The command holds {unsafe}, which can make text read as something else than it is.",
            "Type the command by hand instead of pasting it.",
        )
    return line


def unlinked(text: str) -> str:
    """The text of a mention as it was typed: Slack wraps what looks like an address there, `my.app` too.

    https://docs.slack.dev/messaging/formatting-message-text#retrieving-messages
    """
    return _LINK.sub(lambda found: found[1] if found[1] is not None else found[2], text)


def usage(what: str, next_step: str, words: str) -> Mistake:
    """The answer to words that are no request; they are recorded as far as they can be read."""
    return Mistake(ReasonCode.BAD_USAGE, what, next_step, _harmless(words))


def example(line: str) -> str:
    """A command line in backticks, made of a person's own words: those must not end the quotation early."""
    seen = _harmless(line).replace("`", "\ufffd")
    return f"`{seen if len(seen) <= _LONGEST_EXAMPLE else f'{seen[:_LONGEST_EXAMPLE]}…'}`"


def _harmless(text: str) -> str:
    return "".join("\ufffd" if unsafe_characters(one) else one for one in outside(text))


def _private(text: str) -> str | None:
    """Private-use characters look like nothing, and mark people and links in our own texts."""
    if outside(text) == text:
        return None
    found = next(one for one in text if not outside(one))
    return f"a private-use character (U+{ord(found):04X})"
