"""The gate with one check taken out at a time: the watch of the model must see what then gets through.

A check that can be taken out unseen is a check that nobody tests. Each mutant has a short script that the whole gate
survives (the control) and the mutant does not. Modules are patched here, which no other test does: what is judged is
whether the watch sees a hole, and there is no other way to make one without keeping holes in the program.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bot.gate.endings import Endings
from bot.gate.merges import Merges
from bot.gate.outside import Outside
from bot.gate.proposals import Seen
from bot.steps.base import Step
from commands import approvals, approve, people, policy
from commands.binding import Binding
from commands.catalogue import Catalogue
from commands.code_host import MergeRequest, PullRequest
from storage import claims, gate
from storage.models import Change
from storage.unit_of_work import Store
from tests.unit.gate_fate import Blow
from tests.unit.gate_host import PullRequests
from tests.unit.gate_infra import ANN, ANN_AGAIN, PAT, RHEA, ROB, STRANGER
from tests.unit.gate_moves import Moves
from tests.unit.gate_rig import Parts, town
from tests.unit.gate_watch import ViolationError, Watch

Patch = Callable[[pytest.MonkeyPatch], Parts | None]
Script = Callable[[Moves], None]


# ---------------------------------------------------------------- scripts


def _asked(moves: Moves, *apps: str) -> None:
    """Something is shown that Ann has asked for."""
    for app in apps or ("web",):
        moves.deploy(PAT, app, "staging", "1.0")
    moves.round()
    moves.promote(ANN, apps or ("web",))
    moves.visit()


def _approved(moves: Moves, *users: str) -> None:
    """These say yes, and the gate has heard them."""
    for user in users:
        moves.approve(user)
    for _ in range(2):
        moves.visit()
        moves.wait(3)


def _merges(moves: Moves) -> None:
    moves.look_around()
    moves.claim()
    moves.deliver(0, 6)
    moves.deliver(1, 6)


def _ann_approves(moves: Moves) -> None:
    _asked(moves)
    _approved(moves, ANN)
    _merges(moves)


def _ann_approves_with_another_account(moves: Moves) -> None:
    _asked(moves)
    _approved(moves, ANN_AGAIN)
    _merges(moves)


def _an_author_approves(moves: Moves) -> None:
    _asked(moves)
    moves.push_branch("rob", dull=True)
    moves.wait(31)
    moves.visit()
    _approved(moves, ROB)
    _merges(moves)


def _a_stranger_approves(moves: Moves) -> None:
    _asked(moves)
    _approved(moves, STRANGER)
    _merges(moves)


def _the_approver_leaves(moves: Moves) -> None:
    _asked(moves)
    _approved(moves, ROB)
    moves.claim()
    moves.town.everybody.managers = frozenset({ANN, RHEA})
    moves.town.host.teams["example/managers"] = frozenset({"ann", "rhea"})
    _merges(moves)


def _the_base_moves_before_the_merge(moves: Moves) -> None:
    _asked(moves)
    _approved(moves, ROB)
    moves.claim()
    moves.deliver(0, 1)
    moves.push_base("web", 3)
    moves.deliver(0, 6)


def _the_base_is_another_that_builds_the_same(moves: Moves) -> None:
    _asked(moves)
    _approved(moves, ROB)
    moves.claim()
    moves.push_comment("web", "reviewed by nobody")
    moves.deliver(0, 6)


def _the_rules_change(moves: Moves) -> None:
    _asked(moves)
    _approved(moves, ROB)
    moves.claim()
    moves.rule(platform=(PAT, RHEA))
    _merges(moves)


def _approved_at_the_second_of_expiry(moves: Moves) -> None:
    _asked(moves)
    moves.wait_for_expiry()
    moves.look_around()
    moves.approve(ROB)


def _nobody_approves(moves: Moves) -> None:
    _asked(moves)
    moves.settle()


def _a_stale_button(moves: Moves) -> None:
    _asked(moves)
    (token,) = moves.watch.shown
    moves.push_branch("pat", dull=True)
    moves.wait(31)
    moves.visit()
    moves.approve_token(ROB, token)
    for _ in range(2):
        moves.visit()
        moves.wait(3)
    _merges(moves)


def _a_lock_after_the_claim(moves: Moves) -> None:
    _asked(moves)
    _approved(moves, ROB)
    moves.claim()
    moves.lock(PAT, "production")
    moves.deliver(0, 6)


def _a_lock_before_the_claim(moves: Moves) -> None:
    moves.lock(PAT, "staging")
    moves.deploy(ANN, "web", "staging", "1.1")
    moves.claim()


def _a_lock_on_one_of_a_set(moves: Moves) -> None:
    _asked(moves, "web", "api")
    _approved(moves, ROB)
    moves.lock(PAT, "web production")
    moves.claim()


def _the_head_moves_at_the_merge(moves: Moves) -> None:
    _asked(moves)
    _approved(moves, ROB)
    moves.claim()
    moves.strike_at("host.ensure_merged", Blow.INTRUDE, lambda: moves.push_branch("mallory"))
    moves.deliver(0, 6)


def _somebody_merges_something_else(moves: Moves) -> None:
    _asked(moves)
    _approved(moves, ROB)
    moves.claim()
    moves.push_branch("mallory")
    moves.merge_by_hand("mallory")
    moves.deliver(0, 6)


def _glass_is_broken_by_anybody(moves: Moves) -> None:
    moves.deploy(ANN, "web", "production", "1.1", glass=True)
    for _ in range(3):
        moves.visit()
        moves.wait(3)
    _merges(moves)


# ---------------------------------------------------------------- mutants


def _without_own(patch: pytest.MonkeyPatch) -> None:
    def only_strangers(known: Catalogue, change: approvals.Reviewed, voice: approvals.Voice, who: people.Human) -> None:
        for commit in change.strangers:
            approvals._not_the_author(known, commit, voice, who)

    patch.setattr(approvals, "_not_their_own", only_strangers)


def _without_people(patch: pytest.MonkeyPatch) -> None:
    def unknown_to_all(known: Catalogue, user_id: str) -> people.Human:
        del known
        return people.Human(f"slack:{user_id}", user_id, slack=frozenset({user_id}))

    patch.setattr(people, "by_slack", unknown_to_all)


def _without_authors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(approvals, "_not_the_author", lambda *_: None)


def _without_groups(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(approvals, "_member", lambda *_: None)


def _without_asking_again(patch: pytest.MonkeyPatch) -> None:
    def whoever_said_yes(uow: Any, known: Any, facts: Any, change: Change) -> tuple[str, ...]:
        del known, facts
        return tuple(one.person for one in gate.approvals(uow, change) if one.verdict == approve.APPROVED)

    patch.setattr(approve, "voices", whoever_said_yes)


class _NothingMoves:
    """Proposals that always look as they were shown."""

    def __init__(self, proposals: Any) -> None:
        self._proposals = proposals

    def look(self, change: Change, rows: Any, known: Catalogue, pull: PullRequest) -> Seen:
        seen: Seen = self._proposals.look(change, rows, known, pull)
        return replace(seen, binding=Binding.from_json(change.binding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._proposals, name)


def _without_comparing(patch: pytest.MonkeyPatch) -> Parts:
    del patch

    def merges(store: Store, outside: Outside) -> Merges:
        blind: Any = _NothingMoves(outside.proposals)
        return Merges(store, replace(outside, proposals=blind))

    return Parts(merges=merges)


def _without_base(patch: pytest.MonkeyPatch) -> None:
    whole = Binding.as_json

    def as_json(self: Binding) -> str:
        return whole(replace(self, parts=tuple(replace(part, base="") for part in self.parts)))

    patch.setattr(Binding, "as_json", as_json)


def _without_policy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Catalogue, "policy_version", lambda *_: "")


def _without_expiry_at_the_click(patch: pytest.MonkeyPatch) -> None:
    whole = approve._open

    def open_for_ever(uow: Any, change: Change) -> None:
        ends, change.expires_at = change.expires_at, None
        try:
            whole(uow, change)
        finally:
            change.expires_at = ends

    patch.setattr(approve, "_open", open_for_ever)


def _without_expiry_at_the_visit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Endings, "expire", lambda *_: None)


def _without_new_tokens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gate, "new_token", lambda: "0" * 32)


def _without_another_look_at_blocks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Step, "_not_blocked", lambda *_: None)


def _without_blocks_at_the_claim(patch: pytest.MonkeyPatch) -> Parts:
    del patch
    return Parts(claim=lambda uow, executor, limit, _: claims.claim(uow, executor, limit))


def _without_sets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "_units", lambda queued: [[row] for row in queued])


def _without_pinning(patch: pytest.MonkeyPatch) -> None:
    whole = PullRequests.ensure_merged

    def at_any_head(self: PullRequests, request: MergeRequest) -> PullRequest:
        return whole(self, replace(request, head_sha=self.head(self.pulls[request.number])))

    patch.setattr(PullRequests, "ensure_merged", at_any_head)


def _without_comparing_afterwards(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Merges, "_compare", lambda *_: None)


def _without_leave_for_glass(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(policy, "may_break_glass", lambda *_: None)


@dataclass(frozen=True)
class Mutant:
    """A check taken out, and what must be seen then."""

    patch: Patch
    script: Script
    seen: str


MUTANTS = {
    "the requester is not excluded": Mutant(_without_own, _ann_approves, "approvals"),
    "two accounts are two people": Mutant(_without_people, _ann_approves_with_another_account, "approvals"),
    "authors are not excluded": Mutant(_without_authors, _an_author_approves, "approvals"),
    "groups are not asked": Mutant(_without_groups, _a_stranger_approves, "approvals"),
    "approvers are not asked for again at the merge": Mutant(_without_asking_again, _the_approver_leaves, "approvals"),
    "content is not compared before the merge": Mutant(
        _without_comparing, _the_base_moves_before_the_merge, "approvals"
    ),
    "the base is not bound": Mutant(_without_base, _the_base_is_another_that_builds_the_same, "approvals"),
    "the rules are not bound": Mutant(_without_policy, _the_rules_change, "approvals"),
    "a click counts after the expiry": Mutant(
        _without_expiry_at_the_click, _approved_at_the_second_of_expiry, "its time was over"
    ),
    "nothing expires": Mutant(_without_expiry_at_the_visit, _nobody_approves, "never ended"),
    "buttons stay the same": Mutant(_without_new_tokens, _a_stale_button, "approvals"),
    "blocks are not asked for again": Mutant(_without_another_look_at_blocks, _a_lock_after_the_claim, "is written"),
    "blocks do not hold up": Mutant(_without_blocks_at_the_claim, _a_lock_before_the_claim, "started although"),
    "a set may start in part": Mutant(_without_sets, _a_lock_on_one_of_a_set, "only some started"),
    "the head is not pinned": Mutant(_without_pinning, _the_head_moves_at_the_merge, "approvals"),
    "what was merged is not compared": Mutant(
        _without_comparing_afterwards, _somebody_merges_something_else, "a merge without approvals"
    ),
    "anybody may break the glass": Mutant(_without_leave_for_glass, _glass_is_broken_by_anybody, "without leave"),
}


@contextmanager
def _moves(template: Path, folder: Path, parts: Parts | None = None) -> Iterator[Moves]:
    with town(template, folder, parts) as place:
        watch = Watch(place)
        try:
            yield Moves(place, watch)
        finally:
            watch.close()


@pytest.mark.parametrize("name", MUTANTS)
def test_the_watch_sees_what_a_missing_check_lets_through(
    name: str, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = MUTANTS[name]
    parts = mutant.patch(monkeypatch)
    with _moves(sqlite_template, tmp_path, parts) as moves, pytest.raises(ViolationError, match=mutant.seen):
        mutant.script(moves)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_whole_gate_survives_the_same_script(name: str, sqlite_template: Path, tmp_path: Path) -> None:
    with _moves(sqlite_template, tmp_path) as moves:
        MUTANTS[name].script(moves)
        moves.settle()
