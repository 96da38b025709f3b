import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from musiceval_sk import LookupRegressor, ModelFileError, MOSRegressor, default_models, load_model, save_model
from musiceval_sk.estimators.lookup import TableScaler, look_ups, scaled


@pytest.fixture
def clips():
    table = {"system": ["S1", "S1", "S2", "S2", "S3", "S3"], "prompt": ["p", "q", "p", "q", "p", "q"]}
    return pd.DataFrame(table, index=list("abcdef"))


@pytest.fixture
def y(clips):
    return pd.Series([1.0, 2.0, 3.0, 5.0, 4.0, 4.5], index=clips.index, name="impression")


def test_means_by_hand(clips, y):
    lookup = LookupRegressor(clips["system"]).fit(clips[:4], y[:4])
    assert lookup.means_.to_dict() == {"S1": 1.5, "S2": 4.0}
    assert lookup.global_mean_ == 2.75  # (1 + 2 + 3 + 5) / 4
    assert lookup.predict(clips).tolist() == [1.5, 1.5, 4.0, 4.0, 2.75, 2.75]
    assert lookup.known(clips).tolist() == [True, True, True, True, False, False]


def test_labels_are_found_by_clip_id_in_any_order(clips, y):
    lookup = LookupRegressor(clips["system"].iloc[::-1]).fit(clips, y)
    assert lookup.predict(clips.loc[["e", "a"]]).tolist() == [4.25, 1.5]
    assert lookup.fit(clips, y.to_numpy()).predict(clips.loc[["e", "a"]]).tolist() == [4.25, 1.5]


def test_cross_val_score_by_hand(clips, y):
    # First fold tests a, b, c, second d, e, f. Trained on d (S2: 5), e and f (S3: 4.25; global 4.5), the squared
    # errors are 3.5, 2.5 and 2; trained on a, b (S1: 1.5), c (S2: 3; global 2) they are 2, 2 and 2.5.
    scores = cross_val_score(
        LookupRegressor(clips["system"]), clips, y, cv=KFold(2), scoring="neg_mean_squared_error"
    )
    expected = [-(3.5**2 + 2.5**2 + 2**2) / 3, -(2**2 + 2**2 + 2.5**2) / 3]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


def test_clips_without_label_are_named(clips, y):
    lookup = LookupRegressor(clips["system"]).fit(clips, y)
    with pytest.raises(ValueError, match="no label is known for clips: y, z"):
        lookup.predict(pd.DataFrame(index=["a", "y", "z"]))
    with pytest.raises(ValueError, match="no label is known for clips: f"):
        LookupRegressor(clips["system"].drop("f")).fit(clips, y)
    many = pd.DataFrame(index=[f"x{i}" for i in range(8)])
    with pytest.raises(ValueError, match=r"x0, x1, x2, x3, x4 \(\+3 more\)"):
        lookup.known(many)


@pytest.mark.parametrize("X", [np.zeros((6, 2)), [[0.0]] * 6], ids=["array", "list"])
def test_x_without_clip_ids_is_refused(clips, y, X):
    with pytest.raises(ValueError, match="finds labels by X's index, but X is a (ndarray|list) without one"):
        LookupRegressor(clips["system"]).fit(X, y)


def test_a_failed_refit_leaves_the_old_means(clips, y):
    lookup = LookupRegressor(clips["system"]).fit(clips, y)
    with pytest.raises(ValueError, match="no label is known"):
        lookup.fit(clips.rename({"a": "z"}), y + 1)
    assert lookup.means_["S1"] == 1.5
    with pytest.raises(ValueError, match="'labels' parameter of LookupRegressor must be .*Series.* Got None"):
        LookupRegressor(None).fit(clips, y)


def test_unfitted(clips):
    for method in ("predict", "known"):
        with pytest.raises(NotFittedError):
            getattr(LookupRegressor(clips["system"]), method)(clips)


def test_clone_and_pickle(clips, y):
    lookup = LookupRegressor(clips["system"]).fit(clips, y)
    copy = pickle.loads(pickle.dumps(lookup))
    assert copy.predict(clips).tolist() == lookup.predict(clips).tolist()
    assert copy.labels.equals(lookup.labels)
    assert copy.labels.name == "system"
    assert not hasattr(clone(lookup), "means_")
    assert pickle.loads(pickle.dumps(clone(lookup))).labels.equals(clips["system"])


