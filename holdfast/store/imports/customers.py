"""Customers from a file: who they are, where they can be reached, what they consented to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Text,
    and_,
    case,
    delete,
    false,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    text,
    true,
    tuple_,
)

from holdfast.audience.addresses import address_key
from holdfast.audience.arms import draw_number
from holdfast.store import referrals
from holdfast.store.erasing import erased_among
from holdfast.store.holdings import ERASED
from holdfast.store.imports.rows import REJECT_COLUMNS, Header, Row, Written
from holdfast.store.imports.values import (
    Conventions,
    Rejected,
    address,
    consent,
    country_code,
    identifier,
    language_tag,
    scalar,
    to_json,
    words,
)
from holdfast.store.staging import rows_written, stage, staging_table, upsert
from holdfast.tables import Json, addresses, consents, customers, to_microseconds

REQUIRED = ("customer_id",)
PROFILE = ("first_name", "last_name", "locale", "timezone", "country", "city", "birthday")
ADDRESS_KINDS = {
    "email": "email",
    "phone": "sms",
    "telegram": "telegram",
    "x": "x",
    "whatsapp": "whatsapp",
    "messenger": "messenger",
    "mastodon": "mastodon",
}
PREFERENCE = "preferred_channel"
REFERRED = "referred_by"
COLUMNS = (*REQUIRED, *PROFILE, *ADDRESS_KINDS, PREFERENCE, REFERRED)

_KIND = re.compile(r"[a-z][a-z0-9_]{0,62}")
_CONSENT = re.compile(r"consent\.([a-z][a-z0-9_]*)(?:\.(marketing|transactional))?")
_ADDRESS = re.compile(r"address\.([a-z][a-z0-9_]*)")
_EVIDENCE = "import "
# What a consent says, from a file or in force.
_NO, _PENDING, _YES = range(3)

_staged = staging_table(
    "staged_customers",
    Column("external_id", Text, primary_key=True),
    Column("draw", customers.c.draw.type),
    *(Column(name, customers.c[name].type) for name in PROFILE),
    Column("imported_preference", Text),
    Column("attributes", Json),
)
_staged_addresses = staging_table(
    "staged_addresses",
    Column("customer", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("address", Text),
    Column("address_key", Text),
)
_staged_consents = staging_table(
    "staged_consents",
    Column("customer", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("word", Integer),
)


class _Customer(NamedTuple):
    line: int
    staged: tuple[Any, ...]
    addresses: list[tuple[str, str, str | None, str | None]]
    consents: list[tuple[str, str, str, int]]
    invited_by: int | None


class CustomerRows:
    """Reads rows of a file of customers, and writes a chunk of them."""

    def __init__(self, header: Header, conventions: Conventions, secret: bytes, now: datetime) -> None:
        header.require(REQUIRED, COLUMNS)
        self._conventions = conventions
        self._secret = secret
        self._now = to_microseconds(now)
        self._evidence = _EVIDENCE + header.file
        self._pick = header.picker("customer_id", *PROFILE, PREFERENCE, REFERRED)
        self._written = [name for name in PROFILE if name in header.names]
        if PREFERENCE in header.names:
            self._written += ["imported_preference", "preferred_kind"]
        self._addresses: list[tuple[int, str, str]] = []
        self._consents: list[tuple[int, str, str, str]] = []
        self._attributes: list[tuple[int, str]] = []
        for place, name in enumerate(header.names):
            if name in ADDRESS_KINDS:
                self._addresses.append((place, name, ADDRESS_KINDS[name]))
            elif name.lower().startswith("address."):
                self._addresses.append((place, name, _address_kind(header, name)))
            elif name.lower().startswith("consent."):
                self._consents.append((place, name, *_consent(header, name)))
            elif name not in COLUMNS and name not in REJECT_COLUMNS:
                self._attributes.append((place, name))

    def read(self, row: Row) -> tuple[str, _Customer]:
        """The customer of one row, by its id. Raises Rejected."""
        cells = row.fields
        id_, first_name, last_name, locale, timezone, country, city, birthday, *others = self._pick(cells)
        preferred, code = others
        customer_id = identifier("customer_id", id_)
        staged = (
            customer_id,
            draw_number(self._secret, customer_id),
            words("first_name", first_name),
            words("last_name", last_name),
            language_tag("locale", locale),
            words("timezone", timezone),
            country_code("country", country),
            words("city", city),
            self._conventions.day("birthday", birthday),
            _kind(preferred),
            to_json({name: scalar(name, cells[place]) for place, name in self._attributes}),
        )
        written = [(kind, address(name, kind, cells[place])) for place, name, kind in self._addresses]
        stated = [
            (kind, purpose, self._word(kind, purpose, given))
            for place, name, kind, purpose in self._consents
            if (given := consent(name, cells[place])) is not None
        ]
        return customer_id, _Customer(
            row.line,
            staged,
            [(customer_id, kind, at, address_key(kind, at) if at else None) for kind, at in written],
            [(customer_id, *one) for one in stated],
            self._conventions.invitation(REFERRED, code),
        )

    def _word(self, kind: str, purpose: str, given: tuple[bool, bool]) -> int:
        granted, is_confirmed = given
        waits = purpose == "marketing" and kind in self._conventions.double_opt_in and not is_confirmed
        return _NO if not granted else _PENDING if waits else _YES

    def write(self, connection: Connection, rows: Sequence[_Customer]) -> Written:
        """Customers, then their addresses and consents, and who brought them; nobody who was erased."""
        erased = erased_among(connection, self._secret, [row.staged[0] for row in rows])
        refused = {row.line: f"customer_id: {ERASED}" for row in rows if row.staged[0] in erased}
        rows = [row for row in rows if row.line not in refused]
        stage(connection, _staged, [row.staged for row in rows])
        written = self._write_customers(connection)
        stage(connection, _staged_addresses, [staged for row in rows for staged in row.addresses])
        written += self._ask_again(connection) if self._conventions.double_opt_in else 0
        written += _write_addresses(connection)
        stage(connection, _staged_consents, [staged for row in rows for staged in row.consents])
        written += self._append_consents(connection)
        invited = [(row.staged[0], row.invited_by) for row in rows if row.invited_by is not None]
        written += referrals.add(connection, invited, self._now) if invited else 0
        return Written(written, refused)

    def _write_customers(self, connection: Connection) -> int:
        now = literal(self._now)
        known = customers.alias("known")
        said = _staged.c.imported_preference
        # What a file only repeats must not overrule what the customer chose since.
        says_anew = said.is_distinct_from(known.c.imported_preference)
        values = select(
            *(column for column in _staged.c if column.name not in ("locale", "attributes")),
            # Who chose a language knows better than any file.
            case((known.c.chosen_locale.is_not(None), known.c.locale), else_=_staged.c.locale).label(
                "locale"
            ),
            _merged(connection, known.c.attributes, _staged.c.attributes).label("attributes"),
            case((says_anew, said), else_=known.c.preferred_kind).label("preferred_kind"),
            now.label("created_at"),
            now.label("updated_at"),
        ).select_from(_staged.outerjoin(known, known.c.external_id == _staged.c.external_id))
        return upsert(
            connection,
            customers,
            values,
            key=["external_id"],
            update=[*self._written, "attributes"],
            together=["updated_at"],
        )

    def _append_consents(self, connection: Connection) -> int:
        """What the file says anew. What it only repeats must not overrule what the customer said since, nor
        a first yes, which may be of any age, a no."""
        staged, c = _staged_consents.c, consents.c
        latest = (
            select(case((c.pending, _PENDING), (c.granted, _YES), else_=_NO))
            .where(
                c.customer_id == customers.c.id,
                c.kind == staged.kind,
                c.purpose == staged.purpose,
            )
            .order_by(c.recorded_at.desc(), c.id.desc())
            .limit(1)
        )
        in_force = latest.scalar_subquery()
        last_imported = latest.where(c.evidence.startswith(_EVIDENCE)).scalar_subquery()
        says_yes = staged.word != _NO
        # Whether it was to be confirmed is not the file's word: that may have been set since.
        says_anew = says_yes.is_distinct_from(last_imported != _NO)
        is_confirmed_now = and_(staged.word == _YES, last_imported == _PENDING, in_force == _PENDING)
        may_be_first = or_(~says_yes, last_imported.is_not(None), func.coalesce(in_force, _YES) != _NO)
        needs_nothing = and_(staged.word == _PENDING, func.coalesce(in_force, _NO) != _NO)
        conditions = [says_anew, may_be_first]
        if self._conventions.double_opt_in:
            conditions = [or_(says_anew, is_confirmed_now), may_be_first, ~needs_nothing]
        values = (
            select(
                customers.c.id.label("customer_id"),
                staged.kind,
                staged.purpose,
                (staged.word == _YES).label("granted"),
                (staged.word == _PENDING).label("pending"),
                literal(self._evidence).label("evidence"),
                literal(self._now).label("recorded_at"),
            )
            .join_from(_staged_consents, customers, customers.c.external_id == staged.customer)
            .where(*conditions)
        )
        names = [column.name for column in values.selected_columns]
        return rows_written(connection, insert(consents).from_select(names, values))

    def _ask_again(self, connection: Connection) -> int:
        """Who confirmed another address than the one they have by now, or none, has not confirmed this one,
        nor been asked here; and what takes back a no of that address is no yes of this one."""
        staged, known = _staged_addresses.c, addresses.c
        withdrawn = consents.c.evidence.contains(": unsubscribed")
        was_yes = (
            select(
                case(
                    (or_(consents.c.granted, consents.c.pending), true()), (withdrawn, false()), else_=null()
                )
            )
            .where(
                consents.c.customer_id == customers.c.id,
                consents.c.kind == staged.kind,
                consents.c.purpose == "marketing",
            )
            .order_by(consents.c.recorded_at.desc(), consents.c.id.desc())
            .limit(1)
            .scalar_subquery()
        )
        # The second is not the file's word: what it only repeats must not be news after it.
        evidence = case(
            (was_yes, f"{self._evidence}, another address"), else_=f"another address, {self._evidence}"
        )
        values = (
            select(
                customers.c.id.label("customer_id"),
                staged.kind,
                literal("marketing").label("purpose"),
                literal(False, Boolean).label("granted"),
                was_yes.label("pending"),
                evidence.label("evidence"),
                literal(self._now).label("recorded_at"),
            )
            .join_from(_staged_addresses, customers, customers.c.external_id == staged.customer)
            .join(addresses, and_(known.customer_id == customers.c.id, known.kind == staged.kind))
            .where(
                staged.kind.in_(sorted(self._conventions.double_opt_in)),
                staged.address_key.is_distinct_from(known.address_key),
                was_yes.is_not(None),
            )
        )
        names = [column.name for column in values.selected_columns]
        return rows_written(connection, insert(consents).from_select(names, values))


def _address_kind(header: Header, name: str) -> str:
    """The kind of an address column: `address.letter`. What has a column of its own has no other."""
    match = _ADDRESS.fullmatch(name.lower())
    if match is None:
        raise header.problem(f"column {name!r} is not an address", name=name, expected="address.KIND")
    own = [column for column, kind in ADDRESS_KINDS.items() if match[1] in (column, kind)]
    if own:
        what = f"column {name!r} is not how this address is called"
        raise header.problem(what, name=name, expected=own[0])
    return match[1]


def _kind(preferred: str) -> str | None:
    """The kind that a customer prefers, as `consent.KIND` has it. Raises Rejected."""
    named = preferred.strip().lower()
    if named and not _KIND.fullmatch(named):
        raise Rejected(f"{PREFERENCE}: not a kind of channel, like email, phone or telegram")
    return ADDRESS_KINDS.get(named, named) or None


def _consent(header: Header, name: str) -> tuple[str, str]:
    """Kind and purpose of a consent column: `consent.email`, `consent.phone.transactional`."""
    match = _CONSENT.fullmatch(name.lower())
    if match is None:
        raise header.problem(
            f"column {name!r} is not a consent",
            name=name,
            expected="consent.KIND or consent.KIND.transactional",
        )
    return ADDRESS_KINDS.get(match[1], match[1]), match[2] or "marketing"


def _merged(
    connection: Connection, stored: ColumnElement[Any], new: ColumnElement[Any]
) -> ColumnElement[Any]:
    """Stored attributes with the file's over them; an empty cell (null) takes its attribute away."""
    if connection.dialect.name == "sqlite":
        return func.json_patch(func.coalesce(stored, text("'{}'")), new)
    return func.jsonb_strip_nulls(func.coalesce(stored, text("'{}'::jsonb")).op("||")(new))


def _write_addresses(connection: Connection) -> int:
    """An empty cell of an address column takes the address away."""
    staged = select(
        customers.c.id.label("customer_id"),
        _staged_addresses.c.kind,
        _staged_addresses.c.address,
        _staged_addresses.c.address_key,
    ).join_from(_staged_addresses, customers, customers.c.external_id == _staged_addresses.c.customer)
    kept = upsert(
        connection,
        addresses,
        staged.where(_staged_addresses.c.address.is_not(None)),
        key=["customer_id", "kind"],
        update=["address", "address_key"],
    )
    emptied = staged.where(_staged_addresses.c.address.is_(None)).subquery()
    gone = tuple_(addresses.c.customer_id, addresses.c.kind).in_(
        select(emptied.c.customer_id, emptied.c.kind)
    )
    return kept + rows_written(connection, delete(addresses).where(gone))
