"""Ids and names of systems, as every reader and figure matches them."""

import numpy as np
import pandas as pd
import pytest

from musiceval_sk._ids import (
    SOUND_SUFFIXES,
    id_text,
    id_texts,
    is_missing,
    match_ids,
    near_misses,
    require_names,
    systems_if_named,
    under_ids_of,
    warn_of_skipped,
    without_suffix,
)
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning


@pytest.mark.parametrize(
    "wanted, offered, expected",
    [
        (["b", "a"], ["a", "b"], [1, 0]),
        (["b.wav", "a", "c.MP3"], ["a.flac", "b", "c"], [1, 0, 2]),
        (["a.mp3", "a.wav"], ["a.wav", "a.mp3"], [1, 0]),  # the very text first
        ([1, 2.0, np.float64(3), "4"], ["4", "3", "2", "1"], [3, 2, 1, 0]),
        (["1.0", "2"], [2, 1], [1, 0]),  # 1.0 is what pandas writes of whole numbers in a column with gaps
        (["x", "a", "x"], ["a"], [-1, 0, -1]),
        (["a"], ["a.wav", "a.mp3"], [-1]),  # which of the two?
        (["A", " a", "1.50"], ["a", "1.5"], [-1, -1, -1]),
        (["take.2"], ["take.20"], [-1]),
        ([], ["a"], []),
    ],
)
def test_ids_meet_by_text_else_without_suffix(wanted, offered, expected):
    assert match_ids(wanted, offered).tolist() == expected


def test_two_ids_never_stand_for_one_clip():
    with pytest.raises(ClipsTableError, match=r"'a' and 'a\.wav' both stand for the clip 'a\.mp3': keep one"):
        match_ids(["a", "a.wav"], ["a.mp3"])
    with pytest.raises(ClipsTableError, match=r"^'a\.ogg' and 'a' both stand for the clip 'a\.mp3'"):
        match_ids(["a.ogg", "b", "a", "a.wav"], ["b", "a.mp3"])
    with pytest.raises(ClipsTableError, match=r"'a\.wav' and 'a' both stand for the clip 'a'"):
        match_ids(["a.wav", "a"], ["a", "b"])


@pytest.mark.parametrize("wanted", ["c", 1, "a"])
@pytest.mark.parametrize("offered", [["a", "b", "a"], [1, "1", "a"], ["1", 1.0, "a"]], ids=str)
def test_repeated_ids_are_named(wanted, offered):
    with pytest.raises(ClipsTableError, match=r"^ids repeat: (a|1)$"):
        match_ids([wanted], offered)


@pytest.mark.parametrize(
    "lacking, offered, words",
    [
        ("caf\u00e9", "cafe\u0301", r"differ in Unicode normalisation \(NFC, NFD, NFKC\) only"),
        ("S1\\p1", "S1/p1", r"'S1\\\\p1' and 'S1/p1' differ in slashes only"),
        ("Clip1.wav", "clip1", r"'Clip1\.wav' and 'clip1' differ in upper and lower case only"),
        (" a", "a", "' a' and 'a' differ in surrounding spaces only"),
        ("007", 7, "'007' and '7' differ in leading zeros only"),
        ("a.wav", "a.mp3", "'a.wav' and 'a.mp3' differ in their suffix only"),
        ("S1\\A", "s1/a", r"differ in slashes and upper and lower case only: write them alike$"),
    ],
)
def test_near_misses_are_named_with_their_difference(lacking, offered, words):
    assert match_ids([lacking], [offered]).tolist() == [0 if "suffix" in words else -1]
    with pytest.raises(ValueError, match=words):
        raise ValueError(near_misses([lacking], [offered]))


def test_near_misses_are_few_and_none_is_made_up():
    assert near_misses(["a", "b"], ["c"]) == ""
    assert (
        near_misses(list("ABCDE"), list("abcde")).count(" and ") == 6
    )  # "'A' and 'a'", "upper and lower", thrice
    assert near_misses(["a"], ["a.wav", "a.mp3"]) == "; 'a' may be any of 'a.wav', 'a.mp3': write them alike"


