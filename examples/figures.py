"""Every figure of the library, from a simulated listening test.

Runs as it stands, in about fifteen seconds: python examples/figures.py [FOLDER]

Sounds and raters are simulated and the features are the hand-made `spectral` ones: the figures show what the displays look
like, nothing about music. Systems are predicted by a ridge that never heard them.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict, learning_curve
from sklearn.svm import SVR

from musiceval_sk import (
    ClipEmbedder,
    ScoreCalibrationDisplay,
    ScoreDistributionDisplay,
    ScoreLearningCurveDisplay,
    SystemRankingDisplay,
    SystemResidualsDisplay,
    SystemScatterDisplay,
    SystemScoresDisplay,
    aggregate_ratings,
    make_listening_test,
    mos_scorer,
)
from musiceval_sk.estimators.lookup import scaled


def data_figures(clips):
    impression = SystemScoresDisplay.from_clips(clips, "impression")
    return {
        "score-distribution": ScoreDistributionDisplay.from_clips(clips),
        "impression-by-system": impression,
        "alignment-by-system": SystemScoresDisplay.from_clips(clips, "alignment", order=impression.order_),
        "ranking": SystemRankingDisplay.from_clips(clips),
    }


def predictor_figures(clips, X, cv):
    systems, y = clips["system"], clips["impression"]
    predicted = cross_val_predict(scaled(Ridge(alpha=100.0)), X, y, groups=systems, cv=cv)
    return {
        "scatter": SystemScatterDisplay.from_predictions(y, predicted, systems=systems),
        "residuals": SystemResidualsDisplay.from_predictions(y, predicted, systems=systems),
        "calibration": ScoreCalibrationDisplay.from_predictions(y, predicted, systems=systems),
        "ranking-with-predictions": SystemRankingDisplay.from_predictions(y, predicted, systems=systems),
    }


def growth_figure(clips, X, cv):
    options = {"groups": clips["system"], "cv": cv, "scoring": mos_scorer("U_LCC"), "shuffle": True}
    sizes = np.linspace(0.2, 1.0, 5)
    sizes, _, scores = learning_curve(
        scaled(SVR()), X, clips["impression"], train_sizes=sizes, random_state=0, **options
    )
    mean, sd = scores.mean(axis=1), scores.std(axis=1, ddof=1)
    table = pd.DataFrame({"training clips": sizes, "U_LCC": mean, "low": mean - sd, "high": mean + sd})
    table["bars"] = "standard deviation of folds"
    display = ScoreLearningCurveDisplay.from_table(table, size="training clips", score="U_LCC", by="bars")
    return {"learning-curve": display}


def main(folder: Path) -> None:
    test = make_listening_test(folder / "listening-test", random_state=0)
    clips = test.clips.join(aggregate_ratings(test.ratings))
    X = (
        ClipEmbedder("spectral", cache=folder / "embeddings.h5")
        .set_output(transform="pandas")
        .fit_transform(clips)
    )
    cv = GroupKFold(4)
    figures = data_figures(clips) | predictor_figures(clips, X, cv) | growth_figure(clips, X, cv)
    for name, display in figures.items():
        display.figure_.savefig(folder / f"{name}.png", dpi=100)
        print(folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "figures-out"))
