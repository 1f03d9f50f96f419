"""Health, readiness and metrics, as a probe and a scraper see them. Left out: Slack's endpoint (tests/slack)."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from bot.metrics import STEP_SECONDS, StoreCollector
from bot.slack.listeners import ACK_SECONDS
from bot.web.app import create
from storage.database import Database, sqlite_url, upgrade
from storage.models import Deployment, Target
from storage.phases import Phase
from storage.unit_of_work import Note, Store

SCRAPER = "0123456789abcdef0123"


@pytest.fixture
def troubles() -> list[str]:
    return []


@pytest.fixture
async def probe(troubles: list[str]) -> AsyncIterator[httpx.AsyncClient]:
    app = create(None, "", lambda: list(troubles))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bot") as client:
        yield client


async def test_it_is_alive_whatever_is_wrong_with_the_world(probe: httpx.AsyncClient, troubles: list[str]) -> None:
    troubles.append("Slack is not connected: no route.")
    assert (await probe.get("/healthz")).status_code == 200


async def test_it_is_ready_when_nothing_is_wrong_and_says_what_is(
    probe: httpx.AsyncClient, troubles: list[str]
) -> None:
    answer = await probe.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "troubles": []})
    troubles += ["Slack is not connected: no route.", "The infra-repo cannot be read: no answer."]
    answer = await probe.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "troubles": troubles}
    troubles.clear()
    assert (await probe.get("/readyz")).status_code == 200


async def test_without_a_signing_secret_slack_has_no_endpoint(probe: httpx.AsyncClient) -> None:
    assert (await probe.post("/slack/events", content=b"{}")).status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/openapi.json", "/metrics/../healthz/x"])
async def test_nothing_else_is_served(probe: httpx.AsyncClient, path: str) -> None:
    assert (await probe.get(path)).status_code == 404


async def test_metrics_are_in_prometheus_own_format_and_move(probe: httpx.AsyncClient) -> None:
    def seconds(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    acks = seconds("locktender_ack_seconds_count", kind="command")
    steps = seconds("locktender_step_seconds_count", step="write")
    ACK_SECONDS.labels("command").observe(0.01)
    STEP_SECONDS.labels("write").observe(0.2)
    answer = await probe.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert f'locktender_ack_seconds_count{{kind="command"}} {acks + 1}' in answer.text
    assert f'locktender_step_seconds_count{{step="write"}} {steps + 1}' in answer.text
    assert "locktender_slack_messages_total" in answer.text


@pytest.mark.parametrize(
    ("token", "peer", "headers", "status"),
    [
        ("", "127.0.0.1", {}, 200),
        ("", "::1", {}, 200),
        ("", "127.0.0.9", {}, 200),
        ("", "10.0.0.7", {}, 403),
        ("", "testclient", {}, 403),
        ("", "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("", "127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 403),
        ("", "127.0.0.1", {"X-Real-IP": "127.0.0.1"}, 403),
        ("", "10.0.0.7", {"Authorization": "Bearer "}, 403),
        (SCRAPER, "10.0.0.7", {"Authorization": f"Bearer {SCRAPER}"}, 200),
        (SCRAPER, "127.0.0.1", {"authorization": f"bearer {SCRAPER}", "X-Forwarded-For": "10.0.0.7"}, 200),
        (SCRAPER, "127.0.0.1", {}, 401),
        (SCRAPER, "127.0.0.1", {"Authorization": f"Bearer {SCRAPER}x"}, 401),
        (SCRAPER, "127.0.0.1", {"Authorization": f"Basic {SCRAPER}"}, 401),
        (SCRAPER, "127.0.0.1", {"Authorization": "Bearer"}, 401),
    ],
)
async def test_metrics_are_for_this_machine_or_for_whoever_has_the_token(
    token: str, peer: str, headers: dict[str, str], status: int
) -> None:
    app = create(None, "", list, metrics_token=token)
    transport = httpx.ASGITransport(app, client=(peer, 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
        answer = await client.get("/metrics", headers=headers)
    assert answer.status_code == status
    assert ("locktender_ack_seconds" in answer.text) == (status == 200)
    assert status == 200 or "LOCKTENDER_METRICS_TOKEN" in answer.text
    assert SCRAPER not in answer.text


@pytest.fixture
def scraped(tmp_path: Path) -> tuple[Store, CollectorRegistry]:
    database = Database(sqlite_url(tmp_path / "metrics.db"))
    upgrade(database.engine)
    store = Store(database)
    registry = CollectorRegistry()
    registry.register(StoreCollector(store, lambda: 3))
    return store, registry


def test_deployments_and_the_outbox_are_counted_in_the_database(scraped: tuple[Store, CollectorRegistry]) -> None:
    store, registry = scraped
    before = generate_latest(registry).decode()
    assert 'locktender_deployments{phase="queued"} 0.0' in before
    assert "locktender_outbox_depth 0.0" in before
    with store.write() as uow:
        uow.add(
            Deployment(
                app="web",
                environment="staging",
                version="1.4.2",
                team_id="T1",
                requested_by="U1",
                requested_at=datetime.now(UTC),
            ),
            "C1",
        )
        uow.send(Note("one", Target.CHANNEL, {"text": "hello"}, channel="C1"))
    after = generate_latest(registry).decode()
    assert 'locktender_deployments{phase="queued"} 1.0' in after
    assert "locktender_outbox_depth 2.0" in after
    assert "locktender_running_here 3.0" in after
    for phase in Phase:
        assert f'phase="{phase}"' in after, "a phase without deployments is 0, not absent"
    store.database.close()


def test_without_a_database_the_other_metrics_are_still_told(scraped: tuple[Store, CollectorRegistry]) -> None:
    store, registry = scraped
    with store.write() as uow:
        uow.session.connection().exec_driver_sql("ALTER TABLE deployments RENAME TO away")
    told = generate_latest(registry).decode()
    assert "locktender_running_here 3.0" in told
    assert "locktender_deployments{" not in told
    store.database.close()


async def test_readiness_is_json_that_a_person_can_read(probe: httpx.AsyncClient, troubles: list[str]) -> None:
    troubles.append("Slack ist nicht verbunden: kein Weg („x“).")
    assert json.loads((await probe.get("/readyz")).content)["troubles"] == troubles