def test_text_of_ids():
    assert [id_text(value) for value in (1, 1.0, np.float32(1), "1", 1.5, "01")] == ["1"] * 4 + ["1.5", "01"]
    assert id_texts([" a ", None, np.nan, "", 2.0]) == ["a", "", "", "", "2"]


def test_suffixes_of_sounds_are_taken_off_and_no_others():
    assert {without_suffix(f"a{suffix}") for suffix in SOUND_SUFFIXES} == {"a"}
    assert [without_suffix(name) for name in ("a.b.WAV", "a.mid", ".wav", "S1/.wav", "wav")] == [
        "a.b", "a.mid", ".wav", "S1/.wav", "wav"
    ]  # fmt: skip


def test_no_name_is_no_name_however_it_is_written():
    names = ["S1", "", None, np.nan, pd.NA, "  ", 0, "None"]
    assert is_missing(names).tolist() == [False, True, True, True, True, True, False, False]
    assert is_missing(pd.Series(["a", None], dtype="category")).tolist() == [False, True]
    assert is_missing(["nan", np.nan]).tolist() == [False, True]
    assert is_missing([]).tolist() == id_texts([]) == []


@pytest.mark.parametrize("nothing", ["", None, np.nan, " "])
def test_systems_are_taken_if_all_clips_name_one(nothing):
    clips = pd.DataFrame({"system": ["S1", "S2"]}, index=["a", "b"])
    assert systems_if_named(clips).tolist() == ["S1", "S2"]
    assert systems_if_named(clips[[]]) is None
    assert systems_if_named(clips.assign(system=nothing)) is None
    partly = clips.assign(system=["S1", nothing])

    def read():
        return systems_if_named(partly)

    with pytest.warns(
        UserWarning, match="^1 of 2 clips name no system, so .* no system-level scores: b$"
    ) as warned:
        assert read() is None
    assert warned[0].filename == __file__  # who called the reader
    found = systems_if_named(clips.assign(system=["1 ", 1.0]))
    assert found.name == "system" and found.to_dict() == {"a": "1", "b": "1"}


def test_missing_names_are_refused_by_row_or_by_clip():
    assert require_names([" a", 1.0], "system").tolist() == ["a", "1"]
    names, clips = ["a", None, "", "b"], pd.Index(list("wxyz"))
    with pytest.raises(ValueError, match="^no prompt is known for the clips in rows: 1, 2$"):
        require_names(names, "prompt")
    with pytest.raises(ValueError, match="^no system is known for clips: x, y$"):
        require_names(names, "system", clips)
    with pytest.raises(ClipsTableError, match="^raters without a name: x, y$"):
        require_names(names, "rater", clips, complaint="raters without a name", error=ClipsTableError)


def test_rows_get_the_ids_that_others_have_for_them():
    table = pd.DataFrame({"score": [1, 2, 3]}, pd.Index(["a.wav", "b", "c.wav"], name="clip_id"))
    found = under_ids_of(pd.Index(["d", "b", "a"]), table)
    assert found.index.tolist() == ["a", "b", "c.wav"] and found.index.name == "clip_id"
    assert found["score"].tolist() == [1, 2, 3] and table.index[0] == "a.wav"
    assert under_ids_of(pd.Index(["c.wav", "d"]), table) is table
    numbered = under_ids_of(pd.Index(["2.wav"]), table.set_axis([1, 2, 3]))
    assert numbered.index.tolist() == [1, "2.wav", 3]


def test_what_is_skipped_is_named_where_the_caller_asked_for_it():
    words = r"^2 clips are silent: a, b; 'a' is near$"
    with pytest.warns(SkippedWarning, match=words) as warned:
        warn_of_skipped("2 clips are silent", ["a", "b"], "; 'a' is near", stacklevel=1)
    assert warned[0].filename == __file__
    with pytest.warns(SkippedWarning, match=r"^some: 0, 1, 2, 3, 4 \(\+2 more\)$"):
        warn_of_skipped("some", range(7))
    with pytest.warns(SkippedWarning, match=r"^some: 0, 1 \(\+5 more\)$"):
        warn_of_skipped("some", range(7), most=2)
