"""The address that the HTTP side listens on. What is served there is in test_web."""

import socket

import pytest

from bot.serving import StartError, listen


def test_an_address_that_is_free_is_bound() -> None:
    with listen("127.0.0.1", 0) as bound:
        assert bound.getsockname()[1] > 0


def test_an_address_that_is_taken_is_said_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=f"Nothing can listen at 127.0.0.1:{port} .* set LOCKTENDER_PORT"):
            listen("127.0.0.1", port)


def test_an_address_of_another_machine_is_said_so() -> None:
    with pytest.raises(StartError, match=r"192\.0\.2\.1:0 .* LOCKTENDER_HOST"):
        listen("192.0.2.1", 0)
