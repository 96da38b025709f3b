"""From a regressor and its data to a training job, and from what was trained to fitted attributes."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

Layers = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Start:
    """What training starts from.

    Attributes
    ----------
    rows, validation_rows : np.ndarray of int
        Rows of the job's inputs to learn from and to judge by.
    weights : np.ndarray [shape=(n,)]
        Weight of every row of the job's inputs.
    seeds : np.ndarray of int [shape=(n_ensemble, 1 + n_targets)]
        For each member the seed of its order of rows, then those of its heads' initial weights.
    draws : list of np.ndarray or None
        For each member the rows that it draws with replacement; None where all learn from the same.
    layers, velocity : nested list of (weight, bias) or None
        For each target and member what to go on from, if anything.
    """

    rows: np.ndarray
    validation_rows: np.ndarray
    weights: np.ndarray
    seeds: np.ndarray
    draws: list[np.ndarray] | None = None
    layers: list[list[Layers]] | None = None
    velocity: list[list[Layers]] | None = None


def layer_sizes(regressor: Any, n_columns: int) -> list[int]:
    """Widths from the columns that a head sees to its outputs."""
    outputs = regressor.n_bins if regressor.loss == "soft_bins" else 1
    return [n_columns, *(int(width) for width in np.atleast_1d(regressor.hidden_layer_sizes)), outputs]


def lay_out(regressor: Any, X: np.ndarray, Y: np.ndarray, start: Start, **changes: Any) -> Any:
    """Make the job that trains every head and member, heads outermost.

    Parameters
    ----------
    regressor : MOSRegressor
        With ``head_columns_`` set.
    X, Y : np.ndarray [shape=(n, n_features)], [shape=(n, n_targets)]
        All rows, those held out too.
    start : Start
        What training starts from.
    **changes : dict
        Fields of the schedule that differ from the regressor's parameters.

    Returns
    -------
    Job
        For `run`.
    """
    from musiceval_sk._device import resolve_device
    from musiceval_sk.estimators.engine.jobs import Job
    from musiceval_sk.estimators.engine.train import Task

    used = np.concatenate([start.rows, start.validation_rows])
    even = (start.weights[used] == start.weights[used[0]]).all()
    tasks = [
        Task(
            target=head,
            rows=start.rows if start.draws is None else start.draws[member],
            validation_rows=start.validation_rows,
            init_seed=int(start.seeds[member, 1 + head]),
            order_seed=int(start.seeds[member, 0]),
            learning_rate=regressor.learning_rate_init,
            momentum=regressor.momentum,
            weight_decay=regressor.alpha,
            columns=None if len(columns) == X.shape[1] else columns,
            row_weights=None if even else start.weights,
            initial=start.layers[head][member] if start.layers else None,
            velocity=start.velocity[head][member] if start.velocity else None,
            stops_with=member if regressor.stop_together and len(start.validation_rows) else None,
        )
        for head, columns in enumerate(regressor.head_columns_)
        for member in range(regressor.n_ensemble)
    ]
    device = str(resolve_device(regressor.device))
    return Job(X, Y, tasks, schedule_of(regressor, **changes), device, regressor.dtype)


def schedule_of(regressor: Any, **changes: Any) -> Any:
    """Translate parameters into the engine's words."""
    from musiceval_sk.estimators.engine.train import Schedule

    fields = {
        "hidden_layer_sizes": tuple(layer_sizes(regressor, 1)[1:-1]),
        "activation": regressor.activation,
        "loss": regressor.loss,
        "batch_size": regressor.batch_size,
        "max_iter": regressor.max_iter,
        "patience": regressor.n_iter_no_change,
        "tol": regressor.tol,
        "shuffle": regressor.shuffle,
        "nesterov": regressor.nesterovs_momentum,
        "rank_weight": regressor.rank_weight,
        "rank_margin": regressor.rank_margin,
        "rank_quality": regressor.rank_quality,
    }
    if regressor.loss == "soft_bins":
        lowest, highest = regressor.scale
        fields |= {
            "n_bins": regressor.n_bins,
            "scale": (float(lowest), float(highest)),
            "bin_sigma": regressor.bin_sigma,
        }
    return Schedule(**fields | changes)


