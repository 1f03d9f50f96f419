"""What the record is searched by, made from its rows a while after they were written: acks pay nothing for it.

A mark says how far it got, in the same transaction: a crash in between loses nothing and doubles nothing. Rows behind
the mark are looked through one by one (storage.history), so a search never waits for the index.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, cast

from sqlalchemy import func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from storage import marks
from storage.audit_text import Recorded
from storage.models import Mark
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
    def from_text(cls, stored: str) -> "Progress":
        """What `as_text` wrote."""
        if not stored:
            return cls()
        seq, latest, skew = json.loads(stored)
        return cls(seq, datetime.fromisoformat(latest), timedelta(microseconds=skew))


def progress(uow: UnitOfWork) -> Progress:
    """How far the index got."""
    return Progress.from_text(marks.mark(uow, MARK))


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
        found = [terms(row) for row in _after(uow, done, limit)]
    if found:
        with store.write() as uow:
            if (
                _held(uow).seq == done.seq
            ):  # else another replica was here in between; what is left is for the next call
                _take(uow, done, found)
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
        _take(uow, done, found)
    return len(found)


def _after(uow: UnitOfWork, done: Progress, limit: int) -> Sequence[AuditRow]:
    table = cast("Any", AuditRow)
    return uow.session.scalars(select(AuditRow).where(table.seq > done.seq).order_by(table.seq).limit(limit)).all()


def _take(uow: UnitOfWork, done: Progress, found: Sequence[Terms]) -> None:
    add(uow, found)
    for one in found:
        done = done.after(one)
    marks.set_mark(uow, MARK, done.as_text())


def add(uow: UnitOfWork, found: Sequence[Terms]) -> None:
    """Put rows into the index; the caller moves the mark."""
    on_sqlite = uow.session.connection().dialect.name == "sqlite"
    table = cast("Any", AuditIndex).__table__
    texts = [{"seq": one.seq, "words": _words(one, quote="" if on_sqlite else "'")} for one in found]
    rows = [
        {
            "seq": one.seq,
            "at": one.at,
            "action": one.action,
            "subject": one.subject,
            "app": one.app,
            "environment": one.environment,
            "actor": one.actor,
            "status": one.status,
            "commit_sha": one.commit_sha,
            "version": one.version,
            "deployment_id": one.deployment_id,
            "words": "" if on_sqlite else words["words"],
        }
        for one, words in zip(found, texts, strict=True)
    ]
    uow.session.execute(table.insert(), rows)
    if on_sqlite:
        uow.session.execute(text("INSERT INTO audit_words (rowid, words) VALUES (:seq, :words)"), texts)


def _words(found: Terms, *, quote: str) -> str:
    """Every token between quotes that Postgres wants: no token holds one."""
    return " ".join(f"{quote}{token}{quote}" for token in sorted({*found.tokens, *keys(found)}))


def _held(uow: UnitOfWork) -> Progress:
    """How far the index got, held until the transaction ends: two replicas must not index the same rows."""
    connection = uow.session.connection()
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(Mark).values(name=MARK, value="").on_conflict_do_nothing(index_elements=["name"]))
    held = None if connection.dialect.name == "sqlite" else True  # SQLite's write lock covers every row
    found = uow.session.get(Mark, MARK, with_for_update=held, populate_existing=True)
    return Progress.from_text(found.value if found is not None else "")


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
