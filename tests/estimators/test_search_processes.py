"""A fused search shared out to processes gives what scikit-learn's search gives, whatever a portion holds."""

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.model_selection._validation import _fit_and_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from musiceval_sk import FusedGridSearchCV
from musiceval_sk.estimators.search_processes import PortionsBackend, _Portion
from tests.estimators.fused import same_scores, small, spy_on_batches

pytestmark = [
    pytest.mark.filterwarnings("ignore:training reached max_iter"),
    pytest.mark.xdist_group("fused processes"),
]

GRID = {"learning_rate_init": [0.003, 0.01, 0.03], "alpha": [0.0, 0.01]}


@pytest.fixture
def data(rng):
    X = pd.DataFrame(rng.normal(size=(90, 5)), columns=[f"audio_{i}" for i in range(5)])
    y = pd.DataFrame({"impression": 3 + np.tanh(X["audio_0"]), "alignment": 3 + np.tanh(X["audio_1"])})
    return X, y, np.repeat(np.arange(9), 10)


def both(estimator, grid, data, **options):
    X, y, groups = data
    return [
        kind(estimator, grid, cv=GroupKFold(3), n_jobs=2, **options).fit(X, y, groups=groups)
        for kind in (FusedGridSearchCV, GridSearchCV)
    ]


@pytest.mark.slow
def test_equals_grid_search(data):
    metrics = {"mse": "neg_mean_squared_error", "r2": "r2"}
    fused, plain = both(small(), GRID, data, scoring=metrics, refit="mse", return_train_score=True)
    same_scores(fused, plain)
    assert fused.best_params_ == plain.best_params_
    np.testing.assert_array_equal(fused.predict(data[0]), plain.predict(data[0]))
    assert fused.n_jobs == 2


@pytest.mark.slow
def test_a_pipeline_with_settings_of_its_own(data):
    grid = {"standardscaler__with_std": [True, False], "mosregressor__momentum": [0.5, 0.9]}
    same_scores(*both(make_pipeline(StandardScaler(), small()), grid, data))


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_candidates_that_fail_and_that_have_no_seed(data):
    grid = [{"learning_rate_init": [0.01, -1.0]}, {"random_state": [None], "max_iter": [2]}]
    with pytest.warns(FitFailedWarning):
        fused, _ = both(small(), grid, data, refit=False)
    assert np.isfinite(fused.cv_results_["mean_test_score"]).tolist() == [True, False, True]


@pytest.mark.slow
def test_every_fit_has_its_part_of_the_time(data):
    fused, _ = both(small(), GRID, data, refit=False)
    assert (fused.cv_results_["mean_fit_time"] > 0).all()


@pytest.mark.slow
def test_within_a_search_that_has_the_processes_already(data):
    X, y, _ = data
    search = FusedGridSearchCV(small(max_iter=5), {"alpha": [0.0, 0.01]}, cv=KFold(2), n_jobs=2)
    alone, shared = (cross_val_score(search, X, y, cv=2, n_jobs=n_jobs) for n_jobs in (1, 2))
    np.testing.assert_allclose(alone, shared, rtol=0, atol=1e-8)


def test_joblib_says_how_many_where_nothing_else_does(data, monkeypatch):
    X, y, _ = data
    seen = spy_on_batches(monkeypatch)
    with parallel_config(n_jobs=2):
        FusedGridSearchCV(small(), GRID, cv=3).fit(X, y)
    # All but the refit is trained elsewhere.
    assert seen == [(90, 2)]


def test_no_processes_are_refused_in_words(data):
    with pytest.raises(ValueError, match="n_jobs == 0"):
        FusedGridSearchCV(small(), GRID, n_jobs=0).fit(*data[:2])


def test_a_portion_is_one_batch(data, monkeypatch):
    X, y, _ = data
    rows, rest = np.arange(60), np.arange(60, 90)
    calls = calls_of(
        [
            ((small(), X, y), {"train": rows, "test": rest, "parameters": {"momentum": momentum}})
            for momentum in (0.1, 0.5, 0.9)
        ]
    )
    seen = spy_on_batches(monkeypatch)
    results = _Portion(calls, room=2**30, on_batch=lambda batch: lambda epoch, loss: None)()
    assert seen == [(60, 6)]
    assert all(result["fit_time"] > 0 for result in results)


def test_calls_of_others_pass_through():
    assert _Portion(Calls([(abs, (-1,), {})]), room=1, on_batch=None)() == [1]


@pytest.mark.parametrize("n_fits, n_processes", [(100, 2), (7, 2), (1, 3), (64, 8)])
def test_portions_shrink_until_every_fit_is_in_one(n_fits, n_processes):
    backend = PortionsBackend(n_processes, 1.0, None)
    backend.n_fits_to_come = n_fits
    sizes = []
    while sum(sizes) < n_fits:
        sizes += n_processes * [backend.compute_batch_size()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == max(1, n_fits // (2 * n_processes))
    assert sizes[-1] == 1


class Calls:
    """As joblib hands calls to a backend."""

    def __init__(self, items):
        self.items = items

    def __call__(self):
        return [function(*args, **named) for function, args, named in self.items]


def calls_of(fits):
    """Fits of a search as scikit-learn asks joblib for them."""
    named = {
        "scorer": lambda model, X, y: 0.0,
        "verbose": 0,
        "fit_params": {},
        "score_params": {},
        "return_times": True,
    }
    return Calls([(Fit(), args, named | options) for args, options in fits])


class Fit:
    function = staticmethod(_fit_and_score)

    def __call__(self, *args, **named):
        return _fit_and_score(*args, **named)
