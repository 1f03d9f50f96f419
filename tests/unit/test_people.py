"""Who is the same human: which names are one person's, which are two people's, and where nobody can tell.

Left out: reading `people:` (test_catalogue.py) and what follows from it for approvals (test_approvals.py).
"""

import pytest

from commands import people
from commands.catalogue import Catalogue
from commands.people import Same
from tests.desk_rig import MINIMAL, catalogue

PEOPLE = """\
people:
  alice: {slack: [U0ALICE, U0TWIN], github: [alice-hub, alice-work], emails: [alice@company.example]}
  bob: {slack: U0BOB, github: bob-hub, emails: [bob@company.example]}
  carol: {github: carol-hub}
"""


@pytest.fixture(scope="module")
def known() -> Catalogue:
    return catalogue(f"{MINIMAL}{PEOPLE}")


def test_every_name_in_the_catalogue_leads_to_one_person(known: Catalogue) -> None:
    found = {
        people.by_slack(known, "U0ALICE"),
        people.by_slack(known, "U0TWIN"),
        people.by_login(known, "alice-hub"),
        people.by_login(known, "Alice-Work"),
        people.by_email(known, "ALICE@company.example"),
        people.by_email(known, "alice-hub@users.noreply.github.com"),
        people.by_email(known, "12345+Alice-Work@users.noreply.github.com"),
    }
    assert {one.key for one in found} == {"person:alice"}
    assert len(found) == 1


def test_two_known_people_are_two_by_whatever_name(known: Catalogue) -> None:
    names = (people.by_slack(known, "U0BOB"), people.by_login(known, "bob-hub"), people.by_login(known, "carol-hub"))
    for name in names:
        assert people.same(people.by_slack(known, "U0ALICE"), name) is Same.NO
        assert people.same(name, people.by_email(known, "alice@company.example")) is Same.NO


def test_two_slack_users_are_two_people_unless_the_catalogue_says_otherwise(known: Catalogue) -> None:
    stranger = people.by_slack(known, "U0STRANGER")
    assert people.same(stranger, people.by_slack(known, "U0OTHER")) is Same.NO
    assert people.same(stranger, people.by_slack(known, "U0ALICE")) is Same.NO
    assert people.same(people.by_slack(known, "U0ALICE"), people.by_slack(known, "U0TWIN")) is Same.YES


@pytest.mark.parametrize("unknown", ["login", "email"])
def test_an_unknown_login_or_address_may_be_anybodys_second_one(known: Catalogue, unknown: str) -> None:
    someone = people.by_login(known, "who-hub") if unknown == "login" else people.by_email(known, "who@who.example")
    others = (
        people.by_slack(known, "U0ALICE"),
        people.by_slack(known, "U0STRANGER"),
        people.by_login(known, "alice-hub"),
        people.by_login(known, "other-hub"),
        people.by_email(known, "other@who.example"),
    )
    for other in others:
        assert people.same(someone, other) is Same.UNKNOWN
        assert people.same(other, someone) is Same.UNKNOWN
    assert people.same(someone, someone) is Same.YES
    assert people.by_login(known, "WHO-Hub") == people.by_login(known, "who-hub")


def test_a_person_without_slack_may_be_any_unknown_slack_user(known: Catalogue) -> None:
    carol = people.by_login(known, "carol-hub")
    assert people.same(carol, people.by_slack(known, "U0STRANGER")) is Same.UNKNOWN
    assert people.same(carol, people.by_slack(known, "U0ALICE")) is Same.NO


@pytest.mark.parametrize(
    "address",
    [
        "alice-hub@users.noreply.github.com.evil.example",
        "x+alice-hub@users.noreply.github.com",
        "alice-hub@noreply.github.com",
        "@users.noreply.github.com",
    ],
)
def test_an_address_that_only_looks_like_githubs_names_nobody(known: Catalogue, address: str) -> None:
    assert people.by_email(known, address).key == f"email:{address}"
