"""The text of a file of cells, and what parts its cells."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from musiceval_sk._files import unpacked_size
from musiceval_sk._ids import id_text
from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.exceptions import ClipsTableError

DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Of an unpacked table: a few kilobytes can be packed so that they would fill any memory.
_MOST_BYTES = 1 << 28
# Of a sheet, beside the cells that its size allows: a cell far out makes blanks of all before it.
_MOST_BLANKS = 2_000_000
# Of a table of rows that name their columns: cells for each that is filled, beside so many.
_MOST_CELLS, _MOST_GAPS = 20, 1_000_000


def kind_of(path: Path) -> str:
    """Suffix of a table's file without the one of its compression."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read_text(path: Path) -> str:
    """Unpack and decode a file: UTF-8, or UTF-16 where a byte order mark says so."""
    if not path.is_file():
        raise ClipsTableError(f"{path}: {'is a folder, not a table' if path.is_dir() else 'no such file'}")
    if path.suffix.lower() == ".xlsx":
        return _text_of_sheet(path)
    if path.suffix.lower() == ".gz":
        try:
            with gzip.open(path) as packed:
                content = packed.read(_MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ClipsTableError(f"{path}: cannot be unpacked: {error}") from error
        _check_size(path, len(content))
    else:
        content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in content and not wide:
        raise ClipsTableError(
            f"{path}: holds NUL characters, as UTF-16 without its mark does; save the table as UTF-8"
        )
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line, name = content.count(b"\n", 0, error.start) + 1, "UTF-16" if wide else "UTF-8"
        raise ClipsTableError(f"{path}: line {line} is not {name} text; save the table as UTF-8") from error


def _check_size(path: Path, size: int) -> None:
    if size > _MOST_BYTES:
        raise ClipsTableError(
            f"{path}: holds more than {_MOST_BYTES:,} bytes when unpacked, which no table of clips or ratings needs; unpack and divide it"
        )


def _text_of_sheet(path: Path) -> str:
    """Write the one filled sheet of a spreadsheet as text with commas."""
    openpyxl = import_optional("openpyxl", extra="xlsx", purpose=f"reading {path.name}")
    try:
        size = unpacked_size(path, _MOST_BYTES)
        _check_size(path, size)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheets = {sheet.title: [*_rows_of(path, sheet, size + _MOST_BLANKS)] for sheet in book.worksheets}
        book.close()
    except ClipsTableError:
        raise
    except Exception as error:  # of damaged XML the library raises nearly any kind
        raise ClipsTableError(f"{path}: is no spreadsheet that can be read: {error}") from error
    filled = [name for name, rows in sheets.items() if any(cell is not None for row in rows for cell in row)]
    if len(filled) > 1:
        raise ClipsTableError(
            f"{path}: {len(filled)} sheets hold cells, {listed(map(repr, filled))}; keep the one to be read, or save it as .csv"
        )
    text = io.StringIO()
    rows = sheets[filled[0]] if filled else []
    csv.writer(text).writerows([["" if cell is None else id_text(cell) for cell in row] for row in rows])
    return text.getvalue()


def _rows_of(path: Path, sheet: Any, most: int) -> Iterator[tuple[Any, ...]]:
    """Go through the rows of a sheet, as long as it has no more cells than that."""
    left = most
    for row in sheet.iter_rows(values_only=True):
        left -= len(row) + 1
        if left < 0:
            raise ClipsTableError(
                f"{path}: sheet {sheet.title!r} has more than {most:,} cells, nearly all blank; delete what stands far out, or save it as .csv"
            )
        yield row


def delimiter_of(text: str, usual: str) -> tuple[str, str]:
    """Find the delimiter: the one that a first line ``sep=;`` declares, else that which parts the header into most cells.

    Also returns the text, with a blank line in place of the declaration.
    """
    declared = re.match(r'"?sep=([^"\r])"?\r?(?:\n|$)', text, re.IGNORECASE)
    if declared:
        return declared[1], "\n" + text[declared.end() :]
    candidates = dict.fromkeys([usual, *DELIMITER_NAMES])
    return max(candidates, key=lambda delimiter: len(first_cells(text, delimiter))), text


def first_cells(text: str, delimiter: str) -> list[str]:
    """Cells of the first line that has any."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return next((cells for cells in rows if any(map(str.strip, cells))), [])
    except csv.Error:  # of a cell without end, which whoever reads the table names
        return []


def refuse_gaps(path: Path, rows: Mapping[int, Mapping[str, Any]]) -> None:
    """Raise unless rows name much the same columns: where each has its own, a small file makes a table of gaps without end."""
    n_names, filled = len({name for row in rows.values() for name in row}), sum(map(len, rows.values()))
    if len(rows) * n_names > _MOST_GAPS + _MOST_CELLS * filled:
        raise ClipsTableError(
            f"{path}: {len(rows):,} rows name {n_names:,} columns, nearly all of them in few rows; give a table whose rows have the same "
            "columns"
        )
