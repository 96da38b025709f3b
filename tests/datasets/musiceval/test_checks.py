"""Each check is provoked by one change to a data set that passes them all."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musiceval_sk import ClipsTableError, load_musiceval
from musiceval_sk.datasets.musiceval.layout import check_musiceval
from tests.made_musiceval import make_musiceval

STEM = "audiomos2025-track1-"
DATA = Path(os.environ.get("MUSICEVAL_TEST_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_musiceval(tmp_path_factory.mktemp("made") / "MusicEval-full", n_systems=2, n_prompts=3)


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made.folder, tmp_path / "MusicEval-full")


def differences(root, split="total", counts=None):
    table = check_musiceval(root, split, counts=counts)
    assert list(table.columns) == ["check", "expected", "found", "differs", "examples"]
    return {
        row.check: (row.expected, row.found, row.examples) for row in table[table["differs"]].itertuples()
    }


def change(root, name, old, new):
    path = root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def first_clip(root, name="sets/train_mos_list.txt"):
    return (root / name).read_text().split(",")[0]


def test_the_made_set_passes_all_checks_but_that_of_size(made):
    assert differences(made.folder) == {}
    found = differences(made.folder, counts="official")
    n = made.clips["split"].value_counts()
    assert found == {
        "train list": ("1923 clips", f"{n['train']} clips", ""),
        "dev list": ("412 clips", f"{n['dev']} clips", ""),
        "test list": ("413 clips", f"{n['test']} clips", ""),
        "total list": ("2748 clips", "18 clips", ""),
    }
    assert differences(made.folder, counts={"total": 18}) == {}


def test_differences_are_one_warning_and_the_table_is_read_all_the_same(made):
    with pytest.warns(
        UserWarning, match=r"(?s)train\) differs .* in 1 checks:\n  train list: expected 1923 clips"
    ):
        clips = load_musiceval(made.folder, "train")
    assert len(clips) == (made.clips["split"] == "train").sum()
    with pytest.raises(
        ClipsTableError, match=r"(?s)in 4 checks:\n  train list: .*\n  total list: expected 2748"
    ):
        load_musiceval(made.folder, strict=True)
    load_musiceval(made.folder, check=False, strict=True)  # warns of nothing, as nothing is checked


def test_lists_against_each_other(root):
    lines = (root / "sets/train_mos_list.txt").read_text().splitlines()
    twice = lines[0].split(",")[0].removesuffix(".wav")
    with (root / "sets/train_mos_list.txt").open("a") as file:
        file.write(f"{lines[0]}\n")
    with (root / "sets/dev_mos_list.txt").open("a") as file:
        file.write(f"{lines[0]}\n")
    total = (root / "sets/total_mos_list.txt").read_text().replace(lines[1] + "\n", "")
    name, impression, alignment = lines[2].split(",")
    other = "1.0" if impression != "1.0" else "1.2"
    (root / "sets/total_mos_list.txt").write_text(total.replace(lines[2], f"{name},{other},{alignment}"))
    found = differences(root)
    assert found["train list: clips named twice"] == ("0", "1", twice)
    assert found["clips in two lists"] == ("0", "1", f"{twice} (train, dev)")
    left = lines[1].split(",")[0].removesuffix(".wav")
    assert found["clips in the total list or in train, dev, test, not in both"] == ("0", "1", left)
    assert found["clips whose scores differ between lists"] == ("0", "1", name.removesuffix(".wav"))


def test_scores_off_scale_and_steps(root):
    lines = (root / "sets/dev_mos_list.txt").read_text().splitlines()
    names = [line.split(",")[0] for line in lines]
    text = f"{names[0]},5.2,3.3\n{names[1]},good,3.0\n"
    (root / "sets/dev_mos_list.txt").write_text(text)
    found = differences(root, "dev")
    one, two = (name.removesuffix(".wav") for name in names[:2])
    assert found["impression: scores that are no number from 1 to 5"] == (
        "0",
        "2",
        f"{one} (5.2), {two} (nan)",
    )
    assert found["alignment: scores off the steps of 0.2"] == ("0", "1", f"{one} (3.3)")


def test_sounds(root):
    names = sorted(path.name for path in (root / "wav").iterdir())
    (root / "wav" / names[0]).unlink()
    (root / "wav" / names[1]).write_bytes(b"no sound at all")
    soundfile.write(root / "wav" / names[2], np.zeros((4800, 2)), 48000)
    soundfile.write(root / "wav" / names[3], np.zeros(0), 16000)
    soundfile.write(root / "wav" / "other.wav", np.zeros(160), 16000)
    found = differences(root)
    assert found.pop("sounds that are missing") == ("0", "1", names[0].removesuffix(".wav"))
    expected, count, examples = found.pop("sounds that cannot be read")
    assert count == "2" and f"{names[1]} (Format not recognised" in examples
    assert f"{names[3]} (holds no samples)" in examples
    stereo = f"{names[2].removesuffix('.wav')} (48000 Hz, 2 channels)"
    assert found.pop("sounds that are not 16 kHz mono") == ("0", "1", stereo)
    assert found.pop("sounds that no list names") == ("0", "1", "other.wav")
    assert found == {}


def test_headers_are_read_and_nothing_is_decoded(made, monkeypatch):
    monkeypatch.setattr(soundfile, "read", None)
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    assert differences(made.folder) == {}


def test_names_and_prompts(root):
    clip = first_clip(root)
    for path in root.glob("*/*.txt"):
        path.write_text(path.read_text().replace(clip, "a tune.wav"))
    (root / "wav" / clip).rename(root / "wav" / "a tune.wav")
    change(root, "demo_prompt_info.txt", f"{STEM}S001_P001.wav", f"{STEM}S001_P999.wav")
    with (root / "prompt_info.txt").open("a") as file:
        file.write("P001\tagain\nP002 without a tab\n")
    found = differences(root)
    assert found["names that tell no system and prompt"] == ("0", "1", "a tune")
    assert found["clips whose prompt is not in prompt_info.txt"] == ("0", "1", "a tune")
    assert found["clips whose prompt is not in demo_prompt_info.txt"] == ("0", "1", f"{STEM}S001_P001")
    assert found["prompt_info.txt: ids named twice"] == ("0", "1", "P001")
    words = "prompt_info.txt line 6 has 1 cells instead of 2"
    assert found["lines that cannot be read"] == ("0", "1", words)


def test_ratings(root):
    path = root / "person_mos" / "total_person_mos.txt"
    lines = path.read_text().splitlines()
    clips = [line.split(",")[0].removesuffix(".wav") for line in lines[::5]]
    raters = [line.split(",")[1] for line in lines]
    lines[0] = f"{clips[0]}.wav,{raters[1]},3,3"  # the second rater twice
    lines[5] = f"{clips[1]}.wav,{raters[5]},2.5,6"
    del lines[10]
    lines.append("stranger.wav,R01,3,3")
    path.write_text("\n".join(lines) + "\n")
    found = differences(root)
    assert found["ratings that repeat a rater and clip"] == ("0", "1", f"{raters[1]} of {clips[0]}")
    assert found["clips without 5 ratings"] == ("0", "1", f"{clips[2]} (4)")
    assert found["rated clips that no list names"] == ("0", "1", "stranger")
    off = ("0", "1", f"{clips[1]} by {raters[5]}")
    assert found["impression: ratings that are no whole number from 1 to 5"] == off
    assert found["alignment: ratings that are no whole number from 1 to 5"] == off
    assert clips[1] in found["alignment: scores that are not the mean of their ratings"][2]


def test_system_table_against_averaged_clips(root, made):
    means = made.clips.groupby("system")[["impression", "alignment"]].mean()
    rows = [f"{system},{row.impression:.2f},{row.alignment:.2f}" for system, row in means.iterrows()]
    (root / "system_mos" / "system_mos_full.csv").write_text("\n".join(rows))
    assert differences(root) == {}  # two decimals are no difference
    rows[0] = f"S001,{means['impression'].iloc[0] + 0.02:.3f},{means['alignment'].iloc[0]:.3f}"
    rows[-1] = "S099,3,3"
    (root / "system_mos" / "system_mos_full.csv").write_text("\n".join(rows))
    found = differences(root)
    assert found.pop("systems in table or lists, not in both") == ("0", "2", "S033, S099")
    expected, count, examples = found.pop(
        "impression: systems whose table score is not the mean of their clips"
    )
    mean = means["impression"].iloc[0]
    assert (count, examples) == ("1", f"S001 ({mean + 0.02:g}, clips {mean:.3f})")
    assert found == {}


def test_files_that_are_not_there(root):
    shutil.rmtree(root / "person_mos")
    shutil.rmtree(root / "system_mos")
    (root / "prompt_info.txt").unlink()
    (root / "sets" / "total_mos_list.txt").unlink()
    found = differences(root)
    assert found.pop("ratings")[:2] == ("person_mos/total_person_mos.txt", "no file")
    assert found.pop("system table")[:2] == ("one file in system_mos", "no file")
    assert found.pop("total list")[:2] == ("sets/total_mos_list.txt", "no file")
    assert found.pop("prompt_info.txt")[:2] == ("a file", "no file")
    assert found.pop("clips whose prompt is not in prompt_info.txt")[:2] == ("0", "6")
    assert found == {}


def test_system_tables_that_cannot_be_told_apart(root):
    (root / "system_mos" / "system_mos_full.csv").rename(root / "system_mos" / "one.csv")
    (root / "system_mos" / "two.csv").write_text("S001,3,3\n")
    assert differences(root)["system table"][1] == "2 files, none of them known"


def test_at_most_five_examples_are_listed(root):
    shutil.rmtree(root / "wav")
    examples = differences(root)["sounds that are missing"][2]
    assert examples.count(STEM) == 5 and examples.endswith("(+13 more)")


def test_the_true_training_labels_pass_what_they_can():
    root = DATA / "musiceval"
    if not (root / "sets" / "train_mos_list.txt").is_file():
        pytest.skip(f"MusicEval's training labels are not at {root}; set MUSICEVAL_TEST_DATA")
    table = check_musiceval(root, "train").set_index("check")
    passed = [
        "train list",
        "train list: clips named twice",
        "impression: scores that are no number from 1 to 5",
        "impression: scores off the steps of 0.2",
        "alignment: scores that are no number from 1 to 5",
        "alignment: scores off the steps of 0.2",
        "names that tell no system and prompt",
        "lines that cannot be read",
    ]
    assert not table.loc[passed, "differs"].any()
    assert table.loc["train list", "found"] == "1923 clips"
    # No more than the list is there.
    assert table.loc["sounds that are missing", "found"] == "1923"
    assert table.loc["clips whose prompt is not in demo_prompt_info.txt", "found"] == "187"
