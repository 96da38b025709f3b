"""Scores and lists of clips as other tools write them: VERSA, audiobox-aesthetics, SongEval and Kaldi.

- VERSA: a line a clip, ``{"key": "a.wav", "utmos": 3.5, ...}``, JSON or, in older versions, Python's own form; some cells are texts or lists.
- audiobox-aesthetics: ``{"CE": 5.1, "CU": 5.8, "PC": 2.1, "PQ": 7.2}``, a line a clip and without its name, in the order of the
  list that was given to it; some versions write a line about precision first.
- SongEval: one object, ``{"a": {"Coherence": 3.1, "Musicality": 3.0, ...}, ...}``, by the file's name up to its first dot.
- Kaldi's ``wav.scp``, which VERSA takes as well: a line a clip, its name, a blank and its path.
"""

import ast
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.readers import TARGETS, read_table
from musiceval_sk.datasets.text import lines_of, parse_cells, read_text, table_of_objects, table_of_rows
from musiceval_sk.exceptions import ClipsTableError

_LOGGER = logging.getLogger(__name__)
_PREAMBLE = re.compile(r"\A(\s*)using precision .*\n")
_NUMPY = re.compile(r"np\.float(?:16|32|64)\(([^()]*)\)")
_NO_NUMBER = re.compile(r"(?<=: )-?(?:nan|inf)(?=[,}])")


def is_of_tool(path: str | Path) -> bool:
    """Tell whether a file holds objects, as the tools write them; a table of text does not begin with a brace."""
    path = Path(path)
    return path.is_file() and _without_preamble(read_text(path)).lstrip().startswith("{")


def read_tool(
    path: str | Path, targets: Sequence[str] | None = None, *, listing: str | Path | None = None
) -> pd.DataFrame:
    """Read the scores that a tool wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    targets : sequence of str, default=None
        Columns that are wanted.
    listing : str or Path, default=None
        For scores without names of clips: the list that was given to the tool, a table with ``clip_id`` or ``path``, line by line.

    Returns
    -------
    pandas.DataFrame
        Indexed by line, with ``clip_id``, which may be the path of a file; cells that are lists or objects are left out.

    Raises
    ------
    ClipsTableError
        If a line is no object, or clips have no names and no list, or one of another length, is given.
    """
    path = Path(path)
    table = table_of_objects(path, _rows(path, _without_preamble(read_text(path))))
    is_nested = table.map(lambda cell: isinstance(cell, list | dict | tuple))
    if is_nested.any(axis=None):
        nested = listed(table.columns[is_nested.any()])
        _LOGGER.info("%s: columns are not read, for they hold lists or objects: %s", path, nested)
    table = readers.with_known_names(table.mask(is_nested, None), targets)
    if "clip_id" not in table and "path" in table:
        table = table.rename(columns={"path": "clip_id"})
    if "clip_id" in table:
        return table
    if listing is None:
        raise ClipsTableError(
            f"{path}: names no clips (no clip_id, key or path), as files of audiobox-aesthetics; give the list that was given to "
            "the tool as listing= (--listing)"
        )
    return table.assign(clip_id=readers.listed_clips(listing, len(table)))


def read_listing(path: Path, targets: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a list of clips: a table, Kaldi's ``scp``, or the lines that VERSA wrote about them.

    Parameters
    ----------
    path : Path
        The file.
    targets : sequence of str, default=None
        Columns that are wanted.

    Returns
    -------
    pandas.DataFrame
        Indexed by line.

    Raises
    ------
    ClipsTableError
        If it cannot be read, or an ``scp`` has a line without a path or with a command.
    """
    if path.suffix.lower() == ".scp":
        return _read_scp(path)
    text = read_text(path)
    line = next((line for _, line in _filled_lines(_without_preamble(text))), "")
    first = _object(line) if line.startswith("{") else None
    if first and "key" in first and not {"path", "clip_id", "file_name"} & {*first}:
        return read_tool(path, targets)
    return read_table(path, targets, text)


def read_system_table(
    path: str | Path, targets: Sequence[str] | None = None, *, scale: tuple[float, float] | None = (1, 5)
) -> pd.DataFrame:
    """Read a table of system scores: lines of ``system,impression,alignment``, or a header that names system and targets.

    Parameters
    ----------
    path : str or Path
        The file.
    targets : sequence of str, default=None
        Columns that must be there; by default those of impression and alignment that are, both without a header.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest score that raters could give; None accepts any number.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``system``, with the targets.

    Raises
    ------
    ClipsTableError
        If a column or cell is missing, a score is no number or off the scale, or a system repeats.
    """
    wanted = list(targets or TARGETS)
    table = read_table(path, targets) if readers.has_header(path) else pd.DataFrame()
    chosen = [name for name in wanted if name in table]
    if chosen:
        readers.require_columns(table, ["system", *(wanted if targets else chosen)])
    else:  # the columns' order tells what they are, whatever a header calls them
        table, broken = readers.read_headerless(path, ["system", *TARGETS])
        if broken and len(wanted) == 1:
            table, broken = readers.read_headerless(path, ["system", *wanted])
        if broken or table.empty:
            raise ClipsTableError(
                f"{path}: expected lines of system,impression,alignment, or a header of system and {listed(wanted)}: "
                f"{listed(broken) or 'it is empty'}"
            )
        readers.require_columns(table, wanted)
    readers.require_ids(table, "system")
    return readers.take_scores(table, chosen or wanted, scale).set_index("system")


def _read_scp(path: Path) -> pd.DataFrame:
    table = table_of_rows(path, _clips_of_scp(path), ["clip_id", "path"])
    if table.empty:
        raise ClipsTableError(f"{path}: the list is empty")
    return table


def _clips_of_scp(path: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    for number, line in _filled_lines(read_text(path)):
        name, _, sound = line.partition(" " if "\t" not in line else "\t")
        if not sound.strip() or sound.endswith("|"):
            what = "holds a command" if sound else "holds no path"
            raise ClipsTableError(
                f"{path}: line {number} {what}; an scp has a clip's name, a blank and the path of its sound: {line[:60]!r}"
            )
        yield number, (name, sound.strip())


def _without_preamble(text: str) -> str:
    return _PREAMBLE.sub(r"\1\n", text)


def _rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects by line, or by place in the one object that holds them all."""
    try:
        whole = parse_cells(text)
    except ValueError:
        whole = None
    if isinstance(whole, dict) and whole and all(isinstance(value, dict) for value in whole.values()):
        yield from enumerate(({"clip_id": name} | value for name, value in whole.items()), start=1)
        return
    for number, line in _filled_lines(text):
        found = _object(line)
        if found is None:
            raise ClipsTableError(f"{path}: line {number} is no object of names and scores: {line[:60]!r}")
        yield number, found


def _filled_lines(text: str) -> Iterator[tuple[int, str]]:
    lines = enumerate(map(str.strip, lines_of(text)), start=1)
    return ((number, line) for number, line in lines if line)


def _object(line: str) -> Any:
    """Read a line as JSON, else as Python writes a dict."""
    try:
        found = parse_cells(line)
    except ValueError:
        try:
            literal = ast.literal_eval(_NO_NUMBER.sub("None", _NUMPY.sub(r"\1", line)))
            found = parse_cells(json.dumps(literal))  # no other values than JSON has
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # as it says of itself
            return None
    return found if isinstance(found, dict) else None
