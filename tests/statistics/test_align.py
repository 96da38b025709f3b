"""Which systems a figure rests on."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import (
    METRICS,
    FewSystemsWarning,
    bootstrap_metrics,
    compare_predictors,
    evaluate,
    human_ceiling,
    intraclass_correlation,
    krippendorff_alpha,
    pairwise_accuracy,
    select_systems,
    split_half,
)

SYSTEMS = np.array(list("aaabbbccdddeeefg"))


@pytest.fixture
def scores(rng):
    index = [f"clip{i}" for i in range(16)]
    y = pd.DataFrame(rng.normal(3, 1, (16, 2)), index=index, columns=["impression", "alignment"])
    return y, y + rng.normal(0, 1, (16, 2))


def test_choices_by_hand():
    assert "".join(SYSTEMS[select_systems(SYSTEMS, min_clips=2)]) == "aaabbbccdddeee"
    assert "".join(SYSTEMS[select_systems(SYSTEMS, only=["a", "f"])]) == "aaaf"
    assert "".join(SYSTEMS[select_systems(SYSTEMS, leave_out=["a", "b", "c"])]) == "dddeeefg"
    assert "".join(SYSTEMS[select_systems(SYSTEMS, only=["a", "f"], min_clips=3)]) == "aaa"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"only": ["a", "x", "y"]}, "only names systems without clips: x, y; systems are a, b, c, d, e"),
        ({"leave_out": ["x"]}, "leave_out names systems without clips: x"),
        ({"leave_out": "abc"}, r"leave_out must be a list of systems, such as \['abc'\]; got 'abc'"),
        ({"min_clips": 4}, "no system is left of 7: min_clips=4, and the largest system has 3 clips"),
        ({"min_clips": True}, "min_clips=True must be a whole number and at least 0"),
        ({"min_clips": -1}, "min_clips=-1 must be a whole number and at least 0"),
    ],
)
def test_bad_choices(options, words):
    with pytest.raises(ValueError, match=words):
        select_systems(SYSTEMS, **options)


def test_evaluate_on_a_choice_is_evaluate_on_its_clips(scores):
    y, predictions = scores
    kept = np.isin(SYSTEMS, list("abcde"))
    expected = evaluate(y[kept], predictions[kept], systems=SYSTEMS[kept])
    for options in ({"min_clips": 2}, {"leave_out": ["f", "g"]}, {"only": list("abcde")}):
        pd.testing.assert_frame_equal(evaluate(y, predictions, systems=SYSTEMS, **options), expected)


def test_a_choice_needs_systems(scores):
    y, predictions = scores
    with pytest.raises(ValueError, match="leave_out was given, but no systems"):
        evaluate(y, predictions, leave_out=["a"])
    with pytest.raises(ValueError, match="^min_clips, only was given, but no systems"):
        evaluate(y, predictions, min_clips=2, only=["a"])


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.by_system])
def test_below_five_systems_an_s_metric_warns(name, scores):
    y = scores[0]["impression"]
    few = np.array(list("aaaabbbbccccdddd"))
    with pytest.warns(FewSystemsWarning, match="S metrics over 4 systems: .* at least 5 systems") as warned:
        METRICS[name].function(y, y + 1, few)
    assert warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        METRICS[name].function(y, y + 1, SYSTEMS)


def test_evaluate_warns_once(scores):
    with pytest.warns(FewSystemsWarning) as warned:
        evaluate(*scores, systems=SYSTEMS, only=["a", "b"])
    assert len(warned) == 1
    assert warned[0].filename == __file__


@pytest.mark.parametrize(
    "function", [evaluate, bootstrap_metrics, pairwise_accuracy, compare_predictors], ids=lambda f: f.__name__
)
def test_the_warning_of_few_systems_points_at_the_call(function):
    y, systems = np.arange(8.0), np.arange(8) % 4
    given = {"a": y, "b": y[::-1]} if function is compare_predictors else y[::-1]
    few = {} if function in (evaluate, pairwise_accuracy) else {"n_resamples": 5}
    with pytest.warns(FewSystemsWarning) as warned:
        partial(function, y, given, systems=systems, **few)()
    assert [one.filename for one in warned] == [__file__]


def test_u_metrics_do_not_warn(scores):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(*scores)


RATINGS = pd.DataFrame(
    {"rater": list("AB") * 6, "clip_id": list("uuvvwwxxyyzz"), "impression": [1, 2, 3, 3, 5, 4] * 2}
)
TRUTH = np.arange(12.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: compare_predictors(TRUTH, {"a": TRUTH, "b": -TRUTH}, n_resamples=10, confidence=95),
        lambda: human_ceiling(RATINGS, confidence=95),
        lambda: intraclass_correlation(RATINGS, confidence=95),
        lambda: krippendorff_alpha(RATINGS, confidence=95),
        lambda: pairwise_accuracy(TRUTH, TRUTH, confidence=95),
        lambda: split_half(RATINGS, confidence=95),
    ],
)
def test_confidence_in_per_cent_is_refused(call):
    with pytest.raises(ValueError, match=r"confidence must lie between 0 and 1, such as 0\.95; got 95"):
        call()


@pytest.mark.parametrize("confidence", [0, 1])
def test_confidence_is_neither_none_nor_full(confidence):
    with pytest.raises(
        ValueError, match=f"^confidence must lie between 0 and 1, such as 0.95; got {confidence}$"
    ):
        pairwise_accuracy(TRUTH, TRUTH, confidence=confidence)


@pytest.mark.parametrize("y", [[], 3.0, np.ones((2, 2, 2))], ids=str)
def test_scores_are_of_one_or_two_dimensions_and_not_none(y):
    with pytest.raises(
        ValueError, match="^y_true must be non-empty, with a row a clip and a column a target; got"
    ):
        evaluate(y, y)


def test_a_broken_score_is_that_of_the_predictor_that_has_it():
    given = {"a": TRUTH, "b": np.where(TRUTH < 2, np.nan, TRUTH)}
    with pytest.raises(
        ValueError, match=r"^predictions\['b'\] holds 2 values that are nan or infinite, of 12$"
    ):
        compare_predictors(TRUTH, given)


def test_a_mean_of_no_ratings_has_no_reliability():
    with pytest.raises(ValueError, match="k must be a number of ratings above 0"):
        intraclass_correlation(RATINGS, k=0)
