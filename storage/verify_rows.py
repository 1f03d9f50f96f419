"""Reads the record for a verifier, a block of rows at a time, and says what their tree is and which row is at fault.

The text that is hashed holds `details` as they are stored, which is canonical: writing them otherwise without changing
what they mean is an edit.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from itertools import groupby
from json.encoder import encode_basestring as quoted
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from storage.database import normalise
from storage.ledger import KEY_ACTION, KeyChange, key_change
from storage.merkle import Frontier

LEVELS = 14
BLOCK = 1 << LEVELS
"""Rows that are read at once: a block is a complete subtree, and small beside a process's memory."""

HASHED = ("action", "actor", "app", "at", "deployment_id", "details", "environment", "reason_code", "seq", "team_id")
"""The columns that a row's leaf is over, in the order that its canonical text has them."""
_ID_LENGTH = 8


class Wrong(StrEnum):
    """What can be wrong with a row by itself."""

    MISSING = "missing"
    EDITED = "edited"


@dataclass(frozen=True)
class Fault:
    """The first row of a block that is wrong by itself."""

    row: int
    wrong: Wrong


@dataclass(frozen=True)
class Run:
    """Rows in a row whose signatures are by one key; without an id they have none."""

    key_id: str
    first: int
    last: int


@dataclass(frozen=True)
class Task:
    """A block to look at: rows `first` to `last`, and tree sizes inside of it whose roots are wanted."""

    first: int
    last: int
    wanted: tuple[int, ...] = ()
    has_tree: bool = True


@dataclass(frozen=True)
class Block:
    """What was found. `edges` are the trees over the block's own rows, up to each size that was wanted."""

    task: Task
    edges: tuple[tuple[int, Frontier], ...]
    runs: tuple[Run, ...]
    tree: Frontier
    fault: Fault | None = None
    bad_node: tuple[int, int] | None = None


@dataclass(frozen=True)
class End:
    """The end of the record when the verifier began, read in one snapshot."""

    rows: int
    size: int | None
    edge: str
    reach: int
    """How many rows the stored nodes are over."""
    changes: tuple[tuple[int, KeyChange | None], ...]
    left: tuple[tuple[int, str], ...]
    """Checkpoints that have left, by size."""


@dataclass(frozen=True)
class Book:
    """Where a record is: a database's URL. Can be handed to another process."""

    url: str

    @classmethod
    def at(cls, path: Path) -> "Book":
        """A SQLite file."""
        return cls(f"sqlite:///{path.absolute()}")

    @property
    def is_sqlite(self) -> bool:
        """True for a file."""
        return self.url.startswith("sqlite")

    @property
    def time(self) -> str:
        """SQL for a row's time as SQLite stores it."""
        return "at" if self.is_sqlite else "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"

    @property
    def columns(self) -> str:
        """SQL for what is hashed of a row, its leaf, and whose signature it has."""
        hashed = ", ".join(self.time if name == "at" else name for name in HASHED)
        return f"{hashed}, leaf, substr(sig, 1, {_ID_LENGTH})"

    def joined(self, what: str, source: str, order: str) -> str:
        """SQL for all values of a column as one text: one row to fetch instead of thousands."""
        if self.is_sqlite:
            return f"SELECT coalesce(group_concat({what}, ''), '') FROM (SELECT * FROM {source} ORDER BY {order})"  # noqa: S608 - our own words
        return f"SELECT coalesce(string_agg({what}, '' ORDER BY {order}), '') FROM {source}"  # noqa: S608 - our own words


