"""From windows and tokens to vectors, through a CLAP network that is already built."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

_FULL_SCALE = 32_767


def embed_windows(model: Any, windows: np.ndarray) -> np.ndarray:
    """Embed one batch of windows as LAION's ``get_audio_embedding_from_data`` does.

    Parameters
    ----------
    model : torch.nn.Module
        LAION's ``CLAP`` in evaluation mode.
    windows : np.ndarray [shape=(n, 480_000)], float32
        Mono windows at 48,000 Hz.

    Returns
    -------
    np.ndarray [shape=(n, 512)], float32
        Vectors of length 1.
    """
    import torch

    device = next(model.parameters()).device
    batch = {
        "waveform": torch.from_numpy(_quantise(windows)).to(device),
        "longer": torch.zeros(len(windows), 1, dtype=torch.bool, device=device),
    }
    with torch.inference_mode(), _full_precision():
        embedding = model.audio_branch(batch, mixup_lambda=None, device=device)["embedding"]
        return _unit_length(model.audio_projection(embedding))


def embed_tokens(model: Any, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Embed one batch of tokenized prompts as LAION's ``get_text_embedding`` does.

    Parameters
    ----------
    model : torch.nn.Module
        LAION's ``CLAP`` in evaluation mode.
    ids, mask : np.ndarray [shape=(n, 77)], int64
        Token ids, and 1 where they are no padding.

    Returns
    -------
    np.ndarray [shape=(n, 512)], float32
        Vectors of length 1.
    """
    import torch

    device = next(model.parameters()).device
    with torch.inference_mode(), _full_precision():
        pooled = model.text_branch(
            input_ids=torch.from_numpy(ids).to(device), attention_mask=torch.from_numpy(mask).to(device)
        )["pooler_output"]
        return _unit_length(model.text_projection(pooled))


def vocab_size_of(model: Any) -> int:
    """Count the tokens that the text tower knows.

    Parameters
    ----------
    model : torch.nn.Module
        LAION's ``CLAP`` with a RoBERTa text tower.

    Returns
    -------
    int
        Rows of its word embeddings.
    """
    return model.text_branch.config.vocab_size


def _quantise(windows: np.ndarray) -> np.ndarray:
    """Send samples through 16 bit and back, truncating towards zero, as LAION does."""
    integers = (np.clip(windows, -1, 1) * np.float32(_FULL_SCALE)).astype(np.int16)
    return integers.astype(np.float32) / np.float32(_FULL_SCALE)


def _unit_length(vectors: "torch.Tensor") -> np.ndarray:
    import torch

    return torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()


def _full_precision() -> Any:
    """Context in which cuDNN convolves in float32, as the CPU does: its default rounds to 10 bits of mantissa."""
    import torch

    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
