import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import ClipsTableError, SkippedWarning, load_clips
from musiceval_sk.datasets.clips import check_clips

ROWS = [
    {"clip_id": "a", "path": "audio/a.wav", "prompt": "calm piano", "system": "S1", "impression": "3.5"},
    {"clip_id": "b", "path": "audio/b.mp3", "prompt": "", "system": "S2", "impression": ""},
]


@pytest.fixture
def write(tmp_path):
    def write_rows(rows, name="clips.csv"):
        path = tmp_path / name
        suffix = path.suffix
        if suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pd.DataFrame(rows).to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
        return path

    return write_rows


@pytest.fixture
def folder(tmp_path):
    """Make a folder of empty files: finding clips opens none of them."""

    def make(*names):
        for name in names:
            path = tmp_path / "sounds" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "sounds"

    return make


@pytest.mark.parametrize("name", ["clips.csv", "clips.tsv", "clips.jsonl"])
def test_every_kind_of_table_gives_the_same_clips(write, tmp_path, monkeypatch, name):
    write(ROWS, name)
    monkeypatch.chdir(tmp_path.parent)
    clips = load_clips(Path(tmp_path.name) / name)
    assert clips.index.name == "clip_id"
    assert clips.index.tolist() == ["a", "b"]
    # Paths are relative to the table, not to the working folder.
    assert clips["path"].tolist() == [str(tmp_path / "audio" / "a.wav"), str(tmp_path / "audio" / "b.mp3")]
    assert clips["prompt"].tolist() == ["calm piano", ""]
    assert clips["system"].tolist() == ["S1", "S2"]
    np.testing.assert_array_equal(clips["impression"], [3.5, np.nan])
    assert clips["impression"].dtype == float


def test_absolute_paths_are_kept(write, tmp_path):
    elsewhere = str(tmp_path.parent / "elsewhere" / "a.wav")
    assert load_clips(write([{"clip_id": "a", "path": elsewhere}]))["path"].tolist() == [elsewhere]


def test_the_clip_id_defaults_to_the_path_without_suffix(write):
    clips = load_clips(write([{"path": "S1/P1.wav"}, {"path": "S1/P2.final.OPUS"}, {"path": "S1/P3.mid"}]))
    assert clips.index.tolist() == ["S1/P1", "S1/P2.final", "S1/P3.mid"]
    assert clips["prompt"].tolist() == [""] * 3
    assert "system" not in clips


def test_parts_of_a_file_need_ids(write):
    rows = [
        {"path": "a.wav", "start_time": 0, "end_time": 5},
        {"path": "a.wav", "start_time": 5, "end_time": 9},
    ]
    with pytest.raises(
        ClipsTableError,
        match=r"'clip_id' repeats a value: 'a' \(line 2\), 'a' \(line 3\); it was made of 'path': add a column 'clip_id'",
    ):
        load_clips(write(rows))
    named = [{"clip_id": name, **row} for name, row in zip("bc", rows, strict=True)]
    assert load_clips(write(named))["start_time"].tolist() == [0, 5]


@pytest.mark.parametrize("names", [("start", "end"), ("Offset", "duration"), ("start_s", "end_s")])
def test_times_of_other_names_are_not_passed_over_in_silence(write, names):
    rows = [{"path": "a.wav", names[0]: 0, names[1]: 50}]
    with pytest.warns(
        UserWarning, match=rf"columns are not read: '{names[0]}'.*; where .* start_time and end_time, in sec"
    ):
        load_clips(write(rows))
    assert load_clips(write([{**rows[0], "start_time": 1}]))["start_time"].tolist() == [1]  # and no warning


def test_cells_are_trimmed_and_json_values_become_text(write):
    rows = [
        {"clip_id": 1, "path": "a.wav", "prompt": " calm ", "system": None, "impression": 4},
        {"clip_id": 2, "path": "b.wav", "system": 7},
    ]
    clips = load_clips(write(rows, "clips.jsonl"))
    assert clips.index.tolist() == ["1", "2"]
    assert clips["prompt"].tolist() == ["calm", ""]
    assert clips["system"].tolist() == ["", "7"]
    np.testing.assert_array_equal(clips["impression"], [4, np.nan])


