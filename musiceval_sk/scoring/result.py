"""What predictions of new clips come to: tables per clip and per system, and in words what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from musiceval_sk._ids import id_texts
from musiceval_sk._text import Shown, Table, counted, listed, off_scale
from musiceval_sk.scoring.error import error_margin
from musiceval_sk.statistics.intervals import system_intervals

CONFIDENCE = 0.95
_ALARM = 0.05
_ALL = "all clips"
# From so many clips on, predictions within this share of the range of scores are taken for one value.
_MANY, _ONE_VALUE = 10, 0.02


@dataclass(frozen=True, repr=False)
class ClipPredictions(Shown):
    """Predicted scores of clips and systems.

    Attributes
    ----------
    clips : pandas.DataFrame
        Indexed by clip id: ``system`` where known; per target the score and, from an ensemble, its ``_spread`` (standard
        deviation among members); ``clap_score`` where the encoder's sound and text share a space; from `TrainingDomain`, ``sound_distance``, ``sound_percentile``, ``sound_far`` and the
        same of ``prompt``.
    systems : pandas.DataFrame
        Indexed by system, the best first: number of ``clips``; per target the mean, and intervals of 95 %:
        ``_sampling_low`` and ``_sampling_high`` for which clips were drawn, which may leave the raters' scale as predictions
        may; ``_raters_low`` and ``_raters_high`` for what raters would give these clips, within their scale where that is
        known; ``sound_far``, the share of clips whose sound is far from training.
    notes : list of str
        What the figures cover and what they do not, and which intervals leave the raters' scale or are all of it.
    warnings : list of str
        What speaks against trusting them.
    skipped : pandas.DataFrame
        Clips that could not be read, with ``path`` and ``reason``.
    """

    clips: pd.DataFrame
    systems: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    skipped: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", "reason"]))

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row a clip: ``clip_id``, and the columns of ``clips``.
        """
        return self.clips.rename_axis("clip_id").reset_index()

    def _headline(self) -> str:
        words = f"{counted(len(self.clips), 'clip')} of {counted(len(self.systems), 'system')}"
        return f"{words}, {len(self.skipped)} skipped" if len(self.skipped) else words

    def _table_to_show(self) -> pd.DataFrame:
        return _shown(self.systems)

    def _remarks(self) -> list[str]:
        return [*(f"warning: {words}" for words in self.warnings), *self.notes]

    def _parts(self) -> list[str]:
        return [*self.table_parts(), *(f"warning: {warning}" for warning in self.warnings)]

    def table(self) -> str:
        """Lay the systems and the notes out as text, without the warnings.

        Returns
        -------
        str
            Several lines.
        """
        return "\n".join(self.table_parts())

    def table_parts(self) -> list[str]:
        """Lay out what `table` does, in parts.

        Returns
        -------
        list of str
            The table of systems, as `Table`, and the notes.
        """
        return [Table(_shown(self.systems)), *(f"- {note}" for note in self.notes)]


def summarise(
    clips: pd.DataFrame,
    targets: list[str],
    *,
    domain: Any = None,
    assessment: dict[str, Any] | None = None,
    ranges: Any = None,
    scale: tuple[float, float] | None = None,
    members: int = 0,
    skipped: pd.DataFrame | None = None,
    alarms: Sequence[str] = (),
) -> ClipPredictions:
    """Sum predictions up by system, and put into words what they mean.

    Parameters
    ----------
    clips : pandas.DataFrame
        One row a clip, as `iter_predictions` yields them.
    targets : list of str
        Columns that hold scores.
    domain : TrainingDomain, default=None
        The model's.
    assessment : dict, default=None
        The model's error on new systems, from `assess_error`.
    ranges : array-like [shape=(n_targets, 2)], default=None
        Lowest and highest score of training.
    scale : (float, float), default=None
        Lowest and highest score that raters can give. Raters' intervals are kept within it, around means that are brought
        into it; predictions are left as they are, and those off the scale are pointed out.
    members : int, default=0
        Members of a `MOSRegressor`; 0 where the model is none.
    skipped : pandas.DataFrame, default=None
        Clips that could not be read.
    alarms : sequence of str, default=()
        What already speaks against trusting them.

    Returns
    -------
    ClipPredictions
        With the same clips.
    """
    labels, ends = _labels(clips), scale or (-np.inf, np.inf)
    parts: list[pd.DataFrame] = []
    for target in targets:
        part = system_means(clips, target)
        if assessment is not None:
            margin = error_margin(assessment, target, part["clips"], confidence=CONFIDENCE)
            middle = part[target].clip(*ends)
            part[f"{target}_raters_low"] = (middle - margin).clip(*ends)
            part[f"{target}_raters_high"] = (middle + margin).clip(*ends)
        parts.append(part if not parts else part.drop(columns="clips"))
    systems = pd.concat(parts, axis=1)
    for name in ("clap_score", "sound_far"):
        if name in clips:
            systems[name] = clips[name].groupby(labels).mean()
    systems = systems.sort_values(targets[0], ascending=False)
    notes = [
        _sampling_note(systems, targets, ends),
        _raters_note(systems, targets, assessment, ends),
        _spread_note(clips, targets, members),
        _distance_note(domain),
    ]
    if "clap_score" in clips:
        notes.append(
            "clap_score: mean cosine of a clip's windows and its prompt by the model's own encoder, which no rater has touched; it "
            "ranks by agreement with the prompt, and compares with scores of the same checkpoint only"
        )
    found = [*alarms, *_far_systems(clips, labels, domain), *_far_prompts(clips, domain)]
    found += _extrapolations(clips[targets], ranges, scale) + _constants(clips[targets], ranges, scale)
    kept = {} if skipped is None else {"skipped": skipped}
    return ClipPredictions(clips, systems, notes, found, **kept)


