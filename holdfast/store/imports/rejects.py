"""Rows that were not kept, written where they can be corrected and imported again."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TextIO

from holdfast.errors import StoreError
from holdfast.store.imports.rows import REJECT_COLUMNS, Header, Row

_Write = Callable[[Row, str], object]


class RejectsFile:
    """The rows that were not kept, with line and reason; made when the first one comes.

    CSV where all rows have the same columns, JSON lines where each has its own. They are customers' data:
    the file can be read by its owner alone.
    """

    def __init__(self, path: Path | None, header: Header | None) -> None:
        self._path = path
        self._header = header
        self._file: TextIO | None = None
        self._write: _Write

    @property
    def path(self) -> Path | None:
        """Where the rows are; None while there are none."""
        return self._path if self._file else None

    def __enter__(self) -> RejectsFile:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file:
            self._file.close()

    def write(self, rejected: Iterable[tuple[Row, str]]) -> None:
        """Adds rows with their reasons."""
        for row, reason in rejected:
            if self._path is None:
                return
            if self._file is None:
                self._file = self._open(self._path)
                self._write = (
                    _json_lines(self._file) if self._header is None else _csv(self._file, self._header)
                )
            self._write(row, reason)

    def flush(self) -> None:
        """What was written reaches the file now."""
        if self._file:
            self._file.flush()

    @staticmethod
    def _open(path: Path) -> TextIO:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            os.fchmod(descriptor, 0o600)
        except OSError as error:
            raise StoreError(f"the rejects file {path.name} cannot be written: {error.strerror}") from None
        return open(descriptor, "w", encoding="utf-8", newline="")


def _csv(file: TextIO, header: Header) -> _Write:
    writer = csv.writer(file)
    writer.writerow((*REJECT_COLUMNS, *_without_reject_columns(header, header.written)))
    return lambda row, reason: writer.writerow(
        (row.line, reason, *_without_reject_columns(header, row.fields))
    )


def _json_lines(file: TextIO) -> _Write:
    def write(row: Row, reason: str) -> None:
        record = dict(zip(row.header.written, row.fields, strict=True))
        file.write(json.dumps(record | dict(zip(REJECT_COLUMNS, (row.line, reason), strict=True))) + "\n")

    return write


def _without_reject_columns(header: Header, fields: Sequence[str]) -> list[str]:
    names = header.names
    return [
        field
        for place, field in enumerate(fields)
        if place >= len(names) or names[place] not in REJECT_COLUMNS
    ]
