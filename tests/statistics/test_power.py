import numpy as np
import pandas as pd
import pytest

from musiceval_sk import power_of_comparison
from musiceval_sk.statistics.power import _components

BETWEEN = np.array([[1.0, 0.8, 0.5], [0.8, 1.0, 0.4], [0.5, 0.4, 1.0]])
WITHIN = np.array([[0.5, 0.2, 0.1], [0.2, 0.6, 0.0], [0.1, 0.0, 0.4]])


def pilot(rng, n_systems=40, n_clips=10):
    systems = np.repeat(np.arange(n_systems), n_clips)
    scores = rng.multivariate_normal([3, 2, 1], BETWEEN, n_systems)[systems]
    return systems, scores + rng.multivariate_normal(np.zeros(3), WITHIN, len(systems))


def test_components_are_found(rng):
    systems, scores = pilot(rng, n_systems=4000, n_clips=5)
    centre, between, within = _components(pd.DataFrame(scores), systems)
    np.testing.assert_allclose(centre, [3, 2, 1], atol=0.06)
    np.testing.assert_allclose(between, BETWEEN, atol=0.08)
    np.testing.assert_allclose(within, WITHIN, atol=0.02)


def test_power_grows_with_systems_and_clips(rng):
    systems, scores = pilot(rng)
    table = power_of_comparison(
        *scores.T,
        systems=systems,
        n_systems=[8, 30],
        n_clips=[1, 50],
        metric="S_LCC",
        n_tests=100,
        random_state=0,
    ).set_index(["n_systems", "n_clips"])
    power = table["power"]
    assert power[30, 50] > power[8, 50] + 0.2
    assert power[30, 50] > power[30, 1]
    # Between systems the correlations are .8 and .5, nearly reached with 50 clips.
    assert table["difference"][30, 50] == pytest.approx(0.3, abs=0.12)
    assert table["standard_error"][30, 1] == pytest.approx(np.sqrt(power[30, 1] * (1 - power[30, 1]) / 100))


def test_equal_predictors_are_told_apart_at_the_level_of_the_test(rng):
    """The pilot, and once more with the predictors exchanged: they differ in nothing, so 5 % of tests find a difference.

    Of 400 tests 20, with a standard deviation of 4.4; three of these either way are let pass.
    """
    systems, (truth, a, b) = (part.T for part in pilot(rng))
    table = power_of_comparison(
        np.tile(truth, 2),
        np.concatenate([a, b]),
        np.concatenate([b, a]),
        systems=np.concatenate([systems, systems + 1000]),
        n_systems=[20],
        n_clips=[10],
        n_tests=400,
        random_state=1,
    )
    assert 7 / 400 <= table["power"][0] <= 33 / 400


def test_the_power_of_six_systems_is_all_or_none(rng):
    """A perfect predictor and its reverse differ by 2; of 32 swaps of six systems none but the observed one does."""
    systems, scores = pilot(rng, 8, 3)
    truth = scores[:, 0]
    options = {
        "systems": systems,
        "n_systems": 6,
        "n_clips": 3,
        "n_tests": 5,
        "n_swaps": 32,
        "random_state": 0,
    }
    found = power_of_comparison(truth, truth, -truth, alpha=1 / 32, **options)
    assert found.round(9).iloc[0].to_dict() == {
        "n_systems": 6, "n_clips": 3, "power": 1, "standard_error": 0, "difference": 2
    }  # fmt: skip
    with pytest.raises(ValueError, match="^n_systems=6 must be a whole number and at least 7$"):
        power_of_comparison(truth, truth, -truth, alpha=1 / 33, **options)


def test_what_is_tried_by_default(rng):
    systems, scores = pilot(rng, 8, 3)
    table = power_of_comparison(*scores.T, systems=systems, n_tests=1, n_swaps=1, random_state=0)
    assert table[["n_systems", "n_clips"]].values.tolist() == [
        [n, n_clips] for n in (10, 20, 40, 80) for n_clips in (10, 50)
    ]
    # Two swaps cannot tell at 5 %; 20 can, if nothing but the observed difference is as large.
    assert (table["power"] == 0).all()


