"""A model for use: which regressor it should have, and feature stage, training domain and regressor fitted on all rated clips."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import Pipeline

from musiceval_sk._ids import systems_if_named
from musiceval_sk._progress import progress
from musiceval_sk._text import Shown, counted, listed, require_known
from musiceval_sk.estimators.domain import TrainingDomain
from musiceval_sk.estimators.lookup import scaled, tuned_baselines
from musiceval_sk.exceptions import FewSystemsWarning
from musiceval_sk.features.extract import prompts_for
from musiceval_sk.scoring.error import FEWEST_SYSTEMS, assess_error
from musiceval_sk.scoring.regressors import RegressorPerTarget
from musiceval_sk.statistics.comparison import compare_predictors
from musiceval_sk.studies.cell import group_parameters
from musiceval_sk.studies.result import StudyResult
from musiceval_sk.studies.run import run_study


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


_NOTHING = "global mean"
_METRIC, _LEVEL = "U_MSE", 0.05
_COMPARED = ["difference", "low", "high", "p_holm"]
_FEWEST_SYSTEMS = 3


@dataclass(frozen=True, repr=False)
class Choice(Shown):
    """The regressor that `choose_regressor` chose, and why; ``print`` it.

    Attributes
    ----------
    regressor : MOSRegressor or RegressorPerTarget
        Not fitted: `MOSRegressor` itself where it is best for all targets.
    about : dict
        To be kept with the model, see `save_model`: ``metric``, ``split``, ``folds``, and by target the ``model``, its ``score``, the
        number of ``clips``, and ``others``: their ``model`` and ``score``, the ``difference`` from the best with its interval ``low`` to
        ``high``, and ``p_holm``, as `compare_predictors` gives them; None where they are unknown.
    """

    regressor: Any
    about: dict[str, Any]

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row a target and model, the chosen one first: ``target``, ``model``, ``chosen`` (bool), ``metric``, ``score``, number of
            ``clips``, and for the others ``difference`` from the chosen, ``low``, ``high``, ``p_holm``; nan where they are unknown.
        """
        rows = []
        for target, found in self.about["targets"].items():
            shared = {"target": target, "metric": self.about["metric"], "clips": found["clips"]}
            rows.append({**shared, "model": found["model"], "score": found["score"], "chosen": True})
            rows += [{**shared, **one, "chosen": False} for one in found["others"]]
        columns = ["target", "model", "chosen", "metric", "score", "clips", *_COMPARED]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(["score", *_COMPARED], float))

    def __str__(self) -> str:
        """Two lines a target: the choice, and the figures that it rests on."""
        metric, lines = self.about["metric"], []
        where = f"{metric} under the split {self.about['split']!r}, {counted(self.about['folds'], 'fold')}"
        for target, found in self.about["targets"].items():
            chosen, others = found["model"], found["others"]
            close = [one["model"] for one in others if one["p_holm"] is None or one["p_holm"] >= _LEVEL]
            lead = f"not clearly ahead of {', '.join(close)}" if close else "ahead of all others"
            if better := [one["model"] for one in others if one["score"] <= found["score"]]:
                lead = f"NOT ahead of {', '.join(better)}, which uses no audio"
            compared = ", ".join(map(_compared, others)) or "and nothing else"
            lines += [f"{target}: {chosen} is best by {where}, {counted(found['clips'], 'clip')}; {lead}"]
            lines += [f"  {chosen} {found['score']:.3g}, {compared}"]
        return "\n".join(lines)


def regressor_named(name: str, regressor: Any, targets: list[str]) -> Any:
    """Give the regressor of a name, in whatever case.

    Parameters
    ----------
    name : {"MOSRegressor", "ridge", "SVR"}
        The name.
    regressor : MOSRegressor
        With the parameters that it is to have.
    targets : list of str
        Columns of the scores.

    Returns
    -------
    MOSRegressor or RegressorPerTarget
        Not fitted.

    Raises
    ------
    ValueError
        If there is no such regressor.
    """
    known = {key.lower(): model for key, model in _candidates(regressor).items()}
    if name.lower() not in known:
        raise ValueError(f"unknown model {name!r}; choose from {', '.join(_candidates(regressor))}, best")
    chosen = known[name.lower()]
    if chosen is regressor:
        return regressor
    return RegressorPerTarget(dict.fromkeys(targets, chosen), scale=regressor.scale)


