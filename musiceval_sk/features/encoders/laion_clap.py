"""LAION's CLAP, the paper's encoder, from a local checkpoint and without the network."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musiceval_sk._device import resolve_device
from musiceval_sk._text import listed
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders import _roberta_tokenizer as roberta
from musiceval_sk.features.encoders._clap_checkpoint import (
    FileIdentity,
    find_checkpoint,
    identify,
    read_weights,
)
from musiceval_sk.features.encoders._clap_forward import (
    embed_tokens,
    embed_windows,
    vocab_size_of,
)
from musiceval_sk.features.encoders._clap_module import AMODELS, build_clap
from musiceval_sk.features.encoders.base import Encoder, Modality

if TYPE_CHECKING:
    import torch

_BUILDING = threading.RLock()


class LaionClapEncoder(Encoder):
    """CLAP (HTS-AT and RoBERTa, without fusion) as LAION's package ``laion_clap`` computes it.

    Windows of 10 s at 48 kHz are rounded to 16 bit, as CLAP was trained, and embedded one by one; prompts are cut at
    77 tokens. Audio and text vectors have length 1 and share one space of 512 dimensions.

    Parameters
    ----------
    checkpoint : str or Path, optional
        Local ``.pt`` file in LAION's layout. Default: the environment variable ``MUSICEVAL_CLAP_CHECKPOINT``. The
        paper's is ``music_audioset_epoch_15_esc_90.14.pt`` of the Hugging Face repository ``lukewys/laion_clap``.
    amodel : {"HTSAT-tiny", "HTSAT-base", "HTSAT-large"}, default="HTSAT-base"
        Audio tower of the checkpoint.
    tokenizer : str or Path, optional
        Local folder with RoBERTa's ``vocab.json`` and ``merges.txt``, or ``tokenizer.json``. Default: the environment
        variable ``MUSICEVAL_ROBERTA``, else a folder ``roberta-base`` beside the checkpoint, else Hugging Face's
        cache. Only prompts need it.
    device : str, default="auto"
        ``"auto"`` (CUDA where there is one, else the CPU) or torch's name of a device.
    batch_size : int, default=16
        Number of windows or prompts that go through the network at once.

    Raises
    ------
    ValueError
        If ``amodel`` is unknown or ``batch_size`` is not positive.

    Notes
    -----
    Nothing is read until a description or a vector is asked for, and nothing is ever downloaded. The weights stay
    memory-mapped: processes on one machine share them, and the file must not be rewritten in place meanwhile.

    The model: Y. Wu, K. Chen, T. Zhang, Y. Hui, T. Berg-Kirkpatrick and S. Dubnov, "Large-scale contrastive
    language-audio pretraining with feature fusion and keyword-to-caption augmentation" (ICASSP 2023).

    Examples
    --------
    >>> encoder = LaionClapEncoder("clap.pt")
    >>> encoder.window_length, encoder.audio_dim
    (480000, 512)
    """

    name = "laion-clap"
    version = 1
    sample_rate = 48_000
    window_seconds = 10.0
    hop_seconds = 10.0
    audio_dim = 512
    text_dim = 512

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        amodel: str = "HTSAT-base",
        tokenizer: str | Path | None = None,
        device: str = "auto",
        batch_size: int = 16,
    ):
        if amodel not in AMODELS:
            raise ValueError(f"unknown amodel {amodel!r}; known are: {listed(AMODELS)}")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        self.checkpoint = checkpoint
        self.amodel = amodel
        self.tokenizer = tokenizer
        self.device = device
        self.batch_size = batch_size
        self._identity: FileIdentity | None = None
        self._model: Any = None
        self._tokenizer: Any = None

    def __repr__(self) -> str:
        where = str(self.checkpoint) if self.checkpoint else None
        return f"LaionClapEncoder({where!r}, amodel={self.amodel!r}, device={self.device!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None, "_tokenizer": None}

    def describe(self, modality: Modality) -> dict[str, Any]:
        """Everything that could change a vector of this modality, as plain JSON values.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which of the two towers to describe.

        Returns
        -------
        dict
            Name, version, SHA-256 of the checkpoint; for audio the windows, for text the tokenizer's SHA-256.

        Raises
        ------
        CheckpointError
            If the checkpoint, or for text the tokenizer, is not found, or the checkpoint changed since last asked.
        """
        path = self._checked_path()
        both = {
            "name": self.name,
            "version": self.version,
            "checkpoint_sha256": self._identity.sha256 if self._identity else None,
            "amodel": self.amodel,
            "dtype": "float32",
        }
        if modality == "text":
            digest = roberta.tokenizer_digest(roberta.find_tokenizer(self.tokenizer, path))
            return {**both, "tokenizer_sha256": digest, "max_length": roberta.MAX_LENGTH}
        return {
            **both,
            "sample_rate": self.sample_rate,
            "window_seconds": self.window_seconds,
            "hop_seconds": self.hop_seconds,
            "quantisation": "int16",
        }

    def encode_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows of sound.

        Parameters
        ----------
        windows : np.ndarray [shape=(n, 480_000)], float32 in [-1, 1]
            Mono windows of 10 s at 48,000 Hz; beyond full scale they are clipped.

        Returns
        -------
        np.ndarray [shape=(n, 512)], float32
            One vector of length 1 a window.

        Raises
        ------
        ValueError
            If the windows are of another shape, or the device is not there.
        CheckpointError
            If the checkpoint is not found or does not fit.
        ImportError
            If the extra ``clap`` is not installed.
        """
        windows = np.asarray(windows, dtype=np.float32)
        if windows.ndim != 2 or windows.shape[1] != self.window_length:
            raise ValueError(
                f"expected windows of shape (n, {self.window_length}), {self.window_seconds:g} s of mono sound at "
                f"{self.sample_rate:,} Hz each, got {windows.shape}; read_audio(path, {self.sample_rate}) and "
                f"cut_windows(samples, {self.window_length}, {self.hop_length}) make them"
            )
        return self._in_batches(windows, lambda batch: embed_windows(self.build(), batch))

    def encode_text(self, prompts: Sequence[str]) -> np.ndarray:
        """Embed prompts.

        Parameters
        ----------
        prompts : sequence of str
            Texts, possibly empty; what goes beyond 77 tokens is not read.

        Returns
        -------
        np.ndarray [shape=(n, 512)], float32
            One vector of length 1 a prompt.

        Raises
        ------
        ValueError
            If ``prompts`` is one string, or the device is not there.
        CheckpointError
            If the checkpoint or the tokenizer is not found or does not fit.
        ImportError
            If the extra ``clap`` is not installed.
        """
        if isinstance(prompts, str):
            raise ValueError(f"expected a sequence of prompts, got the string {prompts!r}; pass [prompt]")
        return self._in_batches(prompts, self._embed_prompts)

    def build(self) -> "torch.nn.Module":
        """Build the network, once, on the device; encoding does so by itself.

        Returns
        -------
        torch.nn.Module
            LAION's ``CLAP`` in evaluation mode; its parameters are the checkpoint's.

        Raises
        ------
        ValueError
            If the device is not there.
        CheckpointError
            If the checkpoint is not found or does not fit.
        ImportError
            If the extra ``clap`` is not installed.
        """
        with _BUILDING:
            if self._model is None:
                device = resolve_device(self.device)
                path = self._checked_path()
                self._model = build_clap(read_weights(path), self.amodel, path).to(device)
            return self._model

    def _checked_path(self) -> Path:
        """Path of the checkpoint, once its digest is known and is still that of the last time."""
        path = find_checkpoint(self.checkpoint)
        identity = identify(path, self._identity)
        if self._identity is not None and identity.sha256 != self._identity.sha256:
            raise CheckpointError(
                f"{path}: is not the checkpoint that this encoder described before; make a new encoder for it"
            )
        self._identity = identity
        return path

    def _in_batches(self, items: Any, embed: Callable[[Any], np.ndarray]) -> np.ndarray:
        starts = range(0, len(items), self.batch_size)
        vectors = [embed(items[start : start + self.batch_size]) for start in starts]
        return np.concatenate([np.empty((0, self.audio_dim), dtype=np.float32), *vectors])

    def _embed_prompts(self, prompts: Sequence[str]) -> np.ndarray:
        model = self.build()
        with _BUILDING:
            if self._tokenizer is None:
                files = roberta.find_tokenizer(self.tokenizer, find_checkpoint(self.checkpoint))
                self._tokenizer = roberta.load_tokenizer(files, vocab_size_of(model))
        return embed_tokens(model, *roberta.tokenize(self._tokenizer, prompts))
