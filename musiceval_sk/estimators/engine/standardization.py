"""Inputs and scores brought to a common size for training, and fitted layers brought back to the data's own."""

from typing import NamedTuple

import numpy as np
from sklearn.preprocessing import StandardScaler

from musiceval_sk.estimators.engine.task import Layers


class Standardization(NamedTuple):
    """Mean and deviation of each column of X, [shape=(d,)]; median of each target and mean distance from it, [shape=(t,)]."""

    mean: np.ndarray
    deviation: np.ndarray
    median: np.ndarray
    distance: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray, Y: np.ndarray, weights: np.ndarray) -> "Standardization":
        """Measure rows of the given weights; what is constant keeps its size."""
        scaler = StandardScaler().fit(X, sample_weight=weights)
        median = np.array([weighted_median(scores, weights) for scores in Y.T])
        distance = np.average(np.abs(Y - median), axis=0, weights=weights)
        return cls(scaler.mean_, scaler.scale_, median, np.where(distance > 0, distance, 1.0))

    @classmethod
    def none(cls, n_columns: int, n_targets: int) -> "Standardization":
        """Leave data as they are."""
        return cls(np.zeros(n_columns), np.ones(n_columns), np.zeros(n_targets), np.ones(n_targets))

    def inputs(self, X: np.ndarray) -> np.ndarray:
        """Bring X to zero mean and unit deviation, in its dtype."""
        return ((X - self.mean) / self.deviation).astype(X.dtype)

    def targets(self, Y: np.ndarray) -> np.ndarray:
        """Bring scores to median zero and mean distance one."""
        return (Y - self.median) / self.distance

    def undone(self, layers: Layers, columns: np.ndarray, target: int | None, centred: bool = True) -> Layers:
        """Turn layers trained on standardized data into ones for data as they are.

        ``target`` is None where outputs are no scores; ``centred`` tells whether they lie around the median.
        """
        layers = list(layers)
        weight, bias = layers[0]
        weight = weight / self.deviation[columns, None]
        layers[0] = weight, bias - self.mean[columns] @ weight
        if target is not None:
            weight, bias = layers[-1]
            middle = self.median[target] if centred else 0.0
            layers[-1] = weight * self.distance[target], bias * self.distance[target] + middle
        return layers

    def done(self, layers: Layers, columns: np.ndarray, target: int | None, centred: bool = True) -> Layers:
        """Undo `undone`, to go on from fitted layers."""
        layers = list(layers)
        weight, bias = layers[0]
        layers[0] = weight * self.deviation[columns, None], bias + self.mean[columns] @ weight
        if target is not None:
            weight, bias = layers[-1]
            middle = self.median[target] if centred else 0.0
            layers[-1] = weight / self.distance[target], (bias - middle) / self.distance[target]
        return layers


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Find the value at which half of the weight is reached; between two values, their mean."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    half = reached[-1] / 2
    low, high = (np.searchsorted(reached, half, side) for side in ("left", "right"))
    return float((values[order[low]] + values[order[min(high, len(order) - 1)]]) / 2)
