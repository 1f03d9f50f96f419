"""What the tests of locks, of what blocks and of what waits share: a catalogue with two apps, a clock by hand, rows."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from commands import requests
from commands.facts import Facts
from commands.locks import freeze, lock, unfreeze, unlock
from commands.reasons import ReasonCode
from commands.requests import Answer
from storage.models import Deployment, Kind, Lock, Message, Target
from storage.phases import Phase
from storage.unit_of_work import Store
from tests.desk_rig import ALICE, APP, asker, facts
from tests.rows import messages

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)  # a Friday
HOUR = timedelta(hours=1)
Ask = Callable[..., Answer]
OPEN_TO_ALL = """\
promotion: [dev, staging, production]
environments:
  dev: {}
  staging: {}
  production:
    change: pull-request
    approval: {from: [release-managers, platform-team], required: 2, expires_after: 4h}
apps:
  my-application: {image: registry.company.com/my-application}
  web: {image: registry.company.com/web, aliases: [website], channel: C0WEB}
groups:
  release-managers: {slack: S0RELEASE}
  platform-team: {members: [U0PLATFORM1, U0PLATFORM2]}
channels: {deployments: C0DEPLOYMENTS}
"""
GUARDED = OPEN_TO_ALL.replace("  production:\n", "  production:\n    deployers: [release-managers]\n")
WINDOW = (
    OPEN_TO_ALL
    + """\
freezes:
  - {name: weekend, environments: [production], timezone: UTC, every: [fri], from: "16:00", until: "mon 08:00"}
"""
)


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def known(text: str = OPEN_TO_ALL, groups: Mapping[str, frozenset[str]] | None = None) -> Facts:
    return facts(text, groups=groups)


def locked(store: Store, words: str, reason: str = "migration", *, by: str = ALICE, text: str = OPEN_TO_ALL) -> Answer:
    return lock(store, known(text), asker(by), requests.Lock(tuple(words.split()), reason))


def unlocked(store: Store, words: str, reason: str = "", *, by: str = ALICE, text: str = OPEN_TO_ALL) -> Answer:
    return unlock(store, known(text), asker(by), requests.Unlock(tuple(words.split()), reason))


def frozen(store: Store, words: str, reason: str = "audit", *, by: str = ALICE, text: str = OPEN_TO_ALL) -> Answer:
    return freeze(store, known(text), asker(by), requests.Freeze(tuple(words.split()), reason))


def unfrozen(store: Store, words: str, *, by: str = ALICE, text: str = OPEN_TO_ALL) -> Answer:
    return unfreeze(store, known(text), asker(by), requests.Unfreeze(tuple(words.split())))


def accepted(answer: Answer) -> Answer:
    assert answer.reason is ReasonCode.ACCEPTED, answer
    return answer


def stored(store: Store) -> list[Lock]:
    with store.read() as uow:
        return list(uow.session.scalars(select(Lock)))


def announced(store: Store) -> list[Message]:
    return [one for one in messages(store) if one.target == Target.CHANNEL]


def put(
    store: Store,
    deployment_id: str,
    *,
    app: str = APP,
    environment: str = "production",
    phase: Phase = Phase.QUEUED,
    **more: Any,
) -> str:
    """A deployment in any state, whatever the commands of today would say to it."""
    values: dict[str, Any] = {
        "kind": Kind.DEPLOY,
        "version": "1.4.2",
        "team_id": "T1",
        "requested_by": ALICE,
        "requested_at": NOW,
    }
    with store.write() as uow:
        row = Deployment(id=deployment_id, app=app, environment=environment, phase=phase, **(values | more))
        uow.session.add(row)
    return deployment_id
