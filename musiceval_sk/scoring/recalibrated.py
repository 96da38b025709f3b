"""A fitted regressor on another level, slope or scale: its predictions go through one line for each target."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


class RecalibratedRegressor(RegressorMixin, BaseEstimator):
    """Predict ``intercept + slope * prediction`` of a fitted regressor, as `recalibrate` makes it; nothing more is learnt.

    Parameters
    ----------
    regressor : estimator
        Fitted.
    intercept, slope : sequence of float
        One for each target; slopes are not negative.
    target_names : sequence of str, default=None
        Names of the targets; by default those that the regressor knows.
    scale : (float, float), default=None
        Lowest and highest score that raters can give.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> fitted = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
    >>> RecalibratedRegressor(fitted, intercept=[0.5], slope=[2.0]).predict([[1.0], [2.0]]).round(3).tolist()
    [2.5, 4.5]
    """

    def __init__(
        self,
        regressor: Any,
        *,
        intercept: Sequence[float],
        slope: Sequence[float],
        target_names: Sequence[str] | None = None,
        scale: tuple[float, float] | None = None,
    ):
        self.regressor = regressor
        self.intercept = intercept
        self.slope = slope
        self.target_names = target_names
        self.scale = scale

    def fit(self, X: Any, y: Any = None) -> "RecalibratedRegressor":
        """Leave everything as it is.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Ignored.
        y : object, default=None
            Ignored.

        Returns
        -------
        RecalibratedRegressor
            Itself.
        """
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict, and bring predictions to the other level and slope.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Features.
        return_std : bool, default=False
            Whether to return the spread among the members of a `MOSRegressor`, too.

        Returns
        -------
        np.ndarray [shape=(n,) or (n, n_targets)], or two
            Scores, of the regressor's own shape, and their spread.
        """
        if not return_std:
            return self._moved(self.regressor.predict(X), self.intercept)
        mean, spread = self.regressor.predict(X, return_std=True)
        return self._moved(mean, self.intercept), self._moved(spread, np.zeros(len(self.slope)))

    @property
    def target_names_(self) -> list[str] | None:
        """Names of the targets, where they are known."""
        names = self.target_names or getattr(self.regressor, "target_names_", None)
        return None if names is None else list(names)

    @property
    def encoder_fingerprint_(self) -> str | None:
        """Identity of the embeddings that the regressor was trained on, where it knows it."""
        return getattr(self.regressor, "encoder_fingerprint_", None)

    @property
    def target_range_(self) -> np.ndarray | None:
        """Lowest and highest score of training by target, on the other level and slope."""
        ranges = getattr(self.regressor, "target_range_", None)
        return None if ranges is None else self._moved(np.asarray(ranges).T, self.intercept).T

    def _moved(self, values: np.ndarray, intercept: Any) -> np.ndarray:
        moved = np.reshape(values, (len(values), -1)) * np.asarray(self.slope) + np.asarray(intercept)
        return moved.reshape(np.shape(values))

    def __sklearn_is_fitted__(self) -> bool:
        return True
