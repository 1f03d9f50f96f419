"""What the record says of a reviewed change, row by row: who, what they were shown, which content, commit and reason.

On the rig of the gate's model (`gate_rig`). That no state changes without a row is watched there for every script; how
rows are found and told is in test_history and test_audit_use_cases.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.audit_text import audit_text
from storage.canonical import leaf_hash
from storage.models import Change, Deployment
from storage.phases import Phase
from storage.record_models import AuditRow
from storage.unit_of_work import BOT
from tests.unit.gate_fate import Blow
from tests.unit.gate_host import Check
from tests.unit.gate_infra import ANN, PAT, ROB
from tests.unit.gate_moves import Moves
from tests.unit.gate_rig import town
from tests.unit.gate_watch import Watch


@pytest.fixture
def moves(sqlite_template: Path, tmp_path: Path) -> Iterator[Moves]:
    with town(sqlite_template, tmp_path) as place:
        watch = Watch(place)
        yield Moves(place, watch)
        watch.close()


def rows(moves: Moves, action: str) -> list[AuditRow]:
    return [row for row in sorted(moves.rows(AuditRow), key=lambda row: row.seq) if row.action == action]


def said(moves: Moves, action: str) -> dict[str, Any]:
    """The details of the one row with this action."""
    (row,) = rows(moves, action)
    found: dict[str, Any] = json.loads(row.details)
    return found


def change(moves: Moves) -> Change:
    (found,) = moves.rows(Change)
    return found  # type: ignore[no-any-return]  # a row of the table


def shown(moves: Moves, by: str = ANN, *, glass: bool = False) -> None:
    moves.deploy(by, "web", "production", "1.1", glass=glass)
    moves.visit()


def approved(moves: Moves) -> None:
    moves.approve(ROB)
    for _ in range(3):
        moves.wait(31)
        moves.look_around()
        moves.visit()


def test_every_step_from_the_request_to_the_end_is_recorded_with_what_it_was_about(moves: Moves) -> None:
    shown(moves)
    approved(moves)
    moves.claim()
    moves.deliver(0, 8)
    (deployment,) = moves.rows(Deployment)
    assert deployment.phase == Phase.SUCCEEDED
    mine = change(moves)
    told = [row.action for row in sorted(moves.rows(AuditRow), key=lambda row: row.seq)]
    wanted = [
        "deployment:request", "change:open", "change:propose", "change:approve", "change:approved", "deployment:write",
        "change:merge", "change:merged", "deployment:commit", "deployment:finish",
    ]  # fmt: skip
    assert [action for action in told if action in wanted] == wanted
    (asked,) = rows(moves, "deployment:request")
    assert (asked.actor, asked.app, asked.environment, asked.deployment_id) == (ANN, "web", "production", deployment.id)
    assert said(moves, "deployment:request")["version"] == "1.1"
    proposed = said(moves, "change:propose")
    assert proposed["content"] == mine.content != ""
    assert {proposed[name] for name in ("head", "base", "pull_request", "policy")} & {""} == set()
    (yes,) = rows(moves, "change:approve")
    assert (yes.actor, yes.app, yes.environment, yes.deployment_id) == (ROB, "web", "production", mine.id)
    of = said(moves, "change:approve")
    assert (of["content"], of["head"], of["pull_request"]) == (mine.content, proposed["head"], mine.pr_url)
    assert {"person", "source", "comment"} <= of.keys()
    assert said(moves, "change:merge")["content"] == mine.content
    assert said(moves, "change:merged")["merge"] == mine.merge_sha == deployment.commit_sha != ""
    assert said(moves, "deployment:commit")["commit"] == deployment.commit_sha
    (end,) = rows(moves, "deployment:finish")
    assert (end.actor, end.reason_code) == (BOT, deployment.reason_code)
    assert said(moves, "deployment:finish")["commit"] == deployment.commit_sha
    assert all(row.leaf == leaf_hash(audit_text(row)) for row in moves.rows(AuditRow))
    moves.settle()


def test_a_rejection_is_recorded_with_its_reason_and_what_was_shown(moves: Moves) -> None:
    shown(moves)
    content = change(moves).content
    moves.reject(ROB)
    (no,) = rows(moves, "change:reject")
    assert no.actor == ROB
    of = said(moves, "change:reject")
    assert of["content"] == content
    assert of["comment"]
    (end,) = rows(moves, "deployment:finish")
    assert (end.actor, end.reason_code) == (ROB, "rejected_by_person")
    assert rows(moves, "change:close")[0].reason_code == "rejected_by_person"
    moves.settle()


def test_an_expiry_is_recorded_as_the_bots_own(moves: Moves) -> None:
    shown(moves)
    moves.wait_for_expiry()
    moves.wait(1)
    moves.visit()
    (end,) = rows(moves, "deployment:finish")
    assert (end.actor, end.reason_code, said(moves, "deployment:finish")["phase"]) == (
        BOT,
        "approval_expired",
        "expired",
    )
    moves.settle()


def test_what_moved_is_recorded_with_the_content_whose_approvals_are_void(moves: Moves) -> None:
    shown(moves)
    before = change(moves).content
    moves.push_base("web", 3)
    for _ in range(3):
        moves.wait(31)
        moves.look_around()
        moves.visit()
    (row,) = rows(moves, "change:void")
    void = json.loads(row.details)
    assert void["content"] == before
    assert void["moved"]
    assert [json.loads(row.details)["content"] for row in rows(moves, "change:propose")] == [
        before,
        change(moves).content,
    ]
    moves.settle()


def test_what_the_code_host_wants_is_recorded_when_it_takes_a_change_out_of_the_queue(moves: Moves) -> None:
    shown(moves)
    moves.lock(PAT, "production")
    approved(moves)
    moves.require(Check.PENDING)
    for _ in range(3):
        moves.wait(31)
        moves.visit()
    wait = said(moves, "change:wait")
    assert wait["content"] == change(moves).content
    assert "wants" in wait
    moves.settle()


def test_a_merge_of_something_else_is_recorded_with_what_differs(moves: Moves) -> None:
    shown(moves)
    approved(moves)
    moves.claim()
    moves.strike_at("host.ensure_merged", Blow.INTRUDE, lambda: moves.push_base("web", 3))
    moves.deliver(0, 8)
    (row,) = rows(moves, "change:merged-other")
    assert row.reason_code == "merged_other"
    other = said(moves, "change:merged-other")
    assert (other["merge"], other["content"]) == (change(moves).merge_sha, change(moves).content)
    assert other["differs"]
    moves.settle()


def test_a_merge_that_may_not_be_made_now_is_recorded_with_what_is_in_its_way(moves: Moves) -> None:
    shown(moves)
    approved(moves)
    moves.claim()
    moves.rule(required=2)
    moves.deliver(0, 8)
    back = said(moves, "change:stand-down")
    assert back["what"]
    assert back["content"] == change(moves).content
    moves.settle()


def test_a_merge_by_hand_is_recorded_with_who_did_it_there(moves: Moves) -> None:
    shown(moves)
    moves.merge_by_hand("mallory")
    moves.wait(31)
    moves.visit()
    by_hand = said(moves, "change:external-merge")
    assert by_hand["by"] == "mallory"
    assert by_hand["merge"]
    assert by_hand["pull_request"] == change(moves).pr_url
    assert rows(moves, "deployment:finish")[0].reason_code == "merged_by_hand"
    moves.settle()


def test_broken_glass_is_recorded_from_the_request_to_the_review_that_closes_it(moves: Moves) -> None:
    shown(moves, PAT, glass=True)
    moves.rounds(3)
    assert change(moves).merge_sha
    assert said(moves, "deployment:request")["break_glass"] is True
    assert said(moves, "change:open")["break_glass"] is True
    assert said(moves, "change:open")["required"] == 0
    assert rows(moves, "change:approve") == []
    moves.look_at_debt(ROB)
    (closing,) = rows(moves, "change:review")
    assert (closing.actor, closing.deployment_id) == (ROB, change(moves).id)
    assert said(moves, "change:review")["merge"] == change(moves).merge_sha
    assert said(moves, "change:review")["late"] is False
    moves.settle()
