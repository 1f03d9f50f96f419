"""The program is killed at every named instant of a delivery and started again: the end is that of a run nobody
disturbed. `test_outside.py` kills it while an outside system answers; `test_sweep.py` at system calls.
"""

import signal

import pytest

from bot.steps.base import Point
from tests.crash.lab import Lab
from tests.crash.serve_and_die import Death


def test_an_uninterrupted_run_ends_live(lab: Lab) -> None:
    program = lab.start()
    assert lab.deploy().acked
    program.until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()


@pytest.mark.parametrize("point", list(Point))
def test_killed_at_a_point_it_ends_like_an_uninterrupted_run(lab: Lab, point: Point) -> None:
    program = lab.start(Death(point))
    lab.deploy()
    assert program.died() == -signal.SIGKILL
    lab.start().until(lab.at_rest)
    lab.assert_like_an_uninterrupted_run()
