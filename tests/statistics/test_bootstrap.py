import numpy as np
import pandas as pd
import pytest
from scipy import stats

from musiceval_sk import METRICS, FewSystemsWarning, bootstrap_metrics, evaluate
from musiceval_sk.statistics.intervals import bca, draw_counts, interval, interval_of, least_variances


@pytest.fixture
def data(rng):
    systems = np.repeat([f"S{i}" for i in range(8)], 12)
    index = [f"clip{i}" for i in range(96)]
    truth = np.repeat(rng.normal(3, 0.7, 8), 12) + rng.normal(0, 0.5, 96)
    y = pd.DataFrame({"impression": truth, "alignment": rng.normal(3, 1, 96)}, index=index)
    return y, y + rng.normal(0, 0.5, (96, 2)), pd.Series(systems, index=index)


@pytest.fixture
def found(data):
    y, predictions, systems = data
    return bootstrap_metrics(y, predictions, systems=systems, n_resamples=400, random_state=0)


def test_estimates_are_those_of_evaluate(data, found):
    y, predictions, systems = data
    np.testing.assert_allclose(found.estimates, evaluate(y, predictions, systems=systems), rtol=0, atol=1e-12)
    table = found.to_frame()
    assert table["target"].tolist() == ["impression"] * 8 + ["alignment"] * 8
    assert table["metric"].tolist() == [*METRICS, *METRICS]
    assert table["n"].tolist() == ([96] * 4 + [8] * 4) * 2
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()


def test_the_text_and_the_table_of_a_notebook_name_targets_where_there_are_several(data, found):
    y, predictions, systems = data
    one = bootstrap_metrics(
        y["impression"], predictions["impression"], systems=systems, n_resamples=400, random_state=0
    )
    for result, name, columns in ((one, "U_LCC", []), (found, "impression U_LCC", ["target"])):
        value, (low, high) = result.estimates[0, 1], result.interval("U_LCC", result.targets[0])
        (line,) = [line.split() for line in str(result).splitlines() if line.split("  ")[0].strip() == name]
        assert " ".join(line) == f"{name} {value:.3f} [ {low:.3f}, {high:.3f}]"
        table = result._table_to_show()
        assert table.columns.tolist() == [*columns, "metric", "value", "low", "high", "n", "note"]
    assert found.to_frame().columns.tolist() == [
        "target", "metric", "value", "low", "high", "method", "standard_error", "n", "n_undefined", "note"
    ]  # fmt: skip
    assert "folds" not in str(found) and found.n_folds == 1
    assert repr(found).startswith("<MetricBootstrap: 96 clips of 8 systems; 95 % intervals: leaving out")


def test_systems_of_one_clip_count(data):
    y, predictions, _ = data
    found = bootstrap_metrics(y, predictions, systems=np.arange(96), n_resamples=2, random_state=0)
    assert (found.n_clips, found.n_systems, found.level) == (96, 96, "systems")


def test_the_whole_distribution_is_there(found):
    assert found.distribution.shape == (400, 2, 8)
    samples = found.samples("S_SRCC", "alignment")
    np.testing.assert_array_equal(samples, found.distribution[:, 1, 6])
    expected = np.quantile(samples, [0.05, 0.95])
    assert found.interval("S_SRCC", "alignment", method="percentile", confidence=0.9) == pytest.approx(
        expected
    )
    assert found.to_frame()["standard_error"][14] == pytest.approx(samples.std(ddof=1))


