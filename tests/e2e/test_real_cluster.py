"""The whole program on a real API server: from the command to the card, with builds that really apply.

Runs on the disposable cluster of KUBECONFIG, whose current context must be its administrator by bearer token; skipped
with a notice otherwise. Where no kubelet runs real images, something has to play the kubelets by tag: `crash` in it
gives CrashLoopBackOff, `pull` ImagePullBackOff, `slow` takes seconds. The program reads with a service account that has
the rights of docs/install.md and no other. Left out: logs of containers, which take a kubelet, and what the adapter
alone does (`tests/contract/test_cluster_real.py`).
"""

import json
import os
import re
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bot.sandbox.cluster import Cluster, NoTokenError, for_users, of_kubeconfig
from bot.sandbox.infra_example import example_files
from bot.sandbox.kubernetes_apply import ApiServer, Conflicts, apply_manifests
from bot.sandbox.world import FAST, IMAGE, Sandbox
from commands.ports import RolloutState
from commands.reasons import ReasonCode
from storage.models import Deployment
from tests.e2e.rig import APP, Rig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
MISSING = {"qa": "deployments", "uat": "replicasets", "pre": "pods"}
"""Environments whose context may do all that the documentation grants, but for this."""


class Api:
    """Plain requests to the API server, as its administrator or as somebody else."""

    def __init__(self, server: ApiServer, token: str = "") -> None:
        tls = server.url.startswith("https")
        self._client = httpx.Client(
            base_url=server.url,
            headers={"Authorization": f"Bearer {token or server.token}"},
            verify=ssl.create_default_context(cafile=server.ca_file or None) if tls else False,
            trust_env=False,
        )

    def __call__(self, method: str, path: str, body: Any = None, content: str = "application/json") -> httpx.Response:
        """One request with a JSON body."""
        data = None if body is None else json.dumps(body)
        return self._client.request(method, path, content=data, headers={"Content-Type": content})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@dataclass(frozen=True)
class Place:
    """Two namespaces of our own: what the program may read as documented, and where something is missing."""

    cluster: Cluster
    namespace: str
    fenced: str
    tokens: Mapping[str, str] = field(repr=False)


def documented_rules() -> list[dict[str, Any]]:
    """The rules of the ClusterRole in docs/install.md."""
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "kind: ClusterRole" in one]
    return list(yaml.safe_load(block)["rules"])


