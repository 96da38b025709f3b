"""`read_ratings`: a file or folder of ratings in whichever format, as one table."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from musiceval_sk._files import MALFORMED, refused_as
from musiceval_sk._text import counted, listed, require_known
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.text import kind_of
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.formats import documents, surveys, tables, trials
from musiceval_sk.ratings.formats.export import FORMATS, Export, Format
from musiceval_sk.ratings.formats.privacy import RaterIds, is_personal
from musiceval_sk.ratings.formats.tables import as_preferences

READERS = (documents, surveys, trials, tables)
_LOGGER = logging.getLogger(__name__)
_NAMES = ("rater", "clip_id", "clip_a", "clip_b", "preference")
_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx")


def read_ratings(
    path: str | Path,
    format: str = "auto",
    *,
    targets: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    salt: str | None = None,
    listing: str | Path | None = None,
) -> pd.DataFrame:
    r"""Read ratings as another program exported them.

    Parameters
    ----------
    path : str or Path
        A file, also ``.gz`` or ``.xlsx``; or a folder of files of one format, such as one a rater; of plain
        tables only where `format` says so.
    format : str, default="auto"
        Name of the format, see `FORMATS`; by default the one that recognises the file.
    targets : sequence of str, default=None
        Score columns that are wanted. Where a file has one score without a name, it is called by the one target, else ``impression``.
    columns : mapping of str to str, default=None
        By our name (``rater``, ``clip_id``, a target) the file's column that stands for it, where that is not plain; or a column
        that is to stay, by its own name, such as one of times.
    salt : str, default=None
        Key by which raters become pseudonyms, the same rater the same one in every file.
    listing : str or Path, default=None
        For files that number their clips: the list of them, a table with ``clip_id`` or ``path``, line by line. Of a wide table
        with a column a clip: which of its columns are clips.

    Returns
    -------
    pandas.DataFrame
        A row a rating: ``rater`` (where the file knows), ``clip_id`` and scores as they stand in the file; of pairs ``rater``,
        ``clip_a``, ``clip_b`` and ``preference`` ("a", "b", "tie" or "both_bad"). Its index are lines of the file. ``attrs`` has
        ``path``, ``format``, ``unused`` (columns that the format does not use) and ``personal`` (columns that were left out since
        they tell who a rater is).

    Raises
    ------
    ClipsTableError
        If the file cannot be read, is of no format or may be of several, or has several columns for one thing; the message
        names them and the option that decides.
    ValueError
        If the format is unknown.

    Notes
    -----
    What was recognised, how much was read and which columns were not used is told to the logger ``musiceval_sk``, level INFO, in one
    line; of a plain long table that is used as it is, level DEBUG. Raters that are known by a personal column, such as a worker's id
    or a name, are numbered in order of appearance, if there is no salt.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "wide.csv"
    >>> _ = path.write_text("clip_id,rater 1,rater 2\na,4,5\nb,2,\n")
    >>> read_ratings(path)
         clip_id    rater impression
    line
    2          a  rater 1          4
    2          a  rater 2          5
    3          b  rater 1          2
    """
    path = Path(path)
    raters = RaterIds(salt)
    listing = None if listing is None else Path(listing)
    files = _files_in(path) if path.is_dir() else [path]
    exports = [Export(file, targets, columns, raters, listing) for file in files]
    chosen = _one_format(path, exports, format)
    parts = {export.path.name: _read(export, chosen) for export in exports}
    table = _joined(parts) if len(parts) > 1 else next(iter(parts.values()))
    left = list(dict.fromkeys(name for export in exports for name in export.left()))
    personal = _Names(name for name in left if is_personal(name))
    unused = _Names(name for name in left if not is_personal(name))
    table.attrs |= {"path": str(path), "format": chosen.name, "unused": unused, "personal": personal}
    counts = Counter(note for export in exports for note in export.notes)
    notes = [note if count == 1 else f"{note} (in each of {count} files)" for note, count in counts.items()]
    if table.empty:
        raise ClipsTableError("; ".join([f"{path}: {chosen.what} without any rating", *notes]))
    is_plain = chosen.name == "long" and not (notes or unused or personal)
    level = logging.DEBUG if is_plain else logging.INFO
    _LOGGER.log(level, "%s: %s", path, "; ".join([*notes, *_summary(chosen, table)]))
    return table


class _Names(list[str]):
    """A list that pandas, which copies ``attrs`` with every column, does not copy name by name."""

    def __deepcopy__(self, memo: object) -> "_Names":
        return self


def _files_in(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    known = sorted(file for file in files if kind_of(file) in _SUFFIXES)
    if not known:
        raise ClipsTableError(f"{folder}: holds no files of ratings (looked for {' '.join(_SUFFIXES)})")
    return known


def _one_format(path: Path, exports: list[Export], name: str) -> Format:
    """Find the one format of all files."""
    formats = {export.path.name: _format_of(export, name) for export in exports}
    chosen = next(iter(formats.values()))
    if any(one is not chosen for one in formats.values()):
        kinds = [f"{file} ({one.name})" for file, one in formats.items()]
        raise ClipsTableError(
            f"{path}: files are of several formats, {listed(kinds)}; read each by itself, or give format= (--format)"
        )
    if path.is_dir() and chosen.general and name == "auto":  # which of its tables are ratings nobody knows
        raise ClipsTableError(f"{path}: is a folder, not a table")
    return chosen


def _format_of(export: Export, name: str) -> Format:
    """Find the format of a file: the one that is named, or, for "auto", the one that recognises it."""
    require_known("format", name, ("auto", *sorted(FORMATS)))
    if name != "auto":
        return FORMATS[name]
    found = [one for one in FORMATS.values() if not one.general and _recognises(one, export)]
    if len(found) > 1:
        names = [one.name for one in found]
        raise export.refusal(
            f"may be of the formats {listed(names)}; say which with format= (--format), such as {names[0]}"
        )
    if not found and export.path.suffix.lower() == ".json":
        raise export.refusal(
            f"is JSON of no format that is read; these are {listed(sorted(FORMATS), most=50)}"
        )
    general = (one for one in FORMATS.values() if one.general and one.recognises(export))
    return found[0] if found else next(general)


def _recognises(one: Format, export: Export) -> bool:
    """Whether a file is of a format; it is not where looking for the format's marks already fails."""
    try:
        return one.recognises(export)
    except ClipsTableError:
        raise
    except MALFORMED:
        return False


