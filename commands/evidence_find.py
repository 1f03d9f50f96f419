"""What evidence is of: the rows of one change, wherever it came from, and the texts that they have hashes of."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import select

from commands import audit_show
from commands.catalogue import Catalogue
from commands.catalogue_reader import read
from commands.reasons import ReasonCode, Refused
from commands.requests import typed
from storage.audit_text import COLUMNS, Recorded
from storage.history import AuditFilter, audit_history
from storage.models import CatalogueVersion, Change
from storage.record_models import AuditRow
from storage.secrets import without_secrets
from storage.unit_of_work import UnitOfWork

MOST_ROWS = 2000
"""A change has dozens; one that has more is an export with filters, not a document."""
_MOST_RULES = 20
_NUMBER = re.compile(r"(?:#|row:)([0-9]{1,9})")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_SHORT = 7
_REPORTED = ("record", "external-change")
RULES = "catalogue:load"
_UNDER_RULES = (":request", "change:propose", "change:merge")


@dataclass(frozen=True)
class Attached:
    """Texts that rows have the SHA-256 of, each empty when it is not kept. `rules` decide who may change a place."""

    binding: str = ""
    shown: str = ""
    diff: str = ""
    rules: str = ""

    @property
    def names(self) -> list[str]:
        """Those that are there."""
        return [name for name, value in vars(self).items() if value]


@dataclass(frozen=True)
class Subject:
    """One change. `name` is its id; of what has none, the commit or `#` and the row's number. Rows are oldest first."""

    name: str
    rows: tuple[Recorded, ...]
    attached: Attached


def find(uow: UnitOfWork, word: str) -> Subject:
    """What an id, its beginning, a commit, or `#` and a row's number names. Raises Refused."""
    number = _NUMBER.fullmatch(word)
    if number:
        return _of_row(uow, int(number[1]))
    try:
        story = audit_show.find(uow, (word,))
    except Refused:
        name = word.lower()
        recorded = _of_ids(uow, [name]) if len(name) > 2 else []
        if recorded:
            return _of_rows(uow, recorded)
        found = _of_commit(uow, name) if _COMMIT.fullmatch(name) else None
        if found is None:
            raise
        return found
    ids = dict.fromkeys(
        [story.name, *(one.id for one in story.deployments), *(one.change_id for one in story.deployments)]
    )
    return _whole(uow, story.name, _of_ids(uow, [one for one in ids if one]), story.change)


def _of_row(uow: UnitOfWork, seq: int) -> Subject:
    row = uow.session.get(AuditRow, seq)
    if row is None:
        raise Refused(
            ReasonCode.UNKNOWN_DEPLOYMENT,
            f"The record has no row {typed(f'#{seq}')}.",
            "Take the number of a row that `/audit history` shows.",
        )
    return _of_rows(uow, [_recorded(row)])


def _of_rows(uow: UnitOfWork, rows: Sequence[Recorded]) -> Subject:
    """What rows belong to that are not known by a deployment's id: the deployment, the commit, or nothing else."""
    first = rows[0]
    if first.deployment_id and uow.deployment(first.deployment_id) is not None:
        return find(uow, first.deployment_id)
    commit = said(first).get("commit")
    if first.action.startswith(_REPORTED) and isinstance(commit, str) and _COMMIT.fullmatch(commit.lower()):
        found = _of_commit(uow, commit.lower())
        if found is not None:
            return found
    return _whole(uow, first.deployment_id or f"#{first.seq}", rows, None)


def _of_commit(uow: UnitOfWork, commit: str) -> Subject | None:
    rows = audit_history(uow, AuditFilter(commit=commit, limit=MOST_ROWS))
    mine = next((row.deployment_id for row in rows if _is_ours(uow, row)), "")
    if mine:
        return find(uow, mine)
    told = [row for row in rows if row.action.startswith(_REPORTED)]
    return _whole(uow, str(said(told[0])["commit"]), told, None) if told else None


def _is_ours(uow: UnitOfWork, row: Recorded) -> bool:
    known = row.deployment_id and not row.action.startswith("audit:")
    return bool(known) and (
        uow.deployment(row.deployment_id) is not None or uow.session.get(Change, row.deployment_id) is not None
    )


