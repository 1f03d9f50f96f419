"""A first start on an infra-repo without a good `locktender.yaml`, or without a commit: commands say what is missing,
and work as soon as it is there, without a restart.
"""

from collections.abc import Iterator

import pytest

from bot.sandbox.infra_example import example_files
from commands.reasons import ReasonCode
from tests.e2e.rig import APP, Rig, bare_rig


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with bare_rig(tmp_path_factory.mktemp("missing")) as made:
        yield made


def test_it_starts_on_an_empty_repository_and_works_as_the_file_and_the_overlays_come(world: Rig) -> None:
    text = world.refuse_without_git(f"{APP} 1.4.2", ReasonCode.BRANCH_MISSING)
    world.told(text, "has no branch `main`", "Push that branch")
    assert world.healthy() == (200, 503)

    files = {path: text for path, text in example_files().items() if path != "locktender.yaml"}
    world.fill(files)
    world.until(lambda: "no such file" in world.type("status").text)
    text = world.refuse(f"{APP} 1.4.2", ReasonCode.CATALOGUE_MISSING, "locktender.yaml")

    good = example_files()["locktender.yaml"].replace("staging: {}", "staging: {reconciler: none}")
    world.sandbox.commit("locktender.yaml", good.replace("staging: {", "staging: {chang: commit, "), "A first try")
    world.until(lambda: "chang" in world.type("status").text)
    text = world.refuse(f"{APP} 1.4.2", ReasonCode.CATALOGUE_INVALID, "1 fault", "Mend the file")
    assert "locktender.yaml:5" in text

    world.sandbox.commit("locktender.yaml", good, "Mend it")
    world.until(lambda: "🚫" not in world.type("status").text)
    world.live(world.deploy("1.4.2", "staging"))
    world.until(lambda: world.healthy() == (200, 200))
