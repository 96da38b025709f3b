"""A model for use in another lab, on another scale or for another generation of systems: level and slope from few rated clips."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import Pipeline

from musiceval_sk._ids import systems_if_named, under_ids_of
from musiceval_sk._text import Shown, Table, counted, listed
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.datasets.readers import check_scale, take_scores
from musiceval_sk.estimators.persistence import save_model
from musiceval_sk.exceptions import ClipsTableError, FewSystemsWarning, SkippedWarning
from musiceval_sk.features.encoders import Encoder
from musiceval_sk.ratings.aggregate import aggregate_ratings
from musiceval_sk.ratings.formats import read_ratings
from musiceval_sk.scoring.error import FEWEST_SYSTEMS, error_parts
from musiceval_sk.scoring.predict import ClipScorer
from musiceval_sk.scoring.regressors import RecalibratedRegressor
from musiceval_sk.statistics.comparison import compare_predictors
from musiceval_sk.statistics.shrinkage import Line, shrunken_line

_FEWEST_CLIPS = 5
_FEWEST_GROUPS = 3
_MOST_FOLDS = 10
_NARROW = 20  # times that a scale is wider than the range of scores, from which on it is doubted
_BEFORE, _AFTER = "as it was", "recalibrated"


@dataclass(frozen=True, repr=False)
class Recalibration(Shown):
    """What `recalibrate` found; ``print`` it.

    Attributes
    ----------
    model : Pipeline
        The model, with level and slope in its last step; `predict_clips` takes it.
    table : pandas.DataFrame
        By target: number of ``clips`` and ``systems``; ``level`` (what is added at the mean prediction) and ``slope`` (what differences are
        multiplied by), after the model's scale was brought to the raters', each with its ``_sd``; ``mse_before`` and ``mse_after``,
        mean squared errors of clips in cross-validation; ``difference``, after minus before, with the interval ``low`` to ``high`` of
        95 %; and ``verdict``: "helped", "made it worse", or "open" where the interval holds 0.
    about : dict
        What to keep with the model, see `save_model`.
    notes : list of str
        What the figures rest on.
    """

    model: Pipeline
    table: pd.DataFrame
    about: dict[str, Any]
    notes: list[str]

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row a target: ``target``, and the columns of ``table``.
        """
        return self.table.rename_axis("target").reset_index()

    def _headline(self) -> str:
        return "; ".join(f"{target}: {verdict}" for target, verdict in self.table["verdict"].items())

    def _remarks(self) -> list[str]:
        return self.notes

    def save(self, path: str | Path) -> Path:
        """Write the recalibrated model, with what is known about it.

        Parameters
        ----------
        path : str or Path
            The file, as of `save_model`.

        Returns
        -------
        Path
            The file.
        """
        return save_model(self.model, path, about=self.about)

    def _parts(self) -> list[str]:
        table = self.table.drop(columns=["level_sd", "slope_sd"])
        return [Table(table, float_format="{:.3f}".format, na_rep="-"), *(f"- {note}" for note in self.notes)]


