"""Short runs of every command that writes, which harnesses of faults disturb: each goes from one folder to another."""

import os
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from musiceval_sk import load_clips, make_listening_test
from musiceval_sk.cli.app import app
from musiceval_sk.features import pipeline
from musiceval_sk.features.encoders.spectral import SpectralEncoder
from musiceval_sk.listening import build_page, design_test

DESIGN = {"n_systems": 3, "n_prompts": 2, "n_raters": 5, "seconds": 1.0, "random_state": 0}
FAST = ("--resamples", "0", "--model", "ridge", "--target", "impression")
TUNING = {"hidden_layer_sizes": (16, 8), "batch_size": 4, "max_iter": 2, "early_stopping": False}
SOURCE = Path(__file__).with_name("failing_writes.c")


def build_library(folder):
    """Compile what is preloaded to make writes fail."""
    library = Path(folder) / "failing_writes.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def can_build():
    return os.uname().sysname == "Linux" and shutil.which("cc") is not None


NAMES = ("extract", "study", "fit", "report", "reproduce", "finetune", "serve")


def prepare(folder, names=NAMES):
    """Make all that the runs of these names need; batches of clips are small, so that there are several."""
    pipeline._CLIPS_A_BATCH = SpectralEncoder.batch_size = 2
    test = folder / "test"
    make_listening_test(test, **DESIGN)
    clips = pd.read_csv(test / "clips.csv")
    clips.iloc[:2].to_csv(test / "few.csv", index=False)
    if "reproduce" in names:
        from tests.made_musiceval import make_musiceval

        make_musiceval(folder / "MusicEval-full", n_systems=2, n_prompts=4, n_demo_clips=1, seconds=1.0)
    if "finetune" in names:
        from tests.clap_files import write_transformers_folder

        write_transformers_folder(folder / "clap", spec_size=128, window_size=4)
    if "serve" in names:
        design = design_test(load_clips(test / "clips.csv"), n_raters=2, per_clip=2, n_duplicates=0)
        design.save(folder / "design.json")
        build_page(design, folder / "page")
    (folder / "out").mkdir()


def arguments_by_name(folder):
    """Arguments of commands; each replaces what it wrote before."""
    test, out = folder / "test", folder / "out"
    rated = (test / "clips.csv", "--ratings", test / "ratings.csv", "--cache", out / "e.h5")
    reproduction = (
        "--encoder",
        "spectral",
        "--any-size",
        "--seeds",
        2,
        "--resamples",
        20,
        "--protocol",
        "frozen",
    )
    return {
        "extract": ("extract", test / "clips.csv", "--cache", out / "e.h5"),
        "study": ("study", *rated, *FAST, "--out", out / "study", "--force"),
        "fit": ("fit", *rated, "--model", "ridge", "--no-assess", "--out", out / "model.skops", "--force"),
        "report": ("report", out / "study", "--out", out / "report.html", "--force"),
        "reproduce": (
            *("reproduce", folder / "MusicEval-full", *reproduction),
            *("--cache", out / "m.h5", "--out", out / "reproduction", "--force"),
        ),
    }


def earlier(folder):
    """Arguments of commands that leave something to replace, or to go on from, for the command of this name."""
    test, out = folder / "test", folder / "out"
    given = arguments_by_name(folder)
    few = ("extract", test / "few.csv", "--cache", out / "e.h5")
    return {
        "extract": [few],
        "study": [few, (*given["study"], "--cv", "random")],
        "fit": [(*given["fit"], "--pooling", "max")],
        "report": [given["study"], (*given["report"], "--note", "earlier")],
        "reproduce": [(*given["reproduce"], "--seeds", 1, "--cache", out / "e.h5")],
    }


def runs(folder):
    """By name, what does a command's work and gives its exit status and what was said."""
    commands = arguments_by_name(folder)
    by_name = {name: lambda given=given: run(given) for name, given in commands.items()}
    return by_name | {"finetune": lambda: finetune(folder)}


def run(arguments):
    """Exit status, and what was said; an exception that no command should let through is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.output


def finetune(folder):
    """Fine-tune a small CLAP from where its checkpoint stands, and save it; errors are told as a command tells them."""
    from musiceval_sk import CLAPFineTuneRegressor
    from musiceval_sk.features.encoders.clap.hf_clap import HfClapEncoder

    out, clips = folder / "out", load_clips(folder / "test" / "clips.csv")
    encoder = HfClapEncoder(folder / "clap", device="cpu")
    encoder.window_seconds = encoder.hop_seconds = 1.0
    y = pd.DataFrame({"impression": np.linspace(1, 5, len(clips))}, index=clips.index)
    where = {"sounds_dir": out / "sounds", "checkpoint": out / "state.safetensors"}
    model = CLAPFineTuneRegressor.from_protocol("paper", encoder=encoder, random_state=0, **where, **TUNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(clips, y).save(out / "tuned.safetensors")
        except (OSError, ValueError) as error:
            return 1, f"error: {error}"
    return 0, ""


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
