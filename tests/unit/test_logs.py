"""What reaches the log: one JSON object a line, ids kept, and nothing that opens a door.

Left out: a whole deployment's log with marked secrets (tests/slack/test_canary.py).
"""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any

import pytest
import structlog

from bot import logs
from tests.secrets import SECRETS


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """The log as configured for production, read back; everything is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with redirect_stderr(io.StringIO()) as written:
        logs.configure("info")
        yield written
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_credential_is_taken_out_wherever_it_stands(output: io.StringIO, secret: str) -> None:
    log = structlog.get_logger("test")
    log.info(
        "test.event",
        plain=f"before {secret} after",
        listed=[f"x {secret}", {"deep": (secret,)}],
        mapped={"a": {secret: secret}},
        error=ValueError(secret),
    )
    logging.getLogger("library").warning("it said %s", secret)
    for part in secret.splitlines():
        assert part not in output.getvalue()
    first = lines(output)[0]
    assert first["plain"] == "before [redacted] after"
    assert first["event"] == "test.event"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://user:p%40ss@git.example/infra.git", "https://[redacted]@git.example/infra.git"),
        ("https://ghtoken@git.example/infra.git", "https://[redacted]@git.example/infra.git"),
        ("postgresql://locktender:hunter2@db:5432/l", "postgresql://[redacted]@db:5432/l"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: [redacted]"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: [redacted]"),
        ("https://ci.example/job/infra-deploy/7/", "https://ci.example/job/infra-deploy/7/"),
        ("somebody@company.example wrote", "somebody@company.example wrote"),
        ("the token expired yesterday", "the token expired yesterday"),
    ],
)
def test_addresses_lose_who_and_keep_where(text: str, left: str) -> None:
    assert logs.redact(text) == left


@pytest.mark.parametrize(
    "name", ["token", "bot_token", "signing_secret", "PASSWORD", "authorization", "response_url", "x_slack_signature"]
)
def test_a_field_that_is_named_for_a_secret_never_shows_its_value(output: io.StringIO, name: str) -> None:
    structlog.get_logger("test").info("test.event", **{name: "innocent", "nested": {name: ["innocent"]}})
    assert "innocent" not in output.getvalue()


def test_a_stack_trace_is_kept_without_its_secrets(output: io.StringIO) -> None:
    try:
        int(SECRETS[0])
    except ValueError:
        structlog.get_logger("test").exception("test.failed", deployment="84an2qhsvg")
        logging.getLogger("library").exception("it failed")
    ours, theirs = lines(output)
    assert "ValueError" in ours["exception"]
    assert "ValueError" in theirs["exception"]
    assert SECRETS[0] not in output.getvalue()
    assert ours["deployment"] == "84an2qhsvg"


def test_every_line_is_one_json_object_with_a_level_and_a_time_in_utc(output: io.StringIO) -> None:
    structlog.get_logger("test").info("test.event", text="two\nlines \u202e é", number=3, none=None)
    logging.getLogger("slack_bolt.AsyncApp").warning("a library's\nwords")
    logging.getLogger("slack_bolt.AsyncApp").info("chatter")
    first, second = lines(output)
    assert first["level"] == "info"
    assert first["timestamp"].endswith("Z")
    assert (first["number"], first["none"]) == (3, None)
    assert second["logger"] == "slack_bolt.AsyncApp"


def test_the_level_is_respected(output: io.StringIO) -> None:
    structlog.get_logger("test").debug("test.chatter")
    assert output.getvalue() == ""


def test_the_log_goes_to_standard_error_and_leaves_standard_output_alone(
    output: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.get_logger("test").info("test.event")
    assert capsys.readouterr().out == ""
    assert len(lines(output)) == 1
