"""What is remembered: SQLModel tables. Rows change only inside a unit of work."""

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, DateTime, Dialect, Index, String, Text, TypeDecorator, text
from sqlmodel import Field, SQLModel

from storage import phases
from storage.phases import Phase, Stage

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing to misread, nothing to escape


def new_id() -> str:
    """A deployment id: 10 characters, 50 random bits; short enough to say aloud, safe in a branch name."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(10))


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on both databases (SQLite alone would forget the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; store UTC."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone must not be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give UTC back."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _time(*, nullable: bool = True) -> Any:  # noqa: ANN401 - sqlmodel's Field is typed Any
    return Field(default=None, sa_column=Column(UtcDateTime, nullable=nullable))


class Kind(StrEnum):
    """What sort of request a deployment came from."""

    DEPLOY = "deploy"
    PREVIEW = "preview"  # --dry-run: everything up to the commit, and no commit


class Deployment(SQLModel, table=True):
    """One request to run one version of one app in one environment, from the command to its end."""

    __tablename__ = "deployments"
    __table_args__ = (
        Index(
            "one_running_deployment",
            "app",
            "environment",
            unique=True,
            sqlite_where=text("phase = 'running' AND kind <> 'preview'"),
            postgresql_where=text("phase = 'running' AND kind <> 'preview'"),
        ),
        Index("deployments_by_target", "app", "environment", "requested_at"),
        Index("deployments_by_phase", "phase", "requested_at"),
        Index("deployments_by_time", "requested_at"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    kind: Kind = Field(default=Kind.DEPLOY, sa_type=String)
    app: str
    environment: str
    version: str
    digest: str = ""
    previous: str = ""  # what git said before: a tag or digest
    reason: str = Field(default="", sa_type=Text)

    team_id: str
    requested_by: str
    requested_in: str = ""  # the Slack channel of the command
    requested_thread: str = ""  # where a mention asked
    answer_url: str = ""  # a preview's response_url; wiped once used
    source: str = "slash"  # slash | mention | cli

    phase: Phase = Field(default=Phase.QUEUED, sa_type=String)
    stage: Stage = Field(default=Stage.WAITING, sa_type=String)
    reason_code: str = ""
    what: str = Field(default="", sa_type=Text)
    next_step: str = Field(default="", sa_type=Text)
    detail: str = Field(default="", sa_type=Text)
    note: str = Field(default="", sa_type=Text)  # a trouble that may pass: "Jenkins does not answer; trying again"

    overlay: str = ""
    base_sha: str = ""
    commit_sha: str = ""
    reconciler: str = ""
    job: str = ""
    queue_id: int | None = None
    build_number: int | None = None
    build_url: str = ""
    build_state: str = ""
    build_stage: str = ""
    workload: str = ""
    namespace: str = ""
    context: str = ""
    images: str = Field(default="{}", sa_type=Text)  # JSON: container name -> image, as rendered
    rollout: str = Field(default="", sa_type=Text)  # JSON of the last look at the cluster

    requested_at: datetime = _time(nullable=False)
    started_at: datetime | None = _time()
    committed_at: datetime | None = _time()
    finished_at: datetime | None = _time()
    stage_started: datetime | None = _time()
    stage_deadline: datetime | None = _time()  # when the present stage gives up

    attempt: int = 0
    executor: str = ""
    heartbeat_at: datetime | None = _time()
    revision: int = 0  # grows with every change that a person can see

    def to(self, phase: Phase) -> None:
        """Change phase; the only way to. Raises IllegalTransitionError for a change the table does not have."""
        phases.check(Phase(self.phase), phase)
        self.phase = phase


class Card(SQLModel, table=True):
    """The one Slack message of a deployment: where it is, and whether it shows the latest revision."""

    __tablename__ = "cards"
    __table_args__ = (
        Index("cards_behind", "not_before", sqlite_where=text("behind"), postgresql_where=text("behind")),
    )

    deployment_id: str = Field(primary_key=True, max_length=32)
    channel: str
    ts: str = ""
    behind: bool = True  # the deployment changed since the card was last posted
    shown: str = ""  # hash of what was posted last
    attempts: int = 0
    not_before: datetime = _time(nullable=False)
    error: str = Field(default="", sa_type=Text)


class Target(StrEnum):
    """How a message leaves."""

    THREAD = "thread"  # a reply below the deployment's card
    CHANNEL = "channel"
    EPHEMERAL = "ephemeral"  # chat.postEphemeral to one person
    RESPONSE = "response"  # a command's response_url


class Message(SQLModel, table=True):
    """The outbox: a message to Slack, written with the change it tells of, sent at least once and found if sent."""

    __tablename__ = "messages"
    __table_args__ = (
        Index("messages_waiting", "not_before", sqlite_where=text("waiting"), postgresql_where=text("waiting")),
    )

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    target: Target = Field(sa_type=String)
    deployment_id: str = ""
    channel: str = ""
    user_id: str = ""
    thread_ts: str = ""
    url: str = ""  # response_url; wiped once used
    body: str = Field(sa_type=Text)  # JSON: {"text", "blocks"?, "replace_original"?}
    waiting: bool = True
    attempts: int = 0
    created_at: datetime = _time(nullable=False)
    not_before: datetime = _time(nullable=False)
    sent_at: datetime | None = _time()
    ts: str = ""
    error: str = Field(default="", sa_type=Text)


class Seen(SQLModel, table=True):
    """A delivery that was handled, under its dedupe key, with the answer that was given."""

    __tablename__ = "seen"
    __table_args__ = (Index("seen_by_time", "at"),)

    key: str = Field(primary_key=True)
    at: datetime = _time(nullable=False)
    answer: str = Field(default="", sa_type=Text)  # JSON


class AuditRow(SQLModel, table=True):
    """One thing that happened. Append-only: triggers refuse UPDATE and DELETE. `seq` has no gaps."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("audit_by_target", "app", "environment", "seq"),
        Index("audit_by_environment", "environment", "seq"),
        Index("audit_by_actor", "actor", "seq"),
        Index("audit_by_deployment", "deployment_id", "seq"),
    )

    seq: int = Field(primary_key=True)
    at: datetime = _time(nullable=False)
    action: str
    team_id: str = ""
    actor: str = ""  # a Slack user id, or "locktender"
    app: str = ""
    environment: str = ""
    deployment_id: str = ""
    reason_code: str = ""
    details: str = Field(default="{}", sa_type=Text)  # canonical JSON
    leaf: str = ""  # hex SHA-256 of 0x00 and the row's canonical JSON (RFC 6962 leaf hash)


class CatalogueVersion(SQLModel, table=True):
    """A version of locktender.yaml that was seen: the last good one stays in force across restarts."""

    __tablename__ = "catalogues"

    commit: str = Field(primary_key=True)
    source: str = Field(sa_type=Text)
    valid: bool
    faults: str = Field(default="", sa_type=Text)
    seen_at: datetime = _time(nullable=False)
