"""Who they are, and what they permit."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Table,
    Text,
    text,
)

from holdfast.tables.columns import Id, Json, UtcTime, metadata, one_of

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
    # The language that they chose themselves: no import overwrites `locale` then.
    Column("chosen_locale", Text),
    # No marketing up to this moment, because they asked for a rest.
    Column("paused_until", UtcTime),
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
    one_of("purpose", ("marketing", "transactional"), "purpose"),
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

# Topics that customers want to hear nothing about; whoever is not here hears about all.
topic_refusals = Table(
    "topic_refusals",
    metadata,
    Column("customer_id", Id, ForeignKey("customers.id"), primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("refused_at", UtcTime, nullable=False),
    sqlite_with_rowid=False,
)

_WAITS = text("erased_at IS NULL")

# Who asked to be forgotten. What stays of an erased one is this: a keyed mark of the external id, so that
# no import brings them back.
erasures = Table(
    "erasures",
    metadata,
    Column("customer_id", Id, ForeignKey("customers.id"), primary_key=True),
    Column("mark", Text, nullable=False, unique=True),
    Column("asked_by", Text, nullable=False),
    Column("asked_at", UtcTime, nullable=False),
    Column("erased_at", UtcTime),
    Index("ix_erasures_waiting", "asked_at", postgresql_where=_WAITS, sqlite_where=_WAITS),
)

# Who came by whose invitation: once, and for ever.
referrals = Table(
    "referrals",
    metadata,
    Column("customer_id", Id, ForeignKey("customers.id"), primary_key=True),
    Column("referrer_id", Id, ForeignKey("customers.id"), nullable=False),
    # The message that the invitation stood in.
    Column("message_id", BigInteger, nullable=False),
    Column("referred_at", UtcTime, nullable=False),
    Index("ix_referrals_referrer_id", "referrer_id"),
)
