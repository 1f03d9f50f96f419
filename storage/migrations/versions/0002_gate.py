"""The production gate: reviewed changes, approvals, locks, and what a deployment has to do with them."""

import sqlalchemy as sa
from alembic import op

from storage.models import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("team_id", sa.String(), nullable=False),
        sa.Column("slack_user", sa.String(), nullable=False),
        sa.Column("login", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("approvals_by_change", "approvals", ["change_id", "content", "person"], unique=True)
    op.create_table(
        "changes",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("app", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("team_id", sa.String(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("requested_at", UtcDateTime, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("card_id", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("required", sa.Integer(), nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=True),
        sa.Column("branch", sa.String(), nullable=False),
        sa.Column("pr_number", sa.Integer(), nullable=True),
        sa.Column("pr_url", sa.String(), nullable=False),
        sa.Column("base_sha", sa.String(), nullable=False),
        sa.Column("own_sha", sa.String(), nullable=False),
        sa.Column("head_sha", sa.String(), nullable=False),
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("diff", sa.Text(), nullable=False),
        sa.Column("moved", sa.Text(), nullable=False),
        sa.Column("wants", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("merge_sha", sa.String(), nullable=False),
        sa.Column("merged_by", sa.String(), nullable=False),
        sa.Column("merged_at", UtcDateTime, nullable=True),
        sa.Column("break_glass", sa.Boolean(), nullable=False),
        sa.Column("review_due", UtcDateTime, nullable=True),
        sa.Column("reviewed_by", sa.String(), nullable=False),
        sa.Column("reviewed_at", UtcDateTime, nullable=True),
        sa.Column("visit_at", UtcDateTime, nullable=True),
        sa.Column("visits", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("changes_by_review", "changes", ["review_due"], unique=False)
    op.create_index("changes_by_state", "changes", ["state", "visit_at"], unique=False)
    op.create_index("changes_by_token", "changes", ["token"], unique=False)
    op.create_table(
        "locks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("app", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("team_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=True),
        sa.Column("lifted_at", UtcDateTime, nullable=True),
        sa.Column("lifted_by", sa.String(), nullable=False),
        sa.Column("deployment_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("locks_by_deployment", "locks", ["deployment_id"], unique=False)
    op.create_index("locks_in_force", "locks", ["lifted_at", "environment", "app"], unique=False)
    op.create_table(
        "marks",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.add_column("deployments", sa.Column("card_id", sa.String(), server_default=sa.text("''"), nullable=False))
    op.add_column("deployments", sa.Column("change_id", sa.String(), server_default=sa.text("''"), nullable=False))
    op.add_column("deployments", sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("deployments", sa.Column("not_before", UtcDateTime, nullable=True))
    op.add_column("deployments", sa.Column("break_glass", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("deployments", sa.Column("exact", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("deployments", sa.Column("promoted_from", sa.String(), server_default=sa.text("''"), nullable=False))
    op.add_column("deployments", sa.Column("restores", sa.String(), server_default=sa.text("''"), nullable=False))
    op.add_column("deployments", sa.Column("restore_commit", sa.String(), server_default=sa.text("''"), nullable=False))
    op.add_column("deployments", sa.Column("blocked", sa.String(), server_default=sa.text("''"), nullable=False))
    op.add_column("deployments", sa.Column("superseded_by", sa.String(), server_default=sa.text("''"), nullable=False))
    op.add_column("deployments", sa.Column("no_way_back", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("deployments", sa.Column("soak_restarts", sa.Integer(), nullable=True))
    op.add_column("deployments", sa.Column("soak_until", UtcDateTime, nullable=True))
    op.create_index("deployments_by_card", "deployments", ["card_id"], unique=False)
    op.create_index("deployments_by_change", "deployments", ["change_id"], unique=False)
