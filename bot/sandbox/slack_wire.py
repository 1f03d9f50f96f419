"""Reads the arguments of a Web API call from a query, a form or a JSON body, as Slack does."""

import json
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from bot.sandbox.slack_model import Json
from bot.sandbox.slack_state import SlackError


@dataclass(frozen=True)
class Args:
    """Arguments by name; unknown ones are kept and ignored, as Slack ignores them."""

    given: Json

    def text(self, name: str, default: str = "") -> str:
        """The argument as text."""
        value = self.given.get(name)
        return default if value is None else str(value)

    def required(self, name: str) -> str:
        """The argument as text. SlackError invalid_arguments when it is missing or empty."""
        value = self.text(name)
        if not value:
            message = f"[ERROR] missing required field: {name}"
            raise SlackError("invalid_arguments", response_metadata={"messages": [message]})
        return value

    def flag(self, name: str) -> bool:
        """True for true, 1 and "true": a query has no booleans."""
        return self.text(name).lower() in {"1", "true"}

    def number(self, name: str, default: int) -> int:
        """The argument as a whole number. SlackError invalid_arguments when it is not one."""
        value = self.text(name, str(default))
        if not value.lstrip("-").isdigit():
            raise SlackError("invalid_arguments", response_metadata={"messages": [f"[ERROR] not a number: {name}"]})
        return int(value)

    def nested(self, name: str) -> object:
        """A structured argument: JSON inside a form, or itself inside a JSON body; None when it is not given."""
        value = self.given.get(name)
        if not isinstance(value, str):
            return value
        try:
            parsed: object = json.loads(value)
        except ValueError:
            raise SlackError(f"invalid_{name}_format" if name != "view" else "invalid_arguments") from None
        return parsed


async def arguments(request: Request) -> Args:
    """Query, form and JSON together. SlackError invalid_json, invalid_form_data or json_not_object."""
    given: Json = dict(request.query_params)
    body = await request.body()
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "application/json" and body:
        try:
            parsed = json.loads(body)
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(parsed, dict):
            raise SlackError("json_not_object")
        given |= parsed
    elif kind == "application/x-www-form-urlencoded" and body:
        given |= dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    return Args(given)
