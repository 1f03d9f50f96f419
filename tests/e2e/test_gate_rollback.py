"""Rollbacks through the whole program: to what was verified healthy and to what is named, with and without a review,
what they restore and what they leave, the hold that they set, and the button on a failed card.

Left to others: rollbacks that the program asks for itself (`test_gate_after`), and edits of overlays (`test_content`).
"""

import json
from collections.abc import Iterator

import pytest

from bot.sandbox.slack_model import DEVELOPER, ON_CALL, RELEASE_MANAGER
from commands.reasons import ReasonCode
from storage.models import Kind, LockKind
from storage.phases import Phase
from tests.e2e.gate_rig import IN_GIT, REVIEWED, Company, GateRig, gate_rig

APP = "web"
TWO = f"{IN_GIT}, change: pull-request, approval: {{from: [approvers], required: 2}}"
_SHARED = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: shared
resources:
  - ../../apps/web/base
  - ../../apps/api/base
images:
  - name: registry.company.com/web
    newTag: "1.4.0"
  - name: registry.company.com/api
    newTag: "1.4.0"
"""
COMPANY = Company(
    environments={
        "dev-eu": "",
        "production": REVIEWED,
        "held": IN_GIT,
        "named": IN_GIT,
        "exact": IN_GIT,
        "prod-eu": TWO,
        "prod-us": f"{IN_GIT}, {REVIEWED}",
        "shared": f"{IN_GIT}, overlay: stacks/shared",
        "first": IN_GIT,
    },
    apps={
        APP: ["dev-eu", "production", "held", "named", "exact", "prod-eu", "prod-us", "shared", "first"],
        "api": ["shared"],
    },
    files={"stacks/shared/kustomization.yaml": _SHARED},
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateRig]:
    with gate_rig(tmp_path_factory.mktemp("rollback"), COMPANY) as made:
        yield made


def test_where_nothing_is_reviewed_it_goes_back_at_once_and_is_held(world: GateRig) -> None:
    good = world.put(APP, "1.4.1", "held")
    world.put(APP, "1.4.2", "held")
    row = world.live(world.roll_back(f"{APP} held", "the cart is empty"))
    assert (row.kind, row.version, row.digest) == (Kind.ROLLBACK, "1.4.1", good.digest)
    assert (row.restores, row.restore_commit) == (good.id, good.commit_sha)
    assert f'digest: "{good.digest}"' in world.image(APP, "held")
    card = world.card(row).text
    assert f"Rollback to what `{good.id}` deployed requested by <@{DEVELOPER.id}>" in card
    assert "1.4.2 → 1.4.1" in card
    assert "Reason: the cart is empty" in card
    (hold,) = world.holds(row)
    assert (hold.kind, hold.deployment_id, hold.owner) == (LockKind.HOLD, row.id, DEVELOPER.id)
    world.until(lambda: any("is held at `1.4.1`" in text for text in world.notices()))
    (subject,) = [line for line in world.sandbox.log("%H %s") if line.startswith(row.commit_sha)]
    assert f"{APP}" in subject
    assert "oll" in subject  # it reads as a rollback, not as a deployment


def test_what_comes_after_waits_visibly_until_somebody_lifts_the_hold(world: GateRig) -> None:
    result = world.type(f"{APP} 1.4.3 held", user=ON_CALL)
    assert "rolled back" in result.text
    assert "/deploy unlock web held" in result.text
    row = world.rows_of("held")[-1]
    world.said(row, "waiting", f"<@{DEVELOPER.id}> rolled back `{APP}` in `held`", "/deploy unlock web held")
    assert "is held" in world.type(f"why {row.id}").text
    world.not_committed(row)
    assert world.type(f"unlock {APP} held --reason 1.4.3 has the fix", user=ON_CALL).text.startswith("You ended")
    assert world.live(row).version == "1.4.3"
    assert not world.holds(row)
    back = world.live(world.roll_back(f"{APP} held to 1.4.2"))
    again = world.live(world.roll_back(f"{APP} held to 1.4.1"))  # a rollback passes the hold, and takes its place
    assert [hold.deployment_id for hold in world.holds(back)] == [again.id]
    world.until(lambda: any(f"<@{ON_CALL.id}> ended the hold" in text for text in world.notices()))
    assert [one.action for one in world.audit("hold:lift") if one.environment == "held"]


def test_it_goes_to_a_version_a_commit_or_a_deployment_by_name(world: GateRig) -> None:
    one, two, three = (world.put(APP, version, "named") for version in ("1.4.1", "1.4.2", "1.4.3"))
    for name, wanted in ((one.version, one), (two.commit_sha[:10], two), (three.id, three), (one.commit_sha, one)):
        row = world.live(world.roll_back(f"{APP} named to {name}"))
        assert (row.version, row.digest) == (wanted.version, wanted.digest), name
        assert f'newTag: "{wanted.version}"' in world.image(APP, "named")
    other = world.put(APP, "1.4.4", "first")
    for name, words in (
        (other.id, ("was of `web` to `first`", "/audit history")),
        ("deadbeef", ("no commit `deadbeef`",)),
        ("~", ("neither a version nor a commit nor a deployment",)),
    ):
        result = world.type(f"{APP} named to {name} --reason x", command="/rollback")
        if result.text.startswith("🚫"):
            world.told(result.text, *words)
        else:  # only git can tell
            world.failed(world.rows_of("named")[-1], ReasonCode.NOTHING_TO_RESTORE, *words)
    world.turned_down(f"{APP} first --reason x", "No earlier version", "is on record", command="/rollback")
    assert "yours has none" in world.type(f"{APP} first", command="/rollback").text


def test_a_changed_base_is_told_and_exact_restores_it_too(world: GateRig) -> None:
    base = f"apps/{APP}/base/deployment.yaml"
    good = world.put(APP, "1.4.1", "exact")
    before = world.sandbox.read(base)
    replicas = world.sandbox.read(f"apps/{APP}/overlays/exact/replicas.yaml")
    world.sandbox.commit(base, before.replace("memory: 256Mi", "memory: 512Mi"), "More memory for everyone")
    world.put(APP, "1.4.2", "exact")
    world.sandbox.commit(
        f"apps/{APP}/overlays/exact/replicas.yaml", replicas.replace("replicas: 1", "replicas: 2"), "Two pods"
    )
    row = world.live(world.roll_back(f"{APP} exact"))
    assert row.restore_commit == good.commit_sha
    assert world.sandbox.read(f"apps/{APP}/overlays/exact/replicas.yaml") == replicas  # the whole overlay goes back
    assert "memory: 512Mi" in world.sandbox.read(base)
    said = " ".join([*world.versions(row), *world.replies(world.card(row))])
    assert f"`apps/{APP}/base` changed since that commit" in said
    assert "`--exact` restores that too" in said
    exact = world.live(world.roll_back(f"{APP} exact to {good.id} --exact"))
    assert world.sandbox.read(base) == before
    said = " ".join([*world.versions(exact), *world.replies(world.card(exact))])
    assert "What it is built from is restored too" in said


def test_of_a_folder_that_two_apps_share_only_the_image_goes_back(world: GateRig) -> None:
    world.put(APP, "1.4.1", "shared")
    world.put("api", "1.4.3", "shared")
    world.put(APP, "1.4.2", "shared")
    row = world.live(world.roll_back(f"{APP} shared"))
    text = world.sandbox.read("stacks/shared/kustomization.yaml")
    assert f'registry.company.com/web\n    newTag: "1.4.1"\n    digest: "{row.digest}"' in text
    assert 'registry.company.com/api\n    newTag: "1.4.3"' in text
    said = " ".join([*world.versions(row), *world.replies(world.card(row))])
    assert "Only the image is restored, because `stacks/shared` is also the overlay of `api`" in said


def test_production_goes_back_through_a_pull_request_with_one_approval(world: GateRig) -> None:
    for version in ("1.4.1", "1.4.2"):
        row = world.ask(f"{APP} {version} prod-eu")
        world.approve(row)
        world.approve(row, user=ON_CALL)
        world.live(row)
    row = world.roll_back(f"{APP} prod-eu", "orders are lost")
    card = world.shown(row)
    assert "0 of 1 from `approvers`" in card.text  # of the two that every other change takes
    assert "Rollback to what" in card.text
    assert world.pull(row).title == f"Roll back {APP} to 1.4.1 in prod-eu"
    assert "**Restores:**" in (world.pull(row).body or "")
    world.approve(row, user=ON_CALL)
    assert world.live(row).version == "1.4.1"
    (hold,) = world.holds(row)
    assert hold.deployment_id == row.id
    trailers = world.merged_with(row)
    assert f"Approved-by: {ON_CALL.id}" in trailers
    assert "orders are lost" in trailers


def test_a_promotion_behind_a_hold_is_approved_and_still_waits(world: GateRig) -> None:
    result = world.type(f"{APP} 1.4.4 prod-eu")
    assert "🚫" not in result.text
    row = world.rows_of("prod-eu")[-1]
    world.approve(row)
    world.approve(row, user=ON_CALL)
    world.said(row, "waiting", "rolled back", "/deploy unlock web prod-eu")
    assert not world.merges(row)
    assert not world.pull(row).merge_sha
    world.type(f"unlock {APP} prod-eu", user=RELEASE_MANAGER)
    assert world.live(row).version == "1.4.4"
    assert world.merges(row)


def test_a_failed_card_offers_the_way_back_and_it_goes_through_the_same_gate(world: GateRig) -> None:
    good = world.ask(f"{APP} 1.4.2 production")
    world.approve(good)
    good = world.live(good)
    bad = world.ask(f"{APP} 1.4.3-crash production")
    world.approve(bad)
    assert world.ended(bad).phase == Phase.FAILED
    world.buttons(bad, "Roll back")
    empty = world.form(ON_CALL, bad, "Roll back", "")
    assert empty.errors
    view = world.slack.views(ON_CALL)[-1]
    sent = world.slack.submit_view(ON_CALL, view, {"text": "it crashes"}, copies=3)
    assert (sent.acked, sent.errors) == (True, ())
    (row,) = [one for one in world.rows_of("production") if one.kind == Kind.ROLLBACK]
    assert (row.version, row.restores, row.requested_by, row.reason) == ("1.4.2", good.id, ON_CALL.id, "it crashes")
    world.shown(row)
    assert world.runs(APP, "production") != f"registry.company.com/{APP}:1.4.2@{good.digest}"
    world.approve(row)
    world.live(row)
    assert world.runs(APP, "production") == f"registry.company.com/{APP}:1.4.2@{good.digest}"
    assert json.loads(world.audit("rollback:request", row)[0].details)["restores"] == good.id


def test_whoever_asked_for_a_rollback_does_not_approve_it(world: GateRig) -> None:
    for version in ("1.4.1", "1.4.2"):
        row = world.ask(f"{APP} {version} prod-us")
        world.approve(row)
        world.live(row)
    row = world.roll_back(f"{APP} prod-us", user=RELEASE_MANAGER)
    assert "somebody else has to approve" in world.approve(row)
    assert "🚫" in world.click(ON_CALL, row, "Approve")  # not of the group
    assert not world.approvals(row)
    world.type(f"cancel {row.id}", user=RELEASE_MANAGER)
    world.over(row, Phase.CANCELLED, ReasonCode.CANCELLED_BY_PERSON)
    world.gone(row)
    assert not world.holds(row)
