"""Reads git objects by id, one `cat-file --batch` per operation, and remembers them: an id never changes meaning."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from bot.integrations.git.commands import Conversation, GitCommands, MirrorBrokenError
from commands.reasons import ReasonCode, Refused, Unknown

BLOB_LIMIT = 1024 * 1024
"""Bytes. A manifest is a few kilobytes; what is larger is not one, and would only cost memory."""

_TREE_LIMIT = 16 * BLOB_LIMIT
_CACHE_BYTES = 32 * 1024 * 1024
_ASKED_AT_ONCE = 200  # names written before the answers are read: far less than a pipe holds, so neither side blocks


@dataclass(frozen=True)
class RawEntry:
    """A line of a tree object: git's octal mode, six digits, and the id of what it points to."""

    mode: str
    object_id: str

    @property
    def kind(self) -> str:
        """As git calls it: blob, tree, or commit (a submodule)."""
        return {"040000": "tree", "160000": "commit"}.get(self.mode, "blob")

    @property
    def is_file(self) -> bool:
        """True for a regular file: neither a link nor a submodule nor a folder."""
        return self.mode in {"100644", "100755", "100664"}


Entries = Mapping[str, RawEntry]
T = TypeVar("T")


class Cache:
    """Objects that were read lately, bounded by size. Shared by threads."""

    def __init__(self, limit: int = _CACHE_BYTES) -> None:
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()
        self._items: OrderedDict[str, tuple[bytes | Entries | str, int]] = OrderedDict()
        self._too_large: dict[str, int] = {}

    def get(self, key: str) -> bytes | Entries | str | None:
        """What was put under this object id, or None."""
        with self._lock:
            item = self._items.get(key)
            if item is None:
                return None
            self._items.move_to_end(key)
            return item[0]

    def put(self, key: str, value: bytes | Entries | str) -> None:
        """Remember it, and forget the longest unused when there is too much."""
        cost = 200 + (len(value) if isinstance(value, bytes | str) else 300 * len(value))
        with self._lock:
            if key in self._items:
                return
            self._items[key] = (value, cost)
            self._used += cost
            while self._used > self._limit and self._items:
                _, (_, freed) = self._items.popitem(last=False)
                self._used -= freed

    def too_large(self, blob: str) -> int | None:
        """The bytes of a blob that is known to be over the limit."""
        with self._lock:
            return self._too_large.get(blob)

    def learn_too_large(self, blob: str, size: int) -> None:
        """Remember that a blob is over the limit, so that it is not asked for again."""
        with self._lock:
            if len(self._too_large) > 10_000:
                self._too_large.clear()
            self._too_large[blob] = size


