"""Who may do what: facts in, Allowed or Refused out. Pure."""

from dataclasses import dataclass
from datetime import timedelta

from commands.catalogue import App, Catalogue, Environment, Group
from commands.catalogue import Kind as Named
from commands.facts import Facts
from commands.grammar import TAG, unsafe_characters
from commands.reasons import ReasonCode, Refused
from commands.requests import Asker, listed, mention, typed
from storage.models import Kind
from storage.unit_of_work import BOT

LONGEST_REASON = 500
OLDEST_FACTS = timedelta(minutes=2)
"""How old the last look at git may be where changes are reviewed: rules that are older may no longer be the rules."""


@dataclass(frozen=True)
class Target:
    """An app in an environment, both looked up in the catalogue."""

    app: App
    environment: Environment


def catalogue(facts: Facts) -> Catalogue:
    """The catalogue in force. Raises Refused when there never was a good one."""
    in_force = facts.in_force
    if in_force.catalogue is None:
        raise Refused(in_force.reason, in_force.problem, in_force.next_step, detail="\n".join(in_force.faults))
    return in_force.catalogue


def workspace(facts: Facts, asker: Asker) -> None:
    """Raise Refused unless the asker belongs to the bot's own workspace (strangers share channels)."""
    if facts.team_id and asker.team_id != facts.team_id:
        raise Refused(
            ReasonCode.WRONG_WORKSPACE,
            "This bot takes requests from its own workspace only, and you belong to another one.",
            "Ask a member of the workspace that runs it.",
        )


def find_app(known: Catalogue, word: str) -> App:
    """The app of this name or alias; Refused with the nearest names otherwise."""
    found = known.app(word)
    if found is not None:
        return found
    near = known.nearest(Named.APP, word)
    choices = listed(near) if near else listed(tuple(known.apps)[:10])
    raise Refused(
        ReasonCode.UNKNOWN_APP,
        f"There is no app called {typed(word)} in `locktender.yaml`.",
        f"Did you mean {choices}?" if near else f"The apps are {choices}.",
    )


def find_environment(known: Catalogue, app: App | None, word: str) -> Environment:
    """The environment of this name, where the app runs; Refused with the nearest names otherwise."""
    found = known.environment(word)
    if found is None:
        near = known.nearest(Named.ENVIRONMENT, word)
        names = app.environments if app else tuple(known.environments)
        raise Refused(
            ReasonCode.UNKNOWN_ENVIRONMENT,
            f"There is no environment called {typed(word)} in `locktender.yaml`.",
            f"Did you mean {listed(near)}?" if near else f"The environments are {listed(names)}.",
        )
    if app is not None and found.name not in app.environments:
        raise Refused(
            ReasonCode.UNKNOWN_ENVIRONMENT,
            f"`{app.name}` does not run in `{found.name}`.",
            f"It runs in {listed(app.environments)}.",
        )
    return found


def check_version(version: str) -> None:
    """Raise Refused unless this is a tag that a registry could hold."""
    if TAG.fullmatch(version) is None:
        raise Refused(
            ReasonCode.BAD_VERSION,
            f"{typed(version)} cannot be an image tag.",
            "A version is up to 128 letters, digits, `_`, `.` and `-`, and starts with a letter, a digit or `_`: "
            "for example `1.4.2`.",
        )


def check_reason(reason: str) -> None:
    """Raise Refused for a reason that would not read in a commit message as it reads here."""
    unsafe = unsafe_characters(reason)
    if unsafe is not None:
        raise Refused(
            ReasonCode.UNSAFE_TEXT,
            f"The reason holds {unsafe}, which can make text read as something else than it is.",
            "Type the reason by hand instead of pasting it.",
        )
    if len(reason) > LONGEST_REASON:
        raise Refused(
            ReasonCode.BAD_USAGE,
            f"The reason is {len(reason)} characters long; {LONGEST_REASON} is the most.",
            "Shorten it, or put the long story in a ticket and name that.",
        )


