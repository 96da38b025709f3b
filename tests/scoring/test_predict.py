"""Scoring new clips: the same figures however it is called, honest limits, and words when something is off."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy import stats
from sklearn.linear_model import Ridge

from musiceval_sk import (
    AudioError,
    ClipEmbedder,
    ClipsTableError,
    ModelFileError,
    MOSRegressor,
    SkippedWarning,
    TrainingDomain,
    get_encoder,
    load_model,
    make_listening_test,
    predict_clips,
    save_model,
)
from musiceval_sk.estimators.lookup import scaled
from musiceval_sk.features import digests
from musiceval_sk.scoring.predict import iter_predictions
from musiceval_sk.scoring.result import summarise
from musiceval_sk.studies.cell import group_parameters

pytestmark = pytest.mark.filterwarnings("ignore:.*lie outside the scores of training:UserWarning")


@pytest.fixture(scope="module")
def test(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prediction")
    return make_listening_test(folder / "test", n_systems=6, n_prompts=5, n_raters=6, seconds=1.0)


@pytest.fixture(scope="module")
def cache(test):
    return test.folder.parent / "embeddings.h5"


@pytest.fixture(scope="module")
def fit(test, cache, torch):
    def fit(*before, members=3, modality="both"):
        embedder = ClipEmbedder("spectral", modality=modality, cache=str(cache)).set_output(
            transform="pandas"
        )
        regressor = MOSRegressor(
            (8,), n_ensemble=members, learning_rate_init=0.01, max_iter=2000, random_state=0
        )
        model = scaled(embedder, *before, regressor)
        scores = test.ratings.groupby("clip_id")[["impression", "alignment"]].mean().loc[test.clips.index]
        return model.fit(test.clips, scores, **group_parameters(model, test.clips["system"]))

    return fit


@pytest.fixture(scope="module")
def model(fit):
    return fit(TrainingDomain())


def test_scores_and_spread_are_the_pipelines_own_in_any_batch_size(model, test, cache):
    mean, spread = model.predict(test.clips), model[-1].predict(model[:-1].transform(test.clips), True)[1]
    for batch_size in (7, 512):
        found = predict_clips(model, test.clips, cache=cache, batch_size=batch_size).clips
        assert list(found.index) == list(test.clips.index) and found.index.name == "clip_id"
        np.testing.assert_allclose(found[["impression", "alignment"]], mean, rtol=1e-12)
        np.testing.assert_allclose(found[["impression_spread", "alignment_spread"]], spread, rtol=1e-9)
        assert found["system"].equals(test.clips["system"])
        assert {"sound_distance", "sound_percentile", "sound_far", "prompt_far"} <= set(found)


def test_a_file_gives_what_the_model_gives_and_batches_come_one_by_one(model, test, cache, tmp_path):
    path = save_model(model, tmp_path / "m.skops")
    seen = []
    whole = predict_clips(str(path), test.clips, cache=cache, batch_size=12, on_batch=seen.append).clips
    assert [len(table) for table in seen] == [12, 12, 6]
    pd.testing.assert_frame_equal(pd.concat(seen), whole)
    pd.testing.assert_frame_equal(pd.concat(iter_predictions(model, test.clips, cache=cache)), whole)


@pytest.fixture
def settled(test, tmp_path, monkeypatch):
    """Copies of the test's sounds, whose digests may be remembered at once."""
    monkeypatch.setattr(digests, "_SETTLED_NANOSECONDS", -1)
    copies = [shutil.copy(path, tmp_path / f"{clip}.wav") for clip, path in test.clips["path"].items()]
    return test.clips.assign(path=[str(copy) for copy in copies])


