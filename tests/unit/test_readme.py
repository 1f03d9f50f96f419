"""The README and the documents say what the code does: the state machine, the commands, the files they link."""

import re
from pathlib import Path

import pytest

from storage.phases import mermaid

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_state_machine_is_drawn_from_the_table_that_the_code_runs() -> None:
    assert f"```mermaid\n{mermaid()}```" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_linked_file_is_there(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_two_commands_of_the_readme_are_targets_of_make() -> None:
    targets = (ROOT / "Makefile").read_text()
    for command in re.findall(r"^\$ make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert f"\n{command}:" in targets


def test_every_variable_that_settings_read_is_documented() -> None:
    from bot.settings import Settings

    told = "\n".join(document.read_text() for document in DOCUMENTS)
    aliases = [str(field.alias) for field in Settings.model_fields.values()]
    assert [alias for alias in aliases if alias not in told] == []
