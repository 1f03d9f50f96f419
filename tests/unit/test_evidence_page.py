"""The page of evidence, the files, who may have them, and the command line.

What the page says is what is told (test_evidence); how it looks was looked at, in docs/compliance.md.
"""

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bot.audit_orders import Orders
from bot.cli import app
from bot.evidence_files import verify, write
from bot.evidence_page import page
from bot.slack.answers import answer_message
from commands.audit_show import show
from commands.evidence import evidence
from commands.evidence_file import Taken
from commands.reasons import ReasonCode
from commands.requests import Evidence, Show
from storage.unit_of_work import AuditEntry, Store
from storage.verdict import State, Verdict
from tests.desk_rig import ALICE, BOB, asker, check_refusal, check_words, facts, requested
from tests.rows import audit_rows
from tests.slack.message_rules import broken_rules
from tests.unit.evidence_rig import promoted, reported, signed_moves, taken, trust
from tests.unit.gate_moves import Moves

APPROVER = "U0PLATFORM1"
HOSTILE = '</pre></td><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"&\ue000U0ANN\ue001'


@pytest.fixture(scope="module")
def moves(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moves]:
    with signed_moves(sqlite_template, tmp_path_factory.mktemp("page")) as made:
        promoted(made)
        yield made


def mine(moves: Moves) -> str:
    """The change that is live."""
    return next(one.deployment_id for one in audit_rows(moves.town.store) if one.action == "deployment:request")


class Tags(HTMLParser):
    """Every tag with its attributes, and what stands between; a page that is not nested well fails."""

    VOID = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    return tags


# ---------------------------------------------------------------- the page


def test_the_page_holds_all_of_it_and_needs_nothing_else(moves: Moves) -> None:
    found = taken(moves, mine(moves))
    made = page(found)
    tags = parsed(made)
    names = {name for name, _ in tags.found}
    assert not names & {"script", "img", "link", "iframe", "object", "form", "svg", "base"}
    assert not [attrs for _, attrs in tags.found if any(key.startswith("on") or key == "style" for key in attrs)]
    assert "url(" not in made
    assert "@import" not in made
    assert "default-src 'none'" in made
    for check in found.told.checks:
        assert check.what in tags.text
    for one in found.rows:
        assert one.row.leaf in tags.text
    assert found.head.checkpoint.splitlines()[2] in tags.text
    ids = {attrs["id"] for _, attrs in tags.found if "id" in attrs}
    assert {attrs["href"][1:] for _, attrs in tags.found if attrs.get("href", "").startswith("#")} <= ids
    assert all(attrs.get("scope") for name, attrs in tags.found if name == "th"), "tables can be read aloud"
    assert page(found) == made, "the same evidence is the same page"


def test_text_from_outside_is_text_on_the_page(moves: Moves) -> None:
    store = moves.town.store
    with store.write() as uow:
        said = {"version": HOSTILE, "reason": HOSTILE, "source": HOSTILE, HOSTILE: HOSTILE, "rules": HOSTILE}
        uow.audit(AuditEntry("deployment:request", HOSTILE, "T1", HOSTILE, HOSTILE, "hostile001", "", said))
        told = {"phase": HOSTILE, "what": HOSTILE, "commit": HOSTILE, "build_url": "javascript:alert(1)"}
        uow.audit(AuditEntry("deployment:finish", HOSTILE, "T1", HOSTILE, HOSTILE, "hostile001", "", told))
        uow.audit(AuditEntry("change:propose", "", "", "", "", "hostile001", "", {"pull_request": "data:text/html,x"}))
        uow.audit(AuditEntry("change:approve", HOSTILE, "", "", "", "hostile001", "", {"comment": HOSTILE}))
    made = page(taken(moves, "hostile001"))
    tags = parsed(made)
    assert "script" not in {name for name, _ in tags.found}
    assert "img" not in {name for name, _ in tags.found}
    assert not [attrs for name, attrs in tags.found if name == "a" and not attrs["href"].startswith(("#", "http"))]
    assert "<script>alert(1)</script>" in tags.text, "it can be read"
    assert "\u202e" not in made
    assert "\ue000" not in made


def test_the_difference_and_what_became_of_a_missing_one_are_on_the_page(moves: Moves) -> None:
    found = taken(moves, mine(moves))
    added = next(line for line in found.attached.diff.splitlines() if line.startswith("+") and "1.1" in line)
    assert added in parsed(page(found)).text
    without = Taken(found.name, found.head, found.rows, replace(found.attached, diff=""))
    assert "The rendered difference is not kept" in parsed(page(without)).text


# ---------------------------------------------------------------- files


def test_both_files_are_their_owners_alone_and_verified_together(moves: Moves, tmp_path: Path) -> None:
    files = write(taken(moves, mine(moves)), tmp_path)
    assert {stat.S_IMODE(one.stat().st_mode) for one in (files.statement, files.page)} == {0o600}
    assert files.page.name == files.statement.with_suffix(".html").name
    assert verify(files.statement, trust(moves)).state is State.PROVEN
    files.page.write_text(files.page.read_text().replace("another person", "the same person"))
    edited = verify(files.statement, trust(moves))
    assert edited.state is State.UNKNOWN
    assert "The page beside the file is not the one" in edited.summary
    files.page.unlink()
    assert verify(files.statement, trust(moves)).state is State.PROVEN


