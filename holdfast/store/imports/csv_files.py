"""CSV files as people have them: rows with their physical line numbers."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.errors import StoreError
from holdfast.store.imports.rows import Header, Row, Table

_BLOCK = 1 << 20


@contextmanager
def read_csv(path: Path) -> Iterator[Table]:
    """A CSV file's rows, one at a time.

    Comma, semicolon or tab, whichever splits the header into most columns. Raises StoreError, before the
    first row, for a file that is missing, empty or not UTF-8 text.
    """
    has_nul = check_text(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        if not first.strip():
            raise StoreError(f"{path.name} has no header", hint="its first line names the columns")
        delimiter = max(",;\t", key=lambda sign: len(next(csv.reader([first], delimiter=sign))))
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            columns = next(reader)
        except csv.Error as error:
            raise StoreError(f"{path.name}: the header cannot be read: {error}") from None
        header = Header(path.name, columns, first.rstrip("\r\n"))
        yield Table(_rows(reader, header, has_nul), header)


def _rows(reader: Any, header: Header, has_nul: bool) -> Iterator[Row]:
    line, width = reader.line_num + 1, len(header.written)
    while True:
        try:
            for fields in reader:
                if len(fields) == width:
                    yield Row(
                        line, fields, header, "a NUL byte" if has_nul and "\0" in "".join(fields) else ""
                    )
                elif fields:
                    yield Row(line, fields, header, f"{len(fields)} fields where the header has {width}")
                line = reader.line_num + 1
            return
        except csv.Error as error:
            yield Row(line, [], header, f"not CSV: {error}")
            line = reader.line_num + 1


def check_text(path: Path) -> bool:
    """Reads the whole file once, so that nothing of a file in another encoding is written.

    Says whether there is a NUL byte anywhere: only then has every row to be looked through for it.
    """
    has_nul = False
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, since_newline = 1, 0
    try:
        if not path.is_file():
            raise StoreError(f"no file {path.name}", hint="give the path of a file")
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                try:
                    decoder.decode(block)
                except UnicodeDecodeError as error:
                    line = lines + block.count(b"\n", 0, error.start)
                    raise StoreError(
                        f"{path.name}:{line}: not UTF-8 text",
                        hint="save the file as UTF-8 and import it again",
                    ) from None
                has_nul = has_nul or b"\0" in block
                lines += block.count(b"\n")
                since_newline = (
                    len(block) - 1 - block.rfind(b"\n") if b"\n" in block else since_newline + len(block)
                )
                if since_newline > 4 * _BLOCK:
                    raise StoreError(f"{path.name}:{lines}: a line of over 4 MB", hint="is this a text file?")
            try:
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                raise StoreError(f"{path.name}:{lines}: the file ends in the middle of a character") from None
    except OSError as error:
        raise StoreError(f"{path.name} cannot be read: {error.strerror}") from None
    return has_nul
