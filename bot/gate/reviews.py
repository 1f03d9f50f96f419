"""Reviews on the code host, read as approvals and rejections; and approvals that are taken back with a lost role."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from commands import approve
from commands.approvals import Voice, compared, may_approve
from commands.approve import APPROVED
from commands.catalogue import Accept, Catalogue
from commands.change_rows import change_entry
from commands.closing import close
from commands.code_host import Review, Verdict
from commands.endings import Ending
from commands.facts import Facts
from commands.reasons import ReasonCode, Refused
from storage import gate, models
from storage.models import Approval, Change, ChangeState
from storage.phases import Phase
from storage.unit_of_work import AuditEntry, Note, Store, UnitOfWork

WITHDRAWN = "withdrawn"


class Reviews:
    """Takes in what was said on the code host. One transaction per look."""

    def __init__(self, store: Store, facts: Callable[[], Facts]) -> None:
        self._store = store
        self._facts = facts

    def read(self, change: Change, reviews: Sequence[Review], known: Catalogue) -> None:
        """Count the latest word of each reviewer on the head that is shown; who may not is told why, once."""
        rule = known.environments[change.environment].approval
        if rule is None or rule.accept is Accept.SLACK:
            return
        latest = {one.login: one for one in reviews if one.verdict is not Verdict.COMMENTED}
        facts = self._facts()
        with self._store.write() as uow:
            mine = gate.held(uow, change.id)
            if mine is None or (mine.state, mine.content) != (change.state, change.content):
                return
            if mine.state not in {ChangeState.OPEN, ChangeState.APPROVED}:
                return
            for one in latest.values():
                if one.commit_sha == mine.head_sha and not self._take(uow, mine, one, known, facts):
                    return

    def forget(self, change: Change, known: Catalogue) -> None:
        """Take back what was said by people who have lost the role, so that the card asks for somebody else.

        Whoever cannot be told a member at the moment keeps their word: it just does not count until that is known.
        """
        facts = self._facts()
        with self._store.read() as uow:
            if not _lost(uow, change, known, facts):
                return
        with self._store.write() as uow:
            mine = gate.held(uow, change.id)
            if mine is None or (mine.state, mine.content) != (change.state, change.content):
                return
            for one in _lost(uow, mine, known, facts):
                one.verdict = WITHDRAWN
                who = Voice(one.slack_user, one.login).shown
                mine.moved = f"{who} may no longer approve this, so their approval was taken back."
                details = {"content": mine.content, "person": one.person, "what": mine.moved}
                uow.audit(change_entry(uow, mine, "change:withdraw", details))
            gate.change_shown(uow, mine)

    def _take(self, uow: UnitOfWork, change: Change, review: Review, known: Catalogue, facts: Facts) -> bool:
        """One reviewer's word; False when it has ended the change."""
        before = next((one for one in gate.approvals(uow, change) if one.login == review.login), None)
        if review.verdict is Verdict.DISMISSED:
            _withdraw(uow, change, before, review)
            return True
        if before is not None and before.verdict == APPROVED and review.verdict is Verdict.APPROVED:
            return True
        if gate.said_before(uow, change, review.login, review.at):
            return True  # of what was shown earlier: the rules have changed since, or what it is built from
        try:
            who = may_approve(known, facts, approve.reviewed(known, change), Voice(login=review.login))
        except Refused as fault:
            text = f"The review by `{review.login}` on GitHub does not count: {fault.what} {fault.next_step}"
            key = f"thread:{change.card_id}:review:{review.id}"
            uow.send(Note(key, models.Target.THREAD, {"text": text}, deployment_id=change.card_id))
            return True
        if review.verdict is Verdict.CHANGES_REQUESTED:
            if change.state != ChangeState.OPEN:
                _withdraw(uow, change, before, review)  # too late to refuse it, not to take back a yes
                return True
            uow.audit(_entry(uow, change, "change:reject", review))
            said = f": {review.body[:500]}" if review.body.strip() else "."
            what = f"`{review.login}` asked for changes on GitHub{said}"
            step = "Nothing was merged. See to it, then ask again."
            close(uow, change, Ending(Phase.REJECTED, ReasonCode.REJECTED_BY_PERSON, what, step))
            return False
        if before is not None:
            before.verdict, before.at = APPROVED, review.at
            told = compared(known, approve.reviewed(known, change), Voice(login=review.login))
            uow.audit(_entry(uow, change, "change:approve", review, {"person": who.key, **told.details()}))
            return True
        if any(one.person == who.key and one.verdict == APPROVED for one in gate.approvals(uow, change)):
            return True  # the same person has said so in Slack
        approve.record_approval(
            uow,
            change,
            Approval(
                change_id=change.id,
                content=change.content,
                person=who.key,
                verdict=APPROVED,
                login=review.login,
                source="github",
                comment=review.body[:500],
                at=review.at,
            ),
            compared(known, approve.reviewed(known, change), Voice(login=review.login)),
        )
        return True


def _lost(uow: UnitOfWork, change: Change, known: Catalogue, facts: Facts) -> list[Approval]:
    """The approvals of what is shown whose givers are certainly no approvers any more."""
    wanted = approve.reviewed(known, change)
    found: list[Approval] = []
    for one in gate.approvals(uow, change):
        if one.verdict != APPROVED:
            continue
        try:
            may_approve(known, facts, wanted, Voice(one.slack_user, one.login))
        except Refused as fault:
            if fault.reason is ReasonCode.NOT_AN_APPROVER:
                found.append(one)
    return found


def _withdraw(uow: UnitOfWork, change: Change, before: Approval | None, review: Review) -> None:
    if before is not None and before.verdict == APPROVED:
        before.verdict = WITHDRAWN
        uow.audit(_entry(uow, change, "change:withdraw", review))
        gate.change_shown(uow, change)


def _entry(
    uow: UnitOfWork, change: Change, action: str, review: Review, more: Mapping[str, object] = MappingProxyType({})
) -> AuditEntry:
    details = {
        "content": change.content,
        "head": change.head_sha,
        "pull_request": change.pr_url,
        "review": review.url or str(review.id),
        "comment": review.body[:500],
        **more,
    }
    return change_entry(uow, change, action, details, actor=f"github:{review.login}")
