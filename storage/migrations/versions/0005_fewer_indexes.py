"""The record is searched by its index, so its rows need none of their own; changes that are due have one."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_PLANNED = sa.text("visit_at IS NOT NULL")


def upgrade() -> None:
    for name in ("audit_by_target", "audit_by_environment", "audit_by_actor"):
        op.drop_index(name, "audit")
    op.create_index("changes_due", "changes", ["visit_at"], sqlite_where=_PLANNED, postgresql_where=_PLANNED)
