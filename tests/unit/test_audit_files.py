"""Files of the record: which rows are in them, that they prove themselves, that spreadsheets run nothing in them.

That memory stays as it is at a million rows is measured in benchmarks/history.py.
"""

import csv
import getpass
import json
import stat
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from typer.testing import CliRunner

from bot import audit_files
from bot.audit_files import as_text, defused, write
from bot.audit_orders import Orders
from bot.cli import app
from commands.audit_export import export, verify
from commands.requests import Export, ExportForm, History, Verify
from storage import exports
from storage.canonical import leaf_hash
from storage.database import Database, sqlite_url
from storage.keys import KeyFile
from storage.ledger import Signer
from storage.ledger_keys import introduce
from storage.record_models import Export as Order
from storage.unit_of_work import AuditEntry, Store
from storage.verdict import State, Trust, Verdict
from storage.verify_export import verify_export
from tests.desk_rig import asker, facts
from tests.rows import audit_rows, messages

APPROVER = "U0PLATFORM1"
NASTY = '=HYPERLINK("http://evil.example","x"),\n"\u2028'


@pytest.fixture
def signed(database_url: str, tmp_path: Path) -> Iterator[Store]:
    made = Store(Database(database_url), signer=Signer(KeyFile(tmp_path / "audit.key", "locktender/infra")))
    introduce(made)
    yield made
    made.database.close()


def filled(store: Store, count: int) -> None:
    with store.write() as uow:
        for number in range(count):
            details = {"version": f"1.{number}", "what": NASTY, "commit": f"{number:040x}"}
            app = ("web", "shop", "@SUM(A1)")[number % 3]
            uow.audit(AuditEntry("deployment:request", actor="U0ALICE", app=app, details=details))


def trust(store: Store) -> Trust:
    assert store.signer is not None
    return Trust((store.signer.keys.key.public,), store.signer.keys.since)


def lines(store: Store, filters: History = History()) -> list[dict[str, Any]]:  # noqa: B008 - frozen
    return [json.loads(line) for line in as_text(store, ExportForm.JSONL, filters, store.clock()).split("\n") if line]


def on_disk(store: Store, folder: Path, filters: History = History()) -> Path:  # noqa: B008 - frozen
    path = folder / "export.jsonl"
    with path.open("w", encoding="utf-8", newline="") as file:
        write(store, ExportForm.JSONL, filters, store.clock(), file)
    return path


def test_a_whole_export_holds_every_row_and_proves_itself(signed: Store, tmp_path: Path) -> None:
    filled(signed, 30)
    verdict = verify_export(on_disk(signed, tmp_path), trust(signed))
    assert (verdict.state, verdict.rows) == (State.PROVEN, 31)  # the first one introduces the key
    head, *rows = lines(signed)
    assert (head["format"], head["origin"], head["size"]) == ("locktender-audit/1", "locktender/infra", 31)
    assert head["keys"] == [trust(signed).keys[0].vkey]
    assert head["checkpoint"].startswith("locktender/infra\n31\n")
    assert [row["seq"] for row in rows] == list(range(1, 32))


def test_a_filtered_export_holds_what_passes_and_proves_each_row(signed: Store, tmp_path: Path) -> None:
    filled(signed, 30)
    path = on_disk(signed, tmp_path, History(app="web"))
    verdict = verify_export(path, trust(signed))
    assert (verdict.state, verdict.rows) == (State.PROVEN, 10), verdict
    text_of_it = path.read_text()
    path.write_text(text_of_it.replace("1.27", "1.99", 1))
    assert verify_export(path, trust(signed)).state is State.TAMPERED


def test_rows_that_came_after_it_was_begun_are_not_in_it(signed: Store) -> None:
    filled(signed, 5)
    file = StringIO()

    def somebody_writes(_done: int, _all: int) -> None:
        filled(signed, 1)

    written = write(signed, ExportForm.JSONL, History(), signed.clock(), file, somebody_writes)
    assert (written.rows, written.size) == (6, 6)


def test_an_export_without_a_key_says_that_nobody_vouches_for_it(store: Store) -> None:
    filled(store, 3)
    head = lines(store)[0]
    assert (head["origin"], head["keys"], head["checkpoint"]) == ("", [], "")
    assert lines(store, History(app="no-such-app"))[0]["size"] == 3


def test_an_export_reads_page_by_page(signed: Store) -> None:
    filled(signed, audit_files.PAGE + 5)
    assert [row["seq"] for row in lines(signed)[1:]] == list(range(1, audit_files.PAGE + 7))
    found = [row["seq"] for row in lines(signed, History(actor="U0ALICE"))[1:]]
    assert found == list(range(audit_files.PAGE + 6, 1, -1))


def test_every_row_of_an_export_is_hashed_over_what_it_says(signed: Store) -> None:
    filled(signed, 3)
    for row in lines(signed)[1:]:
        told = {key: value for key, value in row.items() if key not in {"leaf", "sig"}}
        canonical = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert leaf_hash(canonical) == row["leaf"]


def test_a_row_that_somebody_broke_is_exported_for_the_verifier_to_find(signed: Store, tmp_path: Path) -> None:
    filled(signed, 5)
    with signed.write() as uow:
        if signed.database.is_sqlite:
            for name in ("audit_no_update", "audit_no_delete"):
                uow.session.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
            for (name,) in uow.session.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
                uow.session.execute(text(f'DROP TRIGGER "{name}"'))
        else:
            uow.session.execute(text("SET LOCAL session_replication_role = replica"))
        uow.session.execute(text("UPDATE audit SET details = 'no JSON' WHERE seq = 4"))
    verdict = verify_export(on_disk(signed, tmp_path), trust(signed))
    assert verdict.state is State.TAMPERED
    assert verdict.findings[0].row == 4


