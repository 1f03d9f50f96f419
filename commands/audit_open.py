"""`/audit open [ID]`: a link that opens the pages for whoever asks."""

from collections.abc import Callable
from dataclasses import replace

from commands import audit_policy, audit_show
from commands.desk import answer_once
from commands.facts import Facts
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Open, Row
from storage.unit_of_work import AuditEntry, Store, UnitOfWork

LinkTo = Callable[[Asker, str], str]
"""Makes a link for this person to what has this id; to the first page when it is empty."""


def open_pages(store: Store, facts: Facts, asker: Asker, request: Open, link: LinkTo | None) -> Answer:
    """Hand out a link. It is in no row and in no remembered answer: a delivery that is repeated gets a new one."""

    def decide(uow: UnitOfWork) -> Answer:
        audit_policy.may_read(facts, asker)
        if link is None:
            raise Refused(
                ReasonCode.NOT_CONFIGURED,
                "The pages are not served: LOCKTENDER_PUBLIC_URL, the address where browsers find them, is not set.",
                "Ask the platform team to set it. `/audit history` and `/audit show ID` have the same here in Slack.",
            )
        name = audit_show.find(uow, request.words).name if request.words else ""
        uow.audit(
            AuditEntry(
                action="pages:link",
                actor=asker.user_id,
                team_id=asker.team_id,
                deployment_id=name,
                details={"source": str(asker.source)},
            )
        )
        return Answer(
            ReasonCode.ANSWERED,
            "Here is your link to the pages. It works once, for five minutes; after that you stay signed in for eight "
            "hours.",
            "Whoever opens it is signed in as you: keep it to yourself.",
            deployment_id=name,
        )

    answer = answer_once(store, facts, asker, "pages:link", {"words": " ".join(request.words)[:200]}, decide)
    if answer.refused or link is None:
        return answer
    where = f"The page of `{answer.deployment_id}`" if answer.deployment_id else "What runs where"
    return replace(answer, rows=(Row(where, "", link(asker, answer.deployment_id)),))
