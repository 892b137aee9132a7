"""What answers change: the messages they are of, suppressions, consents. One set of answers at a time.

A message's columns are always taken anew from all of its responses, so that answers may come in any order,
and any number of times. Whoever applies them holds the project's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    SmallInteger,
    Subquery,
    Table,
    Text,
    and_,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
    update,
)

from holdfast.channel import RejectReason, ResponseKind
from holdfast.store import consents, invitations
from holdfast.store.invitations import Newcomer
from holdfast.store.ledger import UNSETTLED
from holdfast.store.staging import insert_or, rows_written, stage, staging_table
from holdfast.tables import (
    MESSAGE_RESPONSES,
    UtcTime,
    addresses,
    messages,
    posts,
    responses,
    suppressions,
    to_microseconds,
)

SEVERAL_LINKS = "several_links"
# In microseconds, as the database counts.
_SECOND = 1_000_000
# Gateways that check mail follow all of its links on arrival; people take longer than this to open it.
_ON_ARRIVAL = 10 * _SECOND
# Where nobody says when it was delivered: too short for a person to look at the first page.
_AT_ONCE = 2 * _SECOND
# Many providers give whole seconds, so that an answer can seem to come before the message.
_ROUNDING = _SECOND
# An event's; PostgreSQL's indexes hold up to 2,700 bytes.
_LONGEST_NAME = 500


class Given(NamedTuple):
    """One answer on its way into the database.

    What it is of is the first of these that is set: `message_id` (proved by our key), `provider_id` of the
    channel, `address_key` of the kind. None of them: something that we do not know. `contact_kind` is the
    kind of address it came from; of a message, the message's counts. `survey` and `score` are of what was
    answered. `invited_by` is the message whose
    invitation brought them: the address is that of its customer, from now on.
    """

    channel: str
    event_id: str
    kind: ResponseKind
    occurred_at: datetime
    received_at: datetime
    message_id: int | None = None
    provider_id: str | None = None
    contact_kind: str | None = None
    address_key: str | None = None
    machine: str | None = None
    reason: RejectReason | None = None
    permanent: bool = False
    url: str | None = None
    text: str | None = None
    survey: str | None = None
    score: int | None = None
    inbox_id: int | None = None
    invited_by: int | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What a set of answers came to.

    `new` were not there before, `repeated` were; of `unknown` ones, among the new, nobody can say what they
    are of. `settled` messages were not known to be taken by the provider, and are now.
    """

    new: int = 0
    repeated: int = 0
    unknown: int = 0
    settled: int = 0


_given = staging_table(
    "given_responses",
    Column("channel", Text),
    Column("event_id", Text),
    Column("kind", Text),
    Column("occurred_at", UtcTime),
    Column("received_at", UtcTime),
    Column("message_id", BigInteger),
    Column("provider_id", Text),
    Column("contact_kind", Text),
    Column("address_key", Text),
    Column("machine", Text),
    Column("reason", Text),
    Column("permanent", Boolean),
    Column("url", Text),
    Column("text", Text),
    Column("survey", Text),
    Column("score", SmallInteger),
    Column("inbox_id", BigInteger),
    # Found here.
    Column("customer_id", BigInteger),
    Column("post_id", BigInteger),
    # It names the message by what only the provider could know, so that the provider took it.
    Column("proof", Boolean),
)
_of_messages = select(_given.c.message_id).where(_given.c.message_id.is_not(None))


def apply(connection: Connection, given: Sequence[Given], now: datetime) -> Applied:
    """Keeps the answers that are new and does what they ask for, in this transaction.

    Needs the project's lock.
    """
    once: dict[tuple[str, str], Given] = {}
    for answer in given:
        once.setdefault((answer.channel, answer.event_id), answer)
    stage(connection, _given, [_row(answer) for answer in once.values()])
    new = len(once) - _leave_out_known(connection)
    if new == 0:
        return Applied(repeated=len(given))
    for answer in sorted(once.values(), key=attrgetter("occurred_at")):
        if answer.invited_by is not None and answer.contact_kind and answer.address_key:
            said_at = min(answer.occurred_at, answer.received_at)
            invitations.accept(
                connection,
                answer.invited_by,
                Newcomer(answer.channel, answer.contact_kind, answer.address_key, said_at),
            )
    _match(connection, given)
    unknown = _keep(connection)
    settled = _settle(connection, now)
    kinds = {answer.kind for answer in given}
    if kinds & {ResponseKind.CLICKED, ResponseKind.DELIVERED}:
        _tell_machines(connection)
    _update_messages(connection)
    if kinds & {ResponseKind.BOUNCED, ResponseKind.COMPLAINED}:
        _suppress(connection)
    if kinds & {ResponseKind.UNSUBSCRIBED, ResponseKind.COMPLAINED}:
        consents.withdraw(connection, _answers(ResponseKind.UNSUBSCRIBED, ResponseKind.COMPLAINED))
    if ResponseKind.RESUBSCRIBED in kinds:
        consents.restore(connection, _answers(ResponseKind.RESUBSCRIBED))
    return Applied(new, len(given) - new, unknown, settled)


