"""A test that swaps two predictors: had they the same merit, it would not matter which of the two said what.

Predictors need not share a scale, and a mixture of two scales ranks nothing. So before a swap predictions are brought to
one: standardised for LCC, ranked for SRCC and KTAU, as they are for MSE; this leaves each predictor's own metrics as they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, zscore

from musiceval_sk.statistics.agreement import KINDS, ClipAgreement, system_agreement
from musiceval_sk.statistics.bounds import ROUNDING
from musiceval_sk.statistics.folds import mean_of_defined

_BLOCK = 2**18
_COMMON_SCALE = {"MSE": np.asarray, "LCC": zscore, "SRCC": rankdata, "KTAU": rankdata}


@dataclass(frozen=True)
class Swapped:
    """What two predictors said of the same clips, or of the same systems.

    Attributes
    ----------
    truth : np.ndarray [shape=(n,)]
        Scores of clips, or means of systems.
    predictions : tuple of two np.ndarray [shape=(n,)]
        Those of the two predictors.
    units : np.ndarray of int [shape=(n,)]
        What is swapped as a whole: the number of each clip's, or each mean's, system.
    """

    truth: np.ndarray
    predictions: tuple[np.ndarray, np.ndarray]
    units: np.ndarray


def swap_p_value(
    kind: str,
    parts: Sequence[Swapped],
    n_permutations: int,
    rng: np.random.Generator,
    *,
    by_system: bool,
) -> float:
    """Two-sided p-value of the difference of one metric between two predictors.

    Parameters
    ----------
    kind : {"MSE", "LCC", "SRCC", "KTAU"}
        The metric.
    parts : sequence of Swapped
        All clips or systems at once, or those of each fold: the metric is then averaged over folds, and a system is swapped in
        all folds or in none.
    n_permutations : int
        Number of random swaps; where there are no more different ones, each is tried once.
    rng : np.random.Generator
        Source of the swaps.
    by_system : bool
        Whether rows are means of systems, each of them a unit. It is only faster.

    Returns
    -------
    float in (0, 1]
        Share of swaps, the one observed included, with at least the observed difference; nan where it is undefined.
    """
    swaps = _swaps(1 + max(int(part.units.max()) for part in parts), n_permutations, rng)
    difference = _by_system if by_system else _by_clip
    differences = []
    for part in parts:
        scaled = [np.asarray(_COMMON_SCALE[kind](values), dtype=float) for values in part.predictions]
        differences.append(difference(kind, part.truth, scaled, swaps[part.units]))
    found = np.abs(mean_of_defined(differences))
    observed = found[0]
    if not np.isfinite(observed):
        return np.nan
    # A swap that leaves nothing to correlate tells nothing against the predictors being equal.
    return np.count_nonzero(~(found < observed - ROUNDING)) / len(found)


def _swaps(n_units: int, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Which units to swap [shape=(n_units, n)]; the first is the observed state."""
    if n_units < 31 and 2 ** (n_units - 1) <= n_permutations:
        # To swap all the others instead gives the same difference with the other sign.
        states = np.arange(2 ** (n_units - 1))
        return (states >> np.arange(n_units)[:, np.newaxis] & 1).astype(bool)
    swaps = rng.random((n_units, n_permutations + 1)) < 0.5
    swaps[:, 0] = False
    return swaps


def _by_system(kind: str, truth: np.ndarray, scaled: list[np.ndarray], swaps: np.ndarray) -> np.ndarray:
    size = max(1, _BLOCK // len(truth) ** 2)
    a, b = (values[:, np.newaxis] for values in scaled)
    differences = []
    for first in range(0, swaps.shape[1], size):
        swap = swaps[:, first : first + size]
        scores = [
            system_agreement(truth[:, np.newaxis], np.where(swap, *pair))[KINDS.index(kind)]
            for pair in ((b, a), (a, b))
        ]
        differences.append(scores[0] - scores[1])
    return np.concatenate(differences)


def _by_clip(kind: str, truth: np.ndarray, scaled: list[np.ndarray], swaps: np.ndarray) -> np.ndarray:
    """Both predictions of all clips are one pool, of which each side holds every clip once."""
    pool = ClipAgreement(np.tile(truth, 2), np.concatenate(scaled), [kind])
    size = max(1, _BLOCK // (2 * len(truth)))
    differences = []
    for first in range(0, swaps.shape[1], size):
        swap = swaps[:, first : first + size].astype(float)
        sides = np.concatenate([1 - swap, swap]), np.concatenate([swap, 1 - swap])
        differences.append(pool.score(sides[0])[0] - pool.score(sides[1])[0])
    return np.concatenate(differences)
