"""What the tests of the gate's use cases share: a catalogue with a set of apps, what git says, what has happened."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from commands.binding import Binding, Part
from commands.code_host import PullCommit
from commands.deploy import deploy
from commands.facts import Facts
from commands.ports import ImageRef, ImageSnapshot
from commands.promote import promote
from commands.reasons import ReasonCode
from commands.requests import Deploy, Promote
from storage import gate
from storage.models import Approval, Change, ChangeState, Deployment, Kind, Lock, LockKind
from storage.phases import Phase, Stage
from storage.unit_of_work import Store
from tests import desk_rig
from tests.desk_rig import ALICE
from tests.rows import audit_rows

SET = """\
promotion: [dev, staging, production]
environments:
  dev: {}
  staging: {}
  production:
    change: pull-request
    approval: {from: [release-managers, platform-team], required: 1, expires_after: 4h}
    break_glass: {from: [on-call], review_within: 24h}
apps:
  web: {image: registry.company.com/web, aliases: [website], channel: C0WEB}
  checkout-api: {image: registry.company.com/checkout-api}
  docs: {image: registry.company.com/docs, environments: [dev, staging]}
groups:
  release-managers: {slack: S0RELEASE}
  platform-team: {members: [U0PLATFORM1, U0PLATFORM2]}
  on-call: {members: [U0ONCALL]}
people:
  platform-one: {slack: U0PLATFORM1, github: platform-one, emails: [one@company.com]}
  platform-one-again: {slack: U0SECOND, github: platform-second}
channels: {deployments: C0DEPLOYMENTS}
"""
TWO = SET.replace("required: 1,", "required: 2, rollback_required: 1,")
MANAGER, PLATFORM1, PLATFORM2, ONCALL = "U0MANAGER", "U0PLATFORM1", "U0PLATFORM2", "U0ONCALL"
MANAGERS: Mapping[str, frozenset[str]] = {"S0RELEASE": frozenset({MANAGER, ALICE})}
DIGEST = "sha256:" + "a" * 64
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_commits = itertools.count(1)


class Clock:
    """A clock that is set by hand, and moves a second with each look: nothing happens at the same time."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def known(text: str = SET, images: Mapping[str, str] | None = None, *, digest: str = DIGEST, **more: Any) -> Facts:
    """Facts in which git says `images`: `web/staging` -> tag."""
    found = desk_rig.facts(text, groups=more.pop("groups", MANAGERS), **more)
    said = {(one.split("/")[0], one.split("/")[1]): ImageRef("r", tag, digest) for one, tag in (images or {}).items()}
    return replace(found, snapshot=ImageSnapshot("c" * 40, said))


def happened(
    store: Store, app: str, environment: str, version: str, phase: Phase = Phase.SUCCEEDED, **more: Any
) -> str:
    """A deployment that was asked for and has come this far; when it succeeded, git has it and it was verified."""
    number = next(_commits)
    values: dict[str, Any] = {"digest": DIGEST, "kind": Kind.DEPLOY}
    if phase is Phase.SUCCEEDED:
        values |= {"reason_code": ReasonCode.LIVE, "stage": Stage.DONE, "commit_sha": f"{number:040x}"}
    with store.write() as uow:
        row = Deployment(
            id=f"d{number:09}",
            app=app,
            environment=environment,
            version=version,
            team_id="T1",
            requested_by=ALICE,
            requested_in="C0DEPLOYMENTS",
            requested_at=uow.now,
            phase=phase,
            finished_at=uow.now if phase.ended else None,
            **(values | more),
        )
        uow.session.add(row)
        return row.id


def a_set(store: Store, text: str = SET, *, user: str = ALICE, version: str = "1.4.2") -> str:
    """The id of a set of two that waits for its approval."""
    happened(store, "web", "staging", version)
    happened(store, "checkout-api", "staging", "2.0.0")
    facts = known(text, {"web/staging": version, "checkout-api/staging": "2.0.0"})
    request = Promote(("web", "checkout-api"), "staging", "production", "weekly")
    answer = promote(store, facts, desk_rig.asker(user), request)
    assert answer.reason is ReasonCode.ACCEPTED, answer
    return answer.deployment_id


def asked(store: Store, version: str = "1.5.0", *, user: str = ALICE, text: str = SET, **more: Any) -> str:
    """The id of a deployment to production that waits for its approval."""
    request = Deploy("web", version, "production", reason="the cart", **more)
    answer = deploy(store, known(text), desk_rig.asker(user), request)
    assert answer.reason is ReasonCode.ACCEPTED, answer
    return answer.deployment_id


def opened(store: Store, change_id: str, *, strangers: tuple[PullCommit, ...] = (), content: str = "1") -> str:
    """What the gatekeeper does with a new change: its content is worked out and shown. The token of its buttons."""
    with store.write() as uow:
        change = gate.held(uow, change_id)
        assert change is not None
        parts = tuple(
            Part(row.app, row.version, row.digest, "overlay", content, content) for row in gate.members(uow, change_id)
        )
        binding = Binding("f" * 40, "policy", parts, {}, strangers)
        change.state, change.token = ChangeState.OPEN, gate.new_token()
        change.binding, change.content, change.head_sha = binding.as_json(), binding.content, binding.head
        change.pr_number, change.pr_url = 7, "https://github.example/company/infra/pull/7"
        return change.token


def approved(store: Store, change_id: str) -> None:
    """The gatekeeper has counted its approvals: its deployments may start."""
    with store.write() as uow:
        change = gate.held(uow, change_id)
        assert change is not None
        change.state = ChangeState.APPROVED
        for row in gate.members(uow, change_id):
            row.to(Phase.QUEUED)


def merged(store: Store, change_id: str, *, due: timedelta | None = None) -> None:
    """Its delivery has merged it; with `due`, a second person owes it a look by then."""
    with store.write() as uow:
        change = gate.held(uow, change_id)
        assert change is not None
        change.state, change.token, change.merge_sha = ChangeState.MERGED, "", "e" * 40
        change.merged_at = uow.now
        change.review_due = uow.now + due if due else None


def change_of(store: Store, change_id: str) -> Change:
    with store.read() as uow:
        found = gate.change_of(uow, change_id)
        assert found is not None
        return found


def said_of(store: Store, change_id: str) -> list[Approval]:
    with store.read() as uow:
        return [one for one in uow.session.scalars(select(Approval)) if one.change_id == change_id]


def of(store: Store, change_id: str) -> list[Deployment]:
    with store.read() as uow:
        return gate.members(uow, change_id)


def locked(store: Store, app: str, environment: str) -> None:
    """A lock in the way of new deployments."""
    with store.write() as uow:
        uow.session.add(Lock(kind=LockKind.LOCK, app=app, environment=environment, owner=ALICE, at=uow.now))


def actions(store: Store, since: int = 0) -> list[str]:
    return [row.action for row in audit_rows(store)[since:]]
