"""Train K small perceptrons of one shape at once, as few large products of matrices.

Heads, ensemble members, folds and grid candidates differ in what they are given (`Task`), not in shape. Those that go
through the same rows in the same order form a `Group`, whatever they hold out of them: their first layers are one matrix, so
that one product serves them all. Forward and backward passes are written out, momenta take gradients in as they arise, the
data stay on the device, and a task that has stopped leaves its group. Groups run side by side on the cores of a CPU.
What is computed is what a sequential loop with `torch.optim.SGD` computes, to float tolerance, for the same seeds.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from musiceval_sk.estimators.engine.group import Group
from musiceval_sk.estimators.engine.task import Layers, Schedule, Task, Trained, bytes_needed, layer_sizes

__all__ = ["Progress", "Schedule", "Task", "Trained", "bytes_needed", "draw_layers", "train"]

Tensor = torch.Tensor
# On a CPU the first layers of a group have so many columns at most, and fewer where their weights and momenta would leave a core's cache.
MOST_COLUMNS_ON_CPU, CACHE_ON_CPU = 1024, 4 * 2**20


def train(
    X: Tensor,
    Y: Tensor,
    tasks: Sequence[Task],
    schedule: Schedule,
    on_epoch: Callable[[int, float], object] | None = None,
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
    on_epoch : callable, default=None
        Called with the epoch and the mean training loss of the tasks still running.

    Returns
    -------
    list of Trained
        In the order of the tasks.
    """
    results = [Trained() for _ in tasks]
    progress = Progress(tasks, schedule)
    groups = _groups(X, Y, tasks, schedule)
    with _side_by_side(groups, X.device) as run:
        for epoch in range(1, schedule.max_iter + 1):
            losses, validation = _epoch(groups, run, len(tasks))
            if on_epoch is not None:
                on_epoch(epoch, float(losses[progress.running].mean()))
            improved, finished = progress.record(results, epoch, losses, validation)
            for group in groups:
                group.keep(improved[group.members])
            groups = _without(groups, finished, progress.running, results)
            if not groups:
                break
    _without(groups, progress.running, np.zeros(len(tasks), dtype=bool), results)
    for i, result in enumerate(results):
        result.best_iteration, result.stopped = int(progress.best_epoch[i]), bool(progress.stopped[i])
    return results


class Progress:
    """Which tasks still run, and when each was best."""

    def __init__(self, tasks: Sequence[Task], schedule: Schedule):
        self.schedule = schedule
        held = [task.validation_rows if task.scored else task.held_pairs for task in tasks]
        self.validates = np.array([part is not None and len(part) > 0 for part in held])
        self.running = np.ones(len(tasks), dtype=bool)
        self.stopped = np.zeros(len(tasks), dtype=bool)
        self.best_loss = np.full(len(tasks), np.inf)
        self.best_epoch = np.zeros(len(tasks), dtype=int)
        together: dict[Hashable, list[int]] = {}
        for i, task in enumerate(tasks):
            if task.stops_with is not None:
                together.setdefault(task.stops_with, []).append(i)
        self.together = list(together.values())

    def record(
        self, results: list[Trained], epoch: int, losses: np.ndarray, validation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Note the epoch; which tasks are better than ever, and which have finished."""
        for i in np.flatnonzero(self.running):
            results[i].loss_curve.append(float(losses[i]))
            if self.validates[i]:
                results[i].validation_curve.append(float(validation[i]))
        decisive = validation.copy()
        for members in self.together:
            decisive[members] = validation[members].sum()
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
        # On a CPU, passes over the weights that not all need cost more than groups; elsewhere launches cost more.
        passes = (task.momentum, task.weight_decay != 0) if on_cpu else None
        pairs = [None if part is None else part.tobytes() for part in (task.pairs, task.held_pairs)]
        key = (task.order_seed, task.rows.tobytes(), len(task.validation_rows) > 0, columns, passes)
        alike.setdefault((*key, *pairs, task.scored, task.pair_weight), []).append(i)
    drawn = cache(lambda seed, sizes: draw_layers(seed, sizes, X, schedule.zero_output))
    groups = []
    for key, indices in alike.items():
        inputs = seen[key[3]]
        sizes = layer_sizes(inputs.shape[1], schedule)
        most = _most_together(sizes, inputs) if on_cpu else len(indices)
        for members in np.array_split(np.array(indices), -(-len(indices) // most)):
            some = [tasks[i] for i in members]
            models = [_flat(task.initial, inputs) or drawn(task.init_seed, sizes) for task in some]
            groups.append(Group(inputs, Y, some, members, schedule, models))
    return groups


def _most_together(sizes: Sequence[int], inputs: Tensor) -> int:
    numbers = 2 * sum((below + 1) * above for below, above in pairwise(sizes))
    most = MOST_COLUMNS_ON_CPU // sizes[1]
    return int(np.clip(CACHE_ON_CPU // (numbers * inputs.element_size()), 1, max(most, 1)))


def _epoch(groups: list[Group], run: Callable[..., Any], n_tasks: int) -> tuple[np.ndarray, np.ndarray]:
    """Train and validate all groups for one epoch; losses of each task, those that decide last."""

    def one(group: Group) -> tuple[Tensor, Tensor]:
        losses = group.epoch()
        return losses, group.validate() if group.validates else losses

    found = np.full((2, n_tasks), np.nan)
    for group, (losses, validation) in zip(groups, list(run(one, groups)), strict=True):
        found[:, group.members] = torch.stack([losses, validation]).cpu().numpy()
    return found[0], found[1]


def _without(
    groups: list[Group], leaving: np.ndarray, running: np.ndarray, results: list[Trained]
) -> list[Group]:
    """Hand over the tasks that are leaving; return the groups that go on with those still running."""
    remaining = []
    for group in groups:
        for k in np.flatnonzero(leaving[group.members]):
            result = results[group.members[k]]
            result.layers = [(w.astype(np.float64), b.astype(np.float64)) for w, b in group.best.layers(k)]
        alive = running[group.members]
        if not alive.any():
            continue
        if not alive.all():
            group.go_on_with(alive)
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


def draw_layers(seed: int, sizes: Sequence[int], like: Tensor, zero_output: bool) -> list[Tensor]:
    """Weight and bias of every layer, drawn as `torch.nn.Linear` draws them: uniform within 1 / sqrt(fan_in)."""
    layers: list[Tensor] = []
    generator = torch.Generator().manual_seed(seed)
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        bound = fan_in**-0.5
        drawn = torch.empty(fan_out, fan_in, dtype=like.dtype).uniform_(-bound, bound, generator=generator)
        offset = torch.empty(fan_out, dtype=like.dtype).uniform_(-bound, bound, generator=generator)
        layers += [drawn.T.contiguous().to(like.device), offset.to(like.device)]
    if zero_output:
        layers[-2:] = [torch.zeros_like(part) for part in layers[-2:]]
    return layers
