"""The verdict on a rollout, from one look at the cluster: pure, so that every case can be told as a test.

The order matters. What the spec asks for comes first, for it says whose rollout this is; then `observedGeneration`,
for until the controller has seen the spec every count and condition is about the one before; then the counts; and only
then trouble, and only that of the new version's pods.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bot.integrations.cluster_objects import FieldOwner, Pod, ReplicaSet, Workload
from bot.integrations.cluster_trouble import Patience, Trouble, refused_pods, settling, troubles
from commands.ports import Rollout, RolloutRequest, RolloutState
from commands.reasons import ReasonCode


@dataclass(frozen=True)
class Look:
    """What was read in one look. Empty tuples where nothing was looked for. `at` is the API server's clock."""

    workload: Workload | None
    at: datetime
    replica_sets: tuple[ReplicaSet, ...] = ()
    pods: tuple[Pod, ...] = ()
    refusals: tuple[str, ...] = ()  # recent refusals to create pods, where only events tell of them


@dataclass(frozen=True)
class Verdict:
    """The rollout, and on failure the pod whose log is worth reading."""

    rollout: Rollout
    culprit: Trouble | None = None


@dataclass(frozen=True)
class _Case:
    """A look at our own version, with what belongs to it found. `base` is the verdict as long as nothing stands out."""

    look: Look
    request: RolloutRequest
    grace: float
    workload: Workload
    newest: ReplicaSet | None
    pods: list[Pod]
    base: Rollout


def judge(look: Look, request: RolloutRequest, last: Rollout | None, *, grace: float) -> Verdict:
    """Decide what one look means. `grace` is how many seconds a curable trouble may stand before it is a failure."""
    seen = last is not None and last.seen
    w = look.workload
    if w is None:
        return Verdict(_missing(request, seen=seen))
    differing = {name: w.images.get(name, "") for name, image in request.images.items() if w.images.get(name) != image}
    if differing:
        return Verdict(_other_image(w, request, differing, seen=seen))
    if w.observed_generation < w.generation:
        return Verdict(Rollout(RolloutState.PROGRESSING, desired=w.desired, generation=w.generation, seen=True))
    newest = newest_replica_set(w, look.replica_sets, request)
    pods = new_pods(w, newest, look.pods, request)
    base = Rollout(
        RolloutState.PROGRESSING,
        desired=w.desired,
        updated=w.updated,
        available=w.available,
        total=w.total,
        generation=w.generation,
        revision=w.revision,
        restarts=_restarts(pods, request),
        seen=True,
    )
    return _progress(_Case(look, request, grace, w, newest, pods, base))


def newest_replica_set(w: Workload, sets: tuple[ReplicaSet, ...], request: RolloutRequest) -> ReplicaSet | None:
    """The ReplicaSet that holds our version; None until the controller has made it."""
    owned = [rs for rs in sets if rs.owner == w.uid]
    newest = max(owned, key=lambda rs: rs.revision, default=None)
    return newest if newest and _has(newest.images, request) else None


def new_pods(w: Workload, newest: ReplicaSet | None, pods: tuple[Pod, ...], request: RolloutRequest) -> list[Pod]:
    """The living pods of the new version, by name."""
    match w.kind:
        case "deployment":
            ours = [p for p in pods if newest is not None and p.owner == newest.uid]
        case "statefulset":
            ours = [p for p in pods if p.owner == w.uid and p.revision == w.revision]
        case _:  # a DaemonSet's status does not name its new revision: its pods' images do
            ours = [p for p in pods if p.owner == w.uid and _has(p.images, request)]
    return sorted((p for p in ours if not p.deleting and p.phase not in {"Failed", "Succeeded"}), key=lambda p: p.name)


def _restarts(pods: list[Pod], request: RolloutRequest) -> int:
    """Restarts of the containers that serve. An init container that is tried again is a pod that has yet to start."""
    ours = (pod for pod in pods if _has(pod.images, request))
    return sum(c.restarts for pod in ours for c in pod.containers if not c.init)


def _progress(case: _Case) -> Verdict:
    look, base, w, pods = case.look, case.base, case.workload, case.pods
    foreign = next((p for p in pods if not _has(p.images, case.request)), None)
    if _complete(w) and (w.desired == 0 or (len(pods) >= _expected(w) and foreign is None)):
        shaky = settling(pods, look.at, case.grace)
        if shaky:
            return Verdict(replace(base, warning=shaky))
        return Verdict(replace(base, state=RolloutState.DONE, warning=_done_warning(w)))
    found = troubles(pods)
    trouble = found[0] if found else _refusal(w, case.newest, look)
    if trouble is not None and trouble.persisted(look.at, case.grace):
        return Verdict(_failed(base, trouble), trouble)
    if _past_deadline(w, case.newest, look.replica_sets):
        culprit = trouble or _unready(w, pods)
        return Verdict(_failed(base, culprit), culprit)
    if trouble is not None:
        return Verdict(_told(base, trouble))
    return Verdict(_waiting(base, w, look, foreign))


def _complete(w: Workload) -> bool:
    if w.kind == "statefulset":
        rolled = w.updated >= _expected(w) and (w.partition > 0 or w.current_revision == w.revision)
        return rolled and w.available == w.desired == w.total
    if w.paused:
        return False
    return w.updated == w.available == w.desired == w.total


def _expected(w: Workload) -> int:
    """How many pods of the new version there will be."""
    return max(0, w.desired - w.partition) if w.kind == "statefulset" else w.desired


def _done_warning(w: Workload) -> str:
    if w.desired == 0:
        return "nothing runs: the workload asks for 0 pods" if w.kind != "daemonset" else "nothing runs: no node fits"
    if w.kind == "statefulset" and w.partition > 0:
        return f"{min(w.partition, w.desired)} of {w.desired} pods keep the earlier version (partition {w.partition})"
    return ""


