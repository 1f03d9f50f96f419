"""Workloads, ReplicaSets and pods as values: what the verdict on a rollout needs of the API server's JSON, no more.

Every field that the API leaves out when it is zero or empty is filled in here, so that nobody else has to know.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

REVISION = "deployment.kubernetes.io/revision"
NO_DEADLINE = 2**31 - 1  # what the API stores for a Deployment that never gives up

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Condition:
    """One entry of `status.conditions`. `since` is its last transition."""

    type: str
    status: str  # True | False | Unknown
    reason: str
    message: str
    since: datetime | None


@dataclass(frozen=True)
class FieldOwner:
    """Who set a field last, as `managedFields` tells it: a program and a moment, never a user."""

    manager: str
    operation: str  # Apply | Update
    time: datetime | None


@dataclass(frozen=True)
class Workload:
    """A Deployment, StatefulSet or DaemonSet. Counts are pods; for what a kind does not count, 0."""

    kind: str  # deployment | statefulset | daemonset
    name: str
    uid: str
    generation: int
    observed_generation: int
    images: Mapping[str, str]  # container (init containers too) -> image, of the pod template
    owners: Mapping[str, FieldOwner]  # container -> who set its image
    selector: str  # label selector of its pods, as the API takes it in a query
    desired: int
    updated: int
    available: int
    total: int
    paused: bool
    revision: str  # of the pod template; StatefulSet: status.updateRevision
    current_revision: str  # StatefulSet: what the pods had before
    partition: int  # StatefulSet: pods below this ordinal keep the earlier version
    on_delete: bool  # pods are replaced only when somebody deletes them
    conditions: tuple[Condition, ...]

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type."""
        return next((c for c in self.conditions if c.type == kind), None)


@dataclass(frozen=True)
class ReplicaSet:
    """One generation of a Deployment's pods."""

    name: str
    uid: str
    owner: str
    revision: int
    images: Mapping[str, str]
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Container:
    """A container of a pod as the kubelet reports it now. Before the first report, only the name is known."""

    name: str
    ready: bool = False
    restarts: int = 0
    waiting: str = ""  # the reason, such as ImagePullBackOff
    message: str = ""
    running_since: datetime | None = None
    exit_code: int | None = None  # of the instance that ended last
    exit_reason: str = ""  # OOMKilled, Error, Completed…
    exited: datetime | None = None
    ended: bool = False  # the current instance has ended, and nothing waits to replace it
    init: bool = False


@dataclass(frozen=True)
class Pod:
    """A pod. `images` is what its spec asks for: the image in its status may be spelt differently by the runtime."""

    name: str
    owner: str  # uid of what made it
    revision: str  # label controller-revision-hash (StatefulSet, DaemonSet)
    created: datetime | None
    deleting: bool
    phase: str
    images: Mapping[str, str]
    containers: tuple[Container, ...]
    conditions: tuple[Condition, ...]

    @property
    def ready(self) -> bool:
        """What the pod's Ready condition says."""
        return any(c.type == "Ready" and c.status == "True" for c in self.conditions)


