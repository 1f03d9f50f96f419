"""The kinds of text that the JSON API takes: each is checked by one function, and described by the pattern it means."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic_core import CoreSchema, core_schema

from commands.grammar import DIGEST, TAG, unsafe_characters

# What `unsafe_characters` refuses, as a pattern means it: controls, and what cannot be seen or turns text round.
_UNSEEN = (
    "\\u007f-\\u009f\\u00ad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890-\\u0891\\u08e2\\u180e"
    "\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f"
)
_BAD = f"\\u0000-\\u001f{_UNSEEN}"
_BAD_BUT_BLANKS = f"\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f{_UNSEEN}"
_BLANKS = str.maketrans("\t\r\n", "   ")
_COMMIT = re.compile(r"[0-9a-fA-F]{4,64}")
_PLACE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_STATUS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]{1,260}(?:[/?#][!-~]{0,1700})?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}")
EARLIEST, LATEST = 946_684_800, 4_102_444_800  # seconds: 2000 and 2100; milliseconds are larger


def _text(value: object) -> str:
    if not isinstance(value, str):
        shown = "a number" if isinstance(value, int | float) and not isinstance(value, bool) else "something else"
        raise ValueError(f"It has to be text, in quotes; it is {shown}.")  # noqa: TRY004 - pydantic takes ValueError
    return value


def _plain(value: object, most: int) -> str:
    text = _text(value)
    if len(text) > most:
        raise ValueError(f"It is {len(text)} characters long; {most} is the most.")
    unsafe = unsafe_characters(text)
    if unsafe:
        raise ValueError(f"It holds {unsafe}, which can make text read as something else than it is.")
    return text


def _shaped(value: object, shape: re.Pattern[str], expected: str) -> str:
    text = _text(value)
    if not shape.fullmatch(text):
        raise ValueError(f"It has to be {expected}.")
    return text


def _said(value: object, most: int) -> str:
    text = _plain(value, most)
    if not text.strip():
        raise ValueError("It is empty.")
    return text


def _time(value: object) -> datetime:
    wrong = ValueError("It has to be a time with its zone, as in 2026-01-15T10:30:00Z, or Unix seconds.")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not EARLIEST <= value < LATEST:
            raise wrong
        return datetime.fromtimestamp(value, UTC)
    try:
        found = datetime.fromisoformat(_text(value).strip().upper())
        if found.tzinfo is None or not 1000 <= found.year < 3000:
            raise wrong
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong from None


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of text: `check` raises ValueError with a sentence, `schema` says the same as far as a schema can."""

    check: Callable[[object], object]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, _: object, __: object) -> CoreSchema:
        """How pydantic checks it."""
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, _: object, __: object) -> dict[str, Any]:
        """How OpenAPI describes it."""
        return dict(self.schema)


def _wanted(check: Callable[[object], object], pattern: str, most: int, example: str) -> Kind:
    schema = {"type": "string", "minLength": 1, "maxLength": most, "pattern": f"^{pattern}$", "examples": [example]}
    return Kind(check, schema)


def _maybe(check: Callable[[object], object], pattern: str, most: int, example: str) -> Kind:
    """The same, or nothing: pipelines send "" and null for what they do not have."""
    text = {"type": "string", "maxLength": most, "pattern": f"^({pattern})?$", "examples": [example]}
    return Kind(
        lambda value: "" if value is None or value == "" else check(value),
        {"anyOf": [text, {"type": "null"}], "default": ""},
    )


def _note(value: object) -> str:
    """Words that may have several lines: they are kept on one."""
    return _plain(value.translate(_BLANKS) if isinstance(value, str) else value, 1000).strip()


def _since(value: object) -> datetime:
    """A time from an address, where a plus sign that was not encoded has become a blank."""
    text = _text(value)
    return _time(text[:10] + text[10:].replace(" ", "+"))


def _words(most: int) -> Callable[[object], object]:
    return lambda value: _plain(value, most)


