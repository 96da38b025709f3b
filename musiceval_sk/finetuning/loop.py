"""The training loop of `CLAPFineTuneRegressor`: towers and heads under one optimiser, stoppable after any step.

All that a step depends on is in `state`. A run that is restored from it goes on as if nothing had happened, to the bit
on a CPU with the same number of threads.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from musiceval_sk.estimators.engine.train import Schedule, Trained
from musiceval_sk.finetuning.batches import Sounds, Vectors
from musiceval_sk.finetuning.memory import until_it_fits

Tensor = torch.Tensor
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Plan:
    """What to learn from, and how.

    Attributes
    ----------
    targets : np.ndarray [shape=(n, n_targets)]
        Scores of all rows.
    rows, validation_rows : np.ndarray of int
        Rows to learn from and to judge by.
    weights : np.ndarray [shape=(n,)]
        Weight of each row.
    order_seed : int
        Of the order of rows.
    learning_rate, momentum, weight_decay : float
        Of SGD.
    schedule : Schedule
        Batch size, epochs, patience and tolerance.
    """

    targets: np.ndarray
    rows: np.ndarray
    validation_rows: np.ndarray
    weights: np.ndarray
    order_seed: int
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: Schedule


@dataclass
class Progress:
    """Where training stands; JSON values all."""

    epoch: int = 1
    step: int = 0
    steps_made: int = 0
    losses: list[float] = field(default_factory=list)
    loss_curves: list[list[float]] = field(default_factory=list)
    validation_curves: list[list[float]] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = 0
    stopped: bool = False
    finished: bool = False


class Training:
    """A network in training.

    Parameters
    ----------
    plan : Plan
        What to do.
    source : Vectors or Sounds
        Gives a batch's vectors.
    heads : torch.nn.Module
        From vectors to scores, [shape=(n, n_targets)].
    weights : dict of str to torch.nn.Parameter
        All that is trained, the heads' too.
    half : bool, default=False
        Whether gradients are of float16 and need scaling.
    """

    def __init__(
        self,
        plan: Plan,
        source: Vectors | Sounds,
        heads: torch.nn.Module,
        weights: dict[str, torch.nn.Parameter],
        half: bool = False,
    ):
        self.plan, self.source, self.heads, self.weights = plan, source, heads, weights
        self.device = next(heads.parameters()).device
        self.optimizer = torch.optim.SGD(
            weights.values(),
            lr=plan.learning_rate,
            momentum=plan.momentum,
            weight_decay=plan.weight_decay,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        self.progress = Progress(losses=[0.0] * plan.targets.shape[1])
        self.best: dict[str, Tensor] = {}
        self._generator = torch.Generator().manual_seed(plan.order_seed)
        self._order_state = self._generator.get_state()
        self._targets = torch.from_numpy(plan.targets).float()
        self._row_weights = torch.from_numpy(plan.weights).float()

    def run(self, after_step: Callable[["Training"], None]) -> list[Trained]:
        """Train to the end, from wherever it stands.

        Parameters
        ----------
        after_step : callable
            Called after each step.

        Returns
        -------
        list of Trained
            The course of training of each head; the weights that count are then in the network.
        """
        progress, size = self.progress, self.plan.schedule.batch_size
        while not progress.finished:
            order = self._order()
            for begin in range(progress.step * size, len(order), size):
                batch = order[begin : begin + size].numpy()
                losses = until_it_fits(self.source, partial(self._step, batch))
                progress.losses = [a + b for a, b in zip(progress.losses, losses, strict=True)]
                progress.step += 1
                progress.steps_made += 1
                after_step(self)
            self._end_epoch()
        if self.best:
            with torch.no_grad():
                for name, kept in self.best.items():
                    self.weights[name].copy_(kept)
        return self._results()

    def state(self) -> tuple[dict[str, Any], Tensors]:
        """All that training depends on from here, as JSON values and arrays."""
        content = {
            "progress": vars(self.progress),
            "source": self.source.state(),
            "scaler": self.scaler.state_dict(),
        }
        tensors = {"order_state": self._order_state.numpy()}
        for name, weight in self.weights.items():
            tensors[f"now.{name}"] = _array(weight)
            momentum = self.optimizer.state[weight].get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{name}"] = _array(momentum)
        tensors |= {f"best.{name}": _array(kept) for name, kept in self.best.items()}
        return content, tensors

    def restore(self, content: dict[str, Any], tensors: Tensors) -> None:
        """Go back to where `state` was taken."""
        self.progress = Progress(**content["progress"])
        self.source.restore(content["source"])
        self.scaler.load_state_dict(content["scaler"])
        self._order_state = torch.from_numpy(tensors["order_state"].copy())
        self._generator.set_state(self._order_state)
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(torch.from_numpy(tensors[f"now.{name}"]))
                if f"momentum.{name}" in tensors:
                    momentum = torch.from_numpy(tensors[f"momentum.{name}"].copy()).to(weight.device)
                    self.optimizer.state[weight]["momentum_buffer"] = momentum
        self.best = {
            name: torch.from_numpy(tensors[f"best.{name}"].copy())
            for name in self.weights
            if f"best.{name}" in tensors
        }

    def _order(self) -> Tensor:
        """Rows in the order of this epoch, drawn as the engine of `MOSRegressor` draws it."""
        self._order_state = self._generator.get_state()
        rows = torch.from_numpy(self.plan.rows)
        return rows[torch.randperm(len(rows), generator=self._generator)]

    def _step(self, rows: np.ndarray) -> list[float]:
        """One step of SGD on a batch, its gradient summed over parts; each head's weighted loss, summed over rows."""
        total = float(self._row_weights[rows].double().sum())
        losses = torch.zeros(self._targets.shape[1], dtype=torch.float64, device=self.device)
        self.optimizer.zero_grad()
        with self.source.precision():
            for places, vectors in self.source.parts(rows, training=True):
                errors = self._errors(vectors, rows[places])
                self.scaler.scale(errors.sum() / total).backward()
                losses += errors.detach().double().sum(dim=0)
                del vectors, errors
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return losses.tolist()

    def _errors(self, vectors: Tensor, rows: np.ndarray) -> Tensor:
        """Weighted absolute error of each row and head."""
        truth, weight = (whole[rows].to(self.device) for whole in (self._targets, self._row_weights))
        return (self.heads(vectors) - truth).abs() * weight[:, None]

    def _end_epoch(self) -> None:
        """Note the epoch's losses, keep weights that are better than ever, and see whether to stop."""
        plan, progress = self.plan, self.progress
        whole = plan.weights[plan.rows].sum()
        progress.loss_curves.append([float(loss / whole) for loss in progress.losses])
        decisive = sum(progress.loss_curves[-1])
        if len(plan.validation_rows):
            progress.validation_curves.append(until_it_fits(self.source, self._judge))
            decisive = sum(progress.validation_curves[-1])
        if decisive < progress.best_loss - plan.schedule.tol:
            progress.best_loss, progress.best_epoch = decisive, progress.epoch
            if len(plan.validation_rows):
                self.best = {name: weight.detach().cpu().clone() for name, weight in self.weights.items()}
        progress.stopped = progress.epoch - progress.best_epoch >= plan.schedule.patience
        progress.finished = progress.stopped or progress.epoch >= plan.schedule.max_iter
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.losses = [0.0] * len(progress.losses)

    @torch.no_grad()
    def _judge(self) -> list[float]:
        """Mean loss of each head on the held-out rows."""
        rows = self.plan.validation_rows
        total = torch.zeros(self._targets.shape[1], dtype=torch.float64, device=self.device)
        for places, vectors in self.source.parts(rows, training=False):
            total += self._errors(vectors, rows[places]).double().sum(dim=0)
        return (total / self.plan.weights[rows].sum()).tolist()

    def _results(self) -> list[Trained]:
        progress = self.progress
        return [
            Trained(
                layers=self.heads.layers(head),  # type: ignore[operator]
                loss_curve=[losses[head] for losses in progress.loss_curves],
                validation_curve=[losses[head] for losses in progress.validation_curves],
                best_iteration=progress.best_epoch,
                stopped=progress.stopped,
            )
            for head in range(self.plan.targets.shape[1])
        ]


def _array(tensor: Tensor) -> np.ndarray:
    # A copy also on the CPU, where numpy would otherwise see the weights change under its hands.
    return tensor.detach().cpu().clone().numpy()
