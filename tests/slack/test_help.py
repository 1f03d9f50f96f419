"""Help is held to the parser: every command that it shows is read as one, and every verb and option is in it.

Left out: how help reaches a person (test_listeners).
"""

import re

import pytest

from bot.slack.command_line import VERBS
from bot.slack.help import help_message
from bot.slack.parse import DEPLOY, PROMOTE, ROLLBACK, parse_audit, parse_deploy, parse_promote, parse_rollback
from bot.slack.parse_options import Form
from commands.requests import Help, Mistake, Request
from tests.slack.message_rules import broken_rules

COMMANDS = ("deploy", "promote", "rollback", "audit")
PLACEHOLDER = re.compile(r"[A-Z]{2,}|…|[\[\]|]")


def read(line: str) -> Request:
    command, _, rest = line.partition(" ")
    match command:
        case "/deploy":
            return parse_deploy(rest)
        case "/promote":
            return parse_promote(rest)
        case "/rollback":
            return parse_rollback(rest)
        case _:
            return parse_audit(rest, me="U1")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_a_message_that_slack_takes_and_says_its_command(command: str) -> None:
    message = help_message(command)
    assert broken_rules(message) == []
    assert f"/{command} " in message.text
    assert "*" not in message.text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_in_help_is_a_request(command: str) -> None:
    lines = re.findall(r"`(/[^`]+)`", help_message(command).text)
    examples = [line for line in lines if not PLACEHOLDER.search(line)]
    assert any(line.startswith(f"/{command} ") for line in examples), "an example of its own"
    assert not [line for line in examples if isinstance(read(line), Mistake)]


def test_every_verb_of_deploy_is_in_its_help() -> None:
    text = help_message("deploy").text
    assert not [verb for verb in VERBS if verb not in text]


@pytest.mark.parametrize("form", [DEPLOY, PROMOTE, ROLLBACK], ids=["deploy", "promote", "rollback"])
def test_every_option_is_in_help_and_in_the_short_reminder(form: Form) -> None:
    text = help_message(form.name.removeprefix("/")).text
    assert not [option for option in form.options if option not in text]
    assert not [option for option in form.options if option not in form.right]


def test_help_for_a_command_that_there_is_not_is_help_for_deploy() -> None:
    assert help_message("dance") == help_message("deploy")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_can_be_asked_for(command: str) -> None:
    assert read(f"/{command} help") == Help(command)
    assert parse_deploy(f"help {command}") == Help(command)
