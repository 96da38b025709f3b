"""What must not change the metrics, however large, small, many or alike scores are."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from musiceval_sk import METRICS, bootstrap_metrics, compare_predictors, evaluate
from tests.properties import fewer

ERRORS = ["U_MSE", "S_MSE"]
CORRELATIONS = [f"{level}_{kind}" for level in "US" for kind in ("LCC", "SRCC", "KTAU")]


def in_eighths(numbers):
    """Sums of eighths are exact, and there are ties within and between."""
    return np.array(numbers) / 8


@st.composite
def made_scores(draw, most=24):
    """Truth and predictions of clips, and the system of each."""
    n = draw(st.integers(2, most))
    truth, prediction = (
        in_eighths(draw(st.lists(st.integers(8, 40), min_size=n, max_size=n))) for _ in range(2)
    )
    systems = draw(st.lists(st.sampled_from("abcdef"), min_size=n, max_size=n))
    frame = pd.DataFrame({"truth": truth, "prediction": prediction, "system": systems})
    return frame.set_axis([f"clip {i}" for i in range(n)])


@pytest.fixture
def scores(rng):
    truth = rng.integers(8, 41, 60)
    frame = pd.DataFrame(
        {"truth": in_eighths(truth), "prediction": in_eighths(truth + rng.integers(-8, 9, 60))}
    )
    return frame.assign(system=[*"abcdefghij"] * 6).set_axis([f"clip {i}" for i in range(60)])


def judge(scores):
    return evaluate(scores["truth"], scores["prediction"], systems=scores["system"])


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
@fewer
@example(pd.DataFrame({"truth": [1.0, 2, 3], "prediction": [1.0, 3, 2], "system": [*"aab"]}), [*"xyz"], [1, 0, 2], 1, -1000, 0)  # fmt: skip
@example(pd.DataFrame({"truth": [1.0, 2, 3], "prediction": [1.0, 3, 2], "system": [*"abc"]}), [*"xyz"], [2, 0, 1], 2, 200, 4096)  # fmt: skip
@given(
    scores=made_scores(),
    names=st.permutations("uvwxyz"),
    order=st.permutations(range(24)),
    copies=st.integers(1, 3),
    power=st.integers(-1000, 200),
    level=st.integers(0, 4096),
)
def test_order_names_copies_unit_and_level_change_only_the_errors_unit(
    scores, names, order, copies, power, level
):
    n = len(scores)
    changed = scores.iloc[np.tile([place for place in order if place < n], copies)]
    names = dict(zip("abcdef", names, strict=False))
    changed = changed.set_axis(range(len(changed))).assign(system=changed["system"].map(names).to_numpy())
    changed[["truth", "prediction"]] = (changed[["truth", "prediction"]] + level) * 2.0**power
    found, expected = judge(changed), judge(scores)
    np.testing.assert_allclose(found[CORRELATIONS], expected[CORRELATIONS], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found[ERRORS], expected[ERRORS] * 4.0**power, rtol=1e-10)


@pytest.mark.parametrize("power", [-1000, 200])
def test_the_unit_changes_no_correlation_of_resamples(scores, power):
    how = {"systems": scores["system"], "n_resamples": 20, "random_state": 0}
    whole, found = (
        bootstrap_metrics(scores["truth"] * unit, scores["prediction"] * unit, **how)
        for unit in (1.0, 2.0**power)
    )
    places = [list(METRICS).index(name) for name in CORRELATIONS]
    for part in ("estimates", "distribution", "left_out"):
        mine, expected = (getattr(of, part)[..., places] for of in (found, whole))
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-11)


def test_single_precision_is_near_double(scores):
    half = (scores[["truth", "prediction"]] * 1.1).astype(np.float32)
    single = judge(scores.assign(**half))
    np.testing.assert_allclose(single, judge(scores.assign(**half.astype(np.float64))), rtol=0, atol=1e-12)


@pytest.mark.parametrize("compute", [evaluate, bootstrap_metrics])
def test_scores_too_large_to_be_squared_are_refused(scores, compute):
    with pytest.raises(ValueError, match=r"^y_pred holds 5e\+80: scores beyond 1e\+70 are too large"):
        compute(scores["truth"], scores["prediction"].mask(scores.index == "clip 3", 5e80))


def test_two_clips_and_one_system():
    found = evaluate([1.0, 2.0], [2.0, 4.0], systems=["a", "b"])
    assert found.round(12).tolist() == [2.5, 1, 1, 1, 2.5, 1, 1, 1]
    with pytest.warns(match="constant over 1 values"):
        found = evaluate([1.0, 2.0], [2.0, 4.0], systems=["a", "a"])
    assert found["S_MSE"] == 2.25 and found[["S_LCC", "S_SRCC", "S_KTAU"]].isna().all()


@pytest.mark.slow
def test_thousands_of_systems(rng):
    truth = rng.normal(3, 1, 2000)
    systems, close, far = np.arange(2000) // 2, truth + rng.normal(0, 0.5, 2000), rng.normal(3, 1, 2000)
    found = bootstrap_metrics(truth, close, systems=systems, n_resamples=2, random_state=0)
    s_srcc = found.to_frame().set_index("metric").loc["S_SRCC"]
    assert s_srcc["low"] < evaluate(truth, close, systems=systems)["S_SRCC"] < s_srcc["high"]
    assert 0.01 < s_srcc["high"] - s_srcc["low"] < 0.06
    compared = compare_predictors(
        truth, {"close": close, "far": far}, systems=systems, n_resamples=39, random_state=0
    )
    assert compared["p_value"].max() < 0.05


def test_ten_thousand_systems(rng):
    truth = rng.normal(3, 1, 20_000)
    prediction, systems = truth + rng.normal(0, 1, 20_000), np.arange(20_000) // 2
    means = pd.DataFrame({"truth": truth, "prediction": prediction}).groupby(systems).mean()
    found = evaluate(truth, prediction, systems=systems)
    expected = [means.corr(kind).iloc[0, 1] for kind in ("pearson", "spearman", "kendall")]
    np.testing.assert_allclose(found[["S_LCC", "S_SRCC", "S_KTAU"]], expected, rtol=1e-9)


def test_jobs_change_no_comparison(rng):
    truth = rng.normal(3, 1, 40)
    predictors = {name: truth + rng.normal(0, spread, 40) for name, spread in (("near", 0.5), ("far", 1))}
    how = {"systems": np.arange(40) // 4, "n_resamples": 99, "random_state": 0}
    one, two = (compare_predictors(truth, predictors, n_jobs=n_jobs, **how) for n_jobs in (1, 2))
    pd.testing.assert_frame_equal(one, two)


def test_systems_in_a_very_small_unit_beside_a_large_one_warn_of_nothing():
    """Where the large one is left out, the others' means are no longer told apart."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=20) * 1e-90
    prediction = truth + rng.normal(size=20) * 1e-90
    truth[16:], prediction[16:] = 5, 4 + rng.normal(size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        bootstrap_metrics(
            truth, prediction, systems=np.repeat(np.arange(5), 4), n_resamples=20, random_state=0
        )
