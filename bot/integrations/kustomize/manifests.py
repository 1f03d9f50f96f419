"""Kubernetes objects in a rendered text. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from commands.reasons import ReasonCode, Refused

_MOST_VALUES = 2_000_000
_DEEPEST = 200


@dataclass(frozen=True, order=True)
class ObjectRef:
    """Which object: its version is left out, because another version of it is still the same object."""

    group: str  # empty for the core group
    kind: str
    namespace: str  # empty when the manifest names none
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


@dataclass(frozen=True)
class Manifest:
    """One object as it was rendered."""

    ref: ObjectRef
    body: Mapping[str, object]


class _Loader(yaml.CSafeLoader):
    """libyaml's safe loader, but dates stay the text that Kubernetes gets."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def load(rendered: str) -> list[Manifest]:
    """Every object, lists taken apart. Refused: RENDER_FAILED when it is not YAML, RENDER_LIMIT when it is a bomb."""
    try:
        documents = list(yaml.load_all(rendered, Loader=_Loader))
    except yaml.YAMLError as error:
        raise Refused(
            ReasonCode.RENDER_FAILED,
            "What kustomize printed is not YAML that can be read.",
            "Look at the output of `kustomize build` for the overlay.",
            detail=str(error)[:500],
        ) from error
    _check_size(documents)
    return [manifest for document in documents for manifest in _objects(document)]


def _objects(document: object) -> Iterator[Manifest]:
    if not isinstance(document, dict):
        return
    kind = str(document.get("kind") or "")
    items = document.get("items")
    if kind.endswith("List") and isinstance(items, list):
        for item in items:
            yield from _objects(item)
        return
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    group, slash, _ = str(document.get("apiVersion") or "").partition("/")
    ref = ObjectRef(
        group if slash else "",
        kind,
        str(metadata.get("namespace") or ""),
        str(metadata.get("name") or metadata.get("generateName") or ""),
    )
    yield Manifest(ref, document)


def _check_size(documents: list[object]) -> None:
    """Count values as a walk would meet them, aliases each time: a small text can stand for billions."""
    waiting: list[tuple[object, int]] = [(document, 0) for document in documents]
    met = 0
    while waiting:
        value, depth = waiting.pop()
        met += 1
        if met > _MOST_VALUES or depth > _DEEPEST:
            raise Refused(
                ReasonCode.RENDER_LIMIT,
                "What kustomize printed is too large or too deeply nested to be compared.",
                "Look for YAML aliases that multiply, or for generated files, in the overlay and its bases.",
            )
        if isinstance(value, dict):
            waiting.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            waiting.extend((item, depth + 1) for item in value)
