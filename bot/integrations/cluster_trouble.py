"""What is wrong with a pod, in the words of somebody who has to do something about it. Pure.

Reasons are those of the kubelet and the scheduler; `Patience` says how long each may stand before it is called a
failure, for most of them heal by themselves now and then.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.integrations.cluster_objects import Container, Pod
from commands.reasons import ReasonCode

PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"})
CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
MESSAGE_LIMIT = 300  # characters of the cluster's own words in a sentence


class Patience(StrEnum):
    """How long a trouble may stand."""

    NONE = "none"  # nothing but a new version heals it
    GRACE = "grace"  # often heals within seconds
    DEADLINE = "deadline"  # heals when the cluster makes room: only the progress deadline ends it


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not become ready. `since` is the earliest moment that the pod's own timestamps give away."""

    reason: ReasonCode
    patience: Patience
    warning: str  # a few words
    what: str
    next_step: str
    since: datetime | None = None
    pod: str = ""
    container: str = ""
    crashed: bool = False  # the log worth reading is that of the instance before

    def persisted(self, now: datetime, grace: float) -> bool:
        """True when it has stood for longer than its patience."""
        match self.patience:
            case Patience.NONE:
                return True
            case Patience.GRACE:
                return self.since is not None and (now - self.since).total_seconds() >= grace
            case Patience.DEADLINE:
                return False


def troubles(pods: Iterable[Pod]) -> list[Trouble]:
    """What is wrong with these pods, the least curable and longest standing first."""
    found = [trouble for pod in pods for trouble in _pod_troubles(pod)]
    order = list(Patience)
    return sorted(found, key=lambda t: (order.index(t.patience), t.since.timestamp() if t.since else 0.0, t.pod))


def refused_pods(owner: str, message: str) -> Trouble:
    """The API server refused to create a pod: a quota, or another rule of the namespace."""
    said = shorten(message)
    if "quota" in message:
        return Trouble(
            ReasonCode.QUOTA,
            Patience.DEADLINE,
            "the namespace's quota does not allow more pods",
            f"The namespace's quota leaves no room for the pods of {owner}: {said}.",
            "Free some of the quota or have it raised; then deploy again.",
        )
    return Trouble(
        ReasonCode.CONTAINER_CONFIG,
        Patience.DEADLINE,
        "the cluster refuses to create the pods",
        f"The cluster refuses to create the pods of {owner}: {said}.",
        "Change the manifests to what the cluster's rules allow; then deploy again.",
    )


def settling(pods: Iterable[Pod], now: datetime, grace: float) -> str:
    """A container that has crashed and only just runs again, as a warning; empty when all have stayed up."""
    for pod in pods:
        for c in pod.containers:
            crashed = c.restarts > 0 and c.exit_code not in {None, 0}
            if crashed and c.running_since is not None and (now - c.running_since).total_seconds() < grace:
                return (
                    f"container {c.name} of {pod.name} was restarted ({_exit(c)}): waiting to see whether it stays up"
                )
    return ""


def shorten(message: str) -> str:
    """The cluster's own words as one short line, without the full stop."""
    line = " ".join(message.split()).rstrip(".")
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


def _pod_troubles(pod: Pod) -> Iterable[Trouble]:
    for condition in pod.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield Trouble(
                ReasonCode.UNSCHEDULABLE,
                Patience.DEADLINE,
                f"no node takes pod {pod.name}",
                f"No node can take pod {pod.name}: {shorten(condition.message) or condition.reason}.",
                "Make room in the cluster, or lower what the pod asks for; then deploy again.",
                since=condition.since or pod.created,
                pod=pod.name,
            )
    for container in pod.containers:
        trouble = _container_trouble(pod, container)
        if trouble is not None:
            yield trouble


def _container_trouble(pod: Pod, c: Container) -> Trouble | None:
    if c.waiting == "InvalidImageName":
        return _pull(pod, c, Patience.NONE)
    if c.waiting in PULL:
        return _pull(pod, c, Patience.GRACE)
    if c.waiting in CONFIG:
        return Trouble(
            ReasonCode.CONTAINER_CONFIG,
            Patience.GRACE,
            f"container {c.name} cannot be created ({c.waiting})",
            f"Container {c.name} of pod {pod.name} cannot be created ({c.waiting}){_said(c)}.",
            "Check the ConfigMaps, Secrets and command that the manifests name; then deploy again.",
            since=pod.created,
            pod=pod.name,
            container=c.name,
        )
    failed = c.exit_code not in {None, 0} or (c.ended and not c.init)
    if c.waiting == "CrashLoopBackOff" or (failed and not c.ready and (c.ended or c.restarts > 0)):
        return _crash(pod, c)
    return None


def _pull(pod: Pod, c: Container, patience: Patience) -> Trouble:
    image = pod.images.get(c.name, "")
    if patience is Patience.NONE:
        next_step = "Correct the image's name in the manifests or the catalogue; then deploy again."
    else:
        tag = image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[2] or "the image"
        next_step = (
            f"Check that {tag} was pushed to {_registry(image)} and that the cluster may read it; then deploy again."
        )
    return Trouble(
        ReasonCode.IMAGE_PULL,
        patience,
        f"{image} cannot be pulled ({c.waiting})",
        f"The cluster cannot pull {image} for pod {pod.name} ({c.waiting}){_said(c)}.",
        next_step,
        since=pod.created,
        pod=pod.name,
        container=c.name,
    )


def _crash(pod: Pod, c: Container) -> Trouble:
    # One restart may be bad luck (a database that was not there yet): its age counts from the crash. From the second
    # on it is the version's own doing, for as long as the pod has been there.
    since = pod.created if c.restarts != 1 or c.exited is None else c.exited
    exited = _exit(c)
    how = f" ({exited})" if exited else ""
    if c.exit_reason == "OOMKilled":
        next_step = "Raise the container's memory limit or find the leak; then deploy again, or roll back."
    else:
        next_step = "Read the last log lines, fix the cause and deploy a new version, or roll back."
    return Trouble(
        ReasonCode.CRASH_LOOP,
        Patience.GRACE,
        f"container {c.name} keeps crashing{how}",
        f"Container {c.name} of pod {pod.name} keeps crashing{how}.",
        next_step,
        since=since,
        pod=pod.name,
        container=c.name,
        crashed=c.restarts > 0 and not c.ended,
    )


def _said(c: Container) -> str:
    return f": {shorten(c.message)}" if c.message else ""


def _exit(c: Container) -> str:
    if c.exit_code is None:
        return ""
    reason = f"{c.exit_reason}, " if c.exit_reason not in {"", "Error", "Completed"} else ""
    return f"{reason}exit code {c.exit_code}"


def _registry(image: str) -> str:
    host, slash, _ = image.partition("/")
    return host if slash and ("." in host or ":" in host or host == "localhost") else "Docker Hub"
