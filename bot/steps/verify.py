"""verify: is it well, does it stay well, and does git still say so? Then the deployment has ended well."""

from datetime import timedelta

from bot.steps.base import CANNOT_LOOK, DONE, WRITE_PATIENCE, Place, Point, Step, entry, tell_thread
from bot.steps.rollout import last_look, request
from commands.catalogue import Verify as Wanted
from commands.endings import Ending, end
from commands.ports import Rollout, RolloutState
from commands.reasons import ReasonCode, Refused
from storage.models import Deployment
from storage.phases import Phase, Stage

LOOK_SECONDS = 5.0
"""Between two looks at an app that is to stay well."""
ONE_LOOK = 5.0
"""Seconds for one answer of a health URL."""


class Verify(Step):
    """Look at the app's health for as long as the catalogue asks, look at git once more, and end."""

    name = "verify"
    stage = Stage.VERIFY
    blind = CANNOT_LOOK

    def work(self, row: Deployment, attempt: int) -> float:
        """End as live where the rollout was watched, as committed where it was not."""
        place = self.place(row)
        wanted = place.known.verify(place.app, place.environment)
        span = WRITE_PATIENCE + (wanted.timeout + wanted.soak if wanted else timedelta())
        row = self.patience(row, attempt, Stage.VERIFY, span)
        if wanted is not None:
            again = self._well(row, attempt, wanted)
            if again > DONE:
                return again
        return self._end_well(row, attempt, place)

    def _end_well(self, row: Deployment, attempt: int, place: Place) -> float:
        now = self.world.writing.said(place.known, place.app, place.environment)
        self.reached(Point.VERIFIED, row.id)
        said = row.version in {now.tag, now.digest}
        moved = "" if said else f"Git has moved on to {now.tag or now.digest[:19]} since."
        if row.workload:
            ending = Ending(Phase.SUCCEEDED, ReasonCode.LIVE, moved)
        elif row.job:
            what = f"The build succeeded; the rollout is not watched in {row.environment}. {moved}".strip()
            ending = Ending(Phase.SUCCEEDED, ReasonCode.COMMITTED, what)
        else:
            what = f"Nothing is watched in {row.environment}: git says {row.version}, and that is all we know. {moved}"
            ending = Ending(Phase.SUCCEEDED, ReasonCode.COMMITTED, what.strip())
        with self.record(row, attempt) as (uow, mine):
            end(uow, mine, ending)
        self.reached(Point.FINISHED, row.id)
        return DONE

    # ------------------------------------------------------------ health and soak

    def _well(self, row: Deployment, attempt: int, wanted: Wanted) -> float:
        """DONE when it has been well for as long as it must; else the seconds until the next look."""
        trouble = self._health(wanted)
        look = self._look(row)
        if row.soak_until is None:
            if trouble:
                return self._not_yet(row, attempt, wanted, trouble)
            row = self._begin(row, attempt, wanted, look)
        elif trouble:
            raise _failed(row, f"It was well, and stopped being so: {trouble}")
        if look is not None:
            self._still_runs(row, look)
        left = (row.soak_until - self.store.clock()).total_seconds() if row.soak_until else 0.0
        if left > 0:
            return min(LOOK_SECONDS, max(0.2, left))
        if look is not None and look.state is not RolloutState.DONE:
            # Pods that are moved or not ready for a moment are no restart, and no proof that it is well either.
            return self._not_up(row, attempt, wanted, look, overdue=-left)
        return DONE

    def _health(self, wanted: Wanted) -> str:
        """What is wrong at the health URL; empty when nothing is, or there is none."""
        if not wanted.url or self.world.health is None:
            return ""
        look = self.world.health.look(wanted.url, wanted.status, ONE_LOOK)
        return "" if look.ok else look.what

    def _look(self, row: Deployment) -> Rollout | None:
        if not row.workload or self.world.cluster is None:
            return None
        return self.world.cluster.rollout(request(row), last_look(row.rollout), 0.0)

    def _not_yet(self, row: Deployment, attempt: int, wanted: Wanted, trouble: str) -> float:
        began = row.stage_started or self.store.clock()
        if self.store.clock() - began > wanted.timeout:
            raise _failed(row, trouble)
        return self._again_soon(row, attempt, wanted, trouble)

    def _again_soon(self, row: Deployment, attempt: int, wanted: Wanted, trouble: str) -> float:
        note = f"{trouble} Looking again until it has had its time."
        if row.note != note:
            with self.record(row, attempt) as (_, mine):
                mine.note = note
        return min(LOOK_SECONDS, max(1.0, wanted.timeout.total_seconds() / 20))

    def _not_up(self, row: Deployment, attempt: int, wanted: Wanted, look: Rollout, *, overdue: float) -> float:
        """Its time is over and some of it is not up: wait as long as for a health URL. `overdue` is in seconds."""
        trouble = f"{look.available} of {look.desired} pods of `{row.workload}` are up."
        if look.warning:
            trouble = f"{trouble[:-1]}: {look.warning}."
        if overdue > wanted.timeout.total_seconds():
            raise _failed(row, trouble)
        return self._again_soon(row, attempt, wanted, trouble)

    def _begin(self, row: Deployment, attempt: int, wanted: Wanted, look: Rollout | None) -> Deployment:
        with self.record(row, attempt) as (uow, mine):
            mine.note = ""
            mine.soak_until = uow.now + wanted.soak
            mine.soak_restarts = look.restarts if look else None
            uow.audit(entry(row, "deployment:healthy", {"url": wanted.url, "soak": int(wanted.soak.total_seconds())}))
            if wanted.soak:
                text = f"It is well. It has to stay so for {int(wanted.soak.total_seconds())} seconds."
                tell_thread(uow, row, "soak", text)
        return mine

    def _still_runs(self, row: Deployment, look: Rollout) -> None:
        """Raise Refused when pods have restarted, or the rollout is no longer what it was."""
        if row.soak_restarts is not None and look.restarts > row.soak_restarts:
            count = look.restarts - row.soak_restarts
            raise Refused(
                ReasonCode.RESTARTED,
                f"Containers of `{row.workload}` restarted {count} time{'s' if count > 1 else ''} after it was live.",
                "Read the logs of its pods; then roll back, or mend it and deploy again.",
                detail=look.log_tail,
            )
        if look.state in {RolloutState.FAILED, RolloutState.REPLACED}:
            raise Refused(
                look.reason or ReasonCode.VERIFICATION_FAILED, look.what, look.next_step, detail=look.log_tail
            )


def _failed(row: Deployment, trouble: str) -> Refused:
    return Refused(
        ReasonCode.VERIFICATION_FAILED,
        f"{row.version} runs in {row.environment}, and is not well. {trouble}",
        "Roll back with the button below, or mend it and deploy again.",
    )
