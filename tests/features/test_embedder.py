import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from musiceval_sk import AudioError, ClipEmbedder, ClipsTableError, ModelFileError, SkippedWarning
from tests.features.toy import ToyEncoder


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "embeddings.h5")


@pytest.fixture
def clips(write_sounds):
    return write_sounds(0.5, 0.3, 1.2, 0.9)


@pytest.fixture
def without_audio(monkeypatch):
    """From here on no sound may be opened."""

    def open_nothing(*_, **__):
        raise AssertionError("a sound was opened")

    return lambda: monkeypatch.setattr(soundfile, "SoundFile", open_nothing)


def windows_of(path):
    """Cut a file at 8 kHz by hand into half-second windows every quarter, as ToyEncoder asks for."""
    samples = soundfile.read(path, dtype="float32")[0]
    if len(samples) <= 4000:
        copies = np.tile(samples, 4000 // len(samples))
        return [np.concatenate([copies, np.zeros(4000 - len(copies))])]
    return [
        samples[begin : begin + 4000] for begin in [*range(0, len(samples) - 4000, 2000), len(samples) - 4000]
    ]


def measured(path):
    return np.array([(window.mean(), window.max(), window.min()) for window in windows_of(path)])


def mean_and_std(vectors):
    return np.concatenate([vectors.mean(axis=0), vectors.std(axis=0)])


def new_sound(path):
    """Count by hand the samples that each window covers and none before it does."""
    length = len(soundfile.read(path)[0])
    begins = [0] if length <= 4000 else [*range(0, length - 4000, 2000), length - 4000]
    heard = np.zeros(max(length, 4000), dtype=bool)
    counts = []
    for begin in begins:
        counts.append(np.count_nonzero(~heard[begin : begin + 4000]))
        heard[begin : begin + 4000] = True
    return np.array(counts)


@pytest.mark.parametrize(
    "pooling, by_hand",
    [
        ("mean", lambda vectors, counts: np.average(vectors, axis=0, weights=counts)),
        ("max", lambda vectors, counts: vectors.max(axis=0)),
        ("first", lambda vectors, counts: vectors[0]),
        # Each window as often as it brings samples.
        ("mean+std", lambda vectors, counts: mean_and_std(np.repeat(vectors.astype(float), counts, axis=0))),
    ],
)
def test_every_pooling_by_hand(clips, cache, pooling, by_hand):
    embedder = ClipEmbedder(ToyEncoder(), modality="audio", pooling=pooling, cache=cache)
    X = embedder.fit_transform(clips)
    assert X.dtype == np.float32
    np.testing.assert_allclose(
        X, [by_hand(measured(path), new_sound(path)) for path in clips["path"]], atol=1e-6
    )
    assert embedder.get_feature_names_out().shape == (X.shape[1],)


def test_modalities(clips, cache):
    text = [(len(prompt), 2) for prompt in clips["prompt"]]
    audio = ClipEmbedder(ToyEncoder(), modality="audio", cache=cache).fit_transform(clips)
    assert audio.shape == (4, 3)
    np.testing.assert_array_equal(
        ClipEmbedder(ToyEncoder(), modality="text", cache=cache).fit_transform(clips), text
    )
    both = ClipEmbedder(ToyEncoder(), cache=cache).fit_transform(clips)
    np.testing.assert_array_equal(both, np.hstack([audio, text]))


def test_text_alone_needs_no_sound(clips, cache):
    prompts = clips[["prompt"]]
    assert ClipEmbedder(ToyEncoder(), modality="text", cache=cache).fit_transform(prompts).shape == (4, 2)


@pytest.mark.parametrize(
    "modality, pooling, names",
    [
        ("both", "mean", "audio_0 audio_1 audio_2 text_0 text_1"),
        ("text", "mean+std", "text_0 text_1"),
        ("audio", "first", "audio_0 audio_1 audio_2"),
        ("audio", "mean+std", "audio_mean_0 audio_mean_1 audio_mean_2 audio_std_0 audio_std_1 audio_std_2"),
    ],
)
def test_feature_names(clips, modality, pooling, names):
    embedder = ClipEmbedder(ToyEncoder(), modality=modality, pooling=pooling).fit(clips)
    assert embedder.get_feature_names_out().tolist() == names.split()


def test_pandas_output_is_indexed_by_clip(clips, cache):
    X = ClipEmbedder(ToyEncoder(), cache=cache).set_output(transform="pandas").fit_transform(clips.iloc[::-1])
    assert isinstance(X, pd.DataFrame)
    assert X.index.tolist() == ["clip3", "clip2", "clip1", "clip0"]
    assert list(X.columns) == ["audio_0", "audio_1", "audio_2", "text_0", "text_1"]
    # Prompts are numbered by thirds: clip 3 has prompt 0 again.
    assert X["text_0"].tolist() == [8, 8, 8, 8]


def test_rows_follow_the_table_whatever_is_cached(clips, cache):
    whole = ClipEmbedder(ToyEncoder(), cache=cache).fit_transform(clips)
    order = [2, 0, 3, 1]
    np.testing.assert_array_equal(
        ClipEmbedder(ToyEncoder(), cache=cache).fit_transform(clips.iloc[order]), whole[order]
    )


def test_fit_computes_nothing_and_describes_the_encoder(clips, cache, without_audio):
    without_audio()
    encoder = ToyEncoder()
    embedder = ClipEmbedder(encoder, modality="audio", cache=cache)
    assert embedder.fit(clips) is embedder
    assert not Path(cache).parent.joinpath("embeddings.h5.parts").exists()
    assert embedder.encoder_ is encoder
    assert embedder.description_ == {"audio": encoder.describe("audio")}
    assert embedder.fingerprint_ == encoder.fingerprint_of("audio")
    assert embedder.feature_names_in_.tolist() == ["path", "prompt", "system"]
    assert embedder.n_features_in_ == 3


def test_an_encoder_by_name_takes_options(clips, cache):
    embedder = ClipEmbedder("spectral", cache=cache).fit(clips)
    assert embedder.encoder_.name == "spectral"
    with pytest.raises(ValueError, match="does not take these options"):
        ClipEmbedder("spectral", encoder_options={"checkpoint": "clap.pt"}).fit(clips)


def test_pooling_is_searched_without_touching_audio(clips, cache, without_audio):
    ClipEmbedder(ToyEncoder(), cache=cache).fit_transform(clips)
    without_audio()
    model = make_pipeline(ClipEmbedder(ToyEncoder(), cache=cache), Ridge())
    poolings = ["mean", "mean+std", "max", "first"]
    search = GridSearchCV(model, {"clipembedder__pooling": poolings}, cv=2, scoring="neg_mean_absolute_error")
    search.fit(clips, [1.0, 2.0, 3.0, 4.0])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_in_a_pipeline_it_scores_like_its_output(clips, cache):
    y = pd.Series([1.0, 2.0, 3.0, 4.0], index=clips.index)
    embedder = ClipEmbedder(ToyEncoder(), cache=cache)
    options = {"cv": 2, "scoring": "neg_mean_absolute_error"}
    inside = cross_val_score(make_pipeline(embedder, Ridge()), clips, y, **options)
    outside = cross_val_score(Ridge(), embedder.fit_transform(clips), y, **options)
    np.testing.assert_allclose(inside, outside, rtol=1e-6)


def test_clone_and_parameters(clips, cache):
    embedder = ClipEmbedder(
        ToyEncoder(version=3), modality="audio", pooling="max", cache=cache, n_jobs=2
    ).fit(clips)
    copy = clone(embedder)
    parameters = copy.get_params()
    assert parameters.pop("encoder").version == 3
    assert parameters == {
        "modality": "audio",
        "pooling": "max",
        "cache": cache,
        "encoder_options": None,
        "n_jobs": 2,
    }
    assert not hasattr(copy, "fingerprint_")
    with pytest.raises(NotFittedError):
        copy.transform(clips)


def test_a_pickled_embedder_goes_on(clips, cache, without_audio):
    embedder = ClipEmbedder(ToyEncoder(), cache=cache)
    X = embedder.fit_transform(clips)
    without_audio()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(embedder)).transform(clips), X)


