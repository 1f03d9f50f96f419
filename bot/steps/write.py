"""write: one commit on the branch."""

import json

from bot.gate.merges import NotNowError, stand_down
from bot.steps.base import DONE, ENDED, WRITE_PATIENCE, Place, Point, Step, entry, tell_thread
from bot.writing import Written
from commands.holds import hold
from commands.reasons import ReasonCode, Refused
from storage import gate
from storage.models import Deployment, Kind
from storage.phases import STAGE_ORDER, Phase, Stage

WAIT_FOR_OTHERS = 0.2
"""Seconds between looks at the other deployments of a set."""


class Write(Step):
    """Put the change on the remote branch exactly once, or find it there."""

    name = "write"
    stage = Stage.WRITE

    def work(self, row: Deployment, attempt: int) -> float:
        """Record the intent, push, record the commit. From the first record on it can no longer be cancelled."""
        place = self.allowed(row)
        if row.stage != Stage.WRITE:
            with self.record(row, attempt) as (uow, mine):
                mine.stage, mine.stage_started = Stage.WRITE, uow.now
                mine.stage_deadline = uow.now + WRITE_PATIENCE
                uow.audit(entry(row, "deployment:write", {"overlay": row.overlay, "version": row.version}))
            row = mine
        self.reached(Point.WRITE_RECORDED, row.id)
        if row.change_id:
            if not self._all_here(row):
                return WAIT_FOR_OTHERS
            try:
                written = self._merge(row, place)
            except NotNowError as way:
                stand_down(self.store, row.change_id, way.what)
                self.world.changed()
                return ENDED
        else:
            written = self.world.writing.ensure(row, place.known, place.app, place.environment)
        self.reached(Point.PUSHED, row.id)
        with self.record(row, attempt) as (uow, mine):
            mine.commit_sha, mine.committed_at = written.commit, uow.now
            mine.base_sha, mine.note = written.parent, ""
            if written.images:
                mine.images = json.dumps(dict(written.images))
            mine.stage, mine.stage_deadline = Stage.RECONCILE, None
            details = {"commit": written.commit, "version": row.version, "digest": row.digest, "tries": written.tries}
            uow.audit(entry(row, "deployment:commit", details))
            tell_thread(uow, row, "commit", written.story, written.difference)
            if row.kind == Kind.ROLLBACK:
                hold(uow, place.known, mine)
        self.world.pushed(written.commit)
        self.reached(Point.COMMIT_RECORDED, row.id)
        return DONE

    def _all_here(self, row: Deployment) -> bool:
        """True when every deployment of the change has come this far: one that cannot be done stops all."""
        with self.store.read() as uow:
            others = gate.members(uow, row.change_id)
        before = STAGE_ORDER.index(Stage.WRITE)
        running = [one for one in others if one.phase == Phase.RUNNING]
        return all(STAGE_ORDER.index(Stage(one.stage)) >= before for one in running)

    def _merge(self, row: Deployment, place: Place) -> Written:
        """The change that it is a part of, merged once by whichever of its deployments comes first."""
        if self.world.merges is None:
            raise Refused(
                ReasonCode.NOT_CONFIGURED,
                f"`{row.environment}` is changed by pull requests, and no code host is configured. Nothing was merged.",
                "Set GITHUB_REPOSITORY and GITHUB_TOKEN (or a GitHub App) and restart.",
            )
        done = self.world.merges.ensure(row)
        return self.world.writing.merged(row, place.known, place.app, place.environment, done.commit, done.parent)
