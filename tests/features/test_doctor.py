import os
from importlib.metadata import EntryPoint

import pytest

from musiceval_sk import EmbeddingStore
from musiceval_sk.features.doctor import check_setup
from tests.features.store.writers import append


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "embeddings.h5")


def finding(found, subject, part):
    row = found[(found["subject"] == subject) & (found["part"] == part)].iloc[0]
    return bool(row["ok"]), bool(row["asked"]), row["finding"]


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """No checkpoint is named anywhere."""
    for name in ("MUSICEVAL_CLAP_CHECKPOINT", "MUSICEVAL_ROBERTA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))


def test_doctor_says_what_is_missing_and_how_to_get_it(store, bare, monkeypatch):
    monkeypatch.setattr("musiceval_sk.features.doctor._installed", lambda module: module != "laion_clap")
    found = check_setup(store)
    assert finding(found, "spectral", "audio")[:2] == (True, False)
    ok, asked, text = finding(found, "laion-clap", "packages")
    assert (ok, asked) == (False, False)
    assert (
        text
        == 'not installed: laion_clap. Install with: pip install "laion-clap==1.1.7" "transformers>=4.53"'
    )
    ok, asked, text = finding(found, "laion-clap", "audio")
    assert (ok, asked) == (False, False)
    assert "hf download lukewys/laion_clap" in text and "--checkpoint" in text
    assert finding(found, "store", "readable") == (True, True, f"{store.path}: nothing stored yet")


def test_doctor_tells_audio_from_text(store, bare, tmp_path, monkeypatch):
    checkpoint = tmp_path / "clap.pt"
    checkpoint.write_bytes(b"weights")
    monkeypatch.setattr("musiceval_sk.features.encoders.clap.checkpoint._cached_files", lambda: ())
    found = check_setup(store, encoder="laion-clap", modalities=["audio"], checkpoint=checkpoint)
    ok, asked, text = finding(found, "laion-clap", "audio")
    # printf weights | sha256sum
    assert (ok, asked) == (True, True) and text.startswith("ready, checkpoint 9a129038d9a0")
    ok, asked, text = finding(found, "laion-clap", "text")
    assert (ok, asked) == (False, False)
    assert "hf download roberta-base vocab.json merges.txt" in text
    assert not found.loc[found["subject"] == "spectral", "asked"].any()


def test_doctor_asks_of_the_encoders_that_take_the_options(store, bare):
    found = check_setup(store, checkpoint="nowhere.pt")
    ok, asked, text = finding(found, "laion-clap", "audio")
    assert (ok, asked) == (False, True) and "nowhere.pt: no such checkpoint file" in text
    assert not found.loc[found["subject"] == "spectral", "asked"].any()
    with pytest.raises(ValueError, match="unknown encoder 'clapp'"):
        check_setup(store, encoder="clapp")
    with pytest.raises(ValueError, match="does not take these options"):
        check_setup(store, encoder="spectral", checkpoint="clap.pt")


def test_doctor_looks_at_the_store(store, monkeypatch):
    append(store, 0, 1)
    assert finding(check_setup(store), "store", "readable")[2].endswith("format 2, 2 items, 1 parts")
    monkeypatch.setattr(os, "access", lambda *_: False)
    ok, _, text = finding(check_setup(store), "store", "writable")
    assert not ok and f"{store.parts_folder}: not a folder that may be written to. Fix: chmod u+wx" in text
    next(store.parts_folder.iterdir()).write_bytes(b"")
    ok, _, text = finding(check_setup(store), "store", "readable")
    assert not ok and ".h5: damaged (" in text and "Delete this one file and extract again" in text


def test_doctor_tries_the_folder_of_the_main_file_itself_where_that_is_linked(store, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    store.path.symlink_to(tmp_path / "elsewhere" / "embeddings.h5")
    folder = str(tmp_path / "elsewhere")
    assert finding(check_setup(store), "store", "writable") == (True, True, f"{folder}: may be written to")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != folder)
    ok, _, text = finding(check_setup(store), "store", "writable")
    assert not ok and text.startswith(f"{folder}: not a folder that may be written to")


def test_doctor_survives_a_broken_plugin(store, monkeypatch):
    broken = EntryPoint("broken", "no_such_package:Encoder", "musiceval_sk.encoders")
    monkeypatch.setattr("musiceval_sk.features.encoders.base.entry_points", lambda **_: [broken])
    assert finding(check_setup(store), "broken", "encoder") == (
        False,
        False,
        "No module named 'no_such_package'",
    )
