"""What a change does to the rendered manifests: of what was asked for, and of everything else that it touches."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bot.content import find_overlay
from bot.integrations.kustomize.blast import ManyRenderer, impact, places_of
from bot.integrations.kustomize.diff import diff
from bot.integrations.kustomize.glance import glance
from bot.integrations.kustomize.reach import ReachIndex
from commands.catalogue import App, Catalogue, Environment
from commands.ports import Renderer, Tree
from commands.reasons import Refused
from storage.models import Deployment

MOST_DIFF_LINES = 2000
MOST_GLANCE = 4


@dataclass(frozen=True)
class OnApp:
    """The effect on one app that was asked for."""

    app: str
    overlay: str
    summary: str
    text: str  # the rendered difference, unified
    rendered: str  # fingerprint of the manifests afterwards


@dataclass(frozen=True)
class Effect:
    """The whole effect. `others` is the blast radius: `app in environment`, with what changes there in a few words."""

    apps: Mapping[str, OnApp]
    others: Mapping[str, str] = field(default_factory=dict)

    def manifests(self, app: str) -> str:
        """The fingerprint of an app's manifests afterwards."""
        return self.apps[app].rendered

    @property
    def text(self) -> str:
        """Every rendered difference, one after the other."""
        return "\n".join(f"# {one.overlay}\n{one.text}" for one in self.apps.values())


class Builder(Renderer, ManyRenderer, Protocol):
    """Real kustomize, for one overlay and for many."""


class Effects:
    """Works out effects. Thread-safe."""

    def __init__(self, renderer: Builder) -> None:
        self._renderer = renderer
        self._reach = ReachIndex()

    def of(self, before: Tree, after: Tree, known: Catalogue, rows: Sequence[Deployment]) -> Effect:
        """The effect of going from one tree to the other. Refused when what was asked for cannot be rendered."""
        apps: dict[str, OnApp] = {}
        for row in rows:
            overlay = find_overlay(after, known, known.apps[row.app], known.environments[row.environment])
            old = self._renderer.render(before, overlay).text if before.entry(overlay) is not None else ""
            new = self._renderer.render(after, overlay).text
            changed = diff(old, new)
            told = "; ".join(glance(changed, MOST_GLANCE)) or changed.summary()
            apps[row.app] = OnApp(row.app, overlay, told, changed.unified(MOST_DIFF_LINES), _hash(new))
        return Effect(apps, self._others(before, after, known, rows))

    def fingerprint(self, tree: Tree, overlay: str) -> str:
        """Of everything in git that the overlay is built from; empty when there is no such overlay yet."""
        return self._reach.reach(tree, overlay).key if tree.entry(overlay) is not None else ""

    def differs(self, before: Tree, after: Tree, known: Catalogue, app: App, environment: Environment) -> bool:
        """True when what this app is built from here is another in the two trees, or can be built in one only."""
        return self._reached(before, known, app, environment) != self._reached(after, known, app, environment)

    def _reached(self, tree: Tree, known: Catalogue, app: App, environment: Environment) -> str:
        try:
            return self.fingerprint(tree, find_overlay(tree, known, app, environment))
        except Refused as fault:
            return str(fault.reason)

    def _others(self, before: Tree, after: Tree, known: Catalogue, rows: Sequence[Deployment]) -> Mapping[str, str]:
        """The blast radius: every other place where something changes, those that cannot be rendered included."""
        asked = {(row.app, row.environment) for row in rows}
        places = [one for one in places_of(known, before, after) if (one.app, one.environment) not in asked]
        return {str(one.place): one.summary() for one in impact(self._renderer, before, after, places).effects}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
