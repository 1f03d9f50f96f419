"""Attacks on the gate through the whole program: merges and pushes around it, rules that change while it is open,
roles that are lost, and a code host that acts and does not say so.

Left to `test_gate_attacks.py`: who approves, with which button, of which content; to `tests/crash/test_gate_points.py`:
deaths in between.
"""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bot.sandbox.server import Misbehaviour
from bot.sandbox.slack_model import DEVELOPER, ON_CALL, RELEASE_MANAGER, UserGroup
from commands.reasons import ReasonCode
from storage.models import ChangeState, Deployment
from storage.phases import Phase
from tests.e2e.arena import LIVE_ONE, ONE, PLATFORM, Arena, arena, tokens

RULES = ONE.replace("required: 1", "required: 1, expires_after: %s")
PLACES = {
    "handbefore": LIVE_ONE,
    "handafter": LIVE_ONE,
    "handother": LIVE_ONE,
    "handvoid": LIVE_ONE,
    "direct": ONE,
    "rules": RULES % "4h",
    "raised": ONE.replace("required: 1", "required: 1, expires_after: 5h"),
    "faults": ONE,
    "members": ONE.replace("[release-managers, platform-team]", "[passing]"),
    "group": ONE.replace("[release-managers, platform-team]", "[release-managers]"),
    "deployer": ONE.replace("{change", "{deployers: [passing], change"),
    "create": ONE,
    "status": ONE,
    "merge": LIVE_ONE,
    "limited": ONE,
    "race": ONE,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    running = [name for name, settings in PLACES.items() if "none" not in settings]
    with arena(tmp_path_factory.mktemp("attacks"), PLACES, rolled_out=running) as made:
        yield made


# ------------------------------------------------------------ around the gate


def test_a_merge_by_hand_without_approval_is_told_to_everybody_and_not_rolled_out(world: Arena) -> None:
    row = world.ask("handbefore")
    before = world.running_image("handbefore")
    merged = world.sandbox.github.merge(world.pull(row).number, "oncall-hub")
    world.failed(row, ReasonCode.MERGED_BY_HAND, "`oncall-hub` merged the pull request by hand", "/rollback")
    alerts = [one for one in world.notices() if merged[:12] in one and "by hand" in one]
    assert len(alerts) == 1
    world.told(alerts[0], "⚠️", "`oncall-hub`")
    (record,) = world.audit("change:external-merge", row)
    assert merged in record.details
    assert not world.builds(row)
    assert world.running_image("handbefore") == before
    assert not tokens(world.card(row))


def test_a_merge_by_hand_of_exactly_what_was_approved_goes_on(world: Arena) -> None:
    row = world.ask("handafter")
    _held(world, row, "handafter")
    merged = world.sandbox.github.merge(world.pull(row).number, "oncall-hub")
    world.type("unlock handafter")
    done = world.live(row)
    assert done.commit_sha == merged
    assert world.change(row).merged_by == "oncall-hub"
    assert len(world.builds(row)) == 1
    assert f"@{done.digest}" in world.running_image("handafter")


def test_a_merge_by_hand_of_something_else_than_was_approved_is_not_rolled_out(world: Arena) -> None:
    row = world.ask("handother")
    _held(world, row, "handother")
    before = world.running_image("handother")
    with _blind(world):
        world.push(row, {"environments/handother/note.txt": "smuggled in"}, "oncall-hub")
        world.sandbox.github.merge(world.pull(row).number, "oncall-hub")
    world.type("unlock handother")
    world.failed(row, ReasonCode.MERGED_OTHER, "is not what was approved", "`environments/handother/note.txt`")
    assert len([one for one in world.notices() if "is not what was approved" in one]) == 1
    assert not world.builds(row)
    assert world.running_image("handother") == before


@pytest.mark.slow
def test_a_merge_by_hand_after_the_approval_is_void_is_one_without_approval(world: Arena) -> None:
    row = world.ask("handvoid")
    card = world.card(row)
    _held(world, row, "handvoid")
    world.push(row, {"environments/handvoid/note.txt": "pushed"}, "oncall-hub")
    world.until_void(row, card, "Somebody has pushed")
    world.sandbox.github.merge(world.pull(row).number, "oncall-hub")
    world.failed(row, ReasonCode.MERGED_BY_HAND, "by hand")
    world.type("unlock handvoid")
    assert not world.builds(row)


def test_a_push_past_the_bot_makes_approvals_of_that_app_void_and_is_told_to_everybody(world: Arena) -> None:
    row = world.ask("direct")
    before = world.card(row)
    _held(world, row, "direct")
    path = "environments/direct/kustomization.yaml"
    pushed = world.sandbox.commit(path, world.sandbox.read(path).replace("1.4.0", "1.4.1"), "Quickly")
    card = world.until_void(row, before, "What `my-application` is built from in git has changed")
    world.until(lambda: [one for one in world.notices() if pushed[:7] in one])
    assert [one for one in world.audit("external-change") if pushed in one.details and one.environment == "direct"]
    assert "1.4.1" in card.text  # what it goes away from is another version now
    world.not_merged(row)
    world.type("unlock direct")
    world.give_up(row)


# ------------------------------------------------------------ rules that change


def test_other_rules_make_an_approval_void(world: Arena) -> None:
    row = world.ask("rules")
    before = world.card(row)
    _held(world, row, "rules")
    world.write_catalogue(lambda text: _rule(text, "rules", "platform-team", "vanished"))
    card = world.until_void(row, before, "The rules for this environment in `locktender.yaml` have changed.")
    world.refuse_click(PLATFORM, card, ReasonCode.GROUP_UNREADABLE)
    world.type("unlock rules")
    world.approve(row, message=card)
    world.merged_once(row, RELEASE_MANAGER.id)


def test_more_approvals_that_are_asked_for_meanwhile_are_waited_for(world: Arena) -> None:
    row = world.ask("raised")
    before = world.card(row)
    _held(world, row, "raised")
    world.write_catalogue(lambda text: _rule(text, "raised", "required: 1", "required: 2"))
    card = world.until_void(row, before, "0 of 2")
    world.type("unlock raised")
    world.approve(row, message=card)
    world.not_merged(row)
    world.approve(row, PLATFORM, message=card)
    world.merged_once(row, RELEASE_MANAGER.id, PLATFORM.id)


def test_a_catalogue_with_faults_closes_the_gate_until_it_is_mended(world: Arena) -> None:
    row = world.ask("faults")
    card = world.card(row)
    good = world.sandbox.read("locktender.yaml")
    world.write_catalogue(lambda text: text.replace("promotion:", "promotoin:"))
    world.refuse_click(RELEASE_MANAGER, card, ReasonCode.CATALOGUE_INVALID, "the rules for `faults` are in doubt")
    world.write_catalogue(lambda _: good)
    world.until_shown(row)
    _held(world, row, "faults", ON_CALL.id)
    world.write_catalogue(lambda text: text.replace("promotion:", "promotoin:"))
    world.type("unlock faults")
    looked = world.change(row).visit_at
    world.until(lambda: world.change(row).visit_at != looked)
    world.not_merged(row)
    assert not Phase(world.row(row).phase).ended, world.row(row)
    world.write_catalogue(lambda _: f"{good}# mended\n")
    world.merged_once(row, ON_CALL.id)


# ------------------------------------------------------------ roles that are lost


def test_an_approver_who_is_taken_off_the_list_no_longer_counts(world: Arena) -> None:
    row = world.ask("members")
    before = world.card(row)
    _held(world, row, "members")
    world.write_catalogue(lambda text: text.replace("[U0RELEASE, U0ONCALL, U0DEVELOPER]", "[U0ONCALL, U0DEVELOPER]"))
    card = world.until_void(row, before, "The rules for this environment")
    world.type("unlock members")
    world.refuse_click(RELEASE_MANAGER, card, ReasonCode.NOT_AN_APPROVER)
    world.not_merged(row)
    world.approve(row, ON_CALL, message=card)
    world.merged_once(row, ON_CALL.id)


def test_a_request_ends_when_who_asked_may_no_longer_ask(world: Arena) -> None:
    row = world.ask("deployer")
    _held(world, row, "deployer", ON_CALL.id)
    world.write_catalogue(lambda text: text.replace("U0ONCALL, U0DEVELOPER]", "U0ONCALL]"))
    world.failed(row, ReasonCode.NOT_PERMITTED, "may not deploy to `deployer`")
    world.type("unlock deployer")
    world.not_merged(row)
    world.until(lambda: world.pull(row).closed)
    assert world.status(row) == "failure"


# ------------------------------------------------------------ a code host in trouble


def test_a_pull_request_that_was_opened_without_an_answer_is_found(world: Arena) -> None:
    lost = world.trouble("POST", r"/pulls$", Misbehaviour.DROP_AFTER)
    row = world.ask("create")
    assert lost.hits == 1
    world.approve(row)
    world.merged_once(row, RELEASE_MANAGER.id)


@pytest.mark.slow
def test_a_status_that_was_set_without_an_answer_is_found(world: Arena) -> None:
    lost = world.trouble("POST", r"/statuses/", Misbehaviour.DROP_AFTER, times=2)
    row = world.ask("status")
    world.approve(row)
    world.merged_once(row, RELEASE_MANAGER.id)
    assert lost.hits == 2
    assert world.status(row) == "success"


@pytest.mark.parametrize(
    "kind", [Misbehaviour.DROP_AFTER, pytest.param(Misbehaviour.FAIL_AFTER, marks=pytest.mark.slow)]
)
def test_a_merge_that_happened_without_an_answer_is_found(world: Arena, kind: Misbehaviour) -> None:
    row = world.ask("merge", {Misbehaviour.DROP_AFTER: "1.4.1"}.get(kind, "1.4.2"))
    lost = world.trouble("PUT", r"/merge$", kind, status=502)
    world.approve(row)
    world.merged_once(row, RELEASE_MANAGER.id)
    assert lost.hits == 1
    assert world.change(row).merged_by == "locktender-bot"


def test_a_secondary_limit_during_the_merge_is_waited_out(world: Arena) -> None:
    row = world.ask("limited")
    limited = world.trouble("PUT", r"/merge$", Misbehaviour.RATE_LIMIT, seconds=1)
    world.approve(row)
    world.merged_once(row, RELEASE_MANAGER.id)
    assert limited.hits == 1


@pytest.mark.parametrize(
    ("status", "words", "version"),
    [
        (405, "Base branch was modified. Review and try the merge again.", "1.4.1"),
        pytest.param(409, "Head branch was modified. Review and try the merge again.", "1.4.2", marks=pytest.mark.slow),
        pytest.param(405, "Pull Request is not mergeable", "1.4.3", marks=pytest.mark.slow),
    ],
)
def test_a_merge_that_meets_a_race_is_tried_again(world: Arena, status: int, words: str, version: str) -> None:
    row = world.ask("race", version)
    world.sandbox.github.trip(words, status=status)
    world.approve(row)
    world.merged_once(row, RELEASE_MANAGER.id)


# ------------------------------------------------------------ parts


def _held(world: Arena, row: Deployment, environment: str, by: str = RELEASE_MANAGER.id) -> None:
    """Approve it while a lock keeps it from being merged."""
    assert not world.type(f"lock {environment} --reason the attack needs a moment").text.startswith("🚫")
    user = {RELEASE_MANAGER.id: RELEASE_MANAGER, ON_CALL.id: ON_CALL}[by]
    world.approve(row, user)
    world.until_state(row, ChangeState.APPROVED)
    world.until(lambda: world.status(row) == "success")
    world.not_merged(row)


def _rule(text: str, environment: str, old: str, new: str) -> str:
    """The catalogue with something replaced in one environment's line."""
    (line,) = re.findall(rf"(?m)^  {environment}: .*$", text)
    assert old in line
    return text.replace(line, line.replace(old, new))


@contextmanager
def _blind(world: Arena) -> Iterator[None]:
    """The program sees nothing of what is done meanwhile."""
    world.program.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        world.program.process.send_signal(signal.SIGCONT)


# ------------------------------------------------------------ last: whoever left stays away


@pytest.mark.slow
def test_an_approver_who_leaves_the_slack_group_no_longer_counts(world: Arena) -> None:
    row = world.ask("group")
    _held(world, row, "group")
    world.slack.put_group(UserGroup("S0RELEASE", "release-managers", "Release managers", (ON_CALL.id, DEVELOPER.id)))
    world.until(lambda: world.change(row).state == ChangeState.OPEN, 150)
    world.type("unlock group")
    world.until(lambda: "An approval no longer counts" in world.card(row).text)
    world.until(lambda: world.status(row) == "pending")
    card = world.until_shown(row)
    assert not world.approvals(row) or world.approvals(row)[0].verdict == "withdrawn"
    # Noticing it took longer than the ten seconds in which two clicks are one.
    world.refuse_click(RELEASE_MANAGER, card, ReasonCode.NOT_AN_APPROVER)
    world.not_merged(row)
    world.approve(row, ON_CALL, message=card)
    world.merged_once(row, ON_CALL.id)
