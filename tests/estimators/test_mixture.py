import numpy as np
import pytest
from sklearn.linear_model import Ridge

from musiceval_sk.estimators.mixture import PENALTIES, fit_ridge, held_out_means, mix, ridge_path


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(40, 6), (12, 30)], ids=str)
def test_a_path_is_scikit_learns_ridge_at_every_penalty(rng, shape):
    X, y, weights = rng.normal(size=shape), rng.normal(size=shape[0]), rng.integers(1, 4, shape[0])
    path = ridge_path(X, y, weights)
    for line, alpha in zip(path, PENALTIES, strict=True):
        expected = Ridge(alpha=alpha).fit(X, y, sample_weight=weights / weights.mean())
        np.testing.assert_allclose(line.coef, expected.coef_, atol=1e-8)
        assert line.intercept == pytest.approx(expected.intercept_, abs=1e-8)


def test_the_penalty_is_that_which_predicts_the_hold_outs_best(rng):
    X = rng.normal(size=(60, 20))
    y = X[:, 0] + rng.normal(size=60)
    rows, weights = np.arange(60), np.ones(60)
    parts = [(np.setdiff1d(rows, held), held) for held in np.split(rows, 3)]
    whole, without = fit_ridge(X, y, weights, rows, [*parts, parts[0]])
    errors = [
        sum(((Ridge(alpha=a).fit(X[t], y[t]).predict(X[h]) - y[h]) ** 2).sum() for t, h in parts)
        for a in PENALTIES
    ]
    best = PENALTIES[int(np.argmin(errors))]
    np.testing.assert_allclose(whole.coef, Ridge(alpha=best).fit(X, y).coef_, atol=1e-8)
    for (learned, _), line in zip([*parts, parts[0]], without, strict=True):
        np.testing.assert_allclose(line.coef, Ridge(alpha=best).fit(X[learned], y[learned]).coef_, atol=1e-8)


def test_held_out_means_are_over_those_who_hold_a_row_out():
    parts = [(np.array([2, 3]), np.array([0, 1])), (np.array([0, 3]), np.array([1, 2]))]
    found = held_out_means([np.array([1.0, 2.0]), np.array([4.0, 5.0])], parts, 4)
    np.testing.assert_array_equal(found, [1.0, 3.0, 5.0, np.nan])


def test_a_mixture_is_of_least_squares_within_bounds(rng):
    y, weights = rng.normal(size=200), rng.uniform(0.5, 2, 200)
    ridge, networks = y + rng.normal(size=200), y + 2 * rng.normal(size=200)
    share, level = mix(ridge, networks, y, weights)
    errors = [weights @ (s * ridge + (1 - s) * networks - y) ** 2 for s in np.linspace(0, 1, 1001)]
    assert share == pytest.approx(np.linspace(0, 1, 1001)[int(np.argmin(errors))], abs=1e-3)
    left = y - share * ridge - (1 - share) * networks
    assert level == pytest.approx(np.average(left, weights=weights))
    assert mix(y, networks, y, weights) == (1.0, pytest.approx(0, abs=1e-12))
    assert mix(networks, y, y, weights)[0] == 0.0
    assert mix(y, y, y, weights)[0] == 1.0  # where both say the same, the simpler one
