"""Reading tables of text so that every complaint can name file, line and column."""

import io
import logging
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import bare, is_missing
from musiceval_sk._text import listed
from musiceval_sk.datasets.table_text import (
    DELIMITER_NAMES,
    DELIMITERS,
    delimited_rows,
    delimiter_of,
    first_cells,
    is_header,
    json_rows,
    kind_of,
    text_of,
)
from musiceval_sk.exceptions import ClipsTableError

_LOGGER = logging.getLogger(__name__)
_NAMES = ("clip_id", "path", "prompt_id", "system", "rater")
_TEXTS = (*_NAMES, "prompt", "batch", "kind", "copy_of", "split")
_KNOWN = (*_TEXTS, "impression", "alignment", "seconds", "slot", "start_time", "end_time")
_MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "-")
_COMMA_NUMBER = r"[+-]?\d*(,\d+)?([eE][+-]?\d+)?"


def read_table(path: str | Path, targets: Sequence[str] | None = None) -> pd.DataFrame:
    """Read CSV, TSV or JSON Lines into text cells, indexed by line number in the file.

    What is read beyond the plain form (other delimiters, decimal commas, other names of columns, words for missing
    cells) is told to the log.
    """
    path = Path(path)
    text, kind, notes = text_of(path), kind_of(path), []
    if kind == ".jsonl" or (kind in DELIMITERS and text.lstrip().startswith("{")):
        rows, delimiter = dict(json_rows(path, text)), ","
    elif kind in DELIMITERS:
        delimiter = delimiter_of(text, DELIMITERS[kind])
        rows = delimited_rows(path, text, delimiter)
        if delimiter != DELIMITERS[kind]:
            notes.append(f"{DELIMITER_NAMES.get(delimiter, repr(delimiter))} between cells")
    else:
        raise ClipsTableError(f"{path}: cannot read a table from {kind!r}; give .csv, .tsv or .jsonl")
    if not rows:
        raise ClipsTableError(f"{path}: the table is empty")
    # dtype=object: whole numbers in a JSON column with gaps would become 12.0.
    table = pd.DataFrame(list(rows.values()), index=list(rows), dtype=object)
    table.index.name = "line"
    table.attrs["path"] = str(path)
    table, renamed = _with_known_names(table, targets)
    notes += [f"column {old!r} taken as {new!r}" for old, new in renamed.items()]
    if delimiter != ",":
        notes += [f"decimal commas in column {column!r}" for column in _take_decimal_commas(table)]
    for column in table.columns.intersection(_NAMES):
        words = _is_word_for_missing(table[column])
        if words.any():
            notes.append(
                f"{listed(map(repr, table[column][words].unique()))} taken as missing in column {column!r}"
            )
            table.loc[words, column] = ""
    if notes:
        _LOGGER.info("%s%s", source_of(table), "; ".join(notes))
    return table


def with_known_names(table: pd.DataFrame, targets: Sequence[str] | None = None) -> pd.DataFrame:
    """Rename columns of a table that was made by hand as `read_table` does those of a file."""
    named, renamed = _with_known_names(table, targets)
    if renamed:
        _LOGGER.info("%s", "; ".join(f"column {old!r} taken as {new!r}" for old, new in renamed.items()))
    return named


