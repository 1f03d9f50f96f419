"""Says every setting of the catalogue as it is in effect, for `locktender doctor`: one `path: value` a line."""

from commands.catalogue_parts import (
    NO_VERIFICATION,
    Accept,
    App,
    Approval,
    BreakGlass,
    Environment,
    Group,
    RolloutWatch,
    Verify,
    span,
)
from commands.freezes import Allowed, FreezeWindow, Once

_WHERE = {Accept.SLACK: "in Slack", Accept.GITHUB: "on GitHub", Accept.BOTH: "in Slack or on GitHub"}


def environment_lines(environment: Environment) -> list[str]:
    """One environment's settings, without its name."""
    watch = environment.rollout is RolloutWatch.WATCH
    job = f", job {environment.reconciler.job}" if environment.reconciler.job else ""
    return [
        f"change: {environment.change}",
        f"approval: {_approval(environment.approval)}",
        f"break_glass: {_break_glass(environment.break_glass)}",
        f"deployers: {', '.join(environment.deployers)}",
        f"lockers: {', '.join(environment.lockers)}",
        f"namespace: {environment.namespace}",
        f"context: {environment.context or 'the current context of the kubeconfig'}",
        f"reconciler: {environment.reconciler.kind}{job}",
        f"rollout: {f'watched, for at most {span(environment.timeouts.rollout)}' if watch else 'not watched'}",
        f"timeout.build: {span(environment.timeouts.build)}",
        f"verify: {verification(environment.verify)}",
        f"on_failure: {environment.on_failure}",
    ]


def app_lines(app: App, channel: str) -> list[str]:
    """One app's own settings, without its name."""
    lines = [f"image: {app.image}", f"channel: {channel}"]
    lines += [f"aliases: {', '.join(app.aliases)}"] if app.aliases else []
    lines += [f"source: {app.source}"] if app.source else []
    lines += [f"verify: {verification(app.verify)}"] if app.verify else []
    return lines


def group_line(group: Group) -> str:
    """Who is in a group."""
    parts = [f"Slack user group {group.slack}"] if group.slack else []
    parts += [f"members {', '.join(group.members)}"] if group.members else []
    parts += [f"GitHub team {group.github}"] if group.github else []
    return "; ".join(parts)


def freeze_line(freeze: FreezeWindow) -> str:
    """When and where a freeze holds."""
    schedule = freeze.schedule
    if isinstance(schedule, Once):
        when = f"{schedule.begins:%Y-%m-%d %H:%M} until {schedule.ends:%Y-%m-%d %H:%M}"
    else:
        last = f"{schedule.ends_on} {schedule.ends:%H:%M}" if schedule.ends_on else f"{schedule.ends:%H:%M}"
        when = f"every {', '.join(schedule.days)} {schedule.begins:%H:%M} until {last}"
    passes = "rollbacks pass" if Allowed.ROLLBACK in freeze.allow else "nothing passes"
    apps = f"only {', '.join(freeze.apps)}" if freeze.apps else "every app"
    return f"{', '.join(freeze.environments)}, {apps}: {when} {freeze.zone.key}, {passes}"


def verification(verify: Verify | None) -> str:
    """What is looked at after a rollout."""
    if verify is None or verify == NO_VERIFICATION:
        return "none, a finished rollout is enough"
    answer = f"status {verify.status}" if verify.status else "any status from 200 to 299"
    parts = [f"{verify.url} answers with {answer} within {span(verify.timeout)}"] if verify.url else []
    parts += [f"no restarts for {span(verify.soak)}"] if verify.soak else []
    return ", then ".join(parts)


def _approval(approval: Approval | None) -> str:
    if approval is None:
        return "none"
    return (
        f"{approval.required} of {', '.join(approval.groups)} ({approval.rollback_required} for a rollback), "
        f"{_WHERE[approval.accept]}, within {span(approval.expires_after)}, comment {approval.comment}, "
        "never the requester or an author"
    )


def _break_glass(rule: BreakGlass | None) -> str:
    if rule is None:
        return "nobody"
    return f"{', '.join(rule.groups)}, reviewed by a second person within {span(rule.review_within)}"
