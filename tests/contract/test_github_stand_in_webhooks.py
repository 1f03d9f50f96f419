"""The GitHub stand-in's webhooks, and pushes over git: what is told, signed how, and what tests can do to it.

Left out: the shape of the payloads (`test_github_stand_in_contract.py`).
"""

import hashlib
import hmac
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.sandbox.github import BOT, App, Role
from bot.sandbox.server import Server
from tests.contract.git_rig import git
from tests.contract.github_stand_in_rig import FILE, REPOSITORY, REST, TOKEN, Subject, app_key, app_token, served

SECRET = "webhook-canary"
Heard = tuple[str, str, str, bytes]  # event, delivery id, signature, body


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    with served(tmp_path) as subject:
        yield subject


@pytest.fixture
def heard(subject: Subject) -> Iterator[list[Heard]]:
    """What a listener was sent, in order."""
    found: list[Heard] = []

    async def listen(request: Request) -> Response:
        head = request.headers
        body = await request.body()
        found.append((head["x-github-event"], head["x-github-delivery"], head["x-hub-signature-256"], body))
        return Response(status_code=202 if signed(found[-1]) else 401)

    with Server(Starlette(routes=[Route("/hook", listen, methods=["POST"])])) as server:
        subject.github.webhooks(f"{server.url}/hook", SECRET)
        yield found
        subject.github.hooks.stop()


def signed(one: Heard) -> bool:
    """Whether a delivery carries GitHub's signature."""
    return one[2] == "sha256=" + hmac.new(SECRET.encode(), one[3], hashlib.sha256).hexdigest()


def test_what_happens_is_told_in_order_and_signed(subject: Subject, heard: list[Heard]) -> None:
    number = subject.open()
    subject.github.review(number, "octo-lead", "APPROVE")
    subject.github.merge(number, "octo-dev")
    hooks = subject.github.hooks
    hooks.wait()
    assert [(one.event, one.action) for one in hooks.deliveries] == [
        ("push", ""),
        ("pull_request", "opened"),
        ("pull_request_review", "submitted"),
        ("pull_request", "closed"),
        ("push", ""),
    ]
    assert [one[0] for one in heard] == [one.event for one in hooks.deliveries]
    assert all(signed(one) for one in heard)
    assert all(one.status == 202 for one in hooks.deliveries)
    closed = hooks.deliveries[3].payload
    assert closed["pull_request"]["merged_by"]["login"] == closed["sender"]["login"] == "octo-dev"
    assert closed["pull_request"]["merge_commit_sha"] == hooks.deliveries[4].payload["after"]


def test_a_forged_delivery_does_not_verify(subject: Subject, heard: list[Heard]) -> None:
    assert subject.github.hooks.forge("pull_request", {"action": "closed"}) == 401
    assert not signed(heard[0])


def test_a_redelivery_has_the_same_id_and_body(subject: Subject, heard: list[Heard]) -> None:
    number = subject.open()
    hooks = subject.github.hooks
    hooks.redeliver(hooks.deliveries[-1])
    hooks.wait()
    assert heard[-1] == heard[-2]
    assert len({one[1] for one in heard}) == len(heard) - 1
    assert number == 1


def test_deliveries_can_be_held_turned_round_and_lost(subject: Subject, heard: list[Heard]) -> None:
    hooks = subject.github.hooks
    hooks.hold()
    number = subject.open()
    subject.github.close(number, "octo-dev")
    hooks.wait()
    assert heard == []
    hooks.release_reversed()
    hooks.wait()
    assert [one[1] for one in heard] == [one.id for one in reversed(hooks.deliveries)]
    hooks.hold()
    subject.github.comment(number, "octo-dev", "never heard")
    hooks.drop_held()
    hooks.wait()
    assert "issue_comment" not in [one[0] for one in heard]


def test_a_listener_that_is_away_is_not_tried_again(subject: Subject) -> None:
    hooks = subject.github.webhooks("http://127.0.0.1:1/hook", SECRET)
    subject.open()
    hooks.wait()
    assert {(one.status, one.tries) for one in hooks.deliveries} == {(0, 1)}


def test_an_apps_webhooks_name_the_installation(subject: Subject, heard: list[Heard]) -> None:
    subject.github.install(App(77, app_key()))
    subject.open()
    subject.github.hooks.wait()
    assert heard
    assert {one.payload["installation"]["id"] for one in subject.github.hooks.deliveries} == {4242}


