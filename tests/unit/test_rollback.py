"""`/rollback`: what it goes back to, who may, and what fails after a commit asks for by itself, on both databases.

What git is made to say is test_content; the hold, test_locks; what becomes of any accepted request, test_opening.
"""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from commands.facts import Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Rollback
from commands.rollback import after_failure, rollback
from storage.models import Deployment, Kind
from storage.phases import Phase
from storage.unit_of_work import BOT, Store
from tests.desk_rig import ALICE, BOB, asker, broken, check_refusal, check_words
from tests.rows import audit_rows, deployments
from tests.unit import review_rig as rig
from tests.unit.review_rig import SET, TWO, happened, known

BACK = Rollback("web", "staging", reason="the cart is empty")
PRODUCTION = replace(BACK, environment="production")
NOW = {"web/staging": "1.4.2", "web/production": "1.4.2"}
OTHER_DIGEST = "sha256:" + "b" * 64


def ask(store: Store, request: Rollback = BACK, facts: Facts | None = None, **who: str) -> Answer:
    answer = rollback(store, facts or known(images=NOW), asker(**who), request)
    check_words(answer)
    return answer


def asked_for(store: Store) -> Deployment:
    (row,) = [row for row in deployments(store) if row.kind == Kind.ROLLBACK and not Phase(row.phase).ended]
    return row


def goal(store: Store) -> tuple[str, str, str]:
    """Version, the deployment and the commit that it goes back to."""
    row = asked_for(store)
    return row.version, row.restores, row.restore_commit


def history(store: Store) -> tuple[str, str]:
    """1.4.1 ran well in staging, and so did 1.4.2 after it."""
    return happened(store, "web", "staging", "1.4.1", digest=OTHER_DIGEST), happened(store, "web", "staging", "1.4.2")


def commit(store: Store, deployment_id: str) -> str:
    return next(row.commit_sha for row in deployments(store) if row.id == deployment_id)


# ---------------------------------------------------------------- the previous one


def test_it_goes_back_to_the_last_other_version_that_was_verified_healthy(store: Store) -> None:
    before, _ = history(store)
    answer = ask(store)
    assert answer.what == "Rolling back to `web` `1.4.1` to `staging`."
    row = asked_for(store)
    assert goal(store) == ("1.4.1", before, commit(store, before))
    assert (row.digest, row.phase, row.requested_by, row.reason) == (
        OTHER_DIGEST,
        Phase.QUEUED,
        ALICE,
        "the cart is empty",
    )


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.ERRORED, Phase.CANCELLED])
def test_what_did_not_become_healthy_is_passed_over(store: Store, phase: Phase) -> None:
    before, _ = history(store)
    happened(store, "web", "staging", "1.4.9", phase, commit_sha="d" * 40)
    ask(store)
    assert goal(store)[1] == before


@pytest.mark.parametrize("elsewhere", [("web", "dev"), ("checkout-api", "staging")])
def test_other_apps_and_places_are_passed_over(store: Store, elsewhere: tuple[str, str]) -> None:
    before, _ = history(store)
    happened(store, *elsewhere, "1.4.9")
    ask(store)
    assert goal(store)[1] == before


def test_a_failed_version_goes_back_to_the_one_before_it(store: Store) -> None:
    _, last = history(store)
    happened(store, "web", "staging", "1.5.0", Phase.FAILED, commit_sha="d" * 40)
    ask(store, facts=known(images={"web/staging": "1.5.0"}))
    assert goal(store)[1] == last


def test_what_somebody_put_there_by_hand_goes_back_to_the_last_that_was_well(store: Store) -> None:
    _, last = history(store)
    ask(store, facts=known(images={"web/staging": "9.9.9"}))
    assert goal(store)[1] == last


def test_without_a_look_at_git_the_record_says_what_is_there(store: Store) -> None:
    before, _ = history(store)
    happened(store, "web", "staging", "1.6.0", Phase.CANCELLED)
    ask(store, facts=replace(known(), snapshot=None))
    assert goal(store)[1] == before


def test_a_second_rollback_goes_further_back_and_not_forth(store: Store) -> None:
    oldest = happened(store, "web", "staging", "1.4.0")
    before, _ = history(store)
    first = happened(store, "web", "staging", "1.4.1", kind=Kind.ROLLBACK, restores=before)
    ask(store, facts=known(images={"web/staging": "1.4.1"}))
    assert goal(store)[1] == oldest, f"not 1.4.2, which {first} was a way out of"


