"""The schema: SQLAlchemy Core tables for SQLite and PostgreSQL.

Times are microseconds since 1970 in UTC, as integers on both databases, so that arithmetic and comparison
are the same SQL on both; in Python they are aware datetimes, and a naive one is an error. Money is integer
minor units. Months are integers: year * 12 + month - 1, in the business time zone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """An aware datetime as microseconds since 1970. A naive one raises ValueError."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone: say which zone it is in")
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The aware UTC datetime for microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970 in UTC. Plain integers pass unchanged."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:
        return to_microseconds(value) if isinstance(value, datetime) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else from_microseconds(value)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self if isinstance(value, datetime) else BigInteger()


Id = BigInteger().with_variant(Integer, "sqlite")
Json = JSON().with_variant(JSONB, "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: tuple[str, ...], name: str) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=name)


# --- who ------------------------------------------------------------------------------------------

customers = Table(
    "customers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("external_id", Text, nullable=False, unique=True),
    # x of the draw (a*x + b) mod p: 31 bits of a hash of external_id, keyed with the project's secret.
    Column("draw", BigInteger, nullable=False),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("locale", Text),
    Column("timezone", Text),
    Column("country", Text),
    Column("city", Text),
    Column("birthday", Date),
    Column("attributes", Json, nullable=False, server_default=text("'{}'")),
    # The kind of channel that they chose; and what an import said of it last, to tell what it only repeats.
    Column("preferred_kind", Text),
    Column("imported_preference", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

# Tables whose key has several columns are kept in its order on SQLite: no row id, no second tree.
addresses = Table(
    "addresses",
    metadata,
    Column("customer_id", Id, ForeignKey("customers.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("address", Text, nullable=False),
    # What suppressions are keyed by: the address folded so that one mailbox has one spelling.
    Column("address_key", Text, nullable=False),
    Index("ix_addresses_kind_address_key", "kind", "address_key"),
    sqlite_with_rowid=False,
)

# Append-only: the latest row up to a moment says what is permitted at that moment. `pending`: a yes that is
# none until the customer confirms it, which is a row of its own.
consents = Table(
    "consents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("customer_id", Id, ForeignKey("customers.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    Column("pending", Boolean, nullable=False, server_default=text("false")),
    _one_of("purpose", ("marketing", "transactional"), "purpose"),
    Index("ix_consents_latest", "customer_id", "kind", "purpose", "recorded_at", "id", "granted"),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("address_key", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    sqlite_with_rowid=False,
)

# --- what they did --------------------------------------------------------------------------------

orders = Table(
    "orders",
    metadata,
    Column("id", Id, primary_key=True),
    Column("external_id", Text, nullable=False, unique=True),
    Column("customer_id", Id, ForeignKey("customers.id"), nullable=False),
    Column("ordered_at", UtcTime, nullable=False),
    Column("month", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    # Not cancelled, test or fully refunded: what every count, sum and recency is over.
    Column("qualifying", Boolean, nullable=False),
    Index("ix_orders_history", "customer_id", "qualifying", "ordered_at", "total"),
)

order_lines = Table(
    "order_lines",
    metadata,
    Column("order_id", Id, ForeignKey("orders.id"), primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("category", Text),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("external_id", Text, nullable=False, unique=True),
    Column("customer_id", Id, ForeignKey("customers.id"), nullable=False),
    Column("event", Text, nullable=False),
    Column("occurred_at", UtcTime, nullable=False),
    Column("properties", Json, nullable=False, server_default=text("'{}'")),
    Index("ix_events_history", "customer_id", "event", "occurred_at"),
)

# The rollup: facts over qualifying orders that do not decay. Stages and recencies are computed from it.
profiles = Table(
    "profiles",
    metadata,
    Column("customer_id", Id, ForeignKey("customers.id"), primary_key=True),
    Column("order_count", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("first_order_at", UtcTime, nullable=False),
    Column("previous_order_at", UtcTime),
    Column("last_order_at", UtcTime, nullable=False),
)

profile_months = Table(
    "profile_months",
    metadata,
    Column("customer_id", Id, ForeignKey("customers.id"), primary_key=True),
    Column("month", Integer, primary_key=True),
    Column("order_count", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# --- what we do -----------------------------------------------------------------------------------

campaign_versions = Table(
    "campaign_versions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("source", Text, nullable=False),
    # By file of the project, of what the campaign uses of it: of more than templates, by now.
    Column("templates", Json, key="digests", nullable=False),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("campaign", "digest"),
)

DECISIONS = ("approved", "settled")
RUN_STATES = ("planned", "awaiting_approval", "running", "stopping", "stopped", "done")

runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("occurrence", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("version_id", Id, ForeignKey("campaign_versions.id"), nullable=False),
    Column("approved_hash", Text),
    Column("as_of", UtcTime, nullable=False),
    # The share that this run held out, whatever the campaign's file says by now; none: it has no holdout.
    Column("holdout", Float),
    # Slices up to this customer id are enrolled; audience_at is set when the last one is.
    Column("enrolled_through", BigInteger, nullable=False, server_default=text("0")),
    Column("audience_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    # The last attempt when a guard stopped the run: once it is resumed, later ones alone count.
    Column("judged_after", Id),
    UniqueConstraint("campaign", "occurrence"),
    _one_of("state", RUN_STATES, "state"),
)

# One row for each customer the rule selected for a run. Who was turned away has no arm and a reason.
enrollments = Table(
    "enrollments",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", Id, ForeignKey("runs.id"), nullable=False),
    Column("campaign", Text, nullable=False),
    Column("customer_id", Id, ForeignKey("customers.id"), nullable=False),
    Column("entry", Integer),
    Column("arm", Text),
    Column("reason", Text),
    # The next step to plan, and when; none: the way is at its end.
    Column("next_step", Text),
    Column("due_at", UtcTime),
    Column("enrolled_at", UtcTime, nullable=False),
    UniqueConstraint("run_id", "customer_id"),
    UniqueConstraint("campaign", "customer_id", "entry"),
    _one_of("arm", ("treated", "holdout"), "arm"),
    CheckConstraint("(arm IS NULL) = (entry IS NULL)", name="entry_has_arm"),
    CheckConstraint("(arm IS NULL) = (reason IS NOT NULL)", name="reason_if_turned_away"),
    CheckConstraint("(next_step IS NULL) = (due_at IS NULL)", name="step_has_time"),
    Index(
        "ix_enrollments_due",
        "run_id",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
)

MESSAGE_STATES = (
    "planned",  # -> leased, skipped, cancelled
    "leased",  # -> sending, skipped, cancelled; -> planned when the lease ran out or the window closed
    "sending",  # -> accepted, rejected, in_doubt; -> planned when the provider did not take it
    "accepted",  # taken by the provider: the end, until responses come
    "rejected",  # refused for good; a fallback may follow as the next rank
    "in_doubt",  # -> accepted by proof; -> planned by proof that it was never taken, or by policy
    "skipped",  # decided against, with the reason
    "cancelled",  # the run was ended by an operator
)
LIVE_STATES = ("planned", "leased", "sending", "accepted", "in_doubt")
MESSAGE_RESPONSES = ("delivered", "bounced", "opened", "clicked", "replied", "unsubscribed", "complained")
_LIVE = text("state IN ('planned', 'leased', 'sending', 'accepted', 'in_doubt')")
_SENT = text("sent_at IS NOT NULL")
_NAMED = text("provider_id IS NOT NULL")
_REFUSED_LETTER = text("state = 'rejected' AND purpose = 'confirmation'")
_FAILED = text("state = 'rejected' OR bounced_at IS NOT NULL OR complained_at IS NOT NULL")

messages = Table(
    "messages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("enrollment_id", Id, ForeignKey("enrollments.id"), nullable=False),
    Column("run_id", Id, ForeignKey("runs.id"), nullable=False),
    Column("customer_id", Id, ForeignKey("customers.id"), nullable=False),
    Column("step", Text, nullable=False),
    Column("rank", SmallInteger, nullable=False, server_default=text("1")),
    Column("channel", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("variant", Text),
    # Why this channel: `chosen` by the customer, or `answered` on most; none: it is the step's order.
    Column("preference", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    # Not before due_at; not at or after closes_at (the end of the window it was planned for).
    Column("due_at", UtcTime, nullable=False),
    Column("closes_at", UtcTime),
    Column("lease_owner", Text),
    Column("lease_expires_at", UtcTime),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("attempt_id", Id),
    # When it last became `sending`: what caps count.
    Column("sent_at", UtcTime),
    Column("settled_at", UtcTime),
    Column("provider_id", Text),
    # The first of each kind of response, taken anew from `responses` whenever one comes.
    *(Column(f"{kind}_at", UtcTime) for kind in MESSAGE_RESPONSES),
    Column("machine_opened_at", UtcTime),
    Column("machine_clicked_at", UtcTime),
    UniqueConstraint("enrollment_id", "step", "rank"),
    _one_of("state", MESSAGE_STATES, "state"),
    CheckConstraint("(state IN ('leased', 'sending')) = (lease_owner IS NOT NULL)", name="lease"),
    Index(
        "uq_messages_live", "enrollment_id", "step", unique=True, postgresql_where=_LIVE, sqlite_where=_LIVE
    ),
    Index(
        "ix_messages_planned",
        "run_id",
        "channel",
        "due_at",
        "id",
        postgresql_where=text("state = 'planned'"),
        sqlite_where=text("state = 'planned'"),
    ),
    Index(
        "ix_messages_leases",
        "lease_expires_at",
        postgresql_where=text("lease_owner IS NOT NULL"),
        sqlite_where=text("lease_owner IS NOT NULL"),
    ),
    Index(
        "ix_messages_in_doubt",
        "run_id",
        "sent_at",
        postgresql_where=text("state = 'in_doubt'"),
        sqlite_where=text("state = 'in_doubt'"),
    ),
    Index("ix_messages_sent", "customer_id", "sent_at", postgresql_where=_SENT, sqlite_where=_SENT),
    # The few of a run that went wrong: what its guard counts.
    Index("ix_messages_failed", "run_id", postgresql_where=_FAILED, sqlite_where=_FAILED),
    # Who asks for a confirmation again and again looks here.
    Index(
        "ix_messages_refused_letters",
        "customer_id",
        "settled_at",
        postgresql_where=_REFUSED_LETTER,
        sqlite_where=_REFUSED_LETTER,
    ),
    # For providers that give back no key of ours.
    Index("ix_messages_provider", "channel", "provider_id", postgresql_where=_NAMED, sqlite_where=_NAMED),
)

# One call to a channel, for one message or a batch of them.
attempts = Table(
    "attempts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", Id, ForeignKey("runs.id"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("messages", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("accepted", Integer),
    Column("rejected", Integer),
    Column("retried", Integer),
    Column("in_doubt", Integer),
    # What a breaker looks at: the latest calls of a run on a channel.
    Index("ix_attempts_run_channel", "run_id", "channel", "id"),
)

# How far a channel's pace, or a campaign's, has been given away: see store/paces.py.
paces = Table(
    "paces",
    metadata,
    # "channel email", "campaign winback"
    Column("name", Text, primary_key=True),
    # Sending may go on from this moment, by the database's clock.
    Column("free_at", UtcTime, nullable=False),
    # When sending began after a pause: a slow start counts from here.
    Column("started_at", UtcTime, nullable=False),
    # The business's day, and how many messages were given leave on it.
    Column("day", Date),
    Column("today", Integer, nullable=False, server_default=text("0")),
)

# What people decided by hand, with their reasons. Append-only.
decisions = Table(
    "decisions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("run_id", Id, ForeignKey("runs.id")),
    Column("what", Text, nullable=False),
    # The hash that was approved; `accepted` or `resend` for what was settled.
    Column("detail", Text, nullable=False),
    # How many messages and posts it was about; none for an approval.
    Column("messages", Integer),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("decided_at", UtcTime, nullable=False),
    _one_of("what", DECISIONS, "what"),
    Index("ix_decisions_campaign", "campaign", "id"),
)

POST_STATES = ("planned", "sending", "accepted", "rejected", "in_doubt")

# One public publication on a social channel: of one step of a run there is one for each channel, for ever.
posts = Table(
    "posts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", Id, ForeignKey("runs.id"), nullable=False),
    Column("step", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("due_at", UtcTime, nullable=False),
    Column("lease_owner", Text),
    Column("lease_expires_at", UtcTime),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("sent_at", UtcTime),
    Column("settled_at", UtcTime),
    Column("provider_id", Text),
    # The text that went out, or may have: what a look-up compares.
    Column("text", Text),
    # Counted by the network, as of measured_at.
    Column("impressions", BigInteger),
    Column("likes", BigInteger),
    Column("replies", BigInteger),
    Column("reposts", BigInteger),
    Column("clicks", BigInteger),
    Column("measured_at", UtcTime),
    UniqueConstraint("run_id", "step", "channel"),
    _one_of("state", POST_STATES, "state"),
    CheckConstraint("(state = 'sending') = (lease_owner IS NOT NULL)", name="lease"),
    Index("ix_posts_provider", "channel", "provider_id"),
)

# --- what comes back ------------------------------------------------------------------------------

# Answers as they came, kept before the sender gets its 2xx. No channel: our own links and pixels.
inbox = Table(
    "inbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("channel", Text),
    Column("received_at", UtcTime, nullable=False),
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
)

RESPONSE_KINDS = ("accepted", "deferred", *MESSAGE_RESPONSES, "resubscribed", "mentioned")

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
    Column("inbox_id", Id, ForeignKey("inbox.id")),
    UniqueConstraint("channel", "event_id"),
    _one_of("kind", RESPONSE_KINDS, "kind"),
    Index("ix_responses_message", "message_id", "kind", "occurred_at"),
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

# How far something has been read: a source that is synced, a channel that is polled.
cursors = Table(
    "cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)
