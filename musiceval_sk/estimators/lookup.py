"""What every predictor must beat: baselines without audio, the CLAP score, and the models that a study compares by default.

A look-up of the clip's system scores well on any split that shares systems between training and test. That is
leakage, not listening, so these are rows of every table.
"""

import re
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils.validation import check_is_fitted

from musiceval_sk._ids import id_texts, is_missing, match_ids, near_misses
from musiceval_sk._text import listed
from musiceval_sk.estimators.mixture import PENALTIES
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.estimators.search import TunedRegressor

_SERIES = ("labels", "means_")


class LookupRegressor(RegressorMixin, BaseEstimator):
    """Predict the mean training score of the clips that share this clip's label. No audio is heard.

    Clips find their label by X's index, in whatever order the labels are. Scores find their clip by position, as
    everywhere in scikit-learn: where y's order may differ, give ``y.loc[X.index]``.

    Parameters
    ----------
    labels : pandas.Series
        Label, such as system or prompt, by clip id; X must be a DataFrame indexed by clip id.

    Attributes
    ----------
    means_ : pandas.Series
        Mean training score by label.
    global_mean_ : float
        Prediction for a label that training did not have.

    Examples
    --------
    >>> import pandas as pd
    >>> clips = pd.DataFrame({"system": ["S1", "S1", "S2"]}, index=["a", "b", "c"])
    >>> y = pd.Series([2.0, 4.0, 5.0], index=clips.index)
    >>> LookupRegressor(clips["system"]).fit(clips, y).predict(clips).tolist()
    [3.0, 3.0, 5.0]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"labels": [pd.Series]}

    def __init__(self, labels: pd.Series):
        self.labels = labels

    def fit(self, X: pd.DataFrame, y: Any) -> "LookupRegressor":
        """Average the training scores by label.

        Parameters
        ----------
        X : pandas.DataFrame
            Only its index, the clip ids, is used.
        y : array-like [shape=(n,)]
            Mean opinion scores, in the order of X's rows, whatever index they carry.

        Returns
        -------
        LookupRegressor
            Itself.

        Raises
        ------
        ValueError
            If `labels` is no Series, or a clip has no label. An earlier fit is then left as it was.
        """
        self._validate_params()
        scores = pd.Series(np.asarray(y, dtype=float))
        self.means_ = scores.groupby(self._labels_of(X)).mean()
        self.global_mean_ = float(scores.mean())
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Look the clips' labels up.

        Parameters
        ----------
        X : pandas.DataFrame
            Only its index is used.

        Returns
        -------
        np.ndarray [shape=(n,)]
            Mean training score of the label; the global mean where training did not have it, see `known`.
        """
        check_is_fitted(self)
        return self.means_.reindex(self._labels_of(X)).fillna(self.global_mean_).to_numpy()

    def known(self, X: pd.DataFrame) -> np.ndarray:
        """Tell which clips bear a label that training had.

        Parameters
        ----------
        X : pandas.DataFrame
            Only its index is used.

        Returns
        -------
        np.ndarray [shape=(n,)], bool
            False where `predict` can only answer with the global mean.
        """
        check_is_fitted(self)
        return np.isin(self._labels_of(X), self.means_.index)

    def __getstate__(self) -> dict[str, Any]:
        # skops writes no Series, so pickles and model files hold their parts.
        held = dict(super().__getstate__())
        for name in _SERIES:
            if isinstance(found := held.get(name), pd.Series):
                held[name] = {"data": found.tolist(), "index": found.index.tolist(), "name": found.name}
        return held

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {name: pd.Series(**state[name]) for name in _SERIES if name in state})

    def _labels_of(self, X: pd.DataFrame) -> np.ndarray:
        if not isinstance(X, pd.DataFrame | pd.Series):
            raise ValueError(
                f"LookupRegressor finds labels by X's index, but X is a {type(X).__name__} without one"
            )
        places = match_ids(X.index, self.labels.index)
        found = np.array([*id_texts(self.labels), ""], dtype=object)[places]  # the last where there is none
        unknown = found == ""
        if unknown.any():
            near = near_misses(X.index[places < 0], self.labels.index)
            raise ValueError(f"no label is known for clips: {listed(X.index[unknown])}{near}")
        return found


