"""Searching the audit log: by every filter at once, newest first, in milliseconds at a million rows.

The index (storage.audit_index) answers for the rows it has got to; the few after it are looked through one by one, with
the same idea of what matches. So a search finds exactly what a look at every row would find, and writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import Select, column, select, table, text

from storage.audit_index import Progress, Terms, key, progress, terms
from storage.models import AuditIndex, AuditRow
from storage.unit_of_work import UnitOfWork
from storage.words import Token, is_met, wanted

LOOKED_THROUGH = 5000
"""Rows that are looked through one by one at most: more are waiting for the index only just after an upgrade."""
_LARGEST = 2**31 - 1  # of an INTEGER on Postgres
_LAST = datetime.max.replace(tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_EQUAL = ("app", "environment", "actor", "status", "version", "deployment_id")
_ROW, _INDEX = cast("Any", AuditRow), cast("Any", AuditIndex)
_WORDS = table("audit_words", column("rowid"))


@dataclass(frozen=True)
class AuditFilter:
    """Which audit rows to list. Empty fields do not filter. `before` is a seq, for the next page.

    `since` is included, `until` is not. `commit` is the beginning of a commit's id, in lower case. `action` is a whole
    one (`change:approve`) or a subject (`change`). `words` are plain words that must all be there.
    """

    app: str = ""
    environment: str = ""
    actor: str = ""
    deployment_id: str = ""
    before: int = 0
    limit: int = 10
    since: datetime | None = None
    until: datetime | None = None
    status: str = ""
    commit: str = ""
    version: str = ""
    action: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """Rows that match, newest first. `unread` are rows that the index has not got to and nobody looked through."""

    rows: Sequence[AuditRow]
    unread: tuple[int, int] | None = None


def audit_history(uow: UnitOfWork, wished: AuditFilter) -> Sequence[AuditRow]:
    """Rows that match, newest first; one more than `limit` when there are older ones."""
    return search(uow, wished).rows


def search(uow: UnitOfWork, wished: AuditFilter, *, look_through: int = LOOKED_THROUGH) -> Found:
    """As `audit_history`; it also says what could not be looked at, which is nothing but just after an upgrade.

    Words without a letter or a digit are found everywhere.
    """
    wished = replace(wished, words=tuple(word for word in wished.words if wanted((word,))))
    done = progress(uow)
    # `before` comes back from a button: a forged one is the first page.
    before = wished.before if 0 < wished.before <= _LARGEST else _LARGEST
    behind, unread = _behind(uow, done, before, look_through)
    rows = [row for row in behind if matches(terms(row), wished)][: wished.limit + 1]
    more = wished.limit + 1 - len(rows)
    if more > 0:
        rows += _indexed(uow, wished, done, before, more)
    return Found(rows, unread)


def matches(found: Terms, wished: AuditFilter) -> bool:
    """True when a row with these terms is wished for, `before` and `limit` left aside."""
    return (
        all(getattr(wished, name) in {"", getattr(found, name)} for name in _EQUAL)
        and wished.action in {"", found.action, found.subject}
        and found.commit_sha.startswith(wished.commit)
        and (wished.since is None or found.at >= wished.since)
        and (wished.until is None or found.at < wished.until)
        and all(is_met(token, found.tokens) for token in wanted(wished.words))
    )


def _behind(
    uow: UnitOfWork, done: Progress, before: int, most: int
) -> tuple[Sequence[AuditRow], tuple[int, int] | None]:
    """The rows that the index has not got to, newest first; and those that are too many."""
    query = select(AuditRow).where(_ROW.seq > done.seq, _ROW.seq < before).order_by(_ROW.seq.desc()).limit(most + 1)
    rows = uow.session.scalars(query).all()
    if len(rows) <= most:
        return rows, None
    return rows[:most], (done.seq + 1, rows[most].seq)


def _indexed(uow: UnitOfWork, wished: AuditFilter, done: Progress, before: int, limit: int) -> Sequence[AuditRow]:
    low, high = _between(uow, wished, done)
    before = min(before, high, done.seq + 1)
    if low + 1 >= before:
        return []
    on_sqlite = uow.session.connection().dialect.name == "sqlite"
    query = _on_sqlite(wished) if on_sqlite else _on_postgres(wished)
    query = query.where(_INDEX.seq > low, _INDEX.seq < before).order_by(_INDEX.seq.desc()).limit(limit)
    if on_sqlite and _cut(wished):
        # FTS5 walks from the newest by its own rowid alone.
        query = query.where(_WORDS.c.rowid > low, _WORDS.c.rowid < before)
        query = query.order_by(None).order_by(_WORDS.c.rowid.desc())
    found = [int(seq) for seq in uow.session.scalars(query)]
    rows = uow.session.scalars(select(AuditRow).where(_ROW.seq.in_(found)).order_by(_ROW.seq.desc()))
    return rows.all() if found else []


def _between(uow: UnitOfWork, wished: AuditFilter, done: Progress) -> tuple[int, int]:
    """Rows outside of these numbers cannot be of the wished time; which is checked of each row inside too.

    Rows are numbered in the order they were written, which is that of their times unless a clock went back, at most by
    the skew. So one row that is too early or too late by more than that tells of all before or behind it.
    """
    low, high = 0, _LARGEST
    if wished.since is not None:
        early = _INDEX.at < _moved(wished.since, -done.skew)
        query = select(_INDEX.seq).where(early).order_by(_INDEX.at.desc(), _INDEX.seq.desc()).limit(1)
        low = int(uow.session.scalar(query) or 0)
    if wished.until is not None:
        late = _INDEX.at >= _moved(wished.until, done.skew)
        query = select(_INDEX.seq).where(late).order_by(_INDEX.at, _INDEX.seq).limit(1)
        high = int(uow.session.scalar(query) or _LARGEST)
    return low, high


def _moved(at: datetime, by: timedelta) -> datetime:
    try:
        return at + by
    except OverflowError:
        return _LAST if by > timedelta(0) else _FIRST


def _conditions(query: Select[Any], wished: AuditFilter) -> Select[Any]:
    """All filters but the plain words, on the index's columns."""
    for name in _EQUAL:
        if value := getattr(wished, name):
            query = query.where(getattr(_INDEX, name) == value)
    if wished.action:
        query = query.where(getattr(_INDEX, _action(wished)) == wished.action)
    if wished.commit:  # every id is hex: `g` is behind all that begin so
        query = query.where(_INDEX.commit_sha >= wished.commit, _INDEX.commit_sha < f"{wished.commit}g")
    if wished.since is not None:
        query = query.where(_INDEX.at >= wished.since)
    if wished.until is not None:
        query = query.where(_INDEX.at < wished.until)
    return query


