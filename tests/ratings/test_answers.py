import warnings

import pandas as pd
import pytest

from musiceval_sk import ClipsTableError, SkippedWarning, read_answers, write_answers
from musiceval_sk.ratings.answers import match_answers
from tests.made_musiceval import make_musiceval


@pytest.fixture
def write(tmp_path):
    def write_text(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_text


@pytest.fixture
def truth(write):
    return write("truth.csv", "clip_id,system,impression,alignment\na,S1,1,2\nb,S2,3,4\nc,S1,5,1\n")


def test_answers_meet_the_truth_by_clip_id(write, truth):
    predictions = write("p.csv", "clip_id,alignment,impression\nc,1.1,4.9\na,2.1,1.1\nb,3.9,3.1\n")
    true, predicted, systems = match_answers(predictions, truth)
    assert true.index.tolist() == predicted.index.tolist() == ["a", "b", "c"]
    assert list(true.columns) == list(predicted.columns) == ["impression", "alignment"]
    assert true["impression"].tolist() == [1, 3, 5]
    assert predicted["impression"].tolist() == [1.1, 3.1, 4.9]
    assert systems.tolist() == ["S1", "S2", "S1"]


def test_only_shared_targets_are_compared(write, truth):
    predictions = write("p.csv", "clip_id,impression\na,1\nb,2\nc,3\n")
    true, predicted, _ = match_answers(predictions, truth)
    assert list(true.columns) == list(predicted.columns) == ["impression"]


def test_ids_meet_as_text(write):
    # 12 in JSON and " 12" in CSV are one clip.
    predictions = write("p.jsonl", '{"clip_id": 12, "impression": 2}\n')
    true, predicted, _ = match_answers(predictions, write("t.csv", "clip_id,impression\n 12,3\n"))
    assert true["impression"].to_dict() == {"12": 3}
    assert predicted["impression"].to_dict() == {"12": 2}


def test_ratings_are_averaged_into_the_truth(write, truth):
    predictions = write("p.csv", "clip_id,impression\na,1\n")
    ratings = write("r.csv", "rater,clip_id,impression\nA,a,2\nB,a,5\n")
    true, _, systems = match_answers(predictions, truth, ratings=ratings)
    assert true["impression"].to_dict() == {"a": 3.5}
    assert systems.to_dict() == {"a": "S1"}


def test_what_only_one_side_has_is_counted(write, truth):
    predictions = write("p.csv", "clip_id,impression\na,1\nb,\nx,2\ny,3\n")
    with (
        pytest.warns(SkippedWarning, match="^2 clips have no prediction: b, c$"),
        pytest.warns(SkippedWarning, match="^2 clips have no true score: x, y$"),
    ):
        true, _, _ = match_answers(predictions, truth)
    assert true.index.tolist() == ["a"]


def test_systems_must_all_be_named(write):
    predictions = write("p.csv", "clip_id,impression\na,1\nb,2\n")
    assert match_answers(predictions, write("t.csv", "clip_id,impression\na,3\nb,2\n"))[2] is None
    partly = write("u.csv", "clip_id,system,impression\na,S1,3\nb,,2\n")
    with pytest.warns(
        UserWarning, match="^1 of 2 clips name no system, so there are no system-level scores: b$"
    ):
        assert match_answers(predictions, partly)[2] is None


@pytest.mark.parametrize(
    "predictions, arguments, words",
    [
        (
            "clip_id,clarity\na,1\n",
            {},
            r"no target is in both tables; .*p\.csv has clarity, the truth system, imp",
        ),
        ("clip_id,impression\na,1\n", {"targets": ["clarity"]}, r"missing column\(s\) clarity"),
        ("clip_id,impression\nz,1\n", {}, "no clip is in both tables; predictions name z"),
        ("name,impression\na,1\n", {}, r"p\.csv: missing column\(s\) clip_id; found: name, impression"),
        ("clip_id,impression\na,1\na,2\n", {}, r"p\.csv: column 'clip_id' repeats a value: 'a' \(line 2\)"),
        (
            "clip_id,impression\na,high\n",
            {},
            r"p\.csv: column 'impression' must hold numbers, .* 'high' \(line 2\)",
        ),
    ],
)
def test_bad_answers_are_refused_in_words(write, truth, predictions, arguments, words):
    with pytest.raises(ClipsTableError, match=words):
        match_answers(write("p.csv", predictions), truth, **arguments)


def test_the_challenges_answer_file_is_written_and_read_back(tmp_path):
    answers = pd.DataFrame(
        {"alignment": [4.0, 1.25], "impression": [3.5, 1 / 3]}, index=["x-S001_P001.wav", "x-S002_P001"]
    )
    path = tmp_path / "answer.txt"
    write_answers(answers, path)
    assert path.read_text() == "x-S001_P001,3.5,4.0\nx-S002_P001,0.333333,1.25\n"
    back = read_answers(path)
    assert back.index.tolist() == ["x-S001_P001", "x-S002_P001"] and back.index.name == "clip_id"
    assert back.to_dict("list") == {"impression": [3.5, 0.333333], "alignment": [4.0, 1.25]}


@pytest.mark.parametrize(
    "index, impression, words",
    [
        (["a", "a.wav"], [1.0, 2.0], "clip ids repeat once .wav is taken off: a"),
        (["a", "a"], [1.0, 2.0], "clip ids repeat: a"),
        (["a", "b"], [1.0, float("nan")], "1 clip lacks a finite prediction: b; the challenge asks"),
        (["a", "b"], [float("inf"), 1.0], "1 clip lacks a finite prediction: a"),
    ],
)
def test_answers_that_the_challenge_would_not_take_are_not_written(tmp_path, index, impression, words):
    with pytest.raises(ClipsTableError, match=words):
        write_answers(
            pd.DataFrame({"impression": impression, "alignment": 1.0}, index=index), tmp_path / "a.txt"
        )
    with pytest.raises(ClipsTableError, match=r"missing column\(s\) alignment"):
        write_answers(pd.DataFrame({"impression": impression}, index=["a", "b"]), tmp_path / "a.txt")
    assert not (tmp_path / "a.txt").exists()


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "a,1,2\nb,1\n",
            r"expected lines of clip,impression,alignment, .*: p\.txt line 2 has 2 cells instead of 3",
        ),
        ("a,1,2\na.wav,1,2\n", r"with and without its suffix: 'a' \(line 1\), 'a.wav' \(line 2\)"),
        ("a,1,2\nb,good,2\n", r"column 'impression' must hold numbers, but has: 'good' \(line 2\)"),
        ("", r"p\.txt: the table is empty"),
        ("file,impression,alignment\na,1,2\n", r"missing column\(s\) clip_id; found: file, impression"),
    ],
)
def test_answer_files_that_cannot_be_read(write, text, words):
    with pytest.raises(ClipsTableError, match=words):
        read_answers(write("p.txt", text))