def _row(answer: Given) -> tuple[object, ...]:
    return (
        answer.channel,
        _name(answer.event_id),
        answer.kind.value,
        # A clock that goes ahead must not date a customer's word into the future.
        to_microseconds(min(answer.occurred_at, answer.received_at)),
        to_microseconds(answer.received_at),
        answer.message_id,
        _storable(answer.provider_id),
        answer.contact_kind,
        _storable(answer.address_key),
        _storable(answer.machine),
        answer.reason and answer.reason.value,
        answer.permanent,
        _storable(answer.url),
        _storable(answer.text),
        answer.survey,
        answer.score,
        answer.inbox_id,
        None,
        None,
        answer.message_id is not None,
    )


def _name(event_id: str) -> str:
    """The event's name; a digest of one that is too long for an index."""
    name = _storable(event_id) or ""
    return name if len(name) <= _LONGEST_NAME else sha256(name.encode()).hexdigest()


def _storable(text: str | None) -> str | None:
    """None for no text, and without what databases refuse: NUL bytes, halves of surrogate pairs."""
    if not text:
        return None
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\0", "")


def _leave_out_known(connection: Connection) -> int:
    """Leaves the answers that came before out of what is given; how many those are."""
    known = exists().where(responses.c.channel == _given.c.channel, responses.c.event_id == _given.c.event_id)
    return rows_written(connection, delete(_given).where(known))


# --- what an answer is of -------------------------------------------------------------------------


def _match(connection: Connection, given: Sequence[Given]) -> None:
    """Finds message, customer and post of each answer; what cannot be found is NULL."""
    if any(answer.provider_id for answer in given):
        _match_by_provider(connection)
    if any(answer.address_key and answer.message_id is None for answer in given):
        _match_by_address(connection)
    connection.execute(
        update(_given)
        .where(messages.c.id == _given.c.message_id)
        .values(customer_id=messages.c.customer_id, contact_kind=messages.c.kind)
    )
    # A message that is not there (any more): there is nobody whom the answer could be of.
    connection.execute(
        update(_given)
        .where(_given.c.message_id.is_not(None), _given.c.customer_id.is_(None))
        .values(message_id=None, address_key=None, proof=False)
    )


def _match_by_provider(connection: Connection) -> None:
    def only(table: Table) -> ColumnElement[int | None]:
        # Some providers name the call, not the message: then many have the name, and it says nothing.
        return (
            select(case((func.count() == 1, func.min(table.c.id)), else_=null()))
            .where(table.c.channel == _given.c.channel, table.c.provider_id == _given.c.provider_id)
            .scalar_subquery()
        )

    unmatched = _given.c.message_id.is_(None), _given.c.provider_id.is_not(None)
    connection.execute(
        update(_given).where(*unmatched).values(message_id=only(messages), post_id=only(posts))
    )
    connection.execute(update(_given).where(*unmatched, _given.c.message_id.is_not(None)).values(proof=True))


