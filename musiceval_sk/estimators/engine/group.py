"""Perceptrons that go through the same rows in the same order: one product serves all their first layers."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch

from musiceval_sk.estimators.engine.losses import ACTIVATIONS, Loss, rank_slope
from musiceval_sk.estimators.engine.pairs import PairSteps
from musiceval_sk.estimators.engine.store import Matrices, Store, WorkSpace, side_by_side
from musiceval_sk.estimators.engine.task import VALIDATED_AT_ONCE, Schedule, Task, layer_sizes

Tensor = torch.Tensor
_RATES = ("learning_rate", "momentum", "weight_decay")


class Group:
    """Tasks that share rows, order and columns: their weights, momenta and best weights so far.

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
    models : sequence of list of Tensor
        Weight and bias of each layer in turn, for each task.
    """

    def __init__(
        self,
        X: Tensor,
        Y: Tensor,
        tasks: Sequence[Task],
        members: np.ndarray,
        schedule: Schedule,
        models: Sequence[Sequence[Tensor]],
    ):
        self.X, self.Y, self.schedule = X, Y, schedule
        self.tasks, self.members = list(tasks), members
        sizes = layer_sizes(X.shape[1], schedule)
        self.loss = Loss(schedule.loss, schedule.n_bins, schedule.scale, schedule.bin_sigma, X)
        self.activation = ACTIVATIONS[schedule.activation]
        self.parameters, everyone = Store.of(models, sizes), torch.arange(len(tasks), device=X.device)
        self.momenta = self.parameters.zeros()
        self.rows = torch.from_numpy(np.ascontiguousarray(tasks[0].rows)).long()
        self.validates = len(tasks[0].validation_rows) > 0
        self.epochs, self.averages = 0, schedule.averaging > 0
        self.averaged = self.parameters.chosen(everyone) if self.averages else self.parameters
        self.best = self.averaged.chosen(everyone) if self.validates else self.averaged
        self.generator = torch.Generator().manual_seed(tasks[0].order_seed)
        self.pairs = None if tasks[0].pairs is None else PairSteps(self, tasks[0])
        self._settle()

    def _settle(self) -> None:
        """Lay out what depends on which tasks are left."""
        X, k, n = self.X, len(self.tasks), len(self.rows)
        self.targets = self.Y[:, [task.target for task in self.tasks]]
        weights = [task.row_weights for task in self.tasks]
        self.row_weights = self.learned = None
        if any(weight is not None for weight in weights):
            columns = [np.ones(len(X)) if weight is None else weight for weight in weights]
            self.row_weights = self.learned = torch.from_numpy(np.stack(columns, axis=1)).to(X)
        self._hold_out()
        self.spaces: dict[int, tuple[WorkSpace, Matrices]] = {}
        rates = {name: [getattr(task, name) for task in self.tasks] for name in _RATES}
        self.rates = {name: self._spread(values) for name, values in rates.items()}
        self.decays = any(rates["weight_decay"])
        # Gradients go straight into the momenta; Nesterov's need a place of their own.
        self.gradient, self.fades = self.momenta, len(set(rates["momentum"])) > 1
        self.beta = 1.0 if self.fades else rates["momentum"][0]
        if self.schedule.nesterov:
            self.gradient = self.momenta.zeros()
            self.fades, self.beta = False, 0.0
        self.order = torch.empty(n, dtype=torch.int64, device=X.device)
        self.ordered_targets, self.ordered_weights = X.new_empty(n, k), X.new_ones(n, k)
        self.scales, self.outputs = X.new_empty(n, k), X.new_empty(n * k * self.parameters.sizes[-1])
        self._cut()

    def _hold_out(self) -> None:
        """Lay out what each task holds out as a column of its own, with no weight in what that task learns from."""
        k, width = len(self.tasks), self.parameters.sizes[1]
        held = [
            torch.from_numpy(np.ascontiguousarray(task.validation_rows)).to(self.X.device)
            for task in self.tasks
        ]
        weights, in_epochs = self.row_weights, np.zeros(len(self.X), dtype=bool)
        in_epochs[self.tasks[0].rows] = True
        if any(in_epochs[task.validation_rows].any() for task in self.tasks):
            self.learned = self.X.new_ones(len(self.X), k) if weights is None else weights.clone()
            for i, rows in enumerate(held):
                self.learned[rows, i] = 0
        self.validation_targets = self.X.new_zeros(max(map(len, held)), k)
        self.validation_weights = torch.zeros_like(self.validation_targets)
        for i, rows in enumerate(held):
            self.validation_targets[: len(rows), i] = self.targets[rows, i]
            self.validation_weights[: len(rows), i] = 1 if weights is None else weights[rows, i]
        alike = [[*same] for _, same in groupby(range(k), lambda i: self.tasks[i].validation_rows.tobytes())]
        self.held_out = [(held[some[0]], slice(some[0] * width, (some[-1] + 1) * width)) for some in alike]

    def _spread(self, values: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Give one number a column of the first layers, and one a row of the others."""
        held = self.X.new_tensor(values)
        return held.repeat_interleave(self.parameters.sizes[1]), held.unsqueeze(1)

    def _cut(self) -> None:
        """Cut the rows of an epoch into minibatches: even ones, or whole ones and what is left."""
        k, n, size = len(self.tasks), len(self.rows), self.schedule.batch_size
        width = self.parameters.sizes[-1]
        whole, left = n // size * size, n % size
        runs = (0, whole, size), (whole, n, left)
        if self.schedule.even_batches:
            rows, longer = divmod(n, -(-n // size))
            runs = (0, longer * (rows + 1), rows + 1), (longer * (rows + 1), n, rows)
        self.runs = [run for run in runs if run[0] < run[1]]
        self.minibatches: list[tuple[WorkSpace, Tensor, Matrices, Tensor, Tensor, Tensor]] = []
        for first, last, rows in self.runs:
            space = WorkSpace(rows, self.X.shape[1], self.parameters, self.activation.in_place)
            self.scales[first:last] = 1 / rows
            for begin in range(first, last, rows):
                here = slice(begin, begin + rows)
                out = self.outputs[begin * k * width : (begin + rows) * k * width].view(k, rows, width)
                ordered = (self.ordered_targets, self.scales, self.ordered_weights)
                targets, scales, weights = (side_by_side(part[here], k) for part in ordered)
                self.minibatches.append((space, self.order[here], Matrices(out), targets, scales, weights))
        self.stuck: dict[int, Tensor] = {}

    def epoch(self) -> Tensor:
        """Step once through all rows, and pairs; mean training loss of each task, [shape=(k,)], float64."""
        if self.pairs is None:
            self._step_through_rows()
            self._average()
            return self._training_loss()
        if self.pairs.scored:
            self._step_through_rows()
        of_pairs = self.pairs.epoch()
        self._average()
        return self._training_loss() if self.pairs.scored else of_pairs

    def _step_through_rows(self) -> None:
        rows = self.rows
        if self.schedule.shuffle:
            rows = rows[torch.randperm(len(rows), generator=self.generator)]
        self.order.copy_(rows)
        torch.index_select(self.targets, 0, self.order, out=self.ordered_targets)
        if self.learned is not None:
            self._weigh(self.learned[self.order])
        for i, minibatch in enumerate(self.minibatches):
            if i not in self.stuck:
                self._step(*minibatch)
                continue
            stores = self.parameters, self.momenta
            before = [store.chosen(self.stuck[i]) for store in stores]
            self._step(*minibatch)
            for store, kept in zip(stores, before, strict=True):
                store.put(self.stuck[i], kept)

    def _average(self) -> None:
        """Take the weights after this epoch into their mean."""
        self.epochs += 1
        if self.averages:
            share = max(1 / self.epochs, 1 - self.schedule.averaging)
            for mean, part in zip(self.averaged.parts, self.parameters.parts, strict=True):
                mean.lerp_(part, share)

    def _weigh(self, weights: Tensor) -> None:
        """Scale the rows of each minibatch by its sum, and note where tasks have nothing to learn from."""
        self.ordered_weights.copy_(weights)
        self.stuck = {}
        for i, (*_, scale, weight) in enumerate(self.minibatches):
            total = weight.contiguous().sum(dim=1, keepdim=True)
            torch.div(weight, torch.where(total > 0, total, 1), out=scale)
            if not (total > 0).all():
                self.stuck[i] = torch.nonzero(total[:, 0, 0] <= 0)[:, 0]

    def _training_loss(self) -> Tensor:
        k, width = len(self.tasks), self.parameters.sizes[-1]
        total = torch.zeros(k, dtype=torch.float64, device=self.X.device)
        for first, last, rows in self.runs:
            outputs = self.outputs[first * k * width : last * k * width].view(-1, k, rows, width)
            targets, weights = (
                part[first:last].view(-1, rows, k).transpose(1, 2).unsqueeze(-1)
                for part in (self.ordered_targets, self.ordered_weights)
            )
            losses = self.loss.value(outputs, targets) * weights
            total += losses.double().transpose(0, 1).reshape(k, -1).sum(dim=1)
        return total / self.ordered_weights.double().sum(dim=0)

    def _step(
        self, space: WorkSpace, rows: Tensor, out: Matrices, targets: Tensor, scale: Tensor, weights: Tensor
    ) -> None:
        """One SGD step on a minibatch; leaves the outputs in their place."""
        schedule = self.schedule
        torch.index_select(self.X, 0, rows, out=space.inputs)
        self.forward(self.parameters, space, out)
        slope = self.loss.slope(out.whole, targets).mul_(scale)
        if schedule.rank_weight:
            scores = self.loss.scores(out.whole)
            ranked = rank_slope(scores, targets, weights, schedule.rank_margin, schedule.rank_quality)
            slope.add_(self.loss.chained(ranked, out.whole, scores), alpha=schedule.rank_weight)
        self.backward(space, slope)
        self.descend()

    def forward(self, parameters: Store, space: WorkSpace, out: Matrices) -> None:
        """Fill in all values from the inputs to the outputs."""
        torch.addmm(parameters.offset, space.inputs, parameters.matrix, out=space.incoming[0])
        self.forward_above(parameters, space, out)

    def forward_above(self, parameters: Store, space: WorkSpace, out: Matrices) -> None:
        """Fill in all values above what comes into the first activation."""
        if not parameters.weights:
            out.whole.copy_(space.raw[0].whole)
        for i in range(len(parameters.weights)):
            self.activation.forward(space.incoming[i], space.outgoing[i])
            parameters.pass_through(i, space.active[i], [*space.raw, out][i + 1])

    def backward(self, space: WorkSpace, slope: Tensor) -> None:
        """Take the gradient into the momenta."""
        gradient, beta = self.gradient, self.beta
        if self.fades:
            self._fade()
        if not gradient.weights:
            space.slopes[0].copy_(slope)
        for i in range(len(gradient.weights) - 1, -1, -1):
            gradient.weights[i].baddbmm_(space.active[i].turned, slope, beta=beta)
            gradient.biases[i].mul_(beta).add_(slope.sum(dim=1, keepdim=True))
            slope = torch.bmm(slope, self.parameters.back[i], out=space.slopes[i])
            self.activation.backward(slope, space.raw[i].whole)
        gradient.matrix.addmm_(space.turned, space.first_slope, beta=beta)
        gradient.offset.addmv_(space.first_slope_turned, space.ones, beta=beta)

    def _fade(self) -> None:
        for momentum, factor in zip(self.momenta.parts, self.rates["momentum"], strict=True):
            momentum.mul_(factor)

    def descend(self) -> None:
        """Step along the momenta."""
        parts = list(zip(self.parameters.parts, self.gradient.parts, self.momenta.parts, strict=True))
        if self.decays:
            for (parameter, gradient, _), decay in zip(parts, self.rates["weight_decay"], strict=True):
                gradient.addcmul_(parameter, decay)
        if self.schedule.nesterov:
            self._fade()
            for (_, gradient, momentum), factor in zip(parts, self.rates["momentum"], strict=True):
                gradient.addcmul_(momentum.add_(gradient), factor)
        for (parameter, gradient, _), rate in zip(parts, self.rates["learning_rate"], strict=True):
            parameter.addcmul_(gradient, rate, value=-1)

    def validate(self) -> Tensor:
        """Mean loss of each task on the validation rows, or pairs, [shape=(k,)], float64."""
        if self.pairs is not None and not self.pairs.scored:
            return self.pairs.validate()
        k = len(self.tasks)
        total = torch.zeros(k, dtype=torch.float64, device=self.X.device)
        for begin in range(0, len(self.validation_weights), VALIDATED_AT_ONCE):
            here = slice(begin, begin + VALIDATED_AT_ONCE)
            targets, weights = (
                side_by_side(part[here], k) for part in (self.validation_targets, self.validation_weights)
            )
            total += (
                (self.loss.value(self._held_out_outputs(here), targets) * weights).double().sum(dim=(1, 2))
            )
        return total / self.validation_weights.double().sum(dim=0)

    def _held_out_outputs(self, here: slice) -> Tensor:
        """Give each task's outputs for these of the rows that it holds out, [shape=(k, n, o)]; where it has no more, any."""
        space, out = self._space(len(self.validation_weights[here]))
        averaged = self.averaged
        for rows, columns in self.held_out:
            chosen = rows[here]
            inputs = torch.index_select(self.X, 0, chosen, out=space.inputs[: len(chosen)])
            place = space.incoming[0][: len(chosen), columns]
            torch.addmm(averaged.offset[columns], inputs, averaged.matrix[:, columns], out=place)
        self.forward_above(averaged, space, out)
        return out.whole

    def predict(self, rows: Tensor) -> Tensor:
        """Give the outputs of the weights that are validated and kept for rows of X, [shape=(k, n, o)]."""
        space, out = self._space(len(rows))
        torch.index_select(self.X, 0, rows, out=space.inputs)
        self.forward(self.averaged, space, out)
        return out.whole

    def _space(self, n: int) -> tuple[WorkSpace, Matrices]:
        """Give a place for values of n rows, all finite from the start."""
        if n not in self.spaces:
            space = WorkSpace(n, self.X.shape[1], self.averaged, self.activation.in_place)
            space.incoming[0].zero_()
            outputs = self.X.new_empty(len(self.tasks), n, self.averaged.sizes[-1])
            self.spaces[n] = space, Matrices(outputs)
        return self.spaces[n]

    def keep(self, improved: np.ndarray) -> None:
        """Remember the weights of tasks that are better than ever."""
        if self.best is self.averaged or not improved.any():
            return
        if improved.all():
            for kept, part in zip(self.best.parts, self.averaged.parts, strict=True):
                kept.copy_(part)
        else:
            index = torch.from_numpy(np.flatnonzero(improved)).to(self.X.device)
            self.best.put(index, self.averaged.chosen(index))

    def go_on_with(self, kept: np.ndarray) -> None:
        """Drop all other tasks, and the work they made."""
        index = torch.from_numpy(np.flatnonzero(kept)).to(self.X.device)
        keeps_best = self.best is not self.averaged
        self.parameters, self.momenta = self.parameters.chosen(index), self.momenta.chosen(index)
        self.averaged = self.averaged.chosen(index) if self.averages else self.parameters
        self.best = self.best.chosen(index) if keeps_best else self.averaged
        self.members, self.tasks = self.members[kept], [self.tasks[i] for i in np.flatnonzero(kept)]
        self._settle()
