import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from musiceval_sk import METRICS, FewSystemsWarning, mos_scorer

SYSTEM_METRICS = [name for name, metric in METRICS.items() if metric.by_system]
CLIP_METRICS = [name for name, metric in METRICS.items() if not metric.by_system]


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    index = pd.Index([f"clip{i:02d}" for i in rng.permutation(60)], name="clip_id")
    table = pd.DataFrame({"system": [f"S{i % 6}" for i in range(60)]}, index=index)
    table["audio_0"] = rng.normal(size=60) + np.arange(60) % 6 / 3
    table["audio_1"] = rng.normal(size=60)
    table["impression"] = 3 + table["audio_0"] + 0.5 * rng.normal(size=60)
    table["alignment"] = 3 - table["audio_1"] + 0.5 * rng.normal(size=60)
    return table


@pytest.fixture
def X(clips):
    return clips[["audio_0", "audio_1"]]


@pytest.fixture
def y(clips):
    return clips["impression"]


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def by_hand(name, clips, folds, target="impression"):
    """Fit, predict and score each fold without a scorer; errors negated."""
    metric, scores = METRICS[name], []
    for train, test in folds:
        inputs = clips[["audio_0", "audio_1"]].to_numpy()
        truth = clips[target].to_numpy()
        predicted = Ridge().fit(inputs[train], truth[train]).predict(inputs[test])
        systems = [clips["system"].to_numpy()[test]] if metric.by_system else []
        score = metric.function(truth[test], predicted, *systems)
        scores.append(score if metric.greater_is_better else -score)
    return scores


FOLDS = KFold(3, shuffle=True, random_state=0)


@pytest.mark.parametrize("name", METRICS)
def test_index_of_y_in_cross_val_score(name, clips, X, y):
    found = cross_val_score(Ridge(), X, y, cv=FOLDS, scoring=mos_scorer(name, systems=clips["system"]))
    np.testing.assert_allclose(found, by_hand(name, clips, FOLDS.split(X)), rtol=1e-10)


@pytest.mark.parametrize("name", CLIP_METRICS)
def test_clip_metrics_need_no_systems(name, clips, X, y):
    found = cross_val_score(Ridge(), X.to_numpy(), y.to_numpy(), cv=FOLDS, scoring=mos_scorer(name))
    np.testing.assert_allclose(found, by_hand(name, clips, FOLDS.split(X)), rtol=1e-10)


@pytest.mark.parametrize("name", SYSTEM_METRICS)
def test_metadata_routing_in_cross_val_score(name, clips, X, y, routing):
    # No index here: systems travel beside X and y.
    found = cross_val_score(
        Ridge(),
        X.to_numpy(),
        y.to_numpy(),
        cv=FOLDS,
        scoring=mos_scorer(name),
        params={"systems": clips["system"].to_numpy()},
    )
    np.testing.assert_allclose(found, by_hand(name, clips, FOLDS.split(X)), rtol=1e-10)


def test_routed_systems_with_an_index_are_matched_by_it(clips, X, y, routing):
    model, scorer = Ridge().fit(X, y), mos_scorer("S_LCC")
    mixed = clips["system"].sample(frac=1, random_state=0)
    assert scorer(model, X, y, systems=mixed) == scorer(model, X, y, systems=clips["system"].to_numpy())


def test_several_in_cross_validate_with_a_group_split(clips, X, y):
    scoring = {name: mos_scorer(name, systems=clips["system"]) for name in METRICS}
    found = cross_validate(Ridge(), X, y, cv=GroupKFold(2), groups=clips["system"], scoring=scoring)
    folds = list(GroupKFold(2).split(X, groups=clips["system"]))
    for name in METRICS:
        np.testing.assert_allclose(found[f"test_{name}"], by_hand(name, clips, folds), rtol=1e-10)


def test_several_in_cross_validate_by_routing(clips, X, y, routing):
    scoring = {name: mos_scorer(name) for name in ("S_MSE", "S_SRCC", "U_LCC")}
    found = cross_validate(Ridge(), X, y, cv=FOLDS, scoring=scoring, params={"systems": clips["system"]})
    for name in scoring:
        np.testing.assert_allclose(found[f"test_{name}"], by_hand(name, clips, FOLDS.split(X)), rtol=1e-10)


