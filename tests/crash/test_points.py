"""The program is killed at every named instant of a delivery and started again: the end is that of a run nobody
disturbed. `test_outside.py` kills it while an outside system answers; `test_sweep.py` at system calls.
"""

import signal

import pytest

from bot.steps.base import Point
from tests.crash.lab import Lab
from tests.crash.serve_and_die import Death


@pytest.mark.slow
def test_an_uninterrupted_run_ends_live(lab: Lab) -> None:
    program = lab.start()
    assert lab.deploy().acked
    program.until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


def test_killed_at_every_point_in_turn_it_still_ends_like_an_uninterrupted_run(lab: Lab) -> None:
    """One delivery, as many deaths as there are points: a point that is added is among them."""
    program = lab.start(Death(Point.CLAIMED))
    lab.deploy()
    assert program.died() == -signal.SIGKILL
    for point in list(Point)[1:]:
        assert lab.start(Death(point)).died() == -signal.SIGKILL, point
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


AFTER_EFFECTS = {Point.PUSHED, Point.BUILD_TRIGGERED, Point.BUILD_STORED, Point.ROLLOUT_DONE}
"""Where a single death costs most when it goes wrong: for `make test-slow`; `make test-crash` has the others."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [pytest.param(point, marks=() if point in AFTER_EFFECTS else pytest.mark.crash_sweep) for point in Point],
)
def test_killed_at_a_point_it_ends_like_an_uninterrupted_run(lab: Lab, point: Point) -> None:
    program = lab.start(Death(point))
    lab.deploy()
    assert program.died() == -signal.SIGKILL
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()
