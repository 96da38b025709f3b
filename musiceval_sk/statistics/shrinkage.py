"""A line from predictions to scores, shrunken toward "as they are": level and slope of few clips of few systems.

A clip's score is ``middle + level + slope * (prediction - middle)``, plus an error of its system, plus one of its own; ``middle`` is the
mean prediction. Beforehand level is normal around 0 and slope around 1; given the variances of both errors, their means afterwards
are a ridge regression in closed form. The variances come from the residuals by the method of moments: empirical Bayes.

Source: D. V. Lindley and A. F. M. Smith, "Bayes estimates for the linear model", Journal of the Royal Statistical Society B 34 (1972).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

LEVEL_SD, SLOPE_SD = 0.125, 0.5  # of the level, in widths of the scale
_SYSTEMS_KNOWN_BEFOREHAND = 4
_SYSTEM_SHARE = 0.5  # variance between systems over that within, beforehand
_LEAST_SD = 0.01
_ROUNDS = 10


class Line(NamedTuple):
    """Level and slope, and how sure they are.

    Attributes
    ----------
    middle : float
        Mean of the predictions.
    level, slope : float
        Scores are ``middle + level + slope * (prediction - middle)``; a slope below 0 is taken for 0.
    level_sd, slope_sd : float
        Standard deviations afterwards.
    system_sd, clip_sd : float
        Standard deviations of the error of a system, and of a clip within its system.
    """

    middle: float
    level: float
    slope: float
    level_sd: float
    slope_sd: float
    system_sd: float
    clip_sd: float

    @property
    def intercept(self) -> float:
        """Score where the prediction is 0."""
        return self.middle + self.level - self.slope * self.middle

    def __call__(self, prediction: np.ndarray) -> np.ndarray:
        """Bring predictions to the level and slope of the scores."""
        return self.intercept + self.slope * np.asarray(prediction, dtype=float)


def shrunken_line(
    prediction: np.ndarray,
    truth: np.ndarray,
    systems: np.ndarray | None = None,
    *,
    width: float,
    level_sd: float = LEVEL_SD,
    slope_sd: float = SLOPE_SD,
) -> Line:
    """Fit level and slope of scores over predictions, shrunken toward 0 and 1.

    Parameters
    ----------
    prediction, truth : np.ndarray [shape=(n,)]
        Predicted and true scores, on one scale.
    systems : np.ndarray [shape=(n,)], default=None
        System of each clip, whose errors are alike; without it all clips are taken to be of one.
    width : float
        Width of the raters' scale.
    level_sd : float, default=0.125
        Standard deviation of the level beforehand, in widths of the scale: half a point from 1 to 5.
    slope_sd : float, default=0.5
        Standard deviation of the slope beforehand.

    Returns
    -------
    Line
        Means and standard deviations afterwards.

    Examples
    --------
    >>> prediction = np.array([2.0, 3.0, 4.0, 2.5, 3.5, 3.0])
    >>> line = shrunken_line(prediction, prediction + 0.5, np.array(list("aabbcc")), width=4.0)
    >>> round(line.level, 2), round(line.slope, 2)
    (0.5, 1.0)
    """
    codes = np.zeros(len(truth), dtype=int) if systems is None else pd.factorize(np.asarray(systems))[0]
    middle = float(np.mean(prediction))
    design = np.column_stack([np.ones(len(truth)), prediction - middle])
    precision = np.diag([1 / (level_sd * width) ** 2, 1 / slope_sd**2])
    beforehand, y = np.array([0.0, 1.0]), truth - middle
    found = beforehand
    for _ in range(_ROUNDS):
        of_clips, of_systems = _variances(y - design @ found, codes, (_LEAST_SD * width) ** 2)
        whitened = _divided(design, codes, of_clips, of_systems)
        spread = np.linalg.inv(design.T @ whitened + precision)
        found = spread @ (whitened.T @ y + precision @ beforehand)
    level, slope = found
    sds = np.sqrt([*np.diag(spread), of_systems, of_clips])
    return Line(middle, float(level), max(0.0, float(slope)), *map(float, sds))


def _variances(residuals: np.ndarray, codes: np.ndarray, least: float) -> tuple[float, float]:
    """Variance of clips within systems and of systems, the latter as if four systems had been known beforehand."""
    sizes = np.bincount(codes)
    means = np.bincount(codes, residuals) / sizes
    n_systems, degrees = len(sizes), len(codes) - len(sizes) - 1
    if degrees > 0:
        within = float(((residuals - means[codes]) ** 2).sum() / degrees)
    else:
        within = float((residuals**2).sum() / max(1, len(codes) - 2) / (1 + _SYSTEM_SHARE))
    within = max(within, least)
    known = _SYSTEMS_KNOWN_BEFOREHAND * _SYSTEM_SHARE * within
    between = float(((means - means.mean()) ** 2).sum()) - (n_systems - 1) * within * (1 / sizes).mean()
    return within, (known + max(0.0, between)) / (_SYSTEMS_KNOWN_BEFOREHAND + n_systems - 1)


def _divided(design: np.ndarray, codes: np.ndarray, of_clips: float, of_systems: float) -> np.ndarray:
    """Multiply by the inverse of the errors' covariance, which is one block a system."""
    sizes = np.bincount(codes)
    sums = np.column_stack([np.bincount(codes, column) for column in design.T])
    shares = of_systems / (of_clips + sizes * of_systems)
    return (design - (shares[:, np.newaxis] * sums)[codes]) / of_clips
