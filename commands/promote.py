"""`/promote`: the exact image that runs well in one environment, to the next on the path; several apps as one set."""

from collections.abc import Sequence
from itertools import pairwise

from commands import policy
from commands.catalogue import App, Catalogue, Environment
from commands.deploy import SNAPSHOT_TRUSTED_FOR, accepted
from commands.desk import answer_once
from commands.facts import Facts
from commands.opening import Planned, Wish, open_request
from commands.policy import Target
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Promote, Row, listed, mention
from commands.times import parse_at
from storage import gate
from storage.models import Deployment, Kind
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork

ALL = "all"


def promote(store: Store, facts: Facts, asker: Asker, request: Promote) -> Answer:
    """Accept the promotion as one change set, or say for which apps it cannot be done and why."""
    details = {
        "app": ",".join(request.apps)[:63],
        "apps": [app[:63] for app in request.apps[:50]],
        "from": request.source[:63],
        "environment": request.target[:63],
        "reason": request.reason[: policy.LONGEST_REASON],
        "force": request.force,
    }

    def decide(uow: UnitOfWork) -> Answer:
        known = policy.catalogue(facts)
        policy.check_reason(request.reason)
        apps, source, target = _route(known, request)
        policy.may_deploy(facts, asker, target)
        policy.may_change(facts, Target(apps[0], target))
        _check_force(request, target)
        not_before = parse_at(request.at, uow.now) if request.at else None
        if request.break_glass:
            policy.need_reason(request.reason, "Breaking the glass")
        planned: list[Planned] = []
        same: list[str] = []
        faults: list[tuple[str, Refused]] = []
        for app in apps:
            try:
                one = _planned(uow, facts, app, source, target, forced=request.force)
            except Refused as fault:
                faults.append((app.name, fault))
                continue
            (planned.append(one) if one else same.append(app.name))
        if faults:
            raise _together(faults, source, target)
        if not planned:
            raise Refused(
                ReasonCode.NO_CHANGE,
                f"{listed(same, joiner='and')} in `{target.name}` {'is' if len(same) == 1 else 'are'} already what "
                f"`{source.name}` runs.",
                "There is nothing to promote.",
            )
        _refuse_repeat(uow, planned, urgent=request.break_glass)
        wish = Wish(
            Kind.PROMOTE,
            request.reason,
            not_before,
            request.break_glass,
            details={"from": source.name, "force": request.force},
        )
        opened = open_request(uow, facts, known, asker, planned, wish)
        answer = accepted(uow, opened, [], verb="Promoting")
        rows = tuple(Row(f"`{app}` is the same in both already and is left out.") for app in same)
        return Answer(answer.reason, answer.what, answer.next_step, rows, deployment_id=answer.deployment_id)

    return answer_once(store, facts, asker, "promotion", details, decide)


def _route(known: Catalogue, request: Promote) -> tuple[list[App], Environment, Environment]:
    """The apps, where they come from and where they go: one step along the path of every one of them."""
    if ALL in request.apps:
        apps = list(known.apps.values())
    else:
        apps = list({app.name: app for app in (policy.find_app(known, word) for word in request.apps)}.values())
    source, target = _step(known, apps, request)
    if ALL in request.apps:
        apps = [app for app in apps if {source.name, target.name} <= set(app.environments)]
    if not apps:
        raise Refused(
            ReasonCode.NOT_ON_PATH,
            f"No app runs in both `{source.name}` and `{target.name}`.",
            "Name two environments that follow each other on the promotion path.",
        )
    for app in apps:
        path = known.path(app)
        if (source.name, target.name) not in set(pairwise(path)):
            raise Refused(
                ReasonCode.NOT_ON_PATH,
                f"`{app.name}` is not promoted from `{source.name}` to `{target.name}`: its path is "
                f"{' → '.join(path) or 'empty'}.",
                "Promote one step at a time; `/deploy` puts any version anywhere.",
            )
    return apps, source, target


def _step(known: Catalogue, apps: Sequence[App], request: Promote) -> tuple[Environment, Environment]:
    if request.source and request.target:
        return (
            policy.find_environment(known, None, request.source),
            policy.find_environment(known, None, request.target),
        )
    path = known.path(apps[0])
    if request.target:
        target = policy.find_environment(known, apps[0], request.target)
        if target.name not in path[1:]:
            raise Refused(
                ReasonCode.NOT_ON_PATH,
                f"Nothing comes before `{target.name}` on the promotion path of `{apps[0].name}`: {' → '.join(path)}.",
                "Name the environment to promote from, and where to.",
            )
        return known.environments[path[path.index(target.name) - 1]], target
    if len(path) < 2:
        raise Refused(
            ReasonCode.NOT_ON_PATH,
            f"`{apps[0].name}` has no two environments on the promotion path.",
            "Name them in `promotion:` in `locktender.yaml`, or use `/deploy`.",
        )
    if not request.source:
        return known.environments[path[-2]], known.environments[path[-1]]
    source = policy.find_environment(known, apps[0], request.source)
    if source.name not in path[:-1]:
        raise Refused(
            ReasonCode.NOT_ON_PATH,
            f"Nothing follows `{source.name}` on the promotion path of `{apps[0].name}`: {' → '.join(path)}.",
            "Name the environment to promote from, and where to.",
        )
    return source, known.environments[path[path.index(source.name) + 1]]


