"""What one kustomization does to names, and whether it does anything unusual. Pure.

That is what must be known before it is built in one run with others. Keys are compared without case, as Go reads them.
"""

from dataclasses import dataclass

from bot.integrations.kustomize.document import Mapping, Node, Scalar, Sequence

# Everything else (vars, configurations, crds, openapi, plugins, sort orders, build metadata, charts, what kustomize
# learns next) acts on the whole build or may, so an overlay that uses it is built alone.
_ORDINARY = frozenset(
    {
        *("apiversion", "kind", "resources", "bases", "components", "namespace", "nameprefix", "namesuffix"),
        *("labels", "commonlabels", "commonannotations", "images", "replicas"),
        *("patches", "patchesstrategicmerge", "patchesjson6902", "replacements"),
        *("configmapgenerator", "secretgenerator", "generatoroptions"),
    }
)
_GENERATORS = frozenset({"configmapgenerator", "secretgenerator"})


@dataclass(frozen=True)
class Traits:
    """What one kustomization file says about itself. `ordinary`: it uses nothing that can reach beyond its build."""

    kind: str = "Kustomization"
    prefix: str = ""
    suffix: str = ""
    namespace: str = ""
    ordinary: bool = False
    generates: bool = False
    replaces: bool = False  # `replacements` can write any field, names included


def traits_of(root: Node) -> Traits:
    """The traits; not ordinary where a value is not what kustomize expects, so that kustomize alone explains it."""
    if not isinstance(root, Mapping):
        return Traits()
    found: dict[str, Node] = {}
    for pair in root.pairs:
        key = pair.key.value.casefold()
        if key not in _ORDINARY or key in found:
            return Traits()
        found[key] = pair.value
    texts = {key: _text(found.get(key)) for key in ("kind", "nameprefix", "namesuffix", "namespace")}
    if any(text is None or "," in text for text in texts.values()):
        return Traits()
    return Traits(
        kind=texts["kind"] or "Kustomization",
        prefix=texts["nameprefix"] or "",
        suffix=texts["namesuffix"] or "",
        namespace=texts["namespace"] or "",
        ordinary=True,
        generates=any(_filled(found.get(key)) for key in _GENERATORS),
        replaces=_filled(found.get("replacements")),
    )


def _text(node: Node | None) -> str | None:
    if node is None:
        return ""
    return node.value if isinstance(node, Scalar) and node.is_string else None


def _filled(node: Node | None) -> bool:
    return not (node is None or (isinstance(node, Sequence) and not node.items))
