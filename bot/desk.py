"""Where a request meets its use case, whoever brought it: Slack, a mention, the command line."""

from collections.abc import Callable, Mapping
from typing import Any

from commands import requests
from commands.approve import approve, reject, review
from commands.audit import history
from commands.audit_export import export, verify
from commands.audit_open import LinkTo, open_pages
from commands.audit_report import report
from commands.audit_show import show
from commands.cancel import cancel
from commands.deploy import deploy
from commands.desk import answer_once
from commands.evidence import evidence
from commands.facts import Facts
from commands.locks import freeze, lock, unfreeze, unlock
from commands.promote import promote
from commands.queue import queue
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Mistake, Request
from commands.rollback import rollback
from commands.status import status
from commands.why import why
from storage.unit_of_work import Store, UnitOfWork

_USE_CASES: Mapping[type[Request], Callable[[Store, Facts, Asker, Any], Answer]] = {
    requests.Approve: approve,
    requests.Cancel: cancel,
    requests.Deploy: deploy,
    requests.Evidence: evidence,
    requests.Export: export,
    requests.Freeze: freeze,
    requests.History: history,
    requests.Lock: lock,
    requests.Promote: promote,
    requests.Queue: queue,
    requests.Reject: reject,
    requests.Report: report,
    requests.Review: review,
    requests.Rollback: rollback,
    requests.Show: show,
    requests.Status: status,
    requests.Unfreeze: unfreeze,
    requests.Unlock: unlock,
    requests.Verify: verify,
    requests.Why: why,
}
"""Each takes requests of its own type and no others."""


class Desk:
    """Answers requests. Blocks for one short transaction: call it in a worker thread.

    `link` makes links to the pages; None where those are not served.
    """

    def __init__(self, store: Store, facts: Callable[[], Facts], link: LinkTo | None = None) -> None:
        self._store = store
        self._facts = facts
        self._link = link

    def answer(self, asker: Asker, request: Request) -> Answer:
        """The answer to one delivery; the same one again when the delivery is repeated."""
        facts = self._facts()
        use_case = _USE_CASES.get(type(request))
        if use_case is not None:
            return use_case(self._store, facts, asker, request)
        match request:
            case requests.Open():
                return open_pages(self._store, facts, asker, request, self._link)
            case Mistake():
                return self._mistake(facts, asker, request)
            case _:
                return Answer(ReasonCode.ANSWERED, "")

    def _mistake(self, facts: Facts, asker: Asker, mistake: Mistake) -> Answer:
        def refuse(uow: UnitOfWork) -> Answer:
            del uow
            raise Refused(mistake.reason, mistake.what, mistake.next_step)

        return answer_once(self._store, facts, asker, "command", {"words": mistake.words[:200]}, refuse)
