"""The end of a build's console, made harmless for a message."""

import re
import unicodedata

from bot.integrations.jenkins.connection import Connection

TAIL_LINES = 20
LINE_LIMIT = 300  # characters
_WINDOW = 32 * 2**10  # bytes read from the end of the log
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


def console_tail(connection: Connection, build_path: str) -> str:
    """The last lines of the log; empty when there is none.

    A `start` beyond the end makes Jenkins send the whole log, so the size is asked first: it is in a header of an
    answer whose body is let go after the window.
    """
    path = f"{build_path}logText/progressiveText"
    reply = connection.get(path, {"start": "0"}, limit=_WINDOW)
    if reply is None:
        return ""
    size = int(reply.text_size) if reply.text_size.isascii() and reply.text_size.isdigit() else len(reply.body)
    if reply.whole or size <= len(reply.body):
        return clean_tail(reply.body)
    end = connection.get(path, {"start": str(size - _WINDOW)}, limit=2 * _WINDOW)
    # The first line is cut somewhere, perhaps within a character or an escape sequence.
    return clean_tail(end.body.partition(b"\n")[2]) if end else ""


def clean_tail(log: bytes) -> str:
    """The last lines without escape sequences, control and direction-changing characters, each at a bounded length."""
    text = _ESCAPES.sub("", log.decode("utf-8", errors="replace").replace("\t", "    "))
    lines = [_plain(line) for line in text.splitlines()]
    return "\n".join([line for line in lines if line.strip()][-TAIL_LINES:])


def _plain(line: str) -> str:
    kept = "".join(c for c in line if not unicodedata.category(c).startswith("C")).rstrip()
    return kept if len(kept) <= LINE_LIMIT else kept[: LINE_LIMIT - 1] + "…"
