"""The fused searches must give what scikit-learn's searches give."""

import itertools
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import parallel_config
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

from musiceval_sk import FusedGridSearchCV, FusedRandomizedSearchCV, MOSRegressor, mos_scorer
from tests.estimators.fused import CLOSE, same_scores, small, spy_on_batches

pytestmark = pytest.mark.filterwarnings("ignore:training reached max_iter")

RATES = {"learning_rate_init": [0.003, 0.03]}


@pytest.fixture
def data(rng):
    index = [f"c{i}" for i in range(90)]
    names = [f"{part}_{i}" for part in ("audio", "text") for i in range(3)]
    X = pd.DataFrame(rng.normal(size=(90, 6)), index=index, columns=names)
    score = np.clip(3 + X["audio_0"] + 0.3 * rng.normal(size=90), 1, 5)
    y = pd.Series(score, index=index, name="impression")
    return X, y, pd.Series(np.repeat([f"S{i}" for i in range(9)], 10), index=index)


def both(estimator, grid, *fit, params=None, **options):
    """Fit both searches; fresh clones, so that neither sees the other's."""
    return [
        kind(clone(estimator), grid, **options).fit(*fit, **(params or {}))
        for kind in (FusedGridSearchCV, GridSearchCV)
    ]


MANY = {"learning_rate_init": [0.001, 0.01], "momentum": [0.5, 0.9], "alpha": [0.0, 0.01]}
# Training amplifies rounding where steps are large, and a tie of two epochs can tip: in float64 there is room for both.
WILD = MANY | {"learning_rate_init": [0.01, 0.1]}
SHAPES = {"hidden_layer_sizes": [(8, 4), (5, 3)], "batch_size": [16, 64], "loss": ["l1", "mse"]} | RATES


@pytest.mark.parametrize(
    "regressor, grid",
    [
        pytest.param(small(), MANY, id="early stopping"),
        pytest.param(small(early_stopping=False), MANY, id="no early stopping"),
        pytest.param(small(dtype="float64"), WILD, id="large steps"),
        pytest.param(
            small(n_iter_no_change=3, max_iter=100, dtype="float64"), WILD, id="stopping at different epochs"
        ),
        pytest.param(small(), SHAPES, id="several shapes"),
        pytest.param(small(n_ensemble=3), RATES, id="an ensemble"),
        pytest.param(small(), {"n_ensemble": [1, 3]}, id="ensembles of several sizes"),
        pytest.param(small(dtype="float64", shuffle=False), RATES, id="float64"),
        pytest.param(small(), {"random_state": [0, 1, np.random.RandomState(2)]}, id="seeds"),  # noqa: NPY002
        pytest.param(small(), [{"alpha": [0.0, 0.1]}, {"momentum": [0.5]}], id="a list of grids"),
    ],
)
@pytest.mark.slow
def test_equals_grid_search(data, regressor, grid):
    fused, plain = both(regressor, grid, *data[:2], cv=3, return_train_score=True)
    same_scores(fused, plain, 1e-8 if regressor.dtype == "float64" else CLOSE)
    assert fused.best_params_ == plain.best_params_
    np.testing.assert_allclose(fused.predict(data[0]), plain.predict(data[0]), atol=1e-6)
    assert fused.score(*data[:2]) == pytest.approx(plain.score(*data[:2]), abs=CLOSE)


def test_leaves_the_attributes_of_grid_search(data):
    fused, plain = both(small(), RATES, *data[:2], cv=3)

    assert set(vars(fused)) == set(vars(plain))
    assert fused.get_params() | {"estimator": None} == plain.get_params() | {"estimator": None}
    assert fused.best_estimator_.get_params() == plain.best_estimator_.get_params()
    assert fused.n_features_in_ == 6
    assert list(fused.feature_names_in_) == list(data[0].columns)


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.slow
def test_two_targets_that_see_different_columns(data, as_array):
    X, y, _ = data
    Y = pd.DataFrame({"impression": y, "alignment": 3 + np.tanh(X["text_0"])})
    grid = RATES | {"head_inputs": [{"impression": "audio"}, None, "all"]}
    if as_array:
        X, Y = X.to_numpy(), Y.to_numpy()
        grid["head_inputs"] = [{"target_0": slice(0, 3)}, None, [0, 3]]
    same_scores(*both(small(n_ensemble=2), grid, X, Y, cv=3))


