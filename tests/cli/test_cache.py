"""``musiceval cache`` as a user meets it: what is printed where, and with which exit status."""

import re
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from musiceval_sk import EmbeddingStore
from musiceval_sk.cli.app import app
from musiceval_sk.datasets.synthetic import make_listening_test
from tests.features.store.writers import append

COMMANDS = ("info", "verify", "compact", "merge", "prune", "export", "doctor")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A listening test of four clips and two prompts, and a store of all of them."""
    folder = tmp_path_factory.mktemp("cache")
    make_listening_test(folder / "test", n_systems=2, n_prompts=2, n_raters=5, seconds=1.0, random_state=0)
    result = run("extract", folder / "test" / "clips.csv", "--cache", folder / "e.h5")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def cache(command, folder, *arguments):
    return run("cache", command, *arguments, "--cache", folder / "e.h5")


def damage(folder):
    """Append a part and cut it off."""
    store = EmbeddingStore(folder / "e.h5")
    append(store, 1)
    part = sorted(store.parts_folder.glob("part-*.h5"))[-1]
    part.write_bytes(part.read_bytes()[:700])
    return part


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    result = run("cache", command, "--help")
    assert result.exit_code == 0
    assert f"Example:  musiceval cache {command}" in " ".join(result.stdout.split("\n"))


def test_no_command_shows_the_commands():
    assert all(command in run("cache").output for command in COMMANDS)
    assert "cache" in run("--help").stdout


@pytest.mark.parametrize("command", ["info", "verify", "compact", "prune"])
def test_where_nothing_is_stored_there_is_nothing_to_do(tmp_path, command):
    result = cache(command, tmp_path)
    assert result.exit_code == 2
    assert "e.h5: nothing is stored there; musiceval extract makes a store" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_info(folder):
    result = cache("info", folder)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{folder / 'e.h5'} (format 2)\n  main file: ")
    assert "  audio spectral " in result.stdout and "  text spectral " in result.stdout
    assert re.search(r"\n +audio spectral [0-9a-f]{32} +4 +4 +210 ", result.stdout)
    damaged = damage(folder)
    result = cache("info", folder)
    assert result.exit_code == 1
    assert f"cannot be read: {damaged}: damaged" in result.stdout


def test_compact(folder):
    append(EmbeddingStore(folder / "e.h5"), 1)
    assert "parts: 1, " in cache("info", folder).stdout
    result = cache("compact", folder)
    assert result.exit_code == 0
    assert "parts: 0, 0 bytes" in result.stdout


def test_verify_finds_and_prune_drops(folder):
    sound = cache("verify", folder)
    assert (sound.exit_code, sound.stderr) == (0, "")
    assert sound.stdout == "1 files read, 6 items, 0 files damaged\n"
    damaged = damage(folder)
    found = cache("verify", folder)
    assert found.exit_code == 1
    assert f"{damaged}: damaged (" in found.stdout
    assert "musiceval cache prune --damaged drops items" in found.stderr
    assert damaged.exists()
    damaged.unlink()
    with h5py.File(folder / "e.h5") as file:
        place = next(iter(file["text"].values()))["vectors"].id.get_offset()
    content = bytearray((folder / "e.h5").read_bytes())
    content[place] ^= 1
    (folder / "e.h5").write_bytes(content)
    assert cache("verify", folder).exit_code == 1
    assert "dropped 2 items\n" in cache("prune", folder, "--damaged").stdout  # both prompts lie in one block
    assert cache("verify", folder).exit_code == 0


def test_merge(folder):
    append(EmbeddingStore(folder / "other.h5"), 1, 2)
    result = cache("merge", folder, folder / "other.h5")
    assert result.exit_code == 0
    assert "2 copied, 0 were there already" in result.stdout and "\n2 items copied\n" in result.stdout
    assert "0 copied, 2 were there already" in cache("merge", folder, folder / "other.h5").stdout
    nowhere = cache("merge", folder, folder / "nowhere.h5")
    assert nowhere.exit_code == 2
    assert "nowhere.h5: no store there to merge" in nowhere.stderr


def test_prune_of_clips(folder):
    clips = pd.read_csv(folder / "test" / "clips.csv")
    kept = folder / "test" / "kept.csv"
    clips.iloc[:1].to_csv(kept, index=False)
    before = (folder / "e.h5").read_bytes()
    dry = cache("prune", folder, "--keep", kept, "--dry-run")
    assert dry.exit_code == 0
    assert "would drop 3 items (3 windows), kept 1" in dry.stdout and "would drop 4 items\n" in dry.stdout
    assert (folder / "e.h5").read_bytes() == before
    wet = cache("prune", folder, "--keep", kept)
    assert wet.exit_code == 0
    assert wet.stdout == dry.stdout.replace("would drop", "dropped")
    again = run("extract", folder / "test" / "clips.csv", "--cache", folder / "e.h5")
    assert "audio: 3 stored, 1 reused" in again.stdout


def test_prune_by_a_folder_without_prompts_says_that_prompts_stay(folder):
    result = cache("prune", folder, "--keep", folder / "test" / "audio")
    assert result.exit_code == 0
    assert "no table to keep has prompts, so that all stored prompts stay" in result.stderr
    assert "dropped 0 items\n" in result.stdout


def test_prune_of_an_encoder(folder):
    append(EmbeddingStore(folder / "e.h5"), 1)
    toy = EmbeddingStore(folder / "e.h5").encoders().query("items == 1")["fingerprint"].iloc[0]
    result = cache("prune", folder, "--fingerprint", toy[:8])
    assert result.exit_code == 0
    assert f"audio toy {toy}: dropped 1 items (2 windows), kept 0" in result.stdout
    unknown = cache("prune", folder, "--fingerprint", toy[:8])
    assert unknown.exit_code == 2
    assert f"fingerprint '{toy[:8]}' fits 0 of those stored" in unknown.stderr
    assert cache("prune", folder).exit_code == 2


def test_export(folder):
    clips = folder / "test" / "clips.csv"
    result = cache("export", folder, folder / "X.npz", "--clips", clips, "--modality", "audio")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote {folder / 'X.npz'}: 4 clips, 210 columns\n"
    with np.load(folder / "X.npz") as file:
        assert file["X"].shape == (4, 210)
        assert file["clip_id"].tolist() == pd.read_csv(clips)["clip_id"].tolist()


def test_export_of_an_unreadable_clip_leaves_it_out_and_exits_1(folder):
    next((folder / "test" / "audio").iterdir()).write_bytes(b"no sound")
    result = cache("export", folder, folder / "X.npz", "--clips", folder / "test" / "clips.csv")
    assert result.exit_code == 1
    assert "3 clips, 466 columns" in result.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["X.csv"], "X.csv: cannot write .csv; use .npz or .parquet"),
        (["X.npz", "--pooling", "median"], "unknown pooling 'median'"),
        (["X.npz", "--modality", "video"], "unknown modality 'video'"),
        (["X.parquet"], 'pip install "pyarrow>=14.0.1"'),
    ],
)
def test_what_cannot_be_exported_exits_2(folder, monkeypatch, arguments, words):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = cache("export", folder, *arguments, "--clips", folder / "test" / "clips.csv")
    assert result.exit_code == 2
    assert words in result.stderr
    assert not Path(arguments[0]).exists()


def test_doctor(folder, monkeypatch):
    for name in ("MUSICEVAL_CLAP_CHECKPOINT", "MUSICEVAL_ROBERTA"):
        monkeypatch.delenv(name, raising=False)
    result = cache("doctor", folder)
    assert result.exit_code == 0, result.output
    assert f"{folder / 'e.h5'}: format 2, 6 items, 0 parts" in result.stdout
    lines = {tuple(line.split()[1:3]): line.split()[0] for line in result.stdout.splitlines()}
    assert lines["spectral", "text"] == lines["store", "writable"] == "ok"
    assert lines["laion-clap", "audio"] == "missing"
    asked = cache("doctor", folder, "--encoder", "laion-clap")
    assert asked.exit_code == 1
    assert "hf download lukewys/laion_clap" in asked.stdout
    assert cache("doctor", folder, "--checkpoint", "nowhere.pt").exit_code == 1
    assert cache("doctor", folder, "--encoder", "spectral").exit_code == 0
    assert cache("doctor", folder, "--encoder", "clapp").exit_code == 2
    damage(folder)
    assert cache("doctor", folder, "--encoder", "spectral").exit_code == 1
