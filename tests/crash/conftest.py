"""A lab for each test: nothing is shared between two crashes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.lab import Lab, lab


@pytest.fixture(name="lab")
def _lab(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as built:
        yield built
