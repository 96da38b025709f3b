"""CLAP as MusicEval's released baseline feeds it: samples at 16 kHz taken for samples at 48 kHz."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
import soundfile

from musiceval_sk import EmbeddingStore, extract, get_encoder
from tests.clap_files import (
    laion_clap_itself,
    write_clap_checkpoint,
    write_roberta_tokenizer,
    write_transformers_folder,
)

pytest.importorskip("transformers", reason="transformers (the extra 'hf') is not installed")

LENGTH = 480_000
SECONDS = (31.0, 30.0, 4.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_transformers_folder(tmp_path_factory.mktemp("clap"))


@pytest.fixture
def clips(tmp_path, rng):
    """Files at 16 kHz: one to be cut, one that just fits, one to be filled up."""
    rows = {}
    for number, seconds in enumerate(SECONDS):
        path = tmp_path / f"clip{number}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, round(seconds * 16_000)), 16_000, subtype="PCM_16")
        rows[f"clip{number}"] = {"path": str(path), "prompt": "calm piano"}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("clip_id")


def samples_of(path):
    return soundfile.read(path, dtype="float32")[0]


def test_a_clip_is_one_window_of_its_first_480_000_samples(folder, clips):
    long, whole, short = (samples_of(path) for path in clips["path"])
    padded = get_encoder("hf-clap", checkpoint=folder, sound="16k-padded")
    repeated = get_encoder("hf-clap", checkpoint=folder, sound="16k-repeated")
    assert padded.sample_rate == repeated.sample_rate == 16_000
    assert padded.window_length == repeated.window_length == LENGTH
    for encoder in (padded, repeated):
        np.testing.assert_array_equal(encoder.cut(long), long[None, :LENGTH])
        np.testing.assert_array_equal(encoder.cut(whole), whole[None])
    n = len(short)  # 68,800 fits seven times whole into 480,000
    filled, again = padded.cut(short), repeated.cut(short)
    assert filled.shape == again.shape == (1, LENGTH)
    np.testing.assert_array_equal(filled[0, :n], short)
    assert not filled[0, n:].any()
    np.testing.assert_array_equal(again[0, : 6 * n].reshape(6, n), np.tile(short, (6, 1)))
    assert not again[0, 6 * n :].any()


def test_each_way_to_hear_has_rows_of_its_own_and_prompts_are_shared(folder, clips, tmp_path):
    store = EmbeddingStore(tmp_path / "e.h5")
    encoders = [
        get_encoder("hf-clap", checkpoint=folder, sound=sound, device="cpu")
        for sound in ("resampled", "16k-padded", "16k-repeated")
    ]
    assert len({encoder.fingerprint_of("audio") for encoder in encoders}) == 3
    assert len({encoder.fingerprint_of("text") for encoder in encoders}) == 1
    short = clips.loc[["clip2"]]
    for number, encoder in enumerate(encoders):
        report = extract(short, encoder, store)
        assert report.stored == {"audio": 1, "text": int(number == 0)}
    key = list(report.audio_keys)
    vectors = [store.read("audio", encoder.fingerprint_of("audio"), key)[0] for encoder in encoders]
    assert not np.allclose(vectors[0], vectors[2], atol=1e-3)
    assert not np.allclose(vectors[1], vectors[2], atol=1e-3)
    # The folder's network does not round to 16 bit, so the usual encoder, given these samples, is an independent way.
    repeated = np.append(np.tile(samples_of(clips["path"].iloc[2]), 6), np.zeros(LENGTH, "float32"))[:LENGTH]
    np.testing.assert_allclose(
        vectors[2], encoders[0].encode_audio(repeated[None].astype("float32")), atol=1e-6
    )


def test_the_default_is_described_as_before(folder):
    encoder = get_encoder("hf-clap", checkpoint=folder)
    assert "sound" not in encoder.describe("audio") and "sound" not in repr(encoder)
    released = get_encoder("hf-clap", checkpoint=folder, sound="16k-padded")
    assert released.describe("audio")["sound"] == "16k-padded"
    assert released.describe("audio")["quantisation"] == "none"
    assert "sound='16k-padded'" in repr(released)


def test_errors_say_what_to_do(folder):
    with pytest.raises(
        ValueError, match=r"unknown sound '16k'; choose from resampled, 16k-padded, 16k-repeated"
    ):
        get_encoder("hf-clap", checkpoint=folder, sound="16k")
    encoder = get_encoder("hf-clap", checkpoint=folder, sound="16k-padded")
    with pytest.raises(
        ValueError, match=r"30 s of mono sound at 16,000 Hz .*encoder.cut\(read_audio\(path, 16000\)\)"
    ):
        encoder.encode_audio(np.zeros((1, 5), "float32"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("laion_clap") is None, reason="laion_clap is not installed")
def test_vectors_are_those_of_laions_package_called_as_the_released_code_calls_it(clips, tmp_path):
    import torch

    tokenizer = write_roberta_tokenizer(tmp_path / "roberta-base")
    checkpoint = write_clap_checkpoint(tmp_path / "tiny.pt")
    wavs = [torch.from_numpy(samples_of(path))[:LENGTH] for path in clips["path"]]
    # As in training: a batch, filled with zeros up to its longest clip, here of 480,000 samples.
    batch = torch.stack([torch.nn.functional.pad(wav, (0, LENGTH - len(wav))) for wav in wavs])
    with laion_clap_itself(tokenizer) as laion_clap, torch.no_grad():
        theirs = laion_clap.CLAP_Module(enable_fusion=False, amodel="HTSAT-tiny", device="cpu")
        theirs.load_ckpt(str(checkpoint), verbose=False)
        in_training = theirs.get_audio_embedding_from_data(batch, use_tensor=True).numpy()
        # As in prediction: one clip at a time, which LAION's package repeats.
        alone = theirs.get_audio_embedding_from_data(wavs[2][None], use_tensor=True).numpy()
    for name, options in (("laion-clap", {"amodel": "HTSAT-tiny"}), ("hf-clap", {})):
        for sound, rows, expected in (("16k-padded", [0, 1, 2], in_training), ("16k-repeated", [2], alone)):
            encoder = get_encoder(name, checkpoint=checkpoint, sound=sound, device="cpu", **options)
            windows = np.concatenate([encoder.cut(samples_of(clips["path"].iloc[row])) for row in rows])
            np.testing.assert_allclose(
                encoder.encode_audio(windows), expected, atol=1e-5, rtol=0, err_msg=name
            )
