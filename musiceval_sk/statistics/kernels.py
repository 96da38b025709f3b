"""All metrics of all resamples: block by block in bounded memory, blocks side by side in threads."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from musiceval_sk.statistics.agreement import KINDS, ClipAgreement, system_agreement
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.statistics.resampling import Draws, Resampling, generators

# Numbers a block may hold in one array: small enough for a core's cache.
_BLOCK = 2**18


@dataclass(frozen=True)
class Judged:
    """Truth and prediction of the same clips."""

    truth: np.ndarray
    prediction: np.ndarray


class ResampledMetrics:
    """Metrics of any draws of clips, for several truths and predictions at once.

    Parameters
    ----------
    judged : sequence of Judged
        What is judged; all share their clips, so that each resample holds the same clips of each.
    resampling : Resampling
        How clips are drawn.
    metrics : collection of str
        Names of `METRICS`; all others are left nan.
    """

    def __init__(self, judged: Sequence[Judged], resampling: Resampling, metrics: Collection[str]):
        kinds = [kind for kind in KINDS if f"U_{kind}" in metrics]
        self._judged = judged
        self._resampling = resampling
        self._by_clip = [ClipAgreement(one.truth, one.prediction, kinds) for one in judged] if kinds else []
        self._clip_columns = [list(METRICS).index(f"U_{kind}") for kind in kinds]
        self._with_systems = any(METRICS[name].by_system for name in metrics)

    def as_they_are(self) -> np.ndarray:
        """Metrics of every clip once [shape=(n_judged, 8)]."""
        return self.score(self._resampling.as_they_are())[0]

    def draw(self, n_resamples: int, random_state: Any, n_jobs: int | None) -> np.ndarray:
        """Metrics of random resamples [shape=(n_resamples, n_judged, 8)]."""
        return in_blocks(
            lambda size, rng: self.score(self._resampling.draw(size, rng)),
            self._resampling.n,
            n_resamples,
            random_state,
            n_jobs,
        )

    def leaving_out(self) -> np.ndarray:
        """Metrics of the samples that each lack one unit [shape=(n_units, n_judged, 8)]."""
        scores = [self.score(draws) for draws in self._resampling.leaving_out()]
        return np.concatenate(scores) if scores else np.empty((0, len(self._judged), len(METRICS)))

    def score(self, draws: Draws) -> np.ndarray:
        """Metrics of these resamples [shape=(n_resamples, n_judged, 8)]."""
        scores = np.full((len(draws.sizes), len(self._judged), len(METRICS)), np.nan)
        if self._by_clip:
            counts = draws.counts(self._resampling.n)
            for number, agreement in enumerate(self._by_clip):
                scores[:, number, self._clip_columns] = agreement.score(counts).T
        if self._with_systems:
            for number, one in enumerate(self._judged):
                means = draws.means(one.truth), draws.means(one.prediction)
                scores[:, number, 4:] = system_agreement(*means).T
        return scores


def in_blocks(
    score: Callable[[int, np.random.Generator], np.ndarray],
    n: int,
    n_resamples: int,
    random_state: Any,
    n_jobs: int | None,
) -> np.ndarray:
    """Score resamples of n clips, so many at a time that they fit a core's cache, in threads.

    Parameters
    ----------
    score : callable
        Takes a number of resamples and a generator, and gives their scores.
    n : int
        Number of clips.
    n_resamples : int
        Number of resamples.
    random_state : int, RandomState, Generator or None
        Seed.
    n_jobs : int or None
        Number of threads; None is one. The scores do not depend on it.

    Returns
    -------
    np.ndarray [shape=(n_resamples, ...)]
        Scores of all resamples.
    """
    size = max(1, min(_BLOCK // n, n_resamples))
    sizes = [min(size, n_resamples - first) for first in range(0, n_resamples, size)]
    with threadpool_limits(1, user_api="blas"):
        blocks = Parallel(n_jobs, prefer="threads")(
            delayed(score)(size, rng)
            for size, rng in zip(sizes, generators(random_state, len(sizes)), strict=True)
        )
    return np.concatenate(blocks)