def default_models(clips: pd.DataFrame, *, random_state: int | None = 0) -> dict[str, Any]:
    """Name the models that a study compares: look-ups, ridge, SVR, the paper's heads and those recommended.

    Ridge and SVR get features scaled to unit variance on the training part of each split, and are tuned there, see
    `tuned_baselines`; `MOSRegressor` scales them itself.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table; the look-ups take ``system`` and ``prompt`` from it, where they are.
    random_state : int or None, default=0
        Seed of `MOSRegressor`.

    Returns
    -------
    dict of str to estimator
        In the order of the table's rows.
    """
    models = look_ups(clips) | {name: scaled(model) for name, model in tuned_baselines().items()}
    shared: dict[str, Any] = {"scale": None, "random_state": random_state}
    models["MOSRegressor (paper)"] = MOSRegressor.from_protocol("paper", **shared)
    models["MOSRegressor"] = MOSRegressor(**shared)
    return models


def tuned_baselines() -> dict[str, TunedRegressor]:
    """Name the regressors of scikit-learn's that `MOSRegressor` is held against; each tunes itself by groups left out.

    Returns
    -------
    dict of str to TunedRegressor
        "ridge" with its penalty, "SVR" (radial kernel, on standardized scores) with its C; for scaled features and one target.
    """
    support = TransformedTargetRegressor(SVR(), transformer=StandardScaler())
    return {
        "ridge": TunedRegressor(Ridge(), {"alpha": PENALTIES[::2].tolist()}),
        "SVR": TunedRegressor(support, {"regressor__C": [0.1, 0.3, 1.0, 3.0, 10.0]}),
    }


def look_ups(clips: pd.DataFrame) -> dict[str, Any]:
    """Name the look-ups that a clips table allows: the mean training score, of all clips, by system and by prompt.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table; ``system`` and ``prompt`` are used where every clip has one.

    Returns
    -------
    dict of str to estimator
        "global mean", and where possible "system mean" and "prompt mean".

    Examples
    --------
    >>> import pandas as pd
    >>> list(look_ups(pd.DataFrame({"system": ["S1", "S2"], "prompt": ["calm piano", ""]}, index=["a", "b"])))
    ['global mean', 'system mean']
    """
    models: dict[str, Any] = {"global mean": DummyRegressor()}
    for label in ("system", "prompt"):
        if label in clips and not is_missing(clips[label]).any():
            models[f"{label} mean"] = LookupRegressor(clips[label])
    return models


def uses_features(model: Any) -> bool:
    """Tell whether a model's predictions depend on features at all.

    Parameters
    ----------
    model : estimator
        Fitted or not.

    Returns
    -------
    bool
        False for `LookupRegressor` and `sklearn.dummy.DummyRegressor`.
    """
    return not isinstance(model, LookupRegressor | DummyRegressor)


class TableScaler(StandardScaler):  # numpydoc ignore=PR02
    """`StandardScaler` that hands on a table's ``attrs``.

    There `ClipEmbedder` notes the encoder and pooling, so that a `MOSRegressor` behind the scaler still refuses
    embeddings that were made otherwise. That takes ``set_output(transform="pandas")``, for arrays have no ``attrs``.

    Parameters
    ----------
    copy, with_mean, with_std : bool, default=True
        As in `sklearn.preprocessing.StandardScaler`.

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame({"audio_0": [0.0, 2.0]}, index=["a", "b"])
    >>> X.attrs["encoder_fingerprint"] = "abc"
    >>> table = TableScaler().set_output(transform="pandas").fit_transform(X)
    >>> table["audio_0"].tolist(), table.attrs
    ([-1.0, 1.0], {'encoder_fingerprint': 'abc'})
    """

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """Scale.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Features.
        copy : bool, default=None
            As in `StandardScaler`.

        Returns
        -------
        np.ndarray or pandas.DataFrame [shape=(n, n_features)]
            As from `StandardScaler`; a table bears the ``attrs`` of X.
        """
        values = super().transform(X, copy=copy)
        if isinstance(X, pd.DataFrame) and isinstance(values, pd.DataFrame):
            values.attrs = dict(X.attrs)
        return values


