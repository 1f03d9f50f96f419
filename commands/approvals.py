"""Who may approve a change, and whether it has the approvals it needs. Facts in, a decision out; pure.

Asked at every click and again before the merge: a role that was lost in between no longer counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from commands import behalf, people
from commands.catalogue import Catalogue, Group
from commands.code_host import PullCommit
from commands.facts import Facts
from commands.people import Human, Same
from commands.reasons import ReasonCode, Refused
from commands.requests import listed, mention

_CODE_HOST = frozenset({"web-flow", "noreply@github.com"})
"""GitHub itself, as committer of what people do on its pages: it stands beside the author, and is nobody."""


@dataclass(frozen=True)
class Reviewed:
    """What a decision needs to know of a change.

    `requested_by` is a Slack user id, or the bot's own name for what it asked for itself. `strangers` are commits on
    the branch that the bot did not make. `on_behalf_of` is whom an API token named: that person has asked for it too.
    """

    groups: tuple[str, ...]
    required: int
    requested_by: str
    strangers: tuple[PullCommit, ...] = ()
    on_behalf_of: str = ""


@dataclass(frozen=True)
class Voice:
    """Somebody who said yes: a Slack user, or a login on the code host."""

    slack_user: str = ""
    login: str = ""

    @property
    def shown(self) -> str:
        """For sentences."""
        return mention(self.slack_user) if self.slack_user else f"`{self.login}` on GitHub"


@dataclass(frozen=True)
class Compared:
    """By which names somebody is known, and who they were told apart from.

    Of each of those: what they are to the change, the name that it has of them, and the key of their person.
    """

    known_as: tuple[str, ...]
    apart_from: tuple[tuple[str, str, str], ...]

    def details(self) -> dict[str, object]:
        """For the record."""
        return {"known_as": list(self.known_as), "apart_from": [list(one) for one in self.apart_from]}


def human(known: Catalogue, voice: Voice) -> Human:
    """Which person this is."""
    return people.by_slack(known, voice.slack_user) if voice.slack_user else people.by_login(known, voice.login)


def may_approve(known: Catalogue, facts: Facts, change: Reviewed, voice: Voice) -> Human:
    """The person, when they may approve this change; Refused otherwise. What is not known refuses."""
    who = human(known, voice)
    _not_their_own(known, change, voice, who)
    _member(known, facts, change.groups, voice, who)
    return who


def counted(known: Catalogue, facts: Facts, change: Reviewed, voices: Iterable[Voice]) -> tuple[Human, ...]:
    """The different people whose yes counts now. Of two who may be one person, one counts."""
    found: list[Human] = []
    for voice in voices:
        try:
            who = may_approve(known, facts, change, voice)
        except Refused:
            continue
        if all(people.same(who, other) is Same.NO for other in found):
            found.append(who)
    return tuple(found)


def compared(known: Catalogue, change: Reviewed, voice: Voice) -> Compared:
    """For the record: who was compared with whom when `may_approve` let somebody through."""
    others = [("requester", change.requested_by, people.by_slack(known, change.requested_by).key)]
    if change.on_behalf_of:
        others.append(("on-behalf-of", change.on_behalf_of, behalf.human(known, change.on_behalf_of).key))
    for commit in change.strangers:
        others += [("author", f"github:{one}", people.by_login(known, one).key) for one in commit.logins]
        others += [("author", one, people.by_email(known, one).key) for one in commit.emails]
    who = human(known, voice)
    names = sorted([*who.slack, *(f"github:{one}" for one in who.logins), *who.emails])
    nobody = {"", *_CODE_HOST}
    apart = tuple(one for one in dict.fromkeys(others) if one[1].removeprefix("github:") not in nobody)
    return Compared(tuple(names), apart)


def _not_their_own(known: Catalogue, change: Reviewed, voice: Voice, who: Human) -> None:
    _did_not_ask(change, voice, people.same(who, people.by_slack(known, change.requested_by)), change.requested_by)
    if change.on_behalf_of:
        named = behalf.human(known, change.on_behalf_of)
        _did_not_ask(change, voice, people.same(who, named), change.on_behalf_of)
    for commit in change.strangers:
        _not_the_author(known, commit, voice, who)


def _did_not_ask(change: Reviewed, voice: Voice, verdict: Same, asker: str) -> None:
    if verdict is Same.YES:
        raise Refused(
            ReasonCode.SELF_APPROVAL,
            f"{voice.shown} asked for this change, so somebody else has to approve it.",
            f"Ask a member of {listed(change.groups)}.",
        )
    if verdict is Same.UNKNOWN:
        raise Refused(
            ReasonCode.UNKNOWN_PERSON,
            f"Nobody can tell whether {voice.shown} is the person who asked for this change.",
            f"Add {voice.shown} and {behalf.shown(asker)} to `people:` in `locktender.yaml`, with their Slack ids and "
            "GitHub logins.",
        )


def _not_the_author(known: Catalogue, commit: PullCommit, voice: Voice, who: Human) -> None:
    authors = [people.by_login(known, login) for login in commit.logins if login not in _CODE_HOST]
    authors += [people.by_email(known, email) for email in commit.emails if email not in _CODE_HOST]
    verdicts = {people.same(who, author) for author in authors} or {Same.UNKNOWN}
    if Same.YES in verdicts:
        raise Refused(
            ReasonCode.SELF_APPROVAL,
            f"{voice.shown} is an author of commit `{commit.sha[:7]}` in this change, so somebody else has to approve.",
            "Ask another approver.",
        )
    if Same.UNKNOWN in verdicts:
        names = listed(sorted({*commit.logins, *commit.emails}), joiner="and") or "nobody by name"
        raise Refused(
            ReasonCode.UNKNOWN_PERSON,
            f"Commit `{commit.sha[:7]}` in this change is by {names}, and nobody can tell whether that is "
            f"{voice.shown}.",
            "Add them to `people:` in `locktender.yaml`, or cancel this request and make it again.",
        )


def _member(known: Catalogue, facts: Facts, groups: Sequence[str], voice: Voice, who: Human) -> None:
    # Who speaks in Slack is taken at the signed id alone; for who speaks on the code host, the catalogue tells it.
    ids = {voice.slack_user} if voice.slack_user else who.slack
    logins = who.logins | ({voice.login.lower()} if voice.login else set())
    unreadable: list[str] = []
    for name in groups:
        group = known.group(name)
        if group is None:
            continue
        if not ids.isdisjoint(group.members):
            return
        for source, names in _rolls(group, facts):
            if names is None:
                unreadable.append(f"{name} ({source})")
            elif (ids if source == "Slack" else logins) & names:
                return
    if unreadable:
        raise Refused(
            ReasonCode.GROUP_UNREADABLE,
            f"Who belongs to {listed(unreadable)} could not be read, so nobody is let through as a member.",
            "Try again in a minute; if it stays so, ask the platform team to check the bot's rights.",
        )
    raise Refused(
        ReasonCode.NOT_AN_APPROVER,
        f"{voice.shown} may not approve this: that takes a member of {listed(groups)}.",
        f"Ask one of them{_names(known, groups)}.",
    )


def _rolls(group: Group, facts: Facts) -> Iterable[tuple[str, frozenset[str] | None]]:
    """Member lists that others keep; None where one could not be read recently."""
    if group.slack:
        yield "Slack", facts.groups.get(group.slack)
    if group.github:
        yield "GitHub", facts.teams.get(group.github)


def _names(known: Catalogue, groups: Sequence[str]) -> str:
    found = [user for name in groups if (group := known.group(name)) for user in group.members][:5]
    return f" ({', '.join(mention(user) for user in found)})" if found else ""
