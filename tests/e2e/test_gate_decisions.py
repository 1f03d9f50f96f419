"""How a change that waits for approval ends or goes on: rejected, cancelled, expired, superseded, closed elsewhere; two
approvals, comments, reviews on GitHub, and what GitHub itself still wants.

Left to others: attacks on approvals (`test_gate_attacks`), and the promotion itself (`test_gate_promote`).
"""

from collections.abc import Iterator

import pytest

from bot.sandbox.github import BOT
from bot.sandbox.slack_model import AUDITOR, DEVELOPER, ON_CALL, RELEASE_MANAGER
from commands.reasons import ReasonCode
from storage.phases import Phase
from tests.e2e.gate_rig import IN_GIT, LOGINS, REVIEWED, Company, GateRig, gate_rig

APP = "web"
BOTH = f"{IN_GIT}, change: pull-request, approval: {{from: [approvers], accept: both}}"
_PLACES = {
    "rejected": f"{IN_GIT}, {REVIEWED}",
    "late": f"{IN_GIT}, change: pull-request, approval: {{from: [release-managers], expires_after: 6s}}",
    "back": f"{IN_GIT}, {REVIEWED}",
    "newer": f"{IN_GIT}, {REVIEWED}",
    "closed": f"{IN_GIT}, {REVIEWED}",
    "two": f"{IN_GIT}, change: pull-request, approval: {{from: [approvers], required: 2}}",
    "why": f"{IN_GIT}, change: pull-request, approval: {{from: [approvers], comment: required}}",
    "hub": BOTH,
    "changed": BOTH,
    "elsewhere": f"{IN_GIT}, change: pull-request, approval: {{from: [approvers], accept: github}}",
    "checks": BOTH,
    "owners": BOTH,
}
COMPANY = Company(
    environments=_PLACES,
    apps={
        APP: [*_PLACES],
        "api": ["newer"],
    },
    files={"CODEOWNERS": "/apps/ @company/platform\n"},
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateRig]:
    with gate_rig(tmp_path_factory.mktemp("decisions"), COMPANY) as made:
        made.sandbox.github.team("company/platform", [LOGINS[AUDITOR.id]])
        yield made


# ---------------------------------------------------------------- endings


def test_a_rejection_needs_a_reason_and_ends_it(world: GateRig) -> None:
    head = world.head()
    row = world.ask(f"{APP} 1.4.2 rejected")
    world.shown(row)
    empty = world.form(RELEASE_MANAGER, row, "Reject", "")
    assert empty.errors, empty
    blank = world.slack.submit_view(RELEASE_MANAGER, world.slack.views(RELEASE_MANAGER)[-1], {"text": "  \n "})
    ((_, beside),) = blank.errors
    assert "needs a reason" in beside
    assert world.row(row).phase == Phase.AWAITING_APPROVAL
    sent = world.slack.submit_view(
        RELEASE_MANAGER, world.slack.views(RELEASE_MANAGER)[-1], {"text": "not before the audit is over"}
    )
    assert (sent.acked, sent.errors) == (True, ())
    assert not world.slack.views(RELEASE_MANAGER)
    done = world.over(row, Phase.REJECTED, ReasonCode.REJECTED_BY_PERSON)
    assert "rejected" in world.card(done).text
    assert f"<@{RELEASE_MANAGER.id}> rejected it: not before the audit is over" in world.card(done).text
    world.gone(row)
    assert world.head() == head
    (entry,) = [one for one in world.audit("change:reject") if one.deployment_id == row.id]
    assert entry.actor == RELEASE_MANAGER.id
    assert "not before the audit is over" in entry.details


def test_what_nobody_approves_in_time_expires(world: GateRig) -> None:
    head = world.head()
    row = world.ask(f"{APP} 1.4.2 late")
    done = world.over(row, Phase.EXPIRED, ReasonCode.APPROVAL_EXPIRED)
    assert "expired" in world.card(done).text
    assert "Ask for it again." in world.card(done).text
    world.gone(row)
    assert world.head() == head
    again = world.ask(f"{APP} 1.4.2 late")  # nothing of the first one is in its way
    world.over(again, Phase.EXPIRED, ReasonCode.APPROVAL_EXPIRED)
    world.gone(again)