def test_the_default_leaves_out_a_system_at_a_time(data, found):
    y, predictions, systems = data
    y, prediction = y["impression"], predictions["impression"]
    whole = evaluate(y, prediction, systems=systems)
    without = [
        evaluate(y[kept], prediction[kept], systems=systems[kept])
        for kept in (systems != name for name in systems.unique())
    ]
    variances = 7 / 8 * ((pd.DataFrame(without) - pd.DataFrame(without).mean()) ** 2).sum()
    table = found.to_frame().set_index(["target", "metric"]).loc["impression"]
    for metric, quantile in (
        ("U_LCC", stats.t.ppf(0.975, 7)),
        ("S_LCC", stats.t.ppf(0.975, 7)),
        ("S_SRCC", 1.959964),
    ):
        half = quantile * np.sqrt(variances[metric]) / (1 - whole[metric] ** 2)
        expected = np.tanh(np.arctanh(whole[metric]) + np.array([-half, half]))
        assert table.loc[metric, ["low", "high"]].tolist() == pytest.approx(expected.tolist())
    # Errors on the logarithm, or as the reciprocal of the cube root, and no less sure than normal errors of systems are.
    least = dict(zip(METRICS, least_variances(y, prediction, systems), strict=True))
    spread = {
        name: np.sqrt(max(variances[name], least[name] * whole[name] ** 2)) for name in ("U_MSE", "S_MSE")
    }
    half = stats.t.ppf(0.975, 7) * spread["U_MSE"] / whole["U_MSE"]
    expected = whole["U_MSE"] * np.exp([-half, half])
    assert table.loc["U_MSE", ["low", "high"]].tolist() == pytest.approx(expected.tolist())
    root = whole["S_MSE"] ** (-1 / 3)
    half = 1.959964 * spread["S_MSE"] * root / whole["S_MSE"] / 3
    expected = np.array([root + half, root - half]) ** -3
    assert table.loc["S_MSE", ["low", "high"]].tolist() == pytest.approx(expected.tolist())
    # Kendall's tau is a mean over pairs of systems: symmetric as it is, and ends where it does.
    half = stats.t.ppf(0.975, 7) * np.sqrt(variances["S_KTAU"])
    expected = np.clip([whole["S_KTAU"] - half, whole["S_KTAU"] + half], -1, 1)
    assert table.loc["S_KTAU", ["low", "high"]].tolist() == pytest.approx(expected.tolist())
    assert table["method"].tolist() == ["jackknife"] * 8
    assert str(found).startswith(
        "96 clips of 8 systems; 95 % intervals: leaving out a system at a time, 400 resamples"
    )


def test_a_figure_that_no_system_changes_has_no_interval():
    assert np.isnan(interval("jackknife", np.ones(9), 0.9, np.full(3, 0.8), "correlation", 0.95)).all()
    assert np.isnan(interval("jackknife", np.ones(9), 0.3, np.full(3, 0.2), "difference", 0.95)).all()
    assert np.isnan(interval("percentile", np.full(9, 2.0), 2.0, np.full(2, 2.0), "difference", 0.95)).all()
    assert np.isnan(interval("percentile", np.ones(9), 1 + 2e-16, np.ones(4), "correlation", 0.95)).all()
    # Two predictors that say the same differ by 0 on any systems.
    assert interval("jackknife", np.zeros(9), 0.0, np.zeros(3), "difference", 0.95) == (0, 0)


def test_errors_vary_at_least_as_squares_of_normal_ones_do():
    # Mean errors of three systems: 1, -1, 3, mean 1 and variance 4; squares of normal ones vary by
    # 2 * 4² + 4 * 4 * max(1 - 4 / 3, 0) = 32. S_MSE is 11 / 3, U_MSE with one clip a system the same.
    found = least_variances(np.zeros(3), np.array([1.0, -1.0, 3.0]), np.arange(3))
    assert found[list(METRICS).index("S_MSE")] == pytest.approx(32 / 3 / (11 / 3) ** 2)
    assert found[list(METRICS).index("U_MSE")] == pytest.approx(32 / 3 / (11 / 3) ** 2)
    assert np.count_nonzero(found) == 2
    # Errors alike in size have no jackknife variance, and still an interval.
    truth, systems = np.arange(12.0), np.repeat(np.arange(6), 2)
    errors = np.repeat([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], 2)
    low, high = bootstrap_metrics(truth, truth + errors, systems=systems, n_resamples=5).interval("S_MSE")
    # S_MSE is 1, and so is the reciprocal of its cube root, whose slope there is a third of the logarithm's.
    half = 1.959964 * np.sqrt(2 * 1.2**2 / 6) / 3
    assert (low, high) == pytest.approx(((1 + half) ** -3, (1 - half) ** -3))
    assert not least_variances(truth, truth, np.zeros(12)).any()