# ---------------------------------------------------------------- spreadsheets


@given(st.text())
def test_no_cell_begins_as_a_formula_does(cell: str) -> None:
    made = defused(cell)
    assert not made.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert made.removeprefix("'") == cell.removeprefix("'")


def test_a_spreadsheet_has_a_row_for_each_and_runs_none(store: Store) -> None:
    filled(store, 6)
    made = as_text(store, ExportForm.CSV, History(), store.clock())
    assert made.startswith("\ufeffseq,at,action")
    rows = list(csv.DictReader(StringIO(made.removeprefix("\ufeff"), newline="")))
    assert [row["seq"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert rows[2]["app"] == "'@SUM(A1)"
    assert rows[3]["version"] == "1.3"
    assert json.loads(rows[3]["details"])["what"] == NASTY


# ---------------------------------------------------------------- orders


class Desk:
    """Takes what is handed over; refuses as often as it is told to."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.given: list[tuple[str, str, str, str]] = []
        self.modes: list[int] = []

    def give(self, user_id: str, path: Path, title: str, words: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError
        self.modes.append(stat.S_IMODE(path.parent.parent.stat().st_mode))
        self.given.append((user_id, path.read_text(), title, words))


def unsure() -> Verdict:
    return Verdict(State.UNKNOWN, 0, notes=("Nobody knows.",))


def test_an_order_is_made_and_given_to_whoever_asked(store: Store, tmp_path: Path) -> None:
    filled(store, 4)
    export(store, facts(), asker(APPROVER), Export(ExportForm.JSONL, History(app="web")))
    desk = Desk()
    orders = Orders(store, tmp_path, desk.give, unsure)
    assert orders.once()
    assert not orders.once()
    ((user, content, title, words),) = desk.given
    assert user == APPROVER
    assert title.startswith("deployment-record-")
    assert title.endswith(".jsonl")
    assert "2 rows, of 5" in words
    assert content.count('"app":"web"') == 2
    assert desk.modes == [0o700]
    assert list((tmp_path / "exports").iterdir()) == [], "nothing stays behind"


def test_what_cannot_be_handed_over_is_tried_again_later_and_given_up_in_the_end(store: Store, tmp_path: Path) -> None:
    export(store, facts(), asker(APPROVER), Export(ExportForm.CSV))
    orders = Orders(store, tmp_path, Desk(refusals=9).give, unsure)
    for _ in range(exports.MOST_ATTEMPTS):
        assert orders.once()
        assert not orders.once(), "not at once"
        with store.write() as uow:
            uow.session.execute(text("UPDATE exports SET not_before = requested_at"))
    assert not orders.once()
    assert [row.action for row in audit_rows(store)] == ["audit:export", "audit:export-fail"]
    (note,) = messages(store)
    assert note.channel == APPROVER, "whoever asked hears of it"
    assert "failed 5 times" in note.body


def test_an_order_whose_maker_died_is_made_again_when_its_lease_ends(store: Store, tmp_path: Path) -> None:
    export(store, facts(), asker(APPROVER), Export(ExportForm.CSV))
    assert exports.lease(store) is not None
    desk = Desk()
    orders = Orders(store, tmp_path, desk.give, unsure)
    assert not orders.once()
    with store.write() as uow:
        order = uow.session.scalars(select(Order)).one()
        assert order.not_before > uow.now
        order.not_before = uow.now
    assert orders.once()
    assert len(desk.given) == 1


def test_a_verdict_is_told_once_and_recorded(store: Store, tmp_path: Path) -> None:
    verify(store, facts(), asker(), Verify())
    proven = Verdict(State.PROVEN, 1, 1, anchored=1, anchors=2)
    assert Orders(store, tmp_path, Desk().give, lambda: proven).once()
    (note,) = messages(store)
    assert "All 1 rows are as they were written" in note.body
    assert "2 checkpoints in git agree" in note.body
    last = audit_rows(store)[-1]
    assert (last.action, json.loads(last.details)["state"]) == ("audit:verified", "proven")


# ---------------------------------------------------------------- the command line


def test_the_command_line_writes_what_the_verifier_takes(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "locktender.db"
    path.write_bytes(sqlite_template.read_bytes())
    home = {"LOCKTENDER_HOME": str(tmp_path), "DATABASE_URL": "", "LOCKTENDER_AUDIT_KEY_FILE": ""}
    store = Store(Database(sqlite_url(path)), signer=Signer(KeyFile(tmp_path / "audit.key", "locktender/infra")))
    introduce(store)
    filled(store, 5)
    store.database.close()
    out = tmp_path / "out.jsonl"
    done = CliRunner().invoke(app, ["audit", "export", "jsonl", "app:web", "--out", str(out)], env=home)
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert len(out.read_text().splitlines()) == 3
    checked = CliRunner().invoke(app, ["audit", "verify", "--export", str(out)], env=home)
    assert checked.exit_code == 0, checked.output
    wrong = CliRunner().invoke(app, ["audit", "export", "pdf"], env=home)
    assert wrong.exit_code == 2
    late = CliRunner().invoke(app, ["audit", "export", "csv", "since:soon"], env=home)
    assert late.exit_code == 2
    numbers = CliRunner().invoke(app, ["audit", "report"], env=home)
    assert numbers.exit_code == 0, numbers.output
    assert "Nothing was deployed" in numbers.output
    store = Store(Database(sqlite_url(path)))
    made = audit_rows(store)[-2:]
    me = f"cli:{getpass.getuser()}"
    assert [(row.action, row.actor) for row in made] == [("audit:export", me), ("audit:report", me)]
    assert audit_rows(store)[-1].sig, "what the command line records is signed too"
    store.database.close()
