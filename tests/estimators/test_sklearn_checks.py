"""scikit-learn's own estimator checks, with no expected failure."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from musiceval_sk import MOSRegressor

QUICK = {"hidden_layer_sizes": (16, 8), "learning_rate_init": 0.02, "max_iter": 40, "random_state": 0}

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

CONFIGURATIONS = [
    {},
    {"hidden_layer_sizes": (16,)},
    {"hidden_layer_sizes": (16, 16, 8, 8), "loss": "mse", "max_iter": 80},
    {"activation": "identity", "hidden_layer_sizes": ()},
    {"loss": "mse"},
    {"loss": "huber"},
    {"dtype": "float64"},
    {"early_stopping": False},
    {"n_ensemble": 3},
    {"shuffle": False},
    CONVEX | {"warm_start": True},
    {"nesterovs_momentum": True, "alpha": 1e-3},
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([MOSRegressor(**QUICK | configuration) for configuration in CONFIGURATIONS])
def test_sklearn_check(estimator, check):
    check(estimator)
