"""Raters: who is mild, who is harsh, who uses how much of the scale, and who goes with the others."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import linalg, sparse
from scipy.special import ndtri

from musiceval_sk._text import listed
from musiceval_sk.exceptions import RatingDesignError
from musiceval_sk.ratings.read import sample_of

_ROWS_AT_ONCE = 4096


class BiasFit(NamedTuple):
    """The model ``rating = item + bias of the rater`` fitted by least squares; biases sum to zero."""

    scores: np.ndarray  # one an item: what an average rater of this panel would give
    score_errors: np.ndarray
    biases: np.ndarray  # one a rater
    bias_errors: np.ndarray
    degrees_of_freedom: int


def fit_bias(items: np.ndarray, raters: np.ndarray, scores: np.ndarray, names: pd.Index) -> BiasFit:
    """Fit items and raters, both numbered from 0 without gaps, to their ratings.

    Items are eliminated first, so that one dense system of the size of the panel remains. Its matrix is the
    Laplacian of the raters' graph; adding the constant that sum-to-zero leaves free makes it definite.
    Standard errors suppose equal and independent noise, and are nan where no degree of freedom, or no residual, is left.
    """
    _require_connection(items, raters, names)
    n_items, n_raters = items.max() + 1, raters.max() + 1
    counts = sparse.csr_matrix((np.ones(len(items)), (items, raters)), shape=(n_items, n_raters))
    of_item, of_rater = np.asarray(counts.sum(1)).ravel(), np.asarray(counts.sum(0)).ravel()
    shares = sparse.diags(1 / of_item) @ counts
    means = np.bincount(items, scores) / of_item
    excess = np.bincount(raters, scores - means[items])
    laplacian = np.diag(of_rater) - (counts.T @ shares).toarray()
    constant = np.full((n_raters, n_raters), 1 / n_raters)
    inverse = linalg.inv(laplacian + constant, check_finite=False) - constant
    biases = inverse @ excess
    fitted = means - shares @ biases
    freedom = len(scores) - n_items - n_raters + 1
    residuals = scores - fitted[items] - biases[raters]
    squares = residuals @ residuals
    sd = float(np.sqrt(squares / freedom)) if freedom and squares > 1e-18 * len(scores) else float("nan")
    spread = np.concatenate(
        [
            np.asarray(rows.multiply(rows @ inverse).sum(1)).ravel()
            for rows in (shares[i : i + _ROWS_AT_ONCE] for i in range(0, n_items, _ROWS_AT_ONCE))
        ]
    )
    score_errors = sd * np.sqrt(1 / of_item + spread)
    bias_errors = sd * np.sqrt(np.maximum(0, np.diag(inverse)))
    return BiasFit(fitted, score_errors, biases, bias_errors, freedom)


def _require_connection(items: np.ndarray, raters: np.ndarray, names: pd.Index) -> None:
    """Refuse designs in which a harsh rater and a poor item look the same."""
    n_items, n_raters = items.max() + 1, raters.max() + 1
    if n_raters == 1:
        raise RatingDesignError(
            f"all ratings are those of one rater, {names[0]}: his bias cannot be told from the quality of the items"
        )
    if len(items) == n_items:
        raise RatingDesignError(
            "every item has a single rating, so a rater's bias cannot be told from the quality of his items; "
            "the rater-bias model needs items that several raters share"
        )
    graph = sparse.coo_matrix(
        (np.ones(len(items)), (raters, n_raters + items)), shape=(n_raters + n_items,) * 2
    )
    n_groups, labels = sparse.csgraph.connected_components(graph, directed=False)
    if n_groups > 1:
        groups = [listed(names[labels[:n_raters] == group], most=3) for group in range(n_groups)]
        raise RatingDesignError(
            f"the raters fall into {n_groups} groups that share no items, so that their biases cannot be compared: "
            f"{listed(f'[{group}]' for group in groups)}. Fit each group by itself, or aggregate by the mean"
        )


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
