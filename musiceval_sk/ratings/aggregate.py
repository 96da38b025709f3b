"""From raw ratings, one row a rater and clip, to mean opinion scores, and to clips that have them."""

import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import betainc

from musiceval_sk._ids import warn_of_skipped
from musiceval_sk._text import counted, listed, require_known
from musiceval_sk.datasets.clips import load_clips
from musiceval_sk.datasets.musiceval.layout import (
    load_musiceval,
    load_musiceval_ratings,
    parquet_files,
    split_of,
)
from musiceval_sk.datasets.readers import source_of
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.bias import FITS, scale_to_panel
from musiceval_sk.ratings.read import checked_ratings, codes_of, columns_of, name_raters, of_known_clips

METHODS = ("mean", "median", "trimmed", "zscore", *FITS)
_OF_RATERS = {"zscore": "normalising each rater"} | dict.fromkeys(FITS, "a model of raters")


class Location(NamedTuple):
    """Score, number of ratings and standard error of each item, in the order of their numbers."""

    value: np.ndarray
    number: np.ndarray
    error: np.ndarray


def aggregate_ratings(
    ratings: str | Path | pd.DataFrame,
    *,
    clips: pd.DataFrame | None = None,
    targets: Sequence[str] | None = None,
    scale: tuple[float, float] | None = (1, 5),
    method: str = "mean",
    trim: float = 0.2,
    items: Sequence[str] = ("clip_id",),
    rater: str | None = "rater",
    rescale: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Turn raters' scores into one opinion score per clip, with count and standard error.

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
    method : {"mean", "median", "trimmed", "zscore", "bias", "random_effects", "mle"}, default="mean"
        How the ratings of an item become its score; see Notes.
    trim : float in [0, 0.5), default=0.2
        For ``method="trimmed"``: share of an item's ratings cut off at either end, rounded down. With five raters,
        0.2 leaves out the lowest and the highest.
    items : sequence of str, default=("clip_id",)
        Columns that together name what was rated, such as ``["clip_id", "prompt"]`` where one clip was judged
        against several texts.
    rater : str or None, default="rater"
        Column of raters; None where nobody knows who gave a rating, which "zscore" and the models of raters refuse.
    rescale : (float, float) or None, default=None
        Ends of another scale to bring scores and standard errors to, such as (1, 5) for ratings from 0 to 100; by default scores
        stay on the raters' `scale`.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``clip_id`` (by all of `items` where they are several), in the order of ``clips`` where given,
        else of first appearance. For each target the score under its own name, ``<target>_count`` and
        ``<target>_se``, its standard error, nan where nothing tells of noise: for a single rating, and with "zscore" and the models of
        raters where no degree of freedom is left, as on two clips with "zscore", or they fit every rating exactly.

    Raises
    ------
    ClipsTableError
        If a column is missing, a score is no number or off the scale (file, line and column are named), or no
        rating is left.
    RatingDesignError
        If the design cannot carry the method: raters unknown, in groups that share no items, or one rating an item.
    ValueError
        If `method` or `trim` is not one of those allowed, `clips` are given and `items` name no clip, or `rescale` without `scale`.

    Warns
    -----
    SkippedWarning
        If ratings belong to unknown clips, or to raters whose scores cannot be normalised; with their count.
    UserWarning
        If a rater rated an item more than once; with the count. With "mle", if a rater is taken for exact.

    Notes
    -----
    mean
        Standard error: sample standard deviation over the square root of the count.
    median
        Robust against one careless rater, coarse with few. Standard error by Maritz and Jarrett (1978).
    trimmed
        Standard error from the winsorised spread (Tukey and McLaughlin 1963).
    zscore
        Each rater's scores are brought to mean 0 and standard deviation 1, then to the mean and the standard
        deviation of all ratings together, and averaged. So the result is on the raters' scale, though it may leave its ends.
        It supposes that all raters heard items of like quality. Raters who gave one score only say nothing and are
        left out, with a warning. The standard error counts the two numbers that are estimated for each rater: to the squared
        error of the mean it adds ``2 v / N``, what mean and spread of the N ratings vary by. The variance v of a rating is the
        sum of squares within items over the sum of ``(1 - 1 / n_item) (1 - 2 / n_rater)`` over the ratings; where all raters
        rated all items these are (items - 2) (raters - 1) degrees of freedom. In simulation it was 1.01 (20 clips, 5 raters) to 1.10
        (5 clips) of the true one, .96 and .85 without the correction.
    bias
        Least squares of ``rating = item + bias of the rater``, biases summing to zero: the score that an average
        rater would give, also where raters heard different items. Standard errors are the model's, with
        ratings - items - raters + 1 degrees of freedom.
    random_effects
        ``rating = mean + item + bias of the rater + noise``, all but the mean random, their variances by restricted maximum
        likelihood: the mean of an item's ratings less the predicted biases of those who gave them. A bias is shrunken the more
        the fewer ratings tell of it, and raters need not share items: a group that scores low on its items as a whole is taken for
        harsh in part. So it supposes that who rated an item has nothing to do with its quality. Standard errors count what the
        predicted biases err by.
    mle
        ``rating = item + bias of the rater + noise``, the noise of a rater having a spread of its own, the rater's inconsistency, by maximum
        likelihood (Li et al. 2020; method of ITU-T P.910): inconsistent raters count less. The likelihood has no bound where a rater is
        taken for exact; with few ratings an item that happens, and is warned of.

    References
    ----------
    J. S. Maritz and R. G. Jarrett, "A note on estimating the variance of the sample median", JASA 73 (1978).
    J. W. Tukey and D. H. McLaughlin, "Less vulnerable confidence and significance procedures for location based on
    a single sample: trimming/winsorization 1", Sankhya A 25 (1963).
    S. R. Searle, G. Casella and C. E. McCulloch, "Variance Components", Wiley (1992), for random effects.
    Z. Li, C. G. Bampis, L. Krasula, L. Janowski and I. Katsavounidis, "A simple model for subject behavior in subjective experiments",
    HVEI 2020.

    Examples
    --------
    >>> import pandas as pd
    >>> ratings = pd.DataFrame({"rater": ["A", "B", "A"], "clip_id": ["x", "x", "y"], "impression": [4, 2, 5]})
    >>> aggregate_ratings(ratings)
             impression  impression_count  impression_se
    clip_id
    x               3.0                 2            1.0
    y               5.0                 1            NaN
    >>> aggregate_ratings(ratings, method="bias")["impression"].to_dict()  # A is milder than B by 2
    {'x': 3.0, 'y': 4.0}
    """
    require_known("method", method, METHODS)
    if not 0 <= trim < 0.5:
        raise ValueError(f"trim={trim}: the share cut off at either end must be at least 0 and below 0.5")
    if rescale is not None and (scale is None or len(rescale) != 2 or not rescale[0] < rescale[1]):
        raise ValueError(
            f"rescale={rescale} must be the lowest and the highest score of a scale, and needs the raters' own; scale={scale}"
        )
    items = columns_of(items)
    if clips is not None and "clip_id" not in items:
        raise ValueError(f"clips= needs 'clip_id' among the items; they are {listed(items)}")
    table, chosen = checked_ratings(ratings, targets, scale, rater=rater, items=items)
    table = of_known_clips(table, clips)
    repeats = 0 if rater is None else int(table[[rater, *items]].duplicated().sum())
    if repeats:
        what = "clip" if items == ["clip_id"] else "item"
        warnings.warn(
            f"{source_of(table)}{counted(repeats, 'rating repeats', 'ratings repeat')} a rater and {what}; each counts as one more",
            stacklevel=2,
        )
    codes, names = codes_of(table, items)
    scores = pd.DataFrame(index=names)
    for target in chosen:
        given = table[target].notna().to_numpy()
        located = _locate(table[given], target, codes[given], len(names), method, trim, rater)
        value, error = located.value, located.error
        if scale is not None and rescale is not None:
            factor = (rescale[1] - rescale[0]) / (scale[1] - scale[0])
            value, error = rescale[0] + (value - scale[0]) * factor, error * factor
        scores[target] = value
        scores[f"{target}_count"] = located.number
        scores[f"{target}_se"] = error
    if clips is None:
        return scores
    order = clips.index.get_indexer(scores.index.get_level_values("clip_id"))
    return scores.iloc[np.argsort(order, kind="stable")]


def load_scored_clips(
    clips: str | Path,
    *,
    ratings: str | Path | pd.DataFrame | None = None,
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
    ratings : str, Path or pandas.DataFrame, default=None
        Single ratings to average; by default the table's own scores are taken.
    targets : str or sequence of str, default=None
        Score columns.
    pattern, prompts : str or Path, default=None
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
    own: dict[str, Any] = {"targets": chosen, "scale": scale} if ratings is None else {"scale": None}
    table = (
        load_musiceval(clips)
        if is_musiceval(clips)
        else load_clips(clips, pattern=pattern, prompts=prompts, **own)
    )
    if ratings is None:
        return table
    scores = aggregate_ratings(ratings, clips=table, targets=chosen, scale=scale)
    return table.drop(columns=scores.columns, errors="ignore").join(scores)


def single_ratings(clips: str | Path, ratings: str | Path | pd.DataFrame | None) -> Any:
    """Find the single ratings behind the scores: those given, or MusicEval's own; None where there are none.

    Parameters
    ----------
    clips : str or Path
        As of `load_scored_clips`.
    ratings : str, Path, pandas.DataFrame or None
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
        True where official lists lie in ``sets``, also one folder below, for a Parquet file, and where Parquet files are named
        by a split, such as ``train-00000-of-00002.parquet``.
    """
    path = Path(path)
    if not path.is_dir():
        return path.suffix.lower() == ".parquet"
    lists = (path.glob(f"{folder}sets/*_mos_list.txt") for folder in ("", "*/"))
    return any(map(any, lists)) or any(map(split_of, parquet_files(path)))


def _locate(
    table: pd.DataFrame,
    target: str,
    items: np.ndarray,
    n_items: int,
    method: str,
    trim: float,
    rater: str | None,
) -> Location:
    scores = table[target].to_numpy()
    if method == "median":
        return _by_size(items, scores, n_items, _median)
    if method not in _OF_RATERS:
        cut = trim if method == "trimmed" else 0.0
        return _by_size(items, scores, n_items, functools.partial(_trimmed_mean, trim=cut))
    raters, names = pd.factorize(name_raters(table, rater, _OF_RATERS[method]))
    if method in FITS:
        rated, codes = np.unique(items, return_inverse=True)
        fit = FITS[method](codes, raters, scores, names)
        value, error = np.full((2, n_items), np.nan)
        value[rated], error[rated] = fit.scores, fit.score_errors
        return Location(value, np.bincount(items, minlength=n_items), error)
    scaled = scale_to_panel(raters, scores)
    used = ~np.isnan(scaled)
    if not used.all():
        flat = names[np.unique(raters[~used])]
        count = f"{counted((~used).sum(), 'rating')} of {target} by {counted(len(flat), 'rater')}"
        words = f"{source_of(table)}left out {count} who gave one score only, which cannot be normalised"
        warn_of_skipped(words, flat, stacklevel=3)
    return _normalised(items[used], raters[used], scaled[used], n_items)


def _normalised(items: np.ndarray, raters: np.ndarray, scaled: np.ndarray, n_items: int) -> Location:
    """Average scores of raters brought to one mean and spread; those two, estimated, vary as well."""
    value, number, error = _by_size(items, scaled, n_items, _trimmed_mean)
    residual = np.nansum(error**2 * number * (number - 1))
    freedom = np.sum((1 - 1 / number[items]) * (1 - 2 / np.bincount(raters)[raters]))
    told = freedom > 1e-9 and residual > 1e-18 * len(scaled)
    shared = 2 * residual / freedom / len(scaled) if told else np.nan
    return Location(value, number, np.sqrt(error**2 + shared))


def _by_size(
    items: np.ndarray,
    scores: np.ndarray,
    n_items: int,
    locate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Location:
    """Locate items with equally many ratings together: a row of a matrix each, in ascending order."""
    ordered = scores[np.lexsort((scores, items))]
    count = np.bincount(items, minlength=n_items)
    start = np.cumsum(count) - count
    value, error = np.full((2, n_items), np.nan)
    for size in np.unique(count[count > 0]):
        rows = np.flatnonzero(count == size)
        matrix = ordered[start[rows, None] + np.arange(size)]
        value[rows], error[rows] = locate(matrix) if size > 1 else (matrix[:, 0], np.nan)
    return Location(value, count, error)


def _median(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median; standard error by Maritz and Jarrett."""
    n = ordered.shape[1]
    weights = np.diff(betainc((n + 1) / 2, (n + 1) / 2, np.arange(n + 1) / n))
    variance = ordered**2 @ weights - (ordered @ weights) ** 2
    return np.median(ordered, axis=1), np.sqrt(np.maximum(0, variance))


def _trimmed_mean(ordered: np.ndarray, trim: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean without the ``floor(trim * n)`` lowest and highest; standard error from the winsorised spread."""
    n = ordered.shape[1]
    cut = int(trim * n)
    kept = ordered[:, cut : n - cut]
    winsorised = np.clip(ordered, kept[:, :1], kept[:, -1:])
    return kept.mean(axis=1), winsorised.std(axis=1, ddof=1) * np.sqrt(n) / kept.shape[1]
