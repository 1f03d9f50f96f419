"""The JSON API of the whole program: a pipeline tells, says that an image is ready, and asks for deployments.

Left out: what is refused and why (tests/slack/test_api).
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.sandbox.slack_model import DEVELOPER
from storage.phases import Phase
from tests import forked
from tests.e2e.rig import APP, CHANNEL, IMAGE, Rig, free_port, rig

PLACES = {"told": "{}", "night": "{}"}
RECORD = {
    "timestamp": "2026-01-15T10:30:00Z",
    "environment": "production",
    "gitCommit": "e83c5163316f89bfbde7d9ab23ca2e25604af290",
    "gitBranch": "main",
    "deployer": "jenkins",
    "buildUrl": "https://jenkins.example.com/job/infra-deploy/412/",
    "approvalNote": "approved in CHG-1042",
    "status": "SUCCESS",
}


@dataclass(frozen=True)
class World:
    """The program, where it serves, and the command line beside it."""

    rig: Rig
    url: str

    def token(self, name: str, *scopes: str) -> str:
        """The last word of `locktender token create`."""
        words = ["token", "create", name, *(word for scope in scopes for word in ("--scope", scope))]
        return self.type(*words).split()[-1]

    def type(self, *words: str) -> str:
        """What the command line prints, beside the running program."""
        done = forked.run(self.rig.sandbox.environment(), *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def call(self, method: str, path: str, token: str, body: object = None) -> Any:
        """What is answered, which must be well."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.request(method, f"{self.url}/api/v1/{path}", json=body, headers=headers, timeout=60)
        assert answer.status_code < 300, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    port = free_port()
    with rig(tmp_path_factory.mktemp("api"), PLACES, more={"LOCKTENDER_PORT": str(port)}) as made:
        url = f"http://127.0.0.1:{port}"
        made.until(lambda: _answers(url))
        yield World(made, url)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_pipelines_record_sent_with_curl_stands_in_the_history(world: World, tmp_path: Path) -> None:
    """As the README has it: `curl -d @deployment-record.json`, which calls JSON a form."""
    (tmp_path / "deployment-record.json").write_text(json.dumps(RECORD, indent=2))
    authorization = f"Authorization: Bearer {world.token('cd', 'records')}"
    curl = ["curl", "-sS", "-d", "@deployment-record.json", "-H", authorization, f"{world.url}/api/v1/records"]
    for _ in range(2):
        sent = subprocess.run(
            curl, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
        )
        assert json.loads(sent.stdout)["gitCommit"] == RECORD["gitCommit"], sent.stdout
    (row,) = world.rig.audit("record:deployment")
    assert json.loads(row.details)["deployer"] == "jenkins"
    shown = world.rig.type("history env:production", command="/audit")
    assert f"#{row.seq} record:deployment" in shown.text
    assert "api:cd" in shown.text


def test_an_image_that_is_ready_is_deployed_from_its_card(world: World) -> None:
    token = world.token("images", "images")
    for _ in range(2):
        told = world.call("POST", "images", token, {"image": IMAGE, "tag": "1.4.3", "commit": "abcdef0"})
    assert [one["app"] for one in told["images"]] == [APP]

    def cards() -> list[Any]:
        return [one for one in world.rig.slack.messages(CHANNEL) if "is ready" in one.text]

    world.rig.until(lambda: cards() and world.rig.quiet())
    (card,) = cards()
    assert [button.text for button in card.buttons] == ["Deploy to staging", "Request production"]
    assert world.rig.slack.click(DEVELOPER, card, "image:deploy").acked
    (row,) = world.rig.deployments("staging")
    assert (row.version, row.requested_by) == ("1.4.3", DEVELOPER.id)
    world.rig.ended(row)


def test_automation_deploys_and_follows_it_to_its_end(world: World) -> None:
    token = world.token("nightly", "deploy:night")
    body = {"app": APP, "version": "1.4.2", "environment": "night", "reason": "the nightly build"}
    accepted = world.call("POST", "deployments", token, body | {"requestedBy": DEVELOPER.id, "idempotencyKey": "1"})
    again = world.call("POST", "deployments", token, body | {"requestedBy": DEVELOPER.id, "idempotencyKey": "1"})
    assert accepted == again
    path = f"deployments/{accepted['id']}"
    world.rig.live(world.rig.deployments("night")[0])
    ended = world.call("GET", path, token)
    assert ended["ended"]
    assert (ended["phase"], ended["reasonCode"]) == (Phase.SUCCEEDED, "live"), ended
    (row,) = world.rig.deployments("night")
    assert len(world.rig.commits(row)) == 1
    assert world.rig.running_image("night").endswith(":1.4.2") or "@sha256:" in world.rig.running_image("night")
    (said, *_) = world.rig.sandbox.log("%an <%ae> for %(trailers:key=On-behalf-of,valueonly,separator=)")
    assert said == f"api:nightly <nightly@api.locktender.invalid> for {DEVELOPER.id}"
    world.rig.until(world.rig.quiet)
    assert f"Requested by api:nightly for <@{DEVELOPER.id}>" in world.rig.card(row).text


def test_a_revoked_token_is_refused_by_the_running_program(world: World) -> None:
    token = world.token("short", "read")
    world.call("GET", "records", token)
    world.type("token", "revoke", "short")
    answer = httpx.get(f"{world.url}/api/v1/records", headers={"Authorization": f"Bearer {token}"}, timeout=60)
    assert answer.status_code == 401
    assert token not in (world.rig.sandbox.home / "locktender.log").read_text()


def test_what_the_program_and_the_command_line_wrote_in_turn_is_proven(world: World) -> None:
    assert {row.action for row in world.rig.audit()} >= {"token:create", "token:revoke", "record:deployment"}
    assert "as they were written" in world.type("audit", "verify")
