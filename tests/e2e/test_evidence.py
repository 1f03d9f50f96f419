"""Evidence of a promotion through the whole program: asked for in Slack, approved, merged, built, rolled out, reported.

What is told of each kind of change is tests/unit/test_evidence; that every edit is found, test_evidence_verify.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.sandbox.slack_model import DEVELOPER, RELEASE_MANAGER
from tests.e2e.gate_rig import REVIEWED, Company, GateRig, gate_rig

pytestmark = pytest.mark.slow
COMPANY = Company(environments={"qa": "", "production": REVIEWED}, apps={"shop": ["qa", "production"]})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateRig]:
    with gate_rig(tmp_path_factory.mktemp("evidence"), COMPANY) as made:
        yield made


def locktender(world: GateRig, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command line, beside the program that runs."""
    environment = world.sandbox.environment() | env
    return subprocess.run(
        [sys.executable, "-m", "bot.cli", *words], env=environment, capture_output=True, text=True, check=False
    )


def test_a_promotion_and_what_the_pipeline_said_of_it_are_evidence_that_proves_itself(
    world: GateRig, tmp_path: Path
) -> None:
    world.put("shop", "1.4.2", "qa")
    row = world.promote("shop", "--reason the cart total is right again")
    world.approve(row)
    row = world.live(row)

    made = locktender(world, "token", "create", "cd", "--scope", "records")
    record = {
        "timestamp": "2026-01-15T10:30:00Z",
        "environment": "production",
        "gitCommit": row.commit_sha,
        "gitBranch": "main",
        "deployer": "jenkins",
        "buildUrl": "https://jenkins.example.com/job/infra-deploy/412/",
        "approvalNote": "approved in CHG-1042",
        "status": "SUCCESS",
    }
    (tmp_path / "deployment-record.json").write_text(json.dumps(record))
    authorization = f"Authorization: Bearer {made.stdout.split()[-1]}"
    curl = ["curl", "-sS", "-f", "-d", "@deployment-record.json", "-H", authorization, f"{world.url}/api/v1/records"]
    subprocess.run(curl, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, check=True)
    history = world.type(f"history commit:{row.commit_sha[:10]}", command="/audit")
    assert "record:deployment" in history.text
    assert "api:cd" in history.text
    assert f"/audit evidence {row.id}" in world.type(f"show {row.id}", command="/audit").text

    assert world.type(f"evidence {row.id}", user=DEVELOPER, command="/audit").text.startswith("🚫")
    answer = world.type(f"evidence {row.id}", user=RELEASE_MANAGER, command="/audit")
    assert "being put together" in answer.text
    world.until(lambda: len([one for one in world.slack.files() if one.channels]) == 2)
    for one in world.slack.files():
        assert one.content is not None
        (tmp_path / one.name).write_bytes(one.content)
    file = tmp_path / f"evidence-{row.id}.json"
    told = json.loads(file.read_text())["predicate"]["told"]
    facts = {one["what"]: one["holds"] for one in told["checks"]}
    assert set(facts.values()) == {"yes"}, facts
    assert (told["requests"][0]["by"], told["said"][0]["by"]) == (DEVELOPER.id, RELEASE_MANAGER.id)
    assert told["merged"]["commit"] == row.commit_sha
    (ran,) = told["ran"]
    assert (ran["build"], ran["phase"]) == (str(row.build_number), "succeeded")
    assert ran["rollout"]
    (reported,) = told["reported"]
    assert (reported["approval_note"], reported["commit"]) == ("approved in CHG-1042", row.commit_sha)
    page = (tmp_path / f"evidence-{row.id}.html").read_text()
    assert "the cart total is right again" in page
    assert "approved in CHG-1042" in page
    text = file.read_text() + page
    secrets = [value for key, value in world.sandbox.environment().items() if key.endswith(("TOKEN", "SECRET"))]
    assert secrets
    assert not [one for one in [*secrets, made.stdout.split()[-1]] if one in text]

    key = locktender(world, "audit", "key").stdout.strip()
    elsewhere = {"LOCKTENDER_HOME": str(tmp_path / "nothing"), "DATABASE_URL": ""}
    proven = locktender(world, "audit", "verify", "--evidence", str(file), "--key", key, **elsewhere)
    assert proven.returncode == 0, proven.stdout + proven.stderr
    assert proven.stdout.startswith("Proven.")
    file.write_text(file.read_text().replace("CHG-1042", "CHG-1043"))
    edited = locktender(world, "audit", "verify", "--evidence", str(file), "--key", key, **elsewhere)
    assert edited.returncode == 1, edited.stdout + edited.stderr
    assert edited.stdout.startswith("TAMPERED. Row ")
    (taking,) = world.audit("audit:evidence")
    assert taking.actor == RELEASE_MANAGER.id
