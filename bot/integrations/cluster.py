"""Watching rollouts on Kubernetes: `get`, `list` and `watch`, nothing else, so a read-only role is enough.

Between two looks the workload is watched from the version that was listed, so no change of it is missed and its end is
seen at once; pods, whose troubles never show there in time, are listed again every second while a rollout is under way.
Nothing is remembered between calls but connections: another process goes on with the last `Rollout` alone.
"""

import contextlib
import re
import time
import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.integrations import cluster_objects as objects
from bot.integrations.cluster_api import ClusterApi, Expired, Json
from bot.integrations.cluster_judge import Look, Verdict, judge
from bot.integrations.cluster_objects import Workload
from bot.integrations.cluster_trouble import Trouble
from commands.ports import Rollout, RolloutRequest, RolloutState, WorkloadRef
from commands.reasons import ReasonCode, Refused, Retry

POD_SECONDS = 1  # between two lists of the pods of a rollout that is under way
QUIET_SECONDS = 30  # longest watch while there is nothing but the workload to look at
LOG_LINES = 20
LOG_BYTES = 16 * 1024  # read from the API server, which cuts at the front
TAIL_CHARACTERS = 4000  # of log and events that are handed on
LINE_CHARACTERS = 400
EVENT_LINES = 5
KINDS = ("deployment", "statefulset", "daemonset")
REFUSAL_AGE = timedelta(minutes=2)  # how long an event that pods could not be created is news
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


@dataclass(frozen=True)
class _Seen:
    """The workload as listed or watched: where to watch on from, and the API server's clock then."""

    workload: Workload | None
    version: str
    at: datetime


