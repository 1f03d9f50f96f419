"""A million audit rows: every filter of `/audit history` beside the same question in plain SQL, and the export.

The rows look like those of two years of work: half a dozen for each deployment, of 200 apps in 5 environments by 80
people. The plain SQL names the right index, fetches the same columns and knows the filter beforehand; both take turns.
Ids and commits are of rows that are there, as people ask for them.
Run alone: `python -m benchmarks.history [ROWS]`.
"""

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from benchmarks.table import Row
from storage import database, ledger
from storage.audit_index import catch_up
from storage.audit_text import Recorded
from storage.canonical import canonical
from storage.database import Database
from storage.history import AuditFilter, search
from storage.unit_of_work import Store

ROWS = 1_000_000
ROUNDS = 300
BULK = 20_000  # rows in one transaction: nobody waits for the write lock here
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
APPS = [f"app-{number:03d}" for number in range(200)]
ENVIRONMENTS = ["dev", "qa", "staging", "preprod", "production"]
PEOPLE = [f"U0PERSON{number:02d}" for number in range(80)]
STEPS = ["request", "write", "commit", "build", "rollout", "finish"]
COLUMNS = "a.seq, a.at, a.action, a.team_id, a.actor, a.app, a.environment, a.deployment_id, a.reason_code, a.details"
PLAIN = f"SELECT {COLUMNS}, a.leaf, a.sig FROM audit_index i JOIN audit a ON a.seq = i.seq WHERE "  # noqa: S608 - our own words


T = TypeVar("T")


class Chance(random.Random):
    """The same questions in every run. `ids` and `commits` are those of some rows that are there."""

    ids: Sequence[str] = ()
    commits: Sequence[str] = ()


@dataclass(frozen=True)
class Question:
    """One filter, as people ask it and as a hand would write it."""

    name: str
    wished: Callable[[Chance], AuditFilter]
    where: Callable[[AuditFilter], tuple[str, tuple[object, ...]]]


def rows(count: int = ROWS) -> list[Row]:
    """Every measurement of this module."""
    with tempfile.TemporaryDirectory(prefix="locktender-history-") as folder:
        path = Path(folder) / "locktender.db"
        store, seconds = _filled(path, count)
        try:
            singles = [_question(store, path, one) for one in QUESTIONS]
            made = [
                Row(f"index {count:,} rows, each", seconds / count * 1e6, "us", 1000),
                *singles,
                Row("/audit history, the slowest of these: p99", max(one.ours for one in singles), "ms", 5),
                *(_together(store, *one) for one in TOGETHER),
            ]
        finally:
            store.database.close()
        return [*made, *_exports(path, count)]


def _filled(path: Path, count: int) -> tuple[Store, float]:
    """The store, and the seconds that the index took."""
    engine = database.create(database.sqlite_url(path))
    database.upgrade(engine)
    engine.dispose()
    plain = sqlite3.connect(path)
    plain.execute("PRAGMA synchronous=OFF")
    plain.executemany(
        "INSERT INTO audit (seq, at, action, team_id, actor, app, environment, deployment_id, reason_code, details,"
        " leaf, sig) VALUES (?, ?, ?, 'T1', ?, ?, ?, ?, ?, ?, ?, '')",
        _rows(count),
    )
    plain.commit()
    plain.close()
    store = Store(Database(database.sqlite_url(path)))
    with store.write() as uow:
        ledger.rebuild(uow.run)
    began = time.perf_counter()
    while catch_up(store, BULK):
        pass
    return store, time.perf_counter() - began


