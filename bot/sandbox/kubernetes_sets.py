"""Plays the StatefulSet and DaemonSet controllers: ordered pods with revisions, and one pod per node."""

import time
from dataclasses import dataclass, field

from bot.sandbox.kubernetes_deployments import create_pod, delete_pod, is_ready, owned_pods, owner_uid, template_hash
from bot.sandbox.kubernetes_store import Json, Store

REVISION_LABEL = "controller-revision-hash"


@dataclass
class StatefulSets:
    """One pod at a time, from the lowest ordinal up when created and from the highest down when replaced."""

    store: Store
    lag: float
    _noticed: dict[tuple[str, int], float] = field(default_factory=dict)

    def tick(self) -> None:
        """One pass over everything."""
        for item in self.store.all("statefulsets"):
            if _observed(self._noticed, item, self.lag):
                self._sync(item)

    def _sync(self, item: Json) -> None:
        meta, spec, had = item["metadata"], item["spec"], item.get("status", {})
        digest = f"{meta['name']}-{template_hash(spec['template'])}"
        current = had.get("currentRevision", digest)
        every = [p for p in self.store.all("pods", meta["namespace"]) if owner_uid(p) == meta["uid"]]
        pods = {int(p["metadata"]["name"].rsplit("-", 1)[1]): p for p in every}
        self._step(item, pods, digest, current)
        living = owned_pods(self.store, meta["namespace"], meta["uid"])
        updated = [p for p in living if p["metadata"]["labels"].get(REVISION_LABEL) == digest]
        ready = [p for p in living if is_ready(p)]
        if len(updated) == len(ready) == len(living) == spec["replicas"]:
            current = digest
        status: Json = {
            "observedGeneration": meta["generation"],
            "replicas": len(living),
            "readyReplicas": len(ready),
            "availableReplicas": len(ready),
            "updatedReplicas": len(updated),
            "currentRevision": current,
            "updateRevision": digest,
        }
        _write(self.store, "statefulsets", item, status)

    def _step(self, item: Json, pods: dict[int, Json], digest: str, current: str) -> None:
        """At most one pod is made or deleted, and none while another is under way."""
        spec, name = item["spec"], item["metadata"]["name"]
        partition = spec["updateStrategy"].get("rollingUpdate", {}).get("partition", 0)
        for ordinal in range(spec["replicas"]):
            pod = pods.get(ordinal)
            if pod is None:
                chosen = digest if ordinal >= partition else current
                create_pod(self.store, item, f"{name}-{ordinal}", "StatefulSet", {REVISION_LABEL: chosen})
                return
            if "deletionTimestamp" in pod["metadata"] or not is_ready(pod):
                return
        for ordinal in sorted(pods, reverse=True):
            stale = pods[ordinal]["metadata"]["labels"].get(REVISION_LABEL) != digest
            rolling = spec["updateStrategy"]["type"] == "RollingUpdate" and ordinal >= partition
            if ordinal >= spec["replicas"] or (stale and rolling):
                delete_pod(self.store, pods[ordinal])
                return


@dataclass
class DaemonSets:
    """One pod on each of `nodes` nodes, replaced one after the other."""

    store: Store
    lag: float
    nodes: int = 2
    _noticed: dict[tuple[str, int], float] = field(default_factory=dict)

    def tick(self) -> None:
        """One pass over everything."""
        for item in self.store.all("daemonsets"):
            if _observed(self._noticed, item, self.lag):
                self._sync(item)

    def _sync(self, item: Json) -> None:
        meta = item["metadata"]
        digest = template_hash(item["spec"]["template"])
        every = [p for p in self.store.all("pods", meta["namespace"]) if owner_uid(p) == meta["uid"]]
        names = {p["metadata"]["name"] for p in every}
        for node in range(self.nodes):
            if not any(n.startswith(f"{meta['name']}-node{node}-") for n in names):
                pod = f"{meta['name']}-node{node}-{digest[:5]}"
                create_pod(self.store, item, pod, "DaemonSet", {REVISION_LABEL: digest})
        living = owned_pods(self.store, meta["namespace"], meta["uid"])
        ready = [p for p in living if is_ready(p)]
        updated = [p for p in living if p["metadata"]["labels"].get(REVISION_LABEL) == digest]
        stale = [p for p in living if p not in updated]
        if stale and len(every) == len(living) and all(is_ready(p) for p in updated):
            delete_pod(self.store, stale[0])
        status: Json = {
            "observedGeneration": meta["generation"],
            "desiredNumberScheduled": self.nodes,
            "currentNumberScheduled": len(living),
            "numberMisscheduled": 0,
            "numberReady": len(ready),
            "numberAvailable": len(ready),
            "updatedNumberScheduled": len(updated),
        }
        _write(self.store, "daemonsets", item, status)


def _observed(noticed: dict[tuple[str, int], float], item: Json, lag: float) -> bool:
    since = noticed.setdefault((item["metadata"]["uid"], item["metadata"]["generation"]), time.monotonic())
    return time.monotonic() - since >= lag


def _write(store: Store, resource: str, item: Json, status: Json) -> None:
    def change(current: Json) -> None:
        current["status"] = status

    if status != item.get("status"):
        store.update(resource, item["metadata"]["namespace"], item["metadata"]["name"], change)
