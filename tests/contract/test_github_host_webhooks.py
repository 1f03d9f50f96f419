"""Checks which webhooks are taken for GitHub's, and what is read from them.

Leaves out how they arrive over HTTP, and that repeated ones do nothing twice.
"""

import hashlib
import hmac
import json
from typing import Any

import pytest

from bot.integrations.github.webhooks import Happened, Kind, parse, verify

SECRET = "It's a Secret to Everybody"
REPOSITORY = {"full_name": "company/infra"}
SHA = "a" * 40


def body(**fields: Any) -> bytes:
    return json.dumps({"repository": REPOSITORY, "sender": {"login": "Alice"}, **fields}).encode()


def signature(text: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def test_githubs_own_example_is_genuine() -> None:
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    told = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert verify(SECRET, b"Hello, World!", told)


def test_a_changed_body_or_secret_is_not() -> None:
    assert not verify(SECRET, b"Hello, World?", signature(b"Hello, World!"))
    assert not verify("another", b"Hello, World!", signature(b"Hello, World!"))


def test_without_a_secret_nothing_is_genuine() -> None:
    assert not verify("", b"x", signature(b"x", ""))


@pytest.mark.parametrize(
    "header", [None, "", "sha256=", "sha1=" + "0" * 40, "sha256=" + "0" * 63, "sha256=" + "é" * 64, "0" * 64]
)
def test_a_malformed_signature_is_not(header: str | None) -> None:
    assert not verify(SECRET, b"x", header)
    assert not verify(SECRET, b"x", signature(b"x").upper())


PULL = {"number": 7, "head": {"ref": "deploy/d-1", "sha": SHA}}
SUITE = {"head_sha": SHA, "head_branch": "deploy/d-1", "pull_requests": [{"number": 7}]}
RUN = {"head_sha": SHA, "check_suite": {"head_branch": "deploy/d-1"}, "pull_requests": [{"number": 7}]}


@pytest.mark.parametrize(
    ("event", "fields", "where"),
    [
        ("pull_request", {"action": "closed", "pull_request": PULL}, (7, "deploy/d-1", SHA)),
        ("pull_request_review", {"action": "submitted", "pull_request": PULL}, (7, "deploy/d-1", SHA)),
        ("push", {"ref": "refs/heads/main", "after": SHA}, (0, "main", SHA)),
        ("push", {"ref": "refs/heads/deploy/d-1", "after": "0" * 40}, (0, "deploy/d-1", "")),
        ("status", {"sha": SHA, "branches": [{"name": "deploy/d-1"}]}, (0, "deploy/d-1", SHA)),
        ("status", {"sha": SHA, "branches": []}, (0, "", SHA)),
        ("check_run", {"check_run": RUN}, (7, "deploy/d-1", SHA)),
        ("check_run", {"check_run": {**RUN, "pull_requests": []}}, (0, "deploy/d-1", SHA)),
        ("check_suite", {"check_suite": SUITE}, (7, "deploy/d-1", SHA)),
        ("check_suite", {"check_suite": {**SUITE, "head_branch": None}}, (7, "", SHA)),
    ],
)
def test_what_happened_is_read(event: str, fields: dict[str, Any], where: tuple[int, str, str]) -> None:
    expected = Happened(Kind(event), "id-1", "company/infra", *where, "alice")
    assert parse(event, "id-1", body(**fields)) == expected


def test_an_event_without_a_sender_is_read() -> None:
    happened = parse("push", "id-1", body(ref="refs/heads/main", after=SHA, sender=None))
    assert happened is not None
    assert happened.sender == ""


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ("ping", body(zen="Keep it logically awesome.")),
        ("", body()),
        ("push", body(ref="refs/tags/v1", after=SHA)),
        ("push", body(ref=7, after=SHA)),
        ("push", body()),
        ("push", b""),
        ("push", b"null"),
        ("push", b"[]"),
        ("push", b"\xff\xfe"),
        ("push", b"[" * 100_000),
        ("push", b'{"repository": {"full_name": "\\ud800"}, "ref": "refs/heads/x", "after": "y"}'),
        ("pull_request", body(pull_request={**PULL, "number": -1})),
        ("pull_request", body(pull_request={**PULL, "number": 10**30})),
        ("pull_request", body(pull_request={**PULL, "number": "seven"})),
        ("pull_request", body(pull_request=None)),
        ("check_run", body(check_run=[])),
    ],
)
def test_what_does_not_concern_us_or_is_garbage_is_nothing(event: str, text: bytes) -> None:
    assert parse(event, "id-1", text) is None
