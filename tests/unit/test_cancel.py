"""`/deploy cancel`: in every phase and stage, by every way to name a deployment, and against a delivery that writes."""

import threading
from dataclasses import replace

import pytest

from bot.slack.parse import parse_deploy
from commands.cancel import cancel
from commands.facts import CatalogueInForce, Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Cancel
from storage.database import Database
from storage.models import Card
from storage.phases import STAGE_ORDER, Phase, Stage
from storage.unit_of_work import Store
from tests.desk_rig import (
    ALICE,
    APP,
    BOB,
    MINIMAL,
    WIDE,
    asker,
    check_refusal,
    check_words,
    deployment,
    facts,
    moved,
    requested,
)
from tests.rows import audit_rows

MEMBERS = {"S0RELEASE": frozenset({ALICE})}


def ask(store: Store, *words: str, known: Facts | None = None, **who: str) -> Answer:
    return cancel(store, known or facts(), asker(**who), Cancel(words))


def check_cancelled(store: Store, answer: Answer, deployment_id: str, by: str) -> None:
    check_words(answer)
    assert answer.reason is ReasonCode.CANCELLED_BY_PERSON, answer
    row = deployment(store, deployment_id)
    assert (row.phase, row.reason_code) == (Phase.CANCELLED, ReasonCode.CANCELLED_BY_PERSON)
    assert by in row.what
    assert row.finished_at is not None
    assert row.stage_deadline is None
    assert [(one.action, one.actor) for one in audit_rows(store)[-2:]] == [
        ("deployment:cancel", by),
        ("deployment:finish", by),
    ]


@pytest.mark.parametrize(
    ("phase", "stage"),
    [
        (Phase.AWAITING_APPROVAL, Stage.WAITING),
        (Phase.QUEUED, Stage.WAITING),
        (Phase.RUNNING, Stage.CHECK),
    ],
)
def test_what_has_written_nothing_is_cancelled(store: Store, phase: Phase, stage: Stage) -> None:
    deployment_id = requested(store, facts())
    if phase is Phase.AWAITING_APPROVAL:
        with store.write() as uow:
            row = uow.deployment(deployment_id)
            assert row is not None
            row.phase = phase
    else:
        moved(store, deployment_id, phase, stage)
    with store.write() as uow:
        card = uow.session.get(Card, deployment_id)
        assert card is not None
        card.behind = False
    check_cancelled(store, ask(store, deployment_id), deployment_id, ALICE)
    with store.read() as uow:
        card = uow.session.get(Card, deployment_id)
        assert card is not None
        assert card.behind


@pytest.mark.parametrize("stage", STAGE_ORDER[STAGE_ORDER.index(Stage.WRITE) :])
def test_what_may_be_in_git_is_not_cancelled(store: Store, stage: Stage) -> None:
    good = requested(store, facts(), "1.4.1")
    moved(store, good, Phase.SUCCEEDED)
    deployment_id = requested(store, facts())
    moved(store, deployment_id, Phase.RUNNING, stage)
    answer = ask(store, deployment_id)
    check_refusal(store, answer, ReasonCode.TOO_LATE, before=2)
    assert f"/deploy {APP} 1.4.1 staging" in answer.next_step
    assert deployment(store, deployment_id).phase == Phase.RUNNING


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED, Phase.ERRORED, Phase.CANCELLED])
def test_what_has_ended_is_not_cancelled(store: Store, phase: Phase) -> None:
    deployment_id = requested(store, facts())
    moved(store, deployment_id, phase)
    answer = ask(store, deployment_id)
    check_refusal(store, answer, ReasonCode.TOO_LATE, before=1)
    assert str(phase) in answer.what


@pytest.mark.parametrize("words", [("{id}",), ("{prefix}",), (APP, "staging")])
def test_a_deployment_is_named_by_its_id_the_start_of_it_or_its_target(store: Store, words: tuple[str, ...]) -> None:
    deployment_id = requested(store, facts())
    requested(store, facts(), environment="dev")
    named = [word.format(id=deployment_id, prefix=deployment_id[:6]) for word in words]
    check_cancelled(store, ask(store, *named), deployment_id, ALICE)


def test_an_id_that_two_deployments_start_with_is_asked_back(store: Store) -> None:
    ids = [requested(store, facts(), str(number)) for number in range(2)]
    with store.write() as uow:
        for number, deployment_id in enumerate(ids):
            row = uow.deployment(deployment_id)
            assert row is not None
            row.id = f"same{number}00000"
    answer = ask(store, "same")
    check_refusal(store, answer, ReasonCode.UNKNOWN_DEPLOYMENT, before=2)
    assert "`same000000`" in answer.next_step
    assert "`same100000`" in answer.next_step


