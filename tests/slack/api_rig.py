"""The real API on a real store, called as a pipeline calls it; what is asked of Slack is looked at in the outbox."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.types import ASGIApp

from bot.web import app as web
from bot.web.api import create
from bot.web.api_auth import Limits
from bot.web.api_parts import Parts
from bot.web.api_views import Places
from bot.web.limits import Buckets
from commands import tokens
from commands.facts import Facts
from storage.unit_of_work import Store
from tests.desk_rig import APP, facts

RECORD = {
    "timestamp": "2026-01-15T10:30:00Z",
    "environment": "production",
    "gitCommit": "e83c5163316f89bfbde7d9ab23ca2e25604af290",
    "gitBranch": "main",
    "deployer": "jenkins",
    "buildUrl": "https://jenkins.example.com/job/infra-deploy/412/",
    "approvalNote": "approved by Robin in CHG-1042",
    "status": "SUCCESS",
}
IMAGE = {"image": "registry.company.com/my-application", "tag": "1.4.2"}
DEPLOY = {"app": APP, "version": "1.4.2", "environment": "staging", "reason": "nightly"}


def generous() -> Limits:
    """Limits that no test meets unless it wants to."""
    return Limits(*(Buckets(1e9, 10**9) for _ in range(4)))


@dataclass
class Api:
    """What a test holds. `knows` may be changed between requests."""

    store: Store
    client: httpx.AsyncClient
    app: ASGIApp
    knows: Facts = field(default_factory=lambda: facts(images={}))
    poked: int = 0

    def token(self, *scopes: str, name: str = "ci") -> str:
        """A new token."""
        return tokens.create(self.store, "cli:test", name, scopes).token

    async def post(self, path: str, body: object, token: str, **headers: str) -> httpx.Response:
        """POST as JSON; header names with underscores."""
        content = body if isinstance(body, bytes) else json.dumps(body)
        sent = {"Authorization": f"Bearer {token}"} | {key.replace("_", "-"): one for key, one in headers.items()}
        return await self.client.post(f"/api/v1/{path}", content=content, headers=sent)

    async def get(self, path: str, token: str, **query: Any) -> httpx.Response:
        """GET."""
        return await self.client.get(f"/api/v1/{path}", params=query, headers={"Authorization": f"Bearer {token}"})


def serve(store: Store, limits: Limits | None = None) -> Api:
    """The whole web application with the API in it, reached without a socket."""
    holder: list[Api] = []

    def poke() -> None:
        holder[0].poked += 1

    places = Places(lambda sha: f"https://github.com/company/infra/commit/{sha}", "https://locktender.example.com")
    parts = Parts(store, lambda: holder[0].knows, poke, places, limits or generous())
    app = web.create(None, "", list, api=create(parts))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bot")
    holder.append(Api(store, client, app))
    return holder[0]


def without(body: Mapping[str, object], *names: str) -> dict[str, object]:
    """The same, less some fields."""
    return {key: value for key, value in body.items() if key not in names}
