"""Who came by whose invitation, and what came of the invitations."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import BigInteger, Column, Connection, Text, exists, func, literal, select

from holdfast.channel import ResponseKind
from holdfast.metrics.referral import Referral
from holdfast.store.staging import insert_or, rows_written, stage, staging_table
from holdfast.tables import customers, messages, orders, referrals, responses

_staged = staging_table(
    "staged_referrals",
    Column("customer", Text, primary_key=True),
    Column("message_id", BigInteger),
)


def add(connection: Connection, invited: Collection[tuple[str, int]], now: int) -> int:
    """Notes who came, by external id, by the invitation in which message; how many that was news of.

    The first invitation counts, for ever. Nobody invites themselves, and who has ordered before has not come
    by an invitation.
    """
    stage(connection, _staged, invited)
    c, m = customers.c, messages.c
    came = (
        select(
            c.id.label("customer_id"),
            m.customer_id.label("referrer_id"),
            m.id.label("message_id"),
            literal(now, BigInteger).label("referred_at"),
        )
        .join_from(_staged, customers, c.external_id == _staged.c.customer)
        .join(messages, m.id == _staged.c.message_id)
        .where(m.customer_id != c.id, ~exists().where(orders.c.customer_id == c.id))
    )
    return rows_written(connection, insert_or(connection, referrals, came).on_conflict_do_nothing())


def results(connection: Connection, since: datetime, until: datetime, customers: int) -> Referral:
    """What came of invitations in [since, until), which so many customers could have passed on."""
    a, r = responses.c, referrals.c
    looked = connection.execute(
        select(func.count(), func.count(a.customer_id.distinct())).where(
            a.kind == ResponseKind.REFERRED.value,
            a.machine.is_(None),
            a.occurred_at >= since,
            a.occurred_at < until,
        )
    ).one()
    ordered = exists().where(
        orders.c.customer_id == r.customer_id, orders.c.qualifying, orders.c.ordered_at < until
    )
    came = connection.execute(
        select(func.count(), func.count().filter(ordered)).where(
            r.referred_at >= since, r.referred_at < until
        )
    ).one()
    return Referral(customers, *looked, *came)
