"""What the record is searched by, made from its rows a while after they were written: acks pay nothing for it.

A mark says how far it got, in the same transaction: a crash in between loses nothing and doubles nothing. Rows behind
the mark are looked through one by one (storage.history), so a search never waits for the index.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, cast

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.dialects import postgresql

from storage.audit_text import Recorded
from storage.models import Mark
from storage.prepared import Prepared
from storage.record_models import AuditIndex, AuditRow
from storage.unit_of_work import Store, UnitOfWork
from storage.words import tokens_of

MARK = "audit-index"
BATCH = 200
"""Rows in one transaction: the write lock is held for some hundredths of a second."""
REFUSED = "refused"
KEYED = ("app", "environment", "actor", "status", "version", "deployment_id", "action", "subject")
"""Terms that are tokens of full text too."""
ALSO = "apps"
"""The key of an app that a row is about beside the one in its column."""
_SHA = re.compile(r"[0-9a-f]{7,64}")
_COMMITS = ("commit", "merge", "gitCommit")  # details that name what a row is about; the first that is there
_VERSIONS = ("version", "tag")
_STATES = ("phase", "status")
_NEVER = datetime.min.replace(tzinfo=UTC)
_STORED = (
    "seq",
    "at",
    "action",
    "subject",
    "app",
    "environment",
    "actor",
    "status",
    "commit_sha",
    "version",
    "deployment_id",
)
_MARKS, _RECORD, _INDEX = (cast("Any", model).__table__ for model in (Mark, AuditRow, AuditIndex))
_MARKED = Prepared(select(_MARKS.c.value).where(_MARKS.c.name == bindparam("name")))
_FIRST = Prepared(_MARKS.insert())
_MOVE = Prepared(_MARKS.update().where(_MARKS.c.name == bindparam("marked")).values(value=bindparam("value")))
_NEXT = Prepared(
    select(*(_RECORD.c[one.name] for one in fields(Recorded)))
    .where(_RECORD.c.seq > bindparam("after"))
    .order_by(_RECORD.c.seq)
    .limit(bindparam("most"))
)
_NEW = Prepared(_INDEX.insert())
_NEW_WORDS = Prepared(text("INSERT INTO audit_words (rowid, words) VALUES (:seq, :words)"))
_LONGEST = 128  # characters of what is looked up as a whole


@dataclass(frozen=True)
class Terms:
    """What one row is found by. Empty text is found by no filter."""

    seq: int
    at: datetime
    action: str
    subject: str
    app: str
    environment: str
    actor: str
    status: str
    commit_sha: str
    version: str
    deployment_id: str
    texts: tuple[str, ...]
    apps: tuple[str, ...] = ()  # what else than `app` it is about: a set of apps has rows of its own

    @cached_property
    def tokens(self) -> frozenset[str]:
        """The words, taken apart when they are asked for: that takes longer than all the rest."""
        return tokens_of(self.texts)


@dataclass(frozen=True)
class Progress:
    """How far the index got. `skew` is the furthest that a row's time lies before that of an earlier row."""

    seq: int = 0
    latest: datetime = _NEVER
    skew: timedelta = timedelta(0)

    def after(self, terms: Terms) -> "Progress":
        """With one row more."""
        return Progress(terms.seq, max(self.latest, terms.at), max(self.skew, self.latest - terms.at))

    def as_text(self) -> str:
        """For the mark."""
        return json.dumps([self.seq, self.latest.isoformat(), self.skew // timedelta(microseconds=1)])

    @classmethod
    @lru_cache(maxsize=8)  # every search asks, and it seldom moves
    def from_text(cls, stored: str) -> "Progress":
        """What `as_text` wrote."""
        if not stored:
            return cls()
        seq, latest, skew = json.loads(stored)
        return cls(seq, datetime.fromisoformat(latest), timedelta(microseconds=skew))


def progress(uow: UnitOfWork) -> Progress:
    """How far the index got."""
    rows = uow.run(_MARKED, {"name": MARK})
    return Progress.from_text(str(rows[0][0]) if rows else "")


def terms(row: AuditRow | Recorded) -> Terms:
    """What a row is found by."""
    details = _details(row.details)
    commit = _first(details, _COMMITS).lower()
    return Terms(
        seq=row.seq,
        at=row.at,
        action=row.action,
        subject=row.action.partition(":")[0],
        app=row.app,
        environment=row.environment,
        actor=row.actor,
        status=REFUSED if row.action.endswith(":refuse") else _first(details, _STATES).lower(),
        commit_sha=commit if _SHA.fullmatch(commit) else "",
        version=_first(details, _VERSIONS),
        deployment_id=row.deployment_id,
        texts=(row.action, row.app, row.environment, row.actor, row.deployment_id, row.reason_code, *_texts(details)),
        apps=_apps(details, row.app),
    )


def key(field: str, value: str) -> str:
    """A filter as a token, so that full text can cut several filters with each other. A hint: columns decide."""
    return f"={field}.{hashlib.blake2b(value.encode(), digest_size=8).hexdigest()}"


def keys(found: Terms) -> Iterator[str]:
    """The filters that a row passes, as tokens. A commit is one already."""
    for field in KEYED:
        value = getattr(found, field)
        if value:
            yield key(field, value)
    if found.commit_sha:
        yield found.commit_sha
    for app in found.apps:
        yield key(ALSO, app)


def catch_up(store: Store, limit: int = BATCH) -> int:
    """Index the next rows, at most `limit`, in a transaction of its own; how many there were.

    Call it again while it gives `limit`. Replicas may call it at once: each row is indexed by one of them. Everything
    is worked out before the transaction that writes: acks wait for that.
    """
    with store.read() as uow:
        done = progress(uow)
        next_rows = _after(uow, done, limit)
    found = [terms(row) for row in next_rows]
    rows = _rows(store.database.courtesy.one_by_one(found), on_sqlite=store.database.is_sqlite)
    if found:
        with store.write() as uow:
            if _held(uow).seq == done.seq:  # else another replica was here: what is left is for the next call
                _take(uow, done, found, rows)
    return len(found)


def behind(store: Store) -> int:
    """How many rows are not in the index yet."""
    with store.read() as uow:
        return int(uow.session.scalar(select(func.max(cast("Any", AuditRow).seq))) or 0) - progress(uow).seq


def extend(uow: UnitOfWork, limit: int) -> int:
    """As `catch_up`, inside a transaction that writes."""
    done = _held(uow)
    found = [terms(row) for row in _after(uow, done, limit)]
    if found:
        _take(uow, done, found, _rows(found, on_sqlite=uow.on_sqlite))
    return len(found)


def add(uow: UnitOfWork, found: Sequence[Terms]) -> None:
    """Put rows into the index; the caller moves the mark."""
    _put(uow, _rows(found, on_sqlite=uow.on_sqlite))


def _after(uow: UnitOfWork, done: Progress, limit: int) -> list[Recorded]:
    return [Recorded(*row) for row in uow.run(_NEXT, {"after": done.seq, "most": limit})]


def _take(uow: UnitOfWork, done: Progress, found: Sequence[Terms], rows: Sequence[Mapping[str, object]]) -> None:
    _put(uow, rows)
    for one in found:
        done = done.after(one)
    uow.run(_MOVE, {"marked": MARK, "value": done.as_text()})


def _rows(found: Iterable[Terms], *, on_sqlite: bool) -> list[dict[str, object]]:
    """What is stored of each, words as SQLite's full text or as Postgres's wants them."""
    quote = "" if on_sqlite else "'"
    return [{name: getattr(one, name) for name in _STORED} | {"words": _words(one, quote=quote)} for one in found]


def _put(uow: UnitOfWork, rows: Sequence[Mapping[str, object]]) -> None:
    if not uow.on_sqlite:
        uow.run_many(_NEW, rows)
        return
    uow.run_many(_NEW, [{**row, "words": ""} for row in rows])
    uow.run_many(_NEW_WORDS, [{"seq": row["seq"], "words": row["words"]} for row in rows])


def _words(found: Terms, *, quote: str) -> str:
    """Every token between quotes that Postgres wants: no token holds one."""
    return " ".join(f"{quote}{token}{quote}" for token in sorted({*found.tokens, *keys(found)}))


def _held(uow: UnitOfWork) -> Progress:
    """How far the index got, held until the transaction ends: two replicas must not index the same rows."""
    if uow.on_sqlite:  # the write lock covers every row
        if not uow.run(_MARKED, {"name": MARK}):
            uow.run(_FIRST, {"name": MARK, "value": ""})
        return progress(uow)
    connection = uow.session.connection()
    connection.execute(
        postgresql.insert(Mark).values(name=MARK, value="").on_conflict_do_nothing(index_elements=["name"])
    )
    held = select(_MARKS.c.value).where(_MARKS.c.name == MARK).with_for_update()
    return Progress.from_text(str(connection.execute(held).scalar_one()))


def _first(details: dict[str, object], names: Sequence[str]) -> str:
    """The first of these that holds text."""
    said = (details.get(name) for name in names)
    return next((one for one in said if isinstance(one, str) and one), "")[:_LONGEST]


def _apps(details: dict[str, object], but: str) -> tuple[str, ...]:
    """The apps that it says it is about, without the one of the column."""
    said = details.get("apps")
    named = (one for one in said if isinstance(one, str)) if isinstance(said, list) else ()
    return tuple(dict.fromkeys(one[:_LONGEST] for one in named if one not in {"", but}))


def _details(stored: str) -> dict[str, object]:
    """What a row says; nothing where somebody has tampered with it: the index must get past that row too."""
    try:
        said = json.loads(stored)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
