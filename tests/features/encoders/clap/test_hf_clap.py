import functools
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest

from musiceval_sk import get_encoder
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.clap.hf_clap import HfClapEncoder
from musiceval_sk.features.encoders.clap.laion_clap import LaionClapEncoder
from tests.clap_files import (
    laion_clap_itself,
    own_tokenizer,
    write_clap_checkpoint,
    write_roberta_tokenizer,
    write_transformers_folder,
)

pytest.importorskip("transformers", reason="transformers (the extra 'hf') is not installed")
needs_clap = pytest.mark.skipif(
    importlib.util.find_spec("laion_clap") is None, reason="laion_clap (the extra 'clap') is not installed"
)

LENGTH = 480_000
PROMPTS = ["calm piano", "", "drums, " * 20, " two  spaces, é and 音楽\n", "a </s> in the text"]
LONG = "drums, " * 60


@pytest.fixture(scope="module")
def windows():
    random, time = np.random.default_rng(7), np.arange(LENGTH) / 48_000
    noise = 0.1 * random.standard_normal(LENGTH)
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    sweep = 0.9 * np.sin(2 * np.pi * 100 * time * (1 + time / 10)) * (time < 8)
    return np.stack([noise, tone, sweep]).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_transformers_folder(tmp_path_factory.mktemp("hf"))


@pytest.fixture(scope="module")
def encoder(folder):
    return HfClapEncoder(folder, device="cpu", batch_size=2)


