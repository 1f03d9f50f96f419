"""`locktender token …` as a person types it, in a process's own words: what is printed where, and the exit codes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bot import cli
from commands import tokens
from commands.tokens import BadToken, Bearer
from storage.database import Database, sqlite_url
from storage.unit_of_work import Store
from tests.rows import audit_rows


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {
        "SLACK_BOT_TOKEN": "xoxb-test",
        "SLACK_APP_TOKEN": "xapp-test",
        "INFRA_REPO_URL": "https://git.example.com/company/infra.git",
        "LOCKTENDER_HOME": str(tmp_path / "home"),
        "DATABASE_URL": "",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "home"


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["token", *words])


def look(home: Path, token: str) -> Bearer | BadToken:
    database = Database(sqlite_url(home / "locktender.db"))
    found = tokens.authenticate(Store(database), token)
    database.close()
    return found


def test_a_token_is_printed_as_the_last_word_and_never_again(home: Path) -> None:
    made = run("create", "ci", "--scope", "records", "--scope", "deploy:staging")
    assert made.exit_code == 0, made.output
    token = made.stdout.split()[-1]
    assert made.stdout.strip() == token, "so that TOKEN=$(locktender token create …) works"
    assert "records, deploy:staging" in made.stderr
    found = look(home, token)
    assert isinstance(found, Bearer)
    shown = run("list")
    assert shown.exit_code == 0
    assert "deploy:staging" in shown.stdout
    assert token not in shown.output
    assert token.encode() not in (home / "locktender.db").read_bytes()


def test_what_is_recorded_is_signed_and_proven(home: Path) -> None:
    run("create", "ci", "--scope", "records")
    run("revoke", "ci")
    database = Database(sqlite_url(home / "locktender.db"))
    rows = audit_rows(Store(database))
    database.close()
    assert [row.action for row in rows] == ["audit:key", "token:create", "token:revoke"]
    assert all(row.sig for row in rows)
    verdict = CliRunner().invoke(cli.app, ["audit", "verify"])
    assert verdict.exit_code == 0, verdict.output


def test_a_revoked_token_is_shown_as_such(home: Path) -> None:
    token = run("create", "ci", "--scope", "read").stdout.split()[-1]
    gone = run("revoke", "ci")
    assert gone.exit_code == 0
    assert isinstance(look(home, token), BadToken)
    assert "revoked" in run("list").stdout
    assert run("revoke", "ci").exit_code == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("create", "ci", "--scope", "everything"), 1, "is no scope"),
        (("create", "CI", "--scope", "read"), 1, "cannot be a token's name"),
        (("create", "ci"), 2, "--scope"),
        (("revoke", "nobody"), 1, "no token called `nobody`"),
        (("list",), 0, "There are no tokens."),
    ],
)
def test_what_is_wrong_is_said_with_an_exit_code(home: Path, words: tuple[str, ...], code: int, said: str) -> None:
    result = run(*words)
    assert result.exit_code == code, result.output
    assert said in " ".join(result.output.split())
    assert home.parent.exists()


def test_a_fault_of_the_environment_is_said_as_at_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFRA_REPO_URL")
    result = run("list")
    assert result.exit_code == 2
    assert "INFRA_REPO_URL" in result.stderr
    assert not home.exists()


def test_a_database_that_is_not_there_cannot_be_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@127.0.0.1:1/none")
    result = run("list")
    assert result.exit_code == 3
    assert "DATABASE_URL" in result.stderr
    assert "hunter2" not in result.output
    assert home.parent.exists()
