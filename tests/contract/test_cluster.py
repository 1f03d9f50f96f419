"""The rollout watcher on the stand-in: the shared scenarios, and what only a stand-in can be told to do.

Left out: the verdict's finer cases, which `test_cluster_judge.py` tells one by one without a server.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.cluster_rig import Rig, stand_in_rig
from tests.contract.cluster_scenarios import ClusterScenarios


class TestClusterOnTheStandIn(ClusterScenarios):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        with stand_in_rig(tmp_path) as rig:
            yield rig
