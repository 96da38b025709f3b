"""Weights, order and repetition of clips; training by epochs."""

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import MOSRegressor
from musiceval_sk.estimators.engine import jobs as _jobs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quick(**parameters):
    defaults = {"hidden_layer_sizes": (8, 4), "learning_rate_init": 0.02, "max_iter": 15, "batch_size": 16}
    return MOSRegressor.from_protocol("paper", **defaults | {"scale": None, "random_state": 0} | parameters)


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 5))


@pytest.fixture
def Y(X):
    return np.column_stack([3 + X[:, 0] - X[:, 1], 2 + X[:, 2]])


@pytest.fixture
def weights():
    return np.random.default_rng(1).integers(0, 4, size=60)


@pytest.fixture
def seen_jobs(monkeypatch):
    jobs = []
    train_job = _jobs.train_job
    monkeypatch.setattr(_jobs, "train_job", lambda job, show: jobs.append(job) or train_job(job, show))
    return jobs


CONFIGURATIONS = [
    {},
    {"early_stopping": False},
    {"n_ensemble": 3, "bootstrap": True},
    {"loss": "soft_bins", "scale": (-2, 8), "activation": "gelu"},
    {"rank_weight": 1.0, "shuffle": False},
    {"stop_together": True, "n_ensemble": 2},
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=repr)
def test_a_weight_is_a_number_of_copies_and_order_does_not_matter(X, Y, weights, configuration):
    shuffled = np.random.default_rng(2).permutation(np.repeat(np.arange(60), weights))
    weighted = quick(**configuration).fit(X, Y, sample_weight=weights)
    repeated = quick(**configuration).fit(X[shuffled], Y[shuffled])
    assert np.array_equal(weighted.predict(X), repeated.predict(X))
    unweighted = quick(**configuration).fit(X, Y)
    assert not np.allclose(unweighted.predict(X), weighted.predict(X))


@pytest.mark.filterwarnings("ignore:early stopping goes by")
def test_groups_weights_and_order(X, Y, weights):
    groups = np.repeat([f"S{i}" for i in range(12)], 5)
    shuffled = np.random.default_rng(2).permutation(np.repeat(np.arange(60), weights))
    weighted = quick().fit(X, Y, weights, groups)
    repeated = quick().fit(X[shuffled], Y[shuffled], groups=groups[shuffled])
    assert np.array_equal(weighted.predict(X), repeated.predict(X))


def test_weights_count_relatively_and_equal_ones_not_at_all(X, Y, weights, seen_jobs):
    plain = quick().fit(X, Y)
    even = quick().fit(X, Y, sample_weight=np.full(60, 0.3))
    assert np.array_equal(plain.predict(X), even.predict(X))
    assert seen_jobs[1].tasks[0].row_weights is None
    one, two = (quick(dtype="float64").fit(X, Y, sample_weight=factor * weights) for factor in (1, 7))
    np.testing.assert_allclose(one.predict(X), two.predict(X), rtol=1e-9)


def test_held_out_loss_is_weighted(X, Y, weights, seen_jobs):
    regressor = quick(dtype="float64", max_iter=30).fit(X, Y[:, 0], sample_weight=weights)
    judged = seen_jobs[0].tasks[0].validation_rows
    errors = np.abs(regressor.predict(X[judged]) - Y[judged, 0])
    expected = (weights[judged] * errors).sum() / weights[judged].sum()
    assert max(regressor.validation_scores_) == pytest.approx(-expected, abs=1e-12)


def test_bootstrap_draws_learning_rows_for_each_member(X, Y, seen_jobs):
    quick(n_ensemble=3, bootstrap=True).fit(X, Y)
    tasks = seen_jobs[0].tasks
    members = {task.rows.tobytes() for task in tasks}
    assert len(members) == 3
    for task in tasks:
        # A tenth of 60 is held out; 54 draws with replacement leave about a third of the rows undrawn.
        assert len(task.rows) == 54
        assert 20 < len(set(task.rows)) < 45
        assert not set(task.rows) & set(task.validation_rows)
    # Both heads of a member learn from the same clips.
    assert tasks[0].rows.tobytes() == tasks[3].rows.tobytes()


def test_score_weighs(X, Y, weights):
    from sklearn.metrics import r2_score

    regressor = quick().fit(X, Y[:, 0])
    expected = r2_score(Y[:, 0], regressor.predict(X), sample_weight=weights)
    assert regressor.score(X, Y[:, 0], sample_weight=weights) == expected


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, -1.0, np.nan], "must be finite and not negative, got -1.0 in row 1, nan in row 2"),
        ([np.inf, 1.0, 1.0], "must be finite and not negative, got inf in row 0"),
        ([1.0, 1.0], r"sample_weight has shape \(2,\); expected \(3,\), one weight a row of X"),
        (np.ones((3, 1)), r"sample_weight has shape \(3, 1\); expected \(3,\)"),
        ([0, 0, 0], "sample_weight is zero in every row, which leaves nothing to learn from"),
        (["a", "b", "c"], "sample_weight must hold numbers"),
    ],
)
def test_bad_weights(X, Y, weights, words):
    with pytest.raises(ValueError, match=words):
        quick().fit(X[:3], Y[:3], sample_weight=weights)


def test_weights_come_as_series(X, Y, weights):
    index = [f"clip{i}" for i in range(60)]
    series = quick().fit(pd.DataFrame(X, index=index), Y, sample_weight=pd.Series(weights, index=index))
    expected = quick().fit(X, Y, sample_weight=weights).predict(X)
    assert np.array_equal(series.predict(pd.DataFrame(X)), expected)
