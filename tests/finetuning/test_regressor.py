"""`CLAPFineTuneRegressor` on a small CLAP of the true architecture, written by transformers."""

import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import cross_val_predict

from musiceval_sk import CLAPFineTuneRegressor, ClipEmbedder, MOSRegressor, load_model
from musiceval_sk.estimators import regressor as heads_module
from musiceval_sk.estimators import training as _training
from musiceval_sk.exceptions import AudioError, ClipsTableError, ModelFileError
from musiceval_sk.features.encoders.clap.hf_clap import HfClapEncoder
from musiceval_sk.finetuning import loop
from musiceval_sk.finetuning import regressor as finetune
from musiceval_sk.finetuning.batches import ClipBatches
from musiceval_sk.finetuning.loop import Training
from tests.clap_files import write_clap_checkpoint, write_roberta_tokenizer, write_transformers_folder

pytest.importorskip("transformers", reason="transformers (the extra 'hf') is not installed")
needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft (the extra 'finetune') is not installed"
)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {
    "hidden_layer_sizes": (16, 8),
    "batch_size": 4,
    "max_iter": 2,
    "learning_rate_init": 0.01,
    "random_state": 3,
}


def make_encoder(folder):
    """CLAP on windows of 1 s, for speed; its pictures of spectrograms are a quarter of the usual size."""
    encoder = HfClapEncoder(folder, device="cpu")
    encoder.window_seconds = encoder.hop_seconds = 1.0
    return encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_transformers_folder(tmp_path_factory.mktemp("hf"), spec_size=128, window_size=4)


