"""Letters that ask for a confirmation and were refused, by customer: they are not tried run after run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_REFUSED = sa.text("state = 'rejected' AND purpose = 'confirmation'")


def upgrade() -> None:
    op.create_index(
        "ix_messages_refused_letters",
        "messages",
        ["customer_id", "settled_at"],
        postgresql_where=_REFUSED,
        sqlite_where=_REFUSED,
    )
