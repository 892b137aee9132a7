"""What columns are made of: types, and constraints that several tables have.

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
    CheckConstraint,
    Dialect,
    Integer,
    MetaData,
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


def one_of(column: str, values: tuple[str, ...], name: str) -> CheckConstraint:
    """The column holds one of these words."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=name)
