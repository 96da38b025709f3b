"""What a reproduction found, beside what others have published: Table I on screen, tidy in CSV, whole in JSON."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._files import write_csv
from musiceval_sk._text import Shown, Table
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.studies.result import read_result, write_result

NUMBERS = ("value", "low", "high", "least_of_seeds", "most_of_seeds")
FIGURES = ("target", "row", "kind", "metric", *NUMBERS, "split", "source")
_PREDICTED = ("row", "target", "clip_id", "system", "truth", "prediction")


def published_results(target: str | None = None) -> pd.DataFrame:
    """List published figures.

    They rest on different splits and on two kinds of system truth, so they are no ranking.

    Parameters
    ----------
    target : {"impression", "alignment"}, default=None
        Only this target.

    Returns
    -------
    pandas.DataFrame
        One row a figure: ``name``, ``target``, ``metric``, ``value``, ``split``, ``source``.

    Examples
    --------
    >>> table = published_results("impression")
    >>> table.query("name == 'paper, Table I' and metric == 'S_SRCC'")["value"].item()
    0.926
    """
    with (files(__package__) / "published.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    return table if target is None else table[table["target"] == target].reset_index(drop=True)


@dataclass(frozen=True, repr=False)
class ReproductionResult(Shown):
    """What `reproduce` found.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a figure: ``target``, ``row`` (who), ``kind`` ("published", "look-up", "seed" or "ours"), ``metric``,
        ``value``, ``low`` and ``high`` (95 % interval), ``least_of_seeds`` and ``most_of_seeds``, ``split``, ``source``.
    predictions : pandas.DataFrame
        One row per look-up or seed, target and test clip: ``row, target, clip_id, system, truth, prediction``.
    notes : list of str
        What a reader must know.
    about : dict
        Protocol with its deviations, split, encoder with its hashes, seeds, epochs, intervals and versions; where CLAP was
        trained, ``training`` (mode and settings) and ``tuned`` (identity of each seed's vectors).
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    notes: list[str]
    about: dict[str, Any]

    def _headline(self) -> str:
        return f"MusicEval, protocol '{self.about['protocol']['name']}': {self.about['title'].upper()}"

    def _table_to_show(self) -> pd.DataFrame:
        targets = self.table["target"].unique()
        table = pd.concat({target: self.scores(target) for target in targets}, names=["target", "row"])
        return table.drop([f"seed {seed}" for seed in self.about["seeds"]], level="row", errors="ignore")

    def _remarks(self) -> list[str]:
        return self.notes

    def scores(self, target: str) -> pd.DataFrame:
        """Table I of one target.

        Parameters
        ----------
        target : {"impression", "alignment"}
            The target.

        Returns
        -------
        pandas.DataFrame
            One row each, published ones first, then look-ups, single seeds and their mean; the eight metrics as
            columns, nan where there is no figure.
        """
        chosen = self.table[self.table["target"] == target]
        wide = chosen.pivot(index="row", columns="metric", values="value")
        return wide.reindex(index=chosen["row"].unique(), columns=list(METRICS)).rename_axis(columns=None)

    def to_csv(self, path: str | Path) -> None:
        """Write the tidy table.

        Parameters
        ----------
        path : str or Path
            The file.
        """
        write_csv(self.table, path)

    def to_json(self, path: str | Path) -> None:
        """Write everything, so that `ReproductionResult.from_json` gives it back.

        Parameters
        ----------
        path : str or Path
            The file; nan is written as null.
        """
        names = ("about", "notes", "table", "predictions")
        write_result(path, {name: getattr(self, name) for name in names})

    @classmethod
    def from_json(cls, path: str | Path) -> "ReproductionResult":
        """Read what `to_json` wrote.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        ReproductionResult
            As it was.

        Raises
        ------
        ValueError
            If the file is no JSON, or lacks a part of a reproduction.
        """
        parts = {"table": FIGURES, "predictions": _PREDICTED, "notes": (), "about": ("protocol", "split")}
        wanted = "reproduction", "what ReproductionResult.to_json wrote"
        content = read_result(path, parts, *wanted)
        content["table"] = content["table"].astype(dict.fromkeys(NUMBERS, float))
        return cls(**{name: content[name] for name in parts})

    def _parts(self) -> list[str]:
        about, protocol, split = self.about, self.about["protocol"], self.about["split"]
        shared = [f"{share:.0%} by {label}" for label, share in split["shared_with_training"].items()]
        seeds, intervals = about["seeds"], about["intervals"]
        best = [epoch for found in about["epochs"].values() for epoch in found["best"].values()]
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        return [
            self._headline(),
            f"  {protocol['meaning']}",
            f"Split '{split['name']}': {split['train']} clips to learn from, stopped by {split['stopped_by']}, "
            f"{split['test']} tested, of {split['test_systems']} systems",
            f"Test clips that share a label with training: {', '.join(shared) or 'unknown'}",
            f"System truth: {about['system_truth']}",
            *(_encoder_line(purpose, **towers) for purpose, towers in about["encoders"].items()),
            *self._training(),
            f"Seeds {seeds[0]} to {seeds[-1]}; best epochs {min(best)} to {max(best)} of at most {protocol['max_iter']}",
            f"Intervals: {intervals['confidence']:.0%}, {intervals['drawn_in_words']}, {intervals['resamples']} resamples",
            *(part for target in self.table["target"].unique() for part in ("", self._section(target))),
            "",
            *(f"Note: {note}" for note in self.notes),
            "Known deviations:",
            *(f"  - {text}" for text in protocol["deviations"]),
            f"Made {about['made']} with {versions}",
        ]

    def _training(self) -> list[str]:
        """Say what was trained beside the heads, if anything."""
        if "training" not in self.about:
            return []
        training, protocol = self.about["training"], self.about["protocol"]
        own = [name for name in ("n_blocks", "lora_rank", "lora_alpha") if name in training]
        return [
            f"CLAP was trained with the heads, mode '{training['mode']}'"
            + "".join(f", {name} {training[name]:g}" for name in own)
            + f": {training['tuned_weights']:,} of the towers' weights, in {training['precision']} on {training['device']}",
            f"  L1, SGD with step {protocol['learning_rate']:g} and momentum {protocol['momentum']:g}, batches of "
            f"{protocol['batch_size']} clips; stopped after {protocol['patience']} epochs without improvement on "
            f"{self.about['split']['stopped_by']}",
        ]

    def _section(self, target: str) -> Table:
        """Lay out Table I of one target: each figure, below it its interval and its range over seeds where it has them."""
        shown = {"low": "    95 % interval, from", "high": "                   to"}
        if len(self.about["seeds"]) > 1:
            shown["least_of_seeds"] = "    range over seeds, from"
            shown["most_of_seeds"] = "                      to"
        chosen = self.table[(self.table["target"] == target) & (self.table["kind"] != "seed")]
        lines = []
        for row, figures in chosen.set_index("metric").groupby("row", sort=False):
            lines += [figures[number].rename(label) for number, label in ({"value": row} | shown).items()]
        wide = pd.DataFrame(lines).dropna(how="all").reindex(columns=list(METRICS))
        return Table(wide.rename_axis(columns=target), float_format="%.3f", na_rep="-")


def _encoder_line(purpose: str, audio: dict[str, Any], text: dict[str, Any]) -> str:
    digest = audio.get("checkpoint_sha256")
    checkpoint = f", checkpoint sha256 {digest}" if digest else ""
    windows = f"{audio['sample_rate']} Hz, windows of {audio['window_seconds']:g} s, {audio.get('sound', 'resampled')}"
    fingerprints = f"audio {audio['fingerprint']}, text {text['fingerprint']}"
    return f"Encoder ({purpose}): {audio['name']}{checkpoint}; {windows}; {fingerprints}"
