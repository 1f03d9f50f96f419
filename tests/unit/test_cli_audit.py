"""`locktender audit`: what it says, its exit codes, and that its proofs can be checked by anybody who has the key."""

import getpass
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bot.cli import app
from storage.database import sqlite_url
from storage.merkle import verify_consistency, verify_inclusion
from storage.signing import PublicKey, SignedHead, TreeHead
from tests.unit import ledger_rig
from tests.unit.ledger_rig import Record

ROWS = 9
ME = f"cli:{getpass.getuser()}"
Run = Callable[..., Result]


@pytest.fixture
def record(sqlite_template: Path, tmp_path: Path) -> Iterator[Record]:
    path = tmp_path / "locktender.db"
    path.write_bytes(sqlite_template.read_bytes())
    yield from ledger_rig.record(sqlite_url(path), tmp_path, ROWS)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*words: str, **env: str) -> Result:
        known = {"LOCKTENDER_HOME": str(tmp_path), "DATABASE_URL": "", "LOCKTENDER_AUDIT_KEY_FILE": ""}
        return CliRunner().invoke(app, ["audit", *words], env=known | env)

    return call


def by_whom(record: Record, action: str) -> list[str]:
    return [row.actor for row in record.rows() if row.action == action]


@pytest.mark.usefixtures("record")
def test_a_record_that_nobody_touched_is_proven(run: Run) -> None:
    found = run("verify")
    assert found.exit_code == 0
    assert found.stdout.startswith("Proven. All 9 rows are as they were written")
    assert "--repo" in found.stdout, "it says what it could not look at"


@pytest.mark.usefixtures("record")
def test_it_shows_how_far_it_is_on_a_terminal_and_the_verdict_alone_in_a_pipe(run: Run, tmp_path: Path) -> None:
    ours, terminal = os.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "LOCKTENDER_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "bot.cli", "audit", "verify"]
    with os.fdopen(ours, "rb", buffering=0) as shown:
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=terminal, text=True, check=True)
        os.close(terminal)
        assert f"{ROWS}/{ROWS}".encode() in shown.read(65536)
    assert done.stdout.startswith("Proven.")
    assert f"{ROWS}/{ROWS}" not in done.stdout
    assert run("verify").stderr == "", "no terminal, no bar"


def test_an_edited_row_is_named_and_what_to_do(record: Record, run: Run) -> None:
    record.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 4")
    record.reforge()
    found = run("verify")
    assert found.exit_code == 1
    assert "TAMPERED. Row 4 " in found.stdout
    assert "compare from row 4 on" in found.stdout
    assert "Rows 1 to 3 are as they were written" in found.stdout


def test_an_auditor_needs_the_file_and_the_public_key_alone(record: Record, run: Run, tmp_path: Path) -> None:
    vkey = run("key").stdout.strip()
    assert PublicKey.parse(vkey) == record.key
    elsewhere = {"LOCKTENDER_HOME": str(tmp_path / "nothing")}
    database = str(tmp_path / "locktender.db")
    assert run("verify", "--database", database, "--key", vkey, **elsewhere).exit_code == 0
    found = run("verify", "--database", database, **elsewhere)
    assert found.exit_code == 3
    assert "Could not tell." in found.stdout
    (tmp_path / "keys").write_text(f"# from the platform team\n{vkey}\n")
    assert run("verify", "--database", database, "--key", str(tmp_path / "keys"), **elsewhere).exit_code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("verify", "--database", "/nowhere.db"), 2),
        (("verify", "--key", "no key"), 3),
        (("verify", "--repo", "/nowhere"), 3),
        (("verify", "--export", "/nowhere"), 3),
        (("prove", "999"), 3),
        (("prove", "0"), 2),
        (("growth", "999"), 3),
    ],
)
@pytest.mark.usefixtures("record")
def test_what_cannot_be_done_is_told_in_a_sentence(run: Run, words: tuple[str, ...], code: int) -> None:
    found = run(*words)
    assert found.exit_code == code
    assert "Traceback" not in found.output
    assert found.output.strip()