def _something(most: int) -> Callable[[object], object]:
    return lambda value: _said(value, most)


def _shape(shape: re.Pattern[str], expected: str) -> Callable[[object], object]:
    return lambda value: _shaped(value, shape, expected)


SHA = "e83c5163316f89bfbde7d9ab23ca2e25604af290"
_HEX = "4 to 64 hexadecimal digits, as `git rev-parse HEAD` prints them"
_NAMED = "up to 63 letters, digits, `.`, `_`, `/` and `-`, beginning and ending with a letter or a digit"
_ADDRESS = "an http or https address without a user or a password in it"
_TAGGED = "up to 128 letters, digits, `_`, `.` and `-`, as in 1.4.2"

_ANY, _SOME = f"[^{_BAD}]*", f"[^{_BAD}]*[^{_BAD}\\s][^{_BAD}]*"
_MOMENT = {"type": "string", "format": "date-time", "pattern": "^[12][0-9]{3}-"}
"""In UTC it has to be a time too: those at the very ends of the calendar are none there."""
_TIME = {
    "anyOf": [
        _MOMENT,
        {"type": "number", "minimum": EARLIEST, "exclusiveMaximum": LATEST},
    ],
    "examples": ["2026-01-15T10:30:00Z"],
}
_BUILD = "https://jenkins.example.com/job/web/412/"
_DIGESTED = "`sha256:` and 64 hexadecimal digits"
_BARE = "an image's name without tag and digest"

Time = Annotated[datetime, Kind(_time, _TIME)]
Place = Annotated[str, _wanted(_shape(_PLACE, _NAMED), _PLACE.pattern, 63, "production")]
MaybePlace = Annotated[str, _maybe(_shape(_PLACE, _NAMED), _PLACE.pattern, 63, "my-application")]
Commit = Annotated[str, _wanted(_shape(_COMMIT, _HEX), _COMMIT.pattern, 64, SHA)]
MaybeCommit = Annotated[str, _maybe(_shape(_COMMIT, _HEX), _COMMIT.pattern, 64, SHA)]
Status = Annotated[str, _wanted(_shape(_STATUS, "one word, as in success or failed"), _STATUS.pattern, 40, "success")]
MaybeUrl = Annotated[str, _maybe(_shape(_URL, _ADDRESS), _URL.pattern, 2000, _BUILD)]
Tag = Annotated[str, _wanted(_shape(TAG, _TAGGED), TAG.pattern, 128, "1.4.2")]
MaybeDigest = Annotated[str, _maybe(_shape(DIGEST, _DIGESTED), DIGEST.pattern, 71, f"sha256:{'0f' * 32}")]
Image = Annotated[str, _wanted(_shape(_IMAGE, _BARE), _IMAGE.pattern, 255, "registry.company.com/my-application")]
Deployer = Annotated[str, _wanted(_something(200), _SOME, 200, "jenkins")]
Reason = Annotated[str, _wanted(_something(500), _SOME, 500, "nightly build")]
Word = Annotated[str, _wanted(_something(128), _SOME, 128, "my-application")]
MaybeBranch = Annotated[str, _maybe(_words(255), _ANY, 255, "main")]
MaybeVersion = Annotated[str, _maybe(_words(128), _ANY, 128, "1.4.2")]
MaybeNote = Annotated[str, _maybe(_note, f"[^{_BAD_BUT_BLANKS}]*", 1000, "approved in CHG-1042")]
MaybePerson = Annotated[str, _maybe(_words(255), _ANY, 255, "U024BE7LH")]
MaybeKey = Annotated[str, _maybe(_words(255), _ANY, 255, "build-412")]
Name = Annotated[str, Kind(_words(128), {"type": "string", "maxLength": 128, "pattern": f"^{_ANY}$"})]
"""A filter in an address. Empty ones do not filter."""
Since = Annotated[datetime, Kind(_since, _MOMENT)]
