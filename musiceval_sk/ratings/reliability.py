"""How far raters agree: alpha, intraclass correlation, and one rater against the rest.

Each figure comes with an interval, and a design that cannot carry it raises `RatingDesignError`, which says why.
`human_ceiling` puts all of them in one table, and a reason in the place of each that is refused.
"""

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from musiceval_sk.exceptions import RatingDesignError
from musiceval_sk.ratings.bias import fit_bias
from musiceval_sk.ratings.read import columns_of, several_systems
from musiceval_sk.ratings.sample import (
    Figure,
    RatingSample,
    figure_of_sums,
    moments,
    require_pairs,
    sample_of,
)


def krippendorff_alpha(
    ratings: pd.DataFrame,
    target: str = "impression",
    *,
    items: Sequence[str] = ("clip_id",),
    clips: pd.DataFrame | None = None,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    random_state: int | None = 0,
) -> Figure:
    """Compute Krippendorff's alpha for scores on an interval scale.

    One minus the disagreement of ratings of the same item over that of all ratings, disagreement being the squared
    difference: 1 for perfect agreement, 0 for what chance gives. Items with one rating say nothing and are left out;
    raters may have rated any of the items, and need not be known.

    Parameters
    ----------
    ratings : pandas.DataFrame
        Long table, one row a rating.
    target : str, default="impression"
        Score column; empty cells are ratings not given.
    items : sequence of str, default=("clip_id",)
        Columns that together name what was rated.
    clips : pandas.DataFrame, default=None
        Clips table with ``system``; without it the ratings' own column ``system``, if there is one.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of the interval.
    n_bootstrap : int, default=1000
        Number of bootstrap draws of items; 0 gives no interval.
    random_state : int or None, default=0
        Seed of the bootstrap.

    Returns
    -------
    Figure
        ``value``, ``low``, ``high``, ``n``, the number of items used, and ``note``. Where the systems of all items are known, the
        interval is the jackknife's over systems (Student's t on Fisher's z): it speaks of other systems and the same panel. Else
        it is the bias-corrected and accelerated bootstrap over items, which takes items for independent. It is nan, and the
        note says why, below three systems or items, and where none of them changes the figure, as in perfect agreement.

    Raises
    ------
    RatingDesignError
        If there are not two items with two ratings each, or all ratings are the same.

    References
    ----------
    K. Krippendorff, "Computing Krippendorff's alpha-reliability" (2011).

    Examples
    --------
    >>> ratings = pd.DataFrame({"clip_id": list("xxyyzz"), "impression": [1, 2, 3, 3, 5, 4]})
    >>> round(krippendorff_alpha(ratings).value, 3)  # 1 - (4 / 6) / (120 / 30)
    0.833
    """
    sample = sample_of(ratings, target, items, None)
    count, total, squares = moments(sample)
    paired = count > 1
    require_pairs(paired, target, "Krippendorff's alpha")
    count, total, squares = count[paired], total[paired], squares[paired]
    if len(count) == 1:
        raise RatingDesignError(
            f"{target}: one item alone has several ratings, so none of their differences lie between items and alpha is 0 whatever "
            "they are; it needs two items rated at least twice"
        )
    if np.ptp(sample.scores[paired[sample.items]]) == 0:
        raise RatingDesignError(
            f"{target}: all ratings are the same, so agreement cannot be told from chance; alpha is not defined"
        )
    within = count * (squares - total**2 / count) / (count - 1)

    summands = np.column_stack([count, total, squares, within])
    systems = several_systems(sample.table, clips, columns_of(items), sample.items)
    systems = None if systems is None else systems[paired]
    return figure_of_sums(summands, _alpha, confidence, n_bootstrap, random_state, systems)


