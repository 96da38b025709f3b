"""Which systems a figure rests on."""

import warnings

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import (
    METRICS,
    FewSystemsWarning,
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


def test_a_mean_of_no_ratings_has_no_reliability():
    with pytest.raises(ValueError, match="k must be a number of ratings above 0"):
        intraclass_correlation(RATINGS, k=0)