def test_errors_are_negated_and_correlations_are_not(clips, X, y):
    systems = clips["system"]
    reversed_truth = LinearRegression().fit(X, -y)
    perfect = DummyRegressor(strategy="constant", constant=3.0).fit(X, y)
    assert mos_scorer("U_SRCC")(reversed_truth, X, y) < 0
    assert mos_scorer("S_MSE", systems=systems)(perfect, X, y * 0 + 4) == -1.0
    assert mos_scorer("U_MSE")(perfect, X, y * 0 + 3) == 0.0


@pytest.mark.parametrize("estimator", ["plain", "pipeline"])
def test_grid_search_prefers_the_better(clips, X, y, estimator):
    ridge, prefix = (
        (Ridge(), "") if estimator == "plain" else (make_pipeline(StandardScaler(), Ridge()), "ridge__")
    )
    grid = {f"{prefix}alpha": [1.0, 1e6]}
    search = GridSearchCV(ridge, grid, cv=FOLDS, scoring=mos_scorer("S_MSE", systems=clips["system"])).fit(
        X, y
    )
    assert search.best_params_ == {f"{prefix}alpha": 1.0}
    if estimator == "plain":
        expected = np.mean(by_hand("S_MSE", clips, FOLDS.split(X)))
        assert search.cv_results_["mean_test_score"][0] == pytest.approx(expected, rel=1e-10)


def test_grid_search_by_routing(clips, X, y, routing):
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 1e6]}, cv=FOLDS, scoring=mos_scorer("S_MSE"))
    search.fit(X.to_numpy(), y.to_numpy(), systems=clips["system"].to_numpy())
    expected = np.mean(by_hand("S_MSE", clips, FOLDS.split(X)))
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("way", ["index", "routing"])
def test_nested_search(clips, X, y, way):
    with sklearn.config_context(enable_metadata_routing=way == "routing"):
        scorer = mos_scorer("S_MSE", systems=clips["system"] if way == "index" else None)
        model = make_pipeline(StandardScaler(), Ridge())
        search = GridSearchCV(model, {"ridge__alpha": [1.0, 1e6]}, cv=FOLDS, scoring=scorer)
        params = {"systems": clips["system"]} if way == "routing" else None
        found = cross_validate(search, X, y, cv=FOLDS, scoring=scorer, params=params, return_estimator=True)
    for (train, test), chosen, score in zip(
        FOLDS.split(X), found["estimator"], found["test_score"], strict=True
    ):
        assert chosen.best_params_ == {"ridge__alpha": 1.0}
        assert np.isfinite(chosen.cv_results_["mean_test_score"]).all()
        predicted = model.fit(X.iloc[train], y.iloc[train]).predict(X.iloc[test])
        assert score == -METRICS["S_MSE"].function(y.iloc[test], predicted, clips["system"])


def test_parallel_and_pickled(clips, X, y):
    scorer = mos_scorer("S_SRCC", systems=clips["system"])
    again = pickle.loads(pickle.dumps(scorer))
    model = Ridge().fit(X, y)
    assert again(model, X, y) == scorer(model, X, y)
    assert cross_val_score(Ridge(), X, y, cv=2, scoring=again, n_jobs=2).tolist() == (
        cross_val_score(Ridge(), X, y, cv=2, scoring=scorer).tolist()
    )


def test_target_of_two_columns(clips, X):
    Y = clips[["impression", "alignment"]]
    expected = {target: by_hand("S_LCC", clips, FOLDS.split(X), target) for target in Y}
    for target in Y:
        scorer = mos_scorer("S_LCC", systems=clips["system"], target=target)
        np.testing.assert_allclose(
            cross_val_score(Ridge(), X, Y, cv=FOLDS, scoring=scorer), expected[target], rtol=1e-8
        )
    scorer = mos_scorer("S_LCC", systems=clips["system"])
    np.testing.assert_allclose(
        cross_val_score(Ridge(), X, Y, cv=FOLDS, scoring=scorer),
        np.mean(list(expected.values()), axis=0),
        rtol=1e-8,
    )


def test_unknown_target_is_refused(clips, X):
    Y = clips[["impression", "alignment"]]
    with pytest.raises(ValueError, match="unknown target 'loudness'; choose from"):
        mos_scorer("U_MSE", target="loudness")(Ridge().fit(X, Y), X, Y)