def scaled(*steps: Any) -> Pipeline:
    """Put a scaler that keeps column names and ``attrs`` before the last step.

    Parameters
    ----------
    *steps : estimator
        Transformers, then a regressor.

    Returns
    -------
    sklearn.pipeline.Pipeline
        With every column scaled to zero mean and unit variance on the training data.
    """
    *before, regressor = steps
    return make_pipeline(*before, TableScaler().set_output(transform="pandas"), regressor)


_AUDIO, _TEXT = re.compile(r"audio_(mean_)?\d+"), re.compile(r"text_\d+")
_ROUNDING = 1e-3


class CosineRegressor(RegressorMixin, BaseEstimator):
    """Predict the mean cosine of a clip's windows and its prompt: the CLAP score. Nothing is learnt.

    The columns are those of `ClipEmbedder` with ``pooling="mean"`` or ``"mean+std"``, of an encoder whose vectors of sound and
    text have length 1 in one space (`Encoder.joint_space`). The product of the prompt's vector with the mean of the windows' is
    then the mean of their cosines. Scores lie in [-1, 1] whatever the raters' scale: they rank clips, and errors mean nothing.

    Attributes
    ----------
    on_scale : bool
        False: predictions are not on the raters' scale.

    Examples
    --------
    >>> X = pd.DataFrame({"audio_0": [0.6, 0.0], "audio_1": [0.8, 1.0], "text_0": [1.0, 1.0], "text_1": [0.0, 0.0]})
    >>> CosineRegressor().fit(X, [4.0, 1.0]).predict(X).tolist()
    [0.6, 0.0]
    """

    on_scale = False

    def fit(self, X: pd.DataFrame, y: Any = None) -> "CosineRegressor":
        """Check the columns.

        Parameters
        ----------
        X : pandas.DataFrame [shape=(n, n_features)]
            Embeddings of sound and prompt.
        y : object, default=None
            Ignored.

        Returns
        -------
        CosineRegressor
            Itself.

        Raises
        ------
        ValueError
            If X has no columns of sound and of text, or not as many of both.
        """
        _both(X)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Multiply sound and prompt.

        Parameters
        ----------
        X : pandas.DataFrame [shape=(n, n_features)]
            Embeddings of sound and prompt.

        Returns
        -------
        np.ndarray [shape=(n,)]
            Mean cosine over the windows, in [-1, 1].

        Raises
        ------
        ValueError
            If columns are missing, or vectors do not have length 1.
        """
        audio, text = _both(X)
        lengths = np.linalg.norm(audio, axis=1), np.linalg.norm(text, axis=1)
        if not (lengths[0] <= 1 + _ROUNDING).all() or not (np.abs(lengths[1] - 1) <= _ROUNDING).all():
            raise ValueError(
                f"a cosine takes vectors of length 1; found lengths up to {max(map(np.max, lengths)):.3g}: give embeddings of an "
                "encoder with a joint space, as they are, pooled by their mean"
            )
        return np.einsum("ij,ij->i", audio, text)

    @staticmethod
    def applies_to(X: pd.DataFrame) -> bool:
        """Tell whether a table says that its sound and text share a space, and still has the columns of both.

        Parameters
        ----------
        X : pandas.DataFrame
            Embeddings; `ClipEmbedder` notes it in ``attrs["joint_space"]``.

        Returns
        -------
        bool
            Whether to expect a CLAP score of it.
        """
        return bool(X.attrs.get("joint_space")) and any(_TEXT.fullmatch(str(name)) for name in X)


def _both(X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of sound and text, in float64."""
    names = [str(name) for name in getattr(X, "columns", ())]
    audio, text = ([bool(part.fullmatch(name)) for name in names] for part in (_AUDIO, _TEXT))
    if not sum(audio) or sum(audio) != sum(text):
        raise ValueError(
            f"a cosine takes as many columns audio_0, audio_1, ... as text_0, text_1, ...; found {sum(audio)} and {sum(text)}"
        )
    values = np.asarray(X, dtype=float)
    return values[:, audio], values[:, text]
