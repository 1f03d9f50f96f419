"""The way of one deployment, top to bottom: check, write, reconcile, rollout, verify.

Each step answers with a pause in seconds when it wants to be called again, with DONE when the next may come, and with
ENDED when the deployment has ended. What a step does outside is keyed by the deployment id and searched for before it
is done, so every step may run again after a crash at any instant.
"""

from collections.abc import Callable
from typing import Protocol

from bot.steps.base import DONE, Point, Reached, World, nothing
from bot.steps.check import Check
from bot.steps.reconcile import Reconcile
from bot.steps.rollout import Rollout
from bot.steps.verify import Verify
from bot.steps.write import Write
from storage.unit_of_work import Store


class Runner(Protocol):
    """Runs steps durably: a step that was recorded is not run again, a pause survives a restart."""

    def step(self, name: str, step: Callable[[str, int], float], deployment_id: str, attempt: int) -> float:
        """Run the step and record its answer; a negative one ends the delivery."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait, durably."""
        ...


class Delivery:
    """The steps on one store and one world. Shared by all deliveries of a process."""

    def __init__(self, store: Store, world: World, *, reached: Reached = nothing) -> None:
        self._reached = reached
        self._steps = tuple(step(store, world, reached) for step in (Check, Write, Reconcile, Rollout, Verify))

    def run(self, runner: Runner, deployment_id: str, attempt: int) -> None:
        """The whole way. It decides by the steps' answers alone, so that it can be replayed from their record."""
        self._reached(Point.CLAIMED, deployment_id)
        for step in self._steps:
            while (answer := runner.step(step.name, step, deployment_id, attempt)) != DONE:
                if answer < 0:
                    return
                runner.pause(answer)
