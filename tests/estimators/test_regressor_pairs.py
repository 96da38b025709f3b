"""`MOSRegressor` on pairs of clips, against computations of another kind."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict

from musiceval_sk import FusedGridSearchCV, MOSRegressor
from musiceval_sk.estimators.engine.task import Schedule, Task
from musiceval_sk.estimators.engine.train import train

QUICK = {"hidden_layer_sizes": (8,), "n_ensemble": 2, "max_iter": 60, "random_state": 0}
# One network on the vectors as they are, all rows and pairs in a step.
PLAIN = {
    "linear": None, "standardize": False, "early_stopping": False, "n_ensemble": 1, "batch_size": 10_000, "averaging": 0.0,
    "alpha": 0.0, "dtype": "float64", "random_state": 0,
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:training reached max_iter")


@pytest.fixture
def data(rng):
    """Sixty clips by name, their quality, and 600 pairs, the preferred first, by Bradley and Terry's model."""
    X = pd.DataFrame(rng.normal(size=(60, 4)), index=[f"c{i:02}" for i in range(60)])
    quality = X.to_numpy() @ [1.5, -1, 0.5, 0]
    first, shift = rng.integers(0, 60, 600), rng.integers(1, 60, 600)
    second = (first + shift) % 60
    won = rng.random(600) < 1 / (1 + np.exp(quality[second] - quality[first]))
    return X, quality, np.where(won[:, None], np.c_[first, second], np.c_[second, first])


