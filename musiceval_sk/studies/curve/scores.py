"""From the predictions behind a learning curve to scores, intervals, and what a step from size to size gained."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from musiceval_sk.statistics.folds import mean_of_defined, resampled_metrics
from musiceval_sk.statistics.intervals import interval
from musiceval_sk.statistics.kernels import Judged
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.statistics.resampling import generators
from musiceval_sk.studies.curve.designs import Design
from musiceval_sk.studies.curve.fits import Cell, Target
from musiceval_sk.studies.result import KINDS


class Curve(NamedTuple):
    """All designs of one target and model.

    Attributes
    ----------
    scores : np.ndarray [shape=(n_designs, 2, 8)]
        Mean over repeats, by kind and metric.
    samples : np.ndarray [shape=(n_designs, n_resamples, 2, 8)]
        The same in resamples of test systems and repeats; all designs share their resamples.
    judged : np.ndarray of int [shape=(n_designs, 2, 8)]
        Number of repeats with a score.
    notes : list of str
        What the scores of a design's first repeat cannot say.
    """

    scores: np.ndarray
    samples: np.ndarray
    judged: np.ndarray
    notes: list[str]


def score_designs(
    target: Target,
    cells: Sequence[Sequence[Cell]],
    metrics: Sequence[str],
    n_repeats: int,
    n_resamples: int,
    random_state: Any,
) -> Curve:
    """Judge all sizes of one model, and resample them.

    Parameters
    ----------
    target : Target
        Holds the systems.
    cells : sequence of sequence of Cell
        By design, its repeats; a single one counts for all.
    metrics : sequence of str
        Names of `METRICS`.
    n_repeats : int
        Number of repeats.
    n_resamples : int
        Number of resamples.
    random_state : int or None
        Seed.

    Returns
    -------
    Curve
        Scores and resamples.
    """
    every = [cell for design in cells for cell in design]
    scores = _points(every, metrics)
    rngs = generators(random_state, 3)
    samples = _resampled(every, target, metrics, n_resamples, rngs)
    samples[:, ~np.isfinite(scores)] = np.nan
    drawn = rngs[2].integers(n_repeats, size=(n_resamples, n_repeats))
    starts = np.cumsum([0, *map(len, cells)])
    of_designs = [slice(*ends) for ends in zip(starts[:-1], starts[1:], strict=True)]
    return Curve(
        np.stack([mean_of_defined(scores[rows]) for rows in of_designs]),
        np.stack([_over_repeats(samples[:, rows], drawn) for rows in of_designs]),
        np.stack([np.isfinite(scores[rows]).sum(axis=0) for rows in of_designs]),
        [every[start].note for start in starts[:-1]],
    )


def rows_of(
    designs: Sequence[Design],
    cells: Sequence[Sequence[Cell]],
    curve: Curve,
    metrics: Sequence[str],
    confidence: float,
) -> Iterator[dict[str, Any]]:
    """Lay out the scores of one target and model, one row a size, kind and metric."""
    for place, (design, repeats) in enumerate(zip(designs, cells, strict=True)):
        clips, systems, ratings = np.mean(
            [(cell.clips, cell.systems, cell.ratings) for cell in repeats], axis=0
        )
        size = {"clips": clips, "systems": systems}.get(design.grows, ratings)
        where = {"grows": design.grows, "budget": design.budget or np.nan, "size": size}
        for k, kind in enumerate(KINDS):
            for name in metrics:
                m = list(METRICS).index(name)
                value = curve.scores[place, k, m]
                low, high = _interval(curve.samples[place, :, k, m], value, confidence)
                row = where | {"metric": name, "kind": kind, "score": value, "low": low, "high": high}
                row |= {"n_repeats": curve.judged[place, k, m], "clips": clips, "systems": systems}
                yield row | {"ratings": ratings}


def steps_of(
    designs: Sequence[Design],
    cells: Sequence[Sequence[Cell]],
    curve: Curve,
    metrics: Sequence[str],
    confidence: float,
) -> Iterator[dict[str, Any]]:
    """Lay out what each step gained, with the interval of the difference.

    A step leads to the next size; in a budget, from most clips with fewest ratings to each of the others.
    """
    first = 0
    for place in range(1, len(designs)):
        design = designs[place]
        if (design.grows, design.budget) != (designs[first].grows, designs[first].budget):
            first = place
            continue
        before = first if design.grows == "budget" else place - 1
        where = {"grows": design.grows, "budget": design.budget or np.nan}
        where |= {f"size_{end}": _size(design, cells[i]) for end, i in (("from", before), ("to", place))}
        for k, kind in enumerate(KINDS):
            for name in metrics:
                m = list(METRICS).index(name)
                sign = 1 if METRICS[name].greater_is_better else -1
                gain = sign * (curve.scores[place, k, m] - curve.scores[before, k, m])
                samples = sign * (curve.samples[place, :, k, m] - curve.samples[before, :, k, m])
                low, high = _interval(samples, gain, confidence)
                yield where | {"metric": name, "kind": kind, "gain": gain, "low": low, "high": high}


def _interval(samples: np.ndarray, value: float, confidence: float) -> tuple[float, float]:
    return interval("percentile", samples, value, np.empty(0), "difference", confidence)


def _size(design: Design, cells: Sequence[Cell]) -> float:
    name = "ratings" if design.grows == "budget" else design.grows
    return float(np.mean([getattr(cell, name) for cell in cells]))


def _points(every: Sequence[Cell], metrics: Sequence[str]) -> np.ndarray:
    """Scores of each cell [shape=(n_cells, 2, 8)], those not asked for nan."""
    points = np.full((len(every), len(KINDS), len(METRICS)), np.nan)
    for name in metrics:
        for k, kind in enumerate(KINDS):
            points[:, k, list(METRICS).index(name)] = [cell.scores[kind][name] for cell in every]
    return points


def _resampled(
    every: Sequence[Cell],
    target: Target,
    metrics: Sequence[str],
    n_resamples: int,
    rngs: Sequence[np.random.Generator],
) -> np.ndarray:
    """Both kinds of all metrics [shape=(n_resamples, n_cells, 2, 8)]."""
    judged = [Judged(cell.found["truth"].to_numpy(), cell.found["prediction"].to_numpy()) for cell in every]
    systems = target.labels(every[0].found)
    folds = every[0].found["fold"].to_numpy()
    pooled = resampled_metrics(judged, systems, "systems", metrics).draw(n_resamples, rngs[0], None)
    folded = pooled
    if len(np.unique(folds)) > 1:
        folded = resampled_metrics(judged, systems, "systems", metrics, folds).draw(
            n_resamples, rngs[1], None
        )
    return np.stack([pooled, folded], axis=2)


def _over_repeats(samples: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Mean over the repeats that each resample draws [shape=(n_resamples, 2, 8)]."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    chosen = np.take_along_axis(samples, drawn[:, :, np.newaxis, np.newaxis], axis=1)
    return mean_of_defined(chosen.swapaxes(0, 1))
