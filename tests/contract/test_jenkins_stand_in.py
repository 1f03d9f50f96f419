"""The Jenkins stand-in is no kinder than Jenkins: statuses, headers, crumbs, queue, as its source has them.

Checked with plain HTTP and with python-jenkins, a client that was written against the real one. Left out: what the
stand-in says of itself that it does not do.
"""

from collections.abc import Iterator

import httpx
import jenkins
import pytest

from bot.sandbox.jenkins import JenkinsServer
from bot.sandbox.jenkins_engine import Pace
from bot.sandbox.jenkins_json import BadTreeError, Node, parse_tree, select
from bot.sandbox.jenkins_model import Job, Result
from tests.contract.jenkins_rig import JOB, NEVER, Rig, request_for, switch

BUILD = "/job/infra-deploy/buildWithParameters"


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(pace=NEVER) as made:
        yield made


@pytest.fixture
def http(rig: Rig) -> Iterator[httpx.Client]:
    login = rig.jenkins.login
    with httpx.Client(base_url=rig.url, auth=(login.user, login.token), trust_env=False) as client:
        yield client


@pytest.fixture
def people(rig: Rig) -> Iterator[httpx.Client]:
    """With a password, as a person in a browser."""
    login = rig.jenkins.login
    with httpx.Client(base_url=rig.url, auth=(login.user, login.password), trust_env=False) as client:
        yield client


def test_a_trigger_is_answered_with_201_the_item_and_nothing_else(rig: Rig, http: httpx.Client) -> None:
    answer = http.post(BUILD, data={"ENVIRONMENT": "dev"})
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["Location"] == f"{rig.url}/queue/item/1/"


def test_an_equal_item_that_waits_is_answered_with_303(http: httpx.Client) -> None:
    first = http.post(BUILD, data={"ENVIRONMENT": "dev"})
    again = http.post(BUILD, params={"ENVIRONMENT": "dev"})
    other = http.post(BUILD, data={"ENVIRONMENT": "staging"})
    assert (again.status_code, again.headers["Location"]) == (303, first.headers["Location"])
    assert other.status_code == 201


def test_what_is_not_declared_is_dropped_and_what_is_not_given_has_its_default(rig: Rig, http: httpx.Client) -> None:
    http.post(BUILD, data={"ENVIRONMENT": "dev", "EXTRA": "x"})
    (item,) = rig.jenkins.queued()
    assert dict(item.parameters) == {"ENVIRONMENT": "dev", "GIT_COMMIT": "", "DEPLOYMENT_ID": "", "DRY_RUN": "false"}


def test_a_choice_that_is_not_offered_is_an_error(http: httpx.Client) -> None:
    answer = http.post(BUILD, data={"DRY_RUN": "perhaps"})
    assert answer.status_code == 500
    assert "Illegal choice for parameter DRY_RUN" in answer.text


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/queue/item/1/", "GET", 404),
        ("/queue/item/1/api/json", "GET", 200),
        ("/queue/item/2/api/json", "GET", 404),
        ("/job/nope/api/json", "GET", 404),
        ("/job/infra-deploy/1/api/json", "GET", 404),
        ("/job/infra-deploy/api/json?tree=builds[", "GET", 400),
        (BUILD, "GET", 405),
        ("/api/json", "GET", 200),
    ],
)
def test_every_answer_says_that_it_is_jenkins(http: httpx.Client, path: str, method: str, status: int) -> None:
    http.post(BUILD)
    answer = http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["X-Jenkins"]


def test_a_job_refuses_as_it_is_told(rig: Rig, http: httpx.Client) -> None:
    rig.job.refuses_queue = True
    refused = http.post(BUILD)
    assert (refused.status_code, refused.headers["Location"]) == (302, f"{rig.url}/job/infra-deploy/")
    rig.job.parameters = None
    assert http.post(BUILD).status_code == 400
    rig.job.disabled = True
    assert http.post(BUILD).status_code == 409