def test_ids_match_with_and_without_the_suffix(write, truth):
    for text in ("a.wav,1,1\nb.wav,2,2\nc.wav,3,3\n", "a,1,1\nb,2,2\nc.mp3,3,3\n"):
        _, predicted, _ = match_answers(write("p.txt", text), truth)
        assert predicted["impression"].to_dict() == {"a": 1, "b": 2, "c": 3}
    with_suffix = write("t.csv", "clip_id,impression\na.wav,1\nb.wav,2\n")
    true, _, _ = match_answers(write("p.txt", "b,2,2\na,1,1\n"), with_suffix)
    assert true.index.tolist() == ["a.wav", "b.wav"]


def test_missing_doubled_and_unknown_ids_are_named(write, truth):
    with (
        pytest.warns(SkippedWarning, match="^1 clip has no prediction: b$"),
        pytest.warns(SkippedWarning, match="^1 clip has no true score: stranger.wav$"),
    ):
        match_answers(write("p.txt", "a.wav,1,1\nc,2,2\nstranger.wav,3,3\n"), truth)
    doubled = write("p.csv", "clip_id,impression\na,1\na.wav,2\n")
    with pytest.raises(
        ClipsTableError, match=r"with and without its suffix: 'a' \(line 2\), 'a\.wav' \(line 3\)"
    ):
        match_answers(doubled, truth)


def test_two_sounds_of_one_name_are_two_clips(write):
    truth = write("t.csv", "clip_id,impression\na.wav,1\na.mp3,5\n")
    true, predicted, _ = match_answers(write("p.csv", "clip_id,impression\na.mp3,4\na.wav,2\n"), truth)
    assert true["impression"].tolist() == [1, 5] and predicted["impression"].tolist() == [2, 4]


def test_a_list_of_musiceval_is_a_truth_that_names_its_systems(write):
    truth = write("dev_mos_list.txt", "x-S001_P001.wav,3,4\nx-S002_P001.wav,1,2\n")
    true, _, systems = match_answers(write("p.txt", "x-S002_P001,1,1\nx-S001_P001,2,2\n"), truth)
    assert true["alignment"].tolist() == [4, 2]
    assert systems.tolist() == ["S001", "S002"]
    with pytest.raises(ClipsTableError, match="split='dev' is for a MusicEval folder"):
        match_answers(truth, truth, split="dev")


