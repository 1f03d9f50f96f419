"""A file of evidence proves itself, and every word of it that somebody changes is found, whoever they are.

One file is made, of a reviewed change; what is told in it is test_evidence.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands.evidence_file import NotEvidenceError, Taken, read
from commands.evidence_verify import judge
from storage.audit_text import audit_text
from storage.canonical import leaf_hash
from storage.database import sqlite_url
from storage.keys import KeyFile
from storage.signing import PrivateKey, SignedHead, Stamp, TreeHead
from storage.verdict import State, Trust
from storage.verify_rows import Book
from tests.unit.evidence_rig import ORIGIN, promoted, signed_moves, taken, trust

Place = tuple[str | int, ...]
EVERY = pytest.mark.parametrize("nth", [7, pytest.param(1, marks=pytest.mark.slow)])
"""Each value of the file takes some milliseconds, and there are hundreds."""


@pytest.fixture(scope="module")
def made(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Taken, Trust, Path]]:
    folder = tmp_path_factory.mktemp("evidence")
    with signed_moves(sqlite_template, folder) as moves:
        yield taken(moves, promoted(moves)), trust(moves), folder / "town.db"


def document(made: tuple[Taken, Trust, Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made[0].statement)
    return found


def leaves(value: object, path: Place = ()) -> Iterator[tuple[Place, object]]:
    """Every value of a document that is no object and no list, and where it is."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, (*path, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from leaves(one, (*path, number))
    else:
        yield path, value


def at(document: Any, path: Place) -> Any:
    for step in path:
        document = document[step]
    return document


def proven(text: str, known: Trust) -> bool:
    try:
        return judge(text, known).state is State.PROVEN
    except NotEvidenceError:
        return False


def test_a_file_that_nobody_touched_is_proven(made: tuple[Taken, Trust, Path]) -> None:
    evidence, known, database = made
    verdict = judge(evidence.statement, known)
    assert (verdict.state, verdict.rows, verdict.findings) == (State.PROVEN, len(evidence.rows), ())
    assert judge(evidence.statement, known, Book(sqlite_url(database))).state is State.PROVEN
    assert judge(json.dumps(document(made), indent=2), known).state is State.PROVEN, "written otherwise, it is the same"


def test_what_is_read_is_written_again_to_the_letter(made: tuple[Taken, Trust, Path]) -> None:
    again, _ = read(made[0].statement)
    assert again.statement == made[0].statement


@EVERY
def test_every_single_value_that_is_changed_is_found(made: tuple[Taken, Trust, Path], nth: int) -> None:
    whole = document(made)
    changed = 0
    for path, value in list(leaves(whole))[::nth]:
        other: object = {str: f"{value}x", bool: not value, int: 7, type(None): "x"}[type(value)]
        other = 8 if value == 7 and not isinstance(value, bool) else other
        edited = copy.deepcopy(whole)
        at(edited, path[:-1])[path[-1]] = other
        assert not proven(json.dumps(edited), made[1]), path
        changed += 1
    assert changed > 300 / nth


@EVERY
def test_everything_that_is_taken_out_or_put_in_is_found(made: tuple[Taken, Trust, Path], nth: int) -> None:
    whole = document(made)
    places = [path[:length] for path, _ in leaves(whole) for length in range(1, len(path) + 1)]
    for path in list(dict.fromkeys(places))[::nth]:
        edited = copy.deepcopy(whole)
        parent = at(edited, path[:-1])
        del parent[path[-1]]
        assert not proven(json.dumps(edited), made[1]), path
        if isinstance(parent, dict):
            edited = copy.deepcopy(whole)
            at(edited, path[:-1])["more"] = "x"
            assert not proven(json.dumps(edited), made[1]), path


def test_a_row_that_is_missing_is_named(made: tuple[Taken, Trust, Path]) -> None:
    whole = document(made)
    rows = whole["predicate"]["rows"]
    gone = rows.pop(3)["seq"]
    verdict = judge(json.dumps(whole), made[1])
    assert verdict.state is State.TAMPERED
    assert verdict.summary == f"Row {gone} is missing from the file."
    assert "Take it again" in verdict.findings[0].next_step


def test_an_edited_row_is_named_and_an_edited_word_has_its_place(made: tuple[Taken, Trust, Path]) -> None:
    whole = document(made)
    approval = next(one for one in whole["predicate"]["rows"] if one["action"] == "change:approve")
    approval["actor"] = "U0SOMEBODY"
    assert judge(json.dumps(whole), made[1]).summary.startswith(f"Row {approval['seq']} was edited")
    whole = document(made)
    whole["predicate"]["told"]["said"][0]["by"] = "U0SOMEBODY"
    assert "`predicate.told.said[0].by` is not what its rows say" in judge(json.dumps(whole), made[1]).summary


