"""The rules by themselves: facts in, a refusal or nothing out; and the shape that a person's words are shown in.

The same rules through a store, with what they leave in the record, are in test_deploy and test_cancel.
"""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import policy
from commands.facts import CatalogueInForce, Facts
from commands.grammar import unsafe_characters
from commands.policy import Target
from commands.reasons import Fault, ReasonCode, Refused
from commands.requests import listed, mention, outside, typed
from tests.desk_rig import APP, WIDE, asker, broken, catalogue, facts


def reason(decide: object, *words: object) -> ReasonCode | None:
    try:
        decide(*words)  # type: ignore[operator]  # one of the policy's functions
    except Refused as fault:
        return fault.reason if fault.what.endswith(".") and fault.next_step else ReasonCode.INTERNAL
    return None


@pytest.mark.parametrize(("team", "refused"), [("T1", False), ("T2", True), ("", True), ("t1", True)])
def test_only_the_bots_own_workspace_is_served(team: str, *, refused: bool) -> None:
    assert (reason(policy.workspace, facts(), asker(team=team)) is ReasonCode.WRONG_WORKSPACE) is refused


@pytest.mark.parametrize("name", ["dev", "staging"])
def test_an_environment_that_takes_commits_may_be_changed_even_in_doubt(name: str) -> None:
    known = catalogue()
    target = Target(known.apps[APP], known.environments[name])
    assert reason(policy.may_change, facts(), target) is None
    assert reason(policy.may_change, broken(facts()), target) is None


def test_an_environment_with_pull_requests_is_closed_while_anything_about_its_review_is_in_doubt() -> None:
    rule = "    change: pull-request\n    approval: {from: [platform-team]}\n"
    text = WIDE.replace("  dev: {}\n", f"  dev:\n{rule}")
    known = catalogue(text)
    target = Target(known.apps[APP], known.environments["dev"])
    assert reason(policy.may_change, facts(text), target) is None
    assert reason(policy.may_change, facts(text, reviews=False), target) is ReasonCode.NOT_CONFIGURED
    assert reason(policy.may_change, broken(facts(text)), target) is ReasonCode.CATALOGUE_INVALID
    just, late = policy.OLDEST_FACTS, policy.OLDEST_FACTS + timedelta(seconds=1)
    assert reason(policy.may_change, facts(text, age=just), target) is None
    assert reason(policy.may_change, facts(text, age=late), target) is ReasonCode.FACTS_TOO_OLD


def test_a_member_of_a_readable_group_is_let_through_beside_an_unreadable_one() -> None:
    text = WIDE.replace("  platform-team:", "  second: {slack: S0SECOND}\n  platform-team:").replace(
        "deployers: [release-managers, platform-team]", "deployers: [release-managers, second]"
    )
    environment = catalogue(text).environments["staging"]
    known = facts(text, groups={"S0SECOND": frozenset({"U1"})})
    assert reason(policy.may_deploy, known, asker("U1"), environment) is None
    assert reason(policy.may_deploy, known, asker("U2"), environment) is ReasonCode.GROUP_UNREADABLE


def test_a_catalogue_that_never_was_good_refuses_with_its_own_reason() -> None:
    nothing = Facts(CatalogueInForce(reason=ReasonCode.REPO_UNREACHABLE, problem="Away.", next_step="Wait."))
    assert reason(policy.catalogue, nothing) is ReasonCode.REPO_UNREACHABLE


@given(st.text(st.characters()))
def test_what_is_said_back_can_be_read_and_ends_its_own_quotation(word: str) -> None:
    shown = typed(word)
    assert shown[0] == shown[-1] == "`"
    assert "`" not in shown[1:-1]
    assert unsafe_characters(shown) is None
    assert len(shown) <= 63


def test_nobody_can_type_a_mention() -> None:
    assert typed(mention("U0BOSS")) == "`U0BOSS`"
    assert outside(mention("U0BOSS")) == "U0BOSS"


@pytest.mark.parametrize(
    ("words", "text"), [((), ""), (("a",), "`a`"), (("a", "b"), "`a` or `b`"), (("a", "b", "c"), "`a`, `b` or `c`")]
)
def test_choices_are_listed_as_people_list_them(words: tuple[str, ...], text: str) -> None:
    assert listed(words) == text


def test_a_fault_says_its_reason_in_a_log() -> None:
    assert str(Fault(ReasonCode.TOO_LATE, "It has ended.", "Nothing.")) == "too_late: It has ended."
