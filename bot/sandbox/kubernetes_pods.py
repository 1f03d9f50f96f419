"""Plays scheduler and kubelets: pods become ready, or fail as their image's tag says.

A tag that contains one of these words misbehaves: `crash` (exits with 1, CrashLoopBackOff), `oom` (OOMKilled), `pull`
(ImagePullBackOff), `config` (CreateContainerConfigError), `hang` (runs, never ready), `unsched` (no node takes it),
`slow` (ready after eight times as long). `quota` is refused before there is a pod: see `kubernetes_deployments`. A pod
that runs can be told to restart.
"""

import time
from dataclasses import dataclass, field

from bot.sandbox.kubernetes_store import Json, Store, now

SLOW = 8  # times pod_seconds
RESTARTS_AT = (1.0, 2.0, 6.0, 14.0, 30.0)  # ages, in pod_seconds, at which a crashing container has been restarted


@dataclass(frozen=True)
class _Restarts:
    """How often the containers of a pod were restarted on request, and when they were last."""

    times: int
    at: float  # of time.monotonic
    stamp: str


@dataclass
class Kubelet:
    """Moves pods along by their age. `pod_seconds` is what a healthy one takes to become ready."""

    store: Store
    pod_seconds: float
    _born: dict[str, tuple[float, str]] = field(default_factory=dict)
    _restarted: dict[str, _Restarts] = field(default_factory=dict)  # by uid

    def restart(self, uid: str, times: int) -> None:
        """The containers of a running pod exit and are started again, so many times."""
        had = self._restarted.get(uid)
        self._restarted[uid] = _Restarts((had.times if had else 0) + times, time.monotonic(), now())

    def tick(self) -> None:
        """Bring every pod up to date."""
        alive = set()
        for pod in self.store.all("pods"):
            meta = pod["metadata"]
            alive.add(meta["uid"])
            if "deletionTimestamp" in meta:
                self.store.delete("pods", meta["namespace"], meta["name"])
                continue
            born, stamp = self._born.setdefault(meta["uid"], (time.monotonic(), now()))
            self._advance(pod, time.monotonic() - born, stamp)
        self._born = {uid: born for uid, born in self._born.items() if uid in alive}
        self._restarted = {uid: restarts for uid, restarts in self._restarted.items() if uid in alive}

    def _advance(self, pod: Json, age: float, stamp: str) -> None:
        containers = pod["spec"]["containers"]
        old = {c["type"]: c for c in pod.get("status", {}).get("conditions", [])}
        if any("unsched" in tag(c["image"]) for c in containers):
            words = "0/3 nodes are available: 3 Insufficient cpu."
            conditions = [condition(old, "PodScheduled", "False", "Unschedulable", words)]
            self._write(pod, {"phase": "Pending", "conditions": conditions})
            self._event(pod, "FailedScheduling", words)
            return
        had = {c["name"]: c for c in pod.get("status", {}).get("containerStatuses", [])}
        statuses = [self._container(c, age, stamp, had.get(c["name"], {})) for c in containers]
        restarts = self._restarted.get(pod["metadata"]["uid"])
        if restarts is not None:
            statuses = [self._started_again(status, restarts) for status in statuses]
        ready = "True" if all(c["ready"] for c in statuses) else "False"
        started = all("waiting" not in c["state"] or c["restartCount"] for c in statuses)
        status: Json = {
            "phase": "Running" if started else "Pending",
            "podIP": "10.0.0.1",
            "startTime": stamp,
            "conditions": [
                condition(old, "Initialized", "True"),
                condition(old, "Ready", ready, "" if ready == "True" else "ContainersNotReady"),
                condition(old, "ContainersReady", ready, "" if ready == "True" else "ContainersNotReady"),
                condition(old, "PodScheduled", "True"),
            ],
            "containerStatuses": statuses,
        }
        self._write(pod, status)
        for container in statuses:
            waiting = container["state"].get("waiting", {})
            if waiting.get("message"):
                self._event(pod, "BackOff" if "BackOff" in waiting["reason"] else "Failed", waiting["message"])

    def _container(self, container: Json, age: float, stamp: str, had: Json) -> Json:
        image, unit = container["image"], self.pod_seconds
        word = next((w for w in ("crash", "oom", "pull", "config", "hang", "slow") if w in tag(image)), "")
        creating: Json = {"waiting": {"reason": "ContainerCreating"}}
        running = {"running": {"startedAt": had.get("state", {}).get("running", {}).get("startedAt", now())}}
        ready, restarts, state = False, 0, creating
        last: Json = {}
        match word:
            case "pull" if age >= unit / 2:
                state = {"waiting": _pull_trouble(image, backing_off=age >= unit)}
            case "config" if age >= unit / 2:
                words = 'configmap "web-settings" not found'
                state = {"waiting": {"reason": "CreateContainerConfigError", "message": words}}
            case "crash" | "oom" if age >= unit / 2:
                restarts = sum(1 for at in RESTARTS_AT if age >= at * unit)
                last = {"terminated": _ended(word, had.get("lastState", {}).get("terminated", {}), restarts, stamp)}
                name = container["name"]
                words = f"back-off 10s restarting failed container={name} pod={image}"
                state = {"waiting": {"reason": "CrashLoopBackOff", "message": words}} if restarts else running
                last = last if restarts else {}
            case "hang" if age >= unit / 2:
                state = running
            case "" | "slow" if age >= unit * (SLOW if word else 1):
                ready, state = True, running
        return {
            "name": container["name"],
            "image": image,
            "imageID": f"{image.partition(':')[0]}@sha256:0",
            "ready": ready,
            "restartCount": restarts,
            "state": state,
            "lastState": last,
        }

    def _started_again(self, status: Json, restarts: "_Restarts") -> Json:
        """A container that has exited and runs again; it takes half as long as the first time to become ready."""
        if "running" not in status["state"]:
            return status
        ended = {"exitCode": 1, "reason": "Error", "finishedAt": restarts.stamp}
        return {
            **status,
            "ready": status["ready"] and time.monotonic() - restarts.at >= self.pod_seconds / 2,
            "restartCount": status["restartCount"] + restarts.times,
            "state": {"running": {"startedAt": restarts.stamp}},
            "lastState": {"terminated": ended},
        }

    def _write(self, pod: Json, status: Json) -> None:
        def change(current: Json) -> None:
            current["status"] = status

        self.store.update("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], change)

    def _event(self, pod: Json, reason: str, message: str) -> None:
        record_event(self.store, pod, "Pod", reason, message)


def log(pod: Json, container: str, *, previous: bool) -> str | None:
    """What a container has written; None when there is no such instance."""
    status: Json = next((c for c in pod.get("status", {}).get("containerStatuses", []) if c["name"] == container), {})
    if previous and not status.get("lastState"):
        return None
    image = status.get("image", "")
    if "ContainerCreating" in str(status.get("state")) or "pull" in tag(image) or "config" in tag(image):
        return None
    lines = [f"{pod['metadata']['name']}: starting {image}", "listening on :8080"]
    if "crash" in tag(image):
        lines[1:] = ["connecting to the database", "\x1b[31mpanic: DATABASE_URL is not set\x1b[0m", "exit status 1"]
    return "".join(f"{line}\n" for line in lines)


def tag(image: str) -> str:
    """The tag of an image reference, without a digest."""
    return image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[2]


def condition(old: dict[str, Json], kind: str, status: str, reason: str = "", message: str = "") -> Json:
    """A condition whose transition time moves with its status alone."""
    had = old.get(kind, {})
    entry = {
        "type": kind,
        "status": status,
        "lastTransitionTime": had["lastTransitionTime"] if had.get("status") == status else now(),
    }
    return entry | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})


def record_event(store: Store, about: Json, kind: str, reason: str, message: str) -> None:
    """A Warning event about an object, once per reason and message."""
    meta = about["metadata"]
    name = f"{meta['name']}.{abs(hash((meta['uid'], reason, message))):x}"
    if store.find("events", meta["namespace"], name) is not None:
        return
    event = {
        "metadata": {"name": name},
        "involvedObject": {"kind": kind, "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "count": 1,
        "firstTimestamp": now(),
        "lastTimestamp": now(),
        "source": {"component": "stand-in"},
    }
    store.create("events", meta["namespace"], event)


def _pull_trouble(image: str, *, backing_off: bool) -> Json:
    if backing_off:
        return {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
    return {"reason": "ErrImagePull", "message": f'failed to resolve reference "{image}": {image}: not found'}


def _ended(word: str, had: Json, restarts: int, stamp: str) -> Json:
    same = had.get("containerID") == f"instance-{restarts}"
    return {
        "exitCode": 137 if word == "oom" else 1,
        "reason": "OOMKilled" if word == "oom" else "Error",
        "startedAt": stamp,
        "finishedAt": had["finishedAt"] if same else now(),
        "containerID": f"instance-{restarts}",
    }
