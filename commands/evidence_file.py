"""`locktender-evidence/1`: evidence as a file, an in-toto Statement v1 in canonical JSON, one line.

The predicate holds the rows as they were recorded, each with its RFC 6962 proof; the signed checkpoint that the proofs
lead to; the texts that rows have hashes of; and `told`, what all of that says. Nothing else: who has the rows, the
texts and the checkpoint can write the whole file again, and that is how one that was edited is found.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and, for the names of digests,
https://github.com/in-toto/attestation/blob/main/spec/v1/digest_set.md
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any

from commands.evidence_find import RULES, Attached
from commands.evidence_tell import tell
from commands.evidence_told import Told
from storage.audit_text import COLUMNS, Recorded
from storage.canonical import canonical

FORMAT = "locktender-evidence/1"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:locktender:evidence:1"
_COLUMNS = tuple(name for name in COLUMNS if name != "sig")
_HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class NotEvidenceError(Exception):
    """The file is not evidence, or not whole. The message is a sentence for people."""


@dataclass(frozen=True)
class Head:
    """The record when the evidence was taken. `checkpoint` is a signed note; empty while nobody signs the record."""

    origin: str
    size: int
    root: str
    keys: tuple[str, ...]
    checkpoint: str


@dataclass(frozen=True)
class Proven:
    """A row, and the hashes in hex that lead from it to the root."""

    row: Recorded
    proof: tuple[str, ...]

    def said(self) -> dict[str, Any]:
        """As in an export (storage.verify_export), without the row's own signature: that of the last row is enough."""
        told: dict[str, Any] = {name: getattr(self.row, name) for name in _COLUMNS}
        told["at"] = self.row.at.isoformat(timespec="microseconds")
        told["details"] = _details(self.row.details)
        return told | {"proof": list(self.proof)}


@dataclass(frozen=True)
class Taken:
    """Evidence of one change; the last row is the taking of it."""

    name: str
    head: Head
    rows: tuple[Proven, ...]
    attached: Attached

    @cached_property
    def told(self) -> Told:
        """What it says."""
        return tell(self.name, [one.row for one in self.rows], self.attached)

    @cached_property
    def statement(self) -> str:
        """The file."""
        return canonical(json.loads(json.dumps(self._said()))) + "\n"

    @property
    def subjects(self) -> list[dict[str, object]]:
        """What it attests to: the commits and images; before there are any, the head that was shown, or a row."""
        told, repository = self.told, self.head.origin.removeprefix("locktender/") or "infra-repo"
        commits = [one.commit for one in told.ran] + ([told.merged.commit] if told.merged else [])
        commits += [one.commit for one in told.reported]
        heads = [told.proposed.head] if told.proposed and not any(commits) else []
        found: list[dict[str, object]] = [
            {"name": repository, "digest": {"gitCommit": commit}}
            for commit in dict.fromkeys([*commits, *heads])
            if _HEX.fullmatch(commit)
        ]
        images = [(one.app, one.version, one.digest) for one in told.ran]
        images += [(one.app, one.after, one.digest) for one in (told.proposed.parts if told.proposed else ())]
        named: dict[str, str] = {}
        for app, version, digest in images:
            hexadecimal = _DIGEST.fullmatch(digest)
            if hexadecimal:
                named.setdefault(hexadecimal[1], f"{app}:{version}" if version and version != digest else app)
        found += [{"name": name, "digest": {"sha256": digest}} for digest, name in named.items()]
        first = next((one.row for one in self.rows if one.row.action != RULES), self.rows[0].row)
        return found or [{"name": f"{repository} row {first.seq}", "digest": {"sha256": first.leaf}}]

    def _said(self) -> dict[str, object]:
        return {
            "_type": STATEMENT,
            "subject": self.subjects,
            "predicateType": PREDICATE,
            "predicate": {
                "format": FORMAT,
                "of": self.name,
                "told": asdict(self.told),
                "attached": {name: value for name, value in asdict(self.attached).items() if value},
                "rows": [one.said() for one in self.rows],
                "record": asdict(self.head),
            },
        }


def read(text: str) -> tuple[Taken, Mapping[str, Any]]:
    """The rows, proofs and texts of a file, and the file as it is. NotEvidenceError."""
    try:
        document = json.loads(text, object_pairs_hook=_once)
        predicate = document["predicate"]
        if (document["_type"], predicate["format"]) != (STATEMENT, FORMAT):
            raise NotEvidenceError(f"The file is not `{FORMAT}`.")
        record, attached = predicate["record"], predicate["attached"]
        origin, root, keys = str(record["origin"]), str(record["root"]), tuple(record["keys"])
        head = Head(origin, int(record["size"]), root, keys, str(record["checkpoint"]))
        rows = tuple(_row(one) for one in predicate["rows"])
        texts = {one.name: str(attached.get(one.name, "")) for one in fields(Attached)}
        canonical(document)  # nothing that has no canonical form: a float
        name = str(predicate["of"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotEvidenceError("The file is not what `audit evidence` writes, or not all of it.") from error
    if not rows:
        raise NotEvidenceError("The file holds no rows.")
    return Taken(name, head, rows, Attached(**texts)), document


def first_difference(one: object, other: object, where: str = "") -> str:
    """Where two documents first differ, as a path; empty when they are the same."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            if key not in one or key not in other:
                return f"{where}.{key}".lstrip(".")
            found = first_difference(one[key], other[key], f"{where}.{key}")
            if found:
                return found
        return ""
    if isinstance(one, list) and isinstance(other, list):
        for number, (left, right) in enumerate(zip(one, other, strict=False)):
            found = first_difference(left, right, f"{where}[{number}]")
            if found:
                return found
        return "" if len(one) == len(other) else f"{where}[{min(len(one), len(other))}]".lstrip(".")
    return "" if type(one) is type(other) and one == other else where.lstrip(".")


def _row(told: Mapping[str, Any]) -> Proven:
    details = told["details"]
    row = Recorded(
        seq=int(told["seq"]),
        at=datetime.fromisoformat(told["at"]),
        details=details if isinstance(details, str) else canonical(details),
        sig="",
        **{name: str(told[name]) for name in _COLUMNS if name not in {"seq", "at", "details"}},
    )
    return Proven(row, tuple(str(one) for one in told["proof"]))


def _details(stored: str) -> object:
    """As JSON; what somebody made of it otherwise is written as it is, for the verifier to find."""
    try:
        return json.loads(stored)
    except (ValueError, RecursionError):
        return stored


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object. A name that is there twice says one thing to one reader and another to the next."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found