def _rows(count: int) -> Iterator[tuple[object, ...]]:
    chance = random.Random(7)  # noqa: S311 - the same rows in every run
    at = BEGAN
    seq = 0
    while seq < count:
        app, environment, person = chance.choice(APPS), chance.choice(ENVIRONMENTS), chance.choice(PEOPLE)
        mine, commit = f"{chance.getrandbits(50):010x}"[:10], f"{chance.getrandbits(160):040x}"
        version = f"{chance.randrange(1, 30)}.{chance.randrange(20)}.{chance.randrange(50)}"
        phase = chance.choices(["succeeded", "failed", "cancelled"], [90, 8, 2])[0]
        for step in STEPS:
            seq += 1
            if seq > count:
                return
            at += timedelta(seconds=chance.randrange(1, 60))
            details: dict[str, object] = {
                "version": version,
                "what": f"Ticket OPS-{chance.randrange(99999)}: {step} it",
            }
            if step in {"commit", "finish"}:
                details["commit"] = commit
            if step == "finish":
                details["phase"] = phase
            actor = person if step == "request" else "locktender"
            code = "live" if step == "finish" else ""
            yield (
                seq, f"{at:%Y-%m-%d %H:%M:%S.%f}", f"deployment:{step}", actor, app, environment, mine, code,
                canonical(details), f"{chance.getrandbits(256):064x}",
            )  # fmt: skip


def _equal(name: str) -> Callable[[AuditFilter], tuple[str, tuple[object, ...]]]:
    return lambda wished: (f"i.{name} = ?", (getattr(wished, name),))


QUESTIONS = [
    Question("no filter", lambda _: AuditFilter(), lambda _: ("1", ())),
    Question("app:", lambda c: AuditFilter(app=c.choice(APPS)), _equal("app")),
    Question("env:", lambda c: AuditFilter(environment=c.choice(ENVIRONMENTS)), _equal("environment")),
    Question(
        "app: env:",
        lambda c: AuditFilter(app=c.choice(APPS), environment=c.choice(ENVIRONMENTS)),
        lambda w: ("i.app = ? AND i.environment = ?", (w.app, w.environment)),
    ),
    Question("by:", lambda c: AuditFilter(actor=c.choice([*PEOPLE, "locktender"])), _equal("actor")),
    Question("status:", lambda c: AuditFilter(status=c.choice(["succeeded", "failed", "cancelled"])), _equal("status")),
    Question(
        "version:",
        lambda c: AuditFilter(version=f"{c.randrange(1, 30)}.{c.randrange(20)}.{c.randrange(50)}"),
        _equal("version"),
    ),
    Question(
        "commit:",
        lambda c: AuditFilter(commit=c.choice(c.commits)[:7]),
        lambda w: ("i.commit_sha >= ? AND i.commit_sha < ?", (w.commit, f"{w.commit}g")),
    ),
    Question("action:deployment", lambda _: AuditFilter(action="deployment"), lambda w: ("i.subject = ?", (w.action,))),
    Question(
        "action:deployment:finish",
        lambda _: AuditFilter(action="deployment:finish"),
        lambda w: ("i.action = ?", (w.action,)),
    ),
    Question("id:", lambda c: AuditFilter(deployment_id=c.choice(c.ids)), _equal("deployment_id")),
    Question(
        "since:",
        lambda c: AuditFilter(since=BEGAN + timedelta(days=c.randrange(1, 300))),
        lambda w: ("i.seq > (SELECT seq FROM audit_index WHERE at < ? ORDER BY at DESC LIMIT 1)",
                   (f"{w.since:%Y-%m-%d %H:%M:%S.%f}",)),
    ),
    Question(
        "until:",
        lambda c: AuditFilter(until=BEGAN + timedelta(days=c.randrange(1, 300))),
        lambda w: ("i.seq <= (SELECT seq FROM audit_index WHERE at < ? ORDER BY at DESC LIMIT 1)",
                   (f"{w.until:%Y-%m-%d %H:%M:%S.%f}",)),
    ),
    Question(
        "a word in few rows",
        lambda c: AuditFilter(words=(f"OPS-{c.randrange(99999)}",)),
        lambda w: ("i.seq IN (SELECT rowid FROM audit_words WHERE audit_words MATCH ? ORDER BY rowid DESC LIMIT 11)",
                   (f'"{w.words[0].lower()}"',)),
    ),
    Question(
        "a word in every row",
        lambda _: AuditFilter(words=("deployment",)),
        lambda w: ("i.seq IN (SELECT rowid FROM audit_words WHERE audit_words MATCH ? ORDER BY rowid DESC LIMIT 11)",
                   (f'"{w.words[0]}"',)),
    ),
]  # fmt: skip
TOGETHER: list[tuple[str, Callable[[Chance], AuditFilter]]] = [
    ("by: status:", lambda c: AuditFilter(actor="locktender", status=c.choice(["failed", "cancelled"]))),
    ("app: by:", lambda c: AuditFilter(app=c.choice(APPS), actor=c.choice(PEOPLE))),
    ("by: status: that never meet", lambda c: AuditFilter(actor=c.choice(PEOPLE), status="failed")),
    (
        "app: env: since: until: a word",
        lambda c: AuditFilter(
            app=c.choice(APPS),
            environment=c.choice(ENVIRONMENTS),
            since=BEGAN + timedelta(days=c.randrange(100)),
            until=BEGAN + timedelta(days=c.randrange(100, 300)),
            words=("ticket",),
        ),
    ),
]


