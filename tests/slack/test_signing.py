"""The signature check: what Slack signs passes, everything else is refused with a verdict and never an exception.

Held to slack_sdk's own signer. Left out: the HTTP endpoint, which turns a verdict into 401.
"""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier

from bot.slack.signing import MAX_AGE, MAX_AHEAD, Verdict, verify

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
BODY = b"token=x&command=%2Fdeploy&text=web+1.4.2"
NOW = 1_700_000_000


def signature(stamp: int, body: bytes = BODY) -> str:
    made = SignatureVerifier(SECRET).generate_signature(timestamp=str(stamp), body=body)
    assert made is not None
    return made


def test_what_slack_signs_is_genuine() -> None:
    assert verify(SECRET, str(NOW), BODY, signature(NOW), NOW + 1.5) is Verdict.GENUINE


@pytest.mark.parametrize(
    ("age", "verdict"),
    [
        (MAX_AGE, Verdict.GENUINE),
        (MAX_AGE + 1, Verdict.STALE),
        (-MAX_AHEAD, Verdict.GENUINE),
        (-MAX_AHEAD - 1, Verdict.AHEAD),
    ],
)
def test_the_window_is_five_minutes_back_and_one_ahead(age: int, verdict: Verdict) -> None:
    stamp = NOW - age
    assert verify(SECRET, str(stamp), BODY, signature(stamp), NOW) is verdict


def test_one_changed_byte_is_forged() -> None:
    assert verify(SECRET, str(NOW), BODY + b"0", signature(NOW), NOW) is Verdict.FORGED
    assert verify(SECRET, str(NOW + 1), BODY, signature(NOW), NOW) is Verdict.FORGED
    assert verify(SECRET + "0", str(NOW), BODY, signature(NOW), NOW) is Verdict.FORGED


def test_a_body_that_is_not_text_is_checked_as_bytes() -> None:
    body = b"\xff\xfe\x00"
    assert verify(SECRET, str(NOW), body, "v0=" + "0" * 64, NOW) is Verdict.FORGED


@pytest.mark.parametrize(
    "stamp",
    [
        "soon",
        "1.7e9",
        "-5",
        "\u0661\u0667\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660",
        " 1700000000",
        "1700000000\n",
        "9" * 40,
    ],
)
def test_a_timestamp_that_is_no_number_is_malformed(stamp: str) -> None:
    assert verify(SECRET, stamp, BODY, signature(NOW), NOW) is Verdict.MALFORMED


@pytest.mark.parametrize("given_signature", ["v0=ü" + "0" * 63, "v1=" + "0" * 64, "v0=", "v0=" + "0" * 65, "\x00"])
def test_a_signature_of_another_shape_is_malformed(given_signature: str) -> None:
    assert verify(SECRET, str(NOW), BODY, given_signature, NOW) is Verdict.MALFORMED


@pytest.mark.parametrize(("stamp", "given_signature"), [(None, "v0="), ("1", None), ("", ""), (None, None)])
def test_missing_headers_are_refused(stamp: str | None, given_signature: str | None) -> None:
    assert verify(SECRET, stamp, BODY, given_signature, NOW) is Verdict.MISSING


def test_without_a_secret_nothing_is_genuine() -> None:
    forged = "v0=" + hmac.new(b"", f"v0:{NOW}:".encode() + BODY, hashlib.sha256).hexdigest()
    assert verify("", str(NOW), BODY, forged, NOW) is Verdict.NO_SECRET


@given(st.one_of(st.none(), st.text()), st.binary(), st.one_of(st.none(), st.text()))
def test_no_input_raises_and_none_made_up_is_genuine(stamp: str | None, body: bytes, made_up: str | None) -> None:
    assert verify(SECRET, stamp, body, made_up, NOW) is not Verdict.GENUINE
