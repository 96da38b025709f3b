"""`MOSRegressor` as it is recommended: standardized, beside a ridge regression, hold-outs fold by fold."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from musiceval_sk import MOSRegressor
from musiceval_sk.estimators.engine import jobs as _jobs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quick(**parameters):
    small = {"hidden_layer_sizes": (16, 8), "n_iter_no_change": 5, "scale": None, "random_state": 0}
    return MOSRegressor(**small | parameters)


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(120, 6))


@pytest.fixture
def groups():
    return np.repeat(np.arange(12), 10)


@pytest.fixture
def seen_jobs(monkeypatch):
    jobs, train_job = [], _jobs.train_job

    def note(job, on_epoch):
        jobs.append(job)
        return train_job(job, on_epoch)

    monkeypatch.setattr(_jobs, "train_job", note)
    return jobs


def test_every_group_is_held_out_whole_by_a_pair_of_members(X, groups, seen_jobs):
    regressor = quick(max_iter=2).fit(X, X[:, 0], groups=groups)
    (job,) = seen_jobs
    held = [{tuple(row) for row in job.inputs[task.validation_rows].round(9).tolist()} for task in job.tasks]
    assert len(held) == 10 and held[::2] == held[1::2]
    assert len(set().union(*held)) == 120
    assert sum(len(rows) for rows in held[::2]) == 120
    assert all(len(rows) % 10 == 0 for rows in held)
    assert len(regressor.coefs_[0][0]) == 10


def test_members_of_a_target_stop_together(X, groups):
    Y = np.column_stack([X[:, 0], np.abs(X[:, 1])])
    best = quick().fit(X, Y, groups=groups).best_iteration_
    # Those that refine the ridge regression, and those that learn scores.
    assert all(len(set(row[::2])) == len(set(row[1::2])) == 1 for row in best)


@pytest.mark.parametrize(("factor", "shift"), [(25.0, -25.0), (0.01, 7.0)])
def test_no_scale_of_scores_or_columns_matters(X, groups, factor, shift):
    y = X[:, 0] + np.abs(X[:, 1])
    plain = quick(dtype="float64", max_iter=30).fit(X, y, groups=groups)
    scaled = quick(dtype="float64", max_iter=30).fit(1000 * X + 5, factor * y + shift, groups=groups)
    np.testing.assert_allclose(
        scaled.predict(1000 * X + 5), factor * plain.predict(X) + shift, atol=1e-6 * factor
    )
    assert scaled.best_iteration_.tolist() == plain.best_iteration_.tolist()


def test_what_is_linear_is_left_to_the_ridge_regression(X, groups):
    rng = np.random.default_rng(1)
    wide = np.hstack([X, rng.normal(size=(120, 60))])
    y = wide @ rng.normal(size=66) / 8 + 0.3 * rng.normal(size=120)
    new = rng.normal(size=(500, 66))
    regressor = quick().fit(wide, y, groups=groups)
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 16))).fit(wide, y)
    difference = regressor.predict(new) - ridge.predict(new)
    assert difference.std() < 0.2 * ridge.predict(new).std()


def test_what_is_bent_is_learned_by_the_networks(groups):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(400, 6))
    y = np.abs(X[:, 0]) + 0.5 * X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=400)
    new = rng.normal(size=(500, 6))
    truth = np.abs(new[:, 0]) + 0.5 * new[:, 1] * new[:, 2]
    regressor = MOSRegressor((64, 16), scale=None, random_state=0).fit(X, y)
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 16))).fit(X, y)
    error, of_ridge = (np.mean((model.predict(new) - truth) ** 2) for model in (regressor, ridge))
    assert error < 0.5 * of_ridge
    assert regressor.network_weights_[0] > 0.9


def test_what_cannot_be_learned_is_predicted_near_the_mean(X, groups):
    y = np.random.default_rng(3).normal(3, 1, 120)
    predicted = quick().fit(X, y, groups=groups).predict(np.random.default_rng(4).normal(size=(500, 6)))
    assert predicted.std() < 0.35 and abs(predicted.mean() - y.mean()) < 0.15


def test_ten_seeds_differ_less_than_the_papers_hold_out_of_one_group(groups):
    rng = np.random.default_rng(5)
    system = rng.normal(size=(12, 6))[groups]
    X = system + 0.5 * rng.normal(size=(120, 6))
    y = 3 + X[:, 0] + 0.3 * rng.normal(size=120)
    new = rng.normal(size=(200, 6))

    def spread(make):
        return np.std([make(seed).fit(X, y, groups=groups).predict(new) for seed in range(5)], axis=0).mean()

    shared = {"hidden_layer_sizes": (16, 8), "scale": None, "learning_rate_init": 0.02}
    recommended = spread(lambda seed: MOSRegressor(**shared, random_state=seed))
    with pytest.warns(UserWarning, match="early stopping goes by 2 of 12 groups, and so by chance"):
        paper = spread(lambda seed: MOSRegressor.from_protocol("paper", **shared, random_state=seed))
    assert recommended < 0.5 * paper


def test_soft_bins_mix_with_the_ridge_regression_too(X, groups):
    y = np.clip(3 + X[:, 0], 1, 5)
    regressor = quick(loss="soft_bins", scale=(1, 5), max_iter=30).fit(X, y, groups=groups)
    module = regressor.module_
    import torch

    np.testing.assert_allclose(module(torch.tensor(X)).detach().numpy()[:, 0], regressor.predict(X))
    assert regressor.score(X, y) > 0.8


@pytest.mark.parametrize("members", [1, 2, 3])
def test_few_members_hold_out_a_fifth(X, groups, members, seen_jobs):
    regressor = quick(n_ensemble=members, max_iter=3).fit(X, X[:, 0], groups=groups)
    assert [len(task.validation_rows) for task in seen_jobs[0].tasks] == [30] * members
    assert regressor.linear_coefs_[0].shape == (members, 6)


def test_few_rows_held_out_move_no_level(X):
    rng = np.random.default_rng(1)
    y = np.clip(3 + 0.3 * X[:, 0] + 0.5 * rng.normal(size=120), 1, 5)
    worst = int(np.argmax(np.abs(y - 3 - 0.3 * X[:, 0])))
    kept = np.arange(120) != worst
    model = quick().fit(X[kept], y[kept], X_val=X[[worst]], y_val=y[[worst]])
    assert abs(model.predict(X).mean() - y.mean()) < 0.2


def test_few_groups_held_out_are_warned_of(X, groups):
    with pytest.warns(
        UserWarning, match="goes by 2 of 2 groups, and so by chance: raise n_ensemble, or give more"
    ):
        quick(max_iter=2).fit(X, X[:, 0], groups=groups % 2)


def test_members_differ_where_only_the_ridge_regression_is_left(X, groups):
    regressor = quick(max_iter=30).fit(X, 3 + 0.5 * X[:, 0], groups=groups)
    regressor.network_weights_[:] = 0
    near, far = (regressor.predict(size * X, return_std=True)[1].mean() for size in (1, 100))
    assert 0 < 10 * near < far


def test_a_development_list_judges_all_members(X, groups, seen_jobs):
    quick(max_iter=3).fit(X[:80], X[:80, 0], X_val=X[80:], y_val=X[80:, 0])
    assert {tuple(task.validation_rows) for task in seen_jobs[0].tasks} == {tuple(range(80, 120))}


def test_the_linear_part_needs_rows_held_out(X):
    with pytest.raises(
        ValueError, match="linear='ridge' is weighed by the rows that early_stopping holds out"
    ):
        quick(early_stopping=False).fit(X, X[:, 0])
    assert quick(early_stopping=False, linear=None, max_iter=3).fit(X, X[:, 0]).linear_coefs_ is None


def test_weights_are_repetitions_for_all_parts(X, groups):
    weights = np.arange(120) % 3
    y = X[:, 0] + np.abs(X[:, 1])
    one = quick(max_iter=5).fit(X, y, weights, groups)
    rows = np.repeat(np.arange(120), weights)
    other = quick(max_iter=5).fit(X[rows], y[rows], groups=groups[rows])
    assert np.array_equal(one.predict(X), other.predict(X))


def test_heads_mix_each_for_themselves(X, groups):
    names = [f"{part}_{i}" for part in ("audio", "text") for i in range(3)]
    table = pd.DataFrame(X, columns=names)
    Y = pd.DataFrame({"impression": X[:, 0], "alignment": np.abs(X[:, 4]) + X[:, 1]})
    regressor = quick().fit(table, Y, groups=groups)
    assert [part.shape for part in regressor.linear_coefs_] == [(10, 3), (10, 6)]
    changed = table.assign(text_0=0.0)
    assert np.array_equal(regressor.predict(changed)[:, 0], regressor.predict(table)[:, 0])


def test_a_warm_start_goes_on_from_the_weights(X, groups):
    y = np.abs(X[:, 0])
    regressor = quick(max_iter=40, warm_start=True).fit(X, y, groups=groups)
    before = regressor.predict(X)
    regressor.set_params(max_iter=1, learning_rate_init=1e-9, averaging=0.0).fit(X, y, groups=groups)
    np.testing.assert_allclose(regressor.predict(X), before, atol=0.05)


def test_a_warm_start_does_not_go_on_beside_another_linear_part(X, groups):
    regressor = quick(max_iter=3, warm_start=True).fit(X, X[:, 0], groups=groups)
    with pytest.raises(
        ValueError, match="linear=None, but the fitted heads were trained beside a ridge regression"
    ):
        regressor.set_params(linear=None).fit(X, X[:, 0], groups=groups)


def test_only_ratios_of_weights_count(X, groups):
    weights = np.random.default_rng(1).uniform(0.5, 1, 120)
    ones = [quick(max_iter=5).fit(X, X[:, 0], weights * size, groups).predict(X) for size in (1, 1e-50, 1e40)]
    for other in ones[1:]:
        np.testing.assert_allclose(other, ones[0], atol=0.02)


def test_unknown_protocols_are_refused():
    with pytest.raises(ValueError, match="unknown protocol 'papers'; choose from paper, released"):
        MOSRegressor.from_protocol("papers")
    released = MOSRegressor.from_protocol("released", random_state=1)
    assert (released.activation, released.stop_together, released.random_state) == ("identity", True, 1)
