"""CLAP scores: the mean cosine over windows, the level of chance, the encoder's name, and words when they say little."""

import importlib.util
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.linear_model import Ridge
from typer.testing import CliRunner

from musiceval_sk import (
    AudioError,
    ClipEmbedder,
    ClipsTableError,
    SkippedWarning,
    clap_score,
    load_clips,
    predict_clips,
    run_study,
)
from musiceval_sk.cli.app import app
from musiceval_sk.estimators.lookup import CosineRegressor, scaled
from musiceval_sk.studies.run import clap_score_row
from tests.clap_files import (
    laion_clap_itself,
    write_clap_checkpoint,
    write_roberta_tokenizer,
    write_transformers_folder,
)
from tests.scoring.joint import WORDS, JointEncoder, unit

DATA = Path(os.environ.get("MUSICEVAL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
PITCH = dict(zip(WORDS, (200, 1000, 3000), strict=True))


@pytest.fixture
def clips(tmp_path, rng):
    """Four systems play three prompts, three of them as asked; a clip is 2 s long, and the second second of it is noise."""
    time, rows = np.arange(8000) / 8000, []
    for system in ("S1", "S2", "S3", "S4"):
        for place, word in enumerate(WORDS):
            played = WORDS[place - 1] if system == "S4" else word
            tone = 0.5 * np.sin(2 * np.pi * PITCH[played] * time)
            path = tmp_path / f"{system}_{word}.wav"
            soundfile.write(path, np.concatenate([tone, rng.normal(0, 0.1, 8000)]), 8000, subtype="FLOAT")
            rows.append(
                (
                    path.stem,
                    str(path),
                    f"a {word} tone",
                    system,
                    (4.0 if played == word else 2.0) + rng.normal(0, 0.1),
                )
            )
    table = pd.DataFrame(rows, columns=["clip_id", "path", "prompt", "system", "alignment"])
    return table.set_index("clip_id").assign(impression=3.0 + rng.normal(size=12))


def by_hand(clips):
    """Windows by the second, one cosine each, and their mean."""
    encoder, scores = JointEncoder(), {}
    for clip, row in clips.iterrows():
        samples = soundfile.read(row["path"])[0]
        cosines = encoder.encode_audio(samples.reshape(2, 8000)) @ encoder.encode_text([row["prompt"]])[0]
        scores[clip] = cosines.mean()
    return pd.Series(scores)


def test_a_score_is_the_mean_of_the_windows_cosines(clips, tmp_path):
    found = clap_score(clips, JointEncoder(), cache=tmp_path / "e.h5")
    np.testing.assert_allclose(found.clips["clap_score"], by_hand(clips), atol=1e-6)
    again = clap_score(clips[::-1], JointEncoder(), cache=tmp_path / "other.h5")
    pd.testing.assert_frame_equal(again.clips.loc[clips.index], found.clips)
    # The cosine of the mean vector would be higher, for the windows differ.
    X = ClipEmbedder(JointEncoder(), cache=tmp_path / "e.h5").fit(clips).embed(clips)[0].to_numpy()
    assert (np.einsum("ij,ij->i", unit(X[:, :3]), X[:, 3:]) > found.clips["clap_score"] + 0.05).sum() >= 6


def test_chance_is_the_mean_with_the_other_prompts(clips, tmp_path):
    found = clap_score(clips, JointEncoder(), cache=tmp_path / "e.h5")
    others = [[f"a {word} tone" for word in WORDS if word not in prompt] for prompt in clips["prompt"]]
    expected = np.mean(
        [by_hand(clips.assign(prompt=[pair[i] for pair in others])).to_numpy() for i in (0, 1)], axis=0
    )
    np.testing.assert_allclose(found.clips["other_prompts"], expected, atol=1e-6)
    assert found.systems.index[-1] == "S4"
    assert "fingerprint" in found.clips["encoder"].iloc[0] and not found.warnings
    share = (by_hand(clips) > expected).mean()
    assert f"{share:.0%} of 12 clips agree more with their own prompt" in str(found)


def test_systems_have_intervals_of_their_clips(clips, tmp_path):
    table = clap_score(clips, JointEncoder(), cache=tmp_path / "e.h5").systems
    of_first = by_hand(clips)[clips["system"] == "S1"]
    assert table.loc["S1", "clap_score"] == pytest.approx(of_first.mean(), abs=1e-6)
    half = 4.302653 * of_first.sem()  # t of two degrees of freedom
    assert table.loc["S1", "clap_score_sampling_high"] == pytest.approx(of_first.mean() + half, abs=1e-5)


def test_prompts_that_are_mixed_up_are_pointed_out(clips, tmp_path):
    wrong = clips[clips["system"] == "S4"]
    with pytest.warns(UserWarning, match="prompts and clips may be mixed up"):
        found = clap_score(wrong, JointEncoder(), cache=tmp_path / "e.h5")
    assert len(found.warnings) == 1


def test_blank_prompts_have_no_score(clips, tmp_path):
    some = clips[:9].assign(prompt=clips["prompt"].where(clips["system"] != "S3", " "))
    with pytest.warns(UserWarning, match="3 of 9 clips have no prompt"):
        found = clap_score(some, JointEncoder(), cache=tmp_path / "e.h5")
    assert found.clips["clap_score"].isna().sum() == found.clips["other_prompts"].isna().sum() == 3
    assert found.systems.loc["S3", "clips"] == 0
    with (
        pytest.warns(UserWarning, match="12 of 12 clips have no prompt"),
        pytest.raises(ClipsTableError, match="no clip has a prompt"),
    ):
        clap_score(clips.assign(prompt=""), JointEncoder(), cache=tmp_path / "e.h5")


def test_one_clip_and_one_prompt(clips, tmp_path):
    found = clap_score(clips[:1].drop(columns="system"), JointEncoder(), cache=tmp_path / "e.h5")
    assert found.systems.index.tolist() == ["all clips"]
    assert "the level of chance cannot be told" in str(found)


def test_what_cannot_be_read_is_left_out(clips, tmp_path):
    broken = clips.assign(path=clips["path"].mask(clips.index == "S1_low", "nowhere.wav"))
    with pytest.warns(SkippedWarning, match="skipped 1 of 12 clips"):
        found = clap_score(broken, JointEncoder(), cache=tmp_path / "e.h5")
    assert len(found.clips) == 11 and list(found.skipped.index) == ["S1_low"]
    with pytest.warns(SkippedWarning), pytest.raises(AudioError, match="none of the clips could be read"):
        clap_score(clips.assign(path="nowhere.wav"), JointEncoder(), cache=tmp_path / "e.h5")


def test_an_encoder_without_a_joint_space_is_refused(clips):
    with pytest.raises(ValueError, match="'spectral' puts sound and text into different spaces"):
        clap_score(clips, "spectral")


def test_vectors_of_another_length_are_refused():
    X = pd.DataFrame([[2.0, 0.0, 1.0, 0.0]], columns=["audio_0", "audio_1", "text_0", "text_1"])
    with pytest.raises(ValueError, match="lengths up to 2"):
        CosineRegressor().fit(X).predict(X)
    with pytest.raises(ValueError, match="found 2 and 1"):
        CosineRegressor().fit(X.drop(columns="text_1"))


class TestInAStudy:
    @pytest.fixture
    def X(self, clips, tmp_path):
        return ClipEmbedder(JointEncoder(), cache=tmp_path / "e.h5").fit(clips).embed(clips)[0]

    @pytest.mark.slow
    def test_a_clap_score_is_a_row_of_alignment_without_errors(self, clips, X, torch):
        study = run_study(clips, X, cv="system", n_splits=2, n_resamples=50)
        assert "CLAP score" not in study.table("impression").index
        row = study.rows("alignment").loc["CLAP score"]
        assert row[["U_MSE", "S_MSE", "U_MSE_low", "S_MSE_high"]].isna().all()
        predicted = study.predictions[study.predictions["model"] == "CLAP score"].set_index("clip_id")
        np.testing.assert_allclose(predicted["prediction"], by_hand(clips)[predicted.index], atol=1e-6)
        expected = by_hand(clips).corr(clips["alignment"], method="spearman")
        assert row["U_SRCC"] == pytest.approx(expected) and row["U_SRCC_low"] < expected
        assert "CLAP score: a cosine and no score on the raters' scale" in str(study)
        assert "CLAP score: 12 of 12 predictions lie off" not in str(study)

    def test_it_is_no_row_where_sound_and_text_share_no_space(self, X):
        assert list(clap_score_row([X])) == ["CLAP score"]
        X.attrs.clear()
        assert not clap_score_row([X])

    def test_of_several_features_it_is_a_row_of_those_that_allow_for_it(self, clips, X):
        X.attrs["joint_space"] = True
        tables = {"joint": X, "other": X.rename(columns=str).assign(audio_3=0.0)}
        tables["other"].attrs.clear()
        models = {"ridge": Ridge(), "CLAP score": CosineRegressor()}
        study = run_study(clips, tables, models, "system", n_splits=2, n_resamples=0)
        assert "CLAP score (joint)" in study.table("alignment").index
        assert "CLAP score (other)" not in study.table("alignment").index
        with pytest.raises(ValueError, match="nothing but CLAP scores to judge"):
            run_study(clips, X, {"c": CosineRegressor()}, targets=["impression"], n_splits=2)


def test_predictions_bear_it_beside_the_scores(clips, tmp_path):
    embedder = ClipEmbedder(JointEncoder(), cache=str(tmp_path / "e.h5")).set_output(transform="pandas")
    model = scaled(embedder, Ridge()).fit(clips, clips["alignment"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* clips have no prompt")
        found = predict_clips(
            model,
            clips.assign(prompt=clips["prompt"].mask(clips.index == "S1_low", "")),
            cache=tmp_path / "e.h5",
        )
    assert np.isnan(found.clips.loc["S1_low", "clap_score"])
    np.testing.assert_allclose(found.clips["clap_score"][1:], by_hand(clips)[1:], atol=1e-6)
    assert "clap_score" in found.systems and "no rater has touched" in str(found)


def test_the_command(clips, tmp_path):
    pytest.importorskip("transformers", reason="transformers (the extra 'hf') is not installed")
    clap = write_transformers_folder(tmp_path / "clap")
    (tmp_path / "clips").mkdir()
    for clip in ("S1_low", "S1_high", "S3_low"):
        Path(clips.loc[clip, "path"]).rename(tmp_path / "clips" / f"{clip}.wav")
    clips["prompt"].rename_axis("clip_id").loc[["S1_low", "S1_high", "S3_low"]].to_csv(
        tmp_path / "prompts.csv"
    )
    given = ["--encoder", "hf-clap", "--checkpoint", clap, "--cache", tmp_path / "e.h5"]
    tables = [tmp_path / "clips", "--prompts", tmp_path / "prompts.csv"]
    command = ["clap-score", *tables, *given, "--out", tmp_path / "scores.csv"]
    result = CliRunner().invoke(app, list(map(str, command)))
    assert result.exit_code == 0, result.output
    assert "hf-clap, checkpoint clap, SHA-256" in result.stdout and "wrote 3 clips" in result.stderr
    written = pd.read_csv(tmp_path / "scores.csv", index_col="clip_id")
    assert (
        list(written) == ["clap_score", "other_prompts", "encoder"]
        and written["clap_score"].between(-1, 1).all()
    )
    refused = CliRunner().invoke(app, ["clap-score", *map(str, tables), "--encoder", "spectral"])
    assert refused.exit_code == 2 and "different spaces" in refused.stderr


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    pytest.importorskip("transformers", reason="transformers (the extra 'hf') is not installed")
    if importlib.util.find_spec("laion_clap") is None:
        pytest.skip("laion_clap (the extra 'clap') is not installed")
    folder = tmp_path_factory.mktemp("clap")
    return write_clap_checkpoint(folder / "tiny.pt"), write_roberta_tokenizer(folder / "roberta-base")


@pytest.mark.slow
def test_real_music_has_the_cosine_of_laion_clap_itself(clap, tmp_path):
    """Against LAION's package on a made checkpoint: its own decoding, spectrogram, towers and projection, for one window."""
    if not (DATA / "jazz").is_dir():
        pytest.skip(f"no real data in {DATA / 'jazz'}; set MUSICEVAL_TEST_DATA to a folder that has it")
    clips = load_clips(DATA / "jazz" / "clips.csv")[::5].assign(start_time=0.0, end_time=10.0)
    options = {"checkpoint": clap[0], "tokenizer": clap[1], "device": "cpu"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="clips agree with their own prompts")  # of random weights
        found = clap_score(clips, "hf-clap", encoder_options=options, cache=tmp_path / "e.h5", progress=False)
    cosines = {}
    with laion_clap_itself(clap[1]) as laion_clap:
        import librosa

        theirs = laion_clap.CLAP_Module(amodel="HTSAT-tiny", device="cpu")
        theirs.load_ckpt(str(clap[0]), verbose=False)
        texts = dict(
            zip(prompts := clips["prompt"].unique(), theirs.get_text_embedding(list(prompts)), strict=True)
        )
        for clip, path, prompt in clips[["path", "prompt"]].itertuples():
            samples = librosa.load(path, sr=48_000, duration=10.0)[0]
            cosines[clip] = theirs.get_audio_embedding_from_data(samples[np.newaxis])[0] @ texts[prompt]
    difference = (found.clips["clap_score"] - pd.Series(cosines)).abs().max()
    print(f"largest difference of {len(clips)} clips: {difference:.2e}")
    assert found.clips["clap_score"].std() > 0.01 and difference < 1e-4
