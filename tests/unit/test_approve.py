"""Approve, reject and review after the fact: every answer with its reason, its next step and its row in the record.

Who counts as whom is test_approvals and test_people; the merge that follows, tests/e2e.
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from commands.approve import approve, reject, review, voices
from commands.code_host import PullCommit
from commands.facts import Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Approve, Reject, Review
from storage import gate
from storage.database import Database
from storage.models import ChangeState
from storage.phases import Phase
from storage.unit_of_work import Store
from tests.desk_rig import ALICE, BOB, asker, broken, check_refusal, check_words, deployment
from tests.rows import audit_rows, messages
from tests.unit.review_rig import (
    MANAGER,
    ONCALL,
    PLATFORM1,
    PLATFORM2,
    SET,
    TWO,
    Clock,
    a_set,
    actions,
    approved,
    asked,
    change_of,
    known,
    merged,
    of,
    opened,
    said_of,
)

GITHUB_ONLY = SET.replace("expires_after: 4h}", "accept: github}").replace("{slack: S0RELEASE}", "{github: c/release}")
WITH_WORDS = SET.replace("expires_after: 4h}", "expires_after: 4h, comment: required}")
STRANGER = PullCommit("d" * 40, ("platform-one",), ("one@company.com",))


def yes(store: Store, token: str, by: str = MANAGER, facts: Facts | None = None, words: str = "", **who: str) -> Answer:
    answer = approve(store, facts or known(), asker(by, **who), Approve(token, words))
    check_words(answer)
    return answer


def no(store: Store, token: str, by: str = MANAGER, why: str = "not today", facts: Facts | None = None) -> Answer:
    answer = reject(store, facts or known(), asker(by), Reject(token, why))
    check_words(answer)
    return answer


def looked(store: Store, change_id: str, by: str = MANAGER, words: str = "it is fine") -> Answer:
    answer = review(store, known(), asker(by), Review(change_id, words))
    check_words(answer)
    return answer


def waiting(store: Store, text: str = SET, **more: str) -> tuple[str, str]:
    """A change that waits for its approval, and the token of its buttons."""
    one = asked(store, text=text, **more)
    return one, opened(store, one)


def refused(store: Store, answer: Answer, reason: ReasonCode, action: str = "change:approve:refuse") -> None:
    """Refused, on record, and nothing else happened."""
    row = check_refusal(store, answer, reason, before=len(audit_rows(store)) - 1)
    assert row.action == action
    assert len(row.details) < 2000


def how_many(store: Store, change_id: str, facts: Facts | None = None) -> int:
    facts = facts or known()
    assert facts.in_force.catalogue is not None
    with store.read() as uow:
        change = gate.change_of(uow, change_id)
        assert change is not None
        return len(voices(uow, facts.in_force.catalogue, facts, change))


# ---------------------------------------------------------------- yes


def test_a_members_yes_is_recorded_with_what_was_shown(store: Store) -> None:
    one, token = waiting(store)
    answer = yes(store, token, words="looked at the diff")
    assert (answer.reason, answer.deployment_id) == (ReasonCode.APPROVED, one)
    assert "it has all it needs" in answer.what
    (said,) = said_of(store, one)
    change = change_of(store, one)
    assert (said.person, said.content, said.slack_user, said.verdict) == (
        f"slack:{MANAGER}",
        change.content,
        MANAGER,
        "approved",
    )
    row = audit_rows(store)[-1]
    assert (row.action, row.actor, row.team_id, row.deployment_id) == ("change:approve", MANAGER, "T1", one)
    details = json.loads(row.details)
    assert (details["content"], details["head"], details["comment"], details["person"]) == (
        change.content,
        "f" * 40,
        "looked at the diff",
        f"slack:{MANAGER}",
    )
    assert details["known_as"] == [MANAGER]
    assert details["apart_from"] == [["requester", ALICE, f"slack:{ALICE}"]]


def test_the_yes_changes_no_state_itself_and_has_the_change_looked_at_at_once(store: Store) -> None:
    one, token = waiting(store)
    with store.write() as uow:
        change = gate.held(uow, one)
        assert change is not None
        change.visit_at = uow.now + timedelta(hours=1)
    yes(store, token)
    assert change_of(store, one).state == ChangeState.OPEN, "the gatekeeper asks all of it again"
    assert deployment(store, one).phase == Phase.AWAITING_APPROVAL
    with store.read() as uow:
        assert gate.due(uow, 10) == [one]


def test_of_two_that_are_needed_the_first_is_told_how_many_are_left(store: Store) -> None:
    one, token = waiting(store, TWO)
    first = yes(store, token, facts=known(TWO))
    assert "1 of 2" in first.what
    assert first.next_step == "1 more of `release-managers` or `platform-team` has to approve."
    second = yes(store, token, PLATFORM1, known(TWO))
    assert "it has all it needs" in second.what
    assert how_many(store, one, known(TWO)) == 2


def test_one_person_counts_once_however_often_they_click(store: Store) -> None:
    one, token = waiting(store, TWO)
    yes(store, token, facts=known(TWO))
    rows = len(audit_rows(store))
    again = yes(store, token, facts=known(TWO))
    assert again.reason is ReasonCode.APPROVED
    assert again.what == "You have approved it already: 1 of 2."
    assert len(said_of(store, one)) == 1
    assert len(audit_rows(store)) == rows


def test_the_same_click_delivered_three_times_is_one_yes(store: Store) -> None:
    one, token = waiting(store, TWO)
    answers = [yes(store, token, facts=known(TWO), key="trigger:click") for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(said_of(store, one)) == 1
    assert actions(store).count("change:approve") == 1


def test_two_accounts_of_one_person_count_once(store: Store) -> None:
    text = TWO.replace("U0PLATFORM2]", "U0PLATFORM2, U0ALIAS]").replace(
        "slack: U0PLATFORM1", "slack: [U0PLATFORM1, U0ALIAS]"
    )
    one, token = waiting(store, text)
    yes(store, token, PLATFORM1, known(text))
    assert "already: 1 of 2" in yes(store, token, "U0ALIAS", known(text)).what
    assert how_many(store, one, known(text)) == 1


def test_a_yes_counts_no_longer_when_the_role_is_lost_or_the_content_moved(store: Store) -> None:
    one, token = waiting(store)
    yes(store, token)
    assert how_many(store, one) == 1
    assert how_many(store, one, known(groups={"S0RELEASE": frozenset({ALICE})})) == 0
    assert how_many(store, one, known(groups={})) == 0, "who cannot be read is nobody"
    opened(store, one, content="2")
    assert how_many(store, one) == 0
    assert yes(store, change_of(store, one).token).reason is ReasonCode.APPROVED, "and may be given again"
    assert how_many(store, one) == 1


def test_two_approvers_at_once_both_count(store: Store, database_url: str) -> None:
    one, token = waiting(store, TWO)
    replica = Store(Database(database_url))
    together = threading.Barrier(2)

    def click(by: tuple[Store, str]) -> Answer:
        together.wait(20)
        return yes(by[0], token, by[1], known(TWO))

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(click, [(store, MANAGER), (replica, PLATFORM1)]))
    replica.database.close()
    assert {one.reason for one in answers} == {ReasonCode.APPROVED}
    assert sorted("all it needs" in one.what for one in answers) == [False, True]
    assert len(said_of(store, one)) == 2


# ---------------------------------------------------------------- who may not


def test_whoever_asked_cannot_approve_although_a_member(store: Store) -> None:
    one, token = waiting(store)
    answer = yes(store, token, ALICE)
    refused(store, answer, ReasonCode.SELF_APPROVAL)
    assert "Ask a member of `release-managers` or `platform-team`." in answer.next_step
    assert said_of(store, one) == []


def test_a_refusal_is_found_by_the_app_and_the_change_that_it_was_of(store: Store) -> None:
    one, token = waiting(store)
    change = change_of(store, one)
    assert change.app
    for answer in (yes(store, token, ALICE), no(store, one, BOB), looked(store, one)):
        assert answer.refused
        row = audit_rows(store)[-1]
        assert (row.app, row.environment, row.deployment_id) == (change.app, change.environment, one)
    yes(store, "f" * 32, ALICE)
    assert audit_rows(store)[-1].app == ""


def test_a_second_account_of_whoever_asked_cannot_either(store: Store) -> None:
    text = SET.replace("slack: U0SECOND", "slack: [U0SECOND, U0PLATFORM2]")
    _, token = waiting(store, text, user="U0SECOND")
    refused(store, yes(store, token, PLATFORM2, known(text)), ReasonCode.SELF_APPROVAL)


@pytest.mark.parametrize("by", [BOB, ONCALL])
def test_who_is_in_none_of_the_groups_cannot(store: Store, by: str) -> None:
    _, token = waiting(store)
    answer = yes(store, token, by)
    refused(store, answer, ReasonCode.NOT_AN_APPROVER)
    assert PLATFORM1 in answer.next_step


def test_a_group_that_cannot_be_read_lets_nobody_through_but_listed_members(store: Store) -> None:
    one, token = waiting(store)
    nobody = known(groups={})
    refused(store, yes(store, token, MANAGER, nobody), ReasonCode.GROUP_UNREADABLE)
    assert yes(store, token, PLATFORM1, nobody).reason is ReasonCode.APPROVED
    assert len(said_of(store, one)) == 1


def test_an_author_of_the_change_cannot_and_somebody_who_may_be_one_cannot_either(store: Store) -> None:
    one = asked(store)
    token = opened(store, one, strangers=(STRANGER,))
    refused(store, yes(store, token, PLATFORM1), ReasonCode.SELF_APPROVAL)
    token = opened(store, one, strangers=(PullCommit("d" * 40, ("nobody-knows",), ()),))
    answer = yes(store, token, PLATFORM2)
    refused(store, answer, ReasonCode.UNKNOWN_PERSON)
    assert "`people:`" in answer.next_step


def test_another_workspace_cannot(store: Store) -> None:
    _, token = waiting(store)
    refused(store, yes(store, token, team="T2"), ReasonCode.WRONG_WORKSPACE)


# ---------------------------------------------------------------- what cannot be approved


@pytest.mark.parametrize("token", ["", "0" * 32, "f" * 31 + "!", "x" * 4000, "' OR 1=1 --", "\u202e" * 32])
def test_a_forged_button_is_of_nothing(store: Store, token: str) -> None:
    waiting(store)
    answer = yes(store, token)
    reason = ReasonCode.UNKNOWN_DEPLOYMENT if len(token) < 32 else ReasonCode.STALE_BUTTON
    refused(store, answer, reason)


def test_a_button_of_what_was_shown_before_is_stale(store: Store) -> None:
    one, token = waiting(store)
    newer = opened(store, one, content="2")
    answer = yes(store, token)
    refused(store, answer, ReasonCode.STALE_BUTTON)
    assert answer.next_step == "Look at the card as it is now."
    assert yes(store, newer).reason is ReasonCode.APPROVED


def test_an_id_is_not_approved_because_it_does_not_say_what_was_seen(store: Store) -> None:
    one, _ = waiting(store)
    answer = yes(store, one)
    refused(store, answer, ReasonCode.STALE_BUTTON)
    assert one in answer.next_step
    assert "/pull/7" in answer.next_step


def test_what_is_still_being_worked_out_cannot_be_decided(store: Store) -> None:
    one = asked(store)
    answer = yes(store, one)
    refused(store, answer, ReasonCode.APPROVAL_NOT_OPEN)
    assert f"/deploy cancel {one}" in answer.next_step
    refused(store, no(store, one), ReasonCode.APPROVAL_NOT_OPEN, "change:reject:refuse")


def test_what_has_all_its_approvals_takes_no_more_and_no_rejection(store: Store) -> None:
    one, token = waiting(store)
    approved(store, one)
    refused(store, yes(store, token, PLATFORM1), ReasonCode.ALREADY_DECIDED)
    refused(store, no(store, token, PLATFORM1), ReasonCode.ALREADY_DECIDED, "change:reject:refuse")


def test_what_has_ended_is_decided(store: Store) -> None:
    one, token = waiting(store)
    no(store, token)
    refused(store, yes(store, token), ReasonCode.STALE_BUTTON)
    refused(store, yes(store, one), ReasonCode.ALREADY_DECIDED)
    refused(store, no(store, one), ReasonCode.ALREADY_DECIDED, "change:reject:refuse")


@pytest.mark.parametrize(("left", "reason"), [(2, ReasonCode.APPROVED), (1, ReasonCode.APPROVAL_EXPIRED)])
def test_at_the_second_of_its_expiry_it_is_too_late(store: Store, left: int, reason: ReasonCode) -> None:
    clock = Clock()
    store = Store(store.database, clock)
    one, token = waiting(store)
    until = change_of(store, one).expires_at
    assert until is not None
    clock.now = until - timedelta(seconds=left)  # the clock moves a second before it is looked at
    answer = yes(store, token)
    assert answer.reason is reason
    if answer.refused:
        assert f"{until:%H:%M:%S} UTC" in answer.what


def test_production_is_closed_to_approvals_too_while_the_rules_are_in_doubt(store: Store) -> None:
    one, token = waiting(store)
    refused(store, yes(store, token, facts=broken(known())), ReasonCode.CATALOGUE_INVALID)
    refused(store, yes(store, token, facts=known(age=timedelta(hours=1))), ReasonCode.FACTS_TOO_OLD)
    no_more = SET.replace("  production:\n", "  elsewhere:\n").replace(", production]", ", elsewhere]")
    refused(store, yes(store, token, facts=known(no_more)), ReasonCode.APPROVAL_NOT_OPEN)
    assert said_of(store, one) == []


def test_where_reviews_are_on_github_a_click_is_not_one(store: Store) -> None:
    _, token = waiting(store, GITHUB_ONLY)
    answer = yes(store, token, PLATFORM1, known(GITHUB_ONLY))
    refused(store, answer, ReasonCode.NOT_PERMITTED)
    assert "/pull/7" in answer.next_step


@pytest.mark.parametrize("words", ["", "  \n"])
def test_where_a_comment_is_needed_a_click_without_one_is_refused(store: Store, words: str) -> None:
    _, token = waiting(store, WITH_WORDS)
    refused(store, yes(store, token, facts=known(WITH_WORDS), words=words), ReasonCode.COMMENT_REQUIRED)
    assert yes(store, token, facts=known(WITH_WORDS), words="looked at it").reason is ReasonCode.APPROVED


def test_a_comment_that_would_not_read_as_it_is_is_refused(store: Store) -> None:
    one, token = waiting(store)
    refused(store, yes(store, token, words="fine \u202e"), ReasonCode.UNSAFE_TEXT)
    refused(store, yes(store, token, words="x" * 501), ReasonCode.BAD_USAGE)
    assert said_of(store, one) == []


# ---------------------------------------------------------------- no


def test_a_no_ends_all_of_it_with_the_reason(store: Store) -> None:
    one = a_set(store)
    token = opened(store, one)
    answer = no(store, token, why="the release notes are missing")
    assert answer.reason is ReasonCode.REJECTED_BY_PERSON
    assert ALICE in answer.next_step
    assert {(row.phase, row.reason_code) for row in of(store, one)} == {(Phase.REJECTED, ReasonCode.REJECTED_BY_PERSON)}
    assert all(MANAGER in row.what and "the release notes are missing" in row.what for row in of(store, one))
    assert change_of(store, one).state == ChangeState.CLOSED
    assert actions(store)[-4:] == ["change:reject", "deployment:finish", "deployment:finish", "change:close"]
    assert {row.actor for row in audit_rows(store)[-4:]} == {MANAGER}


def test_an_id_is_enough_for_a_no(store: Store) -> None:
    one, _ = waiting(store)
    assert no(store, one).reason is ReasonCode.REJECTED_BY_PERSON
    assert deployment(store, one).phase == Phase.REJECTED


@pytest.mark.parametrize(
    ("by", "why", "reason"),
    [
        (MANAGER, "", ReasonCode.REASON_REQUIRED),
        (MANAGER, " ", ReasonCode.REASON_REQUIRED),
        (MANAGER, "a\nb", ReasonCode.UNSAFE_TEXT),
        (BOB, "no", ReasonCode.NOT_AN_APPROVER),
        (ALICE, "no", ReasonCode.SELF_APPROVAL),
    ],
)
def test_a_no_needs_a_reason_and_somebody_who_may(store: Store, by: str, why: str, reason: ReasonCode) -> None:
    one, token = waiting(store)
    refused(store, no(store, token, by, why), reason, "change:reject:refuse")
    assert deployment(store, one).phase == Phase.AWAITING_APPROVAL
    assert change_of(store, one).token == token


def test_a_no_is_taken_although_the_rules_are_in_doubt(store: Store) -> None:
    one, token = waiting(store)
    assert no(store, token, facts=broken(known())).reason is ReasonCode.REJECTED_BY_PERSON
    assert deployment(store, one).phase == Phase.REJECTED


# ---------------------------------------------------------------- the look afterwards


def owed(store: Store, *, due: timedelta = timedelta(hours=24)) -> str:
    """A change that the person on call made by breaking the glass."""
    one = asked(store, user=ONCALL, break_glass=True)
    opened(store, one)
    merged(store, one, due=due)
    return one


def test_a_second_persons_look_closes_the_debt(store: Store) -> None:
    one = owed(store)
    answer = looked(store, one)
    assert answer.reason is ReasonCode.APPROVED
    change = change_of(store, one)
    assert (change.reviewed_by, change.reviewed_at is not None) == (MANAGER, True)
    row = audit_rows(store)[-1]
    assert (row.action, row.actor, row.deployment_id) == ("change:review", MANAGER, one)
    assert json.loads(row.details) == {
        "comment": "it is fine", "late": False, "merge": "e" * 40,
        "person": f"slack:{MANAGER}", "known_as": [MANAGER], "apart_from": [["requester", ONCALL, f"slack:{ONCALL}"]],
    }  # fmt: skip
    (note,) = [json.loads(note.body)["text"] for note in messages(store) if note.key == f"thread:{one}:reviewed"]
    assert MANAGER in note
    assert "it is fine" in note
    with store.read() as uow:
        assert gate.debts(uow) == []


def test_a_look_that_comes_late_is_on_record_as_late(store: Store) -> None:
    looked(store, one := owed(store, due=timedelta(seconds=-1)))
    assert json.loads(audit_rows(store)[-1].details)["late"] is True
    assert change_of(store, one).reviewed_by == MANAGER


@pytest.mark.parametrize(
    ("by", "reason"),
    [(ONCALL, ReasonCode.SELF_APPROVAL), (BOB, ReasonCode.NOT_AN_APPROVER)],
)
def test_who_broke_the_glass_and_who_may_not_approve_cannot_review_it(
    store: Store, by: str, reason: ReasonCode
) -> None:
    one = owed(store)
    refused(store, looked(store, one, by), reason, "change:review:refuse")
    assert change_of(store, one).reviewed_at is None


def test_what_was_reviewed_is_not_reviewed_again(store: Store) -> None:
    one = owed(store)
    looked(store, one)
    answer = looked(store, one, PLATFORM1)
    refused(store, answer, ReasonCode.ALREADY_DECIDED, "change:review:refuse")
    assert MANAGER in answer.what
    assert change_of(store, one).reviewed_by == MANAGER


def test_only_what_was_made_by_break_glass_and_merged_waits_for_a_look(store: Store) -> None:
    usual, _ = waiting(store)
    glass = asked(store, "1.6.0", user=ONCALL, break_glass=True)
    for one in (usual, glass, "nothing000", "", "x" * 4000):
        refused(store, looked(store, one), ReasonCode.UNKNOWN_DEPLOYMENT, "change:review:refuse")


def test_a_look_with_unsafe_words_is_refused(store: Store) -> None:
    one = owed(store)
    refused(store, looked(store, one, words="ok \u202e"), ReasonCode.UNSAFE_TEXT, "change:review:refuse")


# ---------------------------------------------------------------- every one of them


def test_every_decision_of_a_stranger_is_refused_before_anything_is_looked_at(store: Store) -> None:
    one, token = waiting(store)
    outsider = replace(asker(), team_id="T2")
    for answer in (
        approve(store, known(), replace(outsider, delivery_key="a"), Approve(token)),
        reject(store, known(), replace(outsider, delivery_key="b"), Reject(token, "no")),
        review(store, known(), replace(outsider, delivery_key="c"), Review(one)),
    ):
        assert answer.reason is ReasonCode.WRONG_WORKSPACE
    assert actions(store)[-3:] == ["change:approve:refuse", "change:reject:refuse", "change:review:refuse"]
