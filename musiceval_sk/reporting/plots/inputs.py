"""From what users have (clips, ratings, an estimator, predictions) to what the figures draw."""

import warnings
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets.readers import numbers, require_columns
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning
from musiceval_sk.ratings.aggregate import aggregate_ratings
from musiceval_sk.statistics.align import clips_of, in_order_of, systems_in_order, validate


def rated_clips(
    clips: pd.DataFrame, target: str, *, ratings: Any = None, by_system: bool = True
) -> pd.DataFrame:
    """Clips that have a score, and a system where ``by_system``; says so where there are none."""
    if ratings is not None:
        mos = aggregate_ratings(ratings, clips=clips, targets=[target])
        clips = clips.drop(columns=target, errors="ignore").join(mos[target])
    require_columns(clips, [target, *(["system"] if by_system else [])])
    scores = numbers(clips, target)
    if not scores.notna().any():
        raise ClipsTableError(f"none of {len(clips)} clips has a score in column {target!r}: nothing to draw")
    rated = clips.assign(**{target: scores})[scores.notna()]
    if not by_system:
        return rated
    rated = rated.assign(system=id_texts(rated["system"]))
    nameless = rated["system"] == ""
    if nameless.all():
        raise ClipsTableError(f"none of {len(rated)} clips with a score names its system")
    if nameless.any():
        warnings.warn(
            f"left out {counted(nameless.sum(), 'clip that names', 'clips that name')} no system: {listed(rated.index[nameless])}",
            SkippedWarning,
            stacklevel=3,
        )
    return rated[~nameless]


def compared(y_true: Any, y_pred: Any, systems: Any, *, by_system: bool = True) -> pd.DataFrame:
    """Lay out one row a clip: ``truth``, ``prediction`` and, where given, ``system``, which ``by_system`` demands."""
    if by_system and systems is None:
        raise ValueError("give systems=, the system of each clip, such as clips['system']")
    truth, prediction = validate(y_true, y_pred)
    table = pd.DataFrame({"truth": truth, "prediction": prediction})
    clips = clips_of(y_true=y_true, y_pred=y_pred, systems=systems)
    if clips is not None:
        table.index = clips.index
    if systems is not None:
        table["system"] = systems_in_order(clips, systems, len(table))
    return table


def name_of(y_true: Any, name: str | None) -> str:
    """Say what is scored: as told, else the name of a Series."""
    return name or getattr(y_true, "name", None) or "score"


class FromEstimator:
    """Gives a display with ``from_predictions`` its ``from_estimator``."""

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, systems: Any = None, target: str | None = None, **options: Any
    ) -> Any:
        """Predict and draw.

        Parameters
        ----------
        estimator : estimator
            Fitted, on other clips than these: on its training data any figure flatters.
        X : array-like or pandas.DataFrame [shape=(n, n_features)]
            Features of clips.
        y : array-like [shape=(n,)] or pandas.DataFrame
            True scores, in the order of X or, where both are indexed by the same clip ids, in any; of a DataFrame with several
            columns, ``target`` names the one to draw.
        systems : array-like or pandas.Series, default=None
            The system of each clip, see `evaluate`; only a calibration can do without.
        target : str, default=None
            The column of ``y`` and of the predictions.
        **options
            Passed to ``from_predictions``: ``ax``, ``name``, ``confidence`` and the like.

        Returns
        -------
        Display
            Drawn.

        Raises
        ------
        ValueError
            If one column of several must be named, predictions and ``y`` have different columns, or X and ``y`` are about
            different clips.
        """
        truth, column = _one_target(y, target)
        predictions = np.asarray(estimator.predict(X), dtype=float)
        if predictions.ndim == 2 and column is None and predictions.shape[1] == 1:
            predictions = predictions[:, 0]
        elif predictions.ndim == 2:
            if column is None or predictions.shape[1] != np.shape(y)[1]:
                raise ValueError(
                    f"the estimator predicts {predictions.shape[1]} columns, y has shape {np.shape(y)}: give y with "
                    "the columns that the estimator was fitted on, and target= to choose one"
                )
            predictions = predictions[:, column]
        if isinstance(X, pd.DataFrame) and isinstance(truth, pd.Series):
            predictions = in_order_of(clips_of(y=truth), pd.Series(predictions, index=X.index), "X")
        return cls.from_predictions(truth, predictions, systems=systems, **options)  # type: ignore[attr-defined]


def _one_target(y: Any, target: str | None) -> tuple[Any, int | None]:
    if np.ndim(y) == 1:
        return y, None
    columns = list(getattr(y, "columns", range(np.shape(y)[1])))
    if target is None and len(columns) == 1:
        target = columns[0]
    if target not in columns:
        raise ValueError(f"y has the columns {listed(columns)}: choose one with target=, got {target!r}")
    position = columns.index(target)
    return (y[target] if isinstance(y, pd.DataFrame) else np.asarray(y)[:, position]), position
