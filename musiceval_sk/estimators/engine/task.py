"""What the engine is asked for, and what it answers; imports no torch."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

Layers = list[tuple[np.ndarray, np.ndarray]]
# Validation rows go through the network in portions, so that many of them need no more memory.
VALIDATED_AT_ONCE = 512


@dataclass(frozen=True)
class Task:
    """What one perceptron is trained on, and how.

    Attributes
    ----------
    target : int
        Column of Y.
    rows, validation_rows : np.ndarray of int
        Rows of X that an epoch goes through, which may repeat, and rows to validate by, which are not learned from where
        both name them; without the latter, training loss decides when to stop.
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
    stops_with : hashable or None
        Tasks with the same value stop together, and keep the weights of the epoch at which the sum of their validation
        losses was lowest, as the heads of one network do.
    pairs, held_pairs : np.ndarray of int [shape=(m, 2)] or None
        Pairs of rows of X, the preferred first, to learn from after the rows of an epoch, and to validate by where scores are not.
    pair_weight : float
        Weight of the pairs' term in their steps.
    scored : bool
        Whether scores are learned from as well; else pairs alone train and validate.
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
    stops_with: Hashable | None = None
    pairs: np.ndarray | None = None
    held_pairs: np.ndarray | None = None
    pair_weight: float = 1.0
    scored: bool = True


@dataclass(frozen=True)
class Schedule:
    """What all tasks of a batch share.

    Attributes
    ----------
    hidden_layer_sizes, activation, loss, batch_size, max_iter, patience, tol, shuffle, nesterov
        Shape and course of the training; `patience` epochs without an improvement of more than `tol` end it.
    even_batches : bool
        Whether the minibatches of an epoch differ by one row at most, instead of the last having what is left.
    averaging : float
        Where above 0, what is validated and kept is the mean of the weights after each epoch, in which each step back
        counts so many times less.
    zero_output : bool
        Whether last layers begin with zeros.
    n_bins, scale, bin_sigma : int, (float, float), float
        Of loss "soft_bins", see `Loss`.
    rank_weight, rank_margin, rank_quality : float
        Weight in the loss of the pairwise ranking term, its margin and its factor for pairs of high quality, see
        `rank_slope`. Loss curves leave it out.
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
    even_batches: bool = False
    averaging: float = 0.0
    zero_output: bool = False
    n_bins: int = 20
    scale: tuple[float, float] = (1.0, 5.0)
    bin_sigma: float = 0.25
    rank_weight: float = 0.0
    rank_margin: float = 0.2
    rank_quality: float = 1.0


@dataclass(frozen=True)
class Job:
    """Perceptrons to train on one table.

    Attributes
    ----------
    inputs, targets : np.ndarray [shape=(n, d)], [shape=(n, n_targets)]
        The data; a task names its column of the targets and its rows.
    tasks : list of Task
        One a perceptron.
    schedule : Schedule
        What they share.
    device, dtype : str
        Where and in which precision to train.
    """

    inputs: np.ndarray
    targets: np.ndarray
    tasks: list[Task]
    schedule: Schedule
    device: str
    dtype: str

    def bytes_needed(self) -> int:
        """Memory that the tasks take at their peak, beside the data."""
        total = 0
        for task in self.tasks:
            n_pairs, n_held = (0 if pairs is None else len(pairs) for pairs in (task.pairs, task.held_pairs))
            total += bytes_needed(
                self.schedule if task.scored else replace(self.schedule, rank_weight=0.0),
                self.inputs.shape[1] if task.columns is None else len(task.columns),
                len(task.rows),
                len(task.validation_rows) if task.scored else 2 * n_held,
                n_pairs,
                itemsize=np.dtype(self.dtype).itemsize,
            )
        return total


@dataclass
class Trained:
    """One perceptron after training: float64 weights per layer, and how it went."""

    layers: Layers = field(default_factory=list)
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
    schedule: Schedule, n_features: int, n_rows: int, n_held_out: int, n_pairs: int = 0, *, itemsize: int
) -> int:
    """Memory that one task takes at its peak, beside X and Y.

    Parameters
    ----------
    schedule : Schedule
        Shape of the perceptron.
    n_features, n_rows, n_held_out : int
        Columns that it sees, rows that it learns from and rows that it holds out.
    n_pairs : int, default=0
        Pairs of rows that it learns from.
    itemsize : int
        Bytes of a number of the training dtype.

    Returns
    -------
    int
        Bytes. They include what `train` returns for it, which is in float64. A selection of the columns of X, made once
        for all tasks that see the same, is not in it.
    """
    sizes = layer_sizes(n_features, schedule)
    hidden, outputs = sum(sizes[1:-1] or sizes[1:]), sizes[-1]
    parameters = sum((below + 1) * above for below, above in pairwise(sizes))
    # Weights, momenta, Nesterov's gradients, means and best weights. Three more when others leave: of those that stay, two are
    # there twice, and one is on its way. What is returned is made when nothing else is there twice.
    stores = 5 + schedule.nesterov + (schedule.averaging > 0) + (n_held_out > 0)
    # Inputs and a one, values and slopes, and what came in where GELU keeps it; minibatches, and portions, have two sizes at most.
    numbers = n_features + 1 + (3 if schedule.activation == "gelu" else 2) * hidden
    batch, portions = min(n_rows, schedule.batch_size), min(n_held_out, 2 * VALIDATED_AT_ONCE)
    paired = min(2 * n_pairs, schedule.batch_size)
    work = (min(n_rows, 2 * batch) + paired + portions) * numbers
    # Outputs and thrice as many numbers to tell their loss; of each two rows of a minibatch to rank, four and a truth value.
    loss = 4 * outputs * (n_rows + paired + portions)
    ranked = (4 * itemsize + 1) * batch**2 if schedule.rank_weight else 0
    # Target and weight of each row, and both in order; 8 bytes each for its number and, of an epoch, its loss; of a pair four numbers of rows.
    rows = 4 * itemsize * (n_rows + n_held_out) + 8 * (2 * n_rows + n_held_out + 4 * n_pairs)
    return itemsize * (parameters * stores + work + loss) + ranked + rows


def layer_sizes(n_features: int, schedule: Schedule) -> tuple[int, ...]:
    """Widths from the inputs to the outputs."""
    return (n_features, *schedule.hidden_layer_sizes, schedule.n_bins if schedule.loss == "soft_bins" else 1)
