"""How much memory a pass through the towers takes, measured by making small ones."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Of a GPU's free memory; the rest is lost to fragments and to libraries' work space.
_SHARE = 0.8


class Costs(NamedTuple):
    """Bytes at the peak: those for any size of a part, negative where others outweigh them, and for each window."""

    fixed: float
    window: float

    def of(self, n_windows: float) -> float:
        """Bytes that a part of this size takes."""
        return self.fixed + n_windows * self.window


def measure(run: Callable[[int], Any], device: torch.device, room: float, most: int) -> Costs:
    """Measure what passes take, by passes of 1, 2, 4 and so on.

    Where the peak lies, it is linear in the number of windows; as another place takes over with more of them, it bends
    upwards. The chord from the smallest to the largest pass therefore lies above all in between.

    Parameters
    ----------
    run : callable
        Makes a pass of so many windows.
    device : torch.device
        Where it computes.
    room : float
        Bytes that a pass should not exceed.
    most : int
        Windows that will ever be asked for together.

    Returns
    -------
    Costs
        An upper bound for passes up to the largest one tried.
    """
    run(1)  # makes what stays: gradients, and libraries' work space
    smallest = _peak(partial(run, 1), device)
    costs, n = Costs(0.0, smallest), 2
    while n <= max(2, most) and (n == 2 or costs.of(n) <= room):
        try:
            window = max(1.0, (_peak(partial(run, n), device) - smallest) / (n - 1))
        except torch.cuda.OutOfMemoryError:
            break  # parts are halved where it comes to that again
        costs = Costs(smallest - window, window)
        n *= 2
    return costs


def allowed(max_batch_memory: int | None, device: torch.device) -> float:
    """Bytes that a pass may take: as given, else four fifths of a GPU's free memory or scikit-learn's `working_memory`."""
    if max_batch_memory is not None:
        return float(max_batch_memory)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return _SHARE * torch.cuda.mem_get_info(device)[0]
    from sklearn import get_config

    return get_config()["working_memory"] * 2.0**20


def until_it_fits(source: Any, attempt: Callable[[], Any]) -> Any:
    """Do something; where a GPU's memory runs out, let the source make smaller parts and do it again."""
    while True:
        try:
            return attempt()
        except torch.cuda.OutOfMemoryError as error:
            # Without its traceback, which would keep the tensors alive that were in the way.
            refused = error.with_traceback(None)
        torch.cuda.empty_cache()
        source.shrink(refused)


def _peak(run: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with _LiveTensors() as live:
        run()
    return live.most


class _LiveTensors(TorchDispatchMode):
    """Counts the bytes of all tensors that are made while it lasts and are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_identity(tensor) for tensor in _tensors_in((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors_in(result):
            if _identity(tensor) not in given:
                self._note(tensor)
        return result

    def _note(self, tensor: torch.Tensor) -> None:
        storage, key = tensor.untyped_storage(), _identity(tensor)
        if key in self._known:
            return
        size = storage.nbytes()

        def gone(_: Any) -> None:
            del self._known[key]
            self.now -= size

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


def _tensors_in(values: Any) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    inner = (
        values.values() if isinstance(values, dict) else values if isinstance(values, list | tuple) else ()
    )
    return [tensor for value in inner for tensor in _tensors_in(value)]


def _identity(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
