import io
import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from musiceval_sk import (
    ClipEmbedder,
    LookupRegressor,
    ModelFileError,
    MOSRegressor,
    default_models,
    load_model,
    save_model,
)
from musiceval_sk.estimators import persistence
from musiceval_sk.estimators.lookup import scaled
from musiceval_sk.features.encoders.hf_audio import HfAudioEncoder

RAN = []


class Stranger(Ridge):
    """An estimator that nobody has vouched for."""


class Bomb:
    """Would note that it ran, were it unpickled or called."""

    def __reduce__(self):
        return RAN.append, ("unpickled",)

    def __setstate__(self, state):
        RAN.append("state set")


def set_off(X):
    RAN.append("called")
    return X


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()
    yield
    assert RAN == []


@pytest.fixture
def X():
    names = ["audio_0", "audio_1", "text_0"]
    index = [f"clip{i}" for i in range(40)]
    return pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=names, index=index)


@pytest.fixture
def y(X):
    return (3 + X["audio_0"]).rename("impression")


@pytest.fixture
def clips(X):
    return pd.DataFrame({"system": ["S1", "S2"] * 20, "prompt": ["p"] * 40}, index=X.index)


def quick(**parameters):
    return MOSRegressor.from_protocol(
        "paper",
        hidden_layer_sizes=(4,),
        learning_rate_init=0.05,
        n_iter_no_change=3,
        scale=None,
        random_state=0,
        **parameters,
    )


def test_two_targets_and_ensemble_come_back_to_the_bit(X, y, tmp_path, torch):
    Y = pd.DataFrame({"impression": y, "alignment": X["text_0"]})
    model = scaled(quick(n_ensemble=2, head_inputs={"alignment": slice(0, 3)})).fit(X, Y)
    path = save_model(model, tmp_path / "new folder" / "model.skops")
    loaded = load_model(path)
    assert path == tmp_path / "new folder" / "model.skops"
    assert [file.name for file in path.parent.iterdir()] == ["model.skops"]
    for found, expected in zip(
        loaded.predict(X, return_std=True), model.predict(X, return_std=True), strict=True
    ):
        assert found.tobytes() == expected.tobytes()
    assert repr(loaded) == repr(model)
    assert loaded[-1].target_names_ == ["impression", "alignment"]


def test_every_default_model_comes_back_to_the_bit(X, y, clips, tmp_path, torch):
    models = default_models(clips)
    models["MOSRegressor"] = scaled(quick())
    for name, model in models.items():
        model.fit(X, y)
        loaded = load_model(save_model(model, tmp_path / f"{name}.skops"))
        assert loaded.predict(X).tobytes() == model.predict(X).tobytes(), name
    assert load_model(tmp_path / "system mean.skops").known(X).all()


def test_a_loaded_regressor_trains_on(X, y, tmp_path, torch):
    loaded = load_model(save_model(quick().fit(X, y), tmp_path / "model.skops"))
    assert np.array_equal(loaded.fit(X, y).predict(X), quick().fit(X, y).predict(X))


def test_about_is_kept_in_the_file(X, y, tmp_path):
    path = save_model(Ridge().fit(X, y), tmp_path / "model.skops", about={"data": "MusicEval", "clips": 40})
    assert skops.io.load(path)["about"] == {"data": "MusicEval", "clips": 40}


def test_overwriting_is_whole_or_not_at_all(X, y, tmp_path):
    path = save_model(Ridge(alpha=1.0).fit(X, y), tmp_path / "model.skops")
    with pytest.raises(Exception):  # noqa: B017 - whatever skops says of a generator
        save_model((i for i in range(3)), path)
    assert load_model(path).alpha == 1.0
    save_model(Ridge(alpha=2.0).fit(X, y), path)
    assert load_model(path).alpha == 2.0


def zipped(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("_json", ".json"), text)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a zip", zipped(readme="x"), zipped(schema_json="not json"), zipped(schema_json="[1]")],
    ids=["empty", "text", "another zip", "no JSON", "JSON of another kind"],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "model.skops"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.skops: not a model file of musiceval_sk"):
        load_model(path)


def test_pickles_are_refused_unopened(tmp_path):
    path = tmp_path / "model.skops"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelFileError, match="not a model file of musiceval_sk"):
        load_model(path)


def test_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"absent\.skops: no such model file"):
        load_model(tmp_path / "absent.skops")
    with pytest.raises(ModelFileError, match="no such model file"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [Ridge(), {"format": "another", "version": 1}, [1, 2]], ids=repr)
def test_other_skops_files_are_refused(tmp_path, content):
    skops.io.dump(content, tmp_path / "model.skops")
    with pytest.raises(ModelFileError, match="a skops file, but not a model that save_model wrote"):
        load_model(tmp_path / "model.skops")


def test_newer_format_is_refused(tmp_path):
    content = {
        "format": "musiceval-model",
        "version": 3,
        "musiceval_sk": "9.8.7",
        "model": {"of": "a new kind"},
    }
    skops.io.dump(content, tmp_path / "model.skops")
    words = r"is of version 3, and this musiceval_sk reads up to 2; upgrade"
    with pytest.raises(ModelFileError, match=words):
        load_model(tmp_path / "model.skops")


