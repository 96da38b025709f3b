"""Train K small perceptrons of one shape at once, as few large products of matrices.

Heads, ensemble members, folds and grid candidates differ in what they are given (`Task`), not in shape. Those that learn
from the same rows in the same order form a `Group`: their first layers are one matrix, so that one product serves them
all. Forward and backward passes are written out, momenta take gradients in as they arise, the data stay on the device,
and a task that has stopped leaves its group. Groups run side by side on the cores of a CPU.
What is computed is what a sequential loop with `torch.optim.SGD` computes, to float tolerance, for the same seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from musiceval_sk.estimators._mlp_group import Group, layer_sizes
from musiceval_sk.estimators._mlp_losses import ACTIVATIONS, LOSSES

__all__ = ["ACTIVATIONS", "LOSSES", "Schedule", "Task", "Trained", "bytes_needed", "train"]

Tensor = torch.Tensor
Layers = list[tuple[np.ndarray, np.ndarray]]
# So many tasks of a group still have their weights in a core's cache.
MOST_TOGETHER_ON_CPU = 4


@dataclass(frozen=True)
class Task:
    """What one perceptron is trained on, and how.

    Attributes
    ----------
    target : int
        Column of Y.
    rows, validation_rows : np.ndarray of int
        Rows of X to learn from, which may repeat, and to judge by; without the latter, training loss decides when to
        stop.
    init_seed, order_seed : int
        Seeds of the initial weights and of the order of rows.
    learning_rate, momentum, weight_decay : float
        Of SGD, as `torch.optim.SGD` defines them.
    columns : np.ndarray of int or None
        Columns of X that it sees, in ascending order; None means all.
    row_weights : np.ndarray [shape=(n,)] or None
        Weight of each row of X in the loss, not negative; None means one. A minibatch whose weights sum to zero is
        passed over.
    initial : list of (weight, bias) or None
        Weights to go on from instead of drawing them, [shape=(fan_in, fan_out)] and [shape=(fan_out,)].
    velocity : list of (weight, bias) or None
        Momenta to go on from, of the same shapes; None means zero.
    stops_with : int or None
        Tasks with the same number stop together, and keep the weights of the epoch at which the sum of their validation
        losses was lowest, as the heads of one network do.
    """

    target: int
    rows: np.ndarray
    validation_rows: np.ndarray
    init_seed: int
    order_seed: int
    learning_rate: float = 5e-4
    momentum: float = 0.9
    weight_decay: float = 0.0
    columns: np.ndarray | None = None
    row_weights: np.ndarray | None = None
    initial: Layers | None = None
    velocity: Layers | None = None
    stops_with: int | None = None


@dataclass(frozen=True)
class Schedule:
    """What all tasks of a batch share.

    Attributes
    ----------
    hidden_layer_sizes, activation, loss, batch_size, max_iter, patience, tol, shuffle, nesterov
        Shape and course of the training; `patience` epochs without an improvement of more than `tol` end it.
    n_bins, scale, bin_sigma : int, (float, float), float
        Of loss "soft_bins", see `Loss`.
    rank_weight, rank_margin : float
        Weight in the loss of the pairwise ranking term, and its margin, see `rank_slope`. Loss curves leave it out.
    """

    hidden_layer_sizes: tuple[int, ...] = (256, 64)
    activation: str = "relu"
    loss: str = "l1"
    batch_size: int = 64
    max_iter: int = 1000
    patience: int = 20
    tol: float = 0.0
    shuffle: bool = True
    nesterov: bool = False
    n_bins: int = 20
    scale: tuple[float, float] = (1.0, 5.0)
    bin_sigma: float = 0.25
    rank_weight: float = 0.0
    rank_margin: float = 0.2


@dataclass
class Trained:
    """One perceptron after training: float64 weights per layer, their momenta, and how it went."""

    layers: Layers = field(default_factory=list)
    velocity: Layers = field(default_factory=list)
    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    best_iteration: int = 0
    stopped: bool = False

    def finite(self) -> bool:
        """Whether some epoch had a finite loss and the weights are finite."""
        return self.best_iteration > 0 and all(
            np.isfinite(part).all() for pair in self.layers for part in pair
        )


def bytes_needed(
    schedule: Schedule, n_features: int, n_rows: int, validated: bool = True, itemsize: int = 4
) -> int:
    """Memory that one task takes at its peak, beside X and Y.

    Parameters
    ----------
    schedule : Schedule
        Shape of the perceptron.
    n_features, n_rows : int
        Columns that it sees and rows that it learns from.
    validated : bool, default=True
        Whether it has validation rows, and so keeps its best weights too.
    itemsize : int, default=4
        Bytes of a number of the training dtype.

    Returns
    -------
    int
        Bytes. They include what `train` returns for it, which is in float64. A selection of the columns of X, made once
        for all tasks that see the same, is not in it.
    """
    sizes = layer_sizes(n_features, schedule)
    parameters = sum((below + 1) * above for below, above in zip(sizes[:-1], sizes[1:], strict=True))
    copies = (4 if validated else 2) + schedule.nesterov
    # Tasks that stay are copied when others leave, and what is returned is made from a copy as well.
    held = parameters * (itemsize * 2 * copies + 2 * 8)
    batch = schedule.batch_size * (2 * sum(sizes[1:]) + n_features)
    epoch = n_rows * (3 + sizes[-1]) + 8 * n_rows // itemsize
    return int(held + itemsize * (2 * batch + 512 * sum(sizes) + epoch))


def train(
    X: Tensor,
    Y: Tensor,
    tasks: Sequence[Task],
    schedule: Schedule,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> list[Trained]:
    """Train every task to its end.

    Parameters
    ----------
    X : Tensor [shape=(n, d)]
        Inputs, on the device and in the dtype to train with.
    Y : Tensor [shape=(n, n_targets)]
        Targets, likewise.
    tasks : sequence of Task
        One a perceptron.
    schedule : Schedule
        What they share.
    on_epoch : callable, default does nothing
        Called with the epoch and the mean training loss of the tasks still running.

    Returns
    -------
    list of Trained
        In the order of the tasks.
    """
    results = [Trained() for _ in tasks]
    progress = _Progress(tasks, schedule)
    groups = _groups(X, Y, tasks, schedule)
    with _side_by_side(groups, X.device) as run:
        for epoch in range(1, schedule.max_iter + 1):
            losses, judged = _epoch(groups, run, len(tasks))
            on_epoch(epoch, float(losses[progress.running].mean()))
            improved, finished = progress.record(results, epoch, losses, judged)
            for group in groups:
                group.keep(improved[group.members])
            groups = _without(groups, finished, results)
            if not groups:
                break
    _without(groups, np.ones(len(tasks), dtype=bool), results)
    for i, result in enumerate(results):
        result.best_iteration, result.stopped = int(progress.best_epoch[i]), bool(progress.stopped[i])
    return results


class _Progress:
    """Which tasks still run, and when each was best."""

    def __init__(self, tasks: Sequence[Task], schedule: Schedule):
        self.schedule = schedule
        self.judges = np.array([len(task.validation_rows) > 0 for task in tasks])
        self.running = np.ones(len(tasks), dtype=bool)
        self.stopped = np.zeros(len(tasks), dtype=bool)
        self.best_loss = np.full(len(tasks), np.inf)
        self.best_epoch = np.zeros(len(tasks), dtype=int)
        together: dict[int, list[int]] = {}
        for i, task in enumerate(tasks):
            if task.stops_with is not None:
                together.setdefault(task.stops_with, []).append(i)
        self.together = list(together.values())

    def record(
        self, results: list[Trained], epoch: int, losses: np.ndarray, judged: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Note the epoch; which tasks are better than ever, and which have finished."""
        for i in np.flatnonzero(self.running):
            results[i].loss_curve.append(float(losses[i]))
            if self.judges[i]:
                results[i].validation_curve.append(float(judged[i]))
        decisive = judged.copy()
        for members in self.together:
            decisive[members] = judged[members].sum()
        improved = self.running & (decisive < self.best_loss - self.schedule.tol)
        self.best_loss[improved], self.best_epoch[improved] = decisive[improved], epoch
        finished = self.running & (epoch - self.best_epoch >= self.schedule.patience)
        self.running &= ~finished
        self.stopped |= finished
        return improved, finished


