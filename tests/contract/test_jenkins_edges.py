"""What must not happen with Jenkins: leaks, redirects, climbing paths, endless answers, other servers' words.

Checked against the stand-in and against servers that are not quite Jenkins. Left out: TLS (it is the library's), and
what a person may do in the bot.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from bot.integrations.jenkins import JenkinsPipeline
from bot.integrations.jenkins.console import clean_tail
from bot.sandbox.server import Fault, Misbehaviour
from commands.ports import BuildRef
from commands.reasons import Fault as Ending
from commands.reasons import ReasonCode, Refused, Retry
from tests.contract.jenkins_rig import JOB, Rig, closed_port, odd_server, refusal, request_for, retry

MARKED = "token-9f8e7d-canary"


def client(url: str, *, timeout: float = 2.0) -> JenkinsPipeline:
    return JenkinsPipeline(url, "locktender", MARKED, timeout=timeout, settle=0)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


def test_a_redirect_to_another_origin_is_refused_and_not_followed() -> None:
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(request.url.path)
        return RedirectResponse("http://127.0.0.2:1/steal", 302)

    with odd_server(answer) as url:
        for call in (
            client(url).check,
            lambda: client(url).ensure_build(request_for()),
            lambda: client(url).build("d-1", BuildRef(JOB, number=1)),
        ):
            fault = refusal(call)
            assert fault.reason is ReasonCode.NOT_CONFIGURED
            assert "http://127.0.0.2:1" in fault.what
            assert "/steal" not in fault.what
    assert len(asked) == 3


@pytest.mark.parametrize("location", ["http://127.0.0.2:1/elsewhere", "/job/infra-deploy/newer/", "//127.0.0.2/x"])
def test_a_trigger_that_is_redirected_is_refused(rig: Rig, location: str) -> None:
    with _trigger_answers(rig, lambda: RedirectResponse(location, 302)):
        assert refusal(lambda: rig.pipeline.ensure_build(request_for())).reason is ReasonCode.NOT_CONFIGURED


def test_only_the_number_is_taken_from_where_jenkins_says_the_item_is(rig: Rig) -> None:
    item = rig.jenkins.trigger(JOB, **request_for().parameters)
    rig.jenkins.wait_for(JOB)
    rig.jenkins.engine.delete(JOB, 1)
    with _trigger_answers(
        rig, lambda: Response(status_code=201, headers={"Location": f"http://evil/queue/item/{item.id}/"})
    ):
        assert rig.pipeline.ensure_build(request_for()).queue_id == item.id


def test_a_success_that_names_no_item_is_looked_for_again(rig: Rig) -> None:
    with _trigger_answers(rig, lambda: Response(status_code=201)):
        retry(lambda: rig.pipeline.ensure_build(request_for()))
    with _trigger_answers(rig, lambda: HTMLResponse("<html>welcome</html>")):
        retry(lambda: rig.pipeline.ensure_build(request_for()))


def test_an_item_that_is_not_there_is_looked_for_again(rig: Rig) -> None:
    with _trigger_answers(rig, lambda: Response(status_code=201, headers={"Location": "/queue/item/77/"})):
        retry(lambda: rig.pipeline.ensure_build(request_for()))


class _trigger_answers:  # noqa: N801 - reads as a verb
    """While entered, the trigger is answered by something before Jenkins, and everything else by Jenkins."""

    def __init__(self, rig: Rig, answer: Callable[[], Response]) -> None:
        self._rig, self._answer = rig, answer

    def __enter__(self) -> None:
        app, answer = self._rig.jenkins.app, self._answer

        async def between(scope: Scope, receive: Receive, send: Send) -> None:
            triggered = str(scope.get("path")).endswith("/buildWithParameters")
            await (answer() if triggered else app)(scope, receive, send)

        self._rig.switch.app = between

    def __exit__(self, *_: object) -> None:
        self._rig.switch.app = self._rig.jenkins.app


def test_a_login_page_means_credentials() -> None:
    with odd_server(lambda _: RedirectResponse("/securityRealm/commenceLogin?from=%2F", 302)) as url:
        assert refusal(client(url).check).reason is ReasonCode.JENKINS_CREDENTIALS


def test_a_proxys_404_is_neither_a_missing_job_nor_a_lost_build() -> None:
    with odd_server(lambda _: HTMLResponse("default backend", 404)) as url:
        for call in (
            lambda: client(url).ensure_build(request_for()),
            lambda: client(url).check_job(JOB),
            lambda: client(url).build("d-1", BuildRef(JOB, number=1)),
            client(url).check,
        ):
            assert retry(call).reason is ReasonCode.JENKINS_UNREACHABLE


def test_a_proxy_that_loses_jenkins_at_the_trigger_is_asked_again(rig: Rig) -> None:
    gone = HTMLResponse("default backend", 404)

    async def until_triggered(scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope.get("path")).endswith("/buildWithParameters"):
            rig.switch.app = gone
        await (gone if rig.switch.app is gone else rig.jenkins.app)(scope, receive, send)

    rig.switch.app = until_triggered
    assert retry(lambda: rig.pipeline.ensure_build(request_for())).reason is ReasonCode.JENKINS_UNREACHABLE


@pytest.mark.parametrize(
    "answer",
    [HTMLResponse("<html>hello</html>"), JSONResponse({"ok": True}), JSONResponse([1]), Response(b"\xff\xfe")],
)
def test_something_that_is_not_jenkins_is_told_apart(answer: Response) -> None:
    with odd_server(lambda _: answer) as url:
        fault = retry(client(url).check)
        assert "not as Jenkins would" in fault.what


def test_jenkins_behind_a_proxy_that_hides_its_headers_is_still_jenkins() -> None:
    with odd_server(lambda _: JSONResponse({"_class": "hudson.model.Hudson", "mode": "NORMAL"})) as url:
        client(url).check()


@pytest.mark.parametrize(("status", "kind"), [(200, Retry), (302, Refused)])
def test_an_endless_answer_is_not_read_to_its_end(status: int, kind: type[Ending]) -> None:
    over = threading.Event()

    async def endless() -> AsyncIterator[bytes]:
        while not over.is_set():
            yield b" " * 2**20
            await asyncio.sleep(0.005)

    elsewhere = {"Location": "http://127.0.0.2/"}
    with odd_server(lambda _: StreamingResponse(endless(), status, elsewhere)) as url:
        started = time.monotonic()
        threading.Timer(6, over.set).start()
        with pytest.raises(kind):
            client(url, timeout=10).check_job(JOB)
        over.set()
        assert time.monotonic() - started < 5  # long before the time would have been up


def test_an_answer_that_drips_is_given_up() -> None:
    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.05)

    with odd_server(lambda _: StreamingResponse(dripping())) as url:
        started = time.monotonic()
        assert "did not answer" in retry(client(url, timeout=0.2).check).what
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("job", ["..", "a/../b", "", "/infra-deploy", "a//b", "a/", ".", "a\nb", "a\x00", "x" * 300])
def test_a_job_name_that_could_climb_is_never_sent(rig: Rig, job: str) -> None:
    for call in (
        lambda: rig.pipeline.ensure_build(request_for(job=job)),
        lambda: rig.pipeline.check_job(job),
        lambda: rig.pipeline.build("d-1", BuildRef(job, number=1)),
    ):
        assert refusal(call).reason is ReasonCode.JOB_MISSING
    assert rig.calls == []


@pytest.mark.parametrize("job", ["a?b", "a#b", "a%2Fb", "a;b", "a b&c", "job@x:y"])
def test_what_a_job_is_called_cannot_change_the_address(rig: Rig, job: str) -> None:
    assert refusal(lambda: rig.pipeline.check_job(job)).reason is ReasonCode.JOB_MISSING
    assert all(path.startswith(f"/job/{job}/") or path == "/api/json" for _, path in rig.calls)


@pytest.mark.parametrize(
    "url", ["http://user:pw@host/", "ftp://host/", "jenkins", "", "http://", "https://host/?token=x", "http://h:99999/"]
)
def test_an_address_with_more_than_an_address_in_it_is_refused(url: str) -> None:
    fault = refusal(lambda: client(url))
    assert fault.reason is ReasonCode.NOT_CONFIGURED
    assert "pw" not in str(fault.args)


def test_proxies_and_netrc_of_the_environment_are_not_used(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, closed_port())
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("JENKINS_API_EXTRA_HEADERS", "Authorization: none")
    rig.client().check()


def test_the_token_is_in_no_message_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    endings: list[Ending] = []

    def attempt(url: str) -> None:
        one = client(url, timeout=0.2)
        for call in (
            one.check,
            lambda: one.check_job(JOB),
            lambda: one.ensure_build(request_for()),
            lambda: one.build("d-1", BuildRef(JOB, number=1)),
        ):
            try:
                call()
            except (Refused, Retry) as ending:
                endings.append(ending)
        one.close()

    attempt(closed_port())
    with Rig() as rig:
        attempt(rig.url)
        for status in (400, 403, 404, 409, 500, 503):
            rig.jenkins.faults.clear()
            rig.jenkins.faults.add(Fault("*", ".", Misbehaviour.REFUSE, status=status, times=99))
            attempt(rig.url)
    echo = JSONResponse({"_class": "x"}, headers={"X-Jenkins": "2"})
    with odd_server(lambda request: HTMLResponse(request.headers["authorization"], 401) if request else echo) as url:
        attempt(url)
    assert len(endings) > 30
    told = [str(part) for ending in endings for part in (*ending.args, ending, repr(ending))] + [caplog.text]
    basic = "bG9ja3RlbmRlcjp0b2tlbi"  # how `locktender:token` begins in base64
    assert not [text for text in told if MARKED in text or basic in text]


def test_every_fault_is_a_whole_sentence_and_a_next_step(rig: Rig) -> None:
    rig.job.disabled = True
    faults = [
        refusal(lambda: rig.pipeline.ensure_build(request_for())),
        refusal(lambda: rig.pipeline.check_job("nope")),
        refusal(rig.client(token="wrong").check),
    ]
    for fault in faults:
        assert fault.what.endswith(".")
        assert fault.next_step.endswith(".")
        assert "{" not in fault.what


def test_an_escape_sequence_that_is_cut_off_does_no_harm() -> None:
    assert clean_tail(b"a\x1b[3") == "a3"
    assert clean_tail(b"ok\n\x1b]8;;http://x") == "ok"
    assert clean_tail(b"\xff\xfe ok") == "\ufffd\ufffd ok"
    assert clean_tail(b"") == ""
