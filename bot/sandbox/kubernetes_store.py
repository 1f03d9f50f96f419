"""What a Kubernetes API server remembers: objects under one global resource version, and the changes that watches read.

The rules are the real server's where a client can tell the difference: `generation` grows with the spec alone, a write
that changes nothing makes no new version, a stale `resourceVersion` is a conflict, a dry run persists nothing.
"""

import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

Copied = TypeVar("Copied")
Json = dict[str, Any]
Key = tuple[str, str, str]  # resource, namespace ("" when cluster-wide), name
HISTORY = 5000  # changes a watch can start from; older ones are Gone


@dataclass(frozen=True)
class Resource:
    """One entry of the API's discovery."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    counts_generation: bool = False

    @property
    def api_version(self) -> str:
        """As objects spell it: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As error messages spell it: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


RESOURCES = {
    r.plural: r
    for r in (
        Resource("namespaces", "Namespace", namespaced=False),
        Resource("pods", "Pod"),
        Resource("events", "Event"),
        Resource("configmaps", "ConfigMap"),
        Resource("secrets", "Secret"),
        Resource("services", "Service"),
        Resource("serviceaccounts", "ServiceAccount"),
        Resource("resourcequotas", "ResourceQuota"),
        Resource("deployments", "Deployment", "apps", counts_generation=True),
        Resource("replicasets", "ReplicaSet", "apps", counts_generation=True),
        Resource("statefulsets", "StatefulSet", "apps", counts_generation=True),
        Resource("daemonsets", "DaemonSet", "apps", counts_generation=True),
        Resource("horizontalpodautoscalers", "HorizontalPodAutoscaler", "autoscaling", "v2"),
        Resource("poddisruptionbudgets", "PodDisruptionBudget", "policy", counts_generation=True),
        Resource("ingresses", "Ingress", "networking.k8s.io", counts_generation=True),
    )
}


