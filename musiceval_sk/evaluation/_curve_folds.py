"""Resampled metrics of each fold, averaged over folds."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pandas as pd

from musiceval_sk.evaluation._resampled_metrics import Judged, ResampledMetrics
from musiceval_sk.evaluation._resampling import Draws, Resampling
from musiceval_sk.evaluation._system_agreement import system_agreement
from musiceval_sk.evaluation.metrics import METRICS
from musiceval_sk.evaluation.study_result import LEAST_SYSTEMS_TO_RANK

_OF_CLIPS = [name for name, metric in METRICS.items() if not metric.by_system]


def mean_over_folds(
    judged: Sequence[Judged],
    systems: np.ndarray | None,
    folds: np.ndarray,
    metrics: Collection[str],
    n_resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Metrics of each fold in random resamples, averaged over folds.

    Folds that share no system are resampled each by itself; where folds share systems, a system is drawn for all of them at
    once, because they err alike on it.

    Parameters
    ----------
    judged : sequence of Judged
        What is judged; all share their clips.
    systems : np.ndarray [shape=(n,)] or None
        The system of each clip; without it only clips are drawn, within folds.
    folds : np.ndarray [shape=(n,)]
        The fold of each clip.
    metrics : collection of str
        Names of `METRICS`; all others are left nan.
    n_resamples : int
        Number of resamples.
    rng : np.random.Generator
        Source of the draws.

    Returns
    -------
    np.ndarray [shape=(n_resamples, n_judged, 8)]
        A fold is left out of a mean where its metric is undefined, or it ranks fewer than three systems.
    """
    scores = []
    for rows in _apart(systems, folds):
        labels = None if systems is None else systems[rows]
        resampling = Resampling(labels, len(rows), "clips" if systems is None else "both")
        parts = [Judged(one.truth[rows], one.prediction[rows]) for one in judged]
        by_clip = ResampledMetrics(parts, resampling, [name for name in metrics if name in _OF_CLIPS])
        draws = resampling.draw(n_resamples, rng)
        for fold in np.unique(folds[rows]):
            held = _within(draws, folds[rows] == fold)
            with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold no clip of this fold
                found = by_clip.score(held)
            if any(METRICS[name].by_system for name in metrics):
                for number, part in enumerate(parts):
                    found[:, number, 4:] = _of_systems(held.means(part.truth), held.means(part.prediction))
            scores.append(found)
    return mean_of_defined(np.stack(scores), axis=0)


def mean_of_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Average what is not nan; nan where nothing is."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(axis=axis) / defined.sum(axis=axis)


def _apart(systems: np.ndarray | None, folds: np.ndarray) -> Iterator[np.ndarray]:
    """Rows that are drawn together: of one fold where no system is in two, else all."""
    shared = systems is not None and (pd.Series(folds).groupby(systems).nunique() > 1).any()
    if shared:
        yield np.arange(len(folds))
        return
    for fold in np.unique(folds):
        yield np.flatnonzero(folds == fold)


def _within(draws: Draws, chosen: np.ndarray) -> Draws:
    """Keep the drawn clips of one fold; a drawn system may then have none."""
    kept = chosen[draws.clips]
    before = np.concatenate([[0], np.cumsum(kept)])
    ends = np.cumsum(draws.sizes.ravel())
    sizes = before[ends] - before[ends - draws.sizes.ravel()]
    return Draws(draws.clips[kept], sizes.reshape(draws.sizes.shape))


def _of_systems(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """S metrics [shape=(n_resamples, 4)] of means with nan for a system that is absent."""
    absent = ~np.isfinite(truth)
    order = np.argsort(absent, axis=0, kind="stable")
    truth, prediction = (np.take_along_axis(means, order, axis=0) for means in (truth, prediction))
    present = (~absent).sum(axis=0)
    scores = np.full((truth.shape[1], 4), np.nan)
    for count in np.unique(present[present > 0]):
        some = present == count
        scores[some] = system_agreement(truth[:count, some], prediction[:count, some]).T
        if count < LEAST_SYSTEMS_TO_RANK:
            scores[some, 1:] = np.nan
    return scores
