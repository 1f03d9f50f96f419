"""Checks docs/catalogue.md against the reader: every key is on the page with a row of its own, every example is taken.

Leaves out whether the words about a key are true.
"""

import re
from pathlib import Path

import pytest

from commands import (
    catalogue_approvals,
    catalogue_audit,
    catalogue_environments,
    catalogue_freezes,
    catalogue_reader,
    catalogue_verify,
)
from commands.catalogue import Catalogue
from commands.catalogue_reader import read

PAGE = (Path(__file__).parents[2] / "docs" / "catalogue.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
REST = {
    "environments": "environments: {staging: {}, production: {}}\n",
    "apps": "apps: {web: {image: registry.company.com/web}}\n",
    "groups": "groups: {release-managers: {slack: S0A}, platform-team: {slack: S0B}, on-call: {slack: S0C}}\n",
    "channels": "channels: {deployments: C0DEPLOYMENTS}\n",
}


def completed(example: str) -> str:
    """The example with what it leaves out."""
    missing = "".join(text for key, text in REST.items() if not re.search(rf"^{key}:", example, re.MULTILINE))
    return example + missing


def section(title: str) -> str:
    """The page below this heading, down to the next of the same or a higher level."""
    level = re.search(rf"^(#+) {re.escape(title)}$", PAGE, re.MULTILINE)
    assert level, title
    rest = PAGE[level.end() :]
    following = re.search(rf"^#{{1,{len(level[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_taken(example: str) -> None:
    found = read(completed(example).encode())
    assert isinstance(found, Catalogue), f"{found}\n{completed(example)}"


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("The file", catalogue_reader._SETTINGS),
        ("environments", catalogue_environments._SETTINGS),
        ("approval", catalogue_approvals._SETTINGS),
        ("break_glass", ("from", "review_within")),
        ("verify", catalogue_verify._SETTINGS),
        ("apps", catalogue_reader._APP_SETTINGS),
        ("groups and people", ("groups.<name>.slack", "groups.<name>.members", "groups.<name>.github")),
        ("groups and people", ("people.<name>.slack", "people.<name>.github", "people.<name>.emails")),
        ("freezes", catalogue_freezes._SETTINGS),
        ("audit", catalogue_audit.SETTINGS),
    ],
)
def test_every_key_has_a_row_of_its_own(title: str, keys: tuple[str, ...]) -> None:
    rows = section(title)
    assert [key for key in keys if not re.search(rf"^\| `{re.escape(key)}[`.]", rows, re.MULTILINE)] == []
