"""Reading MusicEval: hand-written files where a number is checked, the maker's where a whole data set is needed."""

import os
from pathlib import Path

import pandas as pd
import pytest

from musiceval_sk import (
    ClipsTableError,
    aggregate_ratings,
    load_musiceval,
    load_musiceval_ratings,
    make_split,
)
from musiceval_sk.datasets.musiceval.layout import load_musiceval_systems
from musiceval_sk.datasets.tools import read_system_table
from tests.made_musiceval import make_musiceval

STEM = "audiomos2025-track1-"
DATA = Path(os.environ.get("MUSICEVAL_TEST_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))


@pytest.fixture
def write(tmp_path):
    """Write files of a MusicEval folder by hand."""

    def write_files(files, root="MusicEval-full"):
        for name, text in files.items():
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / root

    return write_files


@pytest.fixture
def by_hand(write):
    return write(
        {
            "sets/train_mos_list.txt": f"{STEM}S002_P044.wav,3.8,4.2\n{STEM}S001_P003.wav,2.0,3.0\n",
            "sets/dev_mos_list.txt": f"{STEM}S003_P003.wav,1.0,5.0\n",
            "sets/test_mos_list.txt": f"{STEM}S033_P001.wav,4.4,4.6\n",
            "prompt_info.txt": "id\ttext\nP044\tcalm piano\nP003\tthe shared text\n",
            "demo_prompt_info.txt": f"id\ttext\n{STEM}S001_P003.wav\tthe demo's own text\nS033_P001\tby short name\n",
        }
    )


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return make_musiceval(tmp_path_factory.mktemp("made") / "MusicEval-full", n_systems=3, n_prompts=3)


def test_lists_become_a_clips_table(by_hand):
    clips = load_musiceval(by_hand, "train", check=False)
    assert clips.index.name == "clip_id"
    assert clips.index.tolist() == [f"{STEM}S002_P044", f"{STEM}S001_P003"]
    assert clips["path"].tolist() == [str(by_hand / "wav" / f"{clip}.wav") for clip in clips.index]
    assert clips["system"].tolist() == ["S002", "S001"]
    assert clips["impression"].tolist() == [3.8, 2.0] and clips["alignment"].tolist() == [4.2, 3.0]
    assert clips["split"].tolist() == ["train", "train"]


def test_demo_systems_take_their_prompt_by_clip_and_others_by_prompt_id(by_hand):
    clips = load_musiceval(by_hand, check=False)
    assert clips["prompt"].tolist() == [
        "calm piano",
        "the demo's own text",
        "the shared text",
        "by short name",
    ]
    assert clips["prompt_id"].tolist() == ["P044", "S001_P003", "P003", "S033_P001"]


def test_a_demo_clip_never_falls_back_on_the_shared_prompt(by_hand):
    (by_hand / "demo_prompt_info.txt").write_text("id\ttext\n")
    assert load_musiceval(by_hand, "train", check=False)["prompt"].tolist() == ["calm piano", ""]


def test_total_is_all_lists_and_says_which(by_hand):
    assert load_musiceval(by_hand, check=False)["split"].tolist() == ["train", "train", "dev", "test"]
    (by_hand / "sets" / "total_mos_list.txt").write_text(
        f"{STEM}S009_P044.wav,3,3\n{STEM}S003_P003.wav,1,5\n"
    )
    clips = load_musiceval(by_hand, check=False)
    assert clips.loc[f"{STEM}S009_P044", "split"] == "" and len(clips) == 5


def test_text_is_read_as_it_stands(write):
    root = write(
        {
            "sets/train_mos_list.txt": "\ufeff"
            + f"{STEM}S002_P001.wav, 3.8 ,4.2\r\n\r\n{STEM}S003_P002.wav,3,3\r\n",
            "prompt_info.txt": 'id\ttext\r\nP001\t"a ""loud"" tune,\twith a tab"\r\nP002\t"an open quote\r\n',
        }
    )
    clips = load_musiceval(root, "train", check=False)
    assert clips["prompt"].tolist() == ['a "loud" tune,\twith a tab', '"an open quote']
    assert clips["impression"].tolist() == [3.8, 3.0]


def test_an_unpacked_archive_may_lie_one_folder_below(by_hand):
    assert len(load_musiceval(by_hand.parent, "train", check=False)) == 2


def test_the_made_set_is_read_as_it_was_written(full):
    clips = load_musiceval(full.folder, counts=None, strict=True)
    truth = full.clips.loc[clips.index]
    for column in ("path", "prompt", "system", "prompt_id", "impression", "alignment", "split"):
        assert clips[column].tolist() == truth[column].tolist(), column
    assert len(clips) == len(full.clips) == 3 * 3 + 6 * 2


def test_ratings_average_to_the_scores(full):
    ratings = load_musiceval_ratings(full.folder)
    assert list(ratings.columns) == ["rater", "clip_id", "impression", "alignment"]
    assert len(ratings) == 5 * 21
    clips = load_musiceval(full.folder, counts=None)
    scores = aggregate_ratings(ratings, clips=clips)
    assert (scores["impression"] - clips["impression"]).abs().max() < 1e-9
    dev = load_musiceval_ratings(full.folder, "dev")
    assert set(dev["clip_id"]) == set(clips.index[clips["split"] == "dev"])


def test_ratings_by_list_do_where_there_is_no_total(full, tmp_path, write):
    root = write(
        {
            "sets/train_mos_list.txt": "a-S002_P001.wav,3,3\n",
            "person_mos/train_person_mos.txt": "a-S002_P001.wav,R1,3,4\n",
            "person_mos/dev_person_mos.txt": "a-S002_P002.wav,R2,1,2\n",
        },
        root="MusicEval-phase1",
    )
    assert load_musiceval_ratings(root).to_numpy().tolist() == [
        ["R1", "a-S002_P001", 3.0, 4.0],
        ["R2", "a-S002_P002", 1.0, 2.0],
    ]
    assert load_musiceval_ratings(root, "train")["rater"].tolist() == ["R1"]


def test_the_system_table_is_the_mean_of_all_clips(full):
    table = load_musiceval_systems(full.folder)
    means = full.clips.groupby("system")[["impression", "alignment"]].mean()
    pd.testing.assert_frame_equal(table, means, atol=5e-5, rtol=0, check_index_type=False)


@pytest.mark.parametrize(
    "files",
    [
        {"system_mos_phase1.csv": "S002,3.5,4\n"},
        {"systems.txt": "system,MOS1,MOS2\nS002,3.5,4\n"},
        {"system_mos_full.csv": "S002,3.5,4\n", "system_mos_dev.csv": "S002,1,1\n", "README.md": "words"},
    ],
)
def test_the_system_table_is_found_with_or_without_a_header(by_hand, write, files):
    write({f"system_mos/{name}": text for name, text in files.items()})
    assert load_musiceval_systems(by_hand).to_dict("index") == {"S002": {"impression": 3.5, "alignment": 4.0}}


def test_phase1_has_no_test_list_and_says_so(tmp_path):
    made = make_musiceval(tmp_path / "MusicEval-phase1", "phase1", n_systems=1, n_prompts=2)
    clips = load_musiceval(made.folder, counts=None, strict=True)
    assert set(clips["split"]) == {"train", "dev"} and len(clips) == len(made.clips)
    with pytest.raises(
        ClipsTableError, match=r'phase1 has no test list, .* take split="dev", or MusicEval-full'
    ):
        load_musiceval(made.folder, "test", counts=None)
    assert make_split("official", clips).splitter.test == "dev"


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda root: load_musiceval(root, "training"),
            "unknown split 'training'; choose from train, dev, test, total",
        ),
        (lambda root: load_musiceval(root, counts="true"), "counts='true' must be \"official\", a mapping"),
        (lambda root: load_musiceval(root / "nowhere"), "nowhere: no such file or folder"),
        (
            lambda root: load_musiceval(root / "sets"),
            r"not one MusicEval folder; expected .*, found: nothing",
        ),
        (load_musiceval_ratings, "no ratings; expected person_mos/total_person_mos.txt"),
        (load_musiceval_systems, r"expected one file in system_mos, as system_mos_full.csv, found: nothing"),
    ],
)
def test_what_is_not_there_is_named(by_hand, call, words):
    with pytest.raises(ValueError, match=words):
        call(by_hand)


