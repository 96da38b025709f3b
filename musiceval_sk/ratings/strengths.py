"""Strengths from comparisons of pairs, by Bradley and Terry's model, or Davidson's where ties are told, and their covariance."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse
from scipy.special import expit, stdtrit

_MOST_STEPS, _SMALLEST_STEP = 100, 1e-10


class Strengths(NamedTuple):
    """Logarithms of the strengths, which sum to zero, and how ties weigh (nu; 0 in Bradley and Terry's model).

    The inverse of the information about strengths and the logarithm of nu, the last, tells what a comparison changes.
    """

    values: np.ndarray
    tie: float
    covariance: np.ndarray


def fit_strengths(
    won: np.ndarray, tied: float = 0.0, *, davidson: bool = False, prior: float = 0.0
) -> Strengths:
    """Fit strengths by maximum likelihood.

    Parameters
    ----------
    won : np.ndarray [shape=(n, n)]
        How often the item of the row won against that of the column; a tie counts half for both.
    tied : float, default=0.0
        Number of ties.
    davidson : bool, default=False
        Whether ties have a probability of their own. For strengths p and q a win of the first has p / (p + q + nu sqrt(p q)), a
        tie nu sqrt(p q) / (p + q + nu sqrt(p q)). Otherwise p / (p + q), and a tie is half a win.
    prior : float, default=0.0
        Number of ties of every item with an imagined one of strength 1, which shrinks strengths.

    Returns
    -------
    Strengths
        Natural logarithms, [shape=(n,)], nu, and covariance, [shape=(n + 1, n + 1)]. Without `prior` they are finite only if the items are one
        group, see `linked_groups`.

    References
    ----------
    R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs", Biometrika 39 (1952).
    R. R. Davidson, "On extending the Bradley-Terry model to accommodate ties in paired comparison experiments", JASA 65 (1970).

    Examples
    --------
    >>> fit_strengths(np.array([[0, 3.0], [1, 0]])).values.round(3)  # odds of 3
    array([ 0.549, -0.549])
    """
    davidson = bool(davidson and 0 < tied < won.sum() - 1e-9)  # else nu is 0, or has no bound
    likelihood = _Likelihood(won, tied, davidson, prior)
    x = np.zeros(len(won) + 1)  # the last is the logarithm of nu
    for _ in range(_MOST_STEPS):
        gradient, hessian = likelihood.slopes(x)
        step, before = np.linalg.solve(hessian, gradient), likelihood.loss(x)
        while likelihood.loss(x - step) > before + 1e-12 * abs(before) and abs(step).max() > _SMALLEST_STEP:
            step /= 2
        x -= step
        if abs(step).max() < _SMALLEST_STEP:
            break
    values, covariance = x[:-1], np.linalg.inv(likelihood.slopes(x)[1])
    return Strengths(values - values.mean(), np.exp(x[-1]) if davidson else 0.0, covariance)


def influence_of_comparisons(
    first: np.ndarray, second: np.ndarray, share: np.ndarray, fit: Strengths
) -> np.ndarray:
    """Work out how much strengths owe to each comparison.

    Parameters
    ----------
    first, second : np.ndarray [shape=(n_comparisons,)]
        Numbers of the items that met.
    share : np.ndarray [shape=(n_comparisons,)]
        1 where the first won, 0 where the second did, 0.5 for a tie.
    fit : Strengths
        Those of all comparisons together.

    Returns
    -------
    np.ndarray [shape=(n_comparisons, n)]
        The derivative of the comparison's log-likelihood by the inverse of the information; rows sum to zero.
    """
    n, each = len(fit.values), np.arange(len(share))
    half = (fit.values[first] - fit.values[second]) / 2
    up, down, tie = np.exp(half), np.exp(-half), fit.tie
    whole = up + down + tie
    surprise = share - (up + tie / 2) / whole
    slopes = np.zeros((len(share), n + 1))
    slopes[each, first], slopes[each, second] = surprise, -surprise
    slopes[:, n] = (share == 0.5) - tie / whole if tie else 0.0
    influence = slopes @ fit.covariance[:, :n]
    return influence - influence.mean(axis=1, keepdims=True)


class _Likelihood:
    """Minus the logarithm of the likelihood, and its slopes, by strengths and the logarithm of nu."""

    def __init__(self, won: np.ndarray, tied: float, davidson: bool, prior: float):
        self.met, self.lead = won + won.T, (won.sum(axis=1) - won.sum(axis=0)) / 2
        self.tied, self.davidson, self.prior = tied, davidson, prior

    def loss(self, x: np.ndarray) -> float:
        """Give minus the logarithm."""
        values, tie = x[:-1], self.davidson * np.exp(x[-1])
        # Its exponential is taken out, so that nothing overflows.
        far = np.abs(values[:, np.newaxis] - values) / 2
        sums = self.met * (far + np.log1p(np.exp(-2 * far) + tie * np.exp(-far)))
        imagined = self.prior * (np.logaddexp(0, values) - values / 2)
        return sums.sum() / 2 + (imagined - self.lead * values).sum() - self.davidson * self.tied * x[-1]

    def slopes(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give its first and second derivatives, [shape=(n + 1,)] and [shape=(n + 1, n + 1)]."""
        values, tie = x[:-1], self.davidson * np.exp(x[-1])
        half = (values[:, np.newaxis] - values).clip(-600, 600) / 2
        up, down, own = np.exp(half), np.exp(-half), expit(values)
        whole = up + down + tie
        curvature = self.met * (1 + tie * (up + down) / 4) / whole**2
        gradient = (self.met * (up - down) / whole).sum(axis=1) / 2 - self.lead + self.prior * (own - 0.5)
        # The level is free without a prior.
        level = 0.0 if self.prior else curvature.max() / len(values)
        hessian = np.diag(curvature.sum(axis=1) + self.prior * own * (1 - own)) - curvature + level
        if not self.davidson:
            return np.append(gradient, 0.0), linalg.block_diag(hessian, 1.0)
        of_tie, across = self.met * tie / whole, self.met * tie * (down - up) / whole**2
        bent = (of_tie * (up + down) / whole).sum() / 2
        across = across.sum(axis=1, keepdims=True) / 2
        gradient = np.append(gradient, of_tie.sum() / 2 - self.tied)
        return gradient, np.block([[hessian, across], [across.T, bent]])


def linked_groups(won: np.ndarray, *, both_ways: bool = False) -> np.ndarray:
    """Give each item the number of its group: those that comparisons link, or ``both_ways`` wins."""
    kind = "strong" if both_ways else "weak"
    return sparse.csgraph.connected_components(sparse.csr_matrix(won > 0), connection=kind)[1]


class ClusterCovariance:
    """Covariance of estimates over clusters of observations, such as those of a rater and of a prompt.

    To draw raters and prompts anew at once counts the noise of single observations up to three times (Owen 2007). Here variances by
    rater and by prompt are added, and that by both at once, which each of them holds, is taken off.

    Parameters
    ----------
    influence : np.ndarray [shape=(n_observations, n_estimates)]
        How much each estimate owes to each observation; columns sum to about zero.
    ways : sequence of np.ndarray [shape=(n_observations,)]
        At most two ways to cluster: the number of each observation's cluster, from 0 without gaps. Without any, observations are
        taken for independent.

    References
    ----------
    A. C. Cameron, J. B. Gelbach and D. L. Miller, "Robust inference with multiway clustering", Journal of Business and Economic
    Statistics 29 (2011). A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007).

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 3.0, 6.0])
    >>> influence = (values - values.mean())[:, np.newaxis] / 4
    >>> ClusterCovariance(influence, []).half_widths(0.95).round(2)  # of a mean: 3.18 standard errors
    array([3.44])
    """

    def __init__(self, influence: np.ndarray, ways: Sequence[np.ndarray]):
        cells = np.arange(len(influence))
        if len(ways) == 2:
            first, second = ways
            cells = np.unique(first * (second.max() + 1) + second, return_inverse=True)[1]
        self._cells = _covariance(influence, cells)
        self._ways = [_covariance(influence, way) for way in ways]

    def half_widths(self, confidence: float) -> np.ndarray:
        """Half widths of intervals of the estimates by Student's t, [shape=(n_estimates,)].

        Variances are those of all ways together, but no less than that of cells; degrees of freedom are Satterthwaite's.
        """
        return self._half_widths(np.diag, confidence)

    def half_widths_of_differences(self, confidence: float) -> np.ndarray:
        """Half widths of intervals of the estimate of the row less that of the column, [shape=(n_estimates, n_estimates)]."""
        return self._half_widths(_of_differences, confidence)

    def _half_widths(self, variances: Callable[[np.ndarray], np.ndarray], confidence: float) -> np.ndarray:
        noise, n_cells = variances(self._cells[0]), self._cells[1]
        by_way = [variances(covariance) for covariance, _ in self._ways]
        total = sum(by_way, start=(1 - len(by_way)) * noise)
        squares = [variance**2 / (n - 1) for variance, (_, n) in zip(by_way, self._ways, strict=True)]
        freedom = np.full(noise.shape, n_cells - 1.0)
        np.divide(total**2, sum(squares), out=freedom, where=total > noise)
        return stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(np.maximum(total, noise))


def _covariance(influence: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, int]:
    n = groups.max() + 1
    sums = sparse.csr_matrix((np.ones(len(groups)), (groups, np.arange(len(groups))))) @ influence
    return sums.T @ sums * n / max(n - 1, 1), n


def _of_differences(covariance: np.ndarray) -> np.ndarray:
    own = np.diag(covariance)
    return np.maximum(0, own[:, np.newaxis] + own - 2 * covariance)
