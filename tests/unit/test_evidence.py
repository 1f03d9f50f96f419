"""What evidence says of each kind of change, on the real gate in memory: every fact, and the rows that it is from.

Left out: tampering (test_evidence_verify), page and files (test_evidence_page), Slack and curl (e2e/test_evidence).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.evidence_file import STATEMENT
from commands.evidence_find import hashed
from commands.evidence_told import Holds
from commands.evidence_verify import judge
from commands.reasons import ReasonCode, Refused
from storage.models import Change
from storage.unit_of_work import AuditEntry
from storage.verdict import State
from tests.rows import audit_rows
from tests.unit.evidence_rig import (
    AUDITOR,
    asked,
    change,
    checks,
    deployed,
    document,
    promoted,
    reported,
    row,
    signed_moves,
    taken,
    trust,
)
from tests.unit.gate_infra import ANN, PAT, RHEA, ROB
from tests.unit.gate_moves import Moves

ENOUGH = "Approved by as many as the rules ask for"
NOT_ASKER = "No approver asked for it"
NOT_AUTHOR = "No approver is an author of its commits"
SAME = "What was merged is what was approved"
ROLLED_OUT = "The merged commit is the one that was rolled out"
WELL = "Every app was rolled out and found well"
LOOKED = "A second person looked at the broken glass"


@pytest.fixture
def moves(sqlite_template: Path, tmp_path: Path) -> Iterator[Moves]:
    with signed_moves(sqlite_template, tmp_path) as made:
        yield made


def test_a_staging_deployment_says_that_nobody_had_to_approve_it(moves: Moves) -> None:
    mine = deployed(moves)
    found = taken(moves, mine.id)
    told = found.told
    assert (told.kind, told.state) == ("deployment", "succeeded")
    assert told.requests[0].by == ANN
    assert told.ran[0].commit == mine.commit_sha
    assert told.ran[0].health_url.startswith("https://health.example/web")
    facts = checks(found)
    assert facts[ENOUGH].holds is Holds.NOT_ASKED
    assert facts[WELL].holds is Holds.YES
    assert told.rule is not None
    assert told.rule.commit == told.requests[0].rules_commit
    assert judge(found.statement, trust(moves)).state is State.PROVEN


def test_a_reviewed_change_shows_each_fact_and_where_it_is_from(moves: Moves) -> None:
    mine = promoted(moves)
    found = taken(moves, mine)
    told, facts = found.told, checks(found)
    assert {one.holds for one in facts.values()} == {Holds.YES}, facts
    assert ROB in facts[NOT_ASKER].why
    assert ANN in facts[NOT_ASKER].why
    assert told.proposed is not None
    assert told.proposed.is_bound
    (part,) = told.proposed.parts
    assert (part.app, part.before, part.after) == ("web", "0.9", "1.1")
    assert part.summary
    (yes,) = told.said
    assert (yes.by, yes.person, yes.verdict, yes.comment) == (ROB, "person:rob", "approved", "looked at it")
    assert yes.known_as == (ROB, "github:rob", "rob@example.com")
    assert [(one.role, one.name, one.person) for one in yes.apart_from] == [("requester", ANN, "person:ann")]
    assert told.merged is not None
    assert told.merged.approved_by == (ROB,)
    assert told.merged.content == yes.content == told.proposed.content
    assert told.merged.commit == row(moves, mine).commit_sha
    assert told.rule is not None
    assert (told.rule.required, told.rule.groups) == (1, ("managers", "platform"))
    assert told.rule.is_attached
    assert "1.1" in found.attached.diff
    seqs = {one.row.seq for one in found.rows}
    assert {number for one in facts.values() for number in one.rows} <= seqs
    assert judge(found.statement, trust(moves)).state is State.PROVEN


def test_it_is_an_in_toto_statement_over_the_commit_and_the_images(moves: Moves) -> None:
    mine = promoted(moves)
    made = document(taken(moves, mine))
    assert made["_type"] == STATEMENT
    assert made["subject"][0] == {
        "name": "git.example/example/infra",
        "digest": {"gitCommit": row(moves, mine).commit_sha},
    }


def test_the_images_of_a_change_are_subjects_by_their_digests(moves: Moves) -> None:
    mine = deployed(moves).id
    digest = "sha256:" + "ab" * 32
    with moves.town.store.write() as uow:
        said = {"phase": "succeeded", "version": "1.1", "digest": digest, "commit": row(moves, mine).commit_sha}
        uow.audit(AuditEntry("deployment:finish", app="web", deployment_id=mine, details=said))
    subjects = document(taken(moves, mine))["subject"]
    assert {"name": "web:1.1", "digest": {"sha256": "ab" * 32}} in subjects


def test_a_set_is_one_piece_of_evidence_with_each_of_its_apps(moves: Moves) -> None:
    for app in ("web", "api"):
        deployed(moves, app)
    moves.promote(ANN, ("web", "api"))
    moves.visit()
    moves.approve(RHEA)
    moves.rounds(16)
    found = taken(moves, change(moves).id)
    assert sorted(one.app for one in found.told.ran) == ["api", "web"]
    assert {one.phase for one in found.told.ran} == {"succeeded"}
    assert len({one.commit for one in found.told.ran}) == 1
    assert found.told.kind == "promotion of several apps"
    assert {one.holds for one in checks(found).values()} == {Holds.YES}


def test_a_rollback_names_what_it_brings_back(moves: Moves) -> None:
    first = deployed(moves, version="1.1")
    deployed(moves, version="1.2")
    moves.rollback(ANN, "web", "staging")
    moves.rounds(6)
    (asking,) = [one for one in audit_rows(moves.town.store) if one.action == "rollback:request"]
    told = taken(moves, asking.deployment_id).told
    assert (told.kind, told.state) == ("rollback", "succeeded")
    assert told.requests[0].restores == first.id
    assert told.requests[0].reason == "it burns"


def test_broken_glass_shows_its_debt_and_who_closed_it(moves: Moves) -> None:
    moves.deploy(PAT, "web", "production", "1.1", glass=True)
    moves.rounds(14)
    mine = change(moves).id
    owed = taken(moves, mine)
    assert owed.told.glass is not None
    assert (owed.told.glass.reason, owed.told.glass.reviewed_by) == ("it burns", "")
    assert checks(owed)[LOOKED].holds is Holds.NO
    assert checks(owed)[ENOUGH].holds is Holds.NOT_ASKED
    moves.look_at_debt(ROB)
    closed = taken(moves, mine)
    assert closed.told.glass is not None
    assert (closed.told.glass.reviewed_by, closed.told.glass.was_late) == (ROB, False)
    assert checks(closed)[LOOKED].holds is Holds.YES
    assert judge(closed.statement, trust(moves)).state is State.PROVEN


def test_a_rejected_change_says_who_refused_it_and_that_nothing_was_merged(moves: Moves) -> None:
    mine = asked(moves)
    moves.reject(ROB)
    found = taken(moves, mine)
    assert found.told.state == "rejected"
    (no,) = found.told.said
    assert (no.verdict, no.by, no.comment) == ("rejected", ROB, "not today")
    assert checks(found)[SAME].holds is Holds.NOT_ASKED
    assert checks(found)[WELL].holds is Holds.NOT_ASKED
    head = change(moves).head_sha
    assert document(found)["subject"] == [{"name": "git.example/example/infra", "digest": {"gitCommit": head}}]


def test_an_expired_change_says_so(moves: Moves) -> None:
    mine = asked(moves)
    moves.wait_for_expiry()
    moves.wait(2)
    moves.round()
    found = taken(moves, mine)
    assert found.told.state == "expired"
    assert "0 of 1. It was never merged." in checks(found)[ENOUGH].why


def test_a_refused_request_has_evidence_by_the_number_of_its_row(moves: Moves) -> None:
    moves.deploy(ANN, "no-such-app", "staging", "1.1")
    refused = next(one for one in audit_rows(moves.town.store) if one.action.endswith(":refuse"))
    found = taken(moves, f"#{refused.seq}")
    assert (found.name, found.told.kind, found.told.state) == (f"#{refused.seq}", "refused request", "refused")
    assert refused.reason_code in found.told.refused[0]
    assert document(found)["subject"][0]["digest"] == {"sha256": refused.leaf}
    assert judge(found.statement, trust(moves)).state is State.PROVEN


def test_a_change_around_locktender_is_found_by_its_commit_with_its_pull_request(moves: Moves) -> None:
    commit = "c0ffee" * 6 + "0000"
    with moves.town.store.write() as uow:
        for app in ("web", "api"):
            said = {
                "commit": commit, "author": "Pat <pat@example.com>", "subject": "By hand", "pull_request": 7,
                "pull_request_url": "https://git.example/pull/7", "approved_by": ["rob"], "merged_by": "pat",
            }  # fmt: skip
            uow.audit(AuditEntry("external-change", "git:pat@example.com", "", app, "production", details=said))
    reported(moves.town.store, moves, commit[:9], approval_note="CAB-9")
    for name in (commit, commit[:10]):
        told = taken(moves, name).told
        assert (told.name, told.kind, told.state) == (commit, "external change", "around Locktender")
        assert [one.app for one in told.reported] == ["web", "api", "web"]
        assert told.reported[0].pull_request == "https://git.example/pull/7"
        assert told.reported[0].approved_by == ("rob",)
        assert told.reported[2].approval_note == "CAB-9"


@pytest.mark.parametrize("length", [40, 8])
def test_what_a_pipeline_said_of_the_same_commit_is_in_it(moves: Moves, length: int) -> None:
    mine = deployed(moves)
    reported(moves.town.store, moves, mine.commit_sha[:length], approval_note="approved in CHG-1042")
    reported(moves.town.store, moves, mine.commit_sha[:12] + "0" * 28)
    reported(moves.town.store, moves, "d" * 40)
    (said,) = taken(moves, mine.id).told.reported
    assert (said.approval_note, said.deployer, said.by) == ("approved in CHG-1042", "jenkins", "api:cd")
    by_record = taken(moves, next(one.deployment_id for one in audit_rows(moves.town.store) if one.seq == said.row))
    assert by_record.name == mine.id, "a record of our own commit leads to the deployment"


def test_a_record_of_a_commit_that_we_do_not_know_is_evidence_by_itself(moves: Moves) -> None:
    reported(moves.town.store, moves, "d" * 40)
    name = audit_rows(moves.town.store)[-1].deployment_id
    told = taken(moves, name).told
    assert (told.name, told.kind, told.state) == ("d" * 40, "reported from elsewhere", "SUCCESS")


def test_authors_of_pushed_commits_are_compared_with_the_approver(moves: Moves) -> None:
    mine = asked(moves)
    moves.push_branch("rhea")
    moves.wait(31)
    moves.visit()
    moves.approve(ROB)
    moves.rounds(14)
    found = taken(moves, mine)
    assert found.told.proposed is not None
    assert set(found.told.proposed.authors) == {"github:rhea", "rhea@example.com"}
    facts = checks(found)
    assert facts[NOT_AUTHOR].holds is Holds.YES
    assert "rhea@example.com" in facts[NOT_AUTHOR].why
    assert ("author", "github:rhea", "person:rhea") in [
        (one.role, one.name, one.person) for one in found.told.said[0].apart_from
    ]


def test_an_approval_of_what_moved_afterwards_is_shown_and_does_not_count(moves: Moves) -> None:
    mine = asked(moves)
    moves.rule(required=2)
    moves.look_around()
    moves.wait(31)
    moves.visit()
    moves.approve(ROB)
    moves.push_base("web", 3)
    for _ in range(4):
        moves.wait(31)
        moves.look_around()
        moves.visit()
    found = taken(moves, mine)
    (yes,) = found.told.said
    assert not yes.is_of_last
    assert found.told.proposed is not None
    assert found.told.proposed.times > 1
    assert checks(found)[NOT_ASKER].holds is Holds.NOT_ASKED


def test_an_approver_who_lost_the_role_took_nothing_with_them(moves: Moves) -> None:
    mine = asked(moves)
    moves.rule(required=2)
    moves.look_around()
    moves.wait(31)
    moves.visit()
    moves.approve(ROB)
    moves.town.everybody.managers = frozenset({ANN, RHEA})
    moves.town.host.teams["example/managers"] = frozenset({"ann", "rhea"})
    for _ in range(2):
        moves.wait(31)
        moves.look_around()
        moves.visit()
    told = taken(moves, mine).told
    (yes,) = told.said
    assert yes.was_taken_back
    assert told.rule is not None
    assert told.rule.required == 2, "what the rules ask for since they changed"


def test_a_merge_by_hand_is_told_as_one(moves: Moves) -> None:
    mine = asked(moves)
    moves.merge_by_hand("mallory")
    moves.wait(31)
    moves.visit()
    found = taken(moves, mine)
    assert found.told.merged is not None
    assert found.told.merged.by == "mallory"
    assert checks(found)[SAME].holds is Holds.NO
    assert checks(found)[ENOUGH].holds is Holds.NO
    assert checks(found)[ROLLED_OUT].holds is Holds.NO


def test_a_text_that_somebody_changed_in_the_database_is_left_out(moves: Moves) -> None:
    mine = promoted(moves)
    with moves.town.store.write() as uow:
        stored = uow.session.get(Change, mine)
        assert stored is not None
        stored.diff = stored.diff.replace("1.1", "6.6.6")
    found = taken(moves, mine)
    assert (found.attached.diff, bool(found.attached.binding)) == ("", True)
    assert judge(found.statement, trust(moves)).state is State.PROVEN


def test_a_difference_that_holds_a_credential_is_left_out(moves: Moves) -> None:
    mine = asked(moves)
    token = "ghp_" + "a" * 36
    with moves.town.store.write() as uow:
        stored = uow.session.get(Change, mine)
        assert stored is not None
        stored.diff = f"+ token: {token}"
        uow.audit(AuditEntry("change:propose", deployment_id=mine, details={"diff": hashed(stored.diff)}))
    assert token not in taken(moves, mine).statement


def test_taking_it_is_the_last_row_of_it_and_names_all_others(moves: Moves) -> None:
    mine = deployed(moves).id
    found = taken(moves, mine)
    last = audit_rows(moves.town.store)[-1]
    assert (last.action, last.actor, last.seq) == ("audit:evidence", AUDITOR, found.rows[-1].row.seq)
    assert json.loads(last.details)["rows"] == [one.row.seq for one in found.rows[:-1]]
    assert (found.told.taken_by, found.head.size) == (AUDITOR, last.seq)
    again = taken(moves, mine)
    assert [one.row.action for one in again.rows].count("audit:evidence") == 1, "not the taking of before"


@pytest.mark.parametrize("name", ["0000000000", "#9999", "d" * 40, "x`y"])
def test_what_is_not_there_is_refused_with_a_way_on(moves: Moves, name: str) -> None:
    with pytest.raises(Refused) as refused:
        taken(moves, name)
    assert refused.value.reason is ReasonCode.UNKNOWN_DEPLOYMENT
    assert refused.value.next_step
    assert audit_rows(moves.town.store)[-1].action != "audit:evidence"
