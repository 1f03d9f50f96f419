"""The program is killed at every point of the gate: while a change is prepared, between approval and merge, between
merge and record, between record and build. Every time the end is that of a run nobody disturbed: one pull request, one
merge, one build, one card.

The outside does the thing and then says nothing (`HANG_AFTER`): whoever waits for the answer is killed waiting. Left
out: deaths after the build was asked for, which are those of every delivery (test_points.py).
"""

import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bot.sandbox.github_model import Pull
from bot.sandbox.server import Fault, Faults, Misbehaviour
from bot.sandbox.slack_model import DEVELOPER, RELEASE_MANAGER, Message
from bot.steps.base import Point
from storage import gate
from storage.models import Change, ChangeState, Deployment
from storage.phases import Phase
from tests.crash.lab import CHANNEL, PATIENCE, Lab, Program
from tests.crash.serve_and_die import Death

APPROVE = "change:approve"
ONCE = (
    "deployment:request",
    "change:open",
    "change:propose",
    "change:approve",
    "change:approved",
    "change:merged",
    "deployment:write",
    "deployment:commit",
    "deployment:build",
    "deployment:finish",
)


@dataclass(frozen=True)
class Moment:
    """An effect on the outside after which the program hears nothing; `seen` tells when it is there."""

    faults: Callable[[Lab], Faults]
    method: str
    path: str
    seen: Callable[["Gate"], object]