def test_other_targets_may_be_asked_for(write):
    path = write([{"path": "a.wav", "clarity": "2.5", "impression": "good"}])
    clips = load_clips(path, targets=["clarity"])
    assert clips["clarity"].tolist() == [2.5]
    assert clips["impression"].tolist() == ["good"]


@pytest.mark.parametrize(
    "rows, arguments, words",
    [
        ([{"clip_id": "a"}], {}, r"clips\.csv: missing column\(s\) path; found: clip_id"),
        (
            [ROWS[0], ROWS[1], ROWS[0]],
            {},
            r"clips\.csv: column 'clip_id' repeats a value: 'a' \(line 2\), 'a' \(line 4\)",
        ),
        ([{"path": "a.wav"}, {"path": "a.mp3"}], {}, r"repeats a value: 'a' \(line 2\), 'a' \(line 3\)"),
        (
            ROWS,
            {"targets": ["clarity"]},
            r"clips\.csv: unknown target\(s\) clarity; columns are: .*impression",
        ),
        (
            [ROWS[0], {**ROWS[1], "impression": "good"}],
            {},
            r"clips\.csv: column 'impression' must hold numbers, but has: 'good' \(line 3\)",
        ),
        ([ROWS[0], {**ROWS[1], "path": " "}], {}, r"clips\.csv: column 'path' is empty in line\(s\) 3"),
        ([ROWS[0], {**ROWS[1], "clip_id": ""}], {}, r"clips\.csv: column 'clip_id' is empty in line\(s\) 3"),
        (
            ROWS,
            {"pattern": "{system}"},
            r"pattern='\{system\}' is for a folder of sound files, not for a table",
        ),
    ],
)
def test_a_bad_table_is_refused_in_words(write, rows, arguments, words):
    with pytest.raises(ClipsTableError, match=words):
        load_clips(write(rows), **arguments)


@pytest.mark.parametrize("column", ["path", "clip_id"])
def test_a_json_row_may_not_lack_path_or_clip_id(write, column):
    lacking = {name: value for name, value in ROWS[1].items() if name != column}
    with pytest.raises(ClipsTableError, match=rf"column '{column}' is empty in line\(s\) 2"):
        load_clips(write([ROWS[0], lacking], "clips.jsonl"))


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(ClipsTableError, match="nowhere: no such file"):
        load_clips(tmp_path / "nowhere")


def test_a_folder_is_searched_for_sounds(folder):
    root = folder("S2/P1.wav", "S1/P2.FLAC", "S1/P1.opus", "S1/notes.txt", "cover.jpg")
    clips = load_clips(root)
    assert clips.index.tolist() == ["S1/P1", "S1/P2", "S2/P1"]
    assert clips["path"].tolist() == [str(root / name) for name in ("S1/P1.opus", "S1/P2.FLAC", "S2/P1.wav")]
    assert clips["prompt"].tolist() == [""] * 3


def test_paths_of_a_relative_folder_are_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder("a.wav").parent)
    assert os.path.isabs(load_clips("sounds")["path"].iloc[0])


def test_a_wav_beside_an_mp3_are_two_clips(folder):
    clips = load_clips(folder("a.wav", "a.mp3", "b.wav"))
    assert clips.index.tolist() == ["a.mp3", "a.wav", "b"]


def test_every_kind_that_can_be_read_is_found(folder):
    kinds = ("wav", "w64", "flac", "mp3", "ogg", "oga", "opus", "aiff", "aif", "aifc", "caf", "au")
    assert len(load_clips(folder(*(f"{kind}.{kind}" for kind in kinds)))) == 12


def test_sounds_of_kinds_that_are_not_read_are_counted(folder):
    root = folder("a.wav", "b.m4a", "c/d.M4A", "e.wma", "notes.txt")
    words = r"sounds: 3 files are of kinds that are not read, convert them to WAV or FLAC: 2 \.m4a, 1 \.wma$"
    with pytest.warns(SkippedWarning, match=words) as caught:
        assert load_clips(root).index.tolist() == ["a"]
    assert caught[0].filename == __file__
    with (
        pytest.warns(SkippedWarning, match=r"1 file is of kinds .* 1 \.webm$"),
        pytest.raises(ClipsTableError, match="no sound files below it"),
    ):
        load_clips(Path(folder("../other/f.webm")).parent / "other")


