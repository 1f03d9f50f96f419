"""Checks what the GitHub adapter makes of errors, lost answers and servers that are not quite GitHub.

Every error is told by its meaning, waits are the ones asked for, and no secret is in what people or logs get to see.
Leaves out how it works when all is well: `test_github_host.py`.
"""

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from bot.integrations.github.host import GitHubHost
from bot.integrations.github.login import Token
from commands.code_host import MergeRequest, PullRequestDraft, PullState, StatusState
from commands.reasons import Fault, ReasonCode, Refused, Retry
from tests.contract.github_rig import (
    HEAD,
    MERGED,
    REPOSITORY,
    TOKEN,
    Odd,
    closed_port,
    odd_github,
    pull,
    refusal,
    retry,
    said,
)

DRAFT = PullRequestDraft("d-1", "deploy/d-1", "Deploy", "why")
MERGE = MergeRequest("d-1", 7, HEAD, "Deploy", "Deployment-Id: d-1")
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


def always(response: Callable[[], Response]) -> Callable[[Request], Response]:
    return lambda _: response()


# ---------------------------------------------------------------- credentials and permissions


def test_a_token_that_is_not_accepted_is_a_matter_of_credentials() -> None:
    with odd_github(always(lambda: said(401, "Bad credentials"))) as odd:
        fault = refusal(lambda: odd.host.pull_request(7))
        assert fault.reason is ReasonCode.HOST_CREDENTIALS
        assert "GITHUB_TOKEN" in fault.next_step
        assert len(odd.calls) == 1


def test_a_403_names_the_permission_that_github_says_it_takes() -> None:
    headers = {"X-Accepted-GitHub-Permissions": "pull_requests=write,contents=read; administration=write"}
    text = "Resource not accessible by integration"
    with odd_github(always(lambda: said(403, text, headers))) as odd:
        fault = refusal(lambda: odd.host.pull_request(7))
        assert fault.reason is ReasonCode.HOST_CREDENTIALS
        assert "pull requests: write and contents: read or administration: write" in fault.what
        assert fault.detail == text


@pytest.mark.parametrize(
    ("call", "permission"),
    [
        (lambda host: host.pull_request(7), "pull requests"),
        (lambda host: host.ensure_status(HEAD, StatusState.PENDING, "waits"), "commit statuses"),
        (lambda host: host.ensure_pull_request(DRAFT), "pull requests"),
        (lambda host: host.commits(7), "pull requests"),
    ],
)
def test_a_403_names_the_permission_that_the_call_takes(call: Callable[[GitHubHost], object], permission: str) -> None:
    with odd_github(always(lambda: said(403, "Resource not accessible by personal access token"))) as odd:
        fault = refusal(lambda: call(odd.host))
        assert fault.reason is ReasonCode.HOST_CREDENTIALS
        assert permission in fault.what


def test_a_hostile_permission_header_is_not_repeated() -> None:
    headers = {"X-Accepted-GitHub-Permissions": "<!channel> do this"}
    with odd_github(always(lambda: said(403, "no", headers))) as odd:
        assert "channel" not in refusal(lambda: odd.host.pull_request(7)).what


def test_an_archived_repository_is_not_a_matter_of_credentials() -> None:
    with odd_github(always(lambda: said(403, "Repository was archived so is read-only."))) as odd:
        fault = refusal(lambda: odd.host.pull_request(7))
        assert fault.reason is ReasonCode.HOST_REFUSED
        assert "archived" in fault.detail


def test_a_repository_that_is_not_shown_names_what_to_check() -> None:
    with odd_github(always(lambda: said(404, "Not Found"))) as odd:
        fault = refusal(lambda: odd.host.ensure_pull_request(DRAFT))
        assert fault.reason is ReasonCode.HOST_CREDENTIALS
        assert "GITHUB_REPOSITORY" in fault.next_step
        assert "#7" in refusal(lambda: odd.host.pull_request(7)).what


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("status", "headers", "message", "after"),
    [
        (403, {"Retry-After": "17"}, SECONDARY, 17.0),
        (429, {"Retry-After": "17"}, SECONDARY, 17.0),
        (403, {"Retry-After": "999999"}, SECONDARY, 3600.0),
        (403, {"Retry-After": "0"}, SECONDARY, 1.0),
        (403, {"Retry-After": "soon"}, SECONDARY, 60.0),
        (403, {}, SECONDARY, 60.0),
        (429, {}, "Too many requests", 60.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000042"}, "API rate limit exceeded", 42.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000000"}, "API rate limit exceeded", 1.0),
        (403, {}, "You have triggered an abuse detection mechanism.", 60.0),
    ],
)
def test_a_limit_is_waited_for_as_long_as_github_asks(
    status: int, headers: dict[str, str], message: str, after: float
) -> None:
    with odd_github(always(lambda: said(status, message, headers))) as odd:
        fault = retry(lambda: odd.host.pull_request(7))
        assert (fault.reason, fault.after) == (ReasonCode.HOST_RATE_LIMITED, after)
        assert len(odd.calls) == 1  # PyGithub's own retries and pauses are off