def run(job: Any, verbose: bool) -> list[Any]:
    """Train a job, with a progress bar where one is asked for."""
    from tqdm import tqdm

    from musiceval_sk.estimators.engine import jobs

    if not verbose:  # even a hidden bar makes a lock between processes, which a killed worker leaves behind
        return jobs.train_job(job, lambda epoch, loss: None)
    with tqdm(total=job.schedule.max_iter, unit="epoch") as bar:

        def show(epoch: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update()

        return jobs.train_job(job, show)


def keep_weights(regressor: Any, results: list[Any]) -> list[list[Any]]:
    """Set ``coefs_`` and ``intercepts_``; give the results by target and member."""
    diverged = sum(not result.finite() for result in results)
    if diverged:
        raise ValueError(
            f"training diverged for {diverged} of {len(results)} heads; lower learning_rate_init, or scale X"
        )
    n = regressor.n_ensemble
    trained = [results[i : i + n] for i in range(0, len(results), n)]
    regressor.coefs_, regressor.intercepts_ = stacked(
        [[result.layers for result in members] for members in trained]
    )
    return trained


def keep_history(regressor: Any, trained: list[list[Any]]) -> None:
    """Set what tells how a whole `fit` went, and warn where it was cut."""
    every = [result for members in trained for result in members]
    regressor.n_iter_ = max(len(result.loss_curve) for result in every)
    regressor.loss_curve_ = mean_curve([result.loss_curve for result in every])
    judged = [[-loss for loss in result.validation_curve] for result in every]
    regressor.validation_scores_ = mean_curve(judged) if regressor.early_stopping else None
    regressor.best_iteration_ = np.array(
        [[result.best_iteration for result in members] for members in trained]
    )
    if not all(result.stopped for result in every):
        warnings.warn(
            f"training reached max_iter={regressor.max_iter} epochs before it stopped by itself; raise max_iter or "
            "learning_rate_init",
            ConvergenceWarning,
            stacklevel=3,
        )


def mean_curve(curves: list[list[float]]) -> list[float]:
    """Average curves of different lengths, each epoch over those that reach it."""
    longest = max(len(curve) for curve in curves)
    return [float(np.mean([curve[i] for curve in curves if len(curve) > i])) for i in range(longest)]


def stacked(layers: list[list[Layers]]) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]]]:
    """Stack the members' layers: weights, then biases, each by target and layer."""
    weights, biases = (
        [
            [np.stack([member[i][part] for member in members]) for i in range(len(members[0]))]
            for members in layers
        ]
        for part in (0, 1)
    )
    return weights, biases


def layers_of(coefs: list[list[np.ndarray]], intercepts: list[list[np.ndarray]]) -> list[list[Layers]]:
    """Undo `stacked`: layers by target and member."""
    return [
        [
            [(weights[m], biases[m]) for weights, biases in zip(*head, strict=True)]
            for m in range(len(head[0][0]))
        ]
        for head in zip(coefs, intercepts, strict=True)
    ]


def layers_to_go_on_from(regressor: Any, columns: list[np.ndarray], asked_by: str) -> list[list[Layers]]:
    """Give the fitted layers, if they have the shapes that the parameters and data now ask for."""
    wanted = [layer_sizes(regressor, len(chosen)) for chosen in columns]
    held = [[weights[0].shape[1], *(w.shape[2] for w in weights)] for weights in regressor.coefs_]
    members = {len(weights[0]) for weights in regressor.coefs_}
    if wanted != held or members != {regressor.n_ensemble}:
        raise ValueError(
            f"{asked_by} cannot go on: the fitted heads have layers {held} and {min(members)} members, the "
            f"parameters now ask for {wanted} and {regressor.n_ensemble}"
        )
    return layers_of(regressor.coefs_, regressor.intercepts_)
