"""What one kustomization file names, and what of that is refused while it is still text. Pure.

Refused are remote bases (kustomize fetches them: a way for a pull request to make the bot call any address), Helm
charts, absolute paths, ways out of the repository, and what could hide one of these. Go reads JSON keys whatever their
case, so `Resources:` works in kustomize: keys are compared without case here.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bot.integrations.kustomize.document import Document, Mapping, Node, Scalar, Sequence, parse, parse_all, unsafe
from bot.integrations.kustomize.traits import Traits, traits_of
from commands.reasons import ReasonCode, Refused


class Use(StrEnum):
    """What kustomize does with what is named."""

    OBJECTS = "objects"  # manifests, or the folder of another kustomization
    PLUGIN = "plugin"  # configuration of a built-in generator, transformer or validator, or a folder of them
    DATA = "data"  # patches, values, schemas


@dataclass(frozen=True)
class Reference:
    """A path from the root of the repository, and how it was written."""

    path: str
    written: str
    use: Use


@dataclass(frozen=True)
class Named:
    """What one kustomization file names. `only_lists`: it names objects and changes nothing about them."""

    references: tuple[Reference, ...]
    only_lists: bool
    traits: Traits


# Where kustomize looks before it decides between a local path and something to fetch (its NewRepoSpecFromURL and
# IsRemoteFile, 5.8): a scheme, a user before a host, GitHub without either. Only a remote one has a query. A colon with
# a space after it is YAML, which stands in place of a path where kustomize allows that.
_REMOTE = re.compile(
    r"\s*([a-z][a-z0-9+.-]*:(?!\s)|[a-z][a-z0-9-]*@|github\.com[/:])|.*[?&](ref|version)=", re.IGNORECASE
)
_HOST_LIKE = re.compile(r"([a-z0-9-]+\.)+[a-z]{2,}(:\d+)?/.+", re.IGNORECASE)

_LISTS = {
    "resources": Use.OBJECTS,
    "bases": Use.OBJECTS,
    "components": Use.OBJECTS,
    "generators": Use.PLUGIN,
    "transformers": Use.PLUGIN,
    "validators": Use.PLUGIN,
    "configurations": Use.DATA,
    "crds": Use.DATA,
    "patchesStrategicMerge": Use.DATA,
}
_ITEMS = {
    "patches": ("path",),
    "patchesJson6902": ("path",),
    "replacements": ("path",),
    "openapi": ("path",),
    "configMapGenerator": ("files", "envs", "env"),
    "secretGenerator": ("files", "envs", "env"),
}
_HELM = ("helmCharts", "helmChartInflationGenerator", "helmGlobals")
# The keys under which kustomize's built-in plugins name files; from any of them an address would be fetched.
_PLUGIN_KEYS = frozenset({"path", "paths", "file", "files", "env", "envs", "resources"})
_ONLY_LISTS = frozenset({"apiversion", "kind", "metadata", "resources", "bases"})


def named_in(source: bytes, path: str) -> Named:
    """What the kustomization file at `path` names. Refused: REMOTE_BASE, OVERLAY_UNSAFE, OVERLAY_INVALID."""
    root = parse(source, path).root
    if not isinstance(root, Mapping):
        return Named((), only_lists=True, traits=traits_of(root))  # kustomize says what is wrong with it
    if any(True for key in _HELM for _ in _values(root, key, path)):
        raise unsafe(
            path,
            "it inflates Helm charts, which fetches and runs what is not in git",
            "Render the chart, commit the result to the infra-repo and name that under `resources`.",
        )
    folder = posixpath.dirname(path)
    references = tuple(
        Reference(_inside(text, folder, path), text, use)
        for text, use in _written(root, path)
        if text and not _is_inline(text, use, path)
    )
    only_lists = all(pair.key.value.casefold() in _ONLY_LISTS for pair in root.pairs)
    return Named(references, only_lists, traits_of(root))


def check_plugins(source: bytes, path: str) -> None:
    """Refuse a plugin's configuration that names an address where it could name a file. Refused as in `named_in`."""
    for document in parse_all(source, path):
        for key, text in _words(document):
            if key.casefold() in _PLUGIN_KEYS:
                _check_local(text, path)


