"""One regressor for each target, as a study judged them: fitted and asked together."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from musiceval_sk._text import listed
from musiceval_sk.estimators.preparation import check_fingerprint, default_columns, fingerprint_of, range_of
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
        self.encoder_fingerprint_ = fingerprint_of(X)
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
