"""Means over folds against the obvious loop, and folds that share systems against those that do not."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from musiceval_sk import METRICS, bootstrap_metrics, compare_predictors, evaluate
from musiceval_sk.statistics.agreement import system_agreement
from musiceval_sk.statistics.resampling import (
    ResampledMetrics,
    folds_by_shared_systems,
    mean_of_defined,
)

N = 240
CORRELATIONS_OF_SYSTEMS = ["S_LCC", "S_SRCC", "S_KTAU"]


@pytest.fixture
def data(rng):
    systems = rng.permutation(np.repeat(np.arange(12), 20))
    truth = rng.normal(3, 0.7, 12)[systems] + rng.normal(0, 0.5, N)
    return systems, truth, truth + rng.normal(0, 0.6, N)


FOLDS = {
    "by system": lambda systems: systems % 3,
    "at random": lambda systems: np.arange(N) % 4,
    "three systems each": lambda systems: systems % 4,
    "one of two systems": lambda systems: np.where(systems < 2, 0, 1 + systems % 2),
    "four systems in both": lambda systems: np.where(systems // 4 == 1, np.arange(N) % 2, systems // 8),
}


def by_hand(systems, truth, prediction, folds):
    rows = []
    for fold in np.unique(folds):
        some = folds == fold
        row = evaluate(truth[some], prediction[some], systems=systems[some])
        if len(set(systems[some])) < 3:
            row[CORRELATIONS_OF_SYSTEMS] = np.nan
        rows.append(row)
    return pd.DataFrame(rows).mean()


@pytest.mark.filterwarnings("ignore::musiceval_sk.FewSystemsWarning")
@pytest.mark.parametrize("name", FOLDS)
def test_estimates_are_means_of_folds(data, name):
    systems, truth, prediction = data
    folds = FOLDS[name](systems)
    found = bootstrap_metrics(truth, prediction, systems=systems, folds=folds, n_resamples=5, random_state=0)
    np.testing.assert_allclose(found.estimates[0], by_hand(*data, folds), rtol=1e-12)


@pytest.mark.filterwarnings(
    "ignore::musiceval_sk.FewSystemsWarning", "ignore::scipy.stats.ConstantInputWarning"
)
@pytest.mark.parametrize("name", FOLDS)
def test_resamples_against_a_loop(data, name):
    """Every resample is laid out clip by clip, scored fold by fold with `evaluate`, and averaged."""
    systems, truth, prediction = data
    folds = FOLDS[name](systems)
    folded = ResampledMetrics([(truth, prediction)], systems, "systems", list(METRICS), folds)
    found = folded.draw_block(6, np.random.default_rng(1))[:, 0]
    rng = np.random.default_rng(1)
    rows = []
    for group, fold_names in zip(folded._groups, folds_by_shared_systems(systems, folds), strict=True):
        drawn = group[0].resampling.draw_systems(6, rng)
        for fold, fold_name in zip(group, fold_names, strict=True):
            draws = fold.resampling.draw_clips(drawn, rng)
            rows.append(loop(draws, *(values[folds == fold_name] for values in data)))
    np.testing.assert_allclose(found, mean_of_defined(rows), rtol=1e-9)


def loop(draws, systems, truth, prediction):
    rows = []
    ends = np.cumsum(draws.sizes.sum(axis=1))
    for clips, sizes in zip(np.split(draws.clips, ends[:-1]), draws.sizes, strict=True):
        drawn_as = np.repeat(np.arange(len(sizes)), sizes)
        row = evaluate(truth[clips], prediction[clips], systems=drawn_as)
        if len(set(systems)) < 3:
            row[CORRELATIONS_OF_SYSTEMS] = np.nan
        rows.append(row)
    return np.array(rows)


def test_folds_that_share_systems_draw_them_once(rng):
    # Two folds say the same of the same systems, one clip each: together they know no more than one of them.
    truth, prediction, systems = rng.normal(size=9), rng.normal(size=9), np.arange(9)
    twice = [np.tile(values, 2) for values in (truth, prediction, systems)]
    both = ResampledMetrics(
        [tuple(twice[:2])], twice[2], "systems", ["S_SRCC", "U_MSE"], np.repeat([0, 1], 9)
    ).draw(200, 0, None)
    one = ResampledMetrics([(truth, prediction)], systems, "systems", ["S_SRCC", "U_MSE"]).draw(200, 0, None)
    np.testing.assert_allclose(both, one, rtol=1e-12)


def test_groups_of_folds():
    systems, folds = np.array([0, 0, 1, 2, 3, 3]), np.array([0, 1, 1, 2, 3, 3])
    assert [group.tolist() for group in folds_by_shared_systems(systems, folds)] == [[0, 1], [2], [3]]


@pytest.mark.parametrize("name", ["at random", "four systems in both"])
def test_leaving_out_one_system_in_all_folds(data, name):
    systems, truth, prediction = data
    folds = FOLDS[name](systems)
    folded = ResampledMetrics([(truth, prediction)], systems, "systems", list(METRICS), folds)
    found = folded.leaving_out()[:, 0]
    assert len(found) == 12
    kept = systems != 4
    expected = by_hand(systems[kept], truth[kept], prediction[kept], folds[kept])
    np.testing.assert_allclose(found[4], expected, rtol=1e-9)


def test_leaving_out_clips_of_folds_of_different_size():
    # Errors 0, 1, 2, 3 and 0, 2, 4: one clip of each fold goes out at a time, as often as the smaller fold allows.
    prediction, folds = np.array([0.0, 1, 2, 3, 0, 2, 4]), np.repeat([0, 1], [4, 3])
    found = ResampledMetrics([(np.zeros(7), prediction)], None, "clips", ["U_MSE"], folds).leaving_out()
    assert found[:, 0, 0] == pytest.approx([(14 / 3 + 10) / 2, (13 / 3 + 8) / 2, (10 / 3 + 2) / 2])


def test_nothing_is_left_of_one_system_without_it():
    resampled = ResampledMetrics([(np.arange(3.0), np.ones(3))], np.zeros(3), "systems", list(METRICS))
    assert resampled.leaving_out().shape == (0, 1, 8)


def test_absent_systems_do_not_count(rng):
    truth, prediction = rng.normal(size=(8, 3)), np.round(rng.normal(size=(8, 3)), 1)
    truth[[0, 5], 0] = prediction[[0, 5], 0] = np.nan
    truth[:, 2] = prediction[:, 2] = np.nan
    found = system_agreement(truth, prediction)
    for column in (0, 1):
        there = np.isfinite(truth[:, column])
        expected = system_agreement(truth[there, column, None], prediction[there, column, None])[:, 0]
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-12)
    assert np.isnan(found[:, 2]).all()


@pytest.mark.filterwarnings("ignore::musiceval_sk.FewSystemsWarning")
@pytest.mark.parametrize("metric", ["S_SRCC", "S_LCC", "U_KTAU", "U_MSE"])
@pytest.mark.parametrize(
    "systems",
    [np.tile(np.repeat(np.arange(6), 2), 2), np.repeat(np.arange(6), 4)],
    ids=["all", "three of six"],
)
def test_swaps_in_all_folds_against_all_one_by_one(rng, metric, systems):
    folds = np.repeat([0, 1], 12)
    truth, noise = rng.normal(size=24), rng.normal(size=(2, 24))
    a, b = truth + 0.4 * noise[0], truth + noise[1]
    table = compare_predictors(
        truth,
        {"a": a, "b": b},
        systems=systems,
        folds=folds,
        metrics=[metric],
        n_resamples=100,
        random_state=0,
    )
    assert table["p_value"].item() == pytest.approx(all_swaps(metric, truth, a, b, systems, folds), abs=1e-12)
    assert table["value_a"].item() == pytest.approx(by_hand(systems, truth, a, folds)[metric], abs=1e-12)
    assert table["n"].item() == (6 if metric[0] == "S" else 24)


def all_swaps(metric, truth, a, b, systems, folds):
    """The share of all swaps of systems, in both folds at once, with at least the observed difference."""
    scale = {"MSE": np.asarray, "LCC": stats.zscore}.get(metric[2:], stats.rankdata)
    score = {
        "MSE": lambda x, y: np.mean((x - y) ** 2),
        "LCC": lambda x, y: stats.pearsonr(x, y).statistic,
        "SRCC": lambda x, y: stats.spearmanr(x, y).statistic,
        "KTAU": lambda x, y: stats.kendalltau(x, y).statistic,
    }[metric[2:]]
    parts = []
    for fold in np.unique(folds):
        values = pd.DataFrame({"truth": truth, "a": a, "b": b, "system": systems})[folds == fold]
        if metric[0] == "S":
            values = values.groupby("system").mean().reset_index()
        parts.append((values["system"], values["truth"], scale(values["a"]), scale(values["b"])))
    differences = []
    for state in product([False, True], repeat=6):
        of_folds = []
        for system, true, first, second in parts:
            swap = np.array(state)[system]
            of_folds.append(
                score(true, np.where(swap, second, first)) - score(true, np.where(swap, first, second))
            )
        differences.append(abs(np.mean(of_folds)))
    return np.mean(np.array(differences) >= differences[0] - 1e-12)


def test_means_of_folds_say_what_they_are(data):
    systems, truth, prediction = data
    found = bootstrap_metrics(
        truth, prediction, systems=systems, folds=systems % 2, n_resamples=20, random_state=0
    )
    assert found.n_folds == 2
    assert str(found).startswith("240 clips of 12 systems, mean of 2 folds; 95 % intervals")


def test_wrong_folds_are_refused(data):
    systems, truth, prediction = data
    with pytest.raises(ValueError, match=r"folds has shape \(3,\) for 240 clips"):
        bootstrap_metrics(truth, prediction, systems=systems, folds=[0, 1, 2])
    with pytest.raises(ValueError, match="^2 clips have no fold"):
        bootstrap_metrics(truth, prediction, systems=systems, folds=[None, None, *range(238)])
    with pytest.raises(ValueError, match="^1 clip has no fold"):
        bootstrap_metrics(truth, prediction, systems=systems, folds=[*range(239), None])


def test_without_systems_clips_are_drawn_fold_by_fold(data):
    _, truth, prediction = data
    folds = np.arange(N) % 3
    found = bootstrap_metrics(truth, prediction, folds=folds, n_resamples=50, random_state=0)
    assert found.level == "clips"
    expected = np.mean([stats.spearmanr(truth[folds == k], prediction[folds == k])[0] for k in range(3)])
    assert found.estimates[0][list(METRICS).index("U_SRCC")] == pytest.approx(expected, abs=1e-12)
    assert np.isfinite(found.samples("U_SRCC")).all()
