"""From a regressor and its data to a training job, and from what was trained to fitted attributes.

Fitted weights are stacked: for each target and layer one array, [shape=(n_ensemble, fan_in, fan_out)], and one of biases.
The engine takes and gives layers, pairs of weights and biases, for each target and member.
"""

import warnings
from dataclasses import fields
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from musiceval_sk._device import resolve_device
from musiceval_sk.estimators.engine.task import Layers, Schedule, Task, Trained, layer_sizes

Stack = list[list[np.ndarray]]
_LARGEST_SEED = np.iinfo(np.int32).max
# What the regressor calls otherwise than the engine.
_NAMES = {"patience": "n_iter_no_change", "nesterov": "nesterovs_momentum"}


def draw_seeds(regressor: Any, random_state: np.random.RandomState) -> np.ndarray:
    """Draw seeds, [shape=(n_ensemble, 1 + n_targets)]: of the order of rows, then of each head's initial weights."""
    return random_state.randint(_LARGEST_SEED, size=(regressor.n_ensemble, 1 + len(regressor.head_columns_)))


def seeds_of_epoch(seeds: np.ndarray, epoch: int) -> np.ndarray:
    """Derive an epoch's seeds, so that training that goes epoch by epoch needs no generator kept in between."""
    drawn = [np.random.SeedSequence([int(seed), epoch]).generate_state(1)[0] for seed in seeds[:, 0]]
    return np.column_stack([np.array(drawn, dtype=np.int64) % _LARGEST_SEED, seeds[:, 1:]])


def lay_out(
    regressor: Any,
    X: np.ndarray,
    Y: np.ndarray,
    rows: np.ndarray,
    validation_rows: np.ndarray,
    weights: np.ndarray,
    seeds: np.ndarray,
    layers: tuple[Stack, Stack] | None = None,
    velocity: tuple[Stack, Stack] | None = None,
    **changes: Any,
) -> Any:
    """Make the job that trains every head and member, heads outermost.

    Parameters
    ----------
    regressor : MOSRegressor
        With ``head_columns_`` set.
    X, Y : np.ndarray [shape=(n, n_features)], [shape=(n, n_targets)]
        All rows, those held out too.
    rows, validation_rows : np.ndarray of int
        Rows to learn from and to judge by.
    weights : np.ndarray [shape=(n,)]
        Weight of every row.
    seeds : np.ndarray of int [shape=(n_ensemble, 1 + n_targets)]
        As `draw_seeds` gives them.
    layers, velocity : (weights, biases), default=None
        Stacks of weights and of their momenta to go on from, if any.
    **changes : dict
        Fields of the schedule that differ from the regressor's parameters.

    Returns
    -------
    Job
        For `run`.
    """
    from musiceval_sk.estimators.engine.jobs import Job

    used = weights[np.concatenate([rows, validation_rows])]
    row_weights = None if (used == used[0]).all() else weights
    tasks = [
        Task(
            target=head,
            rows=_drawn(rows, seeds[member, 0]) if regressor.bootstrap else rows,
            validation_rows=validation_rows,
            init_seed=int(seeds[member, 1 + head]),
            order_seed=int(seeds[member, 0]),
            learning_rate=regressor.learning_rate_init,
            momentum=regressor.momentum,
            weight_decay=regressor.alpha,
            columns=None if len(columns) == X.shape[1] else columns,
            row_weights=row_weights,
            initial=layers and layers_of(layers, head, member),
            velocity=velocity and layers_of(velocity, head, member),
            stops_with=member if regressor.stop_together and len(validation_rows) else None,
        )
        for head, columns in enumerate(regressor.head_columns_)
        for member in range(regressor.n_ensemble)
    ]
    device = str(resolve_device(regressor.device))
    return Job(X, Y, tasks, schedule_of(regressor, **changes), device, regressor.dtype)


def _drawn(rows: np.ndarray, seed: int) -> np.ndarray:
    """Draw a member's rows with replacement."""
    generator = np.random.default_rng([int(seed), len(rows)])
    return rows[np.sort(generator.integers(len(rows), size=len(rows)))]


def schedule_of(regressor: Any, **changes: Any) -> Schedule:
    """Translate parameters into the engine's words."""
    found = {field.name: getattr(regressor, _NAMES.get(field.name, field.name)) for field in fields(Schedule)}
    found["hidden_layer_sizes"] = tuple(int(width) for width in np.atleast_1d(regressor.hidden_layer_sizes))
    if regressor.loss == "soft_bins":
        found["scale"] = tuple(float(end) for end in regressor.scale)
    else:  # fits that differ in what they do not use train together
        for name in ("n_bins", "bin_sigma", "scale"):
            del found[name]
    return Schedule(**found | changes)


def run(job: Any, verbose: bool) -> list[Trained]:
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


def keep_weights(regressor: Any, results: list[Trained]) -> None:
    """Set ``coefs_`` and ``intercepts_``."""
    diverged = sum(not result.finite() for result in results)
    if diverged:
        raise ValueError(
            f"training diverged for {diverged} of {len(results)} heads; lower learning_rate_init, or scale X"
        )
    layers = [result.layers for result in results]
    regressor.coefs_, regressor.intercepts_ = stacked(layers, regressor.n_ensemble)


def keep_history(regressor: Any, results: list[Trained]) -> None:
    """Set what tells how a whole `fit` went, and warn where it was cut."""
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
            stacklevel=3,
        )


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


def check_heads(regressor: Any, columns: list[np.ndarray], asked_by: str) -> None:
    """Raise unless the fitted heads have the shapes that the parameters and data now ask for."""
    schedule = schedule_of(regressor)
    wanted = [list(layer_sizes(len(chosen), schedule)) for chosen in columns]
    held = [[weights[0].shape[1], *(w.shape[2] for w in weights)] for weights in regressor.coefs_]
    members = len(regressor.coefs_[0][0])
    if wanted != held or members != regressor.n_ensemble:
        raise ValueError(
            f"{asked_by} cannot go on: the fitted heads have layers {held} and {members} members, the parameters now "
            f"ask for {wanted} and {regressor.n_ensemble}"
        )
