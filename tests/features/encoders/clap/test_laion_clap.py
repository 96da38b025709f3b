import importlib.util
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.clap import laion_clap as module
from musiceval_sk.features.encoders.clap.laion_clap import LaionClapEncoder
from tests.clap_files import (
    VOCAB_SIZE,
    laion_clap_itself,
    own_tokenizer,
    write_clap_checkpoint,
    write_roberta_tokenizer,
)

LENGTH = 480_000
PROMPTS = ["calm piano", "", "drums, " * 60, " two  spaces, é and 音楽\n", "a </s> in the text"]

needs_clap = pytest.mark.skipif(
    importlib.util.find_spec("laion_clap") is None, reason="laion_clap (the extra 'clap') is not installed"
)


@pytest.fixture(scope="module")
def windows():
    random, time = np.random.default_rng(7), np.arange(LENGTH) / 48_000
    noise = 0.1 * random.standard_normal(LENGTH)
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    too_loud = 1.4 * np.sin(2 * np.pi * 100 * time * (1 + time / 10))
    return np.stack([noise, tone, too_loud]).astype(np.float32)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_roberta_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_clap_checkpoint(tmp_path_factory.mktemp("clap") / "tiny.pt")


@pytest.fixture(scope="module")
def encoder(checkpoint, tokenizer):
    return LaionClapEncoder(checkpoint, amodel="HTSAT-tiny", tokenizer=tokenizer, device="cpu", batch_size=2)


