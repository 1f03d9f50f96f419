"""What changes outside between two steps of a delivery, and waits that others ask for.

The decision tables of the steps are in test_steps.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.slack.cards import deployment_card
from bot.steps.base import Point
from commands.ports import Rendered, Tree
from commands.reasons import ReasonCode, Retry
from storage.phases import Phase
from tests.unit.delivery_rig import CATALOGUE, FILES, OVERLAY, Files, Kustomize, Rig, empty_database, in_force, rig

SIDECAR = "base/sidecar"


class WithSidecar(Kustomize):
    """Renders a second container, whose image is a file's text."""

    def render(self, tree: Tree, overlay: str) -> Rendered:
        text = super().render(tree, overlay).text
        proxy = (tree.read(SIDECAR) or b"").decode()
        return Rendered(text.replace("'}]", f"'}}, {{name: proxy, image: '{proxy}'}}]"), cached=False)


@pytest.fixture(scope="module", name="schema")
def _schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_database(tmp_path_factory.mktemp("schema"))


@pytest.fixture(name="rig")
def _rig(schema: Path, tmp_path: Path) -> Iterator[Rig]:
    with rig(schema, tmp_path) as made:
        made.kustomize = WithSidecar()
        made.branch.trees = [Files(f"{0:040x}", {**FILES, SIDECAR: b"proxy:1"})]
        yield made


def test_a_sidecar_that_changed_between_check_and_push_is_watched_as_committed(rig: Rig) -> None:
    rig.at[Point.WRITE_RECORDED] = lambda: rig.branch.add({**rig.branch.trees[-1].files, SIDECAR: b"proxy:2"})
    row = rig.run(rig.ask())
    assert row.phase == Phase.SUCCEEDED
    assert rig.pods.requests[-1].images == {"web": "registry.example/web:1.1", "proxy": "proxy:2"}


def _same_version_by_hand(rig: Rig) -> None:
    said = FILES[OVERLAY].replace(b'"1.0"', b'"1.1"')
    rig.branch.add({OVERLAY: said, SIDECAR: b"proxy:3"})


def test_what_git_said_already_is_watched_as_git_says_it(rig: Rig) -> None:
    rig.at[Point.WRITE_RECORDED] = lambda: _same_version_by_hand(rig)
    row = rig.run(rig.ask())
    assert row.phase == Phase.SUCCEEDED
    assert rig.pods.requests[-1].images == {"web": "registry.example/web:1.1", "proxy": "proxy:3"}


def test_the_card_does_not_claim_a_commit_that_somebody_else_made(rig: Rig) -> None:
    rig.at[Point.WRITE_RECORDED] = lambda: _same_version_by_hand(rig)
    row = rig.run(rig.ask())
    assert row.commit_sha == rig.branch.trees[-1].commit
    text = deployment_card(row, lambda _: "").text
    assert f"✓ Git said 1.1 already, at `{row.commit_sha[:7]}`" in text
    assert "Committed" not in text


def test_a_server_that_asks_for_a_day_of_patience_gets_no_more_than_the_stage_has(rig: Rig) -> None:
    rig.builds.says = [Retry(ReasonCode.JENKINS_UNREACHABLE, "Jenkins is busy.", "Look at it.", after=86_400)]
    row = rig.run(rig.ask())
    assert (row.phase, row.reason_code) == (Phase.ERRORED, ReasonCode.JENKINS_UNREACHABLE)
    assert sum(rig.paused) < 70, "the catalogue gives a build one minute"


def _only(member: str) -> str:
    closed = CATALOGUE.replace("{build: 1m, rollout: 3m}", "{build: 1m, rollout: 3m}, deployers: [staff]")
    return f"{closed}groups: {{staff: {{members: [{member}]}}}}\n"


def _asked_by_ada(rig: Rig) -> str:
    deployment_id = rig.ask()
    with rig.store.write() as uow:
        row = uow.deployment(deployment_id)
        assert row is not None
        row.requested_by = "U0ADA"
    return deployment_id


@pytest.mark.parametrize(("member", "reason"), [("U0ADA", ReasonCode.LIVE), ("U0BOB", ReasonCode.NOT_PERMITTED)])
def test_whoever_lost_the_right_while_it_waited_does_not_deploy(rig: Rig, member: str, reason: ReasonCode) -> None:
    deployment_id = _asked_by_ada(rig)
    rig.in_force = in_force(_only(member))
    row = rig.run(deployment_id)
    assert row.reason_code == reason
    assert (len(rig.branch.trees) > 1) == (reason is ReasonCode.LIVE), "nothing is committed without the right"


def test_rights_that_cannot_be_read_when_it_is_written_refuse(rig: Rig) -> None:
    deployment_id = _asked_by_ada(rig)
    rig.in_force = in_force(_only("U1").replace("{members: [U1]}", "{slack: S0STAFF}"))
    row = rig.run(deployment_id)
    assert (row.phase, row.reason_code) == (Phase.FAILED, ReasonCode.GROUP_UNREADABLE)
    assert len(rig.branch.trees) == 1
