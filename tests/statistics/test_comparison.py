import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from musiceval_sk import METRICS, FewSystemsWarning, bootstrap_metrics, compare_predictors, evaluate
from musiceval_sk.statistics import resampling
from musiceval_sk.statistics.comparison import holm, swap_test

FUNCTIONS = {
    "MSE": lambda x, y: np.mean((x - y) ** 2),
    "LCC": lambda x, y: stats.pearsonr(x, y).statistic,
    "SRCC": lambda x, y: stats.spearmanr(x, y).statistic,
    "KTAU": lambda x, y: stats.kendalltau(x, y).statistic,
}
SCALES = {"MSE": np.asarray, "LCC": stats.zscore, "SRCC": stats.rankdata, "KTAU": stats.rankdata}


@pytest.fixture
def data(rng):
    systems = np.repeat([f"S{i:02d}" for i in range(12)], 8)
    index = [f"clip{i}" for i in range(96)]
    truth = pd.Series(
        np.repeat(rng.normal(3, 0.7, 12), 8) + rng.normal(0, 0.5, 96), index=index, name="impression"
    )
    predictions = {
        "good": truth + rng.normal(0, 0.3, 96),
        "fair": truth + rng.normal(0, 0.8, 96),
        "poor": pd.Series(rng.normal(3, 0.8, 96), index=index),
    }
    return truth, predictions, pd.Series(systems, index=index)


def all_swaps(kind, truth, a, b, units):
    """The share of all swaps, one by one, whose difference is at least the observed one."""
    a, b = SCALES[kind](a), SCALES[kind](b)
    n_units = len(set(units))
    differences = []
    for state in product([False, True], repeat=n_units):
        swap = np.array(state)[units]
        sides = np.where(swap, b, a), np.where(swap, a, b)
        differences.append(abs(FUNCTIONS[kind](truth, sides[0]) - FUNCTIONS[kind](truth, sides[1])))
    return np.mean(np.array(differences) >= differences[0] - 1e-12)


@pytest.mark.parametrize("kind", list(FUNCTIONS))
def test_swaps_of_systems_against_all_one_by_one(rng, kind):
    truth, noise = rng.normal(size=7), rng.normal(size=(2, 7))
    a, b = truth + 0.5 * noise[0], truth + noise[1]
    found = swap_test(kind, [pd.DataFrame({"truth": truth, "a": a, "b": b})], 1000, rng)
    assert found.statistic == pytest.approx(FUNCTIONS[kind](truth, a) - FUNCTIONS[kind](truth, b), abs=1e-12)
    assert found.p_value == pytest.approx(all_swaps(kind, truth, a, b, np.arange(7)), abs=1e-12)


@pytest.mark.parametrize("kind", list(FUNCTIONS))
def test_swaps_of_clips_by_system_against_all_one_by_one(rng, kind):
    units = np.repeat(np.arange(6), 4)
    truth, noise = np.round(rng.normal(size=24), 1), rng.normal(size=(2, 24))
    a, b = truth + 0.5 * noise[0], np.round(truth + noise[1])
    found = swap_test(kind, [pd.DataFrame({"truth": truth, "a": a, "b": b}, index=units)], 1000, rng)
    assert found.p_value == pytest.approx(all_swaps(kind, truth, a, b, units), abs=1e-12)


def test_swaps_are_the_same_block_by_block(rng, monkeypatch):
    truth, noise = rng.normal(size=6), rng.normal(size=(2, 6))
    parts = [pd.DataFrame({"truth": truth, "a": truth + 0.5 * noise[0], "b": truth + noise[1]})]
    whole = swap_test("LCC", parts, 32, rng)
    monkeypatch.setattr(resampling, "BLOCK", 120)  # ten swaps of twice six clips
    assert swap_test("LCC", parts, 32, rng) == pytest.approx(whole, abs=1e-12)


