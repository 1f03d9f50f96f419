"""Checks that many overlays built in few runs come out to the byte as each does alone, the odd ones most of all.

The oracle is one run of the real kustomize per overlay. All 150 overlays of the large example, before and after a
change of their base, are compared the same way by `python -m benchmarks render`; here it is a part of them.
"""

import os
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.integrations.infra_repo import GitInfraRepo
from bot.integrations.kustomize.blast import Place, impact, places_of
from bot.integrations.kustomize.command import Fence, Finished, find_command, run
from bot.integrations.kustomize.fingerprint import manifests_fingerprint, reach_fingerprint
from bot.integrations.kustomize.render import KustomizeRenderer
from bot.integrations.overlaid import Overlaid
from bot.sandbox.infra_example import SHARED_DEPLOYMENT, create_shared_monorepo
from commands.catalogue import Catalogue
from commands.catalogue_reader import read
from commands.ports import CommitAuthor, Rendered
from commands.reasons import ReasonCode, Refused
from tests.contract.trees import MemoryTree

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: service}
spec:
  selector: {matchLabels: {app: service}}
  template:
    metadata: {labels: {app: service}}
    spec:
      serviceAccountName: runner
      containers:
      - name: service
        image: reg.example.com/service:1
        envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: shared-secret}}]
"""
ACCOUNT = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: runner}\n"
HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: scaler}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: service}}
"""
BINDING = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: KIND
metadata: {name: allowed}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: runner, namespace: NAMESPACE}]
"""
ROLE = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], resourceNames: [settings], verbs: [get]}]
"""
BASE = {
    "base/kustomization.yaml": (
        "resources: [deployment.yaml, account.yaml]\nconfigMapGenerator: [{name: settings, literals: [a=b]}]\n"
    ),
    "base/deployment.yaml": DEPLOYMENT,
    "base/account.yaml": ACCOUNT,
    "side/kustomization.yaml": (
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [proxy.yaml]\n"
        "patches: [{target: {kind: Deployment}, patch: '[{op: add, path: /spec/replicas, value: 4}]'}]\n"
    ),
    "side/proxy.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: proxy}\nspec: {ports: [{port: 80}]}\n",
}


def overlay(name: str, kustomization: str, **files: str) -> dict[str, str]:
    return {f"o/{name}/kustomization.yaml": kustomization} | {
        f"o/{name}/{path.replace('_', '.')}": text for path, text in files.items()
    }


def ordinary() -> dict[str, str]:
    """Overlays that should go together: same base, same namespace or not, told apart by prefix, suffix or namespace."""
    files: dict[str, str] = {}
    for number in range(4):
        files |= overlay(f"prefix{number}", f"resources: [../../base]\nnamespace: one\nnamePrefix: p{number}-\n")
        files |= overlay(f"suffix{number}", f"resources: [../../base]\nnameSuffix: -s{number}\n")
        files |= overlay(f"space{number}", f"resources: [../../base]\nnamespace: space{number}\n")
    return files


