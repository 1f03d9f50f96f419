"""GitHub's own description of its REST API and Octokit's webhook examples, as judges of what is sent and answered.

They come from npm and are not in the repository: `LOCKTENDER_OCTOKIT` names the folder they were installed to
(`make test-github` does it). Tests that need them skip without it.

    with Server(recorder.wrap(github.app)) as server: ...
    octokit.check(recorder.traffic)

Formats are not checked, types, names, enums and required keys are. A body may hold only what the description names:
a misspelt key would otherwise go unnoticed.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from starlette.types import ASGIApp, Message, Receive, Scope, Send

VARIABLE = "LOCKTENDER_OCTOKIT"
_ROOT = "urn:github"
_OPTIONAL = {".installation", ".organization", ".enterprise"}  # they depend on who listens
# What any call may be answered with, whether its description says so or not.
_ANYWHERE = {"304", "401", "403", "404", "422", "429", "500", "502", "503"}


@dataclass(frozen=True)
class Exchange:
    """One call and its answer. Bodies are parsed JSON, None where there was none."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    sent: Any
    status: int
    answered: Any


@dataclass
class Recorder:
    """Keeps what goes through an application."""

    traffic: list[Exchange] = field(default_factory=list)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The same application, listened to."""

        async def listened(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            sent, answered, status = bytearray(), bytearray(), 0

            async def receiving() -> Message:
                message = await receive()
                sent.extend(message.get("body", b""))
                return message

            def keep() -> None:
                raw = scope.get("raw_path", scope["path"].encode()).decode("ascii").partition("?")[0]
                query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
                self.traffic.append(Exchange(scope["method"], raw, query, _parsed(sent), status, _parsed(answered)))

            async def sending(message: Message) -> None:
                nonlocal status
                status = message.get("status", status)
                answered.extend(message.get("body", b""))
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    keep()  # before the client knows, so that it finds its own call
                await send(message)

            await app(scope, receiving, sending)

        return listened


class Octokit:
    """The judge. `faults` methods return sentences; an empty list is a pass."""

    def __init__(self, folder: Path) -> None:
        document = json.loads((folder / "openapi/generated/api.github.com.json").read_text())
        self._document = _as_json_schema(document)
        self._registry = Registry().with_resource(_ROOT, DRAFT202012.create_resource(self._document))
        self._operations = [
            (_pattern(path), path, method.upper(), operation)
            for path, item in self._document["paths"].items()
            for method, operation in item.items()
            if isinstance(operation, dict) and "responses" in operation
        ]
        # Of two that match, the one with fewer blanks is meant: /pulls/comments before /pulls/{pull_number}.
        self._operations.sort(key=lambda entry: (entry[1].count("{"), -len(entry[1])))
        examples = json.loads((folder / "webhooks-examples/api.github.com/index.json").read_text())
        self._examples: dict[str, list[dict[str, Any]]] = {one["name"]: one["examples"] for one in examples}

    def check(self, traffic: Iterable[Exchange]) -> None:
        """Fail with every fault of the traffic."""
        faults = [f"{one.method} {one.path}: {fault}" for one in traffic for fault in self.faults(one)]
        assert not faults, "\n".join(dict.fromkeys(faults))

    def faults(self, exchange: Exchange) -> list[str]:
        """What is wrong with one call and its answer."""
        path = exchange.path.removeprefix("/api/v3")
        if path in {"/graphql", "/api/graphql"}:
            return []  # described elsewhere, by its schema
        found = next(
            (one for pattern, _, method, one in self._operations if method == exchange.method and pattern(path)), None
        )
        if found is None:
            return ["GitHub has no such call"]
        refused = exchange.status >= 400
        asked = [] if refused else self._request_faults(found, exchange)
        return [*asked, *self._answer_faults(found, exchange)]

    def _request_faults(self, operation: dict[str, Any], exchange: Exchange) -> list[str]:
        named = [self._follow(parameter) for parameter in operation.get("parameters", [])]
        known = {parameter["name"] for parameter in named if parameter["in"] == "query"}
        faults = [f"unknown query parameter {name}" for name in exchange.query.keys() - known]
        body = operation.get("requestBody")
        if exchange.sent is None:
            return faults
        if body is None:
            return [*faults, "a body is sent where none is described"] if exchange.sent else faults
        schema = self._follow(body)["content"]["application/json"]["schema"]
        told = self._follow(schema)
        if "properties" in told and isinstance(exchange.sent, dict):
            faults += [f"unknown key in the body: {key}" for key in exchange.sent.keys() - told["properties"].keys()]
        return faults + self._invalid(schema, exchange.sent, "sent")

    def _answer_faults(self, operation: dict[str, Any], exchange: Exchange) -> list[str]:
        responses = operation["responses"]
        told = responses.get(str(exchange.status))
        if told is None:
            known = str(exchange.status) in _ANYWHERE
            return _refusal_faults(exchange) if known else [f"status {exchange.status} is not described"]
        content = self._follow(told).get("content", {}).get("application/json")
        if content is None:
            empty = exchange.answered is None or exchange.status >= 400
            return [] if empty else [f"a body with {exchange.status}, where none is described"]
        if exchange.answered is None:
            return [f"no body with {exchange.status}"]
        return self._invalid(content["schema"], exchange.answered, "answered")

    def webhook_faults(self, event: str, payload: Mapping[str, Any]) -> list[str]:
        """What is wrong with a webhook's payload: against its schema, and against the examples of its kind."""
        action = payload.get("action")
        name = f"webhook-{event}{f'-{action}' if action else ''}".replace("_", "-")
        if name not in self._document["components"]["schemas"]:
            return [f"GitHub has no {name}"]
        schema = {"$ref": f"{_ROOT}#/components/schemas/{name}"}
        examples = self._examples[event]
        same = [one for one in examples if one.get("action") == action] or examples
        have = _shape(payload)
        everywhere = {path for path in set.intersection(*map(_shape, same)) - _OPTIONAL if not path.endswith("{}")}
        # What would be inside of a null or an empty list is not missed.
        missing = sorted(path for path in everywhere - have if f"{path.rpartition('.')[0]}{{}}" in have)
        return [
            *self._invalid(schema, payload, "payload"),
            *(f"{path} is in every example of {event} {action} and not here" for path in missing),
        ]

    def _invalid(self, schema: Any, value: Any, what: str) -> list[str]:
        validator = Draft202012Validator(_absolute(schema), registry=self._registry)
        return [
            f"{what}{''.join(f'[{step!r}]' for step in error.absolute_path)}: {error.message[:300]}"
            for error in validator.iter_errors(value)
        ]

    def _follow(self, told: Any) -> Any:
        while "$ref" in told:
            place: Any = self._document
            for step in told["$ref"].partition("#/")[2].split("/"):
                place = place[step.replace("~1", "/").replace("~0", "~")]
            told = place
        return told


