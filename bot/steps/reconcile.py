"""reconcile: one build that applies what git says."""

import random
from datetime import timedelta

from bot.steps.base import DONE, Point, Step, entry, tell_thread
from commands.catalogue import ReconcilerKind
from commands.ports import Build, BuildRef, BuildRequest, BuildState, Pipeline
from commands.reasons import Fault, ReasonCode, Refused, Unknown
from storage.models import Deployment
from storage.phases import Stage

POLL_SECONDS = 1.0
SLOWEST_POLL_SECONDS = 5.0
"""A build of minutes is not asked for every second: the pause grows to a fifth of what it has taken."""
SPREAD = 0.8, 1.2
"""Builds that started together are not asked for at the same instant for ever."""
GOING_ON = {BuildState.QUEUED, BuildState.RUNNING}


class Reconcile(Step):
    """Trigger the build once and follow it to its end."""

    name = "reconcile"
    stage = Stage.RECONCILE

    def work(self, row: Deployment, attempt: int) -> float:
        """Trigger when there is no build yet, else look at it once."""
        if row.reconciler != ReconcilerKind.JENKINS:
            return DONE
        pipeline = self.world.pipeline
        if pipeline is None:
            raise Refused(
                ReasonCode.NOT_CONFIGURED,
                f"`{row.environment}` is applied by Jenkins, and no Jenkins is configured. The commit stands.",
                "Set JENKINS_URL, JENKINS_USER and JENKINS_TOKEN, or `reconciler: none` for this environment.",
            )
        span = self.place(row).environment.timeouts.build
        row = self.patience(row, attempt, Stage.RECONCILE, span)
        if row.queue_id is None and row.build_number is None:
            self._trigger(row, attempt, pipeline)
            return POLL_SECONDS / 4
        build = pipeline.build(row.id, BuildRef(row.job, row.queue_id, row.build_number))
        row = self._record(row, attempt, build)
        if build.state in GOING_ON:
            self.out_of_time(row, _timed_out(row))
            return self._pause(row)
        self.reached(Point.BUILD_ENDED, row.id)
        if build.state is not BuildState.SUCCESS:
            raise _failed(row, build)
        return DONE

    def _pause(self, row: Deployment) -> float:
        waited = self.store.clock() - row.stage_started if row.stage_started else timedelta()
        pause = min(SLOWEST_POLL_SECONDS, max(POLL_SECONDS, waited.total_seconds() / 5))
        return pause * random.uniform(*SPREAD)  # noqa: S311 - nobody gains by guessing it

    def _trigger(self, row: Deployment, attempt: int, pipeline: Pipeline) -> None:
        if not row.build_state:
            with self.record(row, attempt) as (uow, mine):
                mine.build_state = "asked for"
                uow.audit(entry(row, "deployment:build", {"job": row.job, "commit": row.commit_sha}))
            row = mine
        self.reached(Point.BUILD_RECORDED, row.id)
        parameters = {
            "ENVIRONMENT": row.environment,
            "GIT_COMMIT": row.commit_sha,
            "DEPLOYMENT_ID": row.id,
            "DRY_RUN": "false",
        }
        ref = pipeline.ensure_build(BuildRequest(row.id, row.job, parameters))
        self.reached(Point.BUILD_TRIGGERED, row.id)
        with self.record(row, attempt) as (_, mine):
            mine.queue_id, mine.build_number = ref.queue_id, ref.number
            mine.build_state, mine.note = "queued", ""
        self.reached(Point.BUILD_STORED, row.id)

    def _record(self, row: Deployment, attempt: int, build: Build) -> Deployment:
        number = build.ref.number if build.ref.number is not None else row.build_number
        note = _why(build) if build.state in GOING_ON else ""
        now = (number, str(build.state), build.stage, build.url or row.build_url, note)
        if now == (row.build_number, row.build_state, row.build_stage, row.build_url, row.note):
            return row
        with self.record(row, attempt) as (uow, mine):
            mine.build_number, mine.build_state, mine.build_stage, mine.build_url, mine.note = now
            if build.state not in GOING_ON:
                details = {"job": row.job, "number": number, "result": str(build.state), "url": mine.build_url}
                uow.audit(entry(row, "deployment:built", details))
                tell_thread(uow, row, "built", f"{_name(mine)} ended: {build.state}.")
        return mine


def _why(build: Build) -> str:
    """What holds the build up; not the quiet period, whose countdown would change the card every second."""
    return "" if build.why.startswith("In the quiet period") else build.why


def _name(row: Deployment) -> str:
    return f"Build `{row.job}` #{row.build_number}" if row.build_number else f"The build of `{row.job}`"


def _timed_out(row: Deployment) -> Fault:
    return Unknown(
        ReasonCode.BUILD_TIMED_OUT,
        f"{_name(row)} has not ended in the time the catalogue gives it.",
        "Look at the build: if it ends well, the version goes live all the same; deploy again to have that checked.",
    )


def _failed(row: Deployment, build: Build) -> Fault:
    name = _name(row)
    stands = f"The commit stands: git says {row.version}, and {row.environment} may not."
    match build.state:
        case BuildState.ABORTED if row.build_number is None:
            return Refused(
                ReasonCode.BUILD_CANCELLED,
                f"{name} was cancelled in Jenkins' queue. {stands}",
                "Ask who cancelled it, then deploy again.",
            )
        case BuildState.ABORTED:
            return Refused(
                ReasonCode.BUILD_ABORTED,
                f"{name} was aborted in Jenkins. {stands}",
                "Ask who aborted it, then deploy again.",
                detail=build.log_tail,
            )
        case BuildState.LOST:
            return Unknown(
                ReasonCode.BUILD_LOST,
                f"Jenkins no longer knows {name[0].lower()}{name[1:]}: neither in the queue nor among the builds.",
                "Look at the job's history and the cluster; then deploy again.",
            )
        case BuildState.UNSTABLE:
            return Refused(
                ReasonCode.BUILD_UNSTABLE,
                f"{name} ended unstable{_at(build)}. {stands}",
                "Read the tests it names; when they do not matter, deploy again.",
                detail=build.log_tail,
            )
        case _:
            return Refused(
                ReasonCode.BUILD_FAILED,
                f"{name} failed{_at(build)}. {stands}",
                "Read the last lines below and the build's log; mend the cause, then deploy again.",
                detail=build.log_tail,
            )


def _at(build: Build) -> str:
    return f" in stage `{build.stage}`" if build.stage else ""
