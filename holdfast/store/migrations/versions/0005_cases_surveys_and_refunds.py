"""Surveys, cases, topics, pauses, erasures, referrals; refunds and attribution."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_REFERRED = sa.text("kind = 'referred'")
_SAID = sa.text("kind IN ('replied', 'mentioned', 'answered', 'complained')")
_OPEN = sa.text("closed_at IS NULL")
_UNREADABLE = sa.text("problem IS NOT NULL")
_TOUCHED = sa.text("opened_at IS NOT NULL OR clicked_at IS NOT NULL")
_WAITS = sa.text("erased_at IS NULL")
_READ = sa.text("handled_at IS NOT NULL AND length(body) > 0")
_OF_NO_MESSAGE = sa.text("message_id IS NULL AND customer_id IS NOT NULL")
_OF_CASE = sa.text("case_id IS NOT NULL")
_KINDS = (
    "kind IN ('accepted', 'deferred', 'delivered', 'bounced', 'opened', 'clicked', 'replied', 'unsubscribed'"
    ", 'complained', 'answered', 'resubscribed', 'mentioned', 'referred')"
)


def upgrade() -> None:
    op.add_column("customers", sa.Column("chosen_locale", sa.Text()))
    op.add_column("customers", sa.Column("paused_until", sa.BigInteger()))
    op.add_column("messages", sa.Column("answered_at", sa.BigInteger()))
    op.create_index(
        "ix_inbox_unreadable",
        "inbox",
        ["channel"],
        postgresql_where=_UNREADABLE,
        sqlite_where=_UNREADABLE,
    )
    op.create_index(
        "ix_messages_touched",
        "messages",
        ["customer_id"],
        postgresql_where=_TOUCHED,
        sqlite_where=_TOUCHED,
    )
    op.add_column(
        "orders", sa.Column("refunded", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    _create_about_people()
    _create_about_orders()
    _create_cases()
    with op.batch_alter_table("responses") as batch:
        batch.add_column(sa.Column("survey", sa.Text()))
        batch.add_column(sa.Column("score", sa.SmallInteger()))
        batch.add_column(sa.Column("case_id", ID))
        batch.create_foreign_key(None, "cases", ["case_id"], ["id"])
        batch.drop_constraint(op.f("ck_responses_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_responses_kind"), _KINDS)
    op.create_index("ix_inbox_bodies", "inbox", ["handled_at"], postgresql_where=_READ, sqlite_where=_READ)
    op.create_index(
        "ix_responses_said",
        "responses",
        ["customer_id", "occurred_at"],
        postgresql_where=_SAID,
        sqlite_where=_SAID,
    )
    op.create_index(
        "ix_responses_of_no_message",
        "responses",
        ["customer_id"],
        postgresql_where=_OF_NO_MESSAGE,
        sqlite_where=_OF_NO_MESSAGE,
    )
    op.create_index(
        "ix_responses_of_case", "responses", ["case_id"], postgresql_where=_OF_CASE, sqlite_where=_OF_CASE
    )
    op.create_index(
        "ix_responses_referred",
        "responses",
        ["occurred_at"],
        postgresql_where=_REFERRED,
        sqlite_where=_REFERRED,
    )


def _create_about_people() -> None:
    op.create_table(
        "topic_refusals",
        sa.Column("customer_id", ID, sa.ForeignKey("customers.id"), primary_key=True),
        sa.Column("topic", sa.Text(), primary_key=True),
        sa.Column("refused_at", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "erasures",
        sa.Column("customer_id", ID, sa.ForeignKey("customers.id"), primary_key=True),
        sa.Column("mark", sa.Text(), nullable=False, unique=True),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("erased_at", sa.BigInteger()),
        sa.Index("ix_erasures_waiting", "asked_at", postgresql_where=_WAITS, sqlite_where=_WAITS),
    )
    op.create_table(
        "referrals",
        sa.Column("customer_id", ID, sa.ForeignKey("customers.id"), primary_key=True),
        sa.Column("referrer_id", ID, sa.ForeignKey("customers.id"), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("referred_at", sa.BigInteger(), nullable=False),
        sa.Index("ix_referrals_referrer_id", "referrer_id"),
    )


def _create_about_orders() -> None:
    op.create_table(
        "refunds",
        sa.Column("id", ID, primary_key=True),
        sa.Column("external_id", sa.Text(), nullable=False, unique=True),
        sa.Column("order_id", ID, sa.ForeignKey("orders.id"), nullable=False),
        sa.Column("refunded_at", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Index("ix_refunds_order_id", "order_id"),
    )
    op.create_table(
        "attributions",
        sa.Column("order_id", ID, sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("message_id", ID, sa.ForeignKey("messages.id"), nullable=False),
        sa.Column("touch", sa.Text(), nullable=False),
        sa.Column("touched_at", sa.BigInteger(), nullable=False),
        sa.Index("ix_attributions_message_id", "message_id"),
    )


def _create_cases() -> None:
    op.create_table(
        "cases",
        sa.Column("id", ID, primary_key=True),
        sa.Column("customer_id", ID, sa.ForeignKey("customers.id")),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger()),
        sa.Column("closed_at", sa.BigInteger()),
        sa.Column("reopened", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "reason IN ('reply', 'mention', 'low_score', 'spam_report', 'by_hand')", name="reason"
        ),
        sa.Index("uq_cases_open", "customer_id", unique=True, postgresql_where=_OPEN, sqlite_where=_OPEN),
        sa.Index("ix_cases_customer_id", "customer_id", "opened_at"),
    )
    op.create_table(
        "case_entries",
        sa.Column("id", ID, primary_key=True),
        sa.Column("case_id", ID, sa.ForeignKey("cases.id"), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("what IN ('opened', 'answered', 'noted', 'closed', 'reopened')", name="what"),
        sa.Index("ix_case_entries_case_id", "case_id", "id"),
    )
