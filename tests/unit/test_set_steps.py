"""The deployments of one change: none is merged before all have been checked, and one that cannot be done stops all.

Left out: what a merge does (tests/e2e/test_gate_promote), and how sets are claimed (test_storage, test_claims).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from bot.steps.base import DONE, ENDED, Step, World, nothing
from bot.steps.write import WAIT_FOR_OTHERS, Write
from commands.facts import CatalogueInForce, Facts
from commands.reasons import ReasonCode, Refused
from storage import database, gate
from storage.claims import begin_attempt
from storage.database import Database, sqlite_url
from storage.models import Change, ChangeState, Deployment
from storage.phases import Phase, Stage
from storage.unit_of_work import Store


class Quiet:
    """As much of the world as an ending needs."""

    def facts(self) -> Facts:
        return Facts(in_force=CatalogueInForce())

    def changed(self) -> None:
        """Nobody looks."""


class Stops(Step):
    """A check that says no."""

    name = "check"
    stage = Stage.CHECK

    def work(self, row: Deployment, attempt: int) -> float:
        del row, attempt
        raise Refused(ReasonCode.UNKNOWN_VERSION, "The registry has no such version.", "Push it first.")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Database(sqlite_url(tmp_path / "set.db"))
    database.upgrade(made.engine)
    yield Store(made)
    made.close()


def a_set(store: Store, **stages: Stage) -> None:
    with store.write() as uow:
        change = Change(
            id="set",
            environment="production",
            team_id="T1",
            requested_by="U1",
            requested_at=uow.now,
            card_id="set",
            state=ChangeState.APPROVED,
            pr_number=1,
        )
        gate.add_change(uow, change)
        for app, stage in stages.items():
            row = Deployment(
                id=app,
                app=app,
                environment="production",
                version="2",
                team_id="T1",
                requested_by="U1",
                requested_at=uow.now,
                phase=Phase.RUNNING,
                stage=stage,
                card_id="set",
                change_id="set",
            )
            begin_attempt(uow, row, "here")
            uow.session.add(row)


def phases(store: Store) -> dict[str, str]:
    with store.read() as uow:
        return {row.app: str(row.phase) for row in gate.members(uow, "set")}


def test_one_that_cannot_be_done_stops_the_whole_set_before_its_merge(store: Store) -> None:
    a_set(store, api=Stage.CHECK, web=Stage.WRITE)
    step = Stops(store, cast("World", Quiet()), nothing)
    assert step("api", 1) == ENDED
    assert phases(store) == {"api": "failed", "web": "failed"}
    with store.read() as uow:
        change = gate.change_of(uow, "set")
        (web,) = [row for row in gate.members(uow, "set") if row.app == "web"]
    assert change is not None
    assert change.state == ChangeState.FAILED
    assert change.visit_at is not None  # its pull request is closed at the next look
    assert "`api` stops the whole set" in web.what


def test_nothing_is_merged_while_one_of_the_set_is_still_being_checked(store: Store) -> None:
    a_set(store, api=Stage.CHECK, web=Stage.WRITE)
    write = Write(store, cast("World", Quiet()), nothing)
    with store.read() as uow:
        (api, web) = gate.members(uow, "set")
    assert not write._all_here(web)
    assert WAIT_FOR_OTHERS > DONE
    with store.write() as uow:
        row = uow.deployment(api.id)
        assert row is not None
        row.stage = Stage.WRITE
    assert write._all_here(web)
