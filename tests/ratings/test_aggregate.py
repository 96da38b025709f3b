import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musiceval_sk import ClipsTableError, SkippedWarning, aggregate_ratings
from musiceval_sk.ratings.aggregate import METHODS
from tests.properties import fewer

RATINGS = pd.DataFrame(
    [("A", "y", 1, 5), ("A", "x", 2, 4), ("B", "x", 3, None), ("C", "x", 4, 5)],
    columns=["rater", "clip_id", "impression", "alignment"],
)
CLIPS = pd.DataFrame({"path": ["x.wav", "y.wav"]}, index=["x", "y"])


@pytest.fixture
def write(tmp_path):
    def write_text(text, name="ratings.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_text


def test_mean_count_and_standard_error():
    scores = aggregate_ratings(RATINGS)
    assert scores.index.name == "clip_id"
    # Clip x, impression 2, 3, 4: mean 3, sd sqrt((1 + 0 + 1) / 2) = 1, se 1 / sqrt(3).
    # Clip x, alignment 4, -, 5: mean 4.5, sd sqrt((.25 + .25) / 1), se sqrt(.5) / sqrt(2) = .5.
    # Clip y has one rating: no spread.
    expected = {
        "impression": [1, 3],
        "impression_count": [1, 3],
        "impression_se": [np.nan, 1 / np.sqrt(3)],
        "alignment": [5, 4.5],
        "alignment_count": [1, 2],
        "alignment_se": [np.nan, 0.5],
    }
    assert scores.index.tolist() == ["y", "x"]
    assert list(scores.columns) == list(expected)
    for column, values in expected.items():
        np.testing.assert_allclose(scores[column], values, rtol=1e-12)


@st.composite
def made_ratings(draw):
    """Three to five raters' scores of three to six clips, each of whom heard all."""
    raters, clips = draw(st.integers(3, 5)), draw(st.integers(3, 6))
    n = raters * clips
    scores = draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    cells = [(f"R{number // clips}", f"C{number % clips}", score) for number, score in enumerate(scores)]
    return pd.DataFrame(cells, columns=["rater", "clip_id", "impression"])


@fewer
@given(
    ratings=made_ratings(),
    seed=st.integers(0, 99),
    method=st.sampled_from(METHODS),
    level=st.integers(-9, 9),
    copies=st.integers(1, 3),
)
def test_what_changes_with_order_names_level_and_copies(ratings, seed, method, level, copies):
    copies = copies if method == "mean" else 1
    changed = pd.concat([ratings.assign(rater=f"{copy} " + ratings["rater"]) for copy in range(copies)])
    changed = changed.assign(impression=changed["impression"] + level).sample(frac=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of raters without spread, or taken for exact
        expected, found = (
            aggregate_ratings(table, scale=None, method=method) for table in (ratings, changed)
        )
    expected["impression"] += level
    # Copies of the panel add up squares and counts alike.
    count = expected["impression_count"]
    expected["impression_se"] *= np.sqrt((count - 1) / (copies * count - 1))
    expected["impression_count"] = copies * count
    pd.testing.assert_frame_equal(found.loc[expected.index], expected, rtol=1e-6, atol=1e-6)


def test_scores_follow_the_order_of_the_clips():
    assert aggregate_ratings(RATINGS, clips=CLIPS).index.tolist() == ["x", "y"]


def test_the_given_table_is_not_changed():
    ratings = pd.DataFrame({"rater": ["A"], "clip_id": [1], "impression": ["3"]})
    assert aggregate_ratings(ratings)["impression"].to_dict() == {"1": 3}
    assert ratings.to_dict("list") == {"rater": ["A"], "clip_id": [1], "impression": ["3"]}


@pytest.mark.parametrize(
    "name, text",
    [
        ("r.csv", "rater,clip_id,impression\nA, x ,2\nB,x,3\n"),
        ("r.tsv", "rater\tclip_id\timpression\nA\tx\t2\nB\tx\t3\n"),
        (
            "r.jsonl",
            '{"rater": 1, "clip_id": "x", "impression": 2}\n{"rater": 2, "clip_id": "x", "impression": 3}\n',
        ),
    ],
)
def test_ratings_are_read_from_files(write, name, text):
    scores = aggregate_ratings(write(text, name), clips=CLIPS)
    assert scores["impression"].to_dict() == {"x": 2.5}
    assert scores["impression_se"].tolist() == [pytest.approx(0.5)]  # sd sqrt(.5), over sqrt(2)


def test_a_clip_whose_cells_are_all_empty_has_no_score(write):
    scores = aggregate_ratings(write("rater,clip_id,impression\nA,x,\nA,y,4\n"))
    assert scores["impression_count"].to_dict() == {"x": 0, "y": 1}
    assert scores["impression"].isna().to_dict() == {"x": True, "y": False}


def test_ratings_of_unknown_clips_are_left_out_and_counted():
    ratings = pd.concat(
        [RATINGS, RATINGS.assign(rater="other", clip_id=["p", "p", "q", "x"])], ignore_index=True
    )
    with pytest.warns(SkippedWarning, match=r"^left out 3 ratings of 2 unknown clips: p, q$") as caught:
        scores = aggregate_ratings(ratings, clips=CLIPS)
    assert caught[0].filename == __file__
    assert scores["impression_count"].to_dict() == {"x": 4, "y": 1}


def test_a_rater_who_rates_a_clip_again_is_counted_and_named():
    again = pd.concat([RATINGS, RATINGS[:1]], ignore_index=True)
    with pytest.warns(UserWarning, match="^1 rating repeats a rater and clip; each counts as one more$"):
        scores = aggregate_ratings(again)
    assert scores["impression_count"].sum() == len(again)


@pytest.mark.parametrize(
    "text, arguments, words",
    [
        (
            "clip_id,impression\nx,3\n",
            {},
            r"ratings\.csv: missing column\(s\) rater; found: clip_id, impression",
        ),
        ("rater,clip_id\nA,x\n", {}, r"ratings\.csv: no target columns; looked for impression, alignment"),
        ("rater,clip_id,impression\nA,x,3\n", {"targets": ["clarity"]}, r"missing column\(s\) clarity"),
        (
            "rater,clip_id,impression\nA,x,3\nB,x,good\n",
            {},
            r"ratings\.csv: column 'impression' must hold numbers, but has: 'good' \(line 3\)",
        ),
        (
            "rater,clip_id,impression\nA,x,3\nB,x,0\nC,x,5.5\n",
            {},
            r"ratings\.csv: column 'impression' has scores off the scale 1 to 5: 0 \(line 3\), 5\.5 \(line 4\)\. "
            r"Correct them, or give scale= \(--scale\) as the raters used it",
        ),
        ("rater,clip_id,impression\nA,z,3\n", {"clips": CLIPS}, r"ratings name z, clips are x, y"),
        ("rater,clip_id,impression\n", {}, r"ratings\.csv: the table is empty"),
        ("rater,clip_id,impression\nA,x\n", {}, r"ratings\.csv: line 2 has 2 cells where the header has 3"),
    ],
)
def test_bad_ratings_are_refused_in_words(write, text, arguments, words):
    with pytest.raises(ClipsTableError, match=words):
        aggregate_ratings(write(text), **arguments)


def test_an_empty_frame_is_refused():
    with pytest.raises(ClipsTableError, match="the ratings table is empty"):
        aggregate_ratings(RATINGS.iloc[:0])


def test_off_scale_scores_of_a_frame_are_named_by_row():
    doubled = pd.concat([RATINGS, RATINGS.assign(impression=9)])  # row labels repeat
    with pytest.raises(
        ClipsTableError, match=r"^column 'impression' .* 9 \(row 0\), 9 \(row 1\), 9 \(row 2\), 9"
    ):
        aggregate_ratings(doubled)


@pytest.mark.parametrize("scale", [(0, 10), None])
def test_another_scale_may_be_given(write, scale):
    ratings = write("rater,clip_id,impression\nA,x,0\nB,x,10\n")
    assert aggregate_ratings(ratings, scale=scale)["impression"].tolist() == [5]


def test_other_targets_may_be_asked_for():
    scores = aggregate_ratings(RATINGS.rename(columns={"alignment": "clarity"}), targets=["clarity"])
    assert list(scores.columns) == ["clarity", "clarity_count", "clarity_se"]


def test_ratings_meet_clips_with_and_without_suffix(write):
    text = "rater,clip_id,impression\nA,x.wav,2\nB,x.wav,4\nA,y.mp3,5\n"
    scores = aggregate_ratings(write(text), clips=CLIPS)
    assert scores["impression"].to_dict() == {"x": 3, "y": 5}
    named = CLIPS.set_axis(["x.wav", "y.wav"], axis=0)
    assert aggregate_ratings(RATINGS, clips=named)["impression"].to_dict() == {"x.wav": 3, "y.wav": 1}


@pytest.mark.parametrize(
    "index", [[1, 2], [1.0, 2.0], ["1", "2"], ["1.wav", "2.wav"], ["1.0", "2.0"]], ids=str
)
@pytest.mark.parametrize("names", [[1, 2, 1], [1.0, 2.0, 1.0], ["1", "2.wav", "1"]], ids=str)
def test_numbers_match_their_text(index, names):
    ratings = pd.DataFrame({"rater": ["A", "A", "B"], "clip_id": names, "impression": [1, 5, 2]})
    scores = aggregate_ratings(ratings, clips=pd.DataFrame(index=index))
    assert scores["impression"].to_dict() == {index[0]: 1.5, index[1]: 5}  # under the clips' own ids


def test_a_clip_with_and_without_suffix_in_one_table_is_refused(write):
    text = "rater,clip_id,impression\nA,x,2\nB,x,4\nA,x.wav,5\n"
    with pytest.raises(
        ClipsTableError, match=r"with and without its suffix: 'x' \(line 2\), 'x\.wav' \(line 4\)"
    ):
        aggregate_ratings(write(text))


def test_ids_that_almost_match_are_named():
    ratings = RATINGS.assign(clip_id=["Y", "X", "x", "X"])
    with pytest.warns(
        SkippedWarning,
        match=r"3 ratings of 2 unknown clips: Y, X; 'Y' and 'y' differ in upper and lower case only",
    ):
        aggregate_ratings(ratings, clips=CLIPS)
    composed = pd.DataFrame(index=["caf\u00e9"])
    with pytest.raises(
        ClipsTableError, match=r"no rating belongs to a clip .*differ in Unicode normalisation"
    ):
        aggregate_ratings(RATINGS.assign(clip_id="cafe\u0301"), clips=composed)


@pytest.mark.parametrize("blank", ["", " ", None, np.nan])
def test_ratings_of_no_clip_are_named(blank):
    with pytest.raises(ClipsTableError, match=r"^column 'clip_id' is empty in row\(s\) 1$"):
        aggregate_ratings(RATINGS.assign(clip_id=["y", blank, "x", "x"]))


def test_names_of_columns_may_be_written_otherwise():
    ratings = RATINGS.rename(columns={"rater": "Rater", "clip_id": " Clip ID", "impression": "IMPRESSION"})
    pd.testing.assert_frame_equal(aggregate_ratings(ratings), aggregate_ratings(RATINGS))


def test_columns_that_may_be_scores_are_not_dropped_without_a_word(write):
    with pytest.raises(ClipsTableError, match=r"columns of numbers found: mos.*targets=\['mos'\]$"):
        aggregate_ratings(write("rater,clip_id,mos,note\nA,x,3,fine\n"))
    with pytest.warns(
        UserWarning, match="not taken as scores, for their names are unknown.* found: allignment"
    ):
        aggregate_ratings(RATINGS.rename(columns={"alignment": "allignment"}))
    # Off the scale, or asked for by name: no score, and no word.
    aggregate_ratings(RATINGS[["rater", "clip_id", "impression"]].assign(age=30))
    aggregate_ratings(RATINGS.rename(columns={"alignment": "allignment"}), targets=["impression"])