def test_a_line_of_scores_is_the_target_by_its_name(X, y):
    model, scorer = Ridge().fit(X, y), mos_scorer("U_MSE", target="impression")
    assert scorer(model, X, y) == scorer(model, X, y.rename(None)) == mos_scorer("U_MSE")(model, X, y)
    with pytest.raises(ValueError, match="^unknown target 'impression'; choose from alignment$"):
        scorer(model, X, y.rename("alignment"))


def test_without_a_road():
    words = r"S_SRCC must know each clip's system. Either give systems=clips\['system'\]"
    with pytest.raises(ValueError, match=words):
        mos_scorer("S_SRCC")


def test_unknown_metric():
    with pytest.raises(ValueError, match="unknown metric 'SRCC'; choose from U_MSE, U_LCC"):
        mos_scorer("SRCC")


def test_y_without_index_is_refused(clips, X, y):
    model = Ridge().fit(X, y)
    with pytest.raises(ValueError, match="S_MSE finds systems by y's index, but y is a ndarray without one"):
        mos_scorer("S_MSE", systems=clips["system"])(model, X, y.to_numpy())


def test_a_list_has_no_index_of_clips(clips, X, y):
    with pytest.raises(ValueError, match="finds systems by y's index, but y is a list without one"):
        mos_scorer("S_MSE", systems=clips["system"])(Ridge().fit(X, y), X, y.tolist())


def test_clips_without_system_are_named(clips, X, y):
    scorer = mos_scorer("S_MSE", systems=clips["system"].drop(y.index[0]))
    with pytest.raises(ValueError, match=f"no system is known for clips: {y.index[0]}"):
        scorer(Ridge().fit(X, y), X, y)


def test_repeated_ids_of_systems_are_named_and_arrays_not_advised(clips, X, y):
    systems = clips["system"]
    with pytest.raises(ValueError, match=f"^systems repeats clip ids: {y.index[0]}$"):
        mos_scorer("S_MSE", systems=pd.concat([systems, systems.loc[y.index[:1]]]))
    with pytest.raises(ValueError, match=r"Index y and the systems by the same clip ids$"):
        mos_scorer("S_MSE", systems=systems.drop(y.index[0]))(Ridge().fit(X, y), X, y)


def test_routing_without_systems_says_what_to_pass(clips, X, y, routing):
    with pytest.raises(ValueError, match="params"):
        cross_val_score(Ridge(), X, y, cv=2, scoring=mos_scorer("S_MSE"), error_score="raise")


def test_representation_names_the_metric():
    assert repr(mos_scorer("U_MSE")).startswith("make_scorer(U_MSE, greater_is_better=False")


DISAGREE = "X and y are not about the same clips in the same order: the index of X is "


@pytest.mark.parametrize(
    "change",
    [
        lambda X: X.iloc[::-1],
        lambda X: X.reset_index(drop=True),
        lambda X: X.rename({X.index[0]: "stranger"}),
        lambda X: X.set_axis(["same"] * len(X), axis=0),
    ],
)
@pytest.mark.parametrize("name", ["U_LCC", "S_LCC"])
def test_indices_of_X_and_y_that_do_not_agree_are_refused(clips, X, y, change, name):
    scorer = mos_scorer(name, systems=clips["system"])
    with pytest.raises(ValueError, match=DISAGREE):
        scorer(Ridge().fit(X, y), change(X), y)
    with pytest.raises(ValueError, match=DISAGREE):
        cross_val_score(Ridge(), change(X), y, cv=FOLDS, scoring=scorer, error_score="raise")
    with pytest.raises(ValueError, match=DISAGREE):
        scoring = {"one": scorer, "other": mos_scorer("U_MSE")}
        cross_validate(Ridge(), change(X), y, cv=FOLDS, scoring=scoring, error_score="raise")


def test_arrays_go_by_position_and_suffixes_do_not_matter(clips, X, y):
    scorer = mos_scorer("S_LCC", systems=clips["system"].iloc[::-1])
    model = Ridge().fit(X, y)
    expected = scorer(model, X, y)
    assert scorer(Ridge().fit(X.to_numpy(), y), X.to_numpy(), y) == expected
    assert scorer(model, X.rename(lambda clip: f"{clip}.wav"), y) == expected
    assert scorer(model, X, y.rename(lambda clip: f"{clip}.wav")) == expected


