"""Texts within GitHub's limits. Pure."""

import re

LONGEST_BODY = 65_536
"""Characters in the body of a pull request or a comment; GitHub answers 422 to more."""

LONGEST_TITLE = 256
LONGEST_DESCRIPTION = 140
"""Characters in the description of a commit status."""

_CUT = "\n\n*This text was cut here: it is longer than GitHub takes.*\n"
_ROOM = 400  # for the note and for what has to be closed before it
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})", re.MULTILINE)
_DETAILS = re.compile(r"<(/?)details\b[^>]*>", re.IGNORECASE)


def line(text: str, longest: int) -> str:
    """The text on one line, cut with an ellipsis."""
    words = " ".join(text.split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def body(text: str) -> str:
    """The text cut at the end of a line, with open code fences and folds closed, and a note that says so."""
    if _length(text) <= LONGEST_BODY:
        return text
    # GitHub's count of what is outside the basic plane is not documented: two each is the safe one.
    kept = text.encode("utf-16-le")[: 2 * (LONGEST_BODY - _ROOM)].decode("utf-16-le", "ignore")
    kept = kept[: kept.rfind("\n")] if "\n" in kept[-4096:] else kept
    return kept + _closing(kept) + _CUT


def _length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _closing(text: str) -> str:
    """What ends the code fence and the folds that are open at the end of this text."""
    fence, outside, start = "", [], 0
    for found in _FENCE.finditer(text):
        mark = found.group(1)
        if not fence:
            fence = mark
            outside.append(text[start : found.start()])
        elif mark.startswith(fence) and not text[found.end() :].split("\n", 1)[0].strip():
            fence, start = "", found.end()
    if not fence:
        outside.append(text[start:])
    folds = 0
    for fold in _DETAILS.finditer("\n".join(outside)):
        folds = max(folds + (-1 if fold.group(1) else 1), 0)
    return (f"\n{fence}" if fence else "") + "\n\n</details>" * min(folds, 20)
