"""Strengths from comparisons of pairs: Bradley and Terry's model, and Davidson's where ties are told."""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import expit

_MOST_STEPS, _MOST_HALVES, _SMALLEST_STEP = 100, 20, 1e-10


class Strengths(NamedTuple):
    """Logarithms of the strengths, which sum to zero, and how ties weigh (nu; 0 in Bradley and Terry's model).

    The inverse of the information about strengths and the logarithm of nu, the last, tells what a comparison changes.
    """

    values: np.ndarray
    tie: np.ndarray
    covariance: np.ndarray


def fit_strengths(
    won: np.ndarray,
    tied: np.ndarray | float = 0.0,
    *,
    davidson: bool = False,
    prior: np.ndarray | float = 0.0,
) -> Strengths:
    """Fit strengths by maximum likelihood, of many sets of comparisons at once.

    Parameters
    ----------
    won : np.ndarray [shape=(..., n, n)]
        How often the item of the row won against that of the column; a tie counts half for both.
    tied : np.ndarray [shape=(...,)] or float, default=0.0
        Number of ties.
    davidson : bool, default=False
        Whether ties have a probability of their own. For strengths p and q a win of the first has p / (p + q + nu sqrt(p q)), a
        tie nu sqrt(p q) / (p + q + nu sqrt(p q)). Otherwise p / (p + q), and a tie is half a win.
    prior : np.ndarray [shape=(...,)] or float, default=0.0
        Number of ties of every item with an imagined one of strength 1, which shrinks strengths.

    Returns
    -------
    Strengths
        Natural logarithms, [shape=(..., n)], nu, [shape=(...,)], and covariance, [shape=(..., n + 1, n + 1)]. Without `prior` they are finite only if the items are one
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
    shape, n = won.shape[:-2], won.shape[-1]
    tied, prior = (np.broadcast_to(given, shape) for given in (tied, prior))
    some_tied = (tied > 0) & (tied < won.sum(axis=(-1, -2)) - 1e-9)  # else nu is 0, or has no bound
    likelihood = _Likelihood(won, tied, davidson & some_tied, prior)
    x = np.zeros((*shape, n + 1))  # the last is the logarithm of nu
    before = likelihood.loss(x)
    for _ in range(_MOST_STEPS):
        gradient, hessian = likelihood.slopes(x)
        step = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
        size = np.ones((*shape, 1))
        for _ in range(_MOST_HALVES):
            worse = likelihood.loss(x + size * step) > before + 1e-12 * np.abs(before)
            if not worse.any():
                break
            size[worse] /= 2
        x = x + size * step
        before = likelihood.loss(x)
        if np.abs(size * step).max() < _SMALLEST_STEP:
            break
    values, covariance = x[..., :n], np.linalg.inv(likelihood.slopes(x)[1])
    tie = np.where(likelihood.davidson, np.exp(x[..., n]), 0.0)
    return Strengths(values - values.mean(axis=-1, keepdims=True), tie, covariance)


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
    up, down, tie = np.exp(half), np.exp(-half), float(fit.tie)
    whole = up + down + tie
    surprise = share - (up + tie / 2) / whole
    slopes = np.zeros((len(share), n + 1))
    slopes[each, first], slopes[each, second] = surprise, -surprise
    slopes[:, n] = (share == 0.5) - tie / whole if tie else 0.0
    influence = slopes @ fit.covariance[:, :n]
    return influence - influence.mean(axis=1, keepdims=True)


class _Likelihood:
    """Minus the logarithm of the likelihood, and its slopes, by strengths and the logarithm of nu."""

    def __init__(self, won: np.ndarray, tied: np.ndarray, davidson: np.ndarray, prior: np.ndarray):
        self.met, self.n = won + np.swapaxes(won, -1, -2), won.shape[-1]
        self.lead = (won.sum(axis=-1) - won.sum(axis=-2)) / 2
        self.tied, self.davidson, self.prior = tied, davidson, prior[..., None]

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values = x[..., : self.n]
        half = (values[..., :, None] - values[..., None, :]) / 2
        tie = np.where(self.davidson, np.exp(x[..., self.n]), 0.0)
        return values, half, tie[..., None, None]

    def loss(self, x: np.ndarray) -> np.ndarray:
        """Give minus the logarithm, [shape=(...,)]."""
        values, half, tie = self._parts(x)
        far = np.abs(half)  # its exponential is taken out, so that nothing overflows
        sums = self.met * (far + np.log1p(np.exp(-2 * far) + tie * np.exp(-far)))
        imagined = self.prior * (np.logaddexp(0, values) - values / 2)
        ties = np.where(self.davidson, self.tied * x[..., self.n], 0.0)
        return sums.sum(axis=(-1, -2)) / 2 + (imagined - self.lead * values).sum(axis=-1) - ties

    def slopes(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give its first and second derivatives, [shape=(..., n + 1)] and [shape=(..., n + 1, n + 1)]."""
        values, half, tie = self._parts(x)
        half, n = half.clip(-300, 300), self.n
        up, down, own = np.exp(half), np.exp(-half), expit(values)
        whole = up + down + tie
        curvature = self.met * (1 + tie * (up + down) / 4) / whole**2
        gradient, hessian = np.zeros_like(x), np.zeros((*x.shape, n + 1))
        gradient[..., :n] = (self.met * (up - down) / whole).sum(axis=-1) / 2 - self.lead
        gradient[..., :n] += self.prior * (own - 0.5)
        diagonal = curvature.sum(axis=-1) + self.prior * own * (1 - own)
        # The level is free without a prior.
        level = np.where(self.prior == 0, curvature.max(axis=(-1, -2))[..., None] / n, 0.0)[..., None]
        hessian[..., :n, :n] = diagonal[..., None] * np.eye(n) - curvature + level
        of_tie, across = self.met * tie / whole, self.met * tie * (down - up) / whole**2
        gradient[..., n] = np.where(self.davidson, of_tie.sum(axis=(-1, -2)) / 2 - self.tied, 0.0)
        bent = (of_tie * (up + down) / whole).sum(axis=(-1, -2)) / 2
        hessian[..., n, n] = np.where(self.davidson, bent, 1.0)
        hessian[..., n, :n] = hessian[..., :n, n] = across.sum(axis=-1) / 2
        return gradient, hessian


def linked_groups(won: np.ndarray, *, both_ways: bool = False) -> np.ndarray:
    """Give each item the number of its group: those that comparisons link, or ``both_ways`` wins."""
    kind = "strong" if both_ways else "weak"
    return sparse.csgraph.connected_components(sparse.csr_matrix(won > 0), connection=kind)[1]
