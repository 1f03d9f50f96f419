"""Builds many overlays of one tree in few runs of kustomize, and alone what is not proved to come out the same.

A run of kustomize costs 50 to 150 ms before it does anything of use (it reads the schema of all of Kubernetes as soon
as there is a patch), and a few more per overlay. What one run makes of many grows with their square, so a run is kept
to about as many objects as that start is worth.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bot.integrations.kustomize.batch import Batch, Mixed
from bot.integrations.kustomize.command import Finished
from bot.integrations.kustomize.edit import overlay_file
from bot.integrations.kustomize.isolation import Chain, SourceFile, Standing, built, hopeful, inside, pairs_in_doubt
from bot.integrations.kustomize.isolation import source_file as look_at
from bot.integrations.kustomize.reach import Reach, ReachIndex
from bot.integrations.kustomize.references import Use
from bot.integrations.kustomize.scratch import Scratch
from commands.ports import Tree
from commands.reasons import Refused

_MOST_OBJECTS = 240  # of one run, patches counted
_MOST_VISITS = 100  # kustomizations of one overlay, each as often as it is named

Outcome = str | Refused
"""The text of an overlay, or why there is none."""


@dataclass
class Trust:
    """Whether this kustomize builds in company what it builds alone: tried once, with the first run's first overlay."""

    tried: bool = False
    earned: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)  # runs that end together wait for one trial


@dataclass(frozen=True)
class _Group:
    """Overlays to be built by one run."""

    overlays: tuple[str, ...]


