"""Tables on a terminal, by rich: as wide as it allows."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
from rich import box
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from musiceval_sk._text import Table, visible

_NARROWEST = 24  # to which a column of words is folded before columns go into a table of their own
_GAP = 3


class _Column(NamedTuple):
    title: str
    cells: list[str]
    is_number: bool

    @property
    def width(self) -> int:
        """How wide it is at least: numbers are never folded."""
        widest = max(Text(cell).cell_len for cell in [*self.title.split("\n"), *self.cells])
        return widest if self.is_number else min(widest, _NARROWEST)


def fitting_tables(table: Table, width: int) -> Iterator[Padding]:
    """Lay a table out for a terminal; what does not fit beside the row names goes into further tables.

    Parameters
    ----------
    table : Table
        With at least one row; its cells read as in plain text.
    width : int
        Columns of the terminal.

    Yields
    ------
    rich.padding.Padding
        A table.
    """
    names = _names(table.frame) if table.options.get("index", True) else []
    used = len(table.indent) + sum(column.width + _GAP for column in names)
    chosen: list[_Column] = []
    taken = used
    for column in _columns(table):
        if chosen and taken + column.width > width:
            yield _laid_out([*names, *chosen], len(names), table.indent)
            chosen, taken = [], used
        chosen.append(column)
        taken += column.width + _GAP
    yield _laid_out([*names, *chosen], len(names), table.indent)


def _columns(table: Table) -> Iterator[_Column]:
    """Read each column as plain text has it, so that both say the same."""
    frame = table.frame
    options = {name: value for name, value in table.options.items() if name not in ("index", "col_space")}
    before: tuple[str, ...] = ()
    for place, title in enumerate(frame.columns):
        column = frame.iloc[:, [place]]
        cells = column.to_string(index=False, header=False, **options).splitlines()
        words = tuple(str(part) for part in (title if isinstance(title, tuple) else (title,)))
        shown = ["" if words[: i + 1] == before[: i + 1] else word for i, word in enumerate(words[:-1])]
        before = words
        is_number = all(cell.strip()[:1] in "0123456789+-[." for cell in cells)
        yield _Column("\n".join([*shown, words[-1]]), [cell.strip() for cell in cells], is_number)


def _names(frame: pd.DataFrame) -> list[_Column]:
    """Make a column of each level of the rows' names; a name that stands above it already is left out."""
    levels = [frame.index.get_level_values(i) for i in range(frame.index.nlevels)]
    corner = "" if frame.columns.name is None else str(frame.columns.name)
    rows = list(zip(*(map(str, level) for level in levels), strict=True))
    found = []
    for i, level in enumerate(levels):
        cells = [
            "" if i < len(levels) - 1 and k and rows[k - 1][: i + 1] == row[: i + 1] else row[i]
            for k, row in enumerate(rows)
        ]
        title = str(level.name) if level.name is not None else corner if i == 0 else ""
        found.append(_Column(title, cells, False))
    return found


def _laid_out(columns: list[_Column], n_names: int, indent: str) -> Padding:
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for i, column in enumerate(columns):
        right = column.is_number and i >= n_names
        made.add_column(
            Text(visible(column.title)),
            justify="right" if right else "left",
            no_wrap=column.is_number,
            overflow="fold",
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        made.add_row(*(Text(visible(cell)) for cell in row))
    return Padding(made, (0, 0, 0, len(indent)), expand=False)
