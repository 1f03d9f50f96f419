"""What evidence says, as values: every field is worked out from rows, and names the rows that it is from.

These are the words of `locktender-evidence/1`. A file is verified by working them out again (commands.evidence_verify),
so a change to them, or to how they are told, is a new format.
"""

from dataclasses import dataclass
from enum import StrEnum


class Holds(StrEnum):
    """Whether a fact is so. `not-asked` is for what the rules did not ask for, or what it never came to."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    NOT_ASKED = "not-asked"


@dataclass(frozen=True)
class Check:
    """A fact that an auditor asks for. `why` is a sentence; `rows` are those that it was read from."""

    what: str
    holds: Holds
    why: str
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A request for one app. Times are RFC 3339 in UTC; what was not said is empty."""

    row: int
    kind: str
    deployment: str
    app: str
    environment: str
    version: str
    digest: str
    by: str
    at: str
    source: str
    channel: str
    reason: str
    on_behalf_of: str
    not_before: str
    break_glass: bool
    promoted_from: str
    restores: str
    rules: str
    rules_commit: str


@dataclass(frozen=True)
class ShownPart:
    """One app as approvers saw it. `manifests` is the SHA-256 of what kustomize rendered."""

    app: str
    before: str
    after: str
    digest: str
    overlay: str
    manifests: str
    summary: str


@dataclass(frozen=True)
class Proposed:
    """What approvers were shown last. `content` is the SHA-256 of the binding, which an approval names.

    `is_bound` says that the binding is in the file; `times` how often it was shown, because it had moved.
    """

    row: int
    at: str
    content: str
    head: str
    base: str
    pull_request: str
    rules: str
    rules_commit: str
    parts: tuple[ShownPart, ...]
    blast_radius: tuple[str, ...]
    files: tuple[str, ...]
    authors: tuple[str, ...]
    diff: str
    is_bound: bool
    times: int


@dataclass(frozen=True)
class Apart:
    """Whom an approver was compared with: what they are to the change, their name there, and their person's key."""

    role: str
    name: str
    person: str


@dataclass(frozen=True)
class Said:
    """What one person said of what they were shown. `is_of_last` is false when that moved afterwards.

    `is_separate` is worked out again from the names that were compared.
    """

    row: int
    verdict: str
    by: str
    at: str
    person: str
    source: str
    comment: str
    content: str
    is_of_last: bool
    was_taken_back: bool
    known_as: tuple[str, ...]
    apart_from: tuple[Apart, ...]
    is_separate: Holds


@dataclass(frozen=True)
class Rule:
    """Who may approve, by the rules in force. `required` is what they asked for when it was shown last."""

    version: str
    commit: str
    required: int
    groups: tuple[str, ...]
    deployers: tuple[str, ...]
    accept: str
    comment: str
    expires_after_seconds: int
    is_attached: bool
    rows: tuple[int, ...]


@dataclass(frozen=True)
class MergedChange:
    """How it got to the branch."""

    rows: tuple[int, ...]
    at: str
    pull_request: str
    head: str
    content: str
    commit: str
    by: str
    approved_by: tuple[str, ...]
    is_same: bool
    compared: str


@dataclass(frozen=True)
class Ran:
    """What became of one app, as far as it got: commit, build, rollout, verification, end."""

    deployment: str
    app: str
    environment: str
    version: str
    digest: str
    commit: str
    job: str
    build: str
    build_result: str
    build_url: str
    rollout: str
    rollout_cause: str
    health_url: str
    soak_seconds: int
    phase: str
    reason_code: str
    what: str
    ended_at: str
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Glass:
    """What was done without waiting, and who looked at it afterwards. `reviewed_by` is empty while the debt is open."""

    reason: str
    merged_at: str
    reviewed_by: str
    reviewed_at: str
    comment: str
    was_late: bool
    is_separate: Holds
    reminders: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Reported:
    """What others said of a commit: a pipeline's record, or a change around Locktender with its pull request."""

    row: int
    action: str
    by: str
    at: str
    app: str
    environment: str
    commit: str
    status: str
    deployer: str
    branch: str
    build_url: str
    approval_note: str
    author: str
    pull_request: str
    approved_by: tuple[str, ...]
    merged_by: str
    subject: str


@dataclass(frozen=True)
class Told:
    """All of it. `state` is how it ended, or that it has not."""

    name: str
    kind: str
    state: str
    what: str
    requests: tuple[Asked, ...]
    proposed: Proposed | None
    said: tuple[Said, ...]
    rule: Rule | None
    merged: MergedChange | None
    ran: tuple[Ran, ...]
    glass: Glass | None
    reported: tuple[Reported, ...]
    refused: tuple[str, ...]
    checks: tuple[Check, ...]
    taken_by: str
    taken_at: str
