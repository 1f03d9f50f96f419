"""`/deploy why`: everything that a deployment can wait for, each with who can lift it, and what would stop a new one.

What blocks at all is `test_blocks`; here is that all of it is told, and of whom.
"""

import json
from datetime import timedelta
from typing import Any

import pytest

from commands import requests
from commands.facts import CatalogueInForce, Facts
from commands.reasons import ReasonCode
from commands.requests import Answer
from commands.why import why
from storage import gate
from storage.models import Approval, Change, ChangeState, Kind
from storage.phases import Phase, Stage
from storage.unit_of_work import Store
from tests.desk_rig import ALICE, APP, BOB, asker, check_refusal, check_words
from tests.rows import audit_rows
from tests.unit.lock_rig import (
    GUARDED,
    HOUR,
    NOW,
    OPEN_TO_ALL,
    WINDOW,
    Clock,
    accepted,
    frozen,
    known,
    locked,
    put,
)

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def clock(store: Store) -> Clock:
    """The store's clock, to be set by hand."""
    made = Clock(NOW + 5 * MINUTE)
    store.clock = made
    return made


def ask(store: Store, *words: str, text: str = OPEN_TO_ALL) -> Answer:
    answer = why(store, known(text), asker(BOB), requests.Why(words))
    check_words(answer)
    return answer


def told(answer: Answer) -> str:
    assert answer.reason is ReasonCode.ANSWERED, answer
    return "\n".join(f"{row.text} {row.detail}" for row in answer.rows)


def change(store: Store, change_id: str, state: ChangeState = ChangeState.OPEN, **more: Any) -> None:
    values: dict[str, Any] = {"required": 2, "content": "c1", "expires_at": NOW + 4 * HOUR, "requested_at": NOW}
    values |= {"environment": "production", "team_id": "T1", "requested_by": ALICE, "pr_url": "https://host/pull/7"}
    with store.write() as uow:
        gate.add_change(uow, Change(id=change_id, state=state, **(values | more)))


def approved(store: Store, change_id: str, person: str, content: str = "c1", verdict: str = "approved") -> None:
    with store.write() as uow:
        uow.session.add(
            Approval(
                change_id=change_id,
                content=content,
                person=f"slack:{person}",
                verdict=verdict,
                slack_user=person,
                at=uow.now,
            )
        )


# ---------------------------------------------------------------- a deployment


def test_it_is_not_recorded(store: Store) -> None:
    put(store, "waiting001")
    ask(store, "waiting001")
    assert audit_rows(store) == []


@pytest.mark.parametrize("word", ["waiting001", "wait"])
def test_what_waits_for_nothing_starts_within_seconds(store: Store, word: str) -> None:
    put(store, "waiting001")
    answer = ask(store, word)
    assert answer.deployment_id == "waiting001"
    assert "starts within seconds" in answer.what
    assert answer.rows == ()


def test_every_block_is_told_with_who_can_lift_it(store: Store, clock: Clock) -> None:
    put(store, "waiting001", not_before=clock.now + HOUR)
    accepted(locked(store, "production", by="U0PLATFORM1", text=GUARDED))
    accepted(frozen(store, "production 2h", by="U0PLATFORM1", text=GUARDED))
    answer = ask(store, "waiting001", text=GUARDED)
    texts = told(answer)
    assert len(answer.rows) == 3
    assert "`production` is locked by" in texts
    assert "`production` is frozen by" in texts
    assert texts.count("A member of `release-managers` or `platform-team`") == 2
    assert "`/deploy unlock production`" in texts
    assert "`/deploy unfreeze production`" in texts
    assert "It was asked for 2026-11-20 13:05 UTC." in texts
    assert "/deploy cancel waiting001" in answer.next_step


def test_what_is_ahead_is_told_in_order_but_not_what_holds_nobody_up(store: Store, clock: Clock) -> None:
    put(store, "running001", phase=Phase.RUNNING, stage=Stage.ROLLOUT)
    put(store, "later00001", requested_at=NOW - HOUR, not_before=clock.now + HOUR)
    put(store, "review0001", requested_at=NOW - HOUR, phase=Phase.AWAITING_APPROVAL)
    put(store, "older00001", requested_at=NOW - MINUTE)
    put(store, "waiting001")
    put(store, "newer00001", requested_at=NOW + MINUTE)
    put(store, "urgent0001", requested_at=NOW + MINUTE, priority=100, kind=Kind.ROLLBACK)
    put(store, "elsewhere1", environment="staging", requested_at=NOW - HOUR)
    texts = told(ask(store, "waiting001"))
    places = [texts.find(one) for one in ("running001", "urgent0001", "older00001")]
    assert places == sorted(places)
    assert places[0] > 0
    assert not any(one in texts for one in ("later00001", "review0001", "newer00001", "elsewhere1"))


