"""A cluster that does not do what it was told: every ending is named with its cause, and what was away is waited for.

The troubles that Kubernetes itself needs time for are started together, once. How a rollout is judged is tested with
the adapter.
"""

from collections.abc import Iterator

import pytest

from bot.sandbox.jenkins_model import Job
from bot.sandbox.kubernetes import User, reader
from bot.sandbox.server import Misbehaviour
from commands.reasons import ReasonCode
from storage.models import Deployment
from storage.phases import Phase
from tests.e2e.rig import APP, IMAGE, Outage, Rig, rig

PLACES = {
    "pull": "{}",
    "crash": "{}",
    "hang": "{timeout: {rollout: 3s}}",
    "unapplied": "{reconciler: {jenkins: {job: does-nothing}}, timeout: {rollout: 1s}}",
    "slow": "{}",
    "replaced": "{}",
    "away": "{}",
    "forbidden": "{}",
    "workload": "{}",
    "reset": "{}",
}
TOGETHER = {"pull": "1.4.3-pull", "crash": "1.4.3-crash", "hang": "1.4.3-hang", "unapplied": "1.4.3"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("cluster"), PLACES, versions=("1.4.3-hang",)) as made:
        made.sandbox.jenkins.add(Job("does-nothing"))
        yield made


@pytest.fixture(scope="module")
def troubled(world: Rig) -> dict[str, Deployment]:
    """Deployments that fail by themselves, under way."""
    return {place: world.deploy(version, place) for place, version in TOGETHER.items()}


@pytest.mark.usefixtures("troubled")
def test_a_slow_rollout_is_watched_to_its_end(world: Rig) -> None:
    path = "environments/slow/replicas.yaml"
    world.sandbox.commit(path, world.sandbox.read(path).replace("replicas: 2", "replicas: 4"), "Four of them")
    row = world.live(world.deploy("1.4.3-slow", "slow"))
    assert "4/4 updated, 4 available" in world.card(row).text
    assert row.committed_at is not None
    assert row.finished_at is not None
    # Four pods one after the other, each ready after eight times the stand-in's 0.1 s.
    assert (row.finished_at - row.committed_at).total_seconds() > 2


@pytest.mark.usefixtures("troubled")
def test_a_rollout_that_somebody_replaces_halfway_is_said_so(world: Rig) -> None:
    before = world.head()
    row = world.deploy("1.4.3-hang", "replaced")
    world.noted(row, "Rollout of", "updated")
    world.sandbox.apply(before, "replaced", manager="kubectl-somebody")
    world.failed(row, ReasonCode.ROLLOUT_REPLACED, "During the rollout", f"to {IMAGE}:1.4.0", "by kubectl-somebody")
    world.live(world.deploy("1.4.2", "replaced"))


def test_a_job_that_applies_nothing_is_found_out(world: Rig, troubled: dict[str, Deployment]) -> None:
    card = world.failed(
        troubled["unapplied"], ReasonCode.NOT_APPLIED, "The build succeeded, but", "was never told to run"
    )
    assert f"still asks for {IMAGE}:1.4.0" in card.text
    assert "Look whether the job applies this overlay" in card.text


def test_pods_that_never_become_ready_are_not_waited_for_for_ever(world: Rig, troubled: dict[str, Deployment]) -> None:
    row = troubled["hang"]
    world.failed(
        row, ReasonCode.ROLLOUT_TIMED_OUT, "did not finish in time", "1 of 2 pods updated", phase=Phase.ERRORED
    )
    world.live(world.deploy("1.4.2", "hang"))


def test_an_image_that_cannot_be_pulled_is_named(world: Rig, troubled: dict[str, Deployment]) -> None:
    world.failed(
        troubled["pull"],
        ReasonCode.IMAGE_PULL,
        "cannot pull",
        f"{IMAGE}:1.4.3-pull",
        "ImagePullBackOff",
        "was pushed to",
    )
    world.live(world.deploy("1.4.2", "pull"))
    assert world.running_image("pull").startswith(f"{IMAGE}:1.4.2@")


def test_a_version_that_crashes_is_shown_with_its_last_lines(world: Rig, troubled: dict[str, Deployment]) -> None:
    card = world.failed(troubled["crash"], ReasonCode.CRASH_LOOP, "keeps crashing", "exit code 1", "last log lines")
    shown = str(card.blocks)
    assert "panic: DATABASE_URL is not set" in shown
    assert "\x1b" not in shown
    world.live(world.deploy("1.4.2", "crash"))


@pytest.mark.parametrize(("place", "kind"), [("away", Misbehaviour.REFUSE), ("reset", Misbehaviour.DROP_BEFORE)])
def test_a_cluster_that_is_away_is_waited_for(world: Rig, place: str, kind: Misbehaviour) -> None:
    with Outage(world.sandbox.kubernetes.faults, f"/namespaces/{place}/", "GET", kind):
        row = world.deploy("1.4.2", place)
        world.noted(row, "cluster", "Trying again")
        assert world.row(row).phase == Phase.RUNNING
    world.live(row)
    assert len(world.builds(row)) == 1


def test_a_cluster_that_lets_us_see_nothing_is_said(world: Rig) -> None:
    users = world.sandbox.kubernetes.users
    token, ours = next((token, user) for token, user in users.items() if user.name == "locktender")
    users[token] = User("locktender", reader(without=frozenset({"deployments"})))
    try:
        row = world.ended(world.deploy("1.4.2", "forbidden"))
        world.failed(row, ReasonCode.CLUSTER_CREDENTIALS, "deployments", phase=Phase(row.phase))
        assert len(world.builds(row)) == 1
    finally:
        users[token] = ours
    world.live(world.deploy("1.4.3", "forbidden"))


def test_a_workload_that_is_deleted_halfway_is_said(world: Rig) -> None:
    row = world.deploy("1.4.3-hang", "workload")
    world.noted(row, "Rollout of", "updated")
    world.sandbox.kubernetes.store.delete("deployments", "workload", APP)
    world.failed(row, ReasonCode.WORKLOAD_MISSING, "was deleted while it was being rolled out", "deploying again")
