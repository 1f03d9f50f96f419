"""The whole program on a real API server: from the command to the card, with builds that really apply.

Runs on the disposable cluster of KUBECONFIG, whose current context must be its administrator by bearer token; skipped
with a notice otherwise. The program reads with a service account that has the rights of docs/install.md and no other.
Left out: logs of containers, which take a kubelet, what the adapter alone does (`tests/contract/test_cluster_real.py`),
and what is reviewed (`test_real_cluster_gate.py`).
"""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.cluster import Cluster, for_users
from bot.sandbox.infra_example import example_files
from bot.sandbox.kubernetes_apply import Conflicts, apply_manifests
from bot.sandbox.world import FAST, IMAGE, Sandbox
from commands.ports import RolloutState
from commands.reasons import ReasonCode
from storage.models import Deployment
from tests.e2e.real_cluster_rig import MERGE_PATCH, Api, account, disposable, documented_rules, older
from tests.e2e.rig import APP, Rig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

PATIENCE = 90.0
MISSING = {"qa": "deployments", "uat": "replicasets", "pre": "pods"}
"""Environments whose context may do all that the documentation grants, but for this."""


@dataclass(frozen=True)
class Place:
    """Two namespaces of our own: what the program may read as documented, and where something is missing."""

    cluster: Cluster
    namespace: str
    fenced: str
    tokens: Mapping[str, str] = field(repr=False)


