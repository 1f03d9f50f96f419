"""The state machine: every pair of phases, and the drawing made from the same table.

What moves a deployment along is left out; see test_storage_queue and the delivery's own tests.
"""

import itertools
import re
from datetime import UTC, datetime

import pytest

from storage import phases
from storage.models import Deployment
from storage.phases import STAGE_ORDER, TRANSITIONS, IllegalTransitionError, Phase, Stage, mermaid

# Written out a second time on purpose: a change of the table has to be meant twice.
ALLOWED = {
    "awaiting_approval": "queued rejected expired cancelled superseded failed errored",
    "queued": "running awaiting_approval cancelled superseded expired rejected failed errored",
    "running": "succeeded failed errored cancelled queued awaiting_approval",
}
ENDS = {"succeeded", "failed", "errored", "rejected", "expired", "cancelled", "superseded"}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Phase, Phase)))
def test_a_phase_changes_only_as_the_table_says(before: Phase, after: Phase) -> None:
    deployment = Deployment(
        app="web",
        environment="dev",
        version="1",
        team_id="T1",
        requested_by="U1",
        phase=before,
        requested_at=datetime.now(UTC),
    )
    if after in ALLOWED.get(before, "").split():
        deployment.to(after)
        assert deployment.phase == after
    else:
        with pytest.raises(IllegalTransitionError, match=f"{before} cannot become {after}"):
            deployment.to(after)
        assert deployment.phase == before


def test_an_end_has_no_way_out_and_everything_else_has_one() -> None:
    assert {phase for phase in Phase if phase.ended} == ENDS
    assert set(TRANSITIONS) == set(Phase)


def test_every_phase_can_be_reached_and_can_end() -> None:
    reached = {Phase.AWAITING_APPROVAL}
    for _ in Phase:
        reached |= {after for before in reached for after in TRANSITIONS[before]}
    assert reached == set(Phase)


def test_a_phase_read_from_the_database_as_text_is_checked_too() -> None:
    with pytest.raises(ValueError, match="'paused' is not a valid Phase"):
        phases.check(Phase("paused"), Phase.RUNNING)


def test_stages_come_in_the_order_of_the_delivery() -> None:
    assert STAGE_ORDER.index(Stage.CHECK) < STAGE_ORDER.index(Stage.WRITE) < STAGE_ORDER.index(Stage.RECONCILE)
    assert STAGE_ORDER[0] is Stage.WAITING
    assert STAGE_ORDER[-1] is Stage.DONE


def test_the_drawing_has_every_change_of_the_table_and_no_other() -> None:
    drawn = re.findall(r"^    (\S+) --> (\S+)$", mermaid(), flags=re.MULTILINE)
    between = {(before, after) for before, after in drawn if "[*]" not in (before, after)}
    assert between == {(before, after) for before, ends in ALLOWED.items() for after in ends.split()}
    assert {before for before, after in drawn if after == "[*]"} == ENDS
    assert {after for before, after in drawn if before == "[*]"} == {"awaiting_approval", "queued"}
    assert len(drawn) == len(set(drawn))
