"""Steps on pairs of rows of which the first was preferred: Bradley and Terry's likelihood of the scores' differences."""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from musiceval_sk.estimators.engine.store import Matrices, WorkSpace
from musiceval_sk.estimators.engine.task import VALIDATED_AT_ONCE, Task

Tensor = torch.Tensor


class PairSteps:
    """Pairs that a group of tasks learns from and is judged by; half a minibatch of them is one step.

    Parameters
    ----------
    group : Group
        Whose weights are to be stepped.
    task : Task
        Any of its tasks: they share their pairs.
    """

    def __init__(self, group: Any, task: Task):
        self.group, self.scored, self.weight = group, task.scored, task.pair_weight
        self.learned, self.held = (
            torch.from_numpy(np.ascontiguousarray(pairs)).long().to(group.X.device)
            for pairs in (task.pairs, task.held_pairs)
        )
        self.generator = torch.Generator().manual_seed(task.order_seed)

    def epoch(self) -> Tensor:
        """Step once through all pairs; their mean loss for each task before each step, [shape=(k,)], float64."""
        order = torch.randperm(len(self.learned), generator=self.generator).to(self.learned.device)
        total = self.group.X.new_zeros(len(self.group.tasks), dtype=torch.float64)
        for pairs in self.learned[order].split(max(1, self.group.schedule.batch_size // 2)):
            total += self._step(pairs)
        return total / len(self.learned)

    def _step(self, pairs: Tensor) -> Tensor:
        group, rows = self.group, pairs.T.reshape(-1)
        space = WorkSpace(len(rows), group.X.shape[1], group.parameters, group.activation.in_place)
        space.inputs.copy_(group.X[rows])
        outputs = group.X.new_empty(len(group.tasks), len(rows), group.parameters.sizes[-1])
        group.forward(group.parameters, space, Matrices(outputs))
        scores = group.loss.scores(outputs)
        lead = _lead(scores)
        pull = torch.sigmoid(-lead) * (-self.weight / len(pairs))
        slope = torch.cat([pull, -pull], dim=1)
        group.backward(space, group.loss.chained(slope, outputs, scores).contiguous())
        group.descend()
        return -logsigmoid(lead).double().sum(dim=(1, 2))

    def validate(self) -> Tensor:
        """Mean loss of the pairs held out, [shape=(k,)], float64; 0 where there are none."""
        group = self.group
        total = group.X.new_zeros(len(group.tasks), dtype=torch.float64)
        for pairs in self.held.split(VALIDATED_AT_ONCE // 2) if len(self.held) else ():
            rows = pairs.T.reshape(-1)
            lead = _lead(group.loss.scores(group.predict(rows)))
            total -= logsigmoid(lead).double().sum(dim=(1, 2))
        return total / max(len(self.held), 1)


def _lead(scores: Tensor) -> Tensor:
    """Tell how far the preferred of each pair is ahead, [shape=(k, m, 1)]."""
    first, second = scores.chunk(2, dim=1)
    return first - second
