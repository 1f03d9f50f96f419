"""Plays the Deployment and ReplicaSet controllers, after pkg/controller/deployment of Kubernetes itself.

Kept are the traits that trip a client up: `observedGeneration` lags behind, and after an undo to a ReplicaSet that
still exists the old ProgressDeadlineExceeded stays until something moves.
"""

import hashlib
import json
import math
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.kubernetes_pods import condition, record_event, tag
from bot.sandbox.kubernetes_store import ApiError, Json, Store

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
TIMED_OUT = "ProgressDeadlineExceeded"
COMPLETE = "NewReplicaSetAvailable"


@dataclass
class Deployments:
    """Both controllers. `lag` is how many seconds a new generation waits to be observed."""

    store: Store
    lag: float
    _noticed: dict[tuple[str, int], float] = field(default_factory=dict)
    _created: set[str] = field(default_factory=set)  # uids with a brand-new ReplicaSet
    _progress: dict[str, float] = field(default_factory=dict)  # uid -> when it last progressed

    def tick(self) -> None:
        """One pass over everything."""
        for deployment in self.store.all("deployments"):
            meta = deployment["metadata"]
            noticed = self._noticed.setdefault((meta["uid"], meta["generation"]), time.monotonic())
            if time.monotonic() - noticed >= self.lag:
                self._sync(deployment)
        for replica_set in self.store.all("replicasets"):
            sync_replica_set(self.store, replica_set)

    def _sync(self, d: Json) -> None:
        meta, spec = d["metadata"], d["spec"]
        owned = [rs for rs in self.store.all("replicasets", meta["namespace"]) if owner_uid(rs) == meta["uid"]]
        new = next((rs for rs in owned if _same_template(rs, spec["template"])), None)
        if not spec.get("paused"):
            new = self._ensure_new(d, new, owned)
            self._scale(spec, new, [rs for rs in owned if rs["metadata"]["uid"] != new["metadata"]["uid"]])
        owned = [rs for rs in self.store.all("replicasets", meta["namespace"]) if owner_uid(rs) == meta["uid"]]
        new = next((rs for rs in owned if _same_template(rs, spec["template"])), None)
        self._report(d, new, owned)

    def _ensure_new(self, d: Json, new: Json | None, owned: list[Json]) -> Json:
        meta = d["metadata"]
        highest = max((revision(rs) for rs in owned), default=0)
        if new is None:
            created = self.store.create("replicasets", meta["namespace"], _new_replica_set(d, highest + 1))
            self._created.add(meta["uid"])
            wanted = highest + 1
        else:
            created = new
            wanted = revision(new) if revision(new) == highest else highest + 1
            if wanted != revision(new):
                created = self._annotate("replicasets", new, wanted)
        if (meta.get("annotations") or {}).get(REVISION) != str(wanted):
            self._annotate("deployments", d, wanted)
        return created

    def _annotate(self, resource: str, item: Json, number: int) -> Json:
        def change(current: Json) -> None:
            current["metadata"].setdefault("annotations", {})[REVISION] = str(number)

        meta = item["metadata"]
        return self.store.update(resource, meta["namespace"], meta["name"], change) or item

    def _scale(self, spec: Json, new: Json, old: list[Json]) -> None:
        desired = spec["replicas"]
        if spec["strategy"]["type"] == "Recreate":
            for rs in old:
                self._resize(rs, 0)
            if all(rs.get("status", {}).get("replicas", 0) == 0 for rs in old):
                self._resize(new, desired)
            return
        rolling = spec["strategy"]["rollingUpdate"]
        surge = _pods(rolling["maxSurge"], desired, up=True)
        unavailable = _pods(rolling["maxUnavailable"], desired, up=False)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        total = new["spec"]["replicas"] + sum(rs["spec"]["replicas"] for rs in old)
        grown = min(desired, new["spec"]["replicas"] + max(0, desired + surge - total))
        if grown != new["spec"]["replicas"]:
            self._resize(new, grown)
            return  # as the real one: either up or down in one pass
        new_unavailable = new["spec"]["replicas"] - new.get("status", {}).get("availableReplicas", 0)
        budget = total - (desired - unavailable) - new_unavailable
        for rs in sorted(old, key=lambda rs: rs.get("status", {}).get("availableReplicas", 0)):
            cut = min(budget, rs["spec"]["replicas"])
            if cut > 0:
                self._resize(rs, rs["spec"]["replicas"] - cut)
                budget -= cut

    def _resize(self, rs: Json, replicas: int) -> None:
        def change(current: Json) -> None:
            current["spec"]["replicas"] = replicas

        if rs["spec"]["replicas"] != replicas:
            self.store.update("replicasets", rs["metadata"]["namespace"], rs["metadata"]["name"], change)

    def _report(self, d: Json, new: Json | None, owned: list[Json]) -> None:
        meta, spec, had = d["metadata"], d["spec"], d.get("status", {})
        counts = {
            "replicas": _sum(owned, "replicas"),
            "updatedReplicas": _sum([new] if new else [], "replicas"),
            "readyReplicas": _sum(owned, "readyReplicas"),
            "availableReplicas": _sum(owned, "availableReplicas"),
        }
        counts["unavailableReplicas"] = max(0, spec["replicas"] - counts["availableReplicas"])
        old = {c["type"]: c for c in had.get("conditions", [])}
        needed = spec["replicas"] - _pods(
            spec["strategy"].get("rollingUpdate", {}).get("maxUnavailable", 0), spec["replicas"], up=False
        )
        enough = counts["availableReplicas"] >= needed
        conditions = [
            condition(old, "Available", str(enough), f"MinimumReplicas{'Available' if enough else 'Unavailable'}"),
            self._progressing(d, new, counts, old),
        ]
        failure = next((c for rs in ([new] if new else owned) if rs for c in _conditions(rs, "ReplicaFailure")), None)
        if failure is not None:
            conditions.append(condition(old, "ReplicaFailure", "True", "FailedCreate", failure["message"]))
        status = {k: v for k, v in counts.items() if v} | {
            "observedGeneration": meta["generation"],
            "conditions": conditions,
        }

        def change(current: Json) -> None:
            current["status"] = status

        if status != had:
            self.store.update("deployments", meta["namespace"], meta["name"], change)

    def _progressing(self, d: Json, new: Json | None, counts: dict[str, int], old: dict[str, Json]) -> Json:
        had, uid, spec = d.get("status", {}), d["metadata"]["uid"], d["spec"]
        current = old.get("Progressing", {})
        name = new["metadata"]["name"] if new else ""
        if spec.get("paused"):
            return condition(old, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        complete = counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == spec["replicas"]
        if complete:
            words = f'ReplicaSet "{name}" has successfully progressed.'
            return condition(old, "Progressing", "True", COMPLETE, words)
        moved = (
            counts["updatedReplicas"] > had.get("updatedReplicas", 0)
            or counts["readyReplicas"] > had.get("readyReplicas", 0)
            or counts["availableReplicas"] > had.get("availableReplicas", 0)
            or counts["replicas"] - counts["updatedReplicas"] < had.get("replicas", 0) - had.get("updatedReplicas", 0)
        )
        fresh = uid in self._created or current.get("reason") in {None, COMPLETE, "DeploymentPaused"}
        self._created.discard(uid)
        if moved or fresh:
            self._progress[uid] = time.monotonic()
            words = f'ReplicaSet "{name}" is progressing.'
            return condition(old, "Progressing", "True", "ReplicaSetUpdated", words)
        if current["reason"] == TIMED_OUT:
            return current
        late = time.monotonic() - self._progress.setdefault(uid, time.monotonic())
        if late >= spec["progressDeadlineSeconds"]:
            words = f'ReplicaSet "{name}" has timed out progressing.'
            return condition(old, "Progressing", "False", TIMED_OUT, words)
        return current


def sync_replica_set(store: Store, rs: Json) -> None:
    """Create or delete pods until there are as many as asked for, and report."""
    meta, spec = rs["metadata"], rs["spec"]
    pods = owned_pods(store, meta["namespace"], meta["uid"])
    refused = ""
    for _ in range(spec["replicas"] - len(pods)):
        refused = create_pod(store, rs, f"{meta['name']}-{uuid.uuid4().hex[:5]}", "ReplicaSet")
        if refused:
            break
    for pod in sorted(pods, key=is_ready)[: max(0, len(pods) - spec["replicas"])]:
        delete_pod(store, pod)
    pods = owned_pods(store, meta["namespace"], meta["uid"])
    ready = sum(1 for pod in pods if is_ready(pod))
    old = {c["type"]: c for c in rs.get("status", {}).get("conditions", [])}
    status: Json = {"replicas": len(pods), "observedGeneration": meta["generation"]}
    if ready:
        status |= {"readyReplicas": ready, "availableReplicas": ready}
    if refused:
        status["conditions"] = [condition(old, "ReplicaFailure", "True", "FailedCreate", refused)]

    def change(current: Json) -> None:
        current["status"] = status

    if status != rs.get("status"):
        store.update("replicasets", meta["namespace"], meta["name"], change)


def create_pod(store: Store, owner: Json, name: str, kind: str, labels: dict[str, str] | None = None) -> str:
    """Make a pod from the owner's template; returns why it was refused, or nothing."""
    meta, template = owner["metadata"], owner["spec"]["template"]
    refused = _over_quota(store, meta["namespace"], name, template["spec"])
    if refused:
        record_event(store, owner, kind, "FailedCreate", f"Error creating: {refused}")
        return refused
    pod = {
        "metadata": {
            "name": name,
            "labels": dict(template.get("metadata", {}).get("labels") or {}) | (labels or {}),
            "ownerReferences": [owner_reference(owner, kind)],
        },
        "spec": json.loads(json.dumps(template["spec"])),
        "status": {"phase": "Pending"},
    }
    try:
        store.create("pods", meta["namespace"], pod)
    except ApiError as error:
        return error.message
    return ""


def delete_pod(store: Store, pod: Json) -> None:
    """Mark a pod as going; the kubelet takes it away."""

    def change(current: Json) -> None:
        current["metadata"].setdefault("deletionTimestamp", current["metadata"]["creationTimestamp"])

    store.update("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], change)


def owned_pods(store: Store, namespace: str, uid: str) -> list[Json]:
    """The pods of an owner that are not going."""
    return [p for p in store.all("pods", namespace) if owner_uid(p) == uid and "deletionTimestamp" not in p["metadata"]]


def owner_uid(item: Json) -> str:
    """The uid of an object's controller."""
    return next((str(o["uid"]) for o in item["metadata"].get("ownerReferences", []) if o.get("controller")), "")


def owner_name(item: Json) -> str:
    """The name of an object's controller."""
    return next((str(o["name"]) for o in item["metadata"].get("ownerReferences", []) if o.get("controller")), "")


def owner_reference(owner: Json, kind: str) -> Json:
    """What an owned object says of its controller."""
    meta = owner["metadata"]
    return {"apiVersion": "apps/v1", "kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": True}


def is_ready(pod: Json) -> bool:
    """What the pod's Ready condition says."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def template_hash(template: Json) -> str:
    """A name for a pod template, ten hexadecimal digits."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def revision(rs: Json) -> int:
    """The revision annotation of a ReplicaSet."""
    return int(rs["metadata"].get("annotations", {}).get(REVISION, "0"))


def _new_replica_set(d: Json, number: int) -> Json:
    meta, spec = d["metadata"], d["spec"]
    template = json.loads(json.dumps(spec["template"]))
    digest = template_hash(template)
    template["metadata"].setdefault("labels", {})[HASH] = digest
    return {
        "metadata": {
            "name": f"{meta['name']}-{digest}",
            "labels": template["metadata"]["labels"],
            "annotations": {REVISION: str(number)},
            "ownerReferences": [owner_reference(d, "Deployment")],
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": (spec["selector"].get("matchLabels") or {}) | {HASH: digest}},
            "template": template,
        },
        "status": {"replicas": 0},
    }


def _same_template(rs: Json, template: Json) -> bool:
    return bool(rs["metadata"]["labels"].get(HASH) == template_hash(template))


def _over_quota(store: Store, namespace: str, name: str, pod_spec: Json) -> str:
    used = sum(1 for pod in store.all("pods", namespace))
    for quota in store.all("resourcequotas", namespace):
        hard = quota.get("status", {}).get("hard", quota.get("spec", {}).get("hard", {})).get("pods")
        if hard is not None and used + 1 > int(hard):
            where = f"exceeded quota: {quota['metadata']['name']}"
            return f'pods "{name}" is forbidden: {where}, requested: pods=1, used: pods={used}, limited: pods={hard}'
    if any("quota" in tag(c["image"]) for c in pod_spec["containers"]):
        return f'pods "{name}" is forbidden: exceeded quota: pods, requested: pods=1, used: pods={used}'
    return ""


def _pods(amount: Any, of: int, *, up: bool) -> int:  # noqa: ANN401 - an IntOrString of the API
    if isinstance(amount, str):
        share = int(amount.rstrip("%")) * of / 100
        return math.ceil(share) if up else math.floor(share)
    return int(amount)


def _sum(sets: list[Json], count: str) -> int:
    return sum(rs.get("status", {}).get(count, 0) for rs in sets)


def _conditions(rs: Json, kind: str) -> list[Json]:
    return [c for c in rs.get("status", {}).get("conditions", []) if c["type"] == kind]
