"""What we hold of a customer, table by table: which rows are theirs, and what erasing makes of them.

One description for both, so that what is exported is what is erased. A table that is not here holds nothing
of customers, but the inbox, which is emptied by letters; a test knows all that there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, Text, cast, literal, or_, select, tuple_, union_all

from holdfast.tables import (
    addresses,
    attributions,
    case_entries,
    cases,
    consents,
    conversions,
    customers,
    enrollments,
    erasures,
    events,
    messages,
    order_lines,
    orders,
    profile_months,
    profiles,
    referrals,
    refunds,
    responses,
    runs,
    suppressions,
    topic_refusals,
)

ERASED = "erased"

Whose = Callable[[int], ColumnElement[bool]]
"""Which rows of a table are a customer's."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A table's rows of a customer. When the customer is erased, they are `gone`, or their columns `emptied`;
    what is neither stays: results rest on it, and it says nothing of who it was."""

    table: Table
    theirs: Whose
    gone: bool = False
    emptied: Mapping[str, Any] = field(default_factory=dict)


def of_customer(table: Table) -> Whose:
    """The rows of a table that name the customer."""
    return lambda customer_id: table.c.customer_id == customer_id


def _enrollments(customer_id: int) -> Select[Any]:
    """By way of the campaigns, which are few: so an index has them."""
    campaigns = select(runs.c.campaign).distinct()
    return select(enrollments.c.id).where(
        enrollments.c.campaign.in_(campaigns), enrollments.c.customer_id == customer_id
    )


def messages_of(customer_id: int) -> Select[Any]:
    """The ids of the customer's messages."""
    return select(messages.c.id).where(messages.c.enrollment_id.in_(_enrollments(customer_id)))


def _of_messages_or_theirs(customer_id: int) -> ColumnElement[bool]:
    alone = responses.c.message_id.is_(None) & (responses.c.customer_id == customer_id)
    of_messages = select(responses.c.id).where(responses.c.message_id.in_(messages_of(customer_id)))
    of_nothing = select(responses.c.id).where(alone)
    # Not either of two: for that PostgreSQL reads the whole table.
    return responses.c.id.in_(union_all(of_messages, of_nothing))


def _of_orders(table: Table) -> Whose:
    return lambda customer_id: table.c.order_id.in_(
        select(orders.c.id).where(orders.c.customer_id == customer_id)
    )


def _of_enrollments(table: Table, key: str) -> Whose:
    return lambda customer_id: table.c[key].in_(_enrollments(customer_id))


def _of_cases(customer_id: int) -> ColumnElement[bool]:
    return case_entries.c.case_id.in_(select(cases.c.id).where(cases.c.customer_id == customer_id))


def _of_addresses(customer_id: int) -> ColumnElement[bool]:
    theirs = select(addresses.c.kind, addresses.c.address_key).where(addresses.c.customer_id == customer_id)
    return tuple_(suppressions.c.kind, suppressions.c.address_key).in_(theirs)


def _name_of(table: Table) -> ColumnElement[str]:
    """What stands in the place of a name that others gave to the row."""
    return literal(f"{ERASED}-") + cast(table.c.id, Text)


HOLDINGS = (
    Holding(
        customers,
        lambda customer_id: customers.c.id == customer_id,
        emptied={
            "external_id": _name_of(customers),
            **dict.fromkeys(("first_name", "last_name", "locale", "timezone", "country", "city", "birthday")),
            **dict.fromkeys(("preferred_kind", "imported_preference", "chosen_locale", "paused_until")),
            "attributes": {},
        },
    ),
    # Before the addresses, by which they are found. They stay, and are what keeps us from writing again.
    Holding(suppressions, _of_addresses),
    Holding(addresses, of_customer(addresses), gone=True),
    Holding(consents, of_customer(consents), emptied={"evidence": ERASED}),
    Holding(topic_refusals, of_customer(topic_refusals), gone=True),
    Holding(
        referrals,
        lambda customer_id: or_(
            referrals.c.customer_id == customer_id, referrals.c.referrer_id == customer_id
        ),
        gone=True,
    ),
    Holding(orders, of_customer(orders), emptied={"external_id": _name_of(orders)}),
    Holding(order_lines, _of_orders(order_lines)),
    Holding(refunds, _of_orders(refunds), emptied={"external_id": _name_of(refunds)}),
    Holding(events, of_customer(events), emptied={"external_id": _name_of(events), "properties": {}}),
    Holding(profiles, of_customer(profiles)),
    Holding(profile_months, of_customer(profile_months)),
    Holding(
        enrollments,
        lambda customer_id: enrollments.c.id.in_(_enrollments(customer_id)),
        emptied={"next_step": None, "due_at": None},
    ),
    # A provider's name for a message may hold the address: WhatsApp's does.
    Holding(messages, _of_enrollments(messages, "enrollment_id"), emptied={"provider_id": None}),
    Holding(conversions, _of_enrollments(conversions, "enrollment_id")),
    Holding(attributions, _of_orders(attributions)),
    Holding(
        responses,
        _of_messages_or_theirs,
        emptied={"event_id": _name_of(responses), "url": None, "text": None},
    ),
    Holding(cases, of_customer(cases)),
    Holding(case_entries, _of_cases, emptied={"text": ""}),
    Holding(erasures, of_customer(erasures)),
)
"""All of them, in the order in which they are erased."""