def read_headerless(
    path: str | Path, columns: Sequence[str], *, delimiter: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Read a list without a header into text cells, indexed by line number, and name the lines of another width.

    A first line that holds no number and whose first cell holds no digit is taken for a header and passed over.
    """
    path = Path(path)
    text = text_of(path)
    delimiter = delimiter or delimiter_of(text, ";")  # a;3,5 has as many cells by either
    rows, broken = {}, []
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        cells = [
            cell.strip() for cell in line.split(delimiter, len(columns) - 1 if delimiter == "\t" else -1)
        ]
        if not any(cells) or (number == 1 and is_header(cells)):
            continue
        if len(cells) != len(columns):
            broken.append(f"{path.name} line {number} has {len(cells)} cells instead of {len(columns)}")
        else:
            rows[number] = cells
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=list(columns), dtype=object)
    table.index.name = "line"
    table.attrs["path"] = str(path)
    if delimiter != ",":
        _take_decimal_commas(table)
    return table, broken


def has_header(path: str | Path) -> bool:
    """Tell whether the first line of a table looks like names of columns; JSON Lines always have them."""
    path = Path(path)
    if kind_of(path) not in DELIMITERS or not path.is_file():
        return True
    text = text_of(path)
    cells = first_cells(text, delimiter_of(text, DELIMITERS[kind_of(path)]))
    named = {_plain(cell) for cell in cells} & {_plain(name) for name in _KNOWN}
    return not cells or text.lstrip().startswith("{") or bool(named) or is_header(cells)


def require_columns(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise unless every one of ``columns`` is there."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ClipsTableError(
            f"{source_of(table)}missing column(s) {listed(missing)}; found: {listed(table.columns, most=12)}"
        )


def require_filled(table: pd.DataFrame, column: str, what_to_do: str = "") -> None:
    """Raise if a cell of ``column`` is missing."""
    blank = is_missing(table[column])
    if blank.any():
        unit = "line(s)" if "path" in table.attrs else "row(s)"
        raise ClipsTableError(
            f"{source_of(table)}column {column!r} is empty in {unit} {listed(table.index[blank])}{what_to_do}"
        )


def require_unique(table: pd.DataFrame, column: str, what_to_do: str = "") -> None:
    """Raise if a value stands in ``column`` more than once, or once with and once without a sound's suffix."""
    values = table[column]
    doubled = values.duplicated(keep=False)
    what = "repeats a value"
    if not doubled.any():
        bares = values.map(bare)
        doubled = bares.isin(bares[bares == values]) & bares.duplicated(keep=False)
        what = "holds a value with and without its suffix"
    if doubled.any():
        offenders = (f"{value!r} ({place_of(table, row)})" for row, value in values[doubled].items())
        raise ClipsTableError(f"{source_of(table)}column {column!r} {what}: {listed(offenders)}{what_to_do}")


def numbers(table: pd.DataFrame, column: str) -> pd.Series:
    """Column as floats, empty cells and words for missing ones as nan; anything else that is no finite number raises."""
    cells = table[column]
    words = _is_word_for_missing(cells)
    if words.any():
        _LOGGER.info(
            "%s%s taken as missing in column %r",
            source_of(table),
            listed(map(repr, cells[words].unique())),
            column,
        )
    empty = cells.isna() | words | (cells.astype(str).str.strip() == "")
    values = pd.to_numeric(cells, errors="coerce").astype(float)
    wrong = ~empty & (~np.isfinite(values) | cells.map(lambda cell: isinstance(cell, bool)))
    if wrong.any():
        offenders = (f"{cell!r} ({place_of(table, row)})" for row, cell in cells[wrong].items())
        raise ClipsTableError(
            f"{source_of(table)}column {column!r} must hold numbers, but has: {listed(offenders)}"
        )
    return values


def check_scale(scale: Any) -> None:
    """Raise unless the lowest score comes first and the highest lies above it."""
    low, high = scale
    if not -np.inf < low < high < np.inf:
        fault = "empty" if low == high else "reversed" if low > high else "no pair of numbers"
        raise ValueError(
            f"the scale {low:g} to {high:g} is {fault}; give the lowest score, then the highest, such as 1 5"
        )


def require_scale(table: pd.DataFrame, target: str, scale: tuple[float, float] | None) -> None:
    """Raise unless every number of a column lies on the scale."""
    if scale is None:
        return
    check_scale(scale)
    low, high = scale
    wrong = table.loc[(table[target] < low) | (table[target] > high), target]
    if len(wrong):
        offenders = (f"{score:g} ({place_of(table, row)})" for row, score in wrong.items())
        raise ClipsTableError(
            f"{source_of(table)}column {target!r} has scores off the scale {low:g} to {high:g}: {listed(offenders)}. "
            "Correct them, or give the scale= that the raters used (--scale)"
        )


def unused_scores(
    table: pd.DataFrame, chosen: Sequence[str], scale: tuple[float, float] | None = None
) -> list[str]:
    """Name the columns of numbers that may be scores, for all lie on the scale, and are none of those chosen."""
    names = []
    for column in table.columns:
        derived = any(str(column).startswith(f"{target}_") for target in chosen)
        is_number = getattr(table[column].dtype, "kind", "O") not in "bmM"  # neither yes and no nor a date
        if column in _KNOWN or column in chosen or derived or not is_number:
            continue
        cells = table[column][~(table[column].isna() | _is_word_for_missing(table[column]))]
        values = pd.to_numeric(cells[cells.astype(str).str.strip() != ""], errors="coerce").astype(float)
        if len(values) and values.between(*(scale or (-np.inf, np.inf))).all():
            names.append(str(column))
    return names


def how_to_name(names: Sequence[str]) -> str:
    """Say how columns of numbers become targets; nothing where there are none."""
    if not names:
        return ""
    return f"; columns of numbers found: {listed(names)}. If they are scores, give targets={names[:1]}"


def warn_of_unused_scores(
    table: pd.DataFrame, chosen: Sequence[str], scale: tuple[float, float] | None
) -> None:
    """Warn of columns that look like scores on the scale and are passed over, where a usual target is lacking."""
    complete = scale is None or {"impression", "alignment"} <= set(chosen)
    names = [] if complete else unused_scores(table, chosen, scale)
    if names:
        warnings.warn(
            f"{source_of(table)}columns are not taken as scores, for their names are unknown{how_to_name(names)}",
            UserWarning,
            stacklevel=4,
        )


def source_of(table: pd.DataFrame) -> str:
    """``"file: "`` where the table came from a file, else nothing."""
    return f"{table.attrs['path']}: " if "path" in table.attrs else ""


def place_of(table: pd.DataFrame, row: Any) -> str:
    """Where a row stands, in words."""
    return f"line {row}" if "path" in table.attrs else f"row {row!r}"


def _with_known_names(
    table: pd.DataFrame, targets: Sequence[str] | None
) -> tuple[pd.DataFrame, dict[Any, str]]:
    """Rename columns that differ in case, spaces, dashes or underscores from known ones, or bear another tool's name."""
    wanted = dict.fromkeys([*_KNOWN, *(targets or ())])
    free = [column for column in table.columns if column not in wanted]
    renamed: dict[Any, str] = {}
    for name in wanted:
        alike = [column for column in free if _plain(column) == _plain(name)]
        if name in table:
            continue
        if len(alike) > 1:
            raise ClipsTableError(
                f"{source_of(table)}columns {listed(map(repr, alike))} all stand for {name!r}; keep one of them"
            )
        renamed |= dict.fromkeys(alike, name)
    known = {*table.columns, *renamed.values()}
    if "path" not in known and "file_name" in free:  # Hugging Face's AudioFolder
        renamed["file_name"] = "path"
        if "prompt" not in known and "text" in free:
            renamed["text"] = "prompt"
    if "key" in free and not known & {"clip_id", "path", "prompt_id"}:  # VERSA
        renamed["key"] = "clip_id"
    return table.rename(columns=renamed), renamed


def _plain(name: object) -> str:
    return re.sub(r"[\s_-]+", "", str(name)).casefold()


def _is_word_for_missing(cells: pd.Series) -> pd.Series:
    if not (cells.dtype == object or isinstance(cells.dtype, pd.StringDtype)):
        return pd.Series(False, index=cells.index)
    words = cells.map(lambda cell: cell.strip().casefold() if isinstance(cell, str) else "")
    return words.isin(_MISSING[1:])


def _take_decimal_commas(table: pd.DataFrame) -> list[str]:
    """Write points for decimal commas in columns whose cells are all numbers if that is done; name these columns."""
    changed = []
    for column in table.columns.difference(_TEXTS, sort=False):
        cells = table[column].str.strip()
        given = cells[~cells.str.casefold().isin(_MISSING)]
        if given.str.contains(",").any() and given.str.fullmatch(_COMMA_NUMBER).all():
            table[column] = cells.str.replace(",", ".")
            changed.append(str(column))
    return changed
