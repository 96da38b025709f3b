"""Reading tables of text so that every complaint can name file, line and column."""

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._files import NUMBER
from musiceval_sk._ids import bare, id_texts, is_missing
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets.text import (
    DELIMITER_NAMES,
    delimited_table,
    delimiter_of,
    first_cells,
    json_table,
    kind_of,
    lines_of,
    read_text,
    table_of_rows,
)
from musiceval_sk.exceptions import ClipsTableError

TARGETS = ("impression", "alignment")
_LOGGER = logging.getLogger(__name__)
_DELIMITERS = {".csv": ",", ".txt": ",", ".tsv": "\t", ".xlsx": ","}
_NAMES = ("clip_id", "path", "prompt_id", "system", "rater")
_FREE_TEXTS = ("prompt", "batch", "kind", "copy_of", "split")
KNOWN = (*_NAMES, *_FREE_TEXTS, *TARGETS, "seconds", "position", "slot", "start_time", "end_time")
_WORDS_FOR_MISSING = {"na", "n/a", "#n/a", "nan", "null", "none", "-"}
_CELLS_AT_ONCE = 1 << 16
_COMMA_NUMBER = re.compile(r"[+-]?\d*(,\d+)?([eE][+-]?\d+)?")


def read_table(
    path: str | Path, targets: Sequence[str] | None = None, text: str | None = None
) -> pd.DataFrame:
    """Read CSV, TSV, a spreadsheet or JSON Lines, or what was read of it, into text cells, indexed by line number in the file.

    What is read beyond the plain form (other delimiters, decimal commas, other names of columns, words for missing
    cells) is told to the log.
    """
    table, notes = parse_table(Path(path), read_text(Path(path)) if text is None else text, targets)
    if notes:
        _LOGGER.info("%s%s", source_of(table), "; ".join(notes))
    return table


