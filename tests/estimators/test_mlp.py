"""The engine against a plain torch loop: autograd, `torch.optim.SGD`, torch's own losses."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from musiceval_sk.estimators._mlp import Schedule, Task, train

LOSSES = {"l1": nn.L1Loss, "mse": nn.MSELoss, "huber": nn.HuberLoss}
EVERY_ROW, NO_ROWS = np.arange(37), np.arange(0)
SHORT = Schedule((9, 5), batch_size=8, max_iter=50, patience=1000)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(37, 6))
    Y = np.stack([3 + X[:, 0] - np.abs(X[:, 1]), 2 + np.sin(2 * X[:, 2])], axis=1) + 0.1 * rng.normal(
        size=(37, 2)
    )
    return torch.from_numpy(X), torch.from_numpy(Y)


def task(**changes):
    plain = Task(0, EVERY_ROW, NO_ROWS, init_seed=1, order_seed=2, learning_rate=0.01)
    return dataclasses.replace(plain, **changes)


def build(task, schedule, n_features, dtype):
    """Make the network with weights drawn as documented, from a generator of the task's own."""
    sizes = (n_features, *schedule.hidden_layer_sizes, 1)
    generator = torch.Generator().manual_seed(task.init_seed)
    modules = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        linear = nn.Linear(fan_in, fan_out, dtype=dtype)
        with torch.no_grad():
            for parameter in (linear.weight, linear.bias):
                parameter.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
        modules += [linear, nn.ReLU() if schedule.activation == "relu" else nn.Identity()]
    return nn.Sequential(*modules[:-1])


def plain_loop(X, Y, task, schedule):
    """What a careful user would write; returns layers, losses by epoch, held-out losses by epoch, best epoch."""
    network = build(task, schedule, X.shape[1], X.dtype)
    loss_of = LOSSES[schedule.loss]()
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=task.learning_rate,
        momentum=task.momentum,
        weight_decay=task.weight_decay,
        nesterov=schedule.nesterov and task.momentum > 0,
    )
    order = torch.Generator().manual_seed(task.order_seed)
    y, rows, held_out = (
        Y[:, [task.target]],
        torch.from_numpy(task.rows),
        torch.from_numpy(task.validation_rows),
    )
    losses, judged, best, best_epoch, kept = [], [], np.inf, 0, None
    for epoch in range(1, schedule.max_iter + 1):
        shuffled = rows[torch.randperm(len(rows), generator=order)] if schedule.shuffle else rows
        total = 0.0
        for batch in shuffled.split(schedule.batch_size):
            optimiser.zero_grad()
            loss = loss_of(network(X[batch]), y[batch])
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        losses.append(total / len(rows))
        if len(held_out):
            with torch.no_grad():
                judged.append(loss_of(network(X[held_out]), y[held_out]).item())
        now = judged[-1] if judged else losses[-1]
        if now < best - schedule.tol:
            best, best_epoch = now, epoch
            kept = layers_of(network) if judged else None
        if epoch - best_epoch >= schedule.patience:
            break
    return kept or layers_of(network), losses, judged, best_epoch


def layers_of(network):
    linears = [module for module in network if isinstance(module, nn.Linear)]
    return [
        (linear.weight.detach().double().numpy().T.copy(), linear.bias.detach().double().numpy().copy())
        for linear in linears
    ]


def assert_same_layers(layers, expected, atol):
    assert len(layers) == len(expected)
    for (weight, bias), (expected_weight, expected_bias) in zip(layers, expected, strict=True):
        np.testing.assert_allclose(weight, expected_weight, rtol=0, atol=atol)
        np.testing.assert_allclose(bias, expected_bias, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("changes", "nesterov"),
    [
        ({"momentum": 0.9}, False),
        ({"momentum": 0.9, "weight_decay": 0.01}, False),
        ({"momentum": 0.8, "weight_decay": 0.01}, True),
    ],
    ids=["momentum", "decay", "nesterov+decay"],
)
def test_fifty_epochs_equal_the_plain_loop(data, loss, activation, dtype, changes, nesterov):
    X, Y = (part.to(dtype) for part in data)
    schedule = dataclasses.replace(SHORT, activation=activation, loss=loss, nesterov=nesterov)
    wanted = task(**changes)
    (result,) = train(X, Y, [wanted], schedule)
    layers, losses, _, _ = plain_loop(X, Y, wanted, schedule)
    atol = 1e-10 if dtype == torch.float64 else 1e-4
    assert len(result.loss_curve) == 50
    assert_same_layers(result.layers, layers, atol)
    np.testing.assert_allclose(result.loss_curve, losses, rtol=0, atol=atol)
    # The weights have moved, so that equality means something.
    start = layers_of(build(wanted, schedule, X.shape[1], dtype))
    assert np.abs(result.layers[0][0] - start[0][0]).max() > 0.01


