"""From raw ratings, one row a rater and clip, to mean opinion scores."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets._tables import numbers, read_table, require_columns, require_scale, source_of
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning


def aggregate_ratings(
    ratings: str | Path | pd.DataFrame,
    *,
    clips: pd.DataFrame | None = None,
    targets: Sequence[str] | None = None,
    scale: tuple[float, float] | None = (1, 5),
) -> pd.DataFrame:
    """Average raters into a mean opinion score per clip, with count and standard error.

    Parameters
    ----------
    ratings : str, Path or pandas.DataFrame
        Long table with the columns ``rater``, ``clip_id`` and the targets; a file is CSV, TSV or JSON Lines.
        An empty cell is a rating not given.
    clips : pandas.DataFrame, default=None
        Clips table; ratings of other clips are then left out with a warning.
    targets : sequence of str, default=None
        Score columns; by default those of ``impression`` and ``alignment`` that are there.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest score that a rater could give; None accepts any number.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``clip_id``, in the order of ``clips`` where given, else of first appearance. For each target
        the mean under its own name, ``<target>_count`` and ``<target>_se``: sample standard deviation over the
        square root of the count, nan for a single rating.

    Raises
    ------
    ClipsTableError
        If a column is missing, a score is no number or off the scale (file, line and column are named), or no
        rating is left.

    Warns
    -----
    SkippedWarning
        If ratings belong to unknown clips; with their count.
    UserWarning
        If a rater rated a clip more than once; with the count.

    Examples
    --------
    >>> import pandas as pd
    >>> ratings = pd.DataFrame({"rater": ["A", "B", "A"], "clip_id": ["x", "x", "y"], "impression": [4, 2, 5]})
    >>> aggregate_ratings(ratings)
             impression  impression_count  impression_se
    clip_id
    x               3.0                 2            1.0
    y               5.0                 1            NaN
    """
    table = ratings.copy() if isinstance(ratings, pd.DataFrame) else read_table(ratings)
    require_columns(table, ["rater", "clip_id"])
    if table.empty:
        raise ClipsTableError("the ratings table is empty")
    chosen = list(targets or [name for name in TARGETS if name in table])
    if not chosen:
        raise ClipsTableError(f"{source_of(table)}no target columns; looked for {listed(TARGETS)}")
    require_columns(table, chosen)
    for target in chosen:
        table[target] = numbers(table, target)
        require_scale(table, target, scale)
    table["clip_id"] = table["clip_id"].astype(str).str.strip()
    if clips is not None:
        table = _of_known_clips(table, clips)
    repeats = int(table.duplicated(["rater", "clip_id"]).sum())
    if repeats:
        warnings.warn(
            f"{source_of(table)}{repeats} ratings repeat a rater and clip; each counts as one more",
            UserWarning,
            stacklevel=2,
        )
    groups = table.groupby("clip_id", sort=False)
    statistics = {
        name: values
        for target in chosen
        for name, values in (
            (target, groups[target].mean()),
            (f"{target}_count", groups[target].count()),
            (f"{target}_se", groups[target].sem()),
        )
    }
    scores = pd.DataFrame(statistics)
    return scores if clips is None else scores.loc[[clip for clip in clips.index if clip in scores.index]]


def _of_known_clips(table: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    known = table["clip_id"].isin(clips.index)
    if not known.any():
        raise ClipsTableError(
            f"{source_of(table)}no rating belongs to a clip of the clips table; ratings name "
            f"{listed(table['clip_id'].unique())}, clips are {listed(clips.index)}"
        )
    if not known.all():
        strangers = table.loc[~known, "clip_id"].unique()
        warnings.warn(
            f"{source_of(table)}left out {(~known).sum()} ratings of {len(strangers)} unknown clips: {listed(strangers)}",
            SkippedWarning,
            stacklevel=3,
        )
    return table[known]