@pytest.fixture(scope="module")
def vectors(encoder, windows):
    return encoder.encode_audio(windows)


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment that names no checkpoint and no tokenizer, and an empty Hugging Face cache."""
    monkeypatch.delenv("MUSICEVAL_CLAP_CHECKPOINT", raising=False)
    monkeypatch.delenv("MUSICEVAL_ROBERTA", raising=False)
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub comes with the extra 'clap'")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def write_bytes(path, content=b"some weights"):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def assert_as_laion(encoder, windows, tokenizer, ours=None):
    with laion_clap_itself(tokenizer) as laion_clap:
        theirs = laion_clap.CLAP_Module(amodel=encoder.amodel, device="cpu")
        theirs.load_ckpt(str(encoder.checkpoint), verbose=False)
        audio = theirs.get_audio_embedding_from_data(windows)
        text = theirs.get_text_embedding(PROMPTS)
    # Different inputs must get clearly different vectors, or agreement would say nothing.
    assert np.triu(audio @ audio.T, 1).max() < 0.99 and np.triu(text @ text.T, 1).max() < 0.99
    np.testing.assert_allclose(audio, encoder.encode_audio(windows) if ours is None else ours, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_text(PROMPTS), text, atol=1e-5)


@needs_clap
class TestVectors:
    @pytest.mark.slow
    def test_agree_with_laion_clap_itself(self, encoder, windows, tokenizer, vectors):
        assert_as_laion(encoder, windows, tokenizer, vectors)

    @pytest.mark.slow
    def test_agree_with_laion_clap_itself_for_the_papers_audio_tower(self, windows, tokenizer, tmp_path):
        path = write_clap_checkpoint(tmp_path / "base.pt", amodel="HTSAT-base", seed=1)
        assert_as_laion(LaionClapEncoder(path, tokenizer=tokenizer, device="cpu"), windows[:1], tokenizer)

    def test_have_unit_length_and_are_float32(self, encoder, vectors):
        assert vectors.shape == (3, 512) and vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        assert encoder.encode_text(PROMPTS).dtype == np.float32

    def test_of_audio_need_no_tokenizer(self, bare, checkpoint, windows):
        audio_only = LaionClapEncoder(checkpoint, amodel="HTSAT-tiny")
        assert len(audio_only.fingerprint_of("audio")) == 32
        assert audio_only.encode_audio(windows[:1]).shape == (1, 512)
        with pytest.raises(CheckpointError, match="prompts need RoBERTa's tokenizer"):
            audio_only.encode_text(["calm piano"])


@needs_clap
class TestBuilding:
    def test_leaves_the_process_as_it_was(self, checkpoint, tokenizer):
        import torch

        module.import_htsat.cache_clear()
        state, path, modules = torch.get_rng_state(), list(sys.path), set(sys.modules)
        allowed, environment = set(torch.serialization.get_safe_globals()), dict(os.environ)
        LaionClapEncoder(checkpoint, amodel="HTSAT-tiny", tokenizer=tokenizer).encode_text(["calm piano"])
        assert torch.equal(torch.get_rng_state(), state)
        assert sys.path == path and dict(os.environ) == environment
        assert set(torch.serialization.get_safe_globals()) == allowed
        new = {name.split(".")[0] for name in set(sys.modules) - modules}
        assert new.isdisjoint({"clap_module", "laion_clap", "torchlibrosa", "torchvision"})
        assert torch.is_grad_enabled() and torch.backends.cudnn.allow_tf32

    def test_leaves_an_imported_laion_clap_alone(self, checkpoint, tokenizer, windows, vectors):
        with laion_clap_itself(tokenizer):
            module.import_htsat.cache_clear()
            theirs = {name: one for name, one in sys.modules.items() if name.startswith("clap_module")}
            assert "clap_module.htsat" in theirs and "torchlibrosa.stft" in sys.modules
            librosas = sys.modules["torchlibrosa.stft"]
            fresh = LaionClapEncoder(checkpoint, amodel="HTSAT-tiny", device="cpu")
            np.testing.assert_allclose(fresh.encode_audio(windows[:1]), vectors[:1], atol=1e-6)
            now = {name: one for name, one in sys.modules.items() if name.startswith("clap_module")}
            assert now == theirs and sys.modules["torchlibrosa.stft"] is librosas

    def test_runs_laions_own_audio_tower(self, encoder):
        tower = encoder.build().model.audio_model.htsat
        assert type(tower).__module__ == "clap_module.htsat"

    def test_happens_once(self, encoder):
        assert encoder.build() is encoder.build()
        assert not encoder.build().training

    def test_says_which_extra_is_missing(self, encoder, checkpoint, windows, monkeypatch):
        module.import_htsat.cache_clear()
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(
            ImportError, match=r"'laion_clap', which is not installed.*pip install .laion-clap==1.1.7"
        ):
            LaionClapEncoder(checkpoint, amodel="HTSAT-tiny").encode_audio(windows[:1])

    def test_names_the_weights_that_do_not_fit(self, checkpoint, tmp_path, windows):
        import torch

        whole = torch.load(checkpoint, mmap=True, weights_only=False)["state_dict"]
        head, norm = (f"module.audio_branch.{name}" for name in ("head.bias", "norm.bias"))

        def refusal(without=(), **more):
            torch.save({key: whole[key] for key in whole if key not in without} | more, tmp_path / "other.pt")
            with pytest.raises(CheckpointError) as caught:
                LaionClapEncoder(tmp_path / "other.pt", amodel="HTSAT-tiny").encode_audio(windows[:1])
            return str(caught.value).removeprefix(f"{tmp_path / 'other.pt'}: does not fit ")

        lacking = refusal({"module.logit_scale_a", norm}, **{"module.stranger": torch.zeros(2)})
        assert lacking == (
            "transformers' ClapModel; 2 missing: logit_scale_a, audio_model.audio_encoder.norm.bias; "
            "1 unexpected: stranger"
        )
        assert refusal({head}) == "HTSAT-tiny; 1 missing: head.bias"
        assert "size mismatch for logit_scale_t: " in refusal(**{"module.logit_scale_t": torch.zeros(3)})
        every = {key: torch.zeros(3) for key in whole if key.startswith("module.text_branch.encoder")}
        assert len(every) == 16 and "(+11 more)" in refusal(**every)

    def test_names_the_amodel_that_fits(self, checkpoint, windows):
        with pytest.raises(
            CheckpointError,
            match=r"tiny.pt: does not fit HTSAT-base. Its audio tower is HTSAT-tiny: pass amodel='HTSAT-tiny'",
        ):
            LaionClapEncoder(checkpoint).encode_audio(windows[:1])

    def test_recognises_a_fusion_checkpoint(self, checkpoint, tmp_path, windows):
        import torch

        weights = torch.load(checkpoint, mmap=True, weights_only=False)["state_dict"]
        text = {key: weight for key, weight in weights.items() if "text_branch" in key}
        torch.save(
            text | {"module.audio_branch.patch_embed.mel_conv2d.weight": torch.zeros(1)},
            tmp_path / "fusion.pt",
        )
        with pytest.raises(
            CheckpointError, match="It is a fusion checkpoint; this encoder reads those without fusion"
        ):
            LaionClapEncoder(tmp_path / "fusion.pt").encode_audio(windows[:1])

    def test_says_that_there_is_no_roberta(self, tmp_path, windows):
        import torch

        torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pt")
        with pytest.raises(
            CheckpointError,
            match=r"not a CLAP checkpoint in LAION's layout \(.*RoBERTa for text\); .* is missing",
        ):
            LaionClapEncoder(tmp_path / "other.pt").encode_audio(windows[:1])

    @pytest.mark.parametrize("content", [{}, [1, 2], {"state_dict": {}}, {"state_dict": {"a": "text"}}])
    def test_says_that_there_are_no_weights(self, tmp_path, windows, content):
        import torch

        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(
            CheckpointError,
            match="other.pt: holds no 'state_dict' of weights; expected a checkpoint as LAION",
        ):
            LaionClapEncoder(tmp_path / "other.pt").encode_audio(windows[:1])

    def test_says_that_a_file_is_no_checkpoint(self, tmp_path, windows):
        path = write_bytes(tmp_path / "pointer.pt", b"version https://git-lfs.github.com/spec/v1\n")
        with pytest.raises(
            CheckpointError, match=r"pointer.pt \(43 bytes\): not a checkpoint .* is the download whole"
        ):
            LaionClapEncoder(path).encode_audio(windows[:1])

    @pytest.mark.parametrize("zipped", [True, False])
    def test_runs_nothing_that_a_file_holds(self, tmp_path, windows, zipped):
        import torch

        class Malicious:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "harm"),)

        torch.save(
            {"state_dict": {"a": Malicious()}}, tmp_path / "bad.pt", _use_new_zipfile_serialization=zipped
        )
        with pytest.raises(CheckpointError, match="cannot|without running code"):
            LaionClapEncoder(tmp_path / "bad.pt").encode_audio(windows[:1])
        assert not (tmp_path / "harm").exists()


class TestDescription:
    def test_holds_what_changes_a_vector(self, bare):
        path = write_bytes(bare / "clap.pt")
        described = LaionClapEncoder(path, device="cuda", batch_size=3).describe("audio")
        assert described == {
            "name": "laion-clap",
            "version": 1,
            # echo -n "some weights" | sha256sum
            "checkpoint_sha256": "a0c76a31f14d6cbed530bfac73778a5bb84861b795e8bd5d4c8eee29784fb766",
            "amodel": "HTSAT-base",
            "dtype": "float32",
            "sample_rate": 48_000,
            "window_seconds": 10.0,
            "hop_seconds": 10.0,
            "quantisation": "int16",
        }

    def test_follows_the_bytes_and_not_the_path(self, bare):
        first, same, other = (bare / name / "clap.pt" for name in ("a", "b", "c"))
        for path, content in ((first, b"x"), (same, b"x"), (other, b"y")):
            write_bytes(path, content)
        prints = [LaionClapEncoder(path).fingerprint_of("audio") for path in (first, same, other)]
        assert prints[0] == prints[1] != prints[2]
        assert LaionClapEncoder(first, amodel="HTSAT-tiny").fingerprint_of("audio") != prints[0]

    @needs_clap
    def test_of_text_follows_the_tokenizer(self, bare):
        path = write_bytes(bare / "clap.pt")
        folders = [write_roberta_tokenizer(bare / name) for name in ("a", "b", "c")]
        with (folders[2] / "merges.txt").open("a") as file:
            file.write("z z\n")
        prints = [LaionClapEncoder(path, tokenizer=folder).fingerprint_of("text") for folder in folders]
        assert prints[0] == prints[1] != prints[2]
        assert LaionClapEncoder(path, tokenizer=folders[0]).describe("text")["max_length"] == 77

    def test_imports_no_torch(self, bare):
        path = write_bytes(bare / "clap.pt")
        (bare / "roberta").mkdir()
        for name in ("vocab.json", "merges.txt"):
            write_bytes(bare / "roberta" / name)
        code = (
            "import sys; from musiceval_sk import get_encoder; "
            f"print(get_encoder('laion-clap', checkpoint={str(path)!r}, tokenizer={str(bare / 'roberta')!r}).fingerprint); "
            "assert not {'torch', 'transformers', 'tokenizers', 'laion_clap'} & set(sys.modules)"
        )
        assert (
            len(
                subprocess.run(
                    [sys.executable, "-c", code], check=True, capture_output=True, text=True
                ).stdout
            )
            == 33
        )

    def test_refuses_a_checkpoint_that_changed(self, bare):
        path = write_bytes(bare / "clap.pt", b"before")
        encoder = LaionClapEncoder(path)
        encoder.describe("audio")
        os.utime(path, ns=(1, 1))
        encoder.describe("audio")
        write_bytes(path, b"after!")
        # So does one that another process unpickled and whose own file is another.
        for one in (encoder, pickle.loads(pickle.dumps(encoder))):
            with pytest.raises(
                CheckpointError, match="is not the checkpoint that this encoder described before"
            ):
                one.describe("audio")

    @needs_clap
    def test_survives_pickling_and_leaves_the_weights_out(self, encoder, windows, vectors):
        encoder.build()
        pickled = pickle.dumps(encoder)
        assert len(pickled) < 2000
        again = pickle.loads(pickled)
        assert again.fingerprint == encoder.fingerprint
        np.testing.assert_array_equal(again.encode_audio(windows[:1]), encoder.encode_audio(windows[:1]))

    def test_is_short_as_text(self):
        assert (
            repr(LaionClapEncoder("a.pt")) == "LaionClapEncoder('a.pt', amodel='HTSAT-base', device='auto')"
        )
        assert repr(LaionClapEncoder()) == "LaionClapEncoder(None, amodel='HTSAT-base', device='auto')"


class TestFinding:
    def test_says_where_the_papers_checkpoint_is(self, bare):
        with pytest.raises(CheckpointError) as caught:
            LaionClapEncoder().describe("audio")
        for word in (
            "music_audioset_epoch_15_esc_90.14.pt",
            "lukewys/laion_clap",
            "checkpoint=",
            "--checkpoint",
        ):
            assert word in str(caught.value)
        assert "MUSICEVAL_CLAP_CHECKPOINT" in str(caught.value)

    def test_follows_the_environment(self, bare, monkeypatch):
        path = write_bytes(bare / "clap.pt")
        monkeypatch.setenv("MUSICEVAL_CLAP_CHECKPOINT", str(path))
        assert LaionClapEncoder().fingerprint_of("audio") == LaionClapEncoder(path).fingerprint_of("audio")
        monkeypatch.setenv("MUSICEVAL_CLAP_CHECKPOINT", str(bare / "gone.pt"))
        with pytest.raises(
            CheckpointError, match=r"gone.pt: no such checkpoint file \(named by the environment"
        ):
            LaionClapEncoder().describe("audio")

    def test_names_a_checkpoint_that_is_not_there(self, bare):
        with pytest.raises(
            CheckpointError, match="gone.pt: no such checkpoint file; give the path of a local .pt"
        ):
            LaionClapEncoder(bare / "gone.pt").describe("audio")

    @needs_clap
    def test_looks_for_the_tokenizer_in_four_places(self, bare, monkeypatch):
        path = write_bytes(bare / "clap.pt")
        with pytest.raises(CheckpointError) as caught:
            LaionClapEncoder(path).describe("text")
        for word in ("vocab.json and merges.txt or tokenizer.json", str(bare / "roberta-base"), "tokenizer="):
            assert word in str(caught.value)
        assert "MUSICEVAL_ROBERTA" in str(caught.value)

        cached = bare / "hub" / "models--roberta-base"
        write_roberta_tokenizer(cached / "snapshots" / "abc")
        (cached / "refs").mkdir()
        write_bytes(cached / "refs" / "main", b"abc")
        digest = LaionClapEncoder(path).describe("text")["tokenizer_sha256"]

        digests = [digest]
        folders = [bare / "roberta-base", bare / "from environment", bare / "from argument"]
        for count, folder in enumerate(folders, start=1):
            write_roberta_tokenizer(folder)
            with (folder / "merges.txt").open("a") as file:
                file.write("z z\n" * count)
            if count == 2:
                monkeypatch.setenv("MUSICEVAL_ROBERTA", str(folder))
            argument = folder if count == 3 else None
            digests.append(LaionClapEncoder(path, tokenizer=argument).describe("text")["tokenizer_sha256"])
        assert len(set(digests)) == 4

    def test_names_a_tokenizer_folder_without_the_files(self, bare):
        path = write_bytes(bare / "clap.pt")
        with pytest.raises(
            CheckpointError, match="nothing: not a tokenizer folder; expected vocab.json and merges.txt"
        ):
            LaionClapEncoder(path, tokenizer=bare / "nothing").describe("text")


@pytest.fixture
def load():
    """Make a function of prompts out of a tokenizer's folder."""
    from musiceval_sk.features.encoders.clap.checkpoint import find_tokenizer, load_tokenizer, tokenize

    def load(folder, vocab_size=VOCAB_SIZE):
        made = load_tokenizer(find_tokenizer(folder, [folder / "clap.pt"]), vocab_size, "hf-clap", "hf")
        return lambda prompts: tokenize(made, prompts)

    return load


