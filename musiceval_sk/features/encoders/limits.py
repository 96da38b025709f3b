"""A bound on the network that a checkpoint's settings describe: its weights must be able to fill it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.overrides import TorchFunctionMode

from musiceval_sk.exceptions import CheckpointError

# Of torch, what makes tensors of a size that it is told.
_MAKERS = {
    "empty",
    "zeros",
    "ones",
    "full",
    "rand",
    "randn",
    "randint",
    "arange",
    "linspace",
    "eye",
    "hann_window",
}
_PLACES = ("device", "generator", "pin_memory")
# Beside the weights: what a network computes for itself, or has for training alone.
_MOST_BESIDE = 1 << 26
_A_TENSOR = 1 << 13  # counted for each, so that a file bounds blocks without weights, too


@contextmanager
def within_weights(files: Iterable[Path], words: str, advice: str = "") -> Iterator[None]:
    """Build a network by a checkpoint's settings, as long as the weights could fill it.

    Parameters
    ----------
    files : iterable of Path
        The weights: every byte of them is worth a number of the network.
    words : str
        What is wrong where building fails, for whatever reason, before the cause.
    advice : str, default=""
        Behind the cause.

    Yields
    ------
    None
        While it is built.

    Raises
    ------
    CheckpointError
        If building fails, or the network would be larger than its weights.
    """
    try:
        with _Bounded(sum(file.stat().st_size for file in files)):
            yield
    except (CheckpointError, ImportError):
        raise
    # Of whatever kind settings, or the code in a folder, make them.
    except Exception as error:
        reason = (str(error).strip().split("\n") or [""])[0] or type(error).__name__
        raise CheckpointError(f"{words} ({reason}){advice}") from error


class _Bounded(TorchFunctionMode):
    """Mode in which no more numbers are made than weights of so many bytes may hold."""

    def __init__(self, n_bytes: int):
        super().__init__()
        self._left = n_bytes + _MOST_BESIDE
        self._words = f"its settings describe a network that weights of {n_bytes:,} bytes cannot fill"

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Count before memory is taken: on the meta device a tensor has a size and nothing else."""
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in _MAKERS and kwargs.get("out") is None:
            named = {name: value for name, value in kwargs.items() if name not in _PLACES}
            self._left -= function(*args, **named, device="meta").numel() + _A_TENSOR
            if self._left < 0:
                raise ValueError(self._words)
        return function(*args, **kwargs)
