"""Writes the record to files: CSV for spreadsheets, `locktender-audit/1` (storage.verify_export) for proof.

Rows never change, so a file is written page by page, each page a short look of its own: memory stays as it is however
long the record, and nobody waits. All pages are of the tree as it was when the file was begun.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from io import StringIO
from typing import IO, Any, cast

from sqlalchemy import bindparam, select

from commands import audit_filter
from commands.requests import ExportForm, History
from storage import ledger, proofs
from storage.audit_index import BATCH, catch_up, terms
from storage.audit_text import COLUMNS, Recorded
from storage.history import AuditFilter, search
from storage.ledger_keys import checkpoint
from storage.merkle import inclusion_proof
from storage.prepared import Prepared
from storage.record_models import AuditRow
from storage.unit_of_work import Store, UnitOfWork
from storage.verify_export import FORMAT

PAGE = 1000
_NODES = 50_000  # hashes of subtrees that are kept while proofs are written: some megabytes
_ROW = cast("Any", AuditRow).__table__.c
_NEXT = Prepared(
    select(*(_ROW[name] for name in COLUMNS))
    .where(_ROW.seq > bindparam("after"), _ROW.seq <= bindparam("last"))
    .order_by(_ROW.seq)
    .limit(PAGE)
)
_CSV = (
    "seq", "at", "action", "actor", "app", "environment", "deployment_id", "reason_code", "status", "version", "commit",
    "details", "leaf",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Written:
    """What is in a file: so many rows, of the tree over `size` rows with this root in hex."""

    rows: int
    size: int
    root: str


@dataclass(frozen=True)
class _Begun:
    """The record when the file was begun. `origin`, `keys` and `checkpoint` are empty while nobody signs it."""

    size: int
    root: str
    origin: str
    keys: tuple[str, ...]
    checkpoint: str


Counted = Callable[[int, int], None]
"""Called with the last row that was written, and the last of all."""


def write(
    store: Store,
    form: ExportForm,
    filters: History,
    now: datetime,
    file: IO[str],
    counted: Counted = lambda _done, _all: None,
) -> Written:
    """Write the rows that pass the filters, times counted from `now`. Raises Refused(BAD_TIME) and OSError.

    Without filters all rows, oldest first; with filters, newest first.
    """
    begun = _begin(store)
    wished = audit_filter.wished(filters, now, PAGE)
    is_whole = not audit_filter.said(filters)
    pages = _all(store, begun.size) if is_whole else _some(store, begun.size, wished)
    rows = 0
    line = _csv(file) if form is ExportForm.CSV else _jsonl(file, begun, filters)
    proofs_of = None if is_whole or form is ExportForm.CSV else _Proofs(store, begun.size)
    for page in pages:
        steps = proofs_of.of(page) if proofs_of else [None] * len(page)
        for row, proof in zip(page, steps, strict=True):
            line(row, proof)
        rows += len(page)
        counted(page[-1].seq, begun.size)
    return Written(rows, begun.size, begun.root)


def defused(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


# ---------------------------------------------------------------- rows


def _begin(store: Store) -> _Begun:
    while catch_up(store) == BATCH:  # a filter looks into the index, and must find everything there
        pass
    with store.read() as uow:
        end = ledger.head(uow.run).frontier
        signer = store.signer
        if signer is None:
            return _Begun(end.size, end.root().hex(), "", (), "")
        signed = checkpoint(uow, signer.origin)
        note = signed.note if signed is not None else ""
        return _Begun(end.size, end.root().hex(), signer.origin, (signer.keys.key.public.vkey,), note)


def _all(store: Store, last: int) -> Iterator[list[Recorded]]:
    after = 0
    while True:
        with store.read() as uow:
            page = [Recorded(*row) for row in uow.run(_NEXT, {"after": after, "last": last})]
        if not page:
            return
        yield page
        after = page[-1].seq


def _some(store: Store, last: int, wished: AuditFilter) -> Iterator[list[Recorded]]:
    before = last + 1
    while True:
        with store.read() as uow:
            found = search(uow, _before(wished, before)).rows
        page = list(found[:PAGE])
        if page:
            yield page
        if len(found) <= PAGE:
            return
        before = page[-1].seq


def _before(wished: AuditFilter, before: int) -> AuditFilter:
    return AuditFilter(**(vars(wished) | {"before": before}))


class _Proofs:
    """The steps that show rows to be in one tree; hashes that many rows share are read once."""

    def __init__(self, store: Store, size: int) -> None:
        self._store = store
        self._size = size
        self._uow: UnitOfWork | None = None
        self._subtree = lru_cache(_NODES)(self._read)

    def of(self, page: list[Recorded]) -> list[list[str] | None]:
        """Hashes in hex for each row. NoProofError when the stored tree has a hole."""
        with self._store.read() as self._uow:
            return [[step.hex() for step in inclusion_proof(row.seq - 1, self._size, self._subtree)] for row in page]

    def _read(self, level: int, index: int) -> bytes:
        if self._uow is None:
            raise RuntimeError("a proof is read inside of `of`")
        return proofs.subtree(self._uow.run, level, index)


# ---------------------------------------------------------------- lines


def _csv(file: IO[str]) -> Callable[[Recorded, list[str] | None], None]:
    file.write("\ufeff")  # spreadsheets take it for UTF-8 only with this mark
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(_CSV)

    def line(row: Recorded, _: list[str] | None) -> None:
        found = terms(row)
        at = row.at.isoformat(timespec="microseconds")
        cells = (
            row.action, row.actor, row.app, row.environment, row.deployment_id, row.reason_code, found.status,
            found.version, found.commit_sha, row.details, row.leaf,
        )  # fmt: skip
        writer.writerow([row.seq, at, *(defused(cell) for cell in cells)])

    return line


def _jsonl(file: IO[str], begun: _Begun, filters: History) -> Callable[[Recorded, list[str] | None], None]:
    head = {"format": FORMAT, **asdict(begun), "filters": audit_filter.said(filters)}
    file.write(json.dumps(head) + "\n")
    encode = json.JSONEncoder(separators=(",", ":")).encode  # ASCII: U+2028 ends a line for some readers
    names = tuple(name for name in COLUMNS if name not in {"at", "details"})

    def line(row: Recorded, proof: list[str] | None) -> None:
        said: dict[str, object] = {name: getattr(row, name) for name in names}
        said["at"] = row.at.isoformat(timespec="microseconds")
        said["details"] = _details(row.details)
        if proof is not None:
            said["proof"] = proof
        file.write(encode(said) + "\n")

    return line


def _details(stored: str) -> object:
    """As JSON; what somebody made of it otherwise is written as it is, for the verifier to find."""
    try:
        return json.loads(stored)
    except (ValueError, RecursionError):
        return stored


def as_text(store: Store, form: ExportForm, filters: History, now: datetime) -> str:
    """The whole file at once, for a few rows."""
    file = StringIO()
    write(store, form, filters, now, file)
    return file.getvalue()
