from importlib.metadata import EntryPoint

import numpy as np
import pandas as pd
import pytest
import soundfile

from musiceval_sk import ClipEmbedder, EmbeddingStore, Encoder, extract, get_encoder, list_encoders
from musiceval_sk.features.encoders import base
from musiceval_sk.features.encoders.base import digest_of
from musiceval_sk.features.encoders.spectral import SpectralEncoder
from tests.features.toy import ToyEncoder


class Loudness(Encoder):
    """All that a third party writes: attributes and three methods."""

    name = "loudness"
    sample_rate = 8000
    window_seconds = 1.0
    hop_seconds = 0.5
    audio_dim = text_dim = 1

    def describe(self, modality):
        return {"name": self.name, "version": 1, "sample_rate": self.sample_rate, "modality": modality}

    def encode_audio(self, windows):
        return np.sqrt((windows**2).mean(axis=1, keepdims=True))

    def encode_text(self, prompts):
        return np.array([[len(prompt)] for prompt in prompts], dtype=np.float32)


@pytest.fixture
def register(monkeypatch):
    """Pretend that an installed package registers these encoders."""

    def pretend(**values):
        points = [EntryPoint(name, value, base.GROUP) for name, value in values.items()]
        monkeypatch.setattr(base, "entry_points", lambda *, group: points if group == base.GROUP else [])

    return pretend


def test_our_own_encoders_are_known():
    assert {"laion-clap", "spectral"} <= set(list_encoders())
    assert isinstance(get_encoder("spectral"), SpectralEncoder)


def test_a_third_party_registers_an_entry_point(register):
    register(toy="tests.features.toy:ToyEncoder")
    assert list_encoders() == ["hf-audio", "hf-clap", "laion-clap", "muq", "spectral", "toy"]
    encoder = get_encoder("toy", version=7)
    assert isinstance(encoder, ToyEncoder)
    assert encoder.version == 7


def test_three_methods_are_enough_to_extract_and_embed_by_name(register, tmp_path):
    assert Encoder.__abstractmethods__ == {"describe", "encode_audio", "encode_text"}
    register(loudness="tests.features.encoders.test_registry:Loudness")
    soundfile.write(tmp_path / "a.wav", np.full(12_000, 0.5), 8000, subtype="FLOAT")
    clips = pd.DataFrame({"path": [str(tmp_path / "a.wav")], "prompt": ["calm"]}, index=["a"])
    store = EmbeddingStore(tmp_path / "e.h5")
    report = extract(clips.rename_axis("clip_id"), "loudness", store)
    assert report.stored == {"audio": 1, "text": 1}
    # 1.5 s are windows at 0 and .5 s, of an RMS of .5; "calm" has four letters.
    vectors, _ = store.read("audio", Loudness().fingerprint_of("audio"), list(report.audio_keys))
    np.testing.assert_allclose(vectors, [[0.5], [0.5]])
    embedded = ClipEmbedder("loudness", cache=tmp_path / "e.h5").fit_transform(clips.rename_axis("clip_id"))
    np.testing.assert_allclose(np.asarray(embedded), [[0.5, 4]])


def test_listing_imports_nothing(register):
    register(broken="no_such_module:Encoder")
    assert "broken" in list_encoders()
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        get_encoder("broken")


def test_nobody_displaces_our_own(register):
    register(spectral="tests.features.toy:ToyEncoder")
    assert isinstance(get_encoder("spectral"), SpectralEncoder)


def test_an_encoder_is_returned_as_it_is():
    encoder = ToyEncoder()
    assert get_encoder(encoder) is encoder
    with pytest.raises(ValueError, match="options version came with an encoder that is already made"):
        get_encoder(encoder, version=2)


def test_unknown_names_and_options_are_refused():
    with pytest.raises(
        ValueError, match="unknown encoder 'clap'; choose from hf-audio, hf-clap, laion-clap, muq, spectral"
    ):
        get_encoder("clap")
    with pytest.raises(ValueError, match=r"encoder 'spectral' does not take these options \(checkpoint\)"):
        get_encoder("spectral", checkpoint="clap.pt")


def test_an_encoder_must_say_how_it_encodes():
    class Unfinished(Encoder):
        pass

    with pytest.raises(TypeError, match="abstract methods? .*describe.*encode_audio.*encode_text"):
        Unfinished()


def test_one_of_sound_alone_needs_two_methods_and_refuses_prompts():
    class Peak(Encoder):
        name, sample_rate, window_seconds, hop_seconds = "peak", 8000, 1.0, 1.0
        modalities, audio_dim = ("audio",), 1

        def describe(self, modality):
            return {"name": self.name}

        def encode_audio(self, windows):
            return windows.max(axis=1, keepdims=True)

    assert Peak().towers("both") == ("audio",) == Peak().towers("audio")
    assert Peak().fingerprint == digest_of({"audio": {"name": "peak"}})
    with pytest.raises(ValueError, match="'peak' has no text tower; 'laion-clap', 'hf-clap' and 'muq' with"):
        Peak().encode_text(["calm"])
    with pytest.raises(ValueError, match="'peak' has no text tower; .* have both"):
        Peak().towers("text")


def test_lengths_dimensions_and_fingerprints_follow_from_the_attributes():
    encoder = ToyEncoder()
    assert (encoder.window_length, encoder.hop_length) == (4000, 2000)  # .5 s and .25 s at 8 kHz
    assert (encoder.dim("audio"), encoder.dim("text")) == (3, 2)
    digests = {encoder.fingerprint, encoder.fingerprint_of("audio"), encoder.fingerprint_of("text")}
    other = ToyEncoder(version=2)
    digests |= {other.fingerprint, other.fingerprint_of("audio"), other.fingerprint_of("text")}
    assert len(digests) == 6
    assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in digests)
    np.testing.assert_array_equal(encoder.encode_text(["calm piano", ""]), [[10, 2], [0, 0]])