def without(rules: list[dict[str, Any]], resource: str) -> list[dict[str, Any]]:
    """The same rules but for one resource."""
    return [{**rule, "resources": [one for one in rule["resources"] if one != resource]} for rule in rules]


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """Make the namespaces and the service accounts, and take them away again."""
    path = os.environ.get("KUBECONFIG", "")
    if not path or not Path(path).exists():
        pytest.skip("KUBECONFIG names no disposable cluster")
    try:
        given = of_kubeconfig(Path(path), folder)
    except NoTokenError as reason:
        pytest.skip(f"{reason}, which these tests apply with")
    name = f"locktender-test-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        api = Api(given.admin)
        stack.callback(api.close)
        for namespace in (name, f"{name}-fenced"):
            api("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}).raise_for_status()
            stack.callback(api, "DELETE", f"/api/v1/namespaces/{namespace}")
        rules = documented_rules()
        tokens = {"reader": _account(api, name, "reader", rules)}
        tokens |= {
            f"no-{missing}": _account(api, f"{name}-fenced", f"no-{missing}", without(rules, missing))
            for missing in MISSING.values()
        }
        yield Place(for_users(given, tokens, folder / "kubeconfig"), name, f"{name}-fenced", tokens)


def _account(api: Api, namespace: str, name: str, rules: list[dict[str, Any]]) -> str:
    """A service account with these rights in its namespace; its token."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    for path, body in (
        (accounts, {}),
        (f"{rbac}/roles", {"rules": [rule for rule in rules if rule["resources"]]}),
        (f"{rbac}/rolebindings", {"roleRef": role, "subjects": [subject]}),
    ):
        api("POST", path, {"metadata": {"name": name}, **body}).raise_for_status()
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = api("POST", f"{accounts}/{name}/token", asked)
    answer.raise_for_status()
    return str(answer.json()["status"]["token"])


def files(where: Place) -> Iterator[tuple[str, str]]:
    """The example's files for these namespaces, as servers back to 1.20 take them."""
    lines = [f"  {name}: {{namespace: {where.fenced}, context: no-{missing}}}" for name, missing in MISSING.items()]
    staging = f"  staging: {{namespace: {where.namespace}, context: reader}}"
    for path, text in example_files().items():
        if path == "locktender.yaml":
            yield path, text.replace("  staging: {}", "\n".join([staging, *lines]))
        elif path.startswith("base/"):
            yield path, _older(text)
        elif path.startswith("environments/staging/"):
            yield path, _older(text.replace("namespace: staging", f"namespace: {where.namespace}"))
            for name in MISSING:
                copy = text.replace("namespace: staging", f"namespace: {where.fenced}")
                yield path.replace("/staging/", f"/{name}/"), _older(copy)


def _older(text: str) -> str:
    """Autoscalers of the version before, and ports that name the protocol, a key that old servers do not default."""
    text = re.sub(r"( +)(- |  )(containerPort: 8080|targetPort: http)\n", r"\1\2\3\n\1  protocol: TCP\n", text)
    text = re.sub(r"  metrics:\n(    .*\n)+", "  targetCPUUtilizationPercentage: 75\n", text)
    return text.replace("autoscaling/v2", "autoscaling/v1")


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


def workload(api: Api, namespace: str) -> dict[str, Any]:
    answer = api("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/{APP}")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def image(api: Api, namespace: str) -> str:
    return str(workload(api, namespace)["spec"]["template"]["spec"]["containers"][0]["image"])


def look(rig: Rig, deployment: Deployment) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rig.row(deployment).rollout or "{}")
    return found


def test_a_deploy_goes_live_and_the_cluster_runs_it(rig: Rig, api: Api, where: Place) -> None:
    row = rig.live(rig.deploy("1.4.2", "staging"))
    assert row.reason_code == ReasonCode.LIVE
    assert (row.namespace, row.context) == (where.namespace, "reader")
    assert rig.commits(row) == [row.commit_sha]
    assert image(api, where.namespace) == f"{IMAGE}:1.4.2"
    status = workload(api, where.namespace)["status"]
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
    assert image(api, where.namespace) == f"{IMAGE}:1.4.3-slow"
    assert any("1/2 updated" in text for text in rig.versions(row)), rig.versions(row)
    assert "2/2 updated, 2 available" in rig.card(row).text


def test_a_rollout_that_somebody_replaces_halfway_is_said_so(rig: Rig, api: Api, where: Place) -> None:
    row = rig.deploy("1.4.4-slow", "staging")
    rig.until(lambda: look(rig, row).get("state") == RolloutState.PROGRESSING, PATIENCE)
    said = rig.sandbox.render("main", "staging").replace("1.4.4-slow", "1.3.9")
    apply_manifests(where.cluster.admin, said, "kubectl-laptop", conflicts=Conflicts.TAKE_OVER)
    rig.failed(row, ReasonCode.ROLLOUT_REPLACED, f"{IMAGE}:1.3.9", "kubectl-laptop", "During the rollout")
    assert image(api, where.namespace) == f"{IMAGE}:1.3.9"


def test_the_documented_rights_are_all_it_has(where: Place, rig: Rig) -> None:
    """Everything above was read by this account; here is what it may not."""
    assert rig.sandbox.environment()["KUBECONFIG"] == str(where.cluster.kubeconfig)
    reader = Api(where.cluster.admin, where.tokens["reader"])
    try:
        deployments = f"/apis/apps/v1/namespaces/{where.namespace}/deployments"
        assert reader("GET", deployments).status_code == 200
        patch = reader("PATCH", f"{deployments}/{APP}", {"spec": {"replicas": 3}}, "application/merge-patch+json")
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
    assert image(api, where.fenced) == f"{IMAGE}:{version}", "the pipeline has other rights than the bot"
