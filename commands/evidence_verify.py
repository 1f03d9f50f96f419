"""Judges evidence without the database that it came from: by its proofs, a public key, and writing it once more."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from commands.evidence_file import NotEvidenceError, Taken, first_difference, read
from commands.evidence_find import digests_of, hashed, said
from storage.canonical import canonical
from storage.signing import NotSignedTextError, PublicKey, SignedHead
from storage.verdict import Finding, Kind, State, Trust, Verdict
from storage.verify_export import Header, NotAnExportError, judge_part, line_of
from storage.verify_rows import Book

_NEXT = "Take it again from the record, and find out who had this file; `locktender audit verify` judges the record."
_OTHER_KEY = (
    "It is signed with a key that is none of those you trust. If the key was changed since, name the one of then with "
    "--key; if it was not, the file is forged."
)
_OTHERS = "That nothing else in the record is about this change, only the record itself or a whole export shows."


def judge(text: str, trust: Trust, database: Book | None = None) -> Verdict:
    """Judge a file's text; with a database, also whether that has the same rows. NotEvidenceError.

    Proven are: each row, by its hash, its proof and the checkpoint's signature; that the rows are those that were
    taken; and every other word, since all of it follows from them. Raises what the database's driver raises.
    """
    taken, document = read(text)
    head = taken.head
    try:
        header = Header(head.origin, head.size, bytes.fromhex(head.root), head.checkpoint, "evidence")
        lines = [line_of(one.said() | {"sig": ""}) for one in taken.rows]
        verdict = judge_part(header, lines, trust, database, _OTHERS)
    except (ValueError, KeyError, NotAnExportError) as error:
        raise NotEvidenceError("A row of the file, or its proof, cannot be read.") from error
    found = [replace(one, next_step=_NEXT) for one in verdict.findings if one.kind is not Kind.OTHER_KEY]
    found += [Finding(Kind.EXPORT, row, what, _NEXT) for row, what in _wrong(taken, document)]
    if found:
        return replace(verdict, state=State.TAMPERED, proven=0, findings=tuple(found))
    if verdict.findings:  # all fits, and who signed it is not known: an earlier key, or anybody's
        return replace(verdict, state=State.UNKNOWN, proven=0, findings=(), notes=(_OTHER_KEY, *verdict.notes))
    return verdict


def _wrong(taken: Taken, document: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    yield from _other_record(taken)
    yield from _incomplete(taken)
    yield from _other_texts(taken)
    where = first_difference(document, _document(taken))
    if where:
        row = next((one.row.seq for number, one in enumerate(taken.rows) if f"rows[{number}]" in where), 0)
        yield row, f"The file was edited: `{where}` is not what its rows say."


def _document(taken: Taken) -> Mapping[str, Any]:
    """What the file should be."""
    found: Mapping[str, Any] = json.loads(taken.statement)
    return found


def _other_record(taken: Taken) -> Iterator[tuple[int, str]]:
    """What is said of the record has to be what its checkpoint says."""
    head = taken.head
    if not head.checkpoint:
        return
    try:
        signed = SignedHead.parse_note(head.checkpoint)
    except NotSignedTextError:
        return  # which is told of already
    if (signed.head.origin, signed.head.size, signed.head.root.hex()) != (head.origin, head.size, head.root):
        yield 0, "The file gives another record, size or root than its checkpoint does."
    if len(head.keys) != len(signed.stamps) or not all(_signed(signed, one) for one in head.keys):
        yield 0, "The file names another key than the one that its checkpoint is signed with."


def _signed(signed: SignedHead, vkey: str) -> bool:
    try:
        return signed.signed_by(PublicKey.parse(vkey))
    except NotSignedTextError:
        return False


def _other_texts(taken: Taken) -> Iterator[tuple[int, str]]:
    """Each text has to be the one that a row has the hash of."""
    digests = digests_of([one.row for one in taken.rows])
    for name in taken.attached.names:
        if hashed(getattr(taken.attached, name)) != getattr(digests, name):
            yield 0, f"A text was edited: `predicate.attached.{name}` is not what its rows have the SHA-256 of."


def _incomplete(taken: Taken) -> Iterator[tuple[int, str]]:
    """The row of the taking, which is the newest of the record then, names all others and the texts."""
    *others, last = (one.row for one in taken.rows)
    told = said(last)
    if last.action != "audit:evidence" or last.seq != taken.head.size or told.get("of") != taken.name:
        yield last.seq, "The last row of the file is not the one that this evidence was taken with."
        return
    there, listed = [row.seq for row in others], told.get("rows")
    if there != listed:
        wanted = listed if isinstance(listed, list) else []
        missing = [one for one in wanted if one not in there]
        first = missing[0] if missing else next((one for one in there if one not in wanted), 0)
        what = "is missing from the file" if missing else "does not belong into the file"
        yield (first, f"Row {first} {what}.") if first else (0, "The rows of the file are not in their order.")
    texts = told.get("attached")
    gone = [name for name in (texts if isinstance(texts, list) else []) if name not in taken.attached.names]
    if gone:
        yield 0, f"A text is missing from the file: {canonical(gone)}."