def _read(export: Export, chosen: Format) -> pd.DataFrame:
    """Read a file with the columns that somebody named, and without those of persons that nobody did."""
    taken = f"{export.path}: was taken for {chosen.what}, and is damaged or none"
    with refused_as(ClipsTableError, taken, "if it is of another format, say which with format= (--format)"):
        table = chosen.read(export)
    for name in filter(table.columns.__contains__, _NAMES):
        cells = table[name]
        if pd.api.types.infer_dtype(cells).startswith("mixed") and any(
            isinstance(cell, list | dict) for cell in cells
        ):
            raise export.refusal(
                f"what stands for {name!r} holds lists or objects, where a cell is one text or number"
            )
    if "clip_a" in table:
        readers.require_columns(table, ("clip_b", "preference"))
        table["preference"] = as_preferences(table["preference"], f"{export.path}: ")
    named = [name for name in export.columns if name in export and name not in table]
    if named and len(export.table):
        table = table.join(export.table[named])
        export.taken |= {*named}
    wanted = {"rater", *export.columns, *export.targets}
    return table.drop(columns=[name for name in table if name not in wanted and is_personal(name)])


def _joined(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Put tables of several files together; lines bear the name of their file."""
    named = [part.set_axis([f"{name}:{line}" for line in part.index]) for name, part in parts.items()]
    filled = [part for part in named if len(part)] or named[:1]
    return pd.concat(filled).rename_axis("line")


def _summary(chosen: Format, table: pd.DataFrame) -> list[str]:
    """Say what was recognised and how much there is, and name the columns that were not used."""
    named = [table[name].dropna() for name in ("clip_id", "clip_a", "clip_b") if name in table]
    n_clips = len({clip for clips in named for clip in clips})
    one, several = (
        ("judgement of a pair", "judgements of pairs") if "clip_a" in table else ("rating", "ratings")
    )
    words = f"read as {chosen.what}: {counted(len(table), one, several)}"
    words += f" of {counted(n_clips, 'clip')}" if any(map(len, named)) else ""
    words += f" by {counted(len({*table['rater'].dropna()}), 'rater')}" if "rater" in table else ""
    left = (("not used", table.attrs["unused"]), ("personal and left out", table.attrs["personal"]))
    return [words, *(f"{about}: {listed(names, most=12)}" for about, names in left if names)]