@pytest.fixture(scope="module")
def encoder(folder):
    return make_encoder(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Nine clips of three loudnesses, one of them of two windows; both scores follow the loudness."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    rows, scores = [], []
    for i in range(9):
        path = folder / f"{i}.wav"
        seconds = 1.5 if i == 4 else 0.5
        noise = rng.normal(size=round(seconds * 8000)) * 10.0 ** (i % 3 - 3)
        soundfile.write(path, noise.astype(np.float32), 8000, subtype="FLOAT")
        rows.append((f"clip{i}", str(path), ["calm piano", "drums", "piano"][i % 3], f"S{i % 3}"))
        scores.append((1.5 + i % 3, 4.5 - i % 3 - 0.1 * (i // 3)))
    clips = pd.DataFrame(rows, columns=["clip_id", "path", "prompt", "system"]).set_index("clip_id")
    return clips, pd.DataFrame(scores, columns=["impression", "alignment"], index=clips.index)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return tmp_path_factory.mktemp("decoded")


@pytest.fixture
def make(encoder, sounds):
    def make(train="full", **parameters):
        options = {"encoder": encoder, "train": train, "sounds_dir": sounds}
        return CLAPFineTuneRegressor.from_protocol("paper", **options, **SMALL | parameters)

    return make


@pytest.fixture(scope="module")
def full(encoder, sounds, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        options = {"encoder": encoder, "sounds_dir": sounds}
        return CLAPFineTuneRegressor.from_protocol("paper", **options, **SMALL).fit(*data)


@pytest.fixture(scope="module")
def X(encoder, data, tmp_path_factory):
    """The clips as `ClipEmbedder` embeds them, by its own way."""
    embedder = ClipEmbedder(encoder, cache=tmp_path_factory.mktemp("cache") / "embeddings.h5")
    return embedder.set_output(transform="pandas").fit_transform(data[0])


def weights_of(regressor):
    heads = regressor.heads_
    arrays = [array for kind in (heads.coefs_, heads.intercepts_) for head in kind for array in head]
    return {**regressor.tuned_parameters_, **{f"heads.{i}": array for i, array in enumerate(arrays)}}


def assert_equal_fits(one, other, atol=0.0):
    weights, others = weights_of(one), weights_of(other)
    assert weights.keys() == others.keys()
    for name, array in weights.items():
        np.testing.assert_allclose(array, others[name], rtol=0, atol=atol, err_msg=name)
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=0, atol=atol)


def begun(regressor, clips, y, **options):
    """Training as `fit` begins it, before the first step."""

    class Begun(Exception):
        pass

    def stop(training, *_, **__):
        raise Begun(training)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Begun) as caught:
        patch.setattr(Training, "run", stop)
        regressor.fit(clips, y, **options)
    return caught.value.args[0]


def base_weights(encoder):
    return {name: weight.detach().numpy() for name, weight in encoder.trainable().named_parameters()}


as_memory_allows = ClipBatches.as_memory_allows


def as_if_on_a_gpu(self, run):
    """Choose how many clips are computed at once as on a GPU, and compute on the CPU."""
    device, self.device = self.device, torch.device("cuda")

    def on_cpu(*given):
        self.device = device
        return run(*given)

    return as_memory_allows(self, on_cpu)


class TestFrozen:
    @pytest.mark.parametrize(
        "options",
        [{}, {"early_stopping": False}, {"alpha": 0.1, "momentum": 0.5, "activation": "identity"}],
    )
    @pytest.mark.slow
    def test_equals_the_heads_alone_on_extracted_vectors(self, make, data, X, options):
        clips, y = data
        ours = make("frozen", **options).fit(clips, y)
        heads = MOSRegressor.from_protocol("paper", stop_together=True, **SMALL | options).fit(X, y)
        np.testing.assert_allclose(ours.predict(clips), heads.predict(X), rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours.loss_curve_, heads.loss_curve_, rtol=0, atol=1e-4)
        assert ours.heads_.best_iteration_.tolist() == heads.best_iteration_.tolist()
        assert not np.allclose(weights_of(ours)["heads.0"], 0)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:early stopping goes by")
    def test_equals_them_with_weights_groups_and_clips_to_judge_by(self, make, data, X):
        clips, y = data
        weights = np.arange(1.0, 10.0)
        ours = make("frozen").fit(clips, y, weights, clips["system"])
        heads = MOSRegressor.from_protocol("paper", stop_together=True, **SMALL).fit(
            X, y, weights, clips["system"]
        )
        np.testing.assert_allclose(ours.predict(clips), heads.predict(X), rtol=0, atol=1e-4)
        ours = make("frozen").fit(clips[:6], y[:6], clips_val=clips[6:], y_val=y[6:])
        heads = MOSRegressor.from_protocol("paper", stop_together=True, **SMALL).fit(
            X[:6], y[:6], X_val=X[6:], y_val=y[6:]
        )
        np.testing.assert_allclose(ours.predict(clips), heads.predict(X), rtol=0, atol=1e-4)

    def test_equals_them_when_sounds_go_through_the_towers_at_every_step(self, make, data, X, monkeypatch):
        clips, y = data
        passed = []
        kept = ClipBatches._embed

        def noted(self, windows, rows, dtype):
            passed.append(len(windows))
            return kept(self, windows, rows, dtype)

        expected = make("frozen").fit(clips, y).predict(clips)
        monkeypatch.setattr(ClipBatches, "_embed", noted)
        monkeypatch.setattr(loop, "choose_weights", lambda *_: {})
        ours = make().fit(clips, y)
        np.testing.assert_allclose(ours.predict(clips), expected, rtol=0, atol=1e-4)
        assert (
            sum(passed) == (1 + 2 + 1) * 10
        )  # 9 clips of 10 windows in all: before, in 2 epochs, to predict

    def test_names_the_vectors_as_the_encoder_does(self, make, data, X):
        ours = make("frozen", max_iter=1).fit(*data)
        assert X.attrs["encoder_fingerprint"] == f"{ours.fingerprint_} (pooling mean by new sound)"
        embedded = ours.embed(data[0])
        np.testing.assert_allclose(embedded, X, rtol=0, atol=1e-5)
        # Towers that are trained for scores need share no space of sound and text.
        assert embedded.attrs == {"encoder_fingerprint": X.attrs["encoder_fingerprint"]}


class TestStartAndMembers:
    """What `MOSRegressor` has by default and the paper has not, on towers that all heads share."""

    NEW: ClassVar = {"standardize": True, "validation_fraction": 0.2}

    def test_heads_begin_at_the_weighted_median(self, make, data):
        clips, y = data
        weights = np.array(
            [1, 1, 5, 1, 1, 5, 1, 1, 5.0]
        )  # clips of the highest impression, the lowest alignment
        still = {"learning_rate_init": 1e-12, "max_iter": 1, "early_stopping": False, "n_ensemble": 2}
        mean, spread = make(**self.NEW, **still).fit(clips, y, weights).predict(clips, return_std=True)
        # Half of the weight, 10.5 of 21, is reached at 3.5 (3, 3, 15 at 1.5, 2.5, 3.5) and at 2.5 (5 each at 2.3, 2.4 and 2.5).
        np.testing.assert_allclose(mean, np.tile([3.5, 2.5], (9, 1)), rtol=0, atol=1e-6)
        np.testing.assert_allclose(spread, 0, atol=1e-6)

    @pytest.mark.filterwarnings("ignore:early stopping goes by")
    def test_frozen_is_mosregressor_with_the_same_start_hold_out_and_members(self, make, data, X):
        clips, y = data
        ours = make("frozen", n_ensemble=3, **self.NEW).fit(clips, y, groups=clips["system"])
        options = SMALL | self.NEW | {"standardize": "scores", "n_ensemble": 3, "stop_together": True}
        heads = MOSRegressor.from_protocol("paper", **options).fit(X, y, groups=clips["system"])
        for found, expected in zip(ours.predict(clips, True), heads.predict(X, True), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)

    def test_the_loop_through_the_towers_trains_each_member_as_if_alone(self, make, data, monkeypatch):
        """Towers that stand still: the first of two members is the one of one, which is that of the heads alone."""
        options = self.NEW | {"early_stopping": False}
        alone = weights_of(make("frozen", **options).fit(*data))
        monkeypatch.setattr(loop, "choose_weights", lambda *_: {})
        one, two = (weights_of(make(n_ensemble=n, **options).fit(*data)) for n in (1, 2))
        for name, array in one.items():
            np.testing.assert_allclose(array, alone[name], rtol=0, atol=1e-4)
            np.testing.assert_allclose(two[name][:1], array, rtol=0, atol=1e-6)
            assert len(two[name]) == 2

    def test_towers_follow_the_mean_of_the_members(self, make, data, monkeypatch):
        """Three members of equal seeds move the towers as one does, and stay equal."""
        drawn = heads_module.draw_seeds
        monkeypatch.setattr(heads_module, "draw_seeds", lambda *given: np.tile(drawn(*given)[:1], (3, 1)))
        three = make(n_ensemble=3, **self.NEW).fit(*data)
        monkeypatch.undo()
        one = make(**self.NEW).fit(*data)
        for name, array in one.tuned_parameters_.items():
            np.testing.assert_allclose(three.tuned_parameters_[name], array, rtol=0, atol=1e-5, err_msg=name)
        mean, spread = three.predict(data[0], return_std=True)
        np.testing.assert_allclose(mean, one.predict(data[0]), rtol=0, atol=1e-4)
        np.testing.assert_allclose(spread, 0, atol=1e-6)

    def test_protocols_are_what_the_papers_fix(self, encoder):
        paper = CLAPFineTuneRegressor.from_protocol("paper", encoder=encoder, train="lora").get_params()
        fixed = MOSRegressor.from_protocol("paper").get_params()
        assert {name: paper[name] for name in set(fixed) & set(paper)} == {
            name: fixed[name] for name in set(fixed) & set(paper)
        }
        assert (paper["encoder"], paper["train"], paper["standardize"], paper["n_ensemble"]) == (
            encoder,
            "lora",
            False,
            1,
        )
        assert CLAPFineTuneRegressor.from_protocol("released").activation == "identity"
        with pytest.raises(ValueError, match="unknown protocol 'page'"):
            CLAPFineTuneRegressor.from_protocol("page")

    def test_members_are_saved(self, make, data, folder, encoder, tmp_path):
        fitted = make("last_blocks", n_blocks=1, n_ensemble=2, **self.NEW).fit(*data)
        loaded = CLAPFineTuneRegressor.load(fitted.save(tmp_path / "m.safetensors"), make_encoder(folder))
        for found, expected in zip(loaded.predict(data[0], True), fitted.predict(data[0], True), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        assert fitted.predict(data[0], True)[1].min() > 0


class TestModes:
    def test_full_trains_every_weight_that_the_vectors_depend_on(self, full, encoder):
        base, tuned = base_weights(encoder), full.tuned_parameters_
        unused = {"model.logit_scale_a", "model.logit_scale_t"}
        assert set(tuned) == set(base) - unused
        still = [name for name in tuned if np.array_equal(tuned[name], base[name])]
        # A bias of keys shifts all scores of a query alike, which softmax undoes: its gradient is rounding or nothing.
        assert [name for name in still if "key.bias" not in name] == []

    def test_last_blocks_train_only_those_and_what_follows(self, make, data, encoder):
        tuned = make("last_blocks", n_blocks=1, max_iter=1).fit(*data).tuned_parameters_
        text, audio = "model.text_model", "model.audio_model.audio_encoder"
        starts = (
            f"{text}.encoder.layer.1.",
            f"{text}.pooler.",
            "model.text_projection.",
            f"{audio}.layers.3.blocks.0.",
            f"{audio}.norm.",
            "model.audio_projection.",
        )
        assert set(tuned) == {name for name in base_weights(encoder) if name.startswith(starts)}

    def test_more_of_the_last_blocks_take_in_what_joins_them(self, make, encoder):
        network = encoder.trainable()
        chosen = loop.choose_weights(make("last_blocks", n_blocks=2), network, ("audio",), seed=0)
        places = {name.split(".")[4] for name in chosen if ".layers." in name}
        assert places == {"2", "3"}
        assert any(".layers.2.downsample." in name for name in chosen)
        assert not any(".layers.1." in name or "text" in name or "batch_norm" in name for name in chosen)
        assert {name for name, weight in network.named_parameters() if weight.requires_grad} == set(chosen)

    @needs_peft
    def test_lora_trains_only_adapters(self, make, data, encoder):
        regressor = make("lora", lora_rank=2, max_iter=2).fit(*data)
        tuned = regressor.tuned_parameters_
        # Queries, keys and values of 5 blocks of sound and 2 of text, two matrices each.
        assert len(tuned) == (5 + 2) * 3 * 2
        assert all(".lora_" in name and min(array.shape) == 2 for name, array in tuned.items())
        assert all(array.any() for name, array in tuned.items() if "lora_B" in name)  # they begin at zero
        now = {
            name.replace("base_layer.", ""): weight.detach().numpy()
            for name, weight in regressor.network_.named_parameters()
            if "lora_" not in name
        }
        for name, array in base_weights(encoder).items():
            np.testing.assert_array_equal(now[name], array, err_msg=name)

    def test_lora_without_peft_says_what_to_install(self, make, data, monkeypatch):
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(
            ImportError, match=r"train='lora' needs the package 'peft'.*pip install .*peft>=0.21"
        ):
            make("lora").fit(*data)

    def test_impression_alone_leaves_the_text_tower_and_prompts_out(self, make, data):
        clips, y = data
        regressor = make(max_iter=1).fit(clips.drop(columns="prompt"), y["impression"])
        assert regressor.towers_ == ("audio",)
        assert not any("text" in name for name in regressor.tuned_parameters_)
        assert regressor.predict(clips[["path"]]).shape == (9,)

    @pytest.mark.skipif(
        importlib.util.find_spec("laion_clap") is None,
        reason="laion_clap (the extra 'clap') is not installed",
    )
    @pytest.mark.slow
    def test_laions_network_has_the_same_places(self, make, tmp_path):
        from musiceval_sk.features.encoders.clap.laion_clap import LaionClapEncoder

        path = write_clap_checkpoint(tmp_path / "tiny.pt")
        write_roberta_tokenizer(tmp_path / "roberta-base")
        theirs = LaionClapEncoder(path, amodel="HTSAT-tiny", device="cpu").trainable()
        ours = HfClapEncoder(path, device="cpu").trainable()
        counts = []
        for network in (theirs, ours):
            stages = [(network.stage(name), weight.numel()) for name, weight in network.named_parameters()]
            used = [(stage, size) for stage, size in stages if stage is not None]
            table = pd.DataFrame([(*stage, size) for stage, size in used]).groupby([0, 1])[2].sum()
            counts.append(table.to_dict())
        assert counts[0] == counts[1]
        assert len(theirs.attention_layers()) == 12 + 3  # one matrix a block of sound, three a layer of text
        windows = np.random.default_rng(0).normal(size=(1, 480_000)).astype(np.float32) * 0.1
        gradients = []
        for network in (theirs, ours):
            weights = loop.choose_weights(make(), network, ("audio", "text"), seed=0)
            network.embed_audio(windows, "float32")[0, :3].sum().backward()
            network.embed_text(*network.tokenize(["calm piano"]), "float32")[0, :3].sum().backward()
            lacking = [name for name, weight in weights.items() if weight.grad is None]
            assert lacking == []
            gradients.append(sum(float(weight.grad.square().sum()) for weight in weights.values()))
        assert gradients[0] == pytest.approx(gradients[1], rel=1e-3)


class TestTraining:
    @pytest.mark.slow
    def test_loss_falls_and_beats_frozen_towers(self, make, data):
        options = {"max_iter": 15, "early_stopping": False, "batch_size": 9, "learning_rate_init": 0.02}
        tuned, frozen = make(**options).fit(*data), make("frozen", **options).fit(*data)
        assert tuned.loss_curve_[-1] < 0.7 * tuned.loss_curve_[0]
        assert tuned.loss_curve_[-1] < frozen.loss_curve_[-1]

    def test_a_step_is_that_of_a_plain_loop(self, make, data, encoder):
        clips, y = data
        ours = make(max_iter=1, batch_size=9, early_stopping=False).fit(clips, y)
        start = begun(make(max_iter=1, batch_size=9, early_stopping=False), clips, y)
        network, heads = start.source.network, start.heads
        optimizer = torch.optim.SGD(start.weights.values(), lr=0.01, momentum=0.9)
        vectors = []
        for row in range(9):
            windows = start.source._read(np.array([row]))
            weights = torch.from_numpy(start.source._weights[row])
            audio = (network.embed_audio(windows, "float32") * weights[:, None]).sum(0) / weights.sum()
            text = network.embed_text(*network.tokenize([clips["prompt"].iloc[row]]), "float32")[0]
            vectors.append(torch.cat([audio, text]))
        truth = torch.from_numpy(y.to_numpy(np.float32).copy())
        scores = heads(torch.stack(vectors))
        loss = sum(torch.nn.functional.l1_loss(scores[:, i], truth[:, i]) for i in (0, 1))
        loss.backward()
        optimizer.step()
        assert 2 * ours.loss_curve_[0] == pytest.approx(loss.item(), abs=1e-5)
        for name, array in ours.tuned_parameters_.items():
            weight = start.weights[f"towers.{name}"]
            np.testing.assert_allclose(array, weight.detach().numpy(), rtol=0, atol=1e-5, err_msg=name)

    def test_the_result_is_that_of_the_whole_batch_however_few_clips_fit(self, make, data, full, monkeypatch):
        sizes = []
        kept = ClipBatches._embed

        def noted(self, windows, rows, dtype):
            sizes.append(len(rows))
            return kept(self, windows, rows, dtype)

        monkeypatch.setattr(ClipBatches, "_embed", noted)
        one_by_one = make(micro_batch_size=1).fit(*data)
        assert set(sizes) == {1}
        sizes.clear()
        assert_equal_fits(make(micro_batch_size=9).fit(*data), one_by_one, atol=2e-5)
        assert max(sizes) == 9
        assert_equal_fits(full, one_by_one, atol=2e-5)

    @pytest.mark.slow
    def test_parts_are_halved_when_a_gpu_runs_out_of_memory(self, make, data, full, monkeypatch):
        pytest.importorskip("accelerate", reason="accelerate (the extra 'finetune') is not installed")
        kept, allowed, refused = ClipBatches._embed, [2], []

        def tight(self, windows, rows, dtype):
            if len(rows) > allowed[0]:
                refused.append(len(rows))
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return kept(self, windows, rows, dtype)

        monkeypatch.setattr(ClipBatches, "_embed", tight)
        monkeypatch.setattr(ClipBatches, "as_memory_allows", as_if_on_a_gpu)
        assert_equal_fits(make().fit(*data), full, atol=2e-5)
        assert refused == [4, 4]  # before training and in its first step, which is made again
        refused.clear()
        allowed[0] = 0
        with pytest.raises(MemoryError, match="does not hold one clip; train fewer weights"):
            make().fit(*data)
        assert refused == [4, 2, 1]

    def test_a_gpu_without_accelerate_says_what_to_install_or_to_set(self, make, data, monkeypatch):
        monkeypatch.setitem(sys.modules, "accelerate", None)
        monkeypatch.setattr(ClipBatches, "as_memory_allows", as_if_on_a_gpu)
        with pytest.raises(
            ImportError, match=r"micro_batch_size=None\) needs .*pip install .accelerate>=1.8"
        ):
            make().fit(*data)
        make(micro_batch_size=2, max_iter=1).fit(*data)

    def test_stops_early_and_keeps_the_best_epoch(self, make, data):
        regressor = make("frozen", learning_rate_init=0.3, max_iter=50, n_iter_no_change=3).fit(*data)
        best = int(np.argmax(regressor.validation_scores_)) + 1
        assert regressor.best_iteration_ == best
        assert regressor.n_iter_ == best + 3 < 50

    @pytest.mark.filterwarnings("ignore:early stopping goes by")
    def test_holds_out_whole_groups(self, make, data, encoder):
        clips, y = data
        held = begun(make(), clips, y, groups=clips["system"]).task.validation_rows
        assert sorted(held % 3) == [held[0] % 3] * 3  # systems take turns in the table

    def test_half_precision_comes_close(self, make, data, full):
        for precision in ("bfloat16", "float16"):
            ours = make(precision=precision, max_iter=1).fit(*data)
            assert all(array.dtype == np.float32 for array in ours.tuned_parameters_.values())
            assert ours.loss_curve_[0] == pytest.approx(full.loss_curve_[0], abs=0.05)
            assert ours.loss_curve_[0] != full.loss_curve_[0]

    def test_leaves_the_encoder_and_the_random_state_alone(self, make, data, encoder):
        before, state = encoder.encode_text(["calm piano"]), torch.get_rng_state()
        fingerprint = encoder.fingerprint
        make(max_iter=1).fit(*data)
        np.testing.assert_array_equal(encoder.encode_text(["calm piano"]), before)
        assert encoder.fingerprint == fingerprint
        assert torch.equal(torch.get_rng_state(), state)

    def test_divergence_is_said(self, make, data):
        with pytest.raises(ValueError, match="training diverged .* lower learning_rate_init"):
            make("frozen", learning_rate_init=1e30, early_stopping=False).fit(*data)


SCRIPT = """
import json, sys
import pandas as pd
from musiceval_sk import CLAPFineTuneRegressor
from tests.finetuning.test_regressor import make_encoder
given = json.loads(sys.argv[1])
clips, y = pd.read_json(given["clips"]), pd.read_json(given["y"])
given["parameters"]["hidden_layer_sizes"] = tuple(given["parameters"]["hidden_layer_sizes"])
CLAPFineTuneRegressor.from_protocol("paper", encoder=make_encoder(given["folder"]), **given["parameters"]).fit(clips, y)
"""


class TestResume:
    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
    @pytest.mark.slow
    def test_a_killed_fit_goes_on_to_the_same_bits(self, make, data, folder, sounds, tmp_path):
        clips, y = data
        options = {"max_iter": 8, "n_iter_no_change": 8}
        path = tmp_path / "state.safetensors"
        clips.to_json(tmp_path / "clips.json"), y.to_json(tmp_path / "y.json")
        parameters = {
            **SMALL,
            **options,
            "checkpoint": str(path),
            "sounds_dir": str(sounds),
        }
        given = {"clips": str(tmp_path / "clips.json"), "y": str(tmp_path / "y.json")}
        given |= {"folder": str(folder), "parameters": parameters}
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(given)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
        )
        seen, deadline = set(), time.monotonic() + 120
        while len(seen) < 4 and child.poll() is None and time.monotonic() < deadline:
            if path.exists():
                seen.add(path.stat().st_mtime_ns)
            time.sleep(0.002)
        child.kill()
        assert child.wait() == -signal.SIGKILL
        left = make(**options, checkpoint=path)
        epochs = []
        kept = Training.run

        def noted(self, *given, **options):
            epochs.append(self.n_epochs)
            return kept(self, *given, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Training, "run", noted)
            patch.setattr(ClipBatches, "embed", lambda *_: pytest.fail("vectors were computed again"))
            left.fit(clips, y)
        assert 3 <= epochs[0] < 8
        whole = make(**options).fit(clips, y)
        assert_equal_fits(left, whole)
        assert left.validation_scores_ == whole.validation_scores_
        assert left.fingerprint_ == whole.fingerprint_

    @pytest.mark.parametrize("stop_at", [0, 1, 2, 3])
    def test_goes_on_from_its_last_epoch_wherever_it_was_stopped(
        self, make, data, full, tmp_path, monkeypatch, stop_at
    ):
        """Two epochs of two steps each."""
        path, made, kept = tmp_path / "state.safetensors", [], Training._step

        def interrupted(self, *given):
            if len(made) == stop_at:
                raise KeyboardInterrupt
            made.append(given)
            return kept(self, *given)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Training, "_step", interrupted)
            make(checkpoint=path).fit(*data)
        monkeypatch.setattr(Training, "_step", lambda *given: made.append(given) or kept(*given))
        made.clear()
        assert_equal_fits(make(checkpoint=path).fit(*data), full)
        assert len(made) == (4 if stop_at < 2 else 2)

    @pytest.mark.slow
    def test_goes_on_with_float16_and_without_clips_to_judge_by(self, make, data, tmp_path, monkeypatch):
        """The scale of gradients and both curves are kept, too."""
        options = {
            "precision": "float16",
            "early_stopping": False,
            "checkpoint": tmp_path / "state.safetensors",
        }
        whole = make(**options | {"checkpoint": None}).fit(*data)
        with monkeypatch.context() as patch:
            patch.setattr(Training, "goes_on", property(lambda self: self.n_epochs < 1))
            make(**options | {"checkpoint": tmp_path / "other.safetensors"}).fit(*data)
        assert_equal_fits(make(**options | {"checkpoint": tmp_path / "other.safetensors"}).fit(*data), whole)

    def test_a_finished_fit_is_not_made_again(self, make, data, tmp_path, monkeypatch):
        path = tmp_path / "state.safetensors"
        first = make(checkpoint=path, random_state=None).fit(*data)
        monkeypatch.setattr(Training, "_step", lambda *_: pytest.fail("a step was made"))
        assert_equal_fits(make(checkpoint=path, random_state=None).fit(*data), first)

    def test_frozen_towers_embed_once_and_keep_their_seed(self, make, data, tmp_path, monkeypatch):
        path = tmp_path / "state.safetensors"
        first = make("frozen", checkpoint=path, random_state=None).fit(*data)
        monkeypatch.setattr(ClipBatches, "embed", lambda *_: pytest.fail("vectors were computed again"))
        assert_equal_fits(make("frozen", checkpoint=path, random_state=None).fit(*data), first)

    def test_another_fits_checkpoint_is_refused(self, make, data, tmp_path):
        path = tmp_path / "state.safetensors"
        clips, y = data
        make("frozen", max_iter=1, checkpoint=path).fit(clips, y)
        with pytest.raises(
            ModelFileError, match=r"of another fit, whose max_iter \(1 in the file, 2 now\) differ"
        ):
            make("frozen", max_iter=2, checkpoint=path).fit(clips, y)
        with pytest.raises(ModelFileError, match=r"whose y \("):
            make("frozen", max_iter=1, checkpoint=path).fit(clips, y + 0.1)

    def test_a_damaged_checkpoint_is_refused(self, make, data, tmp_path):
        path = tmp_path / "state.safetensors"
        make("frozen", max_iter=1, checkpoint=path).fit(*data)
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="damaged"):
            make("frozen", max_iter=1, checkpoint=path).fit(*data)


class TestKeeping:
    def test_saves_and_loads(self, full, data, encoder, folder, tmp_path):
        path = full.save(tmp_path / "tuned.safetensors", about={"data": "noise"})
        loaded = CLAPFineTuneRegressor.load(path, make_encoder(folder))
        np.testing.assert_array_equal(loaded.predict(data[0]), full.predict(data[0]))
        again = load_model(path, encoder=make_encoder(folder))
        np.testing.assert_array_equal(again.predict(data[0]), full.predict(data[0]))
        assert loaded.fingerprint_ == full.fingerprint_
        assert loaded.get_params()["batch_size"] == 4
        assert loaded.loss_curve_ == full.loss_curve_
        assert path.stat().st_size < 1.5 * sum(array.nbytes for array in weights_of(full).values())

    def test_refuses_another_base(self, full, tmp_path, tmp_path_factory):
        path = full.save(tmp_path / "tuned.safetensors")
        other = write_transformers_folder(
            tmp_path_factory.mktemp("other"), seed=1, spec_size=128, window_size=4
        )
        with pytest.raises(ModelFileError, match="was trained from another encoder .*checkpoint_sha256"):
            CLAPFineTuneRegressor.load(path, make_encoder(other))

    def test_refuses_other_files(self, make, data, full, encoder, tmp_path):
        heads = full.heads_.save(tmp_path / "heads.safetensors")
        with pytest.raises(ModelFileError, match=r"not one that CLAPFineTuneRegressor.save wrote"):
            CLAPFineTuneRegressor.load(heads, encoder)
        with pytest.raises(ModelFileError, match="no such model file"):
            CLAPFineTuneRegressor.load(tmp_path / "none", encoder)

    @needs_peft
    def test_adapters_survive_saving_and_pickling(self, make, data, encoder, tmp_path):
        regressor = make("lora", max_iter=1).fit(*data)
        expected = regressor.predict(data[0])
        loaded = CLAPFineTuneRegressor.load(regressor.save(tmp_path / "lora.safetensors"), encoder)
        np.testing.assert_array_equal(loaded.predict(data[0]), expected)
        copied = pickle.loads(pickle.dumps(regressor))
        assert "network_" not in vars(copied)
        np.testing.assert_array_equal(copied.predict(data[0]), expected)

    def test_tuned_vectors_have_a_name_of_their_own(self, full, data, X):
        embedded = full.embed(data[0])
        assert list(embedded.index) == list(data[0].index)
        assert list(embedded.columns[[0, 32]]) == ["audio_0", "text_0"]
        assert embedded.attrs["encoder_fingerprint"] == f"{full.fingerprint_} (pooling mean by new sound)"
        assert embedded.attrs != X.attrs
        with pytest.raises(ModelFileError, match="encoder"):
            full.heads_.predict(X)

    def test_is_an_estimator(self, make, data):
        clips, y = data
        regressor = make("frozen", max_iter=2)
        copied = clone(regressor)
        assert copied.get_params().keys() == regressor.get_params().keys()
        assert copied.encoder.fingerprint == regressor.encoder.fingerprint
        assert cross_val_predict(copied, clips, y["impression"], cv=3).shape == (9,)
        with pytest.raises(NotFittedError):
            regressor.predict(clips)


class TestErrors:
    @pytest.mark.parametrize(
        "parameters, words",
        [
            ({"train": "all"}, "'train' .* must be a str among .*'lora'.* Got 'all'"),
            ({"precision": "int8"}, "'precision' .* Got 'int8'"),
            ({"n_blocks": 0}, r"'n_blocks' .* \[1, inf\). Got 0"),
            ({"train": "last_blocks", "n_blocks": 9}, "the audio tower has 5 blocks"),
            ({"lora_alpha": 0}, r"'lora_alpha' .* \(0.0, inf\). Got 0"),
            ({"micro_batch_size": 0}, r"'micro_batch_size' .* \[1, inf\) or None. Got 0"),
            ({"batch_size": 0}, r"'batch_size' .* \[1, inf\). Got 0"),
            ({"encoder": "spectral"}, "'spectral' has no towers that could be trained"),
        ],
    )
    def test_parameters(self, make, data, parameters, words):
        with pytest.raises(ValueError, match=words):
            make().set_params(**parameters).fit(*data)

    def test_clips(self, make, data):
        clips, y = data
        with pytest.raises(ClipsTableError, match="prompt"):
            make().fit(clips.drop(columns="prompt"), y)
        with pytest.raises(AudioError, match="2 of 9 clips cannot be read, leave them out: .*No such file"):
            make().fit(clips.assign(path=["none.wav", "no.wav", *clips["path"][2:]]), y)
        with pytest.raises(ValueError, match="clips_val and y_val go together, but y_val is missing"):
            make().fit(clips, y, clips_val=clips)
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            make("frozen").fit(clips, y[:5])

    def test_all_is_checked_before_the_encoder_is_made(self, data, monkeypatch):
        clips, y = data
        monkeypatch.setattr(finetune, "get_encoder", lambda *_, **__: pytest.fail("the encoder was made"))
        regressor = CLAPFineTuneRegressor("laion-clap", encoder_options={"checkpoint": "none.pt"})
        with pytest.raises(ValueError, match="'max_iter' .* Got '5'"):
            clone(regressor).set_params(max_iter="5").fit(clips, y)
        with pytest.raises(ClipsTableError, match="prompt"):
            regressor.fit(clips.drop(columns="prompt"), y)
        with pytest.raises(ValueError, match="Input y contains NaN"):
            regressor.fit(clips, y.mask(y == y.iloc[0, 0]))
        with pytest.raises(ValueError, match="has None, nan or an empty text in rows: 8"):
            regressor.fit(clips, y, groups=[*"aabbccdd", None])
        with pytest.raises(ValueError, match="y_val has 1 columns, but y has 2"):
            regressor.fit(clips, y, clips_val=clips, y_val=y["impression"])

    def test_a_failed_refit_leaves_the_old_fit(self, make, data, monkeypatch):
        clips, y = data
        regressor = make("frozen", max_iter=2).fit(clips, y)
        before = regressor.predict(clips)
        monkeypatch.setattr(_training, "mean_curve", lambda *_: pytest.fail("no memory"))
        with pytest.raises(pytest.fail.Exception, match="no memory"):
            regressor.fit(clips, y["impression"])
        assert regressor.target_names_ == ["impression", "alignment"]
        assert np.array_equal(regressor.predict(clips), before)
