"""`/deploy cancel`: take back a deployment that has not reached git yet."""

import re

from commands import policy
from commands.closing import close
from commands.desk import about, answer_once
from commands.endings import Ending, end
from commands.facts import Facts
from commands.own_card import on_its_card
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Cancel, listed, mention
from storage import gate
from storage.models import Deployment
from storage.phases import STAGE_ORDER, Phase, Stage
from storage.unit_of_work import Store, UnitOfWork

_ID = re.compile(r"[0-9a-z]{3,32}")


def cancel(store: Store, facts: Facts, asker: Asker, request: Cancel) -> Answer:
    """Cancel what waits, or runs and has written nothing; refuse once git has it. Of a set, all goes with one."""

    def decide(uow: UnitOfWork) -> Answer:
        rows = _set_of(uow, request.words) or [_find(uow, facts, request.words)]
        deployment = rows[0]
        on_its_card(uow, asker, deployment.card_id or deployment.id)
        change = gate.held(uow, deployment.change_id)
        if change is not None:
            rows = gate.members(uow, change.id)
        for row in rows:
            uow.hold(row)  # none must begin to write while this is decided
        rows = [row for row in rows if not Phase(row.phase).ended] or rows
        deployment = rows[0]
        name = _name(rows)
        if asker.user_id != deployment.requested_by:
            _may_cancel(facts, asker, deployment)
        if Phase(deployment.phase).ended:
            raise Refused(
                ReasonCode.TOO_LATE,
                f"{name} has ended already: {deployment.phase}.",
                "There is nothing to cancel.",
            )
        if any(_writes(row) for row in rows):
            back = _back(uow, deployment)
            raise Refused(
                ReasonCode.TOO_LATE,
                f"{name} is in git, or about to be; stopping now would leave `{deployment.environment}` unlike git.",
                f"Let it end, then deploy the version you want{back}.",
            )
        what = f"{mention(asker.user_id)} cancelled it before anything was committed."
        ending = Ending(Phase.CANCELLED, ReasonCode.CANCELLED_BY_PERSON, what)
        for row in rows:
            uow.audit(about(row, "deployment:cancel", asker, {"version": row.version}))
        if change is not None:
            close(uow, change, ending, actor=asker.user_id)
        else:
            for row in rows:
                end(uow, row, ending, actor=asker.user_id)
        return Answer(
            ReasonCode.CANCELLED_BY_PERSON,
            f"Cancelled {name}. Nothing was committed.",
            "Run `/deploy` again whenever you like.",
            deployment_id=deployment.id,
        )

    return answer_once(store, facts, asker, "cancel", {"words": " ".join(request.words)[:200]}, decide)


def _set_of(uow: UnitOfWork, words: tuple[str, ...]) -> list[Deployment]:
    """The deployments that share a card of this id; none when it names no set."""
    return gate.of_card(uow, words[0]) if len(words) == 1 and _ID.fullmatch(words[0]) else []


def _name(rows: list[Deployment]) -> str:
    first = rows[0]
    if len(rows) == 1:
        return f"`{first.app}` `{first.version}` to `{first.environment}` (`{first.id}`)"
    apps = listed([row.app for row in rows], joiner="and")
    return f"{apps} to `{first.environment}` (`{first.card_id}`)"


def _writes(row: Deployment) -> bool:
    return row.phase == Phase.RUNNING and STAGE_ORDER.index(Stage(row.stage)) >= STAGE_ORDER.index(Stage.WRITE)


def _may_cancel(facts: Facts, asker: Asker, deployment: Deployment) -> None:
    """Somebody else's deployment: for those who may deploy there. Whoever asked for it needs no leave."""
    environment = policy.catalogue(facts).environment(deployment.environment)
    if environment is None:
        raise Refused(
            ReasonCode.NOT_PERMITTED,
            f"`{deployment.environment}` is no longer in `locktender.yaml`, so nobody can tell who may cancel there.",
            f"Ask {mention(deployment.requested_by)}, who asked for it, to cancel it.",
        )
    policy.may_deploy(facts, asker, environment)


def _back(uow: UnitOfWork, deployment: Deployment) -> str:
    last = uow.last_ended(deployment.app, deployment.environment, phase=Phase.SUCCEEDED)
    return f": `/deploy {last.app} {last.version} {last.environment}` goes back to the last good one" if last else ""


def _find(uow: UnitOfWork, facts: Facts, words: tuple[str, ...]) -> Deployment:
    if len(words) == 1 and _ID.fullmatch(words[0]):
        found = uow.matching(words[0])
        if len(found) == 1:
            return found[0]
        if found:
            raise Refused(
                ReasonCode.UNKNOWN_DEPLOYMENT,
                f"More than one deployment's id starts with `{words[0]}`.",
                f"Did you mean {listed([one.id for one in found])}?",
            )
    if len(words) == 2:
        known = policy.catalogue(facts)
        app = policy.find_app(known, words[0])
        environment = policy.find_environment(known, app, words[1])
        waiting = uow.open_for(app.name, environment.name)
        if len(waiting) == 1:
            return waiting[0]
        if waiting:
            raise Refused(
                ReasonCode.UNKNOWN_DEPLOYMENT,
                f"{len(waiting)} deployments of `{app.name}` to `{environment.name}` have not ended.",
                f"Say which: `/deploy cancel` and {listed([one.id for one in waiting])}.",
            )
        raise Refused(
            ReasonCode.UNKNOWN_DEPLOYMENT,
            f"No deployment of `{app.name}` to `{environment.name}` is waiting or running.",
            "There is nothing to cancel.",
        )
    raise Refused(
        ReasonCode.UNKNOWN_DEPLOYMENT,
        "There is no deployment with that id." if len(words) == 1 else "That does not name a deployment.",
        "Give the id from its card, or an app and an environment: `/deploy cancel my-application staging`.",
    )
