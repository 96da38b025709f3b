"""scikit-learn's own estimator checks, with no expected failure."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from musiceval_sk import MOSRegressor

QUICK = {
    "hidden_layer_sizes": (16, 8),
    "learning_rate_init": 0.02,
    "max_iter": 40,
    "scale": None,
    "random_state": 0,
}

# A check fits one estimator twice and wants the same predictions; going on from the last weights, only one that has
# reached its one optimum can give them: a linear model, stepped with all rows at once until the loss moves no more.
CONVEX = {
    "hidden_layer_sizes": (),
    "loss": "huber",
    "dtype": "float64",
    "early_stopping": False,
    "batch_size": 500,
    "learning_rate_init": 0.1,
    "n_iter_no_change": 50,
    "max_iter": 600,
}

# One check wants a fit of standardised scores to be better than their mean; others have scores far outside this scale.
BINS = {
    "loss": "soft_bins",
    "scale": (-4, 4),
    "n_bins": 30,
    "bin_sigma": 0.3,
    "learning_rate_init": 0.05,
    "max_iter": 150,
}

# With momentum, steps over so few rows are smaller, lest rounding decide where training ends.
FEW_ROWS = {"learning_rate_init": 0.005, "early_stopping": False}

# Every value of every option, several at once: what one alone would break, it breaks in company.
OPTIONS = [
    {"hidden_layer_sizes": (16, 16, 8, 8), "loss": "mse", "max_iter": 80},
    {"activation": "identity", "hidden_layer_sizes": (), "dtype": "float64"},
    {"activation": "gelu", "hidden_layer_sizes": (16,), "loss": "huber", "clip": (-1000, 1000)},
    BINS | {"activation": "gelu", "early_stopping": False, "rank_weight": 0.1},
    {"rank_weight": 1.0, "rank_margin": 0.5, "rank_quality": 7.0, "n_ensemble": 3, "bootstrap": True},
    {"rank_weight": 0.1, "loss": "mse", "n_ensemble": 2, "shuffle": False},
    FEW_ROWS | {"n_ensemble": 2, "bootstrap": True, "batch_size": 7},
    FEW_ROWS | {"shuffle": False, "batch_size": 5},
    CONVEX | {"warm_start": True},
    {"nesterovs_momentum": True, "alpha": 1e-3, "early_stopping": False},
]

USUAL = [{}, BINS | {"n_ensemble": 3}, {"linear": None, "n_ensemble": 3}]


pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:y (is constant|leaves the scale)"),
]


@parametrize_with_checks(
    [MOSRegressor.from_protocol("paper", **QUICK), *(MOSRegressor(**QUICK | usual) for usual in USUAL)]
)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([MOSRegressor.from_protocol("paper", **QUICK | options) for options in OPTIONS])
def test_sklearn_check_with_options(estimator, check):
    check(estimator)