def _question(store: Store, path: Path, one: Question) -> Row:
    plain = sqlite3.connect(path)
    chance = _chance(one.name, plain)
    ours: list[float] = []
    raw: list[float] = []
    for number in range(-20, ROUNDS):
        wished = one.wished(chance)
        where, values = one.where(wished)
        statement = f"{PLAIN}{where} ORDER BY i.seq DESC LIMIT 11"
        by_hand, expected = _quickest(lambda: plain.execute(statement, values).fetchall())  # noqa: B023 - called here
        by_us, found = _quickest(lambda: _search(store, wished))  # noqa: B023 - called here
        assert [row.seq for row in found] == [row[0] for row in expected], one.name
        if number >= 0:
            raw.append(by_hand)
            ours.append(by_us)
    plain.close()
    return Row(f"/audit history {one.name}: p99", _p99(ours), "ms", 10, "raw SQLite", _p99(raw))


def _chance(name: str, plain: sqlite3.Connection) -> Chance:
    chance = Chance(name)
    some = "FROM audit_index WHERE seq IN (SELECT abs(random()) % (SELECT max(seq) FROM audit) FROM audit LIMIT 2000)"
    chance.ids = [one for (one,) in plain.execute(f"SELECT deployment_id {some}")]
    chance.commits = [one for (one,) in plain.execute(f"SELECT commit_sha {some} AND commit_sha <> ''")]
    return chance


def _search(store: Store, wished: AuditFilter) -> Sequence[Recorded]:
    with store.read() as uow:
        return search(uow, wished).rows


def _quickest(ask: Callable[[], T]) -> tuple[float, T]:
    """Milliseconds of the quickest of three tries: what else runs on this machine is not what is measured."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        answer = ask()
        times.append((time.perf_counter() - began) * 1000)
    return min(times), answer


def _together(store: Store, name: str, wished: Callable[[Chance], AuditFilter]) -> Row:
    """Several filters at once, for which nobody has an index of their own."""
    chance = Chance(name)
    times: list[float] = []
    for number in range(-20, ROUNDS):
        asked = wished(chance)
        taken, _ = _quickest(lambda: _search(store, asked))  # noqa: B023 - called here
        if number >= 0:
            times.append(taken)
    return Row(f"/audit history {name}: p99", _p99(times), "ms", 50)


def _exports(path: Path, count: int) -> list[Row]:
    """The whole record as a file, by the program itself; its memory beside that of an export of nothing."""
    small, _ = _export(path, "app:no-such-app")
    made = []
    for form in ("jsonl", "csv"):
        large, seconds = _export(path, form=form)
        what = f"export {count:,} rows, {form}"
        made += [
            Row(f"{what}: each", seconds / count * 1e6, "us", 200),
            Row(f"{what}: memory", large, "MB", 1.3, "an export of no rows", small),
        ]
    return made


def _export(path: Path, *filters: str, form: str = "jsonl") -> tuple[float, float]:
    """Peak memory in megabytes, and seconds."""
    words = ["-m", "bot.cli", "audit", "export", form, *filters, "--database", str(path), "--out", os.devnull]
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return used.ru_maxrss / 1024, time.perf_counter() - began


def _p99(times: list[float]) -> float:
    return sorted(times)[round(len(times) * 0.99) - 1]


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS):
        print(row)