def test_several_scorers_share_one_prediction(clips, X, y):
    class Counting(Ridge):
        calls = 0

        def predict(self, X):
            Counting.calls += 1
            return super().predict(X)

    scoring = {name: mos_scorer(name, systems=clips["system"]) for name in METRICS}
    cross_validate(Counting(), X, y, cv=FOLDS, scoring=scoring)
    assert Counting.calls == 3  # one a fold


def test_predictions_with_an_index_are_matched_by_it(clips, X, y):
    class Shuffled(Ridge):
        def predict(self, X):
            return pd.Series(super().predict(X), index=X.index).iloc[::-1]

    scorer = mos_scorer("U_LCC")
    assert scorer(Shuffled().fit(X, y), X, y) == scorer(Ridge().fit(X, y), X, y)


@pytest.mark.parametrize("blank", ["", " ", None, np.nan], ids=repr)
def test_a_blank_is_no_system(clips, X, y, blank):
    systems = clips["system"].mask(clips.index == y.index[0], blank)
    with pytest.raises(ValueError, match=f"no system is known for clips: {y.index[0]}"):
        mos_scorer("S_MSE", systems=systems)(Ridge().fit(X, y), X, y)


class Echo(RegressorMixin, BaseEstimator):
    """A fitted estimator that predicts what it was given."""

    def __init__(self, predictions):
        self.predictions = predictions

    def fit(self, X, y):
        return self

    def predict(self, X):
        return self.predictions


def test_predicted_columns_are_matched_by_name():
    y = pd.DataFrame({"a": [1.0, 2, 3, 5], "b": [4.0, 3, 1, 2]}, index=list("wxyz"))
    assert mos_scorer("U_LCC")(Echo(y[["b", "a"]]), y, y) == pytest.approx(1)
    assert mos_scorer("U_LCC", target="b")(Echo(y[["b", "a"]]), y, y) == pytest.approx(1)


def test_one_column_of_y_may_be_predicted_as_a_line():
    y = pd.DataFrame({"a": [1.0, 2, 3, 5]}, index=list("wxyz"))
    assert mos_scorer("U_LCC")(Echo(y["a"].to_numpy()), y, y) == pytest.approx(1)
    assert mos_scorer("U_LCC")(Echo(y["a"].iloc[[2, 0, 3, 1]]), y, y) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"\. predict must give an array, or the index of X$"):
        mos_scorer("U_LCC")(Echo(y["a"].reset_index(drop=True)), y, y)


def test_few_systems_are_warned_of_once_for_all_folds(clips, X, y):
    scorer = mos_scorer("S_SRCC", systems=clips["system"])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        cross_val_score(Ridge(), X, y, scoring=scorer, cv=GroupKFold(3), groups=clips["system"])
    assert len([one for one in warned if one.category is FewSystemsWarning]) == 1


def test_five_systems_are_not_warned_of_and_four_after_them_are(clips, X, y):
    scorer, model = mos_scorer("S_SRCC", systems=clips["system"]), Ridge().fit(X, y)
    for n, warnings_given in ((5, 0), (4, 1)):
        rows = clips["system"].isin([f"S{i}" for i in range(n)])
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            scorer(model, X[rows], y[rows])
        assert len(warned) == warnings_given


def test_few_systems_are_warned_of_once_by_a_worker_which_gets_a_copy_for_each_fold(clips, X, y, monkeypatch):
    scorer = mos_scorer("S_SRCC", systems=clips["system"])
    before, model = joblib.hash(scorer), Ridge().fit(X, y)
    monkeypatch.setattr("multiprocessing.parent_process", lambda: "a parent")
    monkeypatch.setattr("musiceval_sk.statistics.scorers._warned_in_worker", set())
    rows = y.index[clips["system"].loc[y.index].isin(sorted(set(clips["system"]))[:3])]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(3):
            pickle.loads(pickle.dumps(scorer))(model, X.loc[rows], y.loc[rows])
        scorer(model, X.loc[rows], y.loc[rows])
    assert len([one for one in warned if one.category is FewSystemsWarning]) == 1
    assert joblib.hash(scorer) == before
