"""`/deploy status`: what git says runs where, what is on its way, and how old that knowledge is."""

from datetime import timedelta

from commands import policy
from commands.catalogue import App, Catalogue, Environment, Kind
from commands.deploy import SNAPSHOT_TRUSTED_FOR, ago
from commands.desk import answer_once
from commands.facts import Facts
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Asker, Row, Status, listed, mention, typed
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork

MOST_ROWS = 30


def status(store: Store, facts: Facts, asker: Asker, request: Status) -> Answer:
    """The versions of the apps and environments that were named, or of all. Recorded only when it is refused."""

    def decide(uow: UnitOfWork) -> Answer:
        known = policy.catalogue(facts)
        apps, environments = _wanted(known, request.words)
        targets = [
            (app, environment) for app in apps for environment in environments if environment.name in app.environments
        ]
        rows = [_row(uow, facts, app, environment) for app, environment in targets[:MOST_ROWS]]
        left = len(targets) - MOST_ROWS
        hint = f"{left} more: name an app or an environment." if left > 0 else ""
        warning = " The newest `locktender.yaml` has faults; the last good one is in force." * bool(
            facts.in_force.faults
        )
        return Answer(ReasonCode.ANSWERED, f"What runs where ({_read(uow, facts)}).{warning}", hint, rows=tuple(rows))

    return answer_once(store, facts, asker, "status", {"words": " ".join(request.words)[:200]}, decide)


def _read(uow: UnitOfWork, facts: Facts) -> str:
    if facts.snapshot is None:
        return "git has not been read yet"
    at = f"git at `{facts.snapshot.commit[:7]}`"
    if facts.snapshot_age <= SNAPSHOT_TRUSTED_FOR:
        return at
    age = min(facts.snapshot_age, timedelta(days=365))  # an age that nobody knows is the longest there is
    return f"{at}, last read {ago(uow.now, uow.now - age)}"


def _wanted(known: Catalogue, words: tuple[str, ...]) -> tuple[list[App], list[Environment]]:
    apps: list[App] = []
    environments: list[Environment] = []
    for word in dict.fromkeys(words):
        app, environment = known.app(word), known.environment(word)
        if app is not None:
            apps.append(app)
        elif environment is not None:
            environments.append(environment)
        else:
            near = dict.fromkeys((*known.nearest(Kind.APP, word), *known.nearest(Kind.ENVIRONMENT, word)))
            raise Refused(
                ReasonCode.UNKNOWN_APP,
                f"{typed(word)} is neither an app nor an environment.",
                f"Did you mean {listed(tuple(near))}?" if near else f"The apps are {listed(tuple(known.apps)[:10])}.",
            )
    return apps or list(known.apps.values()), environments or list(known.environments.values())


def _row(uow: UnitOfWork, facts: Facts, app: App, environment: Environment) -> Row:
    now = facts.snapshot.images.get((app.name, environment.name)) if facts.snapshot else None
    version = f"`{now.tag or now.digest}`" if now and (now.tag or now.digest) else "not set in git"
    parts = []
    for other in uow.open_for(app.name, environment.name):
        doing = f"{other.stage}" if other.phase == Phase.RUNNING else "waiting"
        parts.append(f"`{other.version}` by {mention(other.requested_by)}, {doing} (`{other.id}`)")
    last = uow.last_ended(app.name, environment.name)
    if not parts and last is not None and last.finished_at is not None:
        when = ago(uow.now, last.finished_at)
        parts.append(f"last: `{last.version}` by {mention(last.requested_by)}, {last.phase} {when} (`{last.id}`)")
    return Row(f"`{app.name}` in `{environment.name}`: {version}", "; ".join(parts))