def recalibrate(
    model: Any,
    clips: pd.DataFrame,
    ratings: str | Path | pd.DataFrame | pd.Series | None = None,
    *,
    targets: list[str] | None = None,
    scale: tuple[float, float] = (1, 5),
    training_scale: tuple[float, float] | None = None,
    cache: str | Path | None = None,
    encoder: Encoder | None = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> Recalibration:
    """Fit level and slope of a model's predictions to few rated clips of another lab, scale or generation of systems.

    Predictions are brought linearly from the scale of training to that of the ratings; level and slope are then fitted for each
    target and shrunken toward that, the more the fewer clips and systems there are, see `shrunken_line`. The order of clips stays as
    it was: a slope below 0 is taken for 0. Whether it helped is told by cross-validation, with whole systems left out.

    Parameters
    ----------
    model : str, Path, dict or Pipeline
        As of `predict_clips`. It may be one that was recalibrated before.
    clips : pandas.DataFrame
        Clips table with ``path`` and, for a model that reads prompts, ``prompt``; ``system`` where clips are of several; and the
        scores, where no ratings are given.
    ratings : str, Path, pandas.DataFrame or pandas.Series, default=None
        Single ratings, as `aggregate_ratings` takes them; or scores by clip id. By default the columns of the clips table.
    targets : list of str, default=None
        Which scores of the model to recalibrate; by default all that are rated.
    scale : (float, float), default=(1, 5)
        Lowest and highest score that these raters could give.
    training_scale : (float, float), default=None
        The same of the model's training; by default what the model knows, as those of ``musiceval fit`` do, else that of the ratings.
    cache : str or Path, default=None
        Embedding store; by default `default_store_path`.
    encoder : Encoder, default=None
        The model's own encoder, made for this machine.
    n_jobs : int, default=None
        Workers for embedding, see `extract`.
    progress : bool, default=None
        Whether to show progress on stderr, a bar or, without a terminal, a line every 10 s; by default only on a terminal.

    Returns
    -------
    Recalibration
        The model, what was fitted, and whether it helped.

    Raises
    ------
    ClipsTableError
        If no target of the model is rated, fewer than five clips are, or a score is off the scale.
    ModelFileError
        As `predict_clips` raises it.

    Warns
    -----
    SkippedWarning
        If clips could not be read or are not rated; with their count.
    UserWarning
        If the model ranks these clips the wrong way, recalibration made it worse, or the scale is 20 times as wide as the range of scores.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from sklearn.linear_model import Ridge
    >>> from musiceval_sk import ClipEmbedder, make_listening_test
    >>> from musiceval_sk.estimators.lookup import scaled
    >>> test = make_listening_test(mkdtemp(), n_systems=6, n_prompts=4, n_raters=5, seconds=1.0)
    >>> cache = mkdtemp() + "/embeddings.h5"
    >>> embedder = ClipEmbedder(modality="audio", cache=cache).set_output(transform="pandas")
    >>> scores = test.ratings.groupby("clip_id")["impression"].mean().loc[test.clips.index]
    >>> model = scaled(embedder, Ridge(alpha=100.0)).fit(test.clips, scores)
    >>> strict = (1 + (scores - 1) / 2).rename("score")  # raters who give less
    >>> found = recalibrate(model, test.clips, strict, cache=cache)
    >>> found.table.loc["score", "verdict"], bool(-1.5 < found.table.loc["score", "level"] < -0.5)
    ('helped', True)
    """
    check_scale(scale)
    check_scale(training_scale or scale)
    check_clips(clips)
    scorer = ClipScorer(model, cache, encoder, n_jobs, None, False)
    scores = _scores(clips, ratings, targets or scorer.targets, scale)
    chosen = [name for name in scorer.targets if name in scores]
    if not chosen:
        there = f"it predicts {listed(scorer.targets)}, the ratings hold {listed(scores.columns)}"
        raise ClipsTableError(f"none of the model's targets is rated: {there}")
    rated = scores.index[scores[chosen].notna().any(axis=1)]
    if len(rated) < len(clips):
        words = f"left out {counted(len(clips) - len(rated), 'clip')} without ratings"
        warnings.warn(words, SkippedWarning, stacklevel=2)
    if rated.empty:
        raise ClipsTableError(f"no clip of the table is rated by {listed(chosen)}")
    _warn_of_scale(scores[chosen], scale)
    predicted = pd.concat(list(scorer.stream(clips.loc[rated], 512, progress)))[scorer.targets]
    known = training_scale or scorer.scale
    between = _between_scales(known, scale)
    predicted = between[0] + between[1] * predicted
    consequence = "errors of systems cannot be told from those of clips"
    systems = systems_if_named(clips.loc[predicted.index], consequence)
    judged = {target: RatedTarget(predicted[target], scores[target], systems, scale) for target in chosen}
    rows = [{"target": target} | found.row() for target, found in judged.items()]
    table = pd.DataFrame(rows).set_index("target")
    _warn(table)
    about = {key: value for key, value in scorer.about.items() if key != "assessment"}
    about |= {"targets": scorer.targets, "recalibration": table.reset_index().to_dict("records")}
    if chosen == scorer.targets:
        about |= _assessment({name: found.residuals for name, found in judged.items()}, systems, scale)
    pipeline = _with_lines(scorer, {name: found.line for name, found in judged.items()}, between, scale)
    notes = _notes(table, between, "assessment" in about)
    if known is None:
        words = "the model does not know the scale of its training, which was taken for that of the ratings"
        notes.append(f"{words}: give training_scale= if it was another")
    return Recalibration(pipeline, table, about, notes)


class RatedTarget:
    """One target's predictions and scores: the line fitted to them, and what it predicts of clips left out.

    Parameters
    ----------
    predicted, scores : pandas.Series [shape=(n,)]
        By clip id, on the raters' scale; scores may be missing.
    systems : pandas.Series or None
        System by clip id. With three or more, whole systems are left out, else clips.
    scale : (float, float)
        Lowest and highest score that raters could give.

    Attributes
    ----------
    line : Line
        Fitted to all rated clips.
    residuals : pandas.Series
        Scores less recalibrated predictions in cross-validation.
    """

    def __init__(
        self, predicted: pd.Series, scores: pd.Series, systems: pd.Series | None, scale: tuple[float, float]
    ):
        scores = scores.reindex(predicted.index)
        rated = scores.notna()
        if rated.sum() < _FEWEST_CLIPS:
            there = counted(rated.sum(), "clip is", "clips are")
            words = f"{there} rated by {predicted.name} and can be read"
            raise ClipsTableError(f"{words}; level and slope take {_FEWEST_CLIPS} at least")
        self._x, self._y = predicted[rated].to_numpy(dtype=float), scores[rated]
        self._systems = None if systems is None else systems[rated]
        self._n_systems = 0 if self._systems is None else self._systems.nunique()
        self._width = scale[1] - scale[0]
        self.line = self._fit(np.arange(len(self._y)))
        self._grouped = self._n_systems >= _FEWEST_GROUPS
        self._recalibrated = np.empty(len(self._y))
        for train, test in self._folds():
            self._recalibrated[test] = self._fit(train)(self._x[test])
        self.residuals = self._y - self._recalibrated

    def _fit(self, rows: np.ndarray) -> Line:
        systems = None if self._systems is None else self._systems.to_numpy()[rows]
        return shrunken_line(self._x[rows], self._y.to_numpy()[rows], systems, width=self._width)

    def _folds(self) -> Any:
        n_splits = min(_MOST_FOLDS, self._n_systems if self._grouped else len(self._y))
        splitter = GroupKFold(n_splits) if self._grouped else KFold(n_splits, shuffle=True, random_state=0)
        return splitter.split(self._x, groups=self._systems if self._grouped else None)

    def row(self) -> dict[str, Any]:
        """Say what was fitted, and whether it helped in cross-validation."""
        answers = pd.DataFrame({_AFTER: self._recalibrated, _BEFORE: self._x}, self._y.index)
        # The jackknife over systems draws nothing.
        how: dict[str, Any] = {"systems": self._systems, "n_resamples": 1}
        how = how if self._grouped else {"n_resamples": 2000}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewSystemsWarning)
            compared = compare_predictors(self._y, answers, metrics=["U_MSE"], random_state=0, **how).iloc[0]
        low, high = compared["low"], compared["high"]
        verdict = "helped" if high < 0 else "made it worse" if low > 0 else "open"
        found = {"clips": len(self._y), "systems": self._n_systems}
        found |= {name: getattr(self.line, name) for name in ("level", "level_sd", "slope", "slope_sd")}
        found |= {"mse_before": compared["value_b"], "mse_after": compared["value_a"]}
        return found | {"difference": compared["difference"], "low": low, "high": high, "verdict": verdict}


