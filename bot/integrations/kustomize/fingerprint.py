"""What an approval is bound to: everything that a build can read, and what it came out as."""

import hashlib
from collections.abc import Iterator

from bot.integrations.kustomize.manifests import load
from bot.integrations.kustomize.reach import ReachIndex
from commands.ports import Tree, TreeEntry


def reach_fingerprint(tree: Tree, overlay: str) -> str:
    """SHA-256 (hexadecimal) over every file that the overlay's build can read: its path, its mode, its object id.

    It changes when the overlay or a base of it does, and not when anything else in the repository does. The same
    content has the same fingerprint, whether it is committed or only planned. Refused: OVERLAY_MISSING, OVERLAY_UNSAFE,
    OVERLAY_INVALID, REMOTE_BASE.
    """
    reach = ReachIndex().reach(tree, overlay)
    digest = hashlib.sha256(f"{reach.overlay}\0".encode())
    for path in sorted({*reach.folders, *(path for path, _ in reach.probes)}):
        entry = tree.entry(path)
        if entry is None:
            digest.update(f"nothing {path}\0".encode())
        for file in _files(tree, entry) if entry else ():
            digest.update(f"{file.mode} {file.object_id} {file.path}\0".encode())
    return digest.hexdigest()


def _files(tree: Tree, entry: TreeEntry) -> Iterator[TreeEntry]:
    if entry.kind != "tree":
        yield entry
        return
    for inside in tree.entries(entry.path):
        yield from _files(tree, inside)


def manifests_fingerprint(rendered: str) -> str:
    """SHA-256 (hexadecimal) over the objects of a rendered text, whatever their order and however they are written.

    Refused (RENDER_FAILED, RENDER_LIMIT) when the text cannot be read.
    """
    objects = sorted(repr(_canonical(manifest.body)) for manifest in load(rendered))
    return hashlib.sha256("\0".join(objects).encode()).hexdigest()


def _canonical(value: object) -> object:
    """The value with everything that has no order sorted. Types are kept apart: `true` is neither 1 nor "true"."""
    if isinstance(value, dict):
        return {"mapping": sorted((repr(key), repr(_canonical(inner))) for key, inner in value.items())}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    return value
