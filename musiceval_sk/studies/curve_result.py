"""What a learning curve found: tables, and in words what to collect next."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._files import atomic_write, write_csv
from musiceval_sk._text import Shown, Table, listed
from musiceval_sk.ratings.ceiling import HumanCeiling
from musiceval_sk.studies.result import POOLED, reading_kind

# What may grow, in the words of a table or an axis.
GROWS = {"clips": "training clips", "systems": "training systems", "ratings": "ratings a training clip"}
_WHERE = ["target", "model", "grows", "size"]
# Of the tables of scores, steps and notes.
COLUMNS = (
    [*_WHERE, "metric", "kind", "score", "low", "high", "n_repeats", "clips", "systems", "ratings"],
    ["target", "model", "grows", "size_from", "size_to", "metric", "kind", "gain", "low", "high"],
    [*_WHERE, "note"],
)
_CAUTIONS = """\
  raised: the interval of the gain lies above 0; lowered: below; open: neither, which does not show that more would not help.
  A step within its interval may still be a gain: look at its upper end. Of twenty steps that gain nothing, one may seem to.
  Parts come from one training set, so near its full size they overlap; another set of that size would vary more than this shows."""
_POOLED_NULL = "  Pooled, a predictor that uses no audio scores below 0, the more so the more it is trained on: gains are rather understated."


@dataclass(frozen=True, eq=False, repr=False)
class ScoreLearningCurve(Shown):
    """What `score_learning_curve` found.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a target, model, size, kind and metric: ``grows``; ``size``, of what grows, mean over folds and repeats; ``score``, mean
        over repeats, ``low`` and ``high``; ``n_repeats`` that could be judged; and what training had: ``clips``, ``systems``, and
        ``ratings`` a clip.
    steps : pandas.DataFrame
        One row for each step to the next size: ``gain``, above 0 where the score got better (errors: smaller), with the interval of
        the difference. Both sizes are resampled together.
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

    def _table_to_show(self) -> pd.DataFrame:
        columns = ["target", "model", "metric", "grows", "size", "score", "low", "high"]
        return self.table.loc[self.table["kind"] == self.kind, columns].reset_index(drop=True)

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
        wanted = {"target": target, "metric": metric}
        wanted |= {"grows": grows or self.table["grows"].iloc[0], "kind": kind or self.kind}
        rows = self.table[(self.table[list(wanted)] == pd.Series(wanted)).all(axis=1)]
        if rows.empty:
            there = "; ".join(f"{name}: {listed(self.table[name].unique())}" for name in wanted)
            what = f"{metric} of {target!r}, {wanted['kind']}, as {wanted['grows']} grow"
            raise ValueError(f"there is no {what}; there are {there}")
        return rows.reset_index(drop=True)

    def last_steps(self) -> pd.DataFrame:
        """Judge the last step of every line, of the kind to read.

        Returns
        -------
        pandas.DataFrame
            Rows of ``steps`` with ``verdict``: "raised" where the interval of the gain lies above 0, "lowered" where below,
            else "open". Lines that could not be judged are left out.
        """
        steps = self.steps[self.steps["gain"].notna() & (self.steps["kind"] == self.kind)]
        last = steps.groupby(["target", "model", "metric", "grows"], sort=False).tail(1)
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
        merged = self.table.merge(self.notes.astype({"size": float}), how="left", on=_WHERE)
        merged.insert(0, "split", self.about["split"])
        tables = {"curve": merged, "steps": self.steps}
        if self.ceiling is not None:
            tables["ceiling"] = self.ceiling.by_ratings()
        for name, table in tables.items():
            with atomic_write(folder / f"{name}.csv") as aside:
                write_csv(table, aside)
        return [folder / f"{name}.csv" for name in tables]

    def _parts(self) -> list[str]:
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
            lines += ["", f"{target}: {facts['clips']} clips{of_systems}", *self._scores(target)]
            lines += self._remarks_on(target) + self._ceiling(target)
        return [*lines, "", *self._next()]

    def _scores(self, target: str) -> list[str]:
        rows = self.table[(self.table["target"] == target) & (self.table["kind"] == self.kind)]
        cells = [f"{row.score:.3f} [{row.low:+.2f}, {row.high:+.2f}]" for row in rows.itertuples()]
        cells = [cell.removesuffix(" [+nan, +nan]") for cell in cells]
        rows = rows.assign(cell=np.where(rows["score"].notna(), cells, "-"))
        lines = []
        for grows, part in rows.groupby("grows", sort=False):
            keys = {"index": ["metric", "model"], "columns": "size", "values": "cell"}
            lines.append(f"  By {GROWS[grows]}, {self.kind}")
            lines.append(_indented(part.pivot_table(**keys, aggfunc="first", sort=False)))
        return lines

    def _remarks_on(self, target: str) -> list[str]:
        """Collect notes, and unequal numbers of ratings."""
        lines = []
        notes = self.notes[self.notes["target"] == target]
        for (model, note), rows in notes.groupby(["model", "note"], sort=False):
            size = "" if len(rows) > 1 else f" (at {rows['size'].iloc[0]:g} {rows['grows'].iloc[0]})"
            lines.append(f"  {model}{size}: {note}")
        least, mean, most = self.about["ratings_a_clip"][target]
        if least < most and "ratings" in set(self.table["grows"]):
            there = f"  Clips have {least:.0f} to {most:.0f} ratings, {mean:.2f} in the mean"
            lines.append(f"{there}; one with fewer than a size asks for keeps all it has.")
        return lines

    def _ceiling(self, target: str) -> list[str]:
        """Lay out the human ceiling by ratings a test clip."""
        if self.ceiling is None or target not in self.ceiling.panels:
            return []
        panel = self.ceiling.panels[target]
        drawn = self.table[(self.table["target"] == target) & (self.table["grows"] == "ratings")]["size"]
        rows = self.ceiling.by_ratings(sorted({round(size, 6) for size in (1.0, *drawn, panel, 2 * panel)}))
        rows = rows[(rows["target"] == target) & rows["metric"].isin(self.about["metrics"])].dropna()
        if rows.empty:
            return []
        title = f"  Human ceiling by ratings a test clip (Spearman-Brown; here {panel:.2f})"
        return [title, _indented(rows.pivot(index=["metric", "who"], columns="ratings", values="value"))]

    def _next(self) -> list[str]:
        last = self.last_steps()
        last = last[~last["model"].isin(self.about["look_ups"])].drop(columns="kind")
        if last.empty:
            return ["What to collect next: no line has two sizes that could be judged."]
        lines = ["What to collect next, by the last step of each line, each judged by itself"]
        lines += [_indented(last.set_index(["target", "model", "grows"])), _CAUTIONS]
        return [*lines, _POOLED_NULL] if self.kind == POOLED and self.about["folds"] > 1 else lines


def _indented(table: pd.DataFrame) -> Table:
    """Lay out a table; sizes, where they are columns, without idle zeros."""
    shown = table.rename(columns=lambda name: name if isinstance(name, str) else f"{round(name, 2):g}")
    return Table(shown.round(3), "    ", strip=True, na_rep="-")
