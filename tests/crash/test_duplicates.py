"""The same request delivered more than once is one request: one deployment, one commit, one build, one card.

Double clicks and repeated events are here too; what a killed program does is in the files beside this one.
"""

from collections import Counter

import pytest

from bot.sandbox.server import Fault, Misbehaviour
from bot.sandbox.slack_model import DEVELOPER
from storage.phases import Phase
from tests.crash.lab import CHANNEL, Lab


def test_a_command_delivered_three_times_at_once_is_one_deployment_with_three_equal_answers(lab: Lab) -> None:
    program = lab.start()
    result = lab.deploy(copies=3)
    assert [one.trouble for one in result.deliveries] == ["", "", ""]
    assert len({str(one.body) for one in result.deliveries}) == 1
    assert result.text.startswith("Deploying")
    program.until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


@pytest.mark.slow
def test_a_mention_that_comes_again_is_one_deployment(lab: Lab) -> None:
    program = lab.start()
    lab.sandbox.slack.workspace.mention(DEVELOPER, CHANNEL, "deploy my-application 1.4.2", copies=3)
    program.until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()
    told = [one.text for one in lab.sandbox.slack.workspace.ephemerals(DEVELOPER)]
    assert len(told) == 1, told
    assert told[0].startswith("Deploying")


@pytest.mark.slow
def test_a_double_click_on_cancel_cancels_once(lab: Lab) -> None:
    lab.sandbox.registry.faults.add(Fault("*", "manifests", Misbehaviour.REFUSE, times=10_000, status=503))
    program = lab.start()
    lab.deploy()
    program.until(lab.cards)
    card = lab.cards()[0]
    click = lab.sandbox.slack.workspace.click(DEVELOPER, card, "Cancel", copies=2)
    assert click.acked
    program.until(lab.at_rest)
    (row,) = lab.deployments()
    assert row.phase == Phase.CANCELLED
    assert lab.commits() == []
    assert lab.builds() == []
    told = Counter(entry.action for entry in lab.audit() if entry.deployment_id == row.id)
    assert told == {"deployment:request": 1, "deployment:cancel": 1, "deployment:finish": 1}