def test_nobody_gets_in_without_a_name() -> None:
    with Rig() as rig, httpx.Client(base_url=rig.url, trust_env=False) as http:
        assert http.get("/api/json").status_code == 403
        assert http.get("/api/json", auth=("locktender", "wrong")).status_code == 401
        assert http.get("/api/json", headers={"Authorization": "Basic !"}).status_code == 401


def test_a_browser_may_look_where_anonymous_reading_is_on() -> None:
    with JenkinsServer(Job(JOB), anonymous_read=True) as server:
        switch().app = server.app
        server.trigger(JOB, ENVIRONMENT="<dev>")
        server.wait_for(JOB)
        with httpx.Client(base_url=switch().url, trust_env=False) as http:
            page = http.get("/job/infra-deploy/1/")
            assert page.status_code == 200
            assert "Apply &lt;dev&gt;" in page.text
            assert http.post(BUILD).status_code == 403


def test_a_password_needs_a_crumb_that_belongs_to_its_session(rig: Rig, people: httpx.Client) -> None:
    without = people.post(BUILD)
    assert without.status_code == 403
    assert "No valid crumb" in without.text
    issued = people.get("/crumbIssuer/api/json").json()
    crumb = {issued["crumbRequestField"]: issued["crumb"]}
    assert people.post(BUILD, headers=crumb).status_code == 201
    rig.jenkins.restart()
    assert people.post(BUILD, headers=crumb).status_code == 403
    people.cookies.clear()
    issued = people.get("/crumbIssuer/api/json").json()
    people.cookies.clear()
    assert people.post(BUILD, headers={"Jenkins-Crumb": issued["crumb"]}).status_code == 403


def test_what_is_quiet_waits_and_goes_on_afterwards(http: httpx.Client, rig: Rig) -> None:
    rig.jenkins.add(Job("now", quiet_period=0))
    assert http.post("/quietDown").status_code == 302
    assert http.get("/api/json").json()["quietingDown"] is True
    rig.jenkins.trigger("now")
    (item,) = http.get("/queue/api/json").json()["items"]
    assert item["why"] == "Jenkins is about to shut down"
    http.post("/cancelQuietDown")
    assert rig.jenkins.wait_for("now")


def test_builds_that_exclude_each_other_wait_for_each_other() -> None:
    with Rig(job=Job(JOB, concurrent=False, stage_seconds=60)) as rig:
        rig.jenkins.trigger(JOB, DEPLOYMENT_ID="d-1")
        with rig.jenkins.engine.changed:
            assert rig.jenkins.engine.changed.wait_for(lambda: rig.jenkins.builds(JOB), 5)
        waiting = rig.jenkins.trigger(JOB, DEPLOYMENT_ID="d-2")
        assert rig.jenkins.engine.why(waiting) == "Build #1 is already in progress (ETA: N/A)"
        assert rig.jenkins.trigger(JOB, DEPLOYMENT_ID="d-2") is waiting
        rig.job.stage_seconds = 0
        rig.jenkins.builds(JOB)[0].stop.set()
        assert [build.result for build in rig.jenkins.wait_for(JOB, 2)] == [Result.SUCCESS, Result.ABORTED]


def test_there_are_no_more_builds_than_executors() -> None:
    with Rig(job=Job(JOB, stage_seconds=60), pace=Pace(executors=1, quiet_period=0)) as rig:
        rig.jenkins.trigger(JOB, DEPLOYMENT_ID="d-1")
        with rig.jenkins.engine.changed:
            assert rig.jenkins.engine.changed.wait_for(lambda: rig.jenkins.builds(JOB), 5)
        waiting = rig.jenkins.trigger(JOB, DEPLOYMENT_ID="d-2")
        assert rig.jenkins.engine.why(waiting) == "Waiting for next available executor"
        assert len(rig.jenkins.builds(JOB)) == 1


def test_an_item_is_forgotten_some_time_after_it_left() -> None:
    with Rig(pace=Pace(quiet_period=0, forget_after=0.1)) as rig:
        item = rig.jenkins.trigger(JOB)
        rig.jenkins.wait_for(JOB)
        assert rig.jenkins.engine.item(item.id) is None or item.left_at is not None
        with rig.jenkins.engine.changed:
            assert rig.jenkins.engine.changed.wait_for(lambda: False, 0.15) is False
        assert rig.jenkins.engine.item(item.id) is None


