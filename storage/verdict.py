"""What a verifier goes by, and what it says: values, and the sentences for people."""

from dataclasses import dataclass
from enum import StrEnum

from storage.signing import PublicKey, SignedHead
from storage.verify_rows import Fault, Wrong


class State(StrEnum):
    """What is known of a record."""

    PROVEN = "proven"
    TAMPERED = "tampered"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """What is wrong."""

    MISSING = "missing"
    EDITED = "edited"
    REFORGED = "re-forged"
    UNSIGNED = "unsigned"
    OTHER_KEY = "other-key"
    CUT_OFF = "cut-off"
    REPLACED = "replaced"
    TREE = "tree"
    CHECKPOINT = "checkpoint"
    EXPORT = "export"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong. `row` is the first one that it is about; 0 when it is about none."""

    kind: Kind
    row: int
    what: str
    next_step: str


@dataclass(frozen=True)
class Anchor:
    """A checkpoint from outside of the database. `where` says where, for people: "commit 0123abc"."""

    where: str
    signed: SignedHead


@dataclass(frozen=True)
class Trust:
    """What the verifier goes by: public keys that it has from outside of the database.

    `since` is the first row that they have signed, where that is known; 0 where it is not.
    """

    keys: tuple[PublicKey, ...] = ()
    since: int = 0


@dataclass(frozen=True)
class Verdict:
    """What came of it. Rows 1 to `proven` are as they were written; `anchored` of them are vouched for outside, too."""

    state: State
    rows: int
    proven: int = 0
    anchored: int = 0
    anchors: int = 0
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One sentence."""
        if self.state is State.PROVEN:
            return f"All {self.rows:,} rows are as they were written, and none is missing."
        if self.state is State.TAMPERED:
            return self.findings[0].what
        return self.notes[0] if self.notes else "It could not be told whether the record is as it was written."


def told(fault: Fault) -> Finding:
    """A row that is wrong by itself."""
    row = fault.row
    if fault.wrong is Wrong.MISSING:
        return finding(Kind.MISSING, row, f"Row {row} is missing: it was deleted, or its number changed.")
    return finding(Kind.EDITED, row, f"Row {row} was edited: what it says is not what was hashed when it was written.")


def finding(kind: Kind, row: int, what: str, more: str = "") -> Finding:
    """Something that is wrong from a row on."""
    step = (
        f"Keep the database as it is. Bring a backup back beside it, and compare from row {row} on; the commits of the "
        f"infra-repo tell what was deployed.{more}"
    )
    return Finding(kind, row, what, step)


def forged(where: str, why: str) -> Finding:
    """A checkpoint that cannot be relied on."""
    step = "Ask who made it. It says nothing of the rows: those are judged by the checkpoints that are signed."
    return Finding(Kind.CHECKPOINT, 0, f"The checkpoint in {where} is forged or damaged: {why}.", step)


def tree_finding(what: str) -> Finding:
    """Rows that are right, below a stored tree that is not."""
    step = "Find out who can write the database. `locktender audit rebuild` makes the tree again from the rows."
    return Finding(Kind.TREE, 0, what, step)