def _groups(X: Tensor, Y: Tensor, tasks: Sequence[Task], schedule: Schedule) -> list[Group]:
    """Put tasks together that share their rows, order and columns."""
    seen: dict[bytes | None, Tensor] = {None: X}
    alike: dict[tuple[Any, ...], list[int]] = {}
    on_cpu = X.device.type == "cpu"
    for i, task in enumerate(tasks):
        columns = None if task.columns is None else task.columns.tobytes()
        if columns not in seen and task.columns is not None:
            seen[columns] = X[:, torch.from_numpy(task.columns).to(X.device)].contiguous()
        # On a CPU a momentum that all share saves a pass over the weights; elsewhere fewer launches count for more.
        momentum = task.momentum if on_cpu else None
        key = (task.order_seed, task.rows.tobytes(), task.validation_rows.tobytes(), columns, momentum)
        alike.setdefault(key, []).append(i)
    most = MOST_TOGETHER_ON_CPU if on_cpu else len(tasks)
    groups = []
    for key, indices in alike.items():
        inputs = seen[key[3]]
        for begin in range(0, len(indices), most):
            members = np.array(indices[begin : begin + most])
            some = [tasks[i] for i in members]
            sizes = layer_sizes(inputs.shape[1], schedule)
            models = [_flat(task.initial, inputs) or _drawn(task, sizes, inputs) for task in some]
            velocities = [
                _flat(task.velocity, inputs) or [torch.zeros_like(part) for part in model]
                for task, model in zip(some, models, strict=True)
            ]
            groups.append(Group(inputs, Y, some, members, schedule, models, velocities))
    return groups


