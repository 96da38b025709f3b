"""From windows and tokens to vectors, through a CLAP network that is already built."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_FULL_SCALE = 32_767


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
    samples = torch.from_numpy(_quantise(windows) if towers.quantised else windows).to(device)
    with torch.inference_mode(), _full_precision():
        log_mel = towers.log_mel(samples)
        with _computing_in(dtype, device):
            vectors = towers.audio(log_mel)
            if layer == "projection":
                vectors = towers.model.audio_projection(vectors)
        return _finished(vectors, layer)


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
    tokens, present = (torch.from_numpy(array).to(device) for array in (ids, mask))
    with torch.inference_mode(), _full_precision(), _computing_in(dtype, device):
        vectors = towers.text(tokens, present)
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


def _quantise(windows: np.ndarray) -> np.ndarray:
    """Send samples through 16 bit and back, truncating towards zero, as LAION does."""
    integers = (np.clip(windows, -1, 1) * np.float32(_FULL_SCALE)).astype(np.int16)
    return integers.astype(np.float32) / np.float32(_FULL_SCALE)


def _finished(vectors: "Tensor", layer: str) -> np.ndarray:
    import torch

    vectors = vectors.float()
    if layer == "projection":
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
    return vectors.cpu().numpy()


def _full_precision() -> Any:
    """Context in which cuDNN convolves in float32, as the CPU does: its default rounds to 10 bits of mantissa."""
    import torch

    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def _computing_in(dtype: str, device: "torch.device") -> Any:
    """Context in which matrix products are of this type, while norms and softmax stay in float32."""
    import torch

    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, dtype))
