"""What a change does to the rendered manifests: of what was asked for, and of everything else that it touches."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bot.content import find_overlay
from bot.integrations.kustomize.diff import diff
from bot.integrations.kustomize.reach import ReachIndex
from commands.catalogue import App, Catalogue, Environment
from commands.ports import Renderer, Tree
from commands.reasons import Refused
from storage.models import Deployment

MOST_DIFF_LINES = 2000


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


class Effects:
    """Works out effects. Thread-safe."""

    def __init__(self, renderer: Renderer) -> None:
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
            apps[row.app] = OnApp(row.app, overlay, changed.summary(), changed.unified(MOST_DIFF_LINES), _hash(new))
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
        asked = {(row.app, row.environment) for row in rows}
        found: dict[str, str] = {}
        for app in known.apps.values():
            for name in app.environments:
                if (app.name, name) in asked:
                    continue
                told = self._other(before, after, known, app.name, name)
                if told:
                    found[f"{app.name} in {name}"] = told
        return found

    def _other(self, before: Tree, after: Tree, known: Catalogue, app: str, environment: str) -> str:
        """What changes for another app or environment; empty when nothing does."""
        try:
            overlay = find_overlay(after, known, known.apps[app], known.environments[environment])
            if self.fingerprint(before, overlay) == self.fingerprint(after, overlay):
                return ""
            changed = diff(self._renderer.render(before, overlay).text, self._renderer.render(after, overlay).text)
        except Refused as fault:
            return f"cannot be rendered: {fault.what}" if before.entry("") != after.entry("") else ""
        return "" if changed.empty else changed.summary()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