class ApiError(Exception):
    """An answer that is a `Status` object. `causes` are its `details.causes`."""

    def __init__(self, code: int, reason: str, message: str, causes: list[Json] | None = None) -> None:
        super().__init__(code, reason, message)
        self.code = code
        self.reason = reason
        self.message = message
        self.causes = causes or []

    def status(self) -> Json:
        """The body of the answer."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": {"causes": self.causes},
            "code": self.code,
        }


@dataclass(frozen=True)
class Change:
    """One entry of the history. `before` is what the object was, for selectors that it no longer matches."""

    version: int
    type: str  # ADDED | MODIFIED | DELETED
    key: Key
    object: Json
    before: Json | None


class Store:
    """Objects by resource, namespace and name. Thread-safe; what goes in and out are copies."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.version = 100
        self.oldest = 100  # a watch from before this is Gone
        self._objects: dict[Key, Json] = {}
        self._history: deque[Change] = deque()

    def get(self, resource: str, namespace: str, name: str) -> Json:
        """The object, or ApiError 404."""
        with self.lock:
            found = self._objects.get((resource, namespace, name))
            if found is None:
                raise ApiError(404, "NotFound", f'{RESOURCES[resource].qualified} "{name}" not found')
            return copied(found)

    def find(self, resource: str, namespace: str, name: str) -> Json | None:
        """The object, or None."""
        with self.lock:
            return copied(self._objects.get((resource, namespace, name)))

    def all(self, resource: str, namespace: str = "") -> list[Json]:
        """All objects of a resource, of one namespace or (empty) of all, by namespace and name."""
        with self.lock:
            keys = sorted(k for k in self._objects if k[0] == resource and namespace in {"", k[1]})
            return [copied(self._objects[k]) for k in keys]

    def create(self, resource: str, namespace: str, body: Json, *, dry: bool = False) -> Json:
        """Store a new object; ApiError 409 AlreadyExists, 404 when its namespace is not there."""
        kind = RESOURCES[resource]
        with self.lock:
            created = copied(body)
            meta = created.setdefault("metadata", {})
            if not meta.get("name") and meta.get("generateName"):
                meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
            key = (resource, namespace, str(meta["name"]))
            if key in self._objects:
                raise ApiError(409, "AlreadyExists", f'{kind.qualified} "{key[2]}" already exists')
            if kind.namespaced and ("namespaces", "", namespace) not in self._objects:
                raise ApiError(404, "NotFound", f'namespaces "{namespace}" not found')
            meta.update(uid=str(uuid.uuid4()), creationTimestamp=now())
            if kind.namespaced:
                meta["namespace"] = namespace
            if kind.counts_generation:
                meta["generation"] = 1
            created["apiVersion"], created["kind"] = kind.api_version, kind.kind
            return self._put("ADDED", key, created, None, dry=dry)

    def replace(self, resource: str, namespace: str, body: Json, *, dry: bool = False) -> Json:
        """Store a changed object. Its `resourceVersion`, when it has one, must be the current one: ApiError 409."""
        kind = RESOURCES[resource]
        with self.lock:
            name = str(body["metadata"]["name"])
            old = self.get(resource, namespace, name)
            expected = body["metadata"].get("resourceVersion")
            if expected and expected != old["metadata"]["resourceVersion"]:
                raise ApiError(
                    409,
                    "Conflict",
                    f'Operation cannot be fulfilled on {kind.qualified} "{name}": the object has been modified; '
                    "please apply your changes to the latest version and try again",
                )
            changed = copied(body)
            changed["apiVersion"], changed["kind"] = kind.api_version, kind.kind
            for field in ("uid", "creationTimestamp", "namespace", "generation", "resourceVersion"):
                if field in old["metadata"]:
                    changed["metadata"][field] = old["metadata"][field]
            if kind.counts_generation and changed.get("spec") != old.get("spec"):
                changed["metadata"]["generation"] = old["metadata"]["generation"] + 1
            if changed == old:
                return old
            return self._put("MODIFIED", (resource, namespace, name), changed, old, dry=dry)

    def update(self, resource: str, namespace: str, name: str, change: Callable[[Json], None]) -> Json | None:
        """Change an object in place, as a controller does that retries conflicts; None when it is gone."""
        with self.lock:
            found = self.find(resource, namespace, name)
            if found is None:
                return None
            change(found)
            return self.replace(resource, namespace, found)

    def delete(self, resource: str, namespace: str, name: str, *, dry: bool = False) -> Json:
        """Take an object away, or ApiError 404."""
        with self.lock:
            old = self.get(resource, namespace, name)
            if dry:
                return old
            self.version += 1
            gone = copied(old)
            gone["metadata"]["resourceVersion"] = str(self.version)
            del self._objects[resource, namespace, name]
            self._remember(Change(self.version, "DELETED", (resource, namespace, name), gone, old))
            return gone

    def since(self, version: int) -> tuple[int, list[Change]]:
        """Every change after a version, and the version now. ApiError 410 when some of them are forgotten."""
        with self.lock:
            if version < self.oldest:
                raise ApiError(410, "Expired", f"too old resource version: {version} ({self.oldest})")
            if not self._history or self._history[-1].version <= version:
                return self.version, []
            return self.version, [change for change in self._history if change.version > version]

    def forget(self) -> None:
        """Compact: watches that start from any version before now are Gone."""
        with self.lock:
            self._history.clear()
            self.version += 1
            self.oldest = self.version

    def _put(self, verb: str, key: Key, value: Json, before: Json | None, *, dry: bool) -> Json:
        if dry:
            return value
        self.version += 1
        value["metadata"]["resourceVersion"] = str(self.version)
        self._objects[key] = copied(value)
        self._remember(Change(self.version, verb, key, copied(value), before))
        return value

    def _remember(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > HISTORY:
            self.oldest = self._history.popleft().version


def copied(value: Copied) -> Copied:
    """A copy of JSON. `copy.deepcopy` takes four times as long, and the controllers copy everything in each pass."""
    made: Any = value
    if isinstance(value, dict):
        made = {key: copied(one) for key, one in value.items()}
    elif isinstance(value, list):
        made = [copied(one) for one in value]
    return cast("Copied", made)


def now() -> str:
    """A timestamp as the API writes it: whole seconds, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
