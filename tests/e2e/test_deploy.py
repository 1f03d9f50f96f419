"""The main job through the whole program: a deploy goes live, the next waits its turn, repeats are told so, previews
stay private, and people can look, take back and read the record.

Left to others: what the cards look like, how commands arrive, and what a crash leaves.
"""

import json
import re
from collections.abc import Iterator

import pytest

from bot.sandbox.slack_model import AUDITOR, DEVELOPER, RELEASE_MANAGER
from commands.reasons import ReasonCode
from storage.phases import Phase
from tests.e2e.rig import APP, CHANNEL, IMAGE, Rig, rig

PLACES = {
    "first": "{}",
    "queue": "{}",
    "repeat": "{reconciler: none}",
    "preview": "{}",
    "back": "{}",
    "thread": "{reconciler: none}",
    "gitonly": "{reconciler: none}",
    "unwatched": "{rollout: none}",
    "pages": "{reconciler: none}",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("deploy"), PLACES) as made:
        yield made


def test_a_deploy_goes_live_and_everybody_can_see_how(world: Rig) -> None:
    before = world.sandbox.log("%H")
    asked = world.deploy("1.4.2", "first", "--reason the cart total is right again")
    row = world.live(asked)
    said = world.versions(row)
    order = ["waiting" if "· waiting" in text else "on its way" if "on its way" in text else "live" for text in said]
    assert order == sorted(order, key=["waiting", "on its way", "live"].index), said
    assert order[-1] == "live"
    told = [bool("Committed `" in text) + bool("Build " in text) + bool("Rollout of" in text) for text in said]
    assert told == sorted(told), said
    assert "1.4.0 → 1.4.2" in said[-1]
    assert "Reason: the cart total is right again" in said[-1]
    assert world.running_image("first").startswith(f"{IMAGE}:1.4.2@sha256:")
    assert len(world.sandbox.log("%H")) == len(before) + 1


def test_the_commit_names_the_person_and_says_why(world: Rig) -> None:
    row = world.live(world.deploy("1.4.1", "first", "--reason back to what was good"))
    assert world.commits(row) == [row.commit_sha]
    author, committer, subject, trailers = world.sandbox.log("%an <%ae>%x01%cn%x01%s%x01%(trailers:unfold)")[0].split(
        "\x01"
    )
    assert author == "Developer <developer@company.example>"
    assert committer == "Locktender"
    assert subject == f"Deploy {APP} 1.4.1 to first"
    assert f"Deployment-Id: {row.id}" in trailers
    assert f"Requested-by: {DEVELOPER.id}" in trailers
    assert "Reason: back to what was good" in trailers
    overlay = world.overlay("first")
    assert 'newTag: "1.4.1"' in overlay
    assert f'digest: "{row.digest}"' in overlay
    assert row.digest.startswith("sha256:")
    assert "# Written by the deploy bot" in overlay
    (build,) = world.builds(row)
    assert dict(build.parameters) == {
        "ENVIRONMENT": "first",
        "GIT_COMMIT": row.commit_sha,
        "DEPLOYMENT_ID": row.id,
        "DRY_RUN": "false",
    }
    committed, built = world.replies(world.card(row))
    assert f"{IMAGE}:1.4.1@{row.digest}" in committed
    assert "Build `infra-deploy`" in built
    details = json.loads(world.audit("deployment:commit", row)[0].details)
    assert (details["commit"], details["digest"]) == (row.commit_sha, row.digest)


def test_a_second_deploy_waits_visibly_and_then_runs(world: Rig) -> None:
    world.sandbox.jenkins.quiet_down()
    try:
        first = world.deploy("1.4.2", "queue")
        world.until(lambda: world.row(first).build_state == "queued")
        result = world.type(f"{APP} 1.4.3 queue", user=RELEASE_MANAGER)
        assert result.text.startswith("Queued")
        assert "1 ahead of it" in result.text
        second = world.deployments("queue")[-1]
        world.noted(second, "Waiting for", "1.4.2")
        assert not world.commits(second)
        other = world.refuse(f"{APP} 1.4.3 queue", ReasonCode.ALREADY_REQUESTED, "already waiting", second.id)
        assert f"<@{RELEASE_MANAGER.id}>" in other
        world.refuse(f"{APP} 1.4.2 queue", ReasonCode.ALREADY_REQUESTED, "is being deployed", first.id)
        world.refuse(f"cancel {first.id}", ReasonCode.TOO_LATE, "in git", "Let it end")
        status = world.type("status queue").text
        assert first.id in status
        assert second.id in status
    finally:
        world.sandbox.jenkins.cancel_quiet_down()
    assert world.live(first).finished_at is not None
    row = world.live(second)
    assert "1.4.2 → 1.4.3" in world.card(row).text
    assert world.running_image("queue").startswith(f"{IMAGE}:1.4.3@")


@pytest.mark.slow
def test_what_is_live_already_is_said_with_its_record(world: Rig) -> None:
    row = world.live(world.deploy("1.4.2", "repeat"))
    world.refuse(
        f"{APP} 1.4.2 repeat",
        ReasonCode.ALREADY_LIVE,
        f"<@{DEVELOPER.id}> deployed it just now",
        row.id,
        "/audit history",
    )


