"""The engine against a plain torch loop: autograd, `torch.optim.SGD`, torch's own losses."""

import dataclasses
import json
import threading

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from musiceval_sk.estimators.engine.group import Group
from musiceval_sk.estimators.engine.train import (
    Progress,
    Schedule,
    Task,
    Trained,
    bytes_needed,
    draw_layers,
    train,
)
from tests.estimators.engine.plain_loop import assert_same_layers, build, layers_of, plain_loop

LOSSES = ("l1", "mse", "huber", "soft_bins")
ACTIVATIONS = ("relu", "gelu", "identity")
EVERY_ROW, NO_ROWS = np.arange(37), np.arange(0)
SHORT = Schedule((9, 5), batch_size=8, max_iter=20, patience=1000)


WEIGHTS = np.random.default_rng(1).uniform(0, 2, size=37) * (EVERY_ROW % 3 > 0)


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


PLAIN, DECAYING = {"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.01}
DOUBLE, SINGLE = torch.float64, torch.float32


@pytest.mark.parametrize(
    ("loss", "activation", "dtype", "changes", "nesterov"),
    [
        # Every loss behind every activation, and every way to step in either precision.
        *((loss, activation, DOUBLE, DECAYING, True) for loss in LOSSES for activation in ACTIVATIONS),
        *((loss, "gelu", SINGLE, PLAIN, False) for loss in LOSSES),
        *(
            ("l1", "relu", dtype, changes, False)
            for dtype in (DOUBLE, SINGLE)
            for changes in (PLAIN, DECAYING)
        ),
        ("l1", "relu", SINGLE, DECAYING, True),
    ],
)
def test_twenty_epochs_equal_the_plain_loop(data, loss, activation, dtype, changes, nesterov):
    X, Y = (part.to(dtype) for part in data)
    schedule = dataclasses.replace(SHORT, activation=activation, loss=loss, nesterov=nesterov)
    wanted = task(**changes)
    (result,) = train(X, Y, [wanted], schedule)
    layers, losses, _, _ = plain_loop(X, Y, wanted, schedule)
    atol = 1e-10 if dtype == torch.float64 else 1e-4
    assert len(result.loss_curve) == 20
    assert_same_layers(result.layers, layers, atol)
    np.testing.assert_allclose(result.loss_curve, losses, rtol=0, atol=atol)
    # The weights have moved, so that equality means something.
    start = layers_of(build(wanted, schedule, X.shape[1], dtype))
    assert np.abs(result.layers[0][0] - start[0][0]).max() > 0.01


@pytest.mark.parametrize(
    ("loss", "dtype", "rank_weight", "rank_quality", "weighted"),
    [
        *(
            (loss, DOUBLE, *term)
            for loss in LOSSES
            for term in [
                (0.5, 1.0, False),
                (0.0, 1.0, True),
                (0.5, 1.0, True),
                (0.5, 7.0, False),
                (0.5, 2.0, True),
            ]
        ),
        *((loss, SINGLE, 0.5, 7.0, True) for loss in LOSSES),
    ],
)
def test_ranking_term_and_row_weights_equal_the_plain_loop(
    data, loss, dtype, rank_weight, rank_quality, weighted
):
    X, Y = (part.to(dtype) for part in data)
    schedule = dataclasses.replace(
        SHORT,
        max_iter=12,
        loss=loss,
        rank_weight=rank_weight,
        # In float32 a pair on the very hinge falls to either side by the last bit, and which depends on the processor: with this
        # margin, of five sets of instructions, none did.
        rank_margin=0.6,
        rank_quality=rank_quality,
    )
    wanted = task(row_weights=WEIGHTS if weighted else None)
    (result,) = train(X, Y, [wanted], schedule)
    layers, losses, _, _ = plain_loop(X, Y, wanted, schedule)
    atol = 1e-10 if dtype == torch.float64 else 1e-4
    assert_same_layers(result.layers, layers, atol)
    np.testing.assert_allclose(result.loss_curve, losses, rtol=0, atol=atol)
    # The term and the weights have changed something, so that equality means something.
    plain, _, _, _ = plain_loop(X, Y, task(), dataclasses.replace(schedule, rank_weight=0.0))
    assert np.abs(result.layers[0][0] - plain[0][0]).max() > 1e-3


@pytest.mark.parametrize("nesterov", [False, True])
def test_minibatch_without_weight_steps_nothing(data, nesterov):
    # Without shuffling, the second of five minibatches has no weight: not even momentum or decay may move anything.
    weights = np.where((EVERY_ROW >= 8) & (EVERY_ROW < 16), 0.0, 1.5)
    schedule = dataclasses.replace(SHORT, shuffle=False, nesterov=nesterov, max_iter=10)
    tasks = [task(row_weights=weights, weight_decay=0.01), task(weight_decay=0.01)]
    without = task(rows=EVERY_ROW[(EVERY_ROW < 8) | (EVERY_ROW >= 16)], weight_decay=0.01)
    stuck, plain = train(*data, tasks, schedule)
    assert_same_layers(stuck.layers, plain_loop(*data, without, schedule)[0], 1e-12)
    assert_same_layers(plain.layers, plain_loop(*data, tasks[1], schedule)[0], 1e-12)


def test_a_part_of_the_columns_is_all_that_a_task_sees(data):
    X, Y = data
    wanted = task(columns=np.array([0, 2, 5]))
    (result,) = train(X, Y, [wanted], SHORT)
    (alone,) = train(X[:, [0, 2, 5]].contiguous(), Y, [task()], SHORT)
    assert result.layers[0][0].shape == (3, 9)
    assert_same_layers(result.layers, plain_loop(X, Y, wanted, SHORT)[0], 1e-10)
    assert_same_layers(result.layers, alone.layers, 0)


@pytest.mark.parametrize("hidden", [(), (4,), (7, 6, 5, 4)], ids=str)
@pytest.mark.parametrize("shuffle", [True, False])
def test_other_depths_and_orders_equal_the_plain_loop(data, hidden, shuffle):
    schedule = dataclasses.replace(SHORT, hidden_layer_sizes=hidden, shuffle=shuffle)
    (result,) = train(*data, [task()], schedule)
    assert_same_layers(result.layers, plain_loop(*data, task(), schedule)[0], 1e-10)


@pytest.mark.parametrize("batch_size", [8, 36, 37, 100])
def test_even_minibatches_equal_the_plain_loop(data, batch_size):
    # Of 37 rows: 8, 8, 7, 7, 7; 19 and 18; all at once.
    schedule = dataclasses.replace(SHORT, even_batches=True, batch_size=batch_size, max_iter=5)
    (result,) = train(*data, [task()], schedule)
    layers, losses, _, _ = plain_loop(*data, task(), schedule)
    assert_same_layers(result.layers, layers, 1e-10)
    np.testing.assert_allclose(result.loss_curve, losses, rtol=0, atol=1e-10)


VARIED = [
    task(init_seed=3, order_seed=4, rows=EVERY_ROW[:20], validation_rows=EVERY_ROW[20:]),
    task(init_seed=3, order_seed=4, rows=EVERY_ROW[5:], validation_rows=EVERY_ROW[:5], learning_rate=0.05),
    task(init_seed=5, order_seed=6, rows=EVERY_ROW[::2], validation_rows=EVERY_ROW[1::2], momentum=0.0),
    task(init_seed=7, order_seed=4, rows=EVERY_ROW[3:11], validation_rows=EVERY_ROW[11:], weight_decay=0.05),
    task(
        init_seed=8, order_seed=9, rows=EVERY_ROW[:20], validation_rows=EVERY_ROW[20:], target=1, momentum=0.5
    ),
    task(init_seed=3, order_seed=4, rows=EVERY_ROW[:20], validation_rows=EVERY_ROW[20:], learning_rate=0.2),
    # Folds, which go through all rows and pass over their own.
    *(
        task(
            init_seed=i,
            order_seed=4,
            validation_rows=EVERY_ROW[i % 3 :: 3],
            row_weights=WEIGHTS if i > 3 else None,
        )
        for i in range(6)
    ),
    # Many that share their rows and order, weighted or not, decaying or not.
    *(
        task(
            init_seed=i,
            order_seed=4,
            rows=EVERY_ROW[:20],
            validation_rows=EVERY_ROW[20:],
            learning_rate=0.01 * (1 + i),
            weight_decay=0.02 * (i % 2),
            row_weights=WEIGHTS if i % 3 == 0 else None,
        )
        for i in range(5)
    ),
    task(order_seed=4, rows=EVERY_ROW[:20], validation_rows=EVERY_ROW[20:], columns=np.array([1, 3])),
]


@pytest.mark.parametrize(
    ("judged", "changes"),
    [
        (True, {"max_iter": 100}),
        (True, {"nesterov": True, "even_batches": True}),
        (True, {"loss": "soft_bins", "activation": "gelu", "rank_weight": 0.3}),
        (True, {"hidden_layer_sizes": ()}),
        (False, {}),
        (False, {"hidden_layer_sizes": (4,), "batch_size": 100}),
    ],
    ids=["plain", "nesterov", "soft bins", "linear", "training loss", "training loss, whole batch"],
)
@pytest.mark.slow
def test_many_tasks_at_once_equal_each_alone(data, judged, changes):
    tasks = VARIED if judged else [dataclasses.replace(one, validation_rows=NO_ROWS) for one in VARIED]
    schedule = dataclasses.replace(SHORT, **{"max_iter": 15, "patience": 6, **changes})
    together = train(*data, tasks, schedule)
    if schedule.max_iter == 100:
        assert len({len(result.loss_curve) for result in together}) > 2  # they stop at different epochs
    for one, result in zip(tasks, together, strict=True):
        layers, losses, validation, best_epoch = plain_loop(*data, one, schedule)
        (alone,) = train(*data, [one], schedule)
        for found in (result, alone):
            assert_same_layers(found.layers, layers, 1e-10)
            np.testing.assert_allclose(found.loss_curve, losses, rtol=0, atol=1e-10)
            np.testing.assert_allclose(found.validation_curve, validation, rtol=0, atol=1e-10)
            assert found.best_iteration == best_epoch
            assert found.stopped == (len(losses) - best_epoch >= schedule.patience)


@pytest.mark.parametrize(
    ("hidden", "weighted", "changes"),
    [
        ((32, 16), False, {}),
        ((32, 16), True, {"nesterov": True}),
        ((32, 16), False, {"loss": "mse", "activation": "identity"}),
        ((32, 16), True, {"loss": "huber", "batch_size": 33}),
        ((32, 16), False, {"loss": "soft_bins", "rank_weight": 0.3, "rank_quality": 7.0}),
        ((32, 16), True, {"loss": "soft_bins", "rank_weight": 0.3, "rank_quality": 7.0}),
        ((32, 16), False, {"loss": "mse", "rank_weight": 0.3}),
        ((48, 32), True, {"activation": "gelu", "loss": "soft_bins", "batch_size": 33}),
        *((hidden, weighted, {}) for hidden in [(48, 32), (64,)] for weighted in (False, True)),
    ],
)
def test_a_task_gets_the_same_bits_in_company(changes, hidden, weighted):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(150, 40, generator=generator)
    Y = (3 + X[:, :1] + 0.3 * torch.randn(150, 1, generator=generator)).clamp(1, 5)
    schedule = dataclasses.replace(
        SHORT, **{"hidden_layer_sizes": hidden, "batch_size": 64, "max_iter": 15, "patience": 15, **changes}
    )
    rows, held_out = np.arange(130), np.arange(130, 150)
    weights = np.random.default_rng(2).uniform(0.2, 2, size=150) if weighted else None
    rates = [(0.001, 0.9, 0.0), (0.01, 0.9, 0.0), (0.002, 0.9, 0.01), (0.005, 0.9, 0.0), (0.01, 0.5, 0.0)]
    tasks = [
        Task(0, rows, held_out, i % 2, 5, rate, momentum, decay, row_weights=weights)
        for i, (rate, momentum, decay) in enumerate(rates)
    ]
    for one, result in zip(tasks, train(X, Y, tasks, schedule), strict=True):
        (alone,) = train(X, Y, [one], schedule)
        assert_same_layers(result.layers, alone.layers, 0)
        assert result.loss_curve == alone.loss_curve
        assert result.validation_curve == alone.validation_curve


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_group_may_differ_in_momentum_and_decay(data, nesterov):
    # On a CPU such tasks are groups of their own, elsewhere they are one.
    tasks = [task(init_seed=1), task(init_seed=2, momentum=0.5, weight_decay=0.05), task(momentum=0.0)]
    schedule = dataclasses.replace(SHORT, max_iter=5, nesterov=nesterov)
    models = [draw_layers(one.init_seed, (6, 9, 5, 1), data[0], zero_output=False) for one in tasks]
    group = Group(*data, tasks, np.arange(3), schedule, models)
    losses = torch.stack([group.epoch() for _ in range(5)], dim=1)
    for k, one in enumerate(tasks):
        layers, expected, _, _ = plain_loop(*data, one, schedule)
        assert_same_layers(group.parameters.layers(k), layers, 1e-10)
        np.testing.assert_allclose(losses[k], expected, rtol=0, atol=1e-10)


def test_folds_that_stop_one_by_one_equal_the_plain_loop(data):
    # Six tasks of one order that go through all rows, each passing over its own, some weighted.
    folds = [dataclasses.replace(one, learning_rate=0.05) for one in VARIED[6:12]]
    schedule = dataclasses.replace(SHORT, max_iter=25, patience=2)
    together = train(*data, folds, schedule)
    assert len({len(result.loss_curve) for result in together}) > 2
    for one, result in zip(folds, together, strict=True):
        layers, losses, validation, best_epoch = plain_loop(*data, one, schedule)
        assert_same_layers(result.layers, layers, 1e-10)
        np.testing.assert_allclose(result.loss_curve, losses, rtol=0, atol=1e-10)
        np.testing.assert_allclose(result.validation_curve, validation, rtol=0, atol=1e-10)
        assert result.best_iteration == best_epoch


@pytest.mark.parametrize("tol", [0.0, 0.02])
def test_early_stopping_keeps_the_epoch_that_the_plain_loop_keeps(data, tol):
    wanted = task(rows=EVERY_ROW[:25], validation_rows=EVERY_ROW[25:], learning_rate=0.03)
    schedule = dataclasses.replace(SHORT, max_iter=300, patience=10, tol=tol)
    (result,) = train(*data, [wanted], schedule)
    layers, _, validation, best_epoch = plain_loop(*data, wanted, schedule)
    assert 1 < best_epoch < 290
    assert result.best_iteration == best_epoch
    assert len(validation) == best_epoch + 10
    np.testing.assert_allclose(result.validation_curve, validation, rtol=0, atol=1e-10)
    assert result.stopped
    assert_same_layers(result.layers, layers, 1e-10)
    if tol == 0:
        assert best_epoch == 1 + int(np.argmin(validation))


@pytest.mark.parametrize(
    ("tol", "losses", "better"),
    [
        # A loss that is as low as before is no improvement; two epochs without one end it.
        (0.0, [1.0, 1.0, 0.5, 0.5, 0.75], [True, False, True, False, False]),
        # Nor is one that is lower by the tolerance and no more.
        (0.25, [1.0, 0.75, 0.5, 0.25, 0.375], [True, False, True, False, False]),
    ],
)
def test_only_a_loss_lower_by_more_than_the_tolerance_is_better(tol, losses, better):
    progress, results = (
        Progress([task(validation_rows=EVERY_ROW)], Schedule(patience=2, tol=tol)),
        [Trained()],
    )
    told = [
        progress.record(results, epoch, np.array([9.0]), np.array([loss]))
        for epoch, loss in enumerate(losses, 1)
    ]
    assert [improved.item() for improved, _ in told] == better
    assert [finished.item() for _, finished in told] == [False] * 4 + [True]
    assert (progress.best_epoch.item(), progress.best_loss.item()) == (3, 0.5)
    assert progress.stopped.item() and not progress.running.item()
    assert (results[0].loss_curve, results[0].validation_curve) == ([9.0] * 5, losses)


def test_losses_in_float32_are_added_up_in_float64():
    # Outputs are sums of eighths, exact in float32, and so is what is left to the targets: nothing else is rounded.
    rng = np.random.default_rng(0)
    X, y = rng.integers(-8, 8, (600, 1)) / 8, rng.uniform(1, 5, 600).astype(np.float32)
    rows, held_out = np.arange(500), np.arange(500, 600)
    one = Task(0, rows, held_out, 0, 0, learning_rate=1e-30, initial=[(np.ones((1, 1)), np.ones(1))])
    data = torch.from_numpy(X).float(), torch.from_numpy(y[:, np.newaxis])
    (found,) = train(*data, [one], Schedule((), max_iter=1))
    errors = np.abs((X[:, 0] + 1).astype(np.float32) - y).astype(np.float64)
    assert found.loss_curve == pytest.approx([errors[rows].mean()], rel=1e-13)
    assert found.validation_curve == pytest.approx([errors[held_out].mean()], rel=1e-13)


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


def test_weights_are_those_of_the_epoch_that_is_kept(data):
    wanted = task(rows=EVERY_ROW[:25], validation_rows=EVERY_ROW[25:], learning_rate=0.03)
    (result,) = train(*data, [wanted], dataclasses.replace(SHORT, max_iter=300, patience=10))
    until = dataclasses.replace(SHORT, max_iter=result.best_iteration)
    (last,) = train(*data, [dataclasses.replace(wanted, validation_rows=NO_ROWS)], until)
    assert_same_layers(result.layers, last.layers, 0)


def test_averaging_keeps_the_mean_of_the_weights_after_each_epoch(data):
    wanted = task(rows=EVERY_ROW[5:], validation_rows=EVERY_ROW[:5])
    ends = [
        train(
            *data,
            [dataclasses.replace(wanted, validation_rows=NO_ROWS)],
            dataclasses.replace(SHORT, max_iter=n),
        )
        for n in (1, 2, 3)
    ]
    (found,) = train(*data, [wanted], dataclasses.replace(SHORT, max_iter=3, averaging=0.6, patience=9))
    first, second, third = (
        [layer for (result,) in [end] for pair in result.layers for layer in pair] for end in ends
    )
    halfway = [0.5 * a + 0.5 * b for a, b in zip(first, second, strict=True)]
    expected = [0.6 * a + 0.4 * b for a, b in zip(halfway, third, strict=True)]
    kept = {1: first, 2: halfway, 3: expected}[found.best_iteration]
    for layer, wanted_layer in zip([part for pair in found.layers for part in pair], kept, strict=True):
        np.testing.assert_allclose(layer, wanted_layer, atol=1e-12)
    assert found.best_iteration == 3


def test_last_layers_may_begin_with_zeros(data):
    schedule = dataclasses.replace(SHORT, max_iter=1, zero_output=True)
    (result,) = train(*data, [task(learning_rate=1e-30, momentum=0.0)], schedule)
    assert max(abs(part).max() for part in result.layers[-1]) < 1e-25
    assert result.layers[0][0].any()


def test_tasks_that_stop_together_are_judged_by_the_sum(data):
    pair = [
        task(target=i, rows=EVERY_ROW[:25], validation_rows=EVERY_ROW[25:], learning_rate=0.03, stops_with=7)
        for i in (0, 1)
    ]
    other = dataclasses.replace(pair[1], init_seed=9, stops_with=None)
    schedule = dataclasses.replace(SHORT, max_iter=300, patience=10)
    first, second, free = train(*data, [*pair, other], schedule)
    summed = np.add(first.validation_curve, second.validation_curve)
    best = 1 + int(np.argmin(summed))
    assert first.best_iteration == second.best_iteration == best
    assert len(first.validation_curve) == best + 10
    alone = plain_loop(*data, dataclasses.replace(pair[1], stops_with=None), schedule)
    assert alone[3] != best  # by itself the second would have chosen another epoch
    assert free.best_iteration == plain_loop(*data, other, schedule)[3]


def test_a_task_that_stopped_makes_no_more_work(data, monkeypatch):
    at_work = []
    epoch = Group.epoch

    def spy(group):
        at_work[-1] += group.parameters.first.shape[1] // 9
        return epoch(group)

    monkeypatch.setattr(Group, "epoch", spy)
    schedule = dataclasses.replace(SHORT, max_iter=100, patience=6)
    at_work.append(0)
    results = train(*data, VARIED, schedule, lambda *told: at_work.append(0))
    # In epoch e, as many are computed as have a curve at least that long.
    lengths = np.array([len(result.loss_curve) for result in results])
    expected = [int((lengths >= e).sum()) for e in range(1, lengths.max() + 1)]
    assert at_work[:-1] == expected
    assert expected[0] == len(VARIED) > expected[-1]


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_same_bits_whatever_the_number_of_threads(many):
    generator = torch.Generator().manual_seed(0)
    X, Y = torch.randn(300, 512, generator=generator), torch.randn(300, 2, generator=generator)
    rows = np.arange(300)
    tasks = [task(rows=rows, order_seed=i % 2, init_seed=i, target=i % 2) for i in range(7 if many else 1)]
    schedule = Schedule(max_iter=4)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(train(X, Y, tasks, schedule))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert_same_layers(one.layers, same.layers, 0)


@pytest.fixture
def seen_epochs(monkeypatch):
    """Of each epoch of a group: its tasks, whether the main thread runs it, and the threads that it has."""
    seen, epoch = [], Group.epoch

    def spy(group):
        is_main = threading.current_thread() is threading.main_thread()
        seen.append((len(group.tasks), is_main, torch.get_num_threads()))
        return epoch(group)

    monkeypatch.setattr(Group, "epoch", spy)
    return seen


@pytest.mark.parametrize(
    ("d", "width", "dtype", "n_tasks", "sizes"),
    [
        # First layers of 256 columns: four are 1024. Five tasks are two groups as even as can be.
        (10, 256, SINGLE, 5, [3, 2]),
        # Weights and momenta are 2 (2001 x 16 + 17 x 1) = 64066 numbers of four bytes, of which 16 go into four MiB; of
        # eight bytes 8.
        (2000, 16, SINGLE, 33, [11, 11, 11]),
        (2000, 16, DOUBLE, 17, [6, 6, 5]),
        # 2 (2049 x 128 + 129) = 524802 numbers of four bytes go in once, though not of eight.
        (2048, 128, SINGLE, 2, [1, 1]),
        (2048, 128, DOUBLE, 2, [1, 1]),
        (1, 2000, SINGLE, 2, [1, 1]),
    ],
)
def test_groups_fit_the_cache_of_a_core(seen_epochs, d, width, dtype, n_tasks, sizes):
    X, Y = torch.zeros(4, d, dtype=dtype), torch.zeros(4, 1, dtype=dtype)
    tasks = [task(rows=np.arange(4), init_seed=0)] * n_tasks
    train(X, Y, tasks, Schedule((width,), max_iter=1))
    assert [size for size, *_ in seen_epochs] == sizes


@pytest.mark.parametrize("n_groups", [1, 2])
def test_groups_have_a_core_each_and_one_has_all(data, seen_epochs, n_groups):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        train(*data, [task(order_seed=i) for i in range(n_groups)], dataclasses.replace(SHORT, max_iter=1))
    finally:
        torch.set_num_threads(before)
    assert seen_epochs == ([(1, True, 2)] if n_groups == 1 else [(1, False, 1)] * 2)


def test_threads_are_given_back_after_an_error(data):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)

        def complain(epoch, loss):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(*data, VARIED, SHORT, complain)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


