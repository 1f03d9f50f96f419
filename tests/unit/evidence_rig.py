"""Evidence from the rig of the gate: the real use cases, visits, merges and steps, with a record that is signed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from commands.evidence import take
from commands.evidence_file import Taken
from commands.evidence_told import Check
from commands.records import DeploymentRecord, record_deployment
from commands.requests import Source
from commands.tokens import Bearer, Right, Scope
from storage.keys import KeyFile
from storage.ledger import Signer
from storage.ledger_keys import introduce
from storage.models import Change, Deployment
from storage.unit_of_work import Store
from storage.verdict import Trust
from tests.unit.gate_infra import ANN, ROB
from tests.unit.gate_moves import Moves
from tests.unit.gate_rig import TEAM, town
from tests.unit.gate_watch import Watch

ORIGIN = "locktender/git.example/example/infra"
AUDITOR = "U0AUDIT"
_FORM = Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs" / "evidence-1.schema.json").read_text("utf-8"))
)


@contextmanager
def signed_moves(template: Path, folder: Path) -> Iterator[Moves]:
    """A town whose record is signed from here on."""
    with town(template, folder) as place:
        signer = Signer(KeyFile(folder / "audit.key", ORIGIN))
        place.store.signer = place.program.store.signer = signer
        introduce(place.store)
        watch = Watch(place)
        yield Moves(place, watch)
        watch.close()


def trust(moves: Moves) -> Trust:
    """Who signs the record, for whoever has that from elsewhere."""
    signer = moves.town.store.signer
    assert signer is not None
    return Trust((signer.keys.key.public,), signer.keys.since)


def taken(moves: Moves, name: str) -> Taken:
    """The evidence of this, as somebody takes it now; it has the form that is published."""
    found = take(moves.town.store, name, AUDITOR, TEAM, Source.SLASH)
    _FORM.validate(document(found))
    return found


def checks(evidence: Taken) -> Mapping[str, Check]:
    """The facts, by what they are of."""
    return {one.what: one for one in evidence.told.checks}


def document(evidence: Taken) -> dict[str, Any]:
    """The file, read."""
    found: dict[str, Any] = json.loads(evidence.statement)
    return found


# ---------------------------------------------------------------- what happened


def deployed(moves: Moves, app: str = "web", environment: str = "staging", version: str = "1.1") -> Deployment:
    """One that is at its end, where nobody has to approve it."""
    mine = asked(moves, app, environment, version)
    moves.rounds(6)
    return row(moves, mine)


def asked(moves: Moves, app: str = "web", environment: str = "production", version: str = "1.1") -> str:
    """Ann asks; the id. A change is shown at once."""
    moves.deploy(ANN, app, environment, version)
    newest = str(max(moves.rows(Deployment), key=lambda one: one.requested_at).id)
    moves.visit()
    return newest


def promoted(moves: Moves) -> str:
    """A reviewed change that Rob has approved and that is live."""
    mine = asked(moves)
    moves.approve(ROB)
    moves.rounds(14)
    return mine


def row(moves: Moves, name: str) -> Deployment:
    """A deployment as it is stored."""
    found: Deployment = next(one for one in moves.rows(Deployment) if one.id == name)
    return found


def change(moves: Moves) -> Change:
    """The one that was made last."""
    found: Change = max(moves.rows(Change), key=lambda one: one.requested_at)
    return found


def reported(store: Store, moves: Moves, commit: str, **more: str) -> None:
    """What a pipeline tells at its end."""
    said = {"environment": "production", "deployer": "jenkins", "status": "SUCCESS", "app": "web"} | more
    bearer = Bearer("tokenid001", "cd", (Scope(Right.RECORDS),))
    record = DeploymentRecord(timestamp=datetime(2026, 3, 4, 10, tzinfo=UTC), commit=commit, **said)
    record_deployment(store, moves.town.program.factbook.facts(), bearer, record)