def need_reason(reason: str, act: str) -> None:
    """Raise Refused when nothing was said about why."""
    if not reason.strip():
        raise Refused(
            ReasonCode.REASON_REQUIRED,
            f"{act} needs a reason, and none was given.",
            "Add `--reason` and what happened, to the end of the line.",
        )


def may_deploy(facts: Facts, asker: Asker, environment: Environment) -> None:
    """Raise Refused unless the asker may ask for deployments here. Unknown membership refuses."""
    if environment.anyone_may_deploy or asker.user_id == BOT:  # what it asks for itself, a person has set up
        return
    in_groups(
        facts,
        asker,
        environment.deployers,
        f"deploy to `{environment.name}`",
        ", or have `deployers` changed in `locktender.yaml`",
    )


def in_groups(facts: Facts, asker: Asker, groups: tuple[str, ...], act: str, instead: str = "") -> None:
    """Raise Refused unless the asker is a member of one of these. Unknown membership refuses."""
    known = catalogue(facts)
    unreadable: list[str] = []
    for name in groups:
        group = known.group(name)
        if group is None:
            continue
        if asker.user_id in group.members:
            return
        if group.slack:
            members = facts.groups.get(group.slack)
            if members is None:
                unreadable.append(name)
            elif asker.user_id in members:
                return
    if unreadable:
        raise Refused(
            ReasonCode.GROUP_UNREADABLE,
            f"Who belongs to {listed(unreadable)} could not be read from Slack, so nobody is let through as a member.",
            "Try again in a minute; if it stays so, ask the platform team to check the bot's `usergroups:read` scope.",
        )
    raise Refused(
        ReasonCode.NOT_PERMITTED,
        f"{mention(asker.user_id)} may not {act}: that takes a member of {listed(groups)}.",
        f"Ask one of them{_who(known, groups)}{instead}.",
    )


def may_change(facts: Facts, target: Target) -> None:
    """Raise Refused when the rules for a reviewed environment are in doubt, or nothing can be reviewed."""
    if not target.environment.production_like:
        return
    name = target.environment.name
    if facts.in_force.faults:
        raise Refused(
            ReasonCode.CATALOGUE_INVALID,
            f"The newest `locktender.yaml` has faults, so the rules for `{name}` are in doubt and it is closed.",
            "Mend the file; the last good version stays in force for the other environments meanwhile.",
            detail="\n".join(facts.in_force.faults),
        )
    if facts.snapshot_age > OLDEST_FACTS:
        raise Refused(
            ReasonCode.FACTS_TOO_OLD,
            f"The infra-repo could not be read for a while, so the rules for `{name}` may be old and it is closed.",
            "Try again when git can be reached; `/deploy status` says when it was read last.",
        )
    if not facts.reviews:
        raise Refused(
            ReasonCode.NOT_CONFIGURED,
            f"A change to `{name}` has to be reviewed in a pull request, and no code host is configured.",
            "Set GITHUB_REPOSITORY and GITHUB_TOKEN (or a GitHub App) and restart.",
        )


def _who(known: Catalogue, names: tuple[str, ...]) -> str:
    groups: list[Group] = [group for name in names if (group := known.group(name)) is not None]
    people = [user for group in groups for user in group.members][:5]
    return f" ({', '.join(mention(user) for user in people)})" if people else ""


def may_break_glass(facts: Facts, asker: Asker, environment: Environment) -> None:
    """Raise Refused unless the asker may do without the approvals here, and owe them."""
    rule = environment.break_glass
    if rule is None:
        raise Refused(
            ReasonCode.NOT_PERMITTED,
            f"Nobody may break the glass in `{environment.name}`: `locktender.yaml` names nobody.",
            "Ask for an approval, or have `break_glass` added to the environment.",
        )
    in_groups(facts, asker, rule.groups, f"break the glass in `{environment.name}`")


def required_approvals(environment: Environment, kind: Kind, *, break_glass: bool) -> int:
    """How many people have to say yes before it is merged."""
    approval = environment.approval
    if approval is None or break_glass:
        return 0
    return approval.rollback_required if kind == Kind.ROLLBACK else approval.required
