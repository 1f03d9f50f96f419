"""The files of a commit with some of them changed, before there is a commit that says so."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from commands.ports import Tree, TreeEntry


class Overlaid:
    """Implements `ports.Tree`: another tree, with these files' content in place of what it has.

    Only files that the other tree has can be changed. Object ids of changed files are of their content, so that caches
    keyed by them stay right.
    """

    def __init__(self, under: Tree, changes: Mapping[str, bytes]) -> None:
        self._under = under
        self._changes = dict(changes)

    @property
    def commit(self) -> str:
        """The commit underneath."""
        return self._under.commit

    def entry(self, path: str) -> TreeEntry | None:
        """As underneath; a changed file, and every folder above one, has an id of its own."""
        found = self._under.entry(path)
        return None if found is None else self._changed(found)

    def entries(self, path: str) -> list[TreeEntry]:
        """As underneath, with changed ids."""
        return [self._changed(entry) for entry in self._under.entries(path)]

    def read(self, path: str) -> bytes | None:
        """The changed content, else what is underneath."""
        return self._changes[path] if path in self._changes else self._under.read(path)

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        """As `read`, for several."""
        changed = {path: self._changes[path] for path in paths if path in self._changes}
        return self._under.read_many([path for path in paths if path not in changed]) | changed

    def export(self, folders: list[str], target: Path) -> None:
        """Write the files below these folders, changed ones as changed."""
        self._under.export(folders, target)
        for path, content in self._changes.items():
            if (target / path).is_file():
                (target / path).write_bytes(content)

    def _changed(self, entry: TreeEntry) -> TreeEntry:
        if entry.path in self._changes:
            content = self._changes[entry.path]
            return TreeEntry(entry.mode, entry.kind, _object_id(content), entry.path, len(content))
        inside = entry.path + "/" if entry.path else ""
        below = sorted(path for path in self._changes if path.startswith(inside)) if entry.kind == "tree" else []
        if not below:
            return entry
        mixed = hashlib.sha1(entry.object_id.encode(), usedforsecurity=False)
        for path in below:
            mixed.update(path.encode() + b"\0" + _object_id(self._changes[path]).encode())
        return TreeEntry(entry.mode, entry.kind, mixed.hexdigest(), entry.path, entry.size)


def _object_id(content: bytes) -> str:
    """The id that git would give these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