def odd() -> dict[str, str]:
    """Overlays that one run could mix up, or that must not be in one at all."""
    base = "resources: [../../base"
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'NAME', annotations: {}}\n"
        "data:\n  a: |\n    ---\n    kind: Boundary\n"
    )
    nested = "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Service, metadata: {name: in-list}}]\n"
    return {
        # The reference is written in the overlay, outside of the prefix: alone kustomize finds the one Deployment that
        # was called `service`; among several it asks for the same prefixes, and finds none.
        **overlay("bare1", "resources: [inner, hpa.yaml]\nnamespace: one\n", hpa_yaml=HPA),
        "o/bare1/inner/kustomization.yaml": "resources: [../../../base]\nnamePrefix: b1-\n",
        **overlay("bare2", "resources: [inner, hpa.yaml]\nnamespace: one\n", hpa_yaml=HPA.replace("scaler", "scaler2")),
        "o/bare2/inner/kustomization.yaml": "resources: [../../../base]\nnamePrefix: b2-\n",
        # These refer to what they do not have and others do: alone it stays as it is written.
        **overlay("stranger1", "resources: [hpa.yaml]\nnamespace: one\n", hpa_yaml=HPA.replace("scaler", "scaler3")),
        **overlay("stranger2", "resources: [hpa.yaml]\nnamePrefix: x-\n", hpa_yaml=HPA.replace("scaler", "scaler4")),
        # The notes that kustomize keeps on prefixes are dropped with the other annotations.
        **overlay(
            "dropped",
            f"{base}]\nnamespace: one\nnamePrefix: d-\n"
            "patches: [{target: {kind: ServiceAccount}, "
            "patch: '[{op: add, path: /metadata/annotations, value: {}}]'}]\n",
        ),
        # Exactly one other has it: in one run kustomize would take that one's name.
        **overlay("lent", f"{base}]\nnamespace: lone\nnamePrefix: l-\n"),
        **overlay("borrower", "resources: [hpa.yaml]\nnamespace: lone\n", hpa_yaml=HPA.replace("scaler", "scaler5")),
        # The same ids twice: one run refuses them.
        **overlay("twin1", f"{base}]\nnamespace: twins\n"),
        **overlay("twin2", f"{base}]\nnamespace: twins\nimages: [{{name: reg.example.com/service, newTag: '2'}}]\n"),
        # Of the whole cluster, and across namespaces.
        **overlay(
            "rights1",
            f"{base}, role.yaml, binding.yaml]\nnamespace: rights1\nnamePrefix: r1-\n",
            role_yaml=ROLE,
            binding_yaml=BINDING.replace("KIND", "ClusterRoleBinding").replace("NAMESPACE", "default"),
        ),
        **overlay(
            "rights2",
            f"{base}, role.yaml, binding.yaml]\nnamespace: rights2\n",
            role_yaml=ROLE,
            binding_yaml=BINDING.replace("KIND", "RoleBinding").replace("NAMESPACE", "space1"),
        ),
        **overlay(
            "rights3",
            "resources: [binding.yaml]\n",
            binding_yaml=BINDING.replace("KIND", "RoleBinding").replace("NAMESPACE", "one"),
        ),
        # Unusual, so alone.
        **overlay("sorted", f"{base}]\nnamespace: sorted\nsortOptions: {{order: fifo}}\n"),
        **overlay("origin", f"{base}]\nnamespace: origin\nbuildMetadata: [originAnnotations]\n"),
        **overlay(
            "vars",
            f"{base}]\nnamespace: vars\n"
            "vars: [{name: N, objref: {apiVersion: v1, kind: ServiceAccount, name: runner}}]\n",
        ),
        **overlay("crds", f"{base}]\nnamespace: crds\ncrds: [crd.json]\n", crd_json="{}"),
        **overlay(
            "plugin",
            f"{base}]\ntransformers: [mark.yaml]\n",
            mark_yaml="apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: x}\nprefix: t-\n"
            "fieldSpecs: [{path: metadata/name}]\n",
        ),
        **overlay("component", f"{base}]\ncomponents: [../../side]\nnamespace: component\n"),
        **overlay(
            "generated",
            f"{base}]\nnamespace: generated\n"
            "configMapGenerator: [{name: settings, behavior: merge, literals: [c=d]}]\n"
            "secretGenerator: [{name: shared-secret, literals: [p=q]}]\n",
        ),
        **overlay(
            "renamed",
            f"{base}]\nnamespace: one\npatches: [{{target: {{kind: Deployment}}, options: {{allowNameChange: true}}, "
            "patch: '[{op: replace, path: /metadata/name, value: p1-service}]'}]\n",
        ),
        **overlay("text1", "resources: [text.yaml]\n", text_yaml=text.replace("NAME", "123")),
        **overlay(
            "text2", "resources: [text.yaml]\ncommonAnnotations: {a: b}\n", text_yaml=text.replace("NAME", "true")
        ),
        **overlay("list", "resources: [list.yaml]\nnamespace: list\n", list_yaml=nested),
        **overlay("noted", f"{base}]\ncommonAnnotations: {{internal.config.kubernetes.io/prefixes: p1-}}\n"),
        **overlay("nothing", "resources: []\nnamespace: nothing\n"),
        # Refused or broken.
        **overlay("helm", f"{base}]\nhelmCharts: [{{name: x}}]\n"),
        **overlay("remote", "resources: ['https://example.com/x']\n"),
        **overlay("broken", f"{base}, gone.yaml]\n"),
        **overlay("unparsed", "resources: [bad.yaml]\nnamespace: unparsed\n", bad_yaml="kind: [\n"),
        **overlay("wrong", f"{base}]\nnamespace: wrong\npatches: [{{path: p.yaml}}]\n", p_yaml="kind: Nothing\n"),
    }


@pytest.fixture(scope="module")
def command() -> tuple[str, ...]:
    return find_command()


def folders(files: Mapping[str, str]) -> list[str]:
    return sorted({"/".join(path.split("/")[:2]) for path in files if path.startswith("o/")})


class Counting(KustomizeRenderer):
    """Counts runs, and how many folders each was of."""

    def __init__(self, command: tuple[str, ...]) -> None:
        super().__init__(command)
        self.runs = 0

    def _run(self, root: Path, folder: Path) -> Finished:
        self.runs += 1
        return super()._run(root, folder)


