"""MuQ and MuQ-MuLan from local folders."""

import contextlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musiceval_sk._device import resolve_device
from musiceval_sk._optional import import_optional
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.base import MODALITIES, Modality
from musiceval_sk.features.encoders.clap.checkpoint import read_weights
from musiceval_sk.features.encoders.local import (
    LocalEncoder,
    check_layer,
    check_window,
    quiet_transformers,
    read_json,
    undisturbed_random_numbers,
    width_of_layer,
)
from musiceval_sk.features.sounds import content_key

if TYPE_CHECKING:
    from torch import Tensor

    from musiceval_sk.features.encoders.muq.network import MuQNetwork

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# Either does for XLM-RoBERTa's tokenizer.
_TOKENIZERS = ("tokenizer.json", "sentencepiece.bpe.model")


class MuQEncoder(LocalEncoder):
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
        super().__init__(checkpoint, device, batch_size)
        check_layer(layer)
        check_window(window_seconds)
        self.layer, self._window_seconds = layer, window_seconds
        self.audio_model, self.text_model = audio_model, text_model

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({str(self.checkpoint)!r}, layer={self.layer!r}, device={self.device!r})"
        )

    @property
    def modalities(self) -> tuple[Modality, ...]:  # type: ignore[override]
        """Sound, and text where the checkpoint is of MuQ-MuLan."""
        return MODALITIES if "mulan" in self._settings else ("audio",)

    @property
    def joint_space(self) -> bool:  # type: ignore[override]
        """Whether sound and text share a space: those of MuQ-MuLan do."""
        return "mulan" in self._settings

    @property
    def window_seconds(self) -> float:  # type: ignore[override]
        """Length of a window, which is also the distance between the starts of two."""
        return float(
            self._settings["mulan"]["clip_secs"] if "mulan" in self._settings else self._window_seconds
        )

    hop_seconds = window_seconds

    @property
    def audio_dim(self) -> int:  # type: ignore[override]
        """Length of an audio vector."""
        settings = self._settings
        if "mulan" in settings:
            return int(settings["mulan"]["dim_latent"])
        widths = [settings["encoder_dim"]] * (settings["encoder_depth"] + 1)
        return width_of_layer(self.layer, widths, self.checkpoint)

    @property
    def text_dim(self) -> int:  # type: ignore[override]
        """Length of a text vector; 0 of MuQ."""
        return int(self._settings["mulan"]["dim_latent"]) if "mulan" in self._settings else 0

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
        if "mulan" in self._settings:
            described["audio_config_sha256"] = content_key(self._part("audio") / "config.json").hex()
        described |= {"layer": self.layer, "dim": self.audio_dim}
        return described | {
            name: getattr(self, name) for name in ("sample_rate", "window_seconds", "hop_seconds")
        }

    def encode_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows of sound.

        Parameters
        ----------
        windows : np.ndarray [shape=(n, window_seconds * 24_000)], float32 in [-1, 1]
            Mono windows at 24,000 Hz.

        Returns
        -------
        np.ndarray [shape=(n, audio_dim)], float32
            One vector a window; of MuQ-MuLan of length 1.

        Raises
        ------
        ValueError
            If the windows are of another shape, the device is not there, or the model has no such layer.
        CheckpointError
            If the checkpoint lacks something or does not fit.
        ImportError
            If the package muq, or what it needs, is not installed.
        """
        return self._encode("audio", self.check_windows(windows))

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
        if isinstance(prompts, str):
            raise ValueError(f"expected a sequence of prompts, got the string {prompts!r}; pass [prompt]")
        self._text_files()
        if (
            self._network is not None and not self._network.has_text
        ):  # built for sound before these files were there
            self._network = None
        return self._encode("text", prompts)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        settings = read_json(self._files()[1])
        needed = {"mulan", "audio_model", "text_model", "audio_transformer", "text_transformer"}
        if not ({"encoder_dim", "encoder_depth"} <= settings.keys() or needed <= settings.keys()):
            raise CheckpointError(
                f"{self._files()[1]}: of neither MuQ nor MuQ-MuLan; for other models of transformers take the encoder 'hf-audio'"
            )
        if "mulan" in settings and self.layer != -1:
            raise ValueError(
                f"layer={self.layer!r}: MuQ-MuLan gives its joint space alone; for layers name the folder of a MuQ"
            )
        if "mulan" in settings and self._window_seconds not in (10.0, settings["mulan"]["clip_secs"]):
            raise ValueError(
                f"window_seconds={self._window_seconds:g}: MuQ-MuLan takes {settings['mulan']['clip_secs']:g} s; leave it out"
            )
        return settings

    def _find_files(self) -> tuple[Path, ...]:
        folder = Path(os.fspath(self.checkpoint or "")).expanduser()
        weights = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
        if not (self.checkpoint and weights and (folder / "config.json").is_file()):
            found = f"got {str(self.checkpoint)!r}" if self.checkpoint else "and none is named"
            raise CheckpointError(
                f"the encoder 'muq' needs a folder with config.json and {' or '.join(_WEIGHTS)}, {found}; "
                "download one (hf download OpenMuQ/MuQ-large-msd-iter --local-dir MuQ-large-msd-iter) and name it with checkpoint="
            )
        return weights[0], folder / "config.json"

    def _part(self, tower: Modality) -> Path:
        """Find the folder of a model that MuQ-MuLan is made of."""
        given = self.audio_model if tower == "audio" else self.text_model
        repository = str(self._settings[f"{tower}_model"]["name"])
        folder, name = self._files()[0].parent, repository.rstrip("/").split("/")[-1]
        places = [Path(given).expanduser()] if given else [folder / name, folder.parent / name]
        with contextlib.suppress(ImportError):
            from huggingface_hub import try_to_load_from_cache

            cached = (
                None
                if given or repository.count("/") > 1
                else try_to_load_from_cache(repository, "config.json")
            )
            places += [Path(cached).parent] if isinstance(cached, str) else []
        found = next((place for place in places if (place / "config.json").is_file()), None)
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
            raise CheckpointError(
                f"{folder}: no tokenizer; expected {' or '.join(_TOKENIZERS)} of XLM-RoBERTa in it"
            )
        return folder / "config.json", tokenizers[0]

    def _load(self) -> "MuQNetwork":
        device, (path, _), settings = resolve_device(self.device), self._files(), self._settings
        _ = self.audio_dim
        for module in ("transformers", "einops", "easydict"):
            import_optional(module, extra=self.extra, purpose=f"the encoder {self.name!r}")
        from musiceval_sk.features.encoders.muq import network as parts

        weights = read_weights(path)
        with quiet_transformers():
            if "mulan" not in settings:
                model = parts.build_muq(settings)
                parts.fill_with(model, weights, path, "model.", "MuQ")
                return parts.MuQNetwork(model, self.layer).to(device)
            text = None
            with contextlib.suppress(CheckpointError):  # told by whoever asks for prompts
                text = self._text_files()[0].parent
            model = parts.build_mulan(settings, read_json(self._part("audio") / "config.json"), text)
        named = {name.removeprefix("mulan."): weight for name, weight in weights.items()}
        parts.fill_with(model, named, path, "audio.model.model.", "MuQ-MuLan")
        return parts.MuQNetwork(model, None).to(device)

    def _embed(self, network: "MuQNetwork", modality: Modality, batch: Any) -> "Tensor":
        with undisturbed_random_numbers():
            return network.embed_audio(batch) if modality == "audio" else network.embed_text(list(batch))