def test_the_index_of_files_is_read_once_and_each_file_digested_once(model, settled, tmp_path, monkeypatch):
    loads, hashed = [], []
    load, hash_file = digests._load, digests.hash_file
    monkeypatch.setattr(digests, "_load", lambda path: loads.append(path) or load(path))
    monkeypatch.setattr(digests, "hash_file", lambda path: hashed.append(path) or hash_file(path))
    cache = tmp_path / "e.h5"
    found = predict_clips(model, settled, cache=cache, batch_size=4).clips
    assert loads == [tmp_path / "e.h5.files.npy"] and sorted(hashed) == sorted(settled["path"])
    again = predict_clips(model, settled, cache=cache, batch_size=4).clips
    assert len(loads) == 2 and len(hashed) == len(settled)
    pd.testing.assert_frame_equal(again, found)


def test_a_file_that_changes_between_batches_is_heard_anew(model, settled, tmp_path):
    cache = tmp_path / "e.h5"
    before = predict_clips(model, settled, cache=cache).clips
    batches = iter_predictions(model, settled, cache=cache, batch_size=10)
    next(batches)
    first, last = settled.index[0], settled.index[-1]
    shutil.copy(settled.loc[first, "path"], settled.loc[last, "path"])
    after = pd.concat(batches).loc[last]
    assert after["impression"] == pytest.approx(before.loc[first, "impression"], rel=1e-12)
    assert after["impression"] != before.loc[last, "impression"]


def test_a_run_that_is_left_keeps_the_digests_it_has(model, settled, tmp_path):
    batches = iter_predictions(model, settled, cache=tmp_path / "e.h5", batch_size=10)
    next(batches), next(batches)
    batches.close()
    assert len(np.load(tmp_path / "e.h5.files.npy")) == 20


def test_the_callers_model_is_left_alone(model, test, tmp_path):
    before = model[0].get_params()
    predict_clips(model, test.clips[:4], cache=tmp_path / "other.h5", n_jobs=1)
    assert model[0].get_params() == before and (tmp_path / "other.h5").exists()


def test_intervals_by_hand():
    clips = pd.DataFrame(
        {"system": ["a", "a", "b"], "impression": [2.0, 4.0, 5.0], "impression_spread": [0.1] * 3},
        index=["x", "y", "z"],
    )
    errors = {"clip_rmse": 1.0, "system_rmse": 0.7, "clip_sd": 0.8, "system_sd": 0.6}
    assessment = {"n_systems": 9, "n_clips": 90, "n_splits": 5, "targets": {"impression": errors}}
    found = summarise(clips, ["impression"], assessment=assessment)
    assert list(found.systems.index) == ["b", "a"]
    a, b = found.systems.loc["a"], found.systems.loc["b"]
    # Mean 3; standard error sqrt(2) / sqrt(2) = 1; t with one degree of freedom.
    half = stats.t.ppf(0.975, 1)
    assert (a["impression_sampling_low"], a["impression_sampling_high"]) == pytest.approx(
        (3 - half, 3 + half)
    )
    assert np.isnan(b["impression_sampling_low"])
    half = stats.t.ppf(0.975, 9) * np.sqrt(0.36 + 0.64 / 2)
    assert (a["impression_raters_low"], a["impression_raters_high"]) == pytest.approx((3 - half, 3 + half))
    half = stats.t.ppf(0.975, 9)  # 0.36 + 0.64 = 1
    assert b["impression_raters_high"] == pytest.approx(5 + half)
    text = str(found)
    assert "none for 1 systems of one clip" in text
    assert "9 training systems left out (root mean square impression 0.70)" in text
    assert "not a confidence interval of its score" in text
    assert "distance from training unknown: the model was saved without TrainingDomain" in text
    assert "may pass the ends of their scale, which is not known" in text
    assert found.warnings == []


