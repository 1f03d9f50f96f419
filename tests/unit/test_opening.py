"""How an accepted request becomes deployments: what is stored, shown and recorded, and what gives way to it.

Which requests are accepted is test_deploy, test_promote and test_rollback.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from commands.deploy import deploy
from commands.facts import Facts
from commands.locks import lock
from commands.promote import promote
from commands.reasons import ReasonCode
from commands.requests import Answer, Deploy, Lock, Promote, Rollback
from commands.rollback import rollback
from storage.models import Card, ChangeState, Deployment, Kind, Target
from storage.phases import Phase
from storage.unit_of_work import Store
from tests.desk_rig import ALICE, BOB, asker, check_refusal, check_words, deployment
from tests.rows import audit_rows, deployments, messages
from tests.unit.review_rig import ONCALL, SET, TWO, a_set, actions, change_of, happened, known, locked, of, opened

PRODUCTION = Deploy("web", "1.5.0", "production", reason="the cart")
STAGING = replace(PRODUCTION, environment="staging")


def ask(store: Store, request: Deploy = PRODUCTION, facts: Facts | None = None, **who: str) -> Answer:
    return accepted(deploy(store, facts or known(), asker(**who), request))


def accepted(answer: Answer) -> Answer:
    assert answer.reason is ReasonCode.ACCEPTED, answer
    check_words(answer)
    return answer


def back(store: Store, to: str = "1.4.0", **who: str) -> str:
    request = Rollback("web", "production", to, "it is slow")
    return accepted(rollback(store, known(), asker(**who), request)).deployment_id


def phase(store: Store, deployment_id: str) -> Phase:
    return Phase(deployment(store, deployment_id).phase)


def cards(store: Store) -> dict[str, str]:
    with store.read() as uow:
        rows = [uow.session.get(Card, one.card_id or one.id) for one in deployments(store)]
        return {row.deployment_id: row.channel for row in rows if row is not None}


def told(store: Store) -> list[tuple[str, str]]:
    return [(one.user_id, json.loads(one.body)["text"]) for one in messages(store) if one.target == Target.EPHEMERAL]


# ---------------------------------------------------------------- what is stored


def test_where_nothing_is_reviewed_it_is_queued_with_a_card_of_its_own(store: Store) -> None:
    one = ask(store, STAGING).deployment_id
    row = deployment(store, one)
    assert (row.phase, row.change_id, row.card_id, row.priority) == (Phase.QUEUED, "", "", 0)
    assert cards(store) == {one: "C0WEB"}
    assert actions(store) == ["deployment:request"]


def test_where_changes_are_reviewed_it_is_a_change_with_the_same_id(store: Store) -> None:
    one = ask(store).deployment_id
    row, change = deployment(store, one), change_of(store, one)
    assert (row.phase, row.change_id) == (Phase.AWAITING_APPROVAL, one)
    assert (change.state, change.environment, change.card_id, change.branch) == (
        ChangeState.PREPARING,
        "production",
        one,
        f"deploy/{one}",
    )
    assert (change.requested_by, change.reason, change.token) == (ALICE, "the cart", "")
    assert change.visit_at is not None
    assert change.visit_at <= store.clock(), "the gatekeeper looks at it at once"
    assert cards(store) == {one: "C0WEB"}
    assert actions(store) == ["deployment:request", "change:open"]


@pytest.mark.parametrize(("text", "required"), [(SET, 1), (TWO, 2)])
def test_it_needs_as_many_approvals_as_the_catalogue_says_until_then(store: Store, text: str, required: int) -> None:
    change = change_of(store, ask(store, facts=known(text)).deployment_id)
    assert change.required == required
    assert change.expires_at == change.requested_at + timedelta(hours=4)


def test_a_set_has_one_change_and_one_card_in_the_channel_of_all(store: Store) -> None:
    one = a_set(store)
    rows = of(store, one)
    assert {(row.card_id, row.change_id) for row in rows} == {(one, one)}
    assert len({row.id for row in rows} | {one}) == 3
    assert cards(store)[one] == "C0DEPLOYMENTS"
    assert not set(cards(store)) & {row.id for row in rows}
    opening = [row for row in audit_rows(store) if row.action == "change:open"]
    details = json.loads(opening[0].details)
    assert details["apps"] == ["web", "checkout-api"]
    assert sorted(details["deployments"]) == sorted(row.id for row in rows)
    assert actions(store) == ["promotion:request", "promotion:request", "change:open"]


def test_a_set_where_nothing_is_reviewed_has_a_card_and_no_change(store: Store) -> None:
    happened(store, "web", "dev", "1.5.0")
    happened(store, "docs", "dev", "3.0")
    facts = known(images={"web/dev": "1.5.0", "docs/dev": "3.0"})
    one = accepted(promote(store, facts, asker(), Promote(("web", "docs"), "dev", "staging"))).deployment_id
    rows = [row for row in deployments(store) if row.card_id == one]
    assert [(row.phase, row.change_id) for row in rows] == [(Phase.QUEUED, "")] * 2
    assert cards(store)[one] == "C0DEPLOYMENTS"


def test_what_is_locked_is_accepted_and_says_what_it_waits_for(store: Store) -> None:
    accepted(lock(store, known(), asker(BOB), Lock(("web", "staging"), "migration")))
    answer = ask(store, STAGING)
    assert "migration" in answer.what
    assert "migration" in deployment(store, answer.deployment_id).blocked


# ---------------------------------------------------------------- what starts first


def test_rollbacks_come_before_deployments_and_break_glass_before_all(store: Store) -> None:
    happened(store, "web", "production", "1.4.0")
    usual = ask(store).deployment_id
    rolled = back(store)
    glass = ask(store, replace(PRODUCTION, version="1.6.0", break_glass=True), user=ONCALL).deployment_id
    first = sorted((usual, rolled, glass), key=lambda one: -deployment(store, one).priority)
    assert first == [glass, rolled, usual]
    assert len({deployment(store, one).priority for one in first}) == 3


# ---------------------------------------------------------------- break-glass


def test_whoever_may_break_the_glass_waits_for_nobody_and_that_is_on_record(store: Store) -> None:
    answer = ask(store, replace(PRODUCTION, break_glass=True), user=ONCALL)
    change = change_of(store, answer.deployment_id)
    assert (change.break_glass, change.required) == (True, 0)
    assert answer.what.startswith("Breaking the glass for `web` `1.5.0`")
    for row in audit_rows(store):
        assert json.loads(row.details)["break_glass"] is True


@pytest.mark.parametrize("user", [ALICE, "U0PLATFORM1", "U0MANAGER"])
def test_nobody_else_may_break_it_not_even_those_who_approve(store: Store, user: str) -> None:
    answer = deploy(store, known(), asker(user), replace(PRODUCTION, break_glass=True))
    check_refusal(store, answer, ReasonCode.NOT_PERMITTED)
    assert "U0ONCALL" in answer.next_step
    assert deployments(store) == []


@pytest.mark.parametrize("reason", ["", "  "])
def test_breaking_the_glass_needs_a_reason(store: Store, reason: str) -> None:
    request = replace(PRODUCTION, break_glass=True, reason=reason)
    check_refusal(store, deploy(store, known(), asker(ONCALL), request), ReasonCode.REASON_REQUIRED)


def test_where_the_catalogue_names_nobody_the_glass_cannot_be_broken(store: Store) -> None:
    text = SET.replace("    break_glass: {from: [on-call], review_within: 24h}\n", "")
    answer = deploy(store, known(text), asker(ONCALL), replace(PRODUCTION, break_glass=True))
    check_refusal(store, answer, ReasonCode.NOT_PERMITTED)
    assert "`break_glass`" in answer.next_step


def test_the_same_version_that_waits_for_an_approval_gives_way_to_break_glass(store: Store) -> None:
    waits = ask(store).deployment_id
    glass = ask(store, replace(PRODUCTION, break_glass=True), user=ONCALL).deployment_id
    assert phase(store, waits) is Phase.SUPERSEDED
    assert phase(store, glass) is Phase.AWAITING_APPROVAL


# ---------------------------------------------------------------- what gives way


def test_what_waits_for_an_approval_gives_way_to_a_newer_version(store: Store) -> None:
    old = ask(store, user=BOB).deployment_id
    opened(store, old)
    new = ask(store, replace(PRODUCTION, version="1.6.0")).deployment_id
    row, change = deployment(store, old), change_of(store, old)
    assert (row.phase, row.reason_code, row.superseded_by) == (Phase.SUPERSEDED, ReasonCode.SUPERSEDED_BY_NEWER, new)
    assert (change.state, change.token) == (ChangeState.CLOSED, ""), "its buttons are of nothing now"
    assert "`1.6.0`" in row.what
    assert ALICE in row.what
    assert phase(store, new) is Phase.AWAITING_APPROVAL
    assert actions(store, 2) == ["deployment:finish", "change:close", "deployment:request", "change:open"]
    ((who, text),) = told(store)
    assert who == BOB
    assert "`web` `1.5.0` in `production` was superseded" in text


def test_who_supersedes_their_own_request_is_told_nothing_new(store: Store) -> None:
    ask(store)
    ask(store, replace(PRODUCTION, version="1.6.0"))
    assert told(store) == []


def test_what_a_lock_holds_up_gives_way(store: Store) -> None:
    locked(store, "web", "staging")
    old = ask(store, STAGING).deployment_id
    new = ask(store, replace(STAGING, version="1.6.0")).deployment_id
    assert (phase(store, old), phase(store, new)) == (Phase.SUPERSEDED, Phase.QUEUED)


def test_what_only_waits_for_its_turn_does_not_give_way(store: Store) -> None:
    old = ask(store, STAGING).deployment_id
    answer = ask(store, replace(STAGING, version="1.6.0"))
    assert phase(store, old) is Phase.QUEUED
    assert "1 ahead of it" in answer.what


def _other_app(old: Deploy) -> Deploy:
    return replace(old, app="checkout-api")


def _scheduled(old: Deploy) -> Deploy:
    return replace(old, version="1.6.0", at="+2h")


@pytest.mark.parametrize("newer", [_other_app, _scheduled])
def test_another_app_and_what_is_for_later_leave_it_alone(store: Store, newer: Callable[[Deploy], Deploy]) -> None:
    old = ask(store).deployment_id
    ask(store, newer(PRODUCTION))
    assert phase(store, old) is Phase.AWAITING_APPROVAL


def test_what_is_scheduled_keeps_its_time(store: Store) -> None:
    old = ask(store, replace(PRODUCTION, at="+2h")).deployment_id
    ask(store, replace(PRODUCTION, version="1.6.0"))
    assert phase(store, old) is Phase.AWAITING_APPROVAL


def test_a_rollback_gives_way_to_a_rollback_and_to_nothing_else(store: Store) -> None:
    happened(store, "web", "production", "1.4.0")
    first = back(store)
    ask(store)
    assert phase(store, first) is Phase.AWAITING_APPROVAL
    second = back(store, "1.3.0")
    assert (phase(store, first), phase(store, second)) == (Phase.SUPERSEDED, Phase.AWAITING_APPROVAL)


def test_a_set_gives_way_whole_and_says_which_to_ask_for_again(store: Store) -> None:
    one = a_set(store, user=BOB)
    new = ask(store).deployment_id
    assert {row.phase for row in of(store, one)} == {Phase.SUPERSEDED}
    assert {row.superseded_by for row in of(store, one)} == {new}
    assert change_of(store, one).state == ChangeState.CLOSED
    ((who, text),) = told(store)
    assert who == BOB
    assert "Ask again for the others: `checkout-api`." in text


def test_a_set_gives_way_to_a_set_of_the_same_apps_once(store: Store) -> None:
    old = a_set(store, user=BOB)
    new = a_set(store, version="1.4.3")
    assert {row.phase for row in of(store, old)} == {Phase.SUPERSEDED}
    assert {row.phase for row in of(store, new)} == {Phase.AWAITING_APPROVAL}
    assert len(told(store)) == 1
    assert actions(store).count("change:close") == 1


def test_what_runs_is_never_superseded(store: Store) -> None:
    old = happened(store, "web", "production", "1.4.0", Phase.RUNNING)
    ask(store)
    assert phase(store, old) is Phase.RUNNING


def test_of_what_was_superseded_nothing_is_left_open(store: Store) -> None:
    for version in ("1.5.0", "1.5.1", "1.5.2", "1.5.3"):
        ask(store, replace(PRODUCTION, version=version))
    open_: list[Deployment] = [row for row in deployments(store) if not Phase(row.phase).ended]
    assert [(row.version, row.kind) for row in open_] == [("1.5.3", Kind.DEPLOY)]