def test_what_macos_leaves_beside_sounds_is_no_sound(folder):
    root = folder("a.wav", "._a.wav", "__MACOSX/a.wav", "__MACOSX/._a.wav")
    assert load_clips(root).index.tolist() == ["a"]


def test_linked_folders_are_followed_and_loops_end(folder, tmp_path):
    root = folder("S1/a.wav")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.wav").touch()
    (root / "S2").symlink_to(elsewhere)
    (root / "S3").symlink_to(elsewhere)  # its clips count as S3's
    (elsewhere / "back").symlink_to(root)
    (root / "S1" / "self").symlink_to(root / "S1")
    assert load_clips(root).index.tolist() == ["S1/a", "S2/b", "S3/b"]


def test_links_to_nothing_and_pipes_are_named(folder):
    root = folder("a.wav")
    (root / "gone.wav").symlink_to("nowhere.wav")
    os.mkfifo(root / "pipe.wav")
    with pytest.warns(
        SkippedWarning, match="^2 sounds are no files but links to nothing.*: gone.wav, pipe.wav$"
    ):
        assert load_clips(root).index.tolist() == ["a"]


def test_a_name_that_is_no_text_can_be_printed_and_opened(folder):
    root = folder("a.wav")
    with open(os.fsencode(root) + b"/caf\xe9.wav", "wb"):
        pass
    clips = load_clips(root)
    assert clips.index.tolist() == ["a", "caf\\udce9"]
    assert os.path.isfile(clips["path"].iloc[1])


def test_times_are_numbers_of_seconds(write):
    rows = [{**ROWS[0], "start_time": "1.5", "end_time": ""}, {**ROWS[1], "start_time": "", "end_time": "2"}]
    clips = load_clips(write(rows))
    np.testing.assert_array_equal(clips["start_time"], [1.5, np.nan])
    np.testing.assert_array_equal(clips["end_time"], [np.nan, 2.0])


@pytest.mark.parametrize(
    "times, words",
    [
        (
            {"start_time": "1:30"},
            r"clips\.csv: column 'start_time' must hold numbers, but has: '1:30' \(line 2\)",
        ),
        (
            {"start_time": "3", "end_time": "2.5"},
            r"less than end_time, in seconds, but they are: 3 and 2\.5 \(line 2\)",
        ),
        ({"start_time": "-1"}, r"must be at least 0 .*: -1 and inf \(line 2\)"),
        ({"end_time": "0"}, r": 0 and 0 \(line 2\)"),
    ],
)
def test_times_out_of_order_are_refused(write, times, words):
    with pytest.raises(ClipsTableError, match=words):
        load_clips(write([{**ROWS[0], **times}]))


def test_a_folder_without_sounds_is_refused(folder):
    with pytest.raises(ClipsTableError, match=r"sounds: no sound files below it \(looked for \.wav \.flac"):
        load_clips(folder("notes.txt"))


@pytest.mark.parametrize(
    "pattern, name, expected",
    [
        ("{system}/{prompt}", "S1/calm piano.wav", {"system": "S1", "prompt": "calm piano"}),
        ("track-{system}_{prompt_id}", "track-S002_P044.wav", {"system": "S002", "prompt_id": "P044"}),
        # Each part matches as little as it can: the first hyphen divides.
        ("{system}-{prompt_id}", "mg-16-34.wav", {"system": "mg", "prompt_id": "16-34"}),
    ],
)
def test_a_pattern_names_the_parts_of_a_path(folder, pattern, name, expected):
    clip = load_clips(folder(name), pattern=pattern).iloc[0]
    assert {key: clip[key] for key in expected} == expected


def test_files_that_do_not_match_the_pattern_are_counted(folder):
    root = folder("S1/P1.wav", "S2/P1.wav", "stray.wav")
    with pytest.warns(SkippedWarning, match=r"^1 of 3 files do not match '\{system\}/\{prompt_id\}': stray$"):
        clips = load_clips(root, pattern="{system}/{prompt_id}")
    assert clips["system"].to_dict() == {"S1/P1": "S1", "S2/P1": "S2", "stray": ""}