def test_intervals_keep_to_the_scale_and_predictions_off_it_are_counted():
    clips = pd.DataFrame({"system": list("aabc"), "impression": [2.0, 4.0, 6.44, 4.9]}, index=list("wxyz"))
    errors = {"clip_rmse": 1.0, "system_rmse": 0.7, "clip_sd": 0.0, "system_sd": 0.5}
    assessment = {"n_systems": 9, "targets": {"impression": errors}}
    found = summarise(clips, ["impression"], assessment=assessment, scale=(1, 5))
    half = 0.5 * stats.t.ppf(0.975, 9)
    bounds = found.systems[["impression_raters_low", "impression_raters_high"]]
    # b's mean of 6.44 is brought to 5 before its interval is laid around it.
    assert bounds.loc["a"].tolist() == pytest.approx([3 - half, 3 + half])
    assert bounds.loc["b"].tolist() == pytest.approx([5 - half, 5])
    assert bounds.loc["c"].tolist() == pytest.approx([4.9 - half, 5])
    assert found.systems.loc["b", "impression"] == 6.44
    assert "says nothing" not in str(found)
    # a's t interval among clips of 2 and 4: 3 - 12.7 and 3 + 12.7; b and c have one clip each.
    words = "none for 2 systems of one clip; of impression it leaves the raters' scale, 1 to 5, for a"
    assert words in str(found)
    poor = assessment | {"targets": {"impression": errors | {"system_sd": 2.0}}}
    words = "of impression it is the whole scale, which says nothing, for"
    # Half of 2 t(0.975, 9) = 4.52: it covers 1 to 5 around any mean; half of 1 t = 2.26 around a's 3 alone.
    assert f"{words} all systems" in str(summarise(clips, ["impression"], assessment=poor, scale=(1, 5)))
    poor["targets"]["impression"]["system_sd"] = 1.0
    text = str(summarise(clips, ["impression"], assessment=poor, scale=(1, 5)))
    assert f"{words} a\n" in text
    assert "ends with their scale, 1 to 5" in found.table()
    assert found.warnings == [
        "impression: 1 of 4 predictions lie off the raters' scale, 1 to 5, by up to 1.44: y"
    ]


@pytest.mark.filterwarnings("ignore:early stopping goes by")
def test_what_is_missing_is_said(fit, test, cache):
    found = predict_clips(fit(members=1), test.clips.drop(columns="system"), cache=cache)
    assert list(found.clips) == ["impression", "alignment"]
    assert list(found.systems.index) == ["all clips"]
    text = found.table()
    assert "no spread per clip: the model has a single member" in text
    assert "no interval for what raters would say" in text and "musiceval fit --assess" in text


@pytest.mark.parametrize(
    "width, n, known, warned",
    [
        (0.07, 10, {"ranges": [[1.0, 5.0]]}, True),  # 2 % of 4 points are 0.08
        (0.09, 10, {"ranges": [[1.0, 5.0]]}, False),
        (0.08, 9, {"ranges": [[1.0, 5.0]]}, False),
        (1.9, 10, {"scale": (0, 100)}, True),
        (0.0, 10, {}, False),  # of no known range
    ],
)
def test_a_model_that_gives_nearly_one_score_is_warned_of_once(width, n, known, warned):
    clips = pd.DataFrame({"score": 3 + np.linspace(0, width, n)}, [f"c{i}" for i in range(n)])
    found = summarise(clips, ["score"], **known).warnings
    words = f"score: all 10 clips get nearly one score, 3.000 to {3 + width:.3f}: the model does not tell them apart"
    assert [warning.startswith(words) for warning in found] == [True] * warned


def test_too_few_training_clips_to_single_out_any():
    domain = TrainingDomain().fit(pd.DataFrame({"audio_0": np.arange(10.0)}))
    clips = domain.measure(pd.DataFrame({"audio_0": [900.0]})).assign(score=3.0)
    text = str(summarise(clips, ["score"], domain=domain))
    assert "with 10 training clips no sound can be called far: it takes 19" in text


def test_too_few_prompts_to_single_out_any():
    rows = {"audio_0": np.arange(40.0), "text_0": np.arange(40.0) % 8}
    domain = TrainingDomain().fit(pd.DataFrame(rows))
    clips = domain.measure(pd.DataFrame({"audio_0": [3.0], "text_0": [900.0]})).assign(score=3.0)
    text = str(summarise(clips, ["score"], domain=domain))
    assert "with 8 training prompts no prompt can be called far: it takes 19" in text
    assert "said of sound" not in text