@pytest.mark.parametrize("hidden", [(), (4,), (7, 6, 5, 4)], ids=str)
@pytest.mark.parametrize("shuffle", [True, False])
def test_other_depths_and_orders_equal_the_plain_loop(data, hidden, shuffle):
    schedule = dataclasses.replace(SHORT, hidden_layer_sizes=hidden, shuffle=shuffle)
    (result,) = train(*data, [task()], schedule)
    assert_same_layers(result.layers, plain_loop(*data, task(), schedule)[0], 1e-10)


VARIED = [
    task(init_seed=3, order_seed=4, rows=EVERY_ROW[:20], validation_rows=EVERY_ROW[20:]),
    task(init_seed=3, order_seed=4, rows=EVERY_ROW[5:], validation_rows=EVERY_ROW[:5], learning_rate=0.05),
    task(init_seed=5, order_seed=6, rows=EVERY_ROW[::2], validation_rows=EVERY_ROW[1::2], momentum=0.0),
    task(init_seed=7, order_seed=4, rows=EVERY_ROW[3:11], validation_rows=EVERY_ROW[11:], weight_decay=0.05),
    task(
        init_seed=8, order_seed=9, rows=EVERY_ROW[:20], validation_rows=EVERY_ROW[20:], target=1, momentum=0.5
    ),
    task(init_seed=3, order_seed=4, rows=EVERY_ROW[:20], validation_rows=EVERY_ROW[20:], learning_rate=0.2),
]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("judged", [True, False], ids=["early stopping", "training loss"])
def test_many_tasks_at_once_equal_each_alone(data, judged, nesterov):
    tasks = VARIED if judged else [dataclasses.replace(one, validation_rows=NO_ROWS) for one in VARIED]
    schedule = dataclasses.replace(SHORT, max_iter=100, patience=6, nesterov=nesterov)
    together = train(*data, tasks, schedule)
    assert len({len(result.loss_curve) for result in together}) > 2  # they stop at different epochs
    for one, result in zip(tasks, together, strict=True):
        layers, losses, validation, best_epoch = plain_loop(*data, one, schedule)
        (alone,) = train(*data, [one], schedule)
        for found in (result, alone):
            assert_same_layers(found.layers, layers, 1e-10)
            np.testing.assert_allclose(found.loss_curve, losses, rtol=0, atol=1e-10)
            np.testing.assert_allclose(found.validation_curve, validation, rtol=0, atol=1e-10)
            assert found.best_iteration == best_epoch
            assert found.stopped == (len(losses) < 100)


@pytest.mark.parametrize("tol", [0.0, 0.02])
def test_early_stopping_keeps_the_epoch_that_the_plain_loop_keeps(data, tol):
    wanted = task(rows=EVERY_ROW[:25], validation_rows=EVERY_ROW[25:], learning_rate=0.03)
    schedule = dataclasses.replace(SHORT, max_iter=300, patience=10, tol=tol)
    (result,) = train(*data, [wanted], schedule)
    layers, _, validation, best_epoch = plain_loop(*data, wanted, schedule)
    assert 1 < best_epoch < 290
    assert result.best_iteration == best_epoch
    assert len(result.validation_curve) == len(validation) == best_epoch + 10
    assert result.stopped
    assert_same_layers(result.layers, layers, 1e-10)
    if tol == 0:
        assert best_epoch == 1 + int(np.argmin(validation))


def test_without_held_out_rows_the_last_weights_are_kept(data):
    schedule = dataclasses.replace(SHORT, max_iter=3)
    (result,) = train(*data, [task()], schedule)
    assert_same_layers(result.layers, plain_loop(*data, task(), schedule)[0], 1e-12)
    assert result.validation_curve == []
    assert not result.stopped


def test_training_goes_on_from_given_weights(data):
    # Without momentum and shuffling, ten epochs and ten more are twenty.
    plain = task(momentum=0.0)
    schedule = dataclasses.replace(SHORT, shuffle=False, max_iter=10)
    (first,) = train(*data, [plain], schedule)
    (more,) = train(*data, [dataclasses.replace(plain, initial=first.layers)], schedule)
    (whole,) = train(*data, [plain], dataclasses.replace(schedule, max_iter=20))
    assert_same_layers(more.layers, whole.layers, 1e-12)


def test_each_epoch_is_reported_with_the_mean_loss_of_running_tasks(data):
    seen = []
    tasks = [task(), task(target=1)]
    results = train(*data, tasks, dataclasses.replace(SHORT, max_iter=3), lambda *told: seen.append(told))
    means = np.mean([result.loss_curve for result in results], axis=0)
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    np.testing.assert_allclose([loss for _, loss in seen], means, rtol=1e-12)


def test_data_and_global_random_state_are_left_alone(data):
    X, Y = data
    before, state = (X.clone(), Y.clone()), torch.get_rng_state()
    train(X, Y, VARIED, dataclasses.replace(SHORT, max_iter=3))
    assert torch.equal(X, before[0])
    assert torch.equal(Y, before[1])
    assert torch.equal(torch.get_rng_state(), state)
