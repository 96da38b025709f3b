"""The clips table: one row a clip, indexed by ``clip_id``.

Columns are ``path``, ``prompt`` (may be empty), ``system`` (may be absent) and one per target. Because the
index is the clip id, ``y = clips["impression"]`` carries the ids through every scikit-learn splitter.
"""

import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk._ids import (
    SOUND_SUFFIXES,
    UNREAD_SUFFIXES,
    id_texts,
    match_ids,
    near_misses,
    warn_of_skipped,
    without_suffix,
)
from musiceval_sk._text import counted, listed, printable
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.readers import TARGETS
from musiceval_sk.datasets.tools import read_listing
from musiceval_sk.exceptions import ClipsTableError

TIMES = ("start_time", "end_time")
_OTHER_TIMES = ("start", "end", "offset", "onset", "begin", "start_s", "end_s")
_METADATA = ("metadata.csv", "metadata.jsonl")
_LOGGER = logging.getLogger(__name__)
_PLACEHOLDERS = ("system", "prompt", "prompt_id")
_warn = partial(warn_of_skipped, stacklevel=3)  # of who called `load_clips`


def load_clips(
    source: str | Path,
    *,
    targets: Sequence[str] | None = None,
    pattern: str | None = None,
    prompts: str | Path | None = None,
    scale: tuple[float, float] | None = (1, 5),
    require_path: bool = True,
) -> pd.DataFrame:
    r"""Read a clips table from a file, or make one from a folder of sound files.

    Parameters
    ----------
    source : str or Path
        A ``.csv``, ``.tsv`` or ``.jsonl`` file, also ``.gz``, with a column ``path`` (relative to the file) and optionally
        ``clip_id`` (by default the path without its suffix), ``prompt``, ``system`` and scores, and ``start_time`` and
        ``end_time`` (seconds; empty for none) where a clip is a part of its file; or a list as other tools write it (see Notes);
        or a folder, searched with those linked in it
        for WAV, W64, FLAC, MP3, OGG, Opus, AIFF, AU and CAF.
    targets : sequence of str, default=None
        Score columns that must be there. By default those of ``impression`` and ``alignment`` that are.
        An empty cell becomes nan.
    pattern : str, default=None
        For a folder: how a file's path below it, without suffix, names its parts, for example
        ``"{system}/{prompt}"`` or ``"{system}-{prompt_id}"``; each part matches as little as it can.
    prompts : str or Path, default=None
        A side table with ``clip_id`` or ``prompt_id`` and the columns to add (``prompt``, ``system``, scores).
        Clip ids match with and without a sound file's suffix.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest possible score; None accepts any number.
    require_path : bool, default=True
        Whether a table must say where sounds lie; if not, ``clip_id`` is enough.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``clip_id`` (unique strings), with absolute ``path``, ``prompt``, and what else was found.

    Raises
    ------
    ClipsTableError
        If the source is missing or empty, lacks a column, repeats a clip id, or holds a score or time that is no
        number, off the scale or out of order; the message names file, line and column.

    Warns
    -----
    SkippedWarning
        If files are sounds of a kind that is not read, links to nothing, or do not match ``pattern``, or clips and the side
        table do not meet; with the count.
    UserWarning
        If columns of numbers on the scale are no targets, or columns such as ``start``, ``end`` and ``offset`` no times, because
        their names are unknown.

    Notes
    -----
    Lists of other tools are Kaldi's ``wav.scp``, VERSA's result lines (``key`` is the clip's id; they have no paths) and audiocraft's
    manifests. A table may be a spreadsheet, ``.xlsx`` (extra ``xlsx``).

    Delimiters may be commas, semicolons (then also decimal commas) or tabs; the text UTF-8, or UTF-16 with its mark. Names of
    columns may differ in case, spaces and dashes; ``file_name`` (and beside it ``text``) of Hugging Face's AudioFolder are path
    and prompt. An empty cell, ``NA``, ``nan``, ``null`` or ``-`` is a missing number, id, path, rater or system; a prompt is
    taken as it is. The logger ``musiceval_sk`` tells, at level INFO, what was read so.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> table = Path(mkdtemp()) / "clips.csv"
    >>> _ = table.write_text("clip_id,path,prompt,system,impression\na,a.wav,calm piano,S1,3.8\n")
    >>> load_clips(table)[["prompt", "system", "impression"]]
                 prompt system  impression
    clip_id
    a        calm piano     S1         3.8
    """
    source = Path(source)
    if source.is_dir():
        table = _scan_folder(source, pattern)
    elif pattern is not None:
        raise ClipsTableError(
            f"{source}: pattern={pattern!r} is for a folder of sound files, not for a table"
        )
    else:
        table = _read_clips(source, targets, require_path)
    if prompts is not None:
        table = _add_side_table(table, readers.read_table(prompts, targets), targets)
    return finish_clips(table, targets, scale)


