"""Who is in a team of the organisation, from a cache of a minute. What cannot be read is nobody knows who."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from bot.integrations.github import names
from bot.integrations.github.answers import Account
from bot.integrations.github.wire import Wire
from commands.reasons import Fault

KEPT_FOR = 60.0
"""Seconds that members are believed: someone who left a team cannot approve for longer than this."""

_FAILURE_KEPT_FOR = 5.0  # seconds, so that a list of approvers does not ask an unreachable GitHub once per click
_MOST = 256

log = structlog.get_logger("github")


@dataclass(frozen=True)
class _Read:
    members: frozenset[str] | None
    until: float


class Teams:
    """Reads teams. `clock` gives seconds. Safe to call from many threads."""

    def __init__(self, wire: Wire, clock: Callable[[], float]) -> None:
        self._wire, self._clock = wire, clock
        self._read: dict[tuple[str, str], _Read] = {}
        self._guard = threading.Lock()

    def members(self, team: str) -> frozenset[str] | None:
        """See `ports.CodeHost.team_members`."""
        found = names.team(team)
        if found is None:
            return None
        with self._guard:
            known = self._read.get(found)
        if known is not None and self._clock() < known.until:
            return known.members
        read = self._fetch(*found)
        with self._guard:
            if len(self._read) >= _MOST:
                self._read.clear()
            self._read[found] = read
        return read.members

    def _fetch(self, organisation: str, slug: str) -> _Read:
        asked_at = self._clock()
        path = f"/orgs/{names.quoted(organisation)}/teams/{names.quoted(slug)}/members"
        try:
            members = frozenset(one.login.lower() for one in self._wire.items(Account, path, need="members to read"))
        except Fault as fault:
            log.warning("github_team_unreadable", team=f"{organisation}/{slug}", reason=fault.reason, why=fault.what)
            return _Read(None, asked_at + _FAILURE_KEPT_FOR)
        return _Read(members, asked_at + KEPT_FOR)