def test_random_swaps_come_near_all_of_them(rng):
    truth, noise = rng.normal(size=9), rng.normal(size=(2, 9))
    a, b = truth + 0.6 * noise[0], truth + noise[1]
    parts = [pd.DataFrame({"truth": truth, "a": a, "b": b})]
    exact, random = (swap_test("SRCC", parts, n, rng).p_value for n in (256, 255))
    assert exact == pytest.approx(all_swaps("SRCC", truth, a, b, np.arange(9)), abs=1e-12)
    assert random != exact
    assert random * 256 == pytest.approx(round(random * 256))  # of the swaps and what is observed
    assert random == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 255))


def test_the_table(data):
    truth, predictions, systems = data
    table = compare_predictors(
        truth, predictions, systems=systems, metrics=list(METRICS), n_resamples=300, random_state=0
    )
    assert len(table) == 8 * 3
    assert table["metric"].unique().tolist() == list(METRICS)
    assert table[["a", "b"]].drop_duplicates().values.tolist() == [
        ["good", "fair"],
        ["good", "poor"],
        ["fair", "poor"],
    ]
    expected = {name: evaluate(truth, values, systems=systems) for name, values in predictions.items()}
    for _, row in table.iterrows():
        assert row["value_a"] == pytest.approx(expected[row["a"]][row["metric"]], abs=1e-12)
        assert row["value_b"] == pytest.approx(expected[row["b"]][row["metric"]], abs=1e-12)
        assert row["difference"] == pytest.approx(row["value_a"] - row["value_b"])
        assert row["low"] < row["difference"] < row["high"]
        assert row["n"] == (12 if row["metric"][0] == "S" else 96)
    for _, rows in table.groupby("metric"):
        np.testing.assert_allclose(rows["p_holm"], holm(rows["p_value"]))
    worse = table[(table["metric"] == "U_SRCC") & (table["b"] == "poor")]
    assert (worse["p_value"] < 0.01).all()
    assert (worse["low"] > 0).all()


def test_the_interval_is_that_of_paired_differences(data):
    truth, predictions, systems = data
    table = compare_predictors(
        truth,
        {"good": predictions["good"], "poor": predictions["poor"]},
        systems=systems,
        metrics=["S_LCC"],
        method="percentile",
        n_resamples=300,
        random_state=np.random.default_rng(3),
    )
    samples = compare_samples(truth, predictions, systems)
    assert (table["low"][0], table["high"][0]) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])))


def compare_samples(truth, predictions, systems):
    """Both predictors as two targets of one bootstrap, which draws for both alike."""
    from musiceval_sk.statistics.resampling import generators

    y = pd.DataFrame({"good": truth, "poor": truth})
    both = pd.DataFrame({name: predictions[name] for name in y})
    rng = generators(np.random.default_rng(3), 1)[0]
    found = bootstrap_metrics(y, both, systems=systems, n_resamples=300, random_state=rng)
    return found.samples("S_LCC", "good") - found.samples("S_LCC", "poor")


def test_each_metric_has_the_interval_that_holds_it(data):
    truth, predictions, systems = data
    models = {"good": predictions["good"], "poor": predictions["poor"]}
    options = {"systems": systems, "metrics": list(METRICS), "n_resamples": 300}
    table = compare_predictors(truth, models, random_state=0, **options).set_index("metric")
    assert table["method"].to_dict() == {
        name: "percentile" if name in ("S_SRCC", "S_KTAU") else "jackknife" for name in METRICS
    }
    whole = {name: evaluate(truth, values, systems=systems)["U_LCC"] for name, values in models.items()}
    difference = whole["good"] - whole["poor"]
    without = []
    for system in systems.unique():
        rest = systems != system
        scores = [stats.pearsonr(truth[rest], values[rest]).statistic for values in models.values()]
        without.append(scores[0] - scores[1])
    half = stats.t.ppf(0.975, 11) * np.sqrt(11 / 12 * np.sum((without - np.mean(without)) ** 2))
    bounds = table.loc["U_LCC", ["low", "high"]].tolist()
    assert bounds == pytest.approx([difference - half, difference + half])
    percentiles = compare_predictors(truth, models, random_state=0, method="percentile", **options)
    assert (percentiles["method"] == "percentile").all()
    assert percentiles.set_index("metric").loc["S_SRCC", "low"] == table.loc["S_SRCC", "low"]


