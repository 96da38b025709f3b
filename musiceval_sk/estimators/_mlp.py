"""Train K small perceptrons of one shape at once, as one batch of matrices.

Heads, ensemble members, folds and grid candidates differ in what they are given (`Task`), not in shape. Each layer of
all of them is one tensor of shape (K, fan_in, fan_out), one `baddbmm` steps them all, and the backward pass is written
out, so there is no autograd and no data loader; the data stay on the device. A task that has stopped leaves the batch.
What is computed is what a sequential loop with `torch.optim.SGD` computes, to float tolerance, for the same seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

Tensor = torch.Tensor


@dataclass(frozen=True)
class Task:
    """What one perceptron is trained on, and how.

    Attributes
    ----------
    target : int
        Column of Y.
    rows, validation_rows : np.ndarray of int
        Rows of X to learn from and to judge by; without the latter, training loss decides when to stop.
    init_seed, order_seed : int
        Seeds of the initial weights and of the order of rows.
    learning_rate, momentum, weight_decay : float
        Of SGD, as `torch.optim.SGD` defines them.
    initial : list of (weight, bias) or None
        Weights to go on from instead of drawing them, [shape=(fan_in, fan_out)] and [shape=(fan_out,)].
    """

    target: int
    rows: np.ndarray
    validation_rows: np.ndarray
    init_seed: int
    order_seed: int
    learning_rate: float = 5e-4
    momentum: float = 0.9
    weight_decay: float = 0.0
    initial: list[tuple[np.ndarray, np.ndarray]] | None = None


@dataclass(frozen=True)
class Schedule:
    """What all tasks of a batch share."""

    hidden_layer_sizes: tuple[int, ...] = (256, 64)
    activation: str = "relu"
    loss: str = "l1"
    batch_size: int = 64
    max_iter: int = 1000
    patience: int = 20
    tol: float = 0.0
    shuffle: bool = True
    nesterov: bool = False


@dataclass
class Trained:
    """One perceptron after training: float64 weights per layer, and how it went."""

    layers: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    best_iteration: int = 0
    stopped: bool = False

    def finite(self) -> bool:
        """Whether some epoch had a finite loss and the weights are finite."""
        return self.best_iteration > 0 and all(
            np.isfinite(part).all() for pair in self.layers for part in pair
        )


def _l1(error: Tensor) -> tuple[Tensor, Tensor]:
    return error.abs(), error.sign()


def _mse(error: Tensor) -> tuple[Tensor, Tensor]:
    return error.square(), 2 * error


def _huber(error: Tensor) -> tuple[Tensor, Tensor]:
    slope = error.clamp(-1, 1)
    return slope * (error - 0.5 * slope), slope


LOSSES: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"l1": _l1, "mse": _mse, "huber": _huber}
ACTIVATIONS = ("relu", "identity")


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
    batch = _Batch(X, Y, tasks, schedule)
    for epoch in range(1, schedule.max_iter + 1):
        losses = batch.epoch()
        judged = batch.validate() if batch.judges else losses
        on_epoch(epoch, float(losses.mean()))
        finished = batch.record(results, epoch, losses, judged)
        if finished.all():
            break
        if finished.any():
            batch.drop(finished, results)
    batch.drop(np.ones(len(batch.members), dtype=bool), results)
    return results


class _Batch:
    """The tasks still in training: their weights, momenta, row orders and best weights so far."""

    def __init__(self, X: Tensor, Y: Tensor, tasks: Sequence[Task], schedule: Schedule):
        self.X, self.Y, self.schedule = X, Y, schedule
        self.tasks = list(tasks)
        self.members = np.arange(len(tasks))
        sizes = (X.shape[1], *schedule.hidden_layer_sizes, 1)
        initial = [_initial_layers(task, sizes, X) for task in tasks]
        self.parameters = [
            torch.stack([layers[i] for layers in initial]) for i in range(2 * (len(sizes) - 1))
        ]
        self.momenta = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.judges = all(len(task.validation_rows) for task in tasks)
        self.best = [parameter.clone() for parameter in self.parameters] if self.judges else self.parameters
        self.best_loss = np.full(len(tasks), np.inf)
        self.best_epoch = np.zeros(len(tasks), dtype=int)
        self.generators: dict[tuple[int, int], torch.Generator] = {}
        self._settle()

    def _settle(self) -> None:
        """Lay out what depends on which tasks are left."""
        self.targets = torch.tensor([task.target for task in self.tasks], device=self.X.device)
        self.rate, self.momentum, self.decay = (
            self._column([getattr(task, name) for task in self.tasks])
            for name in ("learning_rate", "momentum", "weight_decay")
        )
        self.decays = bool((self.decay != 0).any())
        streams = {(task.order_seed, task.rows.tobytes()): task.rows for task in self.tasks}
        place = {key: i for i, key in enumerate(streams)}
        self.streams = [(seed, torch.from_numpy(rows)) for (seed, _), rows in streams.items()]
        self.stream_of = torch.tensor(
            [place[task.order_seed, task.rows.tobytes()] for task in self.tasks], device=self.X.device
        )
        self.n_rows = np.array([len(task.rows) for task in self.tasks])

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=self.X.dtype, device=self.X.device).reshape(-1, 1, 1)

    def _orders(self) -> Tensor:
        """Rows of every stream in this epoch's order, padded with row 0, [shape=(n_streams, longest)]."""
        orders = torch.zeros(len(self.streams), max(self.n_rows), dtype=torch.int64)
        drawn: dict[tuple[int, int], Tensor] = {}
        for i, (seed, rows) in enumerate(self.streams):
            if self.schedule.shuffle:
                # Streams of one seed and length share a permutation, so that one task alone or among many is the same.
                key = (seed, len(rows))
                if key not in drawn:
                    generator = self.generators.setdefault(key, torch.Generator().manual_seed(seed))
                    drawn[key] = torch.randperm(len(rows), generator=generator)
                rows = rows[drawn[key]]
            orders[i, : len(rows)] = rows
        return orders.to(self.X.device)

    def epoch(self) -> np.ndarray:
        """Step once through all rows; mean training loss of each task."""
        orders, size = self._orders(), self.schedule.batch_size
        totals = torch.zeros(len(self.tasks), dtype=self.X.dtype, device=self.X.device)
        for begin in range(0, orders.shape[1], size):
            counts = np.clip(self.n_rows - begin, 0, size)
            totals += self._step(orders[:, begin : begin + size], counts)
        return (totals.double().cpu().numpy()) / self.n_rows

    def _step(self, rows: Tensor, counts: np.ndarray) -> Tensor:
        """One SGD step on a minibatch; summed loss of each task."""
        width = rows.shape[1]
        inputs, targets = self._gather(rows)
        activations, output = self._forward(inputs)
        losses, slope = LOSSES[self.schedule.loss](output - targets)
        if (counts == width).all():
            slope /= width
            self._descend(self._gradients(activations, slope), self.rate, self.momentum, self.decay)
            return losses.sum(dim=(1, 2))
        # Tasks with fewer rows than the longest have padding here, and stand still once they have run out.
        held = torch.from_numpy(counts).to(self.X.device).reshape(-1, 1, 1)
        real = (torch.arange(width, device=self.X.device).reshape(1, -1, 1) < held).to(self.X.dtype)
        live = (held > 0).to(self.X.dtype)
        gradients = self._gradients(activations, slope * real / held.clamp(min=1))
        momentum = torch.where(live > 0, self.momentum, torch.ones_like(live))
        self._descend(gradients, self.rate * live, momentum, self.decay * live)
        return (losses * real).sum(dim=(1, 2))

    def _gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        K = len(self.tasks)
        if len(self.streams) == 1:
            return self.X[rows[0]].expand(K, -1, -1), self.Y[rows[0]][:, self.targets].T.unsqueeze(-1)
        return self.X[rows][self.stream_of], self.Y[
            rows[self.stream_of], self.targets.reshape(-1, 1)
        ].unsqueeze(-1)

    def _forward(self, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        activations = [inputs]
        for i in range(0, len(self.parameters), 2):
            output = torch.baddbmm(self.parameters[i + 1], activations[-1], self.parameters[i])
            if i < len(self.parameters) - 2:
                activations.append(output.relu_() if self.schedule.activation == "relu" else output)
        return activations, output

    def _gradients(self, activations: list[Tensor], slope: Tensor) -> list[Tensor]:
        gradients: list[Tensor] = []
        for i in range(len(self.parameters) - 2, -1, -2):
            below = activations[i // 2]
            gradients[:0] = [torch.bmm(below.transpose(1, 2), slope), slope.sum(dim=1, keepdim=True)]
            if i:
                slope = torch.bmm(slope, self.parameters[i].transpose(1, 2))
                if self.schedule.activation == "relu":
                    slope.mul_(below > 0)
        return gradients

    def _descend(self, gradients: list[Tensor], rate: Tensor, momentum: Tensor, decay: Tensor) -> None:
        for parameter, velocity, gradient in zip(self.parameters, self.momenta, gradients, strict=True):
            if self.decays:
                gradient.addcmul_(parameter, decay)
            velocity.mul_(momentum).add_(gradient)
            step = gradient.addcmul_(velocity, momentum) if self.schedule.nesterov else velocity
            parameter.addcmul_(step, rate, value=-1)

    def validate(self) -> np.ndarray:
        """Mean loss of each task on its validation rows."""
        losses = np.empty(len(self.tasks))
        by_rows: dict[bytes, list[int]] = {}
        for k, task in enumerate(self.tasks):
            by_rows.setdefault(task.validation_rows.tobytes(), []).append(k)
        for members in by_rows.values():
            rows = torch.from_numpy(self.tasks[members[0]].validation_rows).to(self.X.device)
            hidden = self.X[rows].expand(len(members), -1, -1)
            chosen = [parameter[members] for parameter in self.parameters]
            for i in range(0, len(chosen), 2):
                hidden = torch.baddbmm(chosen[i + 1], hidden, chosen[i])
                if i < len(chosen) - 2 and self.schedule.activation == "relu":
                    hidden = hidden.relu_()
            truth = self.Y[rows][:, self.targets[members]].T.unsqueeze(-1)
            losses[members] = (
                LOSSES[self.schedule.loss](hidden - truth)[0].mean(dim=(1, 2)).double().cpu().numpy()
            )
        return losses

    def record(
        self, results: list[Trained], epoch: int, losses: np.ndarray, judged: np.ndarray
    ) -> np.ndarray:
        """Note the epoch, keep weights that are the best so far, and tell which tasks have stopped."""
        for k, member in enumerate(self.members):
            results[member].loss_curve.append(float(losses[k]))
            if self.judges:
                results[member].validation_curve.append(float(judged[k]))
        improved = judged < self.best_loss - self.schedule.tol
        self.best_loss[improved], self.best_epoch[improved] = judged[improved], epoch
        if self.judges and improved.any():
            chosen = torch.from_numpy(np.flatnonzero(improved)).to(self.X.device)
            for best, parameter in zip(self.best, self.parameters, strict=True):
                best[chosen] = parameter[chosen]
        return epoch - self.best_epoch >= self.schedule.patience

    def drop(self, finished: np.ndarray, results: list[Trained]) -> None:
        """Hand over the tasks that have finished and go on with the others."""
        for k in np.flatnonzero(finished):
            result = results[self.members[k]]
            arrays = [parameter[k].double().cpu().numpy() for parameter in self.best]
            result.layers = [(w, b[0]) for w, b in zip(arrays[::2], arrays[1::2], strict=True)]
            stalled = len(result.loss_curve) - self.best_epoch[k] >= self.schedule.patience
            result.best_iteration, result.stopped = int(self.best_epoch[k]), bool(stalled)
        kept = np.flatnonzero(~finished)
        if len(kept) == 0:
            return
        index = torch.from_numpy(kept).to(self.X.device)
        self.parameters = [parameter[index] for parameter in self.parameters]
        self.momenta = [velocity[index] for velocity in self.momenta]
        self.best = [parameter[index] for parameter in self.best] if self.judges else self.parameters
        self.best_loss, self.best_epoch, self.members = (
            self.best_loss[kept],
            self.best_epoch[kept],
            self.members[kept],
        )
        self.tasks = [self.tasks[k] for k in kept]
        self._settle()


def _initial_layers(task: Task, sizes: Sequence[int], like: Tensor) -> list[Tensor]:
    """Weight and bias of every layer, drawn as `torch.nn.Linear` draws them: uniform within 1 / sqrt(fan_in)."""
    layers: list[Tensor] = []
    if task.initial is not None:
        for weight, bias in task.initial:
            layers += [torch.as_tensor(weight).to(like), torch.as_tensor(bias).reshape(1, -1).to(like)]
        return layers
    generator = torch.Generator().manual_seed(task.init_seed)
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        bound = fan_in**-0.5
        drawn = torch.empty(fan_out, fan_in, dtype=like.dtype).uniform_(-bound, bound, generator=generator)
        offset = torch.empty(1, fan_out, dtype=like.dtype).uniform_(-bound, bound, generator=generator)
        layers += [drawn.T.contiguous().to(like.device), offset.to(like.device)]
    return layers