class Reader:
    """A connection that only reads. Raises what the driver raises: sqlite3.Error, psycopg.Error."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._mark = "?" if book.is_sqlite else "%s"
        self._connection: Any = _sqlite(book.url) if book.is_sqlite else _postgres(book.url)

    def ask(self, sql: str, *values: object) -> Any:  # noqa: ANN401 - a cursor of either driver
        """A cursor over the answer."""
        cursor = self._connection.cursor()
        cursor.execute(sql.replace("?", self._mark), values)
        return cursor

    def end(self) -> End:
        """What the record says of itself."""
        with_tree = bool(self._tables() & {"ledger_state"})
        self.ask("BEGIN" if self.book.is_sqlite else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            rows = int(self.ask("SELECT coalesce(max(seq), 0) FROM audit").fetchone()[0])
            keys = self.ask("SELECT seq, details FROM audit WHERE action = ? ORDER BY seq", KEY_ACTION).fetchall()
            changes = tuple((int(seq), key_change(str(details))) for seq, details in keys)
            if not with_tree:
                return End(rows, None, "[]", rows, changes, ())
            state = self.ask("SELECT size, frontier FROM ledger_state WHERE id = 1").fetchone()
            reach = self.ask("SELECT coalesce(max(CAST(idx + 1 AS BIGINT) << level), 0) FROM ledger_nodes").fetchone()
            left = self.ask("SELECT size, note FROM checkpoints ORDER BY size").fetchall()
            size, edge = (int(state[0]), str(state[1])) if state else (0, "[]")
            return End(rows, size, edge, int(reach[0]), changes, tuple((int(one), str(note)) for one, note in left))
        finally:
            self.ask("ROLLBACK")

    def _tables(self) -> set[str]:
        catalogue = (
            "SELECT name FROM sqlite_master"
            if self.book.is_sqlite
            else "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
        return {str(row[0]) for row in self.ask(catalogue)}

    def stamp(self, row: int) -> str:
        """A row's signature; empty without one."""
        found = self.ask("SELECT sig FROM audit WHERE seq = ?", row).fetchone()
        return str(found[0]) if found else ""

    def stamps(self, first: int, last: int) -> Iterator[tuple[int, bytes, str]]:
        """Number, leaf and signature of rows whose leaves were found to be right."""
        for seq, leaf, sig in self.ask(
            "SELECT seq, leaf, sig FROM audit WHERE seq BETWEEN ? AND ? ORDER BY seq", first, last
        ):
            yield int(seq), bytes.fromhex(leaf), str(sig)

    def leaves(self, first: int, last: int) -> str:
        """The leaves of these rows, as they are stored, in hex."""
        source = f"audit WHERE seq BETWEEN {first:d} AND {last:d}"
        return str(self.ask(self.book.joined("leaf", source, "seq")).fetchone()[0])

    def nodes(self, level: int, first: int, last: int) -> str:
        """The stored subtrees of a level, in hex."""
        source = f"ledger_nodes WHERE level = {level:d} AND idx BETWEEN {first:d} AND {last:d}"
        return str(self.ask(self.book.joined("hash", source, "idx")).fetchone()[0])

    def look(self, task: Task) -> Block:
        """Hash a block of rows."""
        offset = task.first - 1
        found, ids, fault = self._hashed(task.first, task.last)
        levels = _levels(found)
        edges = tuple((size, _edge(levels, size - offset)) for size in task.wanted if size - offset <= len(found))
        node = None if fault or not task.has_tree else self._bad_node(levels, offset)
        return Block(task, edges, _runs(task.first, ids), _edge(levels, len(found)), fault, node)

    def look_at_all(self, tasks: Sequence[Task]) -> Iterator[Block]:
        """Hash them one after the other."""
        return map(self.look, tasks)

    def _hashed(self, first: int, last: int) -> tuple[list[bytes], list[str], Fault | None]:
        """The leaves of the rows up to the first that is wrong by itself, and whose signatures they have."""
        sql = f"SELECT {self.book.columns} FROM audit WHERE seq BETWEEN ? AND ? ORDER BY seq"  # noqa: S608 - our own words
        hashed: list[bytes] = []
        leaves: list[str] = []
        ids: list[str] = []
        broken = False
        try:
            for row in self.ask(sql, first, last):
                hashed.append(sha256(row_text(row).encode()).digest())
                leaves.append(row[-2])
                ids.append(row[-1])
        except (TypeError, AttributeError):  # a blob or a NULL, where there is text in every row of ours
            broken = True
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
            broken = True  # text that is none
        if len(hashed) == last - first + 1 and [one.hex() for one in hashed] == leaves:
            return hashed, ids, None
        fault = self._first_fault(first, last, hashed, leaves)
        if fault is not None:
            return hashed[: fault.row - first], ids[: fault.row - first + 1], fault
        return hashed, ids, Fault(first + len(hashed), Wrong.EDITED if broken else Wrong.MISSING)

    def _first_fault(self, first: int, last: int, hashed: list[bytes], leaves: list[str]) -> Fault | None:
        """The first of these rows that has another number than it should have, or another hash."""
        numbers = self.ask("SELECT seq FROM audit WHERE seq BETWEEN ? AND ? ORDER BY seq", first, last)
        for expected, ((number,), digest, leaf) in enumerate(zip(numbers, hashed, leaves, strict=False), first):
            if number != expected:
                return Fault(expected, Wrong.MISSING)
            if digest.hex() != leaf:
                return Fault(expected, Wrong.EDITED)
        return None

    def _bad_node(self, levels: Sequence[Sequence[bytes]], offset: int) -> tuple[int, int] | None:
        for level, hashes in enumerate(levels[1:], start=1):
            start = offset >> level
            if not hashes:
                continue
            there = self.nodes(level, start, start + len(hashes) - 1)
            if there != b"".join(hashes).hex():
                wrong = (at for at, one in enumerate(hashes) if there[at * 64 : at * 64 + 64] != one.hex())
                return level, start + next(wrong, len(hashes))
        return None

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def row_text(row: Sequence[Any]) -> str:
    """What is hashed of a row: a zero byte and its canonical text. The row is one of `Book.columns`.

    TypeError or AttributeError for a value that is no text. This runs a million times: what is short here is long in
    seconds.
    """
    action, actor, app, at, deployment, details, environment, code, seq, team, _, _ = row
    return (
        f'\0{{"action":{quoted(action)},"actor":{quoted(actor)},"app":{quoted(app)},"at":"{at.replace(" ", "T")}+00:00"'
        f',"deployment_id":{quoted(deployment)},"details":{details},"environment":{quoted(environment)}'
        f',"reason_code":{quoted(code)},"seq":{seq},"team_id":{quoted(team)}}}'
    )