def _epoch(groups: list[Group], run: Callable[..., Any], n_tasks: int) -> tuple[np.ndarray, np.ndarray]:
    """Train and judge all groups for one epoch; losses of each task, those that decide last."""

    def one(group: Group) -> tuple[Tensor, Tensor]:
        losses = group.epoch()
        return losses, group.validate() if group.judges else losses

    found = np.full((2, n_tasks), np.nan)
    for group, (losses, judged) in zip(groups, list(run(one, groups)), strict=True):
        found[:, group.members] = torch.stack([losses, judged]).cpu().numpy()
    return found[0], found[1]


def _without(groups: list[Group], finished: np.ndarray, results: list[Trained]) -> list[Group]:
    """Hand over the tasks that have finished; the groups that go on with the others."""
    remaining = []
    for group in groups:
        leaving = finished[group.members]
        for k in np.flatnonzero(leaving):
            result = results[group.members[k]]
            result.layers = [(w.astype(np.float64), b.astype(np.float64)) for w, b in group.best.layers(k)]
            result.velocity = group.best_momenta.layers(k)
        if leaving.all():
            continue
        if leaving.any():
            group.go_on_with(~leaving)
        remaining.append(group)
    return remaining


@contextmanager
def _side_by_side(groups: list[Group], device: torch.device) -> Iterator[Callable[..., Any]]:
    """Give a `map` that runs groups on the CPU's cores, each with one thread; one group has all threads to itself."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(groups) == 1:
        yield map
        return
    try:
        torch.set_num_threads(1)
        with ThreadPoolExecutor(min(threads, len(groups))) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(threads)


def _flat(layers: Layers | None, like: Tensor) -> list[Tensor]:
    return [torch.as_tensor(part).to(like) for pair in layers or [] for part in pair]


def _drawn(task: Task, sizes: Sequence[int], like: Tensor) -> list[Tensor]:
    """Weight and bias of every layer, drawn as `torch.nn.Linear` draws them: uniform within 1 / sqrt(fan_in)."""
    layers: list[Tensor] = []
    generator = torch.Generator().manual_seed(task.init_seed)
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        bound = fan_in**-0.5
        drawn = torch.empty(fan_out, fan_in, dtype=like.dtype).uniform_(-bound, bound, generator=generator)
        offset = torch.empty(fan_out, dtype=like.dtype).uniform_(-bound, bound, generator=generator)
        layers += [drawn.T.contiguous().to(like.device), offset.to(like.device)]
    return layers