@pytest.fixture(scope="module")
def vectors(encoder, windows):
    return encoder.encode_audio(windows)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_roberta_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def laion_file(tmp_path_factory):
    return write_clap_checkpoint(tmp_path_factory.mktemp("clap") / "tiny.pt")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment that names no checkpoint and no tokenizer, and an empty Hugging Face cache."""
    monkeypatch.delenv("MUSICEVAL_CLAP_CHECKPOINT", raising=False)
    monkeypatch.delenv("MUSICEVAL_ROBERTA", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the folder, to be spoilt."""
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def no_socket(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def of_transformers(folder, windows, prompts):
    """Vectors as transformers' own model and feature extractor give them, in versions 4 and 5."""
    import torch
    from transformers import ClapFeatureExtractor, ClapModel

    model = ClapModel.from_pretrained(folder, local_files_only=True).eval()
    extractor = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    features = extractor(list(windows), sampling_rate=48_000, return_tensors="pt")
    # Unpadded, one by one: what padding to 77 tokens must not change.
    tokens = [own_tokenizer(folder)(prompt, return_tensors="pt") for prompt in prompts]
    with torch.inference_mode():
        audio = model.get_audio_features(input_features=features["input_features"].float())
        texts = [model.get_text_features(**token) for token in tokens]
    # Version 4 returns the tensor, version 5 an object that holds it.
    audio, *texts = (getattr(output, "pooler_output", output).numpy() for output in (audio, *texts))
    return audio, np.concatenate(texts)


def assert_clearly_different(vectors, most=0.99):
    """Different inputs must get clearly different vectors, or agreement would say nothing."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.triu(unit @ unit.T, 1).max() < most


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


class TestOfAFolder:
    def test_agrees_with_transformers_itself(self, encoder, folder, windows, vectors):
        audio, text = of_transformers(folder, windows, PROMPTS)
        assert_clearly_different(audio)
        assert_clearly_different(text)
        np.testing.assert_allclose(vectors, audio, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_text(PROMPTS), text, atol=1e-5)

    def test_has_unit_length_and_the_dimensions_that_it_says(self, encoder, vectors):
        text = encoder.encode_text(PROMPTS)
        assert vectors.shape == (3, encoder.audio_dim) == (3, 32) and vectors.dtype == np.float32
        assert text.shape == (5, encoder.text_dim) == (5, 32) and text.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(np.concatenate([vectors, text]), axis=1), 1, atol=1e-6)

    def test_reads_weights_of_torch_as_well(self, copied, windows, vectors):
        import safetensors.torch
        import torch

        weights = safetensors.torch.load_file(copied / "model.safetensors")
        # Written by releases that kept what is computed, or did not.
        weights.pop("text_model.embeddings.position_ids", None)
        torch.save(weights, copied / "pytorch_model.bin")
        (copied / "model.safetensors").unlink()
        np.testing.assert_allclose(
            HfClapEncoder(copied, device="cpu").encode_audio(windows[:1]), vectors[:1], atol=1e-6
        )

    def test_without_settings_of_sound_takes_those_of_clap(self, copied, windows, vectors):
        (copied / "preprocessor_config.json").unlink()
        np.testing.assert_allclose(
            HfClapEncoder(copied, device="cpu").encode_audio(windows[:1]), vectors[:1], atol=1e-6
        )

    def test_follows_the_settings_of_sound(self, copied, windows, vectors):
        edit_json(copied / "preprocessor_config.json", frequency_min=0)
        low = HfClapEncoder(copied, device="cpu").encode_audio(windows[:1])
        np.testing.assert_allclose(low, of_transformers(copied, windows[:1], [""])[0], atol=1e-5)
        assert np.abs(low - vectors[:1]).max() > 1e-4
        settings = json.loads((copied / "preprocessor_config.json").read_text("utf-8"))
        (copied / "preprocessor_config.json").unlink()
        (copied / "processor_config.json").write_text(json.dumps({"feature_extractor": settings}), "utf-8")
        np.testing.assert_array_equal(HfClapEncoder(copied, device="cpu").encode_audio(windows[:1]), low)


@needs_clap
class TestOfLaionsFile:
    def assert_as_laion(self, path, tokenizer, amodel, windows):
        prompts = [*PROMPTS, LONG]
        with laion_clap_itself(tokenizer) as laion_clap:
            theirs = laion_clap.CLAP_Module(amodel=amodel, device="cpu")
            theirs.load_ckpt(str(path), verbose=False)
            audio = theirs.get_audio_embedding_from_data(windows)
            text = theirs.get_text_embedding(prompts)
        assert_clearly_different(audio)
        assert_clearly_different(text)
        ours = HfClapEncoder(path, tokenizer=tokenizer, device="cpu")
        np.testing.assert_allclose(ours.encode_audio(windows), audio, atol=1e-5)
        np.testing.assert_allclose(ours.encode_text(prompts), text, atol=1e-5)

    @pytest.mark.slow
    def test_agrees_with_laion_clap_itself(self, laion_file, tokenizer, windows):
        # Silence, and sound beyond full scale, which LAION clips.
        windows = np.concatenate([windows[:1], 2 * windows[2:], 0 * windows[:1]])
        self.assert_as_laion(laion_file, tokenizer, "HTSAT-tiny", windows)

    @pytest.mark.slow
    def test_agrees_with_laion_clap_itself_for_the_papers_audio_tower(self, tokenizer, windows, tmp_path):
        path = write_clap_checkpoint(tmp_path / "base.pt", amodel="HTSAT-base", seed=1)
        self.assert_as_laion(path, tokenizer, "HTSAT-base", windows[:2])

    def test_uses_the_files_own_filters(self, laion_file, windows, tmp_path):
        import torch

        content = torch.load(laion_file, mmap=True, weights_only=False)
        mel = content["state_dict"]["module.audio_branch.logmel_extractor.melW"]
        content["state_dict"]["module.audio_branch.logmel_extractor.melW"] = mel.flip(1)
        torch.save(content, tmp_path / "flipped.pt")
        flipped = HfClapEncoder(tmp_path / "flipped.pt", device="cpu").encode_audio(windows[:1])
        theirs = LaionClapEncoder(tmp_path / "flipped.pt", amodel="HTSAT-tiny", device="cpu")
        np.testing.assert_allclose(flipped, theirs.encode_audio(windows[:1]), atol=1e-5)
        plain = HfClapEncoder(laion_file, device="cpu").encode_audio(windows[:1])
        assert np.abs(flipped - plain).max() > 1e-3

    def test_needs_no_laion_clap_and_no_network(self, laion_file, tokenizer, windows, no_socket, monkeypatch):
        monkeypatch.setitem(sys.modules, "laion_clap", None)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        fresh = get_encoder("hf-clap", checkpoint=laion_file, tokenizer=tokenizer, device="cpu")
        assert fresh.encode_text(["calm piano"]).shape == (1, 512)
        assert fresh.encode_audio(windows[:1]).shape == (1, 512)

    def test_names_the_weights_that_do_not_fit(self, laion_file, windows, tmp_path):
        import torch

        weights = dict(torch.load(laion_file, mmap=True, weights_only=False)["state_dict"])
        del weights["module.audio_branch.norm.bias"]
        torch.save(weights | {"module.stranger": torch.zeros(2)}, tmp_path / "other.pt")
        with pytest.raises(
            CheckpointError,
            match=r"ClapModel; 1 missing: audio_model.audio_encoder.norm.bias; 1 unexpected: stranger",
        ):
            HfClapEncoder(tmp_path / "other.pt").encode_audio(windows[:1])

    @pytest.mark.parametrize(
        "missing, words",
        [
            (
                "audio_branch.logmel_extractor.melW",
                r"in LAION's layout \(.*\); audio_branch.logmel_extractor.melW is",
            ),
            ("audio_branch.bn0.weight", "1 missing: audio_model.audio_encoder.batch_norm.weight"),
            (
                "audio_branch.patch_embed.proj.weight",
                r"not a CLAP checkpoint in LAION's layout \(HTS-AT for sound",
            ),
            (
                "text_branch.embeddings.word_embeddings.weight",
                r"not a CLAP checkpoint in LAION's layout \(.*RoBERTa for text",
            ),
        ],
    )
    def test_says_what_is_missing(self, laion_file, windows, tmp_path, missing, words):
        import torch

        weights = dict(torch.load(laion_file, mmap=True, weights_only=False)["state_dict"])
        del weights[f"module.{missing}"]
        torch.save(weights, tmp_path / "other.pt")
        with pytest.raises(CheckpointError, match=words):
            HfClapEncoder(tmp_path / "other.pt").encode_audio(windows[:1])


class TestVectors:
    def test_do_not_depend_on_the_batch_or_the_order(self, encoder, folder, windows, vectors):
        assert encoder.batch_size == 2
        for row in range(3):
            np.testing.assert_allclose(
                encoder.encode_audio(windows[row : row + 1]), vectors[row : row + 1], atol=1e-6
            )
        order = [2, 0, 1]
        np.testing.assert_allclose(encoder.encode_audio(windows[order]), vectors[order], atol=1e-6)
        all_at_once = HfClapEncoder(folder, device="cpu", batch_size=16)
        np.testing.assert_allclose(all_at_once.encode_audio(windows), vectors, atol=1e-6)

    def test_of_short_prompts_do_not_change_beside_long_ones(self, encoder):
        together = encoder.encode_text(["piano", LONG])
        np.testing.assert_allclose(together[:1], encoder.encode_text(["piano"]), atol=1e-6)
        # What goes beyond 77 tokens is not read.
        np.testing.assert_array_equal(together, encoder.encode_text(["piano", LONG + "more"]))

    def test_are_the_same_bits_twice(self, encoder, folder, windows, vectors):
        again = HfClapEncoder(folder, device="cpu", batch_size=2)
        np.testing.assert_array_equal(again.encode_audio(windows), vectors)
        np.testing.assert_array_equal(again.encode_text(PROMPTS), encoder.encode_text(PROMPTS))


KINDS = [
    "folder",
    pytest.param("file", marks=[needs_clap, pytest.mark.slow]),
    pytest.param("laion-clap", marks=[needs_clap, pytest.mark.slow]),
]


@pytest.fixture(scope="module", params=KINDS)
def made(request, folder):
    """Function that makes each of the three kinds of CLAP encoder, one for the same options."""
    if request.param == "folder":
        kind, options = HfClapEncoder, {"checkpoint": folder}
    else:
        files = {name: request.getfixturevalue(name) for name in ("laion_file", "tokenizer")}
        options = {"checkpoint": files["laion_file"], "tokenizer": files["tokenizer"]}
        kind = HfClapEncoder
        if request.param == "laion-clap":
            kind, options = LaionClapEncoder, options | {"amodel": "HTSAT-tiny"}
    return functools.cache(lambda **others: kind(**options, **others, device="cpu"))


class TestLayer:
    def test_encoder_is_what_the_projection_is_made_of(self, made, windows):
        import torch

        projected, inner = made(), made(layer="encoder")
        model = projected.build().model
        for encode, dim, project in (
            ("encode_audio", "audio_dim", model.audio_projection),
            ("encode_text", "text_dim", model.text_projection),
        ):
            what = windows[:1] if encode == "encode_audio" else PROMPTS[:1]
            representation = getattr(inner, encode)(what)
            assert representation.shape == (1, getattr(inner, dim)) and representation.dtype == np.float32
            assert getattr(inner, dim) in (64, 768) and getattr(projected, dim) in (32, 512)
            assert np.abs(np.linalg.norm(representation, axis=1) - 1).min() > 1e-2
            with torch.inference_mode():
                vectors = project(torch.from_numpy(representation)).numpy()
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            np.testing.assert_allclose(vectors, getattr(projected, encode)(what), atol=1e-5)

    def test_is_described_only_where_it_is_not_the_default(self, made):
        default, explicit, inner = made(), made(layer="projection"), made(layer="encoder")
        for modality in ("audio", "text"):
            assert "layer" not in default.describe(modality)
            assert default.fingerprint_of(modality) == explicit.fingerprint_of(modality)
            assert inner.describe(modality) == {**default.describe(modality), "layer": "encoder"}

    def test_is_one_of_two(self, made):
        with pytest.raises(ValueError, match="unknown layer 'middle'; choose from projection, encoder"):
            made(layer="middle")

    def test_of_nothing_has_the_towers_width(self, made):
        inner = made(layer="encoder")
        assert inner.encode_audio(np.empty((0, LENGTH), dtype=np.float32)).shape == (0, inner.audio_dim)
        assert inner.encode_text([]).shape == (0, inner.text_dim)


class TestDtype:
    def test_bfloat16_stays_near_float32(self, made, windows):
        exact, short = made(), made(dtype="bfloat16")
        for encode, what in (("encode_audio", windows[:1]), ("encode_text", PROMPTS)):
            long_vectors, short_vectors = getattr(exact, encode)(what), getattr(short, encode)(what)
            assert short_vectors.dtype == np.float32
            cosines = (long_vectors * short_vectors).sum(axis=1)
            # 8 bits of mantissa: rounding must show, and stay small.
            assert np.abs(long_vectors - short_vectors).max() > 1e-6 and cosines.min() > 0.99

    def test_is_described(self, made):
        exact, short = made(), made(dtype="bfloat16")
        for modality in ("audio", "text"):
            assert exact.describe(modality)["dtype"] == "float32"
            assert short.describe(modality) == {**exact.describe(modality), "dtype": "bfloat16"}

    def test_is_one_of_two(self, made):
        with pytest.raises(ValueError, match="unknown dtype 'float16'; choose from float32, bfloat16"):
            made(dtype="float16")


class TestDescription:
    def test_holds_what_changes_a_vector(self, bare):
        folder = bare / "clap"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"some weights")
        (folder / "config.json").write_text('{"model_type": "clap"}')
        assert HfClapEncoder(folder, device="cuda", batch_size=3).describe("audio") == {
            "name": "hf-clap",
            "version": 1,
            # echo -n "some weights" | sha256sum
            "checkpoint_sha256": "a0c76a31f14d6cbed530bfac73778a5bb84861b795e8bd5d4c8eee29784fb766",
            "layout": "transformers",
            # echo -n '{"model_type": "clap"}' | sha256sum
            "config_sha256": "c37c7c506206c9e7dc48cbdf04759cc3e5a0a4723a77831b32b7d0cea92794cc",
            "dtype": "float32",
            "sample_rate": 48_000,
            "window_seconds": 10.0,
            "hop_seconds": 10.0,
            "quantisation": "none",
            "front_end": {
                "feature_size": 64,
                "fft_window_size": 1024,
                "hop_length": 480,
                "frequency_min": 50.0,
                "frequency_max": 14_000.0,
            },
        }

    def test_of_a_file_says_so_and_imports_no_torch(self, bare):
        path = bare / "clap.pt"
        path.write_bytes(b"some weights")
        (bare / "roberta-base").mkdir()
        for name in ("vocab.json", "merges.txt"):
            (bare / "roberta-base" / name).write_bytes(b"x")
        code = (
            "import json, sys; from musiceval_sk import get_encoder; "
            f"made = get_encoder('hf-clap', checkpoint={str(path)!r}); made.fingerprint, made.audio_dim; "
            "print(json.dumps(made.describe('audio'))); "
            "assert not {'torch', 'transformers', 'tokenizers', 'laion_clap', 'safetensors'} & set(sys.modules)"
        )
        output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        described = json.loads(output.stdout)
        assert (described["layout"], described["quantisation"]) == ("laion", "int16")
        assert "config_sha256" not in described and "front_end" not in described

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    def test_refuses_a_folder_that_changed(self, copied, name):
        encoder = HfClapEncoder(copied)
        before = encoder.fingerprint
        (copied / name).write_bytes((copied / name).read_bytes() + b" ")
        with pytest.raises(CheckpointError, match="is not the checkpoint that this encoder described before"):
            encoder.describe("text")
        assert HfClapEncoder(copied).fingerprint != before

    def test_prefers_the_tokenizer_in_the_folder(self, copied, tmp_path, monkeypatch):
        own = HfClapEncoder(copied).describe("text")["tokenizer_sha256"]
        other = write_roberta_tokenizer(tmp_path / "other")
        with (other / "merges.txt").open("a") as file:
            file.write("z z\n")
        monkeypatch.setenv("MUSICEVAL_ROBERTA", str(other))
        assert HfClapEncoder(copied).describe("text")["tokenizer_sha256"] == own
        assert HfClapEncoder(copied, tokenizer=other).describe("text")["tokenizer_sha256"] != own
        (copied / "vocab.json").unlink()
        assert HfClapEncoder(copied).describe("text")["tokenizer_sha256"] != own

    def test_is_short_as_text(self):
        assert repr(HfClapEncoder("a.pt")) == "HfClapEncoder('a.pt', device='auto')"
        assert (
            repr(HfClapEncoder(layer="encoder", dtype="bfloat16"))
            == "HfClapEncoder(None, device='auto', layer='encoder', dtype='bfloat16')"
        )


class TestRefusals:
    def refused(self, path, words, error=CheckpointError):
        with pytest.raises(error, match=words):
            HfClapEncoder(path).encode_audio(np.zeros((1, LENGTH), dtype=np.float32))

    def test_of_nothing_named(self, bare):
        self.refused(
            None, "'hf-clap' needs a checkpoint file, or a folder in transformers' layout. The paper's"
        )

    def test_of_a_path_that_is_not_there(self, bare):
        self.refused(
            bare / "gone", r"no such checkpoint file; give the path of a local .pt file, or a folder"
        )

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    def test_of_a_folder_that_lacks_a_file(self, copied, name):
        (copied / name).unlink()
        self.refused(copied, f"no CLAP in transformers' layout; expected .*{name}.* in it")

    def test_of_a_file_out_of_a_folder(self, copied):
        self.refused(
            copied / "model.safetensors", "if they are in transformers' layout, give the folder .*copy$"
        )

    def test_of_another_kind_of_model(self, copied):
        edit_json(copied / "config.json", model_type="bert")
        self.refused(copied, "config.json: of a model of type 'bert', expected 'clap'")

    def test_of_settings_that_are_not_json(self, copied):
        (copied / "config.json").write_text("version https://git-lfs")
        self.refused(copied, "config.json: not JSON")
        (copied / "config.json").write_text("[]")
        self.refused(copied, "config.json: of a model of type None")
        (copied / "config.json").write_text("[1]")
        self.refused(copied, "config.json: not JSON of settings")

    def test_of_fused_models(self, copied, tmp_path):
        import torch

        audio = json.loads((copied / "config.json").read_text("utf-8"))["audio_config"]
        edit_json(copied / "config.json", audio_config=audio | {"enable_fusion": True})
        self.refused(
            copied, "enable_fusion is true. It is a fusion checkpoint; this encoder reads those without"
        )
        torch.save(
            {"module.audio_branch.patch_embed.mel_conv2d.weight": torch.zeros(1)}, tmp_path / "fused.pt"
        )
        self.refused(tmp_path / "fused.pt", "fused.pt: It is a fusion checkpoint")

    @pytest.mark.parametrize(
        "changes, words",
        [
            ({"sampling_rate": 44_100}, "sampling_rate=44100, but CLAP here takes 48000"),
            ({"max_length_s": 7}, "max_length_s=7, but CLAP here takes 10"),
            ({"feature_size": 128}, "feature_size=128, but CLAP here takes 64"),
        ],
    )
    def test_of_other_sound(self, copied, changes, words):
        edit_json(copied / "preprocessor_config.json", **changes)
        self.refused(copied, words)

    def test_of_weights_that_do_not_fit_the_settings(self, copied):
        text = json.loads((copied / "config.json").read_text("utf-8"))["text_config"]
        edit_json(copied / "config.json", text_config=text | {"num_hidden_layers": 3})
        self.refused(copied, r"does not fit transformers' ClapModel; 16 missing: text_model.encoder.layer.2")

    def test_of_broken_weights(self, copied):
        (copied / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        self.refused(copied, r"model.safetensors \(43 bytes\): not a checkpoint that can be read")

    @pytest.mark.parametrize("where", ["pytorch_model.bin", "clap.pt"])
    def test_of_files_that_would_run_something(self, copied, tmp_path, where):
        import torch

        class Malicious:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "harm"),)

        (copied / "model.safetensors").unlink()
        torch.save({"state_dict": {"a": Malicious()}}, copied / where)
        self.refused(copied if where.endswith("bin") else copied / where, "cannot|without running code")
        assert not (tmp_path / "harm").exists()

    def test_without_the_extra_names_it(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "transformers", None)
        self.refused(
            folder,
            r"'hf-clap' needs the package 'transformers'.*pip install .transformers>=4.53",
            error=ImportError,
        )

    def test_of_a_batch_of_none(self):
        with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
            HfClapEncoder(batch_size=0)
