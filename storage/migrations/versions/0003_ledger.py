"""The record: the Merkle tree over the audit rows, what is searched by, and API tokens."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

from storage import ledger
from storage.models import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("revoked_at", UtcDateTime, nullable=True),
        sa.Column("revoked_by", sa.String(), nullable=False),
        sa.Column("last_used_at", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tokens_by_hash", "api_tokens", ["hash"], unique=True)
    op.create_index("tokens_by_name", "api_tokens", ["name"], unique=False)
    op.create_table(
        "audit_index",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("app", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("commit_sha", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("deployment_id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("words", sa.Text().with_variant(TSVECTOR(), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("index_by_action", "audit_index", ["action", "seq"], unique=False)
    op.create_index("index_by_actor", "audit_index", ["actor", "seq"], unique=False)
    op.create_index("index_by_app", "audit_index", ["app", "seq"], unique=False)
    op.create_index("index_by_commit", "audit_index", ["commit_sha", "seq"], unique=False)
    op.create_index("index_by_deployment", "audit_index", ["deployment_id", "seq"], unique=False)
    op.create_index("index_by_environment", "audit_index", ["environment", "seq"], unique=False)
    op.create_index("index_by_status", "audit_index", ["status", "seq"], unique=False)
    op.create_index("index_by_subject", "audit_index", ["subject", "seq"], unique=False)
    op.create_index("index_by_target", "audit_index", ["app", "environment", "seq"], unique=False)
    op.create_index("index_by_time", "audit_index", ["at", "seq"], unique=False)
    op.create_index("index_by_version", "audit_index", ["version", "seq"], unique=False)
    op.create_index(
        "index_by_words", "audit_index", ["words"], postgresql_using="gin", sqlite_where=sa.text("words <> ''")
    )
    if op.get_bind().dialect.name == "sqlite":
        # Tokens come as they are to be found (storage.words): FTS5 must only split them at spaces.
        op.execute(
            "CREATE VIRTUAL TABLE audit_words USING fts5"
            "(words, content='', detail=none, columnsize=0, tokenize=\"ascii tokenchars '-._='\")"
        )
    op.create_table(
        "exports",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("form", sa.String(), nullable=False),
        sa.Column("wanted", sa.Text(), nullable=False),
        sa.Column("team_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("requested_at", UtcDateTime, nullable=False),
        sa.Column("waiting", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", UtcDateTime, nullable=False),
        sa.Column("done_at", UtcDateTime, nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "exports_waiting",
        "exports",
        ["not_before"],
        unique=False,
        sqlite_where=sa.text("waiting"),
        postgresql_where=sa.text("waiting"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("root", sa.String(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("size"),
    )
    op.create_table(
        "ledger_nodes",
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("level", "idx"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("frontier", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("audit", sa.Column("sig", sa.String(), server_default=sa.text("''"), nullable=False))
    for table in ("deployments", "changes"):
        op.add_column(table, sa.Column("on_behalf_of", sa.String(), server_default=sa.text("''"), nullable=False))
    told = sa.text("action IN ('record:deployment', 'record:image')")
    op.create_index("audit_told", "audit", ["action", "seq"], unique=False, sqlite_where=told, postgresql_where=told)
    # Rows of the first release get their places in the tree; the first row that is signed vouches for them too.
    connection = op.get_bind()
    ledger.rebuild(lambda statement, values: statement.run(connection, values))
