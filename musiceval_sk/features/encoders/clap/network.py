"""A CLAP network that can be trained: sound and tokens to vectors with gradients, and where each weight stands in it."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn

from musiceval_sk.features.encoders.clap.forward import (
    Towers,
    full_precision,
    sent,
    vectors_of_samples,
    vectors_of_tokens,
)

Stage = tuple[str, tuple[float, float]]
FIRST: tuple[float, float] = (-1.0, 0.0)
LAST: tuple[float, float] = (float("inf"), 0.0)
# LAION's names and transformers' names of the same weights. What else a network holds (filters of the spectrogram, the
# classifier of HTS-AT, temperatures of the contrastive loss) has no part in the vectors.
_TOWER = re.compile(r"(?:model\.)?(audio|text)_(?:branch|model|projection)\.")
_AUDIO_BLOCK = re.compile(r"\.layers\.(\d+)\.blocks\.(\d+)\.")
_AUDIO_JOINT = re.compile(r"\.layers\.(\d+)\.downsample\.")
_TEXT_BLOCK = re.compile(r"\.encoder\.layer\.(\d+)\.")
_LAST = re.compile(r"_projection\.|\.pooler\.|_branch\.norm\.|\.audio_encoder\.norm\.")
_FIRST = re.compile(r"\.patch_embed\.|\.embeddings\.|\.bn0\.|\.batch_norm\.|\.absolute_pos_embed")
# The matrices of queries, keys and values; LAION's audio tower has them in one.
_ATTENTION = re.compile(r"\.attn\.qkv|\.self\.(query|key|value)")


class ClapNetwork(nn.Module):
    """CLAP for training.

    It stays in evaluation mode, as the released baseline's does: dropout, stochastic depth and SpecAugment are off, and
    batch normalisation goes by the checkpoint's running statistics, so that a clip's vectors never depend on the
    clips beside it.

    Parameters
    ----------
    towers : Towers
        A network built for this alone.
    layer : {"projection", "encoder"}
        As for the encoder.
    tokens : callable
        From prompts and the size of the vocabulary to token ids and mask.
    """

    def __init__(
        self,
        towers: Towers,
        layer: str,
        tokens: Callable[[Sequence[str], int], tuple[np.ndarray, np.ndarray]],
    ):
        super().__init__()
        self.model = towers.model
        for parameter in self.model.parameters():
            # What a checkpoint was mapped from is a file, which may go away while training lasts.
            parameter.data = parameter.data.clone()
            parameter.requires_grad_(False)
        self.eval()
        self._towers, self._layer, self._tokens = towers, layer, tokens

    def tokenize(self, prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Turn prompts into token ids and mask, [shape=(n, 77)] each."""
        return self._tokens(prompts, self._towers.vocab_size)

    def embed_audio(self, windows: np.ndarray, dtype: str) -> Tensor:
        """Embed windows as the encoder does, [shape=(n, audio_dim)], on the network's device.

        Parameters
        ----------
        windows : np.ndarray [shape=(n, window_length)], float32
            Mono windows.
        dtype : {"float32", "bfloat16", "float16"}
            What the towers' matrix products are computed in.
        """
        return vectors_of_samples(self._towers, sent(windows, self.device), self._layer, dtype)

    def embed_text(self, ids: np.ndarray, mask: np.ndarray, dtype: str) -> Tensor:
        """Embed tokenized prompts as the encoder does, [shape=(n, text_dim)], on the network's device."""
        tokens, present = (sent(array, self.device) for array in (ids, mask))
        return vectors_of_tokens(self._towers, tokens, present, self._layer, dtype)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    def precision(self) -> AbstractContextManager[None]:
        """Context to compute in, forwards and backwards, so that convolutions are as exact as on a CPU."""
        return full_precision()

    def stage(self, name: str) -> Stage | None:
        """Say where a weight stands: its tower, and a place that grows from input to output.

        Parameters
        ----------
        name : str
            As `named_parameters` gives it.

        Returns
        -------
        (str, (float, float)) or None
            "audio" or "text" and `FIRST`, a block's number of stage and within it, or `LAST`; None if the vectors do not
            depend on it.
        """
        tower = _TOWER.match(name)
        if tower is None:
            return None
        if found := _AUDIO_BLOCK.search(name):
            return tower[1], (float(found[1]), float(found[2]))
        if found := _AUDIO_JOINT.search(name):
            return tower[1], (float(found[1]), float("inf"))
        if found := _TEXT_BLOCK.search(name):
            return tower[1], (float(found[1]), 0.0)
        if _LAST.search(name):
            return None if self._layer == "encoder" and "_projection." in name else (tower[1], LAST)
        return (tower[1], FIRST) if _FIRST.search(name) else None

    def attention_layers(self) -> list[str]:
        """Names of the linear layers of queries, keys and values, of both towers, relative to ``model``."""
        return [
            name
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and _ATTENTION.search(f".{name}")
        ]
