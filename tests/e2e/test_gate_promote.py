"""Promotions through the whole program: one app from staging to production with everything that is kept of it, and
several apps as one change.

Left to others: who may approve (`test_gate_attacks`), other ways for a change to end (`test_gate_decisions`).
"""

import json
import re
from collections.abc import Iterator

import pytest

from bot.sandbox.slack_model import DEVELOPER, RELEASE_MANAGER
from commands.reasons import ReasonCode
from storage.phases import Phase
from tests.e2e.gate_rig import IN_GIT, REVIEWED, Company, GateRig, gate_rig

COMPANY = Company(
    environments={
        "qa": "",
        "production": REVIEWED,
        "together": f"{IN_GIT}, {REVIEWED}",
        "every": f"{IN_GIT}, {REVIEWED}",
        "half": f"{IN_GIT}, {REVIEWED}",
        "loose": IN_GIT,
    },
    apps={
        "shop": ["qa", "production"],
        "web": ["staging", "together"],
        "checkout-api": ["staging", "together"],
        "cart": ["staging", "every"],
        "search": ["staging", "every"],
        "good": ["staging", "half"],
        "drifted": ["staging", "half"],
        "never": ["staging", "half"],
        "quick": ["staging", "loose"],
        "broken": ["qa", "half"],
    },
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateRig]:
    with gate_rig(tmp_path_factory.mktemp("promote"), COMPANY) as made:
        yield made


def test_what_runs_in_one_place_goes_to_the_next_once_somebody_else_approved(world: GateRig) -> None:
    source = world.put("shop", "1.4.2", "qa")
    head = world.head()
    row = world.promote("shop", "--reason the cart total is right again")
    card = world.shown(row)
    assert "shop 1.4.0 → 1.4.2 · production · waits for approval" in card.text
    for words in (
        "Promotion from qa requested",
        "Waiting for approval: 0 of 1 from `release-managers`, until ",
        "Blast radius: nothing else changes.",
        "Reason: the cart total is right again",
        source.digest[:19],
    ):
        assert words in card.text, card.text
    assert [one.text for one in card.buttons] == ["Approve", "Reject", "Cancel"]
    assert world.head() == head
    assert world.status(row)[0] == "pending"

    pull = world.pull(row)
    assert (pull.head_branch, pull.base_branch, pull.open) == (f"deploy/{row.id}", "main", True)
    body = pull.body or ""
    assert f"| `shop` | `1.4.0` | `1.4.2` | `{source.digest}` |" in body
    assert "the cart total is right again" in body
    assert re.search(r"^- +- image: registry\.company\.com/shop:1\.4\.0$", body, re.MULTILINE)
    assert re.search(rf"^\+ +- image: registry\.company\.com/shop:1\.4\.2@{source.digest}$", body, re.MULTILINE)
    assert "Nothing else changes." in body

    assert "has all it needs" in world.approve(row)
    done = world.live(row)
    assert done.digest == source.digest
    assert world.runs("shop", "production") == f"registry.company.com/shop:1.4.2@{source.digest}"
    assert world.runs("shop", "production") == world.runs("shop", "qa")


def test_git_the_code_host_the_card_and_the_record_say_who_asked_and_who_approved(world: GateRig) -> None:
    (row,) = [one for one in world.rows_of("production") if one.phase == Phase.SUCCEEDED]
    change = world.change(row)
    (merge,) = world.merges(row)
    assert (merge, merge) == (row.commit_sha, change.merge_sha)
    author, subject, trailers, parents = world.sandbox.log("%an%x01%s%x01%(trailers:unfold)%x01%P")[0].split("\x01")
    assert author == "locktender-bot"
    assert subject == "Promote shop to 1.4.2 in production"
    for line in (
        f"Deployment-Id: {row.id}",
        f"Requested-by: {DEVELOPER.id}",
        f"Approved-by: {RELEASE_MANAGER.id}",
        f"Change-Id: {row.change_id}",
        "Reason: the cart total is right again",
    ):
        assert line in trailers, trailers
    assert change.own_sha in parents
    assert world.status(row) == ("success", "Approved by 1 of 1")
    assert world.pull(row).merge_sha == merge
    assert world.sandbox.github.branch(change.branch) is None
    assert [build.parameters["GIT_COMMIT"] for build in world.builds(row)] == [merge]

    card = world.card(row)
    assert not card.buttons
    assert f"Approved by <@{RELEASE_MANAGER.id}>" in card.text
    asked = [text for text in world.replies(card) if "<!subteam^S0RELEASE>" in text]
    assert len(asked) == 1, world.replies(card)
    said = world.versions(row)
    order = [word for text in said for word in ("waits for approval", "waiting", "on its way", "live") if word in text]
    assert order == sorted(order, key=["waits for approval", "waiting", "on its way", "live"].index), said

    known = [one.action for one in world.audit() if one.deployment_id == row.id]
    for earlier, later in (
        ("promotion:request", "change:propose"),
        ("change:propose", "change:approve"),
        ("change:approve", "change:approved"),
        ("change:approved", "change:merge"),
        ("change:merge", "change:merged"),
        ("change:merged", "deployment:finish"),
    ):
        assert known.index(earlier) < known.index(later), known
    (approval,) = [one for one in world.audit("change:approve") if one.deployment_id == row.id]
    assert approval.actor == RELEASE_MANAGER.id
    assert json.loads(approval.details)["content"] == change.content


def test_the_path_is_walked_one_step_at_a_time(world: GateRig) -> None:
    world.turned_down("shop staging production", "its path is qa → production", command="/promote")
    world.turned_down("shop production qa", "its path is qa → production", command="/promote")
    world.turned_down("shop qa prodution", "Did you mean `production`?", command="/promote")
    world.turned_down("shop qa production", "already what `qa` runs", command="/promote")


