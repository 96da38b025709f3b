"""What encoders have in common that are torch networks read from local files: built once, run in batches that memory holds."""

import contextlib
import random
import sys
import threading
import time
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musiceval_sk._device import resolve_device
from musiceval_sk._files import parse_json, paths_as_text
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.base import Encoder, Modality
from musiceval_sk.features.sounds import content_key

# How often to ask again, a second apart, for memory that another thread or process may give back.
_PATIENCE = 16
_BUILDING = threading.RLock()
_precision, _users_of_precision, _precision_lock = contextlib.ExitStack(), 0, threading.Lock()


class LocalEncoder(Encoder):
    """Base class of encoders whose network is read from local files and never downloaded.

    Subclasses say which files these are, load the network and embed a batch with it.

    Parameters
    ----------
    checkpoint : str, Path or None
        Local file or folder.
    device : str
        ``"auto"`` (CUDA where there is one, else the CPU) or torch's name of a device.
    batch_size : int or None
        Number of windows or prompts that go through the network at once; by default `batch_sizes`, on a CPU and on a GPU.

    Raises
    ------
    ValueError
        If ``batch_size`` is not positive.
    """

    extra = "hf"
    batch_sizes = (16, 64)

    def __init__(self, checkpoint: str | Path | None, device: str, batch_size: int | None):
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        self.checkpoint, self.device, self._batch_size = checkpoint, device, batch_size
        self._states: list[tuple[int, int]] = []
        self._digests: list[str] = []
        self._network: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return paths_as_text({**self.__dict__, "_network": None})

    @abstractmethod
    def _find_files(self) -> tuple[Path, ...]:
        """Find the files of which the network is made, the weights first."""

    @abstractmethod
    def _load(self) -> Any:
        """Build a network from the files, in evaluation mode and on the device."""

    @abstractmethod
    def _embed(self, network: Any, modality: Modality, batch: Any) -> Any:
        """Turn a batch of windows or prompts into a tensor, [shape=(n, dim)]."""

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """Windows or prompts that go through the network at once: as given, or as a GPU's memory turned out to hold."""
        return self._batch_size or self.batch_sizes[self.on_accelerator]

    @property
    def on_accelerator(self) -> bool:  # type: ignore[override]
        """Whether the network computes on a CUDA device."""
        return resolve_device(self.device).type == "cuda"

    def prepare(self) -> None:
        """Build the network."""
        self.build()

    def build(self) -> Any:
        """Build the network, once, on the device; encoding does so by itself.

        Returns
        -------
        torch.nn.Module
            In evaluation mode.

        Raises
        ------
        ValueError
            If the device is not there.
        CheckpointError
            If the checkpoint is not found or does not fit.
        ImportError
            If the encoder's extra is not installed.
        """
        with _BUILDING:
            if self._network is None:
                self._network = self._load()
            return self._network

    def _built_anew(self) -> Any:
        """Build a network apart from the one that encodes."""
        with _BUILDING:
            return self._load()

    def _files(self) -> tuple[Path, ...]:
        """Files that hold the model, once their SHA-256 are known to be those of the last time."""
        files = self._find_files()
        states = [(status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files)]
        if states != self._states:
            digests = [content_key(file).hex() for file in files]
            if self._digests and digests != self._digests:
                raise CheckpointError(
                    f"{files[0]}: is not the checkpoint that this encoder described before; make a new encoder for it"
                )
            self._states, self._digests = states, digests
        return files

    def _encode(self, modality: Modality, items: Any) -> np.ndarray:
        """Embed batch by batch; a batch that a GPU's memory does not hold is halved."""
        if not len(items):
            return np.empty((0, self.dim(modality)), dtype=np.float32)
        import torch

        network = self.build()
        vectors: list[np.ndarray] = []
        begin = refused = 0
        while begin < len(items):
            batch = items[begin : begin + self.batch_size]
            try:
                with torch.inference_mode(), precision():
                    vectors.append(self._embed(network, modality, batch).cpu().numpy())
                begin, refused = begin + len(batch), 0
            except torch.cuda.OutOfMemoryError as error:
                refused += 1
                if refused == _PATIENCE:
                    raise MemoryError(
                        "the GPU's memory does not hold a single window or prompt beside what else is in it "
                        f"({error}); free some, or pass device='cpu'"
                    ) from error
                torch.cuda.empty_cache()
                # For good: what else fills the GPU's memory is not ours to judge.
                self._batch_size = max(1, self.batch_size // 2)
                time.sleep(1)
        return np.concatenate(vectors)


@contextlib.contextmanager
def precision() -> Iterator[None]:
    """Context to compute in, forwards and backwards: cuDNN convolves in float32, where it would round to 10 bits.

    The setting is the process's: the first thread that comes makes it, the last that goes takes it back.
    """
    import torch

    global _users_of_precision
    with _precision_lock:
        if not _users_of_precision:
            flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
            _precision.enter_context(flags)
        _users_of_precision += 1
    try:
        yield
    finally:
        with _precision_lock:
            _users_of_precision -= 1
            if not _users_of_precision:
                _precision.close()


def check_layer(layer: Any) -> None:
    """Raise a `ValueError` unless this can be one of a network's layers, or "mean" for all of them."""
    if layer != "mean" and (not isinstance(layer, int) or isinstance(layer, bool)):
        raise ValueError(f"layer={layer!r} must be a whole number or 'mean'")


def check_window(seconds: float | None) -> None:
    """Raise a `ValueError` unless windows can be so long; None is for a default."""
    if seconds is not None and not 0.1 <= seconds <= 600:
        raise ValueError(f"window_seconds={seconds!r} must be between 0.1 and 600")


def width_of_layer(layer: int | str, widths: Sequence[int], checkpoint: Any) -> int:
    """Say how wide a layer is, or all are.

    Parameters
    ----------
    layer : int or "mean"
        Which.
    widths : sequence of int
        Of what the first block is given, and of what each block gives.
    checkpoint : str or Path
        What to call the network.

    Returns
    -------
    int
        Length of its vectors.

    Raises
    ------
    ValueError
        If there is no such layer, or layers differ in width and their mean was asked for.
    """
    if layer == "mean":
        if len(set(widths)) > 1:
            raise ValueError(f"layer='mean': layers of this model are {widths} wide; give one by its index")
        return widths[0]
    if not -len(widths) <= int(layer) < len(widths):
        most = len(widths) - 1
        raise ValueError(f"layer={layer}: {checkpoint} has {most} blocks; give 0 to {most}, -1 or 'mean'")
    return widths[int(layer)]


def mean_over_positions(states: Sequence[Any], layer: int | str) -> Any:
    """Average a layer, or all, over all positions of a window.

    Parameters
    ----------
    states : sequence of torch.Tensor [shape=(n, time, width) or (n, width, frequency, time)]
        A network's hidden states.
    layer : int or "mean"
        Which.

    Returns
    -------
    torch.Tensor [shape=(n, width)], float32
        One vector a window.
    """
    chosen = states if layer == "mean" else [states[int(layer)]]
    means = [state.float().mean(dim=(2, 3) if state.ndim == 4 else 1) for state in chosen]
    return means[0] if len(means) == 1 else sum(means) / len(means)


@contextlib.contextmanager
def standing_in(stand_ins: Mapping[str, Any], package: str) -> Iterator[None]:
    """Let a package be imported anew beside modules that stand in for others, for the length of an import.

    Parameters
    ----------
    stand_ins : mapping of str to object
        By the name of the module.
    package : str
        What is imported; ``sys.modules`` is left as it was.

    Yields
    ------
    None
        While they stand in.
    """

    def take_out() -> dict[str, Any]:
        names = [name for name in sys.modules if name.split(".")[0] == package or name in stand_ins]
        return {name: sys.modules.pop(name) for name in names}

    before = take_out()
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        take_out()
        sys.modules.update(before)


@contextlib.contextmanager
def undisturbed_random_numbers() -> Iterator[None]:
    """Leave the generators of torch and Python as they were: packages set seeds, and draw numbers that they do not use."""
    import torch

    state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Let transformers load a model without bars, notes of weights that are not needed, and warnings of its own filters."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="At least one mel filter")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_json(path: Path) -> dict[str, Any]:
    """Read the settings of a model.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    dict
        Its values.

    Raises
    ------
    CheckpointError
        If it holds no JSON of names and values.
    """
    try:
        return dict(parse_json(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not JSON of settings ({error}); is the download whole?") from error
