"""From predictions of several rows to one tidy table with intervals, published figures first."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ConstantInputWarning

from musiceval_sk._ids import systems_if_named
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.reproduction.protocols import ReproductionProtocol
from musiceval_sk.reproduction.published import published_results
from musiceval_sk.statistics.bootstrap import HOW, MetricBootstrap, bootstrap_metrics
from musiceval_sk.statistics.metrics import METRICS, evaluate

SEED = "seed {}"
COLUMNS = [
    "target",
    "row",
    "kind",
    "metric",
    "value",
    "low",
    "high",
    "least_of_seeds",
    "most_of_seeds",
    "split",
    "source",
]
_OURS = "this run"


def tabulate(
    test: pd.DataFrame,
    predictions: dict[str, pd.DataFrame],
    table_truth: pd.DataFrame | None,
    protocol: ReproductionProtocol,
    n_resamples: int,
    random_state: int,
    n_jobs: int | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Judge predictions; returns the table, `COLUMNS`, and how its intervals were made."""
    intervals = _Intervals(test, predictions, table_truth, n_resamples, random_state, n_jobs)
    scores = {row: _scores(test, predicted, table_truth) for row, predicted in predictions.items()}
    seeds = [row for row in predictions if row.startswith(SEED.format(""))]
    rows = []
    for target in TARGETS:
        for row in predictions:
            kind = "seed" if row in seeds else "look-up"
            for metric in METRICS:
                low, high = intervals.of(metric, target, [row])
                value = scores[row].loc[target, metric]
                rows.append(
                    (target, row, kind, metric, value, low, high, np.nan, np.nan, protocol.split, _OURS)
                )
        name = ours(protocol, len(seeds))
        for metric in METRICS:
            each = np.array([scores[row].loc[target, metric] for row in seeds])
            low, high = intervals.of(metric, target, seeds)
            rows.append(
                (
                    *(target, name, "ours", metric, each.mean(), low, high),
                    *(each.min(), each.max(), protocol.split, _OURS),
                )
            )
    published = published_results().rename(columns={"name": "row"}).assign(kind="published")
    table = pd.concat(
        [published.reindex(columns=COLUMNS), pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True
    )
    return table.astype(dict.fromkeys(COLUMNS[4:9], float)), intervals.settings()


def ours(protocol: ReproductionProtocol, n_seeds: int) -> str:
    """Name of the row that sums up all seeds."""
    return f"{protocol.name}, mean of {n_seeds} seed{'s' if n_seeds > 1 else ''}"


def _scores(test: pd.DataFrame, predicted: pd.DataFrame, table_truth: pd.DataFrame | None) -> pd.DataFrame:
    systems = systems_if_named(test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)  # the global mean ranks nothing, as nan says
        return evaluate(test[list(TARGETS)], predicted, systems=systems, system_truth=table_truth)


class _Intervals:
    """Intervals of all rows from one bootstrap, so that all rows share their resamples.

    Where systems have a truth of their own, it is given to each of their clips: its mean over a system's clips is
    itself, in every resample.
    """

    def __init__(
        self,
        test: pd.DataFrame,
        predictions: dict[str, pd.DataFrame],
        table_truth: pd.DataFrame | None,
        n_resamples: int,
        random_state: int,
        n_jobs: int | None,
    ):
        places = [(target, row) for row in predictions for target in TARGETS]
        self._names = {place: str(number) for number, place in enumerate(places)}
        predicted = self._wide({(target, row): predictions[row][target] for target, row in places})
        systems = systems_if_named(test)
        options: dict[str, Any] = {
            "systems": systems,
            "n_resamples": n_resamples,
            "random_state": random_state,
            "n_jobs": n_jobs,
            "scale": (1, 5),
        }
        truth = self._wide({(target, row): test[target] for target, row in places})
        self._of_clips = self._of_systems = bootstrap_metrics(truth, predicted, **options)
        if table_truth is not None and systems is not None:
            by_clip = table_truth.loc[systems].set_axis(test.index, axis=0)
            truth = self._wide({(target, row): by_clip[target] for target, row in places})
            self._of_systems = bootstrap_metrics(truth, predicted, **options)

    def of(self, metric: str, target: str, rows: list[str]) -> tuple[float, float]:
        """Interval of a metric, or of its mean over several rows."""
        found = self._of_systems if METRICS[metric].by_system else self._of_clips
        names = [self._names[target, row] for row in rows]
        return _averaged(found, names).interval(metric)

    def settings(self) -> dict[str, Any]:
        """Say how the intervals were made."""
        found = self._of_clips
        return {
            "confidence": 0.95,
            "drawn": found.level,
            "drawn_in_words": HOW[found.level],
            "resamples": len(found.distribution),
        }

    def _wide(self, columns: dict[tuple[str, str], pd.Series]) -> pd.DataFrame:
        return pd.DataFrame({self._names[place]: values for place, values in columns.items()})


def _averaged(found: MetricBootstrap, names: list[str]) -> MetricBootstrap:
    """Bootstrap of the mean of several targets' metrics."""
    places = [found.targets.index(name) for name in names]
    parts = {
        name: getattr(found, name)[..., places, :].mean(axis=-2, keepdims=True)
        for name in ("estimates", "distribution", "left_out", "least_variances", "largest")
    }
    return replace(found, targets=[None], notes=[found.notes[places[0]]], **parts)