def system_means(clips: pd.DataFrame, column: str) -> pd.DataFrame:
    """Average a column over systems, with t intervals of 95 % for which clips were drawn.

    Parameters
    ----------
    clips : pandas.DataFrame
        One row a clip; ``system`` where known.
    column : str
        What to average; missing values are left out.

    Returns
    -------
    pandas.DataFrame
        By system: number of ``clips`` that have a value, the mean, and ``_sampling_low`` and ``_sampling_high``.
    """
    found = system_intervals(clips[column], _labels(clips), confidence=CONFIDENCE).rename_axis("system")
    names = {"mean": column, "low": f"{column}_sampling_low", "high": f"{column}_sampling_high"}
    return found[["clips", *names]].rename(columns=names)


def _labels(clips: pd.DataFrame) -> pd.Series:
    """System of each clip; clips without a name are one set."""
    names = pd.Series(id_texts(clips["system"]) if "system" in clips else "", index=clips.index, dtype=object)
    return names.mask(names == "", "(no system)" if (names != "").any() else _ALL)


def _shown(systems: pd.DataFrame) -> pd.DataFrame:
    """Put each interval into one column, as text."""
    shown: dict[str, Any] = {}
    for column, values in systems.items():
        name = str(column).removesuffix("_low")
        if name != column:
            bounds = zip(values, systems[f"{name}_high"], strict=True)
            shown[name] = [f"{low:.2f} to {high:.2f}" if low <= high else "-" for low, high in bounds]
        elif not name.endswith("_high"):
            shown[name] = values.map("{:.0%}".format) if name == "sound_far" else values.round(3)
    return pd.DataFrame(shown)


def _sampling_note(systems: pd.DataFrame, targets: list[str], ends: tuple[float, float]) -> str:
    note = (
        "_sampling: where the mean prediction over all clips that the system could make lies (t interval, 95 %); covers "
        "which clips were drawn, not the model's error"
    )
    single = int((systems["clips"] < 2).sum())
    note += f"; none for {single} systems of one clip" if single else ""
    leaves = "it leaves the raters' scale, {:g} to {:g},".format(*ends)
    for target in targets:
        low, high = systems[f"{target}_sampling_low"], systems[f"{target}_sampling_high"]
        if len(beyond := systems.index[(low < ends[0]) | (high > ends[1])]):
            note += f"; of {target} {leaves} for {listed(beyond)}"
    return note


def _raters_note(
    systems: pd.DataFrame, targets: list[str], assessment: dict[str, Any] | None, ends: tuple[float, float]
) -> str:
    if assessment is None:
        return (
            "no interval for what raters would say: the model's error on new systems was not measured (musiceval fit "
            "--assess, its default, does where five systems or more are named)"
        )
    errors = ", ".join(f"{name} {error['system_rmse']:.2f}" for name, error in assessment["targets"].items())
    ending = "may pass the ends of their scale, which is not known"
    if np.isfinite(ends[0]):
        ending = "ends with their scale, {:g} to {:g}".format(*ends)
    note = (
        f"_raters: where raters' mean of these clips lies (95 %), from the model's error on {assessment['n_systems']} training "
        f"systems left out (root mean square {errors}); holds for systems, prompts and raters like those of training, and {ending}"
    )
    for target in targets:
        low, high = systems[f"{target}_raters_low"], systems[f"{target}_raters_high"]
        if len(whole := systems.index[(low <= ends[0]) & (high >= ends[1])]):
            which = "all systems" if len(whole) == len(systems) else listed(whole)
            note += f"; of {target} it is the whole scale, which says nothing, for {which}"
    return note


