"""What comes back, what follows from it, and how far it has been read."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from holdfast.tables.columns import Id, UtcTime, metadata, one_of
from holdfast.tables.sending import MESSAGE_RESPONSES

HAS_BODY = text("length(body) > 0")
"""Of the inbox: not emptied yet. SQLite uses the index of those that were read where a query says it so."""
_READ = text(f"handled_at IS NOT NULL AND {HAS_BODY.text}")

# Answers as they came, kept before the sender gets its 2xx. No channel: our own links and pixels.
inbox = Table(
    "inbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("channel", Text),
    Column("received_at", UtcTime, nullable=False),
    # Empty, when it has been kept long enough after it was read, or a customer in it was erased.
    Column("body", LargeBinary, nullable=False),
    # Of the body: a provider that repeats a request repeats it to the byte.
    Column("digest", LargeBinary, nullable=False),
    Column("handled_at", UtcTime),
    # Why it could not be read; it stays here, and is counted.
    Column("problem", Text),
    UniqueConstraint("channel", "digest"),
    Index(
        "ix_inbox_waiting",
        "id",
        postgresql_where=text("handled_at IS NULL"),
        sqlite_where=text("handled_at IS NULL"),
    ),
    Index("ix_inbox_bodies", "handled_at", postgresql_where=_READ, sqlite_where=_READ),
    Index(
        "ix_inbox_unreadable",
        "channel",
        postgresql_where=text("problem IS NOT NULL"),
        sqlite_where=text("problem IS NOT NULL"),
    ),
)

RESPONSE_KINDS = ("accepted", "deferred", *MESSAGE_RESPONSES, "resubscribed", "mentioned", "referred")
SAID = text("kind IN ('replied', 'mentioned', 'answered', 'complained')")
"""Of responses: what customers said in words or points. SQLite uses its index where a query says so too."""
_REFERRED = text("kind = 'referred'")

CASE_REASONS = ("reply", "mention", "low_score", "spam_report", "by_hand")
_OPEN = text("closed_at IS NULL")
_OF_NO_MESSAGE = text("message_id IS NULL AND customer_id IS NOT NULL")
_OF_CASE = text("case_id IS NOT NULL")

# Complaints. A customer has one open case at most: what they say while it is open belongs to it.
cases = Table(
    "cases",
    metadata,
    Column("id", Id, primary_key=True),
    # None: of somebody whom we do not know, in public.
    Column("customer_id", Id, ForeignKey("customers.id")),
    # No channel is '': our own pages.
    Column("channel", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("opened_at", UtcTime, nullable=False),
    # When somebody of us first answered.
    Column("answered_at", UtcTime),
    Column("closed_at", UtcTime),
    Column("reopened", SmallInteger, nullable=False, server_default=text("0")),
    one_of("reason", CASE_REASONS, "reason"),
    Index("uq_cases_open", "customer_id", unique=True, postgresql_where=_OPEN, sqlite_where=_OPEN),
    Index("ix_cases_customer_id", "customer_id", "opened_at"),
)

CASE_ENTRIES = ("opened", "answered", "noted", "closed", "reopened")

# What we did about a case. Append-only.
case_entries = Table(
    "case_entries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("case_id", Id, ForeignKey("cases.id"), nullable=False),
    Column("what", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    one_of("what", CASE_ENTRIES, "what"),
    Index("ix_case_entries_case_id", "case_id", "id"),
)

responses = Table(
    "responses",
    metadata,
    Column("id", Id, primary_key=True),
    # No channel is '': our own links.
    Column("channel", Text, nullable=False),
    # The provider's name for the event, or a digest of it: the same event twice is one response.
    Column("event_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # None: of a message or customer that we do not know.
    Column("message_id", Id, ForeignKey("messages.id")),
    Column("customer_id", Id, ForeignKey("customers.id")),
    Column("post_id", Id, ForeignKey("posts.id")),
    Column("occurred_at", UtcTime, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    # Why a machine is taken to have done it; none: a person.
    Column("machine", Text),
    Column("reason", Text),
    Column("url", Text),
    Column("text", Text),
    # Of what was `answered`: `nps` or `csat`, and the answer on its scale. All are kept: who reads them takes
    # the latest, and of two of one moment the one of the later name.
    Column("survey", Text),
    Column("score", SmallInteger),
    # The case that it opened, or belongs to.
    Column("case_id", Id, ForeignKey("cases.id")),
    Column("inbox_id", Id, ForeignKey("inbox.id")),
    UniqueConstraint("channel", "event_id"),
    one_of("kind", RESPONSE_KINDS, "kind"),
    Index("ix_responses_message", "message_id", "kind", "occurred_at"),
    # What a customer said in words or points.
    Index("ix_responses_said", "customer_id", "occurred_at", postgresql_where=SAID, sqlite_where=SAID),
    # Few: what came by an address alone, to which nothing was sent.
    Index(
        "ix_responses_of_no_message",
        "customer_id",
        postgresql_where=_OF_NO_MESSAGE,
        sqlite_where=_OF_NO_MESSAGE,
    ),
    Index("ix_responses_of_case", "case_id", postgresql_where=_OF_CASE, sqlite_where=_OF_CASE),
    # A month's looks at invitations, among all the clicks.
    Index("ix_responses_referred", "occurred_at", postgresql_where=_REFERRED, sqlite_where=_REFERRED),
)

# Enrollments of either arm whose goal was met inside its window, counted from the enrollment.
conversions = Table(
    "conversions",
    metadata,
    Column("enrollment_id", Id, ForeignKey("enrollments.id"), primary_key=True),
    Column("converted_at", UtcTime, nullable=False),
    # All goal events in the window, and what its orders came to; an order that stops to qualify goes again.
    Column("events", Integer, nullable=False),
    Column("value", BigInteger, nullable=False),
)

# The last message that a person touched before an order: one an order.
attributions = Table(
    "attributions",
    metadata,
    Column("order_id", Id, ForeignKey("orders.id"), primary_key=True),
    Column("message_id", Id, ForeignKey("messages.id"), nullable=False),
    # `clicked` or `opened`.
    Column("touch", Text, nullable=False),
    Column("touched_at", UtcTime, nullable=False),
    Index("ix_attributions_message_id", "message_id"),
)

# How far something has been read: a source that is synced, a channel that is polled.
cursors = Table(
    "cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)
