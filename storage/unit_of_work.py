"""One transaction: the state, its audit row, and the messages that tell of it, together or not at all."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import bindparam, func, select, text, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from storage import ledger
from storage.audit_text import AuditRecord, fresh_text, kept, kept_details
from storage.canonical import leaf_hash, storable
from storage.database import Database
from storage.models import IS_OPEN, Card, CatalogueVersion, Change, Deployment, Kind, Message, Seen, Target
from storage.newcomers import NewDeployment, defaults
from storage.phases import OPEN, Phase
from storage.prepared import Prepared, Row
from storage.record_models import AuditRow
from storage.transaction import Transaction

_SEEN, _CARDS, _AUDIT, _DEPLOYMENTS = (cast("Any", model).__table__ for model in (Seen, Card, AuditRow, Deployment))
_ANSWERED = Prepared(select(_SEEN.c.answer).where(_SEEN.c.key == bindparam("key")))
_ANSWER = Prepared(_SEEN.insert(), defaults(Seen))
_NEW_DEPLOYMENT = Prepared(_DEPLOYMENTS.insert(), defaults(Deployment))
_NEW_CARD = Prepared(_CARDS.insert(), defaults(Card))
_SHOW_AGAIN = Prepared(update(_CARDS).where(_CARDS.c.deployment_id == bindparam("card")).values(behind=true()))
_NEW_AUDIT_ROW = Prepared(_AUDIT.insert(), defaults(AuditRow))
Clock = Callable[[], datetime]
MESSAGES_FOR = timedelta(days=30)  # far longer than any deployment lasts, whose keys keep it from telling things twice
SEEN_FOR = timedelta(days=7)  # Slack's last retry comes after 5 minutes; people double-click within seconds
BOT = "locktender"
_END = "end of the record"
"""In a transaction's `info`: what its last audit row left."""


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


class StaleAttemptError(RuntimeError):
    """Somebody else runs this deployment now: stop quietly, touch nothing."""


@dataclass(frozen=True)
class AuditEntry:
    """What to record. `details` holds text, integers, booleans and lists of them; never a secret."""

    action: str  # subject before verb: deployment:request, deployment:finish
    actor: str = BOT
    team_id: str = ""
    app: str = ""
    environment: str = ""
    deployment_id: str = ""
    reason_code: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """A message for the outbox. `key` makes it go out once, however often it is written."""

    key: str
    target: Target
    body: Mapping[str, object]
    deployment_id: str = ""
    channel: str = ""
    user_id: str = ""
    thread_ts: str = ""
    url: str = ""


@dataclass(frozen=True)
class Waiting:
    """A deployment that has not ended, as much of it as an answer to a command needs."""

    id: str
    kind: Kind
    version: str
    phase: Phase
    requested_by: str
    requested_at: datetime
    not_before: datetime | None
    blocked: str


_WAITING_FOR = Prepared(
    select(*(_DEPLOYMENTS.c[one.name] for one in fields(Waiting)))
    .where(
        _DEPLOYMENTS.c.app == bindparam("app"),
        _DEPLOYMENTS.c.environment == bindparam("environment"),
        text(IS_OPEN),
        _DEPLOYMENTS.c.kind != Kind.PREVIEW,
    )
    .order_by(_DEPLOYMENTS.c.requested_at, _DEPLOYMENTS.c.id)
)