def test_whoever_asked_takes_it_back(world: GateRig) -> None:
    row = world.ask(f"{APP} 1.4.2 back")
    world.shown(row)
    assert "Cancelled" in world.click(DEVELOPER, row, "Cancel")
    world.over(row, Phase.CANCELLED, ReasonCode.CANCELLED_BY_PERSON)
    world.gone(row)
    other = world.ask(f"{APP} 1.4.3 back")
    assert world.type(f"cancel {other.id}").text.startswith("Cancelled")
    world.over(other, Phase.CANCELLED, ReasonCode.CANCELLED_BY_PERSON)
    world.gone(other)


def test_a_newer_request_takes_its_place_and_the_first_asker_is_told(world: GateRig) -> None:
    first = world.ask(f"{APP} 1.4.2 newer")
    world.shown(first)
    told = len(world.slack.ephemerals(DEVELOPER))
    second = world.ask(f"{APP} 1.4.3 newer", user=ON_CALL)
    done = world.over(first, Phase.SUPERSEDED, ReasonCode.SUPERSEDED_BY_NEWER)
    assert done.superseded_by == second.id
    assert f"<@{ON_CALL.id}> asked for `1.4.3` (`{second.id}`)" in world.card(first).text
    world.until(lambda: len(world.slack.ephemerals(DEVELOPER)) > told)
    assert f"`{APP}` `1.4.2` in `newer` was superseded" in world.slack.ephemerals(DEVELOPER)[-1].text
    world.gone(first)
    world.approve(second)
    assert world.live(second).version == "1.4.3"


def test_another_app_of_the_same_place_is_not_superseded_and_its_approval_holds(world: GateRig) -> None:
    mine = world.ask(f"{APP} 1.4.1 newer")
    world.shown(mine)
    other = world.ask("api 1.4.2 newer")
    world.approve(other)
    world.live(other)
    world.approve(mine)
    assert world.live(mine).version == "1.4.1"
    assert "change:void" not in world.actions(mine)


def test_a_pull_request_that_somebody_closes_ends_it(world: GateRig) -> None:
    row = world.ask(f"{APP} 1.4.2 closed")
    world.shown(row)
    world.sandbox.github.close(world.pull(row).number, LOGINS[ON_CALL.id])
    done = world.over(row, Phase.CANCELLED, ReasonCode.PULL_REQUEST_CLOSED)
    assert f"`{LOGINS[ON_CALL.id]}` closed the pull request" in world.card(done).text
    world.until(lambda: world.sandbox.github.branch(world.change(row).branch) is None)
    assert not world.labels(row)


# ---------------------------------------------------------------- approvals


def test_two_different_people_have_to_say_yes(world: GateRig) -> None:
    row = world.ask(f"{APP} 1.4.2 two")
    card = world.shown(row)
    assert "0 of 2 from `approvers`" in card.text
    assert "1 of 2" in world.approve(row)
    world.said(row, "1 of 2 from `approvers`", f"Approved by <@{RELEASE_MANAGER.id}>")
    assert "1 of 2" in world.approve(row)  # one person counts once
    assert world.row(row).phase == Phase.AWAITING_APPROVAL
    assert world.status(row)[0] == "pending"
    assert "has all it needs" in world.approve(row, user=ON_CALL)
    world.live(row)
    assert world.status(row) == ("success", "Approved by 2 of 2")
    assert f"Approved by <@{RELEASE_MANAGER.id}>, <@{ON_CALL.id}>" in world.card(row).text
    trailers = world.merged_with(row)
    assert f"Approved-by: {RELEASE_MANAGER.id}" in trailers
    assert f"Approved-by: {ON_CALL.id}" in trailers


def test_where_a_comment_is_asked_for_the_approval_is_a_form(world: GateRig) -> None:
    row = world.ask(f"{APP} 1.4.2 why")
    world.shown(row)
    blank = world.form(RELEASE_MANAGER, row, "Approve", "   ")
    ((_, beside),) = blank.errors
    assert "needs a comment" in beside
    assert not world.approvals(row)
    view = world.slack.views(RELEASE_MANAGER)[-1]
    sent = world.slack.submit_view(RELEASE_MANAGER, view, {"text": "I read the diff and the dashboards"})
    assert (sent.acked, sent.errors) == (True, ())
    world.live(row)
    assert [one.comment for one in world.approvals(row)] == ["I read the diff and the dashboards"]