def _check_force(request: Promote, target: Environment) -> None:
    if not request.force:
        return
    policy.need_reason(request.reason, "`--force`")
    if target.approval is None:
        raise Refused(
            ReasonCode.APPROVAL_REQUIRED,
            f"`--force` is for changes that somebody approves, and `{target.name}` asks for no approval.",
            f"Deploy the version by name instead: `/deploy APP VERSION {target.name}`.",
        )


def _planned(
    uow: UnitOfWork, facts: Facts, app: App, source: Environment, target: Environment, *, forced: bool
) -> Planned | None:
    """What runs in the source, proven by its last good deployment and by git; None when the target says so already."""
    if facts.snapshot is None or facts.snapshot_age > SNAPSHOT_TRUSTED_FOR:
        raise Refused(
            ReasonCode.FACTS_TOO_OLD,
            f"What `{source.name}` runs is not known now: the infra-repo could not be read for a while.",
            "Try again in a minute.",
        )
    said = facts.snapshot.images.get((app.name, source.name))
    if said is None or not said.tag:
        raise Refused(
            ReasonCode.SOURCE_UNHEALTHY,
            f"Git names no version of `{app.name}` in `{source.name}`.",
            f"Deploy it there first: `/deploy {app.name} VERSION {source.name}`.",
        )
    last = gate.last_written(uow, app.name, source.name)
    if not forced:
        _healthy(uow, app, source, said.tag, said.digest, last)
    digest = said.digest or (last.digest if last is not None and last.version == said.tag else "")
    there = facts.snapshot.images.get((app.name, target.name))
    if there is not None and (there.tag, there.digest or digest) == (said.tag, digest):
        newest = gate.last_written(uow, app.name, target.name)
        if newest is None or newest.phase == Phase.SUCCEEDED:
            return None
    return Planned(Target(app, target), said.tag, digest, promoted_from=source.name)


def _healthy(uow: UnitOfWork, app: App, source: Environment, tag: str, digest: str, last: Deployment | None) -> None:
    """Raise Refused unless the last deployment to the source ended well, and git still says what it said."""
    force = "Mend that first, or promote it all the same with `--force --reason …`, which the approvers see."
    busy = [one for one in uow.open_for(app.name, source.name) if one.phase == Phase.RUNNING]
    if busy:
        raise Refused(
            ReasonCode.SOURCE_BUSY,
            f"`{app.name}` `{busy[0].version}` is still rolling out in `{source.name}` (`{busy[0].id}`).",
            "Wait until it is live, then promote.",
        )
    if last is None:
        raise Refused(
            ReasonCode.SOURCE_UNHEALTHY,
            f"No deployment of `{app.name}` to `{source.name}` is on record, so nothing shows that it runs well there.",
            f"Deploy it there first (`/deploy {app.name} {tag} {source.name}`), or use `--force --reason …`.",
        )
    if last.phase != Phase.SUCCEEDED:
        raise Refused(
            ReasonCode.SOURCE_UNHEALTHY,
            f"The last deployment of `{app.name}` to `{source.name}` (`{last.version}`, `{last.id}`) {last.phase}.",
            force,
        )
    if last.version != tag or (last.digest and digest and last.digest != digest):
        raise Refused(
            ReasonCode.SOURCE_DRIFTED,
            f"Git says `{tag}` for `{app.name}` in `{source.name}`, but the last deployment there was of "
            f"`{last.version}`: somebody changed it past Locktender.",
            force,
        )


def _refuse_repeat(uow: UnitOfWork, planned: Sequence[Planned], *, urgent: bool) -> None:
    """Refuse what all waits or runs already: to take its place would only lose the approvals that it has.

    What is `urgent` may take the place of what still waits for an approval.
    """
    found: list[Deployment] = []
    for one in planned:
        waiting = uow.open_for(one.target.app.name, one.target.environment.name)
        same = [row for row in waiting if (row.version, row.digest) == (one.version, one.digest)]
        found += [row for row in same if not (urgent and row.phase == Phase.AWAITING_APPROVAL)][:1]
    if len(found) == len(planned):
        names = listed([row.app for row in found], joiner="and")
        raise Refused(
            ReasonCode.ALREADY_REQUESTED,
            f"That promotion of {names} to `{found[0].environment}` is on its way: {mention(found[0].requested_by)} "
            "asked for it.",
            f"Follow it on its card; its id is `{found[0].card_id or found[0].id}`.",
        )


def _together(faults: Sequence[tuple[str, Refused]], source: Environment, target: Environment) -> Refused:
    """One refusal for all: a set goes whole or not at all."""
    first = faults[0][1]
    if len(faults) == 1:
        return first
    return Refused(
        first.reason,
        f"{len(faults)} of the apps cannot be promoted from `{source.name}` to `{target.name}`, so none was.",
        "Leave them out, or see to these first.",
        detail="\n".join(f"{app}: {fault.what}" for app, fault in faults),
    )
