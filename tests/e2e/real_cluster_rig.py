"""What the tests on a real API server share: the disposable cluster of KUBECONFIG, and the rights the bot is given.

Where no kubelet runs real images, something has to play the kubelets by tag: `crash` in it gives CrashLoopBackOff,
`pull` ImagePullBackOff, `slow` takes seconds.
"""

import json
import os
import re
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bot.sandbox.cluster import Cluster, NoTokenError, of_kubeconfig
from bot.sandbox.kubernetes_apply import ApiServer

ROOT = Path(__file__).parents[2]
MERGE_PATCH = "application/merge-patch+json"

Json = dict[str, Any]


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

    # ------------------------------------------------------------ workloads

    def deployment(self, namespace: str, name: str) -> Json:
        """A Deployment as it stands."""
        return self._found(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")

    def image(self, namespace: str, name: str) -> str:
        """The image that a Deployment of one container asks for."""
        return str(self.deployment(namespace, name)["spec"]["template"]["spec"]["containers"][0]["image"])

    def pods(self, namespace: str, app: str) -> list[Json]:
        """The pods with this `app` label."""
        return list(self._found(f"/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{app}")["items"])

    def serving(self, namespace: str, app: str) -> dict[str, int]:
        """Image -> how many ready pods run it."""
        counted: dict[str, int] = {}
        for pod in self.pods(namespace, app):
            for status in pod.get("status", {}).get("containerStatuses", []):
                counted[status["image"]] = counted.get(status["image"], 0) + bool(status["ready"])
        return {image: count for image, count in counted.items() if count}

    def history(self, namespace: str, name: str, version: str) -> list[Json]:
        """Every state that a Deployment has had since this resource version, oldest first."""
        field = f"fieldSelector=metadata.name%3D{name}"
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments?watch=true&timeoutSeconds=1&{field}"
        answer = self("GET", f"{path}&resourceVersion={version}")
        answer.raise_for_status()
        return [json.loads(line)["object"] for line in answer.text.splitlines()]

    def restart(self, pod: Json) -> None:
        """Count one restart of the pod's first container, as its kubelet would once it runs again."""
        statuses = pod["status"]["containerStatuses"]
        statuses[0]["restartCount"] += 1
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
        self("PATCH", path, {"status": {"containerStatuses": statuses}}, MERGE_PATCH).raise_for_status()

    def _found(self, path: str) -> Json:
        answer = self("GET", path)
        answer.raise_for_status()
        found: Json = answer.json()
        return found


def disposable(folder: Path) -> Cluster:
    """The cluster of KUBECONFIG with its administrator; the test is skipped, with a notice, where there is none."""
    path = os.environ.get("KUBECONFIG", "")
    if not path or not Path(path).exists():
        pytest.skip("KUBECONFIG names no disposable cluster")
    try:
        return of_kubeconfig(Path(path), folder)
    except NoTokenError as reason:
        pytest.skip(f"{reason}, which these tests apply with")


def documented_rules() -> list[Json]:
    """The rules of the ClusterRole in docs/install.md."""
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "kind: ClusterRole" in one]
    return list(yaml.safe_load(block)["rules"])


def account(api: Api, name: str, rules: list[Json], home: str, elsewhere: Iterable[str] = ()) -> str:
    """A service account of the namespace `home`, with these rights there and `elsewhere`; its token."""
    accounts = f"/api/v1/namespaces/{home}/serviceaccounts"
    api("POST", accounts, {"metadata": {"name": name}}).raise_for_status()
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": home}
    for namespace in (home, *elsewhere):
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        for path, body in (
            (f"{rbac}/roles", {"rules": [rule for rule in rules if rule["resources"]]}),
            (f"{rbac}/rolebindings", {"roleRef": role, "subjects": [subject]}),
        ):
            api("POST", path, {"metadata": {"name": name}, **body}).raise_for_status()
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = api("POST", f"{accounts}/{name}/token", asked)
    answer.raise_for_status()
    return str(answer.json()["status"]["token"])


def older(text: str) -> str:
    """Autoscalers of the version before, and ports that name the protocol, a key that old servers do not default."""
    text = re.sub(r"( +)(- |  )(containerPort: 8080|targetPort: http)\n", r"\1\2\3\n\1  protocol: TCP\n", text)
    text = re.sub(r"  metrics:\n(    .*\n)+", "  targetCPUUtilizationPercentage: 75\n", text)
    return text.replace("autoscaling/v2", "autoscaling/v1")
