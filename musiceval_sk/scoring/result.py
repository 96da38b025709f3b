"""What predictions of new clips come to: tables per clip and per system, and in words what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom
from scipy.stats import t as student_t

from musiceval_sk._ids import id_texts
from musiceval_sk._text import listed, off_scale
from musiceval_sk.scoring.error import error_margin

CONFIDENCE = 0.95
_ALARM = 0.05
_ALL = "all clips"


@dataclass(frozen=True)
class ClipPredictions:
    """Predicted scores of clips and systems.

    Attributes
    ----------
    clips : pandas.DataFrame
        Indexed by clip id: ``system`` where known; per target the score and, from an ensemble, its ``_spread`` (standard
        deviation among members); from `TrainingDomain`, ``sound_distance``, ``sound_percentile``, ``sound_far`` and the
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

    def __str__(self) -> str:
        return "\n".join([self.table(), *(f"warning: {warning}" for warning in self.warnings)])

    def table(self) -> str:
        """Lay the systems and the notes out as text, without the warnings.

        Returns
        -------
        str
            Several lines.
        """
        return "\n".join([_shown(self.systems).to_string(), *(f"- {note}" for note in self.notes)])


def summarise(
    clips: pd.DataFrame,
    targets: list[str],
    *,
    domain: Any = None,
    assessment: dict[str, Any] | None = None,
    ranges: Any = None,
    scale: tuple[float, float] | None = None,
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
    skipped : pandas.DataFrame, default=None
        Clips that could not be read.
    alarms : sequence of str, default=()
        What already speaks against trusting them.

    Returns
    -------
    ClipPredictions
        With the same clips.
    """
    labels = _labels(clips)
    systems = pd.DataFrame({"clips": labels.value_counts()})
    for target in targets:
        systems = systems.join(_intervals(clips[target], labels))
        if assessment is not None:
            margin = error_margin(assessment, target, systems["clips"], confidence=CONFIDENCE)
            ends = (-np.inf, np.inf) if scale is None else scale
            middle = systems[target].clip(*ends)
            systems[f"{target}_raters_low"] = (middle - margin).clip(*ends)
            systems[f"{target}_raters_high"] = (middle + margin).clip(*ends)
    if "sound_far" in clips:
        systems["sound_far"] = clips["sound_far"].groupby(labels).mean()
    systems = systems.sort_values(targets[0], ascending=False).rename_axis("system")
    notes = [
        _sampling_note(systems, targets, scale),
        _raters_note(systems, targets, assessment, scale),
        _spread_note(clips, targets),
        _distance_note(domain),
    ]
    found = [*alarms, *_far_systems(clips, labels, domain), *_far_prompts(clips, domain)]
    found += _extrapolations(clips[targets], ranges, scale)
    kept = {} if skipped is None else {"skipped": skipped}
    return ClipPredictions(clips, systems, notes, found, **kept)


def _labels(clips: pd.DataFrame) -> pd.Series:
    """System of each clip; clips without a name are one set."""
    names = pd.Series(id_texts(clips["system"]) if "system" in clips else "", index=clips.index, dtype=object)
    return names.mask(names == "", "(no system)" if (names != "").any() else _ALL)


def _intervals(scores: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """Mean by system and Student's t interval among its clips; nan for a single clip."""
    grouped = scores.groupby(labels)
    count, mean = grouped.count(), grouped.mean()
    factor = student_t.ppf((1 + CONFIDENCE) / 2, np.maximum(count - 1, 1))
    half = factor * grouped.std() / np.sqrt(count)
    name = str(scores.name)
    return pd.DataFrame(
        {name: mean, f"{name}_sampling_low": mean - half, f"{name}_sampling_high": mean + half}
    )


def _shown(systems: pd.DataFrame) -> pd.DataFrame:
    """Put each interval into one column, as text."""
    shown = pd.DataFrame({"clips": systems["clips"]})
    for column in systems.columns:
        if column.endswith("_low"):
            kind = column.removesuffix("_low")
            low, high = systems[column], systems[f"{kind}_high"]
            shown[kind] = [
                "-" if np.isnan(a) else f"{a:.2f} to {b:.2f}" for a, b in zip(low, high, strict=True)
            ]
        elif column == "sound_far":
            shown[column] = [f"{share:.0%}" for share in systems[column]]
        elif not column.endswith("_high") and column != "clips":
            shown[column] = systems[column].round(3)
    return shown


def _sampling_note(systems: pd.DataFrame, targets: list[str], scale: tuple[float, float] | None) -> str:
    single = int((systems["clips"] < 2).sum())
    note = (
        "_sampling: where the mean prediction over all clips that the system could make lies (t interval, 95 %); covers "
        "which clips were drawn, not the model's error"
    )
    note += f"; none for {single} systems of one clip" if single else ""
    low, high = scale or (-np.inf, np.inf)
    for target in targets:
        beyond = (systems[f"{target}_sampling_low"] < low) | (systems[f"{target}_sampling_high"] > high)
        if beyond.any():
            which = listed(systems.index[beyond])
            note += f"; of {target} it leaves the raters' scale, {low:g} to {high:g}, for {which}"
    return note


def _raters_note(
    systems: pd.DataFrame,
    targets: list[str],
    assessment: dict[str, Any] | None,
    scale: tuple[float, float] | None,
) -> str:
    if assessment is None:
        return (
            "no interval for what raters would say: the model's error on new systems was not measured (musiceval fit "
            "--assess does, given five systems or more)"
        )
    errors = ", ".join(f"{name} {error['system_rmse']:.2f}" for name, error in assessment["targets"].items())
    ends = (
        "may pass the ends of their scale, which is not known"
        if scale is None
        else f"ends with their scale, {scale[0]:g} to {scale[1]:g}"
    )
    note = (
        f"_raters: where raters' mean of these clips lies (95 %), from the model's error on {assessment['n_systems']} training "
        f"systems left out (root mean square {errors}); holds for systems, prompts and raters like those of training, and {ends}"
    )
    low, high = scale or (-np.inf, np.inf)
    for target in targets:
        whole = (systems[f"{target}_raters_low"] <= low) & (systems[f"{target}_raters_high"] >= high)
        if whole.any():
            which = "all systems" if whole.all() else listed(systems.index[whole])
            note += f"; of {target} it is the whole scale, which says nothing, for {which}"
    return note


def _spread_note(clips: pd.DataFrame, targets: list[str]) -> str:
    if f"{targets[0]}_spread" not in clips:
        return "no spread per clip: the model has a single member (musiceval fit --members gives more)"
    return "_spread of a clip: standard deviation among the ensemble's members; not a confidence interval of its score"


def _distance_note(domain: Any) -> str:
    if domain is None:
        return (
            "distance from training unknown: the model was saved without TrainingDomain; fit it anew to be warned of clips "
            "that it does not know"
        )
    reference = next(iter(domain.reference_.values()))
    n_systems = len(reference.get("medians", ()))
    left_out = (
        f"{n_systems} training systems, each left out" if n_systems else "training clips, each left out"
    )
    note = f"_far: farther from the training clips than {1 - domain.level:.0%} of the clips of {left_out}"
    enough = int(np.ceil(1 / domain.level)) - 1
    for part, known in domain.reference_.items():
        n_known = len(known["distances"])
        if n_known < enough:
            what = "prompts" if part == "prompt" else "clips"
            note += f"; with {n_known} different training {what} that can never be said of {part}: it takes {enough}"
    return note


def _far_systems(clips: pd.DataFrame, labels: pd.Series, domain: Any) -> list[str]:
    """Say of each system whose sounds are far more often than chance, and farther than training systems were."""
    found = []
    for part in ("sound", "features"):
        if domain is None or f"{part}_far" not in clips:
            continue
        medians = domain.reference_[part].get("medians", np.zeros(0))
        for system, rows in clips.groupby(labels, sort=True):
            far = int(rows[f"{part}_far"].sum())
            if not far or binom.sf(far - 1, len(rows), domain.level) > _ALARM:
                continue
            beyond = int((medians < rows[f"{part}_distance"].median()).sum())
            if len(medians) and 1 + len(medians) - beyond > max(1.0, _ALARM * (1 + len(medians))):
                continue
            found.append(_far_words(str(system), far, len(rows), beyond, len(medians), domain.level))
    return found


def _far_words(system: str, far: int, n: int, beyond: int, n_training: int, level: float) -> str:
    words = (
        f"{system}: {far} of {n} clips lie farther from the training clips than {1 - level:.0%} of those did when left out "
        f"(about {level * n:.1f} expected)"
    )
    if n_training:
        words += f", and the middle clip farther than that of {beyond} of {n_training} training systems"
    return f"{words}: the model has not heard sounds like these, and its scores for them are guesses"


def _far_prompts(clips: pd.DataFrame, domain: Any) -> list[str]:
    if domain is None or "prompt_far" not in clips:
        return []
    distinct = clips.drop_duplicates("prompt_distance")
    far = distinct["prompt_far"]
    if not far.sum() or binom.sf(far.sum() - 1, len(far), domain.level) > _ALARM:
        return []
    return [
        f"{int(far.sum())} of {len(far)} prompts are farther from the training prompts than {1 - domain.level:.0%} of those "
        f"are from each other, as of clips {listed(distinct.index[far])}: do not trust scores that rest on the prompt, such as "
        "alignment"
    ]


def _extrapolations(scores: pd.DataFrame, ranges: Any, scale: tuple[float, float] | None) -> list[str]:
    """Say how many predictions lie beyond the scores that training had, and how many beyond those that raters can give."""
    found = []
    for place, name in enumerate(scores):
        parts = [off_scale(scores[name], scale)]
        if ranges is not None:
            low, high = ranges[place]
            beyond = int(((scores[name] < low) | (scores[name] > high)).sum())
            if beyond:
                parts.insert(
                    0,
                    f"{beyond} of {len(scores)} predictions lie outside the scores of training, {low:.2f} to {high:.2f}: "
                    "these clips may be unlike those that the model knows",
                )
        if any(parts):
            found.append(f"{name}: {'; '.join(filter(None, parts))}")
    return found