def choose_regressor(
    regressor: Any,
    X: pd.DataFrame,
    clips: pd.DataFrame,
    targets: list[str],
    *,
    study: str | Path | StudyResult | None = None,
    features: str = "as given",
    n_jobs: int | None = None,
) -> Choice:
    """Choose among `MOSRegressor` and tuned ridge regression and SVR, for each target, by squared error on clips left out.

    Left out are systems where three or more are named, else clips at random. Ridge and SVR tune themselves within the folds. The best
    is picked on the clips that it is judged by, so that its lead is a little flattered.

    Parameters
    ----------
    regressor : MOSRegressor
        With the parameters that it is to have.
    X : pandas.DataFrame [shape=(n, n_features)]
        Embeddings by clip id.
    clips : pandas.DataFrame [shape=(n, n_columns)]
        Clips table with the scores, and ``system`` where known.
    targets : list of str
        Columns of the scores.
    study : str, Path or StudyResult, default=None
        A study that is there already: its ``study.json``, or the folder that holds it. Rows named "ridge", "SVR" and "MOSRegressor"
        are compared, under its split by system or, without one, its first. By default one is made.
    features : str, default="as given"
        What X is, in the words of that study.
    n_jobs : int, default=None
        Fits in parallel.

    Returns
    -------
    Choice
        The regressor, and what it was held against.

    Raises
    ------
    ValueError
        If the study lacks a target or these features, has no row to choose, or is about other clips.
    """
    candidates = _candidates(regressor)
    systems = systems_if_named(clips)
    if study is None:
        models = {_NOTHING: DummyRegressor()} | {name: scaled(model) for name, model in candidates.items()}
        by = "random" if systems is None or systems.nunique() < _FEWEST_SYSTEMS else "system"
        options: dict[str, Any] = {"scale": regressor.scale, "n_resamples": 0, "n_jobs": n_jobs}
        study = run_study(clips, X, models, by, targets=targets, features=features, **options)
    elif not isinstance(study, StudyResult):
        path = Path(study)
        study = StudyResult.from_json(path / "study.json" if path.is_dir() else path)
    split = "system" if "system" in study.splits else study.splits[0]
    asked = split, features, clips, systems, candidates
    found = {target: _judged(study, target, *asked) for target in targets}
    folds = study.about["splits"][split]["folds"]
    about = {"metric": _METRIC, "split": split, "folds": folds, "targets": found}
    chosen = {target: candidates[one["model"]] for target, one in found.items()}
    if all(model is regressor for model in chosen.values()):
        return Choice(regressor, about)
    return Choice(RegressorPerTarget(chosen, scale=regressor.scale), about)


def _candidates(regressor: Any) -> dict[str, Any]:
    return {**tuned_baselines(), "MOSRegressor": regressor}


def _judged(
    study: StudyResult,
    target: str,
    split: str,
    features: str,
    clips: pd.DataFrame,
    systems: Any,
    candidates: Any,
) -> dict[str, Any]:
    """Find the best row of one target, and tell the others from it."""
    require_known("target", target, study.targets)
    described = study.about["features"]
    same = [name for name, words in described.items() if words == features]
    if not same:
        there = listed(map(repr, described.values()))
        words = f"the study has no features as these, {features!r}; it has {there}"
        raise ValueError(f"{words}: give the same encoder and pooling, or choose without that study")
    if len(same) > 1:
        words = f"the study calls several features {features!r}: {listed(same)}"
        raise ValueError(f"{words}; each needs words of its own, as run_study takes them")
    rows = study.part("predictions", target, split)
    rows = rows[rows["features"].isin(same) & rows["model"].isin(candidates) | (rows["model"] == _NOTHING)]
    answers = rows.pivot(index="clip_id", columns="model", values="prediction")[list(rows["model"].unique())]
    unknown = answers.index[~answers.index.isin(clips.index)]
    if len(unknown):
        words = f"the study is about other clips, such as {listed(unknown)}"
        raise ValueError(f"{words}; give one of these clips")
    names = [name for name in answers if name in candidates]
    if not names:
        there = listed(study.part("predictions", target, split)["model"].unique())
        raise ValueError(f"the study compares none of {listed(candidates)} on these features; it has {there}")
    truth = rows.drop_duplicates("clip_id").set_index("clip_id")["truth"].loc[answers.index]
    best = ((answers[names].sub(truth, axis=0)) ** 2).mean().idxmin()
    result = {"model": best, "score": float(((answers[best] - truth) ** 2).mean()), "clips": len(truth)}
    if answers.shape[1] < 2:
        return result | {"others": []}
    of_clips = None if systems is None else systems.loc[answers.index]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSystemsWarning)
        options: dict[str, Any] = {"metrics": _METRIC, "baseline": best, "random_state": 0}
        table = compare_predictors(truth, answers, systems=of_clips, **options)
    table = table.rename(columns={"a": "model", "value_a": "score"})
    kept = table[["model", "score", *_COMPARED]].astype(object)
    return result | {"others": kept.where(kept.notna(), None).to_dict("records")}


def _compared(other: dict[str, Any]) -> str:
    """Put a rival's score into words: its distance from the best with its interval of 95 %, and p after Holm's correction."""
    words = f"{other['model']} {other['score']:.3g} ({other['difference']:+.2g}"
    if other["low"] is not None:
        words += f" [{other['low']:+.2g}, {other['high']:+.2g}]"
    return words + (")" if other["p_holm"] is None else f", p = {other['p_holm']:.2g})")