@pytest.mark.slow
def test_equals_grid_search_in_a_pipeline_by_groups_with_several_scorers(data):
    X, y, systems = data
    grid = {"standardscaler__with_mean": [True, False], "mosregressor__learning_rate_init": [0.003, 0.03]}
    scoring = {name: mos_scorer(name, systems=systems) for name in ("S_SRCC", "U_MSE")}
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), small(n_ensemble=2))
    fused, plain = both(
        model,
        grid,
        X,
        y,
        params={"groups": systems},
        cv=GroupKFold(3),
        scoring=scoring,
        refit="U_MSE",
        return_train_score=True,
    )
    same_scores(fused, plain)
    assert fused.best_params_ == plain.best_params_
    assert fused.multimetric_


@pytest.mark.filterwarnings("ignore:early stopping goes by")
def test_holds_out_whole_groups(data):
    X, y, systems = data
    model = make_pipeline(StandardScaler(), small())
    fused, plain = both(
        model,
        {"mosregressor__learning_rate_init": [0.003, 0.03]},
        X,
        y,
        params={"mosregressor__groups": systems},
        cv=3,
    )
    same_scores(fused, plain)
    # It matters: without groups other rows are held out.
    other = FusedGridSearchCV(model, {"mosregressor__learning_rate_init": [0.003, 0.03]}, cv=3).fit(X, y)
    assert not np.allclose(other.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])


def test_weighs_clips(data):
    X, y, _ = data
    weights = np.arange(90) % 4  # of every fold some clips are left out
    fused, plain = both(small(), RATES, X, y, params={"sample_weight": weights}, cv=3)
    same_scores(fused, plain)
    unweighted = FusedGridSearchCV(small(), RATES, cv=3).fit(X, y)
    assert not np.allclose(
        unweighted.cv_results_["mean_test_score"], fused.cv_results_["mean_test_score"], atol=1e-3
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:early stopping goes by")
def test_metadata_routing(data):
    X, y, systems = data
    with sklearn.config_context(enable_metadata_routing=True):
        model = small().set_fit_request(groups=True)
        fused, plain = both(model, RATES, X, y, params={"groups": systems}, cv=GroupKFold(3))
        same_scores(fused, plain)
        inner = FusedGridSearchCV(model, RATES, cv=GroupKFold(2))
        plain_inner = GridSearchCV(model, RATES, cv=GroupKFold(2))
        scores, expected = (
            cross_val_score(search, X, y, cv=GroupKFold(3), params={"groups": systems})
            for search in (inner, plain_inner)
        )
    np.testing.assert_allclose(scores, expected, atol=CLOSE)


def nested_scores(model, routed, cv=None):
    """Scores of both searches, nested in `cross_validate`."""
    X, y, params = routed
    return [
        cross_validate(kind(model, RATES, cv=cv or 2), X, y, cv=cv or 3, params=params)["test_score"]
        for kind in (FusedGridSearchCV, GridSearchCV)
    ]


ROUTES_TO_SCORES = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="scikit-learn 1.7 routes weights to scores otherwise",
)


