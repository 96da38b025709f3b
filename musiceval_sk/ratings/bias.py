"""Raters: who is mild, who is harsh, who uses how much of the scale, and who goes with the others."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from musiceval_sk.exceptions import RatingDesignError
from musiceval_sk.ratings.models import FITS
from musiceval_sk.ratings.read import sample_of


def scale_to_panel(raters: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Give every rater the mean and standard deviation of all ratings together; nan for one without spread.

    With population standard deviations the ratings as a whole keep the mean and spread that they had.
    """
    count = np.bincount(raters)
    mean = np.bincount(raters, scores) / count
    spread = np.sqrt(np.bincount(raters, (scores - mean[raters]) ** 2) / count)
    flat = spread < 1e-9
    spread[flat] = np.nan
    used = ~flat[raters]
    if not used.any():
        raise RatingDesignError("no rater gave two different scores, so there is no spread to normalise by")
    return (scores - mean[raters]) / spread[raters] * scores[used].std() + scores[used].mean()


def rater_table(
    ratings: pd.DataFrame,
    target: str = "impression",
    *,
    rater: str | None = "rater",
    items: Sequence[str] = ("clip_id",),
    confidence: float = 0.95,
    model: str = "bias",
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
    model : {"bias", "random_effects", "mle"}, default="bias"
        Model that tells the biases, see `aggregate_ratings`.

    Returns
    -------
    pandas.DataFrame
        Indexed by rater, in order of appearance: ``count``, ``mean``, ``sd``; ``bias`` with ``bias_low`` and
        ``bias_high``, how much more than the average rater he gives to the same item, nan where the design cannot tell (``attrs["bias_refused"]`` then says why);
        ``shared``, how many of his ratings are of items that others rated; ``agreement`` with ``agreement_low``
        and ``agreement_high``, the Pearson correlation of those with the mean of the others. Intervals are normal for
        the bias and by Fisher's transformation for the agreement. With "mle", ``inconsistency``, the standard deviation of the
        rater's own noise.

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
        fit = FITS[model](sample.items, sample.raters, sample.scores, sample.rater_names)
        table["bias"] = fit.biases
        table["bias_low"] = fit.biases - half * fit.bias_errors
        table["bias_high"] = fit.biases + half * fit.bias_errors
        if fit.inconsistencies is not None:
            table["inconsistency"] = fit.inconsistencies
    except RatingDesignError as refusal:
        table.attrs["bias_refused"] = str(refusal)
    agreement = correlate_with_others(sample.items, sample.raters, sample.scores)
    table["shared"], table["agreement"] = agreement["shared"], agreement["correlation"]
    with np.errstate(divide="ignore"):
        centre = np.arctanh(table["agreement"])
        width = half / np.sqrt((table["shared"] - 3).where(table["shared"] > 3))
        table["agreement_low"], table["agreement_high"] = np.tanh(centre - width), np.tanh(centre + width)
    return table.set_index(pd.Index(sample.rater_names, name="rater"))


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
    return correlate_within(unit, x, y, units.max(initial=-1) + 1)


def correlate_within(units: np.ndarray, x: np.ndarray, y: np.ndarray, n_units: int) -> pd.DataFrame:
    """Correlate x and y within each unit: the number of values as ``shared`` and their ``correlation``."""
    n = np.bincount(units, minlength=n_units)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (values - (np.bincount(units, values, n_units) / n)[units] for values in (x, y))
        xy, xx, yy = (np.bincount(units, products, n_units) for products in (x * y, x * x, y * y))
        correlation = np.where(xx * yy > 1e-18, np.clip(xy / np.sqrt(xx * yy), -1, 1), np.nan)
    return pd.DataFrame({"shared": n, "correlation": correlation})
