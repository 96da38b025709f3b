"""The error on systems left out, and what it means for a new system."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import make_pipeline

from musiceval_sk import MOSRegressor, TrainingDomain, assess_error
from musiceval_sk.scoring.error import error_margin
from musiceval_sk.studies.cell import group_parameters


class Recorder(RegressorMixin, BaseEstimator):
    """Predicts 3 and notes the groups of each training."""

    seen: list = []

    def fit(self, X, y, groups=None):
        self.seen.append(set(groups))
        return self

    def predict(self, X):
        return np.full(len(X), 3.0)


@pytest.fixture
def table():
    systems = pd.Series(np.repeat(list("abcde"), 4), index=[f"c{i}" for i in range(20)])
    return pd.DataFrame({"audio_0": np.arange(20.0)}, index=systems.index), systems


def test_errors_by_hand(table):
    X, systems = table
    # Residuals: one number a system, and +1, -1, +1, -1 within it.
    own = {"a": 1.0, "b": -1.0, "c": 0.0, "d": 2.0, "e": 0.0}
    residuals = systems.map(own) + np.tile([1.0, -1.0], 10)
    Recorder.seen.clear()
    found = assess_error(Recorder(), X, (3 + residuals).to_frame("impression"), systems)
    assert (found["n_systems"], found["n_clips"], found["n_splits"]) == (5, 20, 5)
    errors = found["targets"]["impression"]
    # Within: 20 squares of 1 on 5 x 3 degrees of freedom. Means squared: (1 + 1 + 0 + 4 + 0) / 5 = 1.2, less (4/3) / 4.
    assert errors["clip_sd"] ** 2 == pytest.approx(20 / 15)
    assert errors["system_sd"] ** 2 == pytest.approx(1.2 - 1 / 3)
    assert errors["system_rmse"] ** 2 == pytest.approx(1.2)
    assert errors["clip_rmse"] ** 2 == pytest.approx(2.2)
    # Each system was left out once, whole.
    assert sorted(map(len, Recorder.seen)) == [4] * 5
    assert set.intersection(*Recorder.seen) == set()
    assert "scale" not in found
    assert assess_error(Recorder(), X, residuals.to_frame(), systems, scale=(1, 5))["scale"] == [1.0, 5.0]
    margin = error_margin(found, "impression", [4, 1])
    assert margin == pytest.approx(stats.t.ppf(0.975, 5) * np.sqrt([1.2, 1.2 - 1 / 3 + 4 / 3]))


def test_no_negative_variance_and_single_clips(table):
    X, systems = table
    residuals = np.tile([1.0, -1.0], 10)
    errors = assess_error(Recorder(), X, pd.DataFrame({"y": 3 + residuals}, X.index), systems)["targets"]["y"]
    assert errors["system_sd"] == 0
    one_each = pd.Series(np.arange(20).astype(str), index=X.index)
    errors = assess_error(Recorder(), X, pd.DataFrame({"y": 3 + residuals}, X.index), one_each)["targets"][
        "y"
    ]
    assert errors["clip_sd"] == 0 and errors["system_sd"] == 1


def test_too_few_systems(table):
    X, _ = table
    systems = pd.Series(np.repeat(list("abcd"), 5), index=X.index)
    with pytest.raises(ValueError, match="cannot be told from 4; it takes at least 5 systems"):
        assess_error(DummyRegressor(), X, X, systems)


def test_groups_reach_the_steps_that_ask_for_them():
    model = make_pipeline(TrainingDomain(), MOSRegressor())
    assert set(group_parameters(model, "g")) == {"trainingdomain__groups", "mosregressor__groups"}
    assert group_parameters(DummyRegressor(), "g") == {} and group_parameters(model, None) == {}
    assert group_parameters(MOSRegressor(), "g") == {"groups": "g"}


def test_the_interval_holds_new_systems_at_the_nominal_rate(rng):
    X = pd.DataFrame({"audio_0": np.zeros(120)})
    systems = pd.Series(np.repeat(np.arange(12), 10))
    held = []
    for _ in range(60):
        truth = 3 + 0.5 * np.repeat(rng.normal(size=12), 10) + 0.8 * rng.normal(size=120)
        found = assess_error(Recorder(), X, pd.DataFrame({"y": truth}), systems)
        new = 3 + 0.5 * rng.normal(size=100) + 0.8 * rng.normal(size=(4, 100)).mean(axis=0)
        held.append(np.mean(np.abs(new - 3) <= error_margin(found, "y", 4)))
    assert 0.92 < np.mean(held) < 0.98


def test_tables_are_matched_by_clip_and_every_clip_has_a_system(table):
    X, systems = table
    Y = pd.DataFrame({"y": np.arange(20.0) ** 2}, X.index)
    expected = assess_error(DummyRegressor(), X, Y, systems)
    assert assess_error(DummyRegressor(), X[::-1], Y, systems.sample(frac=1, random_state=0)) == expected
    with pytest.raises(ValueError, match="Y and X are about different clips"):
        assess_error(DummyRegressor(), X.reset_index(drop=True), Y, systems)
    for blank in ("", None, np.nan):
        with pytest.raises(ValueError, match="no system is known for clips: c3"):
            assess_error(DummyRegressor(), X, Y, systems.mask(systems.index == "c3", blank))


def test_one_target_may_be_a_series_and_what_is_no_table_is_refused(table):
    X, systems = table
    y = pd.Series(np.arange(20.0), X.index, name="impression")
    expected = assess_error(DummyRegressor(), X, y.to_frame(), systems)
    assert assess_error(DummyRegressor(), X, y, systems) == expected
    unnamed = assess_error(DummyRegressor(), X, y.rename(None), systems)
    assert unnamed["targets"] == {"target_0": expected["targets"]["impression"]}
    for arguments, words in (
        (
            (X, y.to_numpy()),
            r"Y must be a pandas DataFrame with one row a clip; got ndarray: give pd\.DataFrame\(Y\)",
        ),
        ((X.to_numpy(), y), "X must be a pandas DataFrame with one row a clip; got ndarray"),
    ):
        with pytest.raises(ValueError, match=words):
            assess_error(DummyRegressor(), *arguments, systems)
    with pytest.raises(ValueError, match="n_splits='5' must be a whole number and at least 2"):
        assess_error(DummyRegressor(), X, y, systems, n_splits="5")
