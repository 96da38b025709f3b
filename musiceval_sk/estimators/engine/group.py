"""Perceptrons that learn from the same rows in the same order: one product serves all their first layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from musiceval_sk.estimators.engine.graph import Replayed
from musiceval_sk.estimators.engine.losses import ACTIVATIONS, Loss, rank_slope
from musiceval_sk.estimators.engine.store import Matrices, Store, WorkSpace, side_by_side
from musiceval_sk.estimators.engine.task import ROWS_JUDGED_AT_ONCE, Schedule, Task, layer_sizes

Tensor = torch.Tensor


class Group:
    """Tasks that share rows, order, columns and validation rows: their weights, momenta and best weights so far.

    Parameters
    ----------
    X : Tensor [shape=(n, d)]
        The columns that the tasks see.
    Y : Tensor [shape=(n, n_targets)]
        Targets.
    tasks : sequence of Task
        In training together.
    members : np.ndarray of int
        What the caller calls them.
    schedule : Schedule
        What they share.
    models, velocities : sequence of list of Tensor
        Weight and bias of each layer in turn, for each task; and their momenta.
    """

    def __init__(
        self,
        X: Tensor,
        Y: Tensor,
        tasks: Sequence[Task],
        members: np.ndarray,
        schedule: Schedule,
        models: Sequence[Sequence[Tensor]],
        velocities: Sequence[Sequence[Tensor]],
    ):
        self.X, self.Y, self.schedule = X, Y, schedule
        self.tasks, self.members = list(tasks), members
        sizes = layer_sizes(X.shape[1], schedule)
        self.loss = Loss(schedule.loss, schedule.n_bins, schedule.scale, schedule.bin_sigma, X)
        self.activation = ACTIVATIONS[schedule.activation]
        self.parameters, self.momenta = Store.of(models, sizes), Store.of(velocities, sizes)
        everyone = torch.arange(len(tasks), device=X.device)
        self.judges = len(tasks[0].validation_rows) > 0
        self.best = self.parameters.chosen(everyone) if self.judges else self.parameters
        self.best_momenta = self.momenta.chosen(everyone) if self.judges else self.momenta
        self.rows = torch.from_numpy(np.ascontiguousarray(tasks[0].rows)).long()
        self.held_out = torch.from_numpy(np.ascontiguousarray(tasks[0].validation_rows)).long().to(X.device)
        self.generator = torch.Generator().manual_seed(tasks[0].order_seed)
        self._settle()

    def _settle(self) -> None:
        """Lay out what depends on which tasks are left."""
        k, n, size = len(self.tasks), len(self.rows), self.schedule.batch_size
        self.targets = self.Y[:, [task.target for task in self.tasks]]
        self._settle_rates()
        weights = [task.row_weights for task in self.tasks]
        self.row_weights = None
        if any(weight is not None for weight in weights):
            columns = [np.ones(len(self.X)) if weight is None else weight for weight in weights]
            self.row_weights = torch.from_numpy(np.stack(columns, axis=1)).to(self.X.dtype)
        self.order = torch.empty(n, dtype=torch.int64, device=self.X.device)
        self.ordered_targets, self.scales = self.X.new_empty(n, k), self.X.new_empty(n, k)
        self.ordered_weights = self.X.new_empty(n, k)
        self.outputs = self.X.new_empty(n * k * self.parameters.sizes[-1])
        self.gradient = (
            Store(
                torch.zeros_like(self.momenta.first), torch.zeros_like(self.momenta.rest), self.momenta.sizes
            )
            if self.schedule.nesterov
            else self.momenta
        )
        self.batches: list[tuple[Any, ...]] = []
        spaces: dict[int, WorkSpace] = {}
        for begin in range(0, n, size):
            end = min(begin + size, n)
            if end - begin not in spaces:
                spaces[end - begin] = WorkSpace(
                    end - begin, self.X.shape[1], self.parameters, self.activation.in_place
                )
            targets, scale, weights_here = (
                side_by_side(whole[begin:end], k)
                for whole in (self.ordered_targets, self.scales, self.ordered_weights)
            )
            weighted = self.row_weights is not None
            self.batches.append(
                (
                    spaces[end - begin],
                    self.order[begin:end],
                    self._outputs_of(begin, end),
                    targets,
                    scale if weighted else self.X.new_tensor(1 / (end - begin)),
                    weights_here if weighted else None,
                )
            )
        self.stuck: dict[int, Tensor] = {}
        self.run = Replayed(self._steps, self.X.device)

    def _outputs_of(self, begin: int, end: int) -> Matrices:
        k, width = len(self.tasks), self.parameters.sizes[-1]
        return Matrices(self.outputs[begin * k * width : end * k * width].view(k, end - begin, width))

    def _settle_rates(self) -> None:
        """Numbers where all tasks share them; else one a column of the first layers, and one a row of the rest."""
        width = self.parameters.sizes[1]
        self.shared, self.by_column, self.by_row = {}, {}, {}
        for name in ("learning_rate", "momentum", "weight_decay"):
            values = [getattr(task, name) for task in self.tasks]
            self.shared[name] = values[0] if len(set(values)) == 1 else None
            held = self.X.new_tensor(values)
            self.by_column[name], self.by_row[name] = held.repeat_interleave(width), held.unsqueeze(1)
        self.decays = self.shared["weight_decay"] != 0

    def epoch(self) -> Tensor:
        """Step once through all rows; mean training loss of each task, [shape=(k,)], float64."""
        rows = self.rows
        if self.schedule.shuffle:
            rows = rows[torch.randperm(len(rows), generator=self.generator)]
        self.order.copy_(rows)
        torch.index_select(self.targets, 0, self.order, out=self.ordered_targets)
        if self.row_weights is not None:
            self._weigh(self.row_weights[rows])
        if self.stuck:
            self._steps()
        else:
            self.run()
        return self._training_loss()

    def _weigh(self, weights: Tensor) -> None:
        """Scale the rows of each minibatch by its sum, and note where tasks have nothing to learn from."""
        scales, self.stuck = torch.zeros_like(weights), {}
        for i, begin in enumerate(range(0, len(weights), self.schedule.batch_size)):
            here = slice(begin, begin + self.schedule.batch_size)
            total = weights[here].T.contiguous().sum(dim=1)
            scales[here] = weights[here] / torch.where(total > 0, total, 1)
            if not (total > 0).all():
                self.stuck[i] = torch.nonzero(total <= 0)[:, 0].to(self.X.device)
        self.scales.copy_(scales)
        self.ordered_weights.copy_(weights)

    def _training_loss(self) -> Tensor:
        total = torch.zeros(len(self.tasks), dtype=torch.float64, device=self.X.device)
        size, n = self.schedule.batch_size, len(self.rows)
        k, width = len(self.tasks), self.parameters.sizes[-1]
        whole = n // size * size
        weight = self.ordered_weights if self.row_weights is not None else None
        for begin, end, rows in ((0, whole, size), (whole, n, n - whole)):
            if begin == end:
                continue
            outputs = self.outputs[begin * k * width : end * k * width].view(-1, k, rows, width)
            losses = self.loss.value(outputs, _stacked(self.ordered_targets[begin:end], rows))
            if weight is not None:
                losses = losses * _stacked(weight[begin:end], rows)
            total += losses.double().transpose(0, 1).reshape(k, -1).sum(dim=1)
        return total / (n if weight is None else weight.double().sum(dim=0))

    def _steps(self) -> None:
        """All minibatches of an epoch."""
        for i, batch in enumerate(self.batches):
            if i in self.stuck:
                held = self.parameters.chosen(self.stuck[i]), self.momenta.chosen(self.stuck[i])
                self._step(*batch)
                everyone = torch.arange(len(self.stuck[i]), device=self.X.device)
                self.parameters.put(self.stuck[i], held[0], everyone)
                self.momenta.put(self.stuck[i], held[1], everyone)
            else:
                self._step(*batch)

    def _step(
        self, space: WorkSpace, rows: Tensor, out: Matrices, targets: Tensor, scale: Any, weights: Any
    ) -> None:
        """One SGD step on a minibatch; leaves the outputs in their place."""
        torch.index_select(self.X, 0, rows, out=space.inputs)
        self._forward(space, out)
        slope = self.loss.slope(out.whole, targets).mul_(scale)
        if self.schedule.rank_weight:
            scores = self.loss.scores(out.whole)
            ranked = rank_slope(
                scores, targets, weights, self.schedule.rank_margin, self.schedule.rank_quality
            )
            slope.add_(self.loss.chained(ranked, out.whole, scores), alpha=self.schedule.rank_weight)
        self._backward(space, slope, self._before_gradient())
        self._descend()

    def _forward(self, space: WorkSpace, out: Matrices) -> None:
        """Fill in all values from the inputs to the outputs."""
        parameters = self.parameters
        torch.addmm(parameters.offset, space.inputs, parameters.matrix, out=space.incoming[0])
        if not parameters.weights:
            out.whole.copy_(space.raw[0].whole)
        for i in range(len(parameters.weights)):
            self.activation.forward(space.incoming[i], space.outgoing[i])
            parameters.pass_through(i, space.active[i], [*space.raw, out][i + 1])

    def _before_gradient(self) -> float:
        """Let momenta fade where their factors differ; the factor that they have yet to be multiplied by."""
        if self.schedule.nesterov:
            return 0.0
        if self.shared["momentum"] is not None:
            return self.shared["momentum"]
        self._fade()
        return 1.0

    def _fade(self) -> None:
        self.momenta.first.mul_(self.by_column["momentum"])
        self.momenta.rest.mul_(self.by_row["momentum"])

    def _pull(self) -> None:
        self.gradient.first.addcmul_(self.parameters.first, self.by_column["weight_decay"])
        self.gradient.rest.addcmul_(self.parameters.rest, self.by_row["weight_decay"])

    def _backward(self, space: WorkSpace, slope: Tensor, beta: float) -> None:
        gradient = self.gradient
        if not gradient.weights:
            space.slopes[0].copy_(slope)
        for i in range(len(gradient.weights) - 1, -1, -1):
            gradient.weights[i].baddbmm_(space.active[i].turned, slope, beta=beta)
            gradient.biases[i].mul_(beta).add_(slope.sum(dim=1, keepdim=True))
            slope = torch.bmm(slope, self.parameters.back[i], out=space.slopes[i])
            self.activation.backward(slope, space.raw[i].whole)
        gradient.matrix.addmm_(space.turned, space.first_slope, beta=beta)
        gradient.offset.addmv_(space.first_slope_turned, space.ones, beta=beta)

    def _descend(self) -> None:
        if self.decays:
            self._pull()
        if self.schedule.nesterov:
            self._fade()
            self.momenta.first.add_(self.gradient.first)
            self.momenta.rest.add_(self.gradient.rest)
            self.gradient.first.addcmul_(self.momenta.first, self.by_column["momentum"])
            self.gradient.rest.addcmul_(self.momenta.rest, self.by_row["momentum"])
        rate = self.shared["learning_rate"]
        if rate is not None:
            self.parameters.first.add_(self.gradient.first, alpha=-rate)
            self.parameters.rest.add_(self.gradient.rest, alpha=-rate)
        else:
            self.parameters.first.addcmul_(self.gradient.first, self.by_column["learning_rate"], value=-1)
            self.parameters.rest.addcmul_(self.gradient.rest, self.by_row["learning_rate"], value=-1)

    def validate(self) -> Tensor:
        """Mean loss of each task on the validation rows, [shape=(k,)], float64."""
        k = len(self.tasks)
        total = torch.zeros(k, dtype=torch.float64, device=self.X.device)
        whole = torch.zeros_like(total)
        for rows in self.held_out.split(ROWS_JUDGED_AT_ONCE):
            losses = self.loss.value(self._predict(self.X[rows]), side_by_side(self.targets[rows], k))
            if self.row_weights is None:
                whole += len(rows)
            else:
                weight = side_by_side(self.row_weights[rows.cpu()].to(self.X.device), k)
                losses, whole = losses * weight, whole + weight.double().sum(dim=(1, 2))
            total += losses.double().sum(dim=(1, 2))
        return total / whole

    def _predict(self, inputs: Tensor) -> Tensor:
        space = WorkSpace(len(inputs), inputs.shape[1], self.parameters, self.activation.in_place)
        space.inputs.copy_(inputs)
        out = Matrices(inputs.new_empty(len(self.tasks), len(inputs), self.parameters.sizes[-1]))
        self._forward(space, out)
        return out.whole

    def keep(self, improved: np.ndarray) -> None:
        """Remember the weights and momenta of tasks that are better than ever."""
        if not self.judges or not improved.any():
            return
        for best, now in ((self.best, self.parameters), (self.best_momenta, self.momenta)):
            if improved.all():
                best.first.copy_(now.first)
                best.rest.copy_(now.rest)
            else:
                index = torch.from_numpy(np.flatnonzero(improved)).to(self.X.device)
                best.put(index, now, index)

    def go_on_with(self, kept: np.ndarray) -> None:
        """Drop all other tasks, and the work they made."""
        index = torch.from_numpy(np.flatnonzero(kept)).to(self.X.device)
        self.parameters, self.momenta = self.parameters.chosen(index), self.momenta.chosen(index)
        self.best = self.best.chosen(index) if self.judges else self.parameters
        self.best_momenta = self.best_momenta.chosen(index) if self.judges else self.momenta
        self.members, self.tasks = self.members[kept], [self.tasks[i] for i in np.flatnonzero(kept)]
        self._settle()


def _stacked(ordered: Tensor, rows: int) -> Tensor:
    """View values of an epoch, [shape=(n, k)], as minibatches of so many rows, [shape=(n / rows, k, rows, 1)]."""
    return ordered.view(-1, rows, ordered.shape[1]).transpose(1, 2).unsqueeze(-1)
