"""Who is the same human: Slack users, logins on the code host, and the addresses in commits. Pure.

Two names are of one person when `people:` in the catalogue says so. That they are of different people can be told of
two Slack users of one workspace, and of two whom the catalogue knows. Logins and addresses cost nothing: one that the
catalogue does not know may be anybody's second one. Then nobody can tell, and unknown refuses.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from commands.catalogue import Catalogue, KnownPerson


class Same(StrEnum):
    """Whether two names are of one person."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Human:
    """Everything one person is known by. `key` is the same for all their names; `label` is for sentences."""

    key: str
    label: str
    slack: frozenset[str] = frozenset()
    logins: frozenset[str] = frozenset()
    emails: frozenset[str] = frozenset()
    listed: bool = False  # in `people:` of the catalogue


_HIDDEN = re.compile(r"(?:\d+\+)?([a-z0-9][a-z0-9-]*(?:\[bot\])?)@users\.noreply\.github\.com")
"""What GitHub writes into commits of people who hide their address: it names the login."""


def by_slack(known: Catalogue, user_id: str) -> Human:
    """The person of a Slack user id, by signed payload; someone of their own when the catalogue does not know them."""
    person = known.person_of_slack(user_id)
    return _known(person) if person else Human(f"slack:{user_id}", user_id, slack=frozenset({user_id}))


def by_login(known: Catalogue, login: str) -> Human:
    """The person of a login on the code host."""
    login = login.lower()
    person = known.person_of_login(login)
    return _known(person) if person else Human(f"github:{login}", login, logins=frozenset({login}))


def by_email(known: Catalogue, email: str) -> Human:
    """The person of an address in a commit."""
    email = email.lower()
    person = known.person_of_email(email)
    if person:
        return _known(person)
    hidden = _HIDDEN.fullmatch(email)
    return by_login(known, hidden[1]) if hidden else Human(f"email:{email}", email, emails=frozenset({email}))


def same(one: Human, other: Human) -> Same:
    """Whether they are one person."""
    pairs = ((one.slack, other.slack), (one.logins, other.logins), (one.emails, other.emails))
    if one.key == other.key or any(mine & theirs for mine, theirs in pairs):
        return Same.YES
    return Same.NO if (one.slack and other.slack) or (one.listed and other.listed) else Same.UNKNOWN


def _known(person: KnownPerson) -> Human:
    return Human(
        f"person:{person.name}",
        person.name,
        frozenset(person.slack),
        frozenset(person.github),
        frozenset(person.emails),
        listed=True,
    )
