"""The manifest against the code: its file, its limits, its commands and events, and a scope for every call we make."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from slack_sdk.web.async_client import AsyncWebClient

from bot.slack import manifest
from bot.slack.home import HomeTab
from bot.slack.listeners import COMMANDS, BotIdentity, Listeners, build_app
from bot.slack.parse import parse_audit, parse_deploy, parse_promote, parse_rollback
from commands.requests import Help, Mistake, Request

ROOT = Path(__file__).parents[2]
SCOPES_OF_METHODS: dict[str, frozenset[str]] = {
    # https://docs.slack.dev/reference/methods: what each method needs of a bot token.
    "auth_test": frozenset(),
    "chat_postMessage": frozenset({"chat:write"}),
    "chat_postEphemeral": frozenset({"chat:write"}),
    "chat_update": frozenset({"chat:write"}),
    "conversations_history": frozenset({"channels:history", "groups:history"}),
    "conversations_replies": frozenset({"channels:history", "groups:history"}),
    "conversations_info": frozenset({"channels:read", "groups:read"}),
    "files_getUploadURLExternal": frozenset({"files:write"}),
    "files_completeUploadExternal": frozenset({"files:write"}),
    "users_info": frozenset({"users:read", "users:read.email"}),
    "usergroups_users_list": frozenset({"usergroups:read"}),
    "views_open": frozenset(),
    "views_publish": frozenset(),
}


def parsed(text: str) -> dict[str, Any]:
    found = YAML(typ="safe", pure=True).load(text)
    assert isinstance(found, dict)
    return found


def both() -> list[dict[str, Any]]:
    return [parsed(manifest.for_socket_mode()), parsed(manifest.for_http("https://bot.example"))]


def called_methods() -> set[str]:
    """Every Web API method that the program's own code names: an attribute that Slack's client has."""
    known = {name for name in dir(AsyncWebClient) if "_" in name.strip("_") and not name.startswith("_")}
    files = [*(ROOT / "bot/slack").glob("*.py"), ROOT / "bot/app.py"]
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in known - {"api_call", "retry_handlers", "base_url"}:
                found.add(node.attr)
    return found


def test_the_file_in_the_repository_is_the_socket_mode_manifest() -> None:
    assert (ROOT / "manifest.yaml").read_text() == manifest.for_socket_mode()


def test_every_method_that_is_called_has_its_scope() -> None:
    used = called_methods()
    assert {"chat_postMessage", "chat_update", "users_info"} <= used, "the search finds calls"
    assert used <= set(SCOPES_OF_METHODS), "a new method: say which scope it needs"
    needed = frozenset().union(*(SCOPES_OF_METHODS[name] for name in used))
    assert needed <= set(manifest.SCOPES)


def test_scopes_are_named_once_and_none_is_an_administrators() -> None:
    assert len(set(manifest.SCOPES)) == len(manifest.SCOPES)
    assert not [scope for scope in manifest.SCOPES if scope.startswith("admin") or "customize" in scope]


def test_commands_of_the_manifest_are_the_listeners_commands() -> None:
    assert tuple(name for name, *_ in manifest.COMMANDS) == COMMANDS


def test_every_command_and_event_of_the_manifest_has_a_listener() -> None:
    class Recorder(Listeners):
        """Only its methods are named; nothing is called."""

        def __init__(self) -> None:
            """Nothing to hold."""

    class Tab(HomeTab):
        """The same."""

        def __init__(self) -> None:
            """Nothing to hold."""

    client = AsyncWebClient("xoxb-1")
    app = build_app(Recorder(), BotIdentity("T1", "U1", "B1", "xoxb-1"), client, Tab().register)
    functions = {listener.ack_function.__name__ for listener in app._async_listeners}
    assert functions == {"timed"}
    # The commands and events, three buttons, and the last of each kind that takes the rest.
    assert len(app._async_listeners) == len(manifest.COMMANDS) + len(manifest.EVENTS) + 3 + 3


@pytest.mark.parametrize("one", both(), ids=["socket", "http"])
def test_slacks_limits_are_kept(one: dict[str, Any]) -> None:
    shown = one["display_information"]
    assert len(shown["name"]) <= 35
    assert len(shown["description"]) <= 140
    assert 175 <= len(shown["long_description"]) <= 4000
    assert len(one["features"]["bot_user"]["display_name"]) <= 80
    for command in one["features"]["slash_commands"]:
        assert command["command"].startswith("/")
        assert len(command["command"]) <= 32
        assert 1 <= len(command["description"]) <= 2000
        assert len(command["usage_hint"]) <= 1000
    assert len(one["oauth_config"]["scopes"]["bot"]) <= 255


def test_every_address_of_the_http_manifest_is_the_one_endpoint() -> None:
    one = parsed(manifest.for_http("https://bot.example/"))
    addresses = [command["url"] for command in one["features"]["slash_commands"]]
    addresses += [one["settings"][part]["request_url"] for part in ("event_subscriptions", "interactivity")]
    assert set(addresses) == {"https://bot.example/slack/events"}
    assert one["settings"]["socket_mode_enabled"] is False


def test_the_socket_mode_manifest_names_no_address() -> None:
    text = manifest.for_socket_mode()
    assert "url" not in text
    assert parsed(text)["settings"]["socket_mode_enabled"] is True


def test_mentions_reach_the_audit_command_as_ids_and_names_reach_the_others_as_typed() -> None:
    commands = {one["command"]: one for one in both()[0]["features"]["slash_commands"]}
    assert {name: one["should_escape"] for name, one in commands.items()} == {
        "/deploy": False,
        "/promote": False,
        "/rollback": False,
        "/audit": True,
    }


READERS: dict[str, Callable[[str], Request]] = {
    "/deploy": parse_deploy,
    "/promote": parse_promote,
    "/rollback": parse_rollback,
    "/audit": lambda text: parse_audit(text, me="U1"),
}


@pytest.mark.parametrize("command", READERS)
def test_every_hint_begins_with_a_line_that_can_be_typed_and_ends_with_help(command: str) -> None:
    hints = {name: hint for name, _, hint, _ in manifest.COMMANDS}
    line, *_, last = hints[command].split(" | ") if " | " in hints[command] else (hints[command], "help")
    assert not isinstance(READERS[command](line), Mistake | Help)
    assert isinstance(READERS[command](last), Help)