def test_what_is_no_placeholder_is_taken_literally(folder):
    with pytest.warns(SkippedWarning, match="^1 of 2 files do not match .*: v1x0-S2$"):
        clips = load_clips(folder("v1.0-S1.wav", "v1x0-S2.wav"), pattern="v1.0-{system}")
    assert clips["system"].tolist() == ["S1", ""]


@pytest.mark.parametrize(
    "pattern, words",
    [
        ("{artist}/{prompt}", r"must be made of \{system\}, \{prompt\} and \{prompt_id\}.*; unknown: artist"),
        ("no placeholder", "must be made of"),
        ("{system}/{system}", "each once at most"),
    ],
)
def test_a_bad_pattern_is_refused(folder, pattern, words):
    with pytest.raises(ClipsTableError, match=words):
        load_clips(folder("a/b.wav"), pattern=pattern)


@pytest.mark.parametrize("names", [("S1", "S2"), ("S1.wav", "S2.wav"), ("S1.mp3", "S2")])
def test_a_side_table_joins_on_clip_id_with_and_without_suffix(folder, write, names):
    side = write(
        [
            {"clip_id": names[1], "prompt": "drums", "alignment": "2"},
            {"clip_id": names[0], "prompt": "flute"},
        ],
        "side.csv",
    )
    clips = load_clips(folder("S1.wav", "S2.wav"), prompts=side)
    assert clips["prompt"].to_dict() == {"S1": "flute", "S2": "drums"}
    np.testing.assert_array_equal(clips["alignment"], [np.nan, 2])


def test_a_side_table_tells_a_wav_from_an_mp3(folder, write):
    side = write(
        [
            {"clip_id": "a.wav", "prompt": "wave"},
            {"clip_id": "a.mp3", "prompt": "layer three"},
            {"clip_id": "b.wav", "prompt": "alone"},
        ],
        "side.csv",
    )
    clips = load_clips(folder("a.wav", "a.mp3", "b.wav"), prompts=side)
    assert clips["prompt"].to_dict() == {"a.mp3": "layer three", "a.wav": "wave", "b": "alone"}


def test_an_ambiguous_side_row_is_given_to_no_clip(folder, write):
    side = write([{"clip_id": "a.wav"}, {"clip_id": "a.mp3"}, {"clip_id": "b"}], "side.csv")
    with (
        pytest.warns(
            SkippedWarning,
            match=r"1 of 2 clips are not in .*: a; 'a' may be any of 'a\.wav', 'a\.mp3': write",
        ),
        pytest.warns(SkippedWarning, match=r"2 rows of .*side\.csv belong to no clip: a\.wav, a\.mp3$"),
    ):
        load_clips(folder("a.flac", "b.flac"), prompts=side)


def test_a_side_table_joins_on_prompt_id(folder, write):
    side = write([{"prompt_id": "P1", "prompt": "flute"}, {"prompt_id": "P2", "prompt": "drums"}], "side.tsv")
    clips = load_clips(
        folder("S1-P1.wav", "S1-P2.wav", "S2-P1.wav"), pattern="{system}-{prompt_id}", prompts=side
    )
    assert clips["prompt"].tolist() == ["flute", "drums", "flute"]
    assert clips["system"].tolist() == ["S1", "S1", "S2"]


def test_a_side_table_also_serves_a_clips_file(write):
    side = write([{"clip_id": "b", "prompt": "drums"}, {"clip_id": "a", "prompt": "flute"}], "side.csv")
    assert load_clips(write(ROWS), prompts=side)["prompt"].tolist() == ["flute", "drums"]


def test_paths_of_a_side_table_are_not_taken(folder, write):
    root = folder("a.wav")
    side = write([{"clip_id": "a", "path": "old/place.wav", "prompt": "flute"}], "side.csv")
    assert load_clips(root, prompts=side)["path"].tolist() == [str(root / "a.wav")]