def test_a_429_of_a_proxy_is_a_limit_too() -> None:
    with odd_github(always(lambda: PlainTextResponse("slow down", 429, {"Retry-After": "5"}))) as odd:
        fault = retry(lambda: odd.host.pull_request(7))
        assert (fault.reason, fault.after) == (ReasonCode.HOST_RATE_LIMITED, 5.0)


# ---------------------------------------------------------------- no usable answer


@pytest.mark.parametrize(
    "response",
    [
        lambda: said(500, "Server Error"),
        lambda: HTMLResponse("<h1>Unicorn!</h1>", 502),
        lambda: Response(status_code=503),
        lambda: HTMLResponse("<h1>Sign in</h1>"),
        lambda: HTMLResponse("<h1>Not found</h1>", 404),
        lambda: HTMLResponse("<h1>Forbidden</h1>", 403),
        lambda: HTMLResponse("<h1>Who are you</h1>", 401),
        lambda: PlainTextResponse('{"number": 7'),
        lambda: PlainTextResponse("[" * 5000),
        lambda: Response(b"\xff\xfe\x00{}", media_type="application/json"),
        lambda: JSONResponse({"number": 7}),
        lambda: JSONResponse({}),
        lambda: JSONResponse("a text"),
        lambda: JSONResponse(pull(head=None)),
        lambda: Response(status_code=204),
        lambda: Response(status_code=202),
    ],
)
def test_what_is_no_answer_of_githubs_may_pass(response: Callable[[], Response]) -> None:
    with odd_github(always(response)) as odd:
        fault = retry(lambda: odd.host.pull_request(7))
        assert fault.reason is ReasonCode.HOST_UNREACHABLE
        assert len(odd.calls) == 1
        assert retry(lambda: odd.host.reviews(7)).reason is ReasonCode.HOST_UNREACHABLE


def test_a_500_with_a_wait_is_waited_for() -> None:
    with odd_github(always(lambda: said(503, "Service unavailable", {"Retry-After": "9"}))) as odd:
        assert retry(lambda: odd.host.pull_request(7)).after == 9.0


