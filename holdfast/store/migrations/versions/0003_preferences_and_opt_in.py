"""The channel that customers prefer, and consents that wait to be confirmed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("customers", sa.Column("preferred_kind", sa.Text(), nullable=True))
    op.add_column("customers", sa.Column("imported_preference", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("preference", sa.Text(), nullable=True))
    op.add_column(
        "consents", sa.Column("pending", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
