"""What a waiting deployment's review still needs, in words: approvals, what the code host asks for, what moved."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from commands.facts import Facts
from commands.lock_words import clock, cut
from commands.requests import Row, listed, mention, outside
from storage import gate
from storage.models import Approval, Change, ChangeState, Deployment
from storage.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class ReviewTold:
    """Where the review of a deployment's change is, as the end of "It …", and everything that is still wanted."""

    short: str
    rows: tuple[Row, ...]


def review_told(uow: UnitOfWork, facts: Facts, deployment: Deployment) -> ReviewTold | None:
    """The review that this deployment waits for; None where there is none, or it is over."""
    change = gate.change_of(uow, deployment.change_id)
    if change is None:
        return None
    match ChangeState(change.state):
        case ChangeState.PREPARING:
            short = "waits for its pull request"
            step = "That is being prepared and takes seconds; whoever may approve is asked then."
        case ChangeState.OPEN:
            short = f"waits for approval: {_counted(uow, facts, change)}"
            step = _who_did(gate.approvals(uow, change))
        case ChangeState.APPROVED:
            short, step = "is approved", ""
        case ChangeState.MERGED | ChangeState.CLOSED | ChangeState.FAILED:
            return None
    rows = [Row(f"It {short}.", f"{step} {change.pr_url}".strip())] if step else []
    rows += [Row(f"What was shown has moved: {_quoted(change.moved)}")] if change.moved else []
    rows += [Row(_quoted(str(want)), "The code host itself asks for this.") for want in json.loads(change.wants)]
    rows += [Row(cut(change.note))] if change.note else []
    return ReviewTold(short, tuple(rows))


def _counted(uow: UnitOfWork, facts: Facts, change: Change) -> str:
    have = len(_approvers(gate.approvals(uow, change)))
    known = facts.in_force.catalogue
    environment = known.environment(change.environment) if known else None
    rule = environment.approval if environment else None
    whose = f" from {listed(rule.groups)}" if rule else ""
    expires = f", until {clock(change.expires_at)}" if change.expires_at else ""
    return f"{have} of {change.required}{whose}{expires}"


def _who_did(given: Sequence[Approval]) -> str:
    names = [mention(one.slack_user) if one.slack_user else f"`{outside(one.login)}`" for one in _approvers(given)]
    return f"Approved by {', '.join(names)}." if names else "Nobody has approved it yet."


def _approvers(given: Sequence[Approval]) -> list[Approval]:
    return [one for one in given if one.verdict == "approved"]


def _quoted(text: str) -> str:
    return cut(outside(text), 500)