def test_a_target_with_two_deployments_is_asked_back(store: Store) -> None:
    ids = [requested(store, facts(), str(number)) for number in range(2)]
    answer = ask(store, APP, "staging")
    check_refusal(store, answer, ReasonCode.UNKNOWN_DEPLOYMENT, before=2)
    assert all(one in answer.next_step for one in ids)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("0000000000",), ReasonCode.UNKNOWN_DEPLOYMENT),
        (("%",), ReasonCode.UNKNOWN_DEPLOYMENT),
        (("____",), ReasonCode.UNKNOWN_DEPLOYMENT),
        (("ab",), ReasonCode.UNKNOWN_DEPLOYMENT),
        (("x" * 4000,), ReasonCode.UNKNOWN_DEPLOYMENT),
        ((), ReasonCode.UNKNOWN_DEPLOYMENT),
        (("a", "b", "c"), ReasonCode.UNKNOWN_DEPLOYMENT),
        ((APP, "dev"), ReasonCode.UNKNOWN_DEPLOYMENT),
        ((APP, "stagin"), ReasonCode.UNKNOWN_ENVIRONMENT),
        (("../..", "staging"), ReasonCode.UNKNOWN_APP),
    ],
)
def test_what_names_no_deployment_is_refused(store: Store, words: tuple[str, ...], reason: ReasonCode) -> None:
    deployment_id = requested(store, facts())
    check_refusal(store, ask(store, *words), reason, before=1)
    assert deployment(store, deployment_id).phase == Phase.QUEUED


@pytest.mark.parametrize(
    ("user", "groups", "reason"),
    [
        (BOB, MEMBERS, ReasonCode.NOT_PERMITTED),
        (BOB, {}, ReasonCode.GROUP_UNREADABLE),
        ("U0PLATFORM1", MEMBERS, ReasonCode.CANCELLED_BY_PERSON),
        (ALICE, {}, ReasonCode.CANCELLED_BY_PERSON),  # her own
    ],
)
def test_somebody_elses_deployment_takes_the_right_to_deploy(
    store: Store, user: str, groups: dict[str, frozenset[str]], reason: ReasonCode
) -> None:
    deployment_id = requested(store, facts(WIDE, groups=MEMBERS))
    answer = ask(store, deployment_id, known=facts(WIDE, groups=groups), user=user)
    if reason is ReasonCode.CANCELLED_BY_PERSON:
        check_cancelled(store, answer, deployment_id, user)
    else:
        check_refusal(store, answer, reason, before=1)


def test_where_an_environment_is_gone_only_whoever_asked_may_cancel(store: Store) -> None:
    deployment_id = requested(store, facts())
    gone = facts(MINIMAL.replace("  staging: {}\n", "").replace("dev, staging,", "dev,"))
    answer = ask(store, deployment_id, known=gone, user=BOB)
    check_refusal(store, answer, ReasonCode.NOT_PERMITTED, before=1)
    check_cancelled(store, ask(store, deployment_id, known=gone), deployment_id, ALICE)


def test_ones_own_can_be_cancelled_while_there_is_no_catalogue(store: Store) -> None:
    deployment_id = requested(store, facts())
    none = Facts(CatalogueInForce(), team_id="T1")
    check_refusal(store, ask(store, deployment_id, known=none, user=BOB), ReasonCode.CATALOGUE_MISSING, before=1)
    check_cancelled(store, ask(store, deployment_id, known=none), deployment_id, ALICE)


def test_a_stranger_cancels_nothing(store: Store) -> None:
    deployment_id = requested(store, facts())
    answer = ask(store, deployment_id, team="T2")
    check_refusal(store, answer, ReasonCode.WRONG_WORKSPACE, before=1)
    assert deployment(store, deployment_id).phase == Phase.QUEUED


def test_a_double_click_cancels_once(store: Store) -> None:
    deployment_id = requested(store, facts())
    answers = [cancel(store, facts(), asker(key="click"), Cancel((deployment_id,))) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(audit_rows(store)) == 3


def test_a_cancel_while_the_delivery_begins_to_write_comes_too_late(store: Store, database_url: str) -> None:
    deployment_id = requested(store, facts())
    moved(store, deployment_id, Phase.RUNNING)
    replica = Store(Database(database_url))
    answers: list[Answer] = []
    click = threading.Thread(target=lambda: answers.append(ask(replica, deployment_id)))
    with store.write() as uow:
        row = uow.running(deployment_id, 1)
        click.start()
        click.join(timeout=0.3)
        assert not answers
        row.stage = Stage.WRITE
    click.join(timeout=30)
    assert [answer.reason for answer in answers] == [ReasonCode.TOO_LATE]
    assert deployment(store, deployment_id).phase == Phase.RUNNING
    replica.database.close()


def test_the_words_of_the_card_and_of_the_command_are_understood(store: Store) -> None:
    deployment_id = requested(store, facts())
    request = parse_deploy(f"cancel {deployment_id}")
    assert isinstance(request, Cancel)
    answer = cancel(store, facts(), replace(asker(), thread_ts="1.2"), request)
    check_cancelled(store, answer, deployment_id, ALICE)


def test_the_address_for_a_previews_answer_is_forgotten_with_it(store: Store) -> None:
    deployment_id = requested(store, facts())
    with store.write() as uow:
        row = uow.deployment(deployment_id)
        assert row is not None
        row.answer_url = "https://hooks.slack.example/commands/T1/2/secret"
    ask(store, deployment_id)
    assert deployment(store, deployment_id).answer_url == ""
