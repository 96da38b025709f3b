"""A CLAP network, whoever wrote it: from windows and prompts to vectors, to encode with and to train."""

import contextlib
import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from musiceval_sk.features.encoders.local import precision

# transformers' names, and within the audio tower LAION's, of the same weights. What else a network holds (the classifier of HTS-AT,
# temperatures of the contrastive loss) has no part in the vectors.
_TOWER = re.compile(r"(?:model\.)?(audio|text)_(?:model|projection)\.")
_BLOCK = re.compile(
    r"\.layers\.(\d+)\.blocks\.(\d+)\.|\.layers\.(\d+)\.downsample\.|\.encoder\.layer\.(\d+)\."
)
_LAST = re.compile(r"_projection\.|\.pooler\.|\.(?:htsat|audio_encoder)\.norm\.")
_FIRST = re.compile(r"\.patch_embed\.|\.embeddings\.|\.bn0\.|\.batch_norm\.|\.absolute_pos_embed")
# The matrices of queries, keys and values; LAION's audio tower has them in one.
_ATTENTION = re.compile(r"\.attn\.qkv|\.self\.(query|key|value)")
# Of torch.nn.init, and the steps of which they are made: on the meta device they are slow, and one imports 800 modules.
_DRAWS = {"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "erfinv_", "clamp_"}
_FULL_SCALE = 32_767


class ClapNetwork(nn.Module):
    """CLAP from windows and prompts to vectors.

    It stays in evaluation mode in training, too, as the released baseline's does: dropout, stochastic depth and SpecAugment
    are off, and batch normalisation goes by the checkpoint's running statistics, so that a clip's vectors never depend
    on the clips beside it.

    Parameters
    ----------
    model : transformers.ClapModel
        Both towers and their projections.
    log_mel : callable
        From windows, (n, 480_000), to what the audio tower takes.
    layer : {"projection", "encoder"}
        As for the encoder.
    tokenize : callable
        From prompts and the size of the vocabulary to token ids and mask, [shape=(n, 77)] each.
    """

    def __init__(self, model: Any, log_mel: Callable, layer: str, tokenize: Callable):
        super().__init__()
        self.model, self.log_mel, self.layer, self._tokenize = model, log_mel, layer, tokenize
        self.eval()

    precision = staticmethod(precision)

    def tokenize(self, prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Turn prompts into token ids and mask, [shape=(n, 77)] each."""
        return self._tokenize(prompts, self.model.config.text_config.vocab_size)

    def embed_audio(self, windows: np.ndarray, dtype: str) -> Tensor:
        """Embed windows as the encoder does, [shape=(n, audio_dim)], on the network's device.

        Parameters
        ----------
        windows : np.ndarray [shape=(n, window_length)], float32
            Mono windows.
        dtype : {"float32", "bfloat16", "float16"}
            What the towers' matrix products are computed in; spectrograms are always of float32.
        """
        return self._embed("audio", dtype, input_features=self.log_mel(self._sent(windows)))

    def embed_text(self, ids: np.ndarray, mask: np.ndarray, dtype: str) -> Tensor:
        """Embed tokenized prompts as the encoder does, [shape=(n, text_dim)], on the network's device."""
        return self._embed("text", dtype, input_ids=self._sent(ids), attention_mask=self._sent(mask))

    def _embed(self, tower: str, dtype: str, **inputs: Tensor) -> Tensor:
        projected = self.layer == "projection"
        low = None if dtype == "float32" else torch.autocast(self.device.type, dtype=getattr(torch, dtype))
        with low or contextlib.nullcontext():
            vectors = getattr(self.model, f"{tower}_model")(**inputs, return_dict=True).pooler_output
            if projected:
                vectors = getattr(self.model, f"{tower}_projection")(vectors)
        return functional.normalize(vectors.float(), dim=-1) if projected else vectors.float()

    def _sent(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":  # it reads pinned memory while the CPU goes on
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    def stage(self, name: str) -> tuple[str, tuple[float, float]] | None:
        """Say where a weight stands: its tower, and a place that grows from input to output.

        Parameters
        ----------
        name : str
            As `named_parameters` gives it.

        Returns
        -------
        (str, (float, float)) or None
            "audio" or "text" and (-1, 0) before the blocks, a block's number of stage and within it, or (inf, 0) behind
            them; None if the vectors do not depend on it.
        """
        tower = _TOWER.match(name)
        if tower is None or (self.layer == "encoder" and "_projection." in name):
            return None
        if found := _BLOCK.search(name):
            stage, block, joint, layer = found.groups()
            if joint:  # it leads from one stage to the next
                return tower[1], (float(joint), float("inf"))
            return tower[1], (float(stage or layer), float(block or 0))
        if _FIRST.search(name):
            return tower[1], (-1.0, 0.0)
        return (tower[1], (float("inf"), 0.0)) if _LAST.search(name) else None

    def attention_layers(self) -> list[str]:
        """Names of the linear layers of queries, keys and values, of both towers, relative to ``model``."""
        return [
            name
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and _ATTENTION.search(f".{name}")
        ]


def laion_log_mel(samples: Tensor, filters: Sequence[Tensor], quantise: bool) -> Tensor:
    """Spectrogram in decibels by convolution with a checkpoint's own filters, as torchlibrosa computes it in LAION's network.

    Parameters
    ----------
    samples : torch.Tensor [shape=(n, length)]
        Mono windows.
    filters : three torch.Tensor [shape=(n_bins, 1, frame) twice, (n_bins, n_mels)]
        Real and imaginary kernels of the windowed Fourier transform, and mel filters.
    quantise : bool
        Whether windows are rounded to 16 bit first.

    Returns
    -------
    torch.Tensor [shape=(n, 1, frames, n_mels)]
        What the audio tower takes.
    """
    *kernels, mel = (part.to(samples.device) for part in filters)
    samples = quantised(samples) if quantise else samples
    half = kernels[0].shape[-1] // 2
    padded = functional.pad(samples[:, None], (half, half), mode="reflect")
    real, imaginary = (functional.conv1d(padded, kernel, stride=480) for kernel in kernels)
    power = real**2 + imaginary**2
    return decibels(power.transpose(1, 2)[:, None] @ mel)


def transformers_log_mel(samples: Tensor, settings: dict[str, Any]) -> Tensor:
    """Spectrogram in decibels as transformers' ``ClapFeatureExtractor`` computes it for models without fusion.

    Its Fourier transform is of float64, as numpy's is there, so that bands without sound agree as well.

    Parameters
    ----------
    samples : torch.Tensor [shape=(n, length)]
        Mono windows.
    settings : dict
        Of ``ClapFeatureExtractor``, by its names.

    Returns
    -------
    torch.Tensor [shape=(n, 1, frames, n_mels)]
        What the audio tower takes.
    """
    from transformers.audio_utils import mel_filter_bank

    frame = settings["fft_window_size"]
    bands = (settings[name] for name in ("feature_size", "frequency_min", "frequency_max"))
    mel = mel_filter_bank(frame // 2 + 1, *bands, 48_000, norm="slaney", mel_scale="slaney")
    window = torch.hann_window(frame, dtype=torch.float64, device=samples.device)
    padded = functional.pad(samples.double()[:, None], (frame // 2, frame // 2), mode="reflect")
    power = torch.fft.rfft(padded.unfold(-1, frame, settings["hop_length"]) * window).abs() ** 2
    return decibels(power @ torch.from_numpy(mel).to(samples.device)).float()


def decibels(power: Tensor) -> Tensor:
    """Logarithm of power, with a floor of -100 dB."""
    return 10 * torch.log10(power.clamp(min=1e-10))


def quantised(samples: Tensor) -> Tensor:
    """Send samples through 16 bit and back, truncating towards zero, as LAION does."""
    return (samples.clamp(-1, 1) * _FULL_SCALE).to(torch.int16).float() / _FULL_SCALE


class LaionTower(nn.Module):
    """LAION's own HTS-AT in the place of transformers' audio tower.

    Parameters
    ----------
    htsat : torch.nn.Module
        Of the package ``laion_clap``.
    """

    def __init__(self, htsat: Any):
        super().__init__()
        self.htsat = htsat

    def forward(self, input_features: Tensor, return_dict: bool = True) -> SimpleNamespace:
        """Turn decibels, (n, 1, frames, n_mels), into the tower's representation, (n, width)."""
        normal = self.htsat.bn0(input_features.transpose(1, 3)).transpose(1, 3)
        features = self.htsat.forward_features(self.htsat.reshape_wav2img(normal))
        return SimpleNamespace(pooler_output=features["embedding"])


class WithoutMemory(TorchFunctionMode):
    """Mode in which a network's weights are made on the meta device, undrawn, while all that is computed stays as it is."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Leave out what a checkpoint replaces."""
        kwargs = kwargs or {}
        if function is torch.empty:
            return function(*args, **{**kwargs, "device": "meta"})
        weight = args[0] if args else kwargs.get("tensor")
        if getattr(function, "__name__", "") in _DRAWS and weight.is_meta:
            return weight
        return function(*args, **kwargs)
