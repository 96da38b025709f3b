"""How far raters agree: alpha, intraclass correlation, one rater against the rest, and one half of the ratings against the other.

Each figure comes with an interval, and a design that cannot carry it raises `RatingDesignError`, which says why.
`human_ceiling` puts all of them in one table, and a reason in the place of each that is refused.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from musiceval_sk._ids import require_names
from musiceval_sk._text import Shown, require_known
from musiceval_sk.exceptions import RatingDesignError
from musiceval_sk.ratings import read
from musiceval_sk.ratings.bias import correlate_with_others
from musiceval_sk.statistics.agreement import ClipAgreement
from musiceval_sk.statistics.align import require_confidence, require_whole
from musiceval_sk.statistics.intervals import interval_of


class _FigureFields(NamedTuple):
    value: float
    low: float
    high: float
    n: int
    note: str = ""


class Figure(Shown, _FigureFields):
    """A figure with its interval, and a note on what of them there is not.

    Attributes
    ----------
    value, low, high : float
        The figure, and the ends of its interval; nan where there is none.
    n : int
        Number of items, systems or raters that it rests on.
    note : str
        Why something is missing.
    """

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row: ``value``, ``low``, ``high``, ``n``, ``note``.
        """
        return pd.DataFrame([self], columns=self._fields)

    def _headline(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.n}"

    __str__ = Shown.__repr__


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
    sample = read.sample_of(ratings, target, items, clips)
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
    sample = read.sample_of(ratings, target, items, clips)
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
    sample = read.sample_of(ratings, target, items, rater=rater, purpose="leaving one rater out")
    agreement = correlate_with_others(sample.items, sample.raters, sample.scores)
    correlations = agreement["correlation"][agreement["shared"] >= least_items].dropna().to_numpy()
    if not len(correlations):
        raise RatingDesignError(
            f"{target}: none of {len(agreement)} raters gave differing scores to {least_items} items that others rated "
            f"as well; the most shared by one rater is {agreement['shared'].max()}"
        )
    sums = np.column_stack([correlations, np.ones(len(correlations))])
    return _figure_of_sums(_mean, sums, confidence, n_bootstrap, random_state, units="raters")


def require_pairs(paired: np.ndarray, target: str, purpose: str) -> None:
    """Refuse a design in which no item has two ratings."""
    if not paired.any():
        raise RatingDesignError(
            f"{target}: each of the {len(paired)} items has one rating, so nothing tells noise from quality; {purpose} needs "
            "items rated at least twice"
        )


def _sums_of_items(sample: read.RatingSample) -> np.ndarray:
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


_KINDS = {"pearson": "LCC", "spearman": "SRCC"}
# Splits that a bootstrap draw averages. Fewer than all keep it quick, and leave the interval a little wide.
_SPLITS_A_DRAW = 10


class _SplitHalfFields(NamedTuple):
    halves: Figure
    lowest: float
    highest: float
    panel: Figure
    factor: float


