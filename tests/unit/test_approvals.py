"""Who may approve, and which approvals count: every rule by itself, and attacks on it that need no program.

Left out: buttons, transactions and words on cards (test_approve.py), and the whole program (tests/e2e).
"""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from commands.approvals import Reviewed, Voice, counted, may_approve
from commands.code_host import PullCommit
from commands.facts import Facts
from commands.reasons import ReasonCode, Refused
from tests.desk_rig import MINIMAL, facts
from tests.unit.test_people import PEOPLE

RULES = (
    MINIMAL.replace(
        "groups:\n", "groups:\n  reviewers: {github: company/reviewers}\n  mixed: {slack: S0MIXED, "
    ).replace("mixed: {slack: S0MIXED, ", "mixed: {slack: S0MIXED, members: [U0LISTED]}\n")
    + PEOPLE
)
GROUPS = {"S0RELEASE": frozenset({"U0ALICE", "U0TWIN", "U0BOB", "U0ZOE"}), "S0MIXED": frozenset({"U0ZOE"})}
TEAMS = {"company/reviewers": frozenset({"alice-hub", "alice-work", "bob-hub", "carol-hub", "who-hub"})}
ASKED_BY_ALICE = Reviewed(("release-managers", "platform-team", "reviewers"), 1, "U0ALICE")
BOB, ZOE, PLATFORM = Voice("U0BOB"), Voice("U0ZOE"), Voice("U0PLATFORM1")


def world(
    groups: Mapping[str, frozenset[str]] = GROUPS, teams: Mapping[str, frozenset[str]] = TEAMS, text: str = RULES
) -> Facts:
    return replace(facts(text, groups=groups), teams=teams)


def refused(change: Reviewed, voice: Voice, known: Facts | None = None) -> ReasonCode:
    given = known or world()
    assert given.in_force.catalogue is not None
    with pytest.raises(Refused) as caught:
        may_approve(given.in_force.catalogue, given, change, voice)
    assert caught.value.what.endswith(".")
    assert caught.value.next_step
    return caught.value.reason


def allowed(change: Reviewed, voice: Voice, known: Facts | None = None) -> str:
    given = known or world()
    assert given.in_force.catalogue is not None
    return may_approve(given.in_force.catalogue, given, change, voice).key


def count(change: Reviewed, *voices: Voice, known: Facts | None = None) -> list[str]:
    given = known or world()
    assert given.in_force.catalogue is not None
    return [who.key for who in counted(given.in_force.catalogue, given, change, voices)]


# ------------------------------------------------------------ members


@pytest.mark.parametrize("voice", [BOB, ZOE, PLATFORM, Voice(login="bob-hub"), Voice(login="Carol-Hub".lower())])
def test_members_may_approve_by_slack_group_list_and_team(voice: Voice) -> None:
    assert allowed(ASKED_BY_ALICE, voice)


@pytest.mark.parametrize("voice", [Voice("U0NOBODY"), Voice("S0RELEASE"), Voice("release-managers"), Voice(" U0BOB")])
def test_whoever_is_in_no_group_may_not(voice: Voice) -> None:
    assert refused(ASKED_BY_ALICE, voice) is ReasonCode.NOT_AN_APPROVER


def test_nobody_is_a_member_by_having_no_name() -> None:
    empty = world({"S0RELEASE": frozenset({""})}, {"company/reviewers": frozenset({""})})
    assert refused(ASKED_BY_ALICE, Voice("U0NOBODY"), empty) is ReasonCode.NOT_AN_APPROVER


def test_a_role_that_was_lost_no_longer_counts() -> None:
    assert count(ASKED_BY_ALICE, BOB) == ["person:bob"]
    assert count(ASKED_BY_ALICE, BOB, known=world({"S0RELEASE": frozenset({"U0ZOE"})}, {})) == []


@pytest.mark.parametrize("groups", [("release-managers",), ("reviewers",), ("release-managers", "reviewers")])
def test_a_group_that_cannot_be_read_lets_nobody_through(groups: tuple[str, ...]) -> None:
    unread = world({}, {})
    change = replace(ASKED_BY_ALICE, groups=groups)
    assert refused(change, BOB, unread) is ReasonCode.GROUP_UNREADABLE
    assert count(change, BOB, known=unread) == []


def test_who_is_on_a_list_needs_no_group_that_can_be_read() -> None:
    assert allowed(replace(ASKED_BY_ALICE, groups=("mixed",)), Voice("U0LISTED"), world({}, {}))
    assert allowed(ASKED_BY_ALICE, PLATFORM, world({}, {}))


def test_a_group_that_is_no_longer_in_the_catalogue_has_no_members() -> None:
    assert refused(replace(ASKED_BY_ALICE, groups=("gone",)), BOB) is ReasonCode.NOT_AN_APPROVER
    assert refused(replace(ASKED_BY_ALICE, groups=()), BOB) is ReasonCode.NOT_AN_APPROVER


# ------------------------------------------------------------ one's own


@pytest.mark.parametrize(
    "voice", [Voice("U0ALICE"), Voice("U0TWIN"), Voice(login="alice-hub"), Voice(login="alice-work")]
)
def test_who_asked_cannot_approve_by_any_name(voice: Voice) -> None:
    assert refused(ASKED_BY_ALICE, voice) is ReasonCode.SELF_APPROVAL
    assert count(ASKED_BY_ALICE, voice) == []


