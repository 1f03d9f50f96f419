"""Attacks on the gate through the whole program: who approves, with which button, of which content.

Nobody gets a change through who may not, with a button that is not of what is shown, or for something else than what
was shown. Left to `test_gate_attacks_2.py`: merges around the gate, rules that change, roles that are lost, and a code
host in trouble; to `tests/crash/test_gate_points.py`: deaths in between.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from bot.sandbox.slack_model import AUDITOR, DEPLOYMENTS, DEVELOPER, ON_CALL, OUTSIDER, RELEASE_MANAGER
from commands.reasons import ReasonCode
from storage.models import ChangeState
from storage.phases import Phase
from tests.e2e.arena import BOTH, LIVE_ONE, ONE, PLATFORM, TWIN, TWO, Arena, arena, forged, tokens

PLACES = {
    "self": ONE,
    "hub": BOTH,
    "author": ONE,
    "outsider": ONE,
    "buttons": ONE,
    "copied": ONE,
    "replay": TWO,
    "thrice": ONE,
    "head": LIVE_ONE,
    "headver": ONE,
    "base": ONE,
    "otherapp": ONE,
    "race": TWO,
    "vanished": ONE.replace("[release-managers, platform-team]", "[vanished]"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with arena(tmp_path_factory.mktemp("attacks"), PLACES, rolled_out=["head"]) as made:
        yield made


# ------------------------------------------------------------ who


def test_who_asked_cannot_approve_with_either_account(world: Arena) -> None:
    row = world.ask("self")
    card = world.card(row)
    world.refuse_click(DEVELOPER, card, ReasonCode.SELF_APPROVAL, "somebody else has to approve it")
    world.refuse_click(TWIN, card, ReasonCode.SELF_APPROVAL, "somebody else has to approve it")
    world.not_merged(row)
    world.approve(row)
    world.merged_once(row, RELEASE_MANAGER.id)


def test_reviews_by_who_asked_by_somebody_unknown_and_by_no_member_do_not_count(world: Arena) -> None:
    row = world.ask("hub")
    number = world.pull(row).number
    for login, words in {
        "dev-hub": "somebody else has to approve it",
        "stranger-hub": "Nobody can tell whether",
        "platform-hub": "may not approve this",
    }.items():
        world.sandbox.github.review(number, login, "APPROVE")
        told = world.until_replied(row, words)
        world.told(told, f"`{login}`", "does not count")
    assert not world.approvals(row)
    world.not_merged(row)
    world.sandbox.github.review(number, "oncall-hub", "APPROVE")
    world.merged_once(row, "github:oncall-hub")


def test_an_author_of_a_commit_on_the_branch_cannot_approve_it(world: Arena) -> None:
    row = world.ask("author")
    before = world.card(row)
    world.push(row, {"environments/author/note.txt": "by hand"}, "oncall-hub")
    card = world.until_void(row, before, "Somebody has pushed", "oncall-hub")
    world.refuse_click(ON_CALL, card, ReasonCode.SELF_APPROVAL, "is an author of commit")
    world.not_merged(row)
    world.approve(row)
    world.merged_once(row, RELEASE_MANAGER.id)


def test_nobody_can_approve_beside_an_author_whom_nobody_knows(world: Arena) -> None:
    row = world.ask("author", "1.4.3")
    before = world.card(row)
    world.push(row, {"environments/author/note.txt": "by a stranger"}, "stranger-hub")
    card = world.until_void(row, before, "Somebody has pushed", "stranger-hub")
    world.refuse_click(RELEASE_MANAGER, card, ReasonCode.UNKNOWN_PERSON, "nobody can tell whether")
    world.not_merged(row)
    world.give_up(row)


def test_outsiders_are_turned_away(world: Arena) -> None:
    row = world.ask("outsider")
    card = world.card(row)
    world.refuse_click(AUDITOR, card, ReasonCode.NOT_AN_APPROVER, "may not approve this")
    world.refuse_click(OUTSIDER, card, ReasonCode.WRONG_WORKSPACE, "its own workspace only")
    # The id of a release manager, from another workspace: ids are of one workspace each, and never enough alone.
    stranger = replace(RELEASE_MANAGER, team_id="T0ELSEWHERE")
    world.refuse_click(stranger, card, ReasonCode.WRONG_WORKSPACE, "its own workspace only")
    world.not_merged(row)
    assert world.change(row).state == ChangeState.OPEN
    world.give_up(row)


def test_a_group_that_cannot_be_read_lets_nobody_through(world: Arena) -> None:
    row = world.ask("vanished")
    world.refuse_click(RELEASE_MANAGER, world.card(row), ReasonCode.GROUP_UNREADABLE, "could not be read")
    world.not_merged(row)
    world.give_up(row)


# ------------------------------------------------------------ with which button


def test_stale_and_forged_buttons_do_nothing(world: Arena) -> None:
    row = world.ask("buttons")
    stale = world.card(row)
    (token,) = tokens(stale)
    for made_up in ("0" * 32, row.id, f"{token}0", f"{token[:-1]}g", "' or 1=1 --" * 3):
        world.refuse_click(RELEASE_MANAGER, forged(stale, made_up), ReasonCode.STALE_BUTTON)
    for made_up in ("", token[:31], "%"):
        world.refuse_click(RELEASE_MANAGER, forged(stale, made_up), ReasonCode.UNKNOWN_DEPLOYMENT)
    world.sandbox.commit(
        "environments/buttons/replicas.yaml",
        world.sandbox.read("environments/buttons/replicas.yaml").replace("replicas: 2", "replicas: 3"),
        "More replicas",
    )
    card = world.until_void(row, stale, "What `my-application` is built from")
    world.refuse_click(RELEASE_MANAGER, stale, ReasonCode.STALE_BUTTON, "it moved, or it has been decided")
    world.not_merged(row)
    world.approve(row, message=card)
    world.merged_once(row, RELEASE_MANAGER.id)


def test_a_decided_change_cannot_be_decided_again_with_the_old_button(world: Arena) -> None:
    row = world.ask("buttons", "1.4.3")
    card = world.card(row)
    world.approve(row)
    world.merged_once(row, RELEASE_MANAGER.id)
    world.refuse_click(ON_CALL, card, ReasonCode.STALE_BUTTON, "it has been decided")
    assert len(world.merges(row)) == 1


def test_a_replayed_click_counts_once(world: Arena) -> None:
    row = world.ask("replay")
    card = world.card(row)
    world.approve(row)
    for again in range(2):  # the very same button, from the same person, at once and as another delivery
        world.click(RELEASE_MANAGER, replace(card, ts=card.ts) if again else card)
    world.click(RELEASE_MANAGER, card, copies=3)
    assert len(world.approvals(row)) == 1
    assert len(world.audit("change:approve", row)) == 1
    assert world.change(row).state == ChangeState.OPEN  # two people are asked for
    world.not_merged(row)
    world.give_up(row)


def test_a_button_copied_into_another_message_counts_for_nothing_whoever_clicks_it(world: Arena) -> None:
    row = world.ask("copied")
    card = world.card(row)
    copied = world.slack.say(AUDITOR, DEPLOYMENTS, "Please approve this harmless thing")
    copied = replace(copied, blocks=card.blocks, app_id=card.app_id, bot_id=card.bot_id)
    for who in (AUDITOR, DEVELOPER, RELEASE_MANAGER):
        world.refuse_click(who, copied, ReasonCode.STALE_BUTTON, "is not the card of", "the buttons of the card itself")
    world.not_merged(row)
    world.click(RELEASE_MANAGER, card)
    world.merged_once(row, RELEASE_MANAGER.id)
    assert len(world.audit("change:approve", row)) == 1


def test_a_click_that_is_delivered_three_times_counts_once(world: Arena) -> None:
    row = world.ask("thrice")
    result = world.click(RELEASE_MANAGER, world.card(row), copies=3)
    assert [one.trouble for one in result.deliveries] == [result.trouble] * 3
    world.merged_once(row, RELEASE_MANAGER.id)
    assert len(world.audit("change:approve", row)) == 1


# ------------------------------------------------------------ of which content


def test_a_push_between_approval_and_merge_makes_the_approval_void(world: Arena) -> None:
    row = world.ask("head")
    before = world.card(row)
    assert not world.type("lock head --reason the attack needs a moment").text.startswith("🚫")
    world.approve(row)
    world.until_state(row, ChangeState.APPROVED)
    world.push(row, {"environments/head/replicas.yaml": _more(world, "head")}, "oncall-hub")
    card = world.until_void(row, before, "Somebody has pushed", "oncall-hub")
    world.type("unlock head")
    world.refuse_click(PLATFORM, before, ReasonCode.STALE_BUTTON)
    world.not_merged(row)
    assert world.row(row).phase == Phase.AWAITING_APPROVAL
    world.approve(row, message=card)
    done = world.merged_once(row, RELEASE_MANAGER.id)
    assert done.digest in world.running_image("head")


def test_a_push_of_another_version_ends_the_request(world: Arena) -> None:
    row = world.ask("headver")
    text = world.sandbox.read("environments/headver/kustomization.yaml").replace("1.4.0", "1.4.3")
    world.push(row, {"environments/headver/kustomization.yaml": text}, "oncall-hub")
    world.failed(row, ReasonCode.HEAD_MOVED, "1.4.3", "1.4.2", "was asked for")
    world.not_merged(row)
    world.until(lambda: world.pull(row).closed)


def test_a_base_that_moves_makes_the_approval_void(world: Arena) -> None:
    row = world.ask("base")
    before = world.card(row)
    world.type("lock base --reason the attack needs a moment")
    world.approve(row)
    world.until_state(row, ChangeState.APPROVED)
    world.sandbox.commit("environments/base/replicas.yaml", _more(world, "base"), "More replicas")
    card = world.until_void(row, before, "What `my-application` is built from in git has changed")
    world.not_merged(row)
    world.approve(row, ON_CALL, message=card)
    world.type("unlock base")
    world.merged_once(row, ON_CALL.id)
    assert "replicas: 3" in world.sandbox.read("environments/base/replicas.yaml")


def test_a_base_that_moves_for_another_app_leaves_the_approval_alone(world: Arena) -> None:
    row = world.ask("otherapp")
    card = world.card(row)
    world.type("lock otherapp --reason the attack needs a moment")
    world.approve(row)
    world.until_state(row, ChangeState.APPROVED)
    path = "apps/web/base/deployment.yaml"
    made = world.sandbox.commit(path, world.sandbox.read(path).replace("100m", "200m"), "More for web")
    looked = world.change(row).visit_at
    world.until(lambda: world.change(row).visit_at != looked)
    assert world.change(row).token == tokens(card)[0]
    world.type("unlock otherapp")
    done = world.merged_once(row, RELEASE_MANAGER.id)
    assert not world.audit("change:void", row)
    assert made in world.sandbox.log("%H")
    assert done.base_sha == made


def test_two_who_approve_at_once_count_once_each_and_it_is_merged_once(world: Arena) -> None:
    row = world.ask("race")
    card = world.card(row)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda user: world.click(user, card), (RELEASE_MANAGER, PLATFORM)))
    world.merged_once(row, *(one.actor for one in world.audit("change:approve", row)))
    assert {one.actor for one in world.audit("change:approve", row)} == {RELEASE_MANAGER.id, PLATFORM.id}
    assert len(world.audit("change:approve", row)) == 2


def _more(world: Arena, environment: str) -> str:
    text = world.sandbox.read(f"environments/{environment}/replicas.yaml")
    assert "replicas: 2" in text
    return text.replace("replicas: 2", "replicas: 3")
