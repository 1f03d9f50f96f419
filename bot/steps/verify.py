"""verify: does git still say so? Then the deployment has ended well."""

from bot.steps.base import CANNOT_LOOK, DONE, WRITE_PATIENCE, Point, Step
from commands.endings import Ending, end
from commands.reasons import ReasonCode
from storage.models import Deployment
from storage.phases import Phase, Stage


class Verify(Step):
    """Look at git once more, and end."""

    name = "verify"
    stage = Stage.VERIFY
    blind = CANNOT_LOOK

    def work(self, row: Deployment, attempt: int) -> float:
        """End as live where the rollout was watched, as committed where it was not."""
        row = self.patience(row, attempt, Stage.VERIFY, WRITE_PATIENCE)
        place = self.place(row)
        now = self.world.writing.said(place.known, place.app, place.environment)
        self.reached(Point.VERIFIED, row.id)
        moved = "" if now.tag == row.version else f"Git has moved on to {now.tag or now.digest[:19]} since."
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
