"""Who stands in git as the author of a deployment's commit: the person, or the token that asked, never somebody else.

That the commit gets there is in tests/contract and tests/e2e.
"""

from datetime import UTC, datetime
from typing import cast

import pytest

from bot.writing import Writing
from commands.ports import CommitAuthor, InfraRepo, Person, Renderer
from commands.requests import Source
from storage.models import Deployment


class Profiles:
    """Slack's profiles, and who was looked up there."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def person(self, team_id: str, user_id: str) -> Person:
        self.asked.append(user_id)
        known = {"U0ALICE": ("Alice", "alice@example.com"), "U0BARE": ("", "")}
        return Person(team_id, user_id, *known[user_id])

    def members(self, group_id: str) -> frozenset[str] | None:
        raise NotImplementedError(group_id)


def author(profiles: Profiles, by: str, source: Source, on_behalf_of: str = "") -> CommitAuthor:
    # Neither git nor a renderer is asked who somebody is.
    writing = Writing(cast("InfraRepo", None), cast("Renderer", None), profiles, lambda *_: None, str)
    row = Deployment(
        app="web",
        environment="staging",
        version="1.4.2",
        team_id="T1",
        requested_by=by,
        requested_at=datetime.now(UTC),
        source=source,
        on_behalf_of=on_behalf_of,
    )
    return writing.author(row)


@pytest.mark.parametrize(
    ("by", "name", "email"),
    [
        ("U0ALICE", "Alice", "alice@example.com"),
        ("U0BARE", "U0BARE", "U0BARE@T1.slack.invalid"),
        ("locktender", "Locktender", "locktender@localhost"),
    ],
)
def test_a_person_is_the_author_under_an_address_that_nobody_else_can_own(by: str, name: str, email: str) -> None:
    assert author(Profiles(), by, Source.SLASH) == CommitAuthor(name, email)


@pytest.mark.parametrize("named", ["", "U0ALICE", "alice@example.com"])
def test_a_token_is_the_author_itself_whomever_it_names(named: str) -> None:
    profiles = Profiles()
    found = author(profiles, "api:nightly", Source.API, named)
    assert found == CommitAuthor("api:nightly", "nightly@api.locktender.invalid")
    assert profiles.asked == [], "Slack knows no such user, and is not asked for one"
