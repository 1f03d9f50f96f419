"""API tokens as they are kept: the hash of each, what it may do, and when it was used last."""

from datetime import timedelta
from typing import Any, cast

from sqlalchemy import delete, select

from storage.models import Seen
from storage.record_models import ApiToken
from storage.unit_of_work import UnitOfWork

USED_AGAIN = timedelta(minutes=1)
"""How exactly the last use is kept: a write at every request would tell nobody more."""


def add(uow: UnitOfWork, token: ApiToken) -> None:
    """Store a new token, created now."""
    token.created_at = uow.now
    uow.session.add(token)
    uow.session.flush()


def by_hash(uow: UnitOfWork, digest: str) -> ApiToken | None:
    """The token of this hash, revoked or not."""
    table = cast("Any", ApiToken)
    return uow.session.scalars(select(ApiToken).where(table.hash == digest)).first()


def in_use(uow: UnitOfWork, word: str) -> ApiToken | None:
    """The token of this name or id that is not revoked."""
    table = cast("Any", ApiToken)
    query = select(ApiToken).where((table.name == word) | (table.id == word), table.revoked_at.is_(None))
    return uow.session.scalars(query).first()


def last_revoked(uow: UnitOfWork, word: str) -> ApiToken | None:
    """The token of this name or id that was revoked last."""
    table = cast("Any", ApiToken)
    query = select(ApiToken).where((table.name == word) | (table.id == word), table.revoked_at.is_not(None))
    return uow.session.scalars(query.order_by(table.revoked_at.desc()).limit(1)).first()


def everyone(uow: UnitOfWork) -> list[ApiToken]:
    """Every token there ever was, by name, oldest first."""
    table = cast("Any", ApiToken)
    return list(uow.session.scalars(select(ApiToken).order_by(table.name, table.created_at)))


def is_stale(uow: UnitOfWork, token: ApiToken) -> bool:
    """True when its last use is to be written anew."""
    return token.last_used_at is None or uow.now - token.last_used_at >= USED_AGAIN


def used(uow: UnitOfWork, token_id: str) -> None:
    """It was used in this minute."""
    token = uow.session.get(ApiToken, token_id)
    if token is not None:
        token.last_used_at = uow.now.replace(second=0, microsecond=0)


def forget_answer(uow: UnitOfWork, key: str) -> None:
    """Let a request under this key be made again: what it was answered has changed nothing."""
    uow.session.execute(delete(Seen).where(cast("Any", Seen).key == key))