def moment(text: str | None) -> datetime | None:
    """An RFC 3339 time of the API as an aware datetime; None for what is missing or not a time."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def workload(kind: str, json: Json) -> Workload:
    """Read a workload. Missing fields are what the API means by leaving them out."""
    meta, spec, status = json.get("metadata", {}), json.get("spec", {}), json.get("status", {})
    strategy = spec.get("updateStrategy") or {}
    annotations = meta.get("annotations") or {}
    desired, updated, available, total = _counts(kind, spec, status)
    return Workload(
        kind=kind,
        name=meta.get("name", ""),
        uid=meta.get("uid", ""),
        generation=meta.get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        images=_images(spec.get("template", {}).get("spec", {})),
        owners=_image_owners(meta.get("managedFields") or ()),
        selector=selector_text(spec.get("selector") or {}),
        desired=desired,
        updated=updated,
        available=available,
        total=total,
        paused=bool(spec.get("paused", False)),
        revision=annotations.get(REVISION, "") if kind == "deployment" else status.get("updateRevision", ""),
        current_revision=status.get("currentRevision", ""),
        partition=(strategy.get("rollingUpdate") or {}).get("partition", 0) or 0,
        on_delete=strategy.get("type") == "OnDelete",
        conditions=_conditions(status),
    )


def replica_set(json: Json) -> ReplicaSet:
    """Read a ReplicaSet."""
    meta, spec = json.get("metadata", {}), json.get("spec", {})
    revision = (meta.get("annotations") or {}).get(REVISION, "")
    return ReplicaSet(
        name=meta.get("name", ""),
        uid=meta.get("uid", ""),
        owner=_owner(meta),
        revision=int(revision) if revision.isdecimal() else 0,
        images=_images(spec.get("template", {}).get("spec", {})),
        conditions=_conditions(json.get("status", {})),
    )


def pod(json: Json) -> Pod:
    """Read a pod."""
    meta, spec, status = json.get("metadata", {}), json.get("spec", {}), json.get("status", {})
    return Pod(
        name=meta.get("name", ""),
        owner=_owner(meta),
        revision=(meta.get("labels") or {}).get("controller-revision-hash", ""),
        created=moment(meta.get("creationTimestamp")),
        deleting="deletionTimestamp" in meta,
        phase=status.get("phase", ""),
        images=_images(spec),
        containers=(
            *(_container(c, init=True) for c in status.get("initContainerStatuses") or ()),
            *(_container(c, init=False) for c in status.get("containerStatuses") or ()),
        ),
        conditions=_conditions(status),
    )


def selector_text(selector: Json) -> str:
    """A label selector object in the syntax of the `labelSelector` query parameter."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values") or ())
        match expression["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
    return ",".join(parts)


def _counts(kind: str, spec: Json, status: Json) -> tuple[int, int, int, int]:
    """(desired, updated, available, total)."""
    if kind == "daemonset":
        return (
            status.get("desiredNumberScheduled", 0),
            status.get("updatedNumberScheduled", 0),
            status.get("numberAvailable", 0),
            status.get("currentNumberScheduled", 0),
        )
    # A StatefulSet counts available pods since 1.22; before, ready ones were all that there was to know.
    available = status.get("availableReplicas", status.get("readyReplicas", 0) if kind == "statefulset" else 0)
    return spec.get("replicas", 1), status.get("updatedReplicas", 0), available, status.get("replicas", 0)


def _images(pod_spec: Json) -> dict[str, str]:
    containers = [*(pod_spec.get("initContainers") or ()), *(pod_spec.get("containers") or ())]
    return {container["name"]: container.get("image", "") for container in containers}


def _conditions(status: Json) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            type=c.get("type", ""),
            status=c.get("status", ""),
            reason=c.get("reason", ""),
            message=c.get("message", ""),
            since=moment(c.get("lastTransitionTime")),
        )
        for c in status.get("conditions") or ()
    )


def _owner(meta: Json) -> str:
    return next((str(o["uid"]) for o in meta.get("ownerReferences") or () if o.get("controller")), "")


def _container(json: Json, *, init: bool) -> Container:
    state, last = json.get("state") or {}, json.get("lastState") or {}
    waiting, running, ended = state.get("waiting"), state.get("running"), state.get("terminated")
    exit_of = ended or last.get("terminated") or {}
    return Container(
        name=json.get("name", ""),
        ready=bool(json.get("ready", False)),
        restarts=json.get("restartCount", 0),
        waiting=(waiting or {}).get("reason", ""),
        message=(waiting or {}).get("message", ""),
        running_since=moment((running or {}).get("startedAt")),
        exit_code=exit_of.get("exitCode"),
        exit_reason=exit_of.get("reason", ""),
        exited=moment(exit_of.get("finishedAt")),
        ended=ended is not None,
        init=init,
    )


def _image_owners(managed_fields: Iterable[Json]) -> dict[str, FieldOwner]:
    """Container -> the latest manager of its image. Fields are spelt `k:{"name":"web"}` there."""
    owners: dict[str, FieldOwner] = {}
    for entry in managed_fields:
        template = entry.get("fieldsV1", {}).get("f:spec", {}).get("f:template", {}).get("f:spec", {})
        owner = FieldOwner(entry.get("manager", ""), entry.get("operation", ""), moment(entry.get("time")))
        for group in ("f:containers", "f:initContainers"):
            for key, fields in (template.get(group) or {}).items():
                name = key.removeprefix('k:{"name":"').removesuffix('"}')
                if "f:image" in fields and _later(owner, owners.get(name)):
                    owners[name] = owner
    return owners


def _later(owner: FieldOwner, than: FieldOwner | None) -> bool:
    return than is None or than.time is None or (owner.time is not None and owner.time >= than.time)


def event_time(json: Json) -> datetime | None:
    """When an event was seen last: newer reporters fill a series, older ones two timestamps."""
    series = json.get("series") or {}
    times = (series.get("lastObservedTime"), json.get("lastTimestamp"), json.get("eventTime"))
    return next((moment(t) for t in times if t), moment(json.get("metadata", {}).get("creationTimestamp")))


def event_line(json: Json) -> str:
    """An event as `kubectl describe` would tell it, in one line."""
    count = (json.get("series") or {}).get("count") or json.get("count") or 1
    times = f" (x{count})" if count > 1 else ""
    return f"{json.get('reason', '')}{times}: {' '.join(str(json.get('message', '')).split())}"


def latest(events: Iterable[Json], count: int) -> list[Json]:
    """The last few events, oldest first."""
    floor = datetime.min.replace(tzinfo=UTC)
    return sorted(events, key=lambda e: event_time(e) or floor)[-count:]
