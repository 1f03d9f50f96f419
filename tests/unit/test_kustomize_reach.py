"""Checks what the walk over an overlay finds, what it refuses while it is still text, and what it looks at again.

Leaves out the build itself: see `tests/contract/test_kustomize_render.py`.
"""

import base64

import pytest

from bot.integrations.kustomize.reach import MAX_FOLDERS, ReachIndex
from commands.reasons import ReasonCode, Refused
from tests.contract.trees import MemoryTree

OVERLAY = "env/dev"
FILE = f"{OVERLAY}/kustomization.yaml"


def repository(
    kustomization: str, files: dict[str, str] | None = None, links: dict[str, str] | None = None
) -> MemoryTree:
    base = {"base/kustomization.yaml": "resources: [web.yaml]\n", "base/web.yaml": "kind: X\n", "README.md": "read\n"}
    return MemoryTree(base | {FILE: kustomization} | (files or {}), links)


def refusal(tree: MemoryTree, overlay: str = OVERLAY) -> Refused:
    with pytest.raises(Refused) as caught:
        ReachIndex().reach(tree, overlay)
    return caught.value


def test_the_folders_of_all_kustomizations_are_found() -> None:
    tree = repository(
        "resources: [../../base]\ncomponents: [../../parts/tls]\ntransformers: [../../labels]\n",
        {
            "parts/tls/kustomization.yml": "kind: Component\npatches: [{path: p.yaml}]\n",
            "labels/Kustomization": "resources: [l.yaml]\n",
            "labels/l.yaml": "kind: LabelTransformer\n",
        },
    )
    assert ReachIndex().reach(tree, OVERLAY).folders == ("base", OVERLAY, "labels", "parts/tls")


def test_a_base_inside_the_overlay_is_covered_by_its_folder() -> None:
    tree = repository("resources: [inner]\n", {f"{OVERLAY}/inner/kustomization.yaml": "resources: []\n"})
    assert ReachIndex().reach(tree, OVERLAY).folders == (OVERLAY,)


def test_a_file_outside_of_the_folders_is_named_for_kustomize_to_judge() -> None:
    tree = repository("resources: [../../README.md, ../../gone.yaml]\n")
    reach = ReachIndex().reach(tree, OVERLAY)
    assert reach.files == ("README.md",)
    assert ("gone.yaml", "") in reach.probes


def test_the_key_changes_with_what_can_be_read_and_with_nothing_else() -> None:
    index = ReachIndex()
    tree = repository("resources: [../../base, ../../gone.yaml]\n")
    key = index.reach(tree, OVERLAY).key
    assert index.reach(tree.with_file("README.md", "other\n"), OVERLAY).key == key
    assert index.reach(tree.with_file("base/web.yaml", "kind: Y\n"), OVERLAY).key != key
    assert index.reach(tree.with_file("base/new.yaml", "kind: Y\n"), OVERLAY).key != key
    assert index.reach(tree.with_file("gone.yaml", "kind: Y\n"), OVERLAY).key != key
    assert index.reach(tree.with_file("env/prod/kustomization.yaml", "resources: []\n"), OVERLAY).key == key


def test_an_unchanged_overlay_is_neither_read_nor_parsed_again() -> None:
    index = ReachIndex()
    index.reach(repository("resources: [../../base]\n"), OVERLAY)
    tree = repository("resources: [../../base]\n").with_file("README.md", "other\n")
    index.reach(tree, OVERLAY)
    assert (tree.reads, tree.lookups) == (0, 2)  # one look per folder


def test_a_base_that_two_overlays_share_is_parsed_once() -> None:
    index = ReachIndex()
    tree = repository("resources: [../../base]\n", {"env/prod/kustomization.yaml": "resources: [../../base]\n"})
    index.reach(tree, OVERLAY)
    before = tree.reads
    index.reach(tree, "env/prod")
    assert tree.reads == before + 1


def test_a_cycle_ends() -> None:
    tree = repository("resources: [../../base, .]\n").with_file("base/kustomization.yaml", "resources: [../env/dev]\n")
    assert ReachIndex().reach(tree, OVERLAY).folders == ("base", OVERLAY)


def test_the_number_of_kustomizations_is_bounded() -> None:
    many = {f"b{number}/kustomization.yaml": f"resources: [../b{number + 1}]\n" for number in range(MAX_FOLDERS + 1)}
    fault = refusal(repository("resources: [../../b0]\n", many))
    assert fault.reason is ReasonCode.OVERLAY_UNSAFE


REMOTE = [
    "https://example.com/base?ref=v1",
    "HTTPS://example.com/x.yaml",
    " https://example.com/x.yaml",
    "http:example.com",
    "git@github.com:org/repo.git",
    "someone@example.com/org/repo",
    "ssh://git@example.com/org/repo",
    "git::https://example.com/repo",
    "file:///etc/passwd",
    "github.com/org/repo",
    "GitHub.com:org/repo",
    "gitlab.example.com/team/repo//base",
    "org/repo?ref=main",
    "org/repo//x?timeout=1&version=2",
    "oci://ghcr.io/org/base",
]


