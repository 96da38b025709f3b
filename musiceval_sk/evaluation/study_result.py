"""What a study found: tables on screen, CSV and JSON."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk.evaluation.metrics import METRICS
from musiceval_sk.evaluation.stats import spearman_interval

KINDS = ("pooled", "mean of folds")
LEAST_SYSTEMS_TO_RANK = 3
FEW_SYSTEMS = 10


@dataclass(frozen=True)
class StudyResult:
    """What `run_study` found.

    Attributes
    ----------
    scores : pandas.DataFrame
        One row per target, model and kind ("pooled" or "mean of folds"), the eight metrics as columns.
    predictions : pandas.DataFrame
        One row per target, model and tested clip: ``fold``, ``truth``, ``prediction``.
    notes : pandas.DataFrame
        One row per target and model with something to say: what could not be judged, and why.
    about : dict
        Split, leakage, counts, encoder, seeds and versions.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    notes: pd.DataFrame
    about: dict[str, Any]

    def table(self, target: str, kind: str = "pooled") -> pd.DataFrame:
        """Scores of one target, one row a model.

        Parameters
        ----------
        target : str
            Name of the target.
        kind : {"pooled", "mean of folds"}, default="pooled"
            Which scores.

        Returns
        -------
        pandas.DataFrame
            Indexed by model, the eight metrics as columns.
        """
        chosen = (self.scores["target"] == target) & (self.scores["kind"] == kind)
        return self.scores[chosen].set_index("model")[list(METRICS)]

    def interval(self, target: str, model: str) -> tuple[float, float]:
        """Approximate 95 % interval of a pooled S_SRCC.

        Parameters
        ----------
        target, model : str
            The row.

        Returns
        -------
        tuple of float
            See `spearman_interval`; the systems are the pairs. nan where folds share systems with their training.
        """
        if self.about["folds"] > 1 and self._shares_systems():
            return np.nan, np.nan
        return spearman_interval(
            float(self.table(target)["S_SRCC"][model]), self.about["targets"][target]["systems"]
        )

    def to_csv(self, path: str | Path) -> None:
        """Write the scores, one row per target, model and kind.

        Parameters
        ----------
        path : str or Path
            The file.
        """
        merged = self.scores.merge(self.notes, how="left", on=["target", "model"])
        merged.insert(0, "split", self.about["split"])
        merged.to_csv(path, index=False)

    def to_json(self, path: str | Path) -> None:
        """Write everything, so that `StudyResult.from_json` gives it back.

        Parameters
        ----------
        path : str or Path
            The file; nan is written as null.
        """
        tables = {
            name: json.loads(getattr(self, name).to_json(orient="records", double_precision=15))
            for name in ("scores", "predictions", "notes")
        }
        Path(path).write_text(json.dumps({"about": self.about, **tables}, indent=1, ensure_ascii=False))

    @classmethod
    def from_json(cls, path: str | Path) -> "StudyResult":
        """Read what `to_json` wrote.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        StudyResult
            As it was.
        """
        content = json.loads(Path(path).read_text())
        scores = pd.DataFrame(content["scores"]).astype(dict.fromkeys(METRICS, float))
        notes = pd.DataFrame(content["notes"], columns=["target", "model", "note"])
        return cls(scores, pd.DataFrame(content["predictions"]), notes, content["about"])

    def __str__(self) -> str:
        return "\n".join([self._header(), *(self._section(target) for target in self.about["targets"])])

    def _header(self) -> str:
        about = self.about
        shared = ", ".join(
            f"{share:.0%} by {label}" for label, share in about["shared_with_training"].items()
        )
        return (
            f"Split {about['split']!r}: {about['meaning']}; {about['folds']} fold(s)\n"
            f"Test clips that share a label with their training clips: {shared or 'unknown'}\n"
            f"Features: {about['features']}"
        )

    def _section(self, target: str) -> str:
        facts = self.about["targets"][target]
        lines = [
            "",
            f"{target}: {facts['clips']} clips of {facts['systems']} systems; {facts['inputs']} columns as input",
            f"{'':14s}{'':15s}" + "".join(f"{name:>8s}" for name in METRICS) + "  S_SRCC 95 %",
        ]
        for model in self.table(target).index:
            for kind in KINDS:
                cells = "".join(_cell(value) for value in self.table(target, kind).loc[model])
                low, high = self.interval(target, model) if kind == "pooled" else (np.nan, np.nan)
                bounds = f"  [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else ""
                if self.table(target, kind).loc[model].isna().all():
                    bounds = "  cannot be judged"
                lines.append(f"{model if kind == 'pooled' else '':14s}{kind:15s}{cells}{bounds}".rstrip())
        for _, row in self.notes[self.notes["target"] == target].iterrows():
            lines.append(f"  {row['model']}: {row['note']}")
        return "\n".join([*lines, *(f"  {caution}" for caution in self.cautions(target))])

    def cautions(self, target: str) -> list[str]:
        """Say what the S metrics of a target's table cannot show.

        Parameters
        ----------
        target : str
            Name of the target.

        Returns
        -------
        list of str
            Sentences; none where nothing stands in the way.
        """
        facts = self.about["targets"][target]
        if not facts["systems"]:
            return ["S metrics: not every clip names its system, so there are none."]
        cautions = []
        if facts["systems"] < FEW_SYSTEMS:
            cautions.append(
                f"S metrics rest on {facts['systems']} systems: too few to tell predictors apart."
            )
        if self.about["folds"] == 1:
            return cautions
        if self._shares_systems():
            cautions.append(
                "S metrics, pooled: over the folds all clips of a system have been in training, so a look-up of the "
                "system mean scores 1 by construction. Read the mean of folds, or split by system."
            )
        else:
            cautions.append(
                "Correlations, pooled: a predictor that hears nothing scores below 0, not at 0 (S_SRCC about -0.9 at 5 "
                "systems, -0.4 at 12, -0.2 at 31 in simulation), because the mean of the training scores is low where "
                "the test systems are good; intervals leave that out."
            )
        if facts["least_systems_in_a_fold"] < FEW_SYSTEMS:
            cautions.append(
                f"S metrics, mean of folds: as few as {facts['least_systems_in_a_fold']} systems in a fold; folds with "
                f"fewer than {LEAST_SYSTEMS_TO_RANK} are left out of correlations."
            )
        return cautions

    def _shares_systems(self) -> bool:
        return self.about["shared_with_training"].get("system", 0) > 0


def _cell(value: float) -> str:
    return f"{value:8.3f}" if np.isfinite(value) else f"{'-':>8s}"