def test_a_login_that_nobody_knows_may_be_who_asked() -> None:
    assert refused(ASKED_BY_ALICE, Voice(login="who-hub")) is ReasonCode.UNKNOWN_PERSON


def test_a_known_login_may_be_an_unknown_slack_user() -> None:
    asked = replace(ASKED_BY_ALICE, requested_by="U0UNKNOWN")
    assert refused(asked, Voice(login="carol-hub")) is ReasonCode.UNKNOWN_PERSON
    assert allowed(asked, BOB)


def test_what_the_bot_asked_for_itself_is_approved_by_people() -> None:
    asked = replace(ASKED_BY_ALICE, requested_by="locktender")
    assert allowed(asked, BOB)
    assert allowed(asked, Voice("U0ALICE"))
    assert refused(asked, Voice("U0NOBODY")) is ReasonCode.NOT_AN_APPROVER


# ------------------------------------------------------------ authors


def by(*emails: str, logins: tuple[str, ...] = ()) -> Reviewed:
    return replace(ASKED_BY_ALICE, strangers=(PullCommit("c" * 40, logins, emails),))


@pytest.mark.parametrize(
    "change",
    [
        by("bob@company.example"),
        by("77+bob-hub@users.noreply.github.com"),
        by(logins=("bob-hub",)),
        by("carol-hub@users.noreply.github.com", "bob@company.example"),  # committed by one, written by the other
        by("noreply@github.com", logins=("web-flow", "bob-hub")),
    ],
)
def test_an_author_cannot_approve_their_own_commit(change: Reviewed) -> None:
    assert refused(change, BOB) is ReasonCode.SELF_APPROVAL
    assert refused(change, Voice(login="bob-hub")) is ReasonCode.SELF_APPROVAL


@pytest.mark.parametrize(
    "change",
    [
        by("made-up@nowhere.example"),
        by("made-up@nowhere.example", logins=("carol-hub",)),
        by(logins=("who-hub",)),
        by(),
        by("noreply@github.com", logins=("web-flow",)),  # GitHub's own name alone hides whoever it was
    ],
)
def test_nobody_can_approve_beside_an_author_whom_nobody_knows(change: Reviewed) -> None:
    assert refused(change, BOB) is ReasonCode.UNKNOWN_PERSON
    assert count(change, BOB, ZOE, PLATFORM) == []


def test_another_known_person_may_approve_beside_a_known_author() -> None:
    assert allowed(by("noreply@github.com", logins=("web-flow", "carol-hub")), BOB)


def test_every_commit_on_the_branch_is_looked_at() -> None:
    change = replace(by("carol-hub@users.noreply.github.com"), strangers=())
    mine = PullCommit("d" * 40, ("bob-hub",), ())
    theirs = PullCommit("e" * 40, ("carol-hub",), ())
    assert refused(replace(change, strangers=(theirs, mine)), BOB) is ReasonCode.SELF_APPROVAL
    assert refused(replace(change, strangers=(mine, theirs)), BOB) is ReasonCode.SELF_APPROVAL


# ------------------------------------------------------------ counting


def test_one_person_with_two_accounts_counts_once() -> None:
    asked = replace(ASKED_BY_ALICE, requested_by="U0BOB")
    voices = (Voice("U0ALICE"), Voice("U0TWIN"), Voice(login="alice-hub"), Voice(login="alice-work"))
    assert count(asked, *voices) == ["person:alice"]


def test_different_people_count_each() -> None:
    assert count(ASKED_BY_ALICE, BOB, ZOE, PLATFORM, Voice(login="carol-hub")) == [
        "person:bob",
        "slack:U0ZOE",
        "slack:U0PLATFORM1",
    ]  # carol may be either of the last two, as far as anybody knows


# ------------------------------------------------------------ what automation asks for

ASKED_BY_CI = replace(ASKED_BY_ALICE, requested_by="api:ci")


def test_what_a_token_asks_for_is_approved_by_any_member() -> None:
    assert allowed(ASKED_BY_CI, BOB)
    assert allowed(ASKED_BY_CI, Voice("U0ALICE"))


@pytest.mark.parametrize("name", ["U0ALICE", "U0TWIN", "github:alice-hub", "github:Alice-Hub"])
@pytest.mark.parametrize("voice", [Voice("U0ALICE"), Voice("U0TWIN"), Voice(login="alice-work")])
def test_whom_a_token_named_has_asked_and_does_not_count_by_any_name(name: str, voice: Voice) -> None:
    asked = replace(ASKED_BY_CI, on_behalf_of=name)
    assert refused(asked, voice) is ReasonCode.SELF_APPROVAL
    assert allowed(asked, BOB)
    assert count(asked, voice, BOB, ZOE) == count(asked, BOB, ZOE)


def test_whom_nobody_can_tell_from_an_approver_stops_that_approver() -> None:
    assert refused(replace(ASKED_BY_CI, on_behalf_of="who@example.com"), ZOE) is ReasonCode.UNKNOWN_PERSON
