"""One way to write a value as bytes, so that its hash means something (RFC 8785 for the values that rows hold)."""

import hashlib
import json
from collections.abc import Mapping

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical(value: object) -> str:
    """Keys sorted, no spaces, no NaN, text as it is: the same value always gives the same text.

    Floats are refused: two programs may print them differently.
    """
    _refuse_floats(value)
    return _encode(value)


def storable(value: object) -> object:
    """The same value with text that every database can hold: no NUL, no half of a surrogate pair, also inside lists."""
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value  # as nearly all of it is
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict | Mapping):  # the first is what it is, and the second takes longer to find that out
        return {str(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


def leaf_hash(text: str) -> str:
    """RFC 6962 leaf hash of a canonical text, in hex."""
    return hashlib.sha256(b"\x00" + text.encode()).hexdigest()


def _refuse_floats(value: object) -> None:
    if isinstance(value, str):
        return  # as nearly all of it is
    if isinstance(value, float):
        raise TypeError("a float has no canonical form; use an integer or text")
    if isinstance(value, dict | Mapping):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
