"""A model for use: feature stage, training domain and regressor fitted on all rated clips; and its error on new systems."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline

from musiceval_sk._ids import systems_if_named
from musiceval_sk._progress import progress
from musiceval_sk._text import Shown, counted
from musiceval_sk.estimators.domain import TrainingDomain
from musiceval_sk.estimators.lookup import scaled
from musiceval_sk.scoring.per_target import RegressorPerTarget
from musiceval_sk.statistics import align
from musiceval_sk.studies.cell import group_parameters

FEWEST_SYSTEMS = 5


@dataclass(frozen=True, repr=False)
class FittedModel(Shown):
    """A model for use, as `fit_model` made it.

    Attributes
    ----------
    model : Pipeline
        From clips to scores.
    about : dict
        What to keep with it, see `save_model`: ``n_clips``, ``targets``, and ``assessment`` where the error was measured.
    held_out : {"systems", "clips"}
        What early stopping, or the choice of penalties, went by.
    """

    model: Pipeline
    about: dict[str, Any]
    held_out: str

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row a target: ``target``, ``clips`` (number), ``regressor``, and the errors on systems left out, ``clip_rmse`` and
            ``system_rmse``, nan where they were not measured.
        """
        regressor, errors = self.model[-1], self.about.get("assessment", {"targets": {}})["targets"]
        table = pd.DataFrame({"target": self.about["targets"], "clips": self.about["n_clips"]})
        fitted = getattr(regressor, "regressors_", [regressor] * len(table))
        table["regressor"] = [type(one).__name__ for one in fitted]
        for name in ("clip_rmse", "system_rmse"):
            table[name] = [errors.get(target, {}).get(name, float("nan")) for target in table["target"]]
        return table

    def __str__(self) -> str:
        """Training and error, a line each."""
        regressor, about = self.model[-1], self.about
        if isinstance(regressor, RegressorPerTarget):
            pairs = zip(regressor.target_names_, regressor.regressors_, strict=True)
            how = ", ".join(f"{name} {_settings(model)}" for name, model in pairs)
        else:
            how = f"{', '.join(about['targets'])}, {_settings(regressor)}"
        lines = [f"fitted on {counted(about['n_clips'], 'clip')}, {how}, chosen on {self.held_out} held out"]
        for name, error in about.get("assessment", {"targets": {}})["targets"].items():
            figures = f"{error['clip_rmse']:.3f} a clip, {error['system_rmse']:.3f} a system"
            lines.append(f"on systems left out, {name}: root mean square error {figures}")
        return "\n".join(lines)


def fit_model(
    embedder: Any, regressor: Any, clips: pd.DataFrame, targets: list[str], *, assess: bool = True
) -> FittedModel:
    """Fit feature stage, training domain and regressor on clips, and measure the error on new systems.

    Parameters
    ----------
    embedder : ClipEmbedder
        Feature stage.
    regressor : MOSRegressor or RegressorPerTarget
        Not fitted; see `choose_regressor` for the best.
    clips : pandas.DataFrame [shape=(n, n_columns)]
        Clips table with scores.
    targets : list of str
        Columns of the scores, without gaps.
    assess : bool, default=True
        Whether to measure the error on systems left out, see `assess_error`.

    Returns
    -------
    FittedModel
        The pipeline, and what to keep about it; ``print`` it.

    Warns
    -----
    UserWarning
        If some clips have no system, or the error cannot be measured because systems are too few.
    """
    systems = systems_if_named(clips, "early stopping holds out clips and not systems")
    if systems is not None and systems.nunique() < 2:
        systems = None
    count = 0 if systems is None else systems.nunique()
    model = scaled(embedder, TrainingDomain(), regressor)
    about: dict[str, Any] = {"n_clips": len(clips), "targets": targets}
    n_splits = min(5, count) if assess and count >= FEWEST_SYSTEMS else 0
    with progress(1 + n_splits, "fit", "fit") as shown:
        model.fit(clips, clips[targets], **group_parameters(model, systems))
        shown.update()
        if n_splits:
            how: dict[str, Any] = {"n_splits": n_splits, "scale": regressor.scale}
            X = embedder.transform(clips)
            about["assessment"] = assess_error(model[2:], X, clips[targets], systems, **how)
            shown.update(n_splits)
    if assess and not n_splits:
        named = counted(count, "system is", "systems are") if count else "too few systems are"
        words = f"{named} named: the error on new systems was not measured, for it takes {FEWEST_SYSTEMS}"
        words += "; so predict gives no interval for what raters would say"
        warnings.warn(words, UserWarning, stacklevel=2)
    return FittedModel(model, about, "systems" if count else "clips")


def _settings(regressor: Any) -> str:
    """Say what was found out while a regressor was fitted."""
    if not hasattr(regressor, "best_params_"):
        return f"in {regressor.n_iter_} epochs"
    found = regressor.best_params_.items()
    return "with " + ", ".join(f"{name.rpartition('__')[2]}={value:.3g}" for name, value in found)


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
