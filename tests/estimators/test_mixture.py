import numpy as np
import pytest
from sklearn.linear_model import Ridge

from musiceval_sk.estimators.mixture import PENALTIES, fit_ridge, held_out_means, mix


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def split_of(rng, shape, apart=False):
    """Make data of unequal weights, and fold them, or hold out rows that are not among those to learn from."""
    X, weights = rng.normal(size=shape), rng.uniform(0.5, 3, shape[0])
    y = X[:, 0] + rng.normal(size=shape[0])
    rows, outside = np.split(rng.permutation(shape[0]), [shape[0] - 9 * apart])
    parts = [(rows, outside)] if apart else [(np.setdiff1d(rows, h), h) for h in np.array_split(rows, 4)]
    return X, y, weights, rows, parts


@pytest.mark.parametrize("apart", [False, True], ids=["folds", "apart"])
@pytest.mark.parametrize("shape", [(60, 20), (30, 50)], ids=str)
def test_the_penalty_is_that_which_predicts_the_hold_outs_best(rng, shape, apart):
    X, y, weights, rows, parts = split_of(rng, shape, apart)
    even = weights / weights[rows].mean()

    def refitted(alpha, learned):
        return Ridge(alpha=alpha).fit(X[learned], y[learned], sample_weight=even[learned])

    errors = [sum(even[h] @ (refitted(a, t).predict(X[h]) - y[h]) ** 2 for t, h in parts) for a in PENALTIES]
    best = PENALTIES[int(np.argmin(errors))]
    whole, without = fit_ridge(X, y, weights, rows, [*parts, parts[0]])
    np.testing.assert_allclose(whole.coef, refitted(best, rows).coef_, atol=1e-8)
    for (learned, _), line in zip([*parts, parts[0]], without, strict=True):
        np.testing.assert_allclose(line.coef, refitted(best, learned).coef_, atol=1e-8)


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
