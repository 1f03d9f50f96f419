"""An export is judged without its database: every forgery of the file is found, and the first bad row named."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage import ledger_keys, proofs
from storage.canonical import canonical, leaf_hash
from storage.database import sqlite_url
from storage.signing import PrivateKey, SignedHead, Stamp, TreeHead
from storage.verdict import Anchor, Kind, State, Trust, Verdict
from storage.verify_export import NotAnExportError, verify_export
from storage.verify_rows import HASHED, Book
from tests.unit import ledger_rig
from tests.unit.ledger_rig import ORIGIN, Record

ROWS = 12
Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def record(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    folder = tmp_path_factory.mktemp("export")
    path = folder / "locktender.db"
    path.write_bytes(sqlite_template.read_bytes())
    yield from ledger_rig.record(sqlite_url(path), folder, ROWS)


@pytest.fixture
def lines(record: Record) -> Lines:
    """An export of the whole record."""
    with record.store.read() as uow:
        found = ledger_keys.checkpoint(uow, ORIGIN)
    assert found is not None
    header = {
        "format": "locktender-audit/1",
        "origin": ORIGIN,
        "size": ROWS,
        "root": found.head.root.hex(),
        "keys": [record.key.vkey],
        "checkpoint": found.note,
    }
    rows = [
        row.model_dump() | {"at": row.at.isoformat(timespec="microseconds"), "details": json.loads(row.details)}
        for row in record.rows()
    ]
    return [header, *rows]


@pytest.fixture
def part(record: Record, lines: Lines) -> Lines:
    """An export of some rows, each with its proof."""
    with record.store.read() as uow:
        for row in lines[1:]:
            row["proof"] = [step.hex() for step in proofs.inclusion(uow.run, ORIGIN, row["seq"], ROWS).steps]
    return [lines[0] | {"filters": "app:web"}, *lines[3:9:2]]


@pytest.fixture
def judge(record: Record, tmp_path: Path) -> Callable[..., Verdict]:
    def run(
        lines: Lines, *, trust: Trust | None = None, database: Book | None = None, anchors: tuple[Anchor, ...] = ()
    ) -> Verdict:
        path = tmp_path / "export.jsonl"
        path.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
        return verify_export(path, trust or Trust((record.key,)), database, anchors=anchors)

    return run


def test_an_export_that_nobody_touched_is_proven(lines: Lines, judge: Callable[..., Verdict], record: Record) -> None:
    for database in (None, Book(record.url)):
        verdict = judge(lines, database=database)
        assert (verdict.state, verdict.findings, verdict.proven) == (State.PROVEN, (), ROWS)


def test_an_edited_row_is_named(lines: Lines, judge: Callable[..., Verdict]) -> None:
    lines[5]["actor"] = "U0MALLORY"
    verdict = judge(lines)
    assert (verdict.state, verdict.findings[0].kind, verdict.findings[0].row) == (State.TAMPERED, Kind.EDITED, 5)


def test_a_row_that_is_left_out_is_named(lines: Lines, judge: Callable[..., Verdict]) -> None:
    del lines[5]
    found = judge(lines).findings[0]
    assert (found.kind, found.row) == (Kind.MISSING, 5)


def test_rows_that_are_cut_off_are_found_also_when_the_first_line_hides_it(
    lines: Lines, judge: Callable[..., Verdict], record: Record
) -> None:
    short = lines[:9]
    assert [(one.kind, one.row) for one in judge(short).findings] == [(Kind.CUT_OFF, 9)]
    with record.store.read() as uow:
        root = proofs.head_at(uow.run, ORIGIN, 8).root.hex()
    short[0] = short[0] | {"size": 8, "root": root}
    assert judge(short).state is State.TAMPERED
    # Who takes the checkpoint away, too, has an older export: rows that are proven, and nothing about later ones.
    short[0] = short[0] | {"checkpoint": ""}
    assert (judge(short).state, judge(short).proven) == (State.PROVEN, 8)


def test_a_row_that_was_re_forged_is_named(lines: Lines, judge: Callable[..., Verdict]) -> None:
    row = lines[5] | {"actor": "U0MALLORY"}
    said = {name: row[name] for name in HASHED} | {"details": row["details"]}
    row["leaf"] = leaf_hash(canonical(said))
    lines[5] = row
    verdict = judge(lines)
    assert (verdict.findings[0].kind, verdict.findings[0].row) == (Kind.REFORGED, 5)


def test_an_export_of_another_bot_is_not_ours(lines: Lines, judge: Callable[..., Verdict]) -> None:
    other = PrivateKey.generate("locktender/elsewhere").public
    verdict = judge(lines, trust=Trust((other,)))
    assert (verdict.state, verdict.findings[0].row) == (State.TAMPERED, 1)


@pytest.mark.parametrize(("size", "state"), [(7, State.TAMPERED), (ROWS + 5, State.PROVEN)])
def test_an_export_is_held_against_the_checkpoints_in_git_that_are_not_later(
    lines: Lines, judge: Callable[..., Verdict], record: Record, size: int, state: State
) -> None:
    """Somebody who has the key wrote another record: git still has the checkpoint of the first one."""
    assert record.store.signer is not None
    key = record.store.signer.keys.key
    head = TreeHead(ORIGIN, size, b"\1" * 32)
    signed = SignedHead(head, (Stamp(key.public.id, key.sign(head.text)),))
    assert judge(lines, anchors=(Anchor("commit 0123abcd", signed),)).state is state


def test_the_keys_that_an_export_names_prove_nothing(lines: Lines, judge: Callable[..., Verdict]) -> None:
    assert judge(lines, trust=Trust()).state is State.UNKNOWN


def test_a_row_that_the_database_has_otherwise_is_named(
    lines: Lines, part: Lines, judge: Callable[..., Verdict], tmp_path: Path, record: Record
) -> None:
    copy = tmp_path / "copy.db"
    with (
        closing(sqlite3.connect(copy)) as there,
        closing(sqlite3.connect(record.url.removeprefix("sqlite:///"))) as here,
    ):
        here.backup(there)
    made = Record(sqlite_url(copy), record.key_file)
    made.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 7")
    made.reforge()
    made.close()
    for one in (lines, part):
        found = judge(one, database=Book.at(copy)).findings
        assert [(each.kind, each.row) for each in found] == [(Kind.EXPORT, 7)]


def test_a_part_with_proofs_is_proven_row_by_row(part: Lines, judge: Callable[..., Verdict]) -> None:
    verdict = judge(part)
    assert (verdict.state, verdict.rows, verdict.proven) == (State.PROVEN, 3, 3)
    assert "left out" in verdict.notes[0]


def test_a_part_without_proofs_is_not_called_proven(part: Lines, judge: Callable[..., Verdict]) -> None:
    del part[2]["proof"]
    assert judge(part).state is State.UNKNOWN


def test_a_forged_row_of_a_part_is_named(part: Lines, judge: Callable[..., Verdict]) -> None:
    edited = [*part[:2], part[2] | {"app": "api"}, *part[3:]]
    assert [(one.kind, one.row) for one in judge(edited).findings] == [(Kind.EDITED, 5)]
    moved = [*part[:2], part[2] | {"proof": part[1]["proof"]}, *part[3:]]
    assert [(one.kind, one.row) for one in judge(moved).findings] == [(Kind.REFORGED, 5)]
    other_root = [part[0] | {"root": "00" * 32}, *part[1:]]
    assert judge(other_root).state is State.TAMPERED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}\n",
        "[]\n",
        "not json\n",
        '{"format": "locktender-audit/2"}\n',
        '{"format": "locktender-audit/1", "origin": "x", "size": 1, "root": "zz", "checkpoint": ""}\n',
        '{"format": "locktender-audit/1", "origin": "x", "size": 1, "root": "", "checkpoint": ""}\n{"seq": 1',
        '{"format": "locktender-audit/1", "origin": "x", "size": 1, "root": "", "checkpoint": ""}\n' + "[" * 100_000,
    ],
)
def test_a_file_that_is_no_export_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "export.jsonl"
    path.write_text(text)
    with pytest.raises(NotAnExportError, match=r"file"):
        verify_export(path, Trust())


def test_a_hostile_row_is_refused_in_a_sentence(lines: Lines, judge: Callable[..., Verdict]) -> None:
    for change in ({"seq": 2**70}, {"seq": 4}, {"app": ["x"]}, {"details": {"seconds": 1.5}}, {"actor": "\ud800"}):
        hostile = [*lines[:5], lines[5] | change, *lines[6:]]
        with pytest.raises(NotAnExportError):
            judge(hostile)
