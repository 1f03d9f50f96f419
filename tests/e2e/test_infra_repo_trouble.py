"""An infra-repo that is in the way: each trouble ends a deployment (or holds it up) with a sentence, a row and nothing
half-done, and what was mended goes through.

How the adapters read each of git's answers is tested with them; here the person who asked is looked at.
"""

from collections.abc import Callable, Iterator

import pytest

from bot.sandbox.world import REPOSITORY
from commands.reasons import ReasonCode
from storage.phases import Phase
from tests.e2e.rig import Outage, Rig, rig

NAMES = "nooverlay link bomb remote unused broken outside protected away cut token gone raced registry"
PLACES = dict.fromkeys(NAMES.split(), "{reconciler: none}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("infra"), PLACES) as made:
        yield made


BOMB = "\n".join(
    [
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        "a: &a [x, x, x, x, x, x, x, x, x]",
        *(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)),
    ]
)


def _replace(old: str, new: str) -> Callable[[Rig, str], None]:
    def spoil(world: Rig, place: str) -> None:
        text = world.overlay(place)
        assert old in text
        world.write_overlay(place, text.replace(old, new))

    return spoil


def _link(world: Rig, place: str) -> None:
    """The overlay's file becomes a link out of the repository."""
    path = f"environments/{place}/kustomization.yaml"
    git = world.sandbox._git
    blob = git("hash-object", "-w", "--stdin", stdin="/etc/passwd").strip()
    made = world.sandbox.commit(path, "x", "Make room")
    index = {"GIT_INDEX_FILE": str(world.sandbox.home / "index")}
    git("read-tree", made, more=index)
    git("update-index", "--add", "--cacheinfo", f"120000,{blob},{path}", more=index)
    tree = git("write-tree", more=index).strip()
    who = {f"GIT_{role}_{key}": "someone" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    linked = git("commit-tree", tree, "-p", made, "-m", "Link it", more=who).strip()
    git("update-ref", "refs/heads/main", linked)


SPOILT: dict[str, tuple[Callable[[Rig, str], None], ReasonCode, str]] = {
    "link": (_link, ReasonCode.OVERLAY_UNSAFE, "symbolic link"),
    "bomb": (lambda world, place: world.write_overlay(place, BOMB), ReasonCode.OVERLAY_UNSAFE, "aliases"),
    "remote": (
        _replace("  - ../../base", "  - ../../base\n  - https://example.com/evil.yaml"),
        ReasonCode.REMOTE_BASE,
        "https://example.com/evil.yaml",
    ),
    "broken": (lambda world, place: world.write_overlay(place, "resources: [\n"), ReasonCode.OVERLAY_INVALID, "broken"),
    "outside": (_replace("  - ../../base", "  - ../../../../../etc"), ReasonCode.OVERLAY_UNSAFE, "outside"),
}


@pytest.mark.parametrize("place", SPOILT)
def test_an_overlay_that_cannot_be_used_is_named_and_nothing_is_committed(world: Rig, place: str) -> None:
    spoil, reason, words = SPOILT[place]
    good = world.overlay(place)
    spoil(world, place)
    head = world.head()
    row = world.deploy("1.4.2", place)
    world.failed(row, reason, words)
    world.not_committed(row)
    assert world.head() == head
    world.write_overlay(place, good)
    world.live(world.deploy("1.4.2", place))


def test_an_overlay_that_is_missing_is_looked_for_in_both_places_and_found_when_it_comes(world: Rig) -> None:
    catalogue = world.sandbox.read("locktender.yaml")
    world.sandbox.commit(
        "locktender.yaml",
        catalogue.replace("  nooverlay: {reconciler: none}", "  nooverlay: {reconciler: none, overlay: new/place}"),
        "Move it",
    )
    world.until(lambda: f"{world.head()[:7]}" in world.type("status nooverlay").text)
    row = world.deploy("1.4.2", "nooverlay")
    world.failed(row, ReasonCode.OVERLAY_MISSING, "no overlay for", "new/place", "Add the folder")
    world.not_committed(row)
    moved = world.overlay("nooverlay").replace("../../base", "../../base")
    world.sandbox.commit("new/place/kustomization.yaml", moved, "Add it")
    world.sandbox.commit(
        "new/place/replicas.yaml", world.sandbox.read("environments/nooverlay/replicas.yaml"), "Add the rest"
    )
    world.live(world.deploy("1.4.2", "nooverlay"))


def test_an_image_that_nothing_in_the_overlay_uses_is_named_and_nothing_is_committed(world: Rig) -> None:
    world.sandbox.registry.push("stranger", "1.4.2")
    catalogue = world.sandbox.read("locktender.yaml")
    entry = "  stranger: {image: registry.company.com/stranger, environments: [unused]}"
    world.sandbox.commit("locktender.yaml", catalogue.replace("apps:\n", f"apps:\n{entry}\n"), "Add an app")
    world.until(lambda: "🚫" not in world.type("status stranger").text)
    head = world.head()
    world.type("stranger 1.4.2 unused")
    (row,) = world.deployments("unused")
    world.failed(row, ReasonCode.IMAGE_UNUSED, "Nothing in `environments/unused` uses", "registry.company.com/stranger")
    world.not_committed(row)
    assert world.head() == head


def test_a_branch_that_is_protected_takes_nothing_and_says_so(world: Rig) -> None:
    world.sandbox.git.protect(REPOSITORY, "main")
    try:
        row = world.deploy("1.4.2", "protected")
        world.failed(row, ReasonCode.BRANCH_PROTECTED, "`main`", "is protected", "change: pull-request")
        world.not_committed(row)
    finally:
        world.sandbox.git.protect(REPOSITORY)
    world.live(world.deploy("1.4.2", "protected"))


def test_a_token_that_is_no_longer_good_is_said_and_a_good_one_goes_on(world: Rig) -> None:
    whose, world.sandbox.git.who = world.sandbox.git.who, lambda _token, _service: ""  # the host knows it no more
    try:
        row = world.deploy("1.4.2", "token")
        world.failed(row, ReasonCode.REPO_CREDENTIALS, "did not accept our credentials", "token or key")
        world.not_committed(row)
    finally:
        world.sandbox.git.who = whose
    world.live(world.deploy("1.4.2", "token"))


def test_a_repository_that_is_gone_is_said_and_back_it_is_used(world: Rig) -> None:
    there, elsewhere = world.sandbox.repository, world.sandbox.repository.with_name("moved.git")
    there.rename(elsewhere)
    try:
        row = world.deploy("1.4.2", "gone")
        world.failed(row, ReasonCode.REPO_MISSING, "There is no repository", "INFRA_REPO_URL")
    finally:
        elsewhere.rename(there)
    world.not_committed(row)
    world.live(world.deploy("1.4.2", "gone"))


def test_a_server_that_is_away_holds_a_deploy_up_and_it_goes_on_by_itself(world: Rig) -> None:
    with Outage(world.sandbox.git_faults):
        row = world.deploy("1.4.2", "away")
        world.noted(row, "could not be reached", "Trying again")
        assert world.row(row).phase == Phase.RUNNING
    row = world.live(row)
    assert len(world.commits(row)) == 1
    assert "could not be reached" not in world.card(row).text


def test_a_push_whose_answer_is_lost_is_found_and_not_made_twice(world: Rig) -> None:
    with Outage(world.sandbox.git_faults, path="git-receive-pack$", status=502):
        row = world.deploy("1.4.2", "cut")
        world.noted(row, "could not be reached", "Trying again")
    assert len(world.commits(world.live(row))) == 1


def test_a_commit_that_somebody_else_pushed_meanwhile_stays(world: Rig) -> None:
    mine: list[str] = []

    def push(method: str, path: str) -> None:
        if method == "POST" and path.endswith("git-receive-pack") and not mine:
            mine.append(world.sandbox.commit("NOTES.md", "meanwhile\n", "Meanwhile"))

    world.sandbox.git_faults.before = push
    try:
        row = world.live(world.deploy("1.4.2", "raced"))
    finally:
        world.sandbox.git_faults.before = None
    assert world.sandbox.log("%H")[:2] == [row.commit_sha, mine[0]]
    assert len(world.commits(row)) == 1


def test_a_registry_that_is_away_holds_a_deploy_up_and_it_goes_on_by_itself(world: Rig) -> None:
    with Outage(world.sandbox.registry.faults):
        row = world.deploy("1.4.1", "registry")
        world.noted(row, "registry", "Trying again")
    world.live(row)