@needs_clap
class TestTokenizer:
    def test_gives_the_ids_that_transformers_gives(self, load, tokenizer):
        ids, mask = load(tokenizer)(PROMPTS)
        theirs = own_tokenizer(tokenizer)(PROMPTS, padding="max_length", truncation=True, max_length=77)
        assert ids.tolist() == theirs["input_ids"] and mask.tolist() == theirs["attention_mask"]

    def test_reads_tokenizer_json_as_well(self, load, tokenizer, tmp_path):
        own_tokenizer(tokenizer).backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
        np.testing.assert_array_equal(load(tmp_path)(PROMPTS)[0], load(tokenizer)(PROMPTS)[0])

    def test_must_be_readable(self, load, tmp_path):
        write_bytes(tmp_path / "vocab.json")
        write_bytes(tmp_path / "merges.txt")
        with pytest.raises(CheckpointError, match="merges.txt: not a tokenizer that can be read"):
            load(tmp_path)

    def test_must_be_robertas(self, load, tmp_path):
        folder = write_roberta_tokenizer(tmp_path)
        vocab = (folder / "vocab.json").read_text("utf-8")
        (folder / "vocab.json").write_text(vocab.replace("<pad>", "[PAD]"), encoding="utf-8")
        with pytest.raises(
            CheckpointError, match="not RoBERTa's tokenizer; its special tokens are .*'<pad>': None"
        ):
            load(folder)

    def test_must_belong_to_the_checkpoint(self, load, tokenizer):
        with pytest.raises(CheckpointError, match="273 tokens, but the checkpoint's text tower knows 200"):
            load(tokenizer, vocab_size=200)