def test_a_perfect_ranking_has_no_interval(data):
    y, _, systems = data
    found = bootstrap_metrics(y["impression"], y["impression"] * 2, systems=systems, n_resamples=20)
    table = found.to_frame().set_index("metric")
    assert (
        table.loc["S_SRCC", ["low", "high"]].isna().all()
        and table.loc["S_KTAU", ["low", "high"]].isna().all()
    )
    words = "no interval: a perfect figure, one that nothing drawn changes, or too few systems"
    assert table.loc["S_SRCC", "note"] == words
    assert "no interval: a perfect figure" in str(found)


def test_seed_threads_and_order_of_clips(data, found):
    y, predictions, systems = data
    again = bootstrap_metrics(y, predictions, systems=systems, n_resamples=400, random_state=0, n_jobs=2)
    np.testing.assert_array_equal(found.distribution, again.distribution)
    other = bootstrap_metrics(y, predictions, systems=systems, n_resamples=400, random_state=1)
    assert not np.array_equal(found.distribution, other.distribution)
    turned = bootstrap_metrics(y, predictions[::-1], systems=systems[::-1], n_resamples=400, random_state=0)
    np.testing.assert_array_equal(found.distribution, turned.distribution)


def test_levels_ask_different_questions(data, rng):
    y, predictions, systems = data
    predictions = predictions.add(np.repeat(rng.normal(0, 1, 8), 12), axis=0)

    def spread(level):
        found = bootstrap_metrics(
            y["impression"],
            predictions["impression"],
            systems=systems,
            level=level,
            n_resamples=400,
            random_state=0,
        )
        assert found.level == level
        return found.to_frame().set_index("metric")["standard_error"]

    # Where a predictor errs by system, which of them are drawn matters more than which clips.
    of_clips = bootstrap_metrics(y, predictions, systems=systems, level="clips", n_resamples=2)
    assert not of_clips.least_variances.any()  # no systems of which errors could be normal
    assert spread("clips")["U_LCC"] < spread("systems")["U_LCC"]


def test_without_systems(data):
    y, predictions, _ = data
    found = bootstrap_metrics(y["impression"], predictions["impression"], n_resamples=100, random_state=0)
    assert (found.level, found.n_systems) == ("clips", 0)
    table = found.to_frame().set_index("metric")
    assert np.isfinite(table.loc["U_MSE":"U_KTAU", ["low", "high"]]).all(axis=None)
    assert table.loc["S_MSE":, "value"].isna().all()
    assert set(table.loc["S_MSE":, "note"]) == {"no systems were given"}
    assert "S_MSE - no systems were given" in [" ".join(line.split()) for line in str(found).splitlines()]


def test_constant_predictions_are_nan_and_say_why(data):
    y, _, systems = data
    constant = pd.Series(3.1, index=y.index)
    found = bootstrap_metrics(y["impression"], constant, systems=systems, n_resamples=50, random_state=0)
    table = found.to_frame().set_index("metric")
    assert table.loc["S_SRCC", ["value", "low", "high"]].isna().all()
    assert table.loc["S_SRCC", "note"] == "prediction constant over 8 systems"
    assert table.loc["U_LCC", "note"] == "prediction constant over 96 clips"
    assert table.loc["U_LCC", "n_undefined"] == 50
    assert np.isfinite(table.loc["S_MSE", ["low", "high"]].astype(float)).all()
    assert "prediction constant over 8 systems" in str(found)


def test_choice_of_systems(data):
    y, predictions, systems = data
    options = {"n_resamples": 50, "random_state": 0}
    chosen = bootstrap_metrics(y, predictions, systems=systems, leave_out=["S1", "S2"], **options)
    kept = ~systems.isin(["S1", "S2"])
    direct = bootstrap_metrics(y[kept], predictions[kept], systems=systems, **options)
    np.testing.assert_array_equal(chosen.distribution, direct.distribution)
    assert (chosen.n_systems, chosen.n_clips) == (6, 72)


