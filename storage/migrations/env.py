"""Alembic's entry: runs on the connection that `storage.database` hands over."""

from alembic import context
from sqlmodel import SQLModel

from storage import models, record_models

assert models.Deployment.metadata is record_models.AuditRow.metadata is SQLModel.metadata  # noqa: S101 - importing models is what fills the metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata)
with context.begin_transaction():
    context.run_migrations()