def alone(renderer: KustomizeRenderer, tree: MemoryTree, name: str) -> Rendered | Refused:
    try:
        return renderer.render(tree, name)
    except Refused as fault:
        return fault


def told(outcome: Rendered | Refused) -> tuple[str, ...]:
    if isinstance(outcome, Rendered):
        return (outcome.text,)
    return outcome.reason, outcome.what, outcome.next_step


def test_odd_overlays_come_out_as_each_does_alone(command: tuple[str, ...]) -> None:
    files = ordinary() | odd()
    tree = MemoryTree({**BASE, **files})
    together = KustomizeRenderer(command).render_many(tree, folders(files))
    one_by_one = KustomizeRenderer(command)
    different = [name for name in folders(files) if told(together[name]) != told(alone(one_by_one, tree, name))]
    assert different == []


def test_a_name_is_not_taken_from_another_overlay(command: tuple[str, ...]) -> None:
    tree = MemoryTree({**BASE, **odd()})
    renderer = Counting(command)
    together = renderer.render_many(tree, ["o/lent", "o/borrower", "o/list", "o/space1"])
    borrowed = together["o/borrower"]
    assert isinstance(borrowed, Rendered)
    assert "    name: service\n" in borrowed.text
    assert "l-service" not in borrowed.text


def test_ordinary_overlays_share_runs(command: tuple[str, ...]) -> None:
    files = ordinary()
    renderer = Counting(command)
    together = renderer.render_many(MemoryTree({**BASE, **files}), folders(files))
    assert all(isinstance(outcome, Rendered) for outcome in together.values())
    assert len(together) == 12
    assert renderer.runs <= 5  # two halves, the trial of one alone, and room for one that did not fit


def test_one_broken_overlay_does_not_cost_the_others_theirs(command: tuple[str, ...]) -> None:
    files = ordinary() | overlay(
        "wrong", "resources: [../../base]\nnamespace: w\npatches: [{path: p.yaml}]\n", p_yaml="kind: No\n"
    )
    renderer = Counting(command)
    together = renderer.render_many(MemoryTree({**BASE, **files}), folders(files))
    refused = [name for name, outcome in together.items() if isinstance(outcome, Refused)]
    assert refused == ["o/wrong"]
    assert renderer.runs <= 8