def _scores(
    clips: pd.DataFrame, ratings: Any, targets: list[str], scale: tuple[float, float]
) -> pd.DataFrame:
    """Scores by clip id, in the order of the clips table; missing where a clip is not rated."""
    if isinstance(ratings, str | Path):
        ratings = read_ratings(ratings, targets=targets)
    columns = getattr(ratings, "columns", ())
    if ratings is None:
        ratings = clips
    elif "clip_id" in columns and "rater" not in columns:
        ratings = ratings.set_index("clip_id")
    elif "clip_id" in columns:
        rated = [name for name in targets if name in ratings] or None
        return aggregate_ratings(ratings, clips=clips, targets=rated, scale=scale).reindex(clips.index)
    elif isinstance(ratings, pd.Series):
        ratings = ratings.to_frame(targets[0] if len(targets) == 1 else ratings.name)
    check_clips(ratings)
    found = under_ids_of(clips.index, ratings).reindex(clips.index).filter(targets)
    return take_scores(found.copy(), found.columns, scale)


def _between_scales(of_training: Any, of_ratings: tuple[float, float]) -> tuple[float, float]:
    """Intercept and slope from the scale of training to that of the ratings; where the former is unknown it is taken for the same."""
    low, high = of_training or of_ratings
    slope = (of_ratings[1] - of_ratings[0]) / (high - low)
    return of_ratings[0] - slope * low, slope