def test_unknown_types_are_refused_until_named(X, y, tmp_path):
    path = save_model(Stranger().fit(X, y), tmp_path / "model.skops")
    name = f"{Stranger.__module__}.Stranger"
    with pytest.raises(
        ModelFileError, match=f"types that are not known to be safe: {name}. If you trust the file"
    ):
        load_model(path)
    assert isinstance(load_model(path, trusted=[name]), Stranger)


@pytest.mark.parametrize(
    "model",
    [FunctionTransformer(set_off), FunctionTransformer(kw_args={"bomb": Bomb()})],
    ids=["function", "reduce"],
)
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Bomb, "__reduce__", object.__reduce__)  # skops would not write it otherwise
        save_model(model, tmp_path / "model.skops")
    with pytest.raises(ModelFileError, match="types that are not known to be safe"):
        load_model(tmp_path / "model.skops")


def test_a_schema_forged_to_call_a_function_is_refused(X, y, tmp_path):
    path = save_model(FunctionTransformer(np.sin), tmp_path / "model.skops")
    with zipfile.ZipFile(path) as archive:
        schema = archive.read("schema.json").decode()
    forged = schema.replace('"sin"', '"system"').replace('"numpy"', '"os"').replace("numpy.sin", "os.system")
    assert json.loads(forged) != json.loads(schema)
    path.write_bytes(zipped(schema_json=forged))
    with pytest.raises(ModelFileError, match=r"types that are not known to be safe: .*system"):
        load_model(path)


def test_lookup_with_labels_from_elsewhere(X, y, tmp_path):
    labels = pd.Series(range(40), index=X.index) // 10
    lookup = LookupRegressor(labels).fit(X[:20], y[:20])
    loaded = load_model(save_model(lookup, tmp_path / "model.skops"))
    assert loaded.predict(X).tobytes() == lookup.predict(X).tobytes()
    assert loaded.known(X).sum() == 20


def test_a_search_is_refused_when_it_is_saved(X, y, tmp_path):
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 10.0]}, cv=2).fit(X, y)
    for model in (search, make_pipeline(StandardScaler(), search)):
        with pytest.raises(ValueError, match="GridSearchCV is a search, .* save its best_estimator_"):
            save_model(model, tmp_path / "model.skops")
    assert not (tmp_path / "model.skops").exists()
    loaded = load_model(save_model(search.best_estimator_, tmp_path / "model.skops"))
    assert np.array_equal(loaded.predict(X), search.predict(X))


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (MOSRegressor(), ValueError, "takes a fitted model, but this MOSRegressor is not: call fit first"),
        (make_pipeline(StandardScaler(), Ridge()), ValueError, "but this StandardScaler is not: call fit"),
        (make_pipeline("passthrough", Ridge()), ValueError, "but this Ridge is not: call fit first"),
        (MOSRegressor, TypeError, "MOSRegressor'> is a class, not an instance"),
        ({"model": 1}, TypeError, "not an estimator instance"),
    ],
)
def test_what_is_no_fitted_model_is_not_saved(tmp_path, model, error, words):
    with pytest.raises(error, match=words):
        save_model(model, tmp_path / "new" / "model.skops")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_place_for_a_model(X, y, tmp_path, torch):
    model = quick().fit(X, y)
    for save in (model.save, lambda path: save_model(model, path)):
        for path in (tmp_path, "."):
            with pytest.raises(ValueError, match="is a folder; name a file to write, such as .*model"):
                save(path)
    assert not list(tmp_path.iterdir())


def test_an_encoder_may_run_code_only_where_that_is_said_here(tmp_path, monkeypatch):
    code = "HfAudioEncoder(trust_remote_code=True)"
    for told in (True, False):
        embedder = ClipEmbedder(HfAudioEncoder("folder", trust_remote_code=told))
        content = {
            "format": "musiceval-model",
            "version": 2,
            "musiceval_sk": "1",
            "about": {},
            "model": embedder,
        }
        skops.io.dump(content, tmp_path / f"{told}.skops")
    assert load_model(tmp_path / "False.skops").encoder.trust_remote_code is False
    with pytest.raises(
        ModelFileError, match=r"HfAudioEncoder\(trust_remote_code=True\). If you trust the file"
    ):
        load_model(tmp_path / "True.skops")
    assert load_model(tmp_path / "True.skops", trusted=[code]).encoder.trust_remote_code
    monkeypatch.setenv("MUSICEVAL_TRUSTED", f"some.Type,{code}")
    assert load_model(tmp_path / "True.skops").encoder.trust_remote_code


def test_a_file_that_would_fill_any_memory_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(persistence, "_MOST_BYTES", 10_000)
    save_model(Ridge().fit(np.eye(3), np.arange(3)), tmp_path / "m.skops")
    assert load_model(tmp_path / "m.skops").coef_.shape == (3,)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data.npy", bytes(1 << 20))
    for name, content in (("zeros", bytes(1 << 20)), ("zeros within", inner.getvalue())):
        with zipfile.ZipFile(tmp_path / "m.skops", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(name, content)
        with pytest.raises(ModelFileError, match="holds more than .* bytes when unpacked"):
            load_model(tmp_path / "m.skops")