def intraclass_correlation(
    ratings: pd.DataFrame,
    target: str = "impression",
    *,
    k: float | None = 1,
    items: Sequence[str] = ("clip_id",),
    clips: pd.DataFrame | None = None,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    random_state: int | None = 0,
) -> Figure:
    """Compute ICC(1,1) or ICC(1,k), for raters who differ from item to item.

    The share of the variance of one rating, or of the mean of `k`, that lies between items, from the one-way analysis of
    variance. A rater's bias counts as noise, as it does in a score averaged over whoever happened to rate the item.

    Parameters
    ----------
    ratings : pandas.DataFrame
        Long table, one row a rating. Raters need not be known.
    target : str, default="impression"
        Score column; empty cells are ratings not given.
    k : float or None, default=1
        Number of ratings that a score averages; None takes the design's own, see Notes.
    items : sequence of str, default=("clip_id",)
        Columns that together name what was rated.
    clips : pandas.DataFrame, default=None
        Clips table with ``system``; without it the ratings' own column ``system``, if there is one.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of the interval.
    n_bootstrap : int, default=1000
        Number of bootstrap draws of items; 0 gives no interval.
    random_state : int or None, default=0
        Seed of the bootstrap.

    Returns
    -------
    Figure
        ``value``, ``low``, ``high``, ``n``, the number of items, and ``note``, as those of `krippendorff_alpha`. The value
        of a single rating may be negative, where ratings of one item differ more than those of different items.

    Raises
    ------
    RatingDesignError
        If no item has two ratings, there are not two items, all ratings are the same, or a negative figure would have to be
        stepped up from one rating to several.
    ValueError
        If `k` is not positive, or confidence is not between 0 and 1.

    Notes
    -----
    With unequal numbers of ratings ``n_i`` for N ratings of I items the between-item variance is estimated with
    ``k0 = (N - sum(n_i**2) / N) / (I - 1)``, which is the number of ratings where it is the same for all. ``k=None``
    takes k0.

    References
    ----------
    P. E. Shrout and J. L. Fleiss, "Intraclass correlations: uses in assessing rater reliability", Psychological
    Bulletin 86 (1979). S. R. Searle, G. Casella and C. E. McCulloch, "Variance Components", Wiley (1992), for k0.

    Examples
    --------
    >>> ratings = pd.DataFrame({"clip_id": list("xxyyzz"), "impression": [1, 2, 3, 3, 5, 4]})
    >>> round(intraclass_correlation(ratings).value, 3)  # (4.5 - 1 / 3) / (4.5 + 1 / 3)
    0.862
    """
    if k is not None and not k > 0:
        raise ValueError(f"k must be a number of ratings above 0, or None for the design's own; got {k}")
    sample = sample_of(ratings, target, items, None)
    count, total, squares = moments(sample)
    require_pairs(count > 1, target, "the intraclass correlation")
    if len(count) < 2 or np.ptp(sample.scores) == 0:
        lack = "all ratings are the same" if len(count) > 1 else "there is one item"
        raise RatingDesignError(
            f"{target}: {lack}; the intraclass correlation needs two items and scores that differ"
        )

    summands = np.column_stack([np.ones(len(count)), count, total, squares, count**2, total**2 / count])
    of_one = float(_icc(summands.sum(0)[None], 1)[0])
    if k != 1 and of_one < 0:
        raise RatingDesignError(
            f"{target}: ratings of one item differ more than those of different items (ICC(1,1) = {of_one:.3f}), so there is no "
            "reliability that a mean of several could step up"
        )
    systems = several_systems(sample.table, clips, columns_of(items), sample.items)
    figure = functools.partial(_icc, k=k)
    return figure_of_sums(summands, figure, confidence, n_bootstrap, random_state, systems)


def leave_one_rater_out(
    ratings: pd.DataFrame,
    target: str = "impression",
    *,
    rater: str | None = "rater",
    items: Sequence[str] = ("clip_id",),
    least_items: int = 10,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    random_state: int | None = 0,
) -> Figure:
    """Correlate each rater with the mean of all others on the items that they share, and average over raters.

    Parameters
    ----------
    ratings : pandas.DataFrame
        Long table, one row a rating.
    target : str, default="impression"
        Score column; empty cells are ratings not given.
    rater : str or None, default="rater"
        Column of raters; None, where nobody knows them, is refused.
    items : sequence of str, default=("clip_id",)
        Columns that together name what was rated.
    least_items : int, default=10
        Raters who share fewer items with others are left out of the average.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of the interval.
    n_bootstrap : int, default=1000
        Number of bootstrap draws of raters; 0 gives no interval.
    random_state : int or None, default=0
        Seed of the bootstrap.

    Returns
    -------
    Figure
        Mean Pearson correlation, its interval (bias-corrected and accelerated bootstrap over raters), ``n``, the number of
        raters averaged, and ``note``, which says why an interval is nan.

    Raises
    ------
    RatingDesignError
        If raters are unknown, or none shares enough items with others.

    Examples
    --------
    >>> ratings = pd.DataFrame({"rater": list("ABABAB"), "clip_id": list("xxyyzz"), "impression": [1, 2, 3, 3, 5, 4]})
    >>> round(leave_one_rater_out(ratings, least_items=3).value, 3)
    1.0
    """
    sample = sample_of(ratings, target, items, rater, "leaving one rater out")
    agreement = _agreement(sample)
    enough = agreement[(agreement["shared"] >= least_items) & agreement["agreement"].notna()]
    if enough.empty:
        raise RatingDesignError(
            f"{target}: none of {len(agreement)} raters gave differing scores to {least_items} items that others rated "
            f"as well; the most shared by one rater is {int(agreement['shared'].max())}"
        )
    correlations = enough["agreement"].to_numpy()
    return figure_of_sums(
        np.column_stack([correlations, np.ones(len(correlations))]),
        lambda sums: sums[:, 0] / sums[:, 1],
        confidence,
        n_bootstrap,
        random_state,
        units="raters",
    )