def test_a_missing_list_is_named_with_those_that_are_there(by_hand):
    (by_hand / "sets" / "dev_mos_list.txt").unlink()
    with pytest.raises(ClipsTableError, match=r"no sets/dev_mos_list\.txt; there are the lists: train, test"):
        load_musiceval(by_hand, "dev")


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "S1,1\n",
            "expected lines of system,impression,alignment, .*: s.csv line 1 has 2 cells instead of 3",
        ),
        ("", "the table is empty"),
        ("S1,1,2\nS1,2,3\n", r"repeats a value: 'S1' \(line 1\), 'S1' \(line 2\)"),
        ("S1,1,2\nS2,40,3\n", r"'impression' has scores off the scale 1 to 5: 40 \(line 2\)"),
        ("S1,1,2\nS2,high,3\n", r"must hold numbers, but has: 'high' \(line 2\)"),
    ],
)
def test_a_system_table_that_cannot_be_read_is_refused(tmp_path, text, words):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ClipsTableError, match=words):
        read_system_table(tmp_path / "s.csv")


def test_the_true_training_labels():
    root = DATA / "musiceval"
    if not (root / "sets" / "train_mos_list.txt").is_file():
        pytest.skip(f"MusicEval's training labels are not at {root}; set MUSICEVAL_TEST_DATA")
    clips = load_musiceval(root, "train", check=False)
    assert len(clips) == 1923 and clips["system"].nunique() == 31
    demo = clips["prompt_id"].str.contains("_")
    assert demo.sum() == 187 and clips.loc[~demo, "prompt_id"].nunique() == 100
    assert clips.loc[f"{STEM}S001_P001", ["impression", "alignment"]].tolist() == [4.0, 4.2]
    # Leaving prompts out goes by text; without texts, ids stand in for them.
    split = make_split("prompt", clips.assign(prompt=clips["prompt_id"]))
    assert len(split.folds(clips)) == 5
