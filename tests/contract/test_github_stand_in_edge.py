"""The GitHub stand-in's edge: tokens, an App, limits, pages, ETags, statuses, files, and faults on request.

Left out: the shape of the answers (`test_github_stand_in_contract.py`).
"""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.sandbox.github import App
from bot.sandbox.github_git import Bare
from bot.sandbox.server import Fault, Misbehaviour
from tests.contract.git_rig import git
from tests.contract.github_stand_in_rig import FILE, REPOSITORY, REST, TOKEN, Subject, app_key, app_token, served


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    with served(tmp_path) as subject:
        yield subject


# ---------------------------------------------------------------- who asks


@pytest.mark.parametrize("value", ["Bearer wrong", "token wrong", "Basic eDp5", "nonsense", "Bearer a.b.c"])
def test_a_wrong_token_is_told_so(subject: Subject, value: str) -> None:
    answer = subject.client.get(REST, headers={"authorization": value})
    assert answer.status_code == 401
    assert answer.json()["documentation_url"].startswith("https://docs.github.com/rest")
    assert "X-GitHub-Request-Id" in answer.headers


@pytest.mark.parametrize("token", ["", "token-octo-stranger"])
def test_what_may_not_be_seen_is_not_there(subject: Subject, token: str) -> None:
    for path in (REST, f"{REST}/pulls", "/repos/company/other", "/orgs/company/teams/platform/members"):
        status = subject.call("GET", path, token=token).status_code
        assert status == (404 if token or "repos" in path else 401), path


def test_a_reader_reads_comments_and_reviews_and_cannot_write(subject: Subject) -> None:
    number = subject.open()
    reader = "token-octo-reader"
    assert subject.get(REST, token=reader)["permissions"]["push"] is False
    assert "allow_squash_merge" not in subject.get(REST, token=reader)
    body = {"event": "COMMENT", "body": "hm"}
    assert subject.call("POST", f"{REST}/pulls/{number}/reviews", body, token=reader).is_success
    assert subject.merge(number, token=reader).status_code == 403
    head = subject.head(number)
    assert subject.call("POST", f"{REST}/statuses/{head}", {"state": "success"}, token=reader).status_code == 403
    assert subject.call("DELETE", f"{REST}/git/refs/heads/deploy/1", token=reader).status_code == 403


def test_a_token_ends_when_its_time_is_up_or_it_is_revoked(subject: Subject) -> None:
    subject.github.token("short", "octo-dev", lifetime=timedelta(hours=1))
    assert subject.call("GET", "/user", token="short").json()["login"] == "octo-dev"
    subject.clock.move(hours=1)
    assert subject.call("GET", "/user", token="short").status_code == 401
    subject.github.revoke(TOKEN)
    assert subject.call("GET", "/user").json()["message"] == "Bad credentials"


def test_an_app_gets_a_token_for_an_hour_that_does_what_was_granted(subject: Subject) -> None:
    subject.github.install(App(77, app_key()))
    own = app_token(77, subject.clock.now)
    installation = subject.get(f"{REST}/installation", token=own)["id"]
    path = f"/app/installations/{installation}/access_tokens"
    token = subject.call("POST", path, {}, token=own).json()["token"]
    number = subject.open()
    assert subject.call("POST", f"{REST}/issues/{number}/comments", {"body": "hi"}, token=token).is_success
    assert subject.github.comments(number)[0].login == "locktender[bot]"
    # An App is nobody's user, and sees no protection unless it was granted administration.
    for place in ("/user", f"{REST}/branches/main/protection"):
        answer = subject.call("GET", place, token=token)
        assert (answer.status_code, answer.json()["message"]) == (403, "Resource not accessible by integration")
    narrow = subject.call("POST", path, {"permissions": {"contents": "read"}}, token=own).json()["token"]
    assert subject.call("GET", f"{REST}/branches/main", token=narrow).is_success
    assert subject.merge(number, token=narrow).status_code == 403
    subject.clock.move(minutes=61)
    assert subject.call("GET", REST, token=token).status_code == 401


def test_an_apps_own_token_is_checked(subject: Subject) -> None:
    subject.github.install(App(77, app_key()))
    now = subject.clock.now
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for token, status in (
        (app_token(77, now, key=stranger), 401),
        (app_token(77, now - timedelta(hours=1)), 401),
        (app_token(77, now, seconds=3600), 401),
        (app_token(77, now + timedelta(minutes=5)), 401),
        (app_token(78, now), 404),
        (app_token(77, now)[:-4] + "AAAA", 401),
        (TOKEN, 401),
        (app_token(77, now), 200),
    ):
        assert subject.call("GET", "/app", token=token).status_code == status
    # With it an App is itself, not its installation.
    assert subject.call("GET", REST, token=app_token(77, now)).status_code == 403


