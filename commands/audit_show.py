"""`/audit show ID`: the whole story of a deployment or a change, in the order in which it happened."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import select

from commands import audit_policy
from commands.audit_rows import told_row, who
from commands.desk import answer_once
from commands.facts import Facts
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Row, Show, listed, typed
from storage import gate
from storage.audit_text import Recorded
from storage.history import AuditFilter, audit_history
from storage.models import Change, Deployment
from storage.record_models import AuditRow
from storage.unit_of_work import AuditEntry, Store, UnitOfWork

MOST_ROWS = 34
"""Lines of the story in one answer; a longer one is cut in its middle, and `/audit history id:…` has the rest."""
_MOST_READ = 500
_ID = re.compile(r"[0-9a-z]{3,32}")


@dataclass(frozen=True)
class Story:
    """A deployment, or a change with its deployments; `rows` are those of the record, oldest first."""

    name: str
    change: Change | None
    deployments: tuple[Deployment, ...]
    rows: tuple[AuditRow | Recorded, ...]


def show(store: Store, facts: Facts, asker: Asker, request: Show) -> Answer:
    """The story of what has this id. Looking is recorded."""

    def decide(uow: UnitOfWork) -> Answer:
        audit_policy.may_read(facts, asker)
        story = find(uow, request.words)
        record(uow, asker, story.name, len(story.rows))
        told = [told_row(row) for row in story.rows]
        cut = len(told) - MOST_ROWS
        if cut > 0:
            half = MOST_ROWS // 2
            told = [*told[:half], Row(f"… {cut} more"), *told[-half:]]
        return Answer(
            ReasonCode.ANSWERED,
            f"The story of `{story.name}`, oldest first.",
            f"`/audit history id:{story.name}` lists its rows with every filter; `/audit evidence {story.name}` has "
            "all of it with proofs, for an auditor.",
            rows=(*_head(story), *told),
            deployment_id=story.name,
        )

    return answer_once(store, facts, asker, "audit:show", {"words": " ".join(request.words)[:200]}, decide)


def record(uow: UnitOfWork, asker: Asker, name: str, rows: int) -> None:
    """That somebody looked at the story of what has this id."""
    uow.audit(
        AuditEntry(
            action="audit:show",
            actor=asker.user_id,
            team_id=asker.team_id,
            deployment_id=name,
            details={"rows": rows, "source": str(asker.source)},
        )
    )


def find(uow: UnitOfWork, words: tuple[str, ...]) -> Story:
    """What an id, or its beginning, names. Raises Refused(UNKNOWN_DEPLOYMENT)."""
    word = words[0].lower() if len(words) == 1 else ""
    if not _ID.fullmatch(word):
        raise _nothing(words)
    change = uow.session.get(Change, word)
    of_card = gate.of_card(uow, word)
    if change is None and not of_card:
        matching = uow.matching(word)
        if len(matching) > 1:
            raise Refused(
                ReasonCode.UNKNOWN_DEPLOYMENT,
                f"More than one deployment's id starts with {typed(word)}.",
                f"Did you mean {listed([one.id for one in matching])}?",
            )
        if not matching:
            raise _nothing(words)
        of_card = matching
        word = matching[0].id
    members = gate.members(uow, change.id) if change is not None else of_card
    if change is None:
        change = uow.session.get(Change, members[0].change_id)
    ids = dict.fromkeys([word, *(one.id for one in members), *(one.change_id for one in members)])
    commits = {one.commit_sha for one in members if one.commit_sha}
    return Story(word, change, tuple(members), _rows(uow, [one for one in ids if one], commits))


def _rows(uow: UnitOfWork, ids: Sequence[str], commits: set[str]) -> tuple[AuditRow | Recorded, ...]:
    """The record's rows about these ids, and what others reported of their commits; nobody's looking at them."""
    table = cast("Any", AuditRow)
    query = select(AuditRow).where(table.deployment_id.in_(ids)).order_by(table.seq).limit(_MOST_READ)
    found: dict[int, AuditRow | Recorded] = {
        row.seq: row for row in uow.session.scalars(query) if not row.action.startswith("audit:")
    }
    for commit in commits:
        reported = audit_history(uow, AuditFilter(commit=commit, action="record", limit=10))
        found |= {row.seq: row for row in reported}
    return tuple(found[seq] for seq in sorted(found))


def _head(story: Story) -> list[Row]:
    """What it is and how it stands, before how it came to that."""
    rows = [_deployment(one) for one in story.deployments]
    change = story.change
    if change is not None:
        content = f", content `{change.content[:16]}`" if change.content else ""
        number = f"Pull request #{change.pr_number}" if change.pr_number else "Change"
        merged = f", merged as `{change.merge_sha[:12]}`" if change.merge_sha else ""
        glass = ", by break-glass" if change.break_glass else ""
        rows.append(Row(f"{number}: {change.state}{glass}{content}{merged}", "", change.pr_url))
    return rows


def _deployment(one: Deployment) -> Row:
    digest = f" `{one.digest[:26]}`" if one.digest else ""
    commit = f", commit `{one.commit_sha[:12]}`" if one.commit_sha else ""
    build = f", build {one.job} #{one.build_number}" if one.build_number else ""
    code = f" ({one.reason_code})" if one.reason_code else ""
    why = f" because {typed(one.reason)}" if one.reason else ""
    return Row(
        f"`{one.app}` {typed(one.version)}{digest} to `{one.environment}`: {one.phase}{code}{commit}{build}",
        f"{one.kind}, asked for by {who(one.requested_by)}{why}",
        one.build_url,
    )


def _nothing(words: tuple[str, ...]) -> Refused:
    named = f" called {typed(words[0])}" if len(words) == 1 else ""
    return Refused(
        ReasonCode.UNKNOWN_DEPLOYMENT,
        f"There is no deployment and no change{named}.",
        "Give the id from its card, as in `/audit show ID`; `/audit history` finds it by app, person or time.",
    )
