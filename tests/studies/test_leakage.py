import shutil

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import ClipsTableError, extract, leakage, leakage_report


def test_leakage_by_hand():
    clips = pd.DataFrame({"system": list("aabbcc"), "prompt": list("xyxyzz"), "impression": range(6)})
    # Fold one tests b (row 3, trained on row 2) and c (rows 4, 5; none): one of three; prompts y, z, z: one of three.
    # Fold two tests a (row 0, trained on row 1): all; prompt x of row 0 stands in row 2.
    folds = [(np.array([0, 1, 2]), np.array([3, 4, 5])), (np.array([1, 2]), np.array([0]))]
    assert leakage(clips, folds) == {"system": 2 / 4, "prompt": 2 / 4}
    assert leakage(clips[["system"]], folds[1:]) == {"system": 1.0}
    assert leakage(clips[["impression"]], folds) == {}


def test_no_label_is_never_shared():
    clips = pd.DataFrame({"system": ["", "a", "", "a"]})
    folds = [(np.array([0, 1]), np.array([2, 3]))]
    with pytest.warns(
        UserWarning, match="^2 of 4 clips name no system, so they count as sharing none with training: 0, 2$"
    ):
        assert leakage(clips, folds) == {"system": 1 / 2}


@pytest.fixture
def sets(write_sounds, tmp_path):
    """Five clips to train on and three to test on; one test clip is a copy, one bears the name of a training clip."""
    clips = write_sounds(0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2)
    train, test = clips.iloc[:5].copy(), clips.iloc[4:].copy()
    test = test.rename(index={"clip4": "copy", "clip6": "clip0.wav"})
    copied = tmp_path / "copied.wav"
    shutil.copy(clips.loc["clip4", "path"], copied)
    test.loc["copy", "path"] = str(copied)
    test["prompt"] = ["prompt 1", "new", "newer"]
    test["system"] = ["S0", "S9", ""]
    return train, test


def test_what_is_shared_is_counted_by_hand(sets):
    train, test = sets
    report = leakage_report(train, test)
    # systems: train S0, S1; test S0, S9 and one unnamed. prompts: train 0, 1, 2; test 1 and two new ones.
    assert report.table.loc["system"].tolist() == [2, 2, 1, 1, 1 / 2, "S0"]
    assert report.table.loc["prompt"].tolist() == [3, 3, 1, 1, 1 / 3, "prompt 1"]
    assert report.table.loc["clip"].tolist() == [5, 3, 1, 1, 1 / 3, "clip0"]
    assert report.table.loc["sound"].tolist() == [5, 3, 1, 1, 1 / 3, "clip4 = copy"]
    assert report.sounds.to_numpy().tolist() == [["clip4", "copy"]]
    assert report.notes == ["1 test clips name no system and share none: clip0.wav"]


def test_the_report_reads_as_text(sets):
    lines = str(leakage_report(*sets)).splitlines()
    assert lines[0] == "Shared between training and test:"
    assert lines[1] == "  system: 1 of 2 in test, 1 test clips (50 %): S0"
    assert lines[4] == "  sound: 1 of 3 in test, 1 test clips (33 %): clip4 = copy"
    shares = "by system 50%, by prompt 33%, by clip 33%, by sound 33%"
    assert repr(leakage_report(*sets)) == f"<LeakageReport: test clips known from training: {shares}>"


def test_shares_are_those_of_leakage(sets):
    train, test = sets
    test = test.assign(system=["S0", "S9", "S8"])
    both = pd.concat([train, test])
    shares = leakage(both, [(np.arange(5), np.arange(5, 8))])
    assert shares == leakage_report(train, test).table["share"][["system", "prompt"]].to_dict()


def test_unreadable_sounds_are_named_and_match_nothing(sets):
    train, test = sets
    train.loc["clip0", "path"] = test.loc["clip5", "path"] = "/nowhere.wav"
    report = leakage_report(train, test)
    assert report.notes[1:] == [
        "1 sounds of training cannot be read: clip0",
        "1 sounds of test cannot be read: clip5",
    ]
    assert report.table.loc["sound"].tolist() == [4, 2, 1, 1, 1 / 2, "clip4 = copy"]


def test_what_is_not_named_is_not_compared(sets):
    train, test = sets
    report = leakage_report(train[["prompt"]], test)
    assert list(report.table.index) == ["prompt", "clip"]
    assert report.notes == [
        "systems were not compared: no system is named in both tables",
        "sounds were not compared: no column 'path' in both tables",
    ]


def test_digests_of_an_earlier_extraction_are_recalled(sets, tmp_path, monkeypatch):
    train, test = sets
    store = str(tmp_path / "store.h5")
    index = tmp_path / "store.h5.files.npy"
    monkeypatch.setattr("musiceval_sk.features.digests._SETTLED_NANOSECONDS", -1)
    extract(pd.concat([train, test.assign(prompt="x")]), "spectral", store, modality="audio")
    before = index.read_bytes()
    monkeypatch.setattr("musiceval_sk.features.digests.hash_file", None)  # would fail if it were called
    assert leakage_report(train, test, store=store).sounds.shape == (1, 2)
    assert index.read_bytes() == before


def test_tables_are_checked(sets):
    with pytest.raises(ClipsTableError, match="the clips table is empty"):
        leakage_report(sets[0], sets[1].iloc[:0])


def test_no_system_is_never_shared_however_it_is_written():
    train = pd.DataFrame({"system": ["A", None]}, index=["a.wav", "b"])
    test = pd.DataFrame({"system": ["A", "", np.nan, " "]}, index=["a", "d", "e", "f"])
    report = leakage_report(train, test)
    assert report.notes[:2] == [
        "1 training clips name no system and share none: b",
        "3 test clips name no system and share none: d, e, f",
    ]
    table = report.table
    assert table.loc["system", ["in_train", "in_test", "shared", "test_clips"]].tolist() == [1, 1, 1, 1]
    assert table.loc["clip", "test_clips"] == 1  # a.wav is a
