"""Training jobs: what one regressor asks of the engine, and how several are answered at once.

Training is a pure function of a job, so jobs that share data and schedule can be trained in one batch before anybody
asks, and recalled when `fit` does. That is all that a fused search adds to scikit-learn's.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from musiceval_sk.estimators._mlp import Schedule, Task, Trained, train


@dataclass(frozen=True)
class Job:
    """Perceptrons over the same columns of X.

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

    def data_key(self) -> bytes:
        """Digest of all that tasks must share to be one batch."""
        digest = hashlib.sha256(repr((self.inputs.shape, self.schedule, self.device, self.dtype)).encode())
        for array in (self.inputs, self.targets):
            digest.update(np.ascontiguousarray(array).data)
        return digest.digest()


_KNOWN: ContextVar[dict[tuple[bytes, bytes], Trained] | None] = ContextVar("known", default=None)


def train_job(job: Job, on_epoch: Callable[[int, float], None]) -> list[Trained]:
    """Train a job, or recall it where it was trained before, in the order of its tasks."""
    known = _KNOWN.get()
    if known is not None:
        key = job.data_key()
        keys = [(key, _task_key(task)) for task in job.tasks]
        if all(wanted in known for wanted in keys):
            return [known[wanted] for wanted in keys]
    return _train(job, job.tasks, on_epoch)


@contextmanager
def trained_together(jobs: Sequence[Job], most_models: int) -> Iterator[None]:
    """Train the tasks of all jobs, those that share their data as one batch, and recall them within the block."""
    known: dict[tuple[bytes, bytes], Trained] = {}
    batches: dict[bytes, tuple[Job, dict[bytes, Task]]] = {}
    for job in jobs:
        _, tasks = batches.setdefault(job.data_key(), (job, {}))
        tasks |= {_task_key(task): task for task in job.tasks}
    for key, (job, tasks) in batches.items():
        names = list(tasks)
        for begin in range(0, len(names), most_models):
            some = names[begin : begin + most_models]
            trained = _train(job, [tasks[name] for name in some], lambda epoch, loss: None)
            known |= {(key, name): result for name, result in zip(some, trained, strict=True)}
    token = _KNOWN.set(known)
    try:
        yield
    finally:
        _KNOWN.reset(token)


def _train(job: Job, tasks: list[Task], on_epoch: Callable[[int, float], None]) -> list[Trained]:
    import torch

    device, dtype = torch.device(job.device), getattr(torch, job.dtype)
    inputs = torch.from_numpy(np.ascontiguousarray(job.inputs)).to(device, dtype)
    return train(inputs, torch.from_numpy(job.targets).to(device, dtype), tasks, job.schedule, on_epoch)


def _task_key(task: Task) -> bytes:
    digest = hashlib.sha256()
    for value in astuple(task):
        _feed(digest, value)
    return digest.digest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        digest.update(repr((value.shape, value.dtype.str)).encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, list | tuple):
        for member in value:
            _feed(digest, member)
    else:
        digest.update(repr(value).encode())