def test_a_changed_encoder_is_refused(clips, cache):
    embedder = ClipEmbedder(ToyEncoder(), cache=cache).fit(clips)
    embedder.encoder_ = ToyEncoder(version=2)
    words = f"this embedder was fitted with encoder {ToyEncoder().fingerprint_of('audio')}.* have changed"
    with pytest.raises(ModelFileError, match=words):
        embedder.transform(clips)


def test_unreadable_clips_stop_transform_and_are_named(clips, cache):
    embedder = ClipEmbedder(ToyEncoder(), cache=cache).fit(clips)
    broken, gone = Path(clips.loc["clip1", "path"]), Path(clips.loc["clip2", "path"])
    broken.write_text("no sound")
    with pytest.raises(AudioError, match=r"clip1\.wav: not a sound file that libsndfile can read"):
        embedder.transform(clips)
    gone.unlink()
    with pytest.raises(AudioError, match=r"clip2\.wav: cannot be read \(No such file or directory\)"):
        embedder.transform(clips)


def test_embed_leaves_out_what_cannot_be_read_and_says_why(clips, cache):
    whole = ClipEmbedder(ToyEncoder(), cache=cache + "2").set_output(transform="pandas").fit_transform(clips)
    embedder = ClipEmbedder(ToyEncoder(), cache=cache).fit(clips)
    Path(clips.loc["clip1", "path"]).write_text("no sound")
    Path(clips.loc["clip2", "path"]).unlink()
    with pytest.warns(SkippedWarning, match="^skipped 2 of 4 clips: .*clip2.wav.*clip1.wav"):
        table, report = embedder.embed(clips)
    pd.testing.assert_frame_equal(table, whole.loc[["clip0", "clip3"]])
    assert table.attrs == whole.attrs
    assert sorted(report.skipped.index) == ["clip1", "clip2"] and report.stored["audio"] == 2
    with pytest.raises(AudioError, match="clip2.wav: cannot be read"):
        embedder.embed(clips, strict=True)


