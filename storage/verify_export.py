"""Judges an export of the record, a `locktender-audit/1` file, without the database it came from.

The file is lines of JSON. The first is of the whole record at that time, `checkpoint` being its signed note:
`{"format": "locktender-audit/1", "origin", "size", "root", "keys", "checkpoint", "filters"}`. Then a row a line:
`{"seq", "at", "action", "team_id", "actor", "app", "environment", "deployment_id", "reason_code", "details", "leaf",
"sig"}`. Where
`filters` left rows out, each row has a `proof`, the hashes in hex that show that it is in the tree of `size` rows.

Rows of a whole export are put into a database of their own for a moment, which is then judged as any other.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from storage.canonical import canonical
from storage.merkle import verify_inclusion
from storage.signing import NotSignedTextError, SignedHead
from storage.verdict import Anchor, Finding, Kind, State, Trust, Verdict, finding
from storage.verify import Progress, verify
from storage.verify_rows import BLOCK, HASHED, Book, Reader, row_text

FORMAT = "locktender-audit/1"
LEFT_OUT = "Rows that the filters left out are not in this file: that none else is missing, only the record shows."
_LONGEST = 4_000_000  # characters of a line: a row with the longest details is a small part of that
_COLUMNS = (
    "seq", "at", "action", "team_id", "actor", "app", "environment", "deployment_id", "reason_code", "details",
    "leaf", "sig",
)  # fmt: skip
_SCHEMA = f"CREATE TABLE audit ({', '.join(('seq INTEGER PRIMARY KEY', *(f'{one} TEXT' for one in _COLUMNS[1:])))})"


class NotAnExportError(Exception):
    """The file is not an export, or is cut in the middle of a line. The message is a sentence for people."""


@dataclass(frozen=True)
class Header:
    """What an export says of itself. Only the checkpoint proves anything, to who has its key from elsewhere."""

    origin: str
    size: int
    root: bytes
    checkpoint: str
    filters: str = ""


@dataclass(frozen=True)
class Line:
    """A row of an export: its columns as the database has them, and its proof where there is one."""

    values: tuple[Any, ...]
    proof: tuple[bytes, ...] | None

    @property
    def seq(self) -> int:
        """Its number."""
        return int(self.values[0])


def verify_export(
    path: Path,
    trust: Trust,
    database: Book | None = None,
    *,
    anchors: Sequence[Anchor] = (),
    progress: Progress = lambda _done, _all: None,
    processes: int | None = None,
) -> Verdict:
    """Judge an export; with a database, also whether both say the same. `anchors` are checkpoints from elsewhere.

    Memory is bounded, disk is not: a whole export is written once more, to a temporary file. Raises NotAnExportError,
    OSError, and what the database's driver raises.
    """
    lines = read(path)
    header = next(lines)
    if not isinstance(header, Header):
        raise NotAnExportError("The file has no first line that says what it is.")
    if header.filters:
        return judge_part(header, lines, trust, database, LEFT_OUT)
    with TemporaryDirectory(prefix="locktender-verify-") as folder:
        book = Book.at(Path(folder) / "export.db")
        _fill(Path(folder) / "export.db", lines)
        own, findings = _anchor(header, trust)
        then = tuple(one for one in anchors if one.signed.head.size <= header.size)  # git has gone on since
        verdict = verify(book, trust, (*own, *then), progress=progress, processes=processes)
        findings += _short(header, verdict)
        if database is not None:
            findings += _compare(book, database)
        return _with(verdict, findings)


def read(path: Path) -> Iterator[Header | Line]:
    """The header, then the rows, one at a time. Raises NotAnExportError and OSError."""
    with path.open(encoding="utf-8", newline="\n") as file:
        number = 0
        try:
            while text := file.readline(_LONGEST):
                number += 1
                said = json.loads(text)
                if not isinstance(said, dict):
                    raise NotAnExportError(f"Line {number} of the file is no JSON object.")
                yield _header(said) if number == 1 else line_of(said)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise NotAnExportError(f"Line {number} of the file is not what `audit export jsonl` writes.") from error
    if number == 0:
        raise NotAnExportError("The file is empty.")


def _header(said: Mapping[str, Any]) -> Header:
    if said["format"] != FORMAT:
        raise NotAnExportError(f"The file is not a `{FORMAT}` export.")
    filters = said.get("filters", "")
    return Header(
        str(said["origin"]),
        int(said["size"]),
        bytes.fromhex(said["root"]),
        str(said["checkpoint"]),
        canonical(filters) if isinstance(filters, dict) and filters else str(filters or ""),
    )


def line_of(said: Mapping[str, Any]) -> Line:
    """A row of the file. KeyError, ValueError, TypeError and AttributeError for what is none."""
    details = said["details"]
    known = dict(said) | {
        "at": _stored_time(said["at"]),
        "details": details if isinstance(details, str) else canonical(details),
        "seq": int(said["seq"]),
    }
    proof = said.get("proof")
    steps = None if proof is None else tuple(bytes.fromhex(one) for one in proof)
    return Line(tuple(known[name] for name in _COLUMNS), steps)


def _stored_time(text: str) -> str:
    """As SQLite stores it. What is no time stays what it is: no row has such a one, so its hash will not fit."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    except ValueError:
        return text


