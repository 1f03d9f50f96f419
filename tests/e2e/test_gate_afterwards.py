"""What comes after a merge, through the whole program: the debt of a change made by break-glass, health addresses, time
without a restart, and the rollback that a failure brings about.

Left to others: how a rollout is judged (`test_cluster_trouble`), and the probe itself (`test_health`).
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bot.sandbox.slack_model import DEVELOPER, ON_CALL, RELEASE_MANAGER
from commands.reasons import ReasonCode
from storage.models import ChangeState, Deployment, Kind
from storage.phases import Phase
from storage.unit_of_work import BOT
from tests.e2e.gate_rig import IN_GIT, REVIEWED, Company, GateRig, gate_rig

APP = "web"
GLASS = f"{IN_GIT}, change: pull-request, approval: {{from: [approvers]}}"


class Health:
    """The apps' health addresses: `/ENVIRONMENT` answers what `answers` says of it, 200 otherwise."""

    def __init__(self) -> None:
        self.answers: dict[str, int] = {}
        self.asked: list[str] = []
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                health.asked.append(name)
                self.send_response(health.answers.get(name, 200))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer while this is entered."""
        thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.server.shutdown()
            thread.join(timeout=5)
            self.server.server_close()


def company(port: int) -> Company:
    """Its environments ask this port for their health."""
    verify = f'verify: {{url: "http://127.0.0.1:{port}/{{environment}}", timeout: 4s}}'
    return Company(
        environments={
            "owed": f"{GLASS}, break_glass: {{from: [on-call], review_within: 2s}}",
            "glass": f"{GLASS}, break_glass: {{from: [on-call], review_within: 24h}}",
            "glazed": GLASS,
            "sick": verify,
            "slow": verify,
            "soaked": "verify: {soak: 10s}",
            "calm": f"{IN_GIT}, verify: {{soak: 2s}}",
            "mends": "on_failure: rollback",
            "mends-eu": f"on_failure: rollback, {REVIEWED}",
            "leaves": "on_failure: none",
        },
        apps={APP: ["owed", "glass", "glazed", "sick", "slow", "soaked", "calm", "mends", "mends-eu", "leaves"]},
    )


@pytest.fixture(scope="module")
def health() -> Iterator[Health]:
    made = Health()
    with made.serving():
        yield made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, health: Health) -> Iterator[GateRig]:
    with gate_rig(tmp_path_factory.mktemp("afterwards"), company(health.server.server_address[1])) as made:
        yield made


# ---------------------------------------------------------------- break-glass


def test_a_debt_that_nobody_pays_is_told_of_again(world: GateRig) -> None:
    """The first of its two halves; the other one is at the end of this file, when the day's reminder has come."""
    row = world.live(world.ask(f"{APP} 1.4.2 owed --break-glass --reason the shop is down", user=ON_CALL))
    assert world.change(row).review_due is not None


def test_breaking_the_glass_merges_at_once_and_everybody_is_told(world: GateRig) -> None:
    row = world.ask(f"{APP} 1.4.2 glass --break-glass --reason the shop is down", user=ON_CALL)
    done = world.live(row)
    assert done.break_glass
    assert not world.approvals(row)
    assert world.status(row) == ("success", "Break-glass: to be reviewed afterwards")
    assert world.pull(row).title.startswith("[break-glass] ")
    trailers = world.merged_with(row)
    assert "Break-glass: " in trailers
    assert "Approved-by" not in trailers
    (told,) = [text for text in world.notices() if "broke the glass in `glass`" in text]
    for words in (f"<@{ON_CALL.id}>", "the shop is down", world.change(row).pr_url, f"/deploy review {row.id}"):
        assert words in told, told
    card = world.card(row)
    assert "A second person has to look at it by" in card.text
    assert "Reviewed" in [one.text for one in card.buttons]
    assert "Approve" not in [one.text for text in world.slack.versions(card) for one in text.buttons]
    assert json.loads(world.audit("deployment:request", row)[0].details)["break_glass"] is True


def test_another_person_pays_the_debt_and_whoever_made_it_cannot(world: GateRig) -> None:
    (row,) = world.rows_of("glass")
    assert "somebody else has to approve" in world.type(f"review {row.id}", user=ON_CALL).text
    world.buttons(row, "Reviewed")
    assert "somebody else has to approve" in world.click(ON_CALL, row, "Reviewed")
    assert "may not approve this" in world.click(DEVELOPER, row, "Reviewed")
    assert world.change(row).reviewed_at is None
    answer = world.type(f"review {row.id} --reason I read it all", user=RELEASE_MANAGER).text
    assert "the debt is closed" in answer
    world.said(row, f"Reviewed by <@{RELEASE_MANAGER.id}>")
    world.thread(row, f"<@{RELEASE_MANAGER.id}> reviewed this break-glass change", "I read it all")
    world.until(lambda: not world.labels(row))
    assert "has reviewed it already" in world.type(f"review {row.id}", user=RELEASE_MANAGER).text
    (entry,) = [one for one in world.audit("change:review") if one.deployment_id == row.id]
    assert (entry.actor, json.loads(entry.details)["late"]) == (RELEASE_MANAGER.id, False)


def test_only_who_is_named_breaks_the_glass_and_only_with_a_reason(world: GateRig) -> None:
    world.turned_down(f"{APP} 1.4.3 glass --break-glass --reason x", "takes a member of `on-call`")
    world.turned_down(f"{APP} 1.4.3 glazed --break-glass --reason x", "names nobody", user=ON_CALL)
    before = len(world.deployments())
    assert "reason" in world.type(f"{APP} 1.4.3 glass --break-glass", user=ON_CALL).text
    assert len(world.deployments()) == before


