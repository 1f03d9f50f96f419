"""Where the cluster scenarios run: the stand-in, or the real API server of KUBECONFIG. Both are driven over HTTP."""

import contextlib
import json
import os
import ssl
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bot.integrations.cluster import KubernetesCluster
from bot.sandbox.cluster import NoTokenError, of_kubeconfig
from bot.sandbox.kubernetes import ADMIN_TOKEN, KubernetesServer, User, reader, write_kubeconfig
from bot.sandbox.kubernetes_apply import ApiServer, Conflicts, apply_manifests
from bot.sandbox.server import Server
from commands.ports import Rollout, RolloutRequest, RolloutState, WorkloadRef

IMAGE = "registry.example.com/team/web"
POD_SECONDS = 0.15
ENDS = {RolloutState.DONE, RolloutState.FAILED, RolloutState.REPLACED}


@dataclass
class Rig:
    """A namespace of its own on some API server. `context` may do everything there is to do for the bot."""

    server: ApiServer
    kubeconfig: Path
    context: str
    namespace: str
    patience: float  # seconds within which any scenario must end
    stand_in: KubernetesServer | None = None

    def cluster(self, *, grace: float = 0.0) -> KubernetesCluster:
        return KubernetesCluster(str(self.kubeconfig), timeout=3.0, grace=grace)

    def request(self, tag: str, *, kind: str = "deployment", context: str | None = None) -> RolloutRequest:
        ref = WorkloadRef(kind, "web", self.namespace, self.context if context is None else context)
        return RolloutRequest("d-1", ref, {"web": f"{IMAGE}:{tag}"})

    def apply(self, text: str, *, manager: str = "jenkins", conflicts: Conflicts = Conflicts.REFUSE) -> None:
        apply_manifests(self.server, text, manager, namespace=self.namespace, conflicts=conflicts)

    def call(self, method: str, path: str, body: Any = None, content: str = "application/json") -> httpx.Response:
        tls = self.server.url.startswith("https")
        verify = ssl.create_default_context(cafile=self.server.ca_file or None) if tls else False
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": content}
        with httpx.Client(base_url=self.server.url, headers=headers, verify=verify, trust_env=False) as client:
            return client.request(method, path, content=json.dumps(body) if body is not None else None)

    def apps(self, kind: str = "deployment", name: str = "web") -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/{kind}s/{name}"

    def watch_to_end(
        self, cluster: KubernetesCluster, request: RolloutRequest, last: Rollout | None = None
    ) -> list[Rollout]:
        """Every look until an end, as a delivery would take them."""
        looks: list[Rollout] = []
        until = time.monotonic() + self.patience
        while time.monotonic() < until:
            last = cluster.rollout(request, last, 2.0)
            looks.append(last)
            if last.state in ENDS:
                return looks
        raise AssertionError(f"no end within {self.patience} s: {looks}")


def manifest(tag: str, *, kind: str = "Deployment", replicas: int | None = 2, **spec: Any) -> str:
    """A workload called web. Keyword arguments go into its spec."""
    body: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": f"{IMAGE}:{tag}"}]},
            },
            **spec,
        },
    }
    if replicas is not None:
        body["spec"]["replicas"] = replicas
    if kind == "StatefulSet":
        body["spec"]["serviceName"] = "web"
    return yaml.safe_dump(body)


@contextlib.contextmanager
def served_stand_in() -> Iterator[tuple[KubernetesServer, str]]:
    """The stand-in and its URL: one for a whole module, for starting it takes longer than most tests."""
    server = KubernetesServer(pod_seconds=POD_SECONDS, lag=0.1)
    with server, Server(server.app) as served:
        yield server, served.url


@contextlib.contextmanager
def stand_in_rig(folder: Path, server: KubernetesServer, url: str) -> Iterator[Rig]:
    """A namespace on the stand-in, with contexts for a reader, readers of less, and a token that is not known."""
    server.users["reader-token"] = User("locktender", reader())
    server.users["podless-token"] = User("podless", reader(without=frozenset({"pods"})))
    server.users["logless-token"] = User("logless", reader(without=frozenset({"pods/log", "events"})))
    namespace = f"team-{uuid.uuid4().hex[:8]}"
    server.add_namespace(namespace)
    contexts = {
        "reader": "reader-token",
        "podless": "podless-token",
        "logless": "logless-token",
        "stale": "revoked-token",
    }
    config = write_kubeconfig(folder / "kubeconfig", url, contexts)
    yield Rig(ApiServer(url, ADMIN_TOKEN), config, "reader", namespace, patience=15.0, stand_in=server)
    server.faults.clear()
    server.faults.before = server.faults.after = None
    server.store.delete("namespaces", "", namespace)


@contextlib.contextmanager
def real_rig(folder: Path) -> Iterator[Rig]:
    """The API server of KUBECONFIG's current context (by token or not at all), in a namespace that is deleted after."""
    path = os.environ.get("KUBECONFIG", "")
    if not path or not Path(path).exists():
        pytest.skip("KUBECONFIG names no disposable cluster")
    try:
        given = of_kubeconfig(Path(path), folder)
    except NoTokenError as reason:
        pytest.skip(f"{reason}, which these tests drive the cluster with")
    context = yaml.safe_load(given.kubeconfig.read_text(encoding="utf-8"))["current-context"]
    namespace = f"locktender-test-{uuid.uuid4().hex[:8]}"
    rig = Rig(given.admin, given.kubeconfig, context, namespace, patience=40.0)
    rig.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}).raise_for_status()
    try:
        yield rig
    finally:
        rig.call("DELETE", f"/api/v1/namespaces/{namespace}").raise_for_status()
