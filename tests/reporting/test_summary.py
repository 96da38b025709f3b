"""What fits on a screen: what stands in it is what a study or curve found, and what was not told apart is called so."""

import numpy as np
import pandas as pd
import pytest

from musiceval_sk.reporting.summary import curve_parts, summary_parts
from musiceval_sk.studies.curve_result import COLUMNS, ScoreLearningCurve
from tests.reporting.studies import made_clips, made_study


@pytest.fixture
def clips():
    return made_clips()


def summarize(study, **options):
    return "\n".join(summary_parts(study, **options))


def sentence(study, **options):
    return next(line for line in summarize(study, **options).splitlines() if line.startswith("impression: "))


def test_the_best_and_those_that_are_not_told_apart(clips):
    rng = np.random.default_rng(0)
    truth = 1.5 + np.arange(len(clips)) // 4 / 11 * 3 + rng.normal(0, 0.1, len(clips))
    predictors = {
        "good": truth + rng.normal(0, 1, len(clips)),
        "alike": truth + rng.normal(0, 1, len(clips)),
        "poor": rng.normal(3, 1, len(clips)),
        "global mean": None,
    }
    study = made_study(clips, predictors, truth=truth)
    text = summarize(study)
    assert text.startswith("Made up: 48 clips of 12 systems, 2 folds, pooled\n")
    best = study.table("impression")["S_SRCC"].idxmax()
    other = {"good": "alike", "alike": "good"}[best]
    assert sentence(study) == (
        f"impression: {best} is best by S_SRCC; baselines without audio rank nothing here; not told apart from {other}."
    )
    rows = {line.split()[0]: line for line in text.splitlines() if line}
    found = study.table("impression").loc["good"]
    assert f"{found['U_MSE']:.3f}" in rows["good"] and f"{found['S_SRCC']:.3f}" in rows["good"]
    assert rows["global"].split() == ["global", "mean", "-", "-"]
    assert len(summarize(study, tables=False).splitlines()) == 2


def test_a_baseline_without_audio_that_is_not_beaten_is_named(clips):
    truth = 1.5 + np.arange(len(clips)) // 4 / 11 * 3.0
    noise = np.random.default_rng(1).normal(0, 1.5, len(clips))
    study = made_study(clips, {"ridge": truth + noise, "system mean": truth}, truth=truth, shared=1.0)
    assert "ridge is best by S_SRCC of those that use audio, and NOT ahead of system mean" in sentence(study)


def test_nothing_judged_is_told(clips):
    assert (
        sentence(made_study(clips, {"ridge": None, "global mean": None}))
        == "impression: no predictor could be judged."
    )


def made_curve(steps, metrics=("S_SRCC", "U_SRCC")):
    """A curve whose lines all end at 0.8 for the model "good", at 0.6 for others; steps are (model, grows, metric, gain, low, high)."""
    sizes = {"clips": (20, 40), "systems": (5.6, 11.2), "ratings": (1, 2.75)}
    table, gains = [], []
    for model, grows, metric, *gain in steps:
        start, end = sizes[grows]
        score = 0.8 if model == "good" else 0.6
        line = [metric, "pooled"]
        for size, value in ((start, score - gain[0]), (end, score)):
            table.append(["impression", model, grows, size, *line, value, *gain[1:], 2, 40, 11, 2.75])
        gains.append(["impression", model, grows, start, end, *line, *gain])
    about = {
        "meaning": "systems never heard in training",
        "folds": 5,
        "targets": {"impression": {"clips": 50, "systems": 14}},
        "shared_with_training": {"systems": 0.0},
        "look_ups": ["system mean"],
        "metrics": list(metrics),
        "confidence": 0.95,
    }
    frames = [pd.DataFrame(rows, columns=of) for rows, of in zip((table, gains, []), COLUMNS, strict=True)]
    return ScoreLearningCurve(*frames, None, about)


def test_a_curve_says_what_helped_the_best_model_that_uses_audio():
    steps = [("poor", "clips", "S_SRCC", 0.3, 0.2, 0.4), ("system mean", "clips", "S_SRCC", 0.3, 0.2, 0.4)]
    steps += [("good", "clips", metric, 0.1, 0.05, 0.2) for metric in ("S_SRCC", "U_SRCC")]
    steps += [
        ("good", "systems", "S_SRCC", 0.1, -0.05, 0.2),
        ("good", "systems", "U_SRCC", -0.1, -0.2, -0.05),
    ]
    steps += [("good", "ratings", metric, 0.01, -0.05, 0.2) for metric in ("S_SRCC", "U_SRCC")]
    title, _, heading, table, _, sentence, note = curve_parts(made_curve(steps))
    assert title == "Systems never heard in training: 50 clips of 14 systems, 5 folds, pooled"
    assert heading == "Gain of the last step, [95% interval]"
    assert table.splitlines()[1:] == [
        "impression clips   20 to 40   0.100 [+0.05, +0.20]   0.100 [+0.05, +0.20]",
        "           systems 5.6 to 11  0.100 [-0.05, +0.20]  -0.100 [-0.20, -0.05]",
        "           ratings 1 to 2.8   0.010 [-0.05, +0.20]   0.010 [-0.05, +0.20]",
    ]
    assert sentence == (
        "impression, good (S_SRCC 0.800, U_SRCC 0.800): more training clips improved S_SRCC and U_SRCC; "
        "more training systems worsened U_SRCC; whether more ratings a training clip help is open."
    )
    assert note.startswith("Improved, worsened: ")


def test_a_curve_of_errors_and_of_nothing_that_could_be_judged():
    """Of errors the smallest is best, which is that of the other model here."""
    steps = [(model, "clips", "U_MSE", 0.1, 0.05, 0.2) for model in ("good", "other")]
    words = curve_parts(made_curve(steps, ["U_MSE"]))
    assert "impression, other (U_MSE 0.600): more training clips improved U_MSE." in words
    few = made_curve(steps, ["U_MSE"])
    few.about["targets"]["impression"]["systems"] = 3
    assert "impression, other (U_MSE 0.600): 3 systems are too few to tell what helps." in curve_parts(few)
    steps = [("system mean", "clips", "U_MSE", 0.1, 0.05, 0.2)]
    assert "no model that uses audio has two sizes" in curve_parts(made_curve(steps, ["U_MSE"]))[-1]