def _match_by_address(connection: Connection) -> None:
    """The latest message that went to the address by the channel before the answer; else who has it."""
    of_address = and_(
        addresses.c.kind == _given.c.contact_kind, addresses.c.address_key == _given.c.address_key
    )
    latest = (
        select(messages.c.id)
        .join(addresses, addresses.c.customer_id == messages.c.customer_id)
        .where(
            of_address,
            messages.c.channel == _given.c.channel,
            messages.c.sent_at <= _given.c.occurred_at + _ROUNDING,
        )
        .order_by(messages.c.sent_at.desc(), messages.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    owner = select(func.min(addresses.c.customer_id)).where(of_address).scalar_subquery()
    in_public = _given.c.kind == ResponseKind.MENTIONED.value
    connection.execute(
        update(_given)
        .where(_given.c.message_id.is_(None), _given.c.address_key.is_not(None))
        .values(message_id=case((in_public, null()), else_=latest), customer_id=owner)
    )


def _answers(*kinds: ResponseKind) -> Subquery:
    """The answers of these kinds, by everybody who says so: who has only an address to be known by speaks for
    all customers who have it, or would be written to by another's name."""
    of_kind = _given.c.kind.in_([kind.value for kind in kinds])
    same = and_(addresses.c.kind == _given.c.contact_kind, addresses.c.address_key == _given.c.address_key)
    others: dict[str, ColumnElement[Any]] = {
        "customer_id": addresses.c.customer_id,
        "message_id": cast(null(), BigInteger),
    }
    of_others = (
        select(*(others.get(column.name, column).label(column.name) for column in _given.c))
        .join_from(_given, addresses, same)
        .where(of_kind, ~_given.c.proof, addresses.c.customer_id != _given.c.customer_id)
    )
    return union_all(select(_given).where(of_kind), of_others).subquery("answers")


# --- what it changes ------------------------------------------------------------------------------


def _keep(connection: Connection) -> int:
    """Writes the responses; how many of them are of nothing that we know."""
    kept = [column for column in responses.c if column.name not in ("id", "case_id")]
    connection.execute(
        insert_or(
            connection, responses, select(*(_given.c[column.name] for column in kept))
        ).on_conflict_do_nothing()
    )
    return connection.execute(
        select(func.count()).where(
            _given.c.customer_id.is_(None),
            _given.c.post_id.is_(None),
            _given.c.kind != ResponseKind.MENTIONED.value,
        )
    ).scalar_one()


def _settle(connection: Connection, now: datetime) -> int:
    """An answer to a message proves that the provider took it, whatever we knew; how many it was news of."""
    proved = select(_given.c.message_id).where(_given.c.proof)
    return rows_written(
        connection,
        update(messages)
        .where(messages.c.id.in_(proved), messages.c.state.in_(UNSETTLED))
        .values(
            state="accepted",
            reason=None,
            sent_at=func.coalesce(messages.c.sent_at, literal(now, UtcTime)),
            settled_at=literal(now, UtcTime),
            lease_owner=None,
            lease_expires_at=None,
        ),
    )


def _tell_machines(connection: Connection) -> None:
    """Flags clicks on several links at once, by all that is known of the message by now."""
    click, other = responses, responses.alias("other")
    clicked = ResponseKind.CLICKED.value
    suspects = (
        select(other.c.message_id)
        .where(other.c.message_id.in_(_of_messages), other.c.kind == clicked)
        .group_by(other.c.message_id)
        .having(func.count(other.c.url.distinct()) > 1)
    )
    delivery = responses.alias("delivery")
    arrived_until = (
        select(func.min(delivery.c.occurred_at) + _ON_ARRIVAL)
        .where(delivery.c.message_id == click.c.message_id, delivery.c.kind == ResponseKind.DELIVERED.value)
        .correlate(click)
        .scalar_subquery()
    )
    together = case(
        (arrived_until.is_(None), func.abs(click.c.occurred_at - other.c.occurred_at) <= _AT_ONCE),
        else_=and_(click.c.occurred_at <= arrived_until, other.c.occurred_at <= arrived_until),
    )
    several = exists().where(
        other.c.message_id == click.c.message_id,
        other.c.kind == clicked,
        other.c.url != click.c.url,
        together,
    )
    connection.execute(
        update(click)
        .where(
            click.c.message_id.in_(suspects),
            click.c.kind == clicked,
            or_(click.c.machine.is_(None), click.c.machine == SEVERAL_LINKS),
        )
        .values(machine=case((several, SEVERAL_LINKS), else_=null()))
    )


def _update_messages(connection: Connection) -> None:
    """The first response of each kind, by people and by machines, for the messages that got any."""

    def first(kind: str, by: ColumnElement[bool]) -> ColumnElement[datetime]:
        return func.min(responses.c.occurred_at).filter(responses.c.kind == kind, by)

    by_person, by_machine = responses.c.machine.is_(None), responses.c.machine.is_not(None)
    columns = {f"{kind}_at": first(kind, by_person) for kind in MESSAGE_RESPONSES}
    columns |= {f"machine_{kind}_at": first(kind, by_machine) for kind in ("opened", "clicked")}
    seen = (
        select(responses.c.message_id, *(moment.label(name) for name, moment in columns.items()))
        .where(responses.c.message_id.in_(_of_messages))
        .group_by(responses.c.message_id)
        .subquery("seen")
    )
    connection.execute(
        update(messages)
        .where(messages.c.id == seen.c.message_id)
        .values({name: seen.c[name] for name in columns})
    )


def _suppress(connection: Connection) -> None:
    """Nothing more goes to an address that is dead or has complained; the graver reason stands."""
    complained = _given.c.kind == ResponseKind.COMPLAINED.value
    dead = and_(_given.c.kind == ResponseKind.BOUNCED.value, _given.c.permanent)
    # The answer's own address is the one it went to; the customer may have another one by now.
    key = func.coalesce(_given.c.address_key, addresses.c.address_key)
    rows = (
        select(
            _given.c.contact_kind.label("kind"),
            key.label("address_key"),
            case((func.count().filter(complained) > 0, "complained"), else_="bounced").label("reason"),
            func.min(_given.c.occurred_at).label("created_at"),
        )
        .select_from(
            _given.outerjoin(
                addresses,
                and_(
                    addresses.c.customer_id == _given.c.customer_id,
                    addresses.c.kind == _given.c.contact_kind,
                ),
            )
        )
        .where(or_(complained, dead), key.is_not(None))
        .group_by(_given.c.contact_kind, key)
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
