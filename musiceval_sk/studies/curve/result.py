"""What a learning curve found: tables, and in words what to collect next."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.ratings.ceiling import ANOTHER_PANEL, PERFECT, HumanCeiling
from musiceval_sk.studies.result import KINDS, reading_kind

STEP_COLUMNS = [
    "target", "model", "grows", "budget", "size_from", "size_to", "metric", "kind", "gain", "low", "high"
]  # fmt: skip
NOTE_COLUMNS = ["target", "model", "grows", "budget", "size", "note"]
_SIZES = {
    "clips": "training clips",
    "systems": "training systems",
    "ratings": "ratings a training clip",
    "budget": "ratings a training clip, for one sum of ratings",
}
_MORE = {"clips": "more clips", "systems": "more systems", "ratings": "more ratings a clip"}


@dataclass(frozen=True, eq=False)
class ScoreLearningCurve:
    """What `score_learning_curve` found.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a target, model, size, kind and metric: ``grows``; ``budget``, the sum of ratings, for that line only; ``size``, of
        what grows, mean over folds and repeats; ``score``, mean over repeats, ``low`` and ``high``; ``n_repeats`` that could be judged;
        and what training had: ``clips``, ``systems``, and ``ratings`` a clip. For a budget the size is the ratings a clip.
    steps : pandas.DataFrame
        One row for each step to the next size, and in a budget from fewest ratings a clip to each other number: ``gain``, above 0
        where the score got better (errors: smaller), with the interval of the difference. Both sizes are resampled together.
    notes : pandas.DataFrame
        What could not be judged at some size, and why; of the first repeat.
    ceiling : HumanCeiling or None
        How reliable the scores of clips are, where ratings were given.
    about : dict
        Split, counts, options, seeds and versions.
    """

    table: pd.DataFrame
    steps: pd.DataFrame
    notes: pd.DataFrame
    ceiling: HumanCeiling | None
    about: dict[str, Any]

    @property
    def kind(self) -> str:
        """Kind of score to read: the mean of folds where folds share systems with their training, else pooled, as in a study."""
        return reading_kind(self.about)

    def line(
        self, target: str, metric: str, grows: str | None = None, kind: str | None = None
    ) -> pd.DataFrame:
        """Rows of the table to read or to draw together.

        Parameters
        ----------
        target : str
            Name of the target.
        metric : str
            One of the metrics asked for.
        grows : str, default=None
            What grows; by default the first that was asked for.
        kind : {"pooled", "mean of folds"}, default=None
            By default as `kind` tells.

        Returns
        -------
        pandas.DataFrame
            One row a model and size.

        Raises
        ------
        ValueError
            If there is no such row.
        """
        grows = grows or self.table["grows"].iloc[0]
        kind = kind or self.kind
        table = self.table
        same = (table["target"] == target) & (table["metric"] == metric)
        rows = table[same & (table["grows"] == grows) & (table["kind"] == kind)]
        if rows.empty:
            there = {name: listed(table[name].unique()) for name in ("target", "metric", "grows", "kind")}
            raise ValueError(
                f"there is no {metric} of {target!r}, {kind}, as {grows} grow; there are "
                f"{'; '.join(f'{name}: {values}' for name, values in there.items())}"
            )
        return rows.reset_index(drop=True)

    def last_steps(self) -> pd.DataFrame:
        """Judge the last step of every line, of the kind to read.

        Returns
        -------
        pandas.DataFrame
            Rows of ``steps`` with ``verdict``: "raised" where the interval of the gain lies above 0, "lowered" where below,
            else "open". Lines that could not be judged are left out.
        """
        steps = self.steps[np.isfinite(self.steps["gain"])]
        lines = ["target", "model", "metric", "grows", "budget"]
        last = steps[steps["kind"] == self.kind].groupby(lines, sort=False, dropna=False).tail(1)
        verdict = np.select([last["low"] > 0, last["high"] < 0], ["raised", "lowered"], "open")
        return last.assign(verdict=verdict).reset_index(drop=True)

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write the tables.

        Parameters
        ----------
        folder : str or Path
            Made if it does not exist.

        Returns
        -------
        list of Path
            ``curve.csv``, ``steps.csv`` and, where ratings were given, ``ceiling.csv``.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        at = NOTE_COLUMNS[:-1]
        merged = self.table.merge(self.notes.astype(self.table[at].dtypes), how="left", on=at)
        merged.insert(0, "split", self.about["split"])
        tables = {"curve": merged, "steps": self.steps}
        if self.ceiling is not None:
            tables["ceiling"] = self.ceiling.by_ratings()
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
        return [folder / f"{name}.csv" for name in tables]

    def __str__(self) -> str:
        """Scores by size, what more of each brought, and what the ratings let anybody reach."""
        about = self.about
        lines = [
            f"Split {about['split']!r}: {about['meaning']}; {about['folds']} fold(s), the same test clips at every size",
            f"Features: {about['features']}",
            f"Scores are means over {about['n_repeats']} random parts of the training data; [{about['confidence']:.0%} interval]: other test "
            f"systems and parts, percentile of {about['n_resamples']} resamples",
        ]
        for target, facts in about["targets"].items():
            of_systems = f" of {facts['systems']} systems" if facts["systems"] else ""
            lines += ["", f"{target}: {facts['clips']} clips{of_systems}"]
            for grows in self.table["grows"].unique():
                for metric in about["metrics"]:
                    lines += self._section(target, metric, grows)
            lines += self._remarks(target) + self._of_ceiling(target)
        return "\n".join([*lines, "", *self._next()])

    def _section(self, target: str, metric: str, grows: str) -> list[str]:
        rows = self.line(target, metric, grows)
        judged = rows.groupby("model")["score"].transform(lambda scores: np.isfinite(scores).any())
        rows = rows[judged]
        if rows.empty:
            return [f"  {metric} by {_SIZES[grows]}: no model can be judged"]
        lines = [f"  {metric} ({rows['kind'].iloc[0]}) by {_SIZES[grows]}"]
        for budget, part in rows.groupby("budget", dropna=False, sort=False):
            sizes = part.loc[part["model"] == part["model"].iloc[0], "size"]
            label = "" if np.isnan(budget) else f"{budget:.0f} ratings"
            lines.append(f"    {label:16s}" + "".join(f"{_number(size):>24s}" for size in sizes))
            for model, cells in part.groupby("model", sort=False):
                lines.append(f"    {model:16s}" + "".join(f"{_cell(row):>24s}" for row in cells.itertuples()))
        return lines

    def _remarks(self, target: str) -> list[str]:
        """Collect notes that hold at every size of a line, and unequal numbers of ratings."""
        lines = []
        for (model, note), rows in self.notes[self.notes["target"] == target].groupby(
            ["model", "note"], sort=False
        ):
            sizes = "" if len(rows) > 1 else f" (at {_number(rows['size'].iloc[0])} {rows['grows'].iloc[0]})"
            lines.append(f"  {model}{sizes}: {note}")
        least, mean, most = self.about["targets"][target].get("ratings_a_clip", [0, 0, 0])
        if least < most and {"ratings", "budget"} & set(self.table["grows"]):
            lines.append(
                f"  Clips have {least} to {most} ratings, {mean:.2f} in the mean; one with fewer than a size asks for keeps all it has."
            )
        return lines

    def _of_ceiling(self, target: str) -> list[str]:
        """Lay out the human ceiling by ratings a test clip."""
        if self.ceiling is None or target not in self.ceiling.panels:
            return []
        panel = self.ceiling.panels[target]
        numbers = sorted({1.0, *self._drawn(target), panel, 2 * panel})
        table = self.ceiling.by_ratings(numbers)
        lines = [f"  Human ceiling by ratings a test clip (Spearman-Brown; here {panel:.2f})"]
        for metric in self.about["metrics"]:
            for who in (ANOTHER_PANEL, PERFECT):
                rows = table[
                    (table["target"] == target) & (table["metric"] == metric) & (table["who"] == who)
                ]
                found = "  ".join(
                    f"{_number(row.ratings)}: {row.value:.3f}" for row in rows.dropna().itertuples()
                )
                lines += [f"    {f'{metric}, {who}':28s}{found}"] if found else []
        return lines if len(lines) > 1 else []

    def _drawn(self, target: str) -> list[float]:
        rows = self.table[(self.table["target"] == target) & (self.table["grows"] == "ratings")]
        return sorted(set(rows["size"]))

    def _next(self) -> list[str]:
        last = self.last_steps()
        last = last[~last["model"].isin(self.about["look_ups"])]
        if last.empty:
            return ["What to collect next: no line has two sizes that could be judged."]
        lines = [
            f"What to collect next, by the last step of each line ({len(last)} steps, each judged by itself)"
        ]
        for (target, model, metric), steps in last.groupby(["target", "model", "metric"], sort=False):
            lines.append(f"  {target}, {model}, {metric}: {_in_words(steps)}.")
        if not ((last["verdict"] == "raised") & (last["grows"] != "budget")).any():
            lines.append(
                "  Nothing raised a score by more than its interval; that does not show that more would not help."
            )
        pooled = self.kind == KINDS[0] and self.about["folds"] > 1
        return [*lines, *_CAUTIONS, *([_POOLED] if pooled else [])]


_CAUTIONS = [
    "  A step within its interval may still be a gain: look at its upper end. Of twenty steps that gain nothing, one may seem to.",
    "  Parts come from one training set, so near its full size they overlap; another set of that size would vary more than this shows.",
]
_POOLED = "  Pooled, a predictor that hears nothing scores below 0, the more so the more it is trained on: gains are rather understated."


def axis_name(grows: str) -> str:
    """Name what grows, as a table or an axis does.

    Parameters
    ----------
    grows : {"clips", "systems", "ratings", "budget"}
        What grows.

    Returns
    -------
    str
        In words.
    """
    return _SIZES[grows]


def _in_words(steps: pd.DataFrame) -> str:
    """One clause a kind of data, those that raised the score first."""
    order = {"raised": 0, "open": 1, "lowered": 2}
    words = {"raised": " raised it", "open": ": no change beyond the interval", "lowered": " lowered it"}
    clauses = []
    for row in sorted(steps.itertuples(), key=lambda row: (row.grows == "budget", order[row.verdict])):
        found = f"{row.gain:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        sizes = _number(row.size_from), _number(row.size_to)
        if row.grows == "budget":
            what = f"for {row.budget:.0f} ratings in all, {sizes[1]} a clip instead of {sizes[0]}"
            clauses.append(f"{what}{words[row.verdict]} ({found})")
        else:
            clauses.append(f"{_MORE[row.grows]}{words[row.verdict]} ({sizes[0]} to {sizes[1]}: {found})")
    return "; ".join(clauses)


def _cell(row: Any) -> str:
    if not np.isfinite(row.score):
        return "-"
    return f"{row.score:.3f} [{row.low:+.2f}, {row.high:+.2f}]"


def _number(size: float) -> str:
    return f"{size:.0f}" if abs(size - round(size)) < 0.005 else f"{size:.2f}".rstrip("0")