def test_few_systems_warn(data):
    y, predictions, systems = data
    with pytest.warns(
        FewSystemsWarning, match="S metrics over 4 systems: chance alone ranks so few"
    ) as warned:
        bootstrap_metrics(y, predictions, systems=systems, only=["S0", "S1", "S2", "S3"], n_resamples=10)
    assert [one.filename for one in warned] == [__file__]  # the line that asked for it


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "prompts"}, "unknown level 'prompts'; choose from systems, clips"),
        ({"n_resamples": 0}, "n_resamples=0 must be a whole number and at least 1"),
        ({"n_resamples": "5"}, "n_resamples='5' must be a whole number and at least 1"),
        ({"min_clips": "3"}, "min_clips='3' must be a whole number and at least 0"),
        ({"systems": None, "min_clips": 3}, r"min_clips was given, but no systems"),
    ],
)
def test_bad_options(data, options, words):
    y, predictions, systems = data
    with pytest.raises(ValueError, match=words):
        bootstrap_metrics(y, predictions, **{"systems": systems} | options)


def test_the_only_target_need_not_be_named(data):
    y, predictions, systems = data
    one = bootstrap_metrics(y[["alignment"]], predictions[["alignment"]], systems=systems, n_resamples=9)
    assert one.interval("U_MSE") == one.interval("U_MSE", "alignment")
    with pytest.raises(ValueError, match="^unknown target 'impression'; choose from alignment$"):
        one.samples("U_MSE", "impression")


def test_bad_questions(found):
    with pytest.raises(ValueError, match="unknown metric 'SRCC'; choose from U_MSE"):
        found.interval("SRCC", "impression")
    with pytest.raises(ValueError, match="unknown target None; choose from impression, alignment"):
        found.interval("S_SRCC")
    with pytest.raises(ValueError, match="unknown method 'normal'; choose from auto, jackknife, percentile"):
        found.to_frame(method="normal")
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, such as 0.95; got 95"):
        found.to_frame(confidence=95)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_intervals_against_scipys_bootstrap(rng, method):
    x = rng.normal(size=25)
    y = x + rng.normal(size=25)

    def correlation(x, y):
        return stats.pearsonr(x, y).statistic

    theirs = stats.bootstrap(
        (x, y), correlation, paired=True, vectorized=False, n_resamples=500, method=method, random_state=rng
    )
    left_out = np.array([correlation(np.delete(x, i), np.delete(y, i)) for i in range(25)])
    samples, value = theirs.bootstrap_distribution, correlation(x, y)
    found = (
        bca(samples, value, left_out, 0.95)
        if method == "bca"
        else interval(method, samples, value, left_out, "difference", 0.95)
    )
    assert found == pytest.approx(tuple(theirs.confidence_interval), abs=1e-10)


@pytest.mark.parametrize("n", [25, 500])
def test_intervals_of_units_against_scipys_bootstrap(rng, n):
    """Of few units each is left out in turn, of more than 200 a group at a time."""
    x = rng.exponential(size=n)
    found = interval_of(n, lambda weights: weights @ x / weights.sum(axis=1), 0.9, 4000, 0)
    theirs = stats.bootstrap(
        (x,), np.mean, confidence_level=0.9, n_resamples=4000, method="BCa", random_state=rng
    ).confidence_interval
    assert found[2] == ""
    assert found[:2] == pytest.approx(tuple(theirs), abs=0.04 * (theirs.high - theirs.low))


def test_an_interval_over_systems_leaves_out_each_whole(rng):
    systems, x = np.repeat(np.arange(5), [2, 3, 4, 5, 6]), rng.uniform(-0.9, 0.9, 20)
    found = interval_of(20, lambda weights: weights @ x / weights.sum(axis=1), 0.95, 1, 0, systems)
    left_out = [x[systems != system].mean() for system in range(5)]
    # Student's t with four degrees of freedom, on the scale of Fisher's z.
    half = stats.t.ppf(0.975, 4) * np.sqrt(4 * np.var(left_out)) / (1 - x.mean() ** 2)
    expected = np.tanh(np.arctanh(x.mean()) + np.array([-half, half]))
    assert found == (pytest.approx(expected[0]), pytest.approx(expected[1]), "")


