"""The record: verifying a million rows against hashing their texts alone, and what the ledger adds to one row.

`LOCKTENDER_BENCH_ROWS` makes it smaller. The first baseline reads the rows from SQLite and hashes their texts; the
second hashes texts that are in memory, in one process: nobody can do less. A tree needs as many hashes again, and every
leaf is compared: several processes make up for it, where there are many.
"""

import gc
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from sqlalchemy.engine import make_url

from benchmarks import audit_rows
from benchmarks.table import Row
from storage.database import Database
from storage.unit_of_work import Store
from storage.verdict import State, Trust
from storage.verify import verify
from storage.verify_rows import Book, row_text

ROWS = int(os.environ.get("LOCKTENDER_BENCH_ROWS", "1000000"))
APPENDS = 300
BATCH = 20_000


def rows() -> list[Row]:
    with TemporaryDirectory(prefix="locktender-bench-") as folder:
        store = audit_rows.filled(Path(folder), ROWS)
        assert store.signer is not None
        trust = Trust((store.signer.keys.key.public,), store.signer.keys.since)
        book = Book(store.database.engine.url.render_as_string(hide_password=False))
        hashing, reading = _hashing(), _seconds(lambda: _read_and_hash(book))
        alone = _seconds(lambda: _verify(book, trust, 1))
        together = _seconds(lambda: _verify(book, trust, None))
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            grown = fresh.submit(_memory, book, trust, ROWS).result()
        unsigned = Store(store.database)
        plain, signed = _appends(unsigned), _appends(store)
        bare = _appends_bare(store.database)
        store.database.close()
    against = f"hashing {ROWS:,} texts in memory"
    return [
        Row(f"verify {ROWS:,} rows", together * 1000, "ms", 3, "reading and hashing them alone", reading * 1000),
        Row("  the same", together * 1000, "ms", 3, against, hashing * 1000),
        Row("  the same in one process", alone * 1000, "ms", 3, "reading and hashing them alone", reading * 1000),
        Row("  memory it adds to a fresh process", grown, "MB", 100),
        Row("an audit row, in the tree and signed", signed * 1000, "ms", 2, "commit of the row alone", bare * 1000),
        Row("  in the tree, not signed", plain * 1000, "ms", 1.5, "commit of the row alone", bare * 1000),
    ]


def _memory(book: Book, trust: Trust, rows: int) -> float:
    """MB that verifying adds to the peak of a process that has done nothing else: this one has made the rows."""
    before = _peak()
    assert verify(book, trust, processes=1).proven == rows
    return _peak() - before


def _peak() -> float:
    """MB. Not ru_maxrss, which a new process takes over from the one that started it."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _verify(book: Book, trust: Trust, processes: int | None) -> None:
    verdict = verify(book, trust, processes=processes)
    assert verdict.state is State.PROVEN, verdict
    assert verdict.proven == ROWS


def _hashing() -> float:
    """Seconds for the texts alone. Made in batches, so that a million texts need not be in memory at once."""
    taken = 0.0
    for first in range(1, ROWS + 1, BATCH):
        texts = [text for *_, text in audit_rows.texts(range(first, min(first + BATCH, ROWS + 1)))]
        gc.disable()
        began = time.perf_counter()
        for text in texts:
            sha256(b"\x00" + text.encode()).hexdigest()
        taken += time.perf_counter() - began
        gc.enable()
    return taken


def _read_and_hash(book: Book) -> None:
    """The rows from SQLite, their texts, a hash of each: no tree, no comparison, one process."""
    with closing(sqlite3.connect(Path(make_url(book.url).database or ""))) as connection:
        for row in connection.execute(f"SELECT {book.columns} FROM audit ORDER BY seq"):  # noqa: S608 - our own words
            sha256(row_text(row).encode()).digest()


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _appends(store: Store) -> float:
    return median(_seconds(lambda: audit_rows.append(store)) for _ in range(APPENDS))


def _appends_bare(database: Database) -> float:
    """The same row into a table without anything of ours."""
    with database.write() as opened:
        opened.connection.exec_driver_sql("CREATE TABLE bare AS SELECT * FROM audit WHERE seq < 2")

    def one() -> None:
        with database.write() as opened:
            opened.connection.exec_driver_sql("INSERT INTO bare SELECT * FROM audit WHERE seq = 1")

    return median(_seconds(one) for _ in range(APPENDS))