def test_several_targets_and_no_systems(data):
    truth, predictions, _ = data
    y = pd.DataFrame({"impression": truth, "alignment": 6 - truth})
    models = {
        "a": pd.DataFrame({"impression": predictions["good"], "alignment": predictions["poor"]}),
        "b": pd.DataFrame({"impression": predictions["poor"], "alignment": 6 - predictions["good"]}),
    }
    table = compare_predictors(y, models, n_resamples=100, random_state=0)
    assert table[["target", "metric"]].values.tolist() == [
        [target, metric] for target in y for metric in ("U_SRCC", "U_LCC")
    ]
    assert (np.sign(table["difference"]) == [1, 1, -1, -1]).all()


def test_a_constant_predictor_says_why(data):
    truth, predictions, systems = data
    models = {"good": predictions["good"], "flat": pd.Series(3.0, index=truth.index)}
    table = compare_predictors(
        truth, models, systems=systems, metrics=["S_SRCC", "S_MSE"], n_resamples=50, random_state=0
    )
    assert table.loc[0, ["value_b", "difference", "low", "p_value", "p_holm"]].isna().all()
    assert table["note"].tolist() == ["constant: flat", ""]
    assert np.isfinite(table.loc[1, "p_value"])


def test_equal_predictors_do_not_differ(data):
    truth, predictions, systems = data
    models = {"one": predictions["fair"], "two": predictions["fair"]}
    table = compare_predictors(truth, models, systems=systems, n_resamples=50, random_state=0)
    assert (table["difference"] == 0).all()
    assert (table["p_value"] == 1).all()


def test_a_constant_truth_tells_nothing():
    found = swap_test(
        "LCC", [pd.DataFrame({"truth": np.ones(3), "a": [1.0, 2, 3], "b": [2.0, 1, 3]})], 9, None
    )
    assert np.isnan(found).all()


def test_two_systems_without_folds_are_ranked():
    truth = np.array([1.0, 2.0])
    with pytest.warns(FewSystemsWarning):
        found = compare_predictors(
            truth, {"a": truth, "b": -truth}, systems=["x", "y"], metrics="S_LCC", n_resamples=2
        )
    # 1 and -1. To swap one of two leaves each side the same twice, which tells nothing against the predictors being equal.
    assert found["difference"].item() == pytest.approx(2)
    assert found["p_value"].item() == 1


@pytest.mark.parametrize("metric", ["S_SRCC", "S_KTAU"])
def test_means_that_differ_by_rounding_are_tied_in_swaps_too(metric):
    truth, ties = np.array([1.0, 3, 2, 5, 4, 6]), np.array([0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    near = ties + np.array([1, -1, -1, 1, 1, -1]) * 2e-17
    assert len(set(near)) > 3
    options = {"systems": list("abcdef"), "metrics": metric, "n_resamples": 32, "random_state": 0}
    found, expected = (
        compare_predictors(truth, {"a": values, "b": [2.0, 1, 5, 4, 3, 6]}, **options)
        for values in (near, ties)
    )
    assert found["p_value"].item() == expected["p_value"].item() > 1 / 32


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, and never less than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, np.nan, 0.8]) == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)
    # Of two that are known, not of three: .01 times 2 and .04.
    assert holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert holm([np.nan]) == pytest.approx([np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"predictions": {"one": [1.0]}}, "two predictors at least are needed to compare; got one"),
        ({"baseline": "none"}, "unknown baseline 'none'; choose from good, fair, poor"),
        ({"method": "normal"}, "unknown method 'normal'; choose from auto, jackknife, percentile"),
        ({"metrics": ["S_ROC"]}, "unknown metrics: S_ROC; choose from U_MSE"),
        ({"metrics": "S_ROC"}, "unknown metrics: S_ROC; choose from U_MSE"),
        ({"predictions": pd.DataFrame({"one": [1.0, 2.0]})}, "two predictors at least .* got one"),
        ({"n_resamples": 0}, "n_resamples=0 must be a whole number and at least 1"),
        ({"n_resamples": "5"}, "n_resamples='5' must be a whole number and at least 1"),
        ({"confidence": "0.9"}, "confidence must lie between 0 and 1, such as 0.95; got '0.9'"),
        ({"systems": None, "metrics": ["S_LCC"]}, "S_LCC compare systems: give the system of every clip"),
    ],
)
def test_bad_input(data, change, words):
    truth, predictions, systems = data
    with pytest.raises(ValueError, match=words):
        compare_predictors(truth, **{"predictions": predictions, "systems": systems} | change)