@pytest.mark.parametrize("piped", [False, pytest.param(True, marks=ROUTES_TO_SCORES)])
def test_routed_weights_reach_every_fit(data, piped):
    X, y, _ = data
    weights = np.arange(90) % 4
    with sklearn.config_context(enable_metadata_routing=True):
        model = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        grid = RATES
        if piped:
            model.set_score_request(
                sample_weight=True
            )  # a pipeline's score refuses what none of its steps asks for
            model = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
            grid = {"mosregressor__learning_rate_init": RATES["learning_rate_init"]}
        fused, plain = both(model, grid, X, y, params={"sample_weight": weights}, cv=3)
        same_scores(fused, plain)
        unweighted = FusedGridSearchCV(model, grid, cv=3).fit(X, y)
        assert not np.allclose(
            unweighted.cv_results_["mean_test_score"], fused.cv_results_["mean_test_score"], atol=1e-3
        )
        if not piped:
            scores, expected = nested_scores(model, (X, y, {"sample_weight": weights}))
            np.testing.assert_allclose(scores, expected, atol=CLOSE)


@ROUTES_TO_SCORES
@pytest.mark.slow
def test_routed_weights_reach_fit_and_score(data):
    X, y, _ = data
    weights = 1.0 + np.arange(90) % 4
    with sklearn.config_context(enable_metadata_routing=True):
        model = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scores, expected = nested_scores(model, (X, y, {"sample_weight": weights}))
        unscored = model.set_score_request(sample_weight=False)
        others, _ = nested_scores(unscored, (X, y, {"sample_weight": weights}))
    np.testing.assert_allclose(scores, expected, atol=CLOSE)
    assert not np.allclose(scores, others, atol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:early stopping goes by")
def test_routed_groups_reach_the_inner_split_of_nested_searches(data):
    X, y, systems = data
    with sklearn.config_context(enable_metadata_routing=True):
        held_out_whole, expected = nested_scores(
            small().set_fit_request(groups=True), (X, y, {"groups": systems}), GroupKFold(3)
        )
        held_out_rows, _ = nested_scores(
            small().set_fit_request(groups=False), (X, y, {"groups": systems}), GroupKFold(3)
        )
    np.testing.assert_allclose(held_out_whole, expected, atol=CLOSE)
    assert not np.allclose(held_out_whole, held_out_rows, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["l1", "soft_bins"])
def test_equals_grid_search_exactly_in_float32(rng, loss):
    # Steps of 0.3 do not settle: any difference in rounding would grow.
    X = rng.normal(size=(200, 40)).astype(np.float32)
    y = np.clip(3 + X[:, 0] + 0.3 * rng.normal(size=200), 1, 5)
    model = small(hidden_layer_sizes=(32, 16), max_iter=25, loss=loss)
    grid = {"learning_rate_init": [0.001, 0.01, 0.3], "momentum": [0.5, 0.95], "alpha": [0.0, 0.001]}
    same_scores(*both(model, grid, X, y, cv=3, return_train_score=True), close=0)


def test_cv_objects(data):
    X, y, systems = data
    splits = list(KFold(3).split(X))

    def once():
        yield from splits

    expected = GridSearchCV(small(), RATES, cv=splits).fit(X, y)
    for cv in (splits, once(), KFold(3)):
        same_scores(FusedGridSearchCV(small(), RATES, cv=cv).fit(X, y), expected)
    seeded = ShuffleSplit(2, test_size=0.3, random_state=1)
    same_scores(*both(small(), RATES, X, y, cv=seeded))


def test_a_splitter_without_a_seed_is_asked_once(data):
    X, y, _ = data

    class Counting(ShuffleSplit):
        asked = 0

        def split(self, *args, **kwargs):
            Counting.asked += 1
            return super().split(*args, **kwargs)

    FusedGridSearchCV(small(), RATES, cv=Counting(2)).fit(X, y)
    assert Counting.asked == 1


@pytest.mark.slow
def test_refit_by_a_rule_and_not_at_all(data):
    X, y, _ = data
    fused, plain = both(small(), MANY, X, y, cv=3, refit=lambda results: 4)
    assert fused.best_index_ == plain.best_index_ == 4
    assert not hasattr(fused, "best_score_")
    fused, plain = both(small(), MANY, X, y, cv=3, refit=False)
    assert fused.best_score_ == pytest.approx(plain.best_score_, abs=CLOSE)
    assert not hasattr(fused, "best_estimator_")


def test_randomized_search_draws_the_same_candidates(data):
    X, y, _ = data
    distributions = {"learning_rate_init": loguniform(1e-3, 1e-1), "batch_size": [16, 32]}
    fused, plain = (
        kind(small(), distributions, n_iter=6, cv=3, random_state=5).fit(X, y)
        for kind in (FusedRandomizedSearchCV, RandomizedSearchCV)
    )
    same_scores(fused, plain)
    assert fused.best_params_ == plain.best_params_


def test_without_a_seed_one_is_drawn_for_the_search(data):
    X, y, _ = data
    search = FusedGridSearchCV(small(random_state=None), {"alpha": [0.0, 0.0]}, cv=2).fit(X, y)
    first, second = search.cv_results_["mean_test_score"]
    assert first == second
    assert search.estimator.random_state is None
    assert isinstance(search.best_estimator_.random_state, int)


@pytest.mark.filterwarnings("ignore:One or more of the t.* scores are non-finite")
@pytest.mark.parametrize("error_score", [np.nan, -7.0])
def test_failed_candidates_get_the_error_score(data, error_score):
    X, y, _ = data
    # The first is refused before training, the last diverges in training.
    grid = {"learning_rate_init": [-1.0, 0.01, 1e30]}
    searches = []
    for kind in (FusedGridSearchCV, GridSearchCV):
        with pytest.warns(FitFailedWarning, match="4 fits failed out of a total of 6"):
            searches.append(kind(small(loss="mse"), grid, cv=2, error_score=error_score).fit(X, y))
    same_scores(*searches)
    assert searches[0].best_params_ == {"learning_rate_init": 0.01}


def test_errors_can_be_raised(data):
    X, y, _ = data
    search = FusedGridSearchCV(small(), {"learning_rate_init": [0.01, -1.0]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="'learning_rate_init' .* Got -1.0"):
        search.fit(X, y)
    # Nothing is left behind that would answer later fits.
    assert small().fit(X, y).n_iter_ > 0


def test_candidates_with_another_estimator_or_no_seed_are_fitted_on_their_own(data):
    X, y, _ = data
    model = make_pipeline(StandardScaler(), small())
    same_scores(*both(model, {"mosregressor": [Ridge(), small(random_state=1)]}, X, y, cv=3))
    search = FusedGridSearchCV(small(), {"random_state": [None, 0]}, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.slow
def test_nested(data):
    X, y, _ = data
    scores, expected = (
        cross_val_score(kind(small(), RATES, cv=2), X, y, cv=2) for kind in (FusedGridSearchCV, GridSearchCV)
    )
    np.testing.assert_allclose(scores, expected, atol=CLOSE)
    outer = GridSearchCV(FusedGridSearchCV(small(), RATES, cv=2), {"estimator__momentum": [0.5, 0.9]}, cv=2)
    plain = GridSearchCV(GridSearchCV(small(), RATES, cv=2), {"estimator__momentum": [0.5, 0.9]}, cv=2)
    same_scores(outer.fit(X, y), plain.fit(X, y))


@pytest.mark.parametrize(
    "kind, grid", [(FusedGridSearchCV, "param_grid"), (FusedRandomizedSearchCV, "param_distributions")]
)
def test_is_cloned_pickled_and_set(data, kind, grid):
    X, y, _ = data
    search = kind(small(), RATES, cv=2, **({"n_iter": 2} if grid == "param_distributions" else {}))
    copy = clone(search).set_params(estimator__momentum=0.5)
    assert copy.get_params()[grid] == RATES
    assert copy.fit(X, y).best_estimator_.momentum == 0.5
    loaded = pickle.loads(pickle.dumps(copy))
    np.testing.assert_array_equal(loaded.predict(X), copy.predict(X))
    assert search.estimator.momentum == 0.9


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_speaks_as_scikit_learn_does(data, capsys, monkeypatch, verbose):
    monkeypatch.setattr("musiceval_sk._progress._on_terminal", lambda: True)
    X, y, _ = data
    FusedGridSearchCV(small(), RATES, cv=2, verbose=verbose).fit(X, y)
    out, err = capsys.readouterr()
    assert ("Fitting 2 folds for each of 2 candidates, totalling 4 fits" in out) == (verbose >= 1)
    assert out.count("[CV] END") == (4 if verbose == 2 else 0)
    assert ("4 models" in err) == (verbose >= 1)


def test_the_time_of_a_batch_is_shared(data):
    X, y, _ = data
    grid = {"max_iter": [1, 200], "n_iter_no_change": [200]}
    search = FusedGridSearchCV(small(), grid, cv=2).fit(X, y)
    short, long = search.cv_results_["mean_fit_time"]
    assert short > 0
    assert long > 0


def test_the_time_of_a_batch_is_shared_by_epochs(data, monkeypatch):
    X, y, _ = data
    ticks = itertools.count(0, 1e6)
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr("musiceval_sk.estimators.engine.batches.time", clock)
    grid = {"max_iter": [1, 3], "n_iter_no_change": [9]}
    results = FusedGridSearchCV(small(), grid, cv=2, refit=False).fit(X, y).cv_results_
    # Of a clock that moves by a million at each look, the first fit waits for three and trains for one of these, the others
    # wait for one. Of that one, fits of one epoch take an eighth each and those of three epochs three. What scikit-learn
    # measures beside that are seconds.
    expected = [(1 / 8 - 3 + 1 / 8 - 1) / 2, 3 / 8 - 1]
    np.testing.assert_allclose(results["mean_fit_time"], np.multiply(expected, 1e6), atol=1e4)
    assert (results["std_fit_time"] == 0).all()


def test_y_must_be_given(data):
    with pytest.raises(ValueError, match="FusedGridSearchCV needs y, the scores to learn, but y is None"):
        FusedGridSearchCV(MOSRegressor(), RATES).fit(data[0])


def test_parameters_are_as_they_were_after_a_fit_that_fails(data):
    X, y, _ = data
    cv, model = iter(KFold(2).split(X)), small(random_state=None)
    search = FusedGridSearchCV(model, {"alpha": [-1.0]}, cv=cv, error_score="raise")
    with pytest.raises(ValueError, match="alpha"):
        search.fit(X, y)
    assert search.estimator is model
    assert search.cv is cv
    assert not any(name.startswith("_fit") for name in vars(search))


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_processes_are_scikit_learns(data):
    fused, plain = both(small(), MANY, *data[:2], cv=3, n_jobs=2, return_train_score=True)
    same_scores(fused, plain, close=0)
    np.testing.assert_array_equal(fused.predict(data[0]), plain.predict(data[0]))
    assert (fused.cv_results_["mean_fit_time"] > 0).all()


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_within_a_search_that_has_the_processes_already(data):
    X, y, _ = data
    search = FusedGridSearchCV(small(max_iter=5), {"alpha": [0.0, 0.01]}, cv=KFold(2), n_jobs=2)
    alone, shared = (cross_val_score(search, X, y, cv=2, n_jobs=n_jobs) for n_jobs in (1, 2))
    np.testing.assert_allclose(alone, shared, rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_joblib_says_how_many_where_nothing_else_does(data, monkeypatch):
    seen = spy_on_batches(monkeypatch)
    with parallel_config(n_jobs=2):
        FusedGridSearchCV(small(), RATES, cv=3).fit(*data[:2])
    # All but the refit is trained elsewhere.
    assert seen == [(90, 1)]


def test_no_processes_are_refused_in_words(data):
    with pytest.raises(ValueError, match="n_jobs == 0"):
        FusedGridSearchCV(small(), RATES, n_jobs=0).fit(*data[:2])