def test_nobody_there_may_pass() -> None:
    with closing(GitHubHost(REPOSITORY, api_url=closed_port(), login=Token(TOKEN))) as host:
        assert retry(lambda: host.pull_request(7)).reason is ReasonCode.HOST_UNREACHABLE


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
def test_a_server_that_hangs_is_given_up(drip: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def serve() -> None:
            taken.append(server.accept()[0])
            taken[0].sendall(drip)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with closing(GitHubHost(REPOSITORY, api_url=url, login=Token(TOKEN), timeout=0.2)) as host:
            assert retry(lambda: host.pull_request(7)).reason is ReasonCode.HOST_UNREACHABLE
        thread.join()
        taken[0].close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    def answer(request: Request) -> Response:
        if "elsewhere" in request.url.path:
            return JSONResponse(pull())
        return RedirectResponse("/elsewhere", status)

    with odd_github(answer) as odd:
        fault = refusal(lambda: odd.host.pull_request(7))
        assert fault.reason is ReasonCode.HOST_REFUSED
        assert "GITHUB_REPOSITORY" in fault.next_step
        assert len(odd.calls) == 1


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    with odd_github(always(lambda: Response(b" " * (17 * 2**20)))) as odd:
        assert retry(lambda: odd.host.pull_request(7)).reason is ReasonCode.HOST_UNREACHABLE


def test_pages_without_end_are_not_read_to_their_end() -> None:
    link = {"Link": '<https://elsewhere.example/steal?page=2>; rel="next"'}
    with odd_github(always(lambda: JSONResponse([], headers=link))) as odd:
        assert retry(lambda: odd.host.reviews(7)).reason is ReasonCode.HOST_UNREACHABLE
        assert len(odd.calls) == 100


# ---------------------------------------------------------------- opening


def test_nothing_to_open_is_refused() -> None:
    def answer(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse([])
        error = {"resource": "PullRequest", "code": "custom", "message": "No commits between main and deploy/d-1"}
        return said(422, "Validation Failed", errors=[error])

    with odd_github(answer) as odd:
        fault = refusal(lambda: odd.host.ensure_pull_request(DRAFT))
        assert fault.reason is ReasonCode.HOST_REFUSED
        assert "nothing that its base does not have" in fault.what


def test_another_422_is_refused_with_githubs_words() -> None:
    def answer(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse([])
        return said(422, "Validation Failed", errors=["head is invalid"])

    with odd_github(answer) as odd:
        assert "head is invalid" in refusal(lambda: odd.host.ensure_pull_request(DRAFT)).detail


def test_a_pull_request_that_was_opened_meanwhile_is_found() -> None:
    lists = [[], [pull(title="Deploy", body="why")]]

    def answer(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(lists.pop(0))
        error = {"resource": "PullRequest", "message": "A pull request already exists for company:deploy/d-1."}
        return said(422, "Validation Failed", errors=[error])

    with odd_github(answer) as odd:
        assert odd.host.ensure_pull_request(DRAFT).number == 7


def test_one_that_exists_and_cannot_be_found_is_refused() -> None:
    def answer(request: Request) -> Response:
        return JSONResponse([]) if request.method == "GET" else said(422, "A pull request already exists for x.")

    with odd_github(answer) as odd:
        assert refusal(lambda: odd.host.ensure_pull_request(DRAFT)).reason is ReasonCode.HOST_REFUSED


def test_a_branch_of_that_name_in_a_fork_or_into_another_base_is_not_ours() -> None:
    fork = {"sha": HEAD, "ref": "deploy/d-1", "repo": {"full_name": "mallory/infra"}}
    gone = {"sha": HEAD, "ref": "deploy/d-1", "repo": None}
    other = {"sha": HEAD, "ref": "release", "repo": {"full_name": REPOSITORY}}
    strangers = [pull(1, head=fork), pull(2, head=gone), pull(3, base=other), pull(4, head={**fork, "ref": "x"})]

    def answer(request: Request) -> Response:
        return JSONResponse(strangers) if request.method == "GET" else JSONResponse(pull(9), 201)

    with odd_github(answer) as odd:
        assert odd.host.ensure_pull_request(DRAFT).number == 9
        assert [method for method, _ in odd.calls] == ["GET", "POST"]


# ---------------------------------------------------------------- merging


def merging(
    *answers: Response, now: Mapping[str, Any] | None = None, first: Mapping[str, Any] | None = None
) -> Callable[[Request], Response]:
    """A GitHub that answers merges in turn; `first` and `now` are what the pull request is before and after."""
    puts = list(answers)
    asked: list[str] = []

    def answer(request: Request) -> Response:
        if request.method == "PUT":
            asked.append("put")
            return puts.pop(0)
        path = request.url.path
        if path.endswith("/pulls/7"):
            return JSONResponse(pull(**((now if asked else first) or {})))
        if path.endswith(("/reviews", "/main")) and "rules" not in path:
            return JSONResponse([]) if path.endswith("/reviews") else JSONResponse({"protected": False})
        return JSONResponse([]) if "rules" in path else said(404, "Not Found")

    return answer


def merged_answer() -> JSONResponse:
    return JSONResponse({"sha": MERGED, "merged": True, "message": "Pull Request successfully merged"})


DONE: dict[str, Any] = {
    "state": "closed",
    "merged": True,
    "merge_commit_sha": MERGED,
    "merged_by": {"login": "Locktender[bot]"},
}


def test_a_merge_that_met_another_one_is_tried_again() -> None:
    for text in (
        "Base branch was modified. Review and try the merge again.",
        "Merge already in progress",
        "cannot lock ref 'refs/heads/main': is at 1111111 but expected 2222222",
    ):
        with odd_github(merging(said(405, text))) as odd:
            fault = retry(lambda: odd.host.ensure_merged(MERGE))
            assert (fault.reason, fault.detail) == (ReasonCode.MERGE_PENDING, text)


def test_a_merge_that_github_is_still_working_out_is_tried_again() -> None:
    now = {"mergeable": None, "mergeable_state": "unknown"}
    with odd_github(merging(said(405, "Pull Request is not mergeable"), now=now)) as odd:
        assert retry(lambda: odd.host.ensure_merged(MERGE)).reason is ReasonCode.MERGE_PENDING


def test_a_merge_that_no_longer_applies_is_a_conflict() -> None:
    now = {"mergeable": False, "mergeable_state": "dirty"}
    with odd_github(merging(said(405, "Pull Request is not mergeable"), now=now)) as odd:
        assert refusal(lambda: odd.host.ensure_merged(MERGE)).reason is ReasonCode.MERGE_CONFLICT


def test_a_merge_that_is_held_back_tells_githubs_words() -> None:
    text = "At least 1 approving review is required by reviewers with write access."
    with odd_github(merging(said(405, text), now={"mergeable_state": "blocked"})) as odd:
        fault = refusal(lambda: odd.host.ensure_merged(MERGE))
        assert (fault.reason, fault.detail) == (ReasonCode.MERGE_BLOCKED, text)


def test_a_head_that_moved_before_the_merge_is_not_merged() -> None:
    moved = {"head": {"sha": "d" * 40, "ref": "deploy/d-1", "repo": None}}
    with odd_github(merging(first=moved)) as odd:
        assert refusal(lambda: odd.host.ensure_merged(MERGE)).reason is ReasonCode.HEAD_MOVED
        assert odd.writes() == []


def test_a_head_that_moves_during_the_merge_is_not_merged() -> None:
    text = "Head branch was modified. Review and try the merge again."
    moved = {"head": {"sha": "d" * 40, "ref": "deploy/d-1", "repo": None}}
    with odd_github(merging(said(409, text), now=moved)) as odd:
        assert refusal(lambda: odd.host.ensure_merged(MERGE)).reason is ReasonCode.HEAD_MOVED


def test_a_409_with_the_same_head_is_looked_at_again() -> None:
    text = "Head branch was modified. Review and try the merge again."
    with odd_github(merging(said(409, text))) as odd:
        assert retry(lambda: odd.host.ensure_merged(MERGE)).reason is ReasonCode.MERGE_PENDING


def test_the_merge_is_pinned_to_the_approved_head() -> None:
    with odd_github(merging(merged_answer(), now=DONE)) as odd:
        assert odd.host.ensure_merged(MERGE).merge_sha == MERGED
        sent = next(body for (method, _), body in zip(odd.calls, odd.bodies, strict=True) if method == "PUT")
        assert HEAD.encode() in sent


def test_methods_are_tried_by_what_the_repository_allows() -> None:
    first = said(405, "Merge commits are not allowed on this repository.")
    second = said(405, "Squash merges are not allowed on this repository.")
    with odd_github(merging(first, second, merged_answer(), now=DONE)) as odd:
        assert odd.host.ensure_merged(MERGE).merge_sha == MERGED
        puts = [body for (method, _), body in zip(odd.calls, odd.bodies, strict=True) if method == "PUT"]
        assert [b'"rebase"' in puts[2], b'"squash"' in puts[1], b'"merge"' in puts[0]] == [True, True, True]
        assert b"commit_title" not in puts[2]


def test_no_method_at_all_is_refused() -> None:
    texts = ("Merge commits are not allowed on this repository.", "This branch must not contain merge commits.", "")
    answers = [said(405, text) for text in texts[:2]]
    answers.append(said(405, "Rebase merges are not allowed on this repository."))
    with odd_github(merging(*answers)) as odd:
        fault = refusal(lambda: odd.host.ensure_merged(MERGE))
        assert fault.reason is ReasonCode.MERGE_BLOCKED
        assert "no way of merging" in fault.what


def test_a_422_of_a_merge_is_not_asked_again() -> None:
    with odd_github(merging(said(422, "Validation Failed"))) as odd:
        assert refusal(lambda: odd.host.ensure_merged(MERGE)).reason is ReasonCode.HOST_REFUSED


def test_a_pull_request_that_was_closed_is_not_merged() -> None:
    with odd_github(merging(first={"state": "closed"})) as odd:
        assert refusal(lambda: odd.host.ensure_merged(MERGE)).reason is ReasonCode.PULL_REQUEST_CLOSED


def test_one_that_is_merged_is_found_merged_by_whom() -> None:
    with odd_github(merging(first=DONE)) as odd:
        found = odd.host.ensure_merged(MERGE)
        assert (found.merge_sha, found.ended_by) == (MERGED, "locktender[bot]")
        assert odd.writes() == []


def test_one_that_is_merged_without_a_readable_commit_is_looked_at_again() -> None:
    with odd_github(merging(first={**DONE, "merge_commit_sha": None})) as odd:
        assert retry(lambda: odd.host.ensure_merged(MERGE)).reason is ReasonCode.MERGE_PENDING


def test_a_merge_that_github_has_done_but_does_not_show_yet_is_believed() -> None:
    with odd_github(merging(merged_answer())) as odd:
        assert odd.host.ensure_merged(MERGE).merge_sha == MERGED


def test_a_merge_that_was_done_while_another_answer_was_lost_is_found() -> None:
    with odd_github(merging(said(405, "Pull Request is not mergeable"), now=DONE)) as odd:
        assert odd.host.ensure_merged(MERGE).merge_sha == MERGED


@pytest.mark.parametrize("sha", ["", "main", "../x", "a" * 39, "A" * 40])
def test_what_is_no_commit_id_never_gets_into_a_request(sha: str) -> None:
    with odd_github(always(lambda: said(500, ""))) as odd:
        with pytest.raises(ValueError, match=r"^"):
            odd.host.ensure_status(sha, StatusState.SUCCESS, "")
        with pytest.raises(ValueError, match=r"^"):
            odd.host.ensure_merged(MergeRequest("d-1", 7, sha, "", ""))
        assert odd.calls == []


# ---------------------------------------------------------------- secrets


def everything(host: GitHubHost) -> list[Callable[[], object]]:
    return [
        lambda: host.pull_request(7),
        lambda: host.ensure_pull_request(DRAFT),
        lambda: host.ensure_status(HEAD, StatusState.SUCCESS, "yes"),
        lambda: host.reviews(7),
        lambda: host.commits(7),
        lambda: host.mergeability(7),
        lambda: host.ensure_merged(MERGE),
        lambda: host.ensure_closed(7, "why"),
        lambda: host.ensure_comment(7, "key", "text"),
    ]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500])
def test_no_secret_is_repeated_when_the_server_echoes_it(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="github")

    def answer(request: Request) -> Response:
        return said(status, f"You sent {request.headers['authorization']}", errors=[request.headers["authorization"]])

    with odd_github(answer) as odd:
        for call in everything(odd.host):
            with pytest.raises(Fault) as caught:
                call()
            fault = caught.value
            assert TOKEN not in f"{fault!r} {fault} {fault.what} {fault.next_step} {fault.detail} {fault.args}"
        assert odd.host.team_members("company/platform") is None
        assert f"Bearer {TOKEN}" in odd.tokens
    assert TOKEN not in caplog.text


def test_a_token_of_no_known_shape_is_not_repeated_either() -> None:
    def answer(request: Request) -> Response:
        return said(409, f"You sent {request.headers['authorization'].removeprefix('Bearer ')}")

    with odd_github(answer, login=Token("canary-of-another-shape")) as odd:
        assert refusal(lambda: odd.host.pull_request(7)).detail == "You sent [redacted]"


@pytest.mark.parametrize("token", ["", "ghp_a b", "ghp_a\nX: y", "ghp_ä"])
def test_what_cannot_be_a_token_is_refused_without_repeating_it(token: str) -> None:
    fault = refusal(lambda: GitHubHost(REPOSITORY, login=Token(token)))
    assert fault.reason is ReasonCode.NOT_CONFIGURED
    assert not token or token not in str(fault.args)


def test_the_login_does_not_show_its_token() -> None:
    assert TOKEN not in repr(Token(TOKEN))


@pytest.mark.parametrize(
    "url",
    [
        "http://github.example.com/api/v3",
        "https://user:secret@github.example.com",
        "https://github.example.com/?x=1",
        "ftp://github.example.com",
        "github.example.com",
        "https://",
        "https://github.example.com:http",
    ],
)
def test_an_address_that_tokens_may_not_be_sent_to_is_refused(url: str) -> None:
    fault = refusal(lambda: GitHubHost(REPOSITORY, api_url=url, login=Token(TOKEN)))
    assert fault.reason is ReasonCode.NOT_CONFIGURED
    assert "secret" not in str(fault.args)


@pytest.mark.parametrize("name", ["infra", "https://github.com/company/infra", "company/..", "a/b/c", "company/in fra"])
def test_what_is_no_repository_is_refused(name: str) -> None:
    assert refusal(lambda: GitHubHost(name, login=Token(TOKEN))).reason is ReasonCode.NOT_CONFIGURED


def test_a_server_with_a_prefix_is_asked_below_it() -> None:
    with odd_github(always(lambda: JSONResponse(pull())), prefix="/api/v3") as odd:
        odd.host.pull_request(7)
        assert odd.calls == [("GET", f"/api/v3/repos/{REPOSITORY}/pulls/7")]


def test_many_threads_get_their_own_answers() -> None:
    """PyGithub's own connection keeps the request in attributes: two threads can send each other's."""

    def answer(request: Request) -> Response:
        return JSONResponse(pull(int(request.url.path.rpartition("/")[2])))

    with odd_github(answer) as odd:
        wrong: list[int] = []

        def ask(start: int) -> None:
            wrong.extend(n for n in range(start, start + 25) if odd.host.pull_request(n).number != n)

        threads = [threading.Thread(target=ask, args=(start,)) for start in range(100, 900, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (wrong, len(odd.calls)) == ([], 200)


def test_commits_that_github_does_not_list_refuse() -> None:
    many = [{"sha": HEAD, "commit": {"author": {"email": f"{n}@x"}}} for n in range(250)]

    def answer(request: Request) -> Response:
        page = int(request.query_params["page"])
        more = {"Link": '<x>; rel="next"'} if page < 3 else {}
        return JSONResponse(many[(page - 1) * 100 : page * 100], headers=more)

    with odd_github(answer) as odd:
        assert refusal(lambda: odd.host.commits(7)).reason is ReasonCode.HOST_REFUSED


def test_people_without_an_account_have_no_login_and_co_authors_count() -> None:
    message = "Deploy\n\nCo-authored-by: Bob <Bob@Company.com>\nCo-Authored-By: nobody\n"
    commits = [
        {
            "sha": HEAD,
            "commit": {"message": message, "author": {"name": "A", "email": "A@x.com"}, "committer": {"email": "c@x"}},
            "author": None,
            "committer": {},
        },
        {"sha": MERGED, "commit": {"author": None}, "author": {"login": "Alice"}, "committer": {"login": "web-flow"}},
    ]
    with odd_github(always(lambda: JSONResponse(commits))) as odd:
        one, two = odd.host.commits(7)
        assert (one.logins, one.emails) == ((), ("a@x.com", "c@x", "bob@company.com"))
        assert (two.logins, two.emails) == (("alice", "web-flow"), ())


def test_reviews_without_a_person_or_a_commit_are_read() -> None:
    reviews = [
        {"id": 2, "user": None, "state": "APPROVED", "commit_id": None, "submitted_at": "2026-01-02T00:00:00Z"},
        {"id": 1, "user": {"login": "Bob"}, "state": "COMMENTED", "submitted_at": "2026-01-01T00:00:00Z", "body": None},
        {"id": 3, "user": {"login": "Eve"}, "state": "PENDING"},
    ]
    with odd_github(always(lambda: JSONResponse(reviews))) as odd:
        found = odd.host.reviews(7)
        assert [(one.id, one.login, one.commit_sha) for one in found] == [(1, "bob", ""), (2, "", "")]
        assert found[0].at == datetime(2026, 1, 1, tzinfo=UTC)


def test_who_closed_a_pull_request_is_read_from_its_issue() -> None:
    def answer(request: Request) -> Response:
        if request.url.path.endswith("/issues/7"):
            return JSONResponse({"closed_by": {"login": "Alice"}})
        return JSONResponse(pull(state="closed"))

    with odd_github(answer) as odd:
        found = odd.host.pull_request(7)
        assert (found.state, found.ended_by, found.merge_sha) == (PullState.CLOSED, "alice", "")


def test_an_open_one_has_no_merge_commit_though_github_tells_a_trial_one() -> None:
    with odd_github(always(lambda: JSONResponse(pull()))) as odd:
        assert odd.host.pull_request(7).merge_sha == ""


def test_every_fault_is_one_of_the_ports() -> None:
    def check(odd: Odd) -> None:
        for call in everything(odd.host):
            with pytest.raises((Refused, Retry)):
                call()

    for status in (400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 412, 415, 418, 422, 423, 428, 451, 500, 504):
        with odd_github(always(lambda status=status: said(status, "x"))) as odd:  # type: ignore[misc]  # bound now
            check(odd)