def test_components_by_hand():
    # Two systems of two clips and two of one. Within them deviations are 1 and -1, twice: 4 / 2. Means 0, 2, 4, 6 have the variance
    # 20 / 3, of which clips make 2 * (1/2 + 1/2 + 1 + 1) / 4.
    one = pd.DataFrame({"truth": [-1.0, 1, 1, 3, 4, 6]})
    centre, between, within = _components(one, np.array([0, 0, 1, 1, 2, 3]))
    assert (centre, within, between) == (3, 2, pytest.approx(20 / 3 - 1.5))
    # Means that differ less than clips make them differ: none between systems.
    assert _components(one % 2, np.array([0, 1, 2, 3, 0, 1]))[1] == pytest.approx(0)
    # One clip more than systems is enough.
    assert _components(one[:5], np.array([0, 0, 1, 2, 3]))[2] == 2


def test_seed(rng):
    systems, scores = pilot(rng)
    options = {"systems": systems, "n_systems": [10], "n_clips": [5], "n_tests": 20}
    one, again = (power_of_comparison(*scores.T, random_state=3, **options) for _ in range(2))
    assert one.equals(again)


def test_bad_input(rng):
    systems, scores = pilot(rng)
    with pytest.raises(ValueError, match="unknown metric 'U_LCC'; choose from S_MSE, S_LCC, S_SRCC, S_KTAU"):
        power_of_comparison(*scores.T, systems=systems, metric="U_LCC")
    with pytest.raises(ValueError, match="the pilot has 5 clips of 5 systems; at least four systems"):
        power_of_comparison(*scores[::80].T, systems=systems[::80])
    with pytest.raises(ValueError, match="the pilot has 30 clips of 3 systems"):
        power_of_comparison(*scores[:30].T, systems=systems[:30])
    with pytest.raises(ValueError, match="n_systems=5 must be a whole number and at least 6"):
        power_of_comparison(*scores.T, systems=systems, n_systems=[5, 20])
    with pytest.raises(ValueError, match="n_clips is empty; give at least one size"):
        power_of_comparison(*scores.T, systems=systems, n_clips=[])
    for name in ("n_clips", "n_tests", "n_swaps"):
        for value in (0, "9", 2.5):
            words = f"{name}={value!r} must be a whole number and at least 1"
            with pytest.raises(ValueError, match=words):
                power_of_comparison(*scores.T, systems=systems, **{name: value})
    with pytest.raises(ValueError, match=r"alpha must lie between 0 and 1, such as 0\.05; got 5"):
        power_of_comparison(*scores.T, systems=systems, alpha=5)
    with pytest.raises(ValueError, match="^y_true is constant: it ranks nothing"):
        power_of_comparison(np.ones(len(scores)), *scores.T[1:], systems=systems)
    with pytest.raises(
        ValueError, match="^S_SRCC compares systems: give the system of each clip as systems="
    ):
        power_of_comparison(*scores.T, systems=None)
    with pytest.raises(ValueError, match=r"^y_true must hold one target; it has shape \(400, 2\)$"):
        power_of_comparison(scores[:, :2], scores[:, :2], scores[:, 1:], systems=systems)
    with pytest.raises(ValueError, match="prediction_b is constant: it ranks nothing"):
        power_of_comparison(*scores.T[:2], np.ones(len(scores)), systems=systems)


def test_predictions_and_systems_are_matched_by_clip(rng):
    ids = [f"c{i}" for i in range(40)]
    systems = pd.Series(np.repeat(np.arange(8), 5), ids)
    truth = pd.Series(rng.normal(size=8)[systems] + rng.normal(size=40), ids)
    a, b = truth + rng.normal(size=40), truth + 2 * rng.normal(size=40)
    options = {"n_systems": 6, "n_clips": 2, "n_tests": 5, "n_swaps": 19, "random_state": 0}
    expected = power_of_comparison(truth, a, b, systems=systems, **options)
    found = power_of_comparison(
        truth, a[::-1], b.sample(frac=1, random_state=0), systems=systems[::-1], **options
    )
    pd.testing.assert_frame_equal(found, expected)
    with pytest.raises(ValueError, match="y_true and prediction_b are about different clips"):
        power_of_comparison(truth, a, b.reset_index(drop=True), systems=systems, **options)
