"""Who may do what: facts in, Allowed or Refused out. Pure."""

from dataclasses import dataclass

from commands.catalogue import App, Catalogue, Environment, Group, Kind
from commands.facts import Facts
from commands.grammar import TAG, unsafe_characters
from commands.reasons import ReasonCode, Refused
from commands.requests import Asker, listed, mention, typed

LONGEST_REASON = 500


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
    near = known.nearest(Kind.APP, word)
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
        near = known.nearest(Kind.ENVIRONMENT, word)
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


def may_deploy(facts: Facts, asker: Asker, environment: Environment) -> None:
    """Raise Refused unless the asker may ask for deployments here. Unknown membership refuses."""
    if environment.anyone_may_deploy:
        return
    known = catalogue(facts)
    unreadable: list[str] = []
    for name in environment.deployers:
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
        f"{mention(asker.user_id)} may not deploy to `{environment.name}`: that takes a member of "
        f"{listed(environment.deployers)}.",
        f"Ask one of them{_who(known, environment)}, or have `deployers` changed in `locktender.yaml`.",
    )


def may_change(facts: Facts, target: Target) -> None:
    """Raise Refused when a change to this environment has to be reviewed, or the rules for it are in doubt."""
    if not target.environment.production_like:
        return
    if facts.in_force.faults:
        raise Refused(
            ReasonCode.CATALOGUE_INVALID,
            f"The newest `locktender.yaml` has faults, so the rules for `{target.environment.name}` are in doubt "
            "and it is closed.",
            "Mend the file; the last good version stays in force for the other environments meanwhile.",
            detail="\n".join(facts.in_force.faults),
        )
    raise Refused(
        ReasonCode.APPROVAL_REQUIRED,
        f"A change to `{target.environment.name}` has to be reviewed in a pull request, and this version of Locktender "
        "does not open one.",
        "Deploy to an environment that takes commits, and open the pull request for this one by hand.",
    )


def _who(known: Catalogue, environment: Environment) -> str:
    groups: list[Group] = [group for name in environment.deployers if (group := known.group(name)) is not None]
    people = [user for group in groups for user in group.members][:5]
    return f" ({', '.join(mention(user) for user in people)})" if people else ""
