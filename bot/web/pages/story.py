"""A deployment's page: what was asked, shown and approved, what became of it, and the rows that prove it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import select

from commands import audit_show
from commands.audit_rows import told_row
from commands.shown import Shown
from storage import ledger_keys
from storage.audit_text import Recorded
from storage.models import Approval, Change, Deployment
from storage.record_models import AuditRow
from storage.unit_of_work import UnitOfWork

MOST_DIFF = 200_000
"""Characters of a rendered difference on a page; the pull request has the rest."""
TIME = len("2026-01-31 18:00:00 ")
"""What the words of a row begin with, and a page shows beside them."""


@dataclass(frozen=True)
class Event:
    """A row of the record, told: `text` says who did what, in the words of `/audit show`."""

    seq: int
    at: datetime
    action: str
    text: str
    detail: str
    url: str
    leaf: str
    tone: str = ""


@dataclass(frozen=True)
class Said:
    """What one person said of one content; `counts` when that is the content that is shown now."""

    person: str
    verdict: str
    at: datetime
    content: str
    counts: bool
    where: str
    comment: str


@dataclass(frozen=True)
class DiffLine:
    """A line of a difference; `kind` is add, cut, file, place or empty."""

    kind: str
    text: str


@dataclass(frozen=True)
class Checkpoint:
    """The signed head of the record when the page was made; empty `note` where rows are not signed."""

    size: int = 0
    note: str = ""


@dataclass(frozen=True)
class StoryPage:
    """Everything on the page."""

    name: str
    change: Change | None
    deployments: tuple[Deployment, ...]
    commits: Mapping[str, str]
    shown: Shown
    said: tuple[Said, ...]
    diff: tuple[DiffLine, ...]
    cut: bool
    events: tuple[Event, ...]
    checkpoint: Checkpoint
    wants: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """What it is, in a line."""
        first = self.deployments[0] if self.deployments else None
        if first is None:
            return self.name
        if len(self.deployments) == 1:
            return f"{first.app} {first.version} to {first.environment}"
        return f"{len(self.deployments)} apps to {first.environment}"


def story_page(uow: UnitOfWork, name: str, commit_link: Callable[[str], str], origin: str) -> StoryPage:
    """The page of what has this id. Raises Refused(UNKNOWN_DEPLOYMENT) when nothing has."""
    story = audit_show.find(uow, (name,))
    change = story.change
    diff = change.diff if change is not None else ""
    commits = [one.commit_sha for one in story.deployments] + ([change.merge_sha] if change else [])
    return StoryPage(
        name=story.name,
        change=change,
        deployments=story.deployments,
        commits={sha: commit_link(sha) for sha in commits if sha},
        shown=Shown.from_json(change.shown) if change is not None else Shown(),
        said=_said(uow, change) if change is not None else (),
        diff=tuple(_diff(diff[:MOST_DIFF])),
        cut=len(diff) > MOST_DIFF,
        events=tuple(_event(row) for row in story.rows),
        checkpoint=checkpoint(uow, origin),
        wants=tuple(str(one) for one in json.loads(change.wants)) if change is not None else (),
    )


def checkpoint(uow: UnitOfWork, origin: str) -> Checkpoint:
    """The latest signed head."""
    found = ledger_keys.checkpoint(uow, origin)
    return Checkpoint() if found is None else Checkpoint(found.head.size, found.note)


def _event(row: AuditRow | Recorded) -> Event:
    said = told_row(row)
    _, _, detail = said.detail.partition(" · ")  # before it stands the row's number
    return Event(row.seq, row.at, row.action, said.text[TIME:], detail, said.url, row.leaf, _tone(row))


def _tone(row: AuditRow | Recorded) -> str:
    """How a row is marked in the timeline."""
    verb = row.action.rpartition(":")[2]
    if verb in {"refuse", "reject", "void", "merged-other", "external-merge", "withdraw"}:
        return "bad"
    if verb in {"approve", "approved", "healthy"}:
        return "good"
    if verb == "finish":
        phase = json.loads(row.details).get("phase", "")
        return "good" if phase == "succeeded" else "bad" if phase in {"failed", "errored"} else ""
    return ""


def _said(uow: UnitOfWork, change: Change) -> tuple[Said, ...]:
    """Everything that was said of the change, of contents that are no longer shown too, oldest first."""
    table = cast("Any", Approval)
    query = select(Approval).where(table.change_id == change.id).order_by(table.at, table.id)
    return tuple(
        Said(
            one.slack_user or (f"github:{one.login}" if one.login else one.person),
            one.verdict,
            one.at,
            one.content,
            one.content == change.content,
            one.source,
            one.comment,
        )
        for one in uow.session.scalars(query)
    )


def _diff(text: str) -> list[DiffLine]:
    kinds = (("+++", "file"), ("---", "file"), ("@@", "place"), ("+", "add"), ("-", "cut"))
    return [
        DiffLine(next((kind for start, kind in kinds if line.startswith(start)), ""), line)
        for line in text.splitlines()
    ]