def test_clips_and_side_table_that_do_not_meet_are_counted(folder, write):
    side = write([{"clip_id": "a", "prompt": "x"}, {"clip_id": "z", "prompt": "y"}], "side.csv")
    with (
        pytest.warns(SkippedWarning, match=r"^2 of 3 clips are not in .*side\.csv: b, c$"),
        pytest.warns(SkippedWarning, match=r"^1 row of .*side\.csv belongs to no clip: z$"),
    ):
        clips = load_clips(folder("a.wav", "b.wav", "c.wav"), prompts=side)
    assert clips["prompt"].tolist() == ["x", "", ""]


@pytest.mark.parametrize(
    "side, words",
    [
        (
            [{"prompt": "x"}],
            r"side\.csv: the side table needs a column 'clip_id', or 'prompt_id' .*; found: prompt",
        ),
        ([{"clip_id": "z"}], r"side\.csv: no clip_id of the side table belongs to a clip; e\.g\. 'z'"),
        (
            [{"clip_id": "a"}] * 2,
            r"side\.csv: column 'clip_id' repeats a value: 'a' \(line 2\), 'a' \(line 3\)",
        ),
        (
            [{"clip_id": "b", "alignment": "4"}, {"clip_id": "a", "alignment": "bad"}],
            r"side\.csv: column 'alignment' must hold numbers, but has: 'bad' \(line 3\)",
        ),
    ],
)
def test_a_bad_side_table_is_refused(folder, write, side, words):
    with pytest.raises(ClipsTableError, match=words):
        load_clips(folder("a.wav", "b.wav"), prompts=write(side, "side.csv"))


def test_check_clips_returns_the_table_itself():
    clips = pd.DataFrame({"path": ["a.wav"]}, index=["a"])
    assert check_clips(clips, columns=["path"]) is clips


@pytest.mark.parametrize(
    "clips, words",
    [
        ([["a.wav"]], r"expected a clips table \(pandas.DataFrame\), got list"),
        (pd.DataFrame({"path": []}), "the clips table is empty"),
        (pd.DataFrame({"path": list("abc")}, index=["x", "x", "y"]), "clip ids repeat: x$"),
        (pd.DataFrame({"audio": ["a.wav"]}), r"missing column\(s\) path; found: audio"),
    ],
)
def test_check_clips_holds_a_table_to_the_contract(clips, words):
    with pytest.raises(ClipsTableError, match=words):
        check_clips(clips, columns=["path"])


def test_an_audiofolder_is_a_clips_table(folder):
    root = folder("a.wav", "b.wav")
    (root / "metadata.csv").write_text("file_name,text\na.wav,calm piano\nb.wav,NA\n")
    clips = load_clips(root / "metadata.csv")
    assert clips["path"].tolist() == [str(root / "a.wav"), str(root / "b.wav")]
    assert clips["prompt"].to_dict() == {"a": "calm piano", "b": "NA"}


def test_a_table_need_not_name_sounds_where_nobody_listens(write):
    clips = load_clips(write([{"clip_id": "a", "system": "S1"}]), require_path=False)
    assert clips["system"].to_dict() == {"a": "S1"} and "path" not in clips
    by_path = load_clips(write([{"path": "a.wav", "system": "S1"}]), require_path=False)
    assert by_path.index.tolist() == ["a"]
    with pytest.raises(ClipsTableError, match=r"missing column\(s\) path; found: system"):
        load_clips(write([{"system": "S1"}]), require_path=False)


def test_a_column_that_may_be_a_score_is_named(write):
    path = write([{"path": "a.wav", "MOS": "3.5", "tempo": "120"}])
    with pytest.warns(UserWarning, match=r"names are unknown; .* found: MOS\. .* targets=\['MOS'\]"):
        load_clips(path)
    assert load_clips(path, targets=["mos"])["mos"].tolist() == [3.5]


def test_side_rows_that_almost_match_are_named(folder, write):
    side = write([{"clip_id": "A", "prompt": "x"}, {"clip_id": "b", "prompt": "y"}], "side.csv")
    with (
        pytest.warns(
            SkippedWarning, match="1 of 2 clips are not in .*: a; 'a' and 'A' differ in upper and lower"
        ),
        pytest.warns(SkippedWarning, match="1 row of .* belongs to no clip: A$"),
    ):
        load_clips(folder("a.wav", "b.wav"), prompts=side)
