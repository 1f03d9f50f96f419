"""check: is it possible? Everything is looked up and rendered; nothing outside is touched."""

import json

from bot.steps.base import DONE, ENDED, WRITE_PATIENCE, Point, Step, tell_asker
from commands.catalogue import RolloutWatch
from commands.endings import Ending, end
from commands.reasons import ReasonCode
from storage.models import Deployment, Kind
from storage.phases import Phase, Stage


class Check(Step):
    """Look up the names again, find the overlay, ask the registry, and render what would be committed."""

    name = "check"
    stage = Stage.CHECK

    def work(self, row: Deployment, attempt: int) -> float:
        """Fill in what the later steps need; end a preview here."""
        row = self.patience(row, attempt, Stage.CHECK, WRITE_PATIENCE)
        place = self.allowed(row)
        writing = self.world.writing
        workload = place.known.workload(place.app, place.environment)
        watched = place.environment.rollout is RolloutWatch.WATCH
        plan = writing.plan(row, place.known, place.app, place.environment, workload if watched else None)
        with self.record(row, attempt) as (_, mine):
            mine.overlay, mine.base_sha = plan.content.overlay, plan.commit
            mine.version, mine.digest = plan.version, plan.content.image.digest
            mine.restore_commit = plan.content.restored or mine.restore_commit  # a person may have typed its beginning
            before = plan.content.before.tag or plan.content.before.digest[:19]
            mine.previous = before if before != mine.version else ""
            mine.images = json.dumps(dict(plan.images))
            mine.reconciler, mine.job = place.environment.reconciler.kind, place.environment.reconciler.job
            mine.workload = str(workload) if watched else ""
            mine.namespace, mine.context = workload.namespace, workload.context
            mine.note = ""
        self.reached(Point.CHECKED, row.id)
        if row.kind != Kind.PREVIEW:
            return DONE
        difference = writing.difference(plan)
        name = f"`{row.app}` `{row.version}` to `{row.environment}`"
        text = (
            f"{name} would change: {difference.summary}. Nothing was committed; "
            f"`/deploy {row.app} {row.version} {row.environment}` does it."
        )
        with self.record(row, attempt) as (uow, mine):
            tell_asker(uow, mine, text, difference.text)
            end(uow, mine, Ending(Phase.SUCCEEDED, ReasonCode.PREVIEWED, difference.summary))
        return ENDED
