"""Makes a commit out of changed files without index or work tree: only the trees on the way are written."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.integrations.git.commands import TEMPORARY, Conversation, GitCommands, MirrorBrokenError
from bot.integrations.git.message import commit_message, identities
from bot.integrations.git.names import tree_path
from bot.integrations.git.objects import Cache, RawEntry, Reader
from bot.integrations.git.tree import checked_lookup
from commands.ports import CommitAuthor, CommitRequest
from commands.reasons import ReasonCode, Refused


@dataclass
class _Folder:
    """The changes inside one folder: what files become (None: taken away), and folders with changes of their own."""

    files: dict[str, RawEntry | None] = field(default_factory=dict)
    folders: dict[str, "_Folder"] = field(default_factory=dict)


def changed_files(reader: Reader, commit: str, edit: Mapping[str, bytes | None]) -> Mapping[str, bytes | None]:
    """The part of the edit that differs from what the commit has. Refused (OVERLAY_UNSAFE) where no file can be."""
    changed: dict[str, bytes | None] = {}
    folders = {parts[:depth] for parts in map(tree_path, edit) for depth in range(len(parts))}
    for path, content in edit.items():
        parts = tree_path(path)
        if parts in folders:
            raise ValueError(f"the edit makes {path!r} both a file and a folder")
        found = checked_lookup(reader, commit, parts)
        if not parts or (found is not None and not found.is_file) or _under_a_file(reader, commit, parts):
            raise Refused(
                ReasonCode.OVERLAY_UNSAFE,
                f"`{path}` cannot be written in the infra-repo: something that is no file is in the way.",
                "Look at that path in the infra-repo.",
            )
        if content is None:
            if found is not None:
                changed["/".join(parts)] = None
        elif found is None or found.object_id != _blob_id(content):
            changed["/".join(parts)] = content
    return changed


def write_tree(commands: GitCommands, cache: Cache, parent: str, changed: Mapping[str, bytes | None]) -> str:
    """Write the parent's tree with these files changed into the mirror, and return its id. Nothing refers to it yet.

    A crash leaves loose objects that `git gc` takes away. MirrorBrokenError when git cannot write.
    """
    reader = Reader(commands, cache)
    try:
        top = _Folder()
        try:
            blobs = _write_blobs(commands, {path: content for path, content in changed.items() if content is not None})
        except OSError as error:
            raise MirrorBrokenError(str(error)) from error
        for path, content in changed.items():
            parts = tree_path(path)
            found = checked_lookup(reader, parent, parts)
            folder = top
            for part in parts[:-1]:
                folder = folder.folders.setdefault(part, _Folder())
            if content is None:
                folder.files[parts[-1]] = None
                continue
            folder.files[parts[-1]] = RawEntry(found.mode if found else "100644", blobs[path])
            cache.put(blobs[path], content)
        with commands.talk("mktree", "-z", "--batch", "--missing") as mktree:
            return _write_folder(mktree, reader, cache, reader.root(parent), top)
    finally:
        reader.close()


def write_commit(
    commands: GitCommands, cache: Cache, request: CommitRequest, committer: CommitAuthor, parent: str, root: str
) -> str:
    """Write a commit of this root tree into the mirror, and return its id; as in `write_tree`."""
    answer = commands.run(
        "commit-tree",
        "-p",
        parent,
        "-F",
        "-",
        root,
        stdin=commit_message(request),
        environment=identities(request.author, committer),
    )
    commit = answer.local().decode().strip()
    cache.put(commit, root)
    return commit


def _write_blobs(commands: GitCommands, changed: Mapping[str, bytes]) -> Mapping[str, str]:
    names = []
    with TemporaryDirectory(prefix=TEMPORARY, dir=commands.git_dir) as folder:
        for number, content in enumerate(changed.values()):
            place = Path(folder) / str(number)
            place.write_bytes(content)
            names.append(f"{place}\n")
        answer = commands.run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin="".join(names).encode())
    return dict(zip(changed, answer.local().decode().split(), strict=True))


def _write_folder(mktree: Conversation, reader: Reader, cache: Cache, old: str | None, folder: _Folder) -> str:
    entries = dict(reader.tree(old)) if old else {}
    for name, below in folder.folders.items():
        was = entries.pop(name, None)
        tree = _write_folder(mktree, reader, cache, was.object_id if was else None, below)
        if tree:  # git has no empty folders
            entries[name] = RawEntry("040000", tree)
    for name, raw in folder.files.items():
        entries.pop(name, None)
        if raw is not None:
            entries[name] = raw
    if not entries:
        return ""
    lines = (f"{raw.mode} {raw.kind} {raw.object_id}\t{name}\0" for name, raw in entries.items())
    mktree.say("".join(lines).encode("utf-8", "surrogateescape") + b"\0")
    tree = mktree.line().decode()
    cache.put(tree, entries)
    return tree


def _under_a_file(reader: Reader, commit: str, parts: tuple[str, ...]) -> bool:
    for depth in range(1, len(parts)):
        found = checked_lookup(reader, commit, parts[:depth])
        if found is None:
            return False
        if found.kind != "tree":
            return True
    return False


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
