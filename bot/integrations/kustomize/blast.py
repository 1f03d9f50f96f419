"""What a change of the infra-repo does to every overlay: to those that were meant, and to the rest (its blast radius).

Nothing is left out silently: an overlay whose files did not change is not rendered, because nothing can have changed
there; one that cannot be rendered is named with the reason.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from bot.integrations.kustomize.diff import ManifestDiff, diff
from bot.integrations.kustomize.glance import glance
from bot.integrations.kustomize.seen import Seen
from commands.catalogue import Catalogue
from commands.ports import Rendered, Tree
from commands.reasons import ReasonCode, Refused

MOST_GLANCE = 6
MOST_LINES = 4000


class ManyRenderer(Protocol):
    """`KustomizeRenderer`, as far as it is needed here."""

    def key(self, tree: Tree, overlay: str) -> str:
        """The same key means the same build. Refused when it cannot be built anyway."""
        ...

    def render_many(self, tree: Tree, overlays: Sequence[str]) -> dict[str, Rendered | Refused]:
        """Each overlay's text, or why there is none."""
        ...


@dataclass(frozen=True, order=True)
class Place:
    """An app in an environment, and the overlay that says what runs there."""

    app: str
    environment: str
    overlay: str

    def __str__(self) -> str:
        return f"{self.app} in {self.environment}"


Target = tuple[str, str]
"""An app and an environment."""


@dataclass(frozen=True)
class Effect:
    """What the change does in one place. `trouble` is set instead of a difference when that cannot be known."""

    place: Place
    difference: ManifestDiff
    trouble: Refused | None = None

    @property
    def target(self) -> Target:
        """The app and the environment."""
        return self.place.app, self.place.environment

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many objects are changed, added and removed."""
        return len(self.difference.changed), len(self.difference.added), len(self.difference.removed)

    def summary(self) -> str:
        """One line: what changes, or why that cannot be told."""
        if self.trouble is None:
            return self.difference.summary()
        return f"Cannot be rendered: {self.trouble.what}"

    def glance(self, most: int = MOST_GLANCE) -> tuple[str, ...]:
        """The change in at most `most` lines, what matters most first."""
        return (self.summary(),) if self.trouble else glance(self.difference, most)

    @cached_property
    def signature(self) -> tuple[object, ...]:
        """What changes regardless of where: the same base change has the same signature in every overlay."""
        if self.trouble is not None:
            return (self.trouble.reason, self.trouble.what)
        changed = tuple(sorted((one.ref.group, one.ref.kind, repr(one.fields)) for one in self.difference.changed))
        added, removed = (
            tuple(sorted((one.ref.group, one.ref.kind) for one in wholes))
            for wholes in (self.difference.added, self.difference.removed)
        )
        return changed, added, removed


@dataclass(frozen=True)
class Impact:
    """Every place that the change affects, sorted; `untouched` counts those that it does not."""

    effects: tuple[Effect, ...]
    untouched: int

    def of(self, targets: Collection[Target]) -> tuple[Effect, ...]:
        """What it does where it was asked for."""
        return tuple(effect for effect in self.effects if effect.target in targets)

    def radius(self, targets: Collection[Target]) -> tuple[Effect, ...]:
        """The blast radius: what it does elsewhere, places that cannot be rendered included."""
        return tuple(effect for effect in self.effects if effect.target not in targets)

    def text(self, targets: Collection[Target] = (), most: int = MOST_LINES) -> str:
        """The whole as text for a thread or a file, where it was asked for first; a note says what is left out.

        Elsewhere, places to which the same happens are listed once, with the diff of the first.
        """
        lines: list[str] = []
        for effect in self.of(targets):
            lines += [f"# {effect.place} ({effect.place.overlay})", *_body(effect, most), ""]
        for group in alike(self.radius(targets)):
            lines += [f"# also {_listed(group)}", *_body(group[0], most), ""]
        if len(lines) > most:
            left = len(lines) - most + 1
            lines = [*lines[: most - 1], f"… {left} more lines: see the pull request, or build the overlays."]
        return "".join(f"{line}\n" for line in lines).rstrip("\n") + "\n" if lines else ""


def impact(renderer: ManyRenderer, before: Tree, after: Tree, places: Sequence[Place]) -> Impact:
    """What changes between two trees in these places. Only overlays whose reachable files differ are rendered.

    An overlay that is only on one side comes or goes as a whole. Retry and Unknown from reading git pass through.
    """
    overlays = list(dict.fromkeys(place.overlay for place in places))
    with before.held() as left, after.held() as right:
        before, after = Seen(left), Seen(right)
        moved = [overlay for overlay in overlays if _key(renderer, before, overlay) != _key(renderer, after, overlay)]
        olds = renderer.render_many(before, moved)
        news = renderer.render_many(after, moved)
    found = {overlay: _compared(olds[overlay], news[overlay]) for overlay in moved}
    effects = [
        Effect(place, *outcome)
        for place in sorted(set(places))
        if (outcome := found.get(place.overlay)) is not None and (outcome[1] or not outcome[0].empty)
    ]
    return Impact(tuple(effects), len(set(places)) - len(effects))


def places_of(known: Catalogue, before: Tree, after: Tree) -> tuple[Place, ...]:
    """Every app in every environment with the overlays that it has in either tree: two when it has moved."""
    found: dict[Place, None] = {}
    for app in known.apps.values():
        for name in app.environments:
            candidates = known.overlays(app, known.environments[name])
            for tree in (before, after):
                overlay = next((one for one in candidates if tree.entry(one) is not None), None)
                if overlay is not None:
                    found[Place(app.name, name, overlay)] = None
    return tuple(found)


def alike(effects: Iterable[Effect]) -> tuple[tuple[Effect, ...], ...]:
    """Effects grouped by what happens, the largest group first; within a group as they came."""
    groups: dict[tuple[object, ...], list[Effect]] = {}
    for effect in effects:
        groups.setdefault(effect.signature, []).append(effect)
    return tuple(tuple(group) for group in sorted(groups.values(), key=lambda group: -len(group)))


_NOTHING = ManifestDiff((), (), ())


def _key(renderer: ManyRenderer, tree: Tree, overlay: str) -> object:
    try:
        return renderer.key(tree, overlay)
    except Refused as fault:
        # An overlay that is on neither side is the same on both. Any other fault hides what the overlay reads, so it
        # cannot be told whether that is the same: an object that equals only itself.
        return ReasonCode.OVERLAY_MISSING if fault.reason is ReasonCode.OVERLAY_MISSING else object()


def _compared(old: Rendered | Refused, new: Rendered | Refused) -> tuple[ManifestDiff, Refused | None]:
    texts: list[str] = []
    for side, other in ((new, old), (old, new)):
        if isinstance(side, Rendered):
            texts.append(side.text)
        elif side.reason is ReasonCode.OVERLAY_MISSING and isinstance(other, Rendered):
            texts.append("")
        else:
            return _NOTHING, side
    try:
        return diff(texts[1], texts[0]), None
    except Refused as fault:
        return _NOTHING, fault


def _body(effect: Effect, most: int) -> list[str]:
    if effect.trouble is not None:
        detail = effect.trouble.detail.splitlines()[:20]
        return [effect.summary(), effect.trouble.next_step, *detail]
    return [effect.summary(), *effect.difference.unified(most).splitlines()]


def _listed(group: Sequence[Effect]) -> str:
    """`web in dev, api in dev and 48 more`."""
    shown = [str(effect.place) for effect in group[:10]]
    return ", ".join(shown) + (f" and {len(group) - 10} more" if len(group) > 10 else "")