# ---------------------------------------------------------------- limits, pages, ETags


def test_a_secondary_limit_says_how_long_to_wait(subject: Subject) -> None:
    subject.github.limits.strike(2, retry_after=7)
    for _ in range(2):
        answer = subject.call("GET", REST)
        assert (answer.status_code, answer.headers["Retry-After"]) == (403, "7")
        assert answer.json()["message"].startswith("You have exceeded a secondary rate limit.")
    assert subject.call("GET", REST).is_success
    subject.github.limits.strike(status=429)
    assert subject.call("GET", REST).status_code == 429


def test_the_primary_limit_counts_down_and_ends_at_its_reset(subject: Subject) -> None:
    before, after = (int(subject.call("GET", REST).headers["X-RateLimit-Remaining"]) for _ in range(2))
    assert before - after == 1
    subject.github.limits.exhaust(subject.clock.now + timedelta(minutes=10))
    answer = subject.call("GET", REST)
    assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (403, "0")
    assert answer.json()["message"].startswith("API rate limit exceeded")
    assert subject.get("/rate_limit")["resources"]["core"]["remaining"] == 0  # asking is free
    subject.clock.move(minutes=10)
    assert subject.call("GET", REST).is_success


def test_lists_come_in_pages_that_link_to_each_other(subject: Subject) -> None:
    number = subject.open()
    for count in range(35):
        subject.github.comment(number, "octo-dev", f"comment {count}")
    path = f"{REST}/issues/{number}/comments"
    first = subject.call("GET", path)
    assert len(first.json()) == 30
    links = {name: url for url, name in re.findall(r'<([^>]+)>; rel="(\w+)"', first.headers["Link"])}
    assert links.keys() == {"next", "last"}
    second = subject.client.get(links["next"], headers={"authorization": f"Bearer {TOKEN}"})
    assert [comment["body"] for comment in second.json()] == [f"comment {count}" for count in range(30, 35)]
    assert 'rel="prev"' in second.headers["Link"]
    assert 'rel="next"' not in second.headers["Link"]
    assert len(subject.get(f"{path}?per_page=1000")) == 35
    assert subject.get(f"{path}?per_page=10&page=9") == []
    assert "Link" not in subject.call("GET", f"{path}?per_page=100").headers