def _with_lines(
    scorer: ClipScorer, lines: dict[str, Line], between: tuple[float, float], scale: tuple[float, float]
) -> Pipeline:
    """Put the lines after the last step; those of an earlier recalibration go into them."""
    *before, (name, regressor) = scorer.pipeline.steps
    intercept, slope = np.zeros(len(scorer.targets)), np.ones(len(scorer.targets))
    if isinstance(regressor, RecalibratedRegressor):
        intercept, slope = np.asarray(regressor.intercept), np.asarray(regressor.slope)
        regressor = regressor.regressor
    own = [
        (lines[target].intercept, lines[target].slope) if target in lines else (0, 1)
        for target in scorer.targets
    ]
    for added, factor in (between, np.transpose(own)):
        intercept, slope = added + factor * intercept, factor * slope
    ends = float(scale[0]), float(scale[1])
    how: dict[str, Any] = {"intercept": intercept.tolist(), "slope": slope.tolist(), "scale": ends}
    moved = RecalibratedRegressor(regressor, target_names=scorer.targets, **how)
    return Pipeline([*before, (name, moved)])


def _assessment(
    residuals: dict[str, pd.Series], systems: pd.Series | None, scale: tuple[float, float]
) -> dict[str, Any]:
    """Error on systems left out of recalibration, as `assess_error` gives it; nothing where systems are too few."""
    if systems is None:
        return {}
    of_each = {target: systems[rows.index] for target, rows in residuals.items()}
    least = int(min(labels.nunique() for labels in of_each.values()))
    if least < FEWEST_SYSTEMS:
        return {}
    counts = {"n_systems": least, "n_clips": min(map(len, residuals.values()))}
    errors = {target: error_parts(rows, of_each[target]) for target, rows in residuals.items()}
    about = counts | {"n_splits": min(_MOST_FOLDS, least), "targets": errors}
    return {"assessment": about | {"scale": [float(end) for end in scale]}}


def _warn_of_scale(scores: pd.DataFrame, scale: tuple[float, float]) -> None:
    """Say so if scores lie in so small a part of the scale that they may be of another."""
    low, high = np.nanmin(scores), np.nanmax(scores)
    if (high - low) * _NARROW <= scale[1] - scale[0]:
        part = "in a small part of the scale {:g} to {:g}".format(*scale)
        words = f"scores lie from {low:g} to {high:g}, {part}: if raters used another, give scale= (--scale)"
        warnings.warn(words, UserWarning, stacklevel=3)


def _warn(table: pd.DataFrame) -> None:
    if len(wrong := table.index[table["slope"] == 0]):
        words = f"the model ranks these clips the wrong way by {listed(wrong)}, and it is of no use"
        warnings.warn(f"{words}: every clip now gets their mean score", UserWarning, stacklevel=3)
    for row in table[table["verdict"] == "made it worse"].itertuples():
        errors = f"by {row.difference:.3f} of the mean squared error, from {row.mse_before:.3f}"
        words = f"recalibration made {row.Index} worse: {errors}, on clips left out; keep the model as it was"
        warnings.warn(words, UserWarning, stacklevel=3)


def _notes(table: pd.DataFrame, between: tuple[float, float], is_assessed: bool) -> list[str]:
    left_out = "systems"
    if table["systems"].min() < _FEWEST_GROUPS:
        left_out = "clips, for fewer than three systems are named: nothing is known of other systems"
    notes = [
        "level: added where the model predicts its mean; slope: factor of differences; both shrunken toward 0 and 1, the more the fewer "
        "clips and systems there are",
        f"mse_before, mse_after: mean squared error of clips in cross-validation that leaves out {left_out}; low, high: interval of "
        "95 % of the difference",
    ]
    if between != (0.0, 1.0):
        line = "{:.4g} + {:.4g} times each".format(*between)
        notes.append(f"predictions were first brought to the raters' scale: {line}")
    if not is_assessed:
        least = f"it takes {FEWEST_SYSTEMS} systems, and ratings of every target"
        notes.append(f"no interval for what raters would say goes with the model: {least}")
    return notes
