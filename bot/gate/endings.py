"""How a change ends without a delivery: by the clock, or by what somebody did on the code host; and what is left."""

from datetime import timedelta

from bot.gate.outside import Outside, record
from commands import policy
from commands.change_rows import change_entry
from commands.closing import close
from commands.code_host import PullRequest, PullState, StatusState
from commands.endings import Ending
from commands.reasons import ReasonCode
from storage import models
from storage.models import Change, ChangeState
from storage.phases import Phase
from storage.unit_of_work import Note, Store, UnitOfWork


class Endings:
    """The endings of changes. All but `tidy` raise OverError when the change is no more what the visit began with."""

    def __init__(self, store: Store, outside: Outside) -> None:
        self._store = store
        self._out = outside

    def expire(self, change: Change) -> None:
        """End it when its time is over."""
        with record(self._store, change) as (uow, mine):
            if mine.expires_at is None or uow.now < mine.expires_at:
                return
            what = f"Nobody's approval completed it by {mine.expires_at:%Y-%m-%d %H:%M} UTC."
            close(uow, mine, Ending(Phase.EXPIRED, ReasonCode.APPROVAL_EXPIRED, what, "Ask for it again."))

    def is_over(self, change: Change) -> bool:
        """True when somebody has ended what is about to be made again: then there is nothing to make."""
        pull = self._out.host.pull_request(change.pr_number) if change.pr_number is not None else None
        if pull is None or pull.state is PullState.OPEN:
            return False
        self.ended_outside(change, pull)
        return True

    def ended_outside(self, change: Change, pull: PullRequest) -> None:
        """Somebody closed the pull request, or merged it around us."""
        if pull.state is PullState.MERGED and change.state == ChangeState.APPROVED:
            return  # it had what it needs: its delivery looks whether that is what was merged, and goes on
        who = f"`{pull.ended_by}`" if pull.ended_by else "somebody"
        with record(self._store, change) as (uow, mine):
            if pull.state is PullState.CLOSED:
                what = f"{who} closed the pull request on the code host."
                close(
                    uow, mine, Ending(Phase.CANCELLED, ReasonCode.PULL_REQUEST_CLOSED, what, "Ask again when you like.")
                )
                return
            mine.merge_sha, mine.merged_by, mine.merged_at = pull.merge_sha, pull.ended_by, uow.now
            what = (
                f"{who} merged the pull request by hand, around Locktender: `{pull.merge_sha[:12]}` is in git without "
                "the approvals that `locktender.yaml` asks for."
            )
            step = "Look at what was merged; `/rollback` goes back, or ask for the version again to have it rolled out."
            uow.audit(
                change_entry(
                    uow,
                    mine,
                    "change:external-merge",
                    {"merge": pull.merge_sha, "by": pull.ended_by, "pull_request": mine.pr_url},
                )
            )
            self._alert(uow, mine, f"⚠️ {what} {step}")
            close(uow, mine, Ending(Phase.FAILED, ReasonCode.MERGED_BY_HAND, what, step))

    def _alert(self, uow: UnitOfWork, change: Change, text: str) -> None:
        known = policy.catalogue(self._out.facts())
        channel = known.channels.deployments
        uow.send(Note(f"alert:{change.id}", models.Target.CHANNEL, {"text": text}, channel=channel))

    def tidy(self, change: Change) -> timedelta | None:
        """After the end: nothing of it stays open on the code host."""
        if change.pr_number is not None and change.state != ChangeState.MERGED:
            pull = self._out.host.pull_request(change.pr_number)
            if pull.state is PullState.OPEN:
                self._out.host.ensure_status(
                    pull.head_sha, StatusState.FAILURE, "Ended in Locktender: not to be merged"
                )
                self._out.host.ensure_closed(change.pr_number, f"Locktender change `{change.id}` has ended.")
        if change.branch:
            self._out.infra.ensure_no_branch(change.branch)
        return None
