"""Cards of reviewed changes and of sets: Slack takes each state at its longest, and the text alone says what matters.

The rest of a card is test_cards; what a click on its buttons does, test_decisions and tests/e2e.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from bot.slack.blocks import SlackMessage
from bot.slack.cards import CANCEL, ROLLBACK, deployment_card, set_card
from bot.slack.review import APPROVE, APPROVE_WITH, REJECT, REVIEWED, ReviewView
from commands.requests import mention
from commands.shown import Shown, ShownApp
from storage.models import ChangeState, Deployment, Kind
from storage.phases import Phase, Stage
from tests.slack.message_rules import broken_rules
from tests.slack.test_cards import HOSTILE, WITHIN_OURS, buttons, commit_link, deployment, mentioned, words

TOKEN = "0123456789abcdef" * 2
UNTIL = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
DIGEST = "sha256:" + "ab" * 32
SHOWN = Shown(
    apps=(ShownApp("web", "1.4.1", "1.4.2", DIGEST, "1 object changed: Deployment/web image"),),
    others=(("checkout-api in production", "1 object changed: ConfigMap/shared"),),
    files=("apps/web/overlays/production/kustomization.yaml",),
    groups=("release-managers", "platform-team"),
)
PR = "https://github.com/company/infra/pull/7"
PHASES = {
    ChangeState.PREPARING: (Phase.AWAITING_APPROVAL,),
    ChangeState.OPEN: (Phase.AWAITING_APPROVAL,),
    ChangeState.APPROVED: (Phase.QUEUED, Phase.RUNNING),
    ChangeState.MERGED: (Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED, Phase.ERRORED),
    ChangeState.CLOSED: (Phase.REJECTED, Phase.EXPIRED, Phase.CANCELLED, Phase.SUPERSEDED),
    ChangeState.FAILED: (Phase.FAILED, Phase.ERRORED),
}
STATES = [(state, phase) for state, phases in PHASES.items() for phase in phases]


def view(state: ChangeState = ChangeState.OPEN, **more: Any) -> ReviewView:
    """A change as the gatekeeper leaves it in this state."""
    known: dict[str, Any] = {
        "id": "84an2qhsvg",
        "state": state,
        "requested_by": "U0DEVELOPER",
        "required": 2,
        "token": TOKEN if state is ChangeState.OPEN else "",
        "expires_at": UNTIL,
    }
    if state is not ChangeState.PREPARING:
        known |= {"pr_number": 7, "pr_url": PR, "shown": SHOWN}
    return ReviewView(**(known | more))


def row(phase: Phase = Phase.AWAITING_APPROVAL, **more: Any) -> Deployment:
    stage = {Phase.RUNNING: Stage.ROLLOUT, Phase.SUCCEEDED: Stage.DONE, Phase.FAILED: Stage.ROLLOUT}
    usual: dict[str, Any] = {"environment": "production", "change_id": "84an2qhsvg", "previous": "1.4.1"}
    if phase in {Phase.REJECTED, Phase.EXPIRED, Phase.CANCELLED, Phase.SUPERSEDED}:
        usual["what"] = "Nobody approved it in time."
    return deployment(phase, stage.get(phase, Stage.WAITING), **(usual | more))


def card(review: ReviewView | None = None, phase: Phase = Phase.AWAITING_APPROVAL, **more: Any) -> SlackMessage:
    return deployment_card(row(phase, **more), commit_link, review=review or view())


def rows(*phases: Phase, **more: Any) -> list[Deployment]:
    return [
        row(phase, id=f"84an2qhs{number:02}", app=f"app-{number:02}", card_id="84an2qhsvg", **more)
        for number, phase in enumerate(phases)
    ]


LONGEST = Shown(
    apps=tuple(
        ShownApp("a" * 63, HOSTILE[:128], "v" * 128, DIGEST, HOSTILE * 5, (HOSTILE * 3,) * 3, 10**6, PR)
        for _ in range(40)
    ),
    others=tuple((f"{'o' * 63} in {'e' * 63}", HOSTILE * 5) for _ in range(200)),
    files=("f" * 200,) * 100,
    strangers=(HOSTILE, "x" * 300) * 20,
    groups=tuple(f"{'g' * 60}{number}" for number in range(5)),
)
EXTREMES: list[dict[str, Any]] = [
    {},
    {"approved_by": ("U0RELEASE",)},
    {"approved_by": ("U0RELEASE", "github:octo-cat")},
    {"shown": Shown(), "required": 1, "expires_at": None},
    {"shown": replace(SHOWN, comment_required=True, strangers=("octo-cat",))},
    {"moved": "The image moved.", "note": "GitHub does not answer. Trying again.", "wants": ("1 check is pending.",)},
    {"break_glass": True, "required": 0, "review_due": UNTIL},
    {"break_glass": True, "required": 0, "review_due": UNTIL, "reviewed_by": "U0RELEASE"},
    {
        "shown": LONGEST,
        "moved": WITHIN_OURS * 20,
        "note": WITHIN_OURS * 20,
        "wants": (WITHIN_OURS * 5,) * 12,
        "approved_by": tuple(f"U0APPROVER{number}" for number in range(19)),
        "required": 20,
        "pr_url": f"https://github.com/{'x' * 900}",
        "pr_number": 10**9,
    },
]


# ---------------------------------------------------------------- what Slack takes


@pytest.mark.parametrize(("state", "phase"), STATES)
def test_slack_takes_the_card_of_every_state_at_its_shortest_and_longest(state: ChangeState, phase: Phase) -> None:
    long = {
        "app": "a" * 63,
        "environment": "e" * 63,
        "version": "v" * 128,
        "previous": HOSTILE,
        "reason": (HOSTILE * 20)[:500],
        "what": WITHIN_OURS * 20,
        "next_step": WITHIN_OURS * 20,
        "blocked": WITHIN_OURS * 20,
        "note": WITHIN_OURS * 20,
    }
    for extra, more in product(EXTREMES, ({}, long)):
        shown = card(view(state, **extra), phase, **more)
        assert broken_rules(shown) == [], extra
        assert not mentioned(shown) & {"U1EVIL", "U1"}


@pytest.mark.parametrize("count", [2, 20, 150])
@pytest.mark.parametrize(("state", "phase"), STATES)
def test_slack_takes_the_card_of_a_set_of_any_size(state: ChangeState, phase: Phase, count: int) -> None:
    long = {"version": "v" * 128, "what": WITHIN_OURS * 20, "next_step": WITHIN_OURS * 9, "note": WITHIN_OURS * 9}
    for extra, more in product((EXTREMES[1], EXTREMES[-1]), ({}, long)):
        shown = set_card(rows(*[phase] * count, **more), commit_link, review=view(state, **extra))
        assert broken_rules(shown) == []
        assert "U1EVIL" not in mentioned(shown)


@pytest.mark.parametrize("count", [2, 20, 150])
def test_slack_takes_a_set_whose_apps_have_come_to_every_end(count: int) -> None:
    mixed = [list(Phase)[number % len(Phase)] for number in range(count)]
    for more in (
        {},
        {"what": WITHIN_OURS * 20, "next_step": HOSTILE.replace("\ue000", ""), "blocked": WITHIN_OURS * 9},
    ):
        assert broken_rules(set_card(rows(*mixed, **more), commit_link)) == []


# ---------------------------------------------------------------- what the text alone says

WHAT_MATTERS = (
    "waits for approval",
    "web 1.4.1 → 1.4.2",
    "production",
    "Waiting for approval: 0 of 2 from `release-managers` or `platform-team`, until 2026-03-02 14:00 UTC",
    "Blast radius: 1 other overlay changes too.",
    "checkout-api in production: 1 object changed: ConfigMap/shared",
    "1 object changed: Deployment/web image",
    "sha256:abababababab",
    PR,
    "<@U0DEVELOPER>",
    "Reason: the cart total is right again",
    "84an2qhsvg",
)


def test_text_and_blocks_each_say_what_a_decision_is_made_from() -> None:
    shown = card(reason="the cart total is right again")
    for said in WHAT_MATTERS:
        assert said in shown.text
        assert said in words(shown), said


def test_so_does_the_card_of_a_set_with_a_line_for_each_app() -> None:
    apps = tuple(replace(SHOWN.apps[0], app=f"app-{number:02}") for number in range(10))
    waiting = rows(*[Phase.AWAITING_APPROVAL] * 10, promoted_from="staging", reason="weekly release")
    shown = set_card(waiting, commit_link, review=view(shown=replace(SHOWN, apps=apps)))
    for text in (shown.text, words(shown)):
        assert "10 apps · production · waits for approval" in text
        assert "from `release-managers` or `platform-team`, until 2026-03-02 14:00 UTC" in text
        assert "Blast radius: 1 other overlay" in text
        assert "from staging" in text
        assert "weekly release" in text
        for number in range(10):
            assert f"app-{number:02}" in text


def test_however_much_there_is_the_text_says_who_may_approve_until_when_and_that_others_change() -> None:
    review = view(**EXTREMES[-1])
    for shown in (
        card(review, reason="r" * 500),
        set_card(rows(*[Phase.AWAITING_APPROVAL] * 40, version="v" * 128), commit_link, review=review),
    ):
        assert "g0" in shown.text.split("Waiting for approval: 19 of 20 from")[1]
        assert "until 2026-03-02 14:00 UTC" in shown.text
        assert "84an2qhsvg" in shown.text


def test_the_blast_radius_is_counted_however_many_overlays_change() -> None:
    many = tuple((f"app-{number} in production", "1 object changed") for number in range(200))
    shown = card(view(shown=replace(SHOWN, others=many)))
    for text in (shown.text, words(shown)):
        assert "Blast radius: 200 other overlays change too." in text
        assert "and 194 more: see the pull request" in text
    assert "Blast radius: nothing else changes." in card(view(shown=replace(SHOWN, others=()))).text


def test_several_changes_are_told_up_to_the_twelfth_and_the_rest_counted() -> None:
    apps = tuple(replace(SHOWN.apps[0], app=f"app-{number:02}") for number in range(15))
    shown = card(view(shown=replace(SHOWN, apps=apps)))
    assert "app-11" in words(shown)
    assert "and 3 more apps: see the thread" in words(shown)


@pytest.mark.parametrize(
    ("review", "said"),
    [
        (view(ChangeState.PREPARING), "… Working out the difference"),
        (view(approved_by=("U0RELEASE",)), "✓ Approved by <@U0RELEASE>"),
        (view(approved_by=("U0RELEASE",)), "… Waiting for approval: 1 of 2"),
        (view(ChangeState.APPROVED, approved_by=("U0RELEASE", "github:octo")), "<@U0RELEASE>, `octo` on GitHub"),
        (view(wants=("The check `lint` has not ended.",)), "… The check 'lint' has not ended."),
        (view(moved="The image of `web` is another one now."), "The image of `web` is another one now."),
        (view(note="GitHub does not answer. Trying again."), "GitHub does not answer. Trying again."),
        (view(shown=replace(SHOWN, strangers=("octo",))), "Others have pushed to its branch: octo"),
        (view(break_glass=True, required=0), "The glass was broken by <@U0DEVELOPER>: nobody has to approve it first"),
        (view(shown=replace(SHOWN, apps=(replace(SHOWN.apps[0], told=("`base` stays as now.",)),))), "'base' stays"),
    ],
)
def test_each_thing_that_people_have_to_know_is_said(review: ReviewView, said: str) -> None:
    shown = card(review)
    assert said in shown.text
    assert said in words(shown)


def test_the_debt_of_a_broken_glass_is_told_until_somebody_has_looked() -> None:
    owed = view(ChangeState.MERGED, break_glass=True, required=0, review_due=UNTIL)
    live = card(owed, Phase.SUCCEEDED)
    assert "A second person has to look at it by 2026-03-02 14:00 UTC" in live.text
    assert buttons(live) == [REVIEWED]
    paid = card(replace(owed, reviewed_by="U0RELEASE"), Phase.SUCCEEDED)
    assert "✓ Reviewed by <@U0RELEASE>" in paid.text
    assert buttons(paid) == []


# ---------------------------------------------------------------- buttons


@pytest.mark.parametrize(("state", "phase"), STATES)
def test_approve_and_reject_are_there_exactly_while_it_can_be_decided(state: ChangeState, phase: Phase) -> None:
    decidable = [APPROVE, REJECT] if state is ChangeState.OPEN else []
    open_ = {Phase.AWAITING_APPROVAL, Phase.QUEUED}
    for shown in (
        deployment_card(row(phase, commit_sha=""), commit_link, review=view(state, token=TOKEN)),
        set_card(rows(phase, phase, commit_sha=""), commit_link, review=view(state, token=TOKEN)),
    ):
        assert buttons(shown) == decidable + ([CANCEL] if phase in open_ else [])


@pytest.mark.parametrize(
    "review",
    [
        view(token=""),  # nothing is shown yet, or it just moved
        view(approved_by=("U0RELEASE", "U0PLATFORM1")),  # it has all it needs
        view(break_glass=True, required=0),
    ],
)
def test_what_nobody_has_to_decide_has_no_approve(review: ReviewView) -> None:
    assert buttons(card(review)) == [CANCEL]


def test_a_failed_one_that_reached_git_offers_the_way_back_and_a_set_says_it_per_app() -> None:
    failed = card(view(ChangeState.MERGED), Phase.FAILED, what="It crashes.")
    assert buttons(failed) == [ROLLBACK]
    mixed = set_card(rows(Phase.SUCCEEDED, Phase.FAILED), commit_link, review=view(ChangeState.MERGED))
    assert buttons(mixed) == []
    assert "`/rollback app-01 production --reason …` goes back." in mixed.text
    assert buttons(card(view(ChangeState.MERGED), Phase.FAILED, kind=Kind.ROLLBACK)) == []


def test_approve_carries_the_random_value_alone_and_asks_to_confirm() -> None:
    (actions,) = [block for block in card().blocks if block["type"] == "actions"]
    approve, reject, cancel = actions["elements"]
    assert (approve["value"], reject["value"], cancel["value"]) == (TOKEN, TOKEN, "84an2qhsvg")
    confirm = approve["confirm"]
    assert confirm["title"]["text"] == "Approve for production?"
    assert "web 1.4.1 → 1.4.2" in confirm["text"]["text"]
    assert "It also changes 1 other overlay" in confirm["text"]["text"]
    assert [one["style"] for one in (approve, reject)] == ["primary", "danger"]
    assert TOKEN not in json.dumps([block for block in card().blocks if block["type"] != "actions"])
    assert TOKEN not in card().text


def test_where_a_comment_is_needed_approve_opens_a_form_instead_of_asking_to_confirm() -> None:
    shown = card(view(shown=replace(SHOWN, comment_required=True)))
    assert buttons(shown) == [APPROVE_WITH, REJECT, CANCEL]
    assert "confirm" not in json.dumps(shown.blocks)


def test_the_confirmation_fits_however_long_its_words_are() -> None:
    shown = card(view(shown=LONGEST), environment="e" * 63)
    (confirm,) = [
        one["confirm"] for block in shown.blocks if block["type"] == "actions" for one in block["elements"][:1]
    ]
    assert len(confirm["title"]["text"]) <= 100
    assert len(confirm["text"]["text"]) <= 300


# ---------------------------------------------------------------- sets


def test_a_set_says_how_many_are_where_and_what_stopped_one() -> None:
    mixed = rows(Phase.SUCCEEDED, Phase.SUCCEEDED, Phase.FAILED, what="It crashes.", next_step="Look at its logs.")
    shown = set_card(mixed, commit_link, review=view(ChangeState.MERGED))
    assert shown.blocks[0]["text"]["text"] == "❌ 3 apps · production · 2 live, 1 failed"
    assert "It crashes. Look at its logs." in words(shown)
    assert shown.text.index("It crashes.") < shown.text.index("Requested by"), "a notification shows the beginning"


def test_a_set_that_ended_before_its_merge_says_why_once() -> None:
    ended = rows(*[Phase.REJECTED] * 5, what=f"{mention('U0RELEASE')} rejected it: no.", next_step="Ask again.")
    shown = set_card(ended, commit_link, review=view(ChangeState.CLOSED))
    assert shown.text.count("rejected it: no. Ask again.") == 1
    assert "<@U0RELEASE>" in shown.text


def test_a_set_that_waits_says_what_for() -> None:
    waiting = rows(Phase.QUEUED, Phase.QUEUED, blocked="`production` is frozen until 18:00 UTC.")
    shown = set_card(waiting, commit_link, review=view(ChangeState.APPROVED))
    assert shown.text.count("`production` is frozen until 18:00 UTC.") == 1


def test_a_set_where_nothing_is_reviewed_has_no_review() -> None:
    shown = set_card(rows(Phase.QUEUED, Phase.RUNNING, change_id="", environment="staging"), commit_link)
    assert broken_rules(shown) == []
    assert "approv" not in shown.text.lower()
