"""News from the code host by webhook: a review, a push and a close are noticed at once although nobody polls, and what
is not signed is refused.

Left to others: what the news are taken for (`test_gate_decisions`, `test_gate_attacks`), and parsing (`test_webhooks`).
"""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from bot.sandbox.slack_model import ON_CALL, RELEASE_MANAGER
from commands.reasons import ReasonCode
from storage.phases import Phase
from tests.e2e.gate_rig import IN_GIT, LOGINS, Company, GateRig, gate_rig

APP = "web"
BOTH = f"{IN_GIT}, change: pull-request, approval: {{from: [approvers], accept: both}}"
SECRET = "a-secret-of-the-sandbox"
POLL = 600.0
"""Seconds between two looks: what is noticed in a test was told by a webhook."""
COMPANY = Company(
    environments=dict.fromkeys(("reviewed", "closed", "pushed", "forged", "elsewhere"), BOTH),
    apps={APP: ["reviewed", "closed", "pushed", "forged", "elsewhere"]},
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateRig]:
    more = {"GITHUB_WEBHOOK_SECRET": SECRET, "LOCKTENDER_GATE_POLL_SECONDS": str(POLL)}
    with gate_rig(tmp_path_factory.mktemp("webhooks"), COMPANY, more=more) as made:
        made.sandbox.github.webhooks(f"{made.url}/github/webhooks", SECRET)
        yield made


def _settled(world: GateRig, text: str) -> None:
    """Wait until nothing is looked at any more: only news can bring the next look."""
    row = world.ask(text)
    world.shown(row)
    world.sandbox.github.hooks.wait(30)
    world.until(lambda: world.rests(row))


def test_a_review_is_noticed_when_it_is_given(world: GateRig) -> None:
    _settled(world, f"{APP} 1.4.2 reviewed")
    (row,) = world.rows_of("reviewed")
    world.sandbox.github.review(world.pull(row).number, LOGINS[ON_CALL.id], "APPROVE")
    _soon(lambda: world.approvals(row))
    world.live(row)


def test_a_close_is_noticed_when_it_happens(world: GateRig) -> None:
    _settled(world, f"{APP} 1.4.2 closed")
    (row,) = world.rows_of("closed")
    world.sandbox.github.close(world.pull(row).number, LOGINS[ON_CALL.id])
    _soon(lambda: Phase(world.row(row).phase).ended)
    world.over(row, Phase.CANCELLED, ReasonCode.PULL_REQUEST_CLOSED)


def test_a_push_to_the_branch_is_noticed_when_it_happens(world: GateRig) -> None:
    _settled(world, f"{APP} 1.4.2 pushed")
    (row,) = world.rows_of("pushed")
    shown = world.change(row)
    path = f"apps/{APP}/overlays/pushed/replicas.yaml"
    more = world.sandbox.read(path).replace("replicas: 1", "replicas: 3")
    world.sandbox.github.push(shown.branch, {path: more}, LOGINS[ON_CALL.id])
    _soon(lambda: world.change(row).token != shown.token)
    assert world.change(row).content != shown.content
    world.said(row, "Others have pushed to its branch")
    assert "🚫" in world.approve(row, user=ON_CALL)  # its author now
    assert "has all it needs" in world.approve(row, user=RELEASE_MANAGER)
    world.live(row)


def test_what_is_not_signed_with_the_secret_is_refused_and_does_nothing(world: GateRig) -> None:
    _settled(world, f"{APP} 1.4.2 forged")
    (row,) = world.rows_of("forged")
    looks = len(world.sandbox.github.calls)
    news = {"ref": "refs/heads/main", "repository": {"full_name": "company/infra"}}
    assert world.sandbox.github.hooks.forge("push", news) == 401
    unsigned = httpx.post(f"{world.url}/github/webhooks", json=news, headers={"x-github-event": "push"})
    assert unsigned.status_code == 401
    assert world.rests(row)
    assert len(world.sandbox.github.calls) == looks


def test_news_that_come_twice_or_late_or_not_at_all_change_nothing(world: GateRig) -> None:
    _settled(world, f"{APP} 1.4.2 elsewhere")
    (row,) = world.rows_of("elsewhere")
    hooks = world.sandbox.github.hooks
    hooks.hold()
    world.sandbox.github.review(world.pull(row).number, LOGINS[ON_CALL.id], "APPROVE")
    world.sandbox.github.comment(world.pull(row).number, LOGINS[ON_CALL.id], "looks fine")
    assert not world.approvals(row)
    hooks.release_reversed()
    world.live(row)
    for delivery in hooks.deliveries[-3:]:
        hooks.redeliver(delivery)
    hooks.wait(30)
    assert len(world.merges(row)) == 1
    assert len(world.approvals(row)) == 1


def _soon(condition: Callable[[], object]) -> None:
    """Within seconds, however busy the machine is, where the next look without news would be minutes away."""
    deadline = time.monotonic() + POLL / 20
    while not condition():
        assert time.monotonic() < deadline, "nobody noticed"
        time.sleep(0.05)