def _whole(uow: UnitOfWork, name: str, mine: Sequence[Recorded], change: Change | None) -> Subject:
    """With what others reported of its commits, and the rows that say which rules were in force."""
    found = {row.seq: row for row in mine}
    for commit in {str(one) for row in mine for key in ("commit", "merge") if (one := said(row).get(key))}:
        found |= {row.seq: row for row in _reported(uow, commit.lower())}
    for row in [*mine[:1], *(row for row in mine if row.action.endswith(_UNDER_RULES))]:
        before = audit_history(uow, AuditFilter(action=RULES, before=row.seq, limit=1))
        found |= {one.seq: one for one in before[:1]}
    if len(found) > MOST_ROWS:
        raise Refused(
            ReasonCode.BAD_USAGE,
            f"{typed(name)} has more than {MOST_ROWS:,} rows, which is no evidence that a person reads.",
            f"Type `/audit export jsonl id:{name}` for all of them.",
        )
    rows = tuple(found[seq] for seq in sorted(found))
    return Subject(name, rows, _attached(uow, rows, change))


def _reported(uow: UnitOfWork, commit: str) -> Iterable[Recorded]:
    """What others said of a commit, which they may have named by its beginning."""
    if not _COMMIT.fullmatch(commit):
        return ()
    rows = audit_history(uow, AuditFilter(commit=commit[:_SHORT], limit=MOST_ROWS))
    named = ((row, str(said(row).get("commit", "")).lower()) for row in rows if row.action.startswith(_REPORTED))
    return [row for row, theirs in named if commit.startswith(theirs) or theirs.startswith(commit)]


def _of_ids(uow: UnitOfWork, ids: Sequence[str]) -> list[Recorded]:
    table = cast("Any", AuditRow)
    query = select(AuditRow).where(table.deployment_id.in_(ids)).order_by(table.seq).limit(MOST_ROWS + 1)
    return [_recorded(row) for row in uow.session.scalars(query) if not row.action.startswith("audit:")]


def _recorded(row: AuditRow) -> Recorded:
    return Recorded(*(getattr(row, name) for name in COLUMNS))


def said(row: Recorded) -> Mapping[str, Any]:
    """A row's details; nothing where somebody made them unreadable, which its hash will show."""
    try:
        found = json.loads(row.details)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# ---------------------------------------------------------------- texts


def _attached(uow: UnitOfWork, rows: Sequence[Recorded], change: Change | None) -> Attached:
    """The texts that are what the rows say: one that was changed since, or holds a credential, is left out."""
    digests = digests_of(rows)
    environment = next((row.environment for row in rows if row.environment), "")
    return Attached(
        binding=_kept(change.binding, digests.binding) if change else "",
        shown=_kept(change.shown, digests.shown) if change else "",
        diff=_kept(change.diff, digests.diff) if change else "",
        rules=_kept(_rules(uow, environment, digests.rules), digests.rules),
    )


def digests_of(rows: Sequence[Recorded]) -> Attached:
    """What the texts of these rows must hash to, in the places of the texts: of what was shown last."""
    shown = next((said(row) for row in reversed(rows) if row.action == "change:propose"), {})
    asked = next((said(row) for row in rows if row.action.endswith(":request")), {})
    return Attached(
        binding=str(shown.get("content") or ""),
        shown=str(shown.get("shown") or ""),
        diff=str(shown.get("diff") or ""),
        rules=str(shown.get("policy") or asked.get("rules") or ""),
    )


def _kept(text: str, digest: str) -> str:
    return text if hashed(text) == digest and without_secrets(text) == text else ""


def hashed(text: str) -> str:
    """As rows name a text: its SHA-256 in hex."""
    return sha256(text.encode()).hexdigest()


def _rules(uow: UnitOfWork, environment: str, version: str) -> str:
    """The rules of this version, from the versions of the file that were seen; empty when none has them."""
    if not version:
        return ""
    table = cast("Any", CatalogueVersion)
    query = select(CatalogueVersion).where(table.valid).order_by(table.seen_at.desc()).limit(_MOST_RULES)
    for one in uow.session.scalars(query):
        known = read(one.source.encode())
        if isinstance(known, Catalogue) and environment in known.environments:
            text = known.rules_text(environment)
            if hashed(text) == version:
                return text
    return ""