def _fill(path: Path, lines: Iterator[Header | Line]) -> None:
    marks = ", ".join("?" * len(_COLUMNS))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(_SCHEMA)
        connection.execute("BEGIN")
        try:
            rows = (line.values for line in lines if isinstance(line, Line))
            connection.executemany(f"INSERT INTO audit ({', '.join(_COLUMNS)}) VALUES ({marks})", rows)  # noqa: S608 - our own words
        except (sqlite3.Error, OverflowError, ValueError) as error:
            raise NotAnExportError("Two rows of the file have the same number, or one is no row.") from error
        connection.execute("COMMIT")


def _anchor(header: Header, trust: Trust) -> tuple[tuple[Anchor, ...], tuple[Finding, ...]]:
    """The checkpoint in the header, when it is what the header says."""
    if not header.checkpoint:
        return (), ()
    where = "the first line of the export"
    try:
        signed = SignedHead.parse_note(header.checkpoint)
    except NotSignedTextError as error:
        return (), (finding(Kind.CHECKPOINT, 0, f"The checkpoint in {where} cannot be read. {error}"),)
    if (signed.head.size, signed.head.root) != (header.size, header.root) and trust.keys:
        what = "The first line of the export gives a size or a root that is not the one of its checkpoint."
        return (), (finding(Kind.CHECKPOINT, 0, what),)
    return (Anchor(where, signed),), ()


def _short(header: Header, verdict: Verdict) -> tuple[Finding, ...]:
    if verdict.rows == header.size or any(one.kind is Kind.CUT_OFF for one in verdict.findings):
        return ()
    what = f"The export says that it holds {header.size:,} rows, and holds {verdict.rows:,}."
    return (finding(Kind.CUT_OFF, min(header.size, verdict.rows) + 1, what),)


def _compare(export: Book, database: Book) -> tuple[Finding, ...]:
    """The first row that the two do not agree on."""
    with closing(Reader(export)) as one, closing(Reader(database)) as other:
        rows = one.end().rows
        for first in range(1, rows + 1, BLOCK):
            last = min(first + BLOCK - 1, rows)
            if one.leaves(first, last) == other.leaves(first, last):
                continue
            there = dict(other.ask(_LEAVES, first, last).fetchall())
            for seq, leaf in one.ask(_LEAVES, first, last):
                if there.get(seq) != leaf:
                    return (_differs(int(seq)),)
    return ()


_LEAVES = "SELECT seq, leaf FROM audit WHERE seq BETWEEN ? AND ? ORDER BY seq"


def _differs(seq: int) -> Finding:
    return finding(Kind.EXPORT, seq, f"Row {seq} of the export is not the one that the database has.")


def _with(verdict: Verdict, more: tuple[Finding, ...]) -> Verdict:
    if not more:
        return verdict
    findings = tuple(sorted((*verdict.findings, *more), key=lambda one: (one.row == 0, one.row)))
    return replace(verdict, state=State.TAMPERED, findings=findings)


def judge_part(
    header: Header, lines: Iterable[Header | Line], trust: Trust, database: Book | None, note: str
) -> Verdict:
    """Every row by itself, by its proof. That rows were left out shows nowhere here: `note` says what that means."""
    anchors, found = _anchor(header, trust)
    findings = list(found)
    signed = any(anchor.signed.signed_by(key) for anchor in anchors for key in trust.keys)
    if anchors and trust.keys and not signed:
        what = "The checkpoint of the export is not signed with the key that you trust."
        findings.append(finding(Kind.OTHER_KEY, 0, what))
    count = unproved = 0
    with closing(_Leaves(database)) as leaves:
        for line in lines:
            if not isinstance(line, Line):
                continue
            count += 1
            unproved += line.proof is None
            wrong = _wrong(line, header) or leaves.wrong(line)
            if wrong is not None:
                findings.append(wrong)
                break
    proven = count if signed and not unproved and not findings else 0
    state = State.TAMPERED if findings else State.PROVEN if proven else State.UNKNOWN
    notes: tuple[str, ...] = (note,) if note else ()
    if state is State.UNKNOWN:
        why = "its checkpoint" if not signed else "each of its rows"
        notes = (f"The rows fit their hashes, but the file has no proof of {why} by a key that you trust.", *notes)
    return Verdict(state, count, proven, findings=tuple(findings), notes=notes)


def _wrong(line: Line, header: Header) -> Finding | None:
    known = dict(zip(_COLUMNS, line.values, strict=True))
    try:
        leaf = sha256(row_text([*(known[name] for name in HASHED), "", ""]).encode()).digest()
    except (TypeError, AttributeError, ValueError) as error:
        raise NotAnExportError(f"Row {line.seq} of the file is not what `audit export jsonl` writes.") from error
    if leaf.hex() != known["leaf"]:
        return finding(Kind.EDITED, line.seq, f"Row {line.seq} was edited: what it says is not what was hashed.")
    if line.proof is not None and not verify_inclusion(leaf, line.seq - 1, header.size, line.proof, header.root):
        return finding(Kind.REFORGED, line.seq, f"Row {line.seq} is not in the tree that the export names.")
    return None


class _Leaves:
    """The leaves of a database, to compare with; of none, when there is none."""

    def __init__(self, book: Book | None) -> None:
        self._reader = None if book is None else Reader(book)

    def wrong(self, line: Line) -> Finding | None:
        if self._reader is None:
            return None
        found = self._reader.ask("SELECT leaf FROM audit WHERE seq = ?", line.seq).fetchone()
        return None if found is not None and found[0] == line.values[10] else _differs(line.seq)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