def check_clips(clips: pd.DataFrame, *, columns: Sequence[str] = (), filled: bool = False) -> pd.DataFrame:
    """Hold a clips table that was made by hand to the contract.

    Parameters
    ----------
    clips : pandas.DataFrame
        Indexed by clip id.
    columns : sequence of str, default=()
        Columns that the caller is going to use.
    filled : bool, default=False
        Whether these must hold a text in every row, be it an empty one.

    Returns
    -------
    pandas.DataFrame
        The same table, unchanged.

    Raises
    ------
    ClipsTableError
        If it is no DataFrame, is empty, repeats a clip id, lacks a column, or a text is missing; if ``path`` is among the
        columns, also if ``start_time`` or ``end_time`` are no numbers or out of order.
    """
    if not isinstance(clips, pd.DataFrame):
        raise ClipsTableError(f"expected a clips table (pandas.DataFrame), got {type(clips).__name__}")
    if clips.empty:
        raise ClipsTableError("the clips table is empty")
    if not clips.index.is_unique:
        raise ClipsTableError(f"clip ids repeat: {listed(clips.index[clips.index.duplicated()].unique())}")
    readers.require_columns(clips, columns)
    if "path" in columns:
        clip_times(clips)
    for column in columns if filled else ():
        wrong = clips.index[~clips[column].map(lambda cell: isinstance(cell, str | Path))]
        if len(wrong):
            raise ClipsTableError(
                f"column {column!r} must hold text in every row (an empty one is ''), but does not for clips: {listed(wrong)}"
            )
    return clips


def clip_times(clips: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Say which part of its file each clip is.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table.

    Returns
    -------
    start, end : pandas.Series of float
        In seconds; 0 and infinity where the table has none.

    Raises
    ------
    ClipsTableError
        If a time is no number, or they are not 0 <= ``start_time`` < ``end_time``.
    """
    missing = pd.Series(np.nan, index=clips.index)
    start, end = (readers.numbers(clips, name) if name in clips else missing for name in TIMES)
    start, end = start.fillna(0) + 0.0, end.fillna(np.inf)  # no -0.0
    wrong = ~((start >= 0) & (start < end))
    times = [f"{begin:g} and {stop:g}" for begin, stop in zip(start[wrong], end[wrong], strict=True)]
    what = "start_time must be at least 0 and less than end_time, in seconds, but they are"
    readers.refuse(clips, wrong[wrong], what, pd.Series(times, start.index[wrong], dtype=object), show=str)
    return start, end


def _read_clips(path: Path, targets: Sequence[str] | None, require_path: bool) -> pd.DataFrame:
    table = read_listing(path, targets)
    unnamed = "clip_id" not in table
    required = ["path"] if unnamed else ["path", "clip_id"] if require_path else ["clip_id"]
    readers.require_columns(table, required)
    for column in required:
        readers.require_filled(table, column)
    if unnamed:
        table.insert(0, "clip_id", _texts(map(without_suffix, table["path"]), table.index))
        advice = "; it was made of 'path': add a column 'clip_id' with a name for each clip"
        readers.require_unique(table, "clip_id", advice)
    times = [name for name in table if str(name).strip().casefold() in _OTHER_TIMES]
    if times and "path" in table and not {*TIMES} & {*table}:
        warnings.warn(
            f"{path}: columns are not read: {listed(map(repr, times))}; where clips are parts of their files, name the columns "
            "start_time and end_time, in seconds",
            UserWarning,
            stacklevel=3,
        )
    if "path" in table:
        table["path"] = _texts((path.parent.absolute() / str(value) for value in table["path"]), table.index)
    return table


def _texts(values: Iterable[object], rows: pd.Index) -> pd.Series:
    """Texts that may hold bytes of names that are no text, which pandas' own kind of text refuses."""
    return pd.Series([str(value) for value in values], index=rows, dtype=object)


def _scan_folder(folder: Path, pattern: str | None) -> pd.DataFrame:
    found = sorted(_files_below(folder))
    sounds = [path for path in found if path.suffix.lower() in SOUND_SUFFIXES]
    files = [path for path in sounds if path.is_file()]
    unread = Counter(path.suffix.lower() for path in found if path.suffix.lower() in UNREAD_SUFFIXES)
    if unread:
        what = f"{printable(folder)}: {counted(unread.total(), 'file is', 'files are')} of kinds that are not read"
        kinds = [f"{count} {suffix}" for suffix, count in sorted(unread.items())]
        _warn(f"{what}, convert them to WAV or FLAC", kinds, most=12)
    for name in _METADATA:
        if (folder / name).is_file():
            _LOGGER.info(
                "%s: %s of an AudioFolder is not read; give it in the folder's place", printable(folder), name
            )
    if not files:
        raise ClipsTableError(
            f"{printable(folder)}: no sound files below it (looked for {' '.join(SOUND_SUFFIXES)})"
        )
    gone = [path.relative_to(folder).as_posix() for path in sounds if not path.is_file()]
    if gone:
        what = counted(len(gone), "sound is", "sounds are")
        _warn(f"{what} no files but links to nothing, pipes or the like", gone)
    names = pd.Series([printable(file.relative_to(folder).as_posix()) for file in files])
    stems = names.map(without_suffix)
    table = pd.DataFrame({"clip_id": stems.where(~stems.duplicated(keep=False), names)})
    table["path"] = _texts((file.absolute() for file in files), table.index)
    table.attrs["path"] = str(folder)
    if pattern is None:
        return table
    parts = stems.str.extract(_compile(pattern))
    unmatched = parts.isna().all(axis=1)
    if unmatched.all():
        raise ClipsTableError(f"{folder}: no file matches the pattern {pattern!r}, e.g. {stems.iloc[0]!r}")
    if unmatched.any():
        _warn(f"{unmatched.sum()} of {len(names)} files do not match {pattern!r}", stems[unmatched])
    return table.join(parts.fillna(""))


def _files_below(folder: Path) -> Iterator[Path]:
    """Walk through a folder and those linked in it; a link to a folder that it stands in ends there."""

    def warn_of(error: OSError) -> None:
        _warn("a folder cannot be searched", [f"{error.filename} ({error.strerror})"])

    for here, folders, names in os.walk(folder, followlinks=True, onerror=warn_of):
        around = {os.path.realpath(parent) for parent in (Path(here), *Path(here).parents)}
        # __MACOSX and ._* are what macOS leaves in archives and on foreign disks beside each file.
        real = {name: os.path.realpath(os.path.join(here, name)) for name in folders}
        folders[:] = [name for name in folders if name != "__MACOSX" and real[name] not in around]
        yield from (Path(here, name) for name in names if not name.startswith("._"))


def _compile(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w*)\}", pattern)
    wrong = [name for name in pieces[1::2] if name not in _PLACEHOLDERS]
    if wrong or len(pieces) == 1 or len(set(pieces[1::2])) < len(pieces[1::2]):
        raise ClipsTableError(
            f"pattern {pattern!r} must be made of {{system}}, {{prompt}} and {{prompt_id}}, each once at most, "
            f"as in '{{system}}/{{prompt}}'" + (f"; unknown: {listed(wrong)}" if wrong else "")
        )
    body = "".join(re.escape(piece) if i % 2 == 0 else f"(?P<{piece}>.+?)" for i, piece in enumerate(pieces))
    return re.compile(f"^{body}$")


