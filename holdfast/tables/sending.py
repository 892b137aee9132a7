"""What we do: campaigns, runs, messages, posts."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from holdfast.tables.columns import Id, Json, UtcTime, metadata, one_of

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
    one_of("state", RUN_STATES, "state"),
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
    one_of("arm", ("treated", "holdout"), "arm"),
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
MESSAGE_RESPONSES = (
    "delivered",
    "bounced",
    "opened",
    "clicked",
    "replied",
    "unsubscribed",
    "complained",
    "answered",
)
_LIVE = text("state IN ('planned', 'leased', 'sending', 'accepted', 'in_doubt')")
_SENT = text("sent_at IS NOT NULL")
_NAMED = text("provider_id IS NOT NULL")
_REFUSED_LETTER = text("state = 'rejected' AND purpose = 'confirmation'")
_TOUCHED = text("opened_at IS NOT NULL OR clicked_at IS NOT NULL")
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
    # The first of each kind of response; `responses` has all of them.
    *(Column(f"{kind}_at", UtcTime) for kind in MESSAGE_RESPONSES),
    Column("machine_opened_at", UtcTime),
    Column("machine_clicked_at", UtcTime),
    UniqueConstraint("enrollment_id", "step", "rank"),
    one_of("state", MESSAGE_STATES, "state"),
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
    # What people opened or clicked: what orders are attributed to.
    Index("ix_messages_touched", "customer_id", postgresql_where=_TOUCHED, sqlite_where=_TOUCHED),
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
    one_of("what", DECISIONS, "what"),
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
    one_of("state", POST_STATES, "state"),
    CheckConstraint("(state = 'sending') = (lease_owner IS NOT NULL)", name="lease"),
    Index("ix_posts_provider", "channel", "provider_id"),
)
