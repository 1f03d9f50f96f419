"""The record as tables: audit rows, the tree over them, what is searched by, files that were ordered, API tokens."""

from datetime import datetime

from sqlalchemy import Column, Index, Text, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlmodel import Field, SQLModel

from storage.models import added_column, new_id, time_column

TOLD = "action IN ('record:deployment', 'record:image')"
"""Audit rows of what pipelines told us. Queries repeat it word for word: only so SQLite takes the partial index."""


class AuditRow(SQLModel, table=True):
    """One thing that happened. Append-only: triggers refuse UPDATE and DELETE. `seq` has no gaps."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("audit_by_deployment", "deployment_id", "seq"),
        Index("audit_told", "action", "seq", sqlite_where=text(TOLD), postgresql_where=text(TOLD)),
    )

    seq: int = Field(primary_key=True)
    at: datetime = time_column(nullable=False)
    action: str
    team_id: str = ""
    actor: str = ""  # a Slack user id, or "locktender"
    app: str = ""
    environment: str = ""
    deployment_id: str = ""
    reason_code: str = ""
    details: str = Field(default="{}", sa_type=Text)  # canonical JSON
    leaf: str = ""  # hex SHA-256 of 0x00 and the row's canonical JSON (RFC 6962 leaf hash)
    sig: str = added_column("")  # `key id:base64` of the Ed25519 signature of the checkpoint whose last row this is


class LedgerNode(SQLModel, table=True):
    """A complete subtree of the Merkle tree over the audit rows: of 2**level leaves, the first at idx << level.

    Leaves are not here: they are the rows' own hashes.
    """

    __tablename__ = "ledger_nodes"
    __table_args__ = {"sqlite_with_rowid": False}

    level: int = Field(primary_key=True)
    idx: int = Field(primary_key=True)
    hash: str  # hex


class LedgerState(SQLModel, table=True):
    """The right edge of the tree, so that appending reads one row: hashes of the complete subtrees, largest first."""

    __tablename__ = "ledger_state"

    id: int = Field(default=1, primary_key=True)
    size: int = 0
    frontier: str = Field(default="[]", sa_type=Text)  # JSON: hex hashes, one for each bit of size that is set


class Checkpoint(SQLModel, table=True):
    """A signed note of the tree (C2SP tlog-checkpoint) that left the database: into git, or to the channel."""

    __tablename__ = "checkpoints"

    size: int = Field(primary_key=True)
    root: str  # hex
    note: str = Field(sa_type=Text)
    at: datetime = time_column(nullable=False)


_Words = Text().with_variant(TSVECTOR(), "postgresql")
"""Full text. On Postgres the words; on SQLite they are in the FTS5 table `audit_words`, and nothing is here."""


class AuditIndex(SQLModel, table=True):
    """What is searched by, beside each audit row: made from the rows at any time, and no part of what is proved."""

    __tablename__ = "audit_index"
    __table_args__ = (
        Index("index_by_app", "app", "seq"),
        Index("index_by_target", "app", "environment", "seq"),
        Index("index_by_environment", "environment", "seq"),
        Index("index_by_actor", "actor", "seq"),
        Index("index_by_subject", "subject", "seq"),
        Index("index_by_status", "status", "seq"),
        Index("index_by_commit", "commit_sha", "seq"),
        Index("index_by_version", "version", "seq"),
        Index("index_by_deployment", "deployment_id", "seq"),
        Index("index_by_action", "action", "seq"),
        Index("index_by_time", "at", "seq"),
        Index("index_by_words", "words", postgresql_using="gin", sqlite_where=text("words <> ''")),
    )

    seq: int = Field(primary_key=True)
    at: datetime = time_column(nullable=False)
    action: str = ""
    app: str = ""
    environment: str = ""
    actor: str = ""
    status: str = ""  # of an ending: succeeded, failed, …; of a refusal: refused
    commit_sha: str = ""
    version: str = ""
    deployment_id: str = ""
    subject: str = ""  # the action without its verb: `change` of `change:approve`
    words: str = Field(default="", sa_column=Column(_Words, nullable=False, default=""))


class Export(SQLModel, table=True):
    """A part of the record that somebody asked for as a file, until it was handed over; or a verdict on all of it."""

    __tablename__ = "exports"
    __table_args__ = (
        Index("exports_waiting", "not_before", sqlite_where=text("waiting"), postgresql_where=text("waiting")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    form: str  # csv | jsonl | chart | verify
    wanted: str = Field(default="{}", sa_type=Text)  # JSON: the filters
    team_id: str = ""
    user_id: str
    requested_at: datetime = time_column(nullable=False)
    waiting: bool = True
    attempts: int = 0
    not_before: datetime = time_column(nullable=False)
    done_at: datetime | None = time_column()
    error: str = Field(default="", sa_type=Text)


class ApiToken(SQLModel, table=True):
    """A token for the JSON API, its hash alone. `scopes` is JSON: `records`, `deploy:staging`, `deploy:staging:web`."""

    __tablename__ = "api_tokens"
    __table_args__ = (Index("tokens_by_hash", "hash", unique=True), Index("tokens_by_name", "name"))

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    name: str
    hash: str  # hex SHA-256: the token has 256 random bits, so nothing is gained by a slow hash
    scopes: str = Field(default="[]", sa_type=Text)
    created_at: datetime = time_column(nullable=False)
    created_by: str = ""
    revoked_at: datetime | None = time_column()
    revoked_by: str = ""
    last_used_at: datetime | None = time_column()
