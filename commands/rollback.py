"""`/rollback APP ENVIRONMENT`: back to what was verified healthy, or to what is named; a new record, with a hold."""

import re
from dataclasses import dataclass

from commands import policy
from commands.catalogue import OnFailure
from commands.deploy import accepted
from commands.desk import answer_once
from commands.facts import Facts
from commands.grammar import TAG
from commands.opening import Planned, Wish, open_request
from commands.own_card import on_its_card
from commands.policy import Target
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Rollback, typed
from storage import gate
from storage.models import Deployment, Kind
from storage.phases import Phase
from storage.unit_of_work import BOT, Store, UnitOfWork

_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_DEPLOYMENT = re.compile(r"[0-9a-z]{10}")


@dataclass(frozen=True)
class Goal:
    """What a rollback goes back to. `commit` may be short, or empty where only a version is known."""

    version: str
    digest: str = ""
    commit: str = ""
    deployment_id: str = ""


def goes_back_to(row: Deployment) -> str:
    """What a rollback brings back, in words: a deployment, where one is on record; else a commit, or an image alone."""
    if row.restores:
        return f"what `{row.restores}` deployed"
    if row.restore_commit:
        return f"what commit `{row.restore_commit[:12]}` says"
    return f"the image `{row.version}`"


def rollback(store: Store, facts: Facts, asker: Asker, request: Rollback) -> Answer:
    """Accept the rollback as a deployment that names what it restores, or say why not."""
    details = {
        "app": request.app[:128],
        "environment": request.environment[:128],
        "to": request.to[:160],
        "reason": request.reason[: policy.LONGEST_REASON],
        "exact": request.exact,
    }

    def decide(uow: UnitOfWork) -> Answer:
        failed = uow.deployment(request.failed) if request.failed else None
        if failed is not None:
            on_its_card(uow, asker, failed.card_id or failed.id)
        known = policy.catalogue(facts)
        app = policy.find_app(known, request.app)
        target = Target(app, policy.find_environment(known, app, request.environment))
        policy.need_reason(request.reason, "A rollback")
        policy.check_reason(request.reason)
        policy.may_deploy(facts, asker, target.environment)
        policy.may_change(facts, target)
        goal = _goal(uow, facts, target, request.to)
        planned = Planned(target, goal.version, goal.digest, restores=goal.deployment_id, restore_commit=goal.commit)
        wish = Wish(Kind.ROLLBACK, request.reason, None, request.break_glass, request.exact)
        for other in uow.waiting_for(app.name, target.environment.name):
            if request.break_glass and other.phase == Phase.AWAITING_APPROVAL:
                continue  # it takes the place of what waits for an approval
            same = uow.deployment(other.id)
            if same is not None and same.kind == Kind.ROLLBACK and same.version == goal.version:
                raise Refused(
                    ReasonCode.ALREADY_REQUESTED,
                    f"A rollback of `{app.name}` to `{goal.version}` in `{target.environment.name}` is on its way.",
                    f"Follow it on its card; its id is `{same.card_id or same.id}`.",
                )
        opened = open_request(uow, facts, known, asker, [planned], wish)
        return accepted(uow, opened, [], verb="Rolling back to")

    return answer_once(store, facts, asker, "rollback", details, decide)


def after_failure(uow: UnitOfWork, facts: Facts, failed: Deployment) -> str:
    """Ask for the rollback that the catalogue wants when a deployment fails after its commit; its id, or empty.

    It goes the way of every other: through the gate where changes are reviewed, and with a hold.
    """
    known = facts.in_force.catalogue
    environment = known.environments.get(failed.environment) if known else None
    if known is None or environment is None or environment.on_failure is not OnFailure.ROLLBACK:
        return ""
    if failed.kind == Kind.ROLLBACK or failed.reason_code == ReasonCode.ROLLOUT_REPLACED:
        return ""  # back and forth helps nobody, and what somebody else put there is theirs
    goal = offered(uow, facts, failed)
    app = known.app(failed.app)
    if goal is None or app is None:
        return ""
    asker = Asker(failed.team_id, BOT, f"after:{failed.id}", failed.requested_in)
    target = Target(app, environment)
    planned = Planned(target, goal.version, goal.digest, restores=goal.deployment_id, restore_commit=goal.commit)
    wish = Wish(
        Kind.ROLLBACK, f"{failed.app} {failed.version} failed ({failed.reason_code})", details={"after": failed.id}
    )
    try:
        policy.may_change(facts, target)
    except Refused:
        return ""
    return open_request(uow, facts, known, asker, [planned], wish).card_id


