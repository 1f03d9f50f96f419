"""The example infra-repos: kustomize builds every overlay, the catalogue is valid, and the ids never change.

Left out: what `locktender init` writes, which has templates and tests of its own.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bot.sandbox.infra_example import Layout, create_example, create_monorepo, example_files, write_example
from commands.catalogue import Catalogue
from commands.catalogue_reader import read
from tests.contract.git_rig import git


def _overlays() -> list[tuple[Layout, str]]:
    return [
        (layout, path.removesuffix("/kustomization.yaml"))
        for layout in Layout
        for path in example_files(layout)
        if path.endswith("/kustomization.yaml") and "base" not in path
    ]


@pytest.mark.parametrize(("layout", "overlay"), _overlays())
def test_kustomize_builds_every_overlay(tmp_path: Path, layout: Layout, overlay: str) -> None:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl here")
    write_example(tmp_path, layout)
    done = subprocess.run([kubectl, "kustomize", str(tmp_path / overlay)], capture_output=True, text=True, check=True)
    objects = {item["kind"]: item for item in yaml.safe_load_all(done.stdout)}
    environment = overlay.rpartition("/")[2]
    assert objects.keys() - {"PodDisruptionBudget"} == {"Deployment", "Service", "HorizontalPodAutoscaler"}
    assert ("PodDisruptionBudget" in objects) == (environment == "production")
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.company.com/{container['name']}:1.4.0"
    assert {item["metadata"]["namespace"] for item in objects.values()} == {environment}
    assert objects["Deployment"]["spec"]["replicas"] == objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"]


@pytest.mark.parametrize("layout", Layout)
def test_the_catalogue_is_valid_and_finds_its_overlays(layout: Layout) -> None:
    files = example_files(layout)
    catalogue = read(files["locktender.yaml"].encode())
    assert isinstance(catalogue, Catalogue)
    assert list(catalogue.promotion) == ["dev", "staging", "production"]
    for app in catalogue.apps.values():
        for environment in catalogue.environments.values():
            places = catalogue.overlays(app, environment)
            assert any(f"{place}/kustomization.yaml" in files for place in places)


def test_making_it_again_gives_the_same_commit(tmp_path: Path) -> None:
    first, second = (create_example(tmp_path / name) for name in ("one.git", "two.git"))
    assert first == second
    listed = git("ls-tree", "-r", "--name-only", "main", cwd=tmp_path / "one.git").splitlines()
    assert set(listed) == set(example_files())
    git("fsck", "--strict", cwd=tmp_path / "one.git")


def test_the_large_one_has_as_many_apps_and_commits_as_asked(tmp_path: Path) -> None:
    bare = tmp_path / "large.git"
    head = create_monorepo(bare, apps=12, commits=30)
    assert git("rev-list", "--count", head, cwd=bare) == "30"
    assert len(git("ls-tree", "--name-only", head, "apps/", cwd=bare).splitlines()) == 12
    assert git("log", "-1", "--format=%(trailers:key=Deployment-Id,valueonly)", head, cwd=bare) == "old-00029"
    assert len(git("diff", "--name-only", f"{head}~1", head, cwd=bare).splitlines()) == 1