def _refusal(w: Workload, newest: ReplicaSet | None, look: Look) -> Trouble | None:
    """Pods that could not be created. The Deployment's own condition may speak of an old ReplicaSet: ask ours."""
    for condition in newest.conditions if newest else ():
        if condition.type == "ReplicaFailure" and condition.status == "True":
            return refused_pods(f"{w.kind}/{w.name}", condition.message)
    return refused_pods(f"{w.kind}/{w.name}", look.refusals[0]) if look.refusals else None


def _past_deadline(w: Workload, newest: ReplicaSet | None, sets: tuple[ReplicaSet, ...]) -> bool:
    """The controller gave up on *this* version.

    An undo to a ReplicaSet that still exists keeps the condition of the version before, fresh observedGeneration or
    not, until something moves (pkg/controller/deployment/progress.go). But the message names the ReplicaSet.
    """
    progressing = w.condition("Progressing")
    if progressing is None or progressing.status != "False" or progressing.reason != "ProgressDeadlineExceeded":
        return False
    named = [rs.name for rs in sets if f'"{rs.name}"' in progressing.message]
    return newest is not None and (not named or newest.name in named)


def _unready(w: Workload, pods: list[Pod]) -> Trouble:
    """The progress deadline passed and no pod says why: most often a readiness probe."""
    pod = next((p for p in pods if not p.ready), None)
    container = next((c.name for c in pod.containers if not c.ready), "") if pod else ""
    started = pod is not None and any(c.running_since for c in pod.containers)
    why = f" Pod {pod.name} {'runs but is not ready' if started else 'has not started'}." if pod else ""
    return Trouble(
        ReasonCode.PROGRESS_DEADLINE,
        Patience.DEADLINE,
        "no progress before the deadline",
        f"{w.kind}/{w.name} made no progress before its deadline: {w.available} of {w.desired} pods are up.{why}",
        "Check the readiness probe and the last log lines; then deploy a fixed version, or roll back.",
        pod=pod.name if pod else "",
        container=container,
    )


def _told(base: Rollout, trouble: Trouble) -> Rollout:
    return replace(base, warning=trouble.warning, reason=trouble.reason, what=trouble.what, next_step=trouble.next_step)


def _failed(base: Rollout, trouble: Trouble) -> Rollout:
    return replace(
        base, state=RolloutState.FAILED, reason=trouble.reason, what=trouble.what, next_step=trouble.next_step
    )


def _waiting(base: Rollout, w: Workload, look: Look, foreign: Pod | None) -> Rollout:
    if w.paused:
        return replace(
            base,
            warning="the Deployment is paused",
            reason=ReasonCode.ROLLOUT_PAUSED,
            what=f"{w.kind}/{w.name} is paused: Kubernetes keeps the new version back until somebody resumes it.",
            next_step=f"Remove `paused` from the manifests, or run `kubectl rollout resume {w.kind}/{w.name}`.",
        )
    if w.on_delete and w.updated < _expected(w):
        return replace(base, warning="update strategy OnDelete: pods change only when somebody deletes them")
    if foreign is not None:
        return replace(base, warning=f"pod {foreign.name} runs another image than the workload asks for")
    if w.kind == "statefulset":
        stuck = next((p for p in look.pods if p.owner == w.uid and p.revision != w.revision and not p.ready), None)
        if stuck is not None and not stuck.deleting:
            return replace(
                base, warning=f"pod {stuck.name} of the earlier version is not ready, and may hold up the rest"
            )
    return base


def _missing(request: RolloutRequest, *, seen: bool) -> Rollout:
    w = request.workload
    if seen:
        return Rollout(
            RolloutState.FAILED,
            seen=True,
            reason=ReasonCode.WORKLOAD_MISSING,
            what=f"{w} in namespace {w.namespace} was deleted while it was being rolled out.",
            next_step="Find out who deleted it; deploying again puts it back.",
        )
    return Rollout(
        RolloutState.NOT_APPLIED,
        what=f"There is no {w} in namespace {w.namespace} yet.",
        next_step="Wait for the pipeline to create it, or check the workload's name in the catalogue.",
    )


def _other_image(w: Workload, request: RolloutRequest, differing: dict[str, str], *, seen: bool) -> Rollout:
    name, image = next(iter(differing.items()))
    ours = request.images[name]
    where = f"{request.workload} in namespace {request.workload.namespace}"
    base = Rollout(RolloutState.NOT_APPLIED, desired=w.desired, generation=w.generation, seen=seen)
    if seen:
        who = _who(w.owners.get(name))
        became = f"changed from {ours} to {image}" if image else f"removed (it was to run {ours})"
        return replace(
            base,
            state=RolloutState.REPLACED,
            reason=ReasonCode.ROLLOUT_REPLACED,
            what=f"During the rollout, container {name} of {where} was {became}{who}.",
            next_step="Ask who did it; then deploy the version that you want again.",
        )
    if not image:
        return replace(
            base,
            what=f"{where} has no container called {name}.",
            next_step="Wait for the pipeline to apply the commit, or check the image in the overlay.",
        )
    return replace(
        base,
        what=f"{where} still asks for {image}; {ours} has not been applied yet.",
        next_step="Wait for the pipeline, or look at its build.",
    )


def _who(owner: FieldOwner | None) -> str:
    if owner is None:
        return ""
    when = f" at {owner.time.astimezone(UTC):%H:%M:%S} UTC" if owner.time else ""
    return f" by {owner.manager} ({owner.operation}{when})"


def _has(images: Mapping[str, str], request: RolloutRequest) -> bool:
    return all(images.get(name) == image for name, image in request.images.items())