@pytest.mark.parametrize("address", REMOTE)
def test_a_remote_base_is_refused_before_anything_is_rendered(address: str) -> None:
    fault = refusal(repository(f"resources:\n- ../../base\n- '{address}'\n"))
    assert fault.reason is ReasonCode.REMOTE_BASE
    assert FILE in fault.what


@pytest.mark.parametrize(
    "kustomization",
    [
        "bases: [<address>]",
        "components: [<address>]",
        "Resources: [<address>]",  # Go reads JSON keys whatever their case
        "RE\u017fOURCE\u017f: [<address>]",  # and folds a long s
        "patches: [{path: <address>}]",
        "patches: [{PATH: <address>}]",
        "patchesStrategicMerge: [<address>]",
        "patchesJson6902: [{path: <address>}]",
        "configMapGenerator: [{name: a, files: [<address>]}]",
        "configMapGenerator: [{name: a, files: [key=<address>]}]",
        "secretGenerator: [{name: a, envs: [<address>]}]",
        "secretGenerator: [{name: a, env: <address>}]",
        "configurations: [<address>]",
        "crds: [<address>]",
        "openapi: {path: <address>}",
        "replacements: [{path: <address>}]",
        "generators: [<address>]",
        "transformers: [<address>]",
        "validators: [<address>]",
        "transformers:\n- |-\n  kind: PatchTransformer\n  path: <address>\n",
        "resources:\n- |\n  <address>\n",
        "resources:\n- |\n  <address>\n  more\n",
        "transformers:\n- |\n  <address>\n",
        "patchesStrategicMerge:\n- |\n  <address>\n  more\n",
        "transformers: [t.yaml]",
        "transformers: [plugins]",
        "x: &u <address>\nresources: [*u]",
        "x: &l [<address>]\nresources: *l",
    ],
)
def test_an_address_is_found_wherever_kustomize_would_read_it(kustomization: str) -> None:
    plugin = "kind: LabelTransformer\n---\nkind: ConfigMapGenerator\nFiles: [a=https://example.com/x]\n"
    files = {
        f"{OVERLAY}/t.yaml": plugin,
        f"{OVERLAY}/plugins/kustomization.yaml": "resources: [t.yaml]\n",
        f"{OVERLAY}/plugins/t.yaml": plugin,
    }
    address = "https://example.com/x"
    fault = refusal(repository(kustomization.replace("<address>", address), files))
    assert fault.reason is ReasonCode.REMOTE_BASE


def test_credentials_in_an_address_are_not_repeated() -> None:
    fault = refusal(repository("resources: ['https://bot:hunter2@example.com/repo?token=hunter3']\n"))
    assert "hunter" not in str(vars(fault))


@pytest.mark.parametrize(
    "kustomization",
    [
        "resources: [/etc/passwd]",
        "resources: [../../../etc/passwd]",
        "resources: [../../..]",
        "helmCharts: [{name: x}]",
        "HelmCharts: [{name: x}]",
        f"resources: [!!binary {base64.b64encode(b'https://example.com/x').decode()}]",
        "<<: {resources: ['https://example.com/x']}",
        "patches: [{<<: {path: 'https://example.com/x'}}]",
        "transformers: [patched]",
        "resources: [link]",
        "resources: [link/x.yaml]",
        "resources: [folder]",
        "patches: [{path: link}]",
    ],
)
def test_what_could_lead_out_of_the_repository_is_refused(kustomization: str) -> None:
    files = {f"{OVERLAY}/patched/kustomization.yaml": "resources: [t.yaml]\npatches: [{patch: x}]\n"}
    links = {f"{OVERLAY}/link": "/etc", f"{OVERLAY}/folder/kustomization.yaml": "/etc/passwd"}
    assert refusal(repository(kustomization, files, links)).reason is ReasonCode.OVERLAY_UNSAFE


def test_addresses_that_nothing_fetches_are_no_reason_to_refuse() -> None:
    tree = repository(
        "resources: [../../base]\n"
        "commonAnnotations: {docs: 'https://example.com/docs'}\n"
        "configMapGenerator: [{name: a, literals: ['URL=https://example.com']}]\n"
        'patches: [{patch: \'[{"op": "add", "path": "/x", "value": "https://example.com"}]\'}]\n'
        "patchesStrategicMerge:\n- |-\n  kind: X\n  url: https://example.com\n"
    )
    assert ReachIndex().reach(tree, OVERLAY).folders == ("base", OVERLAY)


def test_a_kustomization_that_cannot_be_read_is_refused() -> None:
    assert refusal(repository("resources: [\n")).reason is ReasonCode.OVERLAY_INVALID
    assert refusal(repository("resources: []\n"), "env/gone").reason is ReasonCode.OVERLAY_MISSING
