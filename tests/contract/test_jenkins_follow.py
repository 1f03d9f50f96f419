"""A Jenkins build is followed from the queue to its end, and its end is told with what a person needs.

Checked on the stand-in: states, stage, reason to wait, console tail, what happens when Jenkins forgets. Left out:
triggering (`test_jenkins_trigger`), hostile servers (`test_jenkins_edges`).
"""

import threading
import time
from collections.abc import Iterator

import pytest

from bot.sandbox.jenkins_engine import Pace
from bot.sandbox.jenkins_model import BuildContext, Job, Result, StageFailed
from bot.sandbox.server import Fault, Misbehaviour
from commands.ports import Build, BuildRef, BuildState
from commands.reasons import ReasonCode
from tests.contract.jenkins_rig import JOB, LOST_REF, NEVER, Rig, refusal, request_for, retry


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


def look_until(rig: Rig, ref: BuildRef, state: BuildState) -> Build:
    """Look again and again, with what is known, until it is in this state."""
    deadline = time.monotonic() + 5
    while True:
        build = rig.pipeline.build("d-1", ref)
        if build.state is state:
            return build
        assert time.monotonic() < deadline, build
        time.sleep(0.01)


def test_a_build_that_waits_says_why() -> None:
    with Rig(pace=NEVER) as rig:
        build = rig.pipeline.build("d-1", rig.pipeline.ensure_build(request_for()))
        assert build.state is BuildState.QUEUED
        assert build.why.startswith("In the quiet period")


def test_a_build_that_runs_tells_its_number_stage_and_address(rig: Rig) -> None:
    rig.job.stage_seconds = 60
    build = look_until(rig, rig.pipeline.ensure_build(request_for()), BuildState.RUNNING)
    assert build.ref.number == 1
    assert build.url == f"{rig.url}/job/infra-deploy/1/"
    assert build.stage == "Checkout"
    assert build.log_tail == ""
    assert 0 <= build.seconds < 5


def test_a_build_that_succeeds_says_so(rig: Rig) -> None:
    rig.job.stage_seconds = 0.02
    build = rig.ended(request_for())
    assert build.state is BuildState.SUCCESS
    assert (build.stage, build.log_tail, build.why) == ("", "", "")
    assert 0.08 <= build.seconds < 5


def test_a_build_that_fails_tells_the_stage_and_its_last_words(rig: Rig) -> None:
    rig.job.fails_at = "Apply"
    build = rig.ended(request_for())
    assert build.state is BuildState.FAILURE
    assert build.stage == "Apply"
    assert build.log_tail.splitlines()[-2:] == ["ERROR: the stage Apply was told to fail", "Finished: FAILURE"]


def test_an_unstable_build_is_not_a_success(rig: Rig) -> None:
    rig.job.result = Result.UNSTABLE
    build = rig.ended(request_for())
    assert build.state is BuildState.UNSTABLE
    assert build.log_tail.endswith("Finished: UNSTABLE")


def test_a_build_that_somebody_stopped_is_aborted(rig: Rig) -> None:
    rig.job.stage_seconds = 60
    ref = look_until(rig, rig.pipeline.ensure_build(request_for()), BuildState.RUNNING).ref
    rig.jenkins.builds(JOB)[0].stop.set()
    rig.jenkins.wait_for(JOB)
    build = rig.pipeline.build("d-1", ref)
    assert build.state is BuildState.ABORTED
    assert build.stage == "Checkout"
    assert build.ref.number == 1


def test_a_build_that_was_skipped_counts_as_aborted_and_says_why(rig: Rig) -> None:
    rig.job.result = Result.NOT_BUILT
    build = rig.ended(request_for())
    assert build.state is BuildState.ABORTED
    assert "NOT_BUILT" in build.why


def test_a_build_that_was_cancelled_in_the_queue_has_no_number() -> None:
    with Rig(pace=NEVER) as rig:
        ref = rig.pipeline.ensure_build(request_for())
        assert ref.queue_id is not None
        rig.jenkins.engine.cancel(ref.queue_id)
        build = rig.pipeline.build("d-1", ref)
        assert build.state is BuildState.ABORTED
        assert build.ref.number is None
        assert "cancelled" in build.why


def test_a_build_that_waits_for_an_answer_says_so() -> None:
    answered = threading.Event()

    def run(context: BuildContext) -> Result:
        with context.stage("Confirm"):
            context.ask("Go on?", answered)
        return Result.SUCCESS

    with Rig(job=Job(JOB, run=run)) as rig:
        ref = rig.pipeline.ensure_build(request_for())
        build = look_until(rig, ref, BuildState.RUNNING)
        while not build.why:
            build = look_until(rig, ref, BuildState.RUNNING)
        assert "input step" in build.why
        assert build.stage == "Confirm"
        answered.set()
        assert look_until(rig, ref, BuildState.SUCCESS).why == ""


def test_a_freestyle_job_has_no_stages_and_is_followed_all_the_same() -> None:
    with Rig(job=Job(JOB, pipeline=False, fails_at="Apply")) as rig:
        build = rig.ended(request_for())
        assert (build.state, build.stage) == (BuildState.FAILURE, "")
        assert build.log_tail


def test_a_result_counts_only_when_the_build_has_stopped() -> None:
    go_on = threading.Event()

    def run(context: BuildContext) -> Result:
        context.mark(Result.UNSTABLE)
        go_on.wait(5)
        return Result.SUCCESS

    with Rig(job=Job(JOB, run=run)) as rig:
        ref = look_until(rig, rig.pipeline.ensure_build(request_for()), BuildState.RUNNING).ref
        while rig.jenkins.builds(JOB)[0].result is None:
            time.sleep(0.01)
        assert rig.pipeline.build("d-1", ref).state is BuildState.RUNNING
        go_on.set()
        assert look_until(rig, ref, BuildState.UNSTABLE).log_tail


