"""The form of `locktender-evidence/1`: its JSON Schema, for whoever reads files, and a file of then that is proven now.

`python -m tests.unit.test_evidence_schema` prints the schema as it has to stand in docs/evidence-1.schema.json. Where
that has to change, or the file of then is no longer proven, the change belongs into another format.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from pydantic import TypeAdapter

from bot.evidence_page import page
from commands.evidence_file import FORMAT, PREDICATE, STATEMENT, read
from commands.evidence_told import Told
from commands.evidence_verify import judge
from storage.signing import PublicKey
from storage.verdict import State, Trust

STORED = Path(__file__).parents[2] / "docs" / "evidence-1.schema.json"
THEN = Path(__file__).with_name("evidence_1.json")
KEY = PublicKey.parse("locktender/git.example/example/infra+17658c0d+AREK2wEWieQEZTgZhu0WueTDi2qYT7arUg2y4NdMJ6MF")
HEX = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
TEXT = {"type": "string"}


def schema() -> dict[str, Any]:
    """Statement v1 of in-toto, and the predicate."""
    told = TypeAdapter(Told).json_schema()
    definitions = told.pop("$defs")
    for one in (told, *definitions.values()):
        if one.get("type") == "object":
            one["additionalProperties"] = False
    row = dict.fromkeys(("action", "actor", "app", "deployment_id", "environment", "reason_code", "team_id"), TEXT)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": FORMAT,
        "$defs": definitions,
        **_object(
            {
                "_type": {"const": STATEMENT},
                "subject": {
                    "type": "array",
                    "minItems": 1,
                    "items": _object({"name": TEXT, "digest": {"oneOf": [_digest("gitCommit"), _digest("sha256")]}}),
                },
                "predicateType": {"const": PREDICATE},
                "predicate": _object(
                    {
                        "format": {"const": FORMAT},
                        "of": {"type": "string", "minLength": 1},
                        "told": told,
                        "attached": {
                            "type": "object",
                            "properties": dict.fromkeys(("binding", "diff", "rules", "shown"), TEXT),
                            "additionalProperties": False,
                        },
                        "rows": {
                            "type": "array",
                            "minItems": 2,
                            "items": _object(
                                row
                                | {
                                    "seq": {"type": "integer", "minimum": 1},
                                    "at": {"type": "string", "format": "date-time"},
                                    "details": {"type": "object"},
                                    "leaf": HEX,
                                    "proof": {"type": "array", "items": HEX},
                                }
                            ),
                        },
                        "record": _object(
                            {
                                "origin": TEXT,
                                "size": {"type": "integer", "minimum": 1},
                                "root": HEX,
                                "keys": {"type": "array", "items": TEXT},
                                "checkpoint": TEXT,
                            }
                        ),
                    }
                ),
            }
        ),
    }


def _object(properties: Mapping[str, object]) -> dict[str, object]:
    """An object with exactly these."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": sorted(properties),
        "additionalProperties": False,
    }


def _digest(name: str) -> dict[str, object]:
    return _object({name: {"type": "string", "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$"}})


def written() -> str:
    """As it is stored."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def then() -> dict[str, Any]:
    """The file of then."""
    found: dict[str, Any] = json.loads(THEN.read_text())
    return found


def test_the_published_schema_is_that_of_the_files() -> None:
    assert STORED.read_text() == written()
    Draft202012Validator.check_schema(schema())


def test_a_file_of_then_passes_the_schema_and_one_with_more_in_it_does_not() -> None:
    check = Draft202012Validator(json.loads(STORED.read_text()))
    whole = then()
    check.validate(whole)
    whole["predicate"]["told"]["checks"][0]["more"] = 1
    with pytest.raises(ValidationError):
        check.validate(whole)


def test_a_file_of_then_is_proven_now() -> None:
    """It has everything: a push by somebody else, content that moved, approvals, a merge, a pipeline's record."""
    verdict = judge(THEN.read_text(), Trust((KEY,)))
    assert verdict.state is State.PROVEN, verdict
    told, _ = read(THEN.read_text())
    assert (len(told.told.said), len(told.told.reported), told.told.state) == (1, 1, "succeeded")
    assert told.told.proposed is not None
    assert told.told.proposed.times == 2
    assert page(told)


if __name__ == "__main__":
    print(written(), end="")  # noqa: T201 - the output is the product
