"""The production gate on a real API server: sets, rollbacks and verification, by what really runs there.

Same cluster and same notice as `test_real_cluster.py`. Staging is not watched, so that what cannot run may be promoted
from there. Who may approve, and what voids an approval, need no cluster: see `test_gate_*.py`.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from bot.sandbox.cluster import Cluster, for_users
from bot.sandbox.infra_example import create_files
from bot.sandbox.server import Server
from bot.sandbox.slack_model import DEVELOPER
from bot.sandbox.world import FAST, Sandbox
from commands.reasons import ReasonCode
from storage.models import Deployment, Kind
from storage.phases import Phase, Stage
from storage.unit_of_work import BOT
from tests.e2e.gate_rig import REVIEWED, Company, GateRig
from tests.e2e.real_cluster_rig import Api, Json, account, disposable, documented_rules, older

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SOAK_SECONDS = 12
SET = ("checkout-api", "my-application", "web")
APPS = {
    "production": SET,
    "deadline": ("billing",),
    "soak": ("search", "mail"),
    "health": ("login",),
    "auto": ("cart", "stock"),
}
"""Reviewed environment -> the apps that run there."""


@dataclass
class Pages:
    """The apps' own addresses, as far as they are asked for: path -> status, 200 where none is named."""

    statuses: dict[str, int]
    asked: list[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        self.asked.append(path)
        await PlainTextResponse("", self.statuses.get(path, 200))(scope, receive, send)


@dataclass(frozen=True)
class Town:
    """The program, the cluster it looks at, and the namespaces of its environments."""

    rig: GateRig
    api: Api
    namespaces: Mapping[str, str]
    pages: Pages

    def image(self, app: str, environment: str) -> str:
        """The tag that the cluster was told to run."""
        return self.api.image(self.namespaces[environment], app).rpartition(":")[2]

    def serving(self, app: str, environment: str) -> dict[str, int]:
        """Tag -> how many ready pods run it."""
        found = self.api.serving(self.namespaces[environment], app)
        return {image.rpartition(":")[2]: count for image, count in found.items()}

    def deployment(self, app: str, environment: str) -> Json:
        """The Deployment as it stands."""
        return self.api.deployment(self.namespaces[environment], app)

    def promote(self, environment: str, versions: Mapping[str, str]) -> Mapping[str, Deployment]:
        """Put these versions (app -> version) into staging, promote them together and approve; the rows by app."""
        for app, version in versions.items():
            self.rig.put(app, version)
        first = self.rig.promote(f"{','.join(versions)} staging {environment}", "--reason weekly release")
        self.rig.approve(first)
        return {row.app: row for row in self.rig.members(first)}

    def live(self, environment: str, versions: Mapping[str, str]) -> Mapping[str, Deployment]:
        """The same, and every one of them goes live."""
        rows = self.promote(environment, versions)
        for row in rows.values():
            self.rig.over(row, Phase.SUCCEEDED, ReasonCode.LIVE)
        return rows


def _settings(namespaces: Mapping[str, str], pages: str) -> Mapping[str, str]:
    """The environments of the catalogue, name -> settings."""
    more = {
        "soak": f", verify: {{soak: {SOAK_SECONDS}s}}",
        "health": f", verify: {{url: '{pages}/{{app}}/healthz', timeout: 6s}}",
        "auto": ", on_failure: rollback",
    }
    return {
        name: f"{REVIEWED}, namespace: {namespaces[name]}, context: reader{more.get(name, '')}" for name in namespaces
    }


def _files(company: Company, namespaces: Mapping[str, str]) -> Mapping[str, str]:
    """Its tree, for these namespaces and servers back to 1.20; one app's controller gives up after four seconds."""
    files = dict(company.tree())
    for path, text in files.items():
        mine = re.sub(r"(?<=namespace: )(\S+)", lambda found: namespaces.get(found[0], found[0]), text)
        if path.startswith("apps/billing/"):
            mine = mine.replace("progressDeadlineSeconds: 300", "progressDeadlineSeconds: 4")
        files[path] = older(mine) if path.startswith("apps/") else text
    return files


class _NoRegistry(Sandbox):
    """Without a registry, whose digests would hide the tags from whoever plays the kubelets."""

    def connect_registry(self) -> None:
        """None is named."""


@contextmanager
def _namespaces(cluster: Cluster) -> Iterator[tuple[Api, Mapping[str, str], str]]:
    """A namespace for every environment, taken away again, and the token of a service account that may read them."""
    prefix = f"locktender-gate-{uuid.uuid4().hex[:8]}"
    names = {name: f"{prefix}-{name}" for name in APPS}
    with ExitStack() as stack:
        api = Api(cluster.admin)
        stack.callback(api.close)
        for name in names.values():
            api("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).raise_for_status()
            stack.callback(api, "DELETE", f"/api/v1/namespaces/{name}")
        home, *elsewhere = names.values()
        yield api, names, account(api, "reader", documented_rules(), home, elsewhere)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The program on the cluster, with 1.4.0 of every app applied."""
    folder, pages = tmp_path_factory.mktemp("cluster"), Pages({}, [])
    given = disposable(folder)
    with _namespaces(given) as (api, names, token), Server(pages) as served:
        cluster = for_users(given, {"reader": token}, folder / "kubeconfig")
        apps = {app: ["staging", name] for name, apps in APPS.items() for app in apps}
        company = Company(_settings(names, served.url), apps)
        files = _files(company, names)
        home = tmp_path_factory.mktemp("sandbox")

        def create(bare: Path) -> None:
            create_files(bare, files)

        with _NoRegistry(home, speed=FAST, create=create, applied=(), cluster=cluster) as sandbox:
            for name in APPS:
                sandbox.apply("main", name, manager="setup")
            with sandbox.program() as program:
                rig = GateRig(sandbox, program)
                try:
                    yield Town(rig, api, names, pages)
                finally:
                    rig.close()


# ---------------------------------------------------------------- a set, one of which fails


@pytest.fixture(scope="module")
def half_live(town: Town) -> Mapping[str, Deployment]:
    """Three apps that went live together, and then together to versions of which one cannot be pulled."""
    town.live("production", dict.fromkeys(SET, "1.4.1"))
    rows = town.promote("production", {"checkout-api": "2.0.0", "my-application": "2.0.0-pull", "web": "2.0.0"})
    for row in rows.values():
        town.rig.ended(row)
    return rows


def test_of_a_set_the_one_that_fails_is_named_and_the_others_go_live(
    town: Town, half_live: Mapping[str, Deployment]
) -> None:
    rows = {app: town.rig.row(row) for app, row in half_live.items()}
    assert {app: (row.phase, row.reason_code) for app, row in rows.items()} == {
        "checkout-api": (Phase.SUCCEEDED, ReasonCode.LIVE),
        "my-application": (Phase.FAILED, ReasonCode.IMAGE_PULL),
        "web": (Phase.SUCCEEDED, ReasonCode.LIVE),
    }
    assert town.serving("checkout-api", "production") == {"2.0.0": 1}
    assert town.serving("web", "production") == {"2.0.0": 1}
    assert town.serving("my-application", "production") == {"1.4.1": 1}, "the old version goes on serving"


def test_the_sets_card_counts_them_and_says_what_to_do_about_the_one(
    town: Town, half_live: Mapping[str, Deployment]
) -> None:
    failed = town.rig.row(half_live["my-application"])
    card = town.rig.card(failed)
    assert card.text.startswith("❌ 3 apps · production · 2 live, 1 failed")
    lines = [line.strip() for block in card.blocks for line in block.get("text", {}).get("text", "").splitlines()]
    (at,) = [number for number, line in enumerate(lines) if "*my-application*" in line]
    assert "✅ *checkout-api* 1.4.1 → 2.0.0 · live" in lines
    assert "✅ *web* 1.4.1 → 2.0.0 · live" in lines
    assert lines[at] == "❌ *my-application* 1.4.1 → 2.0.0-pull · failed"
    assert "cannot pull registry.company.com/my-application:2.0.0-pull" in lines[at + 1]
    assert "`/rollback my-application production --reason …` goes back." in lines[at + 2]
    assert failed.commit_sha[:7] in lines[at + 2]
    assert not card.buttons
    for line in lines[at : at + 3]:
        assert line in card.text, "who hears the card hears all of it"
    said = town.rig.versions(failed)
    assert any("1 on its way, 2 live" in text for text in said), said


def test_the_set_was_one_pull_request_one_approval_one_merge_and_one_card(
    town: Town, half_live: Mapping[str, Deployment]
) -> None:
    rows = [town.rig.row(row) for row in half_live.values()]
    first = rows[0]
    assert len({row.change_id for row in rows}) == 1
    assert len({row.commit_sha for row in rows}) == 1
    assert len(town.rig.merges(first)) == 1
    assert len(town.rig.approvals(first)) == 1
    assert [len(town.rig.commits(row)) for row in rows] == [1, 1, 1]
    assert [len(town.rig.builds(row)) for row in rows] == [1, 1, 1]
    failed = half_live["my-application"]
    (told,) = [text for text in town.rig.replies(town.rig.card(first)) if "cannot pull" in text]
    assert told.startswith(f"<@{failed.requested_by}> `my-application`: "), "whoever asked is told, once"


def test_the_failed_one_of_a_set_goes_back_through_the_gate_and_is_held(
    town: Town, half_live: Mapping[str, Deployment]
) -> None:
    failed = town.rig.row(half_live["my-application"])
    back = town.rig.roll_back("my-application production", "the image is not there")
    assert (back.kind, back.version, back.card_id) == (Kind.ROLLBACK, "1.4.1", "")
    card = town.rig.shown(back)
    assert town.image("my-application", "production") == "2.0.0-pull", "nothing moves before somebody approved"
    assert "2.0.0-pull → 1.4.1" in card.text
    town.rig.approve(back)
    row = town.rig.live(back)
    assert row.reason_code == ReasonCode.LIVE
    assert row.commit_sha != failed.commit_sha
    assert town.serving("my-application", "production") == {"1.4.1": 1}
    (hold,) = town.rig.holds(row)
    assert (hold.kind, hold.app, hold.deployment_id) == ("hold", "my-application", row.id)

    assert town.serving("checkout-api", "production") == {"2.0.0": 1}, "the others stay where they are"
    assert town.serving("web", "production") == {"2.0.0": 1}
    assert town.rig.row(half_live["web"]).phase == Phase.SUCCEEDED
    assert '"2.0.0"' in town.rig.image("web", "production")
    again = town.rig.card(failed)
    assert again.text.startswith("❌ 3 apps · production · 2 live, 1 failed"), "a card tells what its request came to"


def test_what_is_held_keeps_its_whole_set_waiting_until_somebody_lifts_it(
    town: Town, half_live: Mapping[str, Deployment]
) -> None:
    assert half_live
    versions = {"my-application": "2.0.1", "web": "2.0.1"}
    rows = town.promote("production", versions)
    town.rig.said(rows["web"], "held", "/deploy unlock my-application production")
    assert {town.rig.row(row).phase for row in rows.values()} <= {Phase.QUEUED, Phase.AWAITING_APPROVAL}
    assert town.image("web", "production") == "2.0.0"
    assert "🚫" not in town.rig.type("unlock my-application production").text
    for row in rows.values():
        town.rig.over(row, Phase.SUCCEEDED, ReasonCode.LIVE)
    assert town.rig.card(rows["web"]).text.startswith("✅ 2 apps · production · live")
    assert {app: town.serving(app, "production") for app in versions} == {app: {"2.0.1": 1} for app in versions}


# ---------------------------------------------------------------- straight back, past an old condition


def test_a_rollback_goes_live_past_the_deadline_that_its_predecessor_missed(town: Town) -> None:
    town.live("deadline", {"billing": "1.4.1"})
    failed = town.promote("deadline", {"billing": "2.0.0-crash"})["billing"]
    card = town.rig.failed(failed, ReasonCode.CRASH_LOOP, "keeps crashing", "roll back")
    assert _gave_up(town.deployment("billing", "deadline"))
    assert [button.text for button in card.buttons] == ["Roll back"]

    before = town.deployment("billing", "deadline")["metadata"]
    result = town.rig.form(DEVELOPER, failed, "Roll back", "it crashes")
    assert not result.errors
    (back,) = [row for row in town.rig.deployments("deadline") if row.kind == Kind.ROLLBACK]
    assert (back.version, back.reason) == ("1.4.1", "it crashes")
    town.rig.approve(back)
    row = town.rig.live(back)
    assert row.reason_code == ReasonCode.LIVE
    assert town.serving("billing", "deadline") == {"1.4.1": 1}

    since = town.api.history(town.namespaces["deadline"], "billing", before["resourceVersion"])
    ours = [one for one in since if _tag(one) == "1.4.1"]
    unseen = [one for one in ours if one["status"]["observedGeneration"] < one["metadata"]["generation"]]
    assert any(_gave_up(one) for one in unseen), "the cluster did say so of the version before, and was not believed"


def _gave_up(deployment: Json) -> bool:
    conditions = {one["type"]: one for one in deployment["status"]["conditions"]}
    return str(conditions["Progressing"].get("reason")) == "ProgressDeadlineExceeded"


def _tag(deployment: Json) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"]).rpartition(":")[2]


# ---------------------------------------------------------------- after the rollout


def test_a_restart_while_it_has_to_stay_well_fails_it(town: Town) -> None:
    row = town.promote("soak", {"search": "2.0.0"})["search"]
    _soaks(town, row)
    (pod,) = town.api.pods(town.namespaces["soak"], "search")
    for _ in range(2):
        town.api.restart(pod)
    card = town.rig.failed(row, ReasonCode.RESTARTED, "Containers of `deployment/search` restarted")
    assert re.search(r"restarted (1 time|2 times) after it was live", card.text), card.text
    assert [button.text for button in card.buttons] == ["Roll back"]
    assert town.serving("search", "soak") == {"2.0.0": 1}, "it was told, not touched"


def test_what_stays_up_for_its_time_is_live_and_not_before(town: Town) -> None:
    (old,) = town.api.pods(town.namespaces["soak"], "mail")
    town.api.restart(old)  # what the version before did is not counted
    row = town.promote("soak", {"mail": "2.0.0"})["mail"]
    _soaks(town, row)
    assert town.image("mail", "soak") == "2.0.0"
    done = town.rig.live(row)
    assert done.soak_until is not None
    assert done.finished_at is not None
    assert done.finished_at >= done.soak_until


def _soaks(town: Town, row: Deployment) -> None:
    """Wait until it has to stay well, as its card says."""
    town.rig.said(row, "Well so far; it has to stay so until")
    assert town.rig.row(row).stage == Stage.VERIFY


def test_an_app_that_rolls_out_and_does_not_answer_fails_and_its_rollback_is_looked_at_too(town: Town) -> None:
    town.live("health", {"login": "1.4.1"})
    town.pages.statuses["/login/healthz"] = 503
    row = town.promote("health", {"login": "2.0.0"})["login"]
    town.rig.noted(row, "/login/healthz answered 503", "Looking again")
    failed = town.rig.failed(
        row,
        ReasonCode.VERIFICATION_FAILED,
        "2.0.0 runs in health, and is not well",
        "/login/healthz answered 503; a status from 200 to 299 was expected.",
    )
    assert [button.text for button in failed.buttons] == ["Roll back"]
    assert town.serving("login", "health") == {"2.0.0": 1}

    town.pages.statuses.clear()
    looked = len(town.pages.asked)
    back = town.rig.roll_back("login health", "it does not answer")
    assert back.version == "1.4.1", "2.0.0 ran, and was never well"
    town.rig.approve(back)
    town.rig.live(back)
    assert town.serving("login", "health") == {"1.4.1": 1}
    assert "/login/healthz" in town.pages.asked[looked:]


# ---------------------------------------------------------------- on_failure: rollback


def test_a_failure_asks_for_its_own_rollback_which_somebody_approves_and_the_others_stay(town: Town) -> None:
    town.live("auto", {"cart": "1.4.1", "stock": "1.4.1"})
    rows = town.promote("auto", {"cart": "2.0.0", "stock": "2.0.0-crash"})
    town.rig.over(rows["stock"], Phase.FAILED, ReasonCode.CRASH_LOOP)
    town.rig.over(rows["cart"], Phase.SUCCEEDED, ReasonCode.LIVE)
    (back,) = [row for row in town.rig.deployments("auto") if row.kind == Kind.ROLLBACK]
    assert (back.app, back.version, back.requested_by, back.phase) == ("stock", "1.4.1", BOT, Phase.AWAITING_APPROVAL)
    assert "stock 2.0.0-crash failed" in back.reason
    (asked,) = town.rig.audit("rollback:request", back)
    assert rows["stock"].id in asked.details

    town.rig.shown(back)
    assert town.image("stock", "auto") == "2.0.0-crash", "nobody has approved it yet"
    town.rig.approve(back)
    town.rig.live(back)
    assert town.serving("stock", "auto") == {"1.4.1": 1}
    assert town.serving("cart", "auto") == {"2.0.0": 1}
    (hold,) = town.rig.holds(back)
    assert (hold.app, hold.deployment_id) == ("stock", back.id)
    assert town.rig.card(rows["cart"]).text.startswith("❌ 2 apps · auto · 1 live, 1 failed")
