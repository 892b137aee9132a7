"""Typed records as rows of text cells, so that one set of rules holds for CSV, JSON, Parquet and SQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache, partial, singledispatch
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from holdfast.errors import StoreError
from holdfast.store.imports.csv_files import check_text
from holdfast.store.imports.rows import Header, Row, Table, unstorable
from holdfast.store.imports.values import Rejected

# Shapes of records that are remembered; more than people have, and a bound for those who send any.
_SHAPES = 1000
_BATCH = 10_000
_MIDNIGHT = time()
_LONGEST_NUMBER = 40


# --- values ---------------------------------------------------------------------------------------


@singledispatch
def as_text(value: Any) -> str:
    """The cell that a CSV file would have for this value; nothing is an empty one. Raises Rejected."""
    raise Rejected("neither text, a number, true or false, nor a time")


@as_text.register
def _(value: str) -> str:
    return value


@as_text.register
def _(value: None) -> str:
    return ""


@as_text.register
def _(value: bool) -> str:
    return "true" if value else "false"


@as_text.register(int)
@as_text.register(UUID)
def _(value: object) -> str:
    return str(value)


@as_text.register
def _(value: float) -> str:
    if value != value:
        return ""  # how tables without nulls say that there is nothing
    # 15 digits are what a double surely holds: 0.1 + 0.2 is 0.3, and a whole number has no fraction.
    return as_text(Decimal(f"{value:.15g}"))


@as_text.register
def _(value: Decimal) -> str:
    small = value.is_finite() and abs(value.adjusted()) < _LONGEST_NUMBER
    return format(value, "f") if small else str(value)


@as_text.register
def _(value: date) -> str:
    return value.isoformat()


@as_text.register
def _(value: datetime) -> str:
    # A date in a column of times; as a time without an offset it means the same.
    if value.tzinfo is None and value.time() == _MIDNIGHT:
        return value.date().isoformat()
    return value.isoformat()


def as_row(number: int, header: Header, values: Iterable[Any]) -> Row:
    """The values, in the order of the header's columns, as a row."""
    fields, malformed = [], ""
    for name, value in zip(header.names, values, strict=True):
        try:
            fields.append(as_text(value))
        except Rejected as why:
            fields.append(json.dumps(value, default=str))
            malformed = f"{name}: {why}"
    return Row(number, fields, header, malformed or unstorable("".join(fields)))


# --- records that name their own columns ------------------------------------------------------------


def record_rows(source: str, records: Iterable[tuple[int, Any]]) -> Iterator[Row]:
    """Numbered records as rows. A key that a record lacks is a column that it does not have."""
    header_of: Callable[[Sequence[str]], Header] = lru_cache(_SHAPES)(partial(Header, source))
    for number, record in records:
        if isinstance(record, Mapping):
            yield as_row(number, header_of(tuple(record)), record.values())
        else:
            what = record if isinstance(record, Rejected) else "not a record with named values"
            yield Row(number, [], header_of(()), str(what))


@contextmanager
def read_json_lines(path: Path) -> Iterator[Table]:
    """A file with a JSON object on each line. Raises StoreError, before the first row, as `read_csv` does."""
    check_text(path)
    with path.open(encoding="utf-8-sig") as file:
        records = ((number, _parsed(line)) for number, line in enumerate(file, start=1) if line.strip())
        yield Table(record_rows(path.name, records))


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return Rejected("not JSON")


# --- Parquet ----------------------------------------------------------------------------------------


@contextmanager
def read_parquet(path: Path) -> Iterator[Table]:
    """A Parquet file's rows, a batch of them at a time. Raises StoreError for what is not Parquet."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise StoreError(
            f"{path.name}: Parquet needs pyarrow", hint="pip install 'holdfast[parquet]'"
        ) from None
    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError):
        raise _not_parquet(path) from None
    with file:
        header = Header(path.name, file.schema_arrow.names)
        yield Table(_parquet_rows(path, file, header), header)


def _parquet_rows(path: Path, file: Any, header: Header) -> Iterator[Row]:
    import pyarrow

    numbers = count(1)
    try:
        for batch in file.iter_batches(batch_size=_BATCH):
            for values in zip(*map(_python_values, batch.columns), strict=True):
                yield as_row(next(numbers), header, values)
    except (pyarrow.ArrowException, OSError):
        raise _not_parquet(path) from None


def _python_values(column: Any) -> list[Any]:
    import pyarrow

    kind = column.type
    if pyarrow.types.is_timestamp(kind) and kind.unit == "ns":
        # Python's times end at microseconds.
        column = column.cast(pyarrow.timestamp("us", kind.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values


def _not_parquet(path: Path) -> StoreError:
    return StoreError(f"{path.name} cannot be read", hint="is this a Parquet file, and whole?")
