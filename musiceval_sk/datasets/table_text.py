"""The text of a table's file, and how its cells are told apart."""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.exceptions import ClipsTableError

DELIMITERS = {".csv": ",", ".txt": ",", ".tsv": "\t"}
DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
_DECLARED = re.compile(r'"?sep=(.)"?\r?(?:\n|$)', re.IGNORECASE)
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def kind_of(path: Path) -> str:
    """Suffix of a table's file without the one of its compression."""
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def text_of(path: Path) -> str:
    """Unpack and decode a file: UTF-8, or UTF-16 where a byte order mark says so."""
    if not path.is_file():
        raise ClipsTableError(f"{path}: {'is a folder, not a table' if path.is_dir() else 'no such file'}")
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ClipsTableError(f"{path}: cannot be unpacked: {error}") from error
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not wide and b"\0" in content:
        raise ClipsTableError(
            f"{path}: holds NUL characters, as UTF-16 without its mark does; save the table as UTF-8"
        )
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        name = "UTF-16" if wide else "UTF-8"
        raise ClipsTableError(f"{path}: line {line} is not {name} text; save the table as UTF-8") from error


def declared_delimiter(text: str) -> str | None:
    """Find the delimiter that a first line ``sep=;`` declares, as some spreadsheets write it."""
    declared = _DECLARED.match(text)
    return declared[1] if declared else None


def delimiter_of(text: str, usual: str) -> str:
    """Find the delimiter: the declared one, else the one that parts the first line into most cells."""
    return declared_delimiter(text) or max(
        dict.fromkeys([usual, *DELIMITER_NAMES]), key=lambda delimiter: len(first_cells(text, delimiter))
    )


def first_cells(text: str, delimiter: str) -> list[str]:
    """Cells of the first line that has any; none where it cannot be read."""
    try:
        return next((cells for _, cells in rows_of(text, delimiter)), [])
    except csv.Error:
        return []


def rows_of(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of the rows that are not empty; the line that declares the delimiter is none."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    declared = declared_delimiter(text) is not None
    for cells in reader:
        declares = declared and reader.line_num == 1
        if not declares and cells and (len(cells) == 1 or any(map(str.strip, cells))):
            yield reader.line_num, cells


def is_header(cells: list[str]) -> bool:
    """Whether cells look like names: no number, and no digit in the first of them."""
    points = pd.Series([cell.replace(",", ".") for cell in cells[1:]], dtype=object)
    numeric = pd.to_numeric(points, errors="coerce").notna()
    return not numeric.any() and not any(letter.isdigit() for letter in cells[0])


def delimited_rows(path: Path, text: str, delimiter: str) -> dict[int, dict[str, str]]:
    """Cells by name of column, by line."""
    rows: dict[int, list[str]] = {}
    try:
        for line, cells in rows_of(text, delimiter):
            rows[line] = cells
    except csv.Error as error:
        raise ClipsTableError(f"{path}: line {max(rows, default=0) + 1} cannot be read: {error}") from error
    if not rows:
        return {}
    header = [name.strip() for name in rows.pop(min(rows))]
    named = max((place for place, name in enumerate(header, start=1) if name), default=0)
    used = max([named, *(_width(cells) for cells in rows.values())])
    for line, cells in rows.items():
        if _width(cells) > len(header) or len(cells) < named:
            raise ClipsTableError(
                f"{path}: line {line} has {len(cells)} cells where the header has {len(header)}"
            )
    header = header[:used]
    if len(set(header)) < len(header):
        raise ClipsTableError(f"{path}: the header repeats a column name: {listed(header, most=12)}")
    blank = [""] * used
    return {line: dict(zip(header, [*cells, *blank][:used], strict=True)) for line, cells in rows.items()}


def json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and cells by name of column."""
    for line_number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ClipsTableError(f"{path}: line {line_number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise ClipsTableError(
                f"{path}: line {line_number} must be a JSON object, not {type(row).__name__}"
            )
        for column, cell in row.items():
            kind = "a list" if isinstance(cell, list) else "an object" if isinstance(cell, dict) else ""
            if _HALF_CHARACTER.search(f"{column}{cell}"):
                kind = "half a character (a surrogate without its pair)"
            if kind:
                raise ClipsTableError(
                    f"{path}: line {line_number}: column {column!r} holds {kind}, {json.dumps(cell)[:40]}; a cell is "
                    "one text or number"
                )
        yield line_number, row


def _width(cells: list[str]) -> int:
    """Count cells without the empty ones at the end."""
    return max((place for place, cell in enumerate(cells, start=1) if cell.strip()), default=0)
