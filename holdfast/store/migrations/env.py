"""Alembic's entry. Connection, transaction and lock are the caller's (`holdfast.store.schema`)."""

from __future__ import annotations

from alembic import context

from holdfast.store.schema import VERSION_TABLE
from holdfast.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
