"""Automation asks for a deployment: the same rules as for a person, and what its token may do besides."""

import hashlib
from dataclasses import dataclass

from commands import behalf, policy
from commands.blocks import BlockKind, blocks
from commands.catalogue import Catalogue
from commands.deploy import deploy
from commands.facts import Facts
from commands.policy import Target
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Deploy, Source, refusal
from commands.tokens import Bearer, Right, need
from storage import gate, locks, tokens
from storage.newcomers import NewDeployment
from storage.unit_of_work import AuditEntry, Store, UnitOfWork


@dataclass(frozen=True)
class Wanted:
    """What is asked for. With a `key`, the same request again finds what the first one made."""

    deploy: Deploy
    key: str
    on_behalf_of: str = ""


def ask(store: Store, facts: Facts, bearer: Bearer, wanted: Wanted) -> Answer:
    """As `deploy`, for a token: its scope must reach there, and nothing holds the place against automation.

    One transaction. A refusal is recorded, and not remembered under the key: nothing was done, so the same request may
    be made again when what was in its way is gone.
    """
    need(bearer, Right.DEPLOY)
    key = f"api:{bearer.id}:{hashlib.sha256(wanted.key.encode()).hexdigest()}"
    asker = Asker(facts.team_id, bearer.actor, key, source=Source.API)
    with store.database.together():
        with store.write() as uow:
            uow.in_turn()
            before = uow.answered(key)
            try:
                known = policy.catalogue(facts)
                if before is not None:
                    _same(uow, key, wanted)
                    return Answer.from_json(before)
                _may(uow, facts, known, bearer, wanted)
            except Refused as fault:
                return _refused(uow, asker, wanted, fault)
        answer = deploy(store, facts, asker, wanted.deploy)
        with store.write() as uow:
            if answer.refused:
                tokens.forget_answer(uow, key)
                return answer
            uow.first_time(f"{key}:content", _content(wanted))
            if wanted.on_behalf_of:
                _name(uow, known, asker, answer.deployment_id, wanted.on_behalf_of)
        return answer


def _may(uow: UnitOfWork, facts: Facts, known: Catalogue, bearer: Bearer, wanted: Wanted) -> None:
    app = policy.find_app(known, wanted.deploy.app)
    target = Target(app, policy.find_environment(known, app, wanted.deploy.environment))
    environment = target.environment
    if not bearer.may_deploy(app.name, environment.name):
        raise Refused(
            ReasonCode.NOT_PERMITTED,
            f"The token `{bearer.name}` may not deploy `{app.name}` to `{environment.name}`: none of its scopes is "
            "for that.",
            f"Make one that may: `locktender token create NAME --scope deploy:{environment.name}:{app.name}`.",
        )
    if wanted.on_behalf_of:
        behalf.checked(known, environment, wanted.on_behalf_of)
    if not wanted.deploy.reason.strip():
        policy.need_reason("", "A request of automation")
    asked = NewDeployment(
        app=app.name, environment=environment.name, version="", team_id=facts.team_id, requested_by=bearer.actor
    )
    for block in blocks(asked, locks.in_force(uow, uow.now), facts.in_force, uow.now):
        if block.kind is BlockKind.HOLD:
            # A person's request waits for the hold to be lifted; automation must not pile up behind one.
            raise Refused(ReasonCode.ON_HOLD, block.what, block.next_step)


def _same(uow: UnitOfWork, key: str, wanted: Wanted) -> None:
    if uow.answered(f"{key}:content") != _content(wanted):
        raise Refused(
            ReasonCode.ALREADY_REQUESTED,
            "This idempotency key was used for another deployment.",
            "Use a key of its own for each request, the build's number for one.",
        )


def _content(wanted: Wanted) -> str:
    return hashlib.sha256(repr((wanted.deploy, wanted.on_behalf_of)).encode()).hexdigest()


def _refused(uow: UnitOfWork, asker: Asker, wanted: Wanted, fault: Refused) -> Answer:
    said = wanted.deploy
    uow.audit(
        AuditEntry(
            action="deployment:refuse",
            actor=asker.user_id,
            team_id=asker.team_id,
            app=said.app[:63],
            environment=said.environment[:63],
            reason_code=fault.reason,
            details={
                "version": said.version[:160],
                "reason": said.reason[: policy.LONGEST_REASON],
                "what": fault.what,
                "on_behalf_of": wanted.on_behalf_of[:200],
                "source": str(asker.source),
            },
        )
    )
    return refusal(fault)


def _name(uow: UnitOfWork, known: Catalogue, asker: Asker, deployment_id: str, name: str) -> None:
    """Keep who was named where the decision on the change looks for it."""
    row = uow.deployment(deployment_id)
    if row is None:
        raise LookupError("a deployment that was just accepted cannot be read")
    row.on_behalf_of = name
    change = gate.change_of(uow, row.change_id)
    if change is not None:
        change.on_behalf_of = name
    uow.audit(
        AuditEntry(
            action="deployment:on-behalf",
            actor=asker.user_id,
            team_id=asker.team_id,
            app=row.app,
            environment=row.environment,
            deployment_id=row.id,
            details={"on_behalf_of": name, "person": behalf.human(known, name).key},
        )
    )