class Reader:
    """Objects of a mirror, through the cache. Starts `cat-file` when something is missing there."""

    def __init__(self, commands: GitCommands, cache: Cache) -> None:
        self._commands = commands
        self._cache = cache
        self._opened: Conversation | None = None
        self._opened_at = 0.0
        self._stack = ExitStack()

    def reads(self, commands: GitCommands) -> bool:
        """Whether it is of this mirror."""
        return self._commands is commands

    def close(self) -> None:
        """End the helper process, if one was needed."""
        self._opened = None
        self._stack.close()

    def root(self, commit: str) -> str:
        """The id of a commit's root tree. Refused (UNKNOWN_VERSION) when the commit was not fetched."""
        known = self._cache.get(commit)
        if isinstance(known, str):
            return known
        asked = self._ask(commit)
        if asked is None or asked[1] != "commit":
            # Either nobody has fetched it, or the mirror has lost it: then it has lost what its refs name, too.
            self._commands.run("rev-list", "--max-count=1", "--all").local()
            raise Refused(
                ReasonCode.UNKNOWN_VERSION,
                f"Commit {commit[:12]} is not among what was fetched from the infra-repo.",
                "Check the commit id, and that it is on the branch that is deployed from.",
            )
        content = self._body(asked[2])
        if not content.startswith(b"tree "):
            raise MirrorBrokenError(f"commit {commit} is damaged")
        root = content[5:45].decode()
        self._cache.put(commit, root)
        return root

    def tree(self, tree_id: str) -> Entries:
        """The entries of a tree object, by name."""
        known = self._cache.get(tree_id)
        if isinstance(known, Mapping):
            return known
        asked = self._ask(tree_id)
        if asked is None or asked[1] != "tree" or asked[2] > _TREE_LIMIT:
            raise MirrorBrokenError(f"tree {tree_id} cannot be read")
        entries = dict(_parse(self._body(asked[2])))
        self._cache.put(tree_id, entries)
        return entries

    def blob(self, blob_id: str, path: str) -> bytes:
        """A blob's bytes; `path` is for the message. Refused (OVERLAY_UNSAFE) over the limit."""
        return next(content for _, content in self.blobs([(path, blob_id)]))

    def blobs(self, wanted: Sequence[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
        """Paths with the bytes of their blobs, in this order. Refused (OVERLAY_UNSAFE) at the first over the limit.

        Many are asked for before the first answer is read: a turn of the conversation for each would take far longer.
        """
        for start in range(0, len(wanted), _ASKED_AT_ONCE):
            batch = wanted[start : start + _ASKED_AT_ONCE]
            found = {blob_id: self._known(blob_id, path) for path, blob_id in batch}
            missing = [blob_id for blob_id, content in found.items() if content is None]
            if missing:
                self._say(*missing)
                where = {blob_id: path for path, blob_id in batch}
                found |= {blob_id: self._taken(blob_id, where[blob_id]) for blob_id in missing}
            yield from ((path, found[blob_id] or b"") for path, blob_id in batch)

    def _known(self, blob_id: str, path: str) -> bytes | None:
        known = self._cache.get(blob_id)
        if isinstance(known, bytes):
            return known
        if (size := self._cache.too_large(blob_id)) is not None:
            raise _too_large(path, size)
        return None

    def _taken(self, blob_id: str, path: str) -> bytes:
        """A blob that was asked for, from the answers."""
        header = self._header()
        if header is None or header[1] != "blob":
            raise MirrorBrokenError(f"blob {blob_id} cannot be read")
        size = header[2]
        if size > BLOB_LIMIT:
            self.close()  # the rest of what it has to say is megabytes that nobody wants
            self._cache.learn_too_large(blob_id, size)
            raise _too_large(path, size)
        content = self._body(size)
        self._cache.put(blob_id, content)
        return content

    def _ask(self, name: str) -> tuple[str, str, int] | None:
        """The header of an object: id, type, size; None when there is none. The body has to be taken next."""
        self._say(name)
        return self._header()

    def _say(self, *names: str) -> None:
        """Ask for these objects; every answer has to be taken before more is asked."""
        if self._opened is not None and time.monotonic() - self._opened_at > self._commands.timeout / 2:
            self.close()  # its watchdog would end it, maybe in the middle of an answer
        if self._opened is None:
            self._opened = self._stack.enter_context(self._commands.talk("cat-file", "--batch"))
            self._opened_at = time.monotonic()
        self._opened.say("".join(f"{name}\n" for name in names).encode())

    def _header(self) -> tuple[str, str, int] | None:
        if self._opened is None:  # pragma: no cover - it was asked
            raise MirrorBrokenError("cat-file was closed")
        words = self._opened.line().decode().split(" ")
        if words[-1] == "missing":
            return None
        return words[0], words[1], int(words[2])

    def _body(self, size: int) -> bytes:
        if self._opened is None:  # pragma: no cover - the header came from it
            raise MirrorBrokenError("cat-file was closed")
        return self._opened.take(size + 1)[:-1]


def _too_large(path: str, size: int) -> Refused:
    return Refused(
        ReasonCode.OVERLAY_UNSAFE,
        f"`{path}` in the infra-repo is {size:,} bytes; files over {BLOB_LIMIT:,} are not read.",
        "Move the large file out of the folders that are deployed.",
    )


def _parse(content: bytes) -> Iterator[tuple[str, RawEntry]]:
    """The lines of a tree object: `mode SP name NUL` and twenty bytes of id."""
    at = 0
    while at < len(content):
        space = content.index(b" ", at)
        end = content.index(b"\0", space)
        mode = content[at:space].decode().zfill(6)
        at = end + 21
        yield content[space + 1 : end].decode("utf-8", "surrogateescape"), RawEntry(mode, content[end + 1 : at].hex())


class Store:
    """Objects of whatever mirror is the current one.

    `repair` is called with the commands that met a broken mirror; then the operation is run once more. Without it (for
    whoever holds the mirror's lock and repairs it himself) MirrorBrokenError passes through.
    """

    def __init__(
        self, current: Callable[[], GitCommands], cache: Cache, repair: Callable[[GitCommands], None] | None = None
    ) -> None:
        self.cache = cache
        self._current = current
        self._repair = repair

    @contextmanager
    def held(self) -> Iterator["Store"]:
        """For many operations in a row, from one thread: they share a helper process, which ends with the block."""
        store = _Held(self._current, self.cache, self._repair)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """A reader for one operation. MirrorBrokenError passes through."""
        reader = Reader(self._current(), self.cache)
        try:
            yield reader
        finally:
            reader.close()

    def read(self, operation: Callable[[Reader], T]) -> T:
        """The operation's answer. Unknown (INTERNAL) when the mirror cannot be read even after it was repaired."""
        used = self._current()
        try:
            with self.reader() as reader:
                return operation(reader)
        except MirrorBrokenError:
            if self._repair is None:
                raise
            self._repair(used)
        try:
            with self.reader() as reader:
                return operation(reader)
        except MirrorBrokenError as error:
            raise Unknown(
                ReasonCode.INTERNAL,
                "The local copy of the infra-repo was made anew and still cannot be read.",
                "Look whether the disk is full or damaged.",
            ) from error


class _Held(Store):
    """A store that keeps its reader between operations."""

    _kept: Reader | None = None

    def close(self) -> None:
        """End the helper process."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """The reader of the current mirror. One that failed is not used again: it may be in the middle of an answer."""
        if self._kept is not None and not self._kept.reads(self._current()):
            self.close()
        if self._kept is None:
            self._kept = Reader(self._current(), self.cache)
        try:
            yield self._kept
        except BaseException:
            self.close()
            raise