def test_draws_hold_as_many_units_as_there_are(rng):
    blocks = list(draw_counts(6, 7000, 3000, rng))
    assert [block.shape for block in blocks] == [(3000, 6), (3000, 6), (1000, 6)]
    draws = np.concatenate(blocks)
    assert (draws.sum(axis=1) == 6).all()
    # Counts are binomial: mean 1, variance 6 * 1/6 * 5/6.
    np.testing.assert_allclose(draws.mean(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(draws.var(axis=0), 5 / 6, atol=0.08)


def test_intervals_that_do_not_exist():
    samples, left_out = np.linspace(0.8, 0.9, 50), np.linspace(0.8, 0.9, 5)
    assert np.isnan(interval("jackknife", samples, 0.85, left_out[:2], "correlation", 0.95)).all()
    assert np.isnan(interval("percentile", samples, 1.0, left_out, "correlation", 0.95)).all()
    assert np.isnan(interval("percentile", samples, np.nan, left_out, "correlation", 0.95)).all()
    assert np.isnan(interval("percentile", np.full(3, np.nan), 0.5, left_out, "correlation", 0.95)).all()


def test_folds_are_matched_by_clip(rng):
    ids = [f"c{i}" for i in range(60)]
    y = pd.Series(rng.normal(size=60), index=ids)
    prediction, systems = y + rng.normal(size=60), pd.Series(np.repeat(np.arange(12), 5), index=ids)
    folds = pd.Series(np.repeat(np.arange(3), 20), index=ids)
    options = {"systems": systems, "n_resamples": 20, "random_state": 0}
    expected = bootstrap_metrics(y, prediction, folds=folds, **options).to_frame()
    shuffled = folds.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(
        bootstrap_metrics(y, prediction, folds=shuffled, **options).to_frame(), expected
    )
    with pytest.raises(ValueError, match="no fold is known for clips: c0"):
        bootstrap_metrics(y, prediction, folds=folds[1:], **options)
    with pytest.raises(ValueError, match="folds repeats clip ids: c0"):
        bootstrap_metrics(y, prediction, folds=pd.concat([folds, folds[:1]]), **options)


def test_folds_that_rank_nothing_are_the_reason(rng):
    y, systems = rng.normal(size=24), np.repeat(np.arange(6), 4)
    pairs, triples = (
        bootstrap_metrics(y, y + rng.normal(size=24), systems=systems, folds=folds, n_resamples=20)
        for folds in (systems // 2, systems // 3)
    )
    notes = pairs.to_frame().set_index("metric")["note"]
    assert notes["S_SRCC"] == notes["S_LCC"] == "no fold holds 3 systems"
    assert notes["S_MSE"] == notes["U_SRCC"] == ""
    assert triples.notes == [{}] and np.isfinite(triples.estimates).all()


def test_errors_end_where_the_scale_does():
    # Three systems, mean errors 0, 0 and -4: S_MSE is 16 / 3, and its interval by the logarithm would pass 4 * 4.
    systems = np.repeat(list("abc"), 2)
    truth = pd.DataFrame({"on": [1.0, 1, 3, 3, 5, 5], "off": [1.0, 1, 3, 3, 5, 5]})
    predicted = truth.assign(on=[1.0, 1, 3, 3, 1, 1], off=[1.0, 1, 3, 3, 0.9, 1.1])
    options = {"systems": systems, "n_resamples": 20, "random_state": 0}
    with pytest.warns(FewSystemsWarning):
        free, held = (bootstrap_metrics(truth, predicted, scale=scale, **options) for scale in (None, (1, 5)))
    assert free.largest.tolist() == [[np.inf, 1, 1, 1] * 2] * 2
    assert held.largest.tolist() == [[16, 1, 1, 1] * 2, [np.inf, 1, 1, 1] * 2]
    for metric in ("U_MSE", "S_MSE"):
        low, high = free.interval(metric, "on")
        assert high > 16
        assert held.interval(metric, "on") == (low, 16)
        # A prediction off the scale may err by more.
        assert held.interval(metric, "off") == free.interval(metric, "off")
