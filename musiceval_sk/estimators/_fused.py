"""Jobs of many fits trained as few batches: one for each shape, over the union of their rows."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from musiceval_sk.estimators._jobs import Job, OnEpoch, run_job
from musiceval_sk.estimators._mlp import Task, Trained

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
        first_of = {id(job.inputs): i for i, job in reversed(list(enumerate(members)))}
        order = sorted(range(len(members)), key=lambda i: first_of[id(members[i].inputs)])
        union = _union([members[i] for i in order])
        trained = iter(
            [result for batch in _split(union, room) for result in run_job(batch, on_batch(batch))]
        )
        for i in order:
            results[places[i]] = [next(trained) for _ in members[i].tasks]
    return results


def training_bytes(job: Job) -> int:
    """Bytes that the tasks of a job take while they train."""
    return sum(_task_bytes(job, task) for task in job.tasks)


def result_bytes(job: Job) -> int:
    """Bytes of the trained weights and velocities, in float64."""
    return sum(2 * 8 * _n_parameters(job, task) for task in job.tasks)


def _shape_of(job: Job) -> tuple:
    return (job.schedule, job.device, job.dtype, job.inputs.shape[1], job.inputs.dtype, job.targets.shape[1])


def _widths(job: Job, task: Task) -> tuple[int, ...]:
    return (job.inputs.shape[1], *job.schedule.hidden_layer_sizes, 1)


def _n_parameters(job: Job, task: Task) -> int:
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(_widths(job, task)))


def _task_bytes(job: Job, task: Task) -> int:
    """Weights, velocities, best weights and gradients; a minibatch's activations and their slopes."""
    rows = max(min(job.schedule.batch_size, len(task.rows)), len(task.validation_rows))
    values = 4 * _n_parameters(job, task) + 2 * rows * sum(_widths(job, task))
    return values * np.dtype(job.dtype).itemsize


def _split(job: Job, room: float) -> Iterator[Job]:
    """Cut a job into jobs whose tasks fit the room, of at least one task each."""
    sizes = [_task_bytes(job, task) for task in job.tasks]
    begin = 0
    while begin < len(sizes):
        # Asked anew for each batch: on a card the batch before has left its memory by then.
        ends = begin + np.searchsorted(np.cumsum(sizes[begin:]), _room_on(job, room), side="right")
        end = max(int(ends), begin + 1)
        yield replace(job, tasks=job.tasks[begin:end])
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
    places: dict[tuple[bytes, int], int] = {}
    inputs, targets, tasks = [], [], []
    moved: dict[tuple[int, int], np.ndarray] = {}
    if len({(id(job.inputs), id(job.targets)) for job in jobs}) == 1:
        return replace(jobs[0], tasks=[task for job in jobs for task in job.tasks])
    for job in jobs:
        table = id(job.inputs), id(job.targets)
        if table not in moved:
            known = len(places)
            moved[table] = _places_of(job, places)
            new = moved[table] >= known
            inputs.append(job.inputs[new])
            targets.append(job.targets[new])
    for job in jobs:
        where = moved[id(job.inputs), id(job.targets)]
        tasks += [_move(task, where, len(places)) for task in job.tasks]
    return replace(jobs[0], inputs=np.concatenate(inputs), targets=np.concatenate(targets), tasks=tasks)


def _places_of(job: Job, places: dict[tuple[bytes, int], int]) -> np.ndarray:
    """Place of each row in the union; a row that a table holds twice is there twice, as weights may differ."""
    seen: Counter[bytes] = Counter()
    where = np.empty(len(job.inputs), dtype=np.int64)
    for i, (row, target) in enumerate(zip(np.ascontiguousarray(job.inputs), job.targets, strict=True)):
        digest = blake2b(row.data, digest_size=16)
        digest.update(target.tobytes())
        key = digest.digest()
        where[i] = places.setdefault((key, seen[key]), len(places))
        seen[key] += 1
    return where


def _move(task: Task, where: np.ndarray, n_rows: int) -> Task:
    return replace(task, rows=where[task.rows], validation_rows=where[task.validation_rows])
