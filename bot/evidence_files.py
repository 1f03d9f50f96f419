"""Evidence on disk: the JSON that proves and the page to read, beside each other, readable by their owner alone."""

import os
from dataclasses import dataclass
from pathlib import Path

from bot.evidence_page import page, stem
from commands.evidence_file import NotEvidenceError, Taken, read
from commands.evidence_verify import judge
from storage.verdict import State, Trust, Verdict
from storage.verify_rows import Book

_LONGEST = 64_000_000
"""Bytes of a file that is read: thousands of rows and the longest difference are a tenth of that."""
_OTHER_PAGE = (
    "The page beside the file is not the one that this version of Locktender makes of it: it was edited, or made by "
    "another version. Go by the JSON file."
)


@dataclass(frozen=True)
class EvidenceFiles:
    """Where both are."""

    statement: Path
    page: Path


def write(taken: Taken, folder: Path) -> EvidenceFiles:
    """Write both files, over those of an earlier time. OSError."""
    found = EvidenceFiles(folder / f"{stem(taken)}.json", folder / f"{stem(taken)}.html")
    _write(found.statement, taken.statement)
    _write(found.page, page(taken))
    return found


def verify(path: Path, trust: Trust, database: Book | None = None) -> Verdict:
    """Judge a JSON file, and the page beside it when there is one.

    NotEvidenceError, OSError; what a database's driver raises.
    """
    if path.stat().st_size > _LONGEST:
        raise NotEvidenceError("The file is too long to be evidence.")
    try:
        text = path.read_text("utf-8")
    except ValueError as error:
        raise NotEvidenceError("The file is not text.") from error
    if path.suffix == ".html":
        raise NotEvidenceError("The page is for reading: name the JSON file that it was made with.")
    verdict = judge(text, trust, database)
    beside = path.with_suffix(".html")
    if verdict.state is not State.PROVEN or not beside.is_file():
        return verdict
    taken, _ = read(text)
    if beside.read_text("utf-8", errors="replace") == page(taken):
        return verdict
    return Verdict(State.UNKNOWN, verdict.rows, verdict.proven, notes=(_OTHER_PAGE, *verdict.notes))


def _write(path: Path, text: str) -> None:
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline=""
    ) as file:
        file.write(text)
