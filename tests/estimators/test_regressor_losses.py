"""Losses, activations, ensembles and joint stopping of `MOSRegressor`."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor

from musiceval_sk import MOSRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BINS = {"loss": "soft_bins", "learning_rate_init": 0.1, "max_iter": 100}


def quick(**parameters):
    defaults = {"hidden_layer_sizes": (16, 8), "learning_rate_init": 0.02, "max_iter": 30, "random_state": 0}
    return MOSRegressor.from_protocol("paper", **defaults | parameters)


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(120, 5))


@pytest.fixture
def Y(X):
    scores = pd.DataFrame({"impression": 3 + X[:, 0] - 0.5 * X[:, 1], "alignment": 3 + X[:, 2]})
    return scores.clip(1, 5)


def outputs_by_hand(regressor, X, head, activate):
    hidden = X
    for i, (weights, biases) in enumerate(
        zip(regressor.coefs_[head], regressor.intercepts_[head], strict=True)
    ):
        hidden = (activate(hidden) if i else hidden) @ weights[0] + biases[0]
    return hidden


def gelu(x):
    return x * norm.cdf(x)


def test_gelu_by_hand(X, Y):
    regressor = quick(activation="gelu").fit(X, Y)
    expected = np.column_stack([outputs_by_hand(regressor, X, head, gelu)[:, 0] for head in (0, 1)])
    np.testing.assert_allclose(regressor.predict(X), expected, rtol=1e-10)


def test_soft_bins_predict_the_expectation(X, Y):
    regressor = quick(**BINS, n_bins=9, bin_sigma=0.5).fit(X, Y)
    assert regressor.coefs_[0][-1].shape == (1, 8, 9)
    logits = outputs_by_hand(regressor, X, 0, lambda hidden: np.maximum(hidden, 0))
    # Nine centres from 1 to 5 lie half a score apart.
    centres = np.array([1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5])
    np.testing.assert_allclose(regressor.predict(X)[:, 0], softmax(logits, axis=1) @ centres, rtol=1e-10)
    assert regressor.score(X, Y) > 0.7
    far = regressor.predict(1000 * X)
    assert far.min() >= 1
    assert far.max() <= 5


def test_soft_bins_loss_is_cross_entropy_against_a_gaussian(X, Y):
    regressor = quick(**BINS, dtype="float64", early_stopping=True).fit(
        X, Y["impression"], X_val=X[:7], y_val=Y["impression"][:7]
    )
    centres = np.linspace(1, 5, 20)
    wanted = norm.pdf(centres, loc=Y["impression"].to_numpy()[:7, np.newaxis], scale=0.25)
    wanted /= wanted.sum(axis=1, keepdims=True)
    logits = outputs_by_hand(regressor, X[:7], 0, lambda hidden: np.maximum(hidden, 0))
    loss = -(wanted * np.log(softmax(logits, axis=1))).sum(axis=1).mean()
    assert max(regressor.validation_scores_) == pytest.approx(-loss, abs=1e-10)


@pytest.mark.parametrize("activation", ["relu", "gelu", "identity"])
@pytest.mark.parametrize("more", [BINS, {"clip": (2.5, 3.5)}, {"loss": "huber", "n_ensemble": 3}], ids=repr)
def test_module_says_the_same(X, Y, activation, more):
    regressor = quick(**more | {"activation": activation, "max_iter": 5}).fit(X, Y)
    with torch.no_grad():
        outputs = regressor.module_(torch.tensor(X)).numpy()
    np.testing.assert_allclose(outputs, regressor.predict(X), rtol=1e-10)


def test_ranking_term_spreads_predictions(X, Y):
    # L1 on hardly any signal predicts near the median; the ranking term with margin 1 pulls pairs apart.
    noisy = Y["impression"].sample(frac=1.0, random_state=0).to_numpy()
    spread = {
        weight: quick(rank_weight=weight, rank_margin=1.0, early_stopping=False, max_iter=20)
        .fit(X, noisy)
        .predict(X)
        .std()
        for weight in (0.0, 5.0)
    }
    assert spread[5.0] > 1.2 * spread[0.0]


def test_clip_bounds_the_mean_and_leaves_the_spread(X, Y):
    loose, tight = (quick(n_ensemble=2, clip=clip).fit(X, Y) for clip in (None, (2.8, 3.1)))
    mean, std = loose.predict(X, return_std=True)
    clipped, same = tight.predict(X, return_std=True)
    assert np.array_equal(clipped, np.clip(mean, 2.8, 3.1))
    assert np.array_equal(std, same)
    assert mean.min() < 2.8
    assert mean.max() > 3.1


@pytest.mark.parametrize("bootstrap", [False, True])
def test_spread_grows_away_from_the_training_data(bootstrap):
    # Training data lie within two standard deviations of the origin; the same clips ten times further out do not.
    X = np.random.default_rng(0).normal(size=(200, 4)).clip(-2, 2)
    y = 3 + np.tanh(X[:, 0])
    regressor = quick(n_ensemble=8, bootstrap=bootstrap, max_iter=100, early_stopping=False).fit(X, y)
    spread = [regressor.predict(factor * X, return_std=True)[1].mean() for factor in (1, 3, 10)]
    assert spread[1] > 2 * spread[0]
    assert spread[2] > 2 * spread[1]


def test_return_std_is_called_as_in_the_gaussian_process(X, Y):
    y = Y["impression"]
    answers = [
        model.fit(X, y).predict(X, return_std=True)
        for model in (quick(n_ensemble=2, max_iter=2), GaussianProcessRegressor())
    ]
    for (mean, std), (expected_mean, expected_std) in [answers]:
        assert (mean.shape, std.shape) == (expected_mean.shape, expected_std.shape)


def test_names_and_order_of_targets_are_kept(X, Y):
    straight, turned = quick().fit(X, Y), quick().fit(X, Y[["alignment", "impression"]])
    assert straight.target_names_ == ["impression", "alignment"]
    assert turned.target_names_ == ["alignment", "impression"]
    for regressor in (straight, turned):
        for i, name in enumerate(regressor.target_names_):
            assert np.corrcoef(regressor.predict(X)[:, i], Y[name])[0, 1] > 0.7


def test_heads_that_stop_together_keep_the_epoch_of_least_summed_loss(X, Y):
    options = {"n_iter_no_change": 5, "max_iter": 300, "early_stopping": True, "dtype": "float64"}
    alone, joint = quick(**options).fit(X, Y), quick(**options, stop_together=True).fit(X, Y)
    assert len(set(alone.best_iteration_[:, 0])) == 2
    (best,) = set(joint.best_iteration_[:, 0])
    # The curve is the heads' mean, so its best epoch is that of their sum.
    assert best == 1 + int(np.argmax(joint.validation_scores_))
    assert joint.n_iter_ == best + 5