def test_a_rollback_of_a_rollback_of_a_rollback_does_too(store: Store) -> None:
    oldest = happened(store, "web", "staging", "1.4.0")
    before, _ = history(store)
    first = happened(store, "web", "staging", "1.4.1", kind=Kind.ROLLBACK, restores=before)
    happened(store, "web", "staging", "1.4.1", kind=Kind.ROLLBACK, restores=first)
    ask(store, facts=known(images={"web/staging": "1.4.1"}))
    assert goal(store)[1] == oldest


def test_after_a_rollback_and_a_new_version_it_goes_back_to_what_the_rollback_left(store: Store) -> None:
    before, _ = history(store)
    left = happened(store, "web", "staging", "1.4.1", kind=Kind.ROLLBACK, restores=before)
    happened(store, "web", "staging", "1.5.0", Phase.FAILED, commit_sha="d" * 40)
    ask(store, facts=known(images={"web/staging": "1.5.0"}))
    assert goal(store)[:2] == ("1.4.1", left)


def test_where_nothing_else_was_healthy_it_says_what_can_be_named(store: Store) -> None:
    happened(store, "web", "staging", "1.4.2")
    answer = ask(store)
    check_refusal(store, answer, ReasonCode.NOTHING_TO_RESTORE)
    assert answer.what == "No earlier version of `web` in `staging` is on record as verified healthy."
    assert "/rollback web staging to VERSION" in answer.next_step


# ---------------------------------------------------------------- what is named


def test_a_version_that_was_healthy_is_restored_as_it_was_deployed_then(store: Store) -> None:
    before, _ = history(store)
    happened(store, "web", "staging", "1.4.3")
    ask(store, replace(BACK, to="1.4.1"))
    assert goal(store) == ("1.4.1", before, commit(store, before))


def test_of_a_version_that_was_deployed_twice_the_later_counts(store: Store) -> None:
    happened(store, "web", "staging", "1.4.1")
    later = happened(store, "web", "staging", "1.4.1")
    happened(store, "web", "staging", "1.4.2")
    ask(store, replace(BACK, to="1.4.1"))
    assert goal(store)[1] == later


def test_a_version_that_is_not_on_record_is_the_image_alone(store: Store) -> None:
    ask(store, replace(BACK, to="1.3.0"))
    assert goal(store) == ("1.3.0", "", "")


def test_a_deployment_is_restored_whether_or_not_it_became_healthy(store: Store) -> None:
    history(store)
    failed = happened(store, "web", "staging", "1.5.0", Phase.FAILED, commit_sha="d" * 40)
    ask(store, replace(BACK, to=failed))
    assert goal(store) == ("1.5.0", failed, "d" * 40)


@pytest.mark.parametrize("prefix", ["d" * 7, "d" * 12, "d" * 40])
def test_a_commit_may_be_short_and_is_read_from_git_later(store: Store, prefix: str) -> None:
    ask(store, replace(BACK, to=prefix))
    assert goal(store) == (prefix[:12], "", prefix)


@pytest.mark.parametrize("length", [7, 12, 40])
def test_a_commit_of_a_deployment_on_record_restores_that_deployment(store: Store, length: int) -> None:
    before = happened(store, "web", "staging", "1.4.1", commit_sha="ab" * 20)
    happened(store, "web", "staging", "1.4.2", commit_sha="cd" * 20)
    happened(store, "web", "production", "1.4.0", commit_sha="ab" * 20)
    ask(store, replace(BACK, to=("ab" * 20)[:length]))
    assert goal(store) == ("1.4.1", before, "ab" * 20)


def test_a_beginning_that_several_commits_share_is_left_to_git(store: Store) -> None:
    happened(store, "web", "staging", "1.4.1", commit_sha="abcabca" + "1" * 33)
    happened(store, "web", "staging", "1.4.2", commit_sha="abcabca" + "2" * 33)
    ask(store, replace(BACK, to="abcabca"))
    assert goal(store) == ("abcabca", "", "abcabca")


def test_after_a_rollback_to_a_commit_what_it_took_away_does_not_come_again(store: Store) -> None:
    happened(store, "web", "staging", "1.4.0")
    before = happened(store, "web", "staging", "1.4.1", commit_sha="ab" * 20)
    happened(store, "web", "staging", "1.4.2")
    ask(store, replace(BACK, to="ab" * 20))
    row = asked_for(store)
    with store.write() as uow:
        mine = uow.deployment(row.id)
        assert mine is not None
        mine.to(Phase.RUNNING)
        mine.to(Phase.SUCCEEDED)
        mine.commit_sha, mine.finished_at, mine.reason_code = "ef" * 20, uow.now, ReasonCode.LIVE
    ask(store, facts=known(images={"web/staging": "1.4.1"}))
    assert goal(store)[0] == "1.4.0"
    assert before == row.restores


