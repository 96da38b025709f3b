"""How far raters agree: alpha, intraclass correlation, and one rater against the rest.

Each figure comes with an interval, and a design that cannot carry it raises `RatingDesignError`, which says why.
`human_ceiling` puts all of them in one table, and a reason in the place of each that is refused.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from musiceval_sk._ids import systems_if_named
from musiceval_sk.exceptions import RatingDesignError
from musiceval_sk.ratings import read
from musiceval_sk.ratings.bias import fit_bias
from musiceval_sk.statistics.intervals import interval_of


class Figure(NamedTuple):
    """A figure with its interval, and a note on what of them there is not."""

    value: float
    low: float
    high: float
    n: int
    note: str = ""


class RatingSample(NamedTuple):
    """The ratings of one target, items and raters numbered in order of appearance; ``rated`` has one row an item."""

    items: np.ndarray
    scores: np.ndarray
    raters: np.ndarray
    rater_names: pd.Index
    rated: pd.DataFrame

    def systems(self) -> np.ndarray | None:
        """Find the number of each item's system; None where one is unnamed, which is warned of, or all are the same."""
        named = systems_if_named(self.rated, read.RESAMPLED)
        numbers = np.zeros(1, dtype=int) if named is None else pd.factorize(named)[0]
        return numbers if numbers.any() else None


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
    sample = sample_of(ratings, target, items, clips)
    sums = _sums_of_items(sample)
    paired = np.bincount(sample.items) > 1
    require_pairs(paired, target, "Krippendorff's alpha")
    if paired.sum() == 1:
        raise RatingDesignError(
            f"{target}: one item alone has several ratings, so none of their differences lie between items and alpha is 0 whatever "
            "they are; it needs two items rated at least twice"
        )
    if np.ptp(sample.scores[paired[sample.items]]) == 0:
        raise RatingDesignError(
            f"{target}: all ratings are the same, so agreement cannot be told from chance; alpha is not defined"
        )
    systems = sample.systems()
    systems = None if systems is None else systems[paired]
    return _figure_of_sums(_alpha, sums[paired], confidence, n_bootstrap, random_state, systems)


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
        ``value``, ``low``, ``high``, ``n``, the number of items, and ``note``, as those of `krippendorff_alpha`; the note also
        gives k where it is the design's own. The value of a single rating may be negative, where ratings of one item differ more
        than those of different items.

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
    sample = sample_of(ratings, target, items, clips)
    sums = _sums_of_items(sample)
    require_pairs(np.bincount(sample.items) > 1, target, "the intraclass correlation")
    if len(sums) < 2 or np.ptp(sample.scores) == 0:
        lack = "all ratings are the same" if len(sums) > 1 else "there is one item"
        raise RatingDesignError(
            f"{target}: {lack}; the intraclass correlation needs two items and scores that differ"
        )
    of_one = float(_icc(sums.sum(0)[None], 1)[0])
    if k != 1 and of_one < 0:
        raise RatingDesignError(
            f"{target}: ratings of one item differ more than those of different items (ICC(1,1) = {of_one:.3f}), so there is no "
            "reliability that a mean of several could step up"
        )
    figure = functools.partial(_icc, k=k)
    found = _figure_of_sums(figure, sums, confidence, n_bootstrap, random_state, sample.systems())
    if k is not None:
        return found
    own = f"k = {_ratings_an_item(sums.sum(0)):.2f}"
    return found._replace(note=f"{own}; {found.note}" if found.note else own)


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
    sample = sample_of(ratings, target, items, rater=rater, purpose="leaving one rater out")
    agreement = correlate_with_others(sample.items, sample.raters, sample.scores)
    correlations = agreement["correlation"][agreement["shared"] >= least_items].dropna().to_numpy()
    if not len(correlations):
        raise RatingDesignError(
            f"{target}: none of {len(agreement)} raters gave differing scores to {least_items} items that others rated "
            f"as well; the most shared by one rater is {agreement['shared'].max()}"
        )
    sums = np.column_stack([correlations, np.ones(len(correlations))])
    return _figure_of_sums(_mean, sums, confidence, n_bootstrap, random_state, units="raters")


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
    sample = sample_of(ratings, target, items, rater=rater, purpose="the rater table")
    half = ndtri((1 + confidence) / 2)
    grouped = pd.Series(sample.scores).groupby(sample.raters)
    table = pd.DataFrame({"count": grouped.size(), "mean": grouped.mean(), "sd": grouped.std()})
    table[["bias", "bias_low", "bias_high"]] = np.nan
    try:
        fit = fit_bias(sample.items, sample.raters, sample.scores, sample.rater_names)
        table["bias"] = fit.biases
        table["bias_low"] = fit.biases - half * fit.bias_errors
        table["bias_high"] = fit.biases + half * fit.bias_errors
    except RatingDesignError as refusal:
        table.attrs["bias_refused"] = str(refusal)
    agreement = correlate_with_others(sample.items, sample.raters, sample.scores)
    table["shared"], table["agreement"] = agreement["shared"], agreement["correlation"]
    with np.errstate(divide="ignore"):
        centre = np.arctanh(table["agreement"])
        width = half / np.sqrt((table["shared"] - 3).where(table["shared"] > 3))
        table["agreement_low"], table["agreement_high"] = np.tanh(centre - width), np.tanh(centre + width)
    return table.set_index(pd.Index(sample.rater_names, name="rater"))


