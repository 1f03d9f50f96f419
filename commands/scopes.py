"""What a lock covers: everything, one environment, one app, or one app in one environment; and the words for that."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from commands import policy
from commands.catalogue import Catalogue, Environment, Kind
from commands.reasons import ReasonCode, Refused
from commands.requests import listed, typed
from commands.times import is_duration, parse_duration
from storage.models import Lock

ALL = "all"
_FILLERS = frozenset({"for", "in", "on"})  # `lock web in production for 2h`: people write sentences


@dataclass(frozen=True)
class Scope:
    """Which deployments; an empty app or environment stands for every one of them."""

    app: str = ""
    environment: str = ""

    @property
    def words(self) -> str:
        """As it is typed after `/deploy lock`."""
        return " ".join(part for part in (self.app, self.environment) if part) or ALL

    @property
    def name(self) -> str:
        """As it is called in the middle of a sentence."""
        if not self.app and not self.environment:
            return "everything"
        return " in ".join(f"`{part}`" for part in (self.app, self.environment) if part)

    def meets(self, other: "Scope") -> bool:
        """True when some deployment could be within both."""
        return (not self.app or other.app in {"", self.app}) and (
            not self.environment or other.environment in {"", self.environment}
        )

    def covers(self, app: str, environment: str) -> bool:
        """True when a deployment of this app to this environment is within it."""
        return self.app in {"", app} and self.environment in {"", environment}


@dataclass(frozen=True)
class Scoped:
    """A scope and how long it is meant for; None when nothing was said."""

    scope: Scope
    span: timedelta | None = None


def parse(known: Catalogue, words: Sequence[str], usage: str) -> Scoped:
    """The scope that the words name, in either order, and a duration among them.

    Refused: what is missing or too much (BAD_USAGE, with `usage` as what would be right), a word that names nothing
    (UNKNOWN_APP, with the nearest names), an environment where the app does not run (UNKNOWN_ENVIRONMENT), and what
    `parse_duration` refuses.
    """
    names: list[str] = []
    spans: list[str] = []
    for word in words:
        if known.app(word) is None and known.environment(word) is None:
            if is_duration(word) or word[:1].isdigit():
                spans.append(word)  # what only looks like a duration is told so, not looked up as a name
                continue
            if word.lower() in _FILLERS:
                continue
        names.append(word)
    if len(spans) > 1:
        raise Refused(
            ReasonCode.BAD_USAGE, f"{typed(spans[0])} and {typed(spans[1])} are two durations.", f"Give one: {usage}."
        )
    if not names:
        raise Refused(ReasonCode.BAD_USAGE, "What it is about is missing.", f"Say it like this: {usage}.")
    scope = _scope(known, names, usage)
    return Scoped(scope, parse_duration(spans[0]) if spans else None)


def scope_of(lock: Lock) -> Scope:
    """What a stored lock, freeze or hold covers."""
    return Scope(lock.app, lock.environment)


def environments(known: Catalogue, scope: Scope) -> tuple[Environment, ...]:
    """The environments that a scope reaches into."""
    if scope.environment:
        names: Sequence[str] = (scope.environment,)
    else:
        app = known.app(scope.app) if scope.app else None
        names = app.environments if app else tuple(known.environments)
    return tuple(found for name in names if (found := known.environment(name)) is not None)


def _scope(known: Catalogue, names: Sequence[str], usage: str) -> Scope:
    if [name.lower() for name in names] == [ALL]:
        return Scope()
    if len(names) > 2:
        raise Refused(ReasonCode.BAD_USAGE, f"{typed(names[2])} is one word too many.", f"Say it like this: {usage}.")
    if len(names) == 2:
        first, second = names
        if known.app(first) is None and known.environment(first) is not None:
            first, second = second, first
        app = policy.find_app(known, first)
        return Scope(app.name, policy.find_environment(known, app, second).name)
    (name,) = names
    app_named, environment = known.app(name), known.environment(name)
    if app_named is not None and environment is not None:
        raise Refused(
            ReasonCode.BAD_USAGE,
            f"{typed(name)} is both an app and an environment, so it cannot be told which is meant.",
            "Name both, the app first.",
        )
    if app_named is not None:
        return Scope(app=app_named.name)
    if environment is not None:
        return Scope(environment=environment.name)
    near = tuple(dict.fromkeys((*known.nearest(Kind.ENVIRONMENT, name), *known.nearest(Kind.APP, name))))
    raise Refused(
        ReasonCode.UNKNOWN_APP,
        f"{typed(name)} is neither an app nor an environment in `locktender.yaml`.",
        f"Did you mean {listed(near[:3])}?"
        if near
        else f"The environments are {listed(tuple(known.environments))}, the apps {listed(tuple(known.apps)[:10])}.",
    )