def parse_table(
    path: Path, text: str, targets: Sequence[str] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Read a table from its text, and say what was beyond the plain form."""
    kind = kind_of(path)
    delimiter, notes = ",", []
    if kind == ".jsonl" or (kind in _DELIMITERS and text.lstrip().startswith("{")):
        table = json_table(path, text)
    elif kind in _DELIMITERS:
        delimiter, text = delimiter_of(text, _DELIMITERS[kind])
        table = delimited_table(path, text, delimiter)
        if delimiter != _DELIMITERS[kind]:
            notes.append(f"{DELIMITER_NAMES.get(delimiter, repr(delimiter))} between cells")
    else:
        raise ClipsTableError(f"{path}: cannot read a table from {kind!r}; give .csv, .tsv, .jsonl or .xlsx")
    if table.empty:
        raise ClipsTableError(f"{path}: the table is empty")
    table, renamed = _take_known_names(table, targets)
    notes += renamed + _plain_cells(table, decimal_commas=delimiter != ",")
    return table, notes


def read_headerless(
    path: str | Path, columns: Sequence[str], *, delimiter: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Read a list without a header into text cells, indexed by line number, and name the lines of another width.

    A first line that holds no number and whose first cell holds no digit is taken for a header and passed over.
    """
    path = Path(path)
    text = read_text(path)
    if delimiter is None:
        delimiter, text = delimiter_of(text, ";")  # a;3,5 has as many cells by either
    most, broken = len(columns) - 1 if delimiter == "\t" else -1, list[str]()

    def rows() -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(lines_of(text), start=1):
            cells = [cell.strip() for cell in line.split(delimiter, most)]
            if not any(cells) or (number == 1 and _is_header(cells)):
                continue
            if len(cells) == len(columns):
                yield number, cells
            else:
                broken.append(f"{path.name} line {number} has {len(cells)} cells instead of {len(columns)}")

    table = table_of_rows(path, rows(), columns)
    if delimiter != ",":
        _plain_cells(table, decimal_commas=True)
    return table, broken


def clips_of_list(listing: str | Path) -> list[Any]:
    """Read the names of clips, one a line."""
    names = read_table(listing)
    column = "clip_id" if "clip_id" in names else "path"
    require_columns(names, [column])
    return list(names[column])


def listed_clips(listing: str | Path, n: int) -> list[Any]:
    """Read the names of ``n`` clips, one a line, for a file that holds none."""
    names = clips_of_list(listing)
    if len(names) != n:
        raise ClipsTableError(
            f"{listing}: lists {counted(len(names), 'clip')} for {counted(n, 'line')} of scores; it must be one each"
        )
    return names


def has_header(path: str | Path) -> bool:
    """Tell whether the first line of a table looks like names of columns; JSON Lines always have them."""
    path = Path(path)
    usual = _DELIMITERS.get(kind_of(path))
    if usual is None or not path.is_file():
        return True
    delimiter, text = delimiter_of(read_text(path), usual)
    cells = first_cells(text, delimiter)
    named = {plain_name(cell) for cell in cells} & {plain_name(name) for name in KNOWN}
    return text.lstrip().startswith("{") or bool(named) or _is_header(cells)


def require_columns(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise unless every one of ``columns`` is there."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ClipsTableError(
            f"{source_of(table)}missing column(s) {listed(missing)}; found: {listed(table.columns, most=12)}"
        )


def require_filled(table: pd.DataFrame, column: str, what_to_do: str = "") -> None:
    """Raise if a cell of ``column`` is missing."""
    blank = table.index[is_missing(table[column])]
    if len(blank):
        unit = "line(s)" if "path" in table.attrs else "row(s)"
        raise ClipsTableError(
            f"{source_of(table)}column {column!r} is empty in {unit} {listed(blank)}{what_to_do}"
        )


def require_unique(table: pd.DataFrame, column: str, what_to_do: str = "") -> None:
    """Raise if a value stands in ``column`` more than once, or once with and once without a sound's suffix."""
    values = table[column]
    texts = pd.Series(id_texts(values), index=values.index, dtype=object)
    filled = texts != ""
    what = f"column {column!r} repeats a value"
    refuse(table, texts.duplicated(keep=False) & filled, what, values, what_to_do)
    bares = pd.Series([bare(text) for text in texts], index=values.index, dtype=object)
    doubled = bares.isin(bares[(bares == texts) & bares.duplicated(keep=False)]) & filled
    what = f"column {column!r} holds a value with and without its suffix"
    refuse(table, doubled, what, values, what_to_do)


def require_ids(table: pd.DataFrame, column: str) -> None:
    """Make a column of ids or names text, in place, and raise if one is missing or repeated."""
    require_filled(table, column)
    require_unique(table, column)
    table[column] = pd.Series(id_texts(table[column]), table.index, dtype=str)


def numbers(table: pd.DataFrame, column: str) -> pd.Series:
    """Column as floats, empty cells and words for missing ones as nan; anything else that is no finite number raises."""
    cells = table[column]
    values = pd.to_numeric(cells, errors="coerce").astype(float)
    truth_values = np.array([isinstance(cell, bool) for cell in cells], dtype=bool)
    wrong = (~np.isfinite(values) & ~_is_none(cells)) | truth_values
    refuse(table, wrong, f"column {column!r} must hold numbers, but has", cells)
    return values


def check_scale(scale: Any) -> tuple[float, float]:
    """Raise unless the lowest score comes first and the highest lies above it."""
    low, high = scale
    if not -np.inf < low < high < np.inf:
        fault = "empty" if low == high else "reversed" if low > high else "no pair of numbers"
        raise ValueError(
            f"the scale {low:g} to {high:g} is {fault}; give the lowest score, then the highest, such as 1 5"
        )
    return low, high


def take_scores(
    table: pd.DataFrame, targets: Iterable[str], scale: tuple[float, float] | None
) -> pd.DataFrame:
    """Make columns of scores floats, in place, and raise if one is no number or off the scale."""
    for target in targets:
        table[target] = numbers(table, target)
        if scale is not None:
            low, high = check_scale(scale)
            off = (table[target] < low) | (table[target] > high)
            what = f"column {target!r} has scores off the scale {low:g} to {high:g}"
            advice = ". Correct them, or give scale= (--scale) as the raters used it"
            refuse(table, off, what, table[target], advice, show="{:g}".format)
    return table


def unused_scores(
    table: pd.DataFrame, chosen: Sequence[str], scale: tuple[float, float] | None = None
) -> list[str]:
    """Name the columns of numbers that may be scores, for all lie on the scale, and are none of those chosen."""
    names, derived = [], tuple(f"{target}_" for target in chosen)
    kinds = {column: getattr(kind, "kind", "O") for column, kind in table.dtypes.items()}
    free = table.columns.difference([*KNOWN, *chosen], sort=False)
    # Neither yes and no nor a date.
    free = [name for name in free if not str(name).startswith(derived) and kinds[name] not in "bmM"]
    low, high = scale or (-np.inf, np.inf)
    for column, cells, values in by_columns(table, free):
        given = ~_is_none(cells)
        if given.any() and ((values >= low) & (values <= high))[given].all():
            names.append(str(column))
    return names


def by_columns(table: pd.DataFrame, names: Sequence[Any]) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Go through columns: name, cells, and these as floats, nan for what is no number; of short columns many are read at once."""
    width = max(1, _CELLS_AT_ONCE // max(1, len(table)))
    for first in range(0, len(names), width):
        some = names[first : first + width]
        cells = table[some].to_numpy(dtype=object)
        values = pd.to_numeric(cells.ravel(order="F"), errors="coerce")
        values = np.asarray(values, dtype=float).reshape(cells.shape, order="F")
        yield from zip(some, cells.T, values.T, strict=True)


def how_to_name(names: Sequence[str]) -> str:
    """Say how columns of numbers become targets; nothing where there are none."""
    if not names:
        return ""
    return f"; columns of numbers found: {listed(names)}. If they are scores, give targets={names[:1]}"


def warn_of_unused_scores(
    table: pd.DataFrame, chosen: Sequence[str], scale: tuple[float, float] | None
) -> None:
    """Warn of columns that look like scores on the scale and are passed over, where a usual target is lacking."""
    complete = scale is None or set(TARGETS) <= set(chosen)
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


def refuse(
    table: pd.DataFrame,
    wrong: pd.Series,
    what: str,
    cells: pd.Series,
    what_to_do: str = "",
    show: Callable[[Any], str] = repr,
) -> None:
    """Raise if rows are wrong, with what their cells hold and where they stand."""
    if wrong.any():
        place = "line {}" if "path" in table.attrs else "row {!r}"
        offenders = (f"{show(cell)} ({place.format(row)})" for row, cell in cells[wrong].items())
        raise ClipsTableError(f"{source_of(table)}{what}: {listed(offenders)}{what_to_do}")


def _is_header(cells: list[str]) -> bool:
    """Whether cells look like names: no number, and no digit in the first of them."""
    points = pd.Series([cell.replace(",", ".") for cell in cells[1:]], dtype=object)
    numeric = pd.to_numeric(points, errors="coerce").notna()
    return not numeric.any() and not re.search(r"\d", cells[0] if cells else "")


def with_known_names(table: pd.DataFrame, targets: Sequence[str] | None = None) -> pd.DataFrame:
    """Rename columns of a table that was made by hand as `read_table` does those of a file."""
    table, renamed = _take_known_names(table, targets)
    if renamed:
        _LOGGER.info("%s", "; ".join(renamed))
    return table


def _take_known_names(table: pd.DataFrame, targets: Sequence[str] | None) -> tuple[pd.DataFrame, list[str]]:
    """Rename columns that differ in case, spaces, dashes or underscores from known ones, or bear another tool's name."""
    wanted = dict.fromkeys([*KNOWN, *(targets or ())])
    there, free = {*table.columns}, dict[Any, list[Any]]()
    for column in (column for column in table.columns if column not in wanted):
        free.setdefault(plain_name(column), []).append(column)
    renamed: dict[Any, str] = {}
    for name in wanted:
        alike = [] if name in there else free.get(plain_name(name), [])
        if len(alike) > 1:
            raise ClipsTableError(
                f"{source_of(table)}columns {listed(map(repr, alike))} all stand for {name!r}; keep one of them"
            )
        renamed |= dict.fromkeys(alike, name)
    known = there | {*renamed.values()}
    if "path" not in known and "file_name" in there:  # Hugging Face's AudioFolder
        renamed["file_name"] = "path"
        if "prompt" not in known and "text" in there:
            renamed["text"] = "prompt"
    if "key" in there and not known & {"clip_id", "path", "prompt_id"}:  # VERSA
        renamed["key"] = "clip_id"
    notes = [f"column {old!r} taken as {new!r}" for old, new in renamed.items()]
    return table.rename(columns=renamed), notes


def plain_name(name: object) -> str:
    """Name of a column without spaces, dashes, underscores and capitals."""
    return re.sub(r"[\s_-]+", "", str(name)).casefold()


def _is_word_for_missing(cells: Iterable[Any]) -> np.ndarray:
    return np.fromiter(
        (isinstance(cell, str) and cell.strip().casefold() in _WORDS_FOR_MISSING for cell in cells), bool
    )


def _is_none(cells: pd.Series) -> np.ndarray:
    return is_missing(cells) | _is_word_for_missing(cells)


def _plain_cells(table: pd.DataFrame, decimal_commas: bool) -> list[str]:
    """Empty cells that are words for a missing name or number, write points for decimal commas, and say in which columns."""
    notes, changed, all_cells = [], dict[int, np.ndarray](), table.to_numpy(dtype=object)
    for place, (column, cells) in enumerate(zip(table.columns, all_cells.T, strict=True)):
        words = _is_word_for_missing(cells)
        has_commas = decimal_commas and any(isinstance(cell, str) and "," in cell for cell in cells)
        if column in _FREE_TEXTS or not (words.any() or has_commas):
            continue
        cells, filled = cells.copy(), ~(is_missing(cells) | words)
        given = [str(cell).strip() for cell in cells[filled]]
        if has_commas and column not in _NAMES and all(map(_COMMA_NUMBER.fullmatch, given)):
            given = [cell.replace(",", ".") for cell in given]
            cells[filled] = given
            changed[place] = cells
            notes.append(f"decimal commas in column {column!r}")
        if not words.any():
            continue
        of_numbers = len(given) > 0 and all(map(NUMBER.fullmatch, given))
        if column in _NAMES or of_numbers:
            found = listed(map(repr, dict.fromkeys(cells[words])))
            notes.append(f"{found} taken as missing in column {column!r}")
            cells[words] = ""
            changed[place] = cells
    if changed:
        all_cells = all_cells.copy()
        all_cells[:, [*changed]] = np.column_stack([*changed.values()])
        table[:] = all_cells
    return notes