class TestArguments:
    def test_amodel_is_one_of_three(self):
        with pytest.raises(
            ValueError, match="unknown amodel 'PANN-14'; choose from HTSAT-tiny, HTSAT-base, HTSAT-large"
        ):
            LaionClapEncoder(amodel="PANN-14")

    def test_batch_size_is_positive(self):
        with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
            LaionClapEncoder(batch_size=0)

    @pytest.mark.parametrize("shape", [(LENGTH,), (2, 160_000), (1, 2, LENGTH)])
    def test_windows_have_one_shape(self, shape):
        with pytest.raises(ValueError, match=r"expected windows of shape \(n, 480000\).*encoder.cut"):
            LaionClapEncoder().encode_audio(np.zeros(shape, dtype=np.float32))

    def test_prompts_are_no_single_string(self):
        with pytest.raises(ValueError, match="got the string 'calm piano'; pass"):
            LaionClapEncoder().encode_text("calm piano")

    def test_device_must_be_there(self, windows):
        import torch

        with pytest.raises(ValueError, match="device='quantum' is no name that torch knows"):
            LaionClapEncoder(device="quantum").encode_audio(windows[:1])
        absent = f"cuda:{torch.cuda.device_count()}"
        with pytest.raises(ValueError, match=f"device='{absent}' was asked for, but torch sees"):
            LaionClapEncoder(device=absent).encode_audio(windows[:1])
