"""A model's error on systems that it was not trained on, per clip and per system."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold, cross_val_predict

from musiceval_sk.statistics import align
from musiceval_sk.studies.cell import group_parameters

FEWEST_SYSTEMS = 5


def assess_error(
    model: Any,
    X: Any,
    Y: pd.DataFrame | pd.Series,
    systems: pd.Series,
    *,
    n_splits: int = 5,
    scale: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Measure a model's error on systems left out of training, per clip and per system.

    The model is trained anew without a share of the systems and predicts those, until each system has been left out
    once. A system's error is its own part, one for all its clips, plus the mean of its clips' parts; the two variances are
    estimated by the method of moments, biases counting as error.

    Parameters
    ----------
    model : estimator
        Anything with ``fit`` and ``predict``; a clone is trained.
    X : pandas.DataFrame [shape=(n, n_features)]
        Embeddings.
    Y : pandas.DataFrame [shape=(n, n_targets)] or pandas.Series [shape=(n,)]
        Raters' mean scores, without gaps. A Series is one target; without a name it is ``target_0``, as for `MOSRegressor`.
    systems : pandas.Series [shape=(n,)]
        System of each clip.
    n_splits : int, default=5
        Trainings; at most as many as systems.
    scale : (float, float), default=None
        Lowest and highest score that raters can give, to be kept: intervals of new systems end there.

    Returns
    -------
    dict
        JSON values: ``n_systems``, ``n_clips``, ``n_splits``, ``scale`` if given, and, per target, ``clip_rmse``, ``system_rmse`` (of means over a
        system's clips), ``clip_sd`` and ``system_sd``, the standard deviations of the two parts.

    Raises
    ------
    ValueError
        If X or Y is no table, a clip has no system, there are fewer than five systems, or X, Y and systems are about different clips.
    """
    if isinstance(Y, pd.Series):
        Y = Y.to_frame("target_0" if Y.name is None else Y.name)
    for name, table in (("X", X), ("Y", Y)):
        if not isinstance(table, pd.DataFrame):
            words = f"{name} must be a pandas DataFrame with one row a clip; got {type(table).__name__}"
            raise ValueError(f"{words}: give pd.DataFrame({name})")
    align.require_whole(2, n_splits=n_splits)
    clips = align.clips_of(Y=Y)
    X = align.in_order_of(clips, X, "X")
    systems = pd.Series(align.systems_in_order(clips, systems, len(Y)), index=Y.index)
    count = systems.nunique()
    if count < FEWEST_SYSTEMS:
        least = f"it takes at least {FEWEST_SYSTEMS} systems"
        raise ValueError(f"the error on new systems cannot be told from {count}; {least}")
    n_splits = min(n_splits, count)
    how = {"groups": systems, "cv": GroupKFold(n_splits), "params": group_parameters(model, systems)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the fit on all clips warns of the same
        predicted = cross_val_predict(model, X, Y, **how)
    residuals = Y - np.reshape(predicted, Y.shape)
    errors = {str(name): error_parts(residuals[name], systems) for name in residuals}
    kept = {} if scale is None else {"scale": [float(end) for end in scale]}
    return {"n_systems": int(count), "n_clips": len(Y), "n_splits": n_splits, "targets": errors, **kept}


def error_parts(residuals: pd.Series, systems: pd.Series) -> dict[str, float]:
    """Part errors into those of systems and those of clips, as `assess_error` says.

    Parameters
    ----------
    residuals : pandas.Series [shape=(n,)]
        True less predicted score, by clip id.
    systems : pandas.Series [shape=(n,)]
        System of each of these clips.

    Returns
    -------
    dict of str to float
        ``clip_rmse``, ``system_rmse``, ``clip_sd`` and ``system_sd``.
    """
    by_system = residuals.groupby(systems)
    means, counts = by_system.mean(), by_system.count()
    within = float(((residuals - by_system.transform("mean")) ** 2).sum())
    degrees = int((counts - 1).sum())
    clip_variance = within / degrees if degrees else 0.0
    system_variance = max(0.0, float((means**2).mean() - (clip_variance / counts).mean()))
    return {
        "clip_rmse": float(np.sqrt((residuals**2).mean())),
        "system_rmse": float(np.sqrt((means**2).mean())),
        "clip_sd": clip_variance**0.5,
        "system_sd": system_variance**0.5,
    }


def error_margin(
    assessment: dict[str, Any], target: str, n_clips: Any, *, confidence: float = 0.95
) -> np.ndarray:
    """Half the width of an interval for the mean score that raters would give a new system's clips.

    Student's t with one degree of freedom a system, times ``sqrt(system_sd**2 + clip_sd**2 / n_clips)``.

    Parameters
    ----------
    assessment : dict
        From `assess_error`.
    target : str
        Which score.
    n_clips : int or array-like of int
        Clips of the new system.
    confidence : float in (0, 1), default=0.95
        Nominal coverage.

    Returns
    -------
    np.ndarray
        In the score's unit, one for each of `n_clips`.

    Raises
    ------
    ValueError
        If confidence is not between 0 and 1.
    """
    align.require_confidence(confidence)
    errors = assessment["targets"][target]
    spread = np.sqrt(errors["system_sd"] ** 2 + errors["clip_sd"] ** 2 / np.asarray(n_clips, dtype=float))
    return student_t.ppf((1 + confidence) / 2, assessment["n_systems"]) * spread