def test_digits_alone_are_a_version(store: Store) -> None:
    ask(store, replace(BACK, to="20261120"))
    assert goal(store) == ("20261120", "", "")


def test_exact_is_kept_for_whoever_writes_it(store: Store) -> None:
    history(store)
    ask(store, replace(BACK, exact=True))
    assert asked_for(store).exact
    (request,) = [one for one in audit_rows(store) if one.action == "rollback:request"]
    details = json.loads(request.details)
    assert details["exact"] is True
    assert (details["version"], details["restores"], details["reason"]) == (
        "1.4.1",
        asked_for(store).restores,
        "the cart is empty",
    )


@pytest.mark.parametrize("elsewhere", [("web", "production"), ("checkout-api", "staging")])
def test_a_deployment_of_another_target_is_refused(store: Store, elsewhere: tuple[str, str]) -> None:
    history(store)
    other = happened(store, *elsewhere, "1.4.1")
    answer = ask(store, replace(BACK, to=other))
    check_refusal(store, answer, ReasonCode.NOTHING_TO_RESTORE)
    assert f"of `{elsewhere[0]}` to `{elsewhere[1]}`, not of `web` to `staging`" in answer.what
    assert "/audit history app:web env:staging" in answer.next_step


def test_a_deployment_that_never_reached_git_is_refused(store: Store) -> None:
    history(store)
    never = happened(store, "web", "staging", "1.5.0", Phase.CANCELLED)
    check_refusal(store, ask(store, replace(BACK, to=never)), ReasonCode.NOTHING_TO_RESTORE)


@pytest.mark.parametrize("word", ["../..", "-x", "a b", "v" * 129, "HEAD~1", "", "\u202e1.4"])
def test_what_is_none_of_these_is_refused_and_shown_harmlessly(store: Store, word: str) -> None:
    if not word:
        word = "`"
    check_refusal(store, ask(store, replace(BACK, to=word)), ReasonCode.BAD_VERSION)


# ---------------------------------------------------------------- names, reason, rules


@pytest.mark.parametrize(
    ("request_", "reason", "hint"),
    [
        (replace(BACK, app="wep"), ReasonCode.UNKNOWN_APP, "Did you mean `web`?"),
        (replace(BACK, environment="prod"), ReasonCode.UNKNOWN_ENVIRONMENT, "Did you mean `production`?"),
        (replace(PRODUCTION, app="docs"), ReasonCode.UNKNOWN_ENVIRONMENT, "It runs in"),
        (replace(BACK, reason=""), ReasonCode.REASON_REQUIRED, "--reason"),
        (replace(BACK, reason=" \t"), ReasonCode.REASON_REQUIRED, "--reason"),
        (replace(BACK, reason="x" * 501), ReasonCode.BAD_USAGE, "Shorten"),
        (replace(BACK, reason="a\nSigned-off-by: x"), ReasonCode.UNSAFE_TEXT, "by hand"),
        (replace(PRODUCTION, break_glass=True), ReasonCode.NOT_PERMITTED, "Ask one of them"),
    ],
)
def test_what_cannot_be_is_refused_with_what_could(
    store: Store, request_: Rollback, reason: ReasonCode, hint: str
) -> None:
    for environment in ("staging", "production"):
        happened(store, "web", environment, "1.4.1")
    answer = ask(store, request_)
    row = check_refusal(store, answer, reason)
    assert row.action == "rollback:refuse"
    assert hint in answer.next_step


def test_who_may_not_deploy_may_not_roll_back(store: Store) -> None:
    history(store)
    text = SET.replace("  staging: {}\n", "  staging: {deployers: [platform-team]}\n")
    check_refusal(store, ask(store, facts=known(text, NOW)), ReasonCode.NOT_PERMITTED)
    assert ask(store, facts=known(text, NOW), user=rig.PLATFORM1).reason is ReasonCode.ACCEPTED


def test_production_is_closed_while_the_rules_are_in_doubt(store: Store) -> None:
    happened(store, "web", "production", "1.4.1")
    doubts = (
        (broken(known(images=NOW)), ReasonCode.CATALOGUE_INVALID),
        (known(images=NOW, reviews=False), ReasonCode.NOT_CONFIGURED),
        (known(images=NOW, age=timedelta(hours=1)), ReasonCode.FACTS_TOO_OLD),
    )
    for number, (facts, reason) in enumerate(doubts):
        check_refusal(store, ask(store, PRODUCTION, facts), reason, before=number)


def test_in_production_it_is_a_change_with_as_many_approvals_as_rollbacks_need(store: Store) -> None:
    happened(store, "web", "production", "1.4.1")
    ask(store, PRODUCTION, known(TWO, NOW))
    row = asked_for(store)
    assert row.phase == Phase.AWAITING_APPROVAL
    change = rig.change_of(store, row.change_id)
    assert (change.kind, change.required) == (Kind.ROLLBACK, 1)


