"""Server-side apply over HTTP, as a CD job does it: what the sandbox's Jenkins runs instead of `kubectl apply`.

It speaks to a real API server as well as to the stand-in, which is how the two are held to the same scenarios.
"""

import ssl
from dataclasses import dataclass
from enum import StrEnum

import httpx
import yaml

CLUSTER_WIDE = frozenset({"Namespace", "ClusterRole", "ClusterRoleBinding"})
IRREGULAR = {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"}
TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class ApiServer:
    """Where to apply, and as whom. `ca_file` is empty for plain HTTP or a public CA."""

    url: str
    token: str
    ca_file: str = ""


class Conflicts(StrEnum):
    """What to do about fields that another manager owns."""

    REFUSE = "refuse"
    TAKE_OVER = "take_over"


class Effect(StrEnum):
    """Whether it is to last."""

    PERSIST = "persist"
    DRY_RUN = "dry_run"


@dataclass(frozen=True)
class Applied:
    """One object as the server answered. `generation` is 0 for kinds that have none."""

    kind: str
    name: str
    namespace: str
    created: bool
    generation: int
    resource_version: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name} {'created' if self.created else 'configured'}"


class ApplyFailed(Exception):  # noqa: N818 - it is what happened, and the job's last words
    """The API server refused: its status code and its own sentence."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def apply_manifests(
    server: ApiServer,
    text: str,
    manager: str,
    *,
    namespace: str = "default",
    conflicts: Conflicts = Conflicts.REFUSE,
    effect: Effect = Effect.PERSIST,
) -> list[Applied]:
    """Apply every document of a YAML text in order. Stops at the first that is refused: ApplyFailed.

    `namespace` is for objects that name none. httpx.HTTPError when the server cannot be reached.
    """
    query = {"fieldManager": manager}
    if conflicts is Conflicts.TAKE_OVER:
        query["force"] = "true"
    if effect is Effect.DRY_RUN:
        query["dryRun"] = "All"
    # Loading the authorities takes a tenth of a second: not for plain HTTP, which has no certificate to verify.
    tls = server.url.startswith("https:")
    verify = ssl.create_default_context(cafile=server.ca_file or None) if tls else False
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/apply-patch+yaml"}
    applied = []
    with httpx.Client(base_url=server.url, headers=headers, verify=verify, timeout=TIMEOUT, trust_env=False) as client:
        for document in yaml.safe_load_all(text):
            if not document:
                continue
            path = _object_path(document, namespace)
            answer = client.patch(path, params=query, content=yaml.safe_dump(document))
            if answer.status_code not in {200, 201}:
                raise ApplyFailed(answer.status_code, _said(answer))
            meta = answer.json()["metadata"]
            applied.append(
                Applied(
                    kind=document["kind"],
                    name=meta["name"],
                    namespace=meta.get("namespace", ""),
                    created=answer.status_code == 201,
                    generation=meta.get("generation", 0),
                    resource_version=meta.get("resourceVersion", ""),
                )
            )
    return applied


def _object_path(document: dict[str, object], namespace: str) -> str:
    """Where an object lives below the server's address."""
    api, kind, meta = str(document["apiVersion"]), str(document["kind"]), document["metadata"]
    if not isinstance(meta, dict):
        raise ApplyFailed(400, "an object without metadata")
    plural = IRREGULAR.get(kind, f"{kind.lower()}s")
    root = f"/apis/{api}" if "/" in api else f"/api/{api}"
    where = "" if kind in CLUSTER_WIDE else f"/namespaces/{meta.get('namespace', namespace)}"
    return f"{root}{where}/{plural}/{meta['name']}"


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
