"""``musiceval fit`` and ``musiceval predict`` on someone's new clips: rows as they come, intervals, words."""

import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

from musiceval_sk import load_clips, load_model, predict_clips, save_model
from musiceval_sk.cli.app import app
from musiceval_sk.datasets.synthetic import make_listening_test
from musiceval_sk.estimators.persistence import load_content


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A listening test of six systems, a model fitted on it, and a folder of clips with a table of prompts."""
    folder = tmp_path_factory.mktemp("predict")
    test = make_listening_test(folder / "test", n_systems=6, n_prompts=4, n_raters=6, seconds=1.0)
    tables = [folder / "test" / "clips.csv", "--ratings", folder / "test" / "ratings.csv"]
    options = ["--members", 2, "--max-iter", 60, "--cache", folder / "e.h5", "--out", folder / "m.skops"]
    (folder / "fitted.txt").write_text(run("fit", *tables, *options).output)
    for clip, path in test.clips["path"].items():
        system, prompt = clip.split("_")
        (folder / "clips" / system).mkdir(parents=True, exist_ok=True)
        os.link(path, folder / "clips" / system / f"{prompt}.wav")
    prompts = test.clips["prompt"].groupby(test.clips.index.str.split("_").str[1]).first()
    prompts.rename_axis("prompt_id").to_csv(folder / "prompts.csv")
    return folder


def new_clips(folder, clips="clips"):
    return [folder / clips, "--pattern", "{system}/{prompt_id}", "--prompts", folder / "prompts.csv"]


def test_fit_tells_its_error_on_systems_left_out_and_keeps_it(folder):
    text = (folder / "fitted.txt").read_text()
    assert "on systems left out, impression: root mean square error" in text
    assert "epochs, chosen on systems held out" in text
    assessment = load_content(folder / "m.skops")["about"]["assessment"]
    assert (assessment["n_systems"], assessment["n_clips"], assessment["n_splits"]) == (6, 24, 5)
    assert set(assessment["targets"]) == {"impression", "alignment"}


def test_few_systems_are_not_assessed_and_that_is_said(folder, tmp_path):
    clips = pd.read_csv(folder / "test" / "clips.csv")
    clips["path"] = [str(folder / "test" / path) for path in clips["path"]]
    clips[clips["system"] < "S05"].to_csv(tmp_path / "four.csv", index=False)
    ratings = pd.read_csv(folder / "test" / "ratings.csv")
    ratings[ratings["clip_id"] < "S05"].to_csv(tmp_path / "ratings.csv", index=False)
    options = ["--ratings", tmp_path / "ratings.csv", "--max-iter", 30, "--members", 1]
    fitted = run(
        "fit", tmp_path / "four.csv", *options, "--cache", folder / "e.h5", "--out", tmp_path / "m.skops"
    )
    assert fitted.exit_code == 0, fitted.output
    four = pd.read_csv(tmp_path / "four.csv")
    four.assign(system=four["system"].where(four.index > 0)).to_csv(tmp_path / "partly.csv", index=False)
    partly = run(
        "fit", tmp_path / "partly.csv", *options, "--cache", folder / "e.h5", "--out", tmp_path / "n.skops"
    )
    assert (
        f"name no system, so early stopping holds out clips and not systems: {four['clip_id'][0]}"
        in partly.stderr
    )
    assert "too few systems are named" in partly.stderr
    assert "4 systems are named: the error on new systems was not measured" in fitted.stderr
    result = run("predict", tmp_path / "m.skops", *new_clips(folder), "--cache", folder / "e.h5")
    assert "no spread per clip" in result.stderr and "no interval for what raters would say" in result.stderr
    assert "it takes 19" in result.stderr


def test_command_line_and_python_say_the_same(folder, tmp_path):
    out = tmp_path / "scores.csv"
    options = ["--cache", folder / "e.h5", "--batch-size", 10, "--out", out]
    result = run("predict", folder / "m.skops", *new_clips(folder), *options)
    assert result.exit_code == 0, result.output
    clips = load_clips(folder / "clips", pattern="{system}/{prompt_id}", prompts=folder / "prompts.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how far predictions reach is not this test's matter
        found = predict_clips(folder / "m.skops", clips, cache=folder / "e.h5")
    table = pd.read_csv(out, index_col="clip_id")
    assert list(table.columns) == list(found.clips.columns)
    numbers = table.select_dtypes("number").columns
    np.testing.assert_allclose(table[numbers], found.clips[numbers], atol=1e-6)
    assert result.stdout.strip() == found.table().strip()
    assert "impression_raters" in result.stdout and "impression_sampling" in result.stdout
    assert f"wrote 24 clips to {out}" in result.stderr


def test_strange_sounds_are_pointed_out_in_words(folder, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "clips" / "S77").mkdir(parents=True)
    for prompt in ("P01", "P02", "P03", "P04"):
        sound = np.zeros(22050, dtype=np.float32)
        sound[rng.integers(0, 22050, 3)] = 1.0
        soundfile.write(tmp_path / "clips" / "S77" / f"{prompt}.wav", sound, 22050)
    clips = [tmp_path / "clips", *new_clips(folder)[1:]]
    result = run(
        "predict", folder / "m.skops", *clips, "--cache", tmp_path / "e.h5", "--out", tmp_path / "s.csv"
    )
    assert result.exit_code == 0, result.output
    assert "warning: S77: 4 of 4 clips lie farther from the training clips than 95% of those" in result.stderr
    assert pd.read_csv(tmp_path / "s.csv")["sound_far"].all()


def test_an_unreadable_clip_costs_itself_and_the_exit_status(folder, tmp_path):
    (tmp_path / "clips" / "S01").mkdir(parents=True)
    os.link(folder / "clips" / "S01" / "P01.wav", tmp_path / "clips" / "S01" / "P01.wav")
    (tmp_path / "clips" / "S01" / "P02.wav").write_bytes(b"no sound")
    clips = [tmp_path / "clips", *new_clips(folder)[1:]]
    result = run(
        "predict", folder / "m.skops", *clips, "--cache", folder / "e.h5", "--out", tmp_path / "s.csv"
    )
    assert result.exit_code == 1
    assert "warning: skipped 1 of 2 clips" in result.stderr
    assert list(pd.read_csv(tmp_path / "s.csv")["clip_id"]) == ["S01/P01"]


def test_a_model_of_another_encoder_is_refused_in_words(folder, tmp_path):
    model = load_model(folder / "m.skops")
    model[0].fingerprint_ = "another"
    save_model(model, tmp_path / "m.skops")
    result = run("predict", tmp_path / "m.skops", *new_clips(folder), "--out", tmp_path / "s.csv")
    assert result.exit_code == 2 and not (tmp_path / "s.csv").exists()
    words = "this embedder was fitted with encoder another, but SpectralEncoder() is now"
    assert words in result.stderr
    result = run("predict", tmp_path / "m.skops", *new_clips(folder), "--allow-other-encoder")
    assert result.exit_code == 0, result.stderr
    assert f"warning: another encoder than in training: {words}" in result.stderr


@pytest.mark.slow
def test_a_killed_run_keeps_its_rows_and_its_vectors(folder, tmp_path):
    out, cache = tmp_path / "s.csv", tmp_path / "e.h5"
    options = ["--cache", cache, "--out", out, "--batch-size", 2]
    arguments = [str(part) for part in ("predict", folder / "m.skops", *new_clips(folder), *options)]
    process = subprocess.Popen(
        [sys.executable, "-m", "musiceval_sk.cli.app", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (out.exists() and out.read_text().count("\n") > 2):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    rows = out.read_text().splitlines()
    assert len(rows) > 2 and rows[1].startswith("S01/P01,S01,")
    assert "s.csv: is there already; --force" in run(*arguments).stderr
    again = run(*arguments, "--force")
    assert again.exit_code == 0
    assert out.read_text().splitlines()[: len(rows) - 1] == rows[:-1] and len(pd.read_csv(out)) == 24
