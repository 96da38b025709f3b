"""Split-half reliability: one half of the ratings against the other, for clips and for systems."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from musiceval_sk._ids import id_texts, is_missing
from musiceval_sk._text import listed
from musiceval_sk.exceptions import RatingDesignError
from musiceval_sk.ratings.read import columns_of, several_systems, systems_of_items
from musiceval_sk.ratings.sample import Figure, RatingSample, require_pairs, sample_of
from musiceval_sk.statistics.confidence import require_confidence, require_whole
from musiceval_sk.statistics.unit_bootstrap import interval_of

# Splits that a bootstrap draw averages. Fewer than all keep it quick, and leave the interval a little wide.
_SPLITS_A_DRAW = 10


class SplitHalf(NamedTuple):
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

    halves: Figure
    lowest: float
    highest: float
    panel: Figure
    factor: float


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
        another panel. "rater" puts each rater into one half with all his ratings: right where the same few raters
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
    _check_choice("level", level, ("clip", "system"))
    _check_choice("correlation", correlation, ("pearson", "spearman"))
    _check_choice("by", by, ("rating", "rater"))
    require_whole(n_splits=n_splits)
    sample = sample_of(ratings, target, items, rater, "halving by raters" if by == "rater" else "")
    require_pairs(np.bincount(sample.items) > 1, target, "the correlation of two halves")
    units = _systems(target, clips, items, sample) if level == "system" else None
    if units is None:
        systems = several_systems(sample.table, clips, columns_of(items), sample.items)
    else:
        systems = np.arange(units.max() + 1)
    random = np.random.default_rng(random_state)
    splits = [_halve(sample, by, random) for _ in range(n_splits)]
    pairs = [_average(first, second, units) for first, second, _ in splits]
    correlate = _pearson if correlation == "pearson" else _spearman
    n = min(int(np.isfinite(first).sum()) for first, _ in pairs)
    if n < 3:
        what = "systems" if level == "system" else "items"
        raise RatingDesignError(
            f"{target}: a correlation of halves needs 3 {what} with ratings in both, there are {n}"
        )
    figures = [_correlation(correlate, *pair) for pair in pairs]
    if not np.isfinite(figures).all():
        raise RatingDesignError(f"{target}: a half without any spread cannot be correlated with the other")
    value, factor = float(np.mean(figures)), float(np.mean([factor for *_, factor in splits]))
    figure = _figure(correlate, pairs[:_SPLITS_A_DRAW])
    low, high, note = interval_of(len(pairs[0][0]), figure, confidence, n_bootstrap, random_state, systems)
    low, high = _recentred((low, high), float(np.mean(figures[:_SPLITS_A_DRAW])), value)
    halves = Figure(value, low, high, n, note)
    if value < 0:
        note = f"halves correlate {value:.3f}, which leaves no reliability to step up to a panel"
    whole, low, high = (
        spearman_brown(bound, factor) if value >= 0 else np.nan for bound in (value, np.maximum(low, 0), high)
    )
    return SplitHalf(
        halves, float(min(figures)), float(max(figures)), Figure(whole, low, high, n, note), factor
    )


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


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}; choose from {listed(choices)}")


def _systems(
    target: str, clips: pd.DataFrame | None, items: Sequence[str], sample: RatingSample
) -> np.ndarray:
    found = systems_of_items(sample.table, clips, columns_of(items), sample.items)
    nameless = is_missing(found["system"]) if "system" in found else np.array([True])
    if nameless.any():
        which = "" if nameless.all() else f"; there is none of: {listed(found.index[nameless])}"
        raise RatingDesignError(
            f"{target}: halves of systems need the system of every clip; give clips= with a column 'system' that "
            f"names all of them, or ratings that have one{which}"
        )
    return pd.factorize(np.array(id_texts(found["system"]), dtype=object))[0]


def _halve(
    sample: RatingSample, by: str, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Means of both halves of each item, nan where one is empty, and the length of the whole in halves."""
    n_items = sample.items.max() + 1
    if by == "rater":
        n_raters = len(sample.rater_names)
        in_first = (random.permutation(n_raters) < n_raters / 2)[sample.raters]
    else:
        order = np.argsort(sample.items + random.random(len(sample.items)))
        count = np.bincount(sample.items)
        place = np.empty(len(order), dtype=int)
        place[order] = np.arange(len(order)) - (np.cumsum(count) - count)[sample.items[order]]
        # The odd rating out goes to either half by lot.
        in_first = place < (count + random.integers(2, size=n_items))[sample.items] // 2
    counts, means = [], []
    with np.errstate(divide="ignore", invalid="ignore"):
        for half in (in_first, ~in_first):
            counts.append(np.bincount(sample.items[half], minlength=n_items))
            means.append(np.bincount(sample.items[half], sample.scores[half], n_items) / counts[-1])
        whole = counts[0] + counts[1]
        both = (counts[0] > 0) & (counts[1] > 0)
        harmonic = 2 * counts[0] * counts[1] / whole
    for mean in means:
        mean[~both] = np.nan
        # Means of the same scores added in another order differ in their last digits and are still ties.
        np.round(mean, 9, out=mean)
    factor = whole[both].mean() / harmonic[both].mean() if both.any() else np.nan
    return means[0], means[1], float(factor)


