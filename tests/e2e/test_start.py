"""The command line: what stops a start is said in sentences with an exit code, SIGTERM ends well, and the demo's script
is a test of its own.
"""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.sandbox import demo
from bot.sandbox.world import FAST, Sandbox
from tests import forked
from tests.e2e.rig import free_port


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("start"), speed=FAST, applied=("staging",)) as made:
        yield made


def test_every_fault_of_the_environment_is_told_at_once(sandbox: Sandbox) -> None:
    environment = sandbox.environment() | {
        "SLACK_BOT_TOKEN": "xoxp-secret-of-a-person",
        "INFRA_REPO_URL": "ftp://example.com/infra",
        "JENKINS_USER": "",
        "KUBECONFIG": "/nowhere/kubeconfig",
        "LOCKTENDER_PORT": "70000",
    }
    done = subprocess.run(
        [sys.executable, "-m", "bot.cli", "serve"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "The environment has 5 faults:" in done.stderr
    for name in ("SLACK_BOT_TOKEN", "INFRA_REPO_URL", "JENKINS_USER", "KUBECONFIG", "LOCKTENDER_PORT"):
        assert f"  {name}: " in done.stderr
    assert "secret-of-a-person" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_nothing_set_at_all_is_told_as_what_is_needed(tmp_path: Path) -> None:
    done = forked.run({"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, "serve")
    assert done.returncode == 2
    for name in ("SLACK_BOT_TOKEN", "INFRA_REPO_URL", "SLACK_APP_TOKEN"):
        assert f"  {name}: " in done.stderr


def test_a_slack_token_that_is_not_taken_is_said(sandbox: Sandbox) -> None:
    done = forked.run(sandbox.environment() | {"SLACK_BOT_TOKEN": "xoxb-another"}, "serve")
    assert done.returncode == 3
    assert "Slack does not accept SLACK_BOT_TOKEN (invalid_auth)" in done.stderr
    assert "reinstall the app" in done.stderr
    _no_traceback(done)


def test_a_port_that_is_taken_is_said(sandbox: Sandbox) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = forked.run(sandbox.environment() | {"LOCKTENDER_PORT": str(port)}, "serve")
    assert done.returncode == 3
    assert f"127.0.0.1:{port}" in done.stderr
    assert "LOCKTENDER_PORT" in done.stderr
    _no_traceback(done)


def test_a_folder_that_cannot_be_written_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = forked.run(sandbox.environment() | {"LOCKTENDER_HOME": str(tmp_path / "file")}, "serve")
    assert done.returncode == 3
    assert "LOCKTENDER_HOME" in done.stderr
    _no_traceback(done)


def test_sigterm_ends_it_with_zero_and_leaves_start_and_stop_in_the_log(sandbox: Sandbox) -> None:
    program = sandbox.start_program(more={"LOCKTENDER_PORT": str(free_port())})
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(30) == 0
    events = [json.loads(line)["event"] for line in program.log.read_text().splitlines() if line.startswith("{")]
    assert "app.started" in events
    assert events[-1] == "app.stopped"


@pytest.mark.slow
def test_the_demos_script_ends_live() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bot.cli", "demo", "--script"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "✅ my-application 1.4.0 → 1.4.2 · staging · live" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_demos_script_fails_when_the_deploy_does_not_end_live(tmp_path: Path) -> None:
    def spoil(sandbox: Sandbox) -> None:
        sandbox.job.disabled = True

    assert demo.scripted(tmp_path, None, prepare=spoil, speed=FAST) == 1


def _no_traceback(done: "subprocess.CompletedProcess[str]") -> None:
    assert "Traceback" not in done.stderr, done.stderr
