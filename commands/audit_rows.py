"""What a row of the record says in one line of a list, and in one line of a story. Pure."""

import json
from datetime import datetime

from commands.deploy import ago
from commands.requests import Row, mention, outside, typed
from storage.audit_text import Recorded
from storage.record_models import AuditRow
from storage.unit_of_work import BOT

_LONGEST = 300
_VERBS = {
    "deployment:request": "asked for it",
    "promotion:request": "asked for it",
    "rollback:request": "asked to roll back",
    "deployment:on-behalf": "said for whom",
    "deployment:write": "began to write it to git",
    "deployment:commit": "put it into git",
    "deployment:build": "started the build",
    "deployment:built": "saw the build end",
    "deployment:rollout": "saw the rollout end",
    "deployment:healthy": "found it well",
    "deployment:finish": "ended it",
    "deployment:cancel": "cancelled it",
    "deployment:stand-down": "put it back into the queue",
    "change:open": "opened it for review",
    "change:propose": "showed what it changes",
    "change:approve": "approved it",
    "change:reject": "rejected it",
    "change:withdraw": "took an approval back",
    "change:void": "declared its approvals void",
    "change:approved": "counted enough approvals",
    "change:wait": "took it out of the queue, because the code host wants something",
    "change:merge": "began to merge it",
    "change:merged": "merged it",
    "change:merged-other": "found something else merged than was approved",
    "change:external-merge": "found it merged by hand",
    "change:stand-down": "put it back into the queue",
    "change:close": "closed it",
    "change:review": "reviewed what broke the glass",
    "change:debt": "asked for the review that is owed",
    "hold:set": "holds automation off",
    "record:deployment": "reported a deployment",
}
_SHOWN = (
    "on_behalf_of",
    "deployer",
    "phase",
    "status",
    "state",
    "version",
    "digest",
    "commit",
    "merge",
    "content",
    "head",
    "approvals",
    "job",
)
_SHORT = {"commit": 12, "merge": 12, "head": 12, "content": 16, "digest": 26}  # characters that tell two apart
_SENTENCES = ("reason", "comment", "why", "what", "cause", "approval_note")
_LINKS = ("pull_request", "build_url")


def listed_row(row: AuditRow | Recorded, now: datetime) -> Row:
    """In a page of the record."""
    details = json.loads(row.details)
    target = " in ".join(typed(part) for part in (row.app, row.environment) if part)
    version = f" {typed(str(details['version']))}" if details.get("version") else ""
    phase = f" {_plain(details['phase'])}" if details.get("phase") else ""
    commit = f", commit {typed(str(details['commit'])[:7])}" if details.get("commit") else ""
    code = f" ({row.reason_code})" if row.reason_code else ""
    deployment = f", `{row.deployment_id}`" if row.deployment_id else ""
    when = f"{row.at:%Y-%m-%d %H:%M:%S} UTC, {ago(now, row.at)}"
    return Row(
        f"#{row.seq} {row.action}{phase}{code} · {target}{version} · {who(row.actor)}".replace(" ·  ·", " ·"),
        f"{when}{deployment}{commit}",
    )


def told_row(row: AuditRow | Recorded) -> Row:
    """In the story of one deployment or change: who did what, what they were shown, why."""
    details = json.loads(row.details)
    verb = "was refused" if row.action.endswith(":refuse") else _VERBS.get(row.action, row.action)
    app = f" ({typed(row.app)})" if row.app else ""
    code = f": {row.reason_code}" if row.reason_code else ""
    facts = [f"{name} {typed(_cut(name, details[name]))}" for name in _SHOWN if _said(details.get(name))]
    said = [_plain(details[name]) for name in _SENTENCES if _said(details.get(name))]
    moved = details.get("moved")
    said += [_plain(one) for one in moved[:3]] if isinstance(moved, list) else []
    url = next((str(details[name]) for name in _LINKS if _said(details.get(name))), "")
    return Row(
        f"{row.at:%Y-%m-%d %H:%M:%S} {who(row.actor)} {verb}{app}{code}",
        " · ".join([f"#{row.seq}", *facts, *said])[:700],
        url,
    )


def who(actor: str) -> str:
    """Whoever did it: a mention, or the name that another system knows them by."""
    if actor == BOT or not actor:
        return "Locktender"
    return typed(actor) if ":" in actor or "@" in actor else mention(outside(actor))


def _said(value: object) -> bool:
    return value not in (None, "", 0, [])


def _cut(name: str, value: object) -> str:
    text = str(value)
    return text[: _SHORT[name]] if name in _SHORT else text


def _plain(value: object) -> str:
    """A sentence that was recorded, mentions in it kept: our own code wrote it, or it was made harmless then."""
    return " ".join(str(value).split())[:_LONGEST]
