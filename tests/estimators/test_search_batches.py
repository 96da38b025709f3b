"""How a fused search makes batches: what trains together, and in how much memory."""

import tracemalloc

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline

from musiceval_sk import FusedGridSearchCV
from musiceval_sk.estimators.engine.task import Job
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


def test_fits_with_different_numbers_of_targets_are_one_batch(data, monkeypatch):
    # Beside the scores, every other member of an ensemble learns what is left of a ridge regression: one column more, or two.
    model, grid = small(linear="ridge", standardize=True), {"n_ensemble": [1, 3]}
    plain = GridSearchCV(model, grid, cv=2, refit=False).fit(*data)
    seen = spy_on_batches(monkeypatch)
    same_scores(FusedGridSearchCV(model, grid, cv=2, refit=False).fit(*data), plain)
    assert [tasks for _, tasks in seen] == [2 * (1 + 3)]


def test_shapes_are_batches_of_their_own(data, monkeypatch):
    seen = spy_on_batches(monkeypatch)
    FusedGridSearchCV(small(), RATES | {"batch_size": [8, 16]}, cv=2, refit=False).fit(*data)
    assert [tasks for _, tasks in seen] == [6, 6]


@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.FitFailedWarning", "ignore:One or more of the test scores"
)
def test_a_candidate_that_fails_does_not_part_the_batch(data, monkeypatch):
    seen = spy_on_batches(monkeypatch)
    grid = {"learning_rate_init": [0.01, -1.0, 0.03]}
    search = FusedGridSearchCV(small(early_stopping=False), grid, cv=2, refit=False).fit(*data)
    # Two candidates that can be fitted, on two folds.
    assert seen == [(60, 4)]
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True, False]


def test_equal_rows_stay_apart(data, monkeypatch):
    X, y = np.repeat(data[0][:20], 3, axis=0), np.repeat(data[1][:20], 3)
    fused, plain = (kind(small(), RATES, cv=3).fit(X, y) for kind in (FusedGridSearchCV, GridSearchCV))
    same_scores(fused, plain)


@pytest.mark.slow
def test_a_small_working_memory_makes_more_batches_and_the_same_scores(data, monkeypatch):
    model = small(n_ensemble=2)
    plain = GridSearchCV(model, RATES, cv=4, refit=False).fit(*data)
    for mib in (0.001, 0.03, 0.09):
        with monkeypatch.context() as patch, sklearn.config_context(working_memory=mib):
            seen = spy_on_batches(patch)
            search = FusedGridSearchCV(model, RATES, cv=4, refit=False).fit(*data)
        same_scores(search, plain)
        # Three candidates, four folds, two members: each is trained once, a few at a time.
        assert sum(tasks for _, tasks in seen) == 24
        assert len(seen) > 2


@pytest.mark.parametrize(("room", "batches"), [(8760, [3, 3]), (8759, [3, 3]), (8761, [4, 2]), (1, [1] * 6)])
def test_a_batch_ends_where_models_and_tables_fill_the_room(data, monkeypatch, room, batches):
    monkeypatch.setattr(Job, "bytes_needed", lambda job: 1000)
    # A table of 30 rows has five columns and one target of 8 bytes and is there twice: 2880. In the order of the fits, fold by
    # fold, 1000 each: 3880, 7760 with the table of the other fold, 8760 with a third fit, 9760 with a fourth.
    seen = spy_on_batches(monkeypatch)
    with sklearn.config_context(working_memory=room / 2**20):
        FusedGridSearchCV(small(early_stopping=False), RATES, cv=2, refit=False).fit(*data)
    assert [tasks for _, tasks in seen] == batches


def test_a_fit_that_warns_is_in_the_batch_and_warns_once(data, monkeypatch):
    X, y = data[0], np.full(60, 3.0)
    given = []
    for kind in (GridSearchCV, FusedGridSearchCV):
        seen = spy_on_batches(monkeypatch)
        with pytest.warns(UserWarning, match="y is constant") as caught:
            kind(small(), RATES, cv=2, refit=False).fit(X, y)
        given.append([str(warning.message) for warning in caught])
    assert given[0] == given[1]
    assert [tasks for _, tasks in seen] == [6]


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


def test_splits_of_a_generator_are_trained_together(data, monkeypatch):
    seen = spy_on_batches(monkeypatch)
    FusedGridSearchCV(small(), RATES, cv=KFold(3).split(data[0]), refit=False).fit(*data)
    assert [tasks for _, tasks in seen] == [9]


def test_heads_that_stop_together_do_so_within_their_fit(data, monkeypatch):
    X, y = data
    model = small(stop_together=True, n_iter_no_change=2, max_iter=100)
    seen = spy_on_batches(monkeypatch)
    fused, plain = (
        kind(model, RATES, cv=2, refit=False).fit(X, np.c_[y, 6 - y])
        for kind in (FusedGridSearchCV, GridSearchCV)
    )
    same_scores(fused, plain)
    assert [tasks for _, tasks in seen] == [12] + [2] * 6  # two heads of six fits, together and one by one


def test_a_development_list_stands_behind_the_rows_of_the_folds(data, monkeypatch):
    X, y = data
    given = {"X_val": X[:7] + 0.1, "y_val": y[:7], "sample_weight": np.arange(60) % 4}
    plain = GridSearchCV(small(), RATES, cv=3, refit=False).fit(X, y, **given)
    seen = spy_on_batches(monkeypatch)
    same_scores(FusedGridSearchCV(small(), RATES, cv=3, refit=False).fit(X, y, **given), plain)
    # Of three folds, forty rows and a list of seven each.
    assert seen == [(3 * (40 + 7), 9)]


def test_splits_that_repeat_rows_and_say_them_as_a_mask(data, monkeypatch):
    X, y = data
    rows = np.r_[np.arange(40), np.arange(10)]
    splits = [(rows, np.arange(40, 60)), (np.arange(60) < 40, np.arange(60) >= 40)]
    fused, plain = (kind(small(), RATES, cv=splits).fit(X, y) for kind in (FusedGridSearchCV, GridSearchCV))
    same_scores(fused, plain)


class Counted(TransformerMixin, BaseEstimator):
    """Counts its fits over all clones."""

    fits = 0

    def fit(self, X, y=None):
        Counted.fits += 1
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize("memory", [False, True])
def test_a_pipeline_is_fitted_as_scikit_learn_does(data, tmp_path, monkeypatch, memory):
    model = make_pipeline(
        Counted(), make_pipeline(PCA(3, random_state=0), small()), memory=str(tmp_path) if memory else None
    )
    grid = {"pipeline__mosregressor__momentum": [0.5, 0.9], "pipeline__pca__n_components": [2, 3]}
    plain = GridSearchCV(model, grid, cv=2).fit(*data)
    Counted.fits = 0
    seen = spy_on_batches(monkeypatch)
    same_scores(FusedGridSearchCV(model, grid, cv=2).fit(*data), plain, close=0)
    # Four candidates on two folds and the refit; a memory has all of it already.
    assert Counted.fits == (0 if memory else 9)
    assert [tasks for _, tasks in seen] == [1] * 9