class KubernetesCluster:
    """Rollouts of the clusters in a kubeconfig (`ports.Cluster`). Thread-safe.

    `kubeconfig` is a path (or several, joined by `:`); None is `~/.kube/config`, or the pod's own service account.
    `timeout` is in seconds, for connecting and for the silence before an answer. `grace` is how many seconds a trouble
    that often heals by itself (a failing pull, a crash) may stand before the rollout is called failed.
    """

    def __init__(self, kubeconfig: str | None = None, *, timeout: float = 10.0, grace: float = 15.0) -> None:
        self._api = ClusterApi(kubeconfig, timeout=timeout)
        self._grace = grace

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def rollout(self, request: RolloutRequest, last: Rollout | None, wait: float) -> Rollout:
        """The next look that differs from `last`, or the same after `wait` seconds.

        Refused: CLUSTER_CREDENTIALS (with the verb and resource that the role lacks), NOT_CONFIGURED. Retry:
        CLUSTER_UNREACHABLE. A workload that is not there is an answer, not an error.
        """
        _check_kind(request.workload)
        deadline = time.monotonic() + wait
        seen = self._find(request.workload)
        while True:
            verdict = self._look(seen, request, last)
            left = deadline - time.monotonic()
            if verdict.rollout != last or left <= 0:
                return self._explained(request.workload, verdict)
            quiet = verdict.rollout.state is not RolloutState.PROGRESSING
            seen = self._await_change(request.workload, seen, min(left, QUIET_SECONDS if quiet else POD_SECONDS))

    def running_images(self, workload: WorkloadRef) -> dict[str, str]:
        """Container (init containers too) -> image, as the workload's spec says; empty when there is none."""
        _check_kind(workload)
        found = self._find(workload).workload
        return dict(found.images) if found else {}

    def check(self, context: str, namespace: str = "") -> str:
        """The API server's version. With a namespace: refused unless all that `rollout` reads there may be read."""
        version = self._api.version(context)
        if namespace:
            for resource in ("deployments", "replicasets", "pods", "events"):
                self._api.list(context, resource, namespace, limit="1")
        return version

    def _find(self, ref: WorkloadRef) -> _Seen:
        """A list of one: unlike a get, it has a version to watch from even when there is nothing yet."""
        listing = self._api.list(ref.context, f"{ref.kind}s", ref.namespace, fieldSelector=f"metadata.name={ref.name}")
        workload = objects.workload(ref.kind, listing.items[0]) if listing.items else None
        return _Seen(workload, listing.version, listing.at)

    def _look(self, seen: _Seen, request: RolloutRequest, last: Rollout | None) -> Verdict:
        look = Look(seen.workload, seen.at)
        verdict = judge(look, request, last, grace=self._grace)
        w = seen.workload
        if w is None or verdict.rollout.state is not RolloutState.PROGRESSING or w.observed_generation < w.generation:
            return verdict  # pods would not change it
        context, namespace = request.workload.context, request.workload.namespace
        sets = (
            self._api.list(context, "replicasets", namespace, labelSelector=w.selector) if _is_deployment(w) else None
        )
        pods = self._api.list(context, "pods", namespace, labelSelector=w.selector)
        look = Look(
            w,
            pods.at,
            tuple(objects.replica_set(item) for item in sets.items) if sets else (),
            tuple(objects.pod(item) for item in pods.items),
            self._refusals(request.workload, w, pods.at) if sets is None and w.total < w.desired else (),
        )
        return judge(look, request, last, grace=self._grace)

    def _await_change(self, ref: WorkloadRef, seen: _Seen, seconds: float) -> _Seen:
        """The workload after its next change, or as it was when `seconds` have passed."""
        if seconds < 1:
            time.sleep(seconds)  # the API counts watches in whole seconds
            return self._find(ref)
        field = f"metadata.name={ref.name}"
        watch = self._api.watch(ref.context, f"{ref.kind}s", ref.namespace, seen.version, int(seconds), field)
        started = time.monotonic()
        try:
            with contextlib.closing(watch):
                for event in watch:
                    changed = _changed(ref, event, seen)
                    if changed.workload is not seen.workload:
                        return changed
                    seen = changed
        except Expired:
            return self._find(ref)
        if time.monotonic() - started < seconds / 2:
            time.sleep(min(POD_SECONDS, seconds))  # cut short by the server or the network: no busy loop
        return seen

    def _refusals(self, ref: WorkloadRef, w: Workload, now: datetime) -> tuple[str, ...]:
        """StatefulSets and DaemonSets tell in events alone that their pods are refused."""
        with contextlib.suppress(Refused):
            found = self._api.list(
                ref.context, "events", ref.namespace, fieldSelector=f"involvedObject.uid={w.uid},reason=FailedCreate"
            )
            recent = [e for e in found.items if (objects.event_time(e) or now) > now - REFUSAL_AGE]
            return tuple(str(e.get("message", "")) for e in recent)
        return ()

    def _explained(self, ref: WorkloadRef, verdict: Verdict) -> Rollout:
        """The verdict, with the failing pod's last words."""
        if verdict.rollout.state is not RolloutState.FAILED or verdict.culprit is None or not verdict.culprit.pod:
            return verdict.rollout
        parts = [self._log(ref, verdict.culprit), self._events(ref, verdict.culprit.pod)]
        return replace(verdict.rollout, log_tail="\n".join(filter(None, parts))[-TAIL_CHARACTERS:])

    def _log(self, ref: WorkloadRef, culprit: Trouble) -> str:
        if culprit.reason not in {ReasonCode.CRASH_LOOP, ReasonCode.PROGRESS_DEADLINE} or not culprit.container:
            return ""  # nothing has run
        query = {"container": culprit.container, "tailLines": str(LOG_LINES), "limitBytes": str(LOG_BYTES)}
        text = None
        if culprit.crashed:
            text = self._api.log(ref.context, ref.namespace, culprit.pod, previous="true", **query)
        if not text:
            text = self._api.log(ref.context, ref.namespace, culprit.pod, **query)
        return "\n".join(clean(line) for line in (text or "").splitlines()[-LOG_LINES:])

    def _events(self, ref: WorkloadRef, pod: str) -> str:
        with contextlib.suppress(Refused, Retry):
            found = self._api.list(
                ref.context, "events", ref.namespace, fieldSelector=f"involvedObject.name={pod},type=Warning"
            )
            return "\n".join(clean(objects.event_line(e)) for e in objects.latest(found.items, EVENT_LINES))
        return ""


def clean(line: str) -> str:
    """One line without colours, control and direction-changing characters, cut to a readable length."""
    plain = ANSI.sub("", line).replace("\t", "  ")
    return "".join(c for c in plain if unicodedata.category(c) not in {"Cc", "Cf"})[:LINE_CHARACTERS]


def _changed(ref: WorkloadRef, event: Json, seen: _Seen) -> _Seen:
    version = event["object"]["metadata"]["resourceVersion"]
    match event["type"]:
        case "BOOKMARK":
            return replace(seen, version=version)
        case "DELETED":
            return replace(seen, workload=None, version=version)
        case _:
            return replace(seen, workload=objects.workload(ref.kind, event["object"]), version=version)


def _is_deployment(w: Workload) -> bool:
    return w.kind == "deployment"


def _check_kind(ref: WorkloadRef) -> None:
    if ref.kind not in KINDS:
        raise Refused(
            ReasonCode.NOT_CONFIGURED,
            f"Rollouts of a {ref.kind} cannot be watched; {', '.join(KINDS)} can.",
            "Correct the workload of this app in the catalogue.",
        )
