"""What waits or runs for a target is found without reading all that ever ran there."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_OPEN = sa.text("phase IN ('awaiting_approval', 'queued', 'running')")


def upgrade() -> None:
    op.create_index(
        "open_deployments",
        "deployments",
        ["app", "environment", "requested_at"],
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
