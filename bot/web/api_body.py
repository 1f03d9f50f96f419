"""A JSON body, read whatever its content type says: `curl -d @record.json` calls it a form."""

import json
from collections.abc import Mapping
from typing import Any, Never, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from bot.web.api_errors import Code, FieldFault, Problem, invalid
from commands.requests import typed

LARGEST = 64 * 1024
"""Bytes."""
_MOST_NOTED = 10
M = TypeVar("M", bound=BaseModel)


async def read_object(request: Request) -> Mapping[str, Any]:
    """The body as one JSON object. Problem: 413 when it is too large, 400 when it is something else."""
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said[:20]) > LARGEST:
        raise _too_large()
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > LARGEST:
            raise _too_large()
    try:
        found = json.loads(read.decode("utf-8-sig"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise _not_json("The body is not text in UTF-8.") from None
    except json.JSONDecodeError as error:
        raise _not_json(f"The body is not JSON: it breaks off at line {error.lineno}, column {error.colno}.") from None
    except (ValueError, RecursionError):
        raise _not_json("The body holds a number or a nesting that nobody can read.") from None
    if not isinstance(found, dict):
        raise _not_json("The body is JSON, but not an object.")
    return found


def parse(model: type[M], found: Mapping[str, Any]) -> M:
    """The body as the model has it. Problem 422 with every field that is wrong."""
    try:
        return model.model_validate(found)
    except ValidationError as error:
        faults: dict[str, FieldFault] = {}
        for one in error.errors(include_url=False, include_input=False):
            name = str(one["loc"][0]) if one["loc"] else ""
            faults.setdefault(name, FieldFault(name, _words(model, name, one["type"], one["msg"])))
        raise invalid(tuple(faults.values())) from None


def unknown_fields(model: type[BaseModel], found: Mapping[str, Any]) -> tuple[str, ...]:
    """A note about fields that are none of ours: they may be misspelt, and are left out."""
    known = {field.alias or name for name, field in model.model_fields.items()}
    extra = [name for name in found if name not in known]
    shown = ", ".join(typed(name) for name in extra[:_MOST_NOTED])
    more = f" and {len(extra) - _MOST_NOTED} more" if len(extra) > _MOST_NOTED else ""
    if not extra:
        return ()
    said = "is no field of this and was" if len(extra) == 1 else "are no fields of this and were"
    return (f"{shown}{more} {said} left out.",)


def _words(model: type[BaseModel], name: str, kind: str, message: str) -> str:
    field = next((one for key, one in model.model_fields.items() if name in {one.alias, key}), None)
    wanted = field.description if field is not None and field.description else ""
    if kind == "missing":
        return f"It is missing: {wanted}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return f"It has to be: {wanted}"


def _no_number(word: str) -> Never:
    raise ValueError(f"{word} is no number in JSON")


def _too_large() -> Problem:
    what = f"The body is larger than {LARGEST // 1024} KiB."
    return Problem(413, Code.TOO_LARGE, what, "Send less: long notes belong in a ticket that the note names.")


def _not_json(what: str) -> Problem:
    return Problem(400, Code.NOT_JSON, what, "Send one JSON object, as in `curl -d @deployment-record.json`.")