def _runs(first: int, ids: list[str]) -> tuple[Run, ...]:
    if ids and ids.count(ids[0]) == len(ids):
        return (Run(ids[0], first, first + len(ids) - 1),)
    found, at = [], first
    for key_id, rows in groupby(ids):
        count = len(list(rows))
        found.append(Run(key_id, at, at + count - 1))
        at += count
    return tuple(found)


def look_at(book: Book, task: Task) -> Block:
    """As `Reader.look`, in a process of a pool."""
    return _reader_of_this_process(book).look(task)


@lru_cache(maxsize=1)
def _reader_of_this_process(book: Book) -> Reader:
    return Reader(book)


def _levels(leaves: list[bytes]) -> list[list[bytes]]:
    """All complete subtrees, by level."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        # As `merkle.parent_of`, written out: this is a third of all the hashing.
        levels.append(
            [sha256(b"\x01" + one + other).digest() for one, other in zip(below[::2], below[1::2], strict=False)]
        )
    return levels


def _edge(levels: Sequence[Sequence[bytes]], size: int) -> Frontier:
    """The tree over the first so many leaves."""
    places = (level for level in reversed(range(size.bit_length())) if size >> level & 1)
    return Frontier(size, tuple(levels[level][(size >> level) - 1] for level in places))


def _sqlite(url: str) -> sqlite3.Connection:
    path = Path(make_url(url).database or "").absolute()
    for more in ("", "&immutable=1"):  # the second for a file in a place where nothing can be written
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro{more}", uri=True, isolation_level=None)
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            if more:
                raise
        else:
            return connection
    raise AssertionError  # pragma: no cover - the loop ends by itself


def _postgres(url: str) -> Any:  # noqa: ANN401 - imported where it is needed
    import psycopg

    address = make_url(normalise(url)).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(address, autocommit=True, connect_timeout=5)