@pytest.mark.parametrize("name", ["binding", "diff", "rules", "shown"])
def test_an_edited_text_is_named(made: tuple[Taken, Trust, Path], name: str) -> None:
    evidence, known, _ = made
    other = replace(evidence.attached, **{name: getattr(evidence.attached, name) + " "})
    text = Taken(evidence.name, evidence.head, evidence.rows, other).statement
    assert f"`predicate.attached.{name}` is not what" in judge(text, known).summary


@pytest.mark.parametrize(
    "other", [{"origin": "locktender/elsewhere"}, {"keys": ()}, {"keys": ("nobody+00000000+AAAA",)}]
)
def test_another_record_or_key_than_the_checkpoints_is_found(
    made: tuple[Taken, Trust, Path], other: dict[str, Any]
) -> None:
    """Written again by somebody who knows how: all words follow from the rows, but for what the checkpoint says."""
    evidence, known, _ = made
    text = Taken(evidence.name, replace(evidence.head, **other), evidence.rows, evidence.attached).statement
    assert "than" in judge(text, known).summary
    assert judge(text, known).state is State.TAMPERED


def test_who_writes_it_anew_without_the_key_proves_nothing(made: tuple[Taken, Trust, Path], tmp_path: Path) -> None:
    """A forger who can do everything but sign: another approver, with hashes, proofs and a checkpoint that fit."""
    evidence, known, _ = made
    forger = KeyFile(tmp_path / "forged.key", ORIGIN).keys.key
    only = evidence.rows[-1]
    details = json.loads(only.row.details) | {"rows": []}
    row = replace(only.row, details=json.dumps(details, sort_keys=True, separators=(",", ":")), seq=1)
    leaf = _leaf(row)
    head = TreeHead(ORIGIN, 1, bytes.fromhex(leaf))
    signed = SignedHead(head, (Stamp(forger.public.id, forger.sign(head.text)),))
    forged = replace(
        evidence,
        rows=(replace(only, row=replace(row, leaf=leaf), proof=()),),
        head=replace(evidence.head, size=1, root=leaf, checkpoint=signed.note, keys=(forger.public.vkey,)),
        attached=type(evidence.attached)(),
    )
    text = json.dumps(json.loads(_fresh(forged).statement))
    with_forger = judge(text, Trust((forger.public,)))
    assert with_forger.findings[0].what.startswith("A text is missing"), "all else fits, for who trusts the forger"
    assert judge(text, known).state is State.TAMPERED


def test_who_signs_the_very_same_with_another_key_proves_nothing(made: tuple[Taken, Trust, Path]) -> None:
    """A key of before it was changed, or anybody's: only who has that key from elsewhere can tell."""
    evidence, known, _ = made
    other = PrivateKey.generate(ORIGIN)
    head = TreeHead(ORIGIN, evidence.head.size, bytes.fromhex(evidence.head.root))
    note = SignedHead(head, (Stamp(other.public.id, other.sign(head.text)),)).note
    signed = replace(evidence.head, checkpoint=note, keys=(other.public.vkey,))
    text = Taken(evidence.name, signed, evidence.rows, evidence.attached).statement
    assert judge(text, Trust((*known.keys, other.public))).state is State.PROVEN
    verdict = judge(text, known)
    assert verdict.state is State.UNKNOWN
    assert "none of those you trust" in verdict.summary


def test_without_a_key_nothing_is_proven_and_nothing_accused(made: tuple[Taken, Trust, Path]) -> None:
    verdict = judge(made[0].statement, Trust())
    assert verdict.state is State.UNKNOWN
    assert "by a key that you trust" in verdict.summary


def test_a_database_that_says_otherwise_is_told_of(made: tuple[Taken, Trust, Path], sqlite_template: Path) -> None:
    verdict = judge(made[0].statement, made[1], Book(sqlite_url(sqlite_template)))
    assert verdict.state is State.TAMPERED
    assert "not the one that the database has" in verdict.summary


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "7", '"x"', "{}", '{"predicate": 1}', "[" * 5000,
        '{"_type": "https://in-toto.io/Statement/v1", "predicate": {"format": "locktender-evidence/2"}}',
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_evidence_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(NotEvidenceError, match=r"^The file .*\.$"):
        judge(text, Trust())


def test_a_name_that_is_there_twice_is_refused(made: tuple[Taken, Trust, Path]) -> None:
    """One reader takes the first, another the last: what is verified has to be what is read."""
    text = made[0].statement.replace('"format":', '"format":"another","format":', 1)
    with pytest.raises(NotEvidenceError):
        judge(text, made[1])


def _leaf(row: Any) -> str:
    return leaf_hash(audit_text(row))


def _fresh(evidence: Taken) -> Taken:
    """Without what was worked out for another one."""
    return Taken(evidence.name, evidence.head, evidence.rows, evidence.attached)
