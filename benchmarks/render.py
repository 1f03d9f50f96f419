"""What a change of a base that 150 overlays share does to all of them: ours, and kubectl on one overlay after another.

Every text is compared with kubectl's, to the byte: a difference ends the run. Alone: `python -m benchmarks.render`.
"""

import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import Row
from bot.integrations.infra_repo import GitInfraRepo
from bot.integrations.kustomize.blast import Place, impact
from bot.integrations.kustomize.command import environment, find_command
from bot.integrations.kustomize.render import KustomizeRenderer
from bot.sandbox.infra_example import create_shared_monorepo
from commands.ports import CommitAuthor, Rendered, Tree

_ENVIRONMENTS = ("dev", "staging", "production")


@dataclass(frozen=True)
class Sizes:
    """How much to do. The full sizes take a minute, nearly all of it kubectl's."""

    apps: int = 50
    rounds: int = 5


@dataclass(frozen=True)
class Work:
    """The two trees, the places, and a folder."""

    folder: Path
    before: Tree
    after: Tree
    places: tuple[Place, ...]


def rows(sizes: Sizes | None = None) -> list[Row]:
    """Every measurement of this module."""
    sizes = sizes or Sizes()
    with tempfile.TemporaryDirectory(prefix="locktender-render-bench-") as folder:
        work = _work(Path(folder), sizes)
        first = _first(work)
        known = statistics.median(_head_known(work) for _ in range(sizes.rounds))
        baseline = _one_by_one(work)
    what = f"base of {len(work.places)} overlays changes"
    return [
        Row(f"{what}: head rendered before", known, "ms", 2000),
        Row(f"{what}: head rendered before", known, "ms", 0.1, "kubectl, one by one", baseline),
        Row(f"{what}: nothing read or rendered", first, "ms", 0.25, "kubectl, one by one", baseline),
    ]


def _first(work: Work) -> float:
    """A process that has just started: git objects, files and both sides' texts are all news to it."""
    return _impact(KustomizeRenderer(), work)


def _head_known(work: Work) -> float:
    """What a running bot does: the head's texts are there."""
    renderer = KustomizeRenderer()
    renderer.render_many(work.before, [place.overlay for place in work.places])
    return _impact(renderer, work)


def _impact(renderer: KustomizeRenderer, work: Work) -> float:
    started = time.perf_counter()
    found = impact(renderer, work.before, work.after, work.places)
    summaries = {effect.place: effect.summary() for effect in found.effects if effect.trouble is None}
    taken = (time.perf_counter() - started) * 1000
    if len(summaries) != len(work.places):
        raise RuntimeError(f"{len(summaries)} of {len(work.places)} overlays are said to change")
    return taken


def _one_by_one(work: Work) -> float:
    """Milliseconds that kubectl takes for every overlay before and after, exports not counted."""
    command, taken = find_command(), 0.0
    renderer = KustomizeRenderer(command)
    for name, tree in (("before", work.before), ("after", work.after)):
        place = work.folder / name
        tree.export(["apps", "platform"], place)
        ours = renderer.render_many(tree, [one.overlay for one in work.places])
        for overlay, outcome in ours.items():
            started = time.perf_counter()
            text = _kubectl(command, place, overlay)
            taken += time.perf_counter() - started
            if not isinstance(outcome, Rendered) or outcome.text != text:
                raise RuntimeError(f"{overlay} comes out differently {name} the change")
    return taken * 1000


def _kubectl(command: tuple[str, ...], place: Path, overlay: str) -> str:
    done = subprocess.run(
        [*command, str(place / overlay)],
        env={**environment(str(place)), "GOGC": "100"},  # as anybody runs it
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout


def _work(folder: Path, sizes: Sizes) -> Work:
    before, after = create_shared_monorepo(folder / "origin.git", sizes.apps)
    infra = GitInfraRepo(
        f"file://{folder}/origin.git", "main", folder / "home", committer=CommitAuthor("Bot", "bot@example.com")
    )
    infra.refresh()
    places = tuple(
        Place(f"app-{app:02d}", name, f"apps/app-{app:02d}/overlays/{name}")
        for app in range(sizes.apps)
        for name in _ENVIRONMENTS
    )
    return Work(folder, infra.tree(before), infra.tree(after), places)


if __name__ == "__main__":
    for row in rows():
        print(row)
