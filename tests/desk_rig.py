"""What the tests of the use cases share: a catalogue, facts by hand, people, and what must hold of every answer."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from commands.catalogue import Catalogue
from commands.catalogue_reader import read
from commands.deploy import deploy
from commands.facts import CatalogueInForce, Facts
from commands.grammar import unsafe_characters
from commands.ports import ImageRef, ImageSnapshot
from commands.reasons import ReasonCode
from commands.requests import Answer, Asker, Deploy
from storage import claims
from storage.models import Deployment
from storage.phases import Phase, Stage
from storage.record_models import AuditRow
from storage.unit_of_work import Store
from tests.rows import audit_rows, deployments

MINIMAL = """\
promotion: [dev, staging, production]
environments:
  dev: {}
  staging: {}
  production:
    change: pull-request
    approval: {from: [release-managers, platform-team], required: 1, expires_after: 4h}
apps:
  my-application:
    image: registry.company.com/my-application
groups:
  release-managers: {slack: S0RELEASE}
  platform-team: {members: [U0PLATFORM1, U0PLATFORM2]}
channels: {deployments: C0DEPLOYMENTS}
"""
WIDE = MINIMAL.replace("  staging: {}\n", "  staging: {deployers: [release-managers, platform-team]}\n").replace(
    "apps:\n", "apps:\n  web: {image: registry.company.com/web, environments: [dev], aliases: [website]}\n"
)
ALICE, BOB = "U0ALICE", "U0BOB"
APP = "my-application"
_keys = itertools.count()


def catalogue(text: str = MINIMAL) -> Catalogue:
    found = read(text.encode())
    assert isinstance(found, Catalogue), found
    return found


def facts(
    text: str = MINIMAL,
    *,
    images: Mapping[str, str] | None = None,
    age: timedelta = timedelta(seconds=5),
    groups: Mapping[str, frozenset[str]] | None = None,
    reviews: bool = True,
) -> Facts:
    """A good catalogue in force; `images` are the tags of the app per environment, as git says.

    With `reviews`, a code host is configured.
    """
    said = {(APP, environment): ImageRef("registry/x", tag) for environment, tag in (images or {}).items()}
    snapshot = None if images is None else ImageSnapshot("c" * 40, said)
    in_force = CatalogueInForce(catalogue(text), commit="a" * 40, newest="a" * 40)
    return Facts(in_force, snapshot, age, groups or {}, team_id="T1", reviews=reviews)


def broken(known: Facts) -> Facts:
    """The same facts after a newer catalogue was refused."""
    return replace(known, in_force=replace(known.in_force, newest="b" * 40, faults=("line 3: no such thing",)))


def asker(user: str = ALICE, *, key: str = "", team: str = "T1") -> Asker:
    return Asker(team, user, key or f"trigger:{next(_keys)}", "C0DEPLOYMENTS", response_url="https://hooks/1")


def requested(store: Store, known: Facts, version: str = "1.4.2", environment: str = "staging", **who: str) -> str:
    """An accepted deployment's id."""
    answer = deploy(store, known, asker(**who), Deploy(APP, version, environment))
    assert answer.reason is ReasonCode.ACCEPTED, answer
    return answer.deployment_id


def moved(store: Store, deployment_id: str, phase: Phase, stage: Stage = Stage.CHECK) -> None:
    """Put a deployment where a delivery would have brought it."""
    with store.write() as uow:
        row = uow.deployment(deployment_id)
        assert row is not None
        if row.phase == Phase.QUEUED and phase not in {Phase.QUEUED, Phase.CANCELLED}:
            row.to(Phase.RUNNING)
            row.started_at = uow.now
            claims.begin_attempt(uow, row, "test")
        if row.phase != phase:
            row.to(phase)
        row.stage = stage
        if phase.ended:
            row.finished_at = uow.now


def deployment(store: Store, deployment_id: str) -> Deployment:
    return next(row for row in deployments(store) if row.id == deployment_id)


def last_audit(store: Store) -> AuditRow:
    return audit_rows(store)[-1]


def check_words(answer: Answer) -> None:
    """Whatever was asked, the answer can be read, and shown."""
    said = (answer.what, answer.next_step, *(part for row in answer.rows for part in (row.text, row.detail)))
    for text in said:
        shown = text.replace("\ue000", "").replace("\ue001", "")  # mentions, for the cards to draw
        assert unsafe_characters(shown) is None, ascii(shown)
        assert len(text) <= 1000
    assert answer.what
    assert answer.what[0] != " "
    assert Answer.from_json(answer.as_json()) == answer


def check_refusal(store: Store, answer: Answer, reason: ReasonCode, *, before: int = 0) -> AuditRow:
    """Refused for this reason, with a next step, exactly one audit row, and nothing else left behind."""
    assert answer.reason is reason, answer
    assert answer.refused
    assert answer.next_step
    check_words(answer)
    rows = audit_rows(store)
    assert len(rows) == before + 1
    assert rows[-1].reason_code == reason
    assert rows[-1].action.endswith(":refuse")
    return rows[-1]
