"""Figures as Display classes, in scikit-learn's manner: made ``from_...``, drawn with ``plot(ax=)``.

A new figure is a plain `matplotlib.figure.Figure` that pyplot does not know: nothing has to be closed, and a notebook shows the
display that ends a cell. For a window, give axes of pyplot's as ``ax``. Colours are Okabe and Ito's, and whatever colour tells
apart, a marker, a line style or a hatch tells apart as well.
"""

from musiceval_sk.reporting.plots.learning_curve import ScoreLearningCurveDisplay
from musiceval_sk.reporting.plots.score_calibration import ScoreCalibrationDisplay
from musiceval_sk.reporting.plots.score_distribution import ScoreDistributionDisplay
from musiceval_sk.reporting.plots.system_ranking import SystemRankingDisplay
from musiceval_sk.reporting.plots.system_residuals import SystemResidualsDisplay
from musiceval_sk.reporting.plots.system_scatter import SystemScatterDisplay
from musiceval_sk.reporting.plots.system_scores import SystemScoresDisplay

__all__ = [
    "ScoreCalibrationDisplay",
    "ScoreDistributionDisplay",
    "ScoreLearningCurveDisplay",
    "SystemRankingDisplay",
    "SystemResidualsDisplay",
    "SystemScatterDisplay",
    "SystemScoresDisplay",
]
