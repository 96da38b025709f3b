"""CLAP score: how well sound and prompt agree by an encoder whose audio and text share a space, without any training."""

import re
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin

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
