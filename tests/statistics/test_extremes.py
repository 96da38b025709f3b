"""What must not change the metrics, however large, small, many or alike scores are."""

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import bootstrap_metrics, compare_predictors, evaluate

N = 60
CORRELATIONS = [f"{level}_{kind}" for level in "US" for kind in ("LCC", "SRCC", "KTAU")]


@pytest.fixture
def scores(rng):
    """Scores in eighths, so that sums are exact, with ties within and between."""
    truth = rng.integers(8, 41, N) / 8
    frame = pd.DataFrame({"truth": truth, "prediction": truth + rng.integers(-8, 9, N) / 8})
    return frame.assign(system=np.repeat([*"abcdefghij"], N // 10)).set_axis([f"clip {i}" for i in range(N)])


def judge(scores):
    return evaluate(scores["truth"], scores["prediction"], systems=scores["system"])


def test_order_names_and_copies_of_clips_change_nothing(scores, rng):
    expected = judge(scores)
    shuffled = scores.sample(frac=1, random_state=1)
    names = dict(zip("abcdefghij", rng.permutation([*"qrstuvwxyz"]), strict=True))
    twice = pd.concat([scores, scores.set_axis(scores.index + " again")])
    for same in (shuffled, scores.assign(system=scores["system"].map(names)), twice):
        np.testing.assert_allclose(judge(same), expected, rtol=0, atol=1e-13)
    mixed = evaluate(scores["truth"], shuffled["prediction"], systems=scores["system"][::-1])
    np.testing.assert_array_equal(mixed, expected)


@pytest.mark.parametrize("power", [-1000, -500, -100, -1, 1, 100, 200])
@pytest.mark.parametrize("level", [0, 64, 4096])
def test_units_and_level_change_only_the_errors_unit(scores, power, level):
    values = (scores[["truth", "prediction"]] + level) * 2.0**power
    found, expected = judge(scores.assign(**values)), judge(scores)
    np.testing.assert_allclose(found[CORRELATIONS], expected[CORRELATIONS], rtol=0, atol=1e-11)
    errors = ["U_MSE", "S_MSE"]
    np.testing.assert_allclose(found[errors], expected[errors] * 4.0**power, rtol=1e-10)


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


def test_thousands_of_systems(rng):
    truth = rng.normal(3, 1, 2000)
    systems, close, far = np.arange(2000) // 2, truth + rng.normal(0, 0.5, 2000), rng.normal(3, 1, 2000)
    found = bootstrap_metrics(truth, close, systems=systems, n_resamples=99, random_state=0)
    s_srcc = found.to_frame().set_index("metric").loc["S_SRCC"]
    assert s_srcc["low"] < evaluate(truth, close, systems=systems)["S_SRCC"] < s_srcc["high"]
    assert 0.01 < s_srcc["high"] - s_srcc["low"] < 0.06
    compared = compare_predictors(
        truth, {"close": close, "far": far}, systems=systems, n_resamples=99, random_state=0
    )
    assert compared["p_value"].max() < 0.05
