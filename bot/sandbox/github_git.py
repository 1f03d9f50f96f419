"""The git side of a pull request, by plumbing in the bare repository: merges, differences, commits made on the server.

No work tree and no index outside a folder of its own, so that pushes and merges at the same time do not meet. What two
object ids determine is remembered: objects never change.
"""

import base64
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar, cast

from bot.sandbox.git_http import git_environment

NOTHING = "0" * 40
_FULL = re.compile(r"[0-9a-f]{40}")
_Kept = TypeVar("_Kept")
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_FORM = "%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"


@dataclass(frozen=True)
class Ident:
    """An author or a committer; `at` is ISO 8601, empty is now."""

    name: str
    email: str
    at: str = ""


@dataclass(frozen=True)
class CommitInfo:
    """One commit."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Ident
    committer: Ident
    message: str


@dataclass(frozen=True)
class FileChange:
    """A file that differs; `previous` is where it was before a rename, `blob` its content's id after."""

    path: str
    status: str  # added | removed | modified | renamed
    blob: str
    additions: int
    deletions: int
    patch: str
    previous: str = ""


@dataclass(frozen=True)
class Entry:
    """What is at a path of a tree."""

    mode: str
    kind: str
    sha: str
    size: int
    path: str


class Bare:
    """One bare repository, read and written through git itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str, ...], object] = {}

    def run(self, *words: str, stdin: str | None = None, more: Mapping[str, str] | None = None) -> str:
        """What git prints; CalledProcessError when it fails."""
        environment = {**git_environment(), **(more or {})}
        done = subprocess.run(
            ["git", f"--git-dir={self.path}", *words],
            input=(stdin or "").encode(),
            env=environment,
            check=True,
            capture_output=True,
        )
        return done.stdout.decode(errors="surrogateescape")

    def _try(self, *words: str) -> str | None:
        try:
            return self.run(*words)
        except subprocess.CalledProcessError as error:
            if error.returncode in {1, 128}:
                return None
            raise

    def _once(self, key: tuple[str, ...], make: Callable[[], _Kept]) -> _Kept:
        """What object ids determine, worked out once."""
        if key not in self._known:
            self._known[key] = make()
        return cast("_Kept", self._known[key])

    # ------------------------------------------------------------ refs

    def refs(self, *folders: str) -> dict[str, str]:
        """Refs at or below these names (`refs/heads`) and what they hold, sorted.

        Read from the files, not through git: the stand-in looks at them before every call.
        """
        found, starts = {}, tuple(f"{folder}/" for folder in folders)
        packed = self.path / "packed-refs"
        lines = packed.read_text().splitlines() if packed.exists() else []
        for line in lines:
            sha, _, name = line.partition(" ")
            if _FULL.fullmatch(sha):
                found[name] = sha
        for folder, _, names in os.walk(self.path / "refs"):  # passes over a folder that git takes away meanwhile
            for file in (Path(folder) / name for name in names):
                sha = _content(file)
                if _FULL.fullmatch(sha):
                    found[file.relative_to(self.path).as_posix()] = sha
        kept = [name for name in sorted(found) if not folders or f"{name}/".startswith(starts)]
        return {name: found[name] for name in kept}

    def branch(self, name: str) -> str | None:
        """A branch's head."""
        return self.refs("refs/heads").get(f"refs/heads/{name}")

    def resolve(self, revision: str) -> str | None:
        """The commit a revision names, or None."""
        if not revision or revision.startswith("-") or any(sign in revision for sign in "^~:@{ \n\0"):
            return None
        if _FULL.fullmatch(revision) and ("commit", revision) in self._known:
            return revision
        found = self._try("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        return found.strip() if found else None

    def move(self, ref: str, new: str, old: str) -> bool:
        """Move a ref if it still holds `old` (forty zeros: is not there); NOTHING as `new` removes it."""
        words = ("update-ref", "-d", ref, old) if new == NOTHING else ("update-ref", ref, new, old)
        return self._try(*words) is not None

    # ------------------------------------------------------------ history

    def commit(self, sha: str) -> CommitInfo:
        """One commit, by its full id."""
        return self._once(("commit", sha), lambda: self._log("-1", sha)[0])

    def between(self, base: str, head: str) -> tuple[CommitInfo, ...]:
        """Commits of `head` that `base` has not, oldest first."""
        words = ("--reverse", "--topo-order", f"{base}..{head}")
        return self._once(("between", base, head), lambda: tuple(self._log(*words)))

    def history(self, head: str, limit: int, path: str = "") -> list[CommitInfo]:
        """Commits down from `head`, newest first, that touch the path."""
        return self._log(f"-{limit}", head, *(("--", path) if path else ()))

    def _log(self, *words: str) -> list[CommitInfo]:
        mark = words.index("--") if "--" in words else len(words)
        text = self.run("log", "-z", f"--format={_FORM}%x01", *words[:mark], *words[mark:])
        found = []
        for block in text.split("\x01"):
            fields = block.lstrip("\0\n").split("\0")
            if len(fields) == 10:
                sha, tree, parents, an, ae, at, cn, ce, ct, message = fields
                author, committer = Ident(an, ae, at), Ident(cn, ce, ct)
                found.append(CommitInfo(sha, tree, tuple(parents.split()), author, committer, message.rstrip("\n")))
        return found

    def merge_base(self, one: str, other: str) -> str | None:
        """Where two histories part."""
        found = self._once(("base", one, other), lambda: self._try("merge-base", one, other))
        return found.strip() if found else None

    def holds(self, head: str, commit: str) -> bool:
        """True when `commit` is reachable from `head`."""
        words = ("merge-base", "--is-ancestor", commit, head)
        return self._once(("holds", head, commit), lambda: self._try(*words) is not None)

    # ------------------------------------------------------------ content

    def changes(self, base: str, head: str) -> tuple[FileChange, ...]:
        """Files that differ between two commits or trees."""
        return self._once(("changes", base, head), lambda: tuple(self._changes(base, head)))

    def _changes(self, base: str, head: str) -> list[FileChange]:
        raw = self.run("diff-tree", "-r", "-M", "-z", "--raw", "--no-commit-id", base, head).split("\0")
        numbers = _numbers(self.run("diff-tree", "-r", "-M", "-z", "--numstat", "--no-commit-id", base, head))
        found, place = [], 0
        words = {"A": "added", "D": "removed", "M": "modified", "T": "modified", "R": "renamed", "C": "copied"}
        while place < len(raw) and raw[place].startswith(":"):
            _, _, before, after, letter = raw[place].split(" ")
            moved = letter[0] in "RC"
            previous, path = (raw[place + 1], raw[place + 2]) if moved else ("", raw[place + 1])
            place += 3 if moved else 2
            text = self.run("diff", base, head, "--", *filter(None, (previous, path)))
            patch = "\n".join(text.splitlines()[_first_hunk(text) :])
            blob = before if letter[0] == "D" else after
            found.append(FileChange(path, words[letter[0]], blob, *numbers.get(path, (0, 0)), patch, previous))
        return found

    def entry(self, revision: str, path: str) -> Entry | None:
        """What is at a path of a commit, by its full id; None: nothing."""
        words = (revision, "--", path.strip("/"))
        entries = self._once(("entries", *words), lambda: self._entries(*words))
        return next((entry for entry in entries if entry.path == path.strip("/")), None)

    def entries(self, revision: str, folder: str) -> list[Entry]:
        """What is directly in a folder."""
        return self._entries(revision, "--", f"{folder.strip('/')}/") if folder else self._entries(revision)

    def _entries(self, revision: str, *words: str) -> list[Entry]:
        found = []
        for line in self.run("ls-tree", "-z", "--long", "--full-tree", revision, *words).split("\0"):
            if line:
                head, _, path = line.partition("\t")
                mode, kind, sha, size = head.split()
                found.append(Entry(mode, kind, sha, int(size) if size.isdecimal() else 0, path))
        return found

    def blob(self, sha: str) -> bytes:
        """A blob's bytes."""
        text = self._once(("blob", sha), lambda: self.run("cat-file", "blob", sha))
        return text.encode(errors="surrogateescape")

    def base64(self, sha: str) -> str:
        """A blob as the API hands it out: lines of sixty characters."""
        text = base64.b64encode(self.blob(sha)).decode()
        return "".join(f"{text[at : at + 60]}\n" for at in range(0, len(text), 60))

    # ------------------------------------------------------------ writing

    def merge_tree(self, base: str, head: str) -> str | None:
        """The tree of both, or None when they conflict."""
        words = ("merge-tree", "--write-tree", "--no-messages", base, head)
        printed = self._once(("merge", base, head), lambda: self._try(*words))
        return printed.splitlines()[0] if printed else None

    def picked_tree(self, commit: CommitInfo, onto: str) -> str | None:
        """The tree of `onto` with what one commit changed, or None when they conflict.

        git 2.39 cannot be told the merge base, so it gets three commits that have the right one.
        """
        before = self.commit(commit.parents[0]).tree if commit.parents else EMPTY_TREE
        nobody = Ident("-", "-@localhost", "1970-01-01T00:00:00Z")
        base = self.commit_tree(before, (), "-", nobody, nobody)
        ours = self.commit_tree(self.commit(onto).tree, (base,), "-", nobody, nobody)
        theirs = self.commit_tree(commit.tree, (base,), "-", nobody, nobody)
        return self.merge_tree(ours, theirs)

    def commit_tree(self, tree: str, parents: tuple[str, ...], message: str, author: Ident, committer: Ident) -> str:
        """A new commit's id."""
        who: dict[str, str] = {}
        for role, one in (("AUTHOR", author), ("COMMITTER", committer)):
            who |= {f"GIT_{role}_NAME": one.name, f"GIT_{role}_EMAIL": one.email}
            who |= {f"GIT_{role}_DATE": one.at} if one.at else {}
        words = [word for parent in parents for word in ("-p", parent)]
        return self.run("commit-tree", tree, *words, "-F", "-", stdin=message, more=who).strip()

    def edited_tree(self, revision: str | None, files: Mapping[str, str | None]) -> str:
        """The tree of a commit with files put in its place; None removes one."""
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": f"{folder}/index"}
            if revision:
                self.run("read-tree", revision, more=index)
            lines = []
            for path, text in files.items():
                if text is None:
                    lines.append(f"0 {NOTHING}\t{path}")
                else:
                    lines.append(f"100644 {self.run('hash-object', '-w', '--stdin', stdin=text).strip()}\t{path}")
            self.run("update-index", "--add", "--index-info", stdin="\n".join(lines) + "\n", more=index)
            return self.run("write-tree", more=index).strip()


def _content(file: Path) -> str:
    """A ref's file; empty when it is a folder, or went away while we looked."""
    try:
        return file.read_text().strip() if file.is_file() else ""
    except FileNotFoundError:
        return ""


def _numbers(text: str) -> dict[str, tuple[int, int]]:
    """Added and deleted lines by path; a rename has its two paths in fields of their own."""
    fields, found, place = text.split("\0"), {}, 0
    while place < len(fields) and fields[place].count("\t") == 2:
        added, deleted, path = fields[place].split("\t")
        if not path:
            path = fields[place + 2]
            place += 2
        place += 1
        # A binary file has a dash for each.
        found[path] = (int(added) if added.isdecimal() else 0, int(deleted) if deleted.isdecimal() else 0)
    return found


def _first_hunk(text: str) -> int:
    lines = text.splitlines()
    return next((place for place, line in enumerate(lines) if line.startswith("@@")), len(lines))


def when(text: str) -> datetime:
    """A moment in git's strict ISO form."""
    return datetime.fromisoformat(text)
