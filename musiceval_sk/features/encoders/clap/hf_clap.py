"""CLAP as Hugging Face's transformers computes it, from a local checkpoint and without the network."""

import hashlib
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musiceval_sk._device import resolve_device
from musiceval_sk._optional import import_optional
from musiceval_sk._text import require_known
from musiceval_sk.features.digests import content_key
from musiceval_sk.features.encoders.base import Modality
from musiceval_sk.features.encoders.clap import checkpoint as disk
from musiceval_sk.features.encoders.local import BUILDING, LocalEncoder

if TYPE_CHECKING:
    from torch import Tensor

    from musiceval_sk.features.encoders.clap.network import ClapNetwork

# The first of each is the default.
CHOICES = {
    "layer": ("projection", "encoder"),
    "sound": ("resampled", "16k-padded", "16k-repeated"),
    "dtype": ("float32", "bfloat16"),
}
# What MusicEval's released baseline takes for 10 s at 48 kHz: 30 s at the data set's own rate.
_READ_AS_48K_SECONDS = 30.0


class HfClapEncoder(LocalEncoder):
    """CLAP (HTS-AT and RoBERTa, without fusion) on transformers' ``ClapModel``, which runs on numpy 2.

    From LAION's ``.pt`` file it computes what the encoder ``"laion-clap"`` computes, to 1e-5, without the package
    ``laion_clap``: the architecture is read off the weights, the filters of the spectrogram are the checkpoint's own, and
    windows are rounded to 16 bit. From a folder in transformers' layout it computes what ``ClapModel`` and
    ``ClapProcessor`` compute for a window of 10 s at 48 kHz. Prompts are cut at 77 tokens in both cases.

    Parameters
    ----------
    checkpoint : str or Path, default=None
        Local ``.pt`` file in LAION's layout, or folder with ``config.json`` and ``model.safetensors`` or
        ``pytorch_model.bin``. Default: the environment variable ``MUSICEVAL_CLAP_CHECKPOINT``.
    tokenizer : str or Path, default=None
        Local folder with RoBERTa's ``vocab.json`` and ``merges.txt``, or ``tokenizer.json``. Default: the checkpoint's
        folder if it holds them, else the environment variable ``MUSICEVAL_ROBERTA``, else a folder ``roberta-base``
        beside the checkpoint, else Hugging Face's cache. Only prompts need it.
    layer : {"projection", "encoder"}, default="projection"
        ``"projection"``: vectors of length 1 in the space that sound and text share. ``"encoder"``: what the towers give to
        the projection, as it is: 768 numbers of HTSAT-tiny, 1024 of HTSAT-base, 2048 of HTSAT-large, 768 of RoBERTa.
    sound : {"resampled", "16k-padded", "16k-repeated"}, default="resampled"
        ``"resampled"``: the whole clip at 48 kHz, in windows of 10 s. The other two are the released MusicEval
        baseline's mistake, for reproducing it and nothing else: the first 480,000 samples at 16 kHz are taken for 10 s at
        48 kHz, so that 30 s are heard in 10 s and three times too high, not rounded to 16 bit; a shorter clip is filled up
        with zeros (as in that baseline's training) or repeated (as in its prediction). Each has fingerprints of its own.
    dtype : {"float32", "bfloat16"}, default="float32"
        What the towers' matrix products are computed in; spectrograms, norms and vectors are of float32 either way.
    device : str, default="auto"
        ``"auto"`` (CUDA where there is one, else the CPU) or torch's name of a device.
    batch_size : int, default=None
        Number of windows or prompts that go through the network at once. Default: 16 on a CPU, 64 on a GPU. Either is
        halved when a GPU's memory runs out.

    Raises
    ------
    ValueError
        If ``layer``, ``sound`` or ``dtype`` is unknown or ``batch_size`` is not positive.

    Notes
    -----
    Nothing is read until a description or a vector is asked for, nothing is ever downloaded, and nothing that a
    checkpoint holds is run. Vectors of the two layouts, and of ``"laion-clap"``, have fingerprints of their own. A folder
    without ``preprocessor_config.json`` gets the spectrogram that CLAP was trained with (64 mels of 50 to 14,000 Hz).

    How far bfloat16 moves the vectors, measured on a CPU with random weights of HTSAT-base and 12 layers of RoBERTa: by at
    most 0.0011 for sound and 0.0035 for text, a cosine of at least 0.9999 and 0.9997 with those of float32.

    The model: Y. Wu, K. Chen, T. Zhang, Y. Hui, T. Berg-Kirkpatrick and S. Dubnov, "Large-scale contrastive
    language-audio pretraining with feature fusion and keyword-to-caption augmentation" (ICASSP 2023).

    Examples
    --------
    >>> HfClapEncoder("clap.pt", device="cpu").window_length
    480000
    """

    name = "hf-clap"
    version = 1
    sample_rate = 48_000
    window_seconds = hop_seconds = 10.0
    reads_folders = True
    shown: tuple[str, ...] = ("device",)

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        tokenizer: str | Path | None = None,
        layer: str = "projection",
        sound: str = "resampled",
        dtype: str = "float32",
        device: str = "auto",
        batch_size: int | None = None,
    ):
        for name, value in {"layer": layer, "sound": sound, "dtype": dtype}.items():
            require_known(name, value, CHOICES[name])
        super().__init__(checkpoint, device, batch_size)
        self.tokenizer, self.layer, self.sound, self.dtype = tokenizer, layer, sound, dtype
        # Whether samples at 16 kHz are taken for samples at 48 kHz.
        self._misread = sound != "resampled"
        if self._misread:
            self.sample_rate, self.window_seconds = 16_000, _READ_AS_48K_SECONDS
            self.hop_seconds = self.window_seconds
        self._tokenizer: Any = None

    def __repr__(self) -> str:
        where = str(self.checkpoint) if self.checkpoint else None
        changed = [name for name, known in CHOICES.items() if getattr(self, name) != known[0]]
        options = "".join(f", {name}={getattr(self, name)!r}" for name in (*self.shown, *changed))
        return f"{type(self).__name__}({where!r}{options})"

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_tokenizer": None}

    @property
    def audio_dim(self) -> int:  # type: ignore[override]
        """Length of an audio vector."""
        return self._dims[0]

    @property
    def text_dim(self) -> int:  # type: ignore[override]
        """Length of a text vector."""
        return self._dims[1]

    @cached_property
    def _dims(self) -> tuple[int, int]:
        """Of an audio and of a text vector; but for LAION's layout and the projection, read from the checkpoint."""
        files = self._files()
        if len(files) == 1 and self.layer == "projection":
            return disk.JOINT_DIM, disk.JOINT_DIM
        config = disk.read_config(files[1]) if len(files) > 1 else disk.read_laion(files[0])[2]
        if self.layer == "projection":
            return (config.get("projection_dim", disk.JOINT_DIM),) * 2
        audio, text = (config[tower].get("hidden_size", 768) for tower in disk.TOWERS)
        return audio, text

    @property
    def joint_space(self) -> bool:  # type: ignore[override]
        """Whether sound and text share a space: the projection's."""
        return self.layer == "projection"

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
        with BUILDING:
            network = self._load()
        for parameter in network.parameters():
            # What a checkpoint was mapped from is a file, which may go away while training lasts.
            parameter.data = parameter.data.clone()
        return network.requires_grad_(False)

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
        files = self._files()
        described = {"name": self.name, "version": self.version, "dtype": self.dtype}
        described |= {"checkpoint_sha256": self._digests[0], "layout": "laion"}
        sound: dict[str, Any] = {"quantisation": "int16"}
        if len(files) > 1:
            described |= {"layout": "transformers", "config_sha256": self._digests[1]}
            sound = {"quantisation": "none", "front_end": disk.read_front_end(files)}
        # Left out where they are the default: vectors stored before there was a choice keep their fingerprint.
        if self.layer != "projection":
            described["layer"] = self.layer
        if modality == "text":
            keys = map(content_key, disk.find_tokenizer(self.tokenizer, files))
            digest = hashlib.sha256(b"".join(keys)).hexdigest()
            return {**described, "tokenizer_sha256": digest, "max_length": disk.MAX_LENGTH}
        if self._misread:
            sound |= {"sound": self.sound, "quantisation": "none"}
        return described | sound | self._windows()

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

    def _load(self) -> "ClapNetwork":
        """Build a network from the files."""
        device, files = resolve_device(self.device), self._files()
        transformers = import_optional("transformers", extra=self.extra, purpose=f"the encoder {self.name!r}")
        import torch

        from musiceval_sk.features.encoders.clap import network as parts
        from musiceval_sk.features.encoders.limits import within_weights

        laions: dict[str, Tensor] = {}
        if len(files) == 1:
            laions, filters, config = disk.read_laion(files[0])
            weights = disk.transformers_names(laions)
            log_mel = partial(parts.laion_log_mel, filters=filters, quantise=not self._misread)
        else:
            weights, config = disk.read_weights(files[0]), disk.read_config(files[1])
            log_mel = partial(parts.transformers_log_mel, settings=disk.read_front_end(files))
        # The one implementation that transformers 4 and 5 both have for CLAP.
        config["text_config"]["attn_implementation"] = "eager"
        words = f"{files[:2][-1]}: makes no ClapModel of transformers"
        with torch.random.fork_rng(devices=[]), within_weights(files[:1], words), parts.WithoutMemory():
            model = transformers.ClapModel(transformers.ClapConfig.from_dict(config))
        disk.fill(model, weights, files[0], "transformers' ClapModel")
        if laions:
            self._finish(model, laions, files[0])
        return parts.ClapNetwork(model, log_mel, self.layer, self._tokenize).to(device)

    def _finish(self, model: Any, laions: dict[str, "Tensor"], path: Path) -> None:
        """Change the model, made of a file in LAION's layout with these weights, where the encoder differs."""

    def _find_files(self) -> tuple[Path, ...]:
        return disk.find_checkpoint(self.checkpoint, self.name, self.reads_folders)

    def _embed(self, network: "ClapNetwork", modality: Modality, batch: Any) -> "Tensor":
        if modality == "audio":
            return network.embed_audio(batch, self.dtype)
        return network.embed_text(*network.tokenize(batch), self.dtype)

    def _tokenize(self, prompts: Sequence[str], vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
        if self._tokenizer is None:
            files = disk.find_tokenizer(self.tokenizer, self._files())
            self._tokenizer = disk.load_tokenizer(files, vocab_size, self.name, self.extra)
        return disk.tokenize(self._tokenizer, prompts)
