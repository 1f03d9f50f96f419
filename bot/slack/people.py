"""Profiles and user groups from Slack, kept for a while. Implements `ports.People`."""

import threading
import time
from collections.abc import Callable
from http.client import HTTPException

import structlog
from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

from commands.ports import Person

PROFILE_FOR = 3600.0  # seconds; a name changes rarely, and only a commit's author line depends on it
MEMBERS_AGAIN = 60.0  # tier 2 allows 20 calls a minute; a removed approver is out within this time
MEMBERS_FOR = 300.0  # older than this, membership counts as unknown
_UNREADABLE = (SlackClientError, HTTPException, OSError)
"""Slack's no, an answer that breaks off, and no answer at all."""
log = structlog.get_logger("people")


class SlackPeople:
    """Thread-safe. `person` asks Slack when it must; `members` asks at most once a minute per group."""

    def __init__(
        self, token: str, api_url: str, *, timeout: int = 5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = WebClient(token, base_url=api_url, timeout=timeout)
        self._client.retry_handlers.append(RateLimitErrorRetryHandler(max_retry_count=1))
        self._clock = clock
        self._guard = threading.Lock()
        self._profiles: dict[str, tuple[float, Person]] = {}
        self._groups: dict[str, tuple[float, frozenset[str]]] = {}
        self._asked: dict[str, float] = {}
        self._shared: dict[str, tuple[float, bool]] = {}

    def person(self, team_id: str, user_id: str) -> Person:
        """The profile; with empty name and e-mail when Slack does not give it now."""
        with self._guard:
            known = self._profiles.get(user_id)
        if known is not None and self._clock() - known[0] < PROFILE_FOR:
            return known[1]
        try:
            user = self._client.users_info(user=user_id).get("user") or {}
        except _UNREADABLE as error:
            log.warning("people.profile_unreadable", user=user_id, error=type(error).__name__)
            return known[1] if known else Person(team_id, user_id)
        profile = user.get("profile") or {}
        name = str(profile.get("real_name") or user.get("real_name") or user.get("name") or "")
        found = Person(team_id, user_id, name, str(profile.get("email") or ""))
        with self._guard:
            self._profiles[user_id] = (self._clock(), found)
        return found

    def members(self, group_id: str) -> frozenset[str] | None:
        """Members of a user group, at most five minutes old; None when Slack does not tell."""
        now = self._clock()
        with self._guard:
            known = self._groups.get(group_id)
            asked = self._asked.get(group_id, float("-inf"))
            due = now - asked >= MEMBERS_AGAIN
            if due:
                self._asked[group_id] = now
        if due:
            try:
                answer = self._client.usergroups_users_list(usergroup=group_id)
                known = (now, frozenset(str(user) for user in answer.get("users") or ()))
                with self._guard:
                    self._groups[group_id] = known
            except _UNREADABLE as error:
                log.warning("people.group_unreadable", group=group_id, error=type(error).__name__)
        if known is None or now - known[0] > MEMBERS_FOR:
            return None
        return known[1]

    def shared(self, channel_id: str) -> bool | None:
        """Whether a channel is shared with other workspaces, at most five minutes old; None when nobody tells."""
        with self._guard:
            known = self._shared.get(channel_id)
        if known is not None and self._clock() - known[0] < MEMBERS_FOR:
            return known[1]
        try:
            channel = self._client.conversations_info(channel=channel_id).get("channel") or {}
        except _UNREADABLE as error:
            log.warning("people.channel_unreadable", channel=channel_id, error=type(error).__name__)
            return None
        found = bool(channel.get("is_ext_shared") or channel.get("is_pending_ext_shared"))
        with self._guard:
            self._shared[channel_id] = (self._clock(), found)
        return found
