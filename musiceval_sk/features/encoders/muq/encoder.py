"""MuQ and MuQ-MuLan from local folders."""

import contextlib
import os
from collections.abc import Sequence
from functools import cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musiceval_sk._device import resolve_device
from musiceval_sk._files import refused_as
from musiceval_sk._optional import import_optional
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.digests import content_key
from musiceval_sk.features.encoders import local
from musiceval_sk.features.encoders.base import MODALITIES, Modality
from musiceval_sk.features.encoders.clap.checkpoint import read_weights

if TYPE_CHECKING:
    from torch import Tensor

_GREATEST = 100_000  # width, depth or seconds of any model
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# Either does for XLM-RoBERTa's tokenizer.
_TOKENIZERS = ("tokenizer.json", "sentencepiece.bpe.model")


class MuQEncoder(local.LayerEncoder):
    """MuQ (music alone) or MuQ-MuLan (music and text in one space) with the networks of their authors' package ``muq``.

    From a MuQ checkpoint it computes the mean over time of a layer, from a MuQ-MuLan checkpoint what ``MuQMuLan`` gives for a window
    and for a prompt; each as the package itself does, to 1e-5, in float32.

    Parameters
    ----------
    checkpoint : str or Path, default=None
        Local folder with ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``, such as that of the Hugging Face
        repositories ``OpenMuQ/MuQ-large-msd-iter`` and ``OpenMuQ/MuQ-MuLan-large``.
    layer : int or "mean", default=-1
        Of MuQ: 0 is what the first block is given, n what the n-th block gives, "mean" the mean of all. MuQ-MuLan has none to
        choose.
    window_seconds : float, default=10.0
        Length of a window. MuQ-MuLan takes its own, 10 s. A shorter clip is repeated, see `cut_windows`.
    audio_model, text_model : str or Path, default=None
        Of MuQ-MuLan, folders with ``config.json`` of the MuQ in it and with ``config.json`` and tokenizer of its XLM-RoBERTa; their weights
        are not needed. By default folders named as the checkpoint names them (``MuQ-large-msd-iter``, ``xlm-roberta-base``), in the
        checkpoint's or beside it, else in Hugging Face's cache. Only prompts need the second.
    device : str, default="auto"
        ``"auto"`` (CUDA where there is one, else the CPU) or torch's name of a device.
    batch_size : int, default=None
        Windows or prompts at once; by default 4 on a CPU, 32 on a GPU, halved when a GPU's memory runs out.

    Raises
    ------
    ValueError
        If ``layer``, ``window_seconds`` or ``batch_size`` cannot be.

    Notes
    -----
    Nothing is read until a description or a vector is asked for, nothing is ever downloaded, and nothing that a checkpoint holds is
    run. The published weights are under CC BY-NC 4.0. A prompt goes through the text tower alone, for beside longer ones the package
    averages over padding, too.

    The models: H. Zhu, Y. Zhou, H. Chen, J. Yu, Z. Ma, R. Gu, Y. Luo, W. Tan and X. Chen, "MuQ: Self-supervised music representation
    learning with mel residual vector quantization" (arXiv:2501.01108, 2025).

    Examples
    --------
    >>> MuQEncoder("models/MuQ-large-msd-iter", layer=10)
    MuQEncoder('models/MuQ-large-msd-iter', layer=10, device='auto')
    """

    name = "muq"
    version = 1
    extra = "muq"
    batch_sizes = (4, 32)
    sample_rate = 24_000

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        layer: int | str = -1,
        window_seconds: float = 10.0,
        audio_model: str | Path | None = None,
        text_model: str | Path | None = None,
        device: str = "auto",
        batch_size: int | None = None,
    ):
        super().__init__(checkpoint, layer, window_seconds, device, batch_size)
        self.audio_model, self.text_model = audio_model, text_model

    @property
    def joint_space(self) -> bool:  # type: ignore[override]
        """Whether the checkpoint is of MuQ-MuLan, whose sound and text share a space."""
        return "mulan" in self._settings

    @property
    def modalities(self) -> tuple[Modality, ...]:  # type: ignore[override]
        """Sound, and text where the checkpoint is of MuQ-MuLan."""
        return MODALITIES if self.joint_space else ("audio",)

    @property
    def window_seconds(self) -> float:  # type: ignore[override]
        """Length of a window."""
        seconds: Any = self._settings["mulan"]["clip_secs"] if self.joint_space else self._window_seconds
        return float(seconds)

    @property
    def audio_dim(self) -> int:  # type: ignore[override]
        """Length of an audio vector."""
        if self.joint_space:
            return self.text_dim
        return self._width([self._settings["encoder_dim"]] * (self._settings["encoder_depth"] + 1))

    @property
    def text_dim(self) -> int:  # type: ignore[override]
        """Length of a text vector; 0 of MuQ."""
        return int(self._settings["mulan"]["dim_latent"]) if self.joint_space else 0

    def describe(self, modality: Modality) -> dict[str, Any]:
        """Everything that could change a vector of this modality, as plain JSON values.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which of the two towers to describe.

        Returns
        -------
        dict
            Name, version, SHA-256 of weights and settings; for audio layer and windows, for text the tokenizer's SHA-256.

        Raises
        ------
        ValueError
            If there is no such tower or layer.
        CheckpointError
            If something is missing, or the checkpoint has changed since last asked.
        """
        self.towers(modality)
        self._files()
        described: dict[str, Any] = {"name": self.name, "version": self.version}
        described |= {"checkpoint_sha256": self._digests[0], "config_sha256": self._digests[1]}
        if modality == "text":
            for name, file in zip(("text_config", "tokenizer"), self._text_files(), strict=True):
                described[f"{name}_sha256"] = content_key(file).hex()
            return described
        if self.joint_space:
            described["audio_config_sha256"] = content_key(self._part("audio") / "config.json").hex()
        return described | {"layer": self.layer, "dim": self.audio_dim} | self._windows()

    def encode_text(self, prompts: Sequence[str]) -> np.ndarray:
        """Embed prompts.

        Parameters
        ----------
        prompts : sequence of str
            Texts, possibly empty; what goes beyond the positions of XLM-RoBERTa, 512 tokens, is not read.

        Returns
        -------
        np.ndarray [shape=(n, text_dim)], float32
            One vector a prompt, of length 1.

        Raises
        ------
        ValueError
            If the checkpoint is of MuQ, or ``prompts`` is one string.
        CheckpointError
            If the checkpoint, or XLM-RoBERTa's settings or tokenizer, are missing or do not fit.
        ImportError
            If the package muq, or what it needs, is not installed.
        """
        self.towers("text")
        self._text_files()
        if self._network is not None and not hasattr(self._network.text, "parameters"):
            self._network = None  # built for sound before these files were there
        return super().encode_text(prompts)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        path = self._files()[1]
        settings = local.read_json(path)
        if {"mulan", "audio_model", "text_model", "audio_transformer", "text_transformer"} <= settings.keys():
            with refused_as(CheckpointError, f"{path}: its settings are those of no MuQ-MuLan"):
                seconds, width = (settings["mulan"][name] for name in ("clip_secs", "dim_latent"))
                _refuse_sizes(width)
                if not 0 < seconds <= local.MOST_SECONDS:
                    raise ValueError(f"clip_secs={seconds!r} must be up to {local.MOST_SECONDS}")
                _ = [settings[f"{tower}_model"]["name"] for tower in MODALITIES]
            if self.layer != -1:
                words = "MuQ-MuLan gives its joint space alone; for layers name the folder of a MuQ"
                raise ValueError(f"layer={self.layer!r}: {words}")
            if self._window_seconds not in (10.0, seconds):
                words = f"MuQ-MuLan takes {seconds:g} s; leave it out"
                raise ValueError(f"window_seconds={self._window_seconds:g}: {words}")
        elif "mulan" in settings or not {"encoder_dim", "encoder_depth"} <= settings.keys():
            words = "for other models of transformers take the encoder 'hf-audio'"
            raise CheckpointError(f"{path}: of neither MuQ nor MuQ-MuLan; {words}")
        else:
            with refused_as(CheckpointError, f"{path}: its settings are those of no MuQ"):
                _refuse_sizes(*(index(settings[name]) for name in ("encoder_dim", "encoder_depth")))
        return settings

    def _find_files(self) -> tuple[Path, ...]:
        folder = self._named_folder()
        weights = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
        if not (self.checkpoint and weights and (folder / "config.json").is_file()):
            needed = f"with config.json and {' or '.join(_WEIGHTS)}"
            raise self._no_folder(needed, "OpenMuQ/MuQ-large-msd-iter")
        return weights[0], folder / "config.json"

    def _part(self, tower: Modality) -> Path:
        """Find the folder of a model that MuQ-MuLan is made of."""
        given = self.audio_model if tower == "audio" else self.text_model
        repository = str(self._settings[f"{tower}_model"]["name"])
        folder, name = self._files()[0].parent, repository.rstrip("/").split("/")[-1]
        if len(os.fsencode(name)) > 255:
            raise CheckpointError(
                f"{folder}: config.json names '{name[:60]}...' for its {tower}_model, which no folder can be called"
            )
        places = [Path(given).expanduser()] if given else [folder / name, folder.parent / name]
        cached = None if given else local.cached_file(repository, "config.json")
        places += [cached.parent] if cached else []
        found = next((place for place in places if os.path.isfile(place / "config.json")), None)
        if found is None:
            raise CheckpointError(
                f"MuQ-MuLan needs config.json{' and tokenizer.json' if tower == 'text' else ''} of {repository}, not in "
                f"{' or '.join(map(str, places))}; download them (hf download {repository} --local-dir {places[-1]}) or name "
                f"their folder with {tower}_model="
            )
        return found

    def _text_files(self) -> tuple[Path, Path]:
        folder = self._part("text")
        tokenizers = [folder / name for name in _TOKENIZERS if (folder / name).is_file()]
        if not tokenizers:
            words = f"no tokenizer; expected {' or '.join(_TOKENIZERS)} of XLM-RoBERTa in it"
            raise CheckpointError(f"{folder}: {words}")
        return folder / "config.json", tokenizers[0]

    def _load(self) -> Any:
        device, (path, _), settings = resolve_device(self.device), self._files(), self._settings
        _ = self.audio_dim  # whether there is such a layer
        for module in ("transformers", "einops", "easydict"):
            import_optional(module, extra=self.extra, purpose=f"the encoder {self.name!r}")
        from musiceval_sk.features.encoders.limits import within_weights
        from musiceval_sk.features.encoders.muq import network as parts

        name = "MuQ-MuLan" if self.joint_space else "MuQ"
        weights = read_weights(path)
        with (
            local.quiet_transformers(),
            within_weights([path], f"{path.parent / 'config.json'}: not of {name}"),
        ):
            model = self._built(settings)
        named = {weight.removeprefix("mulan."): weights[weight] for weight in weights}
        parts.fill_with(model, named, path, "audio.model.model." if self.joint_space else "model.", name)
        return model.to(device)

    def _built(self, settings: dict[str, Any]) -> Any:
        """Build the network, weights undetermined."""
        from musiceval_sk.features.encoders.muq import network as parts

        if not self.joint_space:
            return parts.build_muq(settings)
        text = None
        with contextlib.suppress(CheckpointError):  # told by whoever asks for prompts
            text = self._text_files()[0].parent
        return parts.build_mulan(settings, local.read_json(self._part("audio") / "config.json"), text)

    def _embed(self, network: Any, modality: Modality, batch: Any) -> "Tensor":
        import torch

        with local.undisturbed_random_numbers():
            if modality == "text":  # one by one: beside longer prompts the package averages over padding
                return torch.cat([network.get_text_latents(raw_texts=[prompt]) for prompt in batch])
            device = next(network.parameters()).device
            samples = torch.from_numpy(np.ascontiguousarray(batch)).to(device)
            if self.joint_space:
                return network.get_audio_latents(samples)
            return self._mean(network(samples).hidden_states)


def _refuse_sizes(*sizes: Any) -> None:
    if not all(isinstance(size, int | float) and 0 < size < _GREATEST for size in sizes):
        raise TypeError(f"sizes of {sizes}")