@pytest.mark.parametrize("modality, columns", [("audio", 3), ("both", 5)])
def test_embed_of_nothing_that_can_be_read_has_no_rows(clips, cache, modality, columns):
    embedder = ClipEmbedder(ToyEncoder(), modality=modality, cache=cache).fit(clips)
    for path in clips["path"]:
        Path(path).unlink()
    with pytest.warns(SkippedWarning, match="^skipped 4 of 4 clips"):
        assert embedder.embed(clips)[0].shape == (0, columns)


def test_embed_takes_another_encoder_only_where_asked(clips, cache):
    embedder = ClipEmbedder(ToyEncoder(), cache=cache).fit(clips)
    embedder.encoder_ = ToyEncoder(version=2)
    with pytest.raises(ModelFileError, match="have changed"):
        embedder.embed(clips)
    table, report = embedder.embed(clips, any_encoder=True)
    assert table.shape == (4, 5) and report.stored == {"text": 3, "audio": 4}


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"modality": "video"}, "unknown modality 'video'; choose from audio, text, both"),
        ({"pooling": "median"}, "unknown pooling 'median'; choose from mean"),
        ({"encoder": "clap"}, "unknown encoder 'clap'"),
    ],
)
def test_bad_parameters_are_refused_by_fit(clips, arguments, words):
    embedder = ClipEmbedder(**arguments)
    with pytest.raises(ValueError, match=words):
        embedder.fit(clips)


@pytest.mark.parametrize("modality, column", [("audio", "path"), ("text", "prompt"), ("both", "prompt")])
def test_the_table_must_have_the_columns_of_its_modality(clips, cache, modality, column):
    embedder = ClipEmbedder(ToyEncoder(), modality=modality, cache=cache)
    with pytest.raises(ClipsTableError, match=rf"missing column\(s\) {column}"):
        embedder.fit(clips.drop(columns=column))
    with pytest.raises(ClipsTableError, match=rf"missing column\(s\) {column}"):
        embedder.fit(clips).transform(clips.drop(columns=column))
    with pytest.raises(ClipsTableError, match=r"expected a clips table \(pandas.DataFrame\), got ndarray"):
        embedder.transform(clips.to_numpy())


def test_pandas_output_names_its_encoder_and_pooling(clips, cache):
    def attrs_of(**options):
        embedder = ClipEmbedder(ToyEncoder(), cache=cache, **options).set_output(transform="pandas")
        X = embedder.fit_transform(clips)
        assert X.iloc[:2].attrs == X.attrs
        return embedder.fingerprint_, X.attrs

    fingerprint, attrs = attrs_of()
    assert attrs == {"encoder_fingerprint": f"{fingerprint} (pooling mean by new sound)"}
    # The encoder is the same, the vectors are not; texts have no windows to pool.
    fingerprint, attrs = attrs_of(pooling="max", modality="audio")
    assert attrs == {"encoder_fingerprint": f"{fingerprint} (pooling max)"}
    fingerprint, attrs = attrs_of(pooling="max", modality="text")
    assert attrs == {"encoder_fingerprint": fingerprint}


def test_a_clip_just_over_a_window_is_hardly_moved_by_its_end(tmp_path, cache):
    """Half a second of 0.1 and 0.01 s more, in a file and as a part of one, that raise the last window's maximum to 0.9."""
    samples = np.full(4080, 0.1, dtype=np.float32)
    samples[-1] = 0.9
    soundfile.write(tmp_path / "whole.wav", samples, 8000, subtype="FLOAT")
    soundfile.write(
        tmp_path / "part.wav", np.append(np.zeros(8000, np.float32), samples), 8000, subtype="FLOAT"
    )
    clips = pd.DataFrame(
        {"path": [str(tmp_path / "whole.wav"), str(tmp_path / "part.wav")], "start_time": [0.0, 1.0]},
        index=pd.Index(["whole", "part"], name="clip_id"),
    )
    X = ClipEmbedder(ToyEncoder(), modality="audio", cache=cache).fit_transform(clips)
    # The second window brings 80 of 4,000 samples, 0.02 windows: (0.1 + 0.02 * 0.9) / 1.02, where a plain mean is 0.5.
    np.testing.assert_allclose(X[:, 1], 0.118 / 1.02, rtol=1e-5)


def test_vectors_stored_by_earlier_versions_are_weighed_alike(clips, cache, monkeypatch):
    """The store holds nothing of lengths: what is read from an old one is what is read from a new one."""
    embedder = ClipEmbedder(ToyEncoder(), modality="audio", cache=cache)
    X = embedder.fit_transform(clips)
    monkeypatch.setattr("musiceval_sk.features.audio._SECONDS", {})  # as in another process
    monkeypatch.setattr("musiceval_sk.features.extract.embed_batches", None)
    np.testing.assert_array_equal(embedder.fit_transform(clips), X)