def _average(
    first: np.ndarray, second: np.ndarray, units: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Average items over their systems; without systems leave them as they are."""
    if units is None:
        return first, second
    both = np.isfinite(first)
    n_units = units.max() + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        count = np.bincount(units[both], minlength=n_units)
        means = [np.bincount(units[both], half[both], n_units) / count for half in (first, second)]
    return means[0], means[1]


def _correlation(
    correlate: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    first: np.ndarray,
    second: np.ndarray,
) -> float:
    both = np.isfinite(first)
    return float(correlate(first[both], second[both], np.ones((1, int(both.sum()))))[0])


def _figure(
    correlate: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    pairs: list[tuple[np.ndarray, np.ndarray]],
) -> Callable[[np.ndarray], np.ndarray]:
    """Average the correlation over splits, for any number of times that each unit counts."""
    collapsed = [_collapse(*pair) for pair in pairs]

    def figure(counts: np.ndarray) -> np.ndarray:
        return np.mean([correlate(x, y, (of @ counts.T).T) for x, y, of in collapsed], axis=0)

    return figure


def _collapse(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, sparse.csr_matrix]:
    """Find the distinct pairs of values and which units have them: few, where scores come from a scale of few steps."""
    units = np.flatnonzero(np.isfinite(first))
    codes, values = pd.factorize(first[units])
    others, other_values = pd.factorize(second[units])
    cells, distinct = pd.factorize(codes * len(other_values) + others)
    shape = (len(distinct), len(first))
    of = sparse.csr_matrix((np.ones(len(units)), (cells, units)), shape=shape)
    return values[distinct // len(other_values)], other_values[distinct % len(other_values)], of


def _recentred(interval: tuple[float, float], around: float, value: float) -> tuple[float, float]:
    """Move an interval of the splits that draws averaged to the mean of all splits, on Fisher's scale."""
    if abs(value) >= 1 or abs(around) >= 1:
        return interval
    bounds = np.clip(interval, 1e-12 - 1, 1 - 1e-12)
    low, high = np.tanh(np.arctanh(bounds) + np.arctanh(value) - np.arctanh(around))
    return float(low), float(high)


def _pearson(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> np.ndarray:
    x, y = first - first.mean(), second - second.mean()
    n, sx, sy, sxx, syy, sxy = (counts @ np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return (n * sxy - sx * sy) / np.sqrt((n * sxx - sx**2) * (n * syy - sy**2))


def _spearman(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Rank anew in each draw; a value drawn several times is tied with itself."""
    x, y = (_ranks(half, counts) for half in (first, second))
    n = counts.sum(1)
    # The mean of mid-ranks is (n + 1) / 2 whatever the ties.
    x -= (n[:, None] + 1) / 2
    y -= (n[:, None] + 1) / 2
    weighted = counts * x
    sxy, sxx = np.einsum("ij,ij->i", weighted, y), np.einsum("ij,ij->i", weighted, x)
    syy = np.einsum("ij,ij,ij->i", counts, y, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        return sxy / np.sqrt(sxx * syy)


def _ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    codes = np.unique(values, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 1))
    weights = np.add.reduceat(counts[:, order], starts, axis=1)
    middle = np.cumsum(weights, axis=1) - weights / 2 + 0.5
    return middle[:, codes]