def test_whoever_may_break_the_glass_is_named_where_somebody_may(store: Store) -> None:
    text = OPEN_TO_ALL.replace("required: 2,", "required: 1,").replace(
        "    change: pull-request\n", "    change: pull-request\n    break_glass: {from: [platform-team]}\n"
    )
    put(store, "waiting001", not_before=NOW + HOUR)
    assert len(ask(store, "waiting001", text=text).rows) == 1  # the time that was asked for is kept all the same
    accepted(locked(store, "production"))
    assert "platform-team` can ask again with `--break-glass" in told(ask(store, "waiting001", text=text))
    assert "--break-glass" not in told(ask(store, "waiting001"))


def test_a_long_queue_is_counted(store: Store) -> None:
    for number in range(8):
        put(store, f"before{number:04}", requested_at=NOW - HOUR)
    put(store, "waiting001")
    answer = ask(store, "waiting001")
    assert len(answer.rows) == 6
    assert answer.rows[-1].text == "3 more are ahead of it."


def test_an_approval_that_is_missing_is_told_with_who_gave_one_and_until_when(store: Store) -> None:
    put(store, "review0001", phase=Phase.AWAITING_APPROVAL, change_id="review0001")
    change(store, "review0001", wants=json.dumps(["The check `ci/validate` has not passed (pending)."]))
    approved(store, "review0001", "U0PLATFORM1")
    approved(store, "review0001", "U0PLATFORM2", content="other content")
    approved(store, "review0001", "U0RELEASE1", verdict="rejected")
    answer = ask(store, "review0001")
    assert answer.rows[0].text == (
        "It waits for approval: 1 of 2 from `release-managers` or `platform-team`, until 2026-11-20 16:00 UTC."
    )
    assert "U0PLATFORM1" in answer.rows[0].detail
    assert "U0PLATFORM2" not in answer.rows[0].detail
    assert "https://host/pull/7" in answer.rows[0].detail
    assert answer.rows[1].text == "The check `ci/validate` has not passed (pending)."


def test_a_review_on_the_code_host_is_told_by_its_login(store: Store) -> None:
    put(store, "review0001", phase=Phase.AWAITING_APPROVAL, change_id="review0001")
    change(store, "review0001")
    with store.write() as uow:
        values: dict[str, Any] = {
            "change_id": "review0001",
            "content": "c1",
            "person": "github:octo-one",
            "at": uow.now,
        }
        uow.session.add(Approval(verdict="approved", login="octo-one", source="github", **values))
    assert ask(store, "review0001").rows[0].detail == "Approved by `octo-one`. https://host/pull/7"


@pytest.mark.parametrize(
    ("state", "phase", "words"),
    [
        (ChangeState.PREPARING, Phase.AWAITING_APPROVAL, "waits for its pull request"),
        (ChangeState.OPEN, Phase.AWAITING_APPROVAL, "waits for approval: 0 of 2"),
        (ChangeState.APPROVED, Phase.QUEUED, "starts within seconds"),
    ],
)
def test_each_state_of_a_review_has_its_words(store: Store, state: ChangeState, phase: Phase, words: str) -> None:
    put(store, "review0001", phase=phase, change_id="review0001")
    change(store, "review0001", state)
    assert words in ask(store, "review0001").what


def test_what_is_approved_and_held_up_says_both(store: Store) -> None:
    put(store, "review0001", change_id="review0001")
    change(store, "review0001", ChangeState.APPROVED, moved="The head is another.")
    accepted(locked(store, "production"))
    answer = ask(store, "review0001")
    assert answer.what.endswith("is approved.")
    assert "What was shown has moved: The head is another." in told(answer)
    assert "is locked by" in told(answer)


def test_a_change_set_waits_for_what_holds_up_any_of_it(store: Store) -> None:
    put(store, "first00001", change_id="set0000001")
    put(store, "second0001", app="web", change_id="set0000001")
    put(store, "running001", app="web", phase=Phase.RUNNING)
    change(store, "set0000001", ChangeState.APPROVED)
    accepted(locked(store, "web"))
    texts = told(ask(store, "first00001"))
    assert "It starts together with `web` in `production`. `web` is locked by" in texts
    assert "running001" in texts
    assert "second0001" not in texts