def test_the_glass_breaks_through_a_lock_but_not_through_git(world: GateRig) -> None:
    world.type("lock glass --reason an incident", user=RELEASE_MANAGER)
    try:
        row = world.live(world.ask(f"{APP} 1.4.3 glass --break-glass --reason the lock is in the way", user=ON_CALL))
    finally:
        world.type("unlock glass", user=RELEASE_MANAGER)
    (merge,) = world.merges(row)
    assert row.commit_sha == merge


# ---------------------------------------------------------------- verification


def test_an_app_that_is_not_well_has_failed_although_it_runs(world: GateRig, health: Health) -> None:
    health.answers["sick"] = 503
    row = world.ask(f"{APP} 1.4.2 sick")
    card = world.failed(row, ReasonCode.VERIFICATION_FAILED, "1.4.2 runs in sick, and is not well.", "503")
    assert "Roll back" in [one.text for one in card.buttons]
    assert world.runs(APP, "sick").startswith(f"registry.company.com/{APP}:1.4.2@")
    assert "sick" in health.asked


def test_it_is_asked_again_until_it_has_had_its_time(world: GateRig, health: Health) -> None:
    health.answers["slow"] = 503
    row = world.ask(f"{APP} 1.4.2 slow")
    world.until(lambda: "slow" in health.asked)
    health.answers["slow"] = 204
    done = world.live(row)
    assert [one.action for one in world.audit("deployment:healthy", done)] == ["deployment:healthy"]


def test_a_restart_while_it_has_to_stay_well_fails_it(world: GateRig) -> None:
    row = world.ask(f"{APP} 1.4.2 soaked")
    world.until(lambda: world.row(row).soak_until is not None)
    world.thread(row, "It has to stay so for 10 seconds")
    world.sandbox.kubernetes.restart("soaked", APP)
    card = world.failed(row, ReasonCode.RESTARTED, "restarted 1 time after it was live", "roll back")
    assert "Roll back" in [one.text for one in card.buttons]


def test_without_a_restart_it_is_live_when_its_time_is_over(world: GateRig) -> None:
    row = world.live(world.ask(f"{APP} 1.4.2 calm"))
    assert row.finished_at is not None
    assert row.soak_until is not None
    assert row.finished_at >= row.soak_until


# ---------------------------------------------------------------- on_failure


def _rollback_of(world: GateRig, environment: str) -> Deployment:
    def found() -> list[Deployment]:
        return [one for one in world.rows_of(environment) if one.kind == Kind.ROLLBACK]

    world.until(found)
    (row,) = found()
    return row


def test_where_the_catalogue_says_so_a_failure_brings_the_last_good_version_back(world: GateRig) -> None:
    good = world.put(APP, "1.4.2", "mends")
    bad = world.ask(f"{APP} 1.4.3-crash mends")
    assert world.ended(bad).phase == Phase.FAILED
    row = _rollback_of(world, "mends")
    done = world.live(row)
    assert (done.requested_by, done.version, done.restores) == (BOT, "1.4.2", good.id)
    assert f"{APP} 1.4.3-crash failed" in done.reason
    assert world.runs(APP, "mends") == f"registry.company.com/{APP}:1.4.2@{good.digest}"
    (hold,) = world.holds(done)
    assert hold.deployment_id == done.id
    assert json.loads(world.audit("rollback:request", done)[0].details)["after"] == bad.id


def test_in_production_that_rollback_waits_for_an_approval_like_every_other(world: GateRig) -> None:
    good = world.ask(f"{APP} 1.4.2 mends-eu")
    world.approve(good)
    good = world.live(good)
    bad = world.ask(f"{APP} 1.4.3-crash mends-eu")
    world.approve(bad)
    assert world.ended(bad).phase == Phase.FAILED
    row = _rollback_of(world, "mends-eu")
    world.shown(row)
    assert world.change(row).state == ChangeState.OPEN
    world.approve(row)
    done = world.live(row)
    assert (done.requested_by, done.version, done.restores) == (BOT, "1.4.2", good.id)
    assert world.runs(APP, "mends-eu") == f"registry.company.com/{APP}:1.4.2@{good.digest}"
    assert f"Approved-by: {RELEASE_MANAGER.id}" in world.merged_with(done)


def test_where_the_catalogue_wants_neither_nothing_is_offered(world: GateRig) -> None:
    world.put(APP, "1.4.2", "leaves")
    bad = world.ask(f"{APP} 1.4.3-crash leaves")
    assert world.ended(bad).phase == Phase.FAILED
    assert not world.labels(bad)
    assert [one.kind for one in world.rows_of("leaves")] == [Kind.DEPLOY, Kind.DEPLOY]


# ---------------------------------------------------------------- the debt again


def test_the_reminder_names_the_change_and_what_to_do(world: GateRig) -> None:
    (row,) = world.rows_of("owed")
    world.until(lambda: any(f"`{row.id}` in `owed` is overdue" in text for text in world.notices()), 150)
    (told,) = [text for text in world.notices() if f"`{row.id}` in `owed`" in text]
    assert f"`/deploy review {row.id}`" in told
    assert [one.deployment_id for one in world.audit("change:debt")] == [row.id]
    late = world.type(f"review {row.id}", user=RELEASE_MANAGER).text
    assert "the debt is closed" in late
    (entry,) = [one for one in world.audit("change:review") if one.deployment_id == row.id]
    assert json.loads(entry.details)["late"] is True
