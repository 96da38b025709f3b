"""Jobs: which are the same, who answers them, and how they tell how far they are."""

import copy
import dataclasses

import numpy as np
import pytest

from musiceval_sk.estimators.engine.jobs import run_job, run_told, same_job
from musiceval_sk.estimators.engine.task import Job, Schedule, Task, Trained, bytes_needed

TASKS = [
    Task(0, np.arange(6), np.arange(6, 8), init_seed=seed, order_seed=2, row_weights=np.arange(8.0))
    for seed in (0, 1)
]
JOB = Job(
    np.arange(24.0).reshape(8, 3),
    np.arange(8.0).reshape(8, 1),
    TASKS,
    Schedule((2,), max_iter=3),
    "cpu",
    "float32",
)


def test_an_equal_job_is_the_same():
    assert same_job(JOB, copy.deepcopy(JOB)) is True


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": Schedule((2,), max_iter=4)},
        {"device": "meta"},
        {"dtype": "float64"},
        {"inputs": JOB.inputs + 1},
        {"targets": JOB.targets + 1},
        {"tasks": TASKS[:1]},
        {"tasks": [*TASKS, TASKS[0]]},
        {"tasks": TASKS[::-1]},
        {"tasks": [TASKS[0], dataclasses.replace(TASKS[1], momentum=0.8)]},
        {"tasks": [TASKS[0], dataclasses.replace(TASKS[1], rows=np.arange(5))]},
        {"tasks": [TASKS[0], dataclasses.replace(TASKS[1], row_weights=None)]},
    ],
    ids=lambda changes: "_".join(changes),
)
def test_a_job_that_differs_in_anything_is_another(changes):
    changed = dataclasses.replace(JOB, **changes)
    assert same_job(JOB, changed) is False
    assert same_job(changed, JOB) is False


@pytest.mark.parametrize(
    ("best_iteration", "bias", "is_finite"), [(3, 1.0, True), (0, 1.0, False), (3, np.nan, False), (3, np.inf, False)]
)  # fmt: skip
def test_a_training_is_finite_by_some_loss_and_all_weights(best_iteration, bias, is_finite):
    layers = [(np.ones((2, 1)), np.ones(1)), (np.ones((1, 1)), np.array([bias]))]
    assert Trained(layers, best_iteration=best_iteration).finite() == is_finite


def test_a_job_needs_the_memory_of_its_tasks():
    # Two tasks of all three columns, six rows and two held out; one of two columns, three rows and none held out; and that one with
    # four pairs, by which alone it learns or not, and five held out, which are ten rows where pairs alone validate.
    few = Task(0, np.arange(3), np.arange(0), init_seed=0, order_seed=2, columns=np.array([0, 2]))
    pairs = {"pairs": np.zeros((4, 2), int), "held_pairs": np.zeros((5, 2), int)}
    alone, beside = (dataclasses.replace(few, **pairs, scored=scored) for scored in (False, True))
    tasks, unranked = [*TASKS, few, alone, beside], JOB.schedule
    ranked = dataclasses.replace(unranked, rank_weight=0.5)  # which pairs alone do not take
    for dtype, itemsize in (("float32", 4), ("float64", 8)):
        expected = 2 * bytes_needed(ranked, 3, 6, 2, itemsize=itemsize)
        expected += bytes_needed(ranked, 2, 3, 0, itemsize=itemsize)
        expected += bytes_needed(unranked, 2, 3, 10, 4, itemsize=itemsize)
        expected += bytes_needed(ranked, 2, 3, 0, 4, itemsize=itemsize)
        job = dataclasses.replace(JOB, tasks=tasks, dtype=dtype, schedule=ranked)
        assert job.bytes_needed() == expected


def test_a_job_tells_its_epochs_and_the_loss_of_each(capsys, monkeypatch):
    monkeypatch.setattr("musiceval_sk._progress._on_terminal", lambda: True)
    results = run_told(JOB, run_job, "heads", verbose=True)
    shown = capsys.readouterr().err
    last = np.mean([result.loss_curve[-1] for result in results])
    assert "heads: 100%" in shown
    assert "3/3" in shown and f"loss {last:.4f}" in shown