def test_steps_are_those_of_autograd(rng):
    """A step on all scores, then one on all pairs, with momentum, in the way of torch."""
    X, Y = torch.from_numpy(rng.normal(size=(12, 3))), torch.from_numpy(rng.normal(size=(12, 1)))
    pairs = rng.integers(0, 6, (9, 2)) + [0, 6]
    layers = [(rng.normal(size=(3, 4)), rng.normal(size=4)), (rng.normal(size=(4, 1)), rng.normal(size=1))]
    settings = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01, "initial": layers}
    task = Task(
        0, np.arange(12), np.arange(0), 0, 0, pairs=pairs, held_pairs=pairs[:0], pair_weight=0.7, **settings
    )
    (found,) = train(X, Y, [task], Schedule(hidden_layer_sizes=(4,), loss="mse", batch_size=20, max_iter=5))
    weights = [torch.tensor(part, requires_grad=True) for pair in layers for part in pair]
    optimizer = torch.optim.SGD(weights, lr=0.05, momentum=0.9, weight_decay=0.01)

    def score(rows):
        return (torch.relu(X[rows] @ weights[0] + weights[1]) @ weights[2] + weights[3])[:, 0]

    for _ in range(5):
        optimizer.zero_grad()
        ((score(np.arange(12)) - Y[:, 0]) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        lead = score(pairs[:, 0]) - score(pairs[:, 1])
        (-0.7 * torch.nn.functional.logsigmoid(lead).mean()).backward()
        optimizer.step()
    ours = [part for pair in found.layers for part in pair]
    for mine, theirs in zip(ours, weights, strict=True):
        np.testing.assert_allclose(mine, theirs.detach().numpy(), atol=1e-10)


def test_a_line_on_pairs_alone_is_logistic_regression_on_differences(data):
    X, _, pairs = data
    settings = PLAIN | {
        "hidden_layer_sizes": (),
        "max_iter": 2000,
        "learning_rate_init": 0.5,
        "n_iter_no_change": 2000,
    }
    line = MOSRegressor(**settings).fit(X.to_numpy(), None, pairs=pairs)
    apart = X.to_numpy()[pairs[:, 0]] - X.to_numpy()[pairs[:, 1]]
    expected = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
    expected.fit(np.vstack([apart, -apart]), np.repeat([1, 0], len(apart)))
    np.testing.assert_allclose(line.coefs_[0][0][0, :, 0], expected.coef_[0], atol=1e-6)


def test_pairs_alone_rank_clips_never_heard(data, tmp_path):
    X, quality, pairs = data
    inside = (pairs < 45).all(axis=1)
    names = X.index.to_numpy()[pairs[inside]]
    for y in (None, np.full(45, np.nan), pd.Series(np.nan, index=X.index[:45], name="impression")):
        regressor = MOSRegressor(**QUICK).fit(X[:45], y, pairs=names)
        assert np.corrcoef(regressor.predict(X[45:]), quality[45:])[0, 1] > 0.9
        assert regressor.linear_coefs_ is None
    assert regressor.target_names_ == ["impression"]
    assert np.isnan(regressor.target_range_).all()  # no score was ever seen
    loaded = MOSRegressor.load(regressor.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(loaded.predict(X), regressor.predict(X))


@pytest.mark.filterwarnings("ignore:early stopping goes by")
def test_members_that_hold_out_no_whole_pair_are_left_out_of_the_held_out_loss(rng):
    """Ten groups of six clips, five of which have no pair within: some of five folds of two groups hold out none."""
    X, groups = rng.normal(size=(60, 4)), np.repeat(np.arange(10), 6)
    within = [[6 * group, 6 * group + i] for group in range(5) for i in (1, 2)]
    between = [[6 * group + i, 6 * (group - 5) + i] for group in range(5, 10) for i in range(6)]
    settings = QUICK | {"n_ensemble": 10, "max_iter": 1, "learning_rate_init": 1e-9, "random_state": 1}
    regressor = MOSRegressor(**settings).fit(X, None, pairs=within + between, groups=groups)
    # Networks begin with outputs of zero, hence with a loss of log 2 on any pair.
    assert regressor.validation_scores_ == pytest.approx([-np.log(2)], abs=1e-6)


def test_pairs_help_where_scores_are_few_and_noisy(data, rng):
    X, quality, pairs = data
    y = 3 + 0.3 * quality + rng.normal(0, 0.8, 60)
    alone, both = (
        MOSRegressor(**QUICK, scale=None, linear=None).fit(X[:45], y[:45], pairs=given)
        for given in (None, X.index.to_numpy()[pairs])
    )
    of_alone, of_both = (np.corrcoef(r.predict(X[45:]), quality[45:])[0, 1] for r in (alone, both))
    assert of_both > of_alone
    assert abs(both.predict(X[:45]).mean() - y[:45].mean()) < 0.5  # the level is the scores'


def test_the_order_of_rows_and_pairs_and_their_names_tell_nothing(data, rng):
    X, quality, pairs = data
    y = 3 + 0.3 * quality
    expected = MOSRegressor(**QUICK).fit(X.to_numpy(), y, pairs=pairs).predict(X)
    order = rng.permutation(60)
    shuffled = X.iloc[order]
    names = np.append(X.index.to_numpy()[pairs], [["c01", "unknown"]], axis=0)[rng.permutation(601)]
    found = MOSRegressor(**QUICK).fit(shuffled, y[order], pairs=names)
    np.testing.assert_array_equal(found.predict(X), expected)
    twice = np.append(np.arange(60), 59)  # the last clip comes twice, and its pairs name either
    doubled = pairs.copy()
    doubled[doubled == 59] = 60
    once = MOSRegressor(**QUICK).fit(X.to_numpy(), y, sample_weight=np.append(np.ones(59), 2), pairs=pairs)
    found = MOSRegressor(**QUICK).fit(X.to_numpy()[twice], y[twice], pairs=doubled)
    np.testing.assert_array_equal(found.predict(X), once.predict(X))


@pytest.mark.slow
def test_searches_and_cross_validation_hand_pairs_on(data):
    X, quality, pairs = data
    y, names = pd.Series(3 + 0.3 * quality, index=X.index), X.index.to_numpy()[pairs]
    grid, settings = {"alpha": [0.01, 0.1]}, {"cv": 3, "scoring": "r2"}
    fused = FusedGridSearchCV(MOSRegressor(**QUICK), grid, **settings).fit(X, y, pairs=names)
    plain = GridSearchCV(MOSRegressor(**QUICK), grid, **settings).fit(X, y, pairs=names)
    np.testing.assert_allclose(
        fused.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-5
    )
    with sklearn.config_context(enable_metadata_routing=True):
        routed = MOSRegressor(**QUICK).set_fit_request(pairs=True)
        predicted = cross_val_predict(routed, X, y, cv=3, params={"pairs": names})
    without = cross_val_predict(MOSRegressor(**QUICK), X, y, cv=3)
    assert np.corrcoef(predicted, quality)[0, 1] > 0.9 and (predicted != without).any()


def test_a_search_on_pairs_alone_stops_by_the_pairs_held_out(data):
    X, quality, pairs = data
    y, names = pd.Series(np.nan, index=X.index), X.index.to_numpy()[pairs]

    def agreement(model, X, y):
        return np.corrcoef(model.predict(X), quality[X.index.str[1:].astype(int)])[0, 1]

    grid, model = {"alpha": [0.01, 0.1]}, MOSRegressor(**QUICK | {"n_iter_no_change": 3})
    fused, plain = (
        search(model, grid, cv=3, scoring=agreement, refit=False)
        .fit(X, y, pairs=names)
        .cv_results_["mean_test_score"]
        for search in (FusedGridSearchCV, GridSearchCV)
    )
    np.testing.assert_allclose(fused, plain, atol=1e-5)


@pytest.mark.parametrize(
    "y, pairs, words",
    [
        (np.arange(120.0).reshape(60, 2), [[0, 1]], "pairs tell of one target, but y has 2"),
        (np.arange(60.0), [0, 1], r"pairs has shape \(2,\); expected \(n_pairs, 2\)"),
        (np.arange(60.0), [[0, 60]], "numbers of rows of X, 0 to 59; got 60"),
        (np.arange(60.0), [[3, 3]], "no pair is of two clips of X"),
        (None, [[0, 1]], "leaves no whole pair to"),
    ],
)
def test_pairs_that_tell_nothing_are_refused(data, y, pairs, words):
    with pytest.raises(ValueError, match=words), np.errstate(all="ignore"):
        MOSRegressor(**QUICK, scale=None).fit(data[0].to_numpy(), y, pairs=pairs)
