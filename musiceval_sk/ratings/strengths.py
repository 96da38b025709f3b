"""Strengths from comparisons of pairs: Bradley and Terry's model, and Davidson's where ties are told."""

from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse
from scipy.special import expit

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
        far = (
            np.abs(values[:, np.newaxis] - values) / 2
        )  # its exponential is taken out, so that nothing overflows
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
