"""What encoders have in common that are torch networks read from local files: built once, run in batches that memory holds."""

import contextlib
import os
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
from musiceval_sk.features.digests import content_key
from musiceval_sk.features.encoders.base import Encoder, Modality

# How often to ask again, a second apart, for memory that another thread or process may give back.
_PATIENCE = 16
# Of a checkpoint's settings, by transformers' and MuQ's names, the greatest that make a spectrogram; and of windows.
_GREATEST = {"sampling_rate": 768_000, "n_fft": 1 << 16, "fft_window_size": 1 << 16, "feature_size": 1 << 12}
_GREATEST |= {"num_mel_bins": 1 << 12, "n_mels": 1 << 12, "spec_size": 1 << 11}
_MOST_OVERLAP = 64  # of neighbouring frames
MOST_SECONDS = 600
BUILDING = threading.RLock()
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

    def encode_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows of sound.

        Parameters
        ----------
        windows : np.ndarray [shape=(n, window_seconds * sample_rate)], float32 in [-1, 1]
            Mono windows at `sample_rate`.

        Returns
        -------
        np.ndarray [shape=(n, audio_dim)], float32
            One vector a window, of length 1 where there is a `joint_space`.

        Raises
        ------
        ValueError
            If the windows are of another shape, the device is not there, or the model has no such layer.
        CheckpointError
            If the checkpoint is not found, lacks something or does not fit.
        ImportError
            If the encoder's extra is not installed.
        MemoryError
            If a GPU's memory does not hold even one window; where it does not hold a batch, the batch is halved.
        """
        return self._encode("audio", self.check_windows(windows))

    def encode_text(self, prompts: Sequence[str]) -> np.ndarray:
        """Embed prompts.

        Parameters
        ----------
        prompts : sequence of str
            Texts, possibly empty; what goes beyond the tokens that the text tower reads is left out.

        Returns
        -------
        np.ndarray [shape=(n, text_dim)], float32
            One vector a prompt, of length 1 where there is a `joint_space`.

        Raises
        ------
        ValueError
            If there is no text tower, ``prompts`` is one string, or the device is not there.
        CheckpointError
            If the checkpoint or the tokenizer is not found or does not fit.
        ImportError
            If the encoder's extra is not installed.
        """
        self.towers("text")
        if isinstance(prompts, str):
            raise ValueError(f"expected a sequence of prompts, got the string {prompts!r}; pass [prompt]")
        return self._encode("text", prompts)

    def _windows(self) -> dict[str, Any]:
        """Say what a description says of windows."""
        return {name: getattr(self, name) for name in ("sample_rate", "window_seconds", "hop_seconds")}

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
        with BUILDING:
            if self._network is None:
                self._network = self._load()
            return self._network

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


class LayerEncoder(LocalEncoder):
    """Base class of encoders whose vector is the mean over time of one layer of a network, or of all.

    Parameters
    ----------
    checkpoint : str, Path or None
        Local folder.
    layer : int or "mean"
        Which: 0 is what the first block is given, n what the n-th block gives.
    window_seconds : float or None
        Length of a window; None is for a default.
    device, batch_size : str, and int or None
        As for `LocalEncoder`.

    Raises
    ------
    ValueError
        If ``layer``, ``window_seconds`` or ``batch_size`` cannot be.
    """

    def __init__(
        self,
        checkpoint: str | Path | None,
        layer: int | str,
        window_seconds: float | None,
        device: str,
        batch_size: int | None,
    ):
        super().__init__(checkpoint, device, batch_size)
        if layer != "mean" and (not isinstance(layer, int) or isinstance(layer, bool)):
            raise ValueError(f"layer={layer!r} must be a whole number or 'mean'")
        if window_seconds is not None and not 0.1 <= window_seconds <= MOST_SECONDS:
            raise ValueError(f"window_seconds={window_seconds!r} must be between 0.1 and {MOST_SECONDS}")
        self.layer, self._window_seconds = layer, window_seconds

    def __repr__(self) -> str:
        options = f"layer={self.layer!r}, device={self.device!r}"
        return f"{type(self).__name__}({str(self.checkpoint)!r}, {options})"

    @property
    def hop_seconds(self) -> float:  # type: ignore[override]
        """Distance between the starts of neighbouring windows: their length."""
        return self.window_seconds

    def _named_folder(self) -> Path:
        return Path(os.fspath(self.checkpoint or "")).expanduser()

    def _no_folder(self, what: str, repository: str) -> CheckpointError:
        """Say that there is none, and where to get one."""
        found = f"got {str(self.checkpoint)!r}" if self.checkpoint else "and none is named"
        download = f"hf download {repository} --local-dir {repository.split('/')[1]}"
        return CheckpointError(
            f"the encoder {self.name!r} needs a folder {what}, {found}; download one ({download}) and name it with checkpoint="
        )

    def _width(self, widths: Sequence[int]) -> int:
        """Length of a vector, by the widths of what the first block is given and of what each block gives."""
        if self.layer == "mean":
            if len(set(widths)) > 1:
                raise ValueError(
                    f"layer='mean': layers of this model are {widths} wide; give one by its index"
                )
            return widths[0]
        if not -len(widths) <= int(self.layer) < len(widths):
            has = f"{self.checkpoint} has {len(widths) - 1} blocks"
            raise ValueError(f"layer={self.layer}: {has}; give 0 to {len(widths) - 1}, -1 or 'mean'")
        return widths[int(self.layer)]

    def _mean(self, states: Sequence[Any]) -> Any:
        """Average hidden states, (n, time, width) or (n, width, frequency, time), over all positions of a window."""
        chosen = states if self.layer == "mean" else [states[int(self.layer)]]
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


def cached_file(repository: str, name: str) -> Path | None:
    """Look a file up in Hugging Face's cache, which is only read."""
    with contextlib.suppress(ImportError, ValueError):  # a name may be none that a repository can have
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(repository, name)
        return Path(found) if isinstance(found, str) else None
    return None


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


def check_front_end(settings: Mapping[str, Any], source: object) -> None:
    """Raise unless settings are those of a spectrogram that memory holds; what is not there is not looked at."""
    settings = {name: value for name, value in settings.items() if value is not None}
    for name, most in _GREATEST.items():
        value = settings.get(name, 1)
        if not isinstance(value, int | float) or not 0 < value <= most:
            raise CheckpointError(f"{source}: {name}={value!r} must be a number above 0, up to {most:,}")
    frame = max(settings.get("n_fft", 0), settings.get("fft_window_size", 0))
    hop, least = settings.get("hop_length"), max(frame // _MOST_OVERLAP, 1)
    if hop is not None and not (isinstance(hop, int) and hop >= least):
        raise CheckpointError(f"{source}: hop_length={hop!r} must be a whole number of at least {least}")