def rater_table(
    ratings: pd.DataFrame,
    target: str = "impression",
    *,
    rater: str | None = "rater",
    items: Sequence[str] = ("clip_id",),
    confidence: float = 0.95,
) -> pd.DataFrame:
    """List raters with what they did: count, mean, spread, bias and agreement.

    Parameters
    ----------
    ratings : pandas.DataFrame
        Long table, one row a rating.
    target : str, default="impression"
        Score column; empty cells are ratings not given.
    rater : str or None, default="rater"
        Column of raters; None, where nobody knows them, is refused.
    items : sequence of str, default=("clip_id",)
        Columns that together name what was rated.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of the intervals.

    Returns
    -------
    pandas.DataFrame
        Indexed by rater, in order of appearance: ``count``, ``mean``, ``sd``; ``bias`` with ``bias_low`` and
        ``bias_high``, how much more than the average rater he gives to the same item, by least squares (see
        `aggregate_ratings`), nan where the design cannot tell (``attrs["bias_refused"]`` then says why);
        ``shared``, how many of his ratings are of items that others rated; ``agreement`` with ``agreement_low``
        and ``agreement_high``, the Pearson correlation of those with the mean of the others. Intervals are normal for
        the bias and by Fisher's transformation for the agreement.

    Raises
    ------
    RatingDesignError
        If raters are unknown.

    Examples
    --------
    >>> ratings = pd.DataFrame({"rater": list("ABABAB"), "clip_id": list("xxyyzz"), "impression": [1, 2, 3, 4, 4, 5]})
    >>> rater_table(ratings)[["count", "bias", "agreement"]].round(2)
           count  bias  agreement
    rater
    A          3  -0.5        1.0
    B          3   0.5        1.0
    """
    sample = sample_of(ratings, target, items, rater, "the rater table")
    half = ndtri((1 + confidence) / 2)
    grouped = pd.Series(sample.scores).groupby(sample.raters)
    table = pd.DataFrame({"count": grouped.size(), "mean": grouped.mean(), "sd": grouped.std()})
    try:
        fit = fit_bias(sample.items, sample.raters, sample.scores, sample.rater_names)
        table["bias"] = fit.biases
        table["bias_low"] = fit.biases - half * fit.bias_errors
        table["bias_high"] = fit.biases + half * fit.bias_errors
    except RatingDesignError as refusal:
        table[["bias", "bias_low", "bias_high"]] = np.nan
        table.attrs["bias_refused"] = str(refusal)
    agreement = _agreement(sample)
    table[["shared", "agreement"]] = agreement[["shared", "agreement"]]
    with np.errstate(divide="ignore", invalid="ignore"):
        width = half / np.sqrt(np.where(table["shared"] > 3, table["shared"] - 3, np.nan))
        table["agreement_low"] = np.tanh(np.arctanh(table["agreement"]) - width)
        table["agreement_high"] = np.tanh(np.arctanh(table["agreement"]) + width)
    return table.set_index(pd.Index(sample.rater_names, name="rater"))


def _alpha(sums: np.ndarray) -> np.ndarray:
    n, x, xx, observed = sums.T
    return 1 - observed * (n - 1) / (n * xx - x**2)


def _icc(sums: np.ndarray, k: float | None) -> np.ndarray:
    n_items, n, x, xx, n_squared, of_means = sums.T
    k0 = (n - n_squared / n) / (n_items - 1)
    between = (of_means - x**2 / n) / (n_items - 1)
    within = (xx - of_means) / (n - n_items)
    of_items = (between - within) / k0
    if k != 1:
        of_items = np.maximum(of_items, 0)
    return of_items / (of_items + within / (k0 if k is None else k))


def _agreement(sample: RatingSample) -> pd.DataFrame:
    """Correlate each rater's scores with the mean of other raters' scores of the same item."""
    scores = sample.scores - sample.scores.mean()
    pairs = pd.DataFrame({"item": sample.items, "rater": sample.raters, "own": scores})
    of_item = pairs.groupby("item")["own"].agg(["sum", "size"]).loc[pairs["item"]].to_numpy()
    of_rater = pairs.groupby(["item", "rater"])["own"].transform("sum").to_numpy()
    repeats = pairs.groupby(["item", "rater"])["own"].transform("size").to_numpy()
    others = of_item[:, 1] - repeats
    shared = others > 0
    own, rest = scores[shared], (of_item[shared, 0] - of_rater[shared]) / others[shared]
    raters, n_raters = sample.raters[shared], len(sample.rater_names)
    count = np.bincount(raters, minlength=n_raters)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = own - (np.bincount(raters, own, n_raters) / count)[raters]
        rest = rest - (np.bincount(raters, rest, n_raters) / count)[raters]
        spread = np.bincount(raters, own**2, n_raters) * np.bincount(raters, rest**2, n_raters)
        together = np.bincount(raters, own * rest, n_raters)
        correlation = np.where(spread > 1e-18, together / np.sqrt(spread), np.nan)
    return pd.DataFrame({"shared": count, "agreement": correlation})