def noise_clips(folder, test, rng):
    """The test's clips with sounds that no music resembles: loud clicks in silence."""
    folder.mkdir()
    paths = []
    for clip in test.clips.index[:10]:
        sound = np.zeros(22050, dtype=np.float32)
        sound[rng.integers(0, 22050, 3)] = 1.0
        soundfile.write(folder / f"{clip}.wav", sound, 22050)
        paths.append(str(folder / f"{clip}.wav"))
    return test.clips[:10].assign(path=paths, system="clicks")


def test_unknown_sounds_are_pointed_out_and_known_ones_are_not(model, test, cache, tmp_path, rng):
    strange = noise_clips(tmp_path / "clicks", test, rng)
    both = pd.concat([strange.rename(index=lambda clip: f"new_{clip}"), test.clips])
    with pytest.warns(
        UserWarning, match=r"^clicks: 10 of 10 clips lie farther from the training clips"
    ) as caught:
        found = predict_clips(model, both, cache=cache)
    assert found.systems.loc["clicks", "sound_far"] == 1
    words = [str(warning.message) for warning in caught if "lie farther" in str(warning.message)]
    assert len(words) == 1 and words[0] in found.warnings
    assert "than 95% of those did when left out (about 0.5 expected)" in words[0]
    assert "farther than that of 6 of 6 training systems" in words[0]
    assert "its scores for them are guesses" in words[0]
    assert f"warning: {words[0]}" in str(found) and words[0] not in found.table()


def test_several_unknown_systems_are_named_together(rng):
    X = pd.DataFrame(rng.normal(size=(100, 3)), columns=[f"audio_{i}" for i in range(3)])
    domain = TrainingDomain().fit(X, groups=np.repeat(np.arange(10), 10))
    far = domain.measure(X[:30] + 50).assign(score=3.0, system=np.repeat(["old", "new", "slow"], 10))
    near = domain.measure(X[30:]).assign(score=3.0, system="known").add_suffix("x", axis=0)
    (warning,) = summarise(pd.concat([far, near]), ["score"], domain=domain).warnings
    assert warning.startswith("new: 10 of 10 clips, old: 10 of 10 clips, slow: 10 of 10 clips lie farther")
    assert "(about 1.5 expected), and the middle clip of each farther than that of 10 of 10" in warning


def test_one_far_clip_of_many_is_no_alarm(rng):
    groups = np.repeat(np.arange(20), 10)
    X = pd.DataFrame(rng.normal(size=(200, 3)), columns=[f"audio_{i}" for i in range(3)])
    domain = TrainingDomain().fit(X, groups=groups)
    new = pd.DataFrame(rng.normal(size=(40, 3)), columns=X.columns)
    new.iloc[0] += 50
    clips = domain.measure(new).assign(system="new", score=3.0)
    assert clips["sound_far"].iloc[0] and clips["sound_far"].sum() < 5
    assert summarise(clips, ["score"], domain=domain).warnings == []


def test_unknown_prompts_are_pointed_out(rng):
    prompts = rng.normal(size=(40, 3))
    X = pd.DataFrame(np.tile(prompts, (5, 1)), columns=["text_0", "text_1", "text_2"])
    domain = TrainingDomain().fit(X, groups=np.repeat(np.arange(5), 40))
    clips = domain.measure(X[:4] + 30).assign(score=3.0).set_axis(list("wxyz"))
    (warning,) = summarise(clips, ["score"], domain=domain).warnings
    assert warning.startswith("4 of 4 prompts are farther from the training prompts than 95% of those")
    assert "as of clips w, x, y, z" in warning and "alignment" in warning


