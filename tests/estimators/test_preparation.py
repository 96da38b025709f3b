"""What a regressor sorts out before it trains: the columns of each head, groups, and distinct rows."""

import numpy as np
import pandas as pd
import pytest

from musiceval_sk.estimators.preparation import check_groups, default_columns, distinct_rows, head_columns

NAMES = np.array(["audio_0", "text_0", "audio_1", "text_1"], dtype=object)
BOTH = ["impression", "alignment"]
AUDIO, EVERYTHING = [0, 2], [0, 1, 2, 3]


def columns(head_inputs, targets=BOTH, names=NAMES, n_features=4):
    return [chosen.tolist() for chosen in head_columns(head_inputs, targets, names, n_features)]


def test_by_default_impression_sees_audio_and_others_all():
    assert columns(None) == [AUDIO, EVERYTHING]
    assert columns(None, ["target_0"]) == [EVERYTHING]


def test_by_default_impression_sees_all_where_names_tell_nothing():
    assert columns(None, names=None) == [EVERYTHING, EVERYTHING]
    assert columns(None, names=np.array(["audio_0", "audio_1", "tempo", "key"])) == [EVERYTHING, EVERYTHING]


@pytest.mark.parametrize(
    ("head_inputs", "expected"),
    [
        ("all", EVERYTHING),
        ("audio", AUDIO),
        ("text_1", [3]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, -2), [1, 3]),
        ([3, 0], [0, 3]),
        ([2, 2], [2]),
        ([-1], [3]),
        (np.array([False, True, True, False]), [1, 2]),
        (lambda names: [name.endswith("0") for name in names], [0, 1]),
        (lambda names: [2], [2]),
    ],
)
def test_one_choice_for_all_heads(head_inputs, expected):
    assert columns(head_inputs) == [expected, expected]


def test_dict_says_it_per_target_and_the_default_rule_fills_in():
    assert columns({"alignment": "text"}) == [AUDIO, [1, 3]]
    assert columns({"impression": slice(0, 1)}) == [[0], EVERYTHING]
    assert columns({"impression": None}) == [EVERYTHING, EVERYTHING]


def test_slices_and_indices_need_no_names():
    assert columns({"impression": slice(0, 2), "alignment": [3]}, names=None) == [[0, 1], [3]]


@pytest.mark.parametrize(
    ("head_inputs", "names", "words"),
    [
        (
            {"loudness": "all"},
            NAMES,
            "unknown target of head_inputs 'loudness'; choose from impression, alignment",
        ),
        ("video", NAMES, "head_inputs='video' leaves the head of 'impression' no column out of 4"),
        (slice(3, 1), NAMES, r"slice\(3, 1, None\) leaves the head of 'impression' no column out of 4"),
        ("audio", None, "goes by column names, but X has none: give X as a DataFrame"),
        (lambda names: names, None, "goes by column names, but X has none"),
        (
            [0, 9],
            NAMES,
            r"\[0, 9\] for 'impression' does not choose among 4 columns: index 9 is out of bounds",
        ),
        (["audio_0"], NAMES, "for 'impression' does not choose among 4 columns"),
        (lambda names: [True, False], NAMES, "for 'impression' does not choose among 4 columns"),
    ],
)
def test_errors(head_inputs, names, words):
    with pytest.raises(ValueError, match=words):
        columns(head_inputs, names=names)


def test_impression_is_predicted_from_sound_where_names_tell_it_from_text():
    names = ["audio_0", "audio2_0", "text_0", "tempo"]
    assert default_columns("impression", names).tolist() == [True, True, False, False]
    assert default_columns("alignment", names).all()
    assert default_columns("impression", ["audio_0", "tempo"]).all()
    assert default_columns("impression", range(3)).tolist() == [True] * 3


def test_distinct_rows_by_hand():
    X = np.array([[2.0, 0.0], [1.0, 0.0], [2.0, -0.0], [1.0, 0.0], [3.0, 3.0]])
    Y = np.array([[1.0], [4.0], [1.0], [5.0], [2.0]])
    rows, merged = distinct_rows(X, Y, np.array([0.5, 1.0, 0.25, 1.0, 0.0]), None)
    # Rows 0 and 2 are one, of which the lighter comes first; rows 1 and 3 differ in y; row 4 weighs nothing.
    assert rows.tolist() == [1, 3, 2]
    assert merged.tolist() == [0.0, 1.0, 0.75, 1.0, 0.0]
    rows, merged = distinct_rows(X, Y, np.ones(5), np.array([1, 0, 0, 0, 0]))
    assert sorted(rows) == [0, 1, 2, 3, 4]
    assert merged.tolist() == [1.0] * 5


def test_a_rounding_error_moves_hardly_any_row(rng):
    X, Y = rng.normal(size=(60, 5)), rng.normal(size=(60, 2))
    nearly = X * (1 + 1e-15)
    one, other = (distinct_rows(features, Y, np.ones(60), None)[0] for features in (X, nearly))
    assert not np.array_equal(X, nearly)
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "groups, numbers",
    [
        ([2, "1", 1.0, "1 ", 2.5], [1, 0, 0, 0, 2]),
        ([("b", 1), ("a", 2), ("b", 1), ("a", 1), "c"], [2, 1, 2, 0, 3]),
        ([("b", 1), ("a", 1), ("b", 1), ("a", 1), ("a", 1)], [1, 0, 1, 0, 0]),
    ],
)
def test_groups_are_told_apart_by_their_text(groups, numbers):
    assert check_groups(groups, 5).tolist() == numbers
    assert check_groups(pd.Series(groups), 5).tolist() == numbers
    assert check_groups(pd.Series(groups, dtype=object).to_numpy(), 5).tolist() == numbers
    with pytest.raises(ValueError, match=r"groups has shape \(5, 2\); expected \(5,\)"):
        check_groups(np.ones((5, 2)), 5)


def test_groups_of_numbers_are_in_their_order():
    assert check_groups([10, 2, 10, 2.0, 3], 5).tolist() == [2, 0, 2, 0, 1]
