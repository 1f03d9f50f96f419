"""The person whom automation names when it asks for something: counted as having asked, and given no right by it."""

import re

from commands import people
from commands.catalogue import Catalogue, Environment
from commands.people import Human
from commands.reasons import ReasonCode, Refused
from commands.requests import mention, typed

_SLACK = re.compile(r"[UW][A-Z0-9]{2,20}")
_EMAIL = re.compile(r"[!-?A-~]{1,64}@[A-Za-z0-9.-]{1,190}")
_LOGIN = re.compile(r"github:([A-Za-z0-9](?:[A-Za-z0-9-]{0,38}))")


def human(known: Catalogue, name: str) -> Human:
    """Which person `checked` let through under this name."""
    login = _LOGIN.fullmatch(name)
    if login:
        return people.by_login(known, login[1])
    return people.by_email(known, name) if "@" in name else people.by_slack(known, name)


def shown(name: str) -> str:
    """For sentences."""
    return mention(name) if _SLACK.fullmatch(name) else typed(name)


def asked(requested_by: str, on_behalf_of: str) -> str:
    """Who asked, for sentences; and for whom, where automation named somebody."""
    return f"{mention(requested_by)} for {shown(on_behalf_of)}" if on_behalf_of else mention(requested_by)


def checked(known: Catalogue, environment: Environment, name: str) -> str:
    """The name, when it is one that a person can have.

    Refused (UNKNOWN_PERSON) where a change is reviewed and nobody could tell whether an approver is that person: it
    could never be approved.
    """
    if not any(pattern.fullmatch(name) for pattern in (_SLACK, _EMAIL, _LOGIN)):
        raise Refused(
            ReasonCode.BAD_USAGE,
            f"{typed(name)} does not name a person.",
            "Give a Slack user id (`U…`), an e-mail address, or `github:` and a login.",
        )
    who = human(known, name)
    if environment.production_like and not who.slack:
        raise Refused(
            ReasonCode.UNKNOWN_PERSON,
            f"Nobody can tell who {typed(name)} is in Slack, so nobody could approve this: it might be themselves.",
            "Give their Slack user id, or add them to `people:` in `locktender.yaml` with it.",
        )
    return name
