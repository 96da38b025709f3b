"""A file that another program wrote, what a reader takes of it, and the table of the formats that are read."""

import csv
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._files import NUMBER
from musiceval_sk._ids import id_texts, is_missing
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.text import delimiter_of, lines_of, parse_cells, read_text
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.formats.privacy import RaterIds, is_personal

# Names that other programs have for our columns.
_CANDIDATES = {
    "rater": "listener listener_id subject subject_id participant participant_id assessor assessor_id rater_id observer judge "
    "annotator annotator_id user_id worker_id",
    "clip_id": "path clip stimulus stimulus_id stim file filename wav wav_name utt_id item_id",
}


class Export:
    """A file of ratings, read as far as somebody asks for it; it knows which of its columns were taken.

    Parameters
    ----------
    path : Path
        The file.
    targets : sequence of str, default=None
        Score columns that are wanted.
    columns : mapping of str to str, default=None
        By our name (``rater``, ``clip_id``, a target) the file's column that stands for it; a column that is only to stay, by its own.
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
        self.path, self.targets, self.listing = path, targets or (), listing
        self.columns, self.rater_ids = dict(columns or {}), raters or RaterIds()
        self.notes, self.taken = list[str](), set[Hashable]()

    @cached_property
    def text(self) -> str:
        """The file's text."""
        return read_text(self.path)

    @cached_property
    def document(self) -> Any:
        """What the file holds as JSON; None where it is none."""
        return _json(self.text) if self.text.lstrip()[:1] in ("{", "[") else None

    def values(self) -> Iterator[tuple[int, Any]]:
        """Go through what JSON holds: the parts of a list, or what each line is, None where it is no JSON."""
        if isinstance(self.document, list):
            yield from enumerate(self.document, start=1)
        elif isinstance(self.document, dict):
            yield 1, self.document
        else:
            lines = lines_of(self.text if self.text.lstrip().startswith("{") else "")
            yield from ((number, _json(line)) for number, line in enumerate(lines, start=1) if line.strip())

    def objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Go through objects of JSON by line: one a line, or those of one list."""
        for line, one in self.values():
            if not isinstance(one, dict):
                raise self.refusal(f"line {line} is no object of JSON that can be read")
            yield line, one

    def holds(self, fits: Callable[[dict[str, Any]], bool]) -> bool:
        """Whether the file is JSON of objects, each of which fits."""
        found = (isinstance(one, dict) and fits(one) for _, one in self.values())
        return next(found, False) and all(found)

    @cached_property
    def head(self) -> list[list[str]]:
        """Cells of the first four rows; none of JSON."""
        if self.text.lstrip()[:1] in ("{", "["):
            return []
        try:
            return [cells for _, cells in islice(self.rows(), 4)]
        except csv.Error:
            return []

    def rows(self, **dialect: Any) -> Iterator[tuple[int, list[str]]]:
        """Go through the cells of rows, blank ones left out, each with the line on which it ends, by whatever parts most cells or a dialect of csv."""
        text = self.text
        if not dialect:
            dialect["delimiter"], text = delimiter_of(text, ",")
        reader = csv.reader(lines_of(text), **dialect)
        rows = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
        return (row for row in rows if row[1] not in ([], [""]))

    @cached_property
    def header(self) -> set[str]:
        """Names in the first row that has cells."""
        return set(next((row for row in self.head if any(row)), []))

    @cached_property
    def table(self) -> pd.DataFrame:
        """Cells by line of a file with a header, or what `use` put in their place."""
        table, notes = readers.parse_table(self.path, self.text, self.targets)
        self.notes += notes
        return self.use(table)

    def use(self, table: pd.DataFrame) -> pd.DataFrame:
        """Take a table for what the file holds; columns that were said to stand for ours get our names."""
        readers.require_columns(table, (theirs for name, theirs in self.columns.items() if name != theirs))
        ours = {theirs: name for name, theirs in self.columns.items()}
        replaced = [name for name in table if name in self.columns and name not in ours]
        self.table = table.drop(columns=replaced).rename(columns=ours)
        return self.table

    def use_fields(self, objects: Iterable[Iterable[str]], used: Iterable[str]) -> None:
        """Take the fields of objects for the columns, of which some were used."""
        self.use(pd.DataFrame(columns=list(dict.fromkeys(name for one in objects for name in one))))
        self.taken |= {*used}

    def __contains__(self, column: object) -> bool:
        return column in self.table

    def __getitem__(self, column: Any) -> pd.Series:
        self.taken.add(column)
        return self.table[column]

    def without(self, columns: Iterable[Any]) -> list[Any]:
        """Name the columns that are neither these nor personal."""
        known = {*columns}
        return [name for name in self.table if name not in known and not is_personal(name)]

    def left(self) -> list[str]:
        """Name the columns that were not taken."""
        return [str(name) for name in self.table if name not in self.taken]

    @property
    def score(self) -> str:
        """Name of the score where the file has one and does not name it."""
        return self.targets[0] if len(self.targets) == 1 else readers.TARGETS[0]

    @property
    def scores(self) -> dict[str, str]:
        """Columns that were said to be scores, under the names that they have in the table."""
        wanted = {*readers.TARGETS, *self.targets}
        said = (name for name, theirs in self.columns.items() if name != theirs or name in wanted)
        return {name: name for name in said if name not in _CANDIDATES}

    def raters(self, column: str, values: pd.Series | Sequence[Any] | None = None) -> pd.Series:
        """Name raters as a column of the file does, numbered where the column is personal."""
        personal = is_personal(self.columns.get(column, column))
        return self.rater_ids(self[column] if values is None else values, personal=personal)

    def rater_of_file(self, lines: pd.Index) -> pd.Series:
        """Name the one rater of all lines by the file's name, which may hold the rater's own."""
        return self.rater_ids(pd.Series(self.path.name, lines, dtype=object), personal=True)

    def choose(self, name: str, others: str = "") -> str | None:
        """Choose the column that stands for a name: that name, else the one candidate, or one of others, that is there."""
        if name in self:
            return name
        plain = {*map(readers.plain_name, f"{_CANDIDATES[name]} {others}".split())}
        free = [column for column in self.table if column not in self.columns]
        found = [column for column in free if readers.plain_name(column) in plain]
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

    def stacked(self, clips: Sequence[tuple[Any, dict[str, str]]], **known: pd.Series) -> pd.DataFrame:
        """Put what a line says of several clips, each with its columns by target, below one another; without clip or score it is none.

        What is known of a line is said of each of its clips.
        """
        if taken := {"clip_id", *known}.intersection(target for _, scores in clips for target in scores):
            raise self.refusal(
                f"scores cannot be called {listed(sorted(taken))}, for other columns are; give other targets= (--target)"
            )
        cells, place = self.table.to_numpy(dtype=object), {name: at for at, name in enumerate(self.table)}
        parts = [
            {"clip_id": clip} | {target: cells[:, place[column]] for target, column in scores.items()}
            for clip, scores in clips
        ]
        names = dict.fromkeys(name for part in parts for name in part)
        self.taken |= {column for _, scores in clips for column in scores.values()}

        def of_all(name: str) -> np.ndarray:
            below = np.empty((len(cells), len(parts)), dtype=object)
            for at, part in enumerate(parts):
                below[:, at] = part.get(name, "")
            return below

        gaps = {name: is_missing(of_all(name).ravel()) for name in names}
        given = (~gaps.pop("clip_id") & ~np.all([*gaps.values()], axis=0)).reshape(len(cells), len(parts))
        below = {name: of_all(name)[given] for name in names}
        lines = self.table.index.repeat(given.sum(axis=1))
        table = pd.DataFrame(below, lines, dtype=object, copy=False)
        for name, by_line in known.items():
            table[name] = by_line.reindex(lines)
        return table

    def tell_left_out(self, number: int, noun: str, which: str) -> None:
        """Note how many were left out, and what they are; nothing where there are none."""
        if number:
            self.notes.append(f"left out {counted(int(number), noun)} {which}")

    def refusal(self, words: str) -> ClipsTableError:
        """Make an error about this file."""
        return ClipsTableError(f"{self.path}: {words}")


@dataclass(frozen=True)
class Format:
    """One way in which ratings are written.

    Parameters
    ----------
    name : str
        What `read_ratings` and ``--format`` call it.
    what : str
        What it is, in words.
    recognises : callable of Export -> bool
        Whether a file is of this format.
    read : callable of Export -> pandas.DataFrame
        Its ratings by line: ``rater``, ``clip_id`` and scores, or ``rater``, ``clip_a``, ``clip_b`` and ``preference``.
    general : bool, default=False
        Whether it is one of plain tables, which are looked at where no other format recognises the file.
    """

    name: str
    what: str
    recognises: Callable[[Export], bool]
    read: Callable[[Export], pd.DataFrame]
    general: bool = False


FORMATS: dict[str, Format] = {}
_Reader = Callable[[Export], pd.DataFrame]


def reader(
    name: str, what: str, recognises: Callable[[Export], bool], *, general: bool = False
) -> Callable[[_Reader], _Reader]:
    """Enter a function into `FORMATS` as the reader of a format."""

    def register(read: _Reader) -> _Reader:
        FORMATS[name] = Format(name, what, recognises, read, general)
        return read

    return register


def is_number(cell: str) -> bool:
    """Tell whether a cell is a number, or stands for none."""
    cell = cell.strip()
    return cell.casefold() in ("", "nan") or NUMBER.fullmatch(cell) is not None


def is_of_numbers(cells: np.ndarray, values: np.ndarray | None = None) -> bool:
    """Tell whether cells hold numbers, and nothing else but empty ones; their values need not be computed again."""
    given, values = cells != "", pd.to_numeric(cells, errors="coerce") if values is None else values
    return bool(given.any() and not np.isnan(values[given]).any())


def as_seconds(milliseconds: pd.Series) -> pd.Series:
    """Make seconds of cells with milliseconds; nan for what is no number."""
    return pd.to_numeric(milliseconds, errors="coerce") / 1000


def _json(text: str) -> Any:
    try:
        return parse_cells(text)
    except ValueError:
        return None