class SplitHalf(Shown, _SplitHalfFields):
    """Split-half reliability of scores that average all ratings of an item.

    Attributes
    ----------
    halves : Figure
        Correlation of two halves, mean over the splits.
    lowest, highest : float
        Its range over the splits.
    panel : Figure
        The same stepped up by Spearman and Brown: how a second panel as large as the first would correlate with it; nan where
        halves correlate below 0, which leaves nothing to step up.
    factor : float
        How much longer than a half the panel is: 2 where halves are equal.
    """

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            Two rows, ``figure`` "halves" and "panel": ``value``, ``low``, ``high``, ``n``, ``note``.
        """
        both = {"halves": self.halves, "panel": self.panel}
        return pd.DataFrame(
            [(name, *figure) for name, figure in both.items()], columns=["figure", *Figure._fields]
        )

    def _headline(self) -> str:
        return f"halves {self.halves.value:.3f}, a panel like this one {self.panel.value:.3f}"

    __str__ = Shown.__repr__


def split_half(
    ratings: pd.DataFrame,
    target: str = "impression",
    *,
    level: str = "clip",
    correlation: str = "pearson",
    by: str = "rating",
    clips: pd.DataFrame | None = None,
    rater: str | None = "rater",
    items: Sequence[str] = ("clip_id",),
    n_splits: int = 100,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    random_state: int | None = 0,
) -> SplitHalf:
    """Correlate random halves of the ratings, and step up to the whole by Spearman and Brown.

    Parameters
    ----------
    ratings : pandas.DataFrame
        Long table, one row a rating.
    target : str, default="impression"
        Score column; empty cells are ratings not given.
    level : {"clip", "system"}, default="clip"
        Correlate the halves' means of items, or the means of those over each system.
    correlation : {"pearson", "spearman"}, default="pearson"
        Which correlation; the step-up is derived for Pearson's and an approximation for Spearman's.
    by : {"rating", "rater"}, default="rating"
        "rating" halves the ratings of each item by lot, and raters need not be known: right where every item has
        another panel. "rater" puts each rater into one half with all their ratings: right where the same few raters
        rate everything, because what one of them likes in a system is then noise, not reliability.
    clips : pandas.DataFrame, default=None
        Clips table with ``system``; without it the ratings' own column ``system``. ``level="system"`` needs one of them.
    rater : str or None, default="rater"
        Column of raters, for ``by="rater"``.
    items : sequence of str, default=("clip_id",)
        Columns that together name what was rated.
    n_splits : int, default=100
        Number of random splits.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of the intervals.
    n_bootstrap : int, default=1000
        Number of bootstrap draws of items, where systems are unknown; 0 gives no interval.
    random_state : int or None, default=0
        Seed of splits and bootstrap.

    Returns
    -------
    SplitHalf
        Correlation of the halves, its range, and what it is for the whole panel. Intervals are as those of `krippendorff_alpha`:
        over systems with all their items, or, where systems are unknown, over items. For the panel they end at 0.

    Raises
    ------
    RatingDesignError
        If no item has ratings in both halves, systems or raters are unknown, or there are fewer than three items or systems.
    ValueError
        If an option is not one of those named.

    Notes
    -----
    Halves r apart in length by a factor f step up to ``f r / (1 + (f - 1) r)``. Where items have an odd or unequal number
    of ratings, f is the number of ratings over the harmonic mean of the two halves, both averaged over items.

    References
    ----------
    C. Spearman, "Correlation calculated from faulty data", and W. Brown, "Some experimental results in the correlation
    of mental abilities", British Journal of Psychology 3 (1910).

    Examples
    --------
    >>> ratings = pd.DataFrame({"clip_id": list("xxyyzz"), "impression": [1, 1, 3, 3, 5, 5]})
    >>> split_half(ratings, n_bootstrap=0).panel.value
    1.0
    """
    require_confidence(confidence)
    require_whole(n_splits=n_splits)
    require_known("level", level, ("clip", "system"))
    require_known("correlation", correlation, _KINDS)
    require_known("by", by, ("rating", "rater"))
    purpose = "halving by raters" if by == "rater" else ""
    sample = read.sample_of(ratings, target, items, clips, rater=rater, purpose=purpose)
    require_pairs(np.bincount(sample.items) > 1, target, "the correlation of two halves")
    if level == "system":
        units = _systems(sample, target)
        systems: np.ndarray | None = np.arange(units.max() + 1)
    else:
        units, systems = np.arange(len(sample.rated)), sample.systems()
    random = np.random.default_rng(random_state)
    splits = [_halve(sample, by, units, random) for _ in range(n_splits)]
    n = min(int(np.isfinite(halves[:, 0]).sum()) for halves, _ in splits)
    if n < 3:
        raise RatingDesignError(
            f"{target}: a correlation of halves needs 3 {'systems' if level == 'system' else 'items'} with ratings in both, there are {n}"
        )
    correlate = [_correlation(_KINDS[correlation], halves) for halves, _ in splits]
    values = [float(of(np.ones((1, len(splits[0][0]))))[0]) for of in correlate]
    if not np.isfinite(values).all():
        raise RatingDesignError(f"{target}: a half without any spread cannot be correlated with the other")
    value, factor = float(np.mean(values)), float(np.mean([factor for _, factor in splits]))
    drawn = correlate[:_SPLITS_A_DRAW]
    low, high, note = interval_of(
        len(splits[0][0]),
        lambda counts: np.mean([of(counts) for of in drawn], axis=0),
        confidence,
        n_bootstrap,
        random_state,
        systems,
    )
    low, high = _recentred((low, high), float(np.mean(values[:_SPLITS_A_DRAW])), value)
    first = Figure(value, low, high, n, note)
    if value < 0:
        note = f"halves correlate {value:.3f}, which leaves no reliability to step up to a panel"
        low = high = np.nan
    low, high = (spearman_brown(bound, factor) for bound in (np.maximum(low, 0), high))
    panel = Figure(spearman_brown(value, factor), low, high, n, note)
    return SplitHalf(first, min(values), max(values), panel, factor)


def spearman_brown(correlation: float, factor: float = 2.0) -> float:
    """Predict the reliability of a measurement that is longer by a factor.

    Parameters
    ----------
    correlation : float in [0, 1]
        Reliability of the measurement as it is, a share of variance.
    factor : float, default=2.0
        How many times as long the other one is.

    Returns
    -------
    float
        ``factor * correlation / (1 + (factor - 1) * correlation)``; nan below 0, where the formula has no meaning.

    Examples
    --------
    >>> spearman_brown(0.5)
    0.6666666666666666
    """
    return factor * correlation / (1 + (factor - 1) * correlation) if correlation >= 0 else float("nan")


def _systems(sample: read.RatingSample, target: str) -> np.ndarray:
    """Find the number of each item's system; all must have one."""
    names = sample.rated.get("system", pd.Series(index=sample.rated.index, dtype=object))
    complaint = (
        f"{target}: halves of systems need the system of every clip; give a clips table, or ratings, with a column 'system' that "
        "names all of them; there is none of"
    )
    return pd.factorize(
        require_names(names, "system", names.index, complaint=complaint, error=RatingDesignError)
    )[0]


