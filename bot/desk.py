"""Where a request meets its use case, whoever brought it: Slack, a mention, the command line."""

from collections.abc import Callable

from commands.audit import history
from commands.cancel import cancel
from commands.deploy import deploy
from commands.desk import answer_once
from commands.facts import Facts
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Cancel, Deploy, Help, History, Mistake, Request, Status
from commands.status import status
from storage.unit_of_work import Store, UnitOfWork


class Desk:
    """Answers requests. Blocks for one short transaction: call it in a worker thread."""

    def __init__(self, store: Store, facts: Callable[[], Facts]) -> None:
        self._store = store
        self._facts = facts

    def answer(self, asker: Asker, request: Request) -> Answer:
        """The answer to one delivery; the same one again when the delivery is repeated."""
        facts = self._facts()
        match request:
            case Deploy():
                return deploy(self._store, facts, asker, request)
            case Cancel():
                return cancel(self._store, facts, asker, request)
            case Status():
                return status(self._store, facts, asker, request)
            case History():
                return history(self._store, facts, asker, request)
            case Mistake():
                return self._mistake(facts, asker, request)
            case Help():
                return Answer(ReasonCode.ANSWERED, "")

    def _mistake(self, facts: Facts, asker: Asker, mistake: Mistake) -> Answer:
        def refuse(uow: UnitOfWork) -> Answer:
            del uow
            raise Refused(mistake.reason, mistake.what, mistake.next_step)

        return answer_once(self._store, facts, asker, "command", {"words": mistake.words[:200]}, refuse)
