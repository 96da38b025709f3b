"""How a fused search makes batches: what trains together, in how much memory, and what is done once."""

import tracemalloc
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from musiceval_sk import FusedGridSearchCV
from tests.estimators.fused import same_scores, small, spy_on_batches

pytestmark = pytest.mark.filterwarnings("ignore:training reached max_iter")

RATES = {"learning_rate_init": [0.01, 0.02, 0.03]}


@pytest.fixture
def data(rng):
    X = rng.normal(size=(60, 5))
    return X, 3 + np.tanh(X[:, 0])


def test_candidates_and_folds_are_one_batch_over_one_table(data, monkeypatch):
    seen = spy_on_batches(monkeypatch)
    FusedGridSearchCV(small(early_stopping=False), RATES, cv=2).fit(*data)
    # Three candidates on each of two folds, over the 60 rows that the folds share; then the refit.
    assert seen == [(60, 6), (60, 1)]


def test_members_and_targets_are_in_the_batch(data, monkeypatch):
    X, y = data
    seen = spy_on_batches(monkeypatch)
    FusedGridSearchCV(small(n_ensemble=2), RATES, cv=2, refit=False).fit(X, np.c_[y, 6 - y])
    # Three candidates, two folds, two members, two targets.
    assert [tasks for _, tasks in seen] == [24]


def test_shapes_are_batches_of_their_own(data, monkeypatch):
    seen = spy_on_batches(monkeypatch)
    FusedGridSearchCV(small(), RATES | {"batch_size": [8, 16]}, cv=2, refit=False).fit(*data)
    assert [tasks for _, tasks in seen] == [6, 6]


def test_equal_rows_stay_apart(data, monkeypatch):
    X, y = np.repeat(data[0][:20], 3, axis=0), np.repeat(data[1][:20], 3)
    fused, plain = (kind(small(), RATES, cv=3).fit(X, y) for kind in (FusedGridSearchCV, GridSearchCV))
    same_scores(fused, plain)


@pytest.mark.parametrize("mib", [0.001, 0.06, 0.3])
def test_a_small_working_memory_makes_more_batches_and_the_same_scores(data, monkeypatch, mib):
    model = small(n_ensemble=2)
    plain = GridSearchCV(model, RATES, cv=4, refit=False).fit(*data)
    seen = spy_on_batches(monkeypatch)
    with sklearn.config_context(working_memory=mib):
        search = FusedGridSearchCV(model, RATES, cv=4, refit=False).fit(*data)
    same_scores(search, plain)
    # Three candidates, four folds, two members: each is trained once, a few at a time.
    assert sum(tasks for _, tasks in seen) == 24
    assert len(seen) > 2


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_candidates(data):
    def peak(n_candidates):
        grid = {"learning_rate_init": np.geomspace(0.001, 0.1, n_candidates)}
        search = FusedGridSearchCV(small(hidden_layer_sizes=(64, 32), max_iter=1), grid, cv=2, refit=False)
        tracemalloc.start()
        with sklearn.config_context(working_memory=1):
            search.fit(*data)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(4)  # what is loaded once
    few = peak(10)
    # 90 more candidates on two folds: weights and velocities are (6 * 64 + 65 * 32 + 33) numbers of 12 bytes each, 30 kB
    # a fit, 5.4 MB for all. The results table itself grows by some numbers a candidate.
    assert peak(100) - few < 1_000_000


class Counted(TransformerMixin, BaseEstimator):
    """Scales; counts its fits over all clones, warns at each, and writes into its input where asked to."""

    fits = 0

    def __init__(self, factor=1.0, in_place=False):
        self.factor = factor
        self.in_place = in_place

    def fit(self, X, y=None):
        Counted.fits += 1
        warnings.warn("counted", UserWarning, stacklevel=2)
        self.factor_ = self.factor
        return self

    def transform(self, X):
        if self.in_place:
            X *= self.factor_
            return X
        return X * self.factor_


@pytest.fixture
def counted():
    Counted.fits = 0
    return Counted


@pytest.mark.filterwarnings("ignore:counted")
def test_steps_are_fitted_once_for_each_fold(data, counted, monkeypatch):
    model = make_pipeline(counted(), PCA(3, random_state=0), small())
    grid = {"mosregressor__" + name: values for name, values in RATES.items()}
    grid["counted__factor"] = [1.0, 2.0]
    seen = spy_on_batches(monkeypatch)
    fused = FusedGridSearchCV(model, grid, cv=3, refit=False).fit(*data)
    # Two settings on three folds, whose tables are one batch: no row is the same after another PCA.
    assert counted.fits == 6
    assert [tasks for _, tasks in seen] == [18]
    same_scores(fused, GridSearchCV(model, grid, cv=3, refit=False).fit(*data))


@pytest.mark.filterwarnings("ignore:counted")
def test_steps_that_write_into_their_input(data, counted):
    model = make_pipeline(
        FunctionTransformer(np.copy), counted(2.0, in_place=True), Normalizer(copy=False), small()
    )
    grid = {"normalizer__norm": ["l1", "l2"], "mosregressor__momentum": [0.5, 0.9]}
    same_scores(*(kind(model, grid, cv=2).fit(*data) for kind in (FusedGridSearchCV, GridSearchCV)))


def test_warnings_of_steps_come_with_every_fit(data, counted):
    model = make_pipeline(counted(), small())
    grid = {"mosregressor__momentum": [0.5, 0.9]}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        FusedGridSearchCV(model, grid, cv=2, refit=False).fit(*data)
    # Two candidates on two folds.
    assert sum(str(one.message) == "counted" for one in said) == 4


def test_pipelines_within_pipelines_and_memories_of_their_own(data, tmp_path):
    model = make_pipeline(StandardScaler(), make_pipeline(PCA(3), small()), memory=str(tmp_path))
    grid = {"pipeline__mosregressor__momentum": [0.5, 0.9], "pipeline__pca__n_components": [2, 3]}
    fused, plain = (kind(model, grid, cv=2).fit(*data) for kind in (FusedGridSearchCV, GridSearchCV))
    same_scores(fused, plain)
    assert fused.best_estimator_.memory == str(tmp_path)
    assert fused.best_estimator_[-1].memory is None


def test_a_step_without_a_seed_is_correct_all_the_same(data, monkeypatch):
    """Where a step gives other data at each fit and nothing keeps it, each fit trains on its own."""
    noise = FunctionTransformer(lambda X: X + np.random.normal(size=X.shape))  # noqa: NPY002
    model = make_pipeline(noise, small())
    with sklearn.config_context(working_memory=0.001):  # no room to keep what the step gave
        search = FusedGridSearchCV(model, {"mosregressor__momentum": [0.5, 0.9]}, cv=2).fit(*data)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
