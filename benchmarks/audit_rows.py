"""A record of many rows, made quickly: as the bot would have written it, signatures and all."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage import database, ledger, ledger_keys
from storage.canonical import leaf_hash
from storage.database import Database, sqlite_url
from storage.keys import KeyFile
from storage.merkle import Node
from storage.signing import Stamp, TreeHead
from storage.unit_of_work import AuditEntry, Store

ORIGIN = "locktender/benchmark"
_START = datetime(2026, 1, 1, tzinfo=UTC)
_COLUMNS = (
    "seq", "at", "action", "team_id", "actor", "app", "environment", "deployment_id", "reason_code", "details", "leaf",
    "sig",
)  # fmt: skip


def filled(folder: Path, rows: int) -> Store:
    """A store with so many rows, open. Every row is signed, as each would be: that takes most of the time."""
    path = folder / "locktender.db"
    engine = database.create(sqlite_url(path))
    database.upgrade(engine)
    engine.dispose()
    store = Store(Database(sqlite_url(path)), signer=ledger.Signer(KeyFile(folder / "audit.key", ORIGIN)))
    ledger_keys.introduce(store)
    _fill(store, path, rows)
    return store


def append(store: Store) -> None:
    """One row, as the bot writes one."""
    with store.write() as uow:
        uow.audit(AuditEntry("deployment:request", "U0ALICE", "T0", "web", "staging", "d0", "", {"version": "1.4.2"}))


def texts(rows: range) -> Iterator[tuple[int, str, str, str]]:
    """Number, time, details and canonical text of generated rows."""
    for seq in rows:
        at = _START + timedelta(seconds=seq * 30)
        details = json.dumps(
            {
                "commit": f"{seq * 2654435761 % 2**64:016x}{seq:024x}",
                "reason": f"Release {seq // 7} of the week, as agreed with the team",
                "version": f"1.{seq % 90}.{seq % 7}",
            },
            separators=(",", ":"),
        )
        stored = at.strftime("%Y-%m-%d %H:%M:%S.%f")
        text = (
            f'{{"action":"deployment:request","actor":"U0{seq % 200:06d}","app":"app-{seq % 500}",'
            f'"at":"{stored.replace(" ", "T")}+00:00","deployment_id":"d{seq:09d}","details":{details},'
            f'"environment":"{("dev", "staging", "production")[seq % 3]}","reason_code":"","seq":{seq},"team_id":"T0"}}'
        )
        yield seq, stored, details, text


def _fill(store: Store, path: Path, rows: int) -> None:
    assert store.signer is not None
    key = store.signer.keys.key
    with store.read() as uow:
        tree = ledger.head(uow.run).frontier
    nodes: list[Node] = []

    def values() -> Iterator[tuple[object, ...]]:
        nonlocal tree
        for seq, at, details, text in texts(range(tree.size + 1, rows + 1)):
            leaf = leaf_hash(text)
            tree, made = tree.append(bytes.fromhex(leaf))
            nodes.extend(made)
            sig = Stamp(key.public.id, key.sign(TreeHead(ORIGIN, tree.size, tree.root()).text)).text
            said = json.loads(text)
            rest = (said["action"], "T0", said["actor"], said["app"], said["environment"], said["deployment_id"], "")
            yield seq, at, *rest, details, leaf, sig

    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        marks = ", ".join("?" * len(_COLUMNS))
        connection.executemany(f"INSERT INTO audit ({', '.join(_COLUMNS)}) VALUES ({marks})", values())  # noqa: S608 - our own words
        every = ((one.level, one.index, one.hash.hex()) for one in nodes)
        connection.executemany("INSERT INTO ledger_nodes (level, idx, hash) VALUES (?, ?, ?)", every)
        edge = ledger.edge_text(tree)
        connection.execute("UPDATE ledger_state SET size = ?, frontier = ?", (tree.size, edge))
        connection.commit()