# ---------------------------------------------------------------- over git


@pytest.fixture
def work(subject: Subject, tmp_path: Path) -> Iterator[Path]:
    """A clone over HTTP, by the bot."""
    with Server(subject.git) as server:
        work = tmp_path / "work"
        git("clone", "--quiet", address(server, TOKEN), str(work), cwd=tmp_path)
        yield work


def address(server: Server, token: str) -> str:
    """Where git finds the repository."""
    return f"{server.url.replace('://', f'://x-access-token:{token}@')}/{REPOSITORY}.git"


def commit(work: Path, text: str) -> str:
    """A commit in the clone."""
    (work / FILE).write_text(text)
    git("commit", "--quiet", "-am", text, cwd=work)
    return git("rev-parse", "HEAD", cwd=work)


def test_a_push_moves_the_requests_head_and_says_who(subject: Subject, work: Path) -> None:
    hooks = subject.github.webhooks("http://127.0.0.1:1/hook", SECRET)
    commit(work, "one")
    git("push", "--quiet", "origin", "HEAD:deploy/1", cwd=work)
    answer = subject.call("POST", f"{REST}/pulls", {"title": "T", "head": "deploy/1", "base": "main"})
    new = commit(work, "two")
    git("push", "--quiet", "origin", "HEAD:deploy/1", cwd=work)
    told = subject.get(f"{REST}/pulls/{answer.json()['number']}")
    assert told["head"]["sha"] == new
    made = [(one.event, one.action, one.payload["sender"]["login"]) for one in hooks.deliveries]
    assert made == [
        ("push", "", BOT),
        ("pull_request", "opened", BOT),
        ("push", "", BOT),
        ("pull_request", "synchronize", BOT),
    ]


def test_a_protected_branch_declines_the_bots_push(subject: Subject, work: Path) -> None:
    subject.github.require(reviews=1)
    commit(work, "straight to production")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        git("push", "origin", "HEAD:main", cwd=work)
    assert "GH006: Protected branch update failed for refs/heads/main." in failure.value.stderr
    subject.github.unprotect()
    git("push", "--quiet", "origin", "HEAD:main", cwd=work)


def test_who_may_only_read_cannot_push(work: Path) -> None:
    url = git("remote", "get-url", "origin", cwd=work)
    for token in ("token-octo-reader", "token-octo-stranger", "wrong"):
        commit(work, token)
        with pytest.raises(subprocess.CalledProcessError):
            git("push", url.replace(TOKEN, token), "HEAD:deploy/1", cwd=work)
    git("ls-remote", url.replace(TOKEN, "token-octo-reader"), cwd=work)
    with pytest.raises(subprocess.CalledProcessError):
        git("ls-remote", url.replace(TOKEN, "token-octo-stranger"), cwd=work)


def test_the_bot_that_lost_its_rights_cannot_push_any_more(subject: Subject, work: Path) -> None:
    subject.github.user(BOT, role=Role.READ)
    commit(work, "late")
    with pytest.raises(subprocess.CalledProcessError):
        git("push", "origin", "HEAD:deploy/1", cwd=work)
    subject.github.revoke(TOKEN)
    with pytest.raises(subprocess.CalledProcessError):
        git("ls-remote", "origin", cwd=work)


def test_an_installations_token_pushes_as_the_app_until_it_ends(subject: Subject, work: Path) -> None:
    subject.github.install(App(77, app_key()))
    own = app_token(77, subject.clock.now)
    token = subject.call("POST", "/app/installations/4242/access_tokens", {}, token=own).json()["token"]
    url = git("remote", "get-url", "origin", cwd=work).replace(TOKEN, token)
    hooks = subject.github.webhooks("http://127.0.0.1:1/hook", SECRET)
    commit(work, "by the app")
    git("push", "--quiet", url, "HEAD:deploy/1", cwd=work)
    subject.github.pulls()  # news of the push may still be on its way; a look brings it
    assert hooks.deliveries[0].payload["sender"]["login"] == "locktender[bot]"
    subject.clock.move(hours=2)
    commit(work, "late")
    with pytest.raises(subprocess.CalledProcessError):
        git("push", url, "HEAD:deploy/1", cwd=work)
