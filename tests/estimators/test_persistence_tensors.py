"""`MOSRegressor.save` and `load`: one safetensors file."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import skops.io
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from sklearn.linear_model import Ridge

from musiceval_sk import ModelFileError, MOSRegressor, load_model, save_model
from musiceval_sk.estimators import persistence
from musiceval_sk.estimators.persistence import load_content

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def X():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=["audio_0", "audio_1", "text_0"])
    X.attrs["encoder_fingerprint"] = "aaa"
    return X


@pytest.fixture
def Y(X):
    return pd.DataFrame({"impression": 3 + X["audio_0"], "alignment": 3 + X["text_0"]}).clip(1, 5)


def quick(**parameters):
    return MOSRegressor.from_protocol(
        "paper", **{"hidden_layer_sizes": (4,), "max_iter": 5, "random_state": 0} | parameters
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n_ensemble": 2, "bootstrap": True, "head_inputs": {"alignment": slice(0, 3)}},
        {"loss": "soft_bins", "activation": "gelu", "clip": (1, 5), "head_inputs": [0, 2]},
        {"early_stopping": False, "random_state": np.random.RandomState(3)},
        {"head_inputs": lambda names: names == "audio_1"},
    ],
    ids=range(5),
)
def test_comes_back_to_the_bit(X, Y, tmp_path, more):
    model = quick(**more).fit(X, Y)
    path = model.save(tmp_path / "new folder" / "model.safetensors", about={"data": "made"})
    loaded = MOSRegressor.load(path)
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]
    for name in ("target_names_", "loss_curve_", "validation_scores_", "n_iter_", "encoder_fingerprint_"):
        assert getattr(loaded, name) == getattr(model, name)
    assert loaded.best_iteration_.tolist() == model.best_iteration_.tolist()
    if not callable(more.get("head_inputs")) and "random_state" not in more:
        assert loaded.get_params() == model.get_params()


def test_header_is_json_with_versions_and_encoder(X, Y, tmp_path):
    path = quick().fit(X, Y).save(tmp_path / "model.safetensors", about={"clips": 40})
    with safe_open(path, framework="numpy") as file:
        content = json.loads(file.metadata()["content"])
    assert content["about"] == {"clips": 40}
    assert content["fitted"]["encoder_fingerprint_"] == "aaa"
    assert content["parameters"]["loss"] == "l1"
    assert {"musiceval_sk", "python", "numpy", "torch", "scikit-learn"} == set(content["versions"])


def test_wrong_files_are_refused_with_a_reason(X, Y, tmp_path):
    path = quick().fit(X, Y).save(tmp_path / "model.safetensors")
    whole = path.read_bytes()
    with pytest.raises(ModelFileError, match="no such model file"):
        MOSRegressor.load(tmp_path / "absent")
    for content in (b"", b"text", whole[:-8]):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="not a safetensors file, or a damaged one"):
            MOSRegressor.load(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelFileError, match="damaged .its content does not match its checksum"):
        MOSRegressor.load(path)
    save_file({"a": np.zeros(2)}, path)
    with pytest.raises(ModelFileError, match="not one that MOSRegressor.save wrote"):
        MOSRegressor.load(path)
    save_file({"a": np.zeros(2)}, path, metadata={"format": "musiceval-mosregressor", "version": "3"})
    with pytest.raises(
        ModelFileError, match="written in format 3 .* this version reads formats 1, 2: upgrade"
    ):
        MOSRegressor.load(path)


def test_skops_needs_trust_in_our_own_type_only(X, Y):
    dumped = skops.io.dumps(quick(n_ensemble=2).fit(X, Y))
    ours = ["musiceval_sk.estimators.regressor.MOSRegressor"]
    assert skops.io.get_untrusted_types(data=dumped) == ours
    assert skops.io.loads(dumped, trusted=ours).predict(X).shape == (40, 2)


def test_save_model_goes_by_the_suffix_and_load_model_by_the_content(X, Y, tmp_path):
    model = quick().fit(X, Y)
    path = save_model(model, tmp_path / "model.safetensors", about={"clips": 40})
    assert MOSRegressor.load(path).predict(X).tobytes() == model.predict(X).tobytes()
    for written in (path, model.save(tmp_path / "no suffix"), save_model(model, tmp_path / "model.skops")):
        assert load_model(written).predict(X).tobytes() == model.predict(X).tobytes()
    assert load_content(path)["about"] == {"clips": 40}
    skops_of_before = (tmp_path / "model.skops").rename(tmp_path / "older.safetensors")
    assert load_model(skops_of_before).predict(X).tobytes() == model.predict(X).tobytes()


def test_others_may_read_a_saved_model_as_any_fresh_file(X, Y, tmp_path):
    path = quick().fit(X, Y).save(tmp_path / "model.safetensors")
    (tmp_path / "fresh").touch()
    assert path.stat().st_mode == (tmp_path / "fresh").stat().st_mode


@pytest.mark.parametrize(
    "cause", ['I/O error: No space left on device (os error 28) at path "x/.tmpAb"', "no memory"]
)
def test_a_full_disk_is_an_error_of_the_system_and_names_the_file(X, Y, tmp_path, monkeypatch, cause):
    def fail(*_, **__):
        raise SafetensorError(f"Error while serializing: {cause}")

    model = quick().fit(X, Y)
    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    of_the_system = "os error" in cause
    with pytest.raises(OSError if of_the_system else SafetensorError) as caught:
        model.save(tmp_path / "model.safetensors")
    if of_the_system:
        assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "model.safetensors"))
    assert [*tmp_path.iterdir()] == []


def test_what_is_no_model_of_ours_has_no_safetensors_file(X, Y, tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(
        ValueError, match=r"holds a MOSRegressor or CLAPFineTuneRegressor, not a Ridge; name a \.skops file"
    ):
        save_model(Ridge().fit(X, Y), path)
    path.write_bytes(b"text")
    with pytest.raises(ModelFileError, match="not a safetensors file, or a damaged one"):
        load_model(path)
    save_file({"a": np.zeros(2)}, path, metadata={"format": "musiceval-finetune-checkpoint"})
    with pytest.raises(
        ModelFileError, match="not a model that save_model wrote .its format is 'musiceval-finetune-check"
    ):
        load_model(path)


def test_the_linear_part_comes_back_to_the_bit(X, Y, tmp_path):
    model = MOSRegressor(hidden_layer_sizes=(4,), max_iter=5, scale=None, n_ensemble=3, random_state=0).fit(
        X, Y
    )
    loaded = MOSRegressor.load(model.save(tmp_path / "model.safetensors"))
    for one, other in zip(loaded.predict(X, return_std=True), model.predict(X, return_std=True), strict=True):
        assert np.array_equal(one, other)
    assert [part.shape for part in loaded.linear_coefs_] == [
        (3, len(columns)) for columns in model.head_columns_
    ]
    assert loaded.network_weights_.shape == (2,) and loaded.linear_intercepts_.shape == (2, 3)


def test_files_and_pickles_from_before_there_were_linear_parts_still_load(X, Y, tmp_path, monkeypatch):
    model = quick().fit(X, Y)
    expected = model.predict(X)
    for name in ("standardize", "linear", "hold_out", "averaging"):
        delattr(model, name)
    for name in ("linear_coefs_", "linear_intercepts_", "network_weights_"):
        delattr(model, name)
    reopened = pickle.loads(pickle.dumps(model))
    assert np.array_equal(reopened.predict(X), expected)
    assert reopened.get_params()["hold_out"] == "random"
    monkeypatch.setattr(persistence, "VERSION", 1)
    parameters = {name: value for name, value in vars(model).items() if not name.endswith("_")}
    monkeypatch.setattr(
        model, "get_params", lambda deep: {k: v for k, v in parameters.items() if k[0] != "_"}
    )
    loaded = MOSRegressor.load(model.save(tmp_path / "old.safetensors"))
    assert np.array_equal(loaded.predict(X), expected)
    assert loaded.get_params()["linear"] is None
