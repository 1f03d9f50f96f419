"""Bad and odd words through the whole program: refused with what would be right and a row, or right in the cluster.

Nothing here may reach git, Jenkins or the channel unless it is a good deployment. What the parser and the rules do
with each word is tested on its own elsewhere.
"""

from collections.abc import Iterator

import pytest
import yaml

from bot.sandbox.slack_model import DEVELOPER, OUTSIDER
from commands.reasons import ReasonCode
from tests.e2e.rig import APP, CHANNEL, IMAGE, Rig, rig

PLACES = {"one": "{}", "unknown": "{}", "numbers": "{}"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("words"), PLACES, versions=("no",)) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_happens(request: pytest.FixtureRequest, world: Rig) -> Iterator[None]:
    """Words that are refused leave no card, no notice, no commit and no build."""
    if "deploys" in request.fixturenames:
        yield
        return
    before = (len(world.cards()), world.notices(), world.head(), len(world.sandbox.jenkins.builds("infra-deploy")))
    yield
    world.until(world.quiet)
    after = (len(world.cards()), world.notices(), world.head(), len(world.sandbox.jenkins.builds("infra-deploy")))
    assert after == before


REFUSED = {
    "an app that there is not": ("my-aplication 1.4.2", ReasonCode.UNKNOWN_APP, "Did you mean `my-application`?"),
    "an environment that there is not": (f"{APP} 1.4.2 stagin", ReasonCode.UNKNOWN_ENVIRONMENT, "`staging`"),
    "an option as an app": ("--upload-pack=touch${IFS}x 1.4.2", ReasonCode.BAD_USAGE, "is no option"),
    "an option as an environment": (f"{APP} 1.4.2 --upload-pack=x", ReasonCode.BAD_USAGE, "is no option"),
    "an option as a version": (f"{APP} -1.4.2", ReasonCode.BAD_USAGE, "is no option"),
    "a path as an environment": (f"{APP} 1.4.2 ../..", ReasonCode.UNKNOWN_ENVIRONMENT, "../.."),
    "a path as an app": ("../../etc/passwd 1.4.2", ReasonCode.UNKNOWN_APP, "../../etc/passwd"),
    "a path as a version": (f"{APP} ../../1.4.2", ReasonCode.BAD_VERSION, "cannot be an image tag"),
    "a shell as a version": (f"{APP} $(reboot)", ReasonCode.BAD_VERSION, "cannot be an image tag"),
    "YAML as a version": (f"{APP} 1.4.2{{x:y}}", ReasonCode.BAD_VERSION, "cannot be an image tag"),
    "a digest as a version": (f"{APP} sha256:{'a' * 64}", ReasonCode.BAD_VERSION, "cannot be an image tag"),
    "a version of 129 letters": (f"{APP} {'1' * 129}", ReasonCode.BAD_VERSION, "128"),
    "an emoji as a version": (f"{APP} 🚀", ReasonCode.BAD_VERSION, "cannot be an image tag"),
    "an emoji as an app": ("🚀 1.4.2", ReasonCode.UNKNOWN_APP, "🚀"),
    "text that runs backwards": (f"{APP} 1.4.2 one --reason all \u202egood", ReasonCode.UNSAFE_TEXT, "by hand"),
    "letters that cannot be seen": (f"{APP} 1.4\u200b.2", ReasonCode.UNSAFE_TEXT, "by hand"),
    "a null character": (f"{APP} 1.4.2\x00", ReasonCode.UNSAFE_TEXT, "by hand"),
    "4,000 characters": (f"{APP} 1.4.2 one --reason {'x' * 3970}", ReasonCode.BAD_USAGE, "1000 is the most"),
    "a reason of 501 characters": (f"{APP} 1.4.2 one --reason {'x' * 501}", ReasonCode.BAD_USAGE, "500 is the most"),
    "one word too many": (f"{APP} 1.4.2 one two", ReasonCode.BAD_USAGE, "one word too many"),
    "an app alone": (APP, ReasonCode.BAD_USAGE, "alone is not enough"),
    "a glass that nobody may break": (
        f"{APP} 1.4.2 production --break-glass --reason now",
        ReasonCode.NOT_PERMITTED,
        "names nobody",
    ),
    "an unknown deployment": (
        "cancel nosuchid00",
        ReasonCode.UNKNOWN_DEPLOYMENT,
        "no deployment with that id",
    ),
}


@pytest.mark.parametrize(("text", "reason", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_with_what_would_be_right(world: Rig, text: str, reason: ReasonCode, words: str) -> None:
    world.refuse(text, reason, words)


def test_a_filter_of_the_record_that_there_is_not_is_refused(world: Rig) -> None:
    world.refuse("history ap:web", ReasonCode.BAD_USAGE, "Did you mean `app:`?", command="/audit")


def test_names_with_markup_are_shown_as_they_were_typed(world: Rig) -> None:
    text = world.refuse("<!channel> 1.4.2", ReasonCode.UNKNOWN_APP, "There is no app")
    assert "<!channel>" not in text
    assert "&lt;!channel&gt;" in text


def test_somebody_of_another_workspace_is_refused(world: Rig) -> None:
    result = world.slack.command(OUTSIDER, "/deploy", f"{APP} 1.4.2 one", channel="C0SHARED")
    world.told(result.text, "its own workspace")
    assert world.audit()[-1].reason_code == ReasonCode.WRONG_WORKSPACE
    assert world.audit()[-1].actor == OUTSIDER.id


def test_a_bad_mention_is_answered_to_its_writer_alone(world: Rig) -> None:
    told = len(world.slack.ephemerals(DEVELOPER))
    world.slack.mention(DEVELOPER, CHANNEL, "delpoy web 1.4.2")
    world.until(lambda: len(world.slack.ephemerals(DEVELOPER)) > told)
    world.told(world.slack.ephemerals(DEVELOPER)[-1].text, "`delpoy` is no command")
    assert world.audit()[-1].reason_code == ReasonCode.BAD_USAGE


@pytest.mark.usefixtures("deploys")
def test_a_version_that_the_registry_does_not_have_is_refused_with_the_nearest(world: Rig) -> None:
    row = world.deploy("1.4.22", "unknown")
    world.failed(row, ReasonCode.UNKNOWN_VERSION, f"no `{IMAGE}:1.4.22`", "Did you mean `1.4.2`")
    world.not_committed(row)
    world.live(world.deploy("1.4.2", "unknown"))


@pytest.mark.parametrize("version", ["1.10", pytest.param("no", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("deploys")
def test_a_version_that_yaml_takes_for_something_else_runs_as_it_was_typed(world: Rig, version: str) -> None:
    row = world.live(world.deploy(version, "numbers"))
    assert row.reason_code == ReasonCode.LIVE
    assert world.running_image("numbers") == f"{IMAGE}:{version}@{row.digest}"
    (image,) = yaml.safe_load(world.overlay("numbers"))["images"]
    assert image["newTag"] == version


@pytest.mark.slow
@pytest.mark.usefixtures("deploys")
def test_an_emoji_in_the_reason_reaches_card_and_commit(world: Rig) -> None:
    row = world.live(world.deploy("1.4.3", "one", "--reason the ship 🚢 is fixed & <b>good</b>"))
    assert "🚢" in world.card(row).text
    assert "&lt;b&gt;" in world.card(row).text
    assert "Reason: the ship 🚢 is fixed & <b>good</b>" in world.sandbox.log("%B")[0]


@pytest.fixture
def deploys() -> None:
    """Marks a test that deploys: things may happen."""
