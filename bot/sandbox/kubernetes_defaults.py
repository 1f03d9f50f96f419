"""What an API server fills in and insists on, for the kinds that a delivery meets. Compared with Kubernetes 1.20."""

import re
from collections.abc import Callable

from bot.sandbox.kubernetes_store import ApiError, Json, Resource

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
WORKLOADS = frozenset({"deployments", "statefulsets", "daemonsets", "replicasets"})


def admit(resource: Resource, body: Json) -> None:
    """Defaults, in place; ApiError 422 Invalid for what a real server would refuse."""
    name = body.get("metadata", {}).get("name") or body.get("metadata", {}).get("generateName", "") + "x"
    faults = [] if NAME.fullmatch(name) else [("metadata.name", "Invalid value: a lowercase RFC 1123 subdomain")]
    if resource.plural in WORKLOADS:
        faults += _workload_faults(body)
    if faults:
        said = ", ".join(f"{field}: {what}" for field, what in faults)
        message = f'{resource.kind}.{resource.group or "core"} "{name}" is invalid: {said}'
        raise ApiError(
            422, "Invalid", message, [{"field": f, "message": m, "reason": "FieldValueInvalid"} for f, m in faults]
        )
    fill = DEFAULTS.get(resource.plural)
    if fill is not None:
        fill(body.setdefault("spec", {}))


def immutable(resource: Resource, old: Json, new: Json) -> None:
    """ApiError 422 when a field changed that never may."""
    if resource.plural in WORKLOADS and old["spec"].get("selector") != new.get("spec", {}).get("selector"):
        name = old["metadata"]["name"]
        raise ApiError(
            422,
            "Invalid",
            f'{resource.kind}.{resource.group} "{name}" is invalid: spec.selector: Invalid value: field is immutable',
        )


def _workload_faults(body: Json) -> list[tuple[str, str]]:
    spec = body.get("spec", {})
    template = spec.get("template", {})
    labels = template.get("metadata", {}).get("labels") or {}
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    faults = []
    if not spec.get("selector"):
        faults.append(("spec.selector", "Required value"))
    if any(labels.get(key) != value for key, value in wanted.items()):
        faults.append(("spec.template.metadata.labels", "Invalid value: `selector` does not match template `labels`"))
    containers = template.get("spec", {}).get("containers") or []
    if not containers:
        faults.append(("spec.template.spec.containers", "Required value"))
    for i, container in enumerate(containers):
        if not container.get("image"):
            faults.append((f"spec.template.spec.containers[{i}].image", "Required value"))
    return faults


def _pod(spec: Json) -> None:
    _fill(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
        image = container.get("image", "")
        tag = image.rsplit("/", 1)[-1].partition(":")[2]
        _fill(
            container,
            resources={},
            terminationMessagePath="/dev/termination-log",
            terminationMessagePolicy="File",
            imagePullPolicy="Always" if "@" not in image and tag in {"", "latest"} else "IfNotPresent",
        )
        for port in container.get("ports", ()):
            _fill(port, protocol="TCP")


def _deployment(spec: Json) -> None:
    _fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={})
    _fill(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _fill(spec["strategy"], rollingUpdate={})
        _fill(spec["strategy"]["rollingUpdate"], maxSurge="25%", maxUnavailable="25%")
    _template(spec)


def _stateful_set(spec: Json) -> None:
    _fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady", updateStrategy={})
    _fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _fill(spec["updateStrategy"], rollingUpdate={})
        _fill(spec["updateStrategy"]["rollingUpdate"], partition=0)
    _template(spec)


def _daemon_set(spec: Json) -> None:
    _fill(spec, revisionHistoryLimit=10, updateStrategy={})
    _fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _fill(spec["updateStrategy"], rollingUpdate={})
        _fill(spec["updateStrategy"]["rollingUpdate"], maxUnavailable=1)
    _template(spec)


def _replica_set(spec: Json) -> None:
    _fill(spec, replicas=1)
    _template(spec)


def _template(spec: Json) -> None:
    spec["template"].setdefault("metadata", {}).setdefault("creationTimestamp", None)
    _pod(spec["template"]["spec"])


def _service(spec: Json) -> None:
    _fill(spec, type="ClusterIP", sessionAffinity="None", clusterIP="10.96.0.10")
    for port in spec.get("ports", ()):
        _fill(port, protocol="TCP", targetPort=port.get("port"))


def _fill(target: Json, **defaults: object) -> None:
    for key, value in defaults.items():
        target.setdefault(key, value)


DEFAULTS: dict[str, Callable[[Json], None]] = {
    "pods": _pod,
    "deployments": _deployment,
    "statefulsets": _stateful_set,
    "daemonsets": _daemon_set,
    "replicasets": _replica_set,
    "services": _service,
}