def test_a_job_whose_code_breaks_fails_with_the_reason_in_its_console() -> None:
    def run(context: object) -> Result:
        raise LookupError(f"no such file for {type(context).__name__}")

    with Rig(job=Job(JOB, run=run)) as rig:
        rig.jenkins.trigger(JOB)
        (build,) = rig.jenkins.wait_for(JOB)
        assert build.result is Result.FAILURE
        assert b"LookupError: no such file" in build.console


def test_the_log_is_given_from_a_byte_on_and_whole_when_that_lies_beyond_it() -> None:
    with Rig() as rig:
        login = rig.jenkins.login
        rig.jenkins.trigger(JOB)
        (build,) = rig.jenkins.wait_for(JOB)
        size = len(build.console)
        with httpx.Client(base_url=f"{rig.url}/job/infra-deploy/1", auth=(login.user, login.token)) as http:
            end = http.get("/logText/progressiveText", params={"start": size - 8})
            assert end.text == "SUCCESS\n"
            assert end.headers["X-Text-Size"] == str(size)
            assert "X-More-Data" not in end.headers
            assert http.get("/logText/progressiveText", params={"start": size + 1}).content == bytes(build.console)
            assert http.get("/consoleText").content == bytes(build.console)
            assert [stage["status"] for stage in http.get("/wfapi/describe").json()["stages"]] == ["SUCCESS"] * 4


def test_python_jenkins_finds_everything_where_it_expects_it() -> None:
    with Rig(job=Job("platform/infra-deploy", stage_seconds=60)) as rig:
        client = jenkins.Jenkins(rig.url, rig.jenkins.login.user, rig.jenkins.login.password)
        client._session.trust_env = False
        item = client.build_job("platform/infra-deploy", dict(request_for().parameters))
        with rig.jenkins.engine.changed:
            rig.jenkins.engine.changed.wait_for(lambda: rig.jenkins.builds("platform/infra-deploy"), 5)
        assert client.get_queue_item(item)["executable"]["number"] == 1
        assert client.get_job_info("platform/infra-deploy")["builds"][0]["number"] == 1
        assert client.get_build_info("platform/infra-deploy", 1)["result"] is None
        assert client.get_build_stages("platform/infra-deploy", 1)["status"] == "IN_PROGRESS"
        client.quiet_down()
        client.stop_build("platform/infra-deploy", 1)
        rig.jenkins.wait_for("platform/infra-deploy")
        assert client.get_build_info("platform/infra-deploy", 1)["result"] == "ABORTED"
        assert "Finished: ABORTED" in client.get_build_console_output("platform/infra-deploy", 1)
        waiting = client.build_job("platform/infra-deploy", dict(request_for("d-2").parameters))
        assert [entry["id"] for entry in client.get_queue_info()] == [waiting]
        with pytest.raises(jenkins.NotFoundException):  # the trap: it follows the 303 for a build that is queued
            client.build_job("platform/infra-deploy", dict(request_for("d-2").parameters))
        client.cancel_queue(waiting)
        assert client.get_version()
        assert client.get_queue_info() == []
        client._session.close()


def test_a_tree_selects_fields_and_ranges_and_keeps_classes() -> None:
    told = {"_class": "A", "name": "n", "url": "u", "builds": [{"_class": "B", "number": n} for n in range(5)]}
    assert select(told, parse_tree("name,builds[number]{1,3}")) == {
        "_class": "A",
        "name": "n",
        "builds": [{"_class": "B", "number": 1}, {"_class": "B", "number": 2}],
    }
    assert select(told, parse_tree("builds[none]{4}")) == {"_class": "A", "builds": [{"_class": "B"}]}
    assert parse_tree("") == Node()


@pytest.mark.parametrize("query", ["a[", "a]", "a[b", "a b", "a[b]]"])
def test_a_tree_that_cannot_be_read_is_refused(query: str) -> None:
    with pytest.raises(BadTreeError):
        parse_tree(query)