def test_a_musiceval_folder_is_a_truth(tmp_path, write):
    made = make_musiceval(tmp_path / "MusicEval-full", n_systems=1, n_prompts=2)
    of_test = made.clips[made.clips["split"] == "test"]
    answers = tmp_path / "answer.txt"
    write_answers(made.clips[["impression", "alignment"]], answers)
    with pytest.warns(SkippedWarning, match="12 clips have no true score"):
        true, predicted, systems = match_answers(answers, made.folder)
    assert true.index.tolist() == of_test.index.tolist() and true.equals(predicted)
    assert systems.equals(of_test["system"])
    true, _, _ = match_answers(answers, made.folder, split="total")
    assert len(true) == len(made.clips) == 14
    phase1 = make_musiceval(tmp_path / "phase1", "phase1", n_systems=1, n_prompts=2)
    with pytest.warns(SkippedWarning, match="12 clips have no true score"):
        true, _, _ = match_answers(answers, phase1.folder)
    assert set(phase1.clips.loc[true.index, "split"]) == {"dev"}


def test_results_of_versa_are_answers(write):
    answers = write("versa.jsonl", '{"key": "a", "utmos": 3.5}\n{"key": "b", "utmos": 2.0}\n')
    truth = write("t.csv", "clip_id,utmos\nb.wav,2\na.wav,3\n")
    true, predicted, _ = match_answers(answers, truth, targets=["utmos"])
    assert true["utmos"].to_dict() == {"b.wav": 2, "a.wav": 3}
    assert predicted["utmos"].to_dict() == {"b.wav": 2, "a.wav": 3.5}
    with pytest.raises(ClipsTableError, match=r"found: utmos\. If they are scores, give targets=\['utmos'\]"):
        match_answers(answers, truth)


def test_a_column_that_is_not_compared_is_named(write, truth):
    with pytest.warns(UserWarning, match=r"p\.csv: columns are not compared, .* found: alignement\. If"):
        match_answers(write("p.csv", "clip_id,impression,alignement\na,1,1\nb,2,2\nc,3,3\n"), truth)


def test_ids_that_almost_match_are_named(write, truth):
    with (
        pytest.warns(
            SkippedWarning, match="clip has no prediction: a; 'A' and 'a' differ in upper and lower"
        ),
        pytest.warns(
            SkippedWarning, match="clip has no true score: A; 'A' and 'a' differ in upper and lower"
        ),
    ):
        match_answers(write("p.txt", "A,1,1\nb,2,2\nc,3,3\n"), truth)
    with pytest.raises(
        ClipsTableError, match=r"no clip is in both tables; .*differ in slashes only: write them alike"
    ):
        match_answers(write("p.txt", "S1\\a,1,1\n"), write("t.csv", "clip_id,impression\nS1/a,1\n"))


def test_answers_of_no_clip_are_named(write):
    with pytest.raises(ClipsTableError, match=r"p\.csv: column 'clip_id' is empty in line\(s\) 3"):
        read_answers(write("p.csv", "clip_id,impression\na,1\n-,2\n"))


@pytest.mark.parametrize("text", ["a;1,5;2\nb;2;3,5\n", "clip_id;impression;alignment\na;1,5;2\nb;2;3,5\n"])
def test_answers_with_decimal_commas(write, text):
    assert read_answers(write("p.txt", text)).to_dict("list") == {
        "impression": [1.5, 2],
        "alignment": [2, 3.5],
    }


def test_a_truth_off_the_scale_is_refused_and_a_prediction_named(write, truth):
    off = write("off.csv", "clip_id,impression\na,1\nb,40\n")
    with pytest.raises(
        ClipsTableError, match=r"off\.csv: column 'impression' has scores off the scale 1 to 5: 40 \(line 3\)"
    ):
        match_answers(truth, off)
    predictions = write("p.csv", "clip_id,impression\na,80\nb,3\nc,5.004\n")
    words = (
        r"^impression: 1 of 3 predictions lie off the raters' scale, 1 to 5, by up to 75\.00: a\. "
        r"If raters used another, give scale= \(--scale\)$"
    )
    with pytest.warns(UserWarning, match=words):
        _, predicted, _ = match_answers(predictions, truth)
    assert predicted["impression"].tolist() == [80, 3, 5.004]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in ((0, 100), None):
            true, _, _ = match_answers(write("q.csv", "clip_id,impression\na,80\nb,3\n"), off, scale=scale)
            assert true["impression"].tolist() == [1, 40]
    # A table's own scores are not asked where ratings are given.
    ratings = write("r.csv", "rater,clip_id,impression\nA,a,2\nA,b,3\n")
    true, _, _ = match_answers(write("s.csv", "clip_id,impression\na,2\nb,3\n"), off, ratings=ratings)
    assert true["impression"].tolist() == [2, 3]