def test_a_review_on_github_counts_as_well_as_a_click(world: GateRig) -> None:
    row = world.ask(f"{APP} 1.4.2 hub")
    world.shown(row)
    world.sandbox.github.review(world.pull(row).number, LOGINS[ON_CALL.id], "APPROVE", "fine")
    world.live(row)
    assert f"Approved by `{LOGINS[ON_CALL.id]}` on GitHub" in world.card(row).text
    (approval,) = world.approvals(row)
    assert (approval.login, approval.source, approval.comment) == (LOGINS[ON_CALL.id], "github", "fine")
    assert f"Approved-by: github:{LOGINS[ON_CALL.id]}" in world.merged_with(row)


def test_changes_asked_for_on_github_are_a_rejection(world: GateRig) -> None:
    row = world.ask(f"{APP} 1.4.2 changed")
    world.shown(row)
    world.sandbox.github.review(world.pull(row).number, LOGINS[ON_CALL.id], "REQUEST_CHANGES", "the limits are gone")
    done = world.over(row, Phase.REJECTED, ReasonCode.REJECTED_BY_PERSON)
    assert f"`{LOGINS[ON_CALL.id]}` asked for changes on GitHub: the limits are gone" in world.card(done).text
    world.gone(row)


def test_a_review_that_is_dismissed_counts_no_more(world: GateRig) -> None:
    world.sandbox.github.require(checks=("build",))  # so that there is time to dismiss it
    try:
        row = world.ask(f"{APP} 1.4.3 changed")
        world.shown(row)
        number = world.pull(row).number
        review = world.sandbox.github.review(number, LOGINS[ON_CALL.id], "APPROVE")
        world.said(row, "Approved by", "build")
        world.sandbox.github.dismiss(number, review.id, LOGINS[AUDITOR.id])
        world.said(row, "Waiting for approval: 0 of 1")
        world.sandbox.github.set_check(world.pull(row).head_sha, "build", "success")
        assert [one.action for one in world.audit("change:withdraw")] == ["change:withdraw"]
        assert "Approve" in [one.text for one in world.shown(row).buttons]
        assert not world.pull(row).merge_sha
        world.approve(row)
        world.live(row)
    finally:
        world.sandbox.github.unprotect()


def test_where_reviews_on_github_are_asked_for_a_click_does_not_do(world: GateRig) -> None:
    row = world.ask(f"{APP} 1.4.2 elsewhere")
    world.until(lambda: world.change(row).content and world.quiet())
    if "Approve" in world.labels(row):
        assert "approved by reviews on GitHub" in world.click(RELEASE_MANAGER, row, "Approve")
    assert not world.approvals(row)
    world.sandbox.github.review(world.pull(row).number, LOGINS[RELEASE_MANAGER.id], "APPROVE")
    world.live(row)


# ---------------------------------------------------------------- what GitHub wants


def test_a_check_that_github_waits_for_is_named_and_waited_for(world: GateRig) -> None:
    world.sandbox.github.require(checks=("build / test",))
    try:
        row = world.ask(f"{APP} 1.4.2 checks")
        world.approve(row)
        world.said(row, "Approved by", "build / test", "not reported yet")
        assert world.row(row).phase == Phase.AWAITING_APPROVAL
        head = world.pull(row).head_sha
        world.sandbox.github.set_check(head, "build / test", "failure")
        world.said(row, "build / test", "failure")
        assert not world.pull(row).merge_sha
        world.sandbox.github.set_check(head, "build / test", "success")
        world.live(row)
    finally:
        world.sandbox.github.unprotect()
    assert "build / test" not in world.card(row).text


def test_a_review_that_a_code_owner_owes_is_named_with_the_owner(world: GateRig) -> None:
    world.sandbox.github.require(reviews=1, code_owners=True)
    try:
        row = world.ask(f"{APP} 1.4.2 owners")
        world.approve(row)
        text = world.said(row, "GitHub wants a review by a code owner of 'apps/': @company/platform.")
        assert f"Approved by <@{RELEASE_MANAGER.id}>" in text
        world.sandbox.github.review(world.pull(row).number, LOGINS[AUDITOR.id], "APPROVE")
        world.live(row)
        assert world.pull(row).ended_by == BOT
    finally:
        world.sandbox.github.unprotect()