class Gate:
    """One production deployment through a lab: asked for, approved, and looked at."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def ask(self) -> None:
        """Ask for it; nobody has approved it then."""
        asked = self.lab.sandbox.slack.workspace.command(
            DEVELOPER, "/deploy", "my-application 1.4.2 production", channel=CHANNEL
        )
        assert asked.acked, asked.trouble
        assert "🚫" not in asked.text, asked.text

    @property
    def row(self) -> Deployment:
        (row,) = self.lab.deployments()
        return row

    @property
    def change(self) -> Change:
        with self.lab.store.read() as uow:
            found = gate.change_of(uow, self.row.change_id)
        assert found is not None
        return found

    @property
    def pulls(self) -> list[Pull]:
        return self.lab.sandbox.github.pulls()

    def button(self) -> Message | None:
        """The card, when it offers Approve for what the change is now."""
        change = self.change
        cards = [one for one in self.lab.cards() if change.token and change.token in {b.value for b in one.buttons}]
        return cards[0] if cards and change.state == ChangeState.OPEN else None

    def approve(self, program: Program) -> None:
        """Approve what the card shows, unless that was done before."""
        program.until(lambda: self.button() or self.lab.audit("change:approve"))
        card = self.button()
        if card is not None and not self.lab.audit("change:approve"):
            clicked = self.lab.sandbox.slack.workspace.click(RELEASE_MANAGER, card, APPROVE)
            assert clicked.acked, clicked.trouble

    def finish(self, program: Program) -> None:
        """Approve it if that is still to be done, wait for the end, and look at everything."""
        self.approve(program)
        program.until(lambda: self.lab.at_rest() and self.lab.sandbox.github.branch(self.change.branch) is None)
        self.assert_like_an_uninterrupted_run()

    def assert_like_an_uninterrupted_run(self) -> None:
        row, change = self.row, self.change
        assert (row.phase, row.reason_code) == (Phase.SUCCEEDED, "live"), (row.what, row.detail)
        assert change.state == ChangeState.MERGED
        (pull,) = self.pulls
        assert (pull.merged is not None, pull.merge_sha) == (True, row.commit_sha)
        lines = self.lab.sandbox.log("%H %(trailers:key=Change-Id,valueonly) %(trailers:key=Approved-by,valueonly)")
        merges = [line.split() for line in lines if change.id in line]
        assert merges == [[row.commit_sha, change.id, RELEASE_MANAGER.id]]
        (build,) = self.lab.builds()
        assert build.parameters["DEPLOYMENT_ID"] == row.id
        assert build.parameters["GIT_COMMIT"] == row.commit_sha
        (card,) = self.lab.cards()
        assert card.text.startswith("✅"), card.text
        assert not [one for one in card.buttons if one.action_id.startswith("change:")]
        told = Counter(one.action for one in self.lab.audit())
        assert {action: told[action] for action in ONCE} == dict.fromkeys(ONCE, 1)
        assert not self.lab.audit("change:void", "change:close", "change:external-merge", "external-change")
        assert len([one for one in self.lab.replies(card) if "asks for an approval" in one]) == 1
        status = self.lab.sandbox.github.status(pull.head_sha, "locktender/approval")
        assert status is not None
        assert status.state == "success"


def _host(lab: Lab) -> Faults:
    return lab.sandbox.github.faults


def _git(lab: Lab) -> Faults:
    return lab.sandbox.git_faults


def _status(gate_: Gate, state: str) -> bool:
    status = gate_.lab.sandbox.github.status(gate_.pulls[0].head_sha, "locktender/approval") if gate_.pulls else None
    return status is not None and status.state == state


PUSHED = Moment(_git, "POST", r"/git-receive-pack$", lambda one: one.lab.sandbox.github.branch(one.change.branch))
OPENED = Moment(_host, "POST", r"/pulls$", lambda one: one.pulls)
PENDING = Moment(_host, "POST", r"/statuses/", lambda one: _status(one, "pending"))
SUCCESS = Moment(_host, "POST", r"/statuses/", lambda one: _status(one, "success"))
MERGED = Moment(_host, "PUT", r"/merge$", lambda one: one.pulls[0].merged)
TIDIED = Moment(_git, "POST", r"/git-receive-pack$", lambda one: not one.lab.sandbox.github.branch(one.change.branch))
BEFORE, AFTER = {"pushed": PUSHED, "opened": OPENED, "pending": PENDING}, {"success": SUCCESS, "merged": MERGED}
DEATHS = (Point.CLAIMED, Point.CHECKED, Point.WRITE_RECORDED, Point.PUSHED, Point.COMMIT_RECORDED, Point.BUILD_RECORDED)


def die(gate_: Gate, program: Program, moment: Moment, act: Callable[[], None]) -> None:
    """Do something, and kill the program while it waits for the answer to what it did then."""
    faults = moment.faults(gate_.lab)
    lost = faults.add(Fault(moment.method, moment.path, Misbehaviour.HANG_AFTER, seconds=5))
    act()
    program.until(lambda: lost.hits and moment.seen(gate_))
    program.kill()
    faults.clear()


def test_killed_at_every_point_in_turn_it_is_merged_and_rolled_out_once(lab: Lab) -> None:
    """One change, as many deaths as there are points."""
    one = Gate(lab)
    die(one, lab.start(), PUSHED, one.ask)
    for moment in (OPENED, PENDING):
        die(one, lab.start(), moment, lambda: None)
    program = lab.start()
    die(one, program, SUCCESS, lambda: one.approve(program))
    assert lab.start(Death(Point.CLAIMED)).died() == -signal.SIGKILL
    assert lab.start(Death(Point.WRITE_RECORDED)).died() == -signal.SIGKILL
    die(one, lab.start(), MERGED, lambda: None)
    for point in (Point.PUSHED, Point.COMMIT_RECORDED, Point.BUILD_TRIGGERED):
        assert lab.start(Death(point)).died() == -signal.SIGKILL, point
    one.finish(lab.start())


@pytest.mark.slow
@pytest.mark.parametrize("name", BEFORE)
def test_killed_while_it_prepares_it_makes_one_pull_request(lab: Lab, name: str) -> None:
    one = Gate(lab)
    die(one, lab.start(), BEFORE[name], one.ask)
    one.finish(lab.start())


@pytest.mark.slow
@pytest.mark.parametrize("name", AFTER)
def test_killed_between_approval_and_record_it_merges_once(lab: Lab, name: str) -> None:
    one = Gate(lab)
    program = lab.start()
    one.ask()
    die(one, program, AFTER[name], lambda: one.approve(program))
    one.finish(lab.start())


@pytest.mark.slow
@pytest.mark.parametrize("point", DEATHS)
def test_killed_at_a_point_of_its_delivery_it_merges_and_builds_once(lab: Lab, point: Point) -> None:
    one = Gate(lab)
    program = lab.start(Death(point))
    one.ask()
    one.approve(program)
    assert program.died() == -signal.SIGKILL
    one.finish(lab.start())


@pytest.mark.slow
def test_killed_while_it_tidies_up_nothing_is_left_behind(lab: Lab) -> None:
    one = Gate(lab)
    program = lab.start()
    one.ask()
    program.until(one.button, PATIENCE)
    die(one, program, TIDIED, lambda: one.approve(program))
    one.finish(lab.start())


@pytest.mark.slow
def test_killed_right_after_the_click_the_approval_still_counts(lab: Lab) -> None:
    one = Gate(lab)
    program = lab.start()
    one.ask()
    one.approve(program)
    program.kill()
    assert len(lab.audit("change:approve")) == 1
    one.finish(lab.start())
