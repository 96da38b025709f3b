"""Jobs of many fits trained as few batches: one for each shape, over the union of their rows."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np

from musiceval_sk.estimators.engine.group import layer_sizes
from musiceval_sk.estimators.engine.jobs import Job, OnEpoch, run_job
from musiceval_sk.estimators.engine.train import Task, Trained, bytes_needed

_SHARE_OF_CARD = 0.8


def train_together(
    jobs: Sequence[Job], room: float, on_batch: Callable[[Job], OnEpoch]
) -> list[list[Trained]]:
    """Train the tasks of all jobs, those of one shape as one batch, or as few as fit.

    Parameters
    ----------
    jobs : sequence of Job
        What to train.
    room : float
        Bytes that a batch may take on the CPU; on a CUDA card its free memory counts instead.
    on_batch : callable
        Called with each batch before it is trained; returns what to call after each of its epochs.

    Returns
    -------
    list of list of Trained
        For each job its tasks' results.
    """
    groups: dict[tuple, list[int]] = {}
    for place, job in enumerate(jobs):
        groups.setdefault(_shape_of(job), []).append(place)
    results: list[list[Trained]] = [[] for _ in jobs]
    for places in groups.values():
        members = [jobs[place] for place in places]
        # Fold by fold, so that batches that had to be split keep those together that share their rows.
        first_of = {_table_of(job): i for i, job in reversed(list(enumerate(members)))}
        order = sorted(range(len(members)), key=lambda i: first_of[_table_of(members[i])])
        union = _union([members[i] for i in order])
        trained = iter(
            [result for batch in _split(union, room) for result in run_job(batch, on_batch(batch))]
        )
        for i in order:
            results[places[i]] = [next(trained) for _ in members[i].tasks]
    return results


def room_needed(job: Job) -> int:
    """Bytes of host memory that a job's tasks take: to train on the CPU, or to keep what another device trained."""
    if job.device.partition(":")[0] == "cpu":
        return sum(_task_bytes(job, task) for task in job.tasks)
    sizes = [layer_sizes(_n_columns(job, task), job.schedule) for task in job.tasks]
    numbers = sum((below + 1) * above for layers in sizes for below, above in pairwise(layers))
    return 2 * 8 * numbers  # weights and velocities, in float64 at most


def _shape_of(job: Job) -> tuple:
    return (job.schedule, job.device, job.dtype, job.inputs.shape[1], job.inputs.dtype, job.targets.shape[1])


def _table_of(job: Job) -> tuple[int, int]:
    return id(job.inputs), id(job.targets)


def _n_columns(job: Job, task: Task) -> int:
    return job.inputs.shape[1] if task.columns is None else len(task.columns)


def _task_bytes(job: Job, task: Task) -> int:
    validated = len(task.validation_rows) > 0
    itemsize = np.dtype(job.dtype).itemsize
    return bytes_needed(job.schedule, _n_columns(job, task), len(task.rows), validated, itemsize)


def _split(job: Job, room: float) -> Iterator[Job]:
    """Cut a job into jobs whose tasks fit the room, of at least one task each; tasks that stop together stay so."""
    units = [
        list(tasks)
        for _, tasks in groupby(
            job.tasks, lambda task: id(task) if task.stops_with is None else task.stops_with
        )
    ]
    sizes = [sum(_task_bytes(job, task) for task in unit) for unit in units]
    begin = 0
    while begin < len(units):
        # Asked anew for each batch: on a card the batch before has left its memory by then.
        fitting = np.searchsorted(np.cumsum(sizes[begin:]), _room_on(job, room), side="right")
        end = begin + max(int(fitting), 1)
        yield replace(job, tasks=[task for unit in units[begin:end] for task in unit])
        begin = end


def _room_on(job: Job, room: float) -> float:
    import torch

    device = torch.device(job.device)
    if device.type != "cuda":
        return room
    shared = np.dtype(job.dtype).itemsize * (job.inputs.size + job.targets.size)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _SHARE_OF_CARD * (torch.cuda.mem_get_info(device)[0] + unused) - shared


def _union(jobs: Sequence[Job]) -> Job:
    """Jobs of one shape as one job: every distinct row once, and the tasks' rows pointing there."""
    places: dict[tuple[bytes, bytes, int], int] = {}
    where: dict[tuple[int, int], np.ndarray] = {}
    inputs, targets = [], []
    for job in jobs:
        if _table_of(job) not in where:
            known = len(places)
            where[_table_of(job)] = _places_of(job, places)
            new = where[_table_of(job)] >= known
            inputs.append(job.inputs[new])
            targets.append(job.targets[new])
    numbers: dict[tuple[int, int], int] = {}
    tasks = []
    for i, job in enumerate(jobs):
        for task in job.tasks:
            # Jobs number the tasks that stop together each for itself.
            number = task.stops_with
            together = None if number is None else numbers.setdefault((i, number), len(numbers))
            tasks.append(replace(_moved(task, where[_table_of(job)], len(places)), stops_with=together))
    return replace(jobs[0], inputs=np.concatenate(inputs), targets=np.concatenate(targets), tasks=tasks)


def _places_of(job: Job, places: dict[tuple[bytes, bytes, int], int]) -> np.ndarray:
    """Place of each row in the union; a row that a table holds twice is there twice, as its weights may differ."""
    seen: Counter[tuple[bytes, bytes]] = Counter()
    where = np.empty(len(job.inputs), dtype=np.int64)
    for i, (row, target) in enumerate(zip(job.inputs, job.targets, strict=True)):
        key = row.tobytes(), target.tobytes()
        where[i] = places.setdefault((*key, seen[key]), len(places))
        seen[key] += 1
    return where


def _moved(task: Task, where: np.ndarray, n_rows: int) -> Task:
    weights = task.row_weights
    if weights is not None:
        weights = np.ones(n_rows)
        weights[where] = task.row_weights
    return replace(
        task, rows=where[task.rows], validation_rows=where[task.validation_rows], row_weights=weights
    )