def test_default_models(clips):
    names = [
        "global mean",
        "system mean",
        "prompt mean",
        "ridge",
        "SVR",
        "MOSRegressor (paper)",
        "MOSRegressor",
    ]
    models = default_models(clips, random_state=7)
    assert list(models) == names
    assert models["system mean"].labels.equals(clips["system"])
    assert models["prompt mean"].labels.equals(clips["prompt"])
    assert models["MOSRegressor"].random_state == models["MOSRegressor (paper)"].random_state == 7
    assert list(default_models(clips.assign(prompt=""))) == [name for name in names if name != "prompt mean"]
    assert list(default_models(clips[[]])) == ["global mean", *names[3:]]


def test_scaled_keeps_names_and_scales_on_training(clips):
    X = pd.DataFrame({"audio_0": [0.0, 2.0], "text_0": [10.0, 30.0]})
    pipeline = scaled(LinearRegression()).fit(X, [0.0, 1.0])
    assert isinstance(pipeline, Pipeline)
    assert pipeline[-1].feature_names_in_.tolist() == ["audio_0", "text_0"]
    assert pipeline[:-1].transform(X + 2).to_numpy().tolist() == [[1.0, -0.8], [3.0, 1.2]]


def test_behind_a_scaler_the_regressor_still_refuses_other_embeddings(rng, tmp_path, torch):
    X = pd.DataFrame(rng.normal(size=(40, 4)), columns=[f"audio_{i}" for i in range(4)])
    y = np.clip(3 + X["audio_0"], 1, 5)
    ours, theirs = X.copy(), X.copy()
    ours.attrs["encoder_fingerprint"], theirs.attrs["encoder_fingerprint"] = (
        "a (pooling mean)",
        "a (pooling max)",
    )
    regressor = MOSRegressor(hidden_layer_sizes=(8, 4), max_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model = clone(scaled(regressor)).fit(ours, y)
    assert model[-1].encoder_fingerprint_ == "a (pooling mean)"
    assert model[:-1].transform(theirs).attrs == theirs.attrs
    loaded = load_model(save_model(model, tmp_path / "model.skops"))
    for kept in (model, loaded, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(kept.predict(ours), model.predict(X))
        with pytest.raises(
            ModelFileError, match=r"encoder a \(pooling mean\), but X .* encoder a \(pooling max\)"
        ):
            kept.predict(theirs)
    # Without pandas output there is no place for attrs, and no more is done than StandardScaler does.
    plain = TableScaler().fit(ours).transform(ours)
    np.testing.assert_allclose(plain, StandardScaler().fit_transform(X), rtol=1e-12)
    assert isinstance(plain, np.ndarray)


@parametrize_with_checks([TableScaler()])
def test_scaler_passes_the_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("blank", ["", " ", None, np.nan], ids=repr)
def test_no_label_is_no_label(clips, y, blank):
    labels = clips["system"].mask(clips.index == "f", blank)
    with pytest.raises(ValueError, match="no label is known for clips: f$"):
        LookupRegressor(labels).fit(clips, y)
    assert "system mean" not in look_ups(clips.assign(system=labels))


def test_labels_are_told_apart_by_text_and_may_be_none_at_all(clips, y):
    labels = pd.Series(["1", 1, 1.0, "1 "], ["a", "b", "c", "d"], dtype=object)
    X = pd.DataFrame(index=labels.index)
    model = LookupRegressor(labels).fit(X, [1.0, 2.0, 3.0, 6.0])
    assert model.predict(X).tolist() == [3.0] * 4
    assert model.known(X).all()
    with pytest.raises(ValueError, match="no label is known for clips: a, b, c, d"):
        LookupRegressor(labels.iloc[:0]).fit(X, [1.0, 2.0, 3.0, 6.0])


def test_labels_are_found_with_and_without_suffix(clips, y):
    expected = LookupRegressor(clips["system"]).fit(clips, y).predict(clips)
    named = clips["system"].rename(lambda clip: f"{clip}.wav")
    assert LookupRegressor(named).fit(clips, y).predict(clips).tolist() == expected.tolist()
    with pytest.raises(ValueError, match="'A' and 'a' differ in upper and lower case only"):
        LookupRegressor(clips["system"]).fit(clips, y).predict(pd.DataFrame(index=["A"]))
    with pytest.raises(ValueError, match="ids repeat: a$"):
        LookupRegressor(pd.concat([clips["system"], clips["system"][["a"]]])).fit(clips, y)
