"""Jenkins in every mood: each ends a deployment with a sentence that says what stands in git, or holds it up and then
lets it go on; never two builds of one deployment.

Each test has a job of its own. What each HTTP answer means is tested with the adapter.
"""

import threading
from collections.abc import Iterator

import pytest

from bot.sandbox.jenkins_model import BuildContext, Job, Result
from bot.sandbox.server import Misbehaviour
from commands.reasons import ReasonCode
from storage.phases import Phase
from tests.e2e.rig import Outage, Rig, rig

NAMES = (
    "down",
    "cut",
    "slow",
    "equal",
    "disabled",
    "plain",
    "token",
    "failing",
    "aborted",
    "unstable",
    "cancelled",
    "missing",
    "restarted",
    "lost",
)
PLACES = {name: f"{{rollout: none, reconciler: {{jenkins: {{job: job-{name}}}}}}}" for name in NAMES} | {
    "late": "{rollout: none, reconciler: {jenkins: {job: job-late}}, timeout: {build: 2s}}"
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("jenkins"), PLACES) as made:
        for name in PLACES:
            if name != "missing":
                made.sandbox.jenkins.add(Job(f"job-{name}"))
        yield made


def job(world: Rig, name: str) -> Job:
    return world.sandbox.jenkins.engine.jobs[f"job-{name}"]


def goes_again(world: Rig, name: str) -> None:
    """What was mended goes through, with one build of its own."""
    row = world.live(world.deploy("1.4.3", name))
    assert len(world.builds(row)) == 1


def test_down_and_back_again_it_goes_on_by_itself(world: Rig) -> None:
    with Outage(world.sandbox.jenkins.faults):
        row = world.deploy("1.4.2", "down")
        world.noted(row, "Jenkins", "503", "Trying again")
        assert world.row(row).phase == Phase.RUNNING
    world.live(row)
    assert len(world.builds(row)) == 1


def test_an_answer_that_is_lost_after_it_was_queued_makes_no_second_build(world: Rig) -> None:
    with Outage(world.sandbox.jenkins.faults, "buildWithParameters", "POST", Misbehaviour.DROP_AFTER):
        row = world.deploy("1.4.2", "cut")
        world.until(lambda: world.builds(row))
    world.live(row)
    assert len(world.builds(row)) == 1


def test_slow_answers_only_take_longer(world: Rig) -> None:
    with Outage(world.sandbox.jenkins.faults, kind=Misbehaviour.DELAY, seconds=0.7):
        row = world.deploy("1.4.2", "slow")
        world.live(row)
    assert len(world.builds(row)) == 1


def test_an_equal_item_that_is_queued_already_is_taken(world: Rig) -> None:
    world.sandbox.jenkins.quiet_down()
    try:
        with Outage(world.sandbox.jenkins.faults, "buildWithParameters", "POST", Misbehaviour.FAIL_AFTER):
            row = world.deploy("1.4.2", "equal")
            world.until(world.sandbox.jenkins.queued)
        world.noted(row, "Jenkins is about to shut down")
        assert len(world.sandbox.jenkins.queued()) == 1
    finally:
        world.sandbox.jenkins.cancel_quiet_down()
    world.live(row)
    assert len(world.builds(row)) == 1


def test_a_disabled_job_is_said_and_the_commit_stands(world: Rig) -> None:
    job(world, "disabled").disabled = True
    row = world.deploy("1.4.2", "disabled")
    world.failed(row, ReasonCode.JOB_DISABLED, "job-disabled", "disabled")
    assert len(world.commits(row)) == 1
    assert not world.builds(row)
    job(world, "disabled").disabled = False
    goes_again(world, "disabled")


def test_a_job_without_parameters_is_said(world: Rig) -> None:
    job(world, "plain").parameters = None
    row = world.deploy("1.4.2", "plain")
    world.failed(row, ReasonCode.JOB_NOT_PARAMETERIZED, "job-plain", "DEPLOYMENT_ID")
    assert not world.builds(row)


def test_a_job_that_is_missing_is_said(world: Rig) -> None:
    row = world.deploy("1.4.2", "missing")
    world.failed(row, ReasonCode.JOB_MISSING, "job-missing")