def test_the_same_rollback_is_not_asked_for_twice(store: Store) -> None:
    history(store)
    first = ask(store)
    before = len(audit_rows(store))
    again = ask(store, user=BOB)
    check_refusal(store, again, ReasonCode.ALREADY_REQUESTED, before=before)
    assert first.deployment_id in again.next_step


def test_a_rollback_to_something_else_takes_the_place_of_one_that_waits_for_an_approval(store: Store) -> None:
    happened(store, "web", "production", "1.4.0")
    happened(store, "web", "production", "1.4.1")
    first = ask(store, PRODUCTION)
    ask(store, replace(PRODUCTION, to="1.4.0"))
    assert asked_for(store).version == "1.4.0"
    assert {row.id: row.phase for row in deployments(store)}[first.deployment_id] == Phase.SUPERSEDED


def test_break_glass_takes_the_place_of_the_same_rollback_that_waits_for_an_approval(store: Store) -> None:
    happened(store, "web", "production", "1.4.1")
    first = ask(store, PRODUCTION)
    answer = ask(store, replace(PRODUCTION, break_glass=True), user=rig.ONCALL)
    assert answer.reason is ReasonCode.ACCEPTED
    assert asked_for(store).break_glass
    assert {row.id: row.phase for row in deployments(store)}[first.deployment_id] == Phase.SUPERSEDED


def test_the_same_delivery_twice_is_one_rollback_with_one_answer(store: Store) -> None:
    history(store)
    assert ask(store, key="trigger:same") == ask(store, key="trigger:same")
    assert asked_for(store).version == "1.4.1"


# ---------------------------------------------------------------- what a failure asks for by itself

BY_ITSELF = SET.replace("  staging: {}\n", "  staging: {on_failure: rollback}\n").replace(
    "    break_glass", "    on_failure: rollback\n    break_glass"
)


def fails(store: Store, facts: Facts, environment: str = "staging", **more: Any) -> str:
    """A deployment of 1.5.0 fails after its commit; the id of the rollback that follows, or nothing."""
    known_: dict[str, Any] = {"reason_code": ReasonCode.CRASH_LOOP, "commit_sha": "d" * 40}
    failed = happened(store, "web", environment, "1.5.0", Phase.FAILED, **(known_ | more))
    with store.write() as uow:
        row = uow.deployment(failed)
        assert row is not None
        return after_failure(uow, facts, row)


def test_a_failure_asks_for_the_rollback_that_the_catalogue_wants(store: Store) -> None:
    before = happened(store, "web", "staging", "1.4.2")
    card = fails(store, known(BY_ITSELF, {"web/staging": "1.5.0"}))
    row = asked_for(store)
    assert (row.id, row.requested_by, row.phase) == (card, BOT, Phase.QUEUED)
    assert goal(store)[:2] == ("1.4.2", before)
    assert row.reason == "web 1.5.0 failed (crash_loop)"


def test_in_production_it_goes_through_the_gate(store: Store) -> None:
    happened(store, "web", "production", "1.4.2")
    card = fails(store, known(BY_ITSELF, {"web/production": "1.5.0"}), "production")
    assert asked_for(store).phase == Phase.AWAITING_APPROVAL
    assert rig.change_of(store, card).requested_by == BOT


@pytest.mark.parametrize("facts", [broken(known(BY_ITSELF)), known(BY_ITSELF, reviews=False)])
def test_where_nothing_may_be_changed_nothing_is_asked_for(store: Store, facts: Facts) -> None:
    happened(store, "web", "production", "1.4.2")
    assert fails(store, facts, "production") == ""


@pytest.mark.parametrize(
    ("text", "more"),
    [
        (SET, {}),
        (BY_ITSELF.replace("on_failure: rollback", "on_failure: offer"), {}),
        (BY_ITSELF, {"kind": Kind.ROLLBACK}),
        (BY_ITSELF, {"reason_code": ReasonCode.ROLLOUT_REPLACED}),
    ],
)
def test_a_failure_that_nobody_wants_rolled_back_is_left(store: Store, text: str, more: dict[str, Any]) -> None:
    happened(store, "web", "staging", "1.4.2")
    assert fails(store, known(text, {"web/staging": "1.5.0"}), **more) == ""
    assert [row for row in deployments(store) if not Phase(row.phase).ended] == []


def test_where_nothing_was_ever_healthy_nothing_is_asked_for(store: Store) -> None:
    assert fails(store, known(BY_ITSELF, {"web/staging": "1.5.0"})) == ""