def test_what_did_not_change_is_not_sent_again_and_free(subject: Subject) -> None:
    number = subject.open()
    path = f"{REST}/pulls/{number}"
    seen = subject.call("GET", path)
    headers = {"authorization": f"Bearer {TOKEN}", "if-none-match": seen.headers["ETag"]}
    again = subject.client.get(path, headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["X-RateLimit-Remaining"] == seen.headers["X-RateLimit-Remaining"]
    subject.github.edit(number, "octo-dev", title="Anew")
    assert subject.client.get(path, headers=headers).status_code == 200


def test_a_request_needs_an_agent_and_json(subject: Subject) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert subject.client.get(REST, headers={**headers, "user-agent": ""}).status_code == 403
    for body in (b"{", b"[]"):
        answer = subject.client.post(f"{REST}/pulls", content=body, headers=headers)
        assert answer.status_code == 400


def test_links_lead_to_where_the_client_asked(subject: Subject) -> None:
    for prefix in ("", "/api/v3"):
        told = subject.get(f"{prefix}{REST}")
        assert told["url"] == f"{subject.url}{prefix}{REST}"
        assert told["html_url"] == f"{subject.url}/{REPOSITORY}"


# ---------------------------------------------------------------- statuses, commits, files


def test_the_last_status_of_each_context_counts(subject: Subject) -> None:
    number = subject.open()
    head = subject.head(number)
    path = f"{REST}/commits/{head}/status"
    assert subject.get(path)["state"] == "pending"
    for context, state in (("ci", "pending"), ("locktender/approval", "success"), ("ci", "success")):
        assert subject.call("POST", f"{REST}/statuses/{head}", {"state": state, "context": context}).status_code == 201
    told = subject.get(path)
    assert (told["state"], told["total_count"]) == ("success", 2)
    assert len(subject.get(f"{REST}/commits/{head}/statuses")) == 3
    subject.github.set_status(head, "ci", "error", "octo-dev")
    assert subject.get(f"{REST}/commits/deploy/1/status")["state"] == "failure"


@pytest.mark.parametrize(
    ("body", "sha"),
    [
        ({"state": "done"}, ""),
        ({}, ""),
        ({"state": "success", "description": "x" * 141}, ""),
        ({"state": "success", "target_url": "javascript:x"}, ""),
        ({"state": "success"}, "0" * 40),
        ({"state": "success"}, "main"),
    ],
)
def test_a_status_that_cannot_be_is_refused(subject: Subject, body: dict[str, Any], sha: str) -> None:
    head = sha or subject.github.branch("main")
    assert subject.call("POST", f"{REST}/statuses/{head}", body).status_code == 422


def test_comparisons_know_who_is_ahead(subject: Subject) -> None:
    subject.open()
    git("tag", "v1.4.1", "main", cwd=subject.git.path(REPOSITORY))
    told = subject.get(f"{REST}/compare/v1.4.1...deploy/1")
    assert (told["status"], told["ahead_by"], told["behind_by"], told["total_commits"]) == ("ahead", 1, 0, 1)
    assert [file["filename"] for file in told["files"]] == [FILE]
    assert told["files"][0]["patch"].splitlines()[1:] == ['-newTag: "1.4.1"', '+newTag: "deploy/1"']
    assert subject.get(f"{REST}/compare/deploy/1...v1.4.1")["status"] == "behind"
    assert subject.get(f"{REST}/compare/v1.4.1...main")["status"] == "identical"
    assert subject.call("GET", f"{REST}/compare/v9...main").status_code == 404


def test_files_and_folders_are_read_at_a_ref(subject: Subject) -> None:
    subject.open()
    told = subject.get(f"{REST}/contents/{FILE}?ref=deploy/1")
    assert (told["type"], told["encoding"], told["size"]) == ("file", "base64", 19)
    assert [entry["name"] for entry in subject.get(f"{REST}/contents/")] == ["README.md", "environments"]
    assert subject.call("GET", f"{REST}/contents/.github/CODEOWNERS").status_code == 404


@pytest.mark.parametrize("ref", ["--help", "main..deploy", "..%2f..%2fHEAD", "main%00", "HEAD~1", "main:README.md"])
def test_a_ref_is_a_name_and_nothing_else(subject: Subject, ref: str) -> None:
    assert subject.call("GET", f"{REST}/commits/{ref}").status_code in {404, 422}
    assert subject.call("GET", f"{REST}/git/ref/heads/{ref}").status_code in {404, 422}


def test_a_team_is_read_by_those_inside(subject: Subject) -> None:
    path = "/orgs/company/teams/platform"
    assert [user["login"] for user in subject.get(f"{path}/members")] == ["octo-lead"]
    assert subject.get(f"{path}/memberships/octo-lead")["state"] == "active"
    assert subject.call("GET", f"{path}/memberships/octo-dev").status_code == 404
    subject.github.team("company/platform", [])
    assert subject.get(f"{path}/members") == []


# ---------------------------------------------------------------- git and faults


def test_a_merge_can_be_done_and_not_answered(subject: Subject) -> None:
    number = subject.open()
    subject.github.faults.add(Fault("PUT", "/merge$", Misbehaviour.FAIL_AFTER, status=502))
    assert subject.merge(number).status_code == 502
    assert subject.github.pull(number).merged
    second = subject.open("deploy/2")
    subject.github.faults.add(Fault("PUT", "/merge$", Misbehaviour.DROP_AFTER))
    with pytest.raises(httpx.TransportError):
        subject.merge(second)
    assert subject.github.pull(second).merged


def test_a_merge_can_trip_over_a_race_and_go_through_the_next_time(subject: Subject) -> None:
    number = subject.open()
    subject.github.trip()
    answer = subject.merge(number)
    message = "Base branch was modified. Review and try the merge again."
    assert (answer.status_code, answer.json()["message"]) == (405, message)
    assert subject.merge(number).status_code == 200


def test_every_call_is_kept(subject: Subject) -> None:
    subject.call("GET", "/nowhere")
    assert subject.github.calls[-1] == ("GET", "/nowhere", 404)


def test_refs_are_read_while_git_takes_their_folders_away(tmp_path: Path) -> None:
    git("init", "--quiet", "--bare", str(tmp_path / "one.git"), cwd=tmp_path)
    bare, folder, over = Bare(tmp_path / "one.git"), tmp_path / "one.git/refs/heads/deploy", threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            folder.mkdir()
            (folder / "one").write_text("a" * 40)
            (folder / "one").unlink()
            folder.rmdir()

    with ThreadPoolExecutor(1) as other:
        other.submit(come_and_go)
        try:
            seen = [bare.refs("refs/heads") for _ in range(500)]
        finally:
            over.set()
    assert {name for refs in seen for name in refs} <= {"refs/heads/deploy/one"}
