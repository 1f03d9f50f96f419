"""docs/api.md, run as it stands: every example with the real curl against the real application, on loopback.

What is refused and why is in test_api. Without curl on this machine the examples are skipped.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.server import Server
from bot.web.api_auth import Limits
from bot.web.api_errors import Code
from commands.tokens import Right
from storage.database import Database, sqlite_url
from storage.record_models import AuditRow
from storage.unit_of_work import Store
from tests.rows import audit_rows, deployments
from tests.slack.api_rig import Api, serve

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
EXAMPLES = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SCOPES = ("records", "images", "read", "deploy:staging")
with_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")


def shown(name: str) -> dict[str, Any]:
    """A JSON block of the page, by its name."""
    found = re.search(rf"^```json {re.escape(name)}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    made: dict[str, Any] = json.loads(found[1])
    return made


@dataclass(frozen=True)
class Shell:
    """A shell as the page has it: `LOCKTENDER` and `TOKEN` are set, and the file is beside it."""

    api: Api
    url: str
    folder: Path
    token: str

    def run(self, script: str, *curl: str) -> list[dict[str, Any]]:
        """What each curl printed. One that is refused ends it."""
        (self.folder / ".curlrc").write_text('write-out = "\\n"\nnoproxy = "*"\n' + "\n".join(curl))
        (self.folder / "deployment-record.json").write_text(json.dumps(shown("deployment-record.json"), indent=2))
        known = {"PATH": "/usr/bin:/bin", "CURL_HOME": str(self.folder), "LOCKTENDER": self.url, "TOKEN": self.token}
        done = subprocess.run(
            ["sh", "-euc", script], cwd=self.folder, env=known, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line]

    def rows(self, action: str) -> list[AuditRow]:
        return [row for row in audit_rows(self.api.store) if row.action == action]


@pytest.fixture
def shell(tmp_path: Path, sqlite_template: Path) -> Iterator[Shell]:
    database = Database(sqlite_url(Path(shutil.copy(sqlite_template, tmp_path / "api.db"))))
    made = serve(Store(database), Limits())
    with Server(made.app) as server:
        yield Shell(made, server.url, tmp_path, made.token(*SCOPES, name="ci-web"))
    database.close()


@with_curl
def test_every_example_is_answered_well(shell: Shell) -> None:
    """One after the other, as somebody tries them out: within the limits that everybody has."""
    assert len(EXAMPLES) >= 5
    answers = [answer for example in EXAMPLES for answer in shell.run(example, "fail-with-body")]
    kept, image, accepted, followed, records, images, asked = answers
    assert kept["gitCommit"] == shown("deployment-record.json")["gitCommit"]
    assert [one["app"] for one in image["images"]] == ["my-application"]
    assert accepted["id"] == followed["id"], "the same key is the same deployment"
    assert (followed["ended"], followed["phase"], followed["reason"]) == (False, "queued", "nightly build")
    assert [one["seq"] for one in records["records"]] == [kept["seq"]]
    assert [one["tag"] for one in images["images"]] == ["1.4.2"]
    assert [one["id"] for one in asked["deployments"]] == [accepted["id"]]
    assert len(deployments(shell.api.store)) == 1


@with_curl
def test_a_file_that_curl_calls_a_form_is_recorded_as_it_stands(shell: Shell) -> None:
    """`curl -d @file` says application/x-www-form-urlencoded, and takes the line breaks out of the file."""
    send = next(example for example in EXAMPLES if "@deployment-record.json" in example)
    for _ in range(2):
        (answer,) = shell.run(send, "fail-with-body")
    said = shown("deployment-record.json")
    assert {name: answer[name] for name in said} == said
    assert answer["notes"] == []
    (row,) = shell.rows("record:deployment")
    assert (row.actor, row.environment, row.seq) == ("api:ci-web", "production", answer["seq"])
    details = json.loads(row.details)
    assert (details["commit"], details["approval_note"]) == (said["gitCommit"], said["approvalNote"])


@with_curl
def test_an_error_has_the_shape_that_is_shown(shell: Shell) -> None:
    wrong = {**shown("deployment-record.json"), "gitCommit": "HEAD"}
    (answer,) = shell.run(
        f"curl -sS -H \"Authorization: Bearer $TOKEN\" -d '{json.dumps(wrong)}' $LOCKTENDER/api/v1/records"
    )
    assert answer == shown("error")


def test_the_page_names_every_scope_and_every_code() -> None:
    assert [right for right in Right if f"`{right}`" not in PAGE and f"`{right}:" not in PAGE] == []
    assert [code for code in Code if f"`{code}`" not in PAGE] == []
    told = Limits()
    assert (told.tokens.per_minute, told.tokens.burst, told.refused.per_minute) == (60, 20, 20)
    assert "60 requests a minute, 20 of them at once" in PAGE
