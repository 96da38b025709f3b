"""What `MOSRegressor` takes, warns of and refuses: data, data to judge by, embeddings of another encoder."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from musiceval_sk import ModelFileError, MOSRegressor
from musiceval_sk.estimators.engine import jobs as _jobs


def quick(**parameters):
    defaults = {"hidden_layer_sizes": (8, 4), "learning_rate_init": 0.02, "n_iter_no_change": 5}
    return MOSRegressor.from_protocol("paper", **defaults | {"random_state": 0} | parameters)


@pytest.fixture
def X():
    columns = [f"audio_{i}" for i in range(5)]
    return pd.DataFrame(np.random.default_rng(0).normal(size=(80, 5)), columns=columns)


@pytest.fixture
def y(X):
    return (3 + X["audio_0"]).clip(1, 5).rename("impression")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(X, y, bad):
    spoilt = X.copy()
    spoilt.iloc[3, 0] = bad
    word = "NaN" if np.isnan(bad) else "infinity"
    with pytest.raises(ValueError, match=f"Input X contains {word}"):
        quick().fit(spoilt, y)
    with pytest.raises(ValueError, match=f"Input y contains {word}"):
        quick().fit(X, y.mask(y.index == 3, bad))
    with pytest.raises(ValueError, match=f"Input X contains {word}"):
        quick().fit(X, y).predict(spoilt)


def test_one_sample(X, y):
    with pytest.raises(
        ValueError, match="only 1 sample .* set early_stopping=False, or give X_val and y_val"
    ):
        quick().fit(X[:1], y[:1])
    with pytest.warns(ConvergenceWarning):
        alone = quick(early_stopping=False, max_iter=3).fit(X[:1], y[:1])
    assert alone.predict(X[:1]).shape == (1,)


@pytest.mark.filterwarnings("ignore:y is constant")
def test_one_clip_many_times_leaves_nothing_to_hold_out(X, y):
    with pytest.raises(ValueError, match=r"only 1 sample \(1 distinct row\)"):
        quick().fit(X.iloc[[0] * 10], y.iloc[[0] * 10])


def test_the_smallest_validation_split_is_one_row(X, y):
    regressor = quick(validation_fraction=0.001).fit(X, y)
    assert len(regressor.validation_scores_) == regressor.n_iter_


def test_constant_scores_warn_and_are_learned(X, y):
    with pytest.warns(
        UserWarning, match="y is constant for impression: there is no difference to learn"
    ) as caught:
        regressor = quick().fit(X, y * 0 + 4)
    assert [warning.filename for warning in caught] == [__file__]
    np.testing.assert_allclose(regressor.predict(X), 4, atol=0.5)


def test_scores_off_the_scale_warn(X, y):
    Y = pd.DataFrame({"impression": y, "alignment": 20 * y})
    words = (
        r"y leaves the scale from 1 to 5: alignment spans 21.1147 to 100; .* set scale=\(lowest, highest\)"
    )
    with pytest.warns(UserWarning, match=words) as caught:
        quick().fit(X, Y)
    assert [warning.filename for warning in caught] == [__file__]
    quick(scale=(0, 100)).fit(X, Y)
    quick(scale=None).fit(X, Y)


def test_wrong_number_of_columns(X, y):
    array = X.to_numpy()
    regressor = quick().fit(array, y)
    with pytest.raises(ValueError, match="X has 4 features, but MOSRegressor is expecting 5 features"):
        regressor.predict(array[:, :4])
    with pytest.raises(ValueError, match="feature names should match"):
        quick().fit(X, y).predict(X.rename(columns={"audio_0": "text_0"}))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_goes_in_and_float64_comes_out(X, y, dtype):
    for table in (X.astype(dtype), X.to_numpy().astype(dtype)):
        regressor = quick().fit(table, y)
        assert regressor.predict(table).dtype == np.float64
        assert all(weights.dtype == np.float64 for weights in regressor.coefs_[0])


def test_precision_of_x_does_not_matter_where_its_values_are_the_same(X, y):
    rounded = X.astype(np.float16)
    predictions = [
        quick().fit(rounded.astype(dtype), y).predict(rounded.astype(dtype)).tolist()
        for dtype in (np.float16, np.float32, np.float64)
    ]
    assert predictions[0] == predictions[1] == predictions[2]


def test_a_development_list_is_judged_by_and_all_else_learned_from(X, y, monkeypatch):
    jobs = []
    train_job = _jobs.train_job
    monkeypatch.setattr(_jobs, "train_job", lambda job, show: jobs.append(job) or train_job(job, show))
    regressor = quick(dtype="float64").fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    (task,) = jobs[0].tasks
    assert sorted(task.rows) == list(range(60))
    assert task.validation_rows.tolist() == list(range(60, 80))
    loss = np.abs(regressor.predict(X[60:]) - y[60:]).mean()
    assert max(regressor.validation_scores_) == pytest.approx(-loss, abs=1e-12)


def test_development_list_weighs(X, y):
    weights = np.arange(20)
    regressor = quick(dtype="float64").fit(
        X[:60], y[:60], X_val=X[60:], y_val=y[60:], sample_weight_val=weights
    )
    loss = np.average(np.abs(regressor.predict(X[60:]) - y[60:]), weights=weights)
    assert max(regressor.validation_scores_) == pytest.approx(-loss, abs=1e-12)


def test_development_list_behind_a_pipeline_that_scales(X, y):
    with config_context(enable_metadata_routing=True):
        model = Pipeline(
            [
                ("scale", StandardScaler().set_output(transform="pandas")),
                ("regress", quick().set_fit_request(X_val=True, y_val=True)),
            ],
            transform_input=["X_val"],
        )
        model.fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    scaler = StandardScaler().set_output(transform="pandas").fit(X[:60])
    by_hand = quick().fit(scaler.transform(X[:60]), y[:60], X_val=scaler.transform(X[60:]), y_val=y[60:])
    assert np.array_equal(model.predict(X), by_hand.predict(scaler.transform(X)))


def test_development_list_errors(X, y):
    with pytest.raises(ValueError, match="X_val and y_val go together, but y_val is missing"):
        quick().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="X_val and y_val go together, but X_val is missing"):
        quick().fit(X, y, y_val=y)
    with pytest.raises(ValueError, match="sample_weight_val weighs the rows of X_val, but X_val is missing"):
        quick().fit(X, y, sample_weight_val=y)
    with pytest.raises(ValueError, match="X_val tells when to stop early, but early_stopping=False"):
        quick(early_stopping=False).fit(X, y, X_val=X, y_val=y)
    with pytest.raises(
        ValueError, match="y_val has 2 columns, but y has 1: impression; give the same targets"
    ):
        quick().fit(X, y, X_val=X, y_val=np.column_stack([y, y]))
    with pytest.raises(ValueError, match=r"sample_weight_val has shape \(3,\); expected \(80,\)"):
        quick().fit(X, y, X_val=X, y_val=y, sample_weight_val=[1, 1, 1])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        quick().fit(X, y, X_val=X * np.nan, y_val=y)


def marked(X, fingerprint):
    X = X.copy()
    X.attrs["encoder_fingerprint"] = fingerprint
    return X


def test_embeddings_of_another_encoder_are_refused(X, y):
    regressor = quick().fit(marked(X, "aaa"), y)
    assert regressor.encoder_fingerprint_ == "aaa"
    words = (
        "trained on embeddings of encoder aaa, but X holds embeddings of encoder bbb: embed the clips with"
    )
    with pytest.raises(ModelFileError, match=words):
        regressor.predict(marked(X, "bbb"))
    words = "X holds embeddings of encoder aaa, but X_val holds embeddings of encoder bbb"
    with pytest.raises(ModelFileError, match=words):
        quick().fit(marked(X, "aaa"), y, X_val=marked(X, "bbb"), y_val=y)


def test_encoders_are_compared_only_when_both_are_known(X, y):
    known, unknown = quick().fit(marked(X, "aaa"), y), quick().fit(X, y)
    assert unknown.encoder_fingerprint_ is None
    assert np.array_equal(known.predict(X), known.predict(marked(X, "aaa")))
    assert np.array_equal(unknown.predict(marked(X, "bbb")), known.predict(X))


def test_the_mark_survives_choosing_rows(X, y):
    learned, tested, y_learned, _ = train_test_split(marked(X, "aaa"), y, random_state=0)
    regressor = quick().fit(learned, y_learned)
    assert regressor.encoder_fingerprint_ == tested.iloc[:3].attrs["encoder_fingerprint"] == "aaa"
    both = pd.concat([marked(X, "aaa"), marked(X, "bbb")])
    # A table of two encoders' vectors says nothing of either.
    assert quick().fit(both, pd.concat([y, y])).encoder_fingerprint_ is None


def test_representations(X, y):
    for regressor in (quick(), quick().fit(X, y), make_pipeline(StandardScaler(), quick())):
        shown = regressor._repr_html_()
        assert "MOSRegressor" in shown
        assert "Fitted" in shown or "Not fitted" in shown
