"""An ONNX file says what the regressor says, through onnxruntime, to 1e-5."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from musiceval_sk import MOSRegressor, TrainingDomain
from musiceval_sk.estimators.lookup import scaled

pytest.importorskip("torch")
pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from musiceval_sk.integrations import to_onnx  # noqa: E402

QUICK = {"hidden_layer_sizes": (9, 5), "max_iter": 15, "n_ensemble": 3, "random_state": 0}


@pytest.fixture
def X(rng):
    """Embeddings far from the origin, as those of spectral features are."""
    names = [*(f"audio_{i}" for i in range(8)), *(f"text_{i}" for i in range(4))]
    values = rng.normal(size=(80, 12)) * np.geomspace(0.01, 100, 12) - 300
    table = pd.DataFrame(values.astype(np.float32), columns=names)
    table.attrs["encoder_fingerprint"] = "abc"
    return table


@pytest.fixture
def Y(X, rng):
    scores = 3 + (X["audio_3"] + 300) / X["audio_3"].std() / 2
    noisy = {name: scores + rng.normal(size=len(X)) / 4 for name in ("impression", "alignment")}
    return pd.DataFrame(noisy).clip(1, 5)


def run(path, X):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {"X": np.asarray(X, dtype=np.float32)})
    return dict(zip(names, values, strict=True)), session.get_modelmeta().custom_metadata_map


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "soft_bins", "n_bins": 7},
        {"activation": "gelu", "loss": "huber"},
        {"activation": "identity", "hidden_layer_sizes": ()},
        {"linear": None, "standardize": False, "n_ensemble": 1, "clip": (2.8, 3.2), "activation": "identity"},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_targets", [1, 2])
def test_scores_are_those_of_predict(options, n_targets, X, Y, tmp_path, rng):
    y = Y if n_targets == 2 else Y["impression"]
    regressor = MOSRegressor(**QUICK | options).fit(X, y)
    found, about = run(to_onnx(regressor, tmp_path / "heads.onnx"), X)
    assert found["scores"].dtype == np.float32
    new = X + X.std().to_numpy() * rng.normal(size=X.shape)
    for inputs in (X, new.astype(np.float32), X.iloc[:1]):
        found, _ = run(tmp_path / "heads.onnx", inputs)
        expected = regressor.predict(inputs).reshape(len(inputs), n_targets)
        np.testing.assert_allclose(found["scores"], expected, rtol=0, atol=1e-5)
    assert json.loads(about["target_names"]) == regressor.target_names_
    assert json.loads(about["feature_names"]) == list(X.columns)
    assert about["encoder_fingerprint"] == "abc"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_domain_and_scalers_before_it(X, Y, tmp_path, rng):
    systems = np.arange(len(X)) % 8
    regressor = MOSRegressor(**QUICK)
    model = scaled(TrainingDomain(level=0.1), regressor)
    model.fit(X, Y, trainingdomain__groups=systems, mosregressor__groups=systems)
    new = pd.concat([X, X + X.std().to_numpy() * rng.normal(size=X.shape) * 2]).astype(np.float32)
    found, _ = run(to_onnx(model, tmp_path / "model.onnx"), new)
    exact = new.astype(np.float64)  # of float32 scikit-learn's scalers make float32, which is 4e-5 off here
    np.testing.assert_allclose(found["scores"], model.predict(exact), rtol=0, atol=1e-5)
    measured = model[0].measure(new)
    for part in ("sound", "prompt"):
        distance = measured[f"{part}_distance"]
        np.testing.assert_allclose(found[f"{part}_distance"], distance, rtol=1e-5, atol=1e-5)
        assert found[f"{part}_far"].tolist() == measured[f"{part}_far"].tolist()
    assert 0 < measured["sound_far"].sum() < len(new)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_scaler_that_does_nothing(X, Y, tmp_path):
    scaler = StandardScaler(with_mean=False, with_std=False)
    model = make_pipeline(scaler, MOSRegressor(**QUICK)).fit(X, Y)
    found, _ = run(to_onnx(model, str(tmp_path / "model.onnx")), X)
    np.testing.assert_allclose(found["scores"], model.predict(X), rtol=0, atol=1e-5)


def test_what_cannot_be_exported_is_refused(X, Y, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(TypeError, match="only MOSRegressor can be exported to ONNX.* not Ridge.*skl2onnx"):
        to_onnx(Ridge().fit(X, Y), path)
    with pytest.raises(TypeError, match=r"step MinMaxScaler cannot be exported.* as model\[1:\] does"):
        to_onnx(make_pipeline(MinMaxScaler(), MOSRegressor()), path)
    with pytest.raises(ValueError, match="not fitted"):
        to_onnx(MOSRegressor(), path)
    assert not path.exists()
