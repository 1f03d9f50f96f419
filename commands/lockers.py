"""Who may lock and unlock: the catalogue's `lockers`, by default whoever may deploy or approve there."""

from collections.abc import Sequence

from commands import policy
from commands.catalogue import EVERYONE, Catalogue, Environment
from commands.facts import Facts
from commands.reasons import ReasonCode, Refused
from commands.requests import Asker, listed, mention


def may_lock(facts: Facts, asker: Asker, environments: Sequence[Environment]) -> None:
    """Raise Refused unless the asker may lock every one of these environments. Unknown membership refuses."""
    known = policy.catalogue(facts)
    for environment in environments:
        _may_lock_one(known, facts, asker, environment)


def who(known: Catalogue, environments: Sequence[Environment]) -> str:
    """Who may lock and unlock all of these, as the subject of a sentence; nobody what the catalogue does not have."""
    if not environments:
        return "Nobody"
    groups = {one.name: known.may_lock_groups(one.name) for one in environments}
    closed = {name: lockers for name, lockers in groups.items() if EVERYONE not in lockers}
    if not closed:
        return "Anyone"
    if len(set(closed.values())) == 1:
        return f"A member of {listed(next(iter(closed.values())))}"
    return f"Whoever may lock all of {listed(tuple(closed), joiner='and')}"


def _may_lock_one(known: Catalogue, facts: Facts, asker: Asker, environment: Environment) -> None:
    lockers = known.may_lock_groups(environment.name)
    if EVERYONE in lockers:
        return
    person = known.person_of_slack(asker.user_id)
    logins = frozenset(person.github) if person else frozenset[str]()
    unreadable: list[str] = []
    for name in lockers:
        group = known.group(name)
        if group is None:
            continue
        ours = facts.groups.get(group.slack) if group.slack else frozenset[str]()
        team = facts.teams.get(group.github) if group.github and logins else frozenset[str]()
        if asker.user_id in group.members or asker.user_id in (ours or ()) or not logins.isdisjoint(team or ()):
            return
        if ours is None or team is None:
            unreadable.append(name)
    if unreadable:
        raise Refused(
            ReasonCode.GROUP_UNREADABLE,
            f"Who belongs to {listed(unreadable)} could not be read, so nobody is let through as a member.",
            "Try again in a minute; if it stays so, ask the platform team to run `locktender doctor`.",
        )
    raise Refused(
        ReasonCode.NOT_PERMITTED,
        f"{mention(asker.user_id)} may not lock or unlock `{environment.name}`: that takes a member of "
        f"{listed(lockers)}.",
        "Ask one of them, or have the rules changed in `locktender.yaml`.",
    )