MANY_WEIGHTS = {"d": 4000, "hidden": (8, 8), "n_tasks": 8}
LARGE_BATCH = {"n": 1499, "batch_size": 500, "hidden": (50, 30), "n_tasks": 8}
MANY_ROWS = {"n": 10_000, "batch_size": 100}


@pytest.mark.parametrize(
    "shape",
    [
        MANY_WEIGHTS,
        {**MANY_WEIGHTS, "held_out": 1},
        {**MANY_WEIGHTS, "nesterov": True},
        {**MANY_WEIGHTS, "averaging": 0.9},
        {**MANY_WEIGHTS, "d": 2000, "dtype": DOUBLE},
        {"hidden": (1, 2000), "n_tasks": 8},
        LARGE_BATCH,
        {**LARGE_BATCH, "activation": "gelu"},
        {"n": 1499, "batch_size": 500, "d": 400},
        {"n": 1000, "batch_size": 2000, "d": 400},
        {"n": 700, "batch_size": 700, "rank_weight": 0.5},
        MANY_ROWS,
        {**MANY_ROWS, "weighted": True},
        {**MANY_ROWS, "loss": "soft_bins"},
        {"n": 1000, "batch_size": 1000, "d": 20, "hidden": (), "loss": "soft_bins"},
        {"held_out": 40_000, "weighted": True},
        {"held_out": 300, "loss": "soft_bins", "n_bins": 200},
        {"held_out": 300, "d": 2000},
        {"held_out": 2000, "hidden": (100,), "n_tasks": 8},
    ],
    ids=lambda shape: " ".join(f"{name}={value}" for name, value in shape.items()),
)
def test_memory_is_little_below_what_is_announced(shape, tmp_path):
    told = {"n": 1, "held_out": 0, "d": 1, "hidden": (1,), "n_tasks": 1, "dtype": SINGLE, "weighted": False}
    n, held_out, d, hidden, n_tasks, dtype, weighted = ({**told, **shape}[name] for name in told)
    changes = {name: value for name, value in shape.items() if name not in told}
    schedule = Schedule(hidden, max_iter=3, patience=1, **{"batch_size": 1, **changes})
    X, Y = torch.zeros(n + held_out, d, dtype=dtype), torch.full((n + held_out, 1), 3, dtype=dtype)
    wanted = task(
        rows=np.arange(n),
        validation_rows=np.arange(n, n + held_out),
        learning_rate=1e-4,
        row_weights=np.ones(n + held_out) if weighted else None,
    )
    # The first learns nothing and leaves after two epochs, while all that the others have is copied.
    tasks = [dataclasses.replace(wanted, learning_rate=0.0), *[wanted] * (n_tasks - 1)]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        results = train(X, Y, tasks, schedule)
    assert [len(result.loss_curve) for result in results] == [2] + [3] * (n_tasks - 1)
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    allocated = [
        event["args"]
        for event in sorted(events, key=lambda event: event["ts"])
        if event["name"] == "[memory]"
    ]
    before = allocated[0]["Total Allocated"] - allocated[0]["Bytes"]
    measured = max(event["Total Allocated"] for event in allocated) - before
    announced = n_tasks * bytes_needed(schedule, d, n, held_out, itemsize=dtype.itemsize)
    assert measured <= announced <= 1.15 * measured, announced / measured


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