def test_few_systems_warn(data):
    truth, predictions, systems = data
    with pytest.warns(FewSystemsWarning, match="S metrics over 2 systems") as warned:
        compare_predictors(truth, predictions, systems=systems, only=["S00", "S01"], n_resamples=10)
    assert [one.filename for one in warned] == [__file__]  # the line that asked for it


@pytest.mark.slow
def test_type_one_error_is_near_nominal():
    """Two predictors of equal merit: 5 % of tests say that they differ.

    Of 400 tests 20 are expected to, with a standard deviation of 4.4; three of these either way are let pass. The bootstrap's
    interval, an approximation, may also be more cautious.
    """
    n_systems, n_clips, n_tests = 16, 6, 400
    systems = np.repeat(np.arange(n_systems), n_clips)
    rejected = {
        "swaps of systems": 0,
        "swaps of clips, by system": 0,
        "bootstrap": 0,
    }
    for seed in range(n_tests):
        rng = np.random.default_rng(seed)
        truth = rng.normal(0, 0.7, n_systems)[systems] + rng.normal(0, 0.5, len(systems))
        errors = rng.normal(0, 0.5, (2, n_systems))[:, systems] + rng.normal(0, 0.5, (2, len(systems)))
        models = {"a": truth + errors[0], "b": truth + errors[1]}
        table = compare_predictors(
            truth,
            models,
            systems=systems,
            metrics=["S_SRCC", "U_LCC"],
            n_resamples=99,
            random_state=seed,
        ).set_index("metric")
        rejected["swaps of systems"] += table.loc["S_SRCC", "p_value"] <= 0.05
        rejected["swaps of clips, by system"] += table.loc["U_LCC", "p_value"] <= 0.05
        rejected["bootstrap"] += not table.loc["S_SRCC", "low"] <= 0 <= table.loc["S_SRCC", "high"]
    for name in ("swaps of systems", "swaps of clips, by system"):
        assert 7 <= rejected[name] <= 33, rejected
    assert rejected["bootstrap"] <= 33, rejected


def test_predictors_as_a_table_and_one_metric_by_name(data):
    truth, predictions, systems = data
    options = {"systems": systems, "n_resamples": 50, "random_state": 0}
    expected = compare_predictors(truth, predictions, metrics=["S_LCC"], **options)
    found = compare_predictors(truth, pd.DataFrame(predictions), metrics="S_LCC", **options)
    pd.testing.assert_frame_equal(found, expected)


def test_folds_that_rank_nothing_are_the_reason(data):
    truth, predictions, systems = data
    pairs = pd.factorize(np.asarray(systems))[0] // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = compare_predictors(truth, predictions, systems=systems, folds=pairs, n_resamples=10)
    assert set(table["note"]) == {"no fold holds 3 systems"}
    assert table["p_value"].isna().all() and table["p_value"].dtype == float


