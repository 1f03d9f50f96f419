"""rollout: the workload is watched until it runs our image."""

import json
from dataclasses import asdict
from datetime import timedelta

from bot.steps.base import CANNOT_LOOK, DONE, Point, Step, entry
from commands.ports import Rollout as Look
from commands.ports import RolloutRequest, RolloutState, WorkloadRef
from commands.reasons import Fault, ReasonCode, Refused, Unknown
from storage.models import Deployment
from storage.phases import Stage

LOOK_SECONDS = 5.0
"""How long one look at the cluster waits for news."""
APPLY_PATIENCE = timedelta(minutes=2)
"""From the build's success to the new image in the workload's spec."""
ENDS = {RolloutState.DONE, RolloutState.FAILED, RolloutState.REPLACED}


class Rollout(Step):
    """Watch the workload until it runs our image, or say what is in the way."""

    name = "rollout"
    stage = Stage.ROLLOUT
    blind = CANNOT_LOOK

    def work(self, row: Deployment, attempt: int) -> float:
        """One look, recorded when it shows something new."""
        if not row.workload:
            return DONE
        cluster = self.world.cluster
        if cluster is None:
            raise Refused(
                ReasonCode.NOT_CONFIGURED,
                f"The rollout in `{row.environment}` is watched, and no cluster is configured. The commit stands.",
                "Set KUBECONFIG, or `rollout: none` for this environment.",
            )
        span = self.place(row).environment.timeouts.rollout
        row = self.patience(row, attempt, Stage.ROLLOUT, span)
        last = last_look(row.rollout)
        settled = last is not None and last.state in ENDS  # seen before a crash: there is nothing to wait for
        look = cluster.rollout(request(row), last, 0.0 if settled else LOOK_SECONDS)
        self.reached(Point.ROLLOUT_SEEN, row.id)
        row = self._record(row, attempt, look, last)
        match look.state:
            case RolloutState.DONE:
                self.reached(Point.ROLLOUT_DONE, row.id)
                return DONE
            case RolloutState.FAILED | RolloutState.REPLACED:
                reason = look.reason or ReasonCode.ROLLOUT_TIMED_OUT
                raise Refused(reason, look.what, look.next_step, detail=look.log_tail)
            case RolloutState.NOT_APPLIED:
                self._not_applied(row, look, span)
            case RolloutState.PROGRESSING:
                self.out_of_time(row, _timed_out(row, look))
        return 0.2

    def _not_applied(self, row: Deployment, look: Look, span: timedelta) -> None:
        """Raise when the reconciler has had its time and the cluster was never told."""
        if row.stage_started is None:
            return
        waited = self.store.clock() - row.stage_started
        if waited > min(APPLY_PATIENCE, span):
            applied = "the build succeeded" if row.job else "the commit is in git"
            raise Refused(
                ReasonCode.NOT_APPLIED,
                f"{applied[0].upper()}{applied[1:]}, but `{row.workload}` in `{row.namespace}` was never told to run "
                f"{row.version}. {look.what}".strip(),
                "Look whether the job applies this overlay, and to this cluster and namespace; then deploy again.",
            )

    def _record(self, row: Deployment, attempt: int, look: Look, last: Look | None) -> Deployment:
        if look == last and not row.note:
            return row
        with self.record(row, attempt) as (uow, mine):
            mine.rollout, mine.note = json.dumps(asdict(look), ensure_ascii=False), ""
            if look.state in ENDS:
                details = {"state": str(look.state), "updated": look.updated, "available": look.available}
                uow.audit(entry(row, "deployment:rollout", details | {"cause": str(look.reason or "")}))
        return mine


def request(row: Deployment) -> RolloutRequest:
    """What to look for in the cluster."""
    kind, _, name = row.workload.partition("/")
    return RolloutRequest(row.id, WorkloadRef(kind, name, row.namespace, row.context), json.loads(row.images))


def last_look(stored: str) -> Look | None:
    """The last look, as it was stored."""
    if not stored:
        return None
    values = json.loads(stored)
    values["state"] = RolloutState(values["state"])
    values["reason"] = ReasonCode(values["reason"]) if values["reason"] else None
    return Look(**values)


def _timed_out(row: Deployment, look: Look) -> Fault:
    trouble = f" {look.warning}." if look.warning else ""
    counts = f"{look.updated} of {look.desired} pods updated, {look.available} available"
    if look.reason is not None or look.warning:
        return Refused(
            look.reason or ReasonCode.ROLLOUT_TIMED_OUT,
            f"The rollout of `{row.workload}` did not finish in time: {counts}.{trouble}",
            look.next_step or "Look at its pods and events; mend the cause, then deploy again.",
            detail=look.log_tail,
        )
    return Unknown(
        ReasonCode.ROLLOUT_TIMED_OUT,
        f"The rollout of `{row.workload}` did not finish in time, and nothing says why: {counts}.",
        "Look at its pods and events; it may still become ready. Then deploy again to have it checked.",
    )
