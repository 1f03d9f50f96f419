"""A git tree in memory: enough of `ports.Tree` for adapters that only read. Object ids change as git's would."""

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from commands.ports import TreeEntry
from commands.reasons import ReasonCode, Refused

_MOST = 1024 * 1024


class MemoryTree:
    """Files by path; `links` are symbolic links by path. Counts what is asked of it."""

    def __init__(self, files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None) -> None:
        self._files = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        self._entries: dict[str, TreeEntry] = {}
        for path, content in self._files.items():
            self._add(path, "100644", content)
        for path, target in (links or {}).items():
            self._add(path, "120000", target.encode())
        self._add_folders()
        self.reads = 0
        self.lookups = 0

    def with_file(self, path: str, text: str | bytes) -> "MemoryTree":
        return MemoryTree({**self._files, path: text})

    def _add(self, path: str, mode: str, content: bytes) -> None:
        object_id = hashlib.sha1(b"blob" + content).hexdigest()  # noqa: S324 - git's own naming
        self._entries[path] = TreeEntry(mode, "blob", object_id, path)

    def _add_folders(self) -> None:
        folders = {""}
        for path in self._entries:
            parts = path.split("/")[:-1]
            folders.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        for folder in sorted(folders, key=len, reverse=True):
            inside = "".join(f"{entry.mode} {entry.path} {entry.object_id}\n" for entry in self._inside(folder))
            object_id = hashlib.sha1(b"tree" + inside.encode()).hexdigest()  # noqa: S324
            self._entries[folder] = TreeEntry("040000", "tree", object_id, folder)

    def _inside(self, folder: str) -> list[TreeEntry]:
        return [
            entry
            for path, entry in sorted(self._entries.items())
            if path and path != folder and path.rpartition("/")[0] == folder
        ]

    @property
    def commit(self) -> str:
        return self._entries[""].object_id

    def entry(self, path: str) -> TreeEntry | None:
        self.lookups += 1
        return self._entries.get(path)

    def entries(self, path: str) -> list[TreeEntry]:
        return self._inside(path)

    def read(self, path: str) -> bytes | None:
        self.reads += 1
        entry = self._entries.get(path)
        if entry is not None and (entry.mode == "120000" or len(self._files.get(path, b"")) > _MOST):
            raise Refused(ReasonCode.OVERLAY_UNSAFE, f"`{path}` is not read.", "Replace it by a small regular file.")
        return self._files.get(path)

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        return {path: content for path in paths if (content := self.read(path)) is not None}

    def export(self, folders: list[str], target: Path) -> None:
        for path, entry in self._entries.items():
            if entry.kind != "blob" or not any(not folder or path.startswith(f"{folder}/") for folder in folders):
                continue
            if entry.mode != "100644":
                raise Refused(ReasonCode.OVERLAY_UNSAFE, f"`{path}` is a link.", "Replace it by a regular file.")
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(self._files[path])

    def held(self) -> AbstractContextManager["MemoryTree"]:
        return nullcontext(self)
