"""Steps on pairs against autograd and `torch.optim.SGD`."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from musiceval_sk.estimators.engine.task import Schedule, Task
from musiceval_sk.estimators.engine.train import train
from tests.estimators.engine.plain_loop import assert_same_layers, build, layers_of

NO_ROWS = np.arange(0)


def loop_on_pairs(X, task, schedule):
    """Train on pairs alone; returns the layers of the best epoch, and by epoch the losses of pairs learned from and held out."""
    network = build(task, schedule, X.shape[1], X.dtype)
    optimizer = torch.optim.SGD(network.parameters(), lr=task.learning_rate, momentum=task.momentum)
    order = torch.Generator().manual_seed(task.order_seed)
    learned, held = torch.from_numpy(task.pairs), torch.from_numpy(task.held_pairs)

    def losses_of(pairs):
        return -logsigmoid(network(X[pairs[:, 0]]) - network(X[pairs[:, 1]])).double()

    losses, judged = [], []
    for _ in range(schedule.max_iter):
        total = 0.0
        shuffled = learned[torch.randperm(len(learned), generator=order)]
        for pairs in shuffled.split(max(schedule.batch_size // 2, 1)):
            optimizer.zero_grad()
            each = losses_of(pairs)
            (task.pair_weight * each.mean()).backward()
            optimizer.step()
            total += each.sum().item()
        losses.append(total / len(learned))
        with torch.no_grad():
            judged.append(losses_of(held).mean().item())
        if judged[-1] == min(judged):
            kept = layers_of(network)
    return kept, losses, judged


@pytest.fixture
def X(rng):
    return torch.from_numpy(rng.normal(size=(12, 3)))


def task(rng, n_held=5, **changes):
    pairs = rng.integers(0, 6, (9 + n_held, 2)) + [0, 6]
    plain = Task(0, np.arange(6), np.arange(6, 12), 1, 2, 0.05, pairs=pairs[:9], held_pairs=pairs[9:])
    return dataclasses.replace(plain, scored=False, pair_weight=0.7, **changes)


# Of nine pairs: all in a step, three and three and three, one by one.
@pytest.mark.parametrize("batch_size", [100, 7, 1])
def test_pairs_alone_equal_a_plain_loop(X, rng, batch_size):
    first = task(rng)
    tasks = [first, dataclasses.replace(first, init_seed=3, learning_rate=0.02)]
    schedule = Schedule((4,), activation="identity", batch_size=batch_size, max_iter=4)
    Y = torch.full((12, 1), torch.nan, dtype=X.dtype)
    for one, found in zip(tasks, train(X, Y, tasks, schedule), strict=True):
        layers, losses, judged = loop_on_pairs(X, one, schedule)
        np.testing.assert_allclose(found.loss_curve, losses, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.validation_curve, judged, rtol=0, atol=1e-12)
        assert_same_layers(found.layers, layers, 1e-12)
        assert np.ptp(judged) > 1e-3  # the weights have moved, so that equality means something


def test_one_pair_held_out(X, rng):
    one, schedule = task(rng, n_held=1), Schedule((4,), activation="identity", max_iter=3)
    (found,) = train(X, torch.zeros(12, 1, dtype=X.dtype), [one], schedule)
    _, _, judged = loop_on_pairs(X, one, schedule)
    np.testing.assert_allclose(found.validation_curve, judged, rtol=0, atol=1e-12)


def test_a_task_that_holds_out_no_pair_goes_by_those_it_stops_with(X, rng):
    judged = dataclasses.replace(task(rng), stops_with=0)
    bare = dataclasses.replace(judged, held_pairs=judged.pairs[:0])
    schedule = Schedule((4,), max_iter=60, patience=3)
    with_bare, without = (
        train(X, torch.zeros(12, 1, dtype=X.dtype), tasks, schedule) for tasks in ([judged, bare], [judged])
    )
    assert with_bare[1].validation_curve == []
    assert [one.best_iteration for one in with_bare] == [without[0].best_iteration] * 2
    # Both learn the same in the same order.
    assert_same_layers(with_bare[0].layers, without[0].layers, 0)
    assert_same_layers(with_bare[1].layers, without[0].layers, 1e-12)


def test_losses_of_many_pairs_are_added_up_in_float64(rng):
    X = torch.from_numpy(rng.normal(size=(600, 3))).float()
    pairs = rng.integers(0, 300, (2000, 2)) + [0, 300]
    one = Task(0, NO_ROWS, np.arange(1), 1, 2, 1e-30, pairs=pairs, held_pairs=pairs, scored=False)
    schedule = Schedule((4,), activation="identity", batch_size=400, max_iter=1)
    (found,) = train(X, torch.zeros(600, 1), [one], schedule)
    # Nothing is learned at this rate: by epoch and held out it is the mean over the same scores.
    weights = [[torch.from_numpy(part).float() for part in pair] for pair in found.layers]
    scores = (X @ weights[0][0] + weights[0][1]) @ weights[1][0] + weights[1][1]
    expected = -logsigmoid(scores[pairs[:, 0]] - scores[pairs[:, 1]]).double().mean().item()
    # A step of float32 at 0.7 is 6e-8; the mean over 2000 numbers, each off by no more than some of these, has less.
    assert found.loss_curve == pytest.approx([expected], abs=1e-8)
    assert found.validation_curve == pytest.approx([expected], abs=1e-8)
    assert found.loss_curve[0] != np.float32(found.loss_curve[0])
    assert found.validation_curve[0] != np.float32(found.validation_curve[0])
