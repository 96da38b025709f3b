import importlib.util
import json
import pickle
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from musiceval_sk import ClipEmbedder, get_encoder
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.muq.encoder import MuQEncoder
from tests.features.encoders.audio_models import of_muq, sounds, write_mulan, write_muq

LENGTH = 240_000
PROMPTS = ["calm piano", "", "drums, drums, and a loud bass. " * 2, "z"]
needs_muq = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("muq", "einops", "easydict", "transformers")),
    reason="muq (the extra 'muq') is not installed",
)


@pytest.fixture(scope="module")
def windows():
    return sounds(LENGTH, 24_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_muq(tmp_path_factory.mktemp("muq") / "muq-small")


@pytest.fixture(scope="module")
def mulan(tmp_path_factory):
    return write_mulan(tmp_path_factory.mktemp("mulan") / "mulan-small")


def encoder_of(folder, **options):
    return get_encoder("muq", checkpoint=folder, device="cpu", **options)


@pytest.fixture
def settings_alone(tmp_path):
    """Folders of settings without a single true weight: what a fingerprint needs."""

    def write(name, **settings):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(settings))
        (tmp_path / name / "model.safetensors").write_bytes(b"some weights")
        return tmp_path / name

    return write


@needs_muq
class TestMuQ:
    def test_agrees_with_the_package_itself_in_every_layer(self, folder, windows):
        states = of_muq(folder, windows)
        assert len(states) == 4
        assert np.abs(states[-1][0] - states[-1][1]).max() > 1e-2
        for layer, state in enumerate(states):
            np.testing.assert_allclose(
                encoder_of(folder, layer=layer).encode_audio(windows), state, atol=1e-5
            )
        np.testing.assert_allclose(encoder_of(folder).encode_audio(windows), states[-1], atol=1e-5)
        mean = encoder_of(folder, layer="mean").encode_audio(windows)
        np.testing.assert_allclose(mean, np.mean(states, axis=0), atol=1e-5)

    def test_leaves_the_process_as_it_was(self, folder, windows):
        import torch

        from musiceval_sk.features.encoders.muq.network import import_muq

        import_muq.cache_clear()
        before = torch.get_rng_state(), random.getstate(), set(sys.modules)
        encoder_of(folder).encode_audio(windows[:1])
        assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
        new = {name.split(".")[0] for name in set(sys.modules) - before[2]}
        assert new.isdisjoint({"muq", "torchaudio", "x_clip"})

    def test_takes_no_prompts(self, folder):
        assert encoder_of(folder).modalities == ("audio",) and encoder_of(folder).text_dim == 0
        with pytest.raises(ValueError, match="'muq' has no text tower"):
            encoder_of(folder).encode_text(["calm"])

    def test_of_checkpoints_for_training_reads_what_is_heard(self, folder, windows, tmp_path):
        """One with a learnt quantiser, and one pickled."""
        import torch
        from safetensors.torch import load_file

        vectors = encoder_of(folder).encode_audio(windows[:1])
        copy = shutil.copytree(folder, tmp_path / "copy")
        weights = load_file(copy / "model.safetensors")
        assert any("quantizer" in name for name in weights)
        weights = {
            name: weight
            for name, weight in weights.items()
            if "quantizer" not in name and "linear." not in name[:13]
        }
        torch.save(weights | {"model.rvq.codebook": torch.zeros(3)}, copy / "pytorch_model.bin")
        (copy / "model.safetensors").unlink()
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config | {"use_rvq_target": True}))
        np.testing.assert_array_equal(encoder_of(copy).encode_audio(windows[:1]), vectors)

    def test_names_the_weights_that_do_not_fit(self, folder, windows, tmp_path):
        copy = shutil.copytree(folder, tmp_path / "copy")
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config | {"encoder_depth": 4}))
        with pytest.raises(
            CheckpointError, match="does not fit MuQ; .* missing: model.conformer.inner.layers.3"
        ):
            encoder_of(copy).encode_audio(windows[:1])
        (copy / "config.json").write_text(json.dumps(config | {"no_such_setting": 4}))
        with pytest.raises(CheckpointError, match="config.json: not of MuQ .*no_such_setting"):
            encoder_of(copy).encode_audio(windows[:1])


