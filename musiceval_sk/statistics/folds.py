"""Metrics of each fold, averaged over folds, in resamples that draw a system once for all folds that test it.

Folds that share systems, as those of a random split do, err alike on them. To draw systems anew in each fold would take those
errors for independent and give intervals that are too narrow.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

from musiceval_sk.statistics.kernels import Judged, ResampledMetrics, in_blocks
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.statistics.resampling import Resampling

# Two systems always correlate perfectly.
LEAST_SYSTEMS_TO_RANK = 3
NO_FOLD_RANKS = f"no fold holds {LEAST_SYSTEMS_TO_RANK} systems"
_RANKED = [place for place, name in enumerate(METRICS) if name in ("S_LCC", "S_SRCC", "S_KTAU")]


def resampled_metrics(
    judged: Sequence[Judged],
    systems: np.ndarray | None,
    level: str,
    metrics: Collection[str],
    folds: np.ndarray | None = None,
) -> "ResampledMetrics | FoldedMetrics":
    """Make what computes metrics in resamples, of all clips together or averaged over folds.

    Parameters
    ----------
    judged : sequence of Judged
        What is judged; all share their clips.
    systems : np.ndarray [shape=(n,)] or None
        The system of each clip; without it only clips are drawn.
    level : {"both", "systems", "clips"}
        What is drawn.
    metrics : collection of str
        Names of `METRICS`; all others are left nan.
    folds : np.ndarray [shape=(n,)] or None, default=None
        The fold of each clip.

    Returns
    -------
    ResampledMetrics or FoldedMetrics
        Both have ``as_they_are``, ``draw`` and ``leaving_out``.
    """
    level = "clips" if systems is None else level
    if folds is not None:
        return FoldedMetrics(judged, systems, level, metrics, folds)
    return ResampledMetrics(judged, Resampling(systems, len(judged[0].truth), level), metrics)


def folds_are_small(systems: np.ndarray | None, folds: np.ndarray | None) -> bool:
    """Tell whether no fold holds enough systems for a correlation of systems.

    Parameters
    ----------
    systems, folds : np.ndarray [shape=(n,)] or None
        The system and the fold of each clip.

    Returns
    -------
    bool
        False where either is unknown.
    """
    if systems is None or folds is None:
        return False
    return bool(pd.Series(systems).groupby(folds).nunique().max() < LEAST_SYSTEMS_TO_RANK)


class FoldedMetrics:
    """Means over folds of the metrics of any draws of clips.

    A metric that a fold leaves undefined is left out of the mean; so are correlations of systems where a fold has fewer than
    three.

    Parameters
    ----------
    judged, systems, level, metrics, folds
        As of `resampled_metrics`.
    """

    def __init__(
        self,
        judged: Sequence[Judged],
        systems: np.ndarray | None,
        level: str,
        metrics: Collection[str],
        folds: np.ndarray,
    ):
        systems = np.zeros(len(folds), dtype=int) if systems is None else systems
        self._n, self._shape = len(folds), (len(judged), len(METRICS))
        self._groups: list[list[_Fold]] = []
        for group in folds_by_shared_systems(systems, folds):
            names = np.unique(systems[np.isin(folds, group)])
            made = []
            for fold in group:
                rows = folds == fold
                parts = [Judged(one.truth[rows], one.prediction[rows]) for one in judged]
                made.append(_Fold(parts, systems[rows], level, metrics, names))
            self._groups.append(made)

    def as_they_are(self) -> np.ndarray:
        """Metrics of every clip once [shape=(n_judged, 8)]."""
        return mean_of_defined([fold.as_they_are() for group in self._groups for fold in group])

    def draw(self, n_resamples: int, random_state: Any, n_jobs: int | None) -> np.ndarray:
        """Metrics of random resamples [shape=(n_resamples, n_judged, 8)]."""
        return in_blocks(self._draw, self._n, n_resamples, random_state, n_jobs)

    def leaving_out(self) -> np.ndarray:
        """Metrics of the samples that each lack one unit, in all folds of a group [shape=(n_units, n_judged, 8)]."""
        whole = {id(fold): fold.as_they_are() for group in self._groups for fold in group}
        rows = []
        for group in self._groups:
            others = [scores for key, scores in whole.items() if key not in {id(fold) for fold in group}]
            lacking_one = zip(*(fold.leaving_out() for fold in group), strict=False)  # folds differ in size
            rows += [mean_of_defined([*others, *lacking]) for lacking in lacking_one]
        return np.stack(rows) if rows else np.empty((0, *self._shape))

    def _draw(self, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
        scores = []
        for group in self._groups:
            drawn = group[0].draw_systems(n_resamples, rng)
            scores += [fold.score(drawn, rng) for fold in group]
        return mean_of_defined(scores)


class _Fold:
    """Metrics of one fold's clips, for systems drawn among those of its group."""

    def __init__(
        self,
        judged: Sequence[Judged],
        systems: np.ndarray,
        level: str,
        metrics: Collection[str],
        names: np.ndarray,
    ):
        self._resampling = Resampling(systems, len(systems), level, names)
        self._metrics = ResampledMetrics(judged, self._resampling, metrics)
        self._ranks = len(np.unique(systems)) >= LEAST_SYSTEMS_TO_RANK
        self.draw_systems = self._resampling.draw_systems

    def as_they_are(self) -> np.ndarray:
        return self._told(self._metrics.as_they_are())

    def leaving_out(self) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):  # a fold whose only system is left out
            return self._told(self._metrics.leaving_out())

    def score(self, drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may hold no system of this fold
            return self._told(self._metrics.score(self._resampling.draw_clips(drawn, rng)))

    def _told(self, scores: np.ndarray) -> np.ndarray:
        if not self._ranks:
            scores[..., _RANKED] = np.nan
        return scores


def folds_by_shared_systems(systems: np.ndarray, folds: np.ndarray) -> list[np.ndarray]:
    """Group folds, so that folds of different groups share no system.

    Parameters
    ----------
    systems, folds : np.ndarray [shape=(n,)]
        The system and the fold of each clip.

    Returns
    -------
    list of np.ndarray
        Names of the folds of each group.
    """
    tested = pd.crosstab(folds, systems).to_numpy() > 0
    count, group = connected_components(tested.astype(int) @ tested.T.astype(int), directed=False)
    names = np.unique(folds)
    return [names[group == number] for number in range(count)]


def mean_of_defined(scores: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Average over the first axis what is defined; nan where nothing is.

    Parameters
    ----------
    scores : sequence of np.ndarray
        Those of each fold or repeat, all of one shape.

    Returns
    -------
    np.ndarray
        Of the same shape.
    """
    stacked = np.asarray(scores)
    defined = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(defined, stacked, 0).sum(axis=0) / defined.sum(axis=0)
