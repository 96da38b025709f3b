import hashlib

import pytest
import soundfile

from musiceval_sk.datasets.musiceval.checks import DEMO_SYSTEMS
from tests.made_musiceval import make_musiceval

SMALL = {"n_systems": 3, "n_prompts": 3, "n_demo_clips": 2}


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_musiceval(tmp_path_factory.mktemp("made") / "MusicEval-full", **SMALL)


def test_the_files_are_those_of_the_full_layout(made):
    names = {str(path.relative_to(made.folder)) for path in made.folder.rglob("*") if path.is_file()}
    parts = ("train", "dev", "test", "total")
    tables = {f"{kind}/{part}_{ending}" for part in parts
              for kind, ending in (("sets", "mos_list.txt"), ("person_mos", "person_mos.txt"))}  # fmt: skip
    others = {
        "prompt_info.txt",
        "demo_prompt_info.txt",
        "metadata/README.txt",
        "system_mos/system_mos_full.csv",
    }
    assert names == tables | others | {f"wav/{clip}.wav" for clip in made.clips.index}


def test_lines_look_as_in_the_true_files(made):
    lines = (made.folder / "sets" / "total_mos_list.txt").read_text().splitlines()
    assert lines[0].startswith("audiomos2025-track1-S002_P001.wav,") and len(lines) == 3 * 3 + 6 * 2
    assert all(len(line.split(",")[1]) == 3 for line in lines)
    demo = (made.folder / "demo_prompt_info.txt").read_text().splitlines()
    assert demo[0] == "id\ttext" and demo[1].startswith("audiomos2025-track1-S001_P001.wav\t")
    shared = (made.folder / "prompt_info.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in shared] == ["id", "P001", "P002", "P003"]


def test_systems_prompts_raters(made):
    assert set(made.clips["system"]) == DEMO_SYSTEMS | {"S002", "S003", "S004"}
    demo = made.clips["system"].isin(DEMO_SYSTEMS)
    assert made.clips.loc[~demo, "prompt"].nunique() == 3
    assert made.clips.loc[demo, "prompt"].nunique() == 12  # each its own, none shared
    assert made.clips["prompt"].nunique() == 15
    assert set(made.ratings.groupby("clip_id")["rater"].nunique()) == {5}
    assert set(made.clips.loc[made.clips["split"] == "train", "system"]) == set(made.clips["system"])


def test_scores_are_means_of_five_whole_numbers(made):
    sums = made.ratings.groupby("clip_id")[["impression", "alignment"]].sum().loc[made.clips.index]
    assert ((sums / 5 - made.clips[["impression", "alignment"]]).abs() < 1e-9).all(axis=None)


def test_sounds_are_16_khz_mono(made):
    header = soundfile.info(made.clips["path"].iloc[0])
    assert (header.samplerate, header.channels, header.frames) == (16000, 1, 16000)


def test_about_seventy_fifteen_fifteen(tmp_path):
    made = make_musiceval(tmp_path / "m", n_systems=4, n_prompts=7, n_demo_clips=2)
    assert made.clips["split"].value_counts().to_dict() == {"train": 28, "dev": 6, "test": 6}


def test_the_same_seed_gives_the_same_bytes(made, tmp_path):
    again = make_musiceval(tmp_path / "again", **SMALL)
    assert digests(again.folder) == digests(made.folder)
    other = make_musiceval(tmp_path / "other", **SMALL, random_state=1)
    assert digests(other.folder) != digests(made.folder)


def test_phase1_keeps_nothing_of_the_test_clips(made, tmp_path):
    phase1 = make_musiceval(tmp_path / "MusicEval-phase1", "phase1", **SMALL)
    kept = made.clips.index[made.clips["split"] != "test"]
    assert phase1.clips.index.equals(kept)
    gone = made.clips.index.difference(kept)
    text = "".join(path.read_text() for path in phase1.folder.rglob("*") if path.suffix in (".txt", ".csv"))
    assert not any(clip in text for clip in gone)
    assert {path.stem for path in (phase1.folder / "wav").iterdir()} == set(kept)
    assert not list(phase1.folder.glob("*/*t[eo][st]*_mos*"))  # neither test nor total


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"layout": "zip"}, "unknown layout 'zip'; choose from full, phase1, parquet"),
        ({"n_systems": 0}, "n_systems=0 must be at least 1"),
        ({"n_prompts": 1, "n_demo_clips": 1}, "leave no clips for dev and test once train has one of each"),
        ({"n_prompts": 100, "n_demo_clips": 2}, "ask for 112 prompts; only 108 are distinct"),
        ({"seconds": 0.5}, "seconds=0.5 is too short"),
    ],
)
def test_arguments_out_of_range(tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        make_musiceval(tmp_path / "m", **arguments)
    assert not (tmp_path / "m").exists()


def test_nothing_is_written_over(made):
    with pytest.raises(ValueError, match="is not an empty folder; nothing was written"):
        make_musiceval(made.folder)
