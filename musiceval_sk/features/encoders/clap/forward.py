"""From windows and tokens to vectors, through a CLAP network that is already built."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_FULL_SCALE = 32_767
_THREAD = threading.local()
_PRECISION = threading.Lock()
_in_full_precision: list[Any] = []


class Towers(NamedTuple):
    """The steps of a CLAP network, whoever's it is.

    Attributes
    ----------
    model : torch.nn.Module
        All of it, in evaluation mode, with the members ``audio_projection`` and ``text_projection``.
    log_mel : callable
        From windows, (n, 480_000), to what ``audio`` takes.
    audio : callable
        From log-mel spectrograms to the audio tower's representation, (n, width).
    text : callable
        From token ids and mask, (n, 77) each, to the text tower's representation, (n, width).
    vocab_size : int
        Number of tokens that the text tower knows.
    quantised : bool
        Whether windows are rounded to 16 bit first.
    """

    model: Any
    log_mel: "Callable[[Tensor], Tensor]"
    audio: "Callable[[Tensor], Tensor]"
    text: "Callable[[Tensor, Tensor], Tensor]"
    vocab_size: int
    quantised: bool


def embed_windows(towers: Towers, windows: np.ndarray, layer: str, dtype: str) -> np.ndarray:
    """Embed one batch of windows.

    Parameters
    ----------
    towers : Towers
        The network.
    windows : np.ndarray [shape=(n, 480_000)], float32
        Mono windows at 48,000 Hz.
    layer : {"projection", "encoder"}
        Whether to go through the projection into the joint space.
    dtype : {"float32", "bfloat16"}
        What the towers compute in; spectrograms are always of float32.

    Returns
    -------
    np.ndarray [shape=(n, dim)], float32
        Vectors, of length 1 if projected.
    """
    import torch

    device = next(towers.model.parameters()).device
    with torch.inference_mode(), full_precision(), _own_stream(device):
        return vectors_of_samples(towers, sent(windows, device), layer, dtype).cpu().numpy()


def embed_tokens(towers: Towers, ids: np.ndarray, mask: np.ndarray, layer: str, dtype: str) -> np.ndarray:
    """Embed one batch of tokenized prompts.

    Parameters
    ----------
    towers : Towers
        The network.
    ids, mask : np.ndarray [shape=(n, 77)], int64
        Token ids, and 1 where they are no padding.
    layer : {"projection", "encoder"}
        Whether to go through the projection into the joint space.
    dtype : {"float32", "bfloat16"}
        What the tower computes in.

    Returns
    -------
    np.ndarray [shape=(n, dim)], float32
        Vectors, of length 1 if projected.
    """
    import torch

    device = next(towers.model.parameters()).device
    with torch.inference_mode(), full_precision(), _own_stream(device):
        tokens, present = (sent(array, device) for array in (ids, mask))
        return vectors_of_tokens(towers, tokens, present, layer, dtype).cpu().numpy()


def vectors_of_samples(towers: Towers, samples: "Tensor", layer: str, dtype: str) -> "Tensor":
    """Compute on the device what `embed_windows` gives, with gradients where they are wanted."""
    log_mel = towers.log_mel(_quantised(samples) if towers.quantised else samples)
    with _computing_in(dtype, samples.device):
        vectors = towers.audio(log_mel)
        if layer == "projection":
            vectors = towers.model.audio_projection(vectors)
    return _finished(vectors, layer)


def vectors_of_tokens(towers: Towers, ids: "Tensor", mask: "Tensor", layer: str, dtype: str) -> "Tensor":
    """Compute on the device what `embed_tokens` gives, with gradients where they are wanted."""
    with _computing_in(dtype, ids.device):
        vectors = towers.text(ids, mask)
        if layer == "projection":
            vectors = towers.model.text_projection(vectors)
    return _finished(vectors, layer)


def laion_towers(model: Any) -> Towers:
    """Name the steps of LAION's network, as its ``get_audio_embedding_from_data`` and ``get_text_embedding`` take them.

    Parameters
    ----------
    model : torch.nn.Module
        LAION's ``CLAP`` with a RoBERTa text tower, in evaluation mode.

    Returns
    -------
    Towers
        Steps that compute on the model's device.
    """
    branch = model.audio_branch

    def log_mel(samples: "Tensor") -> "Tensor":
        return branch.logmel_extractor(branch.spectrogram_extractor(samples))

    def audio(log_mel: "Tensor") -> "Tensor":
        normal = branch.bn0(log_mel.transpose(1, 3)).transpose(1, 3)
        return branch.forward_features(branch.reshape_wav2img(normal))["embedding"]

    def text(ids: "Tensor", mask: "Tensor") -> "Tensor":
        return model.text_branch(input_ids=ids, attention_mask=mask)["pooler_output"]

    return Towers(model, log_mel, audio, text, model.text_branch.config.vocab_size, quantised=True)


def sent(array: np.ndarray, device: "torch.device") -> "Tensor":
    """Send an array to the device, from memory that a GPU reads while the CPU goes on."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _quantised(samples: "Tensor") -> "Tensor":
    """Send samples through 16 bit and back, truncating towards zero, as LAION does."""
    import torch

    return (samples.clamp(-1, 1) * _FULL_SCALE).to(torch.int16).float() / _FULL_SCALE


def _own_stream(device: "torch.device") -> Any:
    """Context in which a GPU works for this thread beside what it does for others, so that copies meet computing."""
    import torch

    if device.type != "cuda":
        return contextlib.nullcontext()
    streams = _THREAD.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    return torch.cuda.stream(streams[device])


def _finished(vectors: "Tensor", layer: str) -> "Tensor":
    import torch

    vectors = vectors.float()
    return torch.nn.functional.normalize(vectors, dim=-1) if layer == "projection" else vectors


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Let cuDNN convolve in float32, as the CPU does: its default rounds to 10 bits of mantissa.

    The setting is the process's: the first thread that comes makes it, the last that goes takes it back.
    """
    import torch

    with _PRECISION:
        if not _in_full_precision:
            flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
            flags.__enter__()
        else:
            flags = _in_full_precision[-1]
        _in_full_precision.append(flags)
    try:
        yield
    finally:
        with _PRECISION:
            _in_full_precision.pop()
            if not _in_full_precision:
                flags.__exit__(None, None, None)


def _computing_in(dtype: str, device: "torch.device") -> Any:
    """Context in which matrix products are of this type, while norms and softmax stay in float32."""
    import torch

    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, dtype))
