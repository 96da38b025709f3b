"""Reading tables of text so that every complaint can name file, line and column."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.exceptions import ClipsTableError

_DELIMITERS = {".csv": ",", ".txt": ",", ".tsv": "\t"}


def read_table(path: str | Path) -> pd.DataFrame:
    """Read CSV, TSV or JSON Lines into text cells, indexed by line number in the file."""
    path = Path(path)
    if not path.is_file():
        raise ClipsTableError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        rows = dict(_json_rows(path))
    elif suffix in _DELIMITERS:
        rows = dict(_delimited_rows(path, _DELIMITERS[suffix]))
    else:
        raise ClipsTableError(f"{path}: cannot read a table from {suffix!r}; give .csv, .tsv or .jsonl")
    if not rows:
        raise ClipsTableError(f"{path}: the table is empty")
    # dtype=object: whole numbers in a JSON column with gaps would become 12.0.
    table = pd.DataFrame(list(rows.values()), index=list(rows), dtype=object)
    table.index.name = "line"
    table.attrs["path"] = str(path)
    return table


def read_headerless(
    path: str | Path, columns: Sequence[str], *, delimiter: str = ","
) -> tuple[pd.DataFrame, list[str]]:
    """Read a list without a header into text cells, indexed by line number, and name the lines of another width.

    A first line that holds no number and whose first cell holds no digit is taken for a header and passed over.
    """
    path = Path(path)
    if not path.is_file():
        raise ClipsTableError(f"{path}: no such file")
    rows, broken = {}, []
    for number, line in enumerate(io.StringIO(_text_of(path), newline=None), start=1):
        cells = [
            cell.strip() for cell in line.split(delimiter, len(columns) - 1 if delimiter == "\t" else -1)
        ]
        if not line.strip() or (number == 1 and _is_header(cells)):
            continue
        if len(cells) != len(columns):
            broken.append(f"{path.name} line {number} has {len(cells)} cells instead of {len(columns)}")
        else:
            rows[number] = cells
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=list(columns), dtype=object)
    table.index.name = "line"
    table.attrs["path"] = str(path)
    return table, broken


def has_header(path: str | Path, column: str) -> bool:
    """Tell whether the first line of a table names ``column`` or looks like names; JSON Lines always do."""
    path = Path(path)
    if path.suffix.lower() not in _DELIMITERS or not path.is_file():
        return True
    first = next((line for line in io.StringIO(_text_of(path), newline=None) if line.strip()), "")
    cells = next(csv.reader([first], delimiter=_DELIMITERS[path.suffix.lower()]), [])
    return column in cells or not cells or _is_header(cells)


def require_columns(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise unless every one of ``columns`` is there."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ClipsTableError(
            f"{source_of(table)}missing column(s) {listed(missing)}; found: {listed(table.columns, most=12)}"
        )


def require_unique(table: pd.DataFrame, column: str) -> None:
    """Raise if a value stands in ``column`` more than once."""
    doubled = table.loc[table[column].duplicated(keep=False), column]
    if len(doubled):
        offenders = (f"{value!r} ({place_of(table, row)})" for row, value in doubled.items())
        raise ClipsTableError(f"{source_of(table)}column {column!r} repeats a value: {listed(offenders)}")


def numbers(table: pd.DataFrame, column: str) -> pd.Series:
    """Column as floats, empty cells as nan; anything else that is no finite number raises."""
    cells = table[column]
    empty = cells.isna() | (cells.astype(str).str.strip() == "")
    values = pd.to_numeric(cells, errors="coerce").astype(float)
    wrong = ~empty & ~np.isfinite(values)
    if wrong.any():
        offenders = (f"{cell!r} ({place_of(table, row)})" for row, cell in cells[wrong].items())
        raise ClipsTableError(
            f"{source_of(table)}column {column!r} must hold numbers, but has: {listed(offenders)}"
        )
    return values


def require_scale(table: pd.DataFrame, target: str, scale: tuple[float, float] | None) -> None:
    """Raise unless every number of a column lies on the scale."""
    if scale is None:
        return
    low, high = scale
    wrong = table.loc[(table[target] < low) | (table[target] > high), target]
    if len(wrong):
        offenders = (f"{score:g} ({place_of(table, row)})" for row, score in wrong.items())
        raise ClipsTableError(
            f"{source_of(table)}column {target!r} has scores off the scale {low:g} to {high:g}: {listed(offenders)}. "
            "Mend them, or give the scale= that the raters used"
        )


def source_of(table: pd.DataFrame) -> str:
    """``"file: "`` where the table came from a file, else nothing."""
    return f"{table.attrs['path']}: " if "path" in table.attrs else ""


def place_of(table: pd.DataFrame, row: Any) -> str:
    """Where a row stands, in words."""
    return f"line {row}" if "path" in table.attrs else f"row {row!r}"


def _delimited_rows(path: Path, delimiter: str) -> Iterable[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(_text_of(path), newline=""), delimiter=delimiter, strict=True)
    try:
        header = reader.fieldnames or []
        if len(set(header)) < len(header):
            raise ClipsTableError(f"{path}: the header repeats a column name: {listed(header, most=12)}")
        for row in reader:
            if None in row or None in row.values():
                cells = sum(value is not None for name, value in row.items() if name is not None)
                found = cells + len(row.get(None) or [])
                raise ClipsTableError(
                    f"{path}: line {reader.line_num} has {found} cells where the header has {len(header)}"
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise ClipsTableError(f"{path}: line {reader.line_num + 1} cannot be read: {error}") from error


def _json_rows(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    for line_number, line in enumerate(io.StringIO(_text_of(path)), start=1):
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
        yield line_number, row


def _is_header(cells: list[str]) -> bool:
    numeric = pd.to_numeric(pd.Series(cells[1:], dtype=object), errors="coerce").notna()
    return not numeric.any() and not any(letter.isdigit() for letter in cells[0])


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ClipsTableError(f"{path}: line {line} is not UTF-8 text; save the table as UTF-8") from error
