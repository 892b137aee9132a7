"""The schema's history, in Alembic's form; run by `holdfast.store.schema`."""