@dataclass
class Company:
    """One use: `build` the overlays of one tree.

    `run` runs kustomize on a folder, `read` makes of what it said a text or raises Refused.
    """

    tree: Tree
    index: ReachIndex
    scratch: Scratch
    run: Callable[[Path, Path], Finished]
    read: Callable[[Finished, str, Path], str]
    trust: Trust
    parallel: int
    _standings: dict[str, Standing] = field(default_factory=dict)
    _files: dict[str, SourceFile] = field(default_factory=dict)
    _folders: dict[str, list[SourceFile]] = field(default_factory=dict)  # with everything below them
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def build(self, reaches: Sequence[Reach]) -> dict[str, Outcome]:
        """Every overlay's outcome. Refused (OVERLAY_UNSAFE) when what they reach cannot be written down together."""
        with self.scratch.folder() as root:
            source = root / "repository"
            source.mkdir()
            self._export(reaches, source)
            self._look(reaches, source)
            groups = self._groups(reaches)
            outcomes: dict[str, Outcome] = {}
            with ThreadPoolExecutor(self.parallel) as pool:
                while groups:
                    attempts = list(pool.map(lambda group: self._attempt(root, group), groups))
                    outcomes.update((overlay, one) for done, _ in attempts for overlay, one in done.items())
                    groups = [group for _, again in attempts for group in again]
            return outcomes

    def _export(self, reaches: Sequence[Reach], source: Path) -> None:
        folders = {folder for reach in reaches for folder in reach.folders}
        self.tree.export(sorted(one for one in folders if folders.isdisjoint(_above(one))), source)
        for path, content in self.tree.read_many(sorted({path for reach in reaches for path in reach.files})).items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(content)

    def _look(self, reaches: Sequence[Reach], source: Path) -> None:
        """One look at every file that was written."""
        self._folders = {folder: [] for reach in reaches for folder in reach.folders}
        for where, _, names in os.walk(source):
            within = os.path.relpath(where, source)
            folder = "" if within == "." else within
            wanted = [self._folders[one] for one in (folder, *_above(folder)) if one in self._folders]
            for name in names:
                path = f"{folder}/{name}" if folder else name
                self._files[path] = look_at((source / path).read_bytes())
                for files in wanted:
                    files.append(self._files[path])

    # ------------------------------------------------------------ who is built with whom

    def _groups(self, reaches: Sequence[Reach]) -> list[_Group]:
        weights: dict[str, int] = {}
        for reach in reaches:
            files = [file for folder in reach.folders for file in self._folders[folder]]
            standing = None
            if self.trust.earned and not any(file.strange for file in files):
                standing = _Look(self, any(file.renames for file in files)).standing(reach.overlay)
            if standing is not None:
                self._standings[reach.overlay] = standing
                weights[reach.overlay] = max(1, sum(file.objects for file in files))
        together = self._packed(weights)
        return together + [_Group((reach.overlay,)) for reach in reaches if reach.overlay not in weights]

    def _packed(self, weights: dict[str, int]) -> list[_Group]:
        """Runs of about the same weight, so that all processors are done at about the same time."""
        runs = max(self.parallel, -(-sum(weights.values()) // _MOST_OBJECTS))
        most = sum(weights.values()) / (-(-runs // self.parallel) * self.parallel) if weights else 0
        groups: list[list[str]] = []
        loads: list[int] = []
        for overlay in sorted(weights, key=lambda one: -weights[one]):
            fitting = (
                number
                for number, group in enumerate(groups)
                if loads[number] + weights[overlay] / 2 <= most
                and all(hopeful(self._standings[overlay], self._standings[other]) for other in group)
            )
            number = next(fitting, None)
            if number is None:
                groups.append([overlay])
                loads.append(weights[overlay])
            else:
                groups[number].append(overlay)
                loads[number] += weights[overlay]
        return [_Group(tuple(group)) for group in groups]

    def file(self, path: str) -> SourceFile | None:
        """What is known of an exported file."""
        return self._files.get(path)

    # ------------------------------------------------------------ building

    def _attempt(self, root: Path, group: _Group) -> tuple[dict[str, Outcome], list[_Group]]:
        """What came out, and what is to be tried again in other company."""
        if len(group.overlays) == 1:
            return {group.overlays[0]: self._alone(root, group.overlays[0])}, []
        if not self.trust.earned:
            return {}, _singles(group.overlays)
        batch = Batch(group.overlays)
        finished = self.run(root, self._written(root, batch))
        if finished.stopped is not None:
            return {}, _singles(group.overlays)
        if finished.code != 0:
            return {}, _smaller(group.overlays, finished.stderr.decode(errors="replace"))
        try:
            parts = batch.take_apart(finished.stdout.decode())
        except (Mixed, UnicodeDecodeError):
            return {}, _singles(group.overlays)
        facts = {name: built(self._standings[name], part.heads, part.text) for name, part in parts.items()}
        doubtful = pairs_in_doubt(facts)
        sure: dict[str, Outcome] = {name: part.text for name, part in parts.items() if name not in doubtful}
        if not self._trusted(root, sure):
            return {}, _singles(group.overlays)
        return sure, _singles(tuple(name for name in group.overlays if name in doubtful))

    def _trusted(self, root: Path, sure: dict[str, Outcome]) -> bool:
        with self.trust.lock:
            if not self.trust.tried and sure:
                name, text = next(iter(sure.items()))
                self.trust.earned = self._alone(root, name) == text
                self.trust.tried = True
            return self.trust.earned

    def _alone(self, root: Path, overlay: str) -> Outcome:
        try:
            return self.read(self.run(root, root / "repository" / overlay), overlay, root)
        except Refused as fault:
            return fault

    def _written(self, root: Path, batch: Batch) -> Path:
        with self._lock:
            folder = root / f"run-{next(self._numbers)}"
        folder.mkdir()
        for name, text in batch.files("../repository"):
            (folder / name).write_text(text)
        return folder


@dataclass
class _Look:
    """One look at the sources of an overlay."""

    company: Company
    renames: bool
    chains: set[Chain] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    visits: int = 0

    def standing(self, overlay: str) -> Standing | None:
        """None when the overlay has to be built alone: unusual, broken, or a component."""
        tree, index = self.company.tree, self.company.index
        try:
            path = overlay_file(tree, overlay)
            entry = tree.entry(path)
            traits = index.named(tree, path, entry.object_id if entry else "").traits
            usual = traits.kind == "Kustomization" and self._visit(overlay, ((), ()))
        except Refused:
            return None
        if not usual:
            return None
        return Standing(traits.namespace, frozenset(self.chains), frozenset(self.sources), self.renames)

    def _visit(self, folder: str, outer: Chain) -> bool:
        self.visits += 1
        tree = self.company.tree
        path = overlay_file(tree, folder)
        entry = tree.entry(path)
        named = self.company.index.named(tree, path, entry.object_id if entry else "")
        traits = named.traits
        if not traits.ordinary or self.visits > _MOST_VISITS:
            return False
        if traits.kind != "Kustomization" and (traits.prefix or traits.suffix or traits.kind != "Component"):
            return False  # a component's prefix goes on what is beside it, not on what is in it
        self.renames |= traits.replaces
        chain = inside(traits, outer)
        brings = traits.generates
        for reference in named.references:
            target = tree.entry(reference.path)
            if target is None:
                return False  # kustomize says what is wrong
            if reference.use is not Use.OBJECTS:
                continue
            if target.kind == "tree":
                if not self._visit(reference.path, chain):
                    return False
            else:
                file = self.company.file(reference.path)
                brings |= file is None or not file.inert
        if brings:
            self.chains.add(chain)
            self.sources.add(folder)
        return True


def _singles(overlays: Sequence[str]) -> list[_Group]:
    return [_Group((overlay,)) for overlay in overlays]


def _smaller(overlays: Sequence[str], stderr: str) -> list[_Group]:
    """The run again without those that kustomize named, which are tried alone; in halves when it named none, or all."""
    named = [overlay for overlay in overlays if f"repository/{overlay}'" in stderr]
    others = tuple(overlay for overlay in overlays if overlay not in named)
    if named and others:
        return [*_singles(named), _Group(others)]
    half = len(overlays) // 2
    return [_Group(tuple(overlays[:half])), _Group(tuple(overlays[half:]))]


def _above(path: str) -> Iterator[str]:
    """The folders that this path is in, from the nearest to the root."""
    while path:
        path = path.rpartition("/")[0]
        yield path
