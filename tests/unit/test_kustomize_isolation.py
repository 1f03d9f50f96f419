"""Checks the proof that overlays of one run did not mix, and how a run's output is taken apart.

That the proof is enough is checked with the real kustomize: `tests/contract/test_kustomize_blast.py`.
"""

import pytest

from bot.integrations.kustomize.batch import Batch, Mixed, part
from bot.integrations.kustomize.isolation import (
    Built,
    Chain,
    ObjectHead,
    Standing,
    apart,
    built,
    hopeful,
    inside,
    source_file,
)
from bot.integrations.kustomize.traits import Traits

BARE: Chain = ((), ())


def side(
    *names: str,
    namespace: str = "one",
    chain: Chain = BARE,
    more: tuple[Chain, ...] = (),
    kind: str = "Deployment",
    text: str = "",
    renames: bool = False,
) -> Built:
    standing = Standing(namespace, frozenset({chain, *more}), frozenset({"base"}), renames)
    heads = [ObjectHead("apps/v1", kind, namespace, name) for name in names]
    return built(standing, heads, " ".join([*names, namespace, text]))


def prefixed(prefix: str) -> Chain:
    return ((prefix,), ())


def test_different_namespaces_keep_overlays_apart() -> None:
    assert apart(side("web"), side("web", namespace="two"))
    assert not apart(side("web"), side("web"))


def test_objects_of_the_whole_cluster_are_in_no_namespace() -> None:
    assert not apart(side("web", kind="ClusterRole"), side("web", namespace="two"))
    assert not apart(side("web", namespace=""), side("web", namespace="two"))


def test_a_role_binding_that_speaks_of_the_others_namespace_looks_there() -> None:
    assert not apart(side("web", kind="RoleBinding", text="two"), side("web", namespace="two"))
    assert apart(side("web", text="two"), side("web", namespace="two"))


def test_different_prefixes_keep_overlays_apart() -> None:
    assert apart(side("a-web", chain=prefixed("a-")), side("b-web", chain=prefixed("b-")))
    assert not apart(side("a-web", chain=prefixed("a-")), side("web"))


def test_a_prefix_that_ends_like_the_other_does_not_tell_them_apart() -> None:
    assert not apart(side("a-web", chain=prefixed("a-")), side("a-b-web", chain=(("b-", "a-"), ())))


def test_a_prefix_that_is_not_on_everything_does_not_tell_them_apart() -> None:
    mixed = side("a-web", chain=prefixed("a-"), more=(BARE,))
    assert not apart(mixed, side("b-web", chain=prefixed("b-")))


def test_kinds_that_get_no_prefix_are_not_told_apart_by_it() -> None:
    crd = side("a-web", chain=prefixed("a-"), kind="CustomResourceDefinition")
    assert not apart(crd, side("b-web", chain=prefixed("b-")))


def test_a_name_of_the_other_in_the_text_is_never_fine() -> None:
    borrowed = side("a-web", chain=prefixed("a-"), text="b-web")
    assert not apart(borrowed, side("b-web", chain=prefixed("b-")))


def test_names_that_were_never_the_same_keep_overlays_apart() -> None:
    assert apart(side("web", "web-settings-4kh9dkhbm6"), side("api", "api-settings-4kh9dkhbm6"))
    assert not apart(side("settings-4kh9dkhbm6"), side("settings-5kh9dkhbm6"))


def test_names_that_may_have_been_others_prove_nothing() -> None:
    assert not apart(side("web", renames=True), side("api"))


def test_what_cannot_be_proved_is_not_tried() -> None:
    standing = Standing("one", frozenset({BARE}), frozenset({"base"}), renames=False)
    assert not hopeful(standing, standing)
    assert hopeful(standing, Standing("two", frozenset({BARE}), frozenset({"base"}), renames=False))
    assert hopeful(standing, Standing("one", frozenset({BARE}), frozenset({"other"}), renames=False))


def test_prefixes_are_listed_innermost_first() -> None:
    assert inside(Traits(prefix="in-"), inside(Traits(prefix="out-", suffix="-x"), BARE)) == (("in-", "out-"), ("-x",))