@cache
def _load(folder: str) -> Octokit:
    for place in (Path(folder, "node_modules/@octokit"), Path(folder, "@octokit"), Path(folder)):
        if (place / "openapi").is_dir() and (place / "webhooks-examples").is_dir():
            return Octokit(place)
    raise FileNotFoundError(f"{folder} has no @octokit/openapi and @octokit/webhooks-examples")


def load() -> Octokit:
    """The judge, read once in a process; skips the test where there is none, fails where it cannot be read."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"GitHub's API description is not here: run `make test-github`, or set {VARIABLE}")
    return _load(folder)


def _parsed(body: bytes | bytearray) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _refusal_faults(exchange: Exchange) -> list[str]:
    """Every refusal has a message and says where to read more; 304 has no body."""
    told = exchange.answered if isinstance(exchange.answered, dict) else {}
    missing = {"message", "documentation_url"} - told.keys() if exchange.status >= 400 else set()
    return [f"{exchange.status} without {key}" for key in sorted(missing)]


def _pattern(path: str) -> Any:
    parts = [".+" if part in {"{path}", "{ref}", "{branch}", "{basehead}"} else None for part in path.split("/")]
    segments = [
        blank or re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(part))
        for blank, part in zip(parts, path.split("/"), strict=True)
    ]
    return re.compile("/".join(segments)).fullmatch


def _as_json_schema(told: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema has a type of its own."""
    if isinstance(told, list):
        return [_as_json_schema(item) for item in told]
    if not isinstance(told, dict):
        return told
    made = {key: _as_json_schema(value) for key, value in told.items() if key not in {"example", "examples"}}
    if told.get("nullable") is True:
        return {"anyOf": [made, {"type": "null"}]} if "$ref" not in told else made
    return made


def _absolute(schema: Any) -> Any:
    """The same schema, its references leading into the document wherever the schema itself is looked at from."""
    if isinstance(schema, list):
        return [_absolute(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"{_ROOT}{value}" if key == "$ref" and str(value).startswith("#") else _absolute(value)
        for key, value in schema.items()
    }


def _shape(value: Any, path: str = "") -> set[str]:
    """The places of keys, `.a.b` is b in a, and of objects, `.a{}`; lists are told by their first item."""
    if isinstance(value, Mapping):
        inner = (_shape(item, f"{path}.{key}") for key, item in value.items())
        return {f"{path}{{}}", *(f"{path}.{key}" for key in value)}.union(*inner)
    if isinstance(value, list) and value:
        return _shape(value[0], f"{path}[]")
    return set()