@needs_muq
class TestMuLan:
    def test_agrees_with_the_package_itself(self, mulan, windows):
        audio, text = of_muq(mulan, windows, PROMPTS)
        assert np.triu(audio @ audio.T, 1).max() < 0.9999 and np.triu(text @ text.T, 1).max() < 0.9999
        encoder = encoder_of(mulan)
        assert encoder.modalities == ("audio", "text") and (encoder.audio_dim, encoder.text_dim) == (16, 16)
        np.testing.assert_allclose(encoder.encode_audio(windows), audio, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_text(PROMPTS), text, atol=1e-5)

    def test_reads_no_weights_but_its_own(self, mulan, windows, tmp_path):
        """Of the models that it is made of it needs settings and tokenizer, wherever they are."""
        copies = [
            shutil.copytree(mulan.parent / name, tmp_path / name) for name in ("mulan-small", "muq-small")
        ]
        text = shutil.copytree(mulan.parent / "xlm-roberta-small", tmp_path / "elsewhere" / "text")
        for folder in (copies[1], text):
            (folder / "model.safetensors").unlink()
        encoder = encoder_of(copies[0], text_model=text)
        np.testing.assert_array_equal(encoder.encode_text(PROMPTS), encoder_of(mulan).encode_text(PROMPTS))
        assert encoder.fingerprint == encoder_of(mulan).fingerprint

    def test_without_a_tokenizer_hears_and_says_what_prompts_need(
        self, mulan, windows, tmp_path, monkeypatch
    ):
        for name in ("mulan-small", "muq-small"):
            shutil.copytree(mulan.parent / name, tmp_path / name)
        config = json.loads((tmp_path / "mulan-small" / "config.json").read_text())
        config["text_model"]["name"] = "xlm-roberta-base"
        (tmp_path / "mulan-small" / "config.json").write_text(json.dumps(config))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        encoder = encoder_of(tmp_path / "mulan-small")
        vectors = encoder.encode_audio(windows[:1])
        np.testing.assert_allclose(vectors, encoder_of(mulan).encode_audio(windows[:1]), atol=1e-6)
        with pytest.raises(
            CheckpointError, match="needs config.json and tokenizer.json of xlm-roberta-base, not in"
        ):
            encoder.encode_text(["calm"])
        shutil.copytree(mulan.parent / "xlm-roberta-small", tmp_path / "xlm-roberta-base")
        np.testing.assert_array_equal(encoder.encode_text(PROMPTS), encoder_of(mulan).encode_text(PROMPTS))

    def test_cuts_prompts_that_it_cannot_read_whole(self, mulan):
        long = encoder_of(mulan).encode_text(["piano " * 30, "piano " * 30 + "drums"])
        np.testing.assert_array_equal(long[0], long[1])

    def test_is_a_feature_of_sound_and_text(self, mulan, write_sounds, tmp_path):
        embedder = ClipEmbedder("muq", cache=tmp_path / "e.h5", encoder_options={"checkpoint": str(mulan)})
        assert embedder.fit_transform(write_sounds(0.5, 11.0)).shape == (2, 32)
        pickled = pickle.dumps(embedder)
        assert len(pickled) < 5000
        assert pickle.loads(pickled).fit_transform(write_sounds(0.5, 11.0)).shape == (2, 32)

    def test_has_no_layers_to_choose(self, mulan):
        with pytest.raises(ValueError, match="layer=3: MuQ-MuLan gives its joint space alone"):
            encoder_of(mulan, layer=3).describe("audio")
        with pytest.raises(ValueError, match="window_seconds=5: MuQ-MuLan takes 10 s"):
            encoder_of(mulan, window_seconds=5).describe("audio")