def test_a_fold_that_ranks_nothing_is_left_out_of_the_test(data):
    """Two systems in a fold of their own, or three that one predictor takes for one: only the other ten or nine count."""
    truth, predictions, systems = data
    options = {"metrics": ["S_LCC"], "n_resamples": 99}
    number = pd.factorize(systems)[0]
    flat = {name: values.mask(number < 3, 3.0) for name, values in predictions.items()}
    for n_apart, given in ((2, predictions), (3, flat)):
        rest = number >= n_apart
        found = compare_predictors(truth, given, systems=systems, folds=rest, random_state=0, **options)
        means = pd.DataFrame({"truth": truth, **given})[rest].groupby(systems[rest]).mean()
        expected = [
            all_swaps("LCC", means["truth"], means["good"], means[name], np.arange(len(means)))
            for name in ("fair",)
        ]
        margin = 5 * np.sqrt(np.array(expected) * (1 - np.array(expected)) / 99)
        assert (np.abs(found["p_value"][:1] - expected) <= margin + 0.01).all()


def test_all_may_be_compared_with_one(data):
    truth, predictions, systems = data
    table = compare_predictors(
        truth, predictions, systems=systems, baseline="fair", metrics="S_LCC", n_resamples=9
    )
    assert table[["a", "b"]].values.tolist() == [["good", "fair"], ["poor", "fair"]]


def test_predictors_and_systems_are_matched_by_clip(data):
    truth, predictions, systems = data
    options = {"n_resamples": 20, "random_state": 0}
    expected = compare_predictors(truth, predictions, systems=systems, **options)
    folds = pd.Series(np.arange(96) % 2, index=truth.index)
    in_folds = compare_predictors(truth, predictions, systems=systems, folds=folds, **options)
    mixed = {name: values.sample(frac=1, random_state=1) for name, values in predictions.items()}
    suffixed = {name: values.rename(lambda clip: f"{clip}.wav") for name, values in mixed.items()}
    for given in (mixed, suffixed):
        found = compare_predictors(truth, given, systems=systems.iloc[::-1], **options)
        pd.testing.assert_frame_equal(found, expected)
    found = compare_predictors(truth, mixed, systems=systems[::-1], folds=folds[::-1], **options)
    pd.testing.assert_frame_equal(found, in_folds)
    # Without an index of the truth, the first predictor's tells which clips these are.
    found = compare_predictors(
        truth.to_numpy(), {**predictions, "poor": mixed["poor"]}, systems=systems, **options
    )
    assert found["difference"].tolist() == expected["difference"].tolist()


def test_a_predictor_of_other_clips_is_named(data):
    truth, predictions, systems = data
    numbered = predictions | {"fair": predictions["fair"].reset_index(drop=True)}
    words = r"y_true and predictions\['fair'\] are about different clips .* give predictions\['fair'\]\.to_numpy\(\)"
    with pytest.raises(ValueError, match=words):
        compare_predictors(truth, numbered, systems=systems)
    doubled = predictions | {"poor": predictions["poor"].rename({"clip1": "clip0"})}
    with pytest.raises(ValueError, match=r"^predictions\['poor'\] repeats clip ids: clip0$"):
        compare_predictors(truth, doubled, systems=systems)
    named = {
        "systems": predictions["good"],
        "y_true": predictions["fair"],
    }  # names of arguments are names as good as any
    assert len(compare_predictors(truth, named, systems=systems, n_resamples=2)) == 2


def test_a_missing_interval_says_why(data):
    truth, predictions, systems = data
    with pytest.warns(FewSystemsWarning):
        table = compare_predictors(
            truth, predictions, systems=systems, only=["S00", "S01"], metrics=["S_MSE"], method="jackknife",
            n_resamples=10,
        )  # fmt: skip
    assert table["difference"].notna().all() and table["low"].isna().all()
    assert set(table["note"]) == {
        "no interval: a perfect figure, one that nothing drawn changes, or too few systems"
    }