def without(rules: list[dict[str, Any]], resource: str) -> list[dict[str, Any]]:
    """The same rules but for one resource."""
    return [{**rule, "resources": [one for one in rule["resources"] if one != resource]} for rule in rules]


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """Make the namespaces and the service accounts, and take them away again."""
    given = disposable(folder)
    name = f"locktender-test-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        api = Api(given.admin)
        stack.callback(api.close)
        for namespace in (name, f"{name}-fenced"):
            api("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}).raise_for_status()
            stack.callback(api, "DELETE", f"/api/v1/namespaces/{namespace}")
        rules = documented_rules()
        tokens = {"reader": account(api, "reader", rules, name)}
        tokens |= {
            f"no-{missing}": account(api, f"no-{missing}", without(rules, missing), f"{name}-fenced")
            for missing in MISSING.values()
        }
        yield Place(for_users(given, tokens, folder / "kubeconfig"), name, f"{name}-fenced", tokens)


def files(where: Place) -> Iterator[tuple[str, str]]:
    """The example's files for these namespaces, as servers back to 1.20 take them."""
    lines = [f"  {name}: {{namespace: {where.fenced}, context: no-{missing}}}" for name, missing in MISSING.items()]
    staging = f"  staging: {{namespace: {where.namespace}, context: reader}}"
    for path, text in example_files().items():
        if path == "locktender.yaml":
            yield path, text.replace("  staging: {}", "\n".join([staging, *lines]))
        elif path.startswith("base/"):
            yield path, older(text)
        elif path.startswith("environments/staging/"):
            yield path, older(text.replace("namespace: staging", f"namespace: {where.namespace}"))
            for name in MISSING:
                copy = text.replace("namespace: staging", f"namespace: {where.fenced}")
                yield path.replace("/staging/", f"/{name}/"), older(copy)


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def api(where: Place) -> Iterator[Api]:
    made = Api(where.cluster.admin)
    yield made
    made.close()


@pytest.fixture(scope="module")
def rig(where: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The program on the cluster, with 1.4.0 running everywhere."""
    home = tmp_path_factory.mktemp("sandbox")
    with Sandbox(home, speed=FAST, applied=(), cluster=where.cluster) as sandbox:
        for path, text in files(where):  # the catalogue too: without a registry, whose digests would hide the tags
            sandbox.commit(path, text, f"Move {path}")
        for environment in ("staging", "qa"):
            sandbox.apply("main", environment, manager="setup")
        with sandbox.program() as program:
            made = Rig(sandbox, program)
            try:
                yield made
            finally:
                made.close()


def look(rig: Rig, deployment: Deployment) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rig.row(deployment).rollout or "{}")
    return found


def test_a_deploy_goes_live_and_the_cluster_runs_it(rig: Rig, api: Api, where: Place) -> None:
    row = rig.live(rig.deploy("1.4.2", "staging"))
    assert row.reason_code == ReasonCode.LIVE
    assert (row.namespace, row.context) == (where.namespace, "reader")
    assert rig.commits(row) == [row.commit_sha]
    assert api.image(where.namespace, APP) == f"{IMAGE}:1.4.2"
    status = api.deployment(where.namespace, APP)["status"]
    assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (2, 2, 2)
    assert "2/2 updated, 2 available" in rig.card(row).text


def test_a_tag_that_never_becomes_ready_ends_failed_with_image_pull_back_off_named(rig: Rig, where: Place) -> None:
    row = rig.deploy("1.4.3-pull", "staging")
    card = rig.failed(row, ReasonCode.IMAGE_PULL, "ImagePullBackOff", f"{IMAGE}:1.4.3-pull", APP)
    assert any("ImagePullBackOff" in str(block) for block in card.blocks)
    assert look(rig, row)["available"] == 2, "the old version goes on serving"
    assert where.namespace == rig.row(row).namespace


def test_a_version_that_crashes_is_named_on_the_card(rig: Rig) -> None:
    row = rig.deploy("1.4.3-crash", "staging")
    rig.failed(row, ReasonCode.CRASH_LOOP, f"Container {APP} of pod {APP}-", "keeps crashing")


def test_a_slow_rollout_is_watched_to_its_end(rig: Rig, api: Api, where: Place) -> None:
    started = time.monotonic()
    deployment = rig.deploy("1.4.3-slow", "staging")
    row = rig.live(deployment)
    assert time.monotonic() - started > 8, "pods of this tag take eight seconds each"
    assert api.image(where.namespace, APP) == f"{IMAGE}:1.4.3-slow"
    assert any("1/2 updated" in text for text in rig.versions(row)), rig.versions(row)
    assert "2/2 updated, 2 available" in rig.card(row).text


def test_a_rollout_that_somebody_replaces_halfway_is_said_so(rig: Rig, api: Api, where: Place) -> None:
    row = rig.deploy("1.4.4-slow", "staging")
    rig.until(lambda: look(rig, row).get("state") == RolloutState.PROGRESSING, PATIENCE)
    said = rig.sandbox.render("main", "staging").replace("1.4.4-slow", "1.3.9")
    apply_manifests(where.cluster.admin, said, "kubectl-laptop", conflicts=Conflicts.TAKE_OVER)
    rig.failed(row, ReasonCode.ROLLOUT_REPLACED, f"{IMAGE}:1.3.9", "kubectl-laptop", "During the rollout")
    assert api.image(where.namespace, APP) == f"{IMAGE}:1.3.9"


def test_the_documented_rights_are_all_it_has(where: Place, rig: Rig) -> None:
    """Everything above was read by this account; here is what it may not."""
    assert rig.sandbox.environment()["KUBECONFIG"] == str(where.cluster.kubeconfig)
    reader = Api(where.cluster.admin, where.tokens["reader"])
    try:
        deployments = f"/apis/apps/v1/namespaces/{where.namespace}/deployments"
        assert reader("GET", deployments).status_code == 200
        patch = reader("PATCH", f"{deployments}/{APP}", {"spec": {"replicas": 3}}, MERGE_PATCH)
        assert patch.status_code == 403
        assert reader("DELETE", f"{deployments}/{APP}").status_code == 403
        assert reader("GET", f"/api/v1/namespaces/{where.namespace}/secrets").status_code == 403
        assert reader("GET", f"/apis/apps/v1/namespaces/{where.fenced}/deployments").status_code == 403
    finally:
        reader.close()


@pytest.mark.parametrize(("environment", "missing"), MISSING.items())
def test_a_missing_right_is_named_with_what_to_grant(
    rig: Rig, api: Api, where: Place, environment: str, missing: str
) -> None:
    version = f"1.5.{len(missing)}-slow"
    row = rig.ended(rig.deploy(version, environment))
    assert row.reason_code == ReasonCode.CLUSTER_CREDENTIALS
    rig.told(rig.card(row).text, f"may not list {missing}", where.fenced, f"no-{missing}", f"Grant `list {missing}`")
    assert api.image(where.fenced, APP) == f"{IMAGE}:{version}", "the pipeline has other rights than the bot"