@pytest.mark.parametrize("status", [500, 403])
@pytest.mark.parametrize("path", ["/wfapi/", "/progressiveText"])
def test_a_broken_plugin_does_not_hide_the_end(rig: Rig, path: str, status: int) -> None:
    rig.job.fails_at = "Apply"
    ref = rig.pipeline.ensure_build(request_for())
    rig.jenkins.wait_for(JOB)
    rig.jenkins.faults.add(Fault("GET", path, Misbehaviour.REFUSE, status=status, times=9))
    assert rig.pipeline.build("d-1", ref).state is BuildState.FAILURE


def test_a_build_whose_queue_item_is_forgotten_is_found_by_its_deployment(rig: Rig) -> None:
    ref = rig.pipeline.ensure_build(request_for())
    rig.jenkins.wait_for(JOB)
    rig.jenkins.engine.forget()
    build = rig.pipeline.build("d-1", ref)
    assert build.state is BuildState.SUCCESS
    assert build.ref == BuildRef(JOB, ref.queue_id, 1)


def test_a_build_is_found_with_nothing_but_its_deployment(rig: Rig) -> None:
    rig.pipeline.ensure_build(request_for())
    rig.jenkins.wait_for(JOB)
    assert rig.pipeline.build("d-1", BuildRef(JOB)).ref.number == 1


def test_a_waiting_build_is_found_with_nothing_but_its_deployment() -> None:
    with Rig(pace=NEVER) as rig:
        ref = rig.pipeline.ensure_build(request_for())
        build = rig.pipeline.build("d-1", BuildRef(JOB))
        assert (build.state, build.ref) == (BuildState.QUEUED, ref)


def test_a_build_that_jenkins_no_longer_knows_is_lost(rig: Rig) -> None:
    ref = rig.ended(request_for()).ref
    rig.jenkins.engine.delete(JOB, 1)
    rig.jenkins.engine.forget()
    assert rig.pipeline.build("d-1", ref).state is BuildState.LOST
    assert rig.pipeline.build("d-1", LOST_REF).state is BuildState.LOST


def test_a_number_that_is_now_somebody_elses_build_is_not_ours(rig: Rig) -> None:
    ref = rig.ended(request_for()).ref
    rig.jenkins.remove(JOB)
    rig.jenkins.add(Job(JOB))
    rig.pipeline.ensure_build(request_for("d-2"))
    rig.jenkins.wait_for(JOB)
    assert rig.jenkins.builds(JOB)[0].number == ref.number
    assert rig.pipeline.build("d-1", ref).state is BuildState.LOST


def test_a_queue_id_that_is_now_somebody_elses_is_not_ours() -> None:
    with Rig(pace=NEVER) as rig:
        other = rig.pipeline.ensure_build(request_for("d-2"))
        assert rig.pipeline.build("d-1", other).state is BuildState.LOST


def test_an_item_that_left_the_queue_and_is_no_build_yet_is_not_lost() -> None:
    with Rig(pace=Pace(quiet_period=0, start_lag=0.3)) as rig:
        ref = rig.pipeline.ensure_build(request_for())
        assert rig.pipeline.build("d-1", ref).state is BuildState.QUEUED
        assert look_until(rig, ref, BuildState.SUCCESS).ref.number == 1


def test_a_job_that_was_deleted_is_missing_not_lost(rig: Rig) -> None:
    ref = rig.ended(request_for()).ref
    rig.jenkins.remove(JOB)
    assert refusal(lambda: rig.pipeline.build("d-1", ref)).reason is ReasonCode.JOB_MISSING


def test_an_outage_while_following_is_a_retry_not_an_end(rig: Rig) -> None:
    ref = rig.ended(request_for()).ref
    rig.jenkins.faults.add(Fault("GET", "/1/api/json", Misbehaviour.DROP_BEFORE))
    assert retry(lambda: rig.pipeline.build("d-1", ref)).reason is ReasonCode.JENKINS_UNREACHABLE
    assert rig.pipeline.build("d-1", ref).state is BuildState.SUCCESS


def test_a_link_that_leads_elsewhere_is_replaced_by_our_own() -> None:
    with Rig(root_url="http://evil.example/", prefix="/ci") as rig:
        assert rig.ended(request_for()).url == f"{rig.url}/job/infra-deploy/1/"


def test_of_a_long_log_only_the_end_is_read_and_shown(rig: Rig) -> None:
    def run(context: BuildContext) -> Result:
        for number in range(40_000):
            context.log(f"line {number} ä")
        raise StageFailed("the last words")

    rig.jenkins.add(Job(JOB, run=run))
    lines = rig.ended(request_for()).log_tail.splitlines()
    assert len(lines) == 20
    assert lines[-2:] == ["ERROR: the last words", "Finished: FAILURE"]
    assert lines[0] == "line 39982 ä"


def test_a_log_cannot_paint_move_or_flood_the_message(rig: Rig) -> None:
    def run(context: BuildContext) -> Result:
        context.log(
            "\x1b[8mha:////4abc==\x1b[0m\x1b[31mred\x1b[0m\x07\x00 \u202egnp.exe\r\n\x1b]8;;http://x\x07here\x1b]8;;\x07"
        )
        context.log("x" * 10_000)
        return Result.FAILURE

    rig.jenkins.add(Job(JOB, run=run))
    tail = rig.ended(request_for()).log_tail
    assert all(line.isprintable() for line in tail.splitlines())
    assert "red gnp.exe" in tail
    assert "\nhere\n" in tail
    assert "http://x" not in tail
    assert max(map(len, tail.splitlines())) == 300
