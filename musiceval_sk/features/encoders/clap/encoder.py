"""What the encoders of CLAP share: their windows and prompts, their files, and building the network once."""

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musiceval_sk._device import resolve_device
from musiceval_sk._text import listed
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.base import Encoder, Modality
from musiceval_sk.features.encoders.batch_size import USUAL, measured
from musiceval_sk.features.encoders.clap import tokenizer as roberta
from musiceval_sk.features.encoders.clap.checkpoint import FileIdentity, identify
from musiceval_sk.features.encoders.clap.forward import Towers, embed_tokens, embed_windows

if TYPE_CHECKING:
    import torch

    from musiceval_sk.features.encoders.clap.network import ClapNetwork

LAYERS = ("projection", "encoder")
DTYPES = ("float32", "bfloat16")
SOUNDS = ("resampled", "16k-padded", "16k-repeated")
# What MusicEval's released baseline takes for 10 s at 48 kHz: 30 s at the data set's own rate.
_READ_AS_48K_RATE = 16_000
_READ_AS_48K_SECONDS = 30.0
_BUILDING = threading.RLock()
# How often to ask again, a second apart, for memory that another thread or process may give back.
_PATIENCE = 10


class ClapEncoder(Encoder):
    """Base class of the encoders that compute CLAP; subclasses say where the weights are and how they are read."""

    version = 1
    sample_rate = 48_000
    window_seconds = 10.0
    hop_seconds = 10.0
    extra: str

    def __init__(
        self,
        checkpoint: str | Path | None,
        *,
        tokenizer: str | Path | None,
        layer: str,
        sound: str,
        dtype: str,
        device: str,
        batch_size: int | None,
    ):
        choices = (("layer", layer, LAYERS), ("sound", sound, SOUNDS), ("dtype", dtype, DTYPES))
        for name, value, known in choices:
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known are: {listed(known)}")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        self.checkpoint = checkpoint
        self.tokenizer = tokenizer
        self.layer = layer
        self.sound = sound
        if self._misread:
            self.sample_rate = _READ_AS_48K_RATE
            self.window_seconds = self.hop_seconds = _READ_AS_48K_SECONDS
        self.dtype = dtype
        self.device = device
        self._given_batch_size = batch_size
        self._fitting_batch_size: int | None = None
        self._identities: tuple[FileIdentity, ...] = ()
        self._towers: Towers | None = None
        self._tokenizer: Any = None

    def __repr__(self) -> str:
        where = str(self.checkpoint) if self.checkpoint else None
        changed = {
            "layer": (self.layer, LAYERS[0]),
            "sound": (self.sound, SOUNDS[0]),
            "dtype": (self.dtype, DTYPES[0]),
        }
        options = "".join(f", {name}={now!r}" for name, (now, usual) in changed.items() if now != usual)
        return f"{type(self).__name__}({where!r}{self._model_option()}, device={self.device!r}{options})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_towers": None, "_tokenizer": None, "_fitting_batch_size": None}

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """Windows or prompts that go through the network at once: as given, or as the GPU's memory turned out to hold."""
        return self._fitting_batch_size or self._given_batch_size or USUAL

    @property
    def on_accelerator(self) -> bool:  # type: ignore[override]
        """Whether the network computes on a CUDA device."""
        return resolve_device(self.device).type == "cuda"

    def prepare(self) -> None:
        """Build the network and, on a GPU, find the batch size that its memory holds, unless it was given."""
        self._built()

    @abstractmethod
    def _files(self) -> tuple[Path, ...]:
        """Find the files that hold the model, the weights first; all exist."""

    @abstractmethod
    def _load(self, files: tuple[Path, ...]) -> Towers:
        """Build the network from its files, on the CPU."""

    @abstractmethod
    def _find_tokenizer(self, weights: Path) -> tuple[Path, ...]:
        """Find the tokenizer's files."""

    @abstractmethod
    def _describe_model(self, weights_sha256: str, *others_sha256: str) -> dict[str, Any]:
        """Say what could change a vector of either modality, beyond what all CLAP encoders share."""

    @abstractmethod
    def _describe_sound(self) -> dict[str, Any]:
        """Say what could change an audio vector alone."""

    def _model_option(self) -> str:
        return ""

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
        files = self._checked_files()
        digests = [identity.sha256 for identity in self._identities]
        both = {"name": self.name, "version": self.version, **self._describe_model(*digests)}
        both["dtype"] = self.dtype
        # Left out where it is the default: vectors stored before there was a choice keep their fingerprint.
        if self.layer != LAYERS[0]:
            both["layer"] = self.layer
        if modality == "text":
            digest = roberta.tokenizer_digest(self._find_tokenizer(files[0]))
            return {**both, "tokenizer_sha256": digest, "max_length": roberta.MAX_LENGTH}
        heard = {"sound": self.sound, "quantisation": "none"} if self._misread else {}
        return {
            **both,
            "sample_rate": self.sample_rate,
            "window_seconds": self.window_seconds,
            "hop_seconds": self.hop_seconds,
            **self._describe_sound(),
            **heard,
        }

    def cut(self, samples: np.ndarray) -> np.ndarray:
        """Cut a clip into the windows that `encode_audio` takes.

        Parameters
        ----------
        samples : np.ndarray [shape=(n,)]
            A clip at `sample_rate`.

        Returns
        -------
        np.ndarray [shape=(n_windows, 480_000)]
            Windows of 10 s that cover the clip; with another ``sound`` than ``"resampled"`` one, of its first 480,000
            samples.
        """
        if not self._misread:
            return super().cut(samples)
        first = samples[: self.window_length]
        if self.sound == "16k-repeated":
            return super().cut(first)
        return np.pad(first, (0, self.window_length - len(first)))[np.newaxis]

    def encode_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows of sound.

        Parameters
        ----------
        windows : np.ndarray [shape=(n, 480_000)], float32 in [-1, 1]
            Mono windows at `sample_rate`: 10 s at 48,000 Hz, unless ``sound`` says otherwise.

        Returns
        -------
        np.ndarray [shape=(n, audio_dim)], float32
            One vector a window, of length 1 unless ``layer="encoder"``.

        Raises
        ------
        ValueError
            If the windows are of another shape, or the device is not there.
        CheckpointError
            If the checkpoint is not found or does not fit.
        ImportError
            If the encoder's extra is not installed.
        MemoryError
            If a GPU's memory does not hold even one window; where it does not hold a batch, the batch is halved.
        """
        windows = np.asarray(windows, dtype=np.float32)
        if windows.ndim != 2 or windows.shape[1] != self.window_length:
            raise ValueError(
                f"expected windows of shape (n, {self.window_length}), {self.window_seconds:g} s of mono sound at "
                f"{self.sample_rate:,} Hz each, got {windows.shape}; read_audio(path, {self.sample_rate}) and "
                f"{self._how_to_cut()} make them"
            )
        return self._in_batches(
            windows, "audio", lambda batch: embed_windows(self._built(), batch, self.layer, self.dtype)
        )

    def encode_text(self, prompts: Sequence[str]) -> np.ndarray:
        """Embed prompts.

        Parameters
        ----------
        prompts : sequence of str
            Texts, possibly empty; what goes beyond 77 tokens is not read.

        Returns
        -------
        np.ndarray [shape=(n, text_dim)], float32
            One vector a prompt, of length 1 unless ``layer="encoder"``.

        Raises
        ------
        ValueError
            If ``prompts`` is one string, or the device is not there.
        CheckpointError
            If the checkpoint or the tokenizer is not found or does not fit.
        ImportError
            If the encoder's extra is not installed.
        """
        if isinstance(prompts, str):
            raise ValueError(f"expected a sequence of prompts, got the string {prompts!r}; pass [prompt]")
        return self._in_batches(prompts, "text", self._embed_prompts)

    def build(self) -> "torch.nn.Module":
        """Build the network, once, on the device; encoding does so by itself.

        Returns
        -------
        torch.nn.Module
            CLAP in evaluation mode, of the class that the encoder's library gives it.

        Raises
        ------
        ValueError
            If the device is not there.
        CheckpointError
            If the checkpoint is not found or does not fit.
        ImportError
            If the encoder's extra is not installed.
        """
        return self._built().model

    def trainable(self) -> "ClapNetwork":
        """Build a network to train on the device, from the files and apart from the one that encodes.

        Returns
        -------
        ClapNetwork
            In evaluation mode, with memory of its own for every weight; none asks for a gradient yet.

        Raises
        ------
        ValueError
            If the device is not there.
        CheckpointError
            If the checkpoint is not found or does not fit.
        ImportError
            If the encoder's extra is not installed.
        """
        from musiceval_sk.features.encoders.clap.network import ClapNetwork

        device = resolve_device(self.device)
        return ClapNetwork(self._load_towers(), self.layer, self._tokens).to(device)

    def _built(self) -> Towers:
        with _BUILDING:
            if self._towers is None:
                import torch

                device = resolve_device(self.device)
                towers = self._load_towers()
                try:
                    towers.model.to(device)
                except torch.cuda.OutOfMemoryError as error:
                    raise _too_little_memory("the network", error) from error
                if device.type == "cuda" and not self._given_batch_size:
                    self._fitting_batch_size = measured(device, lambda n: self._encode_silence(towers, n))
                self._towers = towers
            return self._towers

    def _load_towers(self) -> Towers:
        towers = self._load(self._checked_files())
        return towers._replace(quantised=False) if self._misread else towers

    @property
    def _misread(self) -> bool:
        """Whether samples at 16 kHz are taken for samples at 48 kHz."""
        return self.sound != SOUNDS[0]

    def _how_to_cut(self) -> str:
        if self._misread:
            return "cut(samples)"
        return f"cut_windows(samples, {self.window_length}, {self.hop_length})"

    def _checked_files(self) -> tuple[Path, ...]:
        """Files of the model, once their digests are known and are still those of the last time."""
        files = self._files()
        known = self._identities or (None,) * len(files)
        found = tuple(identify(file, before) for file, before in zip(files, known, strict=False))
        now, then = ([identity.sha256 for identity in kind] for kind in (found, self._identities))
        if self._identities and now != then:
            raise CheckpointError(
                f"{files[0]}: is not the checkpoint that this encoder described before; make a new encoder for it"
            )
        self._identities = found
        return files

    def _encode_silence(self, towers: Towers, n_windows: int) -> np.ndarray:
        windows = np.zeros((n_windows, self.window_length), dtype=np.float32)
        return embed_windows(towers, windows, self.layer, self.dtype)

    def _in_batches(self, items: Any, modality: Modality, embed: Callable[[Any], np.ndarray]) -> np.ndarray:
        if not len(items):
            return np.empty((0, self.dim(modality)), dtype=np.float32)
        import torch

        self.prepare()
        vectors: list[np.ndarray] = []
        begin, refused = 0, 0
        while begin < len(items):
            batch = items[begin : begin + self.batch_size]
            try:
                vectors.append(embed(batch))
                begin, refused = begin + len(batch), 0
            except torch.cuda.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                if self.batch_size > 1:
                    # For good: what else fills the GPU's memory is not ours to judge.
                    self._fitting_batch_size = self.batch_size // 2
                    continue
                refused += 1
                if refused == _PATIENCE:
                    raise _too_little_memory("a single window or prompt", error) from error
                time.sleep(1)
        return np.concatenate(vectors)

    def _embed_prompts(self, prompts: Sequence[str]) -> np.ndarray:
        towers = self._built()
        return embed_tokens(towers, *self._tokens(prompts, towers.vocab_size), self.layer, self.dtype)

    def _tokens(self, prompts: Sequence[str], vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and mask of each prompt, by the tokenizer that is found on first use."""
        with _BUILDING:
            if self._tokenizer is None:
                files = self._find_tokenizer(self._files()[0])
                purpose = f"the text tower of {self.name!r}"
                self._tokenizer = roberta.load_tokenizer(files, vocab_size, extra=self.extra, purpose=purpose)
        return roberta.tokenize(self._tokenizer, prompts)


def _too_little_memory(what: str, error: Exception) -> MemoryError:
    return MemoryError(
        f"the GPU's memory does not hold {what} beside what else is in it ({error}); free some, or pass device='cpu'"
    )