def sample_of(
    ratings: pd.DataFrame,
    target: str,
    items: str | Sequence[str],
    clips: pd.DataFrame | None = None,
    *,
    rater: str | None = None,
    purpose: str = "",
) -> RatingSample:
    """Take the ratings of one target; raters are looked at only where they have a ``purpose``."""
    columns = read.columns_of(items)
    table, _ = read.read_ratings(ratings, [target], None, rater=rater if purpose else None, items=columns)
    names = read.name_raters(table, rater, purpose) if purpose else pd.Series("", index=table.index)
    given = table[target].notna()
    table, names = read.with_systems(table[given], clips), names[given]
    if table.empty:
        raise RatingDesignError(f"{target}: there are no ratings")
    numbers, _ = read.codes_of(table, columns)
    read.warn_of_slots(names, numbers)
    raters, rater_names = pd.factorize(names)
    rated = table.drop_duplicates(columns).set_index(columns)
    return RatingSample(numbers, table[target].to_numpy(), raters, pd.Index(rater_names), rated)


def require_pairs(paired: np.ndarray, target: str, purpose: str) -> None:
    """Refuse a design in which no item has two ratings."""
    if not paired.any():
        raise RatingDesignError(
            f"{target}: each of the {len(paired)} items has one rating, so nothing tells noise from quality; {purpose} needs "
            "items rated at least twice"
        )


def correlate_with_others(
    items: np.ndarray,
    raters: np.ndarray,
    scores: np.ndarray,
    *,
    units: np.ndarray | None = None,
    trusted: np.ndarray | None = None,
) -> pd.DataFrame:
    """Correlate each rater's scores with the mean of the other raters' scores of the same items.

    Parameters
    ----------
    items, raters : np.ndarray of int [shape=(n,)]
        Their numbers.
    scores : np.ndarray [shape=(n,)]
        What they gave.
    units : np.ndarray of int [shape=(n,)], default=None
        Numbers of parts of raters' scores, each correlated by itself; by default each rater's are one.
    trusted : np.ndarray of bool [shape=(n,)], default=None
        Which scores count among those of the others; by default all.

    Returns
    -------
    pandas.DataFrame
        By unit: ``shared``, how many of its scores are of items that others rated, and their ``correlation``, nan
        where either side has no spread.
    """
    units = raters if units is None else units
    told = np.ones(len(scores)) if trusted is None else trusted.astype(float)
    own = scores - pd.Series(scores).mean()
    table = pd.DataFrame({"sum": told * own, "n": told})
    rest = table.groupby(items).transform("sum") - table.groupby([items, raters]).transform("sum")
    shared = rest["n"].to_numpy() > 0
    unit, x, y = units[shared], own[shared], (rest["sum"] / rest["n"])[shared].to_numpy()
    n_units = units.max(initial=-1) + 1
    n = np.bincount(unit, minlength=n_units)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (values - (np.bincount(unit, values, n_units) / n)[unit] for values in (x, y))
        xy, xx, yy = (np.bincount(unit, products, n_units) for products in (x * y, x * x, y * y))
        correlation = np.where(xx * yy > 1e-18, np.clip(xy / np.sqrt(xx * yy), -1, 1), np.nan)
    return pd.DataFrame({"shared": n, "correlation": correlation})


def _sums_of_items(sample: RatingSample) -> np.ndarray:
    """Lay out what alpha and ICC are made of, summed over items; one row an item."""
    # Around the mean of all, so that no digits are lost.
    centred = sample.scores - sample.scores.mean()
    n, x, xx = (np.bincount(sample.items, weights) for weights in (None, centred, centred**2))
    within = n * (xx - x**2 / n) / np.maximum(n - 1, 1)
    return np.column_stack([np.ones(len(n)), n, n**2, x, xx, x**2 / n, within])


def _alpha(sums: np.ndarray) -> np.ndarray:
    _, n, _, x, xx, _, within = sums.T
    return 1 - within * (n - 1) / (n * xx - x**2)


def _ratings_an_item(sums: np.ndarray) -> np.ndarray:
    """k0 of the one-way analysis of variance."""
    n_items, n, n_squared = sums[:3]
    return (n - n_squared / n) / (n_items - 1)


def _icc(sums: np.ndarray, k: float | None) -> np.ndarray:
    n_items, n, _, x, xx, of_means, _ = sums.T
    k0 = _ratings_an_item(sums.T)
    between = (of_means - x**2 / n) / (n_items - 1)
    within = (xx - of_means) / (n - n_items)
    of_items = (between - within) / k0
    if k != 1:
        of_items = np.maximum(of_items, 0)
    return of_items / (of_items + within / (k0 if k is None else k))


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


def _figure_of_sums(
    figure: Callable[[np.ndarray], np.ndarray],
    sums: np.ndarray,
    confidence: float,
    n_bootstrap: int,
    random_state: int | None,
    systems: np.ndarray | None = None,
    units: str = "items",
) -> Figure:
    """Work out a figure from sums over units, with its interval over units, or over their systems."""
    interval = interval_of(
        len(sums), lambda counts: figure(counts @ sums), confidence, n_bootstrap, random_state, systems, units
    )
    low, high, note = interval
    return Figure(float(figure(sums.sum(0)[None])[0]), low, high, len(sums), note)
