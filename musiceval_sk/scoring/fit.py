"""A model for use: feature stage, training domain and regressor fitted on all rated clips."""

import warnings
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sklearn.pipeline import Pipeline

from musiceval_sk._ids import systems_if_named
from musiceval_sk._progress import progress
from musiceval_sk._text import Shown, counted
from musiceval_sk.estimators.domain import TrainingDomain
from musiceval_sk.estimators.lookup import scaled
from musiceval_sk.features.extract import prompts_for
from musiceval_sk.scoring.error import FEWEST_SYSTEMS, assess_error
from musiceval_sk.scoring.per_target import RegressorPerTarget
from musiceval_sk.studies.cell import group_parameters


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
    with prompts_for(targets), progress(1 + n_splits, "fit", "fit") as shown:
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