@pytest.mark.parametrize(
    "text",
    [
        b"annotations: {internal.config.kubernetes.io/prefixes: a-}",
        b'annotations: {"internal\\x2econfig": a}',
        b'"internal.con\\\nfig.kubernetes.io/x": a',
        b"patch: '[{op: remove, path: /metadata/annotations}]'",
        b"- op: replace\n  path: /metadata\n  value: {}\n",
        b"- op: replace\n  path: ''\n",
        b"options: {allowKindChange: true}",
        b"fieldPaths: [metadata.annotations]",
        b"metadata:\n  name: web\n  annotations: null\n",
        b"metadata:\n  name: web\n  annotations:\nspec: {}\n",
        b"metadata:\n  annotations: # none\n  name: web\n",
        b"metadata:\n  annotations:\n    # none\n  name: web\n",
        b"metadata:\n  name: web\n  annotations:",
        b"metadata: {name: web, annotations: }",
        b"metadata:\n  $patch: replace\n",
    ],
)
def test_notes_in_kustomizes_own_annotations_are_strange(text: bytes) -> None:
    assert source_file(text).strange


@pytest.mark.parametrize(
    "text",
    [
        b"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
        b"metadata:\n  name: web\n  annotations:\n    a: b\nspec: {}\n",
        b"patch: '[{op: add, path: /metadata/annotations/a, value: b}]'",
        b"metadata: {name: web, annotations: {a: b}}",
        b"valueFrom: {fieldRef: {fieldPath: metadata.name}}",
    ],
)
def test_ordinary_files_are_not_strange(text: bytes) -> None:
    assert not source_file(text).strange


def test_only_files_whose_every_object_is_inert_are_inert() -> None:
    inert = b"kind: PodDisruptionBudget\nmetadata: {name: x}\n"
    assert source_file(inert).inert
    assert not source_file(inert + b"---\nkind: Service\n").inert
    assert not source_file(inert + b"---\n{kind: Service}\n").inert


# ---------------------------------------------------------------- output


def document(kind: str, name: str, api: str = "v1") -> str:
    return f"apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {name}\n"


def output(batch: Batch, *parts: str) -> str:
    boundaries = [text for name, text in batch.files("..") if name != "kustomization.yaml"]
    pieces = [piece for pair in zip(boundaries, parts, strict=False) for piece in pair]
    return "---\n".join([*pieces, boundaries[-1]])


def test_parts_are_given_back_in_kustomizes_order() -> None:
    batch = Batch(("a", "b"))
    text = output(batch, "---\n".join([document("Service", "x"), document("ConfigMap", "x")]), document("Service", "y"))
    parts = batch.take_apart(text)
    assert parts["a"].text == "---\n".join([document("ConfigMap", "x"), document("Service", "x")])
    assert parts["b"].text == document("Service", "y")


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_an_output_that_lacks_a_boundary_is_not_taken_apart(missing: int) -> None:
    batch = Batch(("a", "b"))
    pieces = output(batch, document("Service", "x"), document("Service", "y")).split("---\n")
    del pieces[missing * 2]
    with pytest.raises(Mixed):
        batch.take_apart("---\n".join(pieces))


def test_an_overlay_that_came_out_empty_is_not_taken_for_another() -> None:
    batch = Batch(("a", "b"))
    boundaries = [text for name, text in batch.files("..") if name != "kustomization.yaml"]
    with pytest.raises(Mixed):
        batch.take_apart("---\n".join([boundaries[0], document("Service", "x"), *boundaries[1:]]))


def test_objects_that_cannot_be_put_in_order_are_not_guessed() -> None:
    with pytest.raises(Mixed):
        part("---\n".join([document("Service", "x"), document("Service", "x")]))


def test_a_name_that_looks_like_a_number_is_read_as_text() -> None:
    assert part(document("Service", '"123"')).heads[0].name == "123"
    with pytest.raises(Mixed):
        part(document("Service", "123"))
