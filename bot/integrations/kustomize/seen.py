"""A tree that is asked the same many times in a row, as when many overlays share their bases."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commands.ports import Tree, TreeEntry


class Seen:
    """Implements `ports.Tree`: another tree whose answers about entries are remembered. For one operation, as it grows.

    Safe to use from several threads: at worst both ask.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._entry: dict[str, TreeEntry | None] = {}
        self._entries: dict[str, list[TreeEntry]] = {}

    @property
    def commit(self) -> str:
        """The commit underneath."""
        return self._tree.commit

    def entry(self, path: str) -> TreeEntry | None:
        """As underneath."""
        if path not in self._entry:
            self._entry[path] = self._tree.entry(path)
        return self._entry[path]

    def entries(self, path: str) -> list[TreeEntry]:
        """As underneath; what is found in a folder needs not be looked up again."""
        if path not in self._entries:
            self._entries[path] = self._tree.entries(path)
            self._entry.update((entry.path, entry) for entry in self._entries[path])
        return self._entries[path]

    def read(self, path: str) -> bytes | None:
        """As underneath."""
        return self._tree.read(path)

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        """As underneath."""
        return self._tree.read_many(paths)

    def export(self, folders: list[str], target: Path) -> None:
        """As underneath."""
        self._tree.export(folders, target)

    @contextmanager
    def held(self) -> Iterator["Seen"]:
        """As underneath. What is seen meanwhile is remembered here, too."""
        with self._tree.held() as tree:
            seen = Seen(tree)
            seen._entry, seen._entries = self._entry, self._entries
            yield seen
