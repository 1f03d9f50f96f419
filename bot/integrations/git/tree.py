"""The files of one commit, read from git objects: no work tree, links never followed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bot.integrations.git.names import tree_path
from bot.integrations.git.objects import BLOB_LIMIT, RawEntry, Reader, Store
from commands.ports import TreeEntry
from commands.reasons import ReasonCode, Refused

_EXPORT_DEPTH = 64
_EXPORT_FILES = 20_000
_EXPORT_BYTES = 64 * BLOB_LIMIT


class GitTree:
    """Implements `ports.Tree`. Keeps nothing open; safe to use from several threads."""

    def __init__(self, store: Store, commit: str) -> None:
        self._store = store
        self._commit = commit

    @property
    def commit(self) -> str:
        """The full object id of the commit."""
        return self._commit

    def entry(self, path: str) -> TreeEntry | None:
        """The entry at exactly this path, or None. `""` is the root tree. Nothing is below a link."""
        parts = tree_path(path)

        def find(reader: Reader) -> TreeEntry | None:
            found = lookup(reader, self._commit, parts)
            return None if found is None else _described("/".join(parts), found)

        return self._store.read(find)

    def entries(self, path: str) -> list[TreeEntry]:
        """What is directly inside this folder, sorted by path; empty when there is no such folder."""
        parts = tree_path(path)

        def find(reader: Reader) -> list[TreeEntry]:
            found = lookup(reader, self._commit, parts)
            if found is None or found.kind != "tree":
                return []
            inside = reader.tree(found.object_id)
            return sorted(
                (_described("/".join((*parts, name)), raw) for name, raw in inside.items()),
                key=lambda entry: entry.path,
            )

        return self._store.read(find)

    def read(self, path: str) -> bytes | None:
        """A regular file's bytes, or None. Refused (OVERLAY_UNSAFE): links and submodules on the way, over 1 MiB."""
        return self.read_many([path]).get(path)

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        """Regular files' bytes, through one process at most; missing paths are left out. Refused as in `read`."""
        wanted = [(path, tree_path(path)) for path in paths]

        def fetch(reader: Reader) -> dict[str, bytes]:
            found = [(path, checked_lookup(reader, self._commit, parts)) for path, parts in wanted]
            return dict(reader.blobs([(path, raw.object_id) for path, raw in found if raw is not None and raw.is_file]))

        return self._store.read(fetch)

    def export(self, folders: list[str], target: Path) -> None:
        """Write the regular files below these folders to `target`; a folder that is missing is left out.

        Refused (OVERLAY_UNSAFE) on links, submodules, single files over 1 MiB, 64 MiB or 20,000 files in all. A crash
        leaves a part of the files in `target`, which belongs to the caller.
        """
        wanted = [tree_path(folder) for folder in folders]

        def fetch(reader: Reader) -> dict[str, bytes]:
            listed: dict[str, str] = {}
            for parts in wanted:
                found = checked_lookup(reader, self._commit, parts)
                for path, raw in _walk(reader, "/".join(parts), found):
                    listed[path] = raw.object_id
                    if len(listed) > _EXPORT_FILES:
                        raise _too_much(folders)
            files: dict[str, bytes] = {}
            total = 0
            for path, content in reader.blobs(list(listed.items())):
                files[path] = content
                total += len(content)
                if total > _EXPORT_BYTES:
                    raise _too_much(folders)
            return files

        write_files(self._store.read(fetch), target)

    @contextmanager
    def held(self) -> Iterator["GitTree"]:
        """As the port says: one helper process answers."""
        with self._store.held() as store:
            yield GitTree(store, self._commit)


def write_files(files: Mapping[str, bytes], target: Path) -> None:
    """Write files (paths from `target`) with the folders that they are in."""
    made: set[str] = set()
    for path, content in files.items():
        folder = path.rpartition("/")[0]
        if folder not in made:  # most are in a folder that another file is in, too
            (target / folder).mkdir(parents=True, exist_ok=True)
            made.add(folder)
        (target / path).write_bytes(content)


def lookup(reader: Reader, commit: str, parts: tuple[str, ...]) -> RawEntry | None:
    """The entry at this path, found name by name; None also when a link or a file is where a folder should be."""
    at = RawEntry("040000", reader.root(commit))
    for part in parts:
        if at.kind != "tree":
            return None
        below = reader.tree(at.object_id).get(part)
        if below is None:
            return None
        at = below
    return at


def checked_lookup(reader: Reader, commit: str, parts: tuple[str, ...]) -> RawEntry | None:
    """The file or folder at this path. Refused (OVERLAY_UNSAFE) when a link or a submodule is on the way or there."""
    at = RawEntry("040000", reader.root(commit))
    for depth, part in enumerate(parts, start=1):
        if at.kind != "tree":
            return None
        below = reader.tree(at.object_id).get(part)
        if below is None:
            return None
        if below.kind != "tree" and not below.is_file:
            raise _no_file("/".join(parts[:depth]), below)
        at = below
    return at


def _walk(reader: Reader, path: str, raw: RawEntry | None) -> Iterator[tuple[str, RawEntry]]:
    if raw is None:
        return
    if path.count("/") > _EXPORT_DEPTH:
        raise _unsafe(f"The folder `{path[:80]}…` is nested too deep")
    if raw.kind == "tree":
        for name, below in reader.tree(raw.object_id).items():
            tree_path(name)  # a tree written by hand may hold `..` or a name with a slash: never write that to a disk
            if "/" in name:
                raise _unsafe(f"The folder `{path}` holds an entry whose name has a slash")
            yield from _walk(reader, f"{path}/{name}" if path else name, below)
    elif raw.is_file:
        yield path, raw
    else:
        raise _no_file(path, raw)


def _described(path: str, raw: RawEntry) -> TreeEntry:
    return TreeEntry(raw.mode, raw.kind, raw.object_id, path)


def _no_file(path: str, raw: RawEntry) -> Refused:
    what = "a submodule" if raw.kind == "commit" else "a symbolic link"
    return _unsafe(f"`{path}` in the infra-repo is {what}; links and submodules are not followed")


def _too_much(folders: list[str]) -> Refused:
    return _unsafe(f"What is in {', '.join(f'`{folder}`' for folder in folders[:3])} is more than can be rendered")


def _unsafe(what: str) -> Refused:
    return Refused(
        ReasonCode.OVERLAY_UNSAFE,
        f"{what}.",
        "Put regular files of ordinary size there, then ask again.",
    )
