"""Files for one person, against the stand-in of Slack: who sees them, whole, and what happens when Slack fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from slack_sdk.errors import SlackApiError

from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED
from bot.sandbox.slack_model import AUDITOR
from bot.slack.uploads import Uploads


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(rates=UNLIMITED) as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "record.csv"
    path.write_bytes("seq,at\r\n1,na\u00efve\r\n".encode() * 10_000)
    return path


def uploads(slack: SlackServer) -> Uploads:
    return Uploads(slack.app.bot_token, slack.api_url)


def test_a_file_reaches_the_person_who_asked_and_nobody_else(slack: SlackServer, file: Path) -> None:
    uploads(slack).give(AUDITOR.id, file, "deployment-record.csv", "The record, all of it: 2 rows.")
    (shared,) = slack.workspace.files()
    assert shared.content == file.read_bytes()
    assert shared.title == "deployment-record.csv"
    (channel,) = shared.channels
    assert channel.startswith("D"), "a direct message"
    said = slack.workspace.messages(channel)
    assert said[0].text == "The record, all of it: 2 rows."
    assert said[1].files == (shared.id,)
    assert said[1].thread_ts == said[0].ts


def test_a_person_who_is_gone_is_an_error_that_says_so(slack: SlackServer, file: Path) -> None:
    with pytest.raises(SlackApiError, match="channel_not_found"):
        uploads(slack).give("U0NOBODY", file, "a.csv", "words")
    assert slack.workspace.files() == ()


def test_slack_that_is_away_is_a_network_error(file: Path) -> None:
    with pytest.raises((OSError, requests.RequestException)):
        Uploads("xoxb-test", "http://127.0.0.1:9/api/").give(AUDITOR.id, file, "a.csv", "words")
