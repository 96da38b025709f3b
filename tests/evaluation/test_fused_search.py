"""The fused search must give what scikit-learn's search gives."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from musiceval_sk import FusedGridSearchCV, MOSRegressor, mos_scorer
from musiceval_sk.estimators import _jobs

pytestmark = pytest.mark.filterwarnings("ignore:training reached max_iter")


@pytest.fixture
def data(rng):
    index = [f"c{i}" for i in range(90)]
    X = pd.DataFrame(rng.normal(size=(90, 6)), index=index, columns=[f"audio_{i}" for i in range(6)])
    y = pd.Series(3 + X["audio_0"] + 0.3 * rng.normal(size=90), index=index, name="impression")
    return X, y, pd.Series(np.repeat([f"S{i}" for i in range(9)], 10), index=index)


def small(**options):
    return MOSRegressor(**{"hidden_layer_sizes": (8, 4), "max_iter": 60, "random_state": 3} | options)


GRID = {"learning_rate_init": [0.001, 0.01, 0.03], "momentum": [0.5, 0.9], "batch_size": [16, 64]}


def same_scores(fused, plain):
    for name, values in plain.cv_results_.items():
        if "score" in name and "time" not in name:
            np.testing.assert_allclose(fused.cv_results_[name], values, atol=1e-4, err_msg=name)
    assert fused.best_params_ == plain.best_params_


def test_equals_grid_search(data):
    X, y, _ = data
    fused, plain = (kind(small(), GRID, cv=3).fit(X, y) for kind in (FusedGridSearchCV, GridSearchCV))
    same_scores(fused, plain)
    np.testing.assert_allclose(fused.predict(X), plain.predict(X), atol=1e-6)
    assert type(fused.best_estimator_) is MOSRegressor


def test_equals_grid_search_in_a_pipeline_by_groups_with_several_scorers(data):
    X, y, systems = data
    grid = {"standardscaler__with_mean": [True, False], "mosregressor__learning_rate_init": [0.003, 0.03]}
    scoring = {name: mos_scorer(name, systems=systems) for name in ("S_SRCC", "U_MSE")}
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), small(n_ensemble=2))
    fused, plain = (
        kind(model, grid, cv=GroupKFold(3), scoring=scoring, refit="U_MSE").fit(X, y, groups=systems)
        for kind in (FusedGridSearchCV, GridSearchCV)
    )
    same_scores(fused, plain)


def test_trains_the_candidates_of_a_fold_as_one_batch(data, monkeypatch):
    X, y, _ = data
    sizes = []
    train = _jobs.train

    def spy(inputs, targets, tasks, *rest):
        sizes.append(len(tasks))
        return train(inputs, targets, tasks, *rest)

    monkeypatch.setattr(_jobs, "train", spy)
    FusedGridSearchCV(small(), {"learning_rate_init": [0.01, 0.02, 0.03]}, cv=2).fit(X, y)
    # Three candidates for each of two folds, then the refit.
    assert sizes == [3, 3, 1]


def test_without_a_seed_one_is_drawn_for_the_search(data):
    X, y, _ = data
    search = FusedGridSearchCV(small(random_state=None), {"alpha": [0.0, 0.0]}, cv=2).fit(X, y)
    first, second = search.cv_results_["mean_test_score"]
    assert first == second
    assert search.estimator.random_state is None


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_failed_candidates_get_the_error_score(data):
    X, y, _ = data
    grid = {"learning_rate_init": [0.01, -1.0]}
    with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 4"):
        search = FusedGridSearchCV(small(), grid, cv=2).fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]


def test_nested(data):
    X, y, _ = data
    search = FusedGridSearchCV(small(), {"learning_rate_init": [0.01, 0.03]}, cv=2)
    plain = GridSearchCV(small(), {"learning_rate_init": [0.01, 0.03]}, cv=2)
    np.testing.assert_allclose(
        cross_val_score(search, X, y, cv=2), cross_val_score(plain, X, y, cv=2), atol=1e-4
    )


def test_refuses_other_estimators(data):
    X, y, _ = data
    with pytest.raises(TypeError, match="trains MOSRegressor, alone or at the end of a pipeline, not Ridge"):
        FusedGridSearchCV(Ridge(), {"alpha": [1.0]}).fit(X, y)
