"""Full text without a database's own idea of a word: what a row is found by, and what a typed word looks for. Pure.

SQLite's and Postgres's tokenizers disagree on hyphens, dots, digits and half of Unicode. So rows are taken apart here,
and the databases get tokens that each of them keeps as they are: ASCII, lower case.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MOST_WORDS = 1000
"""Different tokens of one row; a list of faults may hold more, and nobody looks for the last of them."""
_LONGEST_TEXT = 20_000  # characters of one value
_LONGEST_TOKEN = 64  # a SHA-256 in hex fits
_MOST_PARTS = 6
_COMPOUND = re.compile(r"[^\W_]+(?:[-._]+[^\W_]+)*")
_PART = re.compile(r"[^\W_]+")
_BEGINNING = re.compile(r"[0-9a-f]{6,}|(?=[a-z]*[0-9])[0-9a-z]{6,}")


@dataclass(frozen=True)
class Token:
    """What one typed word looks for; with `prefix`, every token that begins with it."""

    text: str
    prefix: bool = False


def tokens_of(texts: Iterable[str]) -> frozenset[str]:
    """What a row with these texts is found by.

    `my-application` is found by itself, by `my` and by `application`; `1.4.2` by `1.4` too. What has more than six
    parts is found whole, or by a single one.
    """
    found: set[str] = set()
    for text in texts:
        for compound in _COMPOUND.finditer(text[:_LONGEST_TEXT].casefold()):
            if len(found) >= MOST_WORDS:
                return frozenset(found)
            found.update(_stored(part) for part in _parts(compound.group()))
    return frozenset(found)


def wanted(words: Iterable[str]) -> tuple[Token, ...]:
    """What these typed words look for; all of it must be there.

    What looks like the beginning of a commit or of an id finds whatever begins so.
    """
    found: dict[Token, None] = {}
    for word in words:
        for compound in _COMPOUND.findall(word.casefold()):
            found[Token(_stored(compound), _BEGINNING.fullmatch(compound) is not None)] = None
    return tuple(found)


def is_met(token: Token, tokens: frozenset[str]) -> bool:
    """True when a row with these tokens has this one."""
    if token.prefix:
        return any(one.startswith(token.text) for one in tokens)
    return token.text in tokens


def _parts(compound: str) -> Iterator[str]:
    yield compound
    parts = list(_PART.finditer(compound))
    if len(parts) < 2:
        return
    last = len(parts) if len(parts) <= _MOST_PARTS else 1
    for first in range(len(parts)):
        for length in range(1, min(last, len(parts) - first) + 1):
            yield compound[parts[first].start() : parts[first + length - 1].end()]


def _stored(word: str) -> str:
    """ASCII as it is; anything else as its bytes in hex, behind a sign that no word begins with."""
    return word[:_LONGEST_TOKEN] if word.isascii() else f"=={word.encode()[: _LONGEST_TOKEN // 2].hex()}"
