"""The API against its own description: whatever a schema allows, and much that it does not, is answered as described.

Left out: what the answers mean (tests/slack/test_api). Needs the package schemathesis; without it this is skipped.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from bot.sandbox.server import Server
from storage.database import Database, sqlite_url
from storage.unit_of_work import Store
from tests.desk_rig import APP, facts
from tests.slack.api_rig import IMAGE, RECORD, Api, serve

HOW_MANY = int(os.environ.get("LOCKTENDER_EXAMPLES", "200"))
FEW, MANY = 10, pytest.param(HOW_MANY, marks=[pytest.mark.slow, pytest.mark.timeout(60 + 3 * HOW_MANY)])
"""LOCKTENDER_EXAMPLES has more of them tried, as before a release."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Api]:
    """The API on SQLite, with a few things in it to be found."""
    database = Database(sqlite_url(Path(shutil.copy(sqlite_template, tmp_path_factory.mktemp("api") / "api.db"))))
    made = serve(Store(database))
    made.knows = facts(images={})
    yield made
    database.close()


@pytest.fixture(scope="module")
def schemathesis() -> Any:
    """Imported by whoever runs these tests: it takes longer than all the other tests' imports."""
    return pytest.importorskip("schemathesis", reason="the package schemathesis is not installed")


@pytest.fixture(scope="module")
def served(api: Api, schemathesis: Any) -> Iterator[Any]:
    """Its description, as it is served, and a token that may do everything."""
    token = api.token("records", "images", "read", "deploy:staging", "deploy:production")
    headers = {"Authorization": f"Bearer {token}"}
    with Server(api.app) as server:
        deployment = {"app": APP, "version": "1.4.2", "environment": "staging", "reason": "nightly"}
        for path, body in (("records", RECORD), ("images", IMAGE), ("deployments", deployment)):
            assert httpx.post(f"{server.url}/api/v1/{path}", json=body, headers=headers).status_code < 300
        schema = schemathesis.openapi.from_url(f"{server.url}/api/openapi.json")
        schema.config.update(headers=headers)
        yield schema


OPERATIONS = (
    ("POST", "/v1/records"),
    ("GET", "/v1/records"),
    ("GET", "/v1/records/{seq}"),
    ("POST", "/v1/images"),
    ("GET", "/v1/images"),
    ("POST", "/v1/deployments"),
    ("GET", "/v1/deployments"),
    ("GET", "/v1/deployments/{id}"),
)
NOT_ALL_THERE = frozenset({"/v1/images", "/v1/deployments"})
"""Bodies may fit the schema and name what the catalogue does not have: 409 and 422 are right then."""


def test_every_operation_is_tried(served: Any) -> None:
    described = {(one.ok().method.upper(), one.ok().path) for one in served.get_all_operations()}
    assert described == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
@pytest.mark.parametrize("examples", [FEW, MANY])
def test_every_answer_is_as_described(
    schemathesis: Any, served: Any, method: str, path: str, mode: str, examples: int
) -> None:
    """No 500, no status and no shape that the description does not have, and nothing without a token."""
    operation = served[path][method]
    left_out = [schemathesis.checks.positive_data_acceptance] if path in NOT_ALL_THERE else []

    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def answered(case: Any) -> None:
        case.call_and_validate(excluded_checks=left_out, headers=served.config.headers)

    try:
        answered()
    except Unsatisfiable:
        pytest.skip("nothing can be wrong with this operation's parameters")