def test_what_runs_says_what_it_does(store: Store) -> None:
    put(store, "running001", phase=Phase.RUNNING, stage=Stage.RECONCILE, note="Jenkins does not answer; trying again.")
    answer = ask(store, "running001")
    assert answer.what.endswith("is running: reconcile. Jenkins does not answer; trying again.")


def test_what_ended_says_why(store: Store) -> None:
    put(
        store,
        "ended00001",
        phase=Phase.SUPERSEDED,
        what="A newer request took its place.",
        next_step="Nothing to do.",
        superseded_by="newer00001",
        detail="quoted words",
    )
    answer = ask(store, "ended00001")
    assert "has ended: superseded. A newer request took its place." in answer.what
    assert "`/deploy why newer00001`" in answer.next_step
    assert answer.quote == "quoted words"


def test_a_deployment_is_told_of_without_a_catalogue(store: Store) -> None:
    put(store, "waiting001")
    none = Facts(CatalogueInForce(), team_id="T1")
    answer = why(store, none, asker(), requests.Why(("waiting001",)))
    assert "has not been read yet" in told(answer)
    check_refusal(store, why(store, none, asker(), requests.Why((APP,))), ReasonCode.CATALOGUE_MISSING)


# ---------------------------------------------------------------- a target


def test_a_target_with_one_waiting_is_that_deployment(store: Store) -> None:
    put(store, "waiting001")
    accepted(locked(store, "production"))
    for words in ((APP, "production"), ("production", APP)):
        answer = ask(store, *words)
        assert answer.deployment_id == "waiting001"
        assert "is locked by" in told(answer)


def test_an_app_alone_is_all_of_its_environments(store: Store) -> None:
    put(store, "waiting001", environment="staging")
    put(store, "running001", environment="dev", phase=Phase.RUNNING)
    accepted(locked(store, "production"))
    rows = ask(store, APP).rows
    assert [row.text.partition("`,")[0].partition("`:")[0] for row in rows] == [
        f"`{APP}` in `dev",
        f"`{APP}` in `dev",
        f"`{APP}` in `staging",
        f"`{APP}` in `production",
    ]
    assert "nothing stops a deployment now" in rows[1].text
    assert "waiting001" in rows[2].text
    assert "is locked by" in rows[3].text


def test_where_nothing_waits_it_tells_what_would_stop_a_request(store: Store, clock: Clock) -> None:
    clock.now = NOW.replace(hour=17)
    assert "`weekend`" in told(ask(store, APP, "production", text=WINDOW))
    clock.now = NOW
    (row,) = ask(store, APP, "production", text=WINDOW).rows
    assert "nothing stops a deployment now" in row.text
    assert row.detail == "It needs 2 approvals from `release-managers` or `platform-team`."
    assert ask(store, APP, "staging").rows[0].detail == ""


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("words", "reason", "step"),
    [
        (("0000000000",), ReasonCode.UNKNOWN_DEPLOYMENT, "/deploy why ID"),
        (("my-aplication",), ReasonCode.UNKNOWN_DEPLOYMENT, f"`{APP}`"),
        (("%",), ReasonCode.UNKNOWN_DEPLOYMENT, "/deploy why ID"),
        (("x" * 4000,), ReasonCode.UNKNOWN_DEPLOYMENT, "/deploy why ID"),
        (("production",), ReasonCode.BAD_USAGE, "`/deploy queue production`"),
        ((), ReasonCode.BAD_USAGE, "/deploy why ID"),
        ((APP, "2h"), ReasonCode.BAD_USAGE, "/deploy why ID"),
        ((APP, "prod"), ReasonCode.UNKNOWN_ENVIRONMENT, "`production`"),
        ((APP, "dev", "staging"), ReasonCode.BAD_USAGE, "/deploy why ID"),
        (("same",), ReasonCode.UNKNOWN_DEPLOYMENT, "`same000001`"),
    ],
)
def test_words_that_name_nothing_are_refused(
    store: Store, words: tuple[str, ...], reason: ReasonCode, step: str
) -> None:
    put(store, "same000001")
    put(store, "same000002")
    answer = ask(store, *words)
    check_refusal(store, answer, reason)
    assert step in answer.next_step


def test_an_app_comes_before_an_id_that_starts_like_it(store: Store) -> None:
    put(store, "web0000001")
    assert len(ask(store, "web").rows) == 3
