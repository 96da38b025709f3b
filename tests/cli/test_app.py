"""The command line as a user meets it: what is printed where, and with which exit status."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from musiceval_sk import ClipEmbedder, MOSRegressor, load_clips, load_model, save_model
from musiceval_sk._files import atomic_write
from musiceval_sk.cli import options
from musiceval_sk.cli.app import _files_at, _kept, app
from musiceval_sk.datasets.synthetic import make_listening_test
from musiceval_sk.scoring.fit import fit_model
from tests.features.encoders.audio_models import write_model

COMMANDS = (
    "demo",
    "extract",
    "study",
    "curve",
    "fit",
    "predict",
    "recalibrate",
    "score",
    "clap-score",
    "ratings",
    "pairs",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    make_listening_test(folder / "test", n_systems=4, n_prompts=4, n_raters=6, seconds=1.0, random_state=0)
    run("extract", folder / "test" / "clips.csv", "--cache", folder / "e.h5")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def data(folder):
    return [
        folder / "test" / "clips.csv",
        "--ratings",
        folder / "test" / "ratings.csv",
        "--cache",
        folder / "e.h5",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example:  musiceval {command}" in result.stdout


def test_no_command_shows_the_commands():
    result = run()
    assert all(command in result.output for command in COMMANDS)


def test_every_option_of_every_command_has_help():
    def commands(group):
        for command in group.commands.values():
            yield from commands(command) if hasattr(command, "commands") else [command]

    found = list(commands(typer.main.get_command(app)))
    assert len(found) == len(COMMANDS) + 14
    for command in found:
        assert command.help and command.epilog.startswith("Example:  musiceval ")
        assert "Parameters" not in command.help
        for option in command.params:
            assert option.help, (command.name, option.name)


def test_console_script_reports_its_version():
    script = Path(sys.executable).with_name("musiceval")
    found = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"musiceval \d+\.\d+\.\d+\S*\n", found.stdout)


@pytest.mark.parametrize("optimized", [(), ("-OO",)])
def test_python_m_is_the_same_command_also_without_docstrings(optimized):
    command = [sys.executable, *optimized, "-m", "musiceval_sk", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"musiceval \d+\.\d+\.\d+\S*\n", found.stdout)


def test_extract_twice_reuses_everything(folder):
    result = run("extract", folder / "test" / "clips.csv", "--cache", folder / "e.h5")
    assert result.exit_code == 0
    assert "audio: 0 stored, 16 reused" in result.stdout
    assert "text: 0 stored, 4 reused" in result.stdout


def test_extract_of_a_folder_with_an_unreadable_file_says_so_and_exits_1(folder, tmp_path):
    shutil.copytree(folder / "test" / "audio", tmp_path / "audio")
    (tmp_path / "audio" / "S09_P01.wav").write_bytes(b"no sound")
    result = run(
        "extract", tmp_path / "audio", "--pattern", "{system}_{prompt_id}", "--cache", tmp_path / "e.h5"
    )
    assert result.exit_code == 1
    assert "audio: 16 stored" in result.stdout
    assert "skipped: 1" in result.stdout
    assert "warning: skipped 1 of 17 clips\n" in result.stderr
    assert result.output.count("S09_P01.wav: not a sound file") == 1
    strict = run("extract", tmp_path / "audio", "--strict", "--cache", tmp_path / "e2.h5")
    assert strict.exit_code == 1
    assert "error: " in strict.stderr and "S09_P01.wav: not a sound file" in strict.stderr


@pytest.mark.slow
def test_study_of_several_splits_and_poolings_keeps_its_fits(folder, tmp_path):
    several = [
        "--cv",
        "system",
        "--cv",
        "prompt",
        "--pooling",
        "mean",
        "--pooling",
        "max",
        "--model",
        "ridge",
    ]
    command = ["study", *data(folder), *several, "--folds", 2, "--target", "impression"]
    command += ["--resamples", 20, "--out", tmp_path]
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "Systems never heard in training" in result.stdout and "Prompts never met" in result.stdout
    assert "ridge (spectral, max)" in result.stdout
    assert "human ceiling" in result.stdout
    kept = sorted(path.name for path in (tmp_path / "fits").glob("*.json"))
    # 2 splits x 2 folds x (3 look-ups + ridge on two poolings)
    assert len(kept) == 2 * 2 * 5
    refused = run(*command)
    assert refused.exit_code == 2 and "study.csv, study.json already; --force" in refused.stderr
    again = run(*command, "--force")
    assert again.stdout == result.stdout
    assert sorted(path.name for path in (tmp_path / "fits").glob("*.json")) == kept


@pytest.mark.slow
def test_a_study_takes_layers_of_a_model_beside_another_encoder(folder, tmp_path):
    pytest.importorskip("transformers", reason="transformers (the extra 'hf') is not installed")
    model = write_model(tmp_path / "w2v2")
    command = [
        "study",
        *data(folder)[:3],
        "--cache",
        tmp_path / "e.h5",
        "--device",
        "cpu",
        "--model",
        "ridge",
    ]
    command += ["--folds", 2, "--target", "alignment", "--resamples", 0, "--encoder", "spectral"]
    for layer in (0, 2):
        command += ["--encoder", f"hf-audio:checkpoint={model},layer={layer}"]
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "ridge (spectral)" in result.stdout
    for layer in (0, 2):
        assert f"ridge (hf-audio:checkpoint={model},layer={layer})" in result.stdout


def test_options_of_an_encoder_come_before_those_that_several_share():
    machine = options.Machine(checkpoint="clap.pt", tokenizer="roberta", device="cpu")
    assert options.split_encoder(
        "hf-audio:checkpoint=a,b,layer=-1,trust_remote_code=true,window_seconds=2.5"
    ) == (
        "hf-audio",
        {"checkpoint": "a,b", "layer": -1, "trust_remote_code": True, "window_seconds": 2.5},
    )
    shared = {"device": "cpu", "checkpoint": "clap.pt", "tokenizer": "roberta"}
    assert machine.given("hf-clap:layer=encoder") == shared | {"layer": "encoder"}
    assert machine.given("hf-audio:checkpoint=a,device=cuda") == {"checkpoint": "a", "device": "cuda"}
    for wrong in ("hf-audio:layer", "hf-audio:=7", "hf-audio:a b=7"):
        with pytest.raises(ValueError, match="is no option=value, such as layer=7"):
            options.split_encoder(wrong)


def test_study_from_a_file(folder, tmp_path):
    clips, *_ = data(folder)
    (tmp_path / "study.toml").write_text(
        f"clips = '{clips}'\nratings = '{clips.with_name('ratings.csv')}'\ncache = '{folder / 'e.h5'}'\n"
        "n_splits = 2\nn_resamples = 0\nmodels = ['ridge']\ntargets = ['alignment']\n"
    )
    result = run("study", tmp_path / "study.toml", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "16 clips of 4 systems" in result.stdout
    assert "alignment: 4 systems are too few to tell which predictor is best." in result.stdout
    assert (tmp_path / "out" / "study.json").exists()
    refused = run("study", tmp_path / "study.toml", "--cv", "prompt", "--seed", 1)
    assert refused.exit_code == 2
    assert (
        "error: --cv, --seed: with a study file only --out, --force, --jobs, --memory and --details are"
        in refused.stderr
    )
    (tmp_path / "wrong.toml").write_text("clip = 'clips.csv'")
    refused = run("study", tmp_path / "wrong.toml")
    assert refused.exit_code == 2
    assert "unknown key 'clip', did you mean 'clips'?" in refused.stderr


@pytest.mark.slow
def test_study_prints_tables_and_writes_files(folder, tmp_path, torch):
    result = run(
        "study",
        *data(folder),
        "--cv",
        "system",
        "--folds",
        2,
        "--target",
        "impression",
        "--out",
        tmp_path,
        "--details",
    )
    assert result.exit_code == 0, result.output
    for model in (
        "global mean",
        "system mean",
        "prompt mean",
        "ridge",
        "SVR",
        "MOSRegressor (paper)",
        "MOSRegressor",
    ):
        assert model in result.stdout
    assert "0% by system, 100% by prompt" in result.stdout
    assert "audio spectral (" in result.stdout
    scores = pd.read_csv(tmp_path / "study.csv")
    assert set(scores["kind"]) == {"pooled", "mean of folds"} and set(scores["target"]) == {"impression"}
    assert (tmp_path / "study.json").exists()


def test_fit_predict_score(folder, tmp_path, torch):
    model, predictions = tmp_path / "model.skops", tmp_path / "predictions.csv"
    fitted = run("fit", *data(folder), "--out", model, "--members", 2, "--max-iter", 2000)
    assert fitted.exit_code == 0, fitted.output
    assert "fitted on 16 clips, impression, alignment" in fitted.stdout
    predicted = run("predict", model, folder / "test" / "clips.csv", "--out", predictions)
    assert predicted.exit_code == 0, predicted.output
    table = pd.read_csv(predictions, index_col="clip_id")
    assert list(table.columns)[:5] == [
        "system",
        "impression",
        "alignment",
        "impression_spread",
        "alignment_spread",
    ]
    assert len(table) == 16 and table["sound_percentile"].between(0, 100).all()
    assert "S01" in predicted.stdout
    truth = ["--truth", folder / "test" / "clips.csv", "--ratings", folder / "test" / "ratings.csv"]
    scored = run("score", predictions, *truth)
    assert scored.exit_code == 0, scored.output
    assert "16 clips, 4 systems" in scored.stdout
    assert all(name in scored.stdout for name in ("U_MSE", "S_KTAU", "impression", "alignment"))


def test_predict_writes_to_stdout_and_keeps_it_clean(folder, tmp_path, torch):
    run("fit", *data(folder), "--out", tmp_path / "m.skops", "--target", "impression", "--max-iter", 2000)
    result = run("predict", tmp_path / "m.skops", folder / "test" / "clips.csv")
    lines = result.stdout.splitlines()
    assert (
        lines[0].startswith("clip_id,system,impression,impression_spread,sound_distance") and len(lines) == 17
    )
    assert "impression_sampling" in result.stderr and "no interval for what raters would say" in result.stderr


def test_predict_refuses_embeddings_that_the_model_was_not_trained_on(folder, tmp_path, torch):
    model, clips = tmp_path / "m.skops", folder / "test" / "clips.csv"
    fit = ["fit", *data(folder), "--target", "impression", "--max-iter", 2000]
    assert run(*fit, "--out", model).exit_code == 0
    fitted = load_model(model)
    known = fitted[-1].encoder_fingerprint_
    assert known.endswith(" (pooling mean by new sound)")
    # Another pooling has vectors of the same length.
    embedder = fitted[0].set_params(pooling="max")
    save_model(fitted, model)
    result = run("predict", model, clips, "--cache", folder / "e.h5")
    assert result.exit_code == 2, result.output
    assert f"embeddings of encoder {known}, but X holds" in result.stderr and "(pooling max)" in result.stderr
    result = run("predict", model, clips, "--cache", folder / "e.h5", "--allow-other-encoder")
    assert result.exit_code == 0, result.output
    assert (
        f"warning: another encoder than in training: this regressor was trained on embeddings of encoder {known}"
        in (result.stderr)
    )
    # And a regressor that learned from another encoder's vectors.
    embedder.set_params(pooling="mean")
    fitted[-1].encoder_fingerprint_ = "another (pooling mean)"
    save_model(fitted, model)
    result = run("predict", model, clips, "--cache", folder / "e.h5")
    assert result.exit_code == 2, result.output
    assert (
        f"embeddings of encoder another (pooling mean), but X holds embeddings of encoder {known}"
        in result.stderr
    )


def test_score_names_clips_without_a_partner(tmp_path):
    (tmp_path / "p.csv").write_text("clip_id,impression\na,1\nb,2\nc,3\nx,5\n")
    (tmp_path / "t.csv").write_text("clip_id,system,impression\na,S1,1\nb,S1,2\nc,S2,4\ny,S2,5\n")
    result = run("score", tmp_path / "p.csv", "--truth", tmp_path / "t.csv")
    assert result.exit_code == 1
    assert "1 clip has no prediction: y" in result.stderr
    assert "1 clip has no true score: x" in result.stderr
    assert "3 clips, 2 systems" in result.stdout
    result = run("score", tmp_path / "p.csv", "--truth", tmp_path / "t.csv", "--ci")
    assert result.stderr.count("S metrics over 2 systems") == 1
    # By hand: errors 0, 0, 1 over three clips.
    assert re.search(r"impression\s+0\.3333", result.stdout)


def test_score_bootstraps_intervals(tmp_path):
    clips = [(f"c{i}", f"S{i // 4}", 1 + i % 3 + i // 8, 1 + (i * 7) % 4) for i in range(24)]
    predictions = "".join(f"{clip},{score}\n" for clip, _, _, score in clips)
    truth = "".join(f"{clip},{system},{score}\n" for clip, system, score, _ in clips)
    (tmp_path / "p.csv").write_text("clip_id,impression\n" + predictions)
    (tmp_path / "t.csv").write_text("clip_id,system,impression\n" + truth)
    command = ("score", tmp_path / "p.csv", "--truth", tmp_path / "t.csv", "--ci")
    result = run(*command)
    assert result.exit_code == 0, result.stderr
    interval = re.search(r"impression U_MSE\s+([\d.]+)\s+\[\s*([\d.]+),\s+([\d.]+)\]", result.stdout)
    assert interval, result.stdout
    value, low, high = map(float, interval.groups())
    errors = [(score - guess) ** 2 for _, _, score, guess in clips]
    assert value == pytest.approx(sum(errors) / len(errors), abs=1e-3)
    assert low < value < high
    assert run(*command).stdout == result.stdout
    # Three systems that err by 0, 0 and 4: without the scale's help the interval would pass 16.
    rows = [(f"c{i}", f"S{i // 2}", (1, 3, 5)[i // 2], (1, 3, 1)[i // 2]) for i in range(6)]
    for name, column in (("p", 3), ("t", 2)):
        text = "".join(f"{row[0]},{row[1]},{row[column]}\n" for row in rows)
        (tmp_path / f"{name}.csv").write_text("clip_id,system,impression\n" + text)
    assert re.search(r"impression S_MSE.*, 16\.000\]", run(*command).stdout)
    refused = run(*command, "--system-truth", "table.csv")
    assert refused.exit_code == 2
    assert "--ci takes the truth of systems from their clips" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["extract", "nowhere.csv"], "nowhere.csv: no such file"),
        (["extract", "{clips}", "--encoder", "clapp"], "unknown encoder 'clapp'"),
        (["extract", "{clips}", "--modality", "video"], "unknown modality 'video'"),
        (["study", "{clips}"], "has no scores; looked for impression, alignment. Give --ratings or a table"),
        (["study", "{clips}", "--ratings", "{ratings}", "--cv", "singer"], "unknown split 'singer'"),
        (["study", "{clips}", "--ratings", "{ratings}", "--target", "groove"], "missing column(s) groove"),
        (["study", "{clips}", "--ratings", "{ratings}", "--pooling", "median"], "unknown pooling 'median'"),
        (["fit", "{clips}"], "has no scores; looked for impression, alignment. Give --ratings, or --target"),
        (["predict", "nothing.skops", "{clips}"], "nothing.skops: no such model file"),
        (["score", "{clips}", "--truth", "{clips}"], "no target is in both tables"),
    ],
)
def test_wrong_use_exits_2_with_one_line(folder, tmp_path, arguments, words):
    places = {"clips": folder / "test" / "clips.csv", "ratings": folder / "test" / "ratings.csv"}
    arguments = [argument.format(**places) for argument in arguments]
    if arguments[0] != "score" and arguments[0] != "predict":
        arguments += ["--cache", tmp_path / "e.h5"]
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert result.stdout == ""


def test_unknown_option_exits_2():
    assert run("study", "clips.csv", "--colour", "red").exit_code == 2


def test_ratings_on_another_scale(tmp_path, folder, torch):
    clips = folder / "test" / "clips.csv"
    ids = pd.read_csv(clips)["clip_id"]
    rows = [f"A,{clip},{i % 11}" for i, clip in enumerate(ids)]
    (tmp_path / "r.csv").write_text("rater,clip_id,impression\n" + "\n".join(rows) + "\n")
    arguments = ["study", clips, "--ratings", tmp_path / "r.csv", "--cache", folder / "e.h5", "--folds", 2]
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "scores off the scale 1 to 5" in refused.stderr
    accepted = run(*arguments, "--scale", 0, 10)
    assert accepted.exit_code == 0, accepted.output


def test_options_are_checked_before_anything_is_embedded(folder, tmp_path, monkeypatch, torch):
    def refuse(*_, **__):
        raise AssertionError("embedding began")

    monkeypatch.setattr("musiceval_sk.features.extract.embed_batches", refuse)
    monkeypatch.setattr("musiceval_sk.features.encoders.spectral.SpectralEncoder.encode_text", refuse)
    common = [*data(folder)[:3], "--cache", tmp_path / "new.h5"]
    for wrong in (["--cv", "foo"], ["--folds", 1], ["--pooling", "median"]):
        assert run("study", *common, *wrong).exit_code == 2
    assert run("fit", *common, "--members", 0).exit_code == 2
    (tmp_path / "file").write_text("kept")
    for command, wrong, words in (
        ("study", ["--folds", 50], "--folds 50, but there are 4 systems to deal; give at most 4"),
        ("curve", ["--folds", 50], "--folds 50, but there are 4 systems"),
        ("study", ["--memory", tmp_path / "file"], f"{tmp_path}/file: is a file; name a folder to write"),
        ("curve", ["--metric", "foo"], "unknown metrics: foo; choose from U_MSE"),
        ("curve", ["--grows", "clips", "--size", 1000], "sizes of clips: 1000; give shares"),
        ("extract", ["--cache", "/proc/none/e.h5"], "/proc/none/e.h5: cannot be written ("),
        ("fit", ["--scale", 5, 1], "the scale 5 to 1 is reversed; give the lowest score, then the highest"),
        ("study", ["--scale", 3, 3], "the scale 3 to 3 is empty; give the lowest"),
        ("extract", ["--jobs", 0], "--jobs 0: give the number of processes"),
        ("fit", ["--cache", tmp_path], f"{tmp_path}: is a folder; a store is a file, such as"),
        ("fit", ["--model", "forest"], "unknown model 'forest'; choose from ridge, SVR, MOSRegressor, best"),
        ("fit", ["--out", tmp_path], f"{tmp_path}: is a folder; name a file to write"),
        (
            "fit",
            ["--out", tmp_path / "file" / "m.skops"],
            f"m.skops: cannot be written, for {tmp_path}/file is",
        ),
        ("fit", ["--out", "/proc/none/m.skops"], "/proc/none/m.skops: cannot be written ("),
        ("study", ["--out", tmp_path / "file"], f"{tmp_path}/file: is a file; name a folder to write"),
        ("study", ["--device", "cuda:99"], "--device cuda:99 was asked for, but torch sees"),
    ):
        arguments = common[:1] + common[3:] if command == "extract" else common
        result = run(command, *arguments, *wrong)
        assert result.exit_code == 2, result.output
        error = re.sub(r"\Anote: .*read as a long table.*\n", "", result.stderr)
        assert error.startswith("error: ") and words in error
    assert (tmp_path / "file").read_text() == "kept"
    for command, option, value in (
        ("study", "--resamples", -1),
        ("study", "--seed", -1),
        ("study", "--folds", 1),
        ("curve", "--repeats", 0),
        ("fit", "--members", 0),
    ):
        result = run(command, *common, option, value)
        assert result.exit_code == 2 and f"'{option}'" in result.stderr.splitlines()[-1]


def test_messages_name_options_and_not_parameters(tmp_path):
    (tmp_path / "r.csv").write_text("slot,clip_id,impression\n1,a,3\n2,a,4\n")
    result = run("ratings", tmp_path / "r.csv")
    assert result.exit_code == 2
    assert result.stderr.endswith("not persons; give --anonymous where nobody knows who gave a rating\n")
    (tmp_path / "m.csv").write_text("rater,clip_id,MOS,alignment\nr1,a,3,4\nr2,a,4,4\nr1,b,2,1\nr2,b,1,3\n")
    result = run("ratings", tmp_path / "m.csv")
    words = "columns of numbers found: MOS. If they are scores, give --target MOS\n"
    assert result.stderr.count("warning: ") == 1 and words in result.stderr  # read twice, said once
    (tmp_path / "none").mkdir()
    result = run("ratings", tmp_path / "none")
    assert (result.exit_code, result.stderr) == (
        2,
        f"error: {tmp_path / 'none'}: holds no files of ratings (looked for .csv .tsv .txt .json .jsonl .xlsx)\n",
    )
    # A name that looks like a parameter stays as it is; a study file knows the parameters only.
    assert "seed=1.csv: no such file" in run("extract", "seed=1.csv").stderr
    (tmp_path / "study.toml").write_text("clips = 'c.csv'\nn_resamples = -1\n")
    assert (
        "error: n_resamples=-1 must be a whole number and at least 0"
        in run("study", tmp_path / "study.toml").stderr
    )


def test_an_interrupted_command_says_what_it_keeps(folder, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    cache = tmp_path / "new.h5"
    common = [*data(folder)[:3], "--cache", cache]
    monkeypatch.setattr("musiceval_sk.studies.plan.run_study", interrupt)
    result = run("study", *common, "--out", tmp_path / "study")
    assert result.exit_code == 130
    fits = tmp_path / "study" / "fits"
    assert result.stderr.splitlines()[-1] == f"interrupted: what was finished is kept: vectors in {cache}"
    fits.mkdir(parents=True)
    (fits / "fit.json").touch()
    result = run("study", *common, "--out", tmp_path / "study")
    words = f"interrupted: what was finished is kept: finished fits in {fits}, vectors in {cache}"
    assert result.stderr.splitlines()[-1] == words
    assert cache.with_name("new.h5.parts").is_dir()
    monkeypatch.setattr("musiceval_sk.features.extract._missing", interrupt)
    result = run("extract", *data(folder)[:1], "--cache", tmp_path / "none.h5")
    assert (result.exit_code, result.stderr) == (130, "interrupted: nothing was written\n")
    given = {"out": tmp_path / "rows.csv", "cache": tmp_path / "none.h5", "batch_size": 5, "force": True}
    before = _files_at(given["out"])
    assert _kept(given, before) == "nothing was written"
    for content in ("new", "replaced"):
        with atomic_write(given["out"]) as aside:
            aside.write_text(content)
        words = f"what was finished is kept: rows, for --force to replace, in {given['out']}"
        assert _kept(given, before) == words
        before = _files_at(given["out"])
        assert _kept(given, before) == "nothing was written"
    monkeypatch.setattr("musiceval_sk.statistics.metrics.evaluate", interrupt)
    table = tmp_path / "scores.csv"
    table.write_text("clip_id,impression\na,1\nb,2\n")
    result = run("score", table, "--truth", table)
    assert (result.exit_code, result.stderr) == (130, "interrupted: nothing was written\n")


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_in_words_and_leaves_the_process_as_it_was(tmp_path, monkeypatch, number):
    def send(*_, **__):
        os.kill(os.getpid(), number)
        time.sleep(60)

    before = signal.signal(number, signal.SIG_DFL)  # which a process in the background may ignore
    monkeypatch.setattr("musiceval_sk.statistics.metrics.evaluate", send)
    table = tmp_path / "scores.csv"
    table.write_text("clip_id,impression\na,1\nb,2\n")
    result = run("score", table, "--truth", table)
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (result.exit_code, result.stderr) == (128 + number, f"{word}: nothing was written\n")
    assert signal.signal(number, before) == signal.SIG_DFL


START = """
import os, signal, sys, types
number, is_ignored = int(sys.argv[1]), sys.argv[2] == "ignored"
signal.signal(number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
app = sys.modules["musiceval_sk.cli.app"] = types.ModuleType("app")
app.main = lambda: os.kill(os.getpid(), number)
from musiceval_sk.cli import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_command_line_loads_leaves_no_traceback(number):
    found = subprocess.run(
        [sys.executable, "-c", START, str(int(number)), ""], capture_output=True, text=True
    )
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (found.returncode, found.stderr) == (128 + number, f"{word}\n")
    ignored = subprocess.run([sys.executable, "-c", START, str(int(number)), "ignored"])  # as by nohup
    assert ignored.returncode == 0


def test_predict_warns_of_scores_beyond_those_of_training_and_of_missing_prompts(folder, tmp_path, torch):
    clips = load_clips(folder / "test" / "clips.csv").assign(alignment=[3.0] * 15 + [3.5])
    embedder = ClipEmbedder("spectral").set_output(transform="pandas")
    # After one epoch at the paper's step size, predictions are still near 0.
    regressor = MOSRegressor.from_protocol("paper", max_iter=1, random_state=0)
    with pytest.warns(UserWarning, match="max_iter=1|early stopping goes by"):
        fitted = fit_model(embedder, regressor, clips, ["alignment"], assess=False)
    model = save_model(fitted.model, tmp_path / "m.skops", about=fitted.about)
    result = run("predict", model, folder / "test" / "audio", "--cache", folder / "e.h5")
    assert re.search(
        r"alignment: \d+ of 16 predictions lie outside the scores of training, 3.00 to 3.50", result.stderr
    )
    assert "16 of 16 clips have no prompt" in result.stderr


def test_predict_keeps_its_cache_where_this_machine_keeps_it(folder, tmp_path, monkeypatch, torch):
    run("fit", *data(folder), "--out", tmp_path / "m.skops", "--target", "impression", "--max-iter", 2000)
    monkeypatch.setenv("MUSICEVAL_CACHE", str(tmp_path / "mine.h5"))
    assert run("predict", tmp_path / "m.skops", folder / "test" / "clips.csv").exit_code == 0
    assert (tmp_path / "mine.h5").exists()


def test_a_list_in_a_cell_is_named_and_an_audiofolder_is_read(tmp_path, write_sounds):
    write_sounds(1.0, 1.0, folder=tmp_path / "d")
    (tmp_path / "list.jsonl").write_text('{"path": "d/clip0.wav", "prompt": ["calm", "piano"]}\n')
    result = run("extract", tmp_path / "list.jsonl", "--cache", tmp_path / "e.h5")
    assert result.exit_code == 2
    assert "list.jsonl: line 1: column 'prompt' holds a list" in result.stderr
    (tmp_path / "d" / "metadata.csv").write_text("file_name,text\nclip0.wav,calm\nclip1.wav,loud\n")
    result = run("extract", tmp_path / "d" / "metadata.csv", "--cache", tmp_path / "e.h5")
    assert result.exit_code == 0, result.output
    assert (
        "metadata.csv: column 'file_name' taken as 'path'; column 'text' taken as 'prompt'" in result.stderr
    )


def test_an_odd_sound_is_named_once(tmp_path, write_sounds):
    path = write_sounds(1.0)["path"].iloc[0]
    left, rate = soundfile.read(path)
    soundfile.write(path, np.stack([left, -left], axis=1), rate, subtype="FLOAT")
    result = run("extract", Path(path).parent, "--modality", "audio", "--cache", tmp_path / "e.h5")
    assert result.exit_code == 0, result.output
    assert result.output.count("1 clip is heard, but: ") == 1


@pytest.mark.parametrize(
    "error, words",
    [
        (MemoryError(), "error: out of memory"),
        (MemoryError("Unable to allocate 7 GiB"), "error: Unable to allocate 7 GiB"),
        (ValueError(), "error: ValueError"),
    ],
    ids=["memory", "so much", "no words"],
)
def test_an_error_without_words_is_told_all_the_same(tmp_path, monkeypatch, error, words):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr("musiceval_sk.studies.plan.StudyPlan.from_file", fail)
    (tmp_path / "study.toml").write_text("clips = 'clips.csv'\n")
    result = run("study", tmp_path / "study.toml")
    assert result.exit_code in (1, 2) and words in result.stderr