def test_a_token_that_is_not_taken_is_said_without_showing_it(world: Rig) -> None:
    login = world.sandbox.jenkins.login
    world.sandbox.jenkins.login = type(login)(token="another")
    try:
        row = world.deploy("1.4.2", "token")
        world.failed(row, ReasonCode.JENKINS_CREDENTIALS, "JENKINS_TOKEN")
        assert not world.builds(row)
    finally:
        world.sandbox.jenkins.login = login
    goes_again(world, "token")


def test_a_build_that_fails_is_shown_with_its_stage_and_last_lines(world: Rig) -> None:
    job(world, "failing").fails_at = "Apply"
    row = world.deploy("1.4.2", "failing")
    card = world.failed(row, ReasonCode.BUILD_FAILED, "Build `job-failing` #1 failed in stage `Apply`", "commit stands")
    assert "the stage Apply was told to fail" in str(card.blocks)
    assert "Finished: FAILURE" in str(card.blocks)
    assert len(world.commits(row)) == 1
    job(world, "failing").fails_at = ""
    again = world.live(world.deploy("1.4.2", "failing"))  # git says so already: it is built all the same
    assert len(world.builds(again)) == 1
    assert not world.commits(again)


def test_a_build_that_is_aborted_is_said(world: Rig) -> None:
    job(world, "aborted").stage_seconds = 30
    row = world.deploy("1.4.2", "aborted")
    world.noted(row, "running", "Checkout")
    world.builds(row)[0].stop.set()
    world.failed(row, ReasonCode.BUILD_ABORTED, "was aborted", "Ask who aborted it")


def test_an_unstable_build_is_not_taken_for_a_good_one(world: Rig) -> None:
    job(world, "unstable").result = Result.UNSTABLE
    row = world.deploy("1.4.2", "unstable")
    world.failed(row, ReasonCode.BUILD_UNSTABLE, "ended unstable")


def test_a_build_that_is_cancelled_in_the_queue_is_said(world: Rig) -> None:
    world.sandbox.jenkins.quiet_down()
    try:
        row = world.deploy("1.4.2", "cancelled")
        world.noted(row, "Jenkins is about to shut down")
        (item,) = world.sandbox.jenkins.queued()
        world.sandbox.jenkins.engine.cancel(item.id)
        world.failed(row, ReasonCode.BUILD_CANCELLED, "cancelled in Jenkins' queue", "Ask who cancelled it")
        assert not world.builds(row)
    finally:
        world.sandbox.jenkins.cancel_quiet_down()
    goes_again(world, "cancelled")


def test_a_build_that_was_deleted_while_it_ran_is_an_outcome_that_nobody_knows(world: Rig) -> None:
    job(world, "lost").stage_seconds = 30
    row = world.deploy("1.4.2", "lost")
    world.noted(row, "running")
    (build,) = world.builds(row)
    world.sandbox.jenkins.engine.delete("job-lost", build.number)
    world.sandbox.jenkins.engine.forget()
    world.failed(row, ReasonCode.BUILD_LOST, "no longer knows", "job's history", phase=Phase.ERRORED)
    build.stop.set()


def test_a_build_that_takes_longer_than_the_catalogue_allows_is_not_waited_for(world: Rig) -> None:
    release = threading.Event()

    def stuck(context: BuildContext) -> Result:
        with context.stage("Apply"):
            while not release.is_set():
                context.wait(0.05)
        return Result.SUCCESS

    job(world, "late").run = stuck
    row = world.deploy("1.4.2", "late")
    try:
        world.failed(row, ReasonCode.BUILD_TIMED_OUT, "has not ended in the time", "Look at", phase=Phase.ERRORED)
    finally:
        release.set()


def test_a_restart_of_jenkins_in_the_middle_changes_nothing(world: Rig) -> None:
    job(world, "restarted").stage_seconds = 0.5
    row = world.deploy("1.4.2", "restarted")
    world.until(lambda: world.row(row).build_number)
    world.sandbox.jenkins.restart()
    world.live(row)
    assert len(world.builds(row)) == 1