def test_a_list_goes_as_one_pull_request_with_one_approval_and_a_line_each(world: GateRig) -> None:
    proven = world.put("web", "1.4.2")
    world.put("checkout-api", "1.4.3")
    assert world.sandbox.registry.push("web", "1.4.2", content="built again under the same name") != proven.digest
    pulls, cards = len(world.sandbox.github.pulls()), len(world.cards())
    row = world.promote("web,checkout-api staging together", "--reason weekly")
    card = world.shown(row)
    rows = world.members(row)
    assert [one.app for one in rows] == ["checkout-api", "web"]
    assert "2 apps · together · waits for approval" in card.text
    for line in ("*checkout-api* 1.4.0 → 1.4.3", "*web* 1.4.0 → 1.4.2"):
        assert line in card.text, card.text
    assert (len(world.sandbox.github.pulls()), len(world.cards())) == (pulls + 1, cards + 1)
    body = world.pull(row).body or ""
    assert "| `web` | `1.4.0` | `1.4.2` |" in body
    assert "| `checkout-api` | `1.4.0` | `1.4.3` |" in body

    world.approve(row)
    world.until(lambda: all(Phase(world.row(one).phase).ended for one in rows))  # their one card says live when all are
    for one in rows:
        world.live(one)
    (merge,) = world.merges(row)
    assert [world.row(one).commit_sha for one in rows] == [merge, merge]
    assert 'newTag: "1.4.2"' in world.image("web", "together")
    assert f'digest: "{proven.digest}"' in world.image("web", "together")  # what was proven, not what is called so now
    assert 'newTag: "1.4.3"' in world.image("checkout-api", "together")
    trailers = world.merged_with(row)
    assert trailers.count("Approved-by:") == 1
    for one in rows:
        assert f"Deployment-Id: {one.id}" in trailers
    text = world.card(row).text
    assert "2 apps · together" in text
    assert text.startswith("✅"), text


@pytest.mark.slow
def test_all_is_every_app_of_both_places_and_leaves_out_what_is_the_same(world: GateRig) -> None:
    world.put("cart", "1.4.2")
    world.put("search", "1.4.1")
    row = world.promote("all staging every")
    world.approve(row)
    assert [world.live(one).app for one in world.members(row)] == ["cart", "search"]
    world.turned_down("all staging every", "There is nothing to promote", command="/promote")
    world.put("cart", "1.4.3")
    result = world.type("all staging every", command="/promote")
    assert "`search` is the same in both already and is left out." in result.text
    again = world.rows_of("every")[-1]
    assert [one.app for one in world.members(again)] == ["cart"]
    world.approve(again)
    world.live(again)


@pytest.mark.slow
def test_one_app_that_cannot_go_refuses_the_whole_set_and_all_of_them_are_named(world: GateRig) -> None:
    world.put("good", "1.4.2")
    world.put("drifted", "1.4.2")
    path = "apps/drifted/overlays/staging/kustomization.yaml"
    by_hand = world.sandbox.read(path).replace('newTag: "1.4.2"', 'newTag: "1.4.3"')
    world.sandbox.commit(path, by_hand, "A quick fix by hand")
    world.until(lambda: "1.4.3" in world.type("status drifted staging").text)
    text = world.turned_down("good,drifted staging half", "`drifted`", "somebody changed it past", command="/promote")
    assert "`good`" not in text
    text = world.turned_down("good,drifted,never staging half", "2 of the apps", "so none was", command="/promote")
    assert "drifted: " in text
    assert "never: No deployment of" in text
    assert not world.rows_of("half")


@pytest.mark.slow
def test_what_fails_or_still_rolls_out_in_the_source_is_not_promoted(world: GateRig) -> None:
    world.sandbox.jenkins.quiet_down()
    try:
        busy = world.ask("broken 1.4.3-crash qa")
        world.until(lambda: world.row(busy).commit_sha)
        world.turned_down("broken qa half", "still rolling out in `qa`", busy.id, command="/promote")
    finally:
        world.sandbox.jenkins.cancel_quiet_down()
    assert world.ended(busy).phase == Phase.FAILED
    world.turned_down("broken qa half", "1.4.3-crash", "failed", "`--force --reason", command="/promote")


@pytest.mark.slow
def test_force_takes_it_all_the_same_and_the_approvers_read_why(world: GateRig) -> None:
    world.until(lambda: all(Phase(one.phase).ended for one in world.rows_of("qa")))
    needs = world.type("broken qa half --force", command="/promote").text
    assert "needs" in needs or "must read why" in needs, needs
    world.turned_down("quick staging loose --force --reason x", "asks for no approval", command="/promote")
    row = world.promote("broken qa half", "--force --reason only this has the fix")
    card = world.shown(row)
    assert "Reason: only this has the fix" in card.text
    assert json.loads(world.audit("promotion:request", row)[0].details)["force"] is True
    world.approve(row)
    assert world.live(row).version == "1.4.3-crash"


@pytest.mark.slow
def test_the_same_promotion_is_not_asked_for_twice(world: GateRig) -> None:
    world.put("good", "1.4.4")
    row = world.promote("good staging half")
    world.shown(row)
    again = world.type("good staging half", command="/promote")
    rows = [one for one in world.rows_of("half") if one.app == "good" and not Phase(one.phase).ended]
    assert len(rows) == 1, again.text
    newest = rows[0]
    if newest.id != row.id:  # the newer request takes its place
        assert world.over(row, Phase.SUPERSEDED, ReasonCode.SUPERSEDED_BY_NEWER).superseded_by == newest.id
    world.approve(newest)
    world.live(newest)
