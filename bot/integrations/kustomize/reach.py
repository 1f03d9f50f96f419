"""What a build of an overlay can read, found before anything is rendered.

kustomize lets a kustomization read files in and below its own folder, and other kustomizations by naming their folders.
So the folders of all kustomizations that are named, with git's tree ids, say whether a build can have changed: that is
the cache key, and those folders are what has to be exported.
"""

import hashlib
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field

from bot.integrations.kustomize.document import unsafe
from bot.integrations.kustomize.edit import overlay_file
from bot.integrations.kustomize.references import Named, Reference, Use, check_plugins, looks_remote, named_in, remote
from bot.integrations.recent import Recent
from commands.ports import Tree, TreeEntry
from commands.reasons import ReasonCode, Refused

_KEPT = 4  # reaches of one overlay: before and after a change, each as a plan and as a commit
MAX_FOLDERS = 500  # kustomizations that one overlay may pull in
_LINKS = {"120000": "a symbolic link", "160000": "a submodule"}


@dataclass(frozen=True)
class Reach:
    """What one overlay's build can read at one commit."""

    overlay: str
    key: str  # hexadecimal; the same key means the same build
    folders: tuple[str, ...]  # with everything below them; none is inside another
    files: tuple[str, ...]  # named although outside of the folders: kustomize itself explains what is wrong with that
    probes: tuple[
        tuple[str, str], ...
    ]  # paths and their object ids, empty for nothing there: while these hold, so do we


class ReachIndex:
    """Finds the reach of overlays; remembers parsed files by blob id, and whole answers by what they looked at.

    Safe to use from several threads. An overlay that did not change costs one look-up in the tree per folder it uses.
    """

    def __init__(self, remembered: int = 4096) -> None:
        self._named = Recent[tuple[str, str], Named](remembered)
        self._reaches = Recent[str, tuple[Reach, ...]](remembered)

    def reach(self, tree: Tree, overlay: str) -> Reach:
        """The reach. Refused: OVERLAY_MISSING, OVERLAY_INVALID, OVERLAY_UNSAFE, REMOTE_BASE."""
        overlay = overlay.strip("/")
        remembered = self._reaches.get(overlay) or ()
        for known in remembered:
            if all(_object_id(tree.entry(path)) == object_id for path, object_id in known.probes):
                return known
        found = _Walk(tree, self).run(overlay)
        self._reaches.put(overlay, (found, *remembered)[:_KEPT])
        return found

    def named(self, tree: Tree, path: str, object_id: str) -> Named:
        """What the kustomization file names; paths in the answer depend on where it is, so that is part of the key."""
        known = self._named.get((path, object_id))
        if known is None:
            known = named_in(tree.read(path) or b"", path)
            self._named.put((path, object_id), known)
        return known


@dataclass
class _Walk:
    """One walk over the kustomizations of an overlay; every folder is visited once per use, so cycles end."""

    tree: Tree
    index: ReachIndex
    probes: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    plugin_files: set[str] = field(default_factory=set)

    def run(self, overlay: str) -> Reach:
        overlay_file(
            self.tree, overlay
        )  # a missing overlay is the caller's mistake, a missing base is kustomize's to tell
        waiting = [(overlay, Use.OBJECTS)]
        visited: set[tuple[str, Use]] = set()
        while waiting:
            step = waiting.pop()
            if step in visited:
                continue
            visited.add(step)
            self.folders.add(step[0])
            if len(self.folders) > MAX_FOLDERS:
                raise unsafe(overlay, f"it pulls in more than {MAX_FOLDERS} other kustomizations")
            self._probe(step[0])
            waiting.extend(self._follow(*step))
        return self._answer(overlay)

    def _answer(self, overlay: str) -> Reach:
        tops = sorted(folder for folder in self.folders if not any(_below(folder, other) for other in self.folders))
        outside = {path: name for path, name in self.probes.items() if not any(_below(path, top) for top in tops)}
        probes = tuple(sorted(outside.items()))
        key = hashlib.sha256(repr((overlay, probes)).encode()).hexdigest()
        files = tuple(path for path, object_id in probes if object_id and path not in tops)
        return Reach(overlay, key, tuple(tops), files, probes)

    def _follow(self, folder: str, use: Use) -> Iterator[tuple[str, Use]]:
        """The folders that a kustomization names, after a look at everything else that it names."""
        try:
            path = overlay_file(self.tree, folder)
        except Refused as fault:
            if fault.reason is ReasonCode.OVERLAY_MISSING:
                return  # kustomize says what is wrong with a folder without a kustomization
            raise
        named = self.index.named(self.tree, path, _object_id(self.tree.entry(path)))
        if use is Use.PLUGIN and not named.only_lists:
            raise unsafe(path, "it changes the configuration of transformers, which can hide what they read")
        for reference in named.references:
            target = self._probe(reference.path)
            wider = Use.PLUGIN if use is Use.PLUGIN else reference.use
            if target is None:
                self._explain_missing(reference, path)
            elif target.kind == "tree":
                if wider is not Use.DATA:
                    yield reference.path, wider
            elif wider is Use.PLUGIN and reference.path not in self.plugin_files:
                self.plugin_files.add(reference.path)
                check_plugins(self.tree.read(reference.path) or b"", reference.path)

    def _probe(self, path: str) -> TreeEntry | None:
        entry = self.tree.entry(path)
        self.probes[path] = _object_id(entry)
        _refuse_link(entry)
        return entry

    def _explain_missing(self, reference: Reference, path: str) -> None:
        """Nothing is there: a folder on the way may be a link, or an address was meant. Else kustomize will tell."""
        above = posixpath.dirname(reference.path)
        while above and self.tree.entry(above) is None:
            above = posixpath.dirname(above)
        _refuse_link(self.tree.entry(above))
        if reference.use is Use.OBJECTS and looks_remote(reference.written):
            raise remote(reference.written, path)


def _refuse_link(entry: TreeEntry | None) -> None:
    if entry is not None and entry.mode in _LINKS:
        raise unsafe(entry.path, f"it is {_LINKS[entry.mode]}, and what that leads to is not read")


def _object_id(entry: TreeEntry | None) -> str:
    return entry.object_id if entry else ""


def _below(path: str, folder: str) -> bool:
    """Whether the path is inside the folder; a folder is not inside itself."""
    return path != folder and (not folder or path.startswith(f"{folder}/"))