def test_without_a_record_it_says_how_to_name_one(run: Run) -> None:
    found = run("verify")
    assert found.exit_code == 2
    assert "LOCKTENDER_HOME" in found.output


def test_a_file_that_is_no_record_cannot_be_told_of(run: Run, tmp_path: Path) -> None:
    (tmp_path / "some.db").write_text("no database")
    assert run("verify", "--database", str(tmp_path / "some.db")).exit_code == 3


def test_a_proof_is_checked_with_nothing_but_hashes_and_the_key(record: Record, run: Run) -> None:
    found = run("prove", "5")
    assert found.exit_code == 0
    said, _, note = found.stdout.partition("\n\n")
    leaf = bytes.fromhex(re.search(r"^leaf (\w+)$", said, re.MULTILINE)[1])  # type: ignore[index] # the test fails
    steps = [bytes.fromhex(one) for one in re.findall(r"^step (\w+)$", said, re.MULTILINE)]
    signed = SignedHead.parse_note(note)
    assert signed.signed_by(record.key)
    assert verify_inclusion(leaf, 4, signed.head.size, steps, signed.head.root)
    assert record.rows()[4].leaf == leaf.hex()


@pytest.mark.usefixtures("record")
def test_growth_between_two_checkpoints_is_checked_with_nothing_but_hashes(run: Run) -> None:
    found = run("growth", "4")
    assert found.exit_code == 0
    heads = [
        TreeHead.parse(f"{one.strip()}\n")
        for one in re.findall(r"^locktender/\S+\n\d+\n\S+\n", found.stdout, re.MULTILINE)
    ]
    steps = [bytes.fromhex(one) for one in re.findall(r"^step (\w+)$", found.stdout, re.MULTILINE)]
    old, new = heads
    assert (old.size, new.size) == (4, ROWS)
    assert verify_consistency(4, ROWS, old.root, new.root, steps)


def test_the_key_is_changed_and_the_record_stays_proven(record: Record, run: Run) -> None:
    before = record.key.vkey
    found = run("rotate-key")
    assert found.exit_code == 0
    assert found.stdout.strip() == run("key").stdout.strip() != before
    record.write(2)
    for key in ((), ("--key", before)):
        assert run("verify", *key).exit_code == 0
    assert by_whom(record, "audit:key") == ["locktender", ME], "the bot introduced the first one"


def test_a_damaged_tree_is_made_again(record: Record, run: Run) -> None:
    record.sql("DELETE FROM ledger_nodes WHERE level = 2")
    assert run("verify").exit_code == 1
    assert run("rebuild").exit_code == 0
    assert run("verify").exit_code == 0
    assert by_whom(record, "audit:rebuild") == [ME]


def test_a_checkpoint_can_be_taken_by_hand(record: Record, run: Run) -> None:
    assert SignedHead.parse_note(run("checkpoint").stdout).signed_by(record.key)


def test_an_export_and_the_database_are_held_against_each_other(record: Record, run: Run, tmp_path: Path) -> None:
    note = run("checkpoint").stdout
    head = SignedHead.parse_note(note).head
    header = {"format": "locktender-audit/1", "origin": head.origin, "size": head.size, "root": head.root.hex()}
    rows = [row.model_dump() | {"at": row.at.isoformat()} for row in record.rows()]
    path = tmp_path / "export.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in (header | {"keys": [], "checkpoint": note}, *rows)))
    assert run("verify", "--export", str(path)).exit_code == 0
    record.sql("UPDATE audit SET actor = 'U0MALLORY' WHERE seq = 4")
    record.reforge()
    found = run("verify", "--export", str(path))
    assert found.exit_code == 1
    assert "Export: Row 4 of the export is not the one that the database has." in found.stdout
