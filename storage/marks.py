"""How far things have been looked at, and whose a commit is."""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import or_, select

from storage.models import Change, Deployment, Mark
from storage.phases import Phase
from storage.unit_of_work import UnitOfWork


def mark(uow: UnitOfWork, name: str) -> str:
    """The mark of this name; empty when there is none yet."""
    found = uow.session.get(Mark, name)
    return found.value if found is not None else ""


def set_mark(uow: UnitOfWork, name: str, value: str) -> None:
    """Move it."""
    found = uow.session.get(Mark, name)
    if found is None:
        uow.session.add(Mark(name=name, value=value))
    else:
        found.value = value


def recorded(uow: UnitOfWork, commits: Sequence[str]) -> frozenset[str]:
    """Those of these commits that a deployment or a merged change names as its own."""
    deployment, change = cast("Any", Deployment), cast("Any", Change)
    mine = select(deployment.commit_sha).where(
        deployment.commit_sha.in_(commits), deployment.base_sha != deployment.commit_sha
    )
    merged = select(change.merge_sha).where(change.merge_sha.in_(commits))
    return frozenset(uow.session.scalars(mine)) | frozenset(uow.session.scalars(merged))


def may_be_recorded_soon(uow: UnitOfWork, ids: list[str]) -> bool:
    """True when a deployment of these ids, or of a change of these ids, is just being written."""
    table = cast("Any", Deployment)
    writing = (
        select(table.id)
        .where(or_(table.id.in_(ids), table.change_id.in_(ids)), table.phase == Phase.RUNNING, table.commit_sha == "")
        .limit(1)
    )
    return bool(ids) and uow.session.execute(writing).first() is not None
