"""Where customers and what they did are synced from."""

from __future__ import annotations

import re
from typing import Literal, Self, get_args

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from holdfast.settings.parts import Part, SecretRef

Kind = Literal["customers", "orders", "lines", "refunds", "events"]
"""What is imported."""


class SourcePart(Part):
    """Where one kind of records comes from: a query in the source's database, or files."""

    sql: str | None = Field(
        None, min_length=1, description="A SELECT; its columns are named as those of an import."
    )
    cursor: str | None = Field(
        None, description="A column of the query that grows with every change. Absent: all is read each time."
    )
    file: str | None = Field(
        None, min_length=1, description="CSV, JSON lines or Parquet, in the project's folder; * and ? match."
    )

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if (self.sql is None) == (self.file is None):
            raise PydanticCustomError("source", "comes from one place; expected either `sql` or `file`")
        if self.cursor is not None and self.sql is None:
            raise PydanticCustomError("source", "`cursor` is a column of `sql`; expected none beside `file`")
        if self.sql is not None and re.search(r"(?<!:):cursor\b", self.sql):
            raise PydanticCustomError(
                "source",
                "the query is narrowed for you; expected no :cursor in it, but `cursor: COLUMN` beside",
            )
        return self


class SyncSource(Part):
    """Where customers and what they did are synced from."""

    url: SecretRef | None = Field(None, description="The database that `sql` is asked of: an SQLAlchemy URL.")
    customers: SourcePart | None = None
    orders: SourcePart | None = None
    lines: SourcePart | None = None
    refunds: SourcePart | None = None
    events: SourcePart | None = None

    @property
    def parts(self) -> dict[Kind, SourcePart]:
        """What there is, in the order in which it has to be read: an order needs its customer."""
        return {kind: part for kind in get_args(Kind) if (part := getattr(self, kind)) is not None}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.parts:
            raise PydanticCustomError(
                "source", "a source of nothing; expected customers, orders, lines, refunds or events"
            )
        if any((part.sql is None) != (self.url is None) for part in self.parts.values()):
            raise PydanticCustomError(
                "source",
                "files or a database; expected `url` with `sql` in every part, or `file` in every part",
            )
        return self
