"""Raters: models of their bias, who is mild, who is harsh, who uses how much of the scale, and who goes with the others."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import linalg, optimize, sparse
from scipy.special import ndtri

from musiceval_sk._text import counted, listed
from musiceval_sk.exceptions import RatingDesignError
from musiceval_sk.ratings.read import sample_of

_ROWS_AT_ONCE = 4096
_LARGEST_LOG_RATIO = 16.0


class BiasFit(NamedTuple):
    """Items and raters of a model such as ``rating = item + bias of the rater``."""

    scores: np.ndarray  # one an item: what an average rater of this panel would give
    score_errors: np.ndarray
    biases: np.ndarray  # one a rater
    bias_errors: np.ndarray
    degrees_of_freedom: int
    inconsistencies: np.ndarray | None = None  # one a rater, where the model has any


def fit_bias(items: np.ndarray, raters: np.ndarray, scores: np.ndarray, names: pd.Index) -> BiasFit:
    """Fit items and raters, both numbered from 0 without gaps, to their ratings by least squares; biases sum to zero.

    Items are eliminated first, so that one dense system of the size of the panel remains. Its matrix is the
    Laplacian of the raters' graph; adding the constant that sum-to-zero leaves free makes it definite.
    Standard errors suppose equal and independent noise, and are nan where no degree of freedom, or no residual, is left.
    """
    require_connection(items, raters, names)
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


def require_two_raters(items: np.ndarray, raters: np.ndarray, names: pd.Index) -> None:
    """Refuse designs in which no item tells two raters apart."""
    if raters.max() == 0:
        raise RatingDesignError(
            f"all ratings are those of one rater, {names[0]}, whose bias cannot be told from the quality of the items"
        )
    if len(items) == items.max() + 1:
        raise RatingDesignError(
            "every item has a single rating, so a rater's bias cannot be told from the quality of the items; "
            "the rater-bias model needs items that several raters share"
        )


def require_connection(items: np.ndarray, raters: np.ndarray, names: pd.Index) -> None:
    """Refuse designs in which a harsh rater and a poor item look the same."""
    require_two_raters(items, raters, names)
    n_items, n_raters = items.max() + 1, raters.max() + 1
    graph = sparse.coo_matrix(
        (np.ones(len(items)), (raters, n_raters + items)), shape=(n_raters + n_items,) * 2
    )
    n_groups, labels = sparse.csgraph.connected_components(graph, directed=False)
    if n_groups > 1:
        groups = [listed(names[labels[:n_raters] == group], most=3) for group in range(n_groups)]
        raise RatingDesignError(
            f"the raters fall into {n_groups} groups that share no items, so that their biases cannot be compared: "
            f"{listed(f'[{group}]' for group in groups)}. Fit each group by itself, or take the random-effects model "
            "(random_effects), which needs no shared items, or the mean"
        )


def fit_random_effects(items: np.ndarray, raters: np.ndarray, scores: np.ndarray, names: pd.Index) -> BiasFit:
    """Fit ``rating = mean + item + bias of the rater + noise``, all but the mean random, their variances by REML.

    The score of an item is the mean of its ratings less the predicted biases of those who gave them; items themselves are
    not shrunken. Items are absorbed, so that matrices are of the size of the panel; raters may share no items.
    """
    require_two_raters(items, raters, names)
    n_items, n_raters = items.max() + 1, raters.max() + 1
    if np.ptp(scores) == 0:
        unknown = np.full(n_items, np.nan), np.zeros(n_raters), np.full(n_raters, np.nan)
        return BiasFit(np.full(n_items, scores[0]), *unknown, len(scores) - 1)
    effects = _CrossedEffects(items, raters, scores)
    found = optimize.minimize(
        lambda logs: effects.solve(*np.exp(logs))[0],
        np.zeros(2),
        method="L-BFGS-B",
        jac="3-point",
        bounds=[(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO)] * 2,
        options={"ftol": 1e-12, "gtol": 1e-5},
    )
    of_items, of_raters = np.exp(found.x)
    _, variance, biases, covariance = effects.solve(of_items, of_raters, errors=True)
    known = found.x[0] < _LARGEST_LOG_RATIO - 1  # else the noise is nothing beside the items
    sd = np.sqrt(variance) if known else np.nan
    located = effects.means - effects.shares @ biases
    errors = sd * np.sqrt(np.maximum(0, effects.error_of_items(of_items, covariance)))
    spread = sd * np.sqrt(np.maximum(0, np.diag(covariance)[1:]))
    return BiasFit(located + effects.level, errors, biases, spread, len(scores) - 1)


class _CrossedEffects:
    """Sums that the mixed-model equations of two crossed random effects are made of; scores are around their mean."""

    def __init__(self, items: np.ndarray, raters: np.ndarray, scores: np.ndarray):
        self.level = scores.mean()
        y = scores - self.level
        self.counts = sparse.csr_matrix((np.ones(len(y)), (items, raters)))
        self.transposed = self.counts.T.tocsr()
        self.of_item, self.of_rater = np.bincount(items), np.bincount(raters)
        self.item_sums, self.rater_sums = np.bincount(items, y), np.bincount(raters, y)
        self.squares = y @ y
        self.means = self.item_sums / self.of_item
        self.shares = sparse.diags(1 / self.of_item) @ self.counts

    def solve(self, of_items: float, of_raters: float, errors: bool = False) -> tuple[float, float, Any, Any]:
        """Solve at given ratios of the variances to that of the noise.

        Returns minus twice the restricted log-likelihood, the noise's variance and, with ``errors``, the biases and the covariance
        of the errors of mean and biases in units of that variance.
        """
        n, k = self.of_item, of_items / (1 + of_items * self.of_item)
        weighed = self.transposed @ sparse.diags(k)
        between = np.diag(self.of_rater.astype(float)) - (weighed @ self.counts).toarray()
        design = np.column_stack([self.of_rater - weighed @ n, self.rater_sums - weighed @ self.item_sums])
        identity = np.eye(len(between))
        factor = linalg.cho_factor(identity + of_raters * between, check_finite=False)
        solved = of_raters * linalg.cho_solve(factor, design, check_finite=False)
        products = np.array(
            [[n.sum() - k @ n**2, -(k * n) @ self.item_sums], [0, self.squares - k @ self.item_sums**2]]
        )
        (xx, xy), (_, yy) = products - design.T @ solved
        mean, freedom = xy / xx, n.sum() - 1
        variance = max(yy - xy * mean, 1e-300) / freedom
        determinants = np.log1p(of_items * n).sum() + 2 * np.log(np.diag(factor[0])).sum() + np.log(xx)
        likelihood = freedom * np.log(variance) + determinants
        if not errors:
            return likelihood, variance, None, None
        constant = np.append(-1, solved[:, 0])
        covariance = np.outer(constant, constant) / xx
        covariance[1:, 1:] += of_raters * linalg.cho_solve(factor, identity)
        return likelihood, variance, solved[:, 1] - solved[:, 0] * mean, covariance

    def error_of_items(self, of_items: float, covariance: np.ndarray) -> np.ndarray:
        """Mean squared error of the items' scores, in units of the noise's variance."""
        n = self.of_item
        kept = of_items * n / (1 + of_items * n)
        constant, cross = covariance[0, 0], self.shares @ covariance[0, 1:]
        within = np.asarray(self.shares.multiply(self.shares @ covariance[1:, 1:]).sum(1)).ravel()
        # The best predictor of an item errs by the first two terms, and is apart from the unshrunken score by the third.
        best = kept / n + (1 - kept) ** 2 * constant - 2 * kept * (1 - kept) * cross + kept**2 * within
        return best + (1 - kept) ** 2 * (of_items + 1 / n - (constant + 2 * cross + within))


def fit_likelihood(items: np.ndarray, raters: np.ndarray, scores: np.ndarray, names: pd.Index) -> BiasFit:
    """Fit ``rating = item + bias of the rater + noise of the rater's own spread`` by maximum likelihood.

    Alternating projection, with the start, the floor of variances and the rule to stop of its authors' program (sureal), to
    which it is equal; biases sum to zero.
    """
    require_connection(items, raters, names)
    level, of_rater = scores.mean(), np.bincount(raters)
    y = scores - level
    counts, sums = (sparse.csr_matrix((values, (items, raters))) for values in (np.ones(len(y)), y))
    by_rater, sums_by_rater = counts.T.tocsr(), sums.T.tocsr()
    of_raters, squares = np.bincount(raters, y), np.bincount(raters, y**2)
    located = np.bincount(items, y) / np.bincount(items)
    biases = (of_raters - by_rater @ located) / of_rater
    for _ in range(1000):
        before = located
        spread = squares - 2 * (sums_by_rater @ located) + by_rater @ located**2
        variances = np.maximum(0, spread / of_rater - biases**2)
        weights = 1 / (variances + 1e-8)
        located = (sums @ weights - counts @ (weights * biases)) / (counts @ weights)
        biases = (of_raters - by_rater @ located) / of_rater
        if linalg.norm(located - before) < 1e-8:
            break
    exact = variances < 1e-4 * variances.mean()
    if exact.any():
        warnings.warn(
            f"the likelihood grows without end where a rater is taken for exact: {counted(exact.sum(), 'rater')} of {len(names)}, "
            f"{listed(names[exact])}, whose items get their scores and no standard error; a model without inconsistency (bias, "
            "random_effects) has no such solution",
            stacklevel=5,
        )
    told = np.where(exact, np.nan, variances)
    errors = np.bincount(items, 1 / told[raters]) ** -0.5
    freedom = len(scores) - len(located) - 2 * len(names) + 1
    located, biases = located + level + biases.mean(), biases - biases.mean()
    return BiasFit(located, errors, biases, np.sqrt(told / of_rater), freedom, np.sqrt(variances))


FITS: dict[str, Callable[..., BiasFit]] = {
    "bias": fit_bias,
    "random_effects": fit_random_effects,
    "mle": fit_likelihood,
}


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
        ``bias_high``, how much more than the average rater they give to the same item, nan where the design cannot
        tell (``attrs["bias_refused"]`` then says why); ``shared``, how many of their ratings are of items that others rated; ``agreement`` with ``agreement_low``
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