def test_a_kustomize_that_builds_otherwise_in_company_is_not_trusted_with_it(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    program = tmp_path / "kustomize"
    program.write_text(
        f"#!{sys.executable}\nimport subprocess, sys\n"
        f"text = subprocess.run([*{list(command)!r}, sys.argv[1]], capture_output=True, text=True).stdout\n"
        "print(text.replace('image: reg', 'image: other') if '/run-' in sys.argv[1] else text, end='')\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    tree = MemoryTree({**BASE, **overlay("a", "resources: [../../base]\nnamespace: a\n")})
    for number in range(3):
        for path, text in overlay(f"b{number}", f"resources: [../../base]\nnamespace: b{number}\n").items():
            tree = tree.with_file(path, text)
    together = KustomizeRenderer((str(program),)).render_many(tree, ["o/a", "o/b0", "o/b1", "o/b2"])
    assert all(isinstance(one, Rendered) and "image: other" not in one.text for one in together.values())


def test_a_link_in_one_overlay_is_told_of_that_one_only(command: tuple[str, ...]) -> None:
    files = {**BASE, **overlay("a", "resources: [../../base]\n"), **overlay("b", "resources: [../../base]\n")}
    tree = MemoryTree(files, {"o/b/deep/link": "/etc/shadow"})
    together = KustomizeRenderer(command).render_many(tree, ["o/a", "o/b", "o/gone"])
    assert isinstance(together["o/a"], Rendered)
    reasons = [one.reason for name in ("o/b", "o/gone") if isinstance(one := together[name], Refused)]
    assert reasons == [ReasonCode.OVERLAY_UNSAFE, ReasonCode.OVERLAY_MISSING]


def test_what_was_built_together_is_remembered_one_by_one(command: tuple[str, ...]) -> None:
    files = ordinary()
    tree = MemoryTree({**BASE, **files})
    renderer = Counting(command)
    renderer.render_many(tree, folders(files))
    runs = renderer.runs
    assert renderer.render(tree, "o/space1").cached
    assert all(isinstance(one, Rendered) and one.cached for one in renderer.render_many(tree, folders(files)).values())
    assert renderer.runs == runs


# ---------------------------------------------------------------- a real repository


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[GitInfraRepo, str, str]:
    folder = tmp_path_factory.mktemp("blast")
    before, after = create_shared_monorepo(folder / "origin.git", apps=6)
    infra = GitInfraRepo(
        f"file://{folder}/origin.git", "main", folder / "home", committer=CommitAuthor("Bot", "bot@example.com")
    )
    infra.refresh()
    return infra, before, after


def test_a_change_of_the_shared_base_is_seen_everywhere_and_only_there(
    command: tuple[str, ...], repository: tuple[GitInfraRepo, str, str]
) -> None:
    infra, first, second = repository
    before, after = infra.tree(first), infra.tree(second)
    known = read(before.read("locktender.yaml") or b"")
    assert isinstance(known, Catalogue)
    places = places_of(known, before, after)
    found = impact(KustomizeRenderer(command), before, after, places)
    assert (len(found.effects), found.untouched) == (18, 0)
    (asked,) = found.of({("app-01", "production")})
    assert asked.glance() == ("Deployment/app-01-service: limits.memory 256Mi → 512Mi",)
    radius = found.radius({("app-01", "production")})
    assert len(radius) == 17
    assert {effect.counts for effect in radius} == {(1, 0, 0)}
    assert len({effect.signature for effect in found.effects}) == 1


def test_git_is_started_a_few_times_however_many_overlays_are_looked_at(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = create_shared_monorepo(tmp_path / "origin.git", apps=6)
    infra = GitInfraRepo(
        f"file://{tmp_path}/origin.git", "main", tmp_path / "home", committer=CommitAuthor("Bot", "bot@example.com")
    )
    infra.refresh()
    started = tmp_path / "started"
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$1" >> {started}\nexec {shutil.which("git")} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}{os.pathsep}{os.environ['PATH']}")
    places = [
        Place(f"app-{app:02d}", name, f"apps/app-{app:02d}/overlays/{name}")
        for app in range(6)
        for name in ("dev", "staging", "production")
    ]
    assert len(impact(KustomizeRenderer(command), infra.tree(first), infra.tree(second), places).effects) == 18
    assert 1 <= len(started.read_text().splitlines()) <= 6


def test_overlays_of_the_large_example_come_out_as_each_does_alone(
    command: tuple[str, ...], repository: tuple[GitInfraRepo, str, str], tmp_path: Path
) -> None:
    infra, _, second = repository
    tree = infra.tree(second)
    names = [f"apps/app-0{app}/overlays/{name}" for app in range(6) for name in ("dev", "staging", "production")]
    renderer = Counting(command)
    together = renderer.render_many(tree, names)
    assert renderer.runs <= 4
    tree.export(["apps", "platform"], tmp_path)
    for name, outcome in together.items():
        assert isinstance(outcome, Rendered)
        assert outcome.text == run((*command, str(tmp_path / name)), tmp_path, Fence()).stdout.decode()


def test_a_change_of_one_overlay_renders_that_one(
    command: tuple[str, ...], repository: tuple[GitInfraRepo, str, str]
) -> None:
    infra, _, second = repository
    before = infra.tree(second)
    path = "apps/app-02/overlays/staging/kustomization.yaml"
    after = Overlaid(before, {path: (before.read(path) or b"").replace(b'"1.4.0"', b'"1.4.1"')})
    places = [Place("app-02", name, f"apps/app-02/overlays/{name}") for name in ("dev", "staging", "production")]
    found = impact(KustomizeRenderer(command), before, after, places)
    assert [str(effect.place) for effect in found.effects] == ["app-02 in staging"]
    assert found.effects[0].glance() == ("Deployment/app-02-service: image 1.4.0 → 1.4.1",)
    assert found.untouched == 2


def test_the_fingerprint_of_what_is_reached_moves_with_the_base_and_not_with_others(
    repository: tuple[GitInfraRepo, str, str],
) -> None:
    infra, first, second = repository
    before, after = infra.tree(first), infra.tree(second)
    mine = "apps/app-02/overlays/staging"
    moved = reach_fingerprint(after, mine)
    assert moved != reach_fingerprint(before, mine)
    other = Overlaid(after, {"apps/app-03/base/kustomization.yaml": b"resources: []\n"})
    assert reach_fingerprint(other, mine) == moved
    planned = Overlaid(before, {SHARED_DEPLOYMENT: after.read(SHARED_DEPLOYMENT) or b""})
    assert reach_fingerprint(planned, mine) == moved


def test_the_fingerprint_of_the_manifests_is_of_what_they_say(command: tuple[str, ...]) -> None:
    tree = MemoryTree({**BASE, **overlay("a", "resources: [../../base]\n"), **overlay("b", "resources: [../a]\n")})
    fifo = tree.with_file("o/b/kustomization.yaml", "resources: [../a]\nsortOptions: {order: fifo}\n")
    renderer = KustomizeRenderer(command)
    legacy, listed = renderer.render(tree, "o/b").text, renderer.render(fifo, "o/b").text
    assert legacy != listed
    assert manifests_fingerprint(legacy) == manifests_fingerprint(listed)