def _spread_note(clips: pd.DataFrame, targets: list[str], members: int) -> str:
    if f"{targets[0]}_spread" in clips:
        return "_spread of a clip: standard deviation among the ensemble's members; not a confidence interval of its score"
    why = "it is the disagreement of MOSRegressor's members, and this model is another"
    if members == 1:
        why = "the model has a single member (musiceval fit --members gives more)"
    return f"no spread per clip: {why}"


def _distance_note(domain: Any) -> str:
    if domain is None:
        return (
            "distance from training unknown: the model was saved without TrainingDomain; fit it anew to be warned of clips "
            "that it does not know"
        )
    n_systems = len(next(iter(domain.reference_.values())).get("medians", ()))
    left_out = f"{n_systems} training systems" if n_systems else "training clips"
    note = f"_far: farther from the training clips than {1 - domain.level:.0%} of the clips of {left_out}, each left out"
    enough = int(np.ceil(1 / domain.level)) - 1
    for part, known in domain.reference_.items():
        n_known, what = len(known["distances"]), "prompts" if part == "prompt" else "clips"
        if n_known < enough:
            note += f"; with {n_known} training {what} no {part} can be called far: it takes {enough}"
    return note


def _more_than_chance(far: pd.Series, level: float) -> bool:
    """Whether more are far than may well be by chance."""
    return bool(far.any()) and binom.sf(far.sum() - 1, len(far), level) <= _ALARM


def _far_systems(clips: pd.DataFrame, labels: pd.Series, domain: Any) -> list[str]:
    """Name the systems whose sounds are far more often than chance, and farther than training systems were."""
    found = []
    for part in [part for part in ("sound", "features") if domain is not None and f"{part}_far" in clips]:
        medians = domain.reference_[part].get("medians", np.zeros(0))
        n_known, told, least, expected = len(medians), [], len(medians), 0.0
        for system, rows in clips.groupby(labels, sort=True):
            far, n = rows[f"{part}_far"], len(rows)
            beyond = int((medians < rows[f"{part}_distance"].median()).sum())
            among_training = n_known and 1 + n_known - beyond > max(1, _ALARM * (1 + n_known))
            if not among_training and _more_than_chance(far, domain.level):
                told.append(f"{system}: {int(far.sum())} of {n} clips")
                least, expected = min(least, beyond), expected + domain.level * n
        if told:
            each = " of each" if len(told) > 1 else ""
            farther = (
                f", and the middle clip{each} farther than that of {least} of {n_known} training systems"
            )
            found.append(
                f"{listed(told)} lie farther from the training clips than {1 - domain.level:.0%} of those did when left out "
                f"(about {expected:.1f} expected){farther if n_known else ''}: the model has not heard sounds like these, and "
                "its scores for them are guesses"
            )
    return found


def _far_prompts(clips: pd.DataFrame, domain: Any) -> list[str]:
    if domain is None or "prompt_far" not in clips:
        return []
    far = clips.drop_duplicates("prompt_distance")["prompt_far"]
    if not _more_than_chance(far, domain.level):
        return []
    return [
        f"{int(far.sum())} of {len(far)} prompts are farther from the training prompts than {1 - domain.level:.0%} of those "
        f"are from each other, as of clips {listed(far.index[far])}: do not trust scores that rest on the prompt, such as "
        "alignment"
    ]


def _extrapolations(scores: pd.DataFrame, ranges: Any, scale: tuple[float, float] | None) -> list[str]:
    """Say how many predictions lie beyond the scores that training had, and how many beyond those that raters can give."""
    found = []
    for place, (name, predicted) in enumerate(scores.items()):
        low, high = (-np.inf, np.inf) if ranges is None else ranges[place]
        parts = [off_scale(predicted, scale)]
        if beyond := int(((predicted < low) | (predicted > high)).sum()):
            lie = f"lie outside the scores of training, {low:.2f} to {high:.2f}"
            unlike = "these clips may be unlike those that the model knows"
            parts.insert(0, f"{beyond} of {len(scores)} predictions {lie}: {unlike}")
        if any(parts):
            found.append(f"{name}: {'; '.join(filter(None, parts))}")
    return found


def _constants(scores: pd.DataFrame, ranges: Any, scale: tuple[float, float] | None) -> list[str]:
    """Name the targets by which many clips get nearly one score, as of a model that learned nothing."""
    found = []
    for place, (name, predicted) in enumerate(scores.items()):
        low, high = (scale or (0, 0)) if ranges is None else ranges[place]
        least, most = predicted.min(), predicted.max()
        if len(predicted) >= _MANY and most - least < _ONE_VALUE * (high - low):
            words = f"{name}: all {len(predicted)} clips get nearly one score, {least:.3f} to {most:.3f}"
            found.append(f"{words}: the model does not tell them apart, and ranks neither clips nor systems")
    return found