def offers_rollback(facts: Facts, failed: Deployment) -> bool:
    """Whether the card of a deployment that went wrong has a button to go back; not where the catalogue wants none."""
    known = facts.in_force.catalogue
    environment = known.environments.get(failed.environment) if known else None
    return environment is None or environment.on_failure is not OnFailure.NONE


def offered(uow: UnitOfWork, facts: Facts, failed: Deployment) -> Goal | None:
    """What a rollback of this failed deployment would go back to; None when nothing healthy is on record."""
    try:
        known = policy.catalogue(facts)
        app = policy.find_app(known, failed.app)
        target = Target(app, policy.find_environment(known, app, failed.environment))
        return _previous(uow, facts, target)
    except Refused:
        return None


def _goal(uow: UnitOfWork, facts: Facts, target: Target, to: str) -> Goal:
    if not to:
        return _previous(uow, facts, target)
    name, where = target.app.name, target.environment.name
    if _DEPLOYMENT.fullmatch(to) and (named := uow.deployment(to)) is not None:
        if (named.app, named.environment) != (name, where):
            raise Refused(
                ReasonCode.NOTHING_TO_RESTORE,
                f"Deployment `{to}` was of `{named.app}` to `{named.environment}`, not of `{name}` to `{where}`.",
                f"`/audit history app:{name} env:{where}` lists those that were.",
            )
        if not named.commit_sha:
            raise Refused(
                ReasonCode.NOTHING_TO_RESTORE,
                f"Deployment `{to}` never reached git, so there is nothing to restore.",
                "Name another one, or leave it out for the last that was verified healthy.",
            )
        return Goal(named.version, named.digest, named.commit_sha, named.id)
    healthy = gate.last_healthy(uow, name, where)
    found = next((one for one in healthy if one.version == to), None)
    if found is not None:
        return Goal(found.version, found.digest, found.commit_sha, found.id)
    if _COMMIT.fullmatch(to) and not to.isdigit():
        ours = gate.last_at_commit(uow, name, where, to)
        if ours is not None:
            return Goal(ours.version, ours.digest, ours.commit_sha, ours.id)
        return Goal(to[:12], commit=to)  # which version that is, is read from git before anything is written
    if TAG.fullmatch(to) is None:
        raise Refused(
            ReasonCode.BAD_VERSION,
            f"{typed(to)} is neither a version nor a commit nor a deployment.",
            f"`/audit history app:{name} env:{where}` lists what there was.",
        )
    return Goal(to)


def _previous(uow: UnitOfWork, facts: Facts, target: Target) -> Goal:
    """The newest deployment that was verified healthy and came before what git says now.

    What was rolled back does not come again: before a rollback's content comes what came before that.
    """
    name, where = target.app.name, target.environment.name
    now = facts.snapshot.images.get((name, where)) if facts.snapshot else None
    last = gate.last_written(uow, name, where)
    current = now.tag if now else (last.version if last else "")
    origin = last if last is not None and last.version == current else None
    while origin is not None and origin.restores:
        origin = uow.deployment(origin.restores)
    for one in gate.last_healthy(uow, name, where):
        before = origin is None or (one.finished_at or uow.now) <= (origin.finished_at or uow.now)
        if before and one.version != current and one.reason_code in {ReasonCode.LIVE, ReasonCode.COMMITTED}:
            return Goal(one.version, one.digest, one.commit_sha, one.id)
    raise Refused(
        ReasonCode.NOTHING_TO_RESTORE,
        f"No earlier version of `{name}` in `{where}` is on record as verified healthy.",
        f"Name what to go back to: `/rollback {name} {where} to VERSION --reason …`; a commit works too.",
    )
