"""Writing whole or not at all: what is there before, during and after, and after a failure."""

import hashlib
import io
import os
import stat

import pandas as pd
import pytest

from musiceval_sk._files import atomic_write, file_digest, parse_json, refused_as, write_csv
from musiceval_sk.datasets.readers import read_table
from musiceval_sk.exceptions import ModelFileError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_and_its_folder_is_made(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_write(str(path)) as aside:
        aside.write_text("whole")
        assert not path.exists() and aside.parent == path.parent
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("begun", [True, False], ids=["half written", "nothing written"])
def test_after_a_failure_the_file_before_stays_and_nothing_else(tmp_path, begun):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as aside:
        if begun:
            aside.write_text("ha")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_file_before(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left") as caught, atomic_write(path) as aside:
        aside.write_text("after")
    assert caught.value.filename == str(path)  # and not the name aside, which nobody knows
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_whose_name_cannot_be_written_is_named(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fail)
    with (
        pytest.raises(OSError, match="Disk quota exceeded") as caught,
        atomic_write(tmp_path / "new" / "a.txt"),
    ):
        raise AssertionError("nothing is written where its folder may be lost")
    assert caught.value.filename == str(tmp_path)


def test_content_is_on_disk_before_it_has_its_name_and_the_name_thereafter(tmp_path, monkeypatch):
    steps, replace = [], os.replace
    monkeypatch.setattr(
        os, "fsync", lambda file: steps.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
    )
    monkeypatch.setattr(os, "replace", lambda *names: steps.append("name") or replace(*names))
    with atomic_write(tmp_path / "a.txt") as aside:
        aside.write_text("content")
    assert steps == ["file", "name", "folder"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as one, atomic_write(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # whose block ended last
    assert names(tmp_path) == ["a.txt"]


def test_permissions_are_those_of_a_fresh_file(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.txt") as aside:
            aside.write_text("")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("there", [True, False], ids=["there", "dangling"])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path, there):
    target, link = tmp_path / "elsewhere" / "a.txt", tmp_path / "link.txt"
    target.parent.mkdir()
    if there:
        target.write_text("before")
    link.symlink_to(target)
    with atomic_write(link) as aside:
        aside.write_text("after")
    assert link.is_symlink() and target.read_text() == "after"
    assert names(target.parent) == ["a.txt"]


def test_the_digest_is_of_the_whole_file_wherever_it_was_read_to():
    content = bytes(range(256)) * 10_000
    file = io.BytesIO(content)
    file.seek(100)
    assert file_digest(file) == hashlib.sha256(content).digest()


def test_no_cell_of_a_table_is_a_formula_and_our_readers_give_it_back(tmp_path):
    ids = ["=1+1", "-x", "+cmd", "@a", "-2.5", "1e-3", "'quoted", "plain"]
    table = pd.DataFrame({"=name": [1.5] * len(ids), "prompt": ids}, index=pd.Index(ids, name="clip_id"))
    write_csv(table, tmp_path / "scores.csv", index=True)
    cells = pd.read_csv(tmp_path / "scores.csv", dtype=str)
    assert list(cells) == ["clip_id", "'=name", "prompt"]
    assert cells["clip_id"].tolist() == ["'=1+1", "'-x", "'+cmd", "'@a", "-2.5", "1e-3", "'quoted", "plain"]
    assert cells["'=name"].unique().tolist() == ["1.5"]
    read = read_table(tmp_path / "scores.csv")
    assert read["clip_id"].tolist() == read["prompt"].tolist() == ids


def test_json_beyond_bounds_is_a_value_error_or_infinite():
    with pytest.raises(ValueError, match="lie too deep in one another"):
        parse_json("[" * 100_000)
    assert parse_json("-" + "1" * 5000) == -float("inf")


@pytest.mark.parametrize(
    "error", [KeyError("a"), AttributeError("a"), ValueError("a"), ZeroDivisionError("a")]
)
def test_values_of_another_form_are_refused_in_words_of_ours(error):
    with (
        pytest.raises(
            ModelFileError, match=r"^m\.skops: damaged \(\w+Error: .*a.*\); make it anew$"
        ) as caught,
        refused_as(ModelFileError, "m.skops: damaged", "make it anew"),
    ):
        raise error
    assert caught.value.__cause__ is error
    with pytest.raises(ModelFileError, match="^as it was$"), refused_as(ModelFileError, "others"):
        raise ModelFileError("as it was")
    with pytest.raises(KeyboardInterrupt), refused_as(ModelFileError, "others"):
        raise KeyboardInterrupt


def test_what_is_no_formula_any_more_comes_back_as_it_was(tmp_path):
    texts = ["=1+1", "'=1", "''-x", "\t=1", "@a", "+1-2", "it's", "'tis", "x"]
    write_csv(pd.DataFrame({"clip_id": texts, "system": ["-1"] * len(texts)}), tmp_path / "t.csv")
    assert not [line for line in (tmp_path / "t.csv").read_text().splitlines() if line[0] in "=+-@\t"]
    again = read_table(tmp_path / "t.csv")
    assert (again["clip_id"].tolist(), {*again["system"]}) == (texts, {"-1"})
