"""`reproduce` with CLAP's towers trained, on made data and a small CLAP: by hand, after a kill, and what is refused."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from musiceval_sk import CLAPFineTuneRegressor, SkippedWarning, get_encoder, load_musiceval, reproduce
from musiceval_sk.cli.app import app
from musiceval_sk.features.encoders.clap import hf_clap
from musiceval_sk.features.encoders.clap.hf_clap import HfClapEncoder
from musiceval_sk.finetuning.loop import Training
from musiceval_sk.reproduction.protocols import PROTOCOLS, tuned_protocol
from musiceval_sk.reproduction.result import ReproductionResult
from tests.clap_files import write_transformers_folder
from tests.made_musiceval import make_musiceval

pytest.importorskip("transformers", reason="transformers (the extra 'hf') is not installed")
TARGETS = ["impression", "alignment"]
# So small a data set has few systems in its test list, and two epochs are over before training stops by itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*systems:musiceval_sk.exceptions.FewSystemsWarning")
OFFICIAL = replace(
    PROTOCOLS["frozen"], name="own", scaled=False, hidden_layer_sizes=(8,), max_iter=2, batch_size=4
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "MusicEval-full"
    return make_musiceval(root, n_systems=2, n_prompts=5, n_demo_clips=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_transformers_folder(tmp_path_factory.mktemp("hf"), spec_size=128, window_size=4)


@pytest.fixture(scope="module")
def encoder(folder):
    """CLAP on windows of 1 s, for speed."""
    encoder = HfClapEncoder(folder, device="cpu")
    encoder.window_seconds = encoder.hop_seconds = 1.0
    return encoder


def tune(root, encoder, protocol=OFFICIAL, finetune="last_blocks", **options):
    given = {"counts": None, "n_seeds": 1, "n_resamples": 20, "finetune": finetune}
    return reproduce(root, protocol, encoder=encoder, **given | options)


def predictions_of(found, seed):
    chosen = found.predictions[found.predictions["row"] == f"seed {seed}"]
    return chosen.pivot(index="clip_id", columns="target", values="prediction")[TARGETS]


@pytest.fixture(scope="module")
def undisturbed(made, encoder):
    return tune(made.folder, encoder, n_seeds=2)


@pytest.mark.slow
def test_it_predicts_what_the_estimator_does(undisturbed, made, encoder):
    clips = load_musiceval(made.folder, counts=None).sort_index()
    train, dev, test = (clips[clips["split"] == name] for name in ("train", "dev", "test"))
    by_hand = CLAPFineTuneRegressor.from_protocol(
        "paper",
        **{
            "encoder": encoder,
            "train": "last_blocks",
            "hidden_layer_sizes": (8,),
            "batch_size": 4,
            "max_iter": 2,
            "random_state": 1,
        },
    )
    with pytest.warns(UserWarning, match="epochs"):
        by_hand.fit(train, train[TARGETS], clips_val=dev, y_val=dev[TARGETS])
    np.testing.assert_array_equal(predictions_of(undisturbed, 1).loc[test.index], by_hand.predict(test))
    assert undisturbed.about["tuned"]["1"] == by_hand.fingerprint_ != undisturbed.about["tuned"]["0"]


def test_the_table_says_that_clap_was_trained_and_how(undisturbed, made):
    n_dev = len((made.folder / "sets" / "dev_mos_list.txt").read_text().splitlines())
    printed = str(undisturbed)
    assert printed.startswith(
        "MusicEval, protocol 'own + last_blocks': CLAP FINE-TUNED IN MODE 'LAST_BLOCKS', IN PART, NOT THE PAPER'S WHOLE TOWERS"
    )
    training = undisturbed.about["training"]
    assert training["mode"] == "last_blocks" and training["n_blocks"] == 2
    assert (
        "CLAP was trained with the heads, mode 'last_blocks', n_blocks 2: "
        f"{training['tuned_weights']:,} of the towers' weights, in float32 on cpu\n"
        "  L1, SGD with step 0.0005 and momentum 0.9, batches of 4 clips; stopped after 20 epochs without improvement on "
        f"{n_dev} clips of the dev list\n"
    ) in printed
    assert "Note: seed 0: 2 epochs passed before training stopped by itself" in printed
    assert (
        "stay frozen" not in printed and "only the last blocks and what follows them are trained" in printed
    )
    rows = undisturbed.scores("alignment").index.tolist()
    assert rows[-3:] == ["seed 0", "seed 1", "own + last_blocks, mean of 2 seeds"]
    assert {"paper, Table I", "system mean"} <= set(rows)


@pytest.mark.slow
def test_after_a_kill_it_goes_on_from_its_checkpoints(undisturbed, made, encoder, tmp_path, monkeypatch):
    """Killed in the second seed's last epoch; the call again makes that epoch and decodes nothing."""
    steps, whole = [], Training._step

    def counted(training, rows, micro_batch_size):
        if len(steps) == limit:
            raise KeyboardInterrupt
        steps.append(rows)
        return whole(training, rows, micro_batch_size)

    monkeypatch.setattr(Training, "_step", counted)
    n_train = undisturbed.about["split"]["train"]
    epoch = -(-n_train // 4)
    limit = 2 * 2 * epoch - 1
    options = {"n_seeds": 2, "checkpoints": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        tune(made.folder, encoder, **options)
    steps.clear()
    limit = None
    monkeypatch.setattr("musiceval_sk.finetuning.batches.decode", None)  # would fail if it were called
    found = tune(made.folder, encoder, **options)
    assert len(steps) == epoch
    pd.testing.assert_frame_equal(found.predictions, undisturbed.predictions)
    pd.testing.assert_frame_equal(found.table, undisturbed.table)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["own-last_blocks-seed-0.safetensors", "own-last_blocks-seed-1.safetensors", "sounds"]


def test_a_clip_that_cannot_be_read_is_left_out_and_named(encoder, tmp_path):
    root = make_musiceval(tmp_path / "MusicEval-full", n_systems=2, n_prompts=5, n_demo_clips=1).folder
    name = (root / "sets" / "train_mos_list.txt").read_text().split(",")[0]
    (root / "wav" / name).write_bytes(b"no sound")
    with (
        pytest.warns(UserWarning, match="differs from MusicEval"),
        pytest.warns(SkippedWarning, match=r"skipped 1 of \d+ clips: .*" + name),
    ):
        found = tune(root, encoder, replace(OFFICIAL, max_iter=1))
    assert any(note.startswith(f"left out, {root / 'wav' / name}: ") for note in found.notes)


def test_the_command_line_is_the_python_call(made, folder, tmp_path, monkeypatch):
    """The default is the paper's protocol, without epochs enough to learn anything."""
    monkeypatch.setitem(PROTOCOLS, "paper", replace(PROTOCOLS["paper"], max_iter=1))
    monkeypatch.setattr(HfClapEncoder, "window_seconds", 1.0)
    monkeypatch.setattr(HfClapEncoder, "hop_seconds", 1.0)
    options = ("--finetune", "last-blocks", "--blocks", 1, "--encoder", "hf-clap", "--device", "cpu")
    options = (*options, "--precision", "bfloat16")
    sizes = ("--any-size", "--seeds", 1, "--resamples", 20, "--out", tmp_path)
    arguments = ("reproduce", made.folder, "--checkpoint", folder, *options, *sizes)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    written = ReproductionResult.from_json(tmp_path / "reproduction.json")
    assert (
        written.about["protocol"]["name"] == "paper + last_blocks"
        and written.about["training"]["n_blocks"] == 1
    )
    assert "stopped after 20 epochs without improvement on a tenth of the training clips" in result.stdout
    assert (tmp_path / "checkpoints" / "paper-last_blocks-seed-0.safetensors").exists()
    found = tune(
        made.folder,
        "hf-clap",
        None,
        encoder_options={"checkpoint": folder, "device": "cpu"},
        device="cpu",
        finetune_options={"n_blocks": 1, "precision": "bfloat16"},
    )
    assert "Note: the towers' products were computed in bfloat16 while they were trained" in result.stdout
    pd.testing.assert_frame_equal(found.table, written.table, check_dtype=False)
    pd.testing.assert_frame_equal(found.predictions, written.predictions)
    assert json.loads(json.dumps(found.about | {"made": ""})) == written.about | {"made": ""}


@pytest.mark.slow
def test_released_hears_test_clips_in_their_own_way(made, folder, monkeypatch):
    """Zeros follow a short clip in training, and repetitions in the test, through the towers that were trained."""
    monkeypatch.setattr(hf_clap, "_READ_AS_48K_SECONDS", 3.0)  # in which a clip of 1 s fits three times
    protocol = replace(PROTOCOLS["released"], max_iter=1)
    options = {"checkpoint": folder, "device": "cpu"}
    found = tune(made.folder, "hf-clap", protocol, encoder_options=options, finetune_options={"n_blocks": 1})
    heard = [found.about["encoders"][purpose]["audio"]["sound"] for purpose in ("training", "test")]
    assert heard == ["16k-padded", "16k-repeated"]
    clips = load_musiceval(made.folder, counts=None).sort_index()
    train, dev, test = (clips[clips["split"] == name] for name in ("train", "dev", "test"))
    by_hand = CLAPFineTuneRegressor.from_protocol(
        "paper",
        encoder=get_encoder("hf-clap", sound="16k-padded", **options),
        **{"train": "last_blocks", "n_blocks": 1, "activation": "identity", "max_iter": 1, "random_state": 0},
    )
    with pytest.warns(UserWarning, match="epochs"):
        by_hand.fit(train, train[TARGETS], clips_val=dev, y_val=dev[TARGETS])
    padded = by_hand.predict(test)
    by_hand.encoder_ = get_encoder("hf-clap", sound="16k-repeated", **options)
    np.testing.assert_array_equal(predictions_of(found, 0).loc[test.index], by_hand.predict(test))
    assert np.abs(predictions_of(found, 0).loc[test.index] - padded).to_numpy().max() > 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"finetune": "frozen"}, "finetune='frozen' trains no towers; leave finetune out"),
        ({"finetune": "all"}, "unknown finetune 'all'; choose from full, last_blocks, lora"),
        (
            {"protocol": "frozen"},
            "protocol 'frozen' scales CLAP's vectors, which .* move .* choose protocol 'paper' or",
        ),
        (
            {"protocol": replace(OFFICIAL, pooling="max")},
            "protocol 'own' pools windows by 'max' .* with finetune .* set scaled=False and pooling='mean'",
        ),
        ({"cache": "e.h5"}, "cache='e.h5' does not go with finetune: a store keeps vectors of frozen towers"),
        ({"device": "cuda"}, "device='cuda' does not go with finetune, .*: give the encoder that device"),
        (
            {"finetune_options": {"batch_size": 8}},
            "does not take batch_size, only n_blocks, .* dataclasses.replace",
        ),
        ({"finetune_options": {"lora_rank": 4}}, "lora_rank counts with finetune='lora' alone"),
        ({"finetune_options": {"precision": "int8"}}, "'precision' .* Got 'int8'"),
        (
            {"encoder": "spectral"},
            "'spectral' has no towers that could be trained; 'laion-clap' and 'hf-clap' have",
        ),
        ({"finetune": None, "checkpoints": "kept"}, "checkpoints='kept' goes with finetune alone"),
        (
            {"finetune": None, "finetune_options": {"n_blocks": 1}},
            "finetune_options=.* goes with finetune alone",
        ),
    ],
)
def test_what_cannot_go_together_is_refused_before_anything_is_read(options, words):
    given = {"protocol": OFFICIAL, "encoder": "hf-clap", "finetune": "last_blocks"}
    with pytest.raises(ValueError, match=words):
        reproduce("no such folder", **given | options)


@pytest.mark.skipif(importlib.util.find_spec("peft") is not None, reason="peft is installed")
def test_lora_without_peft_says_what_to_install():
    with pytest.raises(
        ImportError, match=r"finetune='lora' needs the package 'peft'.*pip install .*peft>=0.21"
    ):
        reproduce("no such folder", OFFICIAL, encoder="hf-clap", finetune="lora")


def test_deviations_are_those_of_trained_towers():
    for name in ("paper", "released"):
        frozen, full, lora = (
            PROTOCOLS[name],
            *(tuned_protocol(PROTOCOLS[name], mode) for mode in ("full", "lora")),
        )
        assert full.stop_together and full.name == f"{name} + full"
        text = " ".join(full.deviations)
        assert "stay frozen" not in text and "at its own best epoch" not in text and "evaluation mode" in text
        assert set(frozen.deviations[1:]) - set(full.deviations) <= {
            "Each head stops at its own best epoch; the paper does not say."
        }
        assert set(lora.deviations) - set(full.deviations) == {lora.deviations[0]}
        assert "only adapters" in lora.deviations[0]
