"""The last step, looked at by the clock: what has to stay well is not called live while some of it is not up.

The outside is in memory. Health URLs and restarts through the whole program: `tests/e2e/test_gate_afterwards.py`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from commands.ports import Rollout
from storage.models import Deployment
from tests.unit.delivery_rig import CATALOGUE, LIVE, MOVING, Pods, Rig, empty_database, in_force, rig

SOAK = CATALOGUE.replace("timeout: {build", "verify: {soak: 30s}, timeout: {build")
MOVED = replace(MOVING, total=2, warning="pod web-1 is not ready")


@pytest.fixture(scope="module", name="schema")
def _schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_database(tmp_path_factory.mktemp("schema"))


@pytest.fixture(name="rig")
def _rig(schema: Path, tmp_path: Path) -> Iterator[Rig]:
    with rig(schema, tmp_path) as made:
        made.in_force = in_force(SOAK)
        yield made


def verified(rig: Rig, *looks: Rollout) -> Deployment:
    """Deliver; after the rollout these are seen, one after another, the last one for ever."""
    rig.pods = Pods([LIVE, *looks])
    return rig.run(rig.ask())


def test_pods_that_come_back_while_it_soaks_do_not_stop_it(rig: Rig) -> None:
    row = verified(rig, LIVE, MOVED, MOVED, LIVE)
    assert (row.phase, row.reason_code) == ("succeeded", "live")
    assert row.soak_until is not None
    assert row.finished_at is not None
    assert (row.finished_at - row.soak_until).total_seconds() < 1


def test_it_is_live_only_once_all_of_it_is_up_again(rig: Rig) -> None:
    row = verified(rig, LIVE, *[MOVED] * 12, LIVE)
    assert (row.phase, row.reason_code, row.note) == ("succeeded", "live", "")
    said = [note for note in rig.notes if note]
    assert said[0].startswith("1 of 2 pods of `deployment/web` are up: pod web-1 is not ready. Looking again")
    assert row.soak_until is not None
    assert row.finished_at is not None
    assert row.finished_at > row.soak_until


def test_what_does_not_come_back_has_failed(rig: Rig) -> None:
    row = verified(rig, LIVE, MOVED)
    assert (row.phase, row.reason_code) == ("failed", "verification_failed")
    assert "1 of 2 pods of `deployment/web` are up: pod web-1 is not ready." in row.what
    assert "Roll back" in row.next_step
    assert row.soak_until is not None
    assert row.finished_at is not None
    assert 120 < (row.finished_at - row.soak_until).total_seconds() < 140


def test_a_restart_is_counted_from_when_it_began_to_soak(rig: Rig) -> None:
    before = replace(LIVE, restarts=3)
    row = verified(rig, before, before, replace(before, restarts=5))
    assert (row.phase, row.reason_code) == ("failed", "restarted")
    assert "restarted 2 times after it was live" in row.what
