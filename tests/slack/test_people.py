"""Profiles and user groups as the stand-in of Slack tells them, and what counts when it does not."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bot.sandbox.server import Fault, Misbehaviour
from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED
from bot.sandbox.slack_model import DEVELOPER, RELEASE_MANAGER, RELEASE_MANAGERS
from bot.slack.people import MEMBERS_AGAIN, MEMBERS_FOR, PROFILE_FOR, SlackPeople
from commands.ports import Person

GROUP, TEAM = RELEASE_MANAGERS.id, DEVELOPER.team_id
MEMBERS, PROFILE = "/api/usergroups.users.list", "/api/users.info"
ALWAYS = 1000


class Desk:
    """Slack, and the people as one process knows them."""

    def __init__(self, slack: SlackServer) -> None:
        self.slack = slack
        self.now = 1000.0
        self.people = SlackPeople(slack.app.bot_token, slack.api_url, timeout=2, clock=lambda: self.now)

    def asked(self, method: str) -> int:
        return len(self.slack.workspace.calls(method))

    def refuse(self, path: str) -> None:
        self.slack.faults.add(Fault("*", path, Misbehaviour.REFUSE, times=ALWAYS, status=503))


@pytest.fixture
def desk() -> Iterator[Desk]:
    with SlackServer(rates=UNLIMITED) as slack:
        yield Desk(slack)


def test_members_are_asked_for_once_a_minute(desk: Desk) -> None:
    assert desk.people.members(GROUP) == frozenset({RELEASE_MANAGER.id})
    desk.slack.workspace.put_group(replace(RELEASE_MANAGERS, users=(DEVELOPER.id,)))
    assert desk.people.members(GROUP) == frozenset({RELEASE_MANAGER.id})
    assert desk.asked("usergroups.users.list") == 1
    desk.now += MEMBERS_AGAIN
    assert desk.people.members(GROUP) == frozenset({DEVELOPER.id})


def test_members_that_slack_does_not_tell_are_known_for_five_minutes_and_unknown_then(desk: Desk) -> None:
    desk.people.members(GROUP)
    desk.refuse(MEMBERS)
    desk.now += MEMBERS_FOR
    assert desk.people.members(GROUP) == frozenset({RELEASE_MANAGER.id})
    desk.now += MEMBERS_AGAIN
    assert desk.people.members(GROUP) is None
    desk.slack.faults.clear()
    desk.now += MEMBERS_AGAIN
    assert desk.people.members(GROUP) == frozenset({RELEASE_MANAGER.id})


def test_a_group_that_is_switched_off_has_no_known_members(desk: Desk) -> None:
    desk.slack.workspace.put_group(replace(RELEASE_MANAGERS, disabled=True))
    assert desk.people.members(GROUP) is None
    assert desk.people.members("S0NOBODY") is None


def test_a_profile_is_read_once_an_hour_and_kept_while_slack_is_away(desk: Desk) -> None:
    ada = Person(TEAM, DEVELOPER.id, "Developer", "developer@company.example")
    assert desk.people.person(TEAM, DEVELOPER.id) == ada
    assert desk.people.person(TEAM, DEVELOPER.id) == ada
    assert desk.asked("users.info") == 1
    desk.refuse(PROFILE)
    desk.now += PROFILE_FOR
    assert desk.people.person(TEAM, DEVELOPER.id) == ada


def test_a_profile_that_cannot_be_read_is_empty(desk: Desk) -> None:
    desk.refuse(PROFILE)
    assert desk.people.person(TEAM, DEVELOPER.id) == Person(TEAM, DEVELOPER.id)


def test_an_answer_that_breaks_off_is_no_answer() -> None:
    with _short_answers() as url:
        people = SlackPeople("xoxb-test", url, timeout=2)
        assert people.person(TEAM, DEVELOPER.id) == Person(TEAM, DEVELOPER.id)
        assert people.members(GROUP) is None


@contextlib.contextmanager
def _short_answers() -> Iterator[str]:
    """A server that promises 100 bytes and sends two."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{}")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api/"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
