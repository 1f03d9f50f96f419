"""What every use case shares: a delivery is answered once, and a refusal is recorded like everything else."""

from collections.abc import Callable, Mapping

from commands import policy
from commands.change_rows import change_entry
from commands.facts import Facts
from commands.reasons import Refused
from commands.requests import Answer, Asker, refusal
from storage.models import Change, Deployment
from storage.newcomers import NewDeployment
from storage.unit_of_work import AuditEntry, Store, UnitOfWork

Decide = Callable[[UnitOfWork], Answer]


def answer_once(
    store: Store,
    facts: Facts,
    asker: Asker,
    action: str,
    details: Mapping[str, object],
    decide: Decide,
    of: Callable[[UnitOfWork], Change | None] = lambda _: None,
) -> Answer:
    """Run `decide` in one transaction under the delivery's key, or give the answer it gave before.

    Requests are decided one after the other, on Postgres too: the second of two that cannot both be granted sees the
    first. A Refused from `decide` becomes the answer, and an audit row `<action>:refuse`, which names the change that
    it was `of`; `decide` must not have written anything by then. A crash before the commit leaves nothing: the delivery
    may come again.
    """
    with store.write() as uow:
        uow.in_turn()
        known = uow.answered(asker.delivery_key)
        if known is not None:
            return Answer.from_json(known)
        try:
            policy.workspace(facts, asker)
            answer = decide(uow)
        except Refused as fault:
            answer = refusal(fault)
            uow.audit(_refused(uow, asker, f"{action}:refuse", details, fault, of(uow)))
        uow.first_time(asker.delivery_key, answer.as_json())
        return answer


def _refused(
    uow: UnitOfWork, asker: Asker, action: str, details: Mapping[str, object], fault: Refused, change: Change | None
) -> AuditEntry:
    told = {**details, "what": fault.what, "channel": asker.channel_id, "source": str(asker.source)}
    who = {"actor": asker.user_id, "team_id": asker.team_id, "reason_code": str(fault.reason)}
    if change is not None:
        return change_entry(uow, change, action, told, **who)
    return AuditEntry(
        action,
        app=str(details.get("app", ""))[:63],
        environment=str(details.get("environment", ""))[:63],
        details=told,
        **who,
    )


def about(
    deployment: Deployment | NewDeployment, action: str, asker: Asker, details: Mapping[str, object]
) -> AuditEntry:
    """An audit entry of a person's act on a deployment."""
    return AuditEntry(
        action=action,
        actor=asker.user_id,
        team_id=asker.team_id,
        app=deployment.app,
        environment=deployment.environment,
        deployment_id=deployment.id,
        details={**details, "channel": asker.channel_id, "source": str(asker.source)},
    )
