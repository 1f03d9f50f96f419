"""The program is killed after an outside system did what it was asked and before it said so, between its own
transactions, and twice in a row. Every time the end is that of a run nobody disturbed.

The outside does the thing and then says nothing (`HANG_AFTER`): whoever waits for the answer is killed waiting.
"""

import time
from datetime import timedelta

from bot.sandbox.server import Fault, Faults, Misbehaviour
from bot.sandbox.slack_model import DEVELOPER
from bot.steps.base import Point
from commands.catalogue import Catalogue
from commands.catalogue_reader import read
from commands.deploy import deploy
from commands.facts import CatalogueInForce, Facts
from commands.requests import Asker, Deploy, Source
from storage import claims, database
from storage.models import Deployment
from storage.phases import Phase
from tests.crash.lab import CHANNEL, Lab
from tests.crash.serve_and_die import Death


def hang(faults: Faults, path: str) -> Fault:
    return faults.add(Fault("POST", path, Misbehaviour.HANG_AFTER, seconds=5))


def test_a_card_that_was_posted_without_an_answer_is_found_by_its_metadata(lab: Lab) -> None:
    program = lab.start()
    hang(lab.sandbox.slack.faults, "chat.postMessage")
    lab.deploy()
    program.until(lab.cards)
    program.kill()
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


def test_a_reply_that_was_posted_without_an_answer_is_found_by_its_metadata(lab: Lab) -> None:
    program = lab.start(Death(Point.BUILD_RECORDED))  # so that the card is there, and no reply
    lab.deploy()
    program.died()
    program = lab.start(Death(Point.BUILD_TRIGGERED))
    program.died()
    lab.sandbox.slack.faults.clear()
    replied = Reply(lab)
    lab.sandbox.slack.faults.before = replied.spoil
    program = lab.start()
    program.until(replied.posted)
    program.kill()
    lab.sandbox.slack.faults.before = None
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


class Reply:
    """Spoils the first chat.postMessage that comes while there is a card: the first reply below it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._fault: Fault | None = None

    def spoil(self, method: str, path: str) -> None:
        del method
        if self._fault is None and path.endswith("chat.postMessage") and self._lab.cards():
            self._fault = hang(self._lab.sandbox.slack.faults, "chat.postMessage")

    def posted(self) -> bool:
        cards = self._lab.cards()
        return bool(cards) and bool(self._lab.replies(cards[0])) and self._fault is not None


def test_a_push_that_landed_without_an_answer_is_found_by_its_trailer(lab: Lab) -> None:
    program = lab.start()
    hang(lab.sandbox.git_faults, r"/git-receive-pack$")
    lab.deploy()
    program.until(lab.commits)
    program.kill()
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


def test_a_build_that_was_triggered_without_an_answer_is_found_by_its_parameter(lab: Lab) -> None:
    program = lab.start()
    hang(lab.sandbox.jenkins.faults, "buildWithParameters")
    lab.deploy()
    program.until(lambda: lab.builds() or lab.sandbox.jenkins.queued())
    program.kill()
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


def test_killed_between_the_ack_and_the_claim_it_is_claimed_at_the_next_start(lab: Lab) -> None:
    accept(lab)
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


def test_killed_between_the_claim_and_its_workflow_it_gets_a_new_attempt(lab: Lab) -> None:
    accept(lab)
    with lab.store.write() as uow:
        assert [row.phase for row in claims.claim(uow, "sqlite", 1)] == [Phase.RUNNING]
    lab.start().until(lab.at_rest)
    assert lab.deployments()[0].attempt == 2
    lab.assert_like_an_uninterrupted_run()


def accept(lab: Lab) -> Deployment:
    """What the ack of `/deploy` commits, and nothing after it."""
    (lab.sandbox.home / "var").mkdir()
    database.upgrade(lab.store.database.engine)
    known = read(lab.sandbox.read("locktender.yaml").encode())
    assert isinstance(known, Catalogue)
    team = lab.sandbox.slack.workspace.state.world.team_id
    facts = Facts(CatalogueInForce(known), team_id=team)
    asker = Asker(team, DEVELOPER.id, "trigger:1", CHANNEL, Source.SLASH)
    assert not deploy(lab.store, facts, asker, Deploy("my-application", "1.4.2", "staging")).refused
    (row,) = lab.deployments()
    return row


def test_a_program_that_was_away_for_an_hour_goes_on_with_the_attempt_it_was_in(lab: Lab) -> None:
    program = lab.start(Death(Point.BUILD_RECORDED))
    lab.deploy()
    program.died()
    with lab.store.write() as uow:
        (row,) = uow.open_deployments()
        row.heartbeat_at = uow.now - timedelta(hours=1)
    lab.start().until(lab.at_rest)
    assert lab.deployments()[0].attempt == 1
    lab.assert_like_an_uninterrupted_run()


def test_killed_twice_in_a_row_and_then_once_more_it_ends_all_the_same(lab: Lab) -> None:
    program = lab.start(Death(Point.PUSHED))
    lab.deploy()
    program.died()
    lab.start(Death(Point.PUSHED)).died()
    lab.start(Death(Point.BUILD_TRIGGERED)).died()
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


def test_progress_resumes_within_seconds_of_the_restart(lab: Lab) -> None:
    program = lab.start(Death(Point.COMMIT_RECORDED))
    lab.deploy()
    program.died()
    began = time.monotonic()
    program = lab.start()
    program.until(lambda: lab.sandbox.jenkins.queued() or lab.builds())
    seconds = time.monotonic() - began
    print(f"resumed {seconds:.2f} s after the restart")  # noqa: T201 - the number to look at; its limit is 5 when idle
    assert seconds < 30
