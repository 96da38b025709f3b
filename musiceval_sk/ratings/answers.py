"""Predictions as a table of answers, the challenge's answer file among them, matched to the truth by clip id."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk._ids import (
    bare,
    match_ids,
    near_misses,
    systems_if_named,
    under_ids_of,
    warn_of_skipped,
    without_suffix,
)
from musiceval_sk._text import counted, listed, off_scale
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.clips import TARGETS, check_clips
from musiceval_sk.datasets.musiceval.layout import find_files, load_musiceval, names_of, parquet_files
from musiceval_sk.datasets.tools import is_of_tool, read_tool
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.aggregate import aggregate_ratings


def read_answers(
    path: str | Path,
    *,
    targets: Sequence[str] | None = None,
    scale: tuple[float, float] | None = None,
    columns: Mapping[str, str] | None = None,
    listing: str | Path | None = None,
) -> pd.DataFrame:
    """Read predictions: the AudioMOS challenge's answer file, a table with a header, or what other tools write.

    Parameters
    ----------
    path : str or Path
        Lines of ``clip,impression,alignment`` without a header, as the challenge has them and MusicEval's own lists;
        a ``.csv``, ``.tsv`` or ``.jsonl`` table (also ``.gz``) with ``clip_id`` and one column per target; or, whatever its suffix, a file
        of VERSA, audiobox-aesthetics or SongEval.
    targets : sequence of str, default=None
        Columns that must hold numbers; by default those of impression and alignment that are there.
    scale : (float, float), default=None
        Lowest and highest possible number; a model's predictions may leave the raters' scale.
    columns : mapping of str to str, default=None
        By target the column that stands for it, such as ``{"alignment": "clap_score"}``.
    listing : str or Path, default=None
        For a file that names no clips, as those of audiobox-aesthetics: the list that was given to the tool, a table with
        ``clip_id`` or ``path``, line by line.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``clip_id`` as written, with or without ``.wav``.

    Raises
    ------
    ClipsTableError
        If a column is missing, a line has not three cells, a cell is no number or off the scale, or a clip is there twice, be it once with and
        once without ``.wav``; the message names lines.
    """
    if is_of_tool(path):
        table = read_tool(path, targets, listing=listing)
    elif readers.has_header(path):
        table = readers.read_table(path, targets)
    else:
        table = _read_answer_file(path)
    readers.require_columns(table, ["clip_id", *(columns or {}).values()])
    if columns:
        table = table[["clip_id", *columns.values()]].set_axis(["clip_id", *columns], axis=1)
    readers.require_ids(table, "clip_id")
    readers.take_scores(table, table.columns.intersection(targets or TARGETS), scale)
    return table.set_index("clip_id")


def write_answers(predictions: pd.DataFrame, path: str | Path) -> None:
    """Write predictions as the AudioMOS challenge's answer file: ``clip,impression,alignment``, no header, no ``.wav``.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Indexed by clip id, with the columns ``impression`` and ``alignment``.
    path : str or Path
        File to write; by custom ``answer.txt``.

    Raises
    ------
    ClipsTableError
        If a column is missing, a clip repeats, or a prediction is missing or not finite.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> answers = pd.DataFrame({"impression": [3.25], "alignment": [4.0]}, index=["S001_P001.wav"])
    >>> path = Path(mkdtemp()) / "answer.txt"
    >>> write_answers(answers, path)
    >>> print(path.read_text(), end="")
    S001_P001,3.25,4.0
    """
    check_clips(predictions, columns=TARGETS)
    names = pd.Series([without_suffix(str(clip)) for clip in predictions.index])
    if names.duplicated().any():
        raise ClipsTableError(f"clip ids repeat once .wav is taken off: {listed(names[names.duplicated()])}")
    scores = predictions[list(TARGETS)].astype(float)
    broken = ~np.isfinite(scores.to_numpy()).all(axis=1)
    if broken.any():
        raise ClipsTableError(
            f"{counted(broken.sum(), 'clip lacks', 'clips lack')} a finite prediction: {listed(predictions.index[broken])}; the challenge asks "
            "for both scores of every clip"
        )
    rows = zip(names, *(scores[target].round(6).tolist() for target in TARGETS), strict=True)
    text = "".join(f"{clip},{impression!r},{alignment!r}\n" for clip, impression, alignment in rows)
    Path(path).write_text(text, encoding="utf-8", newline="\n")


def match_answers(
    predictions: str | Path,
    truth: str | Path,
    *,
    ratings: str | Path | pd.DataFrame | None = None,
    targets: Sequence[str] | None = None,
    scale: tuple[float, float] | None = (1, 5),
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    listing: str | Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series | None]:
    """Read predictions and true scores and bring them to the same clips and columns.

    Clip ids match with and without the suffix of a sound file. Where predictions are named by paths, these match by their end, and
    names that a tool cut at their first dot by what is left.

    Parameters
    ----------
    predictions : str or Path
        See `read_answers`.
    truth : str or Path
        Table with ``clip_id``, optionally ``system``, and the true scores unless `ratings` are given; or a list of
        MusicEval (no header; clip names tell systems); or a MusicEval folder, see `load_musiceval`.
    ratings : str, Path or pandas.DataFrame, default=None
        Ratings table to average into the true scores.
    targets : sequence of str, default=None
        Columns to compare; by default those of impression and alignment that both have.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest possible true score, to which predictions are held, too; None accepts any number.
    split : {"total", "train", "dev", "test"}, default=None
        Of a MusicEval folder: which clips are the truth; by default "test", where there is no test list "dev".
    columns, listing : mapping of str to str, str or Path, default=None
        As of `read_answers`, for the predictions.

    Returns
    -------
    true, predicted : pandas.DataFrame
        Indexed by clip id as the truth has it, with the same rows and columns.
    systems : pandas.Series or None
        System by clip id, if the truth names them all.

    Raises
    ------
    ClipsTableError
        If a column is missing, a true score is off the scale, a clip id repeats, or no clip or target is shared.

    Warns
    -----
    SkippedWarning
        If clips have a prediction or a true score only; with the counts.
    UserWarning
        If predictions lie off the scale, some clips name no system, or columns of numbers are not compared, for their names
        are unknown.
    """
    key = _read_truth(truth, split, targets, None if ratings is not None else scale)
    targets = list(columns) if columns and targets is None else targets
    answers = read_answers(predictions, targets=targets, columns=columns, listing=listing)
    answers = under_ids_of(key.index, _under_file_names(key.index, answers))
    scores = key if ratings is None else aggregate_ratings(ratings, clips=key, targets=targets, scale=scale)
    chosen = list(targets or [name for name in TARGETS if name in answers and name in scores])
    lacking = [name for name in TARGETS if name in scores and name not in answers]
    ignored = [name for name in readers.unused_scores(answers, chosen) if name in scores or lacking]
    if not chosen:
        raise ClipsTableError(
            f"no target is in both tables; {predictions} has {listed(answers.columns)}, the truth {listed(scores.columns)}"
            f"{readers.how_to_name([name for name in ignored if name in scores])}"
        )
    if targets is None and ignored:
        warnings.warn(
            f"{predictions}: columns are not compared, for their names are unknown{readers.how_to_name(ignored)}",
            stacklevel=2,
        )
    for table in (answers, scores):
        readers.require_columns(table, chosen)
    predicted, true = answers[chosen].dropna(), scores[chosen].dropna()
    shared = true.index.intersection(predicted.index)
    only_true, only_predicted = true.index.difference(shared), predicted.index.difference(shared)
    near = near_misses(only_predicted, key.index)
    if shared.empty:
        raise ClipsTableError(
            f"no clip is in both tables; predictions name {listed(predicted.index)}, the truth {listed(true.index)}{near}"
        )
    for name, lacking in (("prediction", only_true), ("true score", only_predicted)):
        if len(lacking):
            warn_of_skipped(f"{counted(len(lacking), 'clip has', 'clips have')} no {name}", lacking, near)
    for target in chosen:
        beyond = off_scale(predicted.loc[shared, target], scale)
        if beyond:
            warnings.warn(f"{target}: {beyond}. If raters used another, give scale= (--scale)", stacklevel=2)
    return true.loc[shared], predicted.loc[shared], systems_if_named(key.loc[shared])


def _under_file_names(ids: pd.Index, answers: pd.DataFrame) -> pd.DataFrame:
    """Name answers that match no clip by the end of their path that does, or by what is left of a clip's id before its first dot."""
    lacking = match_ids(answers.index, ids) < 0
    if not lacking.any():
        return answers
    known = {bare(name): name for name in ids}
    cut = pd.Series(ids, [bare(name).rpartition("/")[2].partition(".")[0] for name in ids])
    known = cut[~cut.index.duplicated(keep=False)].to_dict() | known
    names = np.array(answers.index, dtype=object)
    for place in np.flatnonzero(lacking):
        parts = bare(names[place]).split("/")
        ends = ("/".join(parts[first:]) for first in range(len(parts)))
        names[place] = next((known[end] for end in ends if end in known), names[place])
    renamed = pd.Index(names, name=answers.index.name)
    twice = renamed[renamed.duplicated(keep=False) & lacking]
    if len(twice):
        raise ClipsTableError(
            f"several predictions end like the clips {listed(twice.unique())}: name them as the truth does"
        )
    return answers.set_axis(renamed)