def test_unreadable_clips_are_counted_once(model, test, cache, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    clips = test.clips.copy()
    clips.iloc[[0, 20], clips.columns.get_loc("path")] = str(broken)
    with pytest.warns(SkippedWarning, match="skipped 2 of 30 clips") as caught:
        found = predict_clips(model, clips, cache=cache, batch_size=10)
    assert sum(issubclass(warning.category, SkippedWarning) for warning in caught) == 1
    assert len(found.clips) == 28 and list(found.skipped.index) == list(clips.index[[0, 20]])
    with pytest.raises(AudioError, match="none of the clips could be read: .*broken.wav: not a sound file"):
        predict_clips(model, clips.assign(path=str(broken)), cache=cache, batch_size=10)


def test_missing_prompts_are_counted_once(model, test, cache):
    with pytest.warns(UserWarning, match="30 of 30 clips have no prompt") as caught:
        predict_clips(model, test.clips.assign(prompt=""), cache=cache, batch_size=10)
    assert sum("no prompt" in str(warning.message) for warning in caught) == 1


def test_another_encoder_is_refused_field_by_field(model, test, cache):
    other = get_encoder("spectral")
    other.n_fft = 1024
    with pytest.raises(ModelFileError, match=r"this embedder was fitted with encoder .*n_fft.*2048.*1024"):
        predict_clips(model, test.clips, cache=cache, encoder=other)


@pytest.mark.filterwarnings("ignore:.* lie farther from the training clips:UserWarning")
def test_another_encoder_is_warned_of_on_request(model, test, cache):
    other = get_encoder("spectral")
    other.n_fft = 1024
    options = {"cache": cache, "encoder": other, "allow_other_encoder": True}
    words = r"another encoder than in training: .*n_fft.*2048.*1024"
    with pytest.warns(UserWarning, match=words):
        found = predict_clips(model, test.clips, batch_size=10, **options)
    assert sum("another encoder" in warning for warning in found.warnings) == 1
    with pytest.warns(UserWarning, match=words):
        streamed = pd.concat(iter_predictions(model, test.clips, **options))
    pd.testing.assert_frame_equal(streamed, found.clips)
    same = predict_clips(model, test.clips, cache=cache)
    assert not same.clips["impression"].equals(found.clips["impression"])
    # Where the encoder is training's, the permission changes nothing.
    allowed = predict_clips(model, test.clips, cache=cache, allow_other_encoder=True)
    pd.testing.assert_frame_equal(allowed.clips, same.clips)
    assert allowed.warnings == same.warnings


def test_vectors_of_another_length_never_pass(model, test, cache):
    other = get_encoder("spectral")
    other.n_mels, other.audio_dim = 32, 3 * 32 + 18
    with pytest.raises(ValueError, match="feature names should match"):
        predict_clips(model, test.clips, cache=cache, encoder=other, allow_other_encoder=True)


def test_a_regressor_of_scikit_learn(test, cache):
    embedder = ClipEmbedder(modality="audio", cache=str(cache)).set_output(transform="pandas")
    scores = test.ratings.groupby("clip_id")["impression"].mean().loc[test.clips.index]
    fitted = scaled(embedder, Ridge(alpha=100.0)).fit(test.clips, scores)
    found = predict_clips(fitted, test.clips, cache=cache).clips
    assert found["score"].to_numpy() == pytest.approx(fitted.predict(test.clips))


def test_wrong_use(model, test, cache):
    with pytest.raises(ModelFileError, match="begins with ClipEmbedder, got MOSRegressor"):
        predict_clips(model[-1], test.clips, cache=cache)
    with pytest.raises(ValueError, match="batch_size=0 must be a whole number and at least 1"):
        predict_clips(model, test.clips, cache=cache, batch_size=0)
    with pytest.raises(ClipsTableError, match="prompt"):
        predict_clips(model, test.clips.drop(columns="prompt"), cache=cache)


def test_a_model_that_was_given_paths_loads(test, cache, tmp_path):
    clips, scores = test.clips, np.arange(float(len(test.clips)))
    embedder = ClipEmbedder(modality="audio", cache=Path(cache), encoder_options={})
    model = scaled(embedder.set_output(transform="pandas"), Ridge()).fit(clips, scores)
    loaded = load_model(save_model(model, tmp_path / "model.skops"))
    assert loaded[0].cache == str(cache)
    assert np.array_equal(loaded.predict(clips), model.predict(clips))