def _halve(
    sample: read.RatingSample, by: str, units: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Means of both halves by unit [shape=(n_units, 2)], nan where one is empty, and the length of the whole in halves."""
    n_items, n_units = len(units), units.max() + 1
    if by == "rater":
        n_raters = len(sample.rater_names)
        in_first = (random.permutation(n_raters) < n_raters / 2)[sample.raters]
    else:
        lots, n_ratings = random.random(len(sample.items)), np.bincount(sample.items)
        place = np.empty(len(lots))
        place[np.lexsort((lots, sample.items))] = np.arange(len(lots))
        # The odd rating out goes to either half by lot.
        size = (n_ratings + random.integers(2, size=n_items)) // 2
        in_first = place < (np.cumsum(n_ratings) - n_ratings + size)[sample.items]
    half = 2 * sample.items + ~in_first
    counts, sums = (np.bincount(half, w, 2 * n_items).reshape(-1, 2) for w in (None, sample.scores))
    both = (counts > 0).all(axis=1)
    # Means of the same scores added in another order differ in their last digits and are still ties.
    means = np.round(sums[both] / counts[both], 9)
    whole, units = counts[both].sum(axis=1), units[both]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = whole.mean() / (2 * counts[both].prod(axis=1) / whole).mean() if len(whole) else np.nan
        n = np.bincount(units, minlength=n_units)
        return np.column_stack([np.bincount(units, mean, n_units) / n for mean in means.T]), float(factor)


def _correlation(kind: str, halves: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Correlation of two halves, for any number of times that each unit counts [shape=(n_draws, n_units)]."""
    units = np.flatnonzero(np.isfinite(halves[:, 0]))
    # Distinct pairs of means are few, where scores come from a scale of few steps.
    pairs, place = np.unique(halves[units] @ [1, 1j], return_inverse=True)
    of_units = sparse.csr_matrix((np.ones(len(units)), (place, units)), (len(pairs), len(halves)))
    agreement = ClipAgreement(pairs.real, pairs.imag, [kind])
    return lambda counts: agreement.score(of_units @ counts.T)[0]


def _recentred(interval: tuple[float, float], around: float, value: float) -> tuple[float, float]:
    """Move an interval of the splits that draws averaged to the mean of all splits, on Fisher's scale."""
    if abs(value) >= 1 or abs(around) >= 1:
        return interval
    bounds = np.clip(interval, 1e-12 - 1, 1 - 1e-12)
    low, high = np.tanh(np.arctanh(bounds) + np.arctanh(value) - np.arctanh(around))
    return float(low), float(high)
