"""Resampled means of folds against a loop over `evaluate`."""

import warnings

import numpy as np
import pytest

from musiceval_sk import METRICS, evaluate
from musiceval_sk.evaluation._curve_folds import mean_over_folds
from musiceval_sk.evaluation._resampled_metrics import Judged
from musiceval_sk.evaluation._resampling import Resampling

SYSTEMS = np.repeat(list("abcdefg"), 5)
SHARED = np.tile(np.arange(3), 12)[:35]
APART = np.isin(SYSTEMS, ["a", "b", "c"]).astype(int)


def one_by_one(judged, draws, folds, fold):
    """All metrics of one fold in each resample; a system drawn twice is two systems."""
    starts = np.cumsum([0, *draws.sizes.sum(axis=1)])
    rows = []
    for place, sizes in enumerate(draws.sizes):
        clips = draws.clips[starts[place] : starts[place + 1]]
        names, kept = np.repeat(np.arange(len(sizes)), sizes), folds[clips] == fold
        scores = evaluate(judged.truth[clips[kept]], judged.prediction[clips[kept]], systems=names[kept])
        if len(set(names[kept])) < 3:
            scores[["S_LCC", "S_SRCC", "S_KTAU"]] = np.nan
        rows.append(scores.to_numpy())
    return np.stack(rows)


@pytest.mark.parametrize("folds", [SHARED, APART], ids=["shared systems", "systems apart"])
def test_means_of_folds_one_by_one(rng, folds):
    truth = rng.normal(size=35)
    judged = Judged(truth, truth + rng.normal(size=35))
    found = mean_over_folds([judged], SYSTEMS, folds, list(METRICS), 20, np.random.default_rng(7))[:, 0]
    again, parts = np.random.default_rng(7), []
    groups = [np.arange(35)] if folds is SHARED else [np.flatnonzero(folds == fold) for fold in (0, 1)]
    for rows in groups:
        draws = Resampling(SYSTEMS[rows], len(rows), "both").draw(20, again)
        part = Judged(judged.truth[rows], judged.prediction[rows])
        parts += [one_by_one(part, draws, folds[rows], fold) for fold in np.unique(folds[rows])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        np.testing.assert_allclose(found, np.nanmean(parts, axis=0), atol=1e-9)


def test_without_systems_clips_are_drawn_within_folds(rng):
    truth = rng.normal(size=35)
    judged = Judged(truth, truth + SHARED)  # wrong by the number of the fold
    found = mean_over_folds([judged], None, SHARED, ["U_MSE"], 10, rng)
    np.testing.assert_allclose(found[:, 0, 0], (0 + 1 + 4) / 3)
    assert np.isnan(found[..., 1:]).all()
