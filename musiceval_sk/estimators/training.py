"""From a regressor and its data to a training job, and from what was trained to fitted attributes.

Fitted weights are stacked: for each target and layer one array, [shape=(n_ensemble, fan_in, fan_out)], and one of biases.
The engine takes and gives layers, pairs of weights and biases, for each target and member.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from musiceval_sk._device import resolve_device
from musiceval_sk.estimators.engine.task import Layers, Schedule, Task, Trained, layer_sizes
from musiceval_sk.estimators.mixture import Line, Part, fit_ridge, held_out_means, mix
from musiceval_sk.estimators.prediction import network_scores

Stack = list[list[np.ndarray]]
_LARGEST_SEED = np.iinfo(np.int32).max
# What the regressor calls otherwise than the engine.
_NAMES = {"patience": "n_iter_no_change", "nesterov": "nesterovs_momentum", "zero_output": "standardize"}


def draw_seeds(regressor: Any, random_state: np.random.RandomState) -> np.ndarray:
    """Draw seeds, [shape=(n_ensemble, 1 + n_targets)]: of the order of rows, then of each head's initial weights."""
    return random_state.randint(_LARGEST_SEED, size=(regressor.n_ensemble, 1 + len(regressor.head_columns_)))


class Training:
    """One fit: what the engine is asked for, and what is made of its answer.

    Members hold out rows pair by pair where `hold_out` is "folds". Beside a ridge regression every other member, the
    first among them, learns what the ridge regression without its hold-out leaves over, the rest learn the scores.

    Parameters
    ----------
    regressor : MOSRegressor
        With ``head_columns_`` set.
    X, Y : np.ndarray [shape=(n, n_features)], [shape=(n, n_targets)]
        All rows, those held out too.
    rows : np.ndarray of int
        Rows to learn from or to hold out.
    parts : sequence of (np.ndarray of int, np.ndarray of int)
        For each member the rows to learn from and to judge by.
    weights : np.ndarray [shape=(n,)]
        Weight of every row.
    pairs : np.ndarray of int [shape=(m, 2)], default=None
        Pairs of rows, the preferred first; there is no ridge regression then, which would learn nothing of them.
    scored : bool, default=True
        Whether Y holds scores; else pairs alone train.
    """

    def __init__(
        self,
        regressor: Any,
        X: np.ndarray,
        Y: np.ndarray,
        rows: np.ndarray,
        parts: Sequence[Part],
        weights: np.ndarray,
        pairs: np.ndarray | None = None,
        scored: bool = True,
    ):
        self.pairs, self.scored = pairs, scored
        self.regressor, self.X, self.Y, self.rows, self.parts = regressor, X, Y, rows, parts
        self.weights = weights / weights.max() if regressor.standardize else weights
        self.classifies = regressor.loss == "soft_bins"
        self.inputs, self.scores = X, Y
        self.standardization = Standardization.none(*X.shape[1:], *Y.shape[1:])
        if regressor.standardize:
            self.standardization = Standardization.of(X[rows], Y[rows], weights[rows])
            if regressor.standardize == "scores":
                self.standardization = self.standardization._replace(
                    mean=np.zeros(X.shape[1]), deviation=np.ones(X.shape[1])
                )
            self.inputs = self.standardization.inputs(X)
            self.scores = Y if self.classifies else self.standardization.targets(Y)
        self.lines = (
            []
            if regressor.linear is None or pairs is not None
            else [self._ridge(head) for head in self._heads()]
        )

    def _heads(self) -> range:
        return range(len(self.regressor.head_columns_))

    def _seen(self, head: int) -> np.ndarray:
        """Standardized columns that a head sees."""
        return np.asarray(self.inputs[:, self.regressor.head_columns_[head]], dtype=np.float64)

    def _ridge(self, head: int) -> tuple[Line, list[Line]]:
        scores = self.standardization.targets(self.Y)[:, head]
        return fit_ridge(self._seen(head), scores, self.weights, self.rows, self.parts)

    def _refines(self, member: int) -> bool:
        return bool(self.lines) and not self.classifies and member % 2 == 0

    def job(self, seeds: np.ndarray, stack: tuple[Stack, Stack] | None = None) -> Any:
        """Make the job that trains every head and member, heads outermost; weights to go on from come in stacks."""
        from musiceval_sk.estimators.engine.jobs import Job

        regressor, columns = self.regressor, list(self.scores.T)
        used = self.weights[np.concatenate([self.rows, *(held for _, held in self.parts)])]
        row_weights = None if (used == used[0]).all() else self.weights
        folds = regressor.hold_out == "folds" and not regressor.bootstrap
        tasks = []
        for head, chosen in enumerate(regressor.head_columns_):
            for member, (rows, held) in enumerate(self.parts):
                target = head
                if self._refines(member):
                    target = len(columns)
                    line = self.lines[head][1][member]
                    columns.append(self.scores[:, head] - line.predict(self._seen(head)))
                tasks.append(
                    Task(
                        target=target,
                        rows=self._rows_of_epoch(rows, seeds[member, 0]),
                        validation_rows=held,
                        init_seed=int(seeds[member, 1 + head]),
                        order_seed=int(seeds[0 if folds else member, 0]),
                        learning_rate=regressor.learning_rate_init,
                        momentum=regressor.momentum,
                        weight_decay=regressor.alpha,
                        columns=None if len(chosen) == self.X.shape[1] else chosen,
                        row_weights=row_weights,
                        initial=stack
                        and self._turned(
                            self.standardization.done, layers_of(stack, head, member), head, member
                        ),
                        stops_with=self._stops_with(head, member) if len(held) else None,
                        pairs=self._pairs_within(rows),
                        held_pairs=self._pairs_within(held),
                        scored=self.scored,
                        pair_weight=regressor.rank_weight or 1.0,
                    )
                )
        device = str(resolve_device(regressor.device))
        targets = np.column_stack(columns)
        return Job(self.inputs, targets, tasks, schedule_of(regressor), device, regressor.dtype)

    def _rows_of_epoch(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Members of folds go through all rows together, each passing over its own fold, unless pairs keep them apart."""
        if self.regressor.bootstrap:
            return _drawn(rows, seed)
        return self.rows if self.regressor.hold_out == "folds" and self.pairs is None else rows

    def _pairs_within(self, rows: np.ndarray) -> np.ndarray | None:
        """Pairs of which both are among some rows."""
        return None if self.pairs is None else self.pairs[np.isin(self.pairs, rows).all(axis=1)]

    def _stops_with(self, head: int, member: int) -> Any:
        """Name those that stop together: by all hold-outs where members have their own, else the heads of a member."""
        if self.regressor.hold_out == "folds":
            return self._refines(member), self.regressor.stop_together or head
        return member if self.regressor.stop_together else None

    def _turned(self, turn: Callable[..., Layers], layers: Layers, head: int, member: int) -> Layers:
        target = None if self.classifies else head
        return turn(layers, self.regressor.head_columns_[head], target, not self._refines(member))

    def keep(self, results: list[Trained]) -> None:
        """Set the weights of networks and linear part, and what tells how the fit went."""
        regressor = self.regressor
        diverged = sum(not result.finite() for result in results)
        if diverged:
            raise ValueError(
                f"training diverged for {diverged} of {len(results)} heads; lower learning_rate_init, or scale X"
            )
        places = [(head, member) for head in self._heads() for member in range(regressor.n_ensemble)]
        layers = [
            self._turned(self.standardization.undone, result.layers, *place)
            for result, place in zip(results, places, strict=True)
        ]
        regressor.coefs_, regressor.intercepts_ = stacked(layers, regressor.n_ensemble)
        regressor.linear_coefs_ = regressor.linear_intercepts_ = regressor.network_weights_ = None
        if self.lines:
            mixed = [self._mixed(head) for head in self._heads()]
            regressor.network_weights_ = np.array([weight for weight, _, _ in mixed])
            regressor.linear_coefs_ = [coefs for _, coefs, _ in mixed]
            regressor.linear_intercepts_ = np.stack([intercepts for _, _, intercepts in mixed])
        self._keep_history(results)

    def _mixed(self, head: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Mix ridge and networks by held-out scores: the networks' weight, each member's coefficients and intercept."""
        whole, *without = (self._raw(line, head) for line in (self.lines[head][0], *self.lines[head][1]))
        columns = self.regressor.head_columns_[head]
        ridges, networks = [], []
        for member, (_, held) in enumerate(self.parts):
            X = np.asarray(self.X[np.ix_(held, columns)], dtype=np.float64)
            ridges.append(without[member].predict(X))
            networks.append(network_scores(self.regressor, head, X, member))
            if self._refines(member):
                networks[-1] = networks[-1] + ridges[-1]
        ridge, network = (held_out_means(part, self.parts, len(self.X)) for part in (ridges, networks))
        held = np.flatnonzero(np.isfinite(ridge))
        share, level = mix(ridge[held], network[held], self.Y[held, head], self.weights[held])
        # A few rows held out know little of the level of all.
        level *= self.weights[np.intersect1d(held, self.rows)].sum() / self.weights[self.rows].sum()
        refined = np.array([self._refines(member) for member in range(len(self.parts))]) * (1 - share)
        lines = np.stack([np.append(line.coef, line.intercept) for line in without])
        # Members differ in their ridge regressions, too; on average they have that of all rows.
        ridges_of_members = lines - lines.mean(axis=0) + np.append(whole.coef, whole.intercept)
        mixed = share * ridges_of_members + refined[:, None] * lines
        return 1 - share, mixed[:, :-1], mixed[:, -1] + level

    def _raw(self, line: Line, head: int) -> Line:
        """Turn a line through standardized data into one through data as they are."""
        layer = line.coef[:, None], np.array([line.intercept])
        ((coef, intercept),) = self.standardization.undone([layer], self.regressor.head_columns_[head], head)
        return Line(coef[:, 0], float(intercept[0]))

    def _keep_history(self, results: list[Trained]) -> None:
        regressor = self.regressor
        regressor.n_iter_ = max(len(result.loss_curve) for result in results)
        regressor.loss_curve_ = mean_curve([result.loss_curve for result in results])
        judged = [[-loss for loss in result.validation_curve] for result in results]
        regressor.validation_scores_ = mean_curve(judged) if regressor.early_stopping else None
        best = [result.best_iteration for result in results]
        regressor.best_iteration_ = np.reshape(best, (-1, regressor.n_ensemble))
        if not all(result.stopped for result in results):
            warnings.warn(
                f"training reached max_iter={regressor.max_iter} epochs before it stopped by itself; raise max_iter or "
                "learning_rate_init",
                ConvergenceWarning,
                stacklevel=4,
            )


def _drawn(rows: np.ndarray, seed: int) -> np.ndarray:
    """Draw a member's rows with replacement."""
    generator = np.random.default_rng([int(seed), len(rows)])
    return rows[np.sort(generator.integers(len(rows), size=len(rows)))]


def schedule_of(regressor: Any) -> Schedule:
    """Translate parameters into the engine's words."""
    names = [field.name for field in fields(Schedule) if field.name != "even_batches"]
    found = {name: getattr(regressor, _NAMES.get(name, name)) for name in names}
    found["even_batches"] = regressor.hold_out == "folds"
    found["zero_output"] = bool(regressor.standardize)
    found["hidden_layer_sizes"] = tuple(int(width) for width in np.atleast_1d(regressor.hidden_layer_sizes))
    if regressor.loss == "soft_bins":
        found["scale"] = tuple(float(end) for end in regressor.scale)
    else:  # fits that differ in what they do not use train together
        for name in ("n_bins", "bin_sigma", "scale"):
            del found[name]
    return Schedule(**found)


def mean_curve(curves: list[list[float]]) -> list[float]:
    """Average curves of different lengths, each epoch over those that reach it."""
    longest = max(len(curve) for curve in curves)
    return [float(np.mean([curve[i] for curve in curves if len(curve) > i])) for i in range(longest)]


def stacked(layers: list[Layers], n_members: int) -> tuple[Stack, Stack]:
    """Stack the members' layers, given by target and member: weights, then biases."""
    heads = [layers[i : i + n_members] for i in range(0, len(layers), n_members)]
    weights, biases = (
        [
            [np.stack([pair[part] for pair in pairs]) for pairs in zip(*members, strict=True)]
            for members in heads
        ]
        for part in (0, 1)
    )
    return weights, biases


def layers_of(stack: tuple[Stack, Stack], head: int, member: int) -> Layers:
    """Take one member's layers of one head out of a stack."""
    coefs, intercepts = stack
    return [(w[member], b[member]) for w, b in zip(coefs[head], intercepts[head], strict=True)]


def check_heads(regressor: Any, columns: list[np.ndarray]) -> None:
    """Raise unless the fitted heads have the shapes that the parameters and data now ask for."""
    schedule = schedule_of(regressor)
    wanted = [list(layer_sizes(len(chosen), schedule)) for chosen in columns]
    held = [[weights[0].shape[1], *(w.shape[2] for w in weights)] for weights in regressor.coefs_]
    members = len(regressor.coefs_[0][0])
    if (regressor.linear is None) != (regressor.linear_coefs_ is None):
        raise ValueError(
            f"warm_start cannot go on: linear={regressor.linear!r}, but the fitted heads were trained "
            f"{'without' if regressor.linear_coefs_ is None else 'beside'} a ridge regression"
        )
    if wanted != held or members != regressor.n_ensemble:
        raise ValueError(
            f"warm_start cannot go on: the fitted heads have layers {held} and {members} members, the parameters now "
            f"ask for {wanted} and {regressor.n_ensemble}"
        )


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
    return float((values[order[low]] + values[order[high]]) / 2)
