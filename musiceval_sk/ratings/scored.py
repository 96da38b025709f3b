"""Clips with scores, from whatever holds them: a table and ratings, a folder and ratings, or MusicEval itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk.datasets.clips import load_clips
from musiceval_sk.datasets.musiceval.layout import load_musiceval, load_musiceval_ratings
from musiceval_sk.datasets.musiceval.parquet import parquet_files
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.aggregate import aggregate_ratings


def load_scored_clips(
    clips: str | Path,
    *,
    ratings: str | Path | None = None,
    targets: str | Sequence[str] | None = None,
    pattern: str | None = None,
    prompts: str | Path | None = None,
    scale: tuple[float, float] | None = (1, 5),
) -> pd.DataFrame:
    """Read a clips table and its scores.

    Parameters
    ----------
    clips : str or Path
        Clips table or folder of sounds, see `load_clips`; or a MusicEval folder or Parquet, see `load_musiceval`.
    ratings : str or Path, default=None
        Single ratings to average; by default the table's own scores are taken.
    targets : str or sequence of str, default=None
        Score columns.
    pattern, prompts
        As of `load_clips`.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest score that raters could give.

    Returns
    -------
    pandas.DataFrame
        Clips table; it has no scores where neither the table nor ratings hold any.

    Raises
    ------
    ClipsTableError
        If a table cannot be read.
    """
    chosen = [targets] if isinstance(targets, str) else targets and list(targets)
    if is_musiceval(clips):
        table = load_musiceval(clips)
    elif ratings is None:
        return load_clips(clips, targets=chosen, pattern=pattern, prompts=prompts, scale=scale)
    else:
        table = load_clips(clips, pattern=pattern, prompts=prompts, scale=None)
    if ratings is None:
        return table
    scores = aggregate_ratings(ratings, clips=table, targets=chosen, scale=scale)
    return table.drop(columns=scores.columns, errors="ignore").join(scores)


def single_ratings(clips: str | Path, ratings: str | Path | None) -> Any:
    """Find the single ratings behind the scores: those given, or MusicEval's own; None where there are none.

    Parameters
    ----------
    clips : str or Path
        As of `load_scored_clips`.
    ratings : str or Path or None
        The ratings given.

    Returns
    -------
    str, Path, pandas.DataFrame or None
        What `human_ceiling` takes.
    """
    if ratings is not None or not is_musiceval(clips):
        return ratings
    try:
        return load_musiceval_ratings(clips)
    except ClipsTableError:
        return None


def is_musiceval(path: str | Path) -> bool:
    """Tell whether a path is MusicEval in one of its layouts.

    Parameters
    ----------
    path : str or Path
        A file or folder.

    Returns
    -------
    bool
        True where official lists lie in ``sets``, also one folder below, or where there is Parquet.
    """
    path = Path(path)
    if path.is_dir():
        return (
            any(path.glob("sets/*_mos_list.txt"))
            or any(path.glob("*/sets/*_mos_list.txt"))
            or bool(parquet_files(path))
        )
    return path.suffix.lower() == ".parquet"
