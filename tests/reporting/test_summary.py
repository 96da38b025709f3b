"""A study on one screen: what stands in it is what the study found, and what was not told apart is called so."""

import numpy as np
import pytest

from musiceval_sk.reporting.summary import summary_parts
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
