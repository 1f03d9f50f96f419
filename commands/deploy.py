"""`/deploy APP VERSION [ENVIRONMENT]`: decide, record, and queue the deployment."""

from datetime import datetime, timedelta

from commands import policy
from commands.catalogue import Catalogue
from commands.desk import about, answer_once
from commands.facts import Facts
from commands.policy import Target
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Deploy, Row, mention
from storage.models import Deployment, Kind
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork, Waiting

SNAPSHOT_TRUSTED_FOR = timedelta(minutes=2)


def deploy(store: Store, facts: Facts, asker: Asker, request: Deploy) -> Answer:
    """Accept the request as a queued deployment, or say why not. Touches nothing outside the database."""
    details = {
        "app": request.app[:128],
        "version": request.version[:160],
        "environment": request.environment[:128],
        "reason": request.reason[: policy.LONGEST_REASON],
        "dry_run": request.dry_run,
    }

    def decide(uow: UnitOfWork) -> Answer:
        known = policy.catalogue(facts)
        app = policy.find_app(known, request.app)
        target = Target(app, policy.find_environment(known, app, request.environment))
        policy.check_version(request.version)
        policy.check_reason(request.reason)
        policy.may_deploy(facts, asker, target.environment)
        if request.dry_run:
            return _accept(uow, known, target, asker, request, [])
        policy.may_change(facts, target)
        ahead = uow.waiting_for(target.app.name, target.environment.name)
        _refuse_repeats(uow, facts, target, request.version, ahead)
        return _accept(uow, known, target, asker, request, ahead)

    return answer_once(store, facts, asker, "deployment", details, decide)


def _refuse_repeats(uow: UnitOfWork, facts: Facts, target: Target, version: str, waiting: list[Waiting]) -> None:
    """Refuse what is on its way already, and what is live already."""
    for other in waiting:
        if other.version == version:
            verb = "is being deployed" if other.phase == Phase.RUNNING else "is already waiting to be deployed"
            raise Refused(
                ReasonCode.ALREADY_REQUESTED,
                f"`{target.app.name}` `{version}` {verb} to `{target.environment.name}`: "
                f"{mention(other.requested_by)} asked {ago(uow.now, other.requested_at)}.",
                f"Follow it on its card; its id is `{other.id}`.",
            )
    if waiting or facts.snapshot is None or facts.snapshot_age > SNAPSHOT_TRUSTED_FOR:
        return
    now = facts.snapshot.images.get((target.app.name, target.environment.name))
    if now is None or now.tag != version:
        return
    last = uow.last_ended(target.app.name, target.environment.name)
    if last is not None and last.phase != Phase.SUCCEEDED:
        return  # git says so, but it never became healthy: deploying it again is a fair request
    record = ""
    if last is not None and last.version == version and last.finished_at is not None:
        record = f" {mention(last.requested_by)} deployed it {ago(uow.now, last.finished_at)} (`{last.id}`)."
    raise Refused(
        ReasonCode.ALREADY_LIVE,
        f"`{target.app.name}` `{version}` is already what git says for `{target.environment.name}`.{record}",
        f"See `/audit history app:{target.app.name} env:{target.environment.name}` for its record, "
        "or name another version.",
    )


def _accept(
    uow: UnitOfWork, known: Catalogue, target: Target, asker: Asker, request: Deploy, ahead: list[Waiting]
) -> Answer:
    deployment = Deployment(
        kind=Kind.PREVIEW if request.dry_run else Kind.DEPLOY,
        app=target.app.name,
        environment=target.environment.name,
        version=request.version,
        reason=request.reason,
        team_id=asker.team_id,
        requested_by=asker.user_id,
        requested_in=asker.channel_id,
        requested_thread=asker.thread_ts,
        answer_url=asker.response_url if request.dry_run else "",
        source=asker.source,
        requested_at=uow.now,
    )
    channel = "" if request.dry_run else known.channel(target.app)
    uow.add(deployment, channel)
    uow.audit(
        about(
            deployment,
            "deployment:request",
            asker,
            {"version": request.version, "reason": request.reason, "dry_run": request.dry_run},
        )
    )
    what = f"`{deployment.app}` `{deployment.version}` to `{deployment.environment}`"
    if request.dry_run:
        return Answer(
            ReasonCode.ACCEPTED,
            f"Working out what {what} would change.",
            "Nothing is committed; the difference comes here in a moment.",
            deployment_id=deployment.id,
        )
    if ahead:
        first = ahead[0]
        return Answer(
            ReasonCode.ACCEPTED,
            f"Queued {what}: {len(ahead)} ahead of it.",
            f"It starts when the others have ended. Its card is in the channel; "
            f"`/deploy cancel {deployment.id}` takes it back.",
            rows=(Row(f"Ahead: `{first.version}` by {mention(first.requested_by)}, {first.phase}"),),
            deployment_id=deployment.id,
        )
    return Answer(
        ReasonCode.ACCEPTED,
        f"Deploying {what}.",
        f"Follow it on its card in the channel; its id is `{deployment.id}`.",
        deployment_id=deployment.id,
    )


def ago(now: datetime, then: datetime) -> str:
    """`just now`, `5 minutes ago`, `3 hours ago`, `2 days ago`."""
    seconds = int((now - then).total_seconds())
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
