"""The gate at the moments that a machine seldom hits: something moves just before, or just after, it looked.

Each is a script on the rig of the model (`gate_rig`), watched like everything there. What they have in common is left
out elsewhere: the end-to-end tests cannot act between two calls of the program.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.code_host import Verdict
from storage.models import Change, ChangeState, Deployment
from storage.phases import Phase
from tests.unit.gate_fate import Blow
from tests.unit.gate_host import Check
from tests.unit.gate_infra import ANN, PAT, RHEA, ROB
from tests.unit.gate_moves import Moves
from tests.unit.gate_rig import town
from tests.unit.gate_watch import Watch


@pytest.fixture
def moves(sqlite_template: Path, tmp_path: Path) -> Iterator[Moves]:
    with town(sqlite_template, tmp_path) as place:
        watch = Watch(place)
        yield Moves(place, watch)
        watch.close()


def _shown(moves: Moves, app: str = "web", environment: str = "production") -> None:
    moves.deploy(ANN, app, environment, "1.1")
    moves.visit()


def _hear(moves: Moves) -> None:
    for _ in range(3):
        moves.wait(31)
        moves.look_around()
        moves.visit()


def _claimed(moves: Moves) -> None:
    _hear(moves)
    moves.claim()
    assert moves.town.running()


def _change(moves: Moves) -> Change:
    (found,) = moves.rows(Change)
    return found  # type: ignore[no-any-return]  # a row of the table


def _deployment(moves: Moves) -> Deployment:
    (found,) = moves.rows(Deployment)
    return found  # type: ignore[no-any-return]  # a row of the table


def test_a_base_that_moves_at_the_very_merge_is_in_git_and_not_rolled_out(moves: Moves) -> None:
    _shown(moves)
    moves.approve(ROB)
    _claimed(moves)
    moves.strike_at("host.ensure_merged", Blow.INTRUDE, lambda: moves.push_base("web", 3))
    moves.deliver(0, 6)
    assert _deployment(moves).phase == Phase.FAILED
    assert _deployment(moves).reason_code == "merged_other"
    moves.settle()


def test_a_merge_by_hand_after_the_approver_has_left_is_not_rolled_out(moves: Moves) -> None:
    _shown(moves)
    moves.approve(ROB)
    _claimed(moves)
    moves.town.everybody.managers = frozenset({ANN, RHEA})
    moves.town.host.teams["example/managers"] = frozenset({"ann", "rhea"})
    moves.look_around()
    moves.merge_by_hand("mallory")
    moves.deliver(0, 6)
    assert _deployment(moves).phase == Phase.FAILED
    assert _deployment(moves).reason_code == "merged_by_hand"
    moves.settle()


def test_our_own_merge_goes_on_after_a_crash_although_the_approver_has_left_since(moves: Moves) -> None:
    _shown(moves)
    moves.approve(ROB)
    _claimed(moves)
    moves.strike_at("host.ensure_merged", Blow.KILL_AFTER)
    moves.deliver(0, 6)
    moves.town.everybody.managers = frozenset({ANN, RHEA})
    moves.town.host.teams["example/managers"] = frozenset({"ann", "rhea"})
    moves.look_around()
    moves.deliver(0, 6)
    assert _deployment(moves).phase == Phase.SUCCEEDED
    moves.settle()


def test_another_app_that_moves_at_the_very_merge_disturbs_nothing(moves: Moves) -> None:
    _shown(moves)
    moves.approve(ROB)
    _claimed(moves)
    moves.strike_at("host.ensure_merged", Blow.INTRUDE, lambda: moves.push_base("api", 3))
    moves.deliver(0, 6)
    assert _deployment(moves).phase == Phase.SUCCEEDED
    moves.settle()


def test_rules_that_changed_in_git_since_they_were_read_count_at_the_merge(moves: Moves) -> None:
    _shown(moves)
    moves.approve(ROB)
    _claimed(moves)
    moves.rule(required=2)  # the next look at the file is seconds away
    moves.deliver(0, 6)
    assert _deployment(moves).phase == Phase.AWAITING_APPROVAL
    moves.settle()


def test_rules_that_got_faults_in_git_since_they_were_read_close_the_gate_at_the_merge(moves: Moves) -> None:
    _shown(moves)
    moves.approve(ROB)
    _claimed(moves)
    moves.rule(sound=False)
    moves.deliver(0, 6)
    assert not _deployment(moves).commit_sha
    moves.settle()


@pytest.mark.parametrize("taken_back", ["dismissed", "changed their mind"])
def test_a_review_that_is_taken_back_just_before_the_merge_does_not_count(moves: Moves, taken_back: str) -> None:
    _shown(moves, environment="preprod")
    moves.review("rob", Verdict.APPROVED)
    _claimed(moves)
    if taken_back == "dismissed":
        moves.dismiss("rob")
    else:
        moves.review("rob", Verdict.CHANGES_REQUESTED)
    moves.deliver(0, 6)
    assert _deployment(moves).phase == Phase.AWAITING_APPROVAL
    moves.settle()


def test_an_approved_change_stays_so_while_the_code_host_thinks_about_a_push_for_a_moment(moves: Moves) -> None:
    _shown(moves)
    moves.approve(ROB)
    moves.lock(PAT, "production")
    _hear(moves)
    assert _change(moves).state == ChangeState.APPROVED
    moves.wait_for_expiry()
    moves.push_base("api", 3)
    _hear(moves)
    assert _change(moves).state == ChangeState.APPROVED
    moves.unlock(PAT, "production")
    moves.rounds(2)
    assert _deployment(moves).phase == Phase.SUCCEEDED
    moves.settle()


def test_an_approved_change_whose_check_runs_again_waits_with_a_word_in_the_record(moves: Moves) -> None:
    _shown(moves)
    moves.approve(ROB)
    moves.lock(PAT, "production")
    _hear(moves)
    moves.require(Check.PENDING)
    _hear(moves)
    assert _change(moves).state == ChangeState.OPEN
    moves.require(Check.PASSED)
    _hear(moves)
    assert _change(moves).state == ChangeState.APPROVED
    moves.settle()


def test_a_review_of_what_moved_since_does_not_count_for_what_is_shown_now(moves: Moves) -> None:
    _shown(moves, environment="preprod")
    moves.review("rob", Verdict.APPROVED)
    moves.wait(31)
    moves.visit()
    moves.rule(platform=(PAT, RHEA))
    moves.look_around()
    _hear(moves)
    assert _change(moves).state == ChangeState.OPEN
    moves.wait(1)
    moves.review("rob", Verdict.APPROVED)
    _hear(moves)
    assert _change(moves).state == ChangeState.APPROVED
    moves.settle()
