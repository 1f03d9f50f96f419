"""How each step of a delivery decides: on answers of git, Jenkins and the cluster, on faults, on cancels, on rules that
changed, and on attempts that were overtaken. The outside is in memory; crashes of the process are in tests/crash.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.steps.base import Point
from commands.endings import Ending, end
from commands.ports import BuildState, Rollout, RolloutState
from commands.reasons import ReasonCode, Refused, Retry
from storage.models import Deployment, Kind
from storage.phases import Phase, Stage
from tests.unit.delivery_rig import (
    CATALOGUE,
    FILES,
    LIVE,
    MOVING,
    OVERLAY,
    Builds,
    Pods,
    Rig,
    build,
    empty_database,
    in_force,
    rig,
)

AWAY = Retry(ReasonCode.JENKINS_UNREACHABLE, "Jenkins does not answer.", "Look at Jenkins.", after=5.0)
GIT_AWAY = Retry(ReasonCode.REPO_UNREACHABLE, "Git does not answer.", "Look at git.", after=10.0)


@pytest.fixture(scope="module", name="schema")
def _schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_database(tmp_path_factory.mktemp("schema"))


@pytest.fixture(name="rig")
def _rig(schema: Path, tmp_path: Path) -> Iterator[Rig]:
    with rig(schema, tmp_path) as made:
        yield made


def verdict(row: Deployment) -> tuple[str, str]:
    return str(row.phase), row.reason_code


# ---------------------------------------------------------------- the whole way


def test_a_delivery_ends_live_with_everything_recorded_once(rig: Rig) -> None:
    row = rig.run(rig.ask())
    assert verdict(row) == ("succeeded", "live")
    assert (row.stage, row.previous, row.overlay) == (Stage.DONE, "1.0", "environments/staging")
    assert row.commit_sha == rig.branch.refresh()
    assert b'newTag: "1.1"' in (rig.branch.trees[-1].read(OVERLAY) or b"")
    assert rig.actions() == [
        "deployment:write",
        "deployment:commit",
        "deployment:build",
        "deployment:built",
        "deployment:rollout",
        "deployment:finish",
    ]
    assert [one.parameters for one in rig.builds.asked] == [
        {"ENVIRONMENT": "staging", "GIT_COMMIT": row.commit_sha, "DEPLOYMENT_ID": row.id, "DRY_RUN": "false"}
    ]
    assert rig.pods.requests[0].images == {"web": "registry.example/web:1.1"}


def test_a_preview_commits_nothing_and_tells_whoever_asked(rig: Rig) -> None:
    row = rig.run(rig.ask(kind=Kind.PREVIEW))
    assert verdict(row) == ("succeeded", "previewed")
    assert len(rig.branch.trees) == 1
    (told,) = rig.messages()
    assert "would change" in told.body
    assert "deployment:write" not in rig.actions()


def test_a_preview_that_cannot_be_says_why_to_whoever_asked(rig: Rig) -> None:
    rig.kustomize.faults = [Refused(ReasonCode.RENDER_FAILED, "It cannot be built.", "Mend it.")]
    row = rig.run(rig.ask(kind=Kind.PREVIEW))
    assert verdict(row) == ("failed", "render_failed")
    (told,) = rig.messages()
    assert "It cannot be built. Mend it." in told.body


# ---------------------------------------------------------------- faults become endings


@pytest.mark.parametrize(
    ("faults", "ending"),
    [
        ([Refused(ReasonCode.BRANCH_PROTECTED, "The branch is protected.", "Ask.")], ("failed", "branch_protected")),
        ([GIT_AWAY] * 2000, ("errored", "repo_unreachable")),
        ([GIT_AWAY.as_unknown()], ("errored", "repo_unreachable")),
        ([GIT_AWAY], ("succeeded", "live")),
    ],
    ids=["refused", "away for ever", "unknown", "away once"],
)
def test_what_git_says_of_a_push_decides(rig: Rig, faults: list[Retry], ending: tuple[str, str]) -> None:
    rig.branch.faults = list(faults)
    row = rig.run(rig.ask())
    assert verdict(row) == ending


def test_patience_with_git_ends_at_the_stored_deadline(rig: Rig) -> None:
    rig.branch.faults = [GIT_AWAY] * 2000
    began = rig.clock.now
    rig.run(rig.ask())
    assert 300 <= (rig.clock.now - began).total_seconds() <= 315


def test_a_trouble_is_noted_on_the_card_and_its_end_takes_the_note_away(rig: Rig) -> None:
    rig.branch.faults = [GIT_AWAY]
    rig.builds = Builds([build(BuildState.RUNNING), AWAY, build(BuildState.RUNNING), build(BuildState.SUCCESS)])
    row = rig.run(rig.ask())
    assert row.note == ""
    assert "Git does not answer. Trying again." in rig.notes
    trouble = rig.notes.index("Jenkins does not answer. Trying again.")
    assert rig.notes[trouble - 1] == ""
    assert rig.notes[trouble + 1] == ""


def test_what_a_queue_says_is_noted_while_it_waits(rig: Rig) -> None:
    waiting = build(BuildState.QUEUED, number=None, why="Waiting for an executor")
    rig.builds = Builds([waiting, build(BuildState.RUNNING), build(BuildState.SUCCESS)])
    rig.run(rig.ask())
    assert "Waiting for an executor" in rig.notes
    assert rig.notes[-1] == ""


def test_a_mistake_of_ours_ends_errored_with_an_id_that_finds_the_log_line(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Pods):
        def rollout(self, *_: object) -> Rollout:
            raise KeyError("revision")

    rig.pods = Broken([LIVE])
    row = rig.run(rig.ask())
    assert verdict(row) == ("errored", "internal")
    assert "rollout" in row.what
    error_id = row.next_step.split("`")[1]
    assert error_id in capsys.readouterr().out


# ---------------------------------------------------------------- builds


@pytest.mark.parametrize(
    ("last", "ending"),
    [
        (build(BuildState.FAILURE, stage="Apply", log_tail="boom"), ("failed", "build_failed")),
        (build(BuildState.UNSTABLE), ("failed", "build_unstable")),
        (build(BuildState.ABORTED), ("failed", "build_aborted")),
        (build(BuildState.ABORTED, number=None), ("failed", "build_cancelled")),
        (build(BuildState.LOST), ("errored", "build_lost")),
    ],
    ids=lambda value: str(value.state) if hasattr(value, "state") else value[1],
)
def test_a_build_that_does_not_succeed_names_its_reason(rig: Rig, last: object, ending: tuple[str, str]) -> None:
    rig.builds = Builds([last])  # type: ignore[list-item]  # a Build, typed object for the table
    row = rig.run(rig.ask())
    assert verdict(row) == ending
    assert rig.pods.requests == []
    assert row.commit_sha  # the commit stands


def test_a_failed_build_shows_its_stage_and_last_lines(rig: Rig) -> None:
    rig.builds = Builds([build(BuildState.FAILURE, stage="Apply", log_tail="boom")])
    row = rig.run(rig.ask())
    assert "stage `Apply`" in row.what
    assert row.detail == "boom"


def test_a_build_that_never_ends_is_given_up_as_unknown(rig: Rig) -> None:
    rig.builds = Builds([build(BuildState.RUNNING)])
    began = rig.clock.now
    row = rig.run(rig.ask())
    assert verdict(row) == ("errored", "build_timed_out")
    assert 60 <= (rig.clock.now - began).total_seconds() <= 65


def test_jenkins_away_for_longer_than_a_build_may_last_is_its_own_reason(rig: Rig) -> None:
    rig.builds.faults = [AWAY] * 2000
    row = rig.run(rig.ask())
    assert verdict(row) == ("errored", "jenkins_unreachable")
    assert rig.builds.asked == []


# ---------------------------------------------------------------- rollouts


def test_a_failed_rollout_names_the_cause(rig: Rig) -> None:
    rig.pods = Pods(
        [MOVING, replace(MOVING, state=RolloutState.FAILED, reason=ReasonCode.IMAGE_PULL, what="No such image.")]
    )
    row = rig.run(rig.ask())
    assert (*verdict(row), row.what) == ("failed", "image_pull", "No such image.")


def test_a_rollout_that_somebody_replaced_is_said_so(rig: Rig) -> None:
    rig.pods = Pods([replace(MOVING, state=RolloutState.REPLACED, reason=ReasonCode.ROLLOUT_REPLACED, what="Other.")])
    assert verdict(rig.run(rig.ask())) == ("failed", "rollout_replaced")


def test_a_build_that_applied_nothing_is_found_out_after_two_minutes(rig: Rig) -> None:
    rig.pods = Pods([Rollout(RolloutState.NOT_APPLIED, what="It runs 1.0.")])
    began = rig.clock.now
    row = rig.run(rig.ask())
    assert verdict(row) == ("failed", "not_applied")
    assert row.what.startswith("The build succeeded")
    assert 120 <= (rig.clock.now - began).total_seconds() <= 130


@pytest.mark.parametrize(
    ("look", "ending"),
    [
        (MOVING, ("errored", "rollout_timed_out")),
        (replace(MOVING, warning="a pod waits for a node"), ("failed", "rollout_timed_out")),
        (replace(MOVING, reason=ReasonCode.UNSCHEDULABLE), ("failed", "unschedulable")),
    ],
    ids=["nothing says why", "a warning", "a cause"],
)
def test_a_rollout_that_never_ends_is_given_up(rig: Rig, look: Rollout, ending: tuple[str, str]) -> None:
    rig.pods = Pods([look])
    assert verdict(rig.run(rig.ask())) == ending


# ---------------------------------------------------------------- what is configured


@pytest.mark.parametrize(
    ("settings", "builds", "said"),
    [
        ("rollout: none", 1, "The build succeeded; the rollout is not watched in staging."),
        ("reconciler: none", 0, "Nothing is watched in staging: git says 1.1"),
    ],
)
def test_where_nobody_watches_the_rollout_it_ends_as_committed_and_says_so(
    rig: Rig, settings: str, builds: int, said: str
) -> None:
    rig.in_force = in_force(CATALOGUE.replace("staging: {", f"staging: {{{settings}, "))
    row = rig.run(rig.ask())
    assert verdict(row) == ("succeeded", "committed")
    assert row.what.startswith(said)
    assert (len(rig.builds.asked), rig.pods.requests) == (builds, [])


def test_without_a_reconciler_the_rollout_is_still_watched(rig: Rig) -> None:
    rig.in_force = in_force(CATALOGUE.replace("staging: {", "staging: {reconciler: none, rollout: watch, "))
    row = rig.run(rig.ask())
    assert verdict(row) == ("succeeded", "live")
    assert rig.builds.asked == []


def test_a_jenkins_that_is_not_configured_is_named(rig: Rig) -> None:
    rig.no_pipeline = True
    row = rig.run(rig.ask())
    assert verdict(row) == ("failed", "not_configured")
    assert "JENKINS_URL" in row.next_step


def test_a_cluster_that_is_not_configured_is_named(rig: Rig) -> None:
    rig.no_cluster = True
    row = rig.run(rig.ask())
    assert verdict(row) == ("errored", "not_configured")
    assert "KUBECONFIG" in row.next_step


# ---------------------------------------------------------------- rules and people, meanwhile

REVIEWED = CATALOGUE.replace(
    "staging: {", "staging: {change: pull-request, approval: {from: [ops], required: 1}, "
).replace("channels:", "groups: {ops: {members: [U0OPS]}}\nchannels:")


def test_an_environment_that_came_to_need_review_is_not_committed_to(rig: Rig) -> None:
    def change() -> None:
        rig.in_force = in_force(REVIEWED)

    rig.at[Point.CHECKED] = change
    row = rig.run(rig.ask())
    assert verdict(row) == ("failed", "approval_required")
    assert len(rig.branch.trees) == 1


def test_rules_that_change_after_the_commit_do_not_leave_the_place_unlike_git(rig: Rig) -> None:
    def change() -> None:
        rig.in_force = in_force(REVIEWED)

    rig.at[Point.COMMIT_RECORDED] = change
    assert verdict(rig.run(rig.ask())) == ("succeeded", "live")


def test_a_cancel_between_check_and_write_wins(rig: Rig) -> None:
    name = rig.ask()
    rig.at[Point.CHECKED] = lambda: cancel(rig, name)
    row = rig.run(name)
    assert verdict(row) == ("cancelled", "cancelled_by_person")
    assert len(rig.branch.trees) == 1
    assert rig.builds.asked == []


def cancel(rig: Rig, name: str) -> None:
    with rig.store.write() as uow:
        row = uow.deployment(name)
        assert row is not None
        end(uow, row, Ending(Phase.CANCELLED, ReasonCode.CANCELLED_BY_PERSON, "Cancelled."))


def test_git_that_moved_on_meanwhile_is_told(rig: Rig) -> None:
    def other() -> None:
        rig.branch.add({OVERLAY: FILES[OVERLAY].replace(b"1.0", b"2.0")})

    rig.at[Point.ROLLOUT_DONE] = other
    row = rig.run(rig.ask())
    assert verdict(row) == ("succeeded", "live")
    assert "moved on to 2.0" in row.what


# ---------------------------------------------------------------- attempts


@pytest.mark.parametrize("point", [point for point in Point if point is not Point.FINISHED])
def test_an_attempt_that_was_overtaken_touches_nothing_more(rig: Rig, point: Point) -> None:
    """The first one is at the point when the second one takes over: it stops, and the second one ends it."""
    name = rig.ask()
    rig.at[point] = lambda: rig.claim(name)
    row = rig.run(name)
    assert row.phase == Phase.RUNNING
    audit = len(rig.actions())
    assert audit <= 5
    row = rig.run(name, 2)
    assert verdict(row) == ("succeeded", "live")
    assert row.previous == "1.0"
    assert len(rig.branch.by_deployment) == 1
    assert len(rig.builds.asked) == 1
    assert len(rig.actions()) == len(set(rig.actions()))


@pytest.mark.parametrize("point", [Point.WRITE_RECORDED, Point.PUSHED, Point.COMMIT_RECORDED, Point.ROLLOUT_SEEN])
def test_a_new_attempt_never_goes_back_to_where_it_could_be_cancelled(rig: Rig, point: Point) -> None:
    name = rig.ask()
    stages: list[Stage] = []
    rig.at[point] = lambda: rig.claim(name)
    rig.run(name)

    class Watched(Builds):
        def build(self, *words: object) -> object:  # type: ignore[override]  # it only looks on
            stages.append(Stage(rig.row(name).stage))
            return super().build(*words)  # type: ignore[arg-type]  # handed on as they came

    before = Stage(rig.row(name).stage)
    rig.at[Point.CHECKED] = lambda: pytest.fail("it was checked again")
    rig.builds = Watched(rig.builds.says, asked=rig.builds.asked)
    assert verdict(rig.run(name, 2)) == ("succeeded", "live")
    assert all(stage is Stage.RECONCILE for stage in stages)
    assert before is not Stage.CHECK
