"""Paces, decisions by hand, and the indexes that a run's guard counts by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FAILED = sa.text("state = 'rejected' OR bounced_at IS NOT NULL OR complained_at IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "paces",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("free_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("today", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_paces")),
    )
    op.create_table(
        "decisions",
        sa.Column("id", ID, nullable=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("run_id", ID, nullable=True),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=True),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("what IN ('approved', 'settled')", name=op.f("ck_decisions_what")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_decisions_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
    )
    op.create_index("ix_decisions_campaign", "decisions", ["campaign", "id"])
    op.add_column("runs", sa.Column("judged_after", ID, nullable=True))
    op.create_index("ix_attempts_run_channel", "attempts", ["run_id", "channel", "id"])
    op.create_index(
        "ix_messages_failed", "messages", ["run_id"], postgresql_where=FAILED, sqlite_where=FAILED
    )
