"""Searching the audit log: by every filter at once, newest first, in milliseconds at a million rows.

The index (storage.audit_index) answers for the rows it has got to; the few after it are looked through one by one, with
the same idea of what matches. So a search finds exactly what a look at every row would find, and writes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, cast

from sqlalchemy import Select, bindparam, column, func, literal_column, select, table, text

from storage.audit_index import ALSO, MARK, Progress, Terms, key, terms
from storage.audit_text import Recorded
from storage.models import Mark
from storage.prepared import Prepared
from storage.record_models import AuditIndex, AuditRow
from storage.unit_of_work import UnitOfWork
from storage.words import Token, is_met, wanted

LOOKED_THROUGH = 1000
"""Rows that are looked through one by one at most: more are waiting for the index only just after an upgrade."""
_EQUAL = ("app", "environment", "actor", "status", "version", "deployment_id")
_GIVEN = (*_EQUAL, "action", "commit", "since", "until", "words")
_LARGEST = 2**31 - 1  # of an INTEGER on Postgres
_LAST = datetime.max.replace(tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_ROW, _INDEX, _MARKS = (cast("Any", model).__table__.c for model in (AuditRow, AuditIndex, Mark))
_INDEXED = cast("Any", AuditIndex).__table__
_WORDS = table("audit_words", column("rowid"))
_COLUMNS = tuple(_ROW[one.name] for one in fields(Recorded))
_STATE = Prepared(
    select(
        select(_MARKS.value).where(_MARKS.name == MARK).scalar_subquery().label("mark"),
        select(func.max(_ROW.seq)).scalar_subquery().label("last"),
    )
)
_BEHIND = Prepared(
    select(*_COLUMNS)
    .where(_ROW.seq > bindparam("after"), _ROW.seq < bindparam("before"))
    .order_by(_ROW.seq.desc())
    .limit(bindparam("most"))
)
_EARLY = Prepared(
    select(_INDEX.seq).where(_INDEX.at < bindparam("at")).order_by(_INDEX.at.desc(), _INDEX.seq.desc()).limit(1)
)
_LATE = Prepared(select(_INDEX.seq).where(_INDEX.at >= bindparam("at")).order_by(_INDEX.at, _INDEX.seq).limit(1))


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

    rows: Sequence[Recorded]
    unread: tuple[int, int] | None = None


def audit_history(uow: UnitOfWork, wished: AuditFilter) -> Sequence[Recorded]:
    """Rows that match, newest first; one more than `limit` when there are older ones."""
    return search(uow, wished).rows


def search(uow: UnitOfWork, wished: AuditFilter, *, look_through: int = LOOKED_THROUGH) -> Found:
    """As `audit_history`; it also says what could not be looked at, which is nothing but just after an upgrade.

    Words without a letter or a digit are found everywhere.
    """
    if wished.words:
        wished = replace(wished, words=tuple(word for word in wished.words if wanted((word,))))
    mark, last = uow.run(_STATE, {})[0]
    done = Progress.from_text(mark or "")
    # `before` comes back from a button: a forged one is the first page.
    before = wished.before if 0 < wished.before <= _LARGEST else _LARGEST
    behind, unread = _behind(uow, done, before, look_through) if (last or 0) > done.seq else ([], None)
    rows = [row for row in behind if matches(terms(row), wished)][: wished.limit + 1]
    more = wished.limit + 1 - len(rows)
    if more > 0:
        rows += _indexed(uow, wished, done, before, more)
    return Found(rows, unread)


def matches(found: Terms, wished: AuditFilter) -> bool:
    """True when a row with these terms is wished for, `before` and `limit` left aside."""
    return (
        all(getattr(wished, name) in {"", getattr(found, name)} for name in _EQUAL if name != "app")
        and (wished.app in {"", found.app} or wished.app in found.apps)
        and wished.action in {"", found.action, found.subject}
        and found.commit_sha.startswith(wished.commit)
        and (wished.since is None or found.at >= wished.since)
        and (wished.until is None or found.at < wished.until)
        and all(is_met(token, found.tokens) for token in wanted(wished.words))
    )


def _behind(
    uow: UnitOfWork, done: Progress, before: int, most: int
) -> tuple[Sequence[Recorded], tuple[int, int] | None]:
    """The rows that the index has not got to, newest first; and those that are too many."""
    rows = [Recorded(*row) for row in uow.run(_BEHIND, {"after": done.seq, "before": before, "most": most + 1})]
    if len(rows) <= most:
        return rows, None
    return rows[:most], (done.seq + 1, rows[most].seq)


def _indexed(uow: UnitOfWork, wished: AuditFilter, done: Progress, before: int, limit: int) -> Sequence[Recorded]:
    low, high = _between(uow, wished, done)
    before = min(before, high, done.seq + 1)
    if low + 1 >= before:
        return []
    rows = _page(uow, wished, low, before, limit)
    if not wished.app:
        return rows
    # Rows of a set of apps have none in their column, so that a search by column alone stays as quick as it is.
    also = _page(uow, replace(wished, app=""), low, before, limit, (Token(key(ALSO, wished.app)),))
    return sorted([*rows, *also], key=lambda row: -row.seq)[:limit] if also else rows


def _page(
    uow: UnitOfWork, wished: AuditFilter, low: int, before: int, limit: int, tokens: tuple[Token, ...] = ()
) -> Sequence[Recorded]:
    """Rows between these numbers whose columns are as wished, and whose text has these tokens too."""
    said = {name: value for name in _GIVEN if (value := getattr(wished, name))}
    shape = frozenset(said) | ({"whole"} if ":" in wished.action else set()) | ({"words"} if tokens else set())
    query = _on_sqlite(shape) if uow.on_sqlite else _on_postgres(shape)
    values: dict[str, object] = {name: value for name, value in said.items() if name != "words"}
    if wished.commit:  # every id is hex: `g` is behind all that begin so
        values["behind_commit"] = f"{wished.commit}g"
    if uow.on_sqlite and _cut(shape):
        values["said"] = _fts5(wished, tokens)
    elif "words" in shape:
        values["said"] = " & ".join(_lexeme(one) for one in (*tokens, *wanted(wished.words)))
    return [Recorded(*row) for row in uow.run(query, values | {"low": low, "high": before, "most": limit})]


def _between(uow: UnitOfWork, wished: AuditFilter, done: Progress) -> tuple[int, int]:
    """Rows outside of these numbers cannot be of the wished time; which is checked of each row inside too.

    Rows are numbered in the order they were written, which is that of their times unless a clock went back, at most by
    the skew. So one row that is too early or too late by more than that tells of all before or behind it.
    """
    low, high = 0, _LARGEST
    if wished.since is not None:
        early = uow.run(_EARLY, {"at": _moved(wished.since, -done.skew)})
        low = int(early[0][0]) if early else low
    if wished.until is not None:
        late = uow.run(_LATE, {"at": _moved(wished.until, done.skew)})
        high = int(late[0][0]) if late else high
    return low, high


def _moved(at: datetime, by: timedelta) -> datetime:
    try:
        return at + by
    except OverflowError:
        return _LAST if by > timedelta(0) else _FIRST


# ---------------------------------------------------------------- statements, one for each set of filters


def _conditions(shape: frozenset[str], led_by: frozenset[str]) -> Select[Any]:
    """All filters but the plain words, on the index's columns.

    `led_by` are those whose index is to be used. The others have a plus in front, which keeps SQLite from using theirs:
    it has no statistics here, and would guess. Postgres has them, and sees a plus nowhere.
    """

    def of(name: str, filtered: str = "") -> Any:  # noqa: ANN401 - a column, or text that stands for it
        own = _INDEX[name]
        return own if (filtered or name) in led_by else literal_column(f"+audit_index.{name}", own.type)

    query = select(*_COLUMNS).select_from(_INDEXED).where(_ROW.seq == _INDEX.seq)
    for name in _EQUAL:
        if name in shape:
            query = query.where(of(name) == bindparam(name))
    if "action" in shape:
        query = query.where(of(_action(shape), "action") == bindparam("action"))
    if "commit" in shape:
        commit = of("commit_sha", "commit")
        query = query.where(commit >= bindparam("commit"), commit < bindparam("behind_commit"))
    if "since" in shape:
        query = query.where(of("at", "since") >= bindparam("since"))
    if "until" in shape:
        query = query.where(of("at", "until") < bindparam("until"))
    # Few rows begin as a commit does: to sort them beats to walk all rows in order, which is what SQLite would do.
    seq = literal_column("+audit_index.seq", _INDEX.seq.type) if "commit" in led_by else _INDEX.seq
    query = query.where(seq > bindparam("low"), seq < bindparam("high"))
    return query.order_by(seq.desc()).limit(bindparam("most"))


@cache  # some thousand sets of filters at most, of which people use a dozen
def _on_sqlite(shape: frozenset[str]) -> Prepared:
    """By the one index that fits, or by full text for several."""
    if _cut(shape):
        query = _conditions(shape, frozenset()).select_from(_WORDS)
        query = query.where(
            text("audit_index.seq = +audit_words.rowid"),  # full text leads, and is asked once
            _WORDS.c.rowid > bindparam("low"),
            _WORDS.c.rowid < bindparam("high"),
            text("audit_words MATCH :said"),
        )
        # FTS5 walks from the newest by its own rowid alone.
        return Prepared(query.order_by(None).order_by(_WORDS.c.rowid.desc()))
    return Prepared(_conditions(shape, _led_by(shape)))


@cache
def _on_postgres(shape: frozenset[str]) -> Prepared:
    query = _conditions(shape, shape)
    return Prepared(query.where(text("audit_index.words @@ CAST(:said AS tsquery)")) if "words" in shape else query)


def _led_by(shape: frozenset[str]) -> frozenset[str]:
    """The filters whose index is the best: one that leaves few rows, else the only one."""
    for few in ("deployment_id", "commit"):
        if few in shape:
            return frozenset({few})
    return shape - {"since", "until", "whole"}  # `_cut` leaves one, or an app and an environment together


def _cut(shape: frozenset[str]) -> bool:
    """True when full text is the way: it cuts several long lists without reading the rows of any."""
    if shape & {"words", "deployment_id", "commit"}:
        return "words" in shape
    return len(shape & {"actor", "status", "version", "action"}) + bool(shape & {"app", "environment"}) > 1


def _action(shape: frozenset[str]) -> str:
    """Which column the filter for an action is about."""
    return "action" if "whole" in shape else "subject"


def _fts5(wished: AuditFilter, tokens: Sequence[Token]) -> str:
    """All words and all filters, joined by AND. Tokens hold letters, digits and `-._=` alone.

    Tokens that were given leave few rows: to walk the long lists of the filters beside them would take a hundred times
    as long as to look at the columns of those few.
    """
    said = [*tokens, *wanted(wished.words)]
    if tokens:
        return _all(said)
    said += [Token(key(name, value)) for name in _EQUAL if (value := getattr(wished, name))]
    if wished.action:
        said.append(Token(key("action" if ":" in wished.action else "subject", wished.action)))
    if wished.commit:
        said.append(Token(wished.commit, prefix=True))
    return _all(said)


def _all(said: Iterable[Token]) -> str:
    return " AND ".join(f'"{one.text}"{" *" if one.prefix else ""}' for one in said)


def _lexeme(token: Token) -> str:
    return f"'{token.text}'{':*' if token.prefix else ''}"