def _on_sqlite(wished: AuditFilter) -> Select[Any]:
    """SQLite keeps no statistics here, so the way is named: the one index that fits, or full text for several."""
    query = _conditions(select(_INDEX.seq), wished)
    if _cut(wished):
        query = query.select_from(_WORDS).where(_INDEX.seq == _WORDS.c.rowid)
        return query.where(text("audit_words MATCH :said").bindparams(said=_fts5(wished)))
    index = _one_index(wished)
    return query.with_hint(_INDEX.__table__, f"INDEXED BY {index}", "sqlite") if index else query


def _on_postgres(wished: AuditFilter) -> Select[Any]:
    query = _conditions(select(_INDEX.seq), wished)
    said = wanted(wished.words)
    if said:
        query = query.where(
            text("words @@ CAST(:said AS tsquery)").bindparams(said=" & ".join(_lexeme(one) for one in said))
        )
    return query


def _one_index(wished: AuditFilter) -> str:
    """The index for this filter alone; the best one where one of several is all but unique."""
    if wished.deployment_id:
        return "index_by_deployment"
    if wished.commit:
        return "index_by_commit"
    if wished.app:
        return "index_by_target" if wished.environment else "index_by_app"
    if wished.action:
        return f"index_by_{_action(wished)}"
    for name in ("environment", "actor", "status", "version"):
        if getattr(wished, name):
            return f"index_by_{name}"
    return ""


def _cut(wished: AuditFilter) -> bool:
    """True when full text is the way: it cuts several long lists without reading the rows of any."""
    if wished.words or wished.deployment_id or wished.commit:
        return bool(wished.words)
    long = (bool(wished.app or wished.environment), wished.actor, wished.status, wished.version, wished.action)
    return sum(bool(one) for one in long) > 1


def _fts5(wished: AuditFilter) -> str:
    """All words and all filters, joined by AND. Tokens hold letters, digits and `-._=` alone."""
    said = list(wanted(wished.words))
    said += [Token(key(name, value)) for name in _EQUAL if (value := getattr(wished, name))]
    if wished.action:
        said.append(Token(key(_action(wished), wished.action)))
    if wished.commit:
        said.append(Token(wished.commit, prefix=True))
    return " AND ".join(f'"{one.text}"{" *" if one.prefix else ""}' for one in said)


def _action(wished: AuditFilter) -> str:
    """Which column the filter for an action is about."""
    return "action" if ":" in wished.action else "subject"


def _lexeme(token: Token) -> str:
    return f"'{token.text}'{':*' if token.prefix else ''}"
