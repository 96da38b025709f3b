import numpy as np
import pytest

from musiceval_sk.estimators.preparation import head_columns

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
        ({"loudness": "all"}, NAMES, "head_inputs names loudness, but the targets are impression, alignment"),
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
