"""Addresses that nothing more goes to, by what was answered."""

from __future__ import annotations

from sqlalchemy import Connection, and_, case, func, or_, select

from holdfast.channel import ResponseKind
from holdfast.store.responses.given import staged
from holdfast.store.staging import insert_or
from holdfast.tables import addresses, suppressions


def suppress(connection: Connection) -> None:
    """Nothing more goes to an address that is dead or has complained; the graver reason stands."""
    complained = staged.c.kind == ResponseKind.COMPLAINED.value
    dead = and_(staged.c.kind == ResponseKind.BOUNCED.value, staged.c.permanent)
    # The answer's own address is the one it went to; the customer may have another one by now.
    key = func.coalesce(staged.c.address_key, addresses.c.address_key)
    rows = (
        select(
            staged.c.contact_kind.label("kind"),
            key.label("address_key"),
            case((func.count().filter(complained) > 0, "complained"), else_="bounced").label("reason"),
            func.min(staged.c.occurred_at).label("created_at"),
        )
        .select_from(
            staged.outerjoin(
                addresses,
                and_(
                    addresses.c.customer_id == staged.c.customer_id,
                    addresses.c.kind == staged.c.contact_kind,
                ),
            )
        )
        .where(or_(complained, dead), key.is_not(None))
        .group_by(staged.c.contact_kind, key)
    )
    statement = insert_or(connection, suppressions, rows)
    new = statement.excluded
    graver = and_(suppressions.c.reason == "bounced", new.reason == "complained")
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["kind", "address_key"],
            set_={
                "reason": case((graver, new.reason), else_=suppressions.c.reason),
                "created_at": case(
                    (new.created_at < suppressions.c.created_at, new.created_at),
                    else_=suppressions.c.created_at,
                ),
            },
        )
    )
