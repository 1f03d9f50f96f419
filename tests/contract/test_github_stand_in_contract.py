"""Every call the GitHub stand-in answers, and every webhook it sends, held to GitHub's own description of them.

Needs `@octokit/openapi` and `@octokit/webhooks-examples` (`make test-github`) and skips without them. Left out: what
the calls do (`test_github_stand_in.py` and its neighbours).
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.github import BOT, App, Rules
from bot.sandbox.github_model import RuleSource
from tests.contract import octokit
from tests.contract.github_stand_in_rig import FILE, REST, Subject, app_key, app_token, served
from tests.contract.octokit import Exchange, Octokit


@pytest.fixture
def judge() -> Octokit:
    return octokit.load()


@pytest.fixture
def subject(judge: Octokit, tmp_path: Path) -> Iterator[Subject]:
    del judge  # without it nothing needs to be served
    with served(tmp_path) as subject:
        yield subject


def test_a_pull_requests_life_is_as_described(subject: Subject, judge: Octokit) -> None:
    number = subject.open()
    head = subject.head(number)
    pull = f"{REST}/pulls/{number}"
    lead = "token-octo-lead"
    review = subject.call("POST", f"{pull}/reviews", {"event": "APPROVE", "body": "ok"}, token=lead).json()["id"]
    subject.call("POST", f"{pull}/reviews", {"event": "APPROVE"})
    subject.call("POST", f"{pull}/reviews", {"event": "COMMENT", "body": "hm", "commit_id": head})
    subject.call("POST", f"{pull}/requested_reviewers", {"reviewers": ["octo-dev"], "team_reviewers": ["platform"]})
    subject.call("POST", f"{pull}/requested_reviewers", {"reviewers": [BOT]})
    subject.call("PATCH", pull, {"title": "Anew", "body": "words", "state": "open"})
    subject.call("POST", f"{REST}/issues/{number}/comments", {"body": "hello"})
    comment = subject.get(f"{REST}/issues/{number}/comments")[0]["id"]
    subject.call("PATCH", f"{REST}/issues/comments/{comment}", {"body": "again"})
    for path in ("", "/commits", "/files", "/merge", "/reviews", f"/reviews/{review}", "/requested_reviewers"):
        subject.call("GET", pull + path)
    subject.call("GET", f"{REST}/issues/comments/{comment}")
    subject.call("GET", f"{REST}/issues/{number}")
    subject.call("DELETE", f"{pull}/requested_reviewers", {"reviewers": ["octo-dev"]})
    subject.call("PUT", f"{pull}/reviews/{review}/dismissals", {"message": "late", "event": "DISMISS"})
    subject.call("PUT", f"{pull}/reviews/{review}/dismissals", {"message": "late"})
    subject.merge(number, sha="0" * 40)
    words = {"commit_title": "T", "commit_message": "M", "merge_method": "squash"}
    assert subject.merge(number, sha=head, **words).status_code == 200
    subject.merge(number, sha=head)
    for path in (
        pull,
        f"{REST}/commits/main/pulls",
        f"{pull}/merge",
        f"{REST}/issues/{number}",
        f"{REST}/pulls?state=all&head=company:deploy/1&base=main&per_page=1",
    ):
        subject.call("GET", path)
    subject.call("DELETE", f"{REST}/issues/comments/{comment}")
    subject.call("DELETE", f"{REST}/git/refs/heads/deploy/1")
    subject.call("DELETE", f"{REST}/git/refs/heads/deploy/1")
    subject.call("GET", f"{REST}/pulls/99")
    subject.call("POST", f"{REST}/pulls", {"title": "T", "head": "nowhere", "base": "main"})
    judge.check(subject.recorder.traffic)


@pytest.mark.parametrize("source", list(RuleSource))
def test_the_repository_is_as_described(subject: Subject, judge: Octokit, source: RuleSource) -> None:
    number = subject.open()
    head = subject.head(number)
    subject.github.push("main", {"docs/more": "x\n"}, "octo-dev")
    subject.github.protect(
        Rules(
            2,
            code_owners=True,
            checks=("ci",),
            dismiss_stale=True,
            last_push=True,
            strict=True,
            source=source,
            bypass=("octo-admin",),
            checks_from=12,
        )
    )
    subject.github.state.git.run("tag", "v1", "main")
    body = {"state": "pending", "context": "ci", "description": "working", "target_url": "https://ci.example/1"}
    for state in ("pending", "success", "broken"):
        subject.call("POST", f"{REST}/statuses/{head}", {**body, "state": state})
    subject.github.set_check(head, "lint", "")
    subject.github.set_check(head, "build", "failure")
    subject.call("GET", f"{REST}/pulls/{number}")
    subject.merge(number)
    for path in (
        REST,
        f"{REST}/branches",
        f"{REST}/branches?protected=true",
        f"{REST}/branches/main",
        f"{REST}/branches/deploy/1",
        f"{REST}/branches/nowhere",
        f"{REST}/branches/main/protection",
        f"{REST}/rules/branches/main",
        f"{REST}/rulesets/42",
        f"{REST}/rulesets/7",
        f"{REST}/commits/{head}/pulls",
        f"{REST}/tags",
        f"{REST}/git/ref/heads/main",
        f"{REST}/git/ref/heads/nowhere",
        f"{REST}/git/matching-refs/heads/deploy",
        f"{REST}/commits?sha=deploy/1&path={FILE}",
        f"{REST}/commits/{head}",
        f"{REST}/commits/nowhere",
        f"{REST}/commits/{head}/status",
        f"{REST}/commits/{head}/statuses",
        f"{REST}/commits/{head}/check-runs",
        f"{REST}/compare/main...deploy/1",
        f"{REST}/compare/v1...nowhere",
        f"{REST}/contents/{FILE}?ref=deploy/1",
        f"{REST}/contents/docs",
        f"{REST}/contents/nowhere",
        f"{REST}/collaborators/octo-lead/permission",
        "/user",
        "/users/octo-lead",
        "/rate_limit",
        "/orgs/company",
        "/orgs/nobody",
        "/orgs/company/teams/platform",
        "/orgs/company/teams/platform/members",
        "/orgs/company/teams/platform/memberships/octo-lead",
        "/orgs/company/teams/platform/memberships/octo-dev",
        "/orgs/company/teams/nowhere/members",
    ):
        subject.call("GET", path, token="token-octo-admin")
        subject.call("GET", path)
    judge.check(subject.recorder.traffic)


def test_an_apps_calls_are_as_described(subject: Subject, judge: Octokit) -> None:
    subject.github.install(App(77, app_key()))
    own = app_token(77, subject.clock.now)
    for path in ("/app", f"{REST}/installation", "/app/installations/4242"):
        assert subject.call("GET", path, token=own).status_code == 200
    path = "/app/installations/4242/access_tokens"
    token = subject.call("POST", path, {"permissions": {"contents": "read"}}, token=own).json()["token"]
    subject.call("POST", path, {"permissions": {"administration": "write"}}, token=own)
    assert subject.call("GET", f"{REST}/branches/main", token=token).status_code == 200
    assert subject.call("GET", f"{REST}/pulls", token=token).status_code == 403
    judge.check(subject.recorder.traffic)


def test_what_may_not_be_is_refused_as_described(subject: Subject, judge: Octokit) -> None:
    subject.open()
    for token in ("", "wrong", "token-octo-stranger", "token-octo-reader"):
        for path in ("/user", REST, f"{REST}/pulls/1", f"{REST}/branches/main/protection"):
            subject.call("GET", path, token=token)
        subject.merge(1, token=token)
    subject.github.limits.strike()
    subject.call("GET", REST)
    judge.check(subject.recorder.traffic)
    assert {exchange.status for exchange in subject.recorder.traffic} >= {401, 403, 404}


def test_webhooks_have_the_shape_of_the_examples(subject: Subject, judge: Octokit) -> None:
    github = subject.github
    hooks = github.webhooks("http://127.0.0.1:1/nobody", "secret")
    github.protect(Rules(dismiss_stale=True, enforce_admins=False))
    number = subject.open()
    subject.call("PATCH", f"{REST}/pulls/{number}", {"title": "Anew"})
    github.comment(number, "octo-dev", "hello")
    comment = subject.get(f"{REST}/issues/{number}/comments")[0]["id"]
    subject.call("PATCH", f"{REST}/issues/comments/{comment}", {"body": "again"}, token="token-octo-dev")
    github.review(number, "octo-lead", "APPROVE", "fine")
    github.push("deploy/1", {FILE: "again\n"}, BOT)
    github.close(number, "octo-dev")
    github.reopen(number, "octo-dev")
    github.set_status(subject.head(number), "ci", "success", "octo-dev")
    github.merge(number, "octo-admin")
    subject.call("DELETE", f"{REST}/git/refs/heads/deploy/1")
    made = [(delivery.event, delivery.action) for delivery in hooks.deliveries]
    assert set(made) == {
        ("push", ""),
        ("status", ""),
        ("issue_comment", "created"),
        ("issue_comment", "edited"),
        ("pull_request_review", "submitted"),
        ("pull_request_review", "dismissed"),
        *(("pull_request", kind) for kind in ("opened", "edited", "synchronize", "closed", "reopened")),
    }
    faults = [
        f"{delivery.event} {delivery.action}: {fault}"
        for delivery in hooks.deliveries
        for fault in judge.webhook_faults(delivery.event, delivery.payload)
    ]
    assert not faults, "\n".join(dict.fromkeys(faults))


# ---------------------------------------------------------------- the judge itself


def test_the_judge_sees_what_is_wrong(subject: Subject, judge: Octokit) -> None:
    subject.open()
    subject.get(f"{REST}/pulls/1")
    good = subject.recorder.traffic[-1]
    assert judge.faults(good) == []

    def spoilt(change: Callable[[dict[str, Any]], object], **words: Any) -> list[str]:
        body = json.loads(json.dumps(good.answered))
        change(body)
        said = {**vars(good), "answered": body, **words}
        return judge.faults(Exchange(**said))

    assert spoilt(lambda body: body.pop("mergeable_state"))
    assert spoilt(lambda body: body.update(number="1"))
    assert spoilt(lambda body: body["head"].pop("sha"))
    assert spoilt(lambda body: body.update(state="OPEN"))
    assert spoilt(lambda _: None, status=202)
    assert spoilt(lambda _: None, path=f"{REST}/pulls/1/nothing")
    assert spoilt(lambda _: None, method="PATCH", sent={"titel": "misspelt"})
    assert spoilt(lambda _: None, method="PATCH", sent={"title": 7})
    assert spoilt(lambda _: None, query={"stat": ["all"]})
    assert not spoilt(lambda body: body.update(mergeable=None))
    assert spoilt(lambda body: body.clear(), status=403)


def test_the_judge_sees_what_is_wrong_with_a_webhook(subject: Subject, judge: Octokit) -> None:
    hooks = subject.github.webhooks("http://127.0.0.1:1/nobody", "secret")
    subject.open()
    payload = next(one.payload for one in hooks.deliveries if one.action == "opened")
    assert judge.webhook_faults("pull_request", payload) == []
    for spoilt in (
        {**payload, "pull_request": {**payload["pull_request"], "head": {"sha": "x"}}},
        {**payload, "repository": {key: value for key, value in payload["repository"].items() if key != "svn_url"}},
        {**payload, "number": "1"},
        {**payload, "action": "invented"},
    ):
        assert judge.webhook_faults("pull_request", spoilt)
