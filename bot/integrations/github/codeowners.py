"""CODEOWNERS as GitHub reads it: who owns which file. Pure.

https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
"""Where GitHub looks, in this order; the first file that is there counts."""

_LONGEST_LINE = 1000
_WORD = re.compile(r"(?:\\.|[^\s\\])+")


@dataclass(frozen=True)
class Owned:
    """A line of the file that decides about some of the files asked for. `owners` as written: `@user`, `@org/team`."""

    pattern: str
    owners: tuple[str, ...]


def owned(text: str, paths: Iterable[str]) -> tuple[Owned, ...]:
    """The lines that decide about these paths, in the file's order; lines that name no owner are left out."""
    lines = [(Owned(pattern, owners), _matcher(pattern)) for pattern, owners in _lines(text)]
    deciding: set[int] = set()
    for path in paths:
        for number in range(len(lines) - 1, -1, -1):  # the last match takes precedence
            if lines[number][1].match(path):
                deciding.add(number)
                break
    found = [lines[number][0] for number in sorted(deciding)]
    return tuple(dict.fromkeys(one for one in found if one.owners))


def _lines(text: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    for line in text.splitlines():
        words = _WORD.findall(line[:_LONGEST_LINE])
        comment = next((at for at, word in enumerate(words) if word.startswith("#")), len(words))
        if comment and "!" not in words[0][:1] and "[" not in words[0]:  # gitignore's, which GitHub does not take here
            yield words[0], tuple(words[1:comment])


def _matcher(pattern: str) -> re.Pattern[str]:
    plain = re.sub(r"\\(.)", r"\1", pattern)
    parts = plain.strip("/").split("/")
    anchored = plain.startswith("/") or len(parts) > 1
    folder = plain.endswith("/")
    pieces = [_piece(part) for part in parts]
    expression = "" if anchored else "(?:.*/)?"
    for at, piece in enumerate(pieces):
        last = at == len(pieces) - 1
        if parts[at] == "**":
            expression += ".+" if last else "(?:.*/)?"
        else:
            expression += piece + ("" if last else "/")
    if folder:
        expression += "/.+"
    elif parts[-1] != "**" and not (parts[-1] == "*" and anchored):
        # A name is a file or a folder with all that is in it, but `docs/*` is what lies directly in `docs`.
        expression += "(?:/.+)?"
    return re.compile(expression + r"\Z", re.DOTALL)


def _piece(part: str) -> str:
    return re.sub(r"\*+", "*", part).translate(_GLOB)


_GLOB = {ord(c): re.escape(c) for c in ".^$+{}()|[]\\-&~# "} | {ord("*"): "[^/]*", ord("?"): "[^/]"}
