"""`/promote`: every refusal and every acceptance, of one app and of several, on both databases.

What becomes of an accepted request in general (changes, cards, what it supersedes) is test_opening; words, test_parse.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from commands.deploy import SNAPSHOT_TRUSTED_FOR
from commands.facts import Facts
from commands.promote import promote
from commands.reasons import ReasonCode
from commands.requests import Answer, Promote
from storage.models import Deployment, Kind
from storage.phases import Phase, Stage
from storage.unit_of_work import Store
from tests.desk_rig import ALICE, BOB, asker, broken, check_refusal, check_words, last_audit
from tests.rows import audit_rows, deployments, messages
from tests.unit import review_rig as rig
from tests.unit.review_rig import DIGEST, SET, happened, known

WEB = Promote(("web",), "staging", "production", "weekly release")
BOTH = replace(WEB, apps=("web", "checkout-api"))
RUNS = {
    "web/staging": "1.4.2",
    "web/production": "1.4.1",
    "checkout-api/staging": "2.0.0",
    "checkout-api/production": "1.9.0",
}


def ask(store: Store, facts: Facts, request: Promote = WEB, **who: str) -> Answer:
    answer = promote(store, facts, asker(**who), request)
    check_words(answer)
    return answer


def asked_for(store: Store) -> list[Deployment]:
    return [row for row in deployments(store) if row.kind == Kind.PROMOTE]


def well(store: Store) -> None:
    """Both apps run in staging, deployed through here."""
    happened(store, "web", "staging", "1.4.2")
    happened(store, "checkout-api", "staging", "2.0.0")


# ---------------------------------------------------------------- accepted


def test_the_exact_image_that_runs_in_the_source_is_asked_for_in_the_target(store: Store) -> None:
    well(store)
    answer = ask(store, known(images=RUNS))
    assert answer.reason is ReasonCode.ACCEPTED
    (row,) = asked_for(store)
    assert (row.app, row.environment, row.version, row.digest) == ("web", "production", "1.4.2", DIGEST)
    assert (row.promoted_from, row.phase, row.reason) == ("staging", Phase.AWAITING_APPROVAL, "weekly release")
    assert answer.deployment_id == row.id == row.change_id
    requests = [one for one in audit_rows(store) if one.action == "promotion:request"]
    (said,) = [json.loads(one.details) for one in requests]
    assert (said["digest"], said["promoted_from"], said["from"], said["force"]) == (DIGEST, "staging", "staging", False)


def test_where_git_pins_no_digest_it_is_that_of_the_deployment_that_runs(store: Store) -> None:
    happened(store, "web", "staging", "1.4.2")
    ask(store, known(images=RUNS, digest=""))
    assert [row.digest for row in asked_for(store)] == [DIGEST]


def test_without_environments_it_is_the_last_step_of_the_path(store: Store) -> None:
    well(store)
    ask(store, known(images=RUNS), Promote(("web",)))
    assert [(row.promoted_from, row.environment) for row in asked_for(store)] == [("staging", "production")]


def test_with_only_a_source_it_goes_one_step_on(store: Store) -> None:
    happened(store, "web", "dev", "1.5.0")
    ask(store, known(images={"web/dev": "1.5.0", "web/staging": "1.4.2"}), Promote(("web",), "dev"))
    assert [(row.promoted_from, row.environment) for row in asked_for(store)] == [("dev", "staging")]


def test_with_only_a_target_it_goes_there_and_nowhere_else(store: Store) -> None:
    happened(store, "web", "dev", "1.5.0")
    well(store)
    facts = known(images=RUNS | {"web/dev": "1.5.0", "web/staging": "1.4.2"})
    ask(store, facts, Promote(("web",), "", "staging"))
    assert [(row.version, row.promoted_from, row.environment) for row in asked_for(store)] == [
        ("1.5.0", "dev", "staging")
    ]


def test_a_promotion_to_where_nothing_is_reviewed_waits_for_nobody(store: Store) -> None:
    happened(store, "web", "dev", "1.5.0")
    answer = ask(store, known(images={"web/dev": "1.5.0"}), Promote(("web",), "dev", "staging"))
    (row,) = asked_for(store)
    assert (row.phase, row.change_id) == (Phase.QUEUED, "")
    assert answer.what == "Promoting `web` `1.5.0` to `staging`."


def test_an_alias_twice_is_the_app_once(store: Store) -> None:
    well(store)
    ask(store, known(images=RUNS), replace(WEB, apps=("web", "website", "web")))
    assert [row.app for row in asked_for(store)] == ["web"]


def test_several_apps_are_one_change_with_one_card(store: Store) -> None:
    well(store)
    answer = ask(store, known(images=RUNS), BOTH)
    rows = asked_for(store)
    assert sorted((row.app, row.version) for row in rows) == [("checkout-api", "2.0.0"), ("web", "1.4.2")]
    assert {row.change_id for row in rows} == {row.card_id for row in rows} == {answer.deployment_id}
    assert answer.deployment_id not in {row.id for row in rows}
    assert all(f"`{row.app}` `{row.version}`" in answer.what for row in rows)


def test_all_is_every_app_that_runs_in_both(store: Store) -> None:
    well(store)
    happened(store, "docs", "staging", "3.0")
    ask(store, known(images=RUNS | {"docs/staging": "3.0"}), replace(WEB, apps=("all",)))
    assert sorted(row.app for row in asked_for(store)) == ["checkout-api", "web"]


def test_what_is_the_same_in_both_is_left_out_and_said(store: Store) -> None:
    well(store)
    answer = ask(store, known(images=RUNS | {"web/production": "1.4.2"}), replace(WEB, apps=("all",)))
    assert [row.app for row in asked_for(store)] == ["checkout-api"]
    assert [row.text for row in answer.rows] == ["`web` is the same in both already and is left out."]


def test_the_same_version_of_another_image_is_not_the_same(store: Store) -> None:
    happened(store, "web", "staging", "1.4.2")
    facts = known(images=RUNS | {"web/production": "1.4.2"})
    assert facts.snapshot is not None
    said = dict(facts.snapshot.images)
    said["web", "production"] = replace(said["web", "production"], digest="sha256:" + "b" * 64)
    ask(store, replace(facts, snapshot=replace(facts.snapshot, images=said)))
    assert [row.digest for row in asked_for(store)] == [DIGEST]


def test_what_git_says_in_the_target_and_never_became_well_may_be_promoted_again(store: Store) -> None:
    well(store)
    happened(store, "web", "production", "1.4.2", Phase.FAILED, commit_sha="d" * 40)
    ask(store, known(images=RUNS | {"web/production": "1.4.2"}))
    assert [row.app for row in asked_for(store)] == ["web"]


def test_a_cancelled_request_for_the_target_does_not_make_the_same_version_another(store: Store) -> None:
    well(store)
    happened(store, "web", "production", "1.4.2")
    happened(store, "web", "production", "1.5.0", Phase.CANCELLED)
    answer = ask(store, known(images=RUNS | {"web/production": "1.4.2"}))
    assert answer.reason is ReasonCode.NO_CHANGE
    assert "`web` in `production` is already what `staging` runs." in answer.what


def test_it_may_be_asked_for_a_time(store: Store) -> None:
    well(store)
    answer = ask(store, known(images=RUNS), replace(WEB, at="+2h"))
    assert answer.reason is ReasonCode.ACCEPTED
    (row,) = asked_for(store)
    assert row.not_before is not None
    assert timedelta(minutes=119) < row.not_before - row.requested_at <= timedelta(hours=2)
    check_refusal(store, ask(store, known(images=RUNS), replace(BOTH, at="soon")), ReasonCode.BAD_TIME, before=2)


# ---------------------------------------------------------------- names and the path


@pytest.mark.parametrize(
    ("request_", "reason", "hint"),
    [
        (replace(WEB, apps=("wep",)), ReasonCode.UNKNOWN_APP, "Did you mean `web`?"),
        (replace(BOTH, apps=("web", "checkout")), ReasonCode.UNKNOWN_APP, "`checkout-api`"),
        (replace(WEB, source="stagin"), ReasonCode.UNKNOWN_ENVIRONMENT, "Did you mean `staging`?"),
        (replace(WEB, target="prod"), ReasonCode.UNKNOWN_ENVIRONMENT, "Did you mean `production`?"),
        (Promote(("web",), "", "prod"), ReasonCode.UNKNOWN_ENVIRONMENT, "Did you mean `production`?"),
        (Promote(("docs",), "", "production"), ReasonCode.UNKNOWN_ENVIRONMENT, "`docs`"),
        (replace(WEB, source="dev"), ReasonCode.NOT_ON_PATH, "one step at a time"),
        (replace(WEB, source="production", target="staging"), ReasonCode.NOT_ON_PATH, "one step at a time"),
        (replace(WEB, target="staging"), ReasonCode.NOT_ON_PATH, "one step at a time"),
        (Promote(("web",), "production"), ReasonCode.NOT_ON_PATH, "where to"),
        (Promote(("web",), "", "dev"), ReasonCode.NOT_ON_PATH, "where to"),
        (replace(WEB, apps=("docs",)), ReasonCode.NOT_ON_PATH, "one step at a time"),
        (replace(WEB, reason="see \u202eevil"), ReasonCode.UNSAFE_TEXT, "by hand"),
        (replace(WEB, force=True, reason=" "), ReasonCode.REASON_REQUIRED, "`--reason`"),
        (replace(WEB, break_glass=True, reason=""), ReasonCode.REASON_REQUIRED, "`--reason`"),
    ],
)
def test_what_cannot_be_is_refused_with_what_could(
    store: Store, request_: Promote, reason: ReasonCode, hint: str
) -> None:
    answer = ask(store, known(images=RUNS), request_)
    row = check_refusal(store, answer, reason)
    assert row.action == "promotion:refuse"
    assert hint in f"{answer.what} {answer.next_step}"
    assert deployments(store) == []
    assert messages(store) == []


def test_a_path_that_the_app_takes_in_part_is_told(store: Store) -> None:
    answer = ask(store, known(images=RUNS), replace(WEB, apps=("docs",)))
    assert answer.what == "`docs` is not promoted from `staging` to `production`: its path is dev → staging."


def test_an_app_that_runs_in_one_place_is_promoted_nowhere(store: Store) -> None:
    text = SET.replace("environments: [dev, staging]", "environments: [dev]")
    check_refusal(store, ask(store, known(text, RUNS), Promote(("docs",))), ReasonCode.NOT_ON_PATH)


# ---------------------------------------------------------------- who asks, and the rules


def test_the_rules_of_the_target_are_those_that_count(store: Store) -> None:
    well(store)
    text = SET.replace("  production:\n", "  production:\n    deployers: [platform-team]\n")
    check_refusal(store, ask(store, known(text, RUNS)), ReasonCode.NOT_PERMITTED)
    assert ask(store, known(text, RUNS), user="U0PLATFORM1").reason is ReasonCode.ACCEPTED


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (broken(known(images=RUNS)), ReasonCode.CATALOGUE_INVALID),
        (known(images=RUNS, reviews=False), ReasonCode.NOT_CONFIGURED),
        (known(images=RUNS, age=timedelta(minutes=2, seconds=1)), ReasonCode.FACTS_TOO_OLD),
    ],
)
def test_production_is_closed_while_anything_is_in_doubt(store: Store, facts: Facts, reason: ReasonCode) -> None:
    well(store)
    check_refusal(store, ask(store, facts), reason)
    assert asked_for(store) == []


def test_another_workspace_is_refused(store: Store) -> None:
    check_refusal(store, ask(store, known(images=RUNS), team="T2"), ReasonCode.WRONG_WORKSPACE)


# ---------------------------------------------------------------- is it well in the source?


def test_what_git_says_is_not_believed_when_it_is_old(store: Store) -> None:
    happened(store, "web", "dev", "1.4.2")
    old = known(images={"web/dev": "1.4.2"}, age=SNAPSHOT_TRUSTED_FOR + timedelta(seconds=1))
    check_refusal(store, ask(store, old, Promote(("web",), "dev", "staging")), ReasonCode.FACTS_TOO_OLD)


def test_what_git_does_not_name_cannot_be_promoted_by_force_either(store: Store) -> None:
    answer = ask(store, known(images={}), replace(WEB, force=True))
    check_refusal(store, answer, ReasonCode.SOURCE_UNHEALTHY)
    assert "/deploy web VERSION staging" in answer.next_step


def _never(store: Store) -> None:
    del store


def _failed(store: Store) -> None:
    well(store)
    happened(store, "web", "staging", "1.4.2", Phase.FAILED, commit_sha="d" * 40)


def _errored(store: Store) -> None:
    well(store)
    happened(store, "web", "staging", "1.4.2", Phase.ERRORED, commit_sha="d" * 40)


def _rolling_out(store: Store) -> None:
    well(store)
    happened(store, "web", "staging", "1.4.2", Phase.RUNNING, stage=Stage.ROLLOUT)


def _by_hand(store: Store) -> None:
    happened(store, "web", "staging", "1.4.0")


def _other_image(store: Store) -> None:
    happened(store, "web", "staging", "1.4.2", digest="sha256:" + "b" * 64)


UNWELL = [
    (_never, ReasonCode.SOURCE_UNHEALTHY, "No deployment of `web` to `staging` is on record"),
    (_failed, ReasonCode.SOURCE_UNHEALTHY, "failed"),
    (_errored, ReasonCode.SOURCE_UNHEALTHY, "errored"),
    (_rolling_out, ReasonCode.SOURCE_BUSY, "still rolling out"),
    (_by_hand, ReasonCode.SOURCE_DRIFTED, "Git says `1.4.2`"),
    (_other_image, ReasonCode.SOURCE_DRIFTED, "past Locktender"),
]


@pytest.mark.parametrize(("happen", "reason", "said"), UNWELL)
def test_what_is_not_known_to_be_well_is_not_promoted(
    store: Store, happen: Callable[[Store], None], reason: ReasonCode, said: str
) -> None:
    happen(store)
    answer = ask(store, known(images=RUNS))
    check_refusal(store, answer, reason)
    assert said in answer.what
    assert asked_for(store) == []


@pytest.mark.parametrize(("happen", "reason", "said"), UNWELL)
def test_force_promotes_it_all_the_same_where_somebody_approves(
    store: Store, happen: Callable[[Store], None], reason: ReasonCode, said: str
) -> None:
    del reason, said
    happen(store)
    answer = ask(store, known(images=RUNS), replace(WEB, force=True))
    assert answer.reason is ReasonCode.ACCEPTED
    (row,) = asked_for(store)
    assert (row.version, row.phase) == ("1.4.2", Phase.AWAITING_APPROVAL)
    (request,) = [one for one in audit_rows(store) if one.action == "promotion:request"]
    assert json.loads(request.details)["force"] is True


def test_force_is_refused_where_nobody_approves(store: Store) -> None:
    happened(store, "web", "dev", "1.4.2", Phase.FAILED, commit_sha="d" * 40)
    request = Promote(("web",), "dev", "staging", "why not", force=True)
    answer = ask(store, known(images={"web/dev": "1.4.2"}), request)
    check_refusal(store, answer, ReasonCode.APPROVAL_REQUIRED)
    assert "/deploy APP VERSION staging" in answer.next_step


@pytest.mark.parametrize("phase", [Phase.CANCELLED, Phase.SUPERSEDED, Phase.REJECTED, Phase.EXPIRED, Phase.FAILED])
def test_a_later_request_that_never_reached_git_does_not_make_the_source_unwell(store: Store, phase: Phase) -> None:
    well(store)
    happened(store, "web", "staging", "1.5.0", phase)
    assert ask(store, known(images=RUNS)).reason is ReasonCode.ACCEPTED


def test_one_that_waited_long_and_reached_git_last_is_the_one_that_counts(store: Store) -> None:
    waited = happened(store, "web", "staging", "1.5.0", Phase.QUEUED)
    happened(store, "web", "staging", "1.4.2")
    with store.write() as uow:
        row = uow.deployment(waited)
        assert row is not None
        row.phase, row.commit_sha, row.finished_at = Phase.FAILED, "d" * 40, uow.now
    answer = ask(store, known(images=RUNS | {"web/staging": "1.5.0"}))
    check_refusal(store, answer, ReasonCode.SOURCE_UNHEALTHY)
    assert waited in answer.what


# ---------------------------------------------------------------- a set goes whole or not at all


def test_one_app_of_a_set_that_cannot_go_holds_the_set_and_is_named(store: Store) -> None:
    happened(store, "checkout-api", "staging", "2.0.0")
    answer = ask(store, known(images=RUNS), BOTH)
    check_refusal(store, answer, ReasonCode.SOURCE_UNHEALTHY)
    assert "`web`" in answer.what
    assert asked_for(store) == []


def test_several_that_cannot_go_are_all_named_with_their_causes(store: Store) -> None:
    happened(store, "web", "staging", "1.4.0")
    answer = ask(store, known(images=RUNS), BOTH)
    row = check_refusal(store, answer, ReasonCode.SOURCE_DRIFTED)
    assert answer.what == "2 of the apps cannot be promoted from `staging` to `production`, so none was."
    web, api = answer.quote.splitlines()
    assert web.startswith("web: Git says `1.4.2`")
    assert api.startswith("checkout-api: No deployment of `checkout-api`")
    assert json.loads(row.details)["apps"] == ["web", "checkout-api"]
    assert row.app == "web,checkout-api"


def test_a_set_that_is_the_same_in_both_is_nothing_to_promote(store: Store) -> None:
    well(store)
    same = RUNS | {"web/production": "1.4.2", "checkout-api/production": "2.0.0"}
    answer = ask(store, known(images=same), BOTH)
    check_refusal(store, answer, ReasonCode.NO_CHANGE)
    assert answer.what == "`web` and `checkout-api` in `production` are already what `staging` runs."


# ---------------------------------------------------------------- repeats


def test_what_waits_already_is_not_asked_for_twice(store: Store) -> None:
    well(store)
    first = ask(store, known(images=RUNS), BOTH)
    before = len(audit_rows(store))
    again = ask(store, known(images=RUNS), BOTH, user=BOB)
    check_refusal(store, again, ReasonCode.ALREADY_REQUESTED, before=before)
    assert ALICE in again.what
    assert first.deployment_id in again.next_step
    assert {row.phase for row in asked_for(store)} == {Phase.AWAITING_APPROVAL}


def test_a_set_that_holds_more_takes_the_place_of_what_waits(store: Store) -> None:
    well(store)
    first = ask(store, known(images=RUNS))
    ask(store, known(images=RUNS), BOTH)
    phases = sorted((row.app, row.phase, row.id == first.deployment_id) for row in asked_for(store))
    assert phases == [
        ("checkout-api", Phase.AWAITING_APPROVAL, False),
        ("web", Phase.AWAITING_APPROVAL, False),
        ("web", Phase.SUPERSEDED, True),
    ]


def test_break_glass_takes_the_place_of_the_same_that_waits_for_an_approval(store: Store) -> None:
    well(store)
    first = ask(store, known(images=RUNS))
    answer = ask(store, known(images=RUNS), replace(WEB, break_glass=True), user=rig.ONCALL)
    assert answer.reason is ReasonCode.ACCEPTED
    assert {row.id: row.phase for row in asked_for(store)}[first.deployment_id] == Phase.SUPERSEDED


def test_the_same_delivery_twice_is_one_promotion_with_one_answer(store: Store) -> None:
    well(store)
    first = ask(store, known(images=RUNS), BOTH, key="trigger:same")
    assert ask(store, known(images={}), BOTH, key="trigger:same") == first
    assert len(asked_for(store)) == 2


def test_a_refusal_keeps_what_was_typed_and_no_more(store: Store) -> None:
    request = Promote(("x" * 4000,) * 60, "y" * 4000, "z" * 4000, "w" * 4000)
    ask(store, known(images=RUNS), request)
    row = last_audit(store)
    assert row.action == "promotion:refuse"
    assert len(row.details) < 8000
    assert (len(row.app), len(row.environment)) == (63, 63)
