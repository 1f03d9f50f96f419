"""SIGTERM in the middle of every stage: the program drains, ends with exit code 0, and the next one ends the delivery
as if nothing had been. Also: two programs on one folder, and what the engine's file holds.
"""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bot.sandbox.server import Fault, Faults, Misbehaviour
from storage.phases import Stage
from tests.crash.lab import Lab, Program


def refuse(faults: Faults, path: str) -> None:
    faults.add(Fault("*", path, Misbehaviour.REFUSE, times=1_000_000, status=503))


@dataclass(frozen=True)
class Hold:
    """How a delivery is kept in a stage, and let go."""

    stage: Stage
    hold: Callable[[Lab, Program], None]
    release: Callable[[Lab], None]


def _no_look_at_the_cluster(lab: Lab, program: Program) -> None:
    del program
    lab.sandbox.kubernetes.faults.add(
        Fault("GET", "/namespaces/staging/deployments$", Misbehaviour.REFUSE, times=1_000_000, status=503)
    )


def _no_git_after_the_rollout_began(lab: Lab, program: Program) -> None:
    program.until(lambda: lab.stage() is Stage.ROLLOUT)
    refuse(lab.sandbox.git_faults, "git-upload-pack|info/refs")
    lab.sandbox.kubernetes.faults.clear()


HOLDS = (
    Hold(
        Stage.CHECK,
        lambda lab, _: refuse(lab.sandbox.registry.faults, "manifests"),
        lambda lab: lab.sandbox.registry.faults.clear(),
    ),
    Hold(
        Stage.WRITE,
        lambda lab, _: refuse(lab.sandbox.git_faults, "git-receive-pack$"),
        lambda lab: lab.sandbox.git_faults.clear(),
    ),
    Hold(
        Stage.RECONCILE,
        lambda lab, _: lab.sandbox.jenkins.quiet_down(),
        lambda lab: lab.sandbox.jenkins.cancel_quiet_down(),
    ),
    Hold(Stage.ROLLOUT, _no_look_at_the_cluster, lambda lab: lab.sandbox.kubernetes.faults.clear()),
    Hold(Stage.VERIFY, _no_look_at_the_cluster, lambda lab: lab.sandbox.git_faults.clear()),
)


ALWAYS = {Stage.WRITE, Stage.ROLLOUT}
"""For `make test-slow`; `make test-crash` has the others too."""


@pytest.mark.parametrize(
    "hold",
    [
        pytest.param(hold, id=str(hold.stage), marks=() if hold.stage in ALWAYS else pytest.mark.crash_sweep)
        for hold in HOLDS
    ],
)
def test_stopped_in_a_stage_it_drains_and_the_next_start_ends_it(lab: Lab, hold: Hold) -> None:
    program = lab.start()
    hold.hold(lab, program)
    lab.deploy()
    if hold.stage is Stage.VERIFY:
        _no_git_after_the_rollout_began(lab, program)
    program.until(lambda: lab.stage() is hold.stage)
    began = time.monotonic()
    assert program.terminate() == 0
    assert time.monotonic() - began < 20
    assert lab.stage() is hold.stage
    hold.release(lab)
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


def test_stopped_while_jenkins_hangs_it_ends_in_time_and_does_not_build_twice(lab: Lab) -> None:
    program = lab.start()
    lab.sandbox.jenkins.faults.add(Fault("POST", "buildWithParameters", Misbehaviour.HANG_AFTER, seconds=60))
    lab.deploy()
    program.until(lambda: lab.builds() or lab.sandbox.jenkins.queued())
    began = time.monotonic()
    assert program.terminate() == 0
    assert time.monotonic() - began < 30
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


def test_a_second_program_on_the_same_folder_is_refused_with_a_sentence(lab: Lab) -> None:
    program = lab.start()
    second = subprocess.run(
        [sys.executable, "-m", "bot.cli", "serve"],
        env=lab.sandbox.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "another Locktender uses" in second.stderr
    assert "DATABASE_URL" in second.stderr
    assert "Traceback" not in second.stderr
    assert program.alive()
    assert lab.deploy().acked
    program.until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


def test_the_engines_file_holds_json_and_survives_an_upgrade_of_the_program(lab: Lab) -> None:
    program = lab.start()
    lab.deploy()
    program.until(lab.at_rest)
    (row,) = lab.deployments()
    engine = sqlite3.connect(f"file:{lab.sandbox.home}/var/engine.db?mode=ro", uri=True)
    ((name, executor, version, serialization),) = engine.execute(
        "SELECT workflow_uuid, executor_id, application_version, serialization FROM workflow_status"
    )
    ((inputs,),) = engine.execute("SELECT inputs FROM workflow_input")
    outputs = [output for (output,) in engine.execute("SELECT output FROM operation_outputs")]
    engine.close()
    assert name == f"{row.id}.1"
    assert executor == "sqlite"  # a constant: the next process takes up what this one left
    assert version == "1"  # a constant: DBOS' own changes with the code, and strands what runs
    assert "json" in serialization
    assert row.id in json.dumps(json.loads(inputs))
    assert outputs
    assert {type(json.loads(output)) for output in outputs} <= {float, int}
