"""`/deploy`: every refusal and every acceptance, on both databases, with a real catalogue and facts made by hand.

How words become a request is in test_parse; what happens to an accepted deployment, in the delivery's tests.
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from unicodedata import lookup

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.deploy import SNAPSHOT_TRUSTED_FOR, deploy
from commands.facts import CatalogueInForce, Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Deploy
from storage.database import Database
from storage.models import Card, Kind
from storage.phases import Phase, Stage
from storage.unit_of_work import Store
from tests.desk_rig import (
    ALICE,
    APP,
    BOB,
    WIDE,
    asker,
    broken,
    catalogue,
    check_refusal,
    check_words,
    deployment,
    facts,
    last_audit,
    moved,
    requested,
)
from tests.rows import audit_rows, deployments, messages

GOOD = Deploy(APP, "1.4.2", "staging", reason="fixes the cart")
RTL = lookup("RIGHT-TO-LEFT OVERRIDE")
HOSTILE = [
    "--upload-pack=touch /tmp/x",
    "../..",
    "..",
    "\U0001f680",
    "x" * 4000,
    f"my{RTL}noitacilppa",
    "a\0b\n\x1b[31m",
    "half\ud800",
    "`rm` <!channel> <@U0ALICE>",
    "\ue000U0ALICE\ue001",
    "",
    " ",
    "$(id)",
]


def ask(store: Store, known: Facts, request: Deploy, **who: str) -> Answer:
    return deploy(store, known, asker(**who), request)


# ---------------------------------------------------------------- accepted


def test_a_deployment_is_accepted_recorded_and_shown_on_a_card(store: Store) -> None:
    answer = ask(store, facts(), GOOD)
    check_words(answer)
    row = deployment(store, answer.deployment_id)
    assert answer.reason is ReasonCode.ACCEPTED
    assert (row.app, row.environment, row.version, row.reason) == (APP, "staging", "1.4.2", "fixes the cart")
    assert (row.phase, row.stage, row.kind) == (Phase.QUEUED, Stage.WAITING, Kind.DEPLOY)
    assert (row.requested_by, row.team_id, row.requested_in, row.answer_url) == (ALICE, "T1", "C0DEPLOYMENTS", "")
    with store.read() as uow:
        card = uow.session.get(Card, row.id)
        assert card is not None
        assert (card.channel, card.behind) == ("C0DEPLOYMENTS", True)
    (audit,) = audit_rows(store)
    assert (audit.action, audit.actor, audit.deployment_id) == ("deployment:request", ALICE, row.id)
    assert json.loads(audit.details) == {
        "version": "1.4.2", "reason": "fixes the cart", "dry_run": False, "channel": "C0DEPLOYMENTS", "source": "slash",
        "rules": catalogue().policy_version("staging"), "rules_commit": facts().in_force.commit,
    }  # fmt: skip


def test_the_next_one_for_the_same_target_waits_and_is_told_so(store: Store) -> None:
    first = requested(store, facts(), "1.4.1", user=BOB)
    answer = ask(store, facts(), GOOD)
    assert answer.reason is ReasonCode.ACCEPTED
    assert "1 ahead" in answer.what
    assert "1.4.1" in answer.rows[0].text
    assert BOB in answer.rows[0].text
    assert answer.deployment_id in answer.next_step
    assert deployment(store, first).phase == Phase.QUEUED
    check_words(answer)


def test_a_dry_run_has_no_card_and_remembers_where_to_answer(store: Store) -> None:
    answer = ask(store, facts(), replace(GOOD, dry_run=True))
    row = deployment(store, answer.deployment_id)
    assert (row.kind, row.answer_url) == (Kind.PREVIEW, "https://hooks/1")
    assert json.loads(last_audit(store).details)["dry_run"] is True
    with store.read() as uow:
        assert uow.session.get(Card, row.id) is None


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_a_dry_run_is_for_everything_that_may_be_looked_at(store: Store, environment: str) -> None:
    known = facts(images={environment: "1.4.2"})
    requested(store, facts())
    answer = ask(store, known, Deploy(APP, "1.4.2", environment, dry_run=True))
    assert answer.reason is ReasonCode.ACCEPTED


def test_an_alias_is_the_app_it_stands_for(store: Store) -> None:
    answer = ask(store, facts(WIDE), Deploy("website", "1", "dev"))
    assert deployment(store, answer.deployment_id).app == "web"


@pytest.mark.parametrize("version", ["1.10", "no", "0123", "1e8", "_x", "v1.0-rc.1", "A" * 128])
def test_any_tag_that_a_registry_could_hold_is_taken_as_it_is(store: Store, version: str) -> None:
    answer = ask(store, facts(), replace(GOOD, version=version))
    assert deployment(store, answer.deployment_id).version == version


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("request_", "reason", "hint"),
    [
        (replace(GOOD, app="My-Application"), ReasonCode.UNKNOWN_APP, "Did you mean `my-application`?"),
        (replace(GOOD, app="my-aplication"), ReasonCode.UNKNOWN_APP, "Did you mean `my-application`?"),
        (replace(GOOD, app="billing"), ReasonCode.UNKNOWN_APP, "The apps are `web` or `my-application`."),
        (replace(GOOD, environment="stagin"), ReasonCode.UNKNOWN_ENVIRONMENT, "Did you mean `staging`?"),
        (replace(GOOD, environment="prod"), ReasonCode.UNKNOWN_ENVIRONMENT, "Did you mean `production`?"),
        (replace(GOOD, environment="moon"), ReasonCode.UNKNOWN_ENVIRONMENT, "`dev`, `staging` or `production`"),
        (replace(GOOD, app="web"), ReasonCode.UNKNOWN_ENVIRONMENT, "It runs in `dev`."),
        (replace(GOOD, version="1.4.2+build"), ReasonCode.BAD_VERSION, "for example `1.4.2`"),
        (replace(GOOD, version="1.4.2\n"), ReasonCode.BAD_VERSION, "for example `1.4.2`"),
        (replace(GOOD, version="A" * 129), ReasonCode.BAD_VERSION, "up to 128"),
        (replace(GOOD, reason=f"see {RTL}evil"), ReasonCode.UNSAFE_TEXT, "by hand"),
        (replace(GOOD, reason="line\nSigned-off-by: x"), ReasonCode.UNSAFE_TEXT, "by hand"),
        (replace(GOOD, reason="x" * 501), ReasonCode.BAD_USAGE, "Shorten"),
    ],
)
def test_what_is_not_known_is_refused_with_what_would_be(
    store: Store, request_: Deploy, reason: ReasonCode, hint: str
) -> None:
    answer = ask(store, facts(WIDE), request_)
    check_refusal(store, answer, reason)
    assert hint in answer.next_step
    assert deployments(store) == []
    assert messages(store) == []


@pytest.mark.parametrize("part", ["app", "environment", "version"])
def test_hostile_words_are_refused_and_shown_harmlessly(store: Store, part: str) -> None:
    reason = {"app": "unknown_app", "environment": "unknown_environment", "version": "bad_version"}[part]
    for number, word in enumerate(HOSTILE):
        words = {"app": GOOD.app, "environment": GOOD.environment, "version": GOOD.version, part: word}
        answer = ask(store, facts(), Deploy(words["app"], words["version"], words["environment"]))
        row = check_refusal(store, answer, ReasonCode(reason), before=number)
        assert len(row.details) < 2000
        assert "\ue000U0ALICE" not in answer.what
        assert answer.what.count("`") % 2 == 0
    assert deployments(store) == []


# ---------------------------------------------------------------- who asks, and the rules


def test_production_waits_for_a_review(store: Store) -> None:
    answer = ask(store, facts(), replace(GOOD, environment="production"))
    assert answer.reason is ReasonCode.ACCEPTED
    assert "approval" in answer.what
    row = deployment(store, answer.deployment_id)
    assert (row.phase, row.change_id) == (Phase.AWAITING_APPROVAL, row.id)
    check_words(answer)


def test_production_is_refused_where_nothing_can_be_reviewed(store: Store) -> None:
    answer = ask(store, facts(reviews=False), replace(GOOD, environment="production"))
    check_refusal(store, answer, ReasonCode.NOT_CONFIGURED)
    assert deployments(store) == []


def test_somebody_of_another_workspace_is_refused_before_anything_is_looked_at(store: Store) -> None:
    answer = ask(store, facts(), replace(GOOD, app="no-such-app"), team="T2")
    row = check_refusal(store, answer, ReasonCode.WRONG_WORKSPACE)
    assert row.team_id == "T2"


RELEASERS = {"S0RELEASE": frozenset({ALICE})}


@pytest.mark.parametrize(
    ("user", "groups", "reason"),
    [
        (ALICE, RELEASERS, ReasonCode.ACCEPTED),
        ("U0PLATFORM2", RELEASERS, ReasonCode.ACCEPTED),
        ("U0PLATFORM2", {}, ReasonCode.ACCEPTED),
        (BOB, RELEASERS, ReasonCode.NOT_PERMITTED),
        ("", RELEASERS, ReasonCode.NOT_PERMITTED),
        (BOB, {}, ReasonCode.GROUP_UNREADABLE),
        (ALICE, {}, ReasonCode.GROUP_UNREADABLE),
    ],
)
def test_only_members_may_deploy_where_the_catalogue_says_who(
    store: Store, user: str, groups: dict[str, frozenset[str]], reason: ReasonCode
) -> None:
    answer = ask(store, facts(WIDE, groups=groups), GOOD, user=user)
    assert answer.reason is reason
    if reason is not ReasonCode.ACCEPTED:
        check_refusal(store, answer, reason)
        assert deployments(store) == []


@pytest.mark.parametrize("reason", [ReasonCode.CATALOGUE_MISSING, ReasonCode.CATALOGUE_INVALID])
def test_without_a_catalogue_nothing_is_accepted(store: Store, reason: ReasonCode) -> None:
    nothing = CatalogueInForce(reason=reason, problem="It has 2 faults.", next_step="Mend it.", faults=("a", "b"))
    answer = ask(store, Facts(nothing, team_id="T1"), GOOD)
    check_refusal(store, answer, reason)
    assert answer.quote == "a\nb"


def test_a_broken_new_catalogue_closes_production_and_nothing_else(store: Store) -> None:
    known = broken(facts())
    answer = ask(store, known, replace(GOOD, environment="production"))
    check_refusal(store, answer, ReasonCode.CATALOGUE_INVALID)
    assert "line 3" in answer.quote
    assert ask(store, known, GOOD).reason is ReasonCode.ACCEPTED


# ---------------------------------------------------------------- repeats


@pytest.mark.parametrize(("phase", "words"), [(Phase.QUEUED, "already waiting"), (Phase.RUNNING, "is being deployed")])
def test_what_is_on_its_way_is_not_asked_for_twice(store: Store, phase: Phase, words: str) -> None:
    first = requested(store, facts(), user=BOB)
    moved(store, first, phase)
    answer = ask(store, facts(), GOOD)
    check_refusal(store, answer, ReasonCode.ALREADY_REQUESTED, before=1)
    assert words in answer.what
    assert first in answer.next_step
    assert len(deployments(store)) == 1


def test_what_is_live_already_says_who_deployed_it(store: Store) -> None:
    first = requested(store, facts(), user=BOB)
    moved(store, first, Phase.SUCCEEDED)
    answer = ask(store, facts(images={"staging": "1.4.2"}), GOOD)
    check_refusal(store, answer, ReasonCode.ALREADY_LIVE, before=1)
    assert first in answer.what
    assert BOB in answer.what
    assert "/audit history app:my-application env:staging" in answer.next_step


def test_what_git_says_already_is_live_although_nobody_here_deployed_it(store: Store) -> None:
    check_refusal(store, ask(store, facts(images={"staging": "1.4.2"}), GOOD), ReasonCode.ALREADY_LIVE)


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.ERRORED])
def test_what_did_not_become_healthy_may_be_deployed_again(store: Store, phase: Phase) -> None:
    moved(store, requested(store, facts()), phase)
    assert ask(store, facts(images={"staging": "1.4.2"}), GOOD).reason is ReasonCode.ACCEPTED


def test_git_as_it_was_long_ago_is_not_believed(store: Store) -> None:
    old = facts(images={"staging": "1.4.2"}, age=SNAPSHOT_TRUSTED_FOR + timedelta(seconds=1))
    assert ask(store, old, GOOD).reason is ReasonCode.ACCEPTED


def test_going_back_is_possible_while_something_else_is_on_its_way(store: Store) -> None:
    requested(store, facts(), "1.5.0")
    assert ask(store, facts(images={"staging": "1.4.2"}), GOOD).reason is ReasonCode.ACCEPTED


# ---------------------------------------------------------------- deliveries


def test_the_same_delivery_twice_is_one_request_with_one_answer(store: Store) -> None:
    first = deploy(store, facts(), asker(key="trigger:same"), GOOD)
    again = deploy(store, broken(facts()), asker(key="trigger:same"), GOOD)
    assert again == first
    assert len(deployments(store)) == len(audit_rows(store)) == 1


def test_a_refusal_is_repeated_word_for_word_too(store: Store) -> None:
    answers = [deploy(store, facts(), asker(key="k"), replace(GOOD, app="nope")) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(audit_rows(store)) == 1


def test_eight_deliveries_of_one_command_at_once_are_one_deployment(store: Store, database_url: str) -> None:
    answers = _at_once(store, database_url, ["trigger:same"] * 8)
    assert len(set(answers)) == 1
    assert answers[0].reason is ReasonCode.ACCEPTED
    assert len(deployments(store)) == len(audit_rows(store)) == 1


def test_eight_people_who_ask_for_the_same_at_once_get_one_deployment(store: Store, database_url: str) -> None:
    answers = _at_once(store, database_url, [f"trigger:at-once:{number}" for number in range(8)])
    assert sorted(answer.reason for answer in answers) == ["accepted"] + ["already_requested"] * 7
    assert len(deployments(store)) == 1
    assert len(audit_rows(store)) == 8


def _at_once(store: Store, url: str, keys: list[str]) -> list[Answer]:
    """Half of them through a second process's connections."""
    replica = Store(Database(url))
    gate = threading.Barrier(len(keys))

    def one(number: int) -> Answer:
        gate.wait(timeout=30)
        return deploy((store, replica)[number % 2], facts(), asker(key=keys[number]), GOOD)

    with ThreadPoolExecutor(len(keys)) as threads:
        answers = list(threads.map(one, range(len(keys))))
    replica.database.close()
    return answers


ANYTHING = st.text(st.characters(), max_size=200) | st.sampled_from([APP, "staging", "1.4.2", "production"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(app=ANYTHING, version=ANYTHING, environment=ANYTHING, reason=ANYTHING)
def test_whatever_is_typed_the_record_tells_of_it(
    store: Store, app: str, version: str, environment: str, reason: str
) -> None:
    before, had = len(audit_rows(store)), len(deployments(store))
    answer = ask(store, facts(), Deploy(app, version, environment, reason))
    check_words(answer)
    told = [row.action for row in audit_rows(store)[before:]]
    if answer.reason is ReasonCode.ACCEPTED:
        assert told.count("deployment:request") == 1  # before it, the end of an example's before that gives way to it
        assert len(deployments(store)) == had + 1
    else:
        assert told == ["deployment:refuse"]
        assert len(deployments(store)) == had
