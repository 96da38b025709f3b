from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import FewSystemsWarning, pairwise_accuracy


def counted(truth, prediction, is_tied, threshold):
    """One pair after another, as the definition says."""
    agreeing = 0
    pairs = list(combinations(range(len(truth)), 2))
    for i, j in pairs:
        true = 0 if is_tied(i, j) else np.sign(truth[i] - truth[j])
        guess = prediction[i] - prediction[j]
        agreeing += true == (0 if abs(guess) <= threshold else np.sign(guess))
    return agreeing / len(pairs)


@pytest.fixture
def scores(rng):
    truth = rng.integers(5, 25, 40) / 5
    return truth, truth + rng.normal(0, 0.6, 40), rng.uniform(0.1, 0.4, 40)


def test_by_hand():
    # Pairs of 1 2 2 4 and 1 3 3 2: 0-1, 0-2, 0-3 agree, 1-2 is tied in both; 1-3 and 2-3 disagree.
    assert pairwise_accuracy([1, 2, 2, 4], [1, 3, 3, 2]) == 4 / 6
    # A tie in one of the two is no agreement.
    assert pairwise_accuracy([1, 2, 2, 4], [1, 2, 3, 4]) == 5 / 6
    # With neighbours tied, 1-2 agrees, but 0-1 and 2-3 no more.
    assert pairwise_accuracy([1, 2, 2, 4], [1, 2, 3, 4], pred_threshold=1) == 4 / 6


def test_thresholds_against_the_definition(scores):
    truth, prediction, _ = scores
    found = pairwise_accuracy(truth, prediction, true_threshold=0.25, pred_threshold=0.3)
    expected = counted(truth, prediction, lambda i, j: abs(truth[i] - truth[j]) < 0.25, 0.3)
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_difference_of_just_the_threshold_is_a_tie_whatever_its_last_bit():
    # 4.6 - 4.4 is a hair more than 0.2 in floats, and 1.2 - 1 a hair less.
    assert pairwise_accuracy([4.4, 4.6], [1, 1], true_threshold=0.2) == 1
    assert pairwise_accuracy([1.0, 1.2], [1, 1], true_threshold=0.2) == 1


def test_ties_from_raters_noise(scores):
    truth, prediction, errors = scores

    def is_tied(i, j):
        return abs(truth[i] - truth[j]) <= 1.6448536269514722 * np.hypot(errors[i], errors[j])

    found = pairwise_accuracy(truth, prediction, standard_errors=errors, confidence=0.9)
    assert found == pytest.approx(counted(truth, prediction, is_tied, 0), abs=1e-12)


def test_standard_errors_are_matched_by_clip():
    y = pd.Series([1.0, 1.5, 4.0], index=["a", "b", "c"])
    errors = pd.Series({"c": 0.0, "b": 0.2, "a": 0.2, "unused": 9.0})
    # a and b are tied: .5 is less than 1.96 * .283; nothing else is.
    assert pairwise_accuracy(y, [1, 1, 2], standard_errors=errors) == 1


def test_systems_are_compared_by_their_means():
    systems = list("aabbccddee")
    truth = [1, 1, 2, 2, 3, 3, 4, 4, 4, 5]
    prediction = [1, 1, 2, 2, 3, 3, 5, 5, 4, 5]  # means 1 2 3 5 4.5: d and e are turned round
    assert pairwise_accuracy(truth, prediction, systems=systems) == 9 / 10
    # A rating's error of .4 each makes .4 / sqrt(2) of a system's mean, .4 of a difference: 1.96 * .4 > .5, but < 1.
    found = pairwise_accuracy(
        truth, [1, 1, 2, 2, 3, 3, 4, 4, 4, 4], systems=systems, standard_errors=np.full(10, 0.4)
    )
    assert found == 1
    with pytest.warns(FewSystemsWarning):
        pairwise_accuracy(truth[:4], prediction[:4], systems=systems[:4])


def test_one_clip_has_no_pairs():
    assert np.isnan(pairwise_accuracy([1], [1]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pred_threshold": -1}, "pred_threshold must be a number and at least 0; got -1"),
        ({"true_threshold": np.nan}, "true_threshold must be a number and at least 0; got nan"),
        ({"true_threshold": 0.2, "standard_errors": [0.1, 0.1]}, "either true_threshold or standard_errors"),
        ({"standard_errors": [0.1]}, r"standard_errors has shape \(1,\) for 2 clips"),
        ({"standard_errors": [-0.1, np.nan]}, "standard_errors holds 2 values of 2"),
        (
            {"standard_errors": [0.1, np.nan]},
            "standard_errors holds 1 values of 2 that are missing or negative",
        ),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(ValueError, match=words):
        pairwise_accuracy([1, 2], [1, 2], **options)


def test_all_arguments_are_matched_by_clip():
    ids = list("abc")
    truth, prediction = pd.Series([1.0, 2.0, 3.0], ids), pd.Series([1.0, 3.0, 2.0], ids)
    errors, systems = pd.Series([0.1, 0.1, 2.0], ids), pd.Series(["S1", "S2", "S3"], ids)
    for options in ({"standard_errors": errors}, {"systems": systems, "standard_errors": errors}):
        mixed = {name: values[::-1] for name, values in options.items()}
        assert pairwise_accuracy(truth, prediction, **options) == pairwise_accuracy(
            truth, prediction[::-1], **mixed
        )
    # Without an index of the truth, the predictions' tells which clips these are: c is tied with both others.
    mixed = [[1.0, 3.0, 2.0], pd.Series([1.0, 1.0, 2.0], ["a", "c", "b"])]
    assert pairwise_accuracy(*mixed, standard_errors=errors) == 2 / 3
    assert pairwise_accuracy(*mixed, standard_errors=errors.to_numpy()) == 0
    with pytest.raises(ValueError, match="no standard error is known for clips: c"):
        pairwise_accuracy(truth, prediction, standard_errors=errors[:2])