class UnitOfWork:
    """The reads and writes of one transaction. Open it with `Store.write()` or `Store.read()`."""

    def __init__(
        self,
        database: Database,
        opened: Transaction,
        clock: Clock,
        signer: ledger.Signer | None = None,
        *,
        writing: bool,
    ) -> None:
        self.now = clock()
        self.on_sqlite = database.is_sqlite
        self._opened = opened
        self._core = opened.connection
        self._database = database
        self._signer = signer
        self._writing = writing
        self._locks_rows = writing and not database.is_sqlite  # SQLite's write lock covers every row

    @property
    def session(self) -> Session:
        """The transaction with the ORM."""
        return self._opened.session

    def flush(self) -> None:
        """Write what was changed with the ORM."""
        self._opened.flush()

    def run(self, prepared: Prepared, values: Mapping[str, object]) -> list[Row]:
        """The rows of a statement that every ack waits for."""
        return prepared.run(self._core, values)

    def run_many(self, prepared: Prepared, rows: Sequence[Mapping[str, object]]) -> None:
        """The same for many rows of values, for a statement that gives none back."""
        prepared.run_many(self._core, rows)

    def give_way(self) -> None:
        """Between the parts of a long look that nobody waits for: answers go first. Others wait for what writes."""
        if not self._writing:
            self._database.courtesy.give_way()

    # ------------------------------------------------------------ deliveries

    def in_turn(self) -> None:
        """Wait until no other request is being decided; call it before anything is read. SQLite does that by itself."""
        self._database.lock_turn(self._core)

    def answered(self, key: str) -> str | None:
        """The answer that was given to this delivery before, or None when it is new."""
        rows = self.run(_ANSWERED, {"key": key})
        return str(rows[0][0]) if rows else None

    def first_time(self, key: str, answer: str) -> None:
        """Remember the answer to a delivery. A second one with the same key fails the transaction."""
        self.run(_ANSWER, {"key": key, "at": self.now, "answer": answer})

    def forget_deliveries(self) -> None:
        """Drop dedupe keys that nobody can send again."""
        table = cast("Any", Seen)
        self._core.execute(table.__table__.delete().where(table.at < self.now - SEEN_FOR))

    def forget_messages(self) -> None:
        """Drop messages that were sent or given up long ago: the record tells what happened, Slack what was said."""
        table = cast("Any", Message)
        old = table.created_at < self.now - MESSAGES_FOR
        self._core.execute(table.__table__.delete().where(table.waiting.is_(False), old))

    # ------------------------------------------------------------ deployments

    def add(self, deployment: Deployment | NewDeployment, channel: str) -> None:
        """Store a new deployment, requested now, and the card that shows it when there is a channel for it.

        What is changed on an object afterwards is not stored: read it again for that.
        """
        said = vars(deployment) if isinstance(deployment, NewDeployment) else deployment.model_dump()
        self.run(_NEW_DEPLOYMENT, said | {"requested_at": self.now})
        if channel:
            self.run(_NEW_CARD, {"deployment_id": deployment.id, "channel": channel, "not_before": self.now})

    def deployment(self, deployment_id: str) -> Deployment | None:
        """One deployment by its whole id."""
        return self.session.get(Deployment, deployment_id)

    def hold(self, row: Deployment | Change) -> None:
        """Read it again, and let nobody else change it until this transaction ends, so that what is decided holds."""
        self.session.refresh(row, with_for_update=self._locks_rows or None)

    def locked(self, query: Any) -> list[Any]:  # noqa: ANN401 - a select of whichever rows
        """The rows of a query, held; those that another replica holds are left out."""
        return list(self.session.scalars(query.with_for_update(skip_locked=True) if self._locks_rows else query))

    def running(self, deployment_id: str, attempt: int) -> Deployment:
        """The deployment, provided this attempt still owns it; StaleAttemptError otherwise. Held, as by `hold`."""
        row = self.session.get(Deployment, deployment_id, with_for_update=self._locks_rows or None)
        if row is None or row.phase != Phase.RUNNING or row.attempt != attempt:
            raise StaleAttemptError(deployment_id)
        return row

    def open_for(self, app: str, environment: str) -> list[Deployment]:
        """Deployments of this target that have not ended (previews left out), oldest first."""
        table = cast("Any", Deployment)
        return list(
            self.session.scalars(
                select(Deployment)
                .where(
                    table.app == app,
                    table.environment == environment,
                    text(IS_OPEN),
                    table.kind != Kind.PREVIEW,
                )
                .order_by(table.requested_at, table.id)
            )
        )

    def waiting_for(self, app: str, environment: str) -> list[Waiting]:
        """As `open_for`, without the ORM: every command that is answered asks."""
        rows = self.run(_WAITING_FOR, {"app": app, "environment": environment})
        return [
            Waiting(name, Kind(kind), version, Phase(phase), by, at, not_before, blocked)
            for name, kind, version, phase, by, at, not_before, blocked in rows
        ]

    def open_deployments(self) -> list[Deployment]:
        """Every deployment that has not ended, oldest first."""
        table = cast("Any", Deployment)
        return list(
            self.session.scalars(select(Deployment).where(table.phase.in_(OPEN)).order_by(table.requested_at, table.id))
        )

    def last_ended(self, app: str, environment: str, *, phase: Phase | None = None) -> Deployment | None:
        """The latest deployment of this target that ended (in this phase, if one is given); previews left out."""
        table = cast("Any", Deployment)
        query = (
            select(Deployment)
            .where(table.app == app, table.environment == environment, table.kind != Kind.PREVIEW)
            .order_by(table.requested_at.desc(), table.id.desc())
            .limit(1)
        )
        query = query.where(table.phase == phase) if phase else query.where(table.finished_at.is_not(None))
        return self.session.scalars(query).first()

    def matching(self, prefix: str) -> list[Deployment]:
        """Deployments whose id starts with this (already validated) text; at most three."""
        table = cast("Any", Deployment)
        return list(self.session.scalars(select(Deployment).where(table.id.startswith(prefix)).limit(3)))

    def counts(self) -> dict[str, int]:
        """How many deployments are in each phase."""
        table = cast("Any", Deployment)
        rows = self.session.execute(select(table.phase, func.count()).group_by(table.phase)).all()
        return {str(phase): int(count) for phase, count in rows}

    def changed(self, deployment: Deployment) -> None:
        """Count a change that people can see, and have the card posted again."""
        deployment.revision += 1
        self.show_again(deployment.card_id or deployment.id)

    def show_again(self, card_id: str) -> None:
        """Have a card posted again, if there is one, after what it shows was changed.

        It is written where it is due already too: on Postgres, whoever records just now that it was posted has either
        seen that change or is overwritten here.
        """
        if self._locks_rows:
            self.flush()  # first what is shown, then the card: in this order everywhere, so that nobody blocks another
        self.run(_SHOW_AGAIN, {"card": card_id})

    # ------------------------------------------------------------ audit

    def audit(self, entry: AuditEntry) -> AuditRecord:
        """Append one row, make the ledger's tree longer by it, and sign that. A gap in the numbers is a missing row."""
        end = self._end_of_record()
        record = AuditRecord(
            seq=end.next_seq,
            at=self.now,
            action=entry.action,
            team_id=kept(entry.team_id),
            actor=kept(entry.actor),
            app=kept(entry.app),
            environment=kept(entry.environment),
            deployment_id=entry.deployment_id,
            reason_code=entry.reason_code,
            details=kept_details(entry.details),
        )
        leaf = leaf_hash(fresh_text(record))
        grown = ledger.extend(self.run, end, leaf, self._signer)
        self.run(_NEW_AUDIT_ROW, vars(record) | {"leaf": leaf, "sig": grown.sig})
        self._opened.info[_END] = grown
        return record

    def _end_of_record(self) -> ledger.Tail:
        """Where the next row goes. Nobody else may append until this transaction ends, so it is read once in each."""
        known: ledger.Tail | None = self._opened.info.get(_END)
        if known is None:
            self._database.lock_audit(self._core)
            known = ledger.tail(self.run)
        return known

    def hold_audit(self) -> None:
        """Let nobody else append to the record until this transaction ends."""
        self._database.lock_audit(self._core)

    # ------------------------------------------------------------ outbox

    def send(self, note: Note) -> None:
        """Put a message in the outbox, once per key."""
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        table = cast("Any", Message).__table__
        values = {
            "key": note.key,
            "target": note.target,
            "deployment_id": note.deployment_id,
            "channel": note.channel,
            "user_id": note.user_id,
            "thread_ts": note.thread_ts,
            "url": note.url,
            "body": json.dumps(note.body),  # ASCII: whatever a tool printed, both databases can hold it
            "waiting": True,
            "attempts": 0,
            "created_at": self.now,
            "not_before": self.now,
            "ts": "",
            "error": "",
        }
        self._core.execute(insert(table).values(**values).on_conflict_do_nothing(index_elements=["key"]))

    def noted(self, key: str) -> bool:
        """True when a message with this key was written before."""
        table = cast("Any", Message)
        return self.session.execute(select(table.id).where(table.key == key)).first() is not None

    # ------------------------------------------------------------ catalogue

    def remember_catalogue(self, version: CatalogueVersion) -> bool:
        """Store what a locktender.yaml said; False when it says what the last one said, whichever replica saw that."""
        version.source, version.faults = str(storable(version.source)), str(storable(version.faults))
        version.seen_at = self.now
        last = self.last_catalogue()
        if last is not None and (last.source, last.faults) == (version.source, version.faults):
            return False
        self.session.merge(version)  # a branch that was reset shows an old commit again
        self.session.flush()
        return True

    def last_catalogue(self) -> CatalogueVersion | None:
        """The locktender.yaml that was seen last, valid or not."""
        table = cast("Any", CatalogueVersion)
        return self.session.scalars(select(CatalogueVersion).order_by(table.seen_at.desc()).limit(1)).first()

    def last_good_catalogue(self) -> CatalogueVersion | None:
        """The valid locktender.yaml that was seen last."""
        table = cast("Any", CatalogueVersion)
        return self.session.scalars(
            select(CatalogueVersion).where(table.valid).order_by(table.seen_at.desc()).limit(1)
        ).first()


class Store:
    """Opens units of work on one database with one clock. `signer` signs the record; without one, rows are not signed.

    Whatever opens a store that people rely on gives it the signer: a row without a signature counts as forged.
    """

    def __init__(self, database: Database, clock: Clock = utc_now, signer: ledger.Signer | None = None) -> None:
        self.database = database
        self.clock = clock
        self.signer = signer

    @contextmanager
    def write(self) -> Iterator[UnitOfWork]:
        """A transaction that commits at its end."""
        with self.database.write() as opened:
            yield UnitOfWork(self.database, opened, self.clock, self.signer, writing=True)

    @contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """A snapshot."""
        with self.database.read() as opened:
            yield UnitOfWork(self.database, opened, self.clock, writing=False)
