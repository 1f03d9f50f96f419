"""`locktender.yaml` while the program runs: missing, broken, mended and extended by commits, without a restart.

Which faults there can be and how they are worded is tested with the reader.
"""

from collections.abc import Iterator

import pytest

from commands.reasons import ReasonCode
from tests.e2e.rig import APP, Rig, rig

PLACES = {"good": "{reconciler: none}", "later": "{reconciler: none}"}
FILE = "locktender.yaml"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("catalogue"), PLACES) as made:
        yield made


def announced(world: Rig, commit: str) -> list[str]:
    """What the channel was told of this commit."""
    world.until(lambda: [row for row in world.audit() if f'"{commit}"' in row.details] and world.quiet())
    return [text for text in world.notices() if f"`{commit[:7]}`" in text]


def test_a_broken_file_is_told_of_once_and_the_last_good_one_stays_until_it_is_mended(world: Rig) -> None:
    good = world.sandbox.read(FILE)
    lines = good.splitlines()
    number = lines.index("promotion: [dev, staging, production]") + 1
    broken = world.sandbox.commit(
        FILE, good.replace("[dev, staging, production]", "[dev, stagin, production]"), "Break"
    )
    (told,) = announced(world, broken)
    world.told(told, "1 fault", "not in force", f"{FILE}:{number}")
    assert world.audit("catalogue:refuse")[-1].reason_code == ReasonCode.CATALOGUE_INVALID

    row = world.live(world.deploy("1.4.2", "good"))
    closed = world.refuse(f"{APP} 1.4.2 production", ReasonCode.CATALOGUE_INVALID, "is closed", "Mend the file")
    assert f"{FILE}:{number}" in closed
    assert "has faults" in world.type("status good").text
    again = world.sandbox.commit("NOTES.md", "other\n", "Change something else")
    world.until(lambda: f"`{again[:7]}`" in world.type("status good").text)
    assert [text for text in world.notices() if "has 1 fault" in text] == [told], row.commit_sha

    mended = world.sandbox.commit(FILE, good, "Mend")
    (told,) = announced(world, mended)
    assert "in order again" in told
    world.deploy("1.4.2", "production")
    world.type(f"cancel {APP} production")
    assert "has faults" not in world.type("status good").text


def test_a_new_app_can_be_deployed_as_soon_as_its_commit_is_there(world: Rig) -> None:
    world.refuse("web 1.4.2 later", ReasonCode.UNKNOWN_APP)
    text = world.sandbox.read(FILE)
    entry = f"  web: {{image: registry.company.com/{APP}, workload: deployment/{APP}, environments: [later]}}"
    world.sandbox.commit(FILE, text.replace("apps:\n", f"apps:\n{entry}\n"), "Add web")
    world.until(lambda: "🚫" not in world.type("status web").text)
    world.type("web 1.4.2 later")
    world.live(world.deployments("later")[-1])
    assert not [text for text in world.notices() if "Add web" in text]


def test_a_file_that_is_deleted_leaves_the_last_good_one_in_force(world: Rig) -> None:
    good = world.sandbox.read(FILE)
    gone = world.sandbox.commit(FILE, "", "Empty it")
    (told,) = announced(world, gone)
    world.told(told, "not in force")
    world.live(world.deploy("1.4.3", "good"))
    (told,) = announced(world, world.sandbox.commit(FILE, good, "Put it back"))
    assert "in order again" in told
