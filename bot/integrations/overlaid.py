"""The files of a commit with some of them changed, added or taken away, before there is a commit that says so."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from commands.ports import Tree, TreeEntry


class Overlaid:
    """Implements `ports.Tree`: another tree, with these files' content in place of what it has. None takes a file away.

    Object ids of what changed are of the content, so that caches keyed by them stay right. A folder whose last file is
    taken away is gone, as git has no empty ones.
    """

    def __init__(self, under: Tree, changes: Mapping[str, bytes | None]) -> None:
        self._under = under
        self._changes = dict(changes)

    @property
    def commit(self) -> str:
        """The commit underneath."""
        return self._under.commit

    def entry(self, path: str) -> TreeEntry | None:
        """As underneath; a changed file, and every folder above one, has an id of its own."""
        if path in self._changes:
            return self._file(path)
        found = self._under.entry(path)
        below = self._below(path)
        if not below or (found is not None and found.kind != "tree"):
            return found
        if path and not self.entries(path):
            return None
        mixed = hashlib.sha1((found.object_id if found else "").encode(), usedforsecurity=False)
        for changed in below:
            mixed.update(changed.encode() + b"\0" + _object_id(self._changes[changed]).encode())
        return TreeEntry("040000", "tree", mixed.hexdigest(), path)

    def entries(self, path: str) -> list[TreeEntry]:
        """As underneath, with what was added and without what was taken away."""
        inside = f"{path}/" if path else ""
        names = {entry.path for entry in self._under.entries(path)}
        names |= {inside + changed[len(inside) :].partition("/")[0] for changed in self._below(path)}
        found = (self.entry(name) for name in sorted(names))
        return [entry for entry in found if entry is not None]

    def read(self, path: str) -> bytes | None:
        """The changed content, else what is underneath."""
        return self._changes[path] if path in self._changes else self._under.read(path)

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        """As `read`, for several."""
        changed = {path: content for path in paths if (content := self._changes.get(path)) is not None}
        return self._under.read_many([path for path in paths if path not in self._changes]) | changed

    def export(self, folders: list[str], target: Path) -> None:
        """Write the files below these folders, changed ones as changed."""
        self._under.export([folder for folder in folders if self._under.entry(folder) is not None], target)
        for path, content in self._changes.items():
            place = target / path
            if content is None:
                place.unlink(missing_ok=True)
            elif place.is_file() or any(_is_below(path, folder) for folder in folders):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)

    @contextmanager
    def held(self) -> Iterator["Overlaid"]:
        """As underneath, with the changes."""
        with self._under.held() as under:
            yield Overlaid(under, self._changes)

    def _file(self, path: str) -> TreeEntry | None:
        content = self._changes[path]
        if content is None:
            return None
        found = self._under.entry(path)
        mode = found.mode if found is not None and found.kind == "blob" else "100644"
        return TreeEntry(mode, "blob", _object_id(content), path)

    def _below(self, path: str) -> list[str]:
        return sorted(changed for changed in self._changes if _is_below(changed, path))


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def _object_id(content: bytes | None) -> str:
    """The id that git would give these bytes; empty for a file that is taken away."""
    if content is None:
        return ""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