def _read_answer_file(path: str | Path) -> pd.DataFrame:
    table, broken = readers.read_headerless(path, ["clip_id", *TARGETS])
    if broken:
        raise ClipsTableError(
            f"{path}: expected lines of clip,impression,alignment, or a header that names clip_id: {listed(broken)}"
        )
    if table.empty:
        raise ClipsTableError(f"{path}: the table is empty")
    return table


def _read_truth(
    truth: str | Path, split: str | None, targets: Sequence[str] | None, scale: tuple[float, float] | None
) -> pd.DataFrame:
    truth = Path(truth)
    if truth.is_dir():
        return readers.take_scores(
            load_musiceval(truth, split or _challenge_split(truth), check=False), TARGETS, scale
        )
    if split is not None:
        raise ClipsTableError(f"{truth}: split={split!r} is for a MusicEval folder, not for a table")
    table = read_answers(truth, targets=targets, scale=scale)
    if "system" not in table and not readers.has_header(truth):
        bare = pd.Series([without_suffix(clip) for clip in table.index], index=table.index)
        table["system"] = names_of(bare)["system"]
    return table


def _challenge_split(root: Path) -> str:
    """Name the list that the challenge ranks on, as far as the data set has it."""
    return "test" if parquet_files(root) or "test" in find_files(root).lists else "dev"