class TestDescription:
    def test_holds_what_changes_a_vector(self, settings_alone):
        folder = settings_alone("muq", encoder_dim=1024, encoder_depth=12)
        described = MuQEncoder(folder, layer=10).describe("audio")
        assert described == {
            "name": "muq",
            "version": 1,
            # echo -n "some weights" | sha256sum
            "checkpoint_sha256": "a0c76a31f14d6cbed530bfac73778a5bb84861b795e8bd5d4c8eee29784fb766",
            "config_sha256": described["config_sha256"],
            "layer": 10,
            "dim": 1024,
            "sample_rate": 24_000,
            "window_seconds": 10.0,
            "hop_seconds": 10.0,
        }
        other = settings_alone("other", encoder_dim=1024, encoder_depth=13)
        prints = {
            MuQEncoder(folder).fingerprint,
            MuQEncoder(folder, layer=10).fingerprint,
            MuQEncoder(folder, window_seconds=30).fingerprint,
            MuQEncoder(other).fingerprint,
        }
        (folder / "model.safetensors").write_bytes(b"other weights")
        assert len(prints | {MuQEncoder(folder).fingerprint}) == 5

    def test_imports_no_torch(self, settings_alone):
        folder = settings_alone("muq", encoder_dim=8, encoder_depth=2)
        code = (
            f"import sys; from musiceval_sk import get_encoder; get_encoder('muq', checkpoint={str(folder)!r}).fingerprint; "
            "assert not {'torch', 'transformers', 'muq'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_of_something_else_is_refused(self, settings_alone, tmp_path):
        folder = settings_alone("bert", model_type="bert", hidden_size=8)
        with pytest.raises(
            CheckpointError, match="of neither MuQ nor MuQ-MuLan; .* take the encoder 'hf-audio'"
        ):
            MuQEncoder(folder).describe("audio")
        for nowhere in (None, "", tmp_path / "gone", tmp_path):
            with pytest.raises(
                CheckpointError, match="'muq' needs a folder with config.json and model.safetensors or"
            ):
                MuQEncoder(nowhere).describe("audio")
        small = settings_alone("muq", encoder_dim=8, encoder_depth=2)
        with pytest.raises(ValueError, match="layer=3: .* has 2 blocks; give 0 to 2, -1 or 'mean'"):
            MuQEncoder(small, layer=3).describe("audio")
        with pytest.raises(ValueError, match="layer='last' must be a whole number or 'mean'"):
            MuQEncoder(small, layer="last")

    def test_without_the_package_names_the_extra(self, settings_alone, monkeypatch):
        network = pytest.importorskip("musiceval_sk.features.encoders.muq.network")
        network.import_muq.cache_clear()
        monkeypatch.setattr(network.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(
            ImportError, match=r"'muq', which is not installed.*pip install .*muq.*--no-deps muq"
        ):
            network.import_muq()


class TestSpectrogram:
    """What stands in for torchaudio's, which CI's torch has no build of."""

    def test_is_that_of_transformers_in_double_precision(self, windows):
        utils = pytest.importorskip("transformers.audio_utils")
        import torch

        from musiceval_sk.features.encoders.muq.network import AmplitudeToDB, MelSpectrogram

        bands = utils.mel_filter_bank(1025, 128, 0.0, 12_000.0, 24_000, norm=None, mel_scale="htk")
        window = utils.window_function(2048, "hann")
        expected = utils.spectrogram(
            windows[0].astype(float),
            window,
            2048,
            240,
            power=2.0,
            mel_filters=bands,
            log_mel="dB",
            mel_floor=1e-10,
        )
        ours = AmplitudeToDB()(MelSpectrogram(24_000, 2048, 240, 128)(torch.from_numpy(windows[:1])))[0]
        assert ours.shape == (128, 1001)
        np.testing.assert_allclose(ours, expected, atol=2e-3)

    def test_is_that_of_torchaudio(self, windows):
        try:
            import torchaudio
        except (ImportError, OSError):
            pytest.skip("torchaudio is not installed, or not for this torch")
        import torch

        from musiceval_sk.features.encoders.muq.network import AmplitudeToDB, MelSpectrogram

        theirs = torchaudio.transforms.MelSpectrogram(
            sample_rate=24_000, n_fft=2048, hop_length=240, n_mels=128
        )
        decibels = torchaudio.transforms.AmplitudeToDB()(theirs(torch.from_numpy(windows)))
        ours = AmplitudeToDB()(MelSpectrogram(24_000, 2048, 240, 128)(torch.from_numpy(windows)))
        np.testing.assert_allclose(ours, decibels, atol=1e-3)
