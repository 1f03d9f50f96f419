"""Jenkins is triggered once per deployment, whatever fails in between.

Checked on the stand-in: the answers of `buildWithParameters` one by one, doubled and lost calls, threads. Left out:
following the build (`test_jenkins_follow`), hostile servers (`test_jenkins_edges`), a kill of the whole program.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bot.integrations.jenkins import JenkinsPipeline
from bot.sandbox.jenkins_engine import Pace
from bot.sandbox.jenkins_model import DEPLOY_PARAMETERS, Job, Parameter
from bot.sandbox.server import Fault, Misbehaviour
from commands.ports import BuildRequest
from commands.reasons import ReasonCode
from tests.contract.jenkins_rig import AT_ONCE, JOB, NEVER, Rig, closed_port, refusal, request_for, retry

TRIGGER = r"/buildWithParameters$"


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


def test_a_build_carries_the_parameters_of_its_deployment(rig: Rig) -> None:
    request = request_for(DRY_RUN="true")
    rig.pipeline.ensure_build(request)
    (build,) = rig.jenkins.wait_for(JOB)
    assert dict(build.parameters) == dict(request.parameters)


def test_a_build_that_is_already_queued_is_found_not_doubled() -> None:
    with Rig(pace=NEVER) as rig:
        first = rig.pipeline.ensure_build(request_for())
        assert rig.pipeline.ensure_build(request_for()) == first
        assert rig.triggers() == 1
        assert [item.id for item in rig.jenkins.queued()] == [first.queue_id]


def test_a_build_that_has_ended_is_found_not_doubled(rig: Rig) -> None:
    first = rig.pipeline.ensure_build(request_for())
    (build,) = rig.jenkins.wait_for(JOB)
    again = rig.client().ensure_build(request_for())
    assert (again.queue_id, again.number) == (first.queue_id, build.number)
    assert rig.triggers() == 1


@pytest.mark.parametrize("kind", [Misbehaviour.HANG_AFTER, Misbehaviour.FAIL_AFTER, Misbehaviour.DROP_AFTER])
def test_a_trigger_that_was_done_but_not_answered_is_one_build(rig: Rig, kind: Misbehaviour) -> None:
    client = rig.client(timeout=0.2)
    rig.jenkins.faults.add(Fault("POST", TRIGGER, kind, seconds=0.6))
    assert retry(lambda: client.ensure_build(request_for())).reason is ReasonCode.JENKINS_UNREACHABLE
    client.ensure_build(request_for())
    rig.jenkins.wait_for(JOB)
    assert len(rig.jenkins.builds(JOB)) == 1
    assert rig.triggers() == 1


def test_a_trigger_that_never_arrived_is_sent_again(rig: Rig) -> None:
    rig.jenkins.faults.add(Fault("POST", TRIGGER, Misbehaviour.DROP_BEFORE))
    retry(lambda: rig.pipeline.ensure_build(request_for()))
    rig.pipeline.ensure_build(request_for())
    rig.jenkins.wait_for(JOB)
    assert rig.triggers() == 2
    assert len(rig.jenkins.builds(JOB)) == 1


def test_a_build_that_left_the_queue_and_cannot_be_seen_yet_is_waited_for() -> None:
    with Rig(pace=Pace(quiet_period=0, start_lag=0.3)) as rig:
        client = rig.client(settle=0.6)
        time.sleep(0.6)  # A younger client would look for longer because it is young: not what is checked here.
        rig.jenkins.faults.add(Fault("POST", TRIGGER, Misbehaviour.DROP_AFTER))
        retry(lambda: client.ensure_build(request_for()))
        client.ensure_build(request_for())
        rig.jenkins.wait_for(JOB)
        assert rig.triggers() == 1


def test_a_trigger_that_a_crash_made_us_forget_is_waited_for() -> None:
    with Rig(pace=Pace(quiet_period=0, start_lag=0.4)) as rig:
        rig.pipeline.ensure_build(request_for())
        restarted = rig.client(settle=0.8)
        assert restarted.ensure_build(request_for()).number == 1
        assert rig.triggers() == 1


def test_an_equal_item_that_came_into_the_queue_meanwhile_is_ours() -> None:
    with Rig(pace=NEVER) as rig:
        request = request_for()

        def overtake(method: str, path: str) -> None:
            if method == "POST" and path.endswith("/buildWithParameters"):
                rig.jenkins.trigger(JOB, **request.parameters)

        rig.jenkins.faults.before = overtake
        ref = rig.pipeline.ensure_build(request)  # answered with 303
        assert [item.id for item in rig.jenkins.queued()] == [ref.queue_id]


def test_a_queue_that_refuses_is_asked_again_later(rig: Rig) -> None:
    rig.job.refuses_queue = True
    fault = retry(lambda: rig.pipeline.ensure_build(request_for()))
    assert "did not take the job `infra-deploy` into its queue" in fault.what
    rig.job.refuses_queue = False
    rig.pipeline.ensure_build(request_for())
    assert len(rig.jenkins.wait_for(JOB)) == 1


def test_a_disabled_job_says_who_can_help(rig: Rig) -> None:
    rig.job.disabled = True
    fault = refusal(lambda: rig.pipeline.ensure_build(request_for()))
    assert fault.reason is ReasonCode.JOB_DISABLED
    assert (
        fault.next_step
        == "Ask someone with Jenkins access to enable the job `infra-deploy`, then run the command again."
    )


def test_a_job_without_parameters_is_refused(rig: Rig) -> None:
    rig.job.parameters = None
    fault = refusal(lambda: rig.pipeline.ensure_build(request_for()))
    assert fault.reason is ReasonCode.JOB_NOT_PARAMETERIZED
    assert refusal(lambda: rig.pipeline.check_job(JOB)).reason is ReasonCode.JOB_NOT_PARAMETERIZED


def test_a_missing_job_is_refused_by_name(rig: Rig) -> None:
    fault = refusal(lambda: rig.pipeline.ensure_build(request_for(job="elsewhere/infra-deploy")))
    assert fault.reason is ReasonCode.JOB_MISSING
    assert "`elsewhere/infra-deploy`" in fault.what
    assert refusal(lambda: rig.pipeline.check_job("nope")).reason is ReasonCode.JOB_MISSING


def test_a_job_that_vanishes_before_the_trigger_is_missing(rig: Rig) -> None:
    rig.jenkins.faults.add(Fault("POST", TRIGGER, Misbehaviour.REFUSE, status=404))
    assert refusal(lambda: rig.pipeline.ensure_build(request_for())).reason is ReasonCode.JOB_MISSING


def test_a_wrong_token_is_refused(rig: Rig) -> None:
    client = rig.client(token="revoked")
    for call in (client.check, lambda: client.check_job(JOB), lambda: client.ensure_build(request_for())):
        fault = refusal(call)
        assert fault.reason is ReasonCode.JENKINS_CREDENTIALS
        assert "JENKINS_TOKEN" in fault.next_step


def test_a_crumb_is_fetched_when_one_is_asked_for(rig: Rig) -> None:
    client = rig.client(token=rig.jenkins.login.password)
    client.ensure_build(request_for())
    assert len(rig.jenkins.wait_for(JOB)) == 1


def test_a_crumb_that_a_restart_made_stale_is_fetched_again_once(rig: Rig) -> None:
    client = rig.client(token=rig.jenkins.login.password)
    client.ensure_build(request_for("d-1"))
    rig.jenkins.restart()
    client.ensure_build(request_for("d-2"))
    assert len(rig.jenkins.wait_for(JOB, 2)) == 2
    assert rig.calls.count(("GET", "/crumbIssuer/api/json")) == 2


def test_an_api_token_costs_no_crumb(rig: Rig) -> None:
    rig.pipeline.ensure_build(request_for())
    assert ("GET", "/crumbIssuer/api/json") not in rig.calls


def test_a_user_who_may_not_build_is_refused_after_one_more_try(rig: Rig) -> None:
    planned = rig.jenkins.faults.add(Fault("POST", TRIGGER, Misbehaviour.REFUSE, status=403, times=9))
    fault = refusal(lambda: rig.pipeline.ensure_build(request_for()))
    assert fault.reason is ReasonCode.JENKINS_CREDENTIALS
    assert "Job/Build" in fault.next_step
    assert planned.hits == 2


def test_a_broken_crumb_issuer_does_not_hide_the_refusal(rig: Rig) -> None:
    rig.jenkins.faults.add(Fault("POST", TRIGGER, Misbehaviour.REFUSE, status=403, times=9))
    rig.jenkins.faults.add(Fault("GET", "/crumbIssuer", Misbehaviour.REFUSE, status=500))
    assert refusal(lambda: rig.pipeline.ensure_build(request_for())).reason is ReasonCode.JENKINS_CREDENTIALS


def test_another_refusal_is_final(rig: Rig) -> None:
    rig.jenkins.faults.add(Fault("POST", TRIGGER, Misbehaviour.REFUSE, status=413))
    assert "413" in refusal(lambda: rig.pipeline.ensure_build(request_for())).what


def test_a_jenkins_that_starts_is_asked_again(rig: Rig) -> None:
    rig.jenkins.faults.add(Fault("GET", "/queue/", Misbehaviour.REFUSE, status=503))
    assert "503" in retry(lambda: rig.pipeline.ensure_build(request_for())).what
    assert rig.triggers() == 0


def test_a_rate_limit_says_when_to_come_back(rig: Rig) -> None:
    rig.jenkins.faults.add(Fault("GET", "/queue/", Misbehaviour.RATE_LIMIT, seconds=7))
    assert retry(lambda: rig.pipeline.ensure_build(request_for())).after == 7.0


def test_a_jenkins_that_is_down_is_asked_again() -> None:
    client = JenkinsPipeline(closed_port(), "locktender", "secret", settle=0)
    fault = retry(lambda: client.ensure_build(request_for()))
    assert fault.reason is ReasonCode.JENKINS_UNREACHABLE
    assert "cannot be reached" in fault.what
    assert retry(client.check).reason is ReasonCode.JENKINS_UNREACHABLE


def test_a_jenkins_that_is_slow_is_not_waited_for_for_ever(rig: Rig) -> None:
    rig.jenkins.faults.add(Fault("GET", "/queue/", Misbehaviour.DELAY, seconds=0.5))
    client = rig.client(timeout=0.1)
    assert "did not answer" in retry(lambda: client.ensure_build(request_for())).what


def test_a_job_that_drops_the_deployment_id_is_refused_before_anything_starts(rig: Rig) -> None:
    rig.job.parameters = (Parameter("ENVIRONMENT"), Parameter("GIT_COMMIT"))
    fault = refusal(lambda: rig.pipeline.ensure_build(request_for()))
    assert fault.reason is ReasonCode.JOB_REFUSED_PARAMETERS
    assert "does not declare DEPLOYMENT_ID" in fault.what
    assert "parameters { string(name: 'DEPLOYMENT_ID') }" in fault.next_step
    assert rig.triggers() == 0
    assert "DEPLOYMENT_ID" in refusal(lambda: rig.pipeline.check_job(JOB)).what


def test_a_job_that_drops_the_deployment_id_at_the_last_moment_is_refused() -> None:
    with Rig(pace=NEVER) as rig:

        def change(method: str, path: str) -> None:
            del path
            if method == "POST":
                rig.job.parameters = (Parameter("ENVIRONMENT"),)

        rig.jenkins.faults.before = change
        fault = refusal(lambda: rig.pipeline.ensure_build(request_for()))
        assert fault.reason is ReasonCode.JOB_REFUSED_PARAMETERS
        assert "DEPLOYMENT_ID" in fault.what


def test_a_dry_run_is_refused_where_it_would_be_a_real_one(rig: Rig) -> None:
    rig.job.parameters = DEPLOY_PARAMETERS[:3]
    fault = refusal(lambda: rig.pipeline.ensure_build(request_for(DRY_RUN="true")))
    assert "does not declare DRY_RUN" in fault.what
    rig.pipeline.ensure_build(request_for(DRY_RUN="false"))
    assert len(rig.jenkins.wait_for(JOB)) == 1


def test_a_choice_that_is_not_offered_is_a_refusal_not_an_outage(rig: Rig) -> None:
    rig.job.parameters = (Parameter("ENVIRONMENT", choices=("dev", "production")), *DEPLOY_PARAMETERS[1:])
    fault = refusal(lambda: rig.pipeline.ensure_build(request_for()))
    assert fault.reason is ReasonCode.JOB_REFUSED_PARAMETERS
    assert "does not offer `staging` for its parameter ENVIRONMENT" in fault.what


@pytest.mark.parametrize(
    "parameters",
    [
        {"ENVIRONMENT": "a b"},
        {"ENVIRONMENT": "a&token=x"},
        {"ENVIRONMENT": ""},
        {"ENVIRONMENT": "stäging"},
        {"ENVIRONMENT": "staging\n"},
        {"GIT_COMMIT": "c" * 129},
        {"GIT_COMMIT": "$(id)"},
        {"token": "x"},
        {"delay": "0sec"},
        {"DEPLOYMENT_ID": "d-2"},
    ],
)
def test_parameters_outside_the_grammar_are_never_sent(rig: Rig, parameters: dict[str, str]) -> None:
    fault = refusal(lambda: rig.pipeline.ensure_build(request_for(**parameters)))
    assert fault.reason is ReasonCode.JOB_REFUSED_PARAMETERS
    assert rig.calls == []


def test_a_request_without_its_deployment_id_is_never_sent(rig: Rig) -> None:
    fault = refusal(lambda: rig.pipeline.ensure_build(BuildRequest("d-1", JOB, {"ENVIRONMENT": "staging"})))
    assert fault.reason is ReasonCode.JOB_REFUSED_PARAMETERS
    assert rig.calls == []


def test_eight_deployments_at_once_are_eight_builds() -> None:
    with Rig(pace=Pace(executors=8, quiet_period=0)) as rig, ThreadPoolExecutor(8) as threads:
        ids = [f"d-{n}" for n in range(8)]
        refs = list(threads.map(lambda name: rig.pipeline.ensure_build(request_for(name)), ids))
        built = rig.jenkins.wait_for(JOB, 8)
        assert sorted(build.parameters["DEPLOYMENT_ID"] for build in built) == ids
        assert {ref.queue_id for ref in refs} == {build.queue_id for build in built}


def test_eight_threads_with_one_deployment_are_one_build(rig: Rig) -> None:
    with ThreadPoolExecutor(8) as threads:
        refs = list(threads.map(lambda _: rig.pipeline.ensure_build(request_for()), range(8)))
    assert rig.triggers() == 1
    assert len(rig.jenkins.wait_for(JOB)) == 1
    assert len({ref.queue_id for ref in refs}) == 1


def test_the_same_deployment_in_another_job_is_another_build() -> None:
    with Rig(pace=NEVER) as rig:
        rig.jenkins.add(Job("platform/other"))
        first = rig.pipeline.ensure_build(request_for())
        second = rig.pipeline.ensure_build(request_for(job="platform/other"))
        assert first.queue_id != second.queue_id


def test_of_a_build_and_its_rebuilds_ours_is_the_oldest() -> None:
    with Rig(pace=AT_ONCE) as rig:
        request = request_for()
        for count in (1, 2, 3):
            rig.jenkins.trigger(JOB, **request.parameters)
            rig.jenkins.wait_for(JOB, count)
        assert rig.pipeline.ensure_build(request).number == 1
        assert rig.triggers() == 0


def test_a_job_in_a_folder_behind_a_path_prefix_is_reached() -> None:
    name = "platform team/infra-deploy ä"
    with Rig(job=Job(name), prefix="/jenkins", root_url="http://internal:8080/") as rig:
        rig.pipeline.check()
        rig.pipeline.check_job(name)
        first = rig.pipeline.ensure_build(request_for(job=name))
        rig.jenkins.wait_for(name)
        assert rig.pipeline.ensure_build(request_for(job=name)).queue_id == first.queue_id
        assert rig.triggers() == 1
