"""Regressors made of others: one for each target, and a fitted one on another level, slope or scale."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from musiceval_sk._text import listed
from musiceval_sk.estimators.preparation import (
    check_fingerprint,
    default_columns,
    encoder_fingerprint,
    range_of,
)
from musiceval_sk.studies.cell import group_parameters


class RegressorPerTarget(RegressorMixin, BaseEstimator):
    """Predict each target with a regressor of its own, from the columns that it may use.

    As in a study, impression is predicted from sound alone where names of columns tell ``audio`` from ``text``.

    Parameters
    ----------
    regressors : mapping of str to estimator
        By target; they are cloned.
    scale : (float, float) or None, default=None
        Lowest and highest score that raters can give, for `predict_clips` to point out predictions off it.

    Attributes
    ----------
    regressors_ : list of estimator
        Fitted, in the order of the targets.
    target_names_ : list of str
        Names of y's columns.
    target_range_ : np.ndarray [shape=(n_targets, 2)]
        Lowest and highest score of training.
    encoder_fingerprint_ : str or None
        Encoder and pooling of the embeddings trained on, as of `MOSRegressor`.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression, Ridge
    >>> X = pd.DataFrame({"audio_0": [0.0, 1.0, 2.0], "text_0": [1.0, 0.0, 1.0]})
    >>> Y = pd.DataFrame({"impression": [1.0, 2.0, 3.0], "alignment": [4.0, 2.0, 4.0]})
    >>> model = RegressorPerTarget({"impression": LinearRegression(), "alignment": Ridge(alpha=1e-9)})
    >>> model.fit(X, Y).predict(X).round(3).tolist()
    [[1.0, 4.0], [2.0, 2.0], [3.0, 4.0]]
    """

    def __init__(self, regressors: Mapping[str, Any], *, scale: tuple[float, float] | None = None):
        self.regressors = regressors
        self.scale = scale

    def fit(self, X: pd.DataFrame, y: pd.DataFrame, groups: Any = None) -> "RegressorPerTarget":
        """Fit a clone for each column of y.

        Parameters
        ----------
        X : pandas.DataFrame [shape=(n, n_features)]
            Embeddings.
        y : pandas.DataFrame [shape=(n, n_targets)]
            Mean opinion scores.
        groups : array-like [shape=(n,)], default=None
            Handed to the regressors whose ``fit`` takes them.

        Returns
        -------
        RegressorPerTarget
            Itself.

        Raises
        ------
        ValueError
            If a target has no regressor.
        """
        lacking = [name for name in y if name not in self.regressors]
        if lacking:
            there = listed(self.regressors)
            raise ValueError(f"no regressor is given for {listed(lacking)}; there are {there}")
        self.target_names_, self.target_range_ = list(y), range_of(y.to_numpy(dtype=float))
        self.encoder_fingerprint_ = encoder_fingerprint(X)
        self.regressors_ = []
        for name in y:
            model = clone(self.regressors[name])
            given = group_parameters(model, groups)
            self.regressors_.append(model.fit(self._seen(X, name), y[name], **given))
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Predict every target.

        Parameters
        ----------
        X : pandas.DataFrame [shape=(n, n_features)]
            Embeddings.

        Returns
        -------
        np.ndarray [shape=(n, n_targets)]
            Scores.

        Raises
        ------
        ModelFileError
            If X is known to hold embeddings of another encoder than that trained on.
        """
        check_is_fitted(self)
        check_fingerprint(self.encoder_fingerprint_, X)
        pairs = zip(self.target_names_, self.regressors_, strict=True)
        return np.column_stack([model.predict(self._seen(X, name)) for name, model in pairs])

    def _seen(self, X: pd.DataFrame, target: str) -> pd.DataFrame:
        return X.loc[:, default_columns(target, X.columns)]


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