def looks_remote(written: str) -> bool:
    """Whether a path that leads to nothing was probably meant as an address, such as `gitlab.com/team/repo`."""
    return _HOST_LIKE.fullmatch(written) is not None


def remote(written: str, path: str) -> Refused:
    """The fault for something outside of git; credentials and query are left out of what is quoted."""
    shown = re.sub(r"[^/@\s]+@", "…@", written.strip().split("?")[0])[:120]
    return Refused(
        ReasonCode.REMOTE_BASE,
        f"`{path}` takes `{shown}` from outside the infra-repo, and nothing is fetched from there.",
        "Copy it into the infra-repo and name the folder instead, so that git says all that runs.",
    )


def _written(root: Mapping, path: str) -> Iterator[tuple[str, Use]]:
    for key, use in _LISTS.items():
        for value in _values(root, key, path):
            yield from ((text, use) for text in _texts(value))
    for key, names in _ITEMS.items():
        for value in _values(root, key, path):
            for item in value.items if isinstance(value, Sequence) else (value,):
                for name in names if isinstance(item, Mapping) else ():
                    for found in _values(item, name, path):
                        yield from ((_source(text, path), Use.DATA) for text in _texts(found))


def _values(mapping: Node, name: str, path: str) -> Iterator[Node]:
    """Every value whose key Go would take for this name."""
    for pair in mapping.pairs if isinstance(mapping, Mapping) else ():
        if pair.key.value == "<<":
            raise unsafe(path, "it uses a YAML merge key (`<<`), which can hide what is named", "Write the keys out.")
        if pair.key.value.casefold() == name.casefold():
            yield pair.value


def _texts(value: Node) -> Iterator[str]:
    for item in value.items if isinstance(value, Sequence) else (value,):
        if isinstance(item, Scalar):
            yield item.value


def _source(text: str, path: str) -> str:
    """`[key=]path`, as generators write their files."""
    _check_local(text, path)
    return text.rpartition("=")[2]


def _is_inline(text: str, use: Use, path: str) -> bool:
    """Whether this is YAML itself and not a path, where kustomize takes both: only YAML has several lines."""
    if use is Use.OBJECTS or "\n" not in text.strip():
        return False
    _check_local(text, path)
    if use is Use.PLUGIN:
        check_plugins(text.encode(), path)
    return True


def _inside(text: str, folder: str, path: str) -> str:
    """The path from the root of the repository."""
    _check_local(text, path)
    joined = posixpath.normpath(posixpath.join(folder, text))
    if text.startswith("/") or joined == ".." or joined.startswith("../"):
        raise unsafe(
            path,
            f"it names `{text[:120]}`, which is outside of the infra-repo",
            "Name files and folders of the infra-repo by relative paths.",
        )
    return "" if joined == "." else joined


def _check_local(text: str, path: str) -> None:
    for candidate in (text, text.rpartition("=")[2]):
        if _REMOTE.match(candidate):
            raise remote(text, path)


def _words(document: Document) -> Iterator[tuple[str, str]]:
    """Every key with every text that is under it, each node once however often it is aliased."""
    waiting: list[tuple[str, Node]] = [("", document.root)]
    seen: set[tuple[str, int]] = set()
    while waiting:
        key, node = waiting.pop()
        if (key, id(node)) in seen:
            continue
        seen.add((key, id(node)))
        if isinstance(node, Scalar):
            yield key, node.value
        elif isinstance(node, Sequence):
            waiting.extend((key, item) for item in node.items)
        else:
            waiting.extend((pair.key.value, pair.value) for pair in node.pairs)
