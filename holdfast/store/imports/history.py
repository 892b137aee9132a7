"""What customers did, from files: orders, their lines and refunds, and events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    Select,
    Table,
    Text,
    and_,
    cast,
    delete,
    func,
    or_,
    select,
    update,
)

from holdfast.store.erasing import anybody_erased, erased_among
from holdfast.store.holdings import ERASED
from holdfast.store.imports.rows import REJECT_COLUMNS, Header, Row, Written
from holdfast.store.imports.values import Conventions, Rejected, count, identifier, scalar, to_json, words
from holdfast.store.profiles import extend_profiles, refresh_profiles
from holdfast.store.staging import stage, staging_table, upsert
from holdfast.tables import Id, customers, events, order_lines, orders, refunds

ORDER_COLUMNS = ("order_id", "customer_id", "ordered_at", "total", "currency", "status")
LINE_COLUMNS = ("order_id", "sku", "name", "category", "quantity", "unit_price")
REFUND_COLUMNS = ("refund_id", "order_id", "refunded_at", "amount")
EVENT_COLUMNS = ("event_id", "customer_id", "event", "occurred_at")

# Shops' words for how far an order came. Cancelled, refunded and test orders count nowhere.
STATUSES = {
    "pending": "pending",
    "open": "pending",
    "new": "pending",
    "on_hold": "pending",
    "processing": "pending",
    "authorized": "pending",
    "completed": "completed",
    "complete": "completed",
    "paid": "completed",
    "confirmed": "completed",
    "shipped": "completed",
    "sent": "completed",
    "delivered": "completed",
    "fulfilled": "completed",
    "closed": "completed",
    "done": "completed",
    "partially_refunded": "completed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "voided": "cancelled",
    "void": "cancelled",
    "failed": "cancelled",
    "declined": "cancelled",
    "expired": "cancelled",
    "abandoned": "cancelled",
    "refunded": "refunded",
    "returned": "refunded",
    "chargeback": "refunded",
    "test": "test",
    "": "completed",
}
_NOT_COUNTED = ("cancelled", "refunded", "test")


def _staging_for(table: Table) -> Table:
    """Where rows for a table wait, with their line and the external id that they refer by."""
    columns = [Column(c.name, c.type) for c in table.c if c.name != "id"]
    return staging_table(f"staged_{table.name}", Column("line", Integer), Column("reference", Text), *columns)


_staged_orders = _staging_for(orders)
_staged_lines = _staging_for(order_lines)
_staged_refunds = _staging_for(refunds)
_staged_events = _staging_for(events)
_refunded_orders = staging_table("refunded_orders", Column("order_id", Id, primary_key=True))


class OrderRows:
    """Reads rows of a file of orders, and writes a chunk of them with the rollup of their customers."""

    def __init__(self, header: Header, conventions: Conventions, secret: bytes, now: datetime) -> None:
        header.require(("order_id", "customer_id", "ordered_at", "total"), ORDER_COLUMNS)
        self._conventions, self._secret = conventions, secret
        self._pick = header.picker(*ORDER_COLUMNS)

    def read(self, row: Row) -> tuple[str, tuple[Any, ...]]:
        """The order of one row, by its id. Raises Rejected."""
        order_id, customer_id, ordered_at, total, currency, written_status = self._pick(row.fields)
        order_id = identifier("order_id", order_id)
        moment, month = self._conventions.moment("ordered_at", ordered_at)
        self._conventions.check_currency("currency", currency)
        status = STATUSES.get(written_status) or _status(written_status)
        return order_id, (
            row.line,
            identifier("customer_id", customer_id),
            order_id,
            None,
            moment,
            month,
            self._conventions.amount("total", total),
            0,
            self._conventions.currency,
            status,
            status not in _NOT_COUNTED,
        )

    def write(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> Written:
        """Orders, and what follows from them."""
        stage(connection, _staged_orders, rows)
        refused = _resolve_customers(connection, _staged_orders, self._secret)
        _keep_refunds_off(connection)
        facts = ["customer_id", "ordered_at", "month", "total", "currency", "status", "qualifying"]
        # Both customers of an order: it may have moved from one to the other.
        changed = connection.execute(
            select(orders.c.customer_id, _staged_orders.c.customer_id)
            .join_from(_staged_orders, orders, orders.c.external_id == _staged_orders.c.external_id)
            .where(or_(*(orders.c[name].is_distinct_from(_staged_orders.c[name]) for name in facts)))
        ).all()
        newest = connection.scalar(select(func.coalesce(func.max(orders.c.id), 0))) or 0
        written = upsert(connection, orders, _values(_staged_orders), key=["external_id"], update=facts)
        extend_profiles(connection, after=newest)
        if changed:
            refresh_profiles(connection, {customer_id for pair in changed for customer_id in pair})
        return Written(written, refused)


class LineRows:
    """Reads rows of a file of order lines, and writes a chunk of them."""

    def __init__(self, header: Header, conventions: Conventions, secret: bytes, now: datetime) -> None:
        header.require(("order_id", "sku", "name", "quantity", "unit_price"), LINE_COLUMNS)
        self._conventions = conventions
        self._pick = header.picker(*LINE_COLUMNS)

    def read(self, row: Row) -> tuple[tuple[str, str], tuple[Any, ...]]:
        """The line of one row, by its order and article. Raises Rejected."""
        order_id, sku, name, category, quantity, unit_price = self._pick(row.fields)
        order_id, sku = identifier("order_id", order_id), identifier("sku", sku)
        article = words("name", name)
        if article is None:
            raise Rejected("name: empty")
        return (order_id, sku), (
            row.line,
            order_id,
            None,
            sku,
            article,
            words("category", category),
            count("quantity", quantity),
            self._conventions.amount("unit_price", unit_price),
        )

    def write(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> Written:
        """Lines of orders that are there."""
        stage(connection, _staged_lines, rows)
        refused = _resolve(connection, _staged_lines, "order_id", orders)
        facts = ["name", "category", "quantity", "unit_price"]
        written = upsert(
            connection, order_lines, _values(_staged_lines), key=["order_id", "sku"], update=facts
        )
        return Written(written, refused)


class Claim(NamedTuple):
    """A refund that is to be kept: of which order, and, where it is known already, what it was before."""

    line: int
    order_id: int
    amount: int
    order_id_before: int | None
    amount_before: int


class RefundRows:
    """Reads rows of a file of refunds, and writes a chunk of them: their orders come to less."""

    def __init__(self, header: Header, conventions: Conventions, secret: bytes, now: datetime) -> None:
        header.require(REFUND_COLUMNS, REFUND_COLUMNS)
        self._conventions = conventions
        self._pick = header.picker(*REFUND_COLUMNS)

    def read(self, row: Row) -> tuple[str, tuple[Any, ...]]:
        """The refund of one row, by its id. Raises Rejected."""
        refund_id, order_id, refunded_at, written_amount = self._pick(row.fields)
        refund_id = identifier("refund_id", refund_id)
        amount = self._conventions.amount("amount", written_amount)
        if not amount:
            raise Rejected("amount: nothing")
        return refund_id, (
            row.line,
            identifier("order_id", order_id),
            refund_id,
            None,
            self._conventions.moment("refunded_at", refunded_at)[0],
            amount,
        )

    def write(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> Written:
        """Refunds of orders that are there, and what follows from them."""
        stage(connection, _staged_refunds, rows)
        refused = _resolve(connection, _staged_refunds, "order_id", orders)
        claims, left = _claims(connection)
        if over := exceeding(claims, left):
            connection.execute(delete(_staged_refunds).where(_staged_refunds.c.line.in_(over)))
            refused |= dict.fromkeys(over, "amount: more than is left of the order")
        facts = ["order_id", "refunded_at", "amount"]
        written = upsert(connection, refunds, _values(_staged_refunds), key=["external_id"], update=facts)
        # Both orders of a refund: it may have moved from one to the other.
        touched = {id_ for claim in claims for id_ in (claim.order_id, claim.order_id_before) if id_}
        if written:
            refresh_profiles(connection, _take_refunds_off(connection, touched))
        return Written(written, refused)


def exceeding(claims: Iterable[Claim], left: dict[int, int]) -> list[int]:
    """Lines of the refunds that are more than is left of their orders, each judged after those before it.

    `left` has what is left of every order that is claimed from; it is brought up to date. A refund that
    grows no larger is always taken: it may be of before the order came to less.
    """
    lines = []
    for line, order_id, amount, order_id_before, amount_before in claims:
        own = amount_before if order_id_before == order_id else 0
        if amount > max(own, left[order_id] + own):
            lines.append(line)
            continue
        left[order_id] += own - amount
        if order_id_before != order_id and order_id_before in left:
            left[order_id_before] += amount_before
    return lines


class EventRows:
    """Reads rows of a file of events, and writes a chunk of them."""

    def __init__(self, header: Header, conventions: Conventions, secret: bytes, now: datetime) -> None:
        header.require(EVENT_COLUMNS, EVENT_COLUMNS)
        self._conventions, self._secret = conventions, secret
        self._pick = header.picker(*EVENT_COLUMNS)
        self._properties = [
            (place, name)
            for place, name in enumerate(header.names)
            if name not in EVENT_COLUMNS and name not in REJECT_COLUMNS
        ]

    def read(self, row: Row) -> tuple[str, tuple[Any, ...]]:
        """The event of one row, by its id. Raises Rejected."""
        event_id, customer_id, event, occurred_at = self._pick(row.fields)
        event_id = identifier("event_id", event_id)
        properties = {name: scalar(name, row.fields[place]) for place, name in self._properties}
        return event_id, (
            row.line,
            identifier("customer_id", customer_id),
            event_id,
            None,
            identifier("event", event),
            self._conventions.moment("occurred_at", occurred_at)[0],
            to_json({name: value for name, value in properties.items() if value is not None}),
        )

    def write(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> Written:
        """Events of customers that are there."""
        stage(connection, _staged_events, rows)
        refused = _resolve_customers(connection, _staged_events, self._secret)
        facts = ["customer_id", "event", "occurred_at", "properties"]
        return Written(
            upsert(connection, events, _values(_staged_events), key=["external_id"], update=facts), refused
        )


def _keep_refunds_off(connection: Connection) -> None:
    """Takes off the staged orders what was refunded of them: they say what they came to before."""
    staged, gross = _staged_orders.c, _staged_orders.c.total
    connection.execute(
        update(_staged_orders)
        .where(staged.external_id == orders.c.external_id, orders.c.refunded > 0)
        .values(
            refunded=orders.c.refunded,
            total=gross - orders.c.refunded,
            qualifying=and_(staged.qualifying, gross > orders.c.refunded),
        )
    )


def _claims(connection: Connection) -> tuple[list[Claim], dict[int, int]]:
    """The staged refunds in the order of their lines, and what is left of their orders."""
    staged = _staged_refunds.c
    found = connection.execute(
        select(
            staged.line,
            staged.order_id,
            staged.amount,
            refunds.c.order_id.label("order_id_before"),
            func.coalesce(refunds.c.amount, 0).label("amount_before"),
            orders.c.total,
        )
        .join_from(_staged_refunds, orders, orders.c.id == staged.order_id)
        .outerjoin(refunds, refunds.c.external_id == staged.external_id)
        .order_by(staged.line)
    ).all()
    return [Claim(*row[:-1]) for row in found], {row.order_id: row.total for row in found}


def _take_refunds_off(connection: Connection, order_ids: Iterable[int]) -> set[int]:
    """Brings these orders up to date with all of their refunds; the customers of those that changed."""
    stage(connection, _refunded_orders, [(id_,) for id_ in order_ids])
    summed = (
        select(
            _refunded_orders.c.order_id,
            cast(func.coalesce(func.sum(refunds.c.amount), 0), BigInteger).label("refunded"),
        )
        .join_from(_refunded_orders, refunds, refunds.c.order_id == _refunded_orders.c.order_id, isouter=True)
        .group_by(_refunded_orders.c.order_id)
        .subquery()
    )
    left = orders.c.total + orders.c.refunded - summed.c.refunded
    changed = connection.scalars(
        update(orders)
        .where(orders.c.id == summed.c.order_id, orders.c.refunded != summed.c.refunded)
        .values(
            refunded=summed.c.refunded,
            total=left,
            # Nothing was refunded of an order that came to nothing, and it counts.
            qualifying=and_(orders.c.status.not_in(_NOT_COUNTED), or_(summed.c.refunded == 0, left > 0)),
        )
        .returning(orders.c.customer_id)
    )
    return set(changed)


def _status(text: str) -> str:
    known = STATUSES.get("_".join(text.lower().replace("-", " ").replace("_", " ").split()))
    if known is None:
        raise Rejected("status: not a known status")
    return known


def _values(staged: Table) -> Select[Any]:
    return select(*(column for column in staged.c if column.name not in ("line", "reference")))


def _resolve_customers(connection: Connection, staged: Table, secret: bytes) -> dict[int, str]:
    """As `_resolve` by customers; and takes out what is of customers who were erased."""
    if not anybody_erased(connection):
        return _resolve(connection, staged, "customer_id", customers)
    named = set(connection.scalars(select(staged.c.reference)))
    erased = staged.c.reference.in_(erased_among(connection, secret, named))
    lines = connection.scalars(delete(staged).where(erased).returning(staged.c.line)).all()
    refused = dict.fromkeys(lines, f"customer_id: {ERASED}")
    return refused | _resolve(connection, staged, "customer_id", customers)


def _resolve(connection: Connection, staged: Table, key: str, of: Table) -> dict[int, str]:
    """Sets the foreign key of the staged rows; takes out those that refer to nothing: line and reason."""
    found = select(of.c.id).where(of.c.external_id == staged.c.reference).scalar_subquery()
    connection.execute(update(staged).values({key: found}))
    lines = connection.scalars(delete(staged).where(staged.c[key].is_(None)).returning(staged.c.line)).all()
    return dict.fromkeys(lines, f"{key}: not among the {of.name}")
