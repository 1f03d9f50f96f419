"""The same scenarios on a real API server: the current context of KUBECONFIG, a disposable cluster with an admin token.

Where no kubelet runs real images, something has to play the kubelets as `bot/sandbox/kubernetes_pods.py` does: by tag.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.cluster_rig import Rig, real_rig
from tests.contract.cluster_scenarios import ClusterScenarios

pytestmark = pytest.mark.cluster


class TestClusterOnARealApiServer(ClusterScenarios):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        with real_rig(tmp_path) as rig:
            yield rig