def test_a_dry_run_shows_the_difference_to_the_asker_alone(world: Rig) -> None:
    cards, head, told = len(world.cards()), world.head(), len(world.slack.ephemerals(DEVELOPER))
    assert world.type(f"{APP} 1.4.3 preview --dry-run").text.startswith("Working out")
    world.until(lambda: len(world.slack.ephemerals(DEVELOPER)) > told + 1)
    shown = world.slack.ephemerals(DEVELOPER)[-1].text
    assert f"-      - image: {IMAGE}:1.4.0" in shown
    assert f"{IMAGE}:1.4.3@sha256:" in shown
    assert "Nothing was committed" in shown
    assert (len(world.cards()), world.head()) == (cards, head)
    row = world.deployments("preview")[-1]
    world.not_committed(row)
    assert (row.phase, row.reason_code) == (Phase.SUCCEEDED, ReasonCode.PREVIEWED)


def test_a_dry_run_of_what_there_is_not_is_refused_in_private(world: Rig) -> None:
    cards, told = len(world.cards()), len(world.slack.ephemerals(DEVELOPER))
    world.type(f"{APP} 9.9.9 preview --dry-run")
    world.until(lambda: len(world.slack.ephemerals(DEVELOPER)) > told + 1)
    world.told(world.slack.ephemerals(DEVELOPER)[-1].text, "9.9.9")
    assert len(world.cards()) == cards


def test_a_waiting_deploy_is_taken_back_by_command_and_by_button(world: Rig) -> None:
    world.sandbox.jenkins.quiet_down()
    try:
        running = world.deploy("1.4.2", "back")
        world.until(lambda: world.row(running).commit_sha)
        one, two = world.deploy("1.4.3", "back"), world.deploy("1.4.1", "back")
        assert world.type(f"cancel {one.id}").text.startswith("Cancelled")
        world.until(lambda: world.versions(two))
        world.slack.click(DEVELOPER, world.card(two), "Cancel")
        for row in (world.ended(one), world.ended(two)):
            assert row.phase == Phase.CANCELLED
            assert world.card(row).text.startswith("🚫")
            world.not_committed(row)
            assert [entry.actor for entry in world.audit("deployment:cancel", row)] == [DEVELOPER.id]
        world.until(lambda: "Cancelled" in world.slack.ephemerals(DEVELOPER)[-1].text)
    finally:
        world.sandbox.jenkins.cancel_quiet_down()
    world.live(running)
    world.refuse(f"cancel {running.id}", ReasonCode.TOO_LATE, "has ended already")


@pytest.mark.slow
def test_a_mention_in_a_thread_does_the_same(world: Rig) -> None:
    topic = world.slack.say(DEVELOPER, CHANNEL, "shall we?")
    told = len(world.slack.ephemerals(DEVELOPER))
    world.slack.mention(DEVELOPER, CHANNEL, f"deploy {APP} 1.4.2 thread", thread_ts=topic.ts)
    world.until(lambda: len(world.slack.ephemerals(DEVELOPER)) > told)
    answer = world.slack.ephemerals(DEVELOPER)[-1]
    assert answer.text.startswith("Deploying")
    assert answer.thread_ts == topic.ts
    world.live(world.deployments("thread")[-1])


def test_where_nothing_is_watched_the_card_says_that_it_is_only_in_git(world: Rig) -> None:
    row = world.live(world.deploy("1.4.2", "gitonly"))
    assert row.reason_code == ReasonCode.COMMITTED
    card = world.card(row).text
    assert "in git" in card
    assert "Nothing is watched in gitonly" in card
    assert not world.builds(row)
    assert world.overlay("gitonly").count('"1.4.2"') == 1


@pytest.mark.slow
def test_where_the_rollout_is_not_watched_the_build_is_the_end(world: Rig) -> None:
    row = world.live(world.deploy("1.4.2", "unwatched"))
    assert row.reason_code == ReasonCode.COMMITTED
    assert "rollout is not watched in unwatched" in world.card(row).text
    assert len(world.builds(row)) == 1


def test_status_says_what_runs_where_and_help_what_can_be_typed(world: Rig) -> None:
    status = world.type("status").text
    for name in ("first", "staging", "production"):
        assert f"`{APP}` in `{name}`" in status
    assert "/deploy APP VERSION" in world.type("help").text
    assert "/deploy APP VERSION" in world.type("").text
    world.refuse("status stagin", ReasonCode.UNKNOWN_APP, "Did you mean `staging`?")


@pytest.mark.slow
def test_the_record_is_paged_back_to_its_first_row(world: Rig) -> None:
    world.live(world.deploy("1.4.2", "pages"))
    for number in range(20):
        world.refuse(f"{APP} ~{number} pages", ReasonCode.BAD_VERSION)
    told = len(world.slack.ephemerals(AUDITOR))
    world.type("history env:pages", user=AUDITOR, command="/audit")
    seen: list[int] = []
    for _ in range(10):
        page = world.slack.ephemerals(AUDITOR)[-1]
        seen += [int(number) for number in re.findall(r"#(\d+) ", page.text)]
        if not page.buttons:
            break
        (older,) = page.buttons
        assert older.text == "Older"
        world.slack.click(AUDITOR, page, "Older")
        _until_replaced(world, page.text)
    assert seen == sorted(seen, reverse=True)
    expected = [row.seq for row in world.audit() if row.environment == "pages"]
    assert sorted(seen) == expected
    assert len(expected) == 24
    assert len(world.slack.ephemerals(AUDITOR)) == told + 1  # pages replace each other
    reads = [row for row in world.audit("audit:read") if row.actor == AUDITOR.id]
    assert len(reads) == 3


def _until_replaced(world: Rig, shown: str) -> None:
    world.until(lambda: world.slack.ephemerals(AUDITOR)[-1].text != shown)