@pytest.mark.parametrize("name", ["#1", "d" * 40])
def test_names_of_files_hold_nothing_odd(moves: Moves, tmp_path: Path, name: str) -> None:
    reported(moves.town.store, moves, "d" * 40)
    files = write(taken(moves, name), tmp_path)
    assert files.statement.name == f"evidence-{name.removeprefix('#')}.json"


# ---------------------------------------------------------------- Slack


def unsure() -> Verdict:
    return Verdict(State.UNKNOWN, 0)


def test_whoever_may_export_gets_both_files_alone(store: Store, tmp_path: Path) -> None:
    name = requested(store, facts())
    answer = evidence(store, facts(), asker(APPROVER), Evidence(name))
    check_words(answer)
    assert broken_rules(answer_message(answer)) == []
    assert (answer.reason, answer.deployment_id) == (ReasonCode.ACCEPTED, name)
    ordered = audit_rows(store)[-1]
    assert (ordered.action, ordered.actor, ordered.deployment_id) == ("audit:export", APPROVER, name)
    given: list[tuple[str, str, str, str]] = []
    orders = Orders(store, tmp_path, lambda *one: given.append((one[0], one[1].read_text(), *one[2:])), unsure)
    assert orders.once()
    assert not orders.once()
    (user, statement, title, words), (also, html, page_title, _) = given
    assert user == also == APPROVER
    assert (title, page_title) == (f"evidence-{name}.json", f"evidence-{name}.html")
    assert f"`{name}`" in words
    assert json.loads(statement)["predicate"]["of"] == name
    assert html.startswith("<!doctype html>")
    last = audit_rows(store)[-1]
    assert (last.action, last.actor, json.loads(last.details)["source"]) == ("audit:evidence", APPROVER, "slash")
    assert list((tmp_path / "exports").iterdir()) == [], "nothing stays behind"


def test_whoever_may_not_export_gets_no_evidence(store: Store) -> None:
    name = requested(store, facts())
    answer = evidence(store, facts(groups={"S0RELEASE": frozenset({BOB})}), asker(ALICE), Evidence(name))
    refused = check_refusal(store, answer, ReasonCode.NOT_PERMITTED, before=len(audit_rows(store)) - 1)
    assert refused.action == "audit:evidence:refuse"


def test_evidence_of_nothing_is_refused_at_once(store: Store) -> None:
    answer = evidence(store, facts(), asker(APPROVER), Evidence("0000000000"))
    check_refusal(store, answer, ReasonCode.UNKNOWN_DEPLOYMENT)


def test_a_story_points_to_the_evidence(store: Store) -> None:
    name = requested(store, facts())
    answer = show(store, facts(), asker(), Show((name,)))
    assert f"`/audit evidence {name}`" in answer.next_step


# ---------------------------------------------------------------- the command line


@pytest.fixture
def home(moves: Moves, tmp_path: Path) -> Path:
    """As the bot leaves it: database and key."""
    with moves.town.store.write() as uow:  # what is in the write-ahead log moves into the file
        uow.session.connection()
    signer = moves.town.store.signer
    assert signer is not None
    (tmp_path / "audit.key").write_bytes(signer.file.path.read_bytes())
    (tmp_path / "audit.key").chmod(0o600)
    return tmp_path


def run(home: Path, moves: Moves, *words: str) -> Result:
    url = moves.town.store.database.engine.url.render_as_string(hide_password=False)
    env = {"LOCKTENDER_HOME": str(home), "DATABASE_URL": url, "LOCKTENDER_AUDIT_KEY_FILE": ""}
    return CliRunner().invoke(app, ["audit", *words], env=env)


def test_the_command_line_writes_what_it_verifies(moves: Moves, home: Path) -> None:
    name = mine(moves)
    done = run(home, moves, "evidence", name, "--out", str(home))
    assert done.exit_code == 0, done.output
    assert "web 1.1 to production: succeeded" in done.output
    last = audit_rows(moves.town.store)[-1]
    assert last.action == "audit:evidence"
    assert last.actor.startswith("cli:")
    assert last.sig, "it is signed as the bot's own rows are"
    file = home / f"evidence-{name}.json"
    proven = run(home, moves, "verify", "--evidence", str(file))
    assert (proven.exit_code, proven.stdout.split(".")[0]) == (0, "Proven"), proven.output
    assert "only the record itself or a whole export shows" in proven.stdout
    key = run(home, moves, "key").stdout.strip()
    assert run(home / "elsewhere", moves, "verify", "--evidence", str(file), "--key", key).exit_code == 0
    assert run(home / "elsewhere", moves, "verify", "--evidence", str(file)).exit_code == 3, "nobody vouches for it"
    file.write_text(file.read_text().replace("succeeded", "successful", 1))
    found = run(home, moves, "verify", "--evidence", str(file))
    assert found.exit_code == 1
    assert found.stdout.startswith("TAMPERED. ")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("evidence", "0000000000"), 3),
        (("evidence", "0000000000", "--out", "/nowhere"), 2),
        (("verify", "--evidence", "/nowhere.json"), 3),
        (("verify", "--evidence", "README.md"), 3),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(moves: Moves, home: Path, words: tuple[str, ...], code: int) -> None:
    found = run(home, moves, *words)
    assert found.exit_code == code
    assert found.output.strip().endswith((".", "?"))
    assert "Traceback" not in found.output
