"""How a reviewed change ends before its merge, and that what begins in the same instant is left alone.

Which requests take which other's place is test_opening; the pull request, tests/e2e.
"""

import json
import threading

import pytest

from commands.approve import approve
from commands.closing import close, supersede
from commands.deploy import deploy
from commands.endings import Ending
from commands.reasons import ReasonCode
from commands.requests import Approve, Deploy
from storage import claims, gate
from storage.database import Database
from storage.history import AuditFilter, audit_history
from storage.models import Card, ChangeState
from storage.phases import Phase
from storage.unit_of_work import BOT, Store
from tests.desk_rig import ALICE, BOB, asker, deployment
from tests.rows import audit_rows, messages
from tests.unit.review_rig import MANAGER, a_set, actions, approved, change_of, known, merged, of, opened

EXPIRED = Ending(Phase.EXPIRED, ReasonCode.APPROVAL_EXPIRED, "Nobody approved it in time.", "Ask again.")


def asked(store: Store, version: str = "1.5.0", user: str = ALICE, environment: str = "production") -> str:
    answer = deploy(store, known(), asker(user), Deploy("web", version, environment))
    assert answer.reason is ReasonCode.ACCEPTED, answer
    return answer.deployment_id


def end(store: Store, change_id: str, ending: Ending = EXPIRED, actor: str = BOT) -> None:
    with store.write() as uow:
        change = gate.held(uow, change_id)
        assert change is not None
        close(uow, change, ending, actor=actor)


def test_everything_of_a_change_ends_with_it(store: Store) -> None:
    one = a_set(store)
    opened(store, one)
    end(store, one)
    change = change_of(store, one)
    assert (change.state, change.token, change.wants) == (ChangeState.CLOSED, "", "[]")
    assert {(row.phase, row.reason_code, row.what) for row in of(store, one)} == {
        (Phase.EXPIRED, ReasonCode.APPROVAL_EXPIRED, "Nobody approved it in time.")
    }
    assert actions(store)[-3:] == ["deployment:finish", "deployment:finish", "change:close"]
    with store.read() as uow:
        card = uow.session.get(Card, one)
        assert card is not None
        assert card.behind, "its card is posted again"
        assert gate.due(uow, 10) == [one], "and its pull request is closed at once"


def test_every_row_of_a_set_is_found_by_each_of_its_apps(store: Store) -> None:
    one = a_set(store)
    token = opened(store, one)
    answer = approve(store, known(), asker(MANAGER), Approve(token))
    assert answer.reason is ReasonCode.APPROVED, answer
    end(store, one)
    with store.read() as uow:
        for app in ("web", "checkout-api"):
            found = audit_history(uow, AuditFilter(app=app, action="change", deployment_id=one))
            assert [row.action for row in found] == ["change:close", "change:approve", "change:open"]
        assert not audit_history(uow, AuditFilter(app="my-application", action="change"))


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        (Phase.FAILED, ChangeState.FAILED),
        (Phase.ERRORED, ChangeState.FAILED),
        (Phase.REJECTED, ChangeState.CLOSED),
        (Phase.CANCELLED, ChangeState.CLOSED),
    ],
)
def test_what_went_wrong_is_another_end_than_what_was_decided(store: Store, phase: Phase, state: ChangeState) -> None:
    one = asked(store)
    end(store, one, Ending(phase, ReasonCode.HOST_REFUSED, "It would not."))
    assert change_of(store, one).state == state


@pytest.mark.parametrize(("actor", "team"), [(BOT, ""), (BOB, "T1")])
def test_the_record_says_who_ended_it_and_what_was_shown(store: Store, actor: str, team: str) -> None:
    one = asked(store)
    opened(store, one)
    end(store, one, actor=actor)
    row = audit_rows(store)[-1]
    assert (row.action, row.actor, row.team_id, row.deployment_id) == ("change:close", actor, team, one)
    assert (row.app, row.environment, row.reason_code) == ("web", "production", ReasonCode.APPROVAL_EXPIRED)
    details = json.loads(row.details)
    assert details["pull_request"].endswith("/pull/7")
    assert details["head"] == "f" * 40


def test_a_change_that_was_approved_gives_way_too_until_it_runs(store: Store) -> None:
    old = asked(store)
    opened(store, old)
    approved(store, old)
    with store.write() as uow:
        row = uow.deployment(old)
        assert row is not None
        supersede(uow, row, "newer00000", "1.6.0", BOB)
    assert (deployment(store, old).phase, change_of(store, old).state) == (Phase.SUPERSEDED, ChangeState.CLOSED)
    assert ALICE in {one.user_id for one in messages(store)}


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_what_a_replica_starts_meanwhile_is_left_alone(store: Store, database_url: str, environment: str) -> None:
    """Whoever comes first wins: it runs and is not superseded, or is superseded and never runs."""
    old = asked(store, environment=environment)
    if environment == "production":
        opened(store, old)
        approved(store, old)
    replica = Store(Database(database_url))
    claiming, go_on = threading.Event(), threading.Event()

    def start() -> None:
        with replica.write() as uow:
            assert [row.id for row in claims.claim(uow, "replica", 5)] == [old]
            claiming.set()
            go_on.wait(20)

    thread = threading.Thread(target=start)
    thread.start()
    assert claiming.wait(20)
    threading.Timer(0.3, go_on.set).start()
    with store.write() as uow:
        row = uow.deployment(old)
        assert row is not None
        supersede(uow, row, "newer00000", "1.6.0", BOB)
    thread.join(20)
    replica.database.close()
    assert deployment(store, old).phase == Phase.RUNNING
    assert deployment(store, old).superseded_by == ""
    assert "deployment:finish" not in actions(store)


def test_what_was_merged_already_is_left_alone(store: Store) -> None:
    old = asked(store)
    opened(store, old)
    approved(store, old)
    merged(store, old)
    with store.write() as uow:
        row = uow.deployment(old)
        assert row is not None
        supersede(uow, row, "newer00000", "1.6.0", BOB)
    assert (deployment(store, old).phase, change_of(store, old).state) == (Phase.QUEUED, ChangeState.MERGED)
