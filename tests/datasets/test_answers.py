import pytest

from musiceval_sk import ClipsTableError, SkippedWarning
from musiceval_sk.datasets.answers import match_answers


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
