"""What people are called, for pages: from Slack's profiles, within the time that a page has."""

import time
from collections.abc import Callable

from commands.ports import Person

BUDGET = 1.0
"""Seconds that one page waits for names; whoever is not known by then is shown by id."""


class Names:
    """For one page. `person` answers from its own cache, or asks Slack."""

    def __init__(
        self,
        person: Callable[[str, str], Person],
        team_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._person = person
        self._team_id = team_id
        self._clock = clock
        self._known: dict[str, str] = {}
        self._spent = 0.0

    def __call__(self, user_id: str) -> str:
        """The name, or the id."""
        known = self._known.get(user_id)
        if known is None:
            began = self._clock()
            asked = self._spent < BUDGET
            known = (self._person(self._team_id, user_id).name if asked else "") or user_id
            self._spent += self._clock() - began
            self._known[user_id] = known
        return known
