import json
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from musiceval_sk import ClipEmbedder, EmbeddingStore, extract, get_encoder
from musiceval_sk.exceptions import CheckpointError
from tests.features.encoders.audio_models import (
    KINDS,
    of_transformers,
    sounds,
    write_model,
    write_model_with_code,
)

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter")  # of AST's own extractor
pytest.importorskip("transformers", reason="transformers (the extra 'hf') is not installed")

# What each kind's extractor says, or 10 s; those of Whisper and AST are made short here.
RATES = {"hubert": 24_000, "clap": 48_000}
SECONDS = {"ast": 1.28, "whisper": 2.0}
# Blocks, and how wide the states are.
WIDTHS = {"whisper": [32] * 3, "clap": [8, 16, 32, 64, 64]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folder of a model of each kind, written when it is first asked for."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = write_model(tmp_path_factory.mktemp("model"), kind)
        return made[kind]

    return folder


@pytest.fixture
def copied(folders, tmp_path):
    """A copy of wav2vec 2.0's folder, to be spoilt."""
    return shutil.copytree(folders("wav2vec2"), tmp_path / "copy")


@pytest.fixture
def no_socket(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def encoder_of(folder, **options):
    return get_encoder("hf-audio", checkpoint=folder, device="cpu", **options)


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


def windows_for(encoder):
    return sounds(encoder.window_length, encoder.sample_rate)


@pytest.mark.parametrize("kind", KINDS)
class TestVectors:
    def test_agree_with_transformers_itself(self, folders, kind, no_socket):
        encoder = encoder_of(folders(kind))
        assert encoder.sample_rate == RATES.get(kind, 16_000)
        assert encoder.window_seconds == encoder.hop_seconds == SECONDS.get(kind, 10.0)
        windows = windows_for(encoder)
        vectors = encoder.encode_audio(windows)
        assert vectors.shape == (3, encoder.audio_dim) and vectors.dtype == np.float32
        theirs = of_transformers(folders(kind), kind, windows, -1)
        # Different sounds must get clearly different vectors, or agreement would say nothing.
        assert np.abs(theirs[0] - theirs[1]).max() > 1e-3 and np.abs(theirs[1] - theirs[2]).max() > 1e-3
        np.testing.assert_allclose(vectors, theirs, atol=1e-5)

    def test_of_any_layer_and_their_mean(self, folders, kind):
        widths = WIDTHS.get(kind, [32] * 4)
        first = encoder_of(folders(kind), layer=0)
        windows = windows_for(first)[:2]
        states = [of_transformers(folders(kind), kind, windows, layer) for layer in range(len(widths) - 1)]
        for layer in (0, 1):
            chosen = encoder_of(folders(kind), layer=layer)
            assert chosen.audio_dim == widths[layer]
            np.testing.assert_allclose(chosen.encode_audio(windows), states[layer], atol=1e-5)
        last = encoder_of(folders(kind)).encode_audio(windows)
        np.testing.assert_array_equal(
            encoder_of(folders(kind), layer=len(widths) - 1).encode_audio(windows), last
        )
        if kind == "clap":
            with pytest.raises(ValueError, match=r"layers of this model are \[8, 16, 32, 64, 64\] wide"):
                encoder_of(folders(kind), layer="mean").encode_audio(windows)
        else:
            mean = encoder_of(folders(kind), layer="mean").encode_audio(windows)
            np.testing.assert_allclose(mean, np.mean([*states, last], axis=0), atol=1e-5)


@pytest.mark.slow
def test_full_size_agrees_with_transformers_itself(tmp_path, monkeypatch):
    """wav2vec 2.0 as published, 95 million weights."""
    monkeypatch.setitem(KINDS, "wav2vec2", ("Wav2Vec2Model", {}, "Wav2Vec2FeatureExtractor", {}))
    folder = write_model(tmp_path / "model")
    encoder = encoder_of(folder)
    windows = windows_for(encoder)[:1]
    # A fresh network moved about is far from a trained one: its states are of hundreds, so the bound is a share of them.
    theirs = of_transformers(folder, "wav2vec2", windows, -1)
    np.testing.assert_allclose(encoder.encode_audio(windows), theirs, atol=1e-5 * np.abs(theirs).max())


def test_code_in_the_folder_runs_only_where_it_is_trusted(tmp_path, monkeypatch, no_socket):
    # Where transformers copies such code to.
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = write_model_with_code(tmp_path / "frames")
    windows = sounds(160_000, 16_000)
    with pytest.raises(
        CheckpointError, match="cannot be loaded by transformers .*pass trust_remote_code=True"
    ):
        encoder_of(folder).encode_audio(windows)
    trusting = encoder_of(folder, trust_remote_code=True, layer=0)
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    frames = windows.reshape(3, 400, 400).astype(float)
    by_hand = (frames @ weights["linear.weight"].T + weights["linear.bias"]).mean(axis=1)
    np.testing.assert_allclose(trusting.encode_audio(windows), by_hand, rtol=1e-5, atol=1e-5)
    before = trusting.fingerprint
    (folder / "frames.py").write_text((folder / "frames.py").read_text() + "\n# changed\n")
    assert encoder_of(folder, trust_remote_code=True, layer=0).fingerprint != before


class TestFingerprint:
    def test_follows_content_and_not_the_path(self, folders, copied, tmp_path):
        before = encoder_of(folders("wav2vec2")).fingerprint
        assert encoder_of(copied).fingerprint == before
        others = {
            before,
            encoder_of(copied, layer=1).fingerprint,
            encoder_of(copied, layer="mean").fingerprint,
            encoder_of(copied, window_seconds=5).fingerprint,
            encoder_of(write_model(tmp_path / "seed", seed=1)).fingerprint,
        }
        edit_json(copied / "preprocessor_config.json", do_normalize=False)
        others.add(encoder_of(copied).fingerprint)
        edit_json(copied / "config.json", layer_norm_eps=1e-3)
        others.add(encoder_of(copied).fingerprint)
        assert len(others) == 7

    def test_is_made_without_transformers_or_torch(self, folders):
        code = (
            "import sys; from musiceval_sk import get_encoder; "
            f"made = get_encoder('hf-audio', checkpoint={str(folders('whisper'))!r}); made.fingerprint, made.audio_dim; "
            "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_of_a_folder_that_changed_is_refused(self, copied):
        encoder = encoder_of(copied)
        before = encoder.fingerprint
        edit_json(copied / "config.json", layer_norm_eps=1e-3)
        with pytest.raises(CheckpointError, match="is not the checkpoint that this encoder described before"):
            encoder.describe("audio")
        assert encoder_of(copied).fingerprint != before


def test_weights_in_parts_and_of_half_precision_are_read(folders, tmp_path):
    import torch
    from transformers import Wav2Vec2Model

    folder = shutil.copytree(folders("wav2vec2"), tmp_path / "parts")
    model = Wav2Vec2Model.from_pretrained(folder).half()
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="50KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    encoder = encoder_of(folder)
    windows = windows_for(encoder)[:1]
    parameters = list(encoder.build()[0].parameters())
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    model.float().save_pretrained(tmp_path / "whole")
    shutil.copy(folder / "preprocessor_config.json", tmp_path / "whole")
    whole = encoder_of(tmp_path / "whole")
    np.testing.assert_allclose(encoder.encode_audio(windows), whole.encode_audio(windows), atol=1e-6)
    assert encoder.fingerprint != whole.fingerprint
    before = encoder.fingerprint
    part = sorted(folder.glob("model-*.safetensors"))[-1]
    part.write_bytes(part.read_bytes()[:-1] + b"\x01")
    assert encoder_of(folder).fingerprint != before


@pytest.mark.slow
def test_a_study_of_stereo_at_another_rate_uses_it_beside_others(folders, tmp_path, rng):
    """Two channels at 44.1 kHz, of 0.1 s to 12 s; the second run computes nothing."""
    import pandas as pd

    from musiceval_sk.studies.plan import StudyPlan

    rows = []
    for number, seconds in enumerate([0.1, 0.5, 1.0, 12.0, 1.0, 1.0, 1.0, 1.0]):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal((int(44_100 * seconds), 2)), 44_100)
        rows.append((f"{number}", str(path), "calm piano", f"s{number % 4}", 1 + number % 4, 2 + number % 3))
    columns = ["clip_id", "path", "prompt", "system", "impression", "alignment"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "clips.csv", index=False)
    features = {
        "heard": {"encoder": "hf-audio", "checkpoint": str(folders("wav2vec2")), "device": "cpu"},
        "spectral": {"encoder": "spectral"},
    }
    settings = {"features": features, "models": ["ridge"], "n_resamples": 0, "n_splits": 2}
    plan = StudyPlan(tmp_path / "clips.csv", cache=tmp_path / "e.h5", **settings)
    result = plan.run(progress=False)
    assert {"heard", "spectral"} <= set(result.scores["features"])
    assert result.about["features"]["heard"].startswith("audio hf-audio (")
    stored = EmbeddingStore(tmp_path / "e.h5").encoders()
    assert stored.loc[stored["encoder"].map(lambda one: one["name"]) == "hf-audio", "modality"].tolist() == [
        "audio"
    ]


def test_extract_and_embed_take_what_there_is(folders, write_sounds, tmp_path):
    clips, encoder = write_sounds(0.5, 0.7), encoder_of(folders("wav2vec2"))
    report = extract(clips, encoder, tmp_path / "e.h5")
    assert report.stored == {"audio": 2}
    embedder = ClipEmbedder(encoder, cache=tmp_path / "e.h5").set_output(transform="pandas")
    assert embedder.fit_transform(clips).columns.tolist() == [f"audio_{i}" for i in range(32)]
    for ask in (
        lambda: extract(clips, encoder, tmp_path / "e.h5", modality="text"),
        lambda: encoder.encode_text(["a"]),
    ):
        with pytest.raises(ValueError, match="the encoder 'hf-audio' has no text tower"):
            ask()


class TestRefusals:
    def refused(self, folder, words, error=CheckpointError, **options):
        with pytest.raises(error, match=words):
            encoder = encoder_of(folder, **options)
            encoder.encode_audio(np.zeros((1, encoder.window_length), dtype=np.float32))

    @pytest.mark.parametrize("folder", [None, "", "no/such/folder"])
    def test_of_no_folder(self, folder):
        found = f"got '{folder}'" if folder else "and none is named"
        self.refused(folder, f"'hf-audio' needs a folder in transformers' layout, {found}; download one")

    def test_of_a_file(self, copied):
        self.refused(copied / "model.safetensors", "needs a folder in transformers' layout")

    @pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
    def test_of_a_folder_that_lacks_a_file(self, copied, name):
        (copied / name).unlink()
        self.refused(
            copied, f"copy: lacks {name}; expected config.json, preprocessor_config.json and model.safe"
        )

    def test_of_pickled_weights(self, copied):
        (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
        self.refused(copied, r"holds only pickled weights \(.bin\), which can run code")

    def test_of_a_layer_that_is_not_there(self, copied):
        for layer in (4, -5, 40):
            self.refused(
                copied,
                f"layer={layer}: .*copy has 3 blocks; give 0 to 3, -1 or 'mean'",
                ValueError,
                layer=layer,
            )
        for layer in ("last", 1.5, True, None):
            self.refused(copied, f"layer={layer!r} must be a whole number or 'mean'", ValueError, layer=layer)

    def test_of_other_windows_than_the_extractor_makes(self, folders):
        self.refused(
            folders("whisper"),
            "window_seconds=10: WhisperFeatureExtractor makes every window 2 s long",
            ValueError,
            window_seconds=10,
        )
        self.refused(folders("wav2vec2"), "window_seconds=0 must be between", ValueError, window_seconds=0)

    def test_of_a_model_of_text(self, tmp_path):
        from transformers import BertConfig, BertModel

        tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        BertModel(BertConfig(**tiny, vocab_size=20)).save_pretrained(tmp_path)
        self.refused(tmp_path, "lacks preprocessor_config.json")
        (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
        self.refused(tmp_path, "has no sampling_rate: no settings of sound. Is 'bert' an audio model")
        settings = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
        self.refused(tmp_path, "BertModel takes input_ids, no sound; expected an audio model")

    def test_of_weights_that_do_not_fit(self, copied):
        edit_json(copied / "config.json", num_hidden_layers=4)
        self.refused(copied, "do not fit its config.json; 16 missing: encoder.layers.3.")
        edit_json(copied / "config.json", num_hidden_layers=3, intermediate_size=50)
        self.refused(copied, "of another shape|cannot be loaded by transformers")

    def test_of_what_chance_has_a_part_in(self, folders, copied, tmp_path):
        edit_json(copied / "preprocessor_config.json", dither=0.1)
        self.refused(copied, "copy: dither=0.1 adds random noise")
        fused = shutil.copytree(folders("clap"), tmp_path / "fused")
        edit_json(fused / "preprocessor_config.json", truncation="fusion")
        self.refused(fused, "a CLAP with fusion, whose extractor draws at random")

    def test_of_code_that_is_elsewhere(self, copied):
        edit_json(
            copied / "config.json", auto_map={"AutoModel": "m-a-p/MERT-v1-95M--modeling_MERT.MERTModel"}
        )
        self.refused(copied, r"its code is in another repository \(m-a-p/MERT", trust_remote_code=True)

    def test_of_an_index_without_names(self, copied):
        (copied / "model.safetensors.index.json").write_text("{}")
        self.refused(copied, "lacks weight_map of model.safetensors.index.json")

    def test_of_broken_files(self, copied):
        (copied / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        self.refused(copied, "copy: cannot be loaded by transformers")
        (copied / "config.json").write_text("version https://git-lfs")
        self.refused(copied, "config.json: not JSON of settings")

    def test_of_options_that_it_does_not_take(self, copied):
        self.refused(copied, r"'hf-audio' does not take these options", ValueError, tokenizer="roberta")

    def test_without_the_extra_names_it(self, copied, monkeypatch):
        monkeypatch.setitem(sys.modules, "transformers", None)
        self.refused(
            copied,
            r"'hf-audio' needs the package 'transformers'.*pip install .transformers>=4.53",
            ImportError,
        )
