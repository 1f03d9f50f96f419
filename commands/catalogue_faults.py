"""What is wrong with `locktender.yaml`, and what would be right: every fault at once, each with its line."""

from dataclasses import dataclass

from commands import grammar

_MOST = 100
"""Faults that are listed one by one. A file of garbage has thousands, and nobody reads them."""

_LONGEST_QUOTE = 60


@dataclass(frozen=True)
class CatalogueFault:
    """One fault. Lines and columns count from 1; `path` is the way to it (`apps.web.image`), empty for the whole file.

    `what` says what is there, `instead` what to write.
    """

    line: int
    column: int
    path: str
    what: str
    instead: str
    file: str = "locktender.yaml"

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}: {where}{self.what}; {self.instead}"


@dataclass(frozen=True)
class Faults:
    """Why the file cannot be used, in the order of its lines. Never empty; `left_out` counts the rest."""

    faults: tuple[CatalogueFault, ...]
    left_out: int = 0

    def __str__(self) -> str:
        more = [f"… and {self.left_out} more"] if self.left_out else []
        return "\n".join([*map(str, self.faults), *more])


class Report:
    """Collects faults while a file is read."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: list[CatalogueFault] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int, column: int, path: str, what: str, instead: str) -> None:
        """Note one fault."""
        self._found.append(CatalogueFault(line, column, path, what, instead, self._file))

    def faults(self) -> Faults:
        """All that was noted, each once, sorted by where it is."""
        found = sorted(dict.fromkeys(self._found), key=lambda fault: (fault.line, fault.column))
        return Faults(tuple(found[:_MOST]), max(0, len(found) - _MOST))


def quoted(text: str) -> str:
    """What the file says, in backticks, cut to one short line; characters that hide or turn text are spelled out."""
    spelled = "".join(
        f"\\u{ord(character):04x}" if character == "`" or grammar.unsafe_characters(character) else character
        for character in text[:_LONGEST_QUOTE]
    )
    return f"`{spelled}{'…' if len(text) > _LONGEST_QUOTE else ''}`"


def did_you_mean(guesses: tuple[str, ...], otherwise: str) -> str:
    """`did you mean …?` for the guesses, or the other sentence when there are none."""
    return f"did you mean {' or '.join(f'`{guess}`' for guess in guesses)}?" if guesses else otherwise
