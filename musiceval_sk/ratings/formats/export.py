"""A file that another program wrote, and what a reader takes of it."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._ids import id_texts
from musiceval_sk._text import listed
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.text import delimiter_of, read_text
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.formats.privacy import RaterIds, is_personal

_NUMBER = re.compile(r"\s*([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan)?\s*", re.I)


def is_number(cell: str) -> bool:
    """Tell whether a cell is a number, or stands for none."""
    return _NUMBER.fullmatch(cell) is not None


def is_of_numbers(cells: pd.Series) -> bool:
    """Tell whether a column holds numbers, and nothing else but empty cells."""
    given = cells[cells.ne("")]
    return len(given) > 0 and bool(pd.to_numeric(given, errors="coerce").notna().all())


class Cells:
    """Columns of a table that know which of them were taken.

    Parameters
    ----------
    table : pandas.DataFrame
        Cells by line.
    """

    def __init__(self, table: pd.DataFrame):
        self.table, self.taken = table, set[Any]()

    def __contains__(self, column: object) -> bool:
        return column in self.table

    def __getitem__(self, column: Any) -> pd.Series:
        self.taken.add(column)
        return self.table[column]

    def without(self, columns: Sequence[Any] = ()) -> list[Any]:
        """Name the columns that are neither these nor personal."""
        return [name for name in self.table if name not in columns and not is_personal(name)]

    def left(self) -> list[str]:
        """Name the columns that were not taken."""
        return [str(name) for name in self.table if name not in self.taken]


class Export:
    """A file of ratings, read as far as somebody asks for it.

    Parameters
    ----------
    path : Path
        The file.
    targets : sequence of str, default=None
        Score columns that are wanted.
    columns : mapping of str to str, default=None
        By our name (``rater``, ``clip_id``, a target) the file's column that stands for it.
    raters : RaterIds, default=None
        How raters are named.
    listing : Path, default=None
        List of clips, line by line, for files that name none.
    """

    def __init__(
        self,
        path: Path,
        targets: Sequence[str] | None = None,
        columns: Mapping[str, str] | None = None,
        raters: RaterIds | None = None,
        listing: Path | None = None,
    ):
        self.path, self.targets, self.listing = path, targets, listing
        self.columns, self.rater_ids = dict(columns or {}), raters or RaterIds()
        self.notes: list[str] = []

    @cached_property
    def text(self) -> str:
        """The file's text."""
        return read_text(self.path)

    @cached_property
    def document(self) -> Any:
        """What the file holds as JSON; None where it is none."""
        if self.text.lstrip()[:1] not in ("{", "["):
            return None
        try:
            return json.loads(self.text)
        except json.JSONDecodeError:
            return None

    @cached_property
    def objects(self) -> dict[int, dict[str, Any]]:
        """Objects of JSON by line: one a line, or those of one list; none where a line is no object."""
        if isinstance(self.document, list):
            found = dict(enumerate(self.document, start=1))
        elif isinstance(self.document, dict):
            found = {1: self.document}
        else:
            found = dict(self._lines()) if self.text.lstrip().startswith("{") else {}
        return found if all(isinstance(one, dict) for one in found.values()) else {}

    def _lines(self) -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(io.StringIO(self.text), start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError:
                    yield number, None

    @cached_property
    def head(self) -> list[list[str]]:
        """Cells of the first four rows, wherever they end; none of JSON."""
        if self.text.lstrip()[:1] in ("{", "["):
            return []
        delimiter, text = delimiter_of(self.text, ",")
        try:
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            return [[cell.strip() for cell in row] for row, _ in zip(rows, range(4), strict=False)]
        except csv.Error:
            return []

    @cached_property
    def header(self) -> set[str]:
        """Names in the first row that has cells."""
        return set(next((row for row in self.head if any(row)), []))

    @cached_property
    def cells(self) -> Cells:
        """The file as a table with a header, or what `use` put in its place."""
        table, notes = readers.parse_table(self.path, self.text, self.targets)
        self.notes += notes
        return self.use(table)

    def use(self, table: pd.DataFrame) -> Cells:
        """Take a table for what the file holds; columns that were said to stand for ours get our names."""
        readers.require_columns(table, (theirs for name, theirs in self.columns.items() if name != theirs))
        ours = {theirs: name for name, theirs in self.columns.items()}
        self.cells = Cells(table.rename(columns=ours))
        return self.cells

    @property
    def score(self) -> str:
        """Name of the score where the file has one and does not name it."""
        return self.targets[0] if self.targets and len(self.targets) == 1 else readers.TARGETS[0]

    def raters(self, column: str, values: Sequence[Any] | None = None) -> list[str]:
        """Name raters as a column of the file does, numbered where the column is personal."""
        personal = is_personal(self.columns.get(column, column))
        return self.rater_ids(self.cells[column] if values is None else values, personal=personal)

    def choose(self, name: str, candidates: Sequence[str]) -> str | None:
        """Choose the column that stands for a name: that name, else the one candidate that is there."""
        if name in self.cells:
            return name
        plain = {readers.plain_name(candidate) for candidate in candidates}
        others = [column for column in self.cells.table if column not in self.columns]
        found = [column for column in others if readers.plain_name(column) in plain]
        if len(found) > 1:
            raise self.refusal(
                f"columns {listed(map(repr, found))} may all be the {name}; say which with columns= (--column), such as "
                f"{name}={found[0]}"
            )
        return found[0] if found else None

    def clip_names(self, n: int) -> list[str]:
        """Name clips that the file only numbers: from the list that was given, else by their numbers."""
        if self.listing is None:
            return [str(number) for number in range(1, n + 1)]
        return id_texts(readers.listed_clips(self.listing, n))

    def refusal(self, words: str) -> ClipsTableError:
        """Make an error about this file."""
        return ClipsTableError(f"{self.path}: {words}")