def _add_side_table(table: pd.DataFrame, side: pd.DataFrame, targets: Sequence[str] | None) -> pd.DataFrame:
    key = next((name for name in ("clip_id", "prompt_id") if name in side and name in table), None)
    if key is None:
        raise ClipsTableError(
            f"{readers.source_of(side)}the side table needs a column 'clip_id', or 'prompt_id' together with a "
            f"pattern that holds {{prompt_id}}; found: {listed(side.columns)}"
        )
    readers.require_unique(side, key)
    readers.take_scores(side, side.columns.intersection([*TARGETS, *(targets or ())]), None)
    side[key] = id_texts(side[key])
    places = match_ids(table[key], side[key])
    lacking = pd.Series(places < 0, index=table.index)
    foreign = side[key].drop(side.index[places[~lacking]])
    near = near_misses(table.loc[lacking, key], foreign)
    if lacking.all():
        raise ClipsTableError(
            f"{readers.source_of(side)}no {key} of the side table belongs to a clip; e.g. {side[key].iloc[0]!r}{near}"
        )
    name = side.attrs["path"]
    if lacking.any():
        words = f"{lacking.sum()} of {len(table)} clips are not in {name}"
        _warn(words, table["clip_id"][lacking], near=near)
    if key == "clip_id" and len(foreign):
        belong = counted(len(foreign), f"row of {name} belongs", f"rows of {name} belong")
        _warn(f"{belong} to no clip", foreign)
    added = side.drop(columns=[key, "path"], errors="ignore").reset_index(drop=True)
    added = added.reindex(places).set_axis(table.index)
    for column in added:  # clips that the side table lacks keep their own
        table[column] = added[column].where(~lacking, table[column]) if column in table else added[column]
    return table


def finish_clips(
    table: pd.DataFrame, targets: Sequence[str] | None, scale: tuple[float, float] | None
) -> pd.DataFrame:
    """Hold a table as it was read to the contract, and index it by clip id."""
    readers.require_unique(table, "clip_id")
    table["clip_id"] = id_texts(table["clip_id"])
    unknown = [target for target in targets or () if target not in table]
    if unknown:
        raise ClipsTableError(
            f"{readers.source_of(table)}unknown target(s) {listed(unknown)}; columns are: {listed(table.columns, most=12)}"
        )
    chosen = targets or [name for name in TARGETS if name in table]
    readers.take_scores(table, chosen, scale)
    clip_times(table)
    readers.take_scores(table, table.columns.intersection(TIMES), None)
    if not targets:
        readers.warn_of_unused_scores(table, chosen, scale)
    if "prompt" not in table:
        table["prompt"] = ""
    for name in table.columns.intersection(["prompt", "system"]):
        table[name] = pd.Series(id_texts(table[name]), table.index, dtype=object)
    clips = table.set_index("clip_id")
    clips.attrs = {}
    return clips
