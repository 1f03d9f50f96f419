"""`/deploy APP VERSION [ENVIRONMENT]`: decide, record, and queue the deployment."""

from datetime import datetime, timedelta

from commands import policy
from commands.desk import about, answer_once
from commands.facts import Facts
from commands.opening import Opened, Planned, Wish, open_request
from commands.policy import Target
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Deploy, Row, mention
from commands.times import parse_at, spoken_until
from storage.models import Kind
from storage.newcomers import NewDeployment
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork, Waiting

SNAPSHOT_TRUSTED_FOR = timedelta(minutes=2)


def deploy(store: Store, facts: Facts, asker: Asker, request: Deploy) -> Answer:
    """Accept the request as a deployment, or say why not. Touches nothing outside the database."""
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
            return _preview(uow, target, asker, request)
        policy.may_change(facts, target)
        not_before = parse_at(request.at, uow.now) if request.at else None
        if request.break_glass:
            policy.need_reason(request.reason, "Breaking the glass")
        ahead = uow.waiting_for(target.app.name, target.environment.name)
        in_its_way = [one for one in ahead if not (request.break_glass and one.phase == Phase.AWAITING_APPROVAL)]
        _refuse_repeats(uow, facts, target, request.version, in_its_way)
        wish = Wish(Kind.DEPLOY, request.reason, not_before, request.break_glass)
        opened = open_request(uow, facts, known, asker, [Planned(target, request.version, ahead=ahead)], wish)
        return accepted(uow, opened, [one for one in ahead if one.id not in opened.superseded])

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


def _preview(uow: UnitOfWork, target: Target, asker: Asker, request: Deploy) -> Answer:
    deployment = NewDeployment(
        kind=Kind.PREVIEW,
        app=target.app.name,
        environment=target.environment.name,
        version=request.version,
        reason=request.reason,
        team_id=asker.team_id,
        requested_by=asker.user_id,
        requested_in=asker.channel_id,
        requested_thread=asker.thread_ts,
        answer_url=asker.response_url,
        source=asker.source,
    )
    uow.add(deployment, "")
    details = {"version": request.version, "reason": request.reason, "dry_run": True}
    uow.audit(about(deployment, "deployment:request", asker, details))
    return Answer(
        ReasonCode.ACCEPTED,
        f"Working out what `{deployment.app}` `{deployment.version}` to `{deployment.environment}` would change.",
        "Nothing is committed; the difference comes here in a moment.",
        deployment_id=deployment.id,
    )


def accepted(uow: UnitOfWork, opened: Opened, ahead: list[Waiting], *, verb: str = "Deploying") -> Answer:
    """What whoever asked is told: where it goes from here, and what it waits for."""
    first = opened.deployments[0]
    what = ", ".join(f"`{row.app}` `{row.version}`" for row in opened.deployments) + f" to `{first.environment}`"
    card = f"Its card is in the channel; `/deploy cancel {opened.card_id}` takes it back."
    if opened.change_id:
        word = "Breaking the glass for" if first.break_glass else "Asking for an approval of"
        step = (
            f"A pull request is being opened; the approvers are asked on its card when the difference is ready. {card}"
        )
        return Answer(ReasonCode.ACCEPTED, f"{word} {what}.", step, deployment_id=opened.card_id)
    if first.not_before is not None:
        when = spoken_until(first.not_before, uow.now)
        return Answer(ReasonCode.ACCEPTED, f"Scheduled {what} for {when}.", card, deployment_id=opened.card_id)
    held_up = next((row.blocked for row in opened.deployments if row.blocked), "")
    if held_up:
        return Answer(ReasonCode.ACCEPTED, f"Queued {what}; it waits: {held_up}", card, deployment_id=opened.card_id)
    if ahead:
        other = ahead[0]
        return Answer(
            ReasonCode.ACCEPTED,
            f"Queued {what}: {len(ahead)} ahead of it.",
            f"It starts when the others have ended. {card}",
            rows=(Row(f"Ahead: `{other.version}` by {mention(other.requested_by)}, {other.phase}"),),
            deployment_id=opened.card_id,
        )
    return Answer(
        ReasonCode.ACCEPTED,
        f"{verb} {what}.",
        f"Follow it on its card in the channel; its id is `{opened.card_id}`.",
        deployment_id=opened.card_id,
    )


def ago(now: datetime, then: datetime) -> str:
    """`just now`, `5 minutes ago`, `3 hours ago`, `2 days ago`."""
    seconds = int((now - then).total_seconds())
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
