"""From a file to its text, and from text to a table of cells by line."""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._files import parse_json, unpacked_size
from musiceval_sk._ids import id_text
from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.exceptions import ClipsTableError

DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Of an unpacked table: a few kilobytes can be packed so that they would fill any memory.
_MOST_BYTES = 1 << 28
# Of a sheet, beside the cells that its size allows: a cell far out makes blanks of all before it.
_MOST_BLANKS = 500_000
_HALF = re.compile(r"\\ud[89a-f]", re.I)
_LINE = re.compile(r"[^\r\n]*(\r\n|\r|\n)|[^\r\n]+")
_MOST_SHARED = 10_000
# What the command line writes before what a spreadsheet would compute.
_GUARD = re.compile(r"^'(?='*[=+\-@\t\r\n])")
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


def lines_of(text: str) -> Iterator[str]:
    """Go through lines with their ends, whichever mark these; `io.StringIO` would take four bytes a character."""
    return (found[0] for found in _LINE.finditer(text))


def first_cells(text: str, delimiter: str) -> list[str]:
    """Cells of the first line that has any."""
    rows = csv.reader(lines_of(text), delimiter=delimiter)
    try:
        return next((cells for cells in rows if any(map(str.strip, cells))), [])
    except csv.Error:  # of a cell without end, which whoever reads the table names
        return []


def delimited_table(path: Path, text: str, delimiter: str) -> pd.DataFrame:
    """Text cells by line; empty rows, and columns beyond the last that is used, are left out."""
    reader, last = csv.reader(lines_of(text), delimiter=delimiter, strict=True), 0

    def filled_rows() -> Iterator[list[str]]:
        nonlocal last
        for cells in reader:
            last = reader.line_num
            if len(cells) == 1 or any(map(str.strip, cells)):
                yield _unguarded(cells)

    rows = filled_rows()
    try:
        header = [name.strip() for name in next(rows, [])]
        named = used = _width(header)
        most = min(named + 1, len(header))  # of several columns without a name none is read
        blank = [""] * most

        def checked_rows() -> Iterator[tuple[int, list[str]]]:
            nonlocal used
            for cells in rows:
                width = _width(cells)
                if width > len(header) or len(cells) < named:
                    raise ClipsTableError(
                        f"{path}: line {reader.line_num} has {len(cells)} cells where the header has {len(header)}"
                    )
                used = max(used, width)
                yield reader.line_num, [*cells, *blank][:most]

        table = table_of_rows(path, checked_rows(), header[:most])
    except csv.Error as error:
        raise ClipsTableError(f"{path}: line {last + 1} cannot be read: {error}") from error
    if len(set(header[:used])) < used:
        raise ClipsTableError(f"{path}: the header repeats a column name: {listed(header[:used], most=12)}")
    return table.iloc[:, :used]


def table_of_rows(
    path: Path, rows: Iterable[tuple[int, Sequence[Any]]], columns: Sequence[str]
) -> pd.DataFrame:
    """Lay rows of as many cells as there are columns out, each with its line; a list of them would take their room once more."""
    lines, shared = array("q"), [_Shared() for _ in columns]

    def cells_in_order() -> Iterator[Any]:
        for line, row in rows:
            lines.append(line)
            cells = zip(shared, row, strict=True)
            yield from [kept[cell] if isinstance(cell, str) else cell for kept, cell in cells]

    cells = np.fromiter(cells_in_order(), dtype=object)
    return _table_of(path, cells.reshape(len(lines), len(columns)), lines, columns)


class _Shared(dict[str, str]):
    """One object for equal texts of a column: names and scores come again and again, though prompts and paths do not."""

    def __missing__(self, cell: str) -> str:
        if len(self) >= _MOST_SHARED:
            self.clear()
        return self.setdefault(cell, cell)


def _unguarded(cells: list[str]) -> list[str]:
    return [_GUARD.sub("", cell) if cell[:1] == "'" else cell for cell in cells]


def _width(cells: list[str]) -> int:
    """Count cells without the empty ones at the end."""
    return next((width for width in range(len(cells), 0, -1) if cells[width - 1].strip()), 0)


def json_table(path: Path, text: str) -> pd.DataFrame:
    """Cells by line, as JSON has them."""
    return table_of_objects(path, _objects(path, text))


def _objects(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ClipsTableError(f"{path}: line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise ClipsTableError(f"{path}: line {number} must be a JSON object, not {type(row).__name__}")
        for column, cell in row.items():
            kind = "a list" if isinstance(cell, list) else "an object" if isinstance(cell, dict) else ""
            if re.search("[\ud800-\udfff]", f"{column}{cell}"):
                kind = "half a character (a surrogate without its pair)"
            if kind:
                raise ClipsTableError(
                    f"{path}: line {number}: column {column!r} holds {kind}, {json.dumps(cell)[:40]}; a cell is one text or number"
                )
        yield number, row


def parse_cells(text: str) -> Any:
    """Read JSON whose texts can be written down again: half a character is a `ValueError`, too."""
    found = parse_json(text)
    if _HALF.search(text):
        json.dumps(found, ensure_ascii=False).encode()
    return found


def table_of_objects(
    path: Path, rows: Iterable[tuple[int, Mapping[str, Any]]], gap: Any = np.nan
) -> pd.DataFrame:
    """Lay rows, each with its line, out by the columns that they name.

    Where each row has columns of its own, a small file would make a table of gaps without end: it is refused.
    """
    lines, columns, n_filled, n_cells = array("q"), dict[str, list[Any]](), 0, 0
    shared = defaultdict[str, _Shared](_Shared)

    def refuse_gaps(n_cells: int) -> None:
        if n_cells > _MOST_GAPS + _MOST_CELLS * n_filled:
            raise ClipsTableError(
                f"{path}: the first {len(lines):,} rows name {len(columns):,} columns, nearly all of them in few rows; give a table whose "
                "rows have the same columns"
            )

    for line, row in rows:
        n_filled += len(row)
        for name, cell in row.items():
            column = columns.setdefault(name, [])
            gaps = [gap] * (len(lines) - len(column))
            column += [*gaps, shared[name][cell] if isinstance(cell, str) else cell]
            n_cells += len(gaps) + 1
        lines.append(line)
        refuse_gaps(n_cells)
    refuse_gaps(len(lines) * len(columns))
    table = np.empty((len(lines), len(columns)), dtype=object, order="F")
    for place, name in enumerate(columns):  # whose cells are given up one after another
        cells, columns[name] = columns[name], []
        table[: len(cells), place] = np.fromiter(cells, dtype=object, count=len(cells))
        table[len(cells) :, place] = gap
    return _table_of(path, table, lines, list(columns))


def _table_of(path: Path, cells: np.ndarray, lines: Sequence[int], columns: Sequence[str]) -> pd.DataFrame:
    # dtype=object: whole numbers in a JSON column with gaps would become 12.0.
    index = pd.Index(np.asarray(lines, dtype=int), name="line")
    table = pd.DataFrame(cells, index, columns, dtype=object, copy=False)
    table.attrs["path"] = str(path)
    return table
